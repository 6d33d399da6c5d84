//! One exchange's file: who asked what, what was decided on the way, and the case that is made of it when it is flagged.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::admit::Admitted;
use crate::{
    policy::{Action, Decision, Reason, Selected},
    review::{self, Case, Text},
    scan::{self, Evidence, Which, detect::Detectors},
    segment::Segment,
};

/// What is known of an exchange so far.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    at: Timestamp,
    begun: Instant,
    pub(super) dialect: &'static str,
    /// Who calls. The call is in flight as long as this is there.
    pub(super) admitted: Admitted,
    /// Whether the request's verdicts came from the cache; `None` when nothing was scored.
    pub(super) cached: Option<bool>,
    model: String,
    stream: bool,
    /// The policies' revision.
    policy: String,
    /// What they look for, which is masked in the case.
    detectors: Arc<Detectors>,
    action: Action,
    word: &'static str,
    reasons: Vec<Reason>,
    score: Option<f32>,
    /// The guard that gave it, and which of its cascade.
    guard: (usize, Which),
    language: Option<&'static str>,
    request: Vec<Segment>,
    response: Vec<Segment>,
}

impl Record {
    pub(super) fn new(dialect: &'static str) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            at: Timestamp::now(),
            begun: Instant::now(),
            dialect,
            admitted: Admitted::default(),
            cached: None,
            model: String::new(),
            stream: false,
            policy: String::new(),
            detectors: Arc::default(),
            action: Action::Allow,
            word: "allow",
            reasons: Vec::new(),
            score: None,
            guard: (scan::DEFAULT, Which::First),
            language: None,
            request: Vec::new(),
            response: Vec::new(),
        }
    }

    pub(super) fn asked(&mut self, model: &str, stream: bool) {
        model.clone_into(&mut self.model);
        self.stream = stream;
    }

    /// Keeps what the record needs of the policies that were chosen for the exchange.
    pub(super) fn covered(&mut self, policies: &Selected) {
        policies.revision().clone_into(&mut self.policy);
        self.detectors = Arc::clone(&policies.ask().detectors);
    }

    /// Adds a decision and the evidence that it rests on.
    pub(super) fn decided(&mut self, decision: &Decision, evidence: &Evidence) {
        if decision.action > self.action {
            self.action = decision.action;
            self.word = decision.word();
        }
        for reason in &decision.reasons {
            match self
                .reasons
                .iter_mut()
                .find(|own| own.rule == reason.rule && own.policy == reason.policy && own.target == reason.target)
            {
                Some(own) if own.score < reason.score => *own = reason.clone(),
                Some(_) => {}
                None => self.reasons.push(reason.clone()),
            }
        }
        for passage in &evidence.passages {
            for verdict in &passage.verdicts {
                if let Ok(score) = &verdict.score
                    && self.score.is_none_or(|worst| score.value > worst)
                {
                    self.score = Some(score.value);
                    self.guard = (verdict.guard, verdict.by);
                    self.language = passage.language;
                }
            }
        }
    }

    /// Keeps the request's text for the case that may be made of it.
    pub(super) fn requested(&mut self, segments: Vec<Segment>) {
        self.request = segments;
    }

    /// Keeps the answer's text so far.
    pub(super) fn answered(&mut self, segments: Vec<Segment>) {
        self.response = segments;
    }

    /// Rules that have matched so far.
    pub(super) fn matches(&self) -> usize {
        self.reasons.len()
    }

    /// Whether a person is to see it: any rule matched, in shadow too.
    pub(super) fn is_flagged(&self) -> bool {
        self.action > Action::Allow || !self.reasons.is_empty()
    }

    /// The exchange was refused before or beside any rule.
    pub(super) fn refused(&mut self) {
        self.action = Action::Block;
        self.word = "block";
    }

    /// The guard that decided what mattered, and which of its cascade.
    pub(super) fn guard(&self) -> (usize, Which) {
        self.guard
    }

    pub(super) fn word(&self) -> &'static str {
        self.word
    }

    pub(super) fn elapsed(&self) -> std::time::Duration {
        self.begun.elapsed()
    }

    pub(super) fn case(&self, guard: &str) -> Case {
        let text = |segment| Text::of(segment, &self.detectors);
        Case {
            id: self.id.clone(),
            at: self.at.to_string(),
            decision: self.word.to_owned(),
            dialect: self.dialect.to_owned(),
            model: self.model.clone(),
            stream: self.stream,
            language: self.language.map(str::to_owned),
            score: self.score,
            guard: guard.to_owned(),
            policy: self.policy.clone(),
            reasons: review::reasons(&self.reasons),
            request: self.request.iter().map(text).collect(),
            response: self.response.iter().map(text).collect(),
        }
    }
}
