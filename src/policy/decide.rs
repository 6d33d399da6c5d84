//! The decision: what the rules make of the evidence. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Action, Mode, Outcome, Respond, Selected, Unstored,
    ask::Seen,
    compile::{Compiled, Kinds, Policy},
    placeholder::{self, Placeholders, With},
    rule::{Redaction, Unjudged},
};
use crate::{
    guard::Unavailable,
    scan::{Evidence, Passage},
    segment::{Direction, Edit, Finding, Target, merge},
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
    /// What stands for values in these edits, for the answer.
    pub placeholders: Placeholders,
    /// How the exchange is refused, if it is.
    pub refusal: Option<Refused>,
    /// What the strictest of the policies with reasons says of a store that cannot take the record.
    pub on_store_error: Option<Unstored>,
}

/// A rule that matched, or a policy's word for what could not be judged.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
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
    /// From which P(unsafe) on the rule matched that text; `None` if it asked for no score, or in its condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// What the detectors found there, where the rule asked for it.
    pub detectors: Vec<String>,
    /// What could not be judged, or why; or why its condition has no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Reason {
    /// A rule that matched a passage, without what it asked for there.
    pub(super) fn new(policy: &Policy, rule: &Compiled, passage: &Passage) -> Self {
        Self {
            policy: policy.name.clone(),
            rule: rule.name.clone(),
            action: rule.action,
            mode: rule.mode,
            target: Some(passage.target),
            score: None,
            threshold: None,
            detectors: Vec::new(),
            note: None,
        }
    }
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

struct Judge<'a> {
    selected: &'a Selected,
    evidence: &'a Evidence,
    decision: Decision,
    /// What is to be changed, by segment, placeholders yet to be named.
    changes: Vec<(usize, Vec<Edit<With>>)>,
}

pub(super) fn decide(selected: &Selected, evidence: &Evidence) -> Decision {
    let seen: Vec<Seen<'_>> =
        evidence.passages.iter().map(|passage| Seen::new(passage, evidence, &selected.set.detectors)).collect();
    let kinds = seen.iter().fold(Kinds::default(), |kinds, seen| kinds.with(seen.kind));
    let (reasons, edits, placeholders) = Default::default();
    let decision = Decision { action: Action::Allow, reasons, edits, placeholders, refusal: None, on_store_error: None };
    let mut judge = Judge { selected, evidence, decision, changes: Vec::new() };
    for policy in selected.policies() {
        let known = judge.decision.reasons.len();
        judge.unscorable(policy);
        let asked = policy.rules.iter().filter(|rule| rule.kinds.meets(kinds) && rule.is_asked(selected.call.draw));
        for rule in asked {
            judge.ask(policy, rule, &seen);
        }
        if judge.decision.reasons.len() > known {
            judge.decision.on_store_error = judge.decision.on_store_error.max(Some(policy.on_store_error));
        }
    }
    let Judge { mut decision, mut changes, .. } = judge;
    for (segment, changes) in &mut changes {
        let length = evidence.segments.get(*segment).map_or(0, |segment| segment.text.len());
        // What takes the place of the whole text says what stands there.
        changes.sort_by_key(|change| change.range.end < length);
        merge(changes);
    }
    (decision.edits, decision.placeholders) = placeholder::name(&evidence.segments, changes);
    decision
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
            threshold: None,
            detectors: Vec::new(),
            note: Some(kind.clone()),
        };
        let known = self.decision.reasons.len();
        self.unjudged(policy.on_unscorable, reason, known, Refused::Unscorable(kind.clone()));
    }

    fn ask(&mut self, policy: &Policy, rule: &Compiled, seen: &[Seen<'_>]) {
        let known = self.decision.reasons.len();
        for seen in seen {
            match seen.ask(policy, rule, self.selected) {
                Outcome::Matched(reason) => {
                    self.because(reason, known);
                    if rule.mode == Mode::Enforce {
                        self.act(rule, seen);
                    }
                }
                Outcome::Unjudged(unavailable) => {
                    // Callers choose how long their texts are: that is no outage, which a policy may let pass.
                    let word =
                        if matches!(unavailable, Unavailable::TooLong(_)) { Unjudged::Block } else { rule.on_guard_error };
                    let reason = Reason { note: Some(unavailable.public()), ..Reason::new(policy, rule, seen.passage) };
                    self.unjudged(word, reason, known, Refused::Unjudged(unavailable));
                }
                Outcome::Elsewhere
                | Outcome::OtherLanguage
                | Outcome::NotDrawn
                | Outcome::NothingFound
                | Outcome::Below { .. }
                | Outcome::Unmet
                | Outcome::Exempt => {}
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

    fn act(&mut self, rule: &Compiled, seen: &Seen<'_>) {
        self.decision.action = self.decision.action.max(rule.action);
        let message = || rule.messages.said(self.selected.call.language).to_owned();
        match rule.action {
            // The first block is the one that is told.
            Action::Block if matches!(self.decision.refusal, Some(Refused::Blocked { .. })) => {}
            Action::Block => {
                let message = message();
                self.refuse(Refused::Blocked { message, respond: rule.respond });
            }
            Action::Redact => {
                for (segment, finding) in seen.found_by(rule) {
                    let change = self.redacted(rule.redact, segment, finding);
                    self.change(segment, change);
                }
            }
            Action::Replace => {
                // The message stands where the first part was; the other parts are emptied.
                let mut with = message();
                for &segment in &seen.passage.segments {
                    let length = self.evidence.segments.get(segment).map_or(0, |segment| segment.text.len());
                    self.change(segment, Edit { range: 0..length, with: With::Text(std::mem::take(&mut with)) });
                }
            }
            Action::Allow | Action::Flag => {}
        }
    }

    fn redacted(&self, redaction: Redaction, segment: usize, finding: &Finding) -> Edit<With> {
        let mask = self.selected.set.detectors.mask(&finding.detector);
        let text = self.evidence.segments.get(segment).and_then(|segment| segment.text.get(finding.range.clone()));
        let with = match (redaction, text) {
            (Redaction::Hash, Some(text)) => {
                let hash = self.selected.set.hash_key.pseudonym(text);
                With::Text(mask.strip_suffix(']').map_or_else(|| format!("{mask} {hash}"), |mask| format!("{mask} {hash}]")))
            }
            (Redaction::Placeholder, Some(_)) if self.evidence.direction == Direction::Request => {
                With::Placeholder(mask.to_owned())
            }
            (Redaction::Mask | Redaction::Hash | Redaction::Placeholder, _) => With::Text(mask.to_owned()),
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

    fn change(&mut self, segment: usize, change: Edit<With>) {
        let changes = &mut self.changes;
        match changes.binary_search_by_key(&segment, |(index, _)| *index) {
            Ok(at) => {
                if let Some((_, own)) = changes.get_mut(at) {
                    own.push(change);
                }
            }
            Err(at) => changes.insert(at, (segment, vec![change])),
        }
    }
}

impl Decision {
    /// The word for this decision in headers, logs and records.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.action.word()
    }
}
