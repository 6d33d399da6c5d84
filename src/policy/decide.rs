//! The decision: what the rules make of the evidence. Pure, and quick for rules that do not match.

use std::cell::OnceCell;

use blake3::Hash;
use serde::Serialize;

use super::{
    Action, Mode, Respond, Selected,
    compile::{Compiled, Kinds, Policy},
    rule::{Redaction, Unjudged},
};
use crate::{
    guard::Unavailable,
    scan::{Evidence, Passage, detect, normalise},
    segment::{Edit, Finding, Score, Target},
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
    pub detectors: Vec<&'static str>,
    /// What could not be judged, or why.
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
    passage: &'e Passage,
    kind: Kinds,
    /// Numbers of the detectors that found something in it, in order.
    found: Vec<usize>,
    /// The hashes of all of it and, if it has several, of its parts; most texts are never asked for them.
    hashes: OnceCell<(Hash, Vec<Hash>)>,
}

/// What a rule makes of a passage.
enum Matched {
    No,
    Yes(Option<Score>),
    Unjudged(Unavailable),
}

struct Judge<'a> {
    selected: &'a Selected,
    evidence: &'a Evidence,
    decision: Decision,
}

pub(super) fn decide(selected: &Selected, evidence: &Evidence) -> Decision {
    let seen: Vec<Seen<'_>> = evidence.passages.iter().map(|passage| Seen::new(passage, evidence)).collect();
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
    for (_, edits) in &mut judge.decision.edits {
        tidy(edits);
    }
    judge.decision
}

impl<'e> Seen<'e> {
    fn new(passage: &'e Passage, evidence: &Evidence) -> Self {
        let mut found: Vec<usize> = findings(evidence, passage).filter_map(|(_, finding)| number(finding.detector)).collect();
        found.sort_unstable();
        found.dedup();
        Self { passage, kind: Kinds::of(evidence.direction, passage.target), found, hashes: OnceCell::new() }
    }

    /// Whether the policy is asked of this passage, and has not let it pass as known.
    fn concerns(&self, policy: &Policy, judge: &Judge<'_>) -> bool {
        policy.scope.speaks(self.passage.language) && (policy.exempt.is_empty() || !self.is_exempt(policy, judge))
    }

    /// Whether all of it, or each of its parts, is a text that the policy lets pass. A stream is judged in pieces that are
    /// known only if they are all of the answer.
    fn is_exempt(&self, policy: &Policy, judge: &Judge<'_>) -> bool {
        let (all, parts) = self.hashes.get_or_init(|| {
            let texts = self.passage.segments.iter().filter_map(|at| judge.evidence.segments.get(*at));
            let texts: Vec<&str> = texts.map(|segment| segment.text.as_str()).collect();
            (text_hash(&texts.join("\n")), texts.iter().map(|text| text_hash(text)).collect())
        });
        let today = judge.selected.call.today;
        let holds = |hash| policy.exempt.get(hash).is_some_and(|last| last.is_none_or(|last| today <= last));
        holds(all) || (!parts.is_empty() && parts.iter().all(holds))
    }
}

impl Compiled {
    fn is_asked(&self, draw: u64) -> bool {
        self.sample.is_none_or(|sample| sample.holds(draw))
    }

    fn wants(&self, detector: usize) -> bool {
        self.detectors.binary_search(&detector).is_ok()
    }

    fn matches(&self, seen: &Seen<'_>) -> Matched {
        if !self.kinds.meets(seen.kind) || !(self.detectors.is_empty() || seen.found.iter().any(|found| self.wants(*found))) {
            return Matched::No;
        }
        let Some(threshold) = &self.threshold else { return Matched::Yes(None) };
        match seen.passage.score(threshold.guard) {
            Ok(score) if threshold.is_reached(&score, seen.passage.target.task(), seen.passage.language) => {
                Matched::Yes(Some(score))
            }
            Ok(_) => Matched::No,
            Err(unavailable) => Matched::Unjudged(unavailable),
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
            let matched = rule.matches(seen);
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
                Matched::Yes(score) => {
                    reason.score = score.map(|score| score.value);
                    reason.detectors = self.found(rule, seen.passage).map(|(_, finding)| finding.detector).collect();
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
        let wanted = |(_, finding): &(usize, &Finding)| number(finding.detector).is_some_and(|number| rule.wants(number));
        findings(self.evidence, passage).filter(wanted)
    }

    fn redacted(&self, redaction: Redaction, segment: usize, finding: &Finding) -> Edit {
        let mask = detect::mask(finding.detector);
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

/// The number by which rules know a detector.
fn number(detector: &str) -> Option<usize> {
    detect::names().position(|(name, _)| name == detector)
}

/// Sorted and apart; where edits overlap, the larger one stands (a replaced text needs no masks).
fn tidy(edits: &mut Vec<Edit>) {
    edits.sort_by_key(|edit| (edit.range.start, std::cmp::Reverse(edit.range.end)));
    let mut end = 0;
    let mut first = true;
    edits.retain(|edit| {
        let apart = first || edit.range.start >= end;
        if apart {
            end = edit.range.end;
            first = false;
        }
        apart
    });
}
