//! What was learned about text: which texts were judged, what was found in them, and what guards think of them.

use std::sync::Arc;

use super::{Piece, Spots, Which};
use crate::{
    guard::{Scoring, Unavailable},
    segment::{Direction, Finding, Place, Score, Segment, Target},
    wire::json::Document,
};

/// A body and what was learned about its text. Only a policy turns it into something that may be sent on.
#[derive(Debug)]
pub struct Assessed {
    pub(super) document: Document,
    pub(super) evidence: Evidence,
}

/// What was learned about a body's text.
#[derive(Debug)]
pub struct Evidence {
    /// Which way it travels.
    pub direction: Direction,
    /// Its text.
    pub segments: Vec<Segment>,
    /// What the detectors found in each segment.
    pub findings: Vec<Vec<Finding>>,
    /// The texts that the guards judged.
    pub passages: Vec<Passage>,
    /// Content that no text guard can judge.
    pub unscorable: Vec<String>,
    /// Values that repeat the text and are blanked when it is edited.
    pub echoes: Vec<Place>,
    /// Whether every score came from the cache; `None` when nothing was scored.
    pub cached: Option<bool>,
    /// What the guards scored for it; what others had them score already is not in it.
    pub scoring: Scoring,
}

/// A text that was judged as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// What it is to the model.
    pub target: Target,
    /// The segments that it is made of.
    pub segments: Vec<usize>,
    /// Where these stand in the text that was judged; `None` if it is all of the one.
    pub pieces: Option<Arc<[Piece]>>,
    /// The language that it begins in, if it tells.
    pub language: Option<&'static str>,
    /// Languages of other stretches of it; `None` for stretches that do not tell.
    pub others: Vec<Option<&'static str>>,
    /// What the guards that were asked think of it.
    pub verdicts: Vec<Verdict>,
}

/// What a guard thinks of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The guard's place in [`super::Scanner::guard_names`].
    pub guard: usize,
    /// Which of its cascade decided, or failed to.
    pub by: Which,
    /// What that one thinks.
    pub score: Result<Score, Unavailable>,
    /// The windows that it judged the text in; where they stand in the segments says [`Passage::windows`].
    pub spots: Spots,
}

impl Passage {
    /// All languages that it is in, as far as it tells; the one that it begins in first.
    pub fn languages(&self) -> impl Iterator<Item = Option<&'static str>> + Clone {
        std::iter::once(self.language).chain(self.others.iter().copied())
    }

    /// What a guard thinks of it; `None` if it was not asked.
    #[must_use]
    pub fn verdict(&self, guard: usize) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.guard == guard)
    }

    /// A guard's score. One that was not asked has no more to say than one that failed.
    ///
    /// # Errors
    /// Why there is none.
    pub fn score(&self, guard: usize) -> Result<Score, Unavailable> {
        let unasked = || Err(Unavailable::Engine("it was not asked".to_owned()));
        self.verdict(guard).map_or_else(unasked, |verdict| verdict.score.clone())
    }
}

impl Evidence {
    /// Evidence of nothing but content that cannot be judged.
    #[must_use]
    pub fn unscorable(direction: Direction, unscorable: Vec<String>) -> Self {
        let (segments, findings, passages, echoes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { direction, segments, findings, passages, unscorable, echoes, cached: None, scoring: Scoring::default() }
    }
}

impl Assessed {
    /// The evidence.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    pub(crate) fn into_parts(self) -> (Document, Evidence) {
        (self.document, self.evidence)
    }
}
