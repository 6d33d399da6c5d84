//! From what a policy file says to what decides: names become numbers, and mistakes that no type can tell are told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use blake3::Hash;
use jiff::civil::Date;

use super::{
    Terms,
    expression::Expression,
    message::{BUILT_IN, Messages, is_language},
    own::full,
    rule::{Action, Exempt, File, Mode, Redaction, Respond, Rule, Unjudged, Unstored},
    sample::Sample,
    scope::{Scope, matches},
    threshold::{Level, TASKS, Threshold, Thresholds},
};
use crate::{
    config::{DEFAULT_GUARD, nearest},
    scan::detect::Detectors,
    segment::{Direction, Target},
};

/// A policy, ready to decide.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) description: String,
    /// Where it was read from.
    pub(super) file: PathBuf,
    pub(super) mode: Mode,
    pub(super) on_unscorable: Unjudged,
    pub(super) on_store_error: Unstored,
    pub(super) scope: Scope,
    pub(super) rules: Vec<Compiled>,
    /// Known texts, and the last day on which they are let pass.
    pub(super) exempt: HashMap<Hash, Option<Date>>,
    /// Headers that its scope and its conditions name, in lower case; `None` if a condition reads all.
    headers: Option<Vec<String>>,
    /// The guards that its rules ask, and the sample in which they do.
    asked: Vec<(usize, Option<Sample>)>,
}

/// A rule, ready to decide.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) name: String,
    pub(super) kinds: Kinds,
    pub(super) sample: Option<Sample>,
    pub(super) threshold: Option<Thresholds>,
    pub(super) when: Option<Condition>,
    /// Numbers of the detectors, families taken apart, in order.
    pub(super) detectors: Vec<usize>,
    pub(super) action: Action,
    pub(super) mode: Mode,
    pub(super) redact: Redaction,
    pub(super) respond: Respond,
    pub(super) messages: Messages,
    pub(super) on_guard_error: Unjudged,
}

/// A condition, and the guards that it asks, by their places.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) source: String,
    pub(super) expression: Expression,
    /// The rule's own guard.
    pub(super) guard: usize,
    /// All that it reads the score of.
    pub(super) guards: Vec<usize>,
}

/// A set of kinds of text: one bit for each target of requests, and one for each of responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    pub(super) fn of(direction: Direction, target: Target) -> Self {
        Self(1 << (target as u16 + if direction == Direction::Request { 0 } else { 8 }))
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has all of these.
    pub(super) fn hold(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl Compiled {
    /// The guards that it asks.
    pub(super) fn guards(&self) -> impl Iterator<Item = usize> {
        let condition = self.when.iter().flat_map(|when| &when.guards).copied();
        self.threshold.iter().map(|threshold| threshold.guard).chain(condition)
    }
}

impl Policy {
    /// The guards that its rules ask in the exchange of this draw.
    pub(super) fn guards(&self, draw: u64) -> impl Iterator<Item = usize> {
        self.asked.iter().filter(move |(_, sample)| sample.is_none_or(|sample| sample.holds(draw))).map(|(guard, _)| *guard)
    }

    /// The headers that it asks for, in lower case; `None` for all.
    pub(super) fn headers(&self) -> Option<Vec<String>> {
        self.headers.clone()
    }

    /// A policy as its file at `path` says, or all that is wrong with it. `detectors` are those of all policies.
    pub(super) fn new(path: &Path, file: File, terms: &Terms<'_>, detectors: &Detectors) -> Result<Self, Vec<Mistake>> {
        let File { name, description, mode, on_guard_error, on_unscorable, on_store_error, .. } = file;
        let File { mut scope, rules, exempt, detectors: own, .. } = file;
        let own: BTreeMap<String, String> = own.into_keys().map(|short| (short.clone(), full(&name, &short))).collect();
        let mut check = Check { terms, detectors, own, key: Vec::new(), mistakes: Vec::new() };
        check.scope(&scope);
        scope.headers = scope.headers.into_iter().map(|(name, list)| (name.to_ascii_lowercase(), list)).collect();
        let exempt = check.exempt(&exempt);
        let mut names = HashSet::new();
        let mut compiled = Vec::with_capacity(rules.len());
        for (number, rule) in rules.into_iter().enumerate() {
            check.key = vec!["rule".to_owned(), number.to_string()];
            if !names.insert(rule.name.clone()) {
                check.wrong(&["name"], format!("another rule is named `{}`: records could not tell them apart", rule.name));
            }
            compiled.push(check.rule(&name, mode, on_guard_error, rule));
        }
        if !check.mistakes.is_empty() {
            return Err(check.mistakes);
        }
        let mut asked: Vec<(usize, Option<Sample>)> = Vec::new();
        for rule in &compiled {
            let known =
                |asked: &[(usize, Option<Sample>)], guard| asked.iter().any(|(own, sample)| *own == guard && sample.is_none());
            for guard in rule.guards() {
                if !known(&asked, guard) {
                    asked.push((guard, rule.sample));
                }
            }
        }
        let asks = || compiled.iter().filter_map(|rule| Some(rule.when.as_ref()?.expression.asks()));
        let named = scope.headers.keys().chain(asks().flat_map(|asks| &asks.headers)).cloned().collect();
        let headers = (!asks().any(|asks| asks.every_header)).then_some(named);
        Ok(Self {
            name,
            description,
            file: path.to_owned(),
            mode,
            on_unscorable,
            on_store_error,
            scope,
            rules: compiled,
            exempt,
            headers,
            asked,
        })
    }
}

/// Something wrong with a policy: the names and numbers that lead to its key, and what is wrong.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) key: Vec<String>,
    pub(super) why: String,
}

