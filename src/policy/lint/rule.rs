//! Rules that can do nothing, and thresholds that change nothing.

use std::{collections::BTreeSet, sync::Arc};

use super::odd;
use crate::{
    policy::{
        Action, Call, Mode,
        compile::{Compiled, Mistake, Policy},
        expression::{CallFacts, Expression, Facts},
        languages,
        rule::{File, Rule, Unjudged},
        threshold::{Threshold, Thresholds},
    },
    segment::{Direction, Target, Task},
};

/// What is odd about a policy's rules.
pub(super) fn odd_rules(policy: &Policy, file: &File, raw: &toml::Table) -> Vec<Mistake> {
    let mut all = Vec::new();
    for (at, (rule, written)) in policy.rules.iter().zip(&file.rules).enumerate() {
        let number = at.to_string();
        let mut say = |key: &[&str], why: String| {
            let key: Vec<&str> = ["rule", number.as_str()].into_iter().chain(key.iter().copied()).collect();
            all.push(odd(&key, why));
        };
        if rule.action == Action::Allow {
            say(
                &["action"],
                "`allow` does nothing: what no rule stops passes, and what another rule stops does not".to_owned(),
            );
        }
        let own_mode = raw.get("rule").and_then(|rules| rules.get(at)).and_then(|rule| rule.get("mode"));
        if file.mode == Mode::Shadow && own_mode.and_then(toml::Value::as_str) == Some("enforce") {
            say(&["mode"], "it does not act: the whole policy is in shadow mode".to_owned());
        }
        if let Some(holds) = rule.when.as_ref().and_then(|when| constant(written, &when.expression)) {
            let why = if holds { "it always holds: leave it out" } else { "it never holds, so the rule never matches" };
            say(&["when"], why.to_owned());
        }
        if let (Some(Threshold::By(table)), Some(own)) = (&written.threshold, &rule.threshold) {
            for key in table.keys() {
                let mut rest = table.clone();
                rest.remove(key);
                let without = Thresholds::new(own.guard, Threshold::By(rest));
                if let Some(why) = idle(key, own, &without, &cells(policy, written)) {
                    say(&["threshold", key], why);
                }
            }
        }
        let outdone = policy.rules.iter().enumerate().find(|(other, by)| {
            *other != at && rule.is_outdone(by, *other < at) && (*other < at || !by.is_outdone(rule, true))
        });
        if let Some((_, by)) = outdone {
            say(
                &["name"],
                format!("it never matters: whenever it matches, so does `{}`, which does at least as much", by.name),
            );
        }
    }
    all
}

/// The kinds of text for which a threshold of a rule may be asked: tasks, and languages or none.
fn cells(policy: &Policy, rule: &Rule) -> Vec<(Task, Option<&'static str>)> {
    let tasks: BTreeSet<bool> = rule.targets.iter().map(|target| target.task() == Task::Response).collect();
    let tags = languages().map(Some).chain([None]).filter(|tag| policy.scope.speaks(*tag));
    let tags: Vec<Option<&'static str>> = tags.collect();
    let task = |response: bool| if response { Task::Response } else { Task::Prompt };
    tasks.into_iter().flat_map(|response| tags.iter().map(move |tag| (task(response), *tag))).collect()
}

/// Why an entry of a table changes nothing, if it does not.
fn idle(key: &str, own: &Thresholds, without: &Thresholds, cells: &[(Task, Option<&'static str>)]) -> Option<String> {
    // Tags with a region are more than are listed: what is told of them cannot be known here.
    if key.contains('-') {
        return None;
    }
    let same = |(task, tag): &(Task, Option<&'static str>)| own.entry(*task, *tag).level == without.entry(*task, *tag).level;
    if !cells.iter().all(same) {
        return None;
    }
    let used = cells.iter().find(|(task, tag)| own.entry(*task, *tag).key == key);
    Some(match used {
        Some((task, tag)) => format!("it changes nothing: `{}` says the same", without.entry(*task, *tag).key),
        None => "it is never used: more exact entries stand over it, or the rule sees no such text".to_owned(),
    })
}

/// The answer of a condition that is the same for every text and call: it reads nothing but what the rule's own `where` and
/// `direction` say.
fn constant(rule: &Rule, expression: &Expression) -> Option<bool> {
    let call = CallFacts::new(Arc::new(Call::default()));
    let ways = rule.direction.map_or_else(|| vec![Direction::Request, Direction::Response], |way| vec![way]);
    let kinds = ways.iter().flat_map(|way| rule.targets.iter().map(move |target| (*way, *target)));
    let answers: Option<BTreeSet<bool>> = kinds
        .map(|(way, target): (Direction, Target)| {
            let facts = Facts {
                score: None,
                threshold: None,
                scores: &[],
                findings: &[],
                language: "",
                target: target.name(),
                direction: way.name(),
                call: &call,
            };
            let (answer, read) = expression.watched(&facts);
            answer.ok().filter(|_| read.keys().all(|name| ["target", "direction"].contains(&name.as_str())))
        })
        .collect();
    let answers = answers?;
    answers.first().copied().filter(|_| answers.len() == 1)
}

impl Compiled {
    /// Whether another rule of the policy matches whenever this one does, and does at least as much.
    fn is_outdone(&self, by: &Self, earlier: bool) -> bool {
        let acts = by.mode == Mode::Enforce || self.mode == Mode::Shadow;
        by.kinds.hold(self.kinds)
            && by.sample.is_none()
            && acts
            && (by.action > self.action || (by.action == self.action && by.does_the_same(self, earlier)))
            && by.looks_no_closer(self)
            && by.when_unjudged() >= self.when_unjudged()
    }

    /// Whether its effect, of one action, can stand for the other rule's. Of two that stop or replace a text the first is heard.
    fn does_the_same(&self, other: &Self, earlier: bool) -> bool {
        match self.action {
            Action::Allow | Action::Flag => true,
            Action::Redact => self.redact == other.redact,
            Action::Replace | Action::Block => earlier || (self.messages == other.messages && self.respond == other.respond),
        }
    }

    /// Whether all that it asks for holds where the other rule matches.
    fn looks_no_closer(&self, other: &Self) -> bool {
        let within = || other.detectors.iter().all(|number| self.detectors.contains(number));
        let detectors = self.detectors.is_empty() || (!other.detectors.is_empty() && within());
        let threshold = match (&self.threshold, &other.threshold) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own.guard == other.guard && own.is_at_most(other),
        };
        let when = self
            .when
            .as_ref()
            .is_none_or(|own| other.when.as_ref().is_some_and(|other| own.source == other.source && own.guard == other.guard));
        detectors && threshold && when
    }

    /// What it comes to where a guard fails.
    fn when_unjudged(&self) -> Action {
        match self.on_guard_error {
            _ if self.guards().next().is_none() => self.action,
            Unjudged::Allow => Action::Allow,
            Unjudged::Flag => Action::Flag,
            Unjudged::Block => Action::Block,
        }
    }
}
