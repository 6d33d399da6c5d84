//! What is told of an exchange that was tried: for people who ask why.

use serde::Serialize;

use super::{Guards, Step, Tried};
use crate::{
    policy::{Explained, Reason, text_hash},
    scan::Passage,
    segment::{Direction, Target},
};

/// An exchange that was tried, explained.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Whether a policy covers the call.
    pub covered: bool,
    /// What is decided on the whole of it.
    pub decision: &'static str,
    /// What the client reads instead, if it is refused.
    pub message: Option<String>,
    /// The request and the answer, as far as there are any.
    pub sides: Vec<Side>,
}

/// The request or the answer.
#[derive(Debug, Serialize)]
pub struct Side {
    /// Which.
    pub direction: Direction,
    /// The texts that were judged.
    pub passages: Vec<Judged>,
    /// Content that no guard can judge.
    pub unscorable: Vec<String>,
    /// What each policy makes of the passages.
    pub policies: Vec<Explained>,
    /// What is decided on this side.
    pub decision: &'static str,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The texts that are changed, as they go on.
    pub changed: Vec<Changed>,
    /// The body as it goes on, if it does and there is one.
    pub body: Option<String>,
}

/// A text that was judged.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// What it is to the model.
    pub target: Target,
    /// Its language, if it tells.
    pub language: Option<&'static str>,
    /// The text.
    pub text: String,
    /// Its hash, for `[[exempt]]`.
    pub hash: String,
    /// What the guards say of it that are asked.
    pub scores: Vec<Scored>,
    /// What was found in it.
    pub findings: Vec<Found>,
}

/// A guard's word.
#[derive(Debug, Serialize)]
pub struct Scored {
    /// The guard.
    pub guard: String,
    /// P(unsafe).
    pub score: Option<f32>,
    /// The guard's own threshold.
    pub threshold: Option<f32>,
    /// Why there is no score.
    pub failure: Option<String>,
}

/// What a detector found, in characters of the passage's text.
#[derive(Debug, Serialize)]
pub struct Found {
    /// The detector.
    pub detector: String,
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// A text that is changed.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// What it is to the model.
    pub target: Target,
    /// As it goes on.
    pub text: String,
}

impl Explanation {
    /// Explains what was tried.
    #[must_use]
    pub fn new(tried: &Tried, guards: &Guards) -> Self {
        let sides = std::iter::once(&tried.request).chain(&tried.answer);
        let sides = sides.filter(|step| !(step.evidence.segments.is_empty() && step.evidence.unscorable.is_empty()));
        Self {
            covered: tried.is_covered(),
            decision: tried.word(),
            message: tried.message(),
            sides: sides.map(|step| Side::new(step, tried, guards)).collect(),
        }
    }
}

impl Side {
    fn new(step: &Step, tried: &Tried, guards: &Guards) -> Self {
        let Step { evidence, decision, edits, body } = step;
        let texts = step.texts().unwrap_or_default();
        let changed = edits.iter().filter_map(|(at, _)| texts.get(*at));
        Self {
            direction: evidence.direction,
            passages: evidence.passages.iter().map(|passage| Judged::new(passage, step, guards)).collect(),
            unscorable: evidence.unscorable.clone(),
            policies: tried.selected.explain(evidence),
            decision: decision.word(),
            reasons: decision.reasons.clone(),
            changed: changed.map(|segment| Changed { target: segment.target, text: segment.text.clone() }).collect(),
            body: body.clone(),
        }
    }
}

impl Judged {
    fn new(passage: &Passage, step: &Step, guards: &Guards) -> Self {
        let (mut text, mut findings) = (String::new(), Vec::new());
        for (number, at) in passage.segments.iter().enumerate() {
            let Some(segment) = step.evidence.segments.get(*at) else { continue };
            if number > 0 {
                text.push('\n');
            }
            let before = text.chars().count();
            let chars = |byte: usize| before + segment.text.get(..byte).map_or(0, |part| part.chars().count());
            findings.extend(step.evidence.findings.get(*at).into_iter().flatten().map(|finding| Found {
                detector: finding.detector.to_string(),
                start: chars(finding.range.start),
                end: chars(finding.range.end),
            }));
            text.push_str(&segment.text);
        }
        let scores = passage.verdicts.iter().map(|verdict| {
            let score = verdict.score.as_ref().ok();
            Scored {
                guard: guards.names().nth(verdict.guard).unwrap_or_default().to_owned(),
                score: score.map(|score| score.value),
                threshold: score.map(|score| score.threshold),
                failure: verdict.score.as_ref().err().map(ToString::to_string),
            }
        });
        Self {
            target: passage.target,
            language: passage.language,
            hash: text_hash(&text).to_string(),
            scores: scores.collect(),
            findings,
            text,
        }
    }
}
