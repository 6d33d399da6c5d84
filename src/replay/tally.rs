//! What changes: counts and examples, of a size that does not grow with the traffic.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Decided;
use crate::{
    policy::Action,
    review::Case,
    segment::{Direction, Target},
};

/// Characters of a text that an example shows.
const SHOWN: usize = 200;
/// Rules, languages and guards counted by name; the rest of a record that someone made up is counted together.
const NAMES: usize = 1_000;

/// What other policies change in recorded traffic.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Exchanges that were decided anew.
    pub exchanges: u64,
    /// When the first and the last of them began.
    pub period: Option<(String, String)>,
    /// Exchanges with another decision.
    pub changed: u64,
    /// Exchanges that were refused before the model was asked and now would not be: nobody knows its answer.
    pub unanswered: u64,
    /// Exchanges left out, since they were recorded before evidence was kept.
    pub without_evidence: u64,
    /// Exchanges left out, since these guards were not asked then, by guard.
    pub needs_rescoring: BTreeMap<String, u64>,
    /// How many exchanges these are.
    pub not_rescored: u64,
    /// Exchanges for which a guard was asked now, on the masked text.
    pub rescored: u64,
    /// Exchanges whose scores are these guards', as they were then.
    pub guards: BTreeMap<String, u64>,
    /// Other decisions, by what they were and would be.
    pub changes: Vec<Change>,
    /// Rules by `policy/rule`.
    pub rules: BTreeMap<String, Counts>,
    /// Exchanges by the language of the text that mattered, and how many of them have another decision.
    pub languages: BTreeMap<String, (u64, u64)>,
    #[serde(skip)]
    examples: usize,
}

/// Exchanges whose decision changes from one to another.
#[derive(Debug, PartialEq, Serialize)]
pub struct Change {
    /// What was decided: `allow`, `flag`, `rewrite` or `block`.
    pub from: &'static str,
    /// What would be.
    pub to: &'static str,
    /// How many.
    pub exchanges: u64,
    /// Those of them in which a request's text decides.
    pub requests: u64,
    /// Those in which an answer's does.
    pub responses: u64,
    /// By the language of the text that mattered.
    pub languages: BTreeMap<String, u64>,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// Exchanges in which a rule matches.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// It matched, and matches.
    pub still: u64,
    /// It matches, and did not.
    pub new: u64,
    /// It matched, and does not.
    pub gone: u64,
}

/// An exchange whose decision changes.
#[derive(Debug, PartialEq, Serialize)]
pub struct Example {
    /// Its id.
    pub id: String,
    /// When it began.
    pub at: String,
    /// Which way the text travelled.
    pub direction: Direction,
    /// The beginning of the prompt, or of the answer.
    pub text: String,
    /// The rules that matched.
    pub was: Vec<String>,
    /// The rules that match.
    pub now: Vec<String>,
}

impl Tally {
    /// Nothing counted yet; of each change so many examples are shown.
    #[must_use]
    pub fn new(examples: usize) -> Self {
        Self { examples, ..Self::default() }
    }

    /// Counts a case that has no evidence.
    pub fn leave_out(&mut self) {
        self.without_evidence += 1;
    }

    /// Counts a case that these guards would have to judge first.
    pub fn unscored<'g>(&mut self, guards: impl Iterator<Item = &'g str>) {
        self.not_rescored += 1;
        for guard in guards {
            *self.needs_rescoring.entry(guard.to_owned()).or_default() += 1;
        }
    }

    /// Counts a case that was decided one way and is decided another now.
    pub fn add(&mut self, case: &Case, was: &Decided, now: &Decided) {
        self.exchanges += 1;
        self.period = Some(match self.period.take() {
            Some((first, last)) => (first.min(case.at.clone()), last.max(case.at.clone())),
            None => (case.at.clone(), case.at.clone()),
        });
        for judge in case.evidence.iter().flat_map(|kept| &kept.guards) {
            *entry(&mut self.guards, format!("{}: {}", judge.name, judge.identity)) += 1;
        }
        let (before, after) = (was.rules(), now.rules());
        for rule in &before | &after {
            let counts = entry(&mut self.rules, rule.clone());
            let count = match (before.contains(&rule), after.contains(&rule)) {
                (true, true) => &mut counts.still,
                (false, _) => &mut counts.new,
                (true, false) => &mut counts.gone,
            };
            *count += 1;
        }
        let language = case.language.as_deref().or_else(|| case.call.as_ref()?.language.as_deref()).unwrap_or("-");
        let is_changed = was.action().word() != now.action().word();
        let (all, changed) = entry(&mut self.languages, language.to_owned());
        (*all, *changed) = (*all + 1, *changed + u64::from(is_changed));
        if is_changed {
            self.change(case, was, now, language);
        }
    }

    fn change(&mut self, case: &Case, was: &Decided, now: &Decided, language: &str) {
        self.changed += 1;
        if was.action() == Action::Block && now.action() < Action::Block && case.response.is_empty() {
            self.unanswered += 1;
        }
        let (from, to) = (was.action().word(), now.action().word());
        let direction = if now.action() > was.action() { now.direction() } else { was.direction() };
        let at = self.changes.iter().position(|change| (change.from, change.to) == (from, to)).unwrap_or_else(|| {
            self.changes.push(Change {
                from,
                to,
                exchanges: 0,
                requests: 0,
                responses: 0,
                languages: BTreeMap::new(),
                examples: Vec::new(),
            });
            self.changes.len() - 1
        });
        let Some(change) = self.changes.get_mut(at) else { return };
        change.exchanges += 1;
        match direction {
            Direction::Request => change.requests += 1,
            Direction::Response => change.responses += 1,
        }
        *entry(&mut change.languages, language.to_owned()) += 1;
        if change.examples.len() < self.examples {
            change.examples.push(Example {
                id: case.id.clone(),
                at: case.at.clone(),
                direction,
                text: shown(case, direction),
                was: was.told(),
                now: now.told(),
            });
        }
    }
}

