//! Why policies decide as they do: each rule's outcome for each passage, and what it saw.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, Serializer};

use super::{
    Action, Mode, Outcome, Selected,
    ask::Seen,
    compile::{Compiled, Policy},
    threshold::Level,
};
use crate::{scan::Evidence, segment::Score};

/// What a policy makes of evidence.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// The policy.
    pub policy: String,
    /// Why it does not cover the call, if it does not: then its rules are not asked.
    pub misfit: Option<Misfit>,
    /// Its rules.
    pub rules: Vec<ExplainedRule>,
}

/// A part of a policy's scope that a call does not fit.
#[derive(Debug, Serialize)]
pub struct Misfit {
    /// The key in `[scope]`.
    pub key: String,
    /// What the call has there.
    pub value: String,
}

/// What a rule makes of evidence.
#[derive(Debug, Serialize)]
pub struct ExplainedRule {
    /// The rule.
    pub rule: String,
    /// What it does when it matches.
    pub action: Action,
    /// Whether it acts.
    pub mode: Mode,
    /// The share of exchanges in which it is asked, if not in all.
    pub sample: Option<f64>,
    /// What it makes of each passage, in order.
    pub passages: Vec<Asked>,
}

/// What a rule makes of a passage.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// Whether it matched, or why not.
    #[serde(serialize_with = "word")]
    pub outcome: Outcome,
    /// Its threshold, if it has one.
    pub threshold: Option<Compared>,
    /// Its detectors, if it has some.
    pub detectors: Option<Looked>,
    /// Its condition, if it has one.
    pub condition: Option<Evaluated>,
}

/// A score against a threshold.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// The guard.
    pub guard: String,
    /// P(unsafe), if the guard could tell.
    pub score: Option<f32>,
    /// From which P(unsafe) on the rule matches; `None` where it is the guard's own, and the guard could not tell.
    pub threshold: Option<f32>,
    /// Where the threshold stands: a key of the rule's table, or `guard` for the guard's own.
    pub from: String,
}

/// What was looked for.
#[derive(Debug, Serialize)]
pub struct Looked {
    /// The detectors that the rule names.
    pub wanted: Vec<String>,
    /// Those that found something.
    pub found: Vec<String>,
}

/// A condition and its answer.
#[derive(Debug, Serialize)]
pub struct Evaluated {
    /// The condition.
    pub condition: String,
    /// Whether it holds; `None` if it has no answer.
    pub holds: Option<bool>,
    /// Why it has no answer.
    pub failure: Option<String>,
    /// The variables that it read to get there, and their values.
    pub read: BTreeMap<String, serde_json::Value>,
}

fn word<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.word())
}

/// Explains what [`Selected::decide`] makes of the evidence: the same rules are asked of the same passages.
pub(super) fn explain(selected: &Selected, evidence: &Evidence) -> Vec<Explained> {
    let detectors = &selected.set.detectors;
    let seen: Vec<Seen<'_>> = evidence.passages.iter().map(|passage| Seen::new(passage, evidence, detectors)).collect();
    let explained = selected.set.policies.iter().map(|policy| {
        let misfit = policy.scope.misfit(&selected.call);
        let misfit = misfit.map(|(key, value)| Misfit { key: key.to_owned(), value: value.to_owned() });
        let rules = if misfit.is_some() { &[][..] } else { &policy.rules };
        let rule = |rule: &Compiled| ExplainedRule {
            rule: rule.name.clone(),
            action: rule.action,
            mode: rule.mode,
            sample: rule.sample.map(|sample| sample.share()),
            passages: seen.iter().map(|seen| asked(seen, policy, rule, selected)).collect(),
        };
        Explained { policy: policy.name.clone(), misfit, rules: rules.iter().map(rule).collect() }
    });
    explained.collect()
}

fn asked(seen: &Seen<'_>, policy: &Policy, rule: &Compiled, selected: &Selected) -> Asked {
    let outcome = seen.ask(policy, rule, selected);
    if matches!(outcome, Outcome::Elsewhere | Outcome::OtherLanguage) {
        return Asked { outcome, threshold: None, detectors: None, condition: None };
    }
    let passage = seen.passage;
    let threshold = rule.threshold.as_ref().map(|thresholds| {
        let score = passage.score(thresholds.guard).ok();
        let none = Score { value: 0.0, threshold: f32::INFINITY };
        let (least, entry) = thresholds.least(&score.unwrap_or(none), passage.target.task(), passage.languages());
        let threshold = Some(least).filter(|least| least.is_finite());
        let guard = selected.set.guards.get(thresholds.guard).map(|name| name.to_string()).unwrap_or_default();
        let from = match entry.level {
            Level::Guard(_) => "guard".to_owned(),
            Level::AtLeast(_) => entry.key.clone(),
        };
        Compared { guard, score: score.map(|score| score.value), threshold, from }
    });
    let looked = |rule: &Compiled| {
        let mut found: Vec<String> = seen.found_by(rule).map(|(_, finding)| finding.detector.to_string()).collect();
        found.sort_unstable();
        found.dedup();
        Looked { wanted: wanted(rule, selected), found }
    };
    let condition = rule.when.as_ref().map(|when| {
        let (answer, read) = seen.with_facts(when, selected, |facts| when.expression.watched(facts));
        let failure = answer.as_ref().err().map(ToString::to_string);
        Evaluated { condition: when.source.clone(), holds: answer.ok(), failure, read }
    });
    Asked { outcome, threshold, detectors: (!rule.detectors.is_empty()).then(|| looked(rule)), condition }
}

/// The names of the detectors that a rule looks for; a family that it names whole by its own name.
fn wanted(rule: &Compiled, selected: &Selected) -> Vec<String> {
    let family = |name: &str| name.split_once('.').map_or(name, |(family, _)| family).to_owned();
    let names: Vec<_> = selected.set.detectors.names().map(|(name, _)| name).collect();
    let is_wanted = |number: usize| rule.detectors.binary_search(&number).is_ok();
    let whole = |own: &str| names.iter().enumerate().all(|(number, name)| family(name) != own || is_wanted(number));
    let wanted = names.iter().enumerate().filter(|(number, _)| is_wanted(*number)).map(|(_, name)| name);
    let told = |name: &Arc<str>| Some(family(name)).filter(|own| whole(own)).unwrap_or_else(|| name.to_string());
    let mut told: Vec<String> = wanted.map(told).collect();
    told.dedup();
    told
}
