//! One guard, or two of which the second judges what the first is unsure of.

use crate::guard::Guard;

/// Scores of which the first guard is unsure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// From this one on …
    pub low: f32,
    /// … up to this one, which is sure again.
    pub high: f32,
}

impl Band {
    /// Whether the second guard is asked.
    #[must_use]
    pub fn holds(self, score: f32) -> bool {
        self.low <= score && score < self.high
    }
}

/// Which guard of a cascade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that is asked first, or the only one.
    First,
    /// The one that is asked where the first is unsure.
    Second,
}

/// The guards of a scanner.
#[derive(Debug)]
pub(super) struct Guards {
    pub(super) first: Guard,
    pub(super) second: Option<(Band, Guard)>,
}

impl Guards {
    pub(super) fn get(&self, which: Which) -> &Guard {
        match (which, &self.second) {
            (Which::Second, Some((_, second))) => second,
            (Which::First | Which::Second, _) => &self.first,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Guard> {
        std::iter::once(&self.first).chain(self.second.as_ref().map(|(_, guard)| guard))
    }
}
