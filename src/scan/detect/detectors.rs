//! All that is looked for in a text: what is built in, and what operators add.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    NAMES, TABLE, family, find,
    own::{Own, Recognisers, Unfit},
    rank, settle,
};
use crate::segment::Finding;

/// The built-in detectors, and the own ones of a set of policies; by default the built-in ones only.
///
/// Own detectors stand beside the built-in ones: what they find may overlap with what others find, so that no policy's
/// detector hides something from another policy's rule.
#[derive(Debug, Default)]
pub struct Detectors {
    own: Recognisers,
    /// Those that find the same have the same; 0 is what is built in.
    generation: u64,
}

/// Whether a built-in detector, or a family of them, has this name.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    TABLE.iter().any(|(known, ..)| *known == name || family(known) == name)
}

impl Detectors {
    /// The built-in detectors and these.
    ///
    /// # Errors
    /// The first of the own ones that cannot be used, and why.
    pub fn new(own: &[Own]) -> Result<Self, Unfit> {
        static GENERATION: AtomicU64 = AtomicU64::new(0);
        let generation = if own.is_empty() { 0 } else { 1 + GENERATION.fetch_add(1, Ordering::Relaxed) };
        Ok(Self { own: Recognisers::new(own)?, generation })
    }

    /// A number that no detectors have, in this process, that find anything else.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every recognised span in the text, in order; of those that begin together, what is worth most stands first, and an
    /// operator's own last. Own detectors look from the byte `since` on, before which a stream's
    /// findings were final; what stands before it is what they see around.
    #[must_use]
    pub fn find(&self, text: &str, since: usize) -> Vec<Finding> {
        let builtin = find(text).into_iter();
        let builtin =
            builtin.filter_map(|span| Some(Finding { detector: NAMES.get(rank(span.detector))?.clone(), range: span.range }));
        let mut found: Vec<Finding> = builtin.chain(self.own.find(text, since)).collect();
        found.sort_by_key(|finding| finding.range.start);
        found
    }

    /// The offset before which the findings of a growing text are final: none could still begin before it and be completed,
    /// extended or undone by text to come. A search of the longer text may go on from there.
    #[must_use]
    pub fn settled(&self, text: &str, since: usize) -> usize {
        if self.own.is_empty() {
            return settle::settled(text);
        }
        let held = self.own.hold(text, since);
        let mut at = settle::tail(text).min(held.tail());
        // What is built in and what is own can overlap in turns.
        for _ in 0..settle::ROUNDS {
            let clear = settle::clear(text, held.clear(at));
            if clear == at {
                return at;
            }
            at = clear;
        }
        0
    }

    /// What stands in place of a span that the detector found.
    #[must_use]
    pub fn mask(&self, detector: &str) -> &str {
        let builtin = TABLE.get(rank(detector)).map(|(.., mask)| *mask);
        builtin.or_else(|| self.own.mask(detector)).unwrap_or("[redacted]")
    }

    /// The number of a detector: its place among the names.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<usize> {
        let own = || Some(TABLE.len() + self.own.number(name)?);
        Some(rank(name)).filter(|rank| *rank < TABLE.len()).or_else(own)
    }

    /// The numbers of the built-in detectors that a name stands for: the one that has it, or a family of them.
    pub fn family<'n>(&'n self, name: &'n str) -> impl Iterator<Item = usize> + 'n {
        let is_one = move |(known, ..): &(&str, &str, &str)| *known == name || family(known) == name;
        TABLE.iter().enumerate().filter(move |(_, row)| is_one(row)).map(|(number, _)| number)
    }

    /// The detectors' names, each with a one-line description.
    pub fn names(&self) -> impl Iterator<Item = (Arc<str>, &str)> {
        let builtin = NAMES.iter().zip(TABLE).map(|(name, (_, about, _))| (Arc::clone(name), about));
        builtin.chain(self.own.names().map(|name| (Arc::clone(name), "An operator's own")))
    }
}
