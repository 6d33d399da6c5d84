//! The decision: what the rules make of the evidence. Pure, and quick for rules that do not match.

use std::{cell::OnceCell, sync::Arc};

use blake3::Hash;
use serde::Serialize;

use super::{
    Action, Mode, Respond, Selected,
    compile::{Compiled, Condition, Kinds, Policy},
    expression::{Facts, Failed},
    rule::{Redaction, Unjudged},
};
use crate::{
    guard::Unavailable,
    scan::{Evidence, Passage, detect::Detectors, normalise},
    segment::{Direction, Edit, Finding, Score, Target, merge},
};

/// What was decided for a text or an exchange, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The strictest action of all rules that act.
    pub action: Action,
    /// Every rule that matched, acting or not.
    pub reasons: Vec<Reason>,
    /// What is to be changed, by segment.
    pub edits: Vec<(usize, Vec<Edit>)>,
    /// How the exchange is refused, if it is.
    pub refusal: Option<Refused>,
}

/// A rule that matched, or a policy's word for what could not be judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The policy.
    pub policy: String,
    /// The rule, or `on_unscorable`.
    pub rule: String,
    /// What the rule does.
    pub action: Action,
    /// Whether it acted.
    pub mode: Mode,
    /// The kind of text that it matched, if it was text.
    pub target: Option<Target>,
    /// P(unsafe) of that text, where the rule asked for it.
    pub score: Option<f32>,
    /// What the detectors found there, where the rule asked for it.
    pub detectors: Vec<String>,
    /// What could not be judged, or why; or why its condition has no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How an exchange is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// A rule blocks it.
    Blocked {
        /// What the user reads.
        message: String,
        /// As an answer or as an error.
        respond: Respond,
    },
    /// The guard could not judge it.
    Unjudged(Unavailable),
    /// It holds content that cannot be judged.
    Unscorable(String),
}

/// The hash by which a policy names a text that it lets pass.
#[must_use]
pub fn text_hash(text: &str) -> Hash {
    blake3::hash(normalise::fold(text).text().as_bytes())
}

/// A passage, and what rules ask of it worked out once for all of them.
struct Seen<'e> {
    evidence: &'e Evidence,
    passage: &'e Passage,
    kind: Kinds,
    /// Numbers of the detectors that found something in it, in order.
    found: Vec<usize>,
    /// The hashes of all of it and, if it has several, of its parts; most texts are never asked for them.
    hashes: OnceCell<(Hash, Vec<Hash>)>,
    /// What conditions may ask of it.
    facts: OnceCell<Known<'e>>,
}

/// What conditions may ask of a passage.
struct Known<'e> {
    findings: Vec<&'e str>,
    scores: Vec<(Arc<str>, f64)>,
}

/// What a rule makes of a passage.
enum Matched {
    No,
    /// The score that it asked for, and why its condition, which has no answer, counts as holding.
    Yes(Option<Score>, Option<String>),
    Unjudged(Unavailable),
}

struct Judge<'a> {
    selected: &'a Selected,
    evidence: &'a Evidence,
    decision: Decision,
}

pub(super) fn decide(selected: &Selected, evidence: &Evidence) -> Decision {
    let seen: Vec<Seen<'_>> =
        evidence.passages.iter().map(|passage| Seen::new(passage, evidence, &selected.set.detectors)).collect();
    let kinds = seen.iter().fold(Kinds::default(), |kinds, seen| kinds.with(seen.kind));
    let decision = Decision { action: Action::Allow, reasons: Vec::new(), edits: Vec::new(), refusal: None };
    let mut judge = Judge { selected, evidence, decision };
    for policy in selected.policies() {
        judge.unscorable(policy);
        let asked = policy.rules.iter().filter(|rule| rule.kinds.meets(kinds) && rule.is_asked(selected.call.draw));
        for rule in asked {
            judge.ask(policy, rule, &seen);
        }
    }
    for (segment, edits) in &mut judge.decision.edits {
        let length = evidence.segments.get(*segment).map_or(0, |segment| segment.text.len());
        // What takes the place of the whole text says what stands there.
        edits.sort_by_key(|edit| edit.range.end < length);
        merge(edits);
    }
    judge.decision
}

impl<'e> Seen<'e> {
    fn new(passage: &'e Passage, evidence: &'e Evidence, detectors: &Detectors) -> Self {
        let numbers = findings(evidence, passage).filter_map(|(_, finding)| detectors.number(&finding.detector));
        let mut found: Vec<usize> = numbers.collect();
        found.sort_unstable();
        found.dedup();
        let kind = Kinds::of(evidence.direction, passage.target);
        Self { evidence, passage, kind, found, hashes: OnceCell::new(), facts: OnceCell::new() }
    }

    /// Whether the policy is asked of this passage, and has not let it pass as known.
    fn concerns(&self, policy: &Policy, judge: &Judge<'_>) -> bool {
        policy.scope.speaks(self.passage.language) && (policy.exempt.is_empty() || !self.is_exempt(policy, judge.selected))
    }