fn entry<T: Default>(counts: &mut BTreeMap<String, T>, name: String) -> &mut T {
    let name = if counts.len() < NAMES || counts.contains_key(&name) { name } else { "others".to_owned() };
    counts.entry(name).or_default()
}

/// The beginning of the last prompt or of the answer, or else of any text of that direction.
fn shown(case: &Case, direction: Direction) -> String {
    let texts = if direction == Direction::Request { &case.request } else { &case.response };
    let wanted = if direction == Direction::Request { Target::Prompt } else { Target::Completion };
    let text = texts.iter().rev().find(|text| text.target == wanted).or_else(|| texts.last());
    text.map_or_else(String::new, |text| text.text.chars().take(SHOWN).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A case of which this is the reason, and its answer.
    fn case(language: &str, reasons: &Value, answer: &str) -> Case {
        let response = if answer.is_empty() { json!([]) } else { json!([{"target": "completion", "text": answer}]) };
        serde_json::from_value(json!({
            "id": "1", "at": "2026-01-01T00:00:00Z", "decision": "block", "dialect": "d", "model": "m", "stream": false,
            "language": language, "score": null, "guard": "g", "policy": "p", "reasons": reasons,
            "request": [{"target": "prompt", "text": "first"}, {"target": "prompt", "text": "last"}], "response": response,
        }))
        .unwrap()
    }

    fn reason(direction: &str, rule: &str, action: &str, mode: &str) -> Value {
        json!({"direction": direction, "policy": "p", "rule": rule, "action": action, "mode": mode, "score": 0.5})
    }

    #[test]
    fn changes_are_counted_by_what_decides() {
        let block = json!([reason("request", "stop", "block", "enforce"), reason("request", "see", "flag", "shadow")]);
        let answer = json!([reason("request", "mail", "redact", "enforce"), reason("response", "stop", "block", "enforce")]);
        let mut tally = Tally::new(1);
        for (case, now) in [
            (case("en", &block, ""), json!([reason("request", "see", "flag", "shadow")])),
            (case("th", &block, ""), json!([])),
            (case("en", &answer, "said"), json!([reason("request", "mail", "redact", "enforce")])),
            (case("en", &json!([]), "said"), answer.clone()),
            (case("en", &block, ""), block.clone()),
        ] {
            let now = Decided::recorded(&Case { reasons: now, ..case.clone() });
            tally.add(&case, &Decided::recorded(&case), &now);
        }
        tally.leave_out();
        tally.unscored(["default", "large"].into_iter());
        assert_eq!((tally.exchanges, tally.changed, tally.unanswered), (5, 4, 2));
        assert_eq!((tally.without_evidence, tally.not_rescored, tally.needs_rescoring.len()), (1, 1, 2));
        let told: Vec<_> = tally
            .changes
            .iter()
            .map(|change| (change.from, change.to, change.requests, change.responses, change.examples[0].text.as_str()))
            .collect();
        assert_eq!(
            told,
            [("block", "allow", 2, 0, "last"), ("block", "rewrite", 0, 1, "said"), ("allow", "block", 0, 1, "said")]
        );
        let first = &tally.changes[0];
        assert_eq!((first.examples.len(), &first.languages["th"]), (1, &1));
        assert_eq!(first.examples[0].was, ["p/stop", "p/see (shadow)"]);
        assert_eq!(tally.rules["p/stop"], Counts { still: 1, new: 1, gone: 3 });
        assert_eq!(tally.rules["p/see"], Counts { still: 2, new: 0, gone: 1 });
        assert_eq!(tally.languages["en"], (4, 3));
    }

    #[test]
    fn names_that_someone_made_up_do_not_fill_the_memory() {
        let mut tally = Tally::new(0);
        for number in 0..2 * NAMES {
            let case = case(&number.to_string(), &json!([reason("request", &number.to_string(), "flag", "enforce")]), "");
            tally.add(&case, &Decided::recorded(&case), &Decided::default());
        }
        assert_eq!((tally.languages.len(), tally.rules.len(), tally.exchanges), (NAMES + 1, NAMES + 1, 2 * NAMES as u64));
        assert_eq!(tally.rules["others"].gone, NAMES as u64);
    }
}