/// Reads a policy and collects what is wrong with it.
struct Check<'t> {
    terms: &'t Terms<'t>,
    detectors: &'t Detectors,
    /// The policy's own detectors: as its rules name them, and as their findings are named.
    own: BTreeMap<String, String>,
    /// The part that is looked at.
    key: Vec<String>,
    mistakes: Vec<Mistake>,
}

impl Check<'_> {
    fn wrong(&mut self, key: &[&str], why: String) {
        let key = self.key.iter().cloned().chain(key.iter().map(|part| (*part).to_owned())).collect();
        self.mistakes.push(Mistake { key, why });
    }

    fn scope(&mut self, scope: &Scope) {
        self.key = vec!["scope".to_owned()];
        for (key, list) in scope.lists() {
            if list.is_empty() {
                self.wrong(&key, "names nothing, so the policy would cover nothing: leave it out to cover all".to_owned());
            }
        }
        let names = |list: &Option<Vec<String>>| list.clone().unwrap_or_default().into_iter().enumerate();
        for (number, pattern) in names(&scope.dialects) {
            if !self.terms.dialects.iter().any(|name| matches(&pattern, name)) {
                let why = unknown("API", &pattern, self.terms.dialects.iter().copied());
                self.wrong(&["dialects", &number.to_string()], why);
            }
        }
        for (number, tag) in names(&scope.languages) {
            if !tag.is_empty() && !tag.contains('*') {
                self.language(&["languages", &number.to_string()], &tag);
            }
        }
    }

    fn language(&mut self, key: &[&str], tag: &str) {
        if !is_language(tag) {
            self.wrong(key, unknown("language", tag, BUILT_IN.iter().map(|(tag, _)| *tag)));
        }
    }

    fn exempt(&mut self, exempt: &[Exempt]) -> HashMap<Hash, Option<Date>> {
        let mut known = HashMap::new();
        for (number, Exempt { hash, expires, .. }) in exempt.iter().enumerate() {
            self.key = vec!["exempt".to_owned(), number.to_string()];
            let read = Hash::from_hex(hash);
            if read.is_err() {
                self.wrong(&["hash"], "must be the 64 hexadecimal digits of a text's hash".to_owned());
            }
            let day = expires.as_ref().map(|day| day.parse::<Date>());
            if matches!(day, Some(Err(_))) {
                self.wrong(&["expires"], "must be a day, such as `2027-01-31`".to_owned());
            }
            known.extend(read.ok().map(|hash| (hash, day.and_then(Result::ok))));
        }
        known
    }

    fn rule(&mut self, policy: &str, mode: Mode, on_guard_error: Unjudged, mut rule: Rule) -> Compiled {
        let detectors = self.detectors(&rule.detectors);
        let guard = self.guard(&rule);
        let when = self.when(&rule, guard);
        let threshold = self.threshold(&mut rule, guard);
        let sample = self.sample(policy, &rule);
        self.action(&rule);
        for tag in rule.messages.keys() {
            self.language(&["messages", tag], tag);
        }
        if rule.targets.is_empty() {
            self.wrong(&["where"], "names no kind of text".to_owned());
        }
        let directions = rule.direction.map_or_else(|| vec![Direction::Request, Direction::Response], |one| vec![one]);
        let kinds = directions.into_iter().flat_map(|way| rule.targets.iter().map(move |target| Kinds::of(way, *target)));
        Compiled {
            kinds: kinds.fold(Kinds::default(), Kinds::with),
            sample,
            threshold,
            when,
            detectors,
            action: rule.action,
            mode: if mode == Mode::Shadow { Mode::Shadow } else { rule.mode },
            redact: rule.redact,
            respond: rule.respond,
            messages: Messages { by_language: rule.messages, otherwise: rule.message },
            on_guard_error: rule.on_guard_error.unwrap_or(on_guard_error),
            name: rule.name,
        }
    }

    fn detectors(&mut self, wanted: &[String]) -> Vec<usize> {
        let mut numbers = Vec::new();
        for (at, wanted) in wanted.iter().enumerate() {
            let before = numbers.len();
            if let Some(own) = self.own.get(wanted) {
                numbers.extend(self.detectors.number(own));
                continue;
            }
            numbers.extend(self.detectors.family(wanted));
            if numbers.len() == before {
                let built_in: Vec<_> =
                    self.detectors.names().map(|(name, _)| name).filter(|name| !name.contains('/')).collect();
                let families = built_in.iter().filter_map(|name| Some(name.split_once('.')?.0));
                let known = built_in.iter().map(|name| &**name).chain(families).chain(self.own.keys().map(String::as_str));
                let why = unknown("detector", wanted, known);
                self.wrong(&["detectors", &at.to_string()], why);
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// The guard that the rule asks.
    fn guard(&mut self, rule: &Rule) -> Option<usize> {
        let named = rule.guard.as_deref().unwrap_or(DEFAULT_GUARD);
        let guard = self.terms.guards.iter().position(|name| *name == named);
        if guard.is_none() {
            self.wrong(&["guard"], unknown("guard", named, self.terms.guards.iter().copied()));
        }
        if rule.guard.is_some() && rule.threshold.is_none() && rule.when.is_none() {
            self.wrong(&["guard"], "does nothing without a `threshold` or a condition (`when`)".to_owned());
        }
        guard
    }

    fn when(&mut self, rule: &Rule, guard: Option<usize>) -> Option<Condition> {
        let source = rule.when.as_deref()?;
        let expression = match Expression::compile(source, self.terms.guards) {
            Ok(expression) => expression,
            Err(mistake) => {
                let part = mistake.at.and_then(|at| source.get(at)).filter(|part| !part.is_empty());
                let part = part.map(|part| format!(", in `{part}`")).unwrap_or_default();
                self.wrong(&["when"], format!("{}{part}", mistake.message));
                return None;
            }
        };
        let guard = guard?;
        let place = |name: &String| self.terms.guards.iter().position(|known| known == name);
        let mut guards: Vec<usize> = expression.asks().guards.iter().filter_map(place).collect();
        guards.extend(expression.asks().score.then_some(guard));
        Some(Condition { source: source.to_owned(), expression, guard, guards })
    }

    fn threshold(&mut self, rule: &mut Rule, guard: Option<usize>) -> Option<Thresholds> {
        let threshold = rule.threshold.take()?;
        match &threshold {
            Threshold::One(level) => self.level(&["threshold"], *level),
            Threshold::By(table) => {
                for (key, level) in table {
                    self.level(&["threshold", key], *level);
                    self.threshold_key(key);
                }
            }
        }
        Some(Thresholds::new(guard?, threshold))
    }

    fn threshold_key(&mut self, key: &str) {
        let language = TASKS.iter().find_map(|task| key.strip_prefix(task)?.strip_prefix('.')).unwrap_or(key);
        if key != "default" && !TASKS.contains(&key) && !is_language(language) {
            let known = TASKS.into_iter().chain(["default"]).chain(BUILT_IN.iter().map(|(tag, _)| *tag));
            self.wrong(&["threshold", key], unknown("task or language", language, known));
        }
    }

    fn level(&mut self, key: &[&str], level: Level) {
        if matches!(level, Level::AtLeast(value) if !(0.0..=1.0).contains(&value)) {
            self.wrong(key, "must be \"guard\" or a number from 0 to 1".to_owned());
        }
    }

    fn sample(&mut self, policy: &str, rule: &Rule) -> Option<Sample> {
        let share = rule.sample?;
        if !(share > 0.0 && share <= 1.0) {
            self.wrong(&["sample"], "must be a share of the exchanges, more than 0 and at most 1".to_owned());
        }
        (share < 1.0).then(|| Sample::new(policy, &rule.name, share))
    }

    fn action(&mut self, rule: &Rule) {
        let why = match rule.action {
            Action::Redact if rule.detectors.is_empty() => "`redact` needs `detectors` that say what to take out",
            Action::Replace if rule.message.is_none() => "`replace` needs a `message` to put in place of the text",
            Action::Replace if rule.targets.contains(&Target::ToolCall) => {
                "`replace` cannot rewrite a `tool_call`, whose arguments must stay JSON: block it instead"
            }
            Action::Allow | Action::Flag | Action::Redact | Action::Replace | Action::Block => return,
        };
        self.wrong(&["action"], why.to_owned());
    }
}

fn unknown<'n>(kind: &str, name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let hint = nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("there is no {kind} `{name}`{hint}")
}