    /// Whether all of it, or each of its parts, is a text that the policy lets pass. A stream is judged in pieces that are
    /// known only if they are all of the answer.
    fn is_exempt(&self, policy: &Policy, selected: &Selected) -> bool {
        let (all, parts) = self.hashes.get_or_init(|| {
            let texts = self.passage.segments.iter().filter_map(|at| self.evidence.segments.get(*at));
            let texts: Vec<&str> = texts.map(|segment| segment.text.as_str()).collect();
            (text_hash(&texts.join("\n")), texts.iter().map(|text| text_hash(text)).collect())
        });
        let today = selected.call.today;
        let holds = |hash| policy.exempt.get(hash).is_some_and(|last| last.is_none_or(|last| today <= last));
        holds(all) || (!parts.is_empty() && parts.iter().all(holds))
    }
}

impl Seen<'_> {
    fn holds(&self, when: &Condition, own: Option<Score>, selected: &Selected) -> Result<bool, Failed> {
        let known = self.facts.get_or_init(|| Known::new(self.passage, self.evidence, selected));
        when.expression.holds(&Facts {
            score: own.map(|score| decimal(score.value)),
            threshold: own.map(|score| decimal(score.threshold)),
            scores: &known.scores,
            findings: &known.findings,
            language: self.passage.language.unwrap_or_default(),
            target: self.passage.target.name(),
            direction: match self.evidence.direction {
                Direction::Request => "request",
                Direction::Response => "response",
            },
            call: &selected.facts,
        })
    }
}

impl<'e> Known<'e> {
    fn new(passage: &'e Passage, evidence: &'e Evidence, selected: &Selected) -> Self {
        let mut findings: Vec<&str> = findings(evidence, passage).map(|(_, finding)| &*finding.detector).collect();
        findings.sort_unstable();
        findings.dedup();
        let scores = passage.verdicts.iter().filter_map(|verdict| {
            let name = Arc::clone(selected.set.guards.get(verdict.guard)?);
            Some((name, decimal(verdict.score.as_ref().ok()?.value)))
        });
        Self { findings, scores: scores.collect() }
    }
}

/// A probability as people write it: 0.7, where the nearest `f32` is 0.699999988.
fn decimal(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}

impl Compiled {
    fn is_asked(&self, draw: u64) -> bool {
        self.sample.is_none_or(|sample| sample.holds(draw))
    }

    fn wants(&self, detector: usize) -> bool {
        self.detectors.binary_search(&detector).is_ok()
    }

    fn matches(&self, seen: &Seen<'_>, selected: &Selected) -> Matched {
        if !self.kinds.meets(seen.kind) || !(self.detectors.is_empty() || seen.found.iter().any(|found| self.wants(*found))) {
            return Matched::No;
        }
        let mut told = None;
        if let Some(threshold) = &self.threshold {
            match seen.passage.score(threshold.guard) {
                Ok(score) if threshold.is_reached(&score, seen.passage.target.task(), seen.passage.language) => {
                    told = Some(score)
                }
                Ok(_) => return Matched::No,
                Err(unavailable) => return Matched::Unjudged(unavailable),
            }
        }
        let Some(when) = &self.when else { return Matched::Yes(told, None) };
        if let Some(unavailable) = when.guards.iter().find_map(|guard| seen.passage.score(*guard).err()) {
            return Matched::Unjudged(unavailable);
        }
        let own = seen.passage.score(when.guard).ok();
        match seen.holds(when, own, selected) {
            Ok(true) => Matched::Yes(told.or(own.filter(|_| when.expression.asks().score)), None),
            Ok(false) => Matched::No,
            // A rule only ever makes a decision stricter.
            Err(failed) => Matched::Yes(told, Some(format!("its condition has no answer: {failed}"))),
        }
    }
}

