//! What was decided on an exchange, then or now.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{
    policy::{Action, Decision, Mode},
    review::Case,
    segment::Direction,
};

/// A decision on a whole exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    matched: Vec<Matched>,
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Matched {
    /// Which way the text travelled.
    pub direction: Direction,
    /// The policy.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// What the rule does.
    pub action: Action,
    /// Whether it acted.
    pub mode: Mode,
}

impl Decided {
    /// What was decided then, as far as policies decided it: a stream that failed for another reason was not blocked by them.
    #[must_use]
    pub fn recorded(case: &Case) -> Self {
        let reasons = case.reasons.as_array().map(Vec::as_slice).unwrap_or_default();
        Self { matched: reasons.iter().filter_map(|reason| Matched::deserialize(reason).ok()).collect() }
    }

    /// A call that no policy covers is refused.
    #[must_use]
    pub(super) fn uncovered() -> Self {
        let (policy, rule) = (String::new(), "no policy covers it".to_owned());
        let (direction, action, mode) = (Direction::Request, Action::Block, Mode::Enforce);
        Self { matched: vec![Matched { direction, policy, rule, action, mode }] }
    }

    pub(super) fn add(&mut self, direction: Direction, decision: &Decision) {
        self.matched.extend(decision.reasons.iter().map(|reason| Matched {
            direction,
            policy: reason.policy.clone(),
            rule: reason.rule.clone(),
            action: reason.action,
            mode: reason.mode,
        }));
    }

    /// The strictest action of all rules that acted.
    #[must_use]
    pub fn action(&self) -> Action {
        self.acting().map(|matched| matched.action).max().unwrap_or(Action::Allow)
    }

    /// The direction of the text that it was decided for; requests if for none.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let action = self.action();
        self.acting().find(|matched| matched.action == action).map_or(Direction::Request, |matched| matched.direction)
    }

    /// The rules that matched, acting or not, as `policy/rule`.
    #[must_use]
    pub fn rules(&self) -> BTreeSet<String> {
        self.matched.iter().map(Matched::name).collect()
    }

    /// The same for people: in the order in which they matched, each with whether it only records.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        for matched in &self.matched {
            let mode = if matched.mode == Mode::Shadow { " (shadow)" } else { "" };
            let line = format!("{}{mode}", matched.name());
            if !told.contains(&line) {
                told.push(line);
            }
        }
        told
    }

    fn acting(&self) -> impl Iterator<Item = &Matched> {
        self.matched.iter().filter(|matched| matched.mode == Mode::Enforce)
    }
}

impl Matched {
    fn name(&self) -> String {
        if self.policy.is_empty() { self.rule.clone() } else { format!("{}/{}", self.policy, self.rule) }
    }
}
