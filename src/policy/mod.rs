//! Policies: from evidence to a decision. Pure: no I/O here, no clock, no HTTP, no dialect.
//!
//! [`Policies::settle`] is the only way from assessed text to text that may be sent on.

mod load;
mod own;
mod rule;

use serde::Serialize;

pub use self::{
    load::LoadError,
    own::OwnDetector,
    rule::{Action, Mode, Policy, Respond, Rule, Threshold, Unjudged},
};
use crate::{
    guard::Unavailable,
    scan::{Ask, Assessed, Evidence, Passage},
    segment::{Edit, Target, merge},
    wire::json::{Document, Malformed, Patch},
};

/// What a user reads whose prompt or answer was blocked, unless the rule says otherwise.
pub(crate) const BLOCKED: &str = "Sorry, I can't help with that: this message was stopped by a safety policy.";

/// The policies in force.
#[derive(Debug)]
pub struct Policies {
    policies: Vec<Policy>,
    revision: String,
    ask: Ask,
}

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

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The policy.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// What the rule does.
    pub action: Action,
    /// Whether it acted.
    pub mode: Mode,
    /// The kind of text that it matched.
    pub target: Target,
    /// P(unsafe) of that text, where the rule asked for it.
    pub score: Option<f32>,
    /// What the detectors found there, where the rule asked for it.
    pub detectors: Vec<String>,
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

/// What becomes of a body.
#[derive(Debug)]
pub enum Settled {
    /// It goes on.
    Forward(Scanned),
    /// It does not.
    Refuse(Refused),
}

/// A body whose every text was judged, edits made: the only thing that is ever sent on.
#[derive(Debug)]
pub struct Scanned {
    body: String,
}

impl Scanned {
    /// The body.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The bytes to send.
    #[must_use]
    pub fn into_body(self) -> String {
        self.body
    }
}

impl Policies {
    /// A name for exactly these rules: changes when any of them does.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What a scan must be asked for the policies to decide.
    #[must_use]
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// The policies' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name.as_str())
    }

    /// Decides on an assessed body, and makes the edits that the rules ask for; `patches` turns edits of segments into patches
    /// of the body.
    ///
    /// # Errors
    /// An edit that has no place to go.
    pub fn settle(
        &self,
        assessed: Assessed,
        patches: impl FnOnce(&Evidence, &[(usize, Vec<Edit>)]) -> Result<Vec<Patch>, Malformed>,
    ) -> Result<(Settled, Decision, Evidence), Malformed> {
        let (document, evidence): (Document, Evidence) = assessed.into_parts();
        let decision = self.decide(&evidence);
        if let Some(refused) = decision.refusal.clone() {
            return Ok((Settled::Refuse(refused), decision, evidence));
        }
        let patches = if decision.edits.is_empty() { Vec::new() } else { patches(&evidence, &decision.edits)? };
        Ok((Settled::Forward(Scanned { body: document.splice(patches)? }), decision, evidence))
    }

    /// Decides on evidence: every rule of every policy is asked of every passage.
    #[must_use]
    pub fn decide(&self, evidence: &Evidence) -> Decision {
        let mut decision = Decision { action: Action::Allow, reasons: Vec::new(), edits: Vec::new(), refusal: None };
        for policy in &self.policies {
            if policy.on_unscorable == Unjudged::Block
                && let Some(kind) = evidence.unscorable.first()
            {
                decision.refuse(Refused::Unscorable(kind.clone()));
            }
            for rule in &policy.rules {
                for passage in &evidence.passages {
                    decision.apply((policy, rule), passage, evidence, &self.ask);
                }
            }
        }
        for (_, edits) in &mut decision.edits {
            merge(edits);
        }
        decision
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

    fn apply(&mut self, (policy, rule): (&Policy, &Rule), passage: &Passage, evidence: &Evidence, ask: &Ask) {
        if !rule.targets.contains(&passage.target) || rule.direction.is_some_and(|direction| direction != evidence.direction) {
            return;
        }
        let mut reason = Reason {
            policy: policy.name.clone(),
            rule: rule.name.clone(),
            action: rule.action,
            mode: rule.mode,
            target: passage.target,
            score: None,
            detectors: Vec::new(),
        };
        if let Some(threshold) = rule.threshold {
            let score = match &passage.score {
                Ok(score) => score,
                Err(unavailable) => {
                    if policy.on_guard_error == Unjudged::Block && rule.mode == Mode::Enforce {
                        self.refuse(Refused::Unjudged(unavailable.clone()));
                    }
                    return;
                }
            };
            let least = match threshold {
                Threshold::Guard => score.threshold,
                Threshold::AtLeast(value) => value,
            };
            if score.value < least {
                return;
            }
            reason.score = Some(score.value);
        }
        let found = |segment: &usize| evidence.findings.get(*segment).map(Vec::as_slice).unwrap_or_default();
        if !rule.detectors.is_empty() {
            let names = passage.segments.iter().flat_map(found).map(|finding| &*finding.detector);
            reason.detectors = names.filter(|name| rule.wants(name)).map(str::to_owned).collect();
            reason.detectors.sort_unstable();
            reason.detectors.dedup();
            if reason.detectors.is_empty() {
                return;
            }
        }
        // The same text can be in several passages; one reason for all of them is enough.
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
        if rule.mode == Mode::Shadow {
            return;
        }
        self.action = self.action.max(rule.action);
        match rule.action {
            Action::Block => self.refuse(Refused::Blocked {
                message: rule.message.clone().unwrap_or_else(|| BLOCKED.to_owned()),
                respond: rule.respond,
            }),
            Action::Redact => {
                for &segment in &passage.segments {
                    let wanted = found(&segment).iter().filter(|finding| rule.wants(&finding.detector));
                    let masked = wanted.map(|finding| Edit {
                        range: finding.range.clone(),
                        with: ask.detectors.mask(&finding.detector).to_owned(),
                    });
                    self.edit(segment, masked.collect());
                }
            }
            Action::Replace => {
                // The message stands where the first part was; the other parts are emptied.
                let mut with = rule.message.clone().unwrap_or_default();
                for &segment in &passage.segments {
                    let length = evidence.segments.get(segment).map_or(0, |segment| segment.text.len());
                    self.edit(segment, vec![Edit { range: 0..length, with: std::mem::take(&mut with) }]);
                }
            }
            Action::Allow | Action::Flag => {}
        }
    }

    /// The first refusal stands; a block by a rule is told rather than a failure.
    fn refuse(&mut self, refused: Refused) {
        self.action = Action::Block;
        let blocked = |refused: &Refused| matches!(refused, Refused::Blocked { .. });
        if self.refusal.as_ref().is_none_or(|earlier| blocked(&refused) && !blocked(earlier)) {
            self.refusal = Some(refused);
        }
    }

    fn edit(&mut self, segment: usize, edits: Vec<Edit>) {
        if edits.is_empty() {
            return;
        }
        match self.edits.binary_search_by_key(&segment, |(index, _)| *index) {
            Ok(at) => self.edits.get_mut(at).into_iter().for_each(|(_, own)| own.extend_from_slice(&edits)),
            Err(at) => self.edits.insert(at, (segment, edits)),
        }
    }
}

#[cfg(test)]
mod tests;