impl Judge<'_> {
    /// What the policy says of content that no guard can judge. It has no language.
    fn unscorable(&mut self, policy: &Policy) {
        let Some(kind) = self.evidence.unscorable.first() else { return };
        if !policy.scope.speaks(None) {
            return;
        }
        let reason = Reason {
            policy: policy.name.clone(),
            rule: "on_unscorable".to_owned(),
            action: Action::Allow,
            mode: policy.mode,
            target: None,
            score: None,
            detectors: Vec::new(),
            note: Some(kind.clone()),
        };
        let known = self.decision.reasons.len();
        self.unjudged(policy.on_unscorable, reason, known, Refused::Unscorable(kind.clone()));
    }

    fn ask(&mut self, policy: &Policy, rule: &Compiled, seen: &[Seen<'_>]) {
        let known = self.decision.reasons.len();
        for seen in seen {
            let matched = rule.matches(seen, self.selected);
            if matches!(matched, Matched::No) || !seen.concerns(policy, self) {
                continue;
            }
            let mut reason = Reason {
                policy: policy.name.clone(),
                rule: rule.name.clone(),
                action: rule.action,
                mode: rule.mode,
                target: Some(seen.passage.target),
                score: None,
                detectors: Vec::new(),
                note: None,
            };
            match matched {
                Matched::No => {}
                Matched::Unjudged(unavailable) => {
                    reason.note = Some(unavailable.public());
                    self.unjudged(rule.on_guard_error, reason, known, Refused::Unjudged(unavailable));
                }
                Matched::Yes(score, note) => {
                    reason.note = note;
                    reason.score = score.map(|score| score.value);
                    reason.detectors =
                        self.found(rule, seen.passage).map(|(_, finding)| finding.detector.to_string()).collect();
                    reason.detectors.sort_unstable();
                    reason.detectors.dedup();
                    self.because(reason, known);
                    if rule.mode == Mode::Enforce {
                        self.act(rule, seen.passage);
                    }
                }
            }
        }
    }

    fn unjudged(&mut self, word: Unjudged, mut reason: Reason, known: usize, refused: Refused) {
        let enforced = reason.mode == Mode::Enforce;
        reason.action = match word {
            Unjudged::Allow => return,
            Unjudged::Flag => Action::Flag,
            Unjudged::Block => Action::Block,
        };
        if enforced {
            self.decision.action = self.decision.action.max(reason.action);
        }
        if enforced && word == Unjudged::Block {
            self.refuse(refused);
        }
        self.because(reason, known);
    }

    /// Keeps a reason, once: the same text can be in several passages. Those from `known` on are the same rule's.
    fn because(&mut self, reason: Reason, known: usize) {
        if !self.decision.reasons.iter().skip(known).any(|own| *own == reason) {
            self.decision.reasons.push(reason);
        }
    }

    fn act(&mut self, rule: &Compiled, passage: &Passage) {
        self.decision.action = self.decision.action.max(rule.action);
        let message = || rule.messages.said(self.selected.call.language).to_owned();
        match rule.action {
            Action::Block => {
                let message = message();
                self.refuse(Refused::Blocked { message, respond: rule.respond });
            }
            Action::Redact => {
                let edits: Vec<(usize, Edit)> = self
                    .found(rule, passage)
                    .map(|(segment, finding)| (segment, self.redacted(rule.redact, segment, finding)))
                    .collect();
                for (segment, edit) in edits {
                    self.edit(segment, edit);
                }
            }
            Action::Replace => {
                // The message stands where the first part was; the other parts are emptied.
                let mut with = message();
                for &segment in &passage.segments {
                    let length = self.evidence.segments.get(segment).map_or(0, |segment| segment.text.len());
                    self.edit(segment, Edit { range: 0..length, with: std::mem::take(&mut with) });
                }
            }
            Action::Allow | Action::Flag => {}
        }
    }

    /// What the rule's detectors found in a passage, by segment.
    fn found<'s>(&'s self, rule: &'s Compiled, passage: &'s Passage) -> impl Iterator<Item = (usize, &'s Finding)> {
        let number = |finding: &Finding| self.selected.set.detectors.number(&finding.detector);
        let wanted = move |(_, finding): &(usize, &Finding)| number(finding).is_some_and(|number| rule.wants(number));
        findings(self.evidence, passage).filter(wanted)
    }

    fn redacted(&self, redaction: Redaction, segment: usize, finding: &Finding) -> Edit {
        let mask = self.selected.set.detectors.mask(&finding.detector);
        let text = self.evidence.segments.get(segment).and_then(|segment| segment.text.get(finding.range.clone()));
        let with = match (redaction, text) {
            (Redaction::Hash, Some(text)) => {
                let hash = self.selected.set.hash_key.pseudonym(text);
                mask.strip_suffix(']').map_or_else(|| format!("{mask} {hash}"), |mask| format!("{mask} {hash}]"))
            }
            (Redaction::Hash, None) | (Redaction::Mask, _) => mask.to_owned(),
        };
        Edit { range: finding.range.clone(), with }
    }

    /// The first refusal stands; a block by a rule is told rather than a failure.
    fn refuse(&mut self, refused: Refused) {
        self.decision.action = Action::Block;
        let blocked = |refused: &Refused| matches!(refused, Refused::Blocked { .. });
        if self.decision.refusal.as_ref().is_none_or(|earlier| blocked(&refused) && !blocked(earlier)) {
            self.decision.refusal = Some(refused);
        }
    }

    fn edit(&mut self, segment: usize, edit: Edit) {
        let edits = &mut self.decision.edits;
        match edits.binary_search_by_key(&segment, |(index, _)| *index) {
            Ok(at) => {
                if let Some((_, own)) = edits.get_mut(at) {
                    own.push(edit);
                }
            }
            Err(at) => edits.insert(at, (segment, vec![edit])),
        }
    }
}

impl Decision {
    /// The word for this decision in headers, logs and records.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.action {
            Action::Allow => "allow",
            Action::Flag => "flag",
            Action::Redact | Action::Replace => "rewrite",
            Action::Block => "block",
        }
    }
}

fn findings<'e>(evidence: &'e Evidence, passage: &'e Passage) -> impl Iterator<Item = (usize, &'e Finding)> {
    let of = |segment: &usize| {
        let findings = evidence.findings.get(*segment).into_iter().flatten();
        let segment = *segment;
        findings.map(move |finding| (segment, finding))
    };
    passage.segments.iter().flat_map(of)
}
