//! One guard, or two of which the second judges what the first is unsure of.

use std::sync::Arc;

use super::{
    cache::Cache,
    judge::Judge,
    memo::Spoken,
    question::Question,
    shared::Shared,
    window::{Scored, Spots},
};
use crate::{
    guard::{Guard, Meter, Scoring, Share, Unavailable},
    segment::{Direction, Score},
    telemetry::Metrics,
};

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

/// A guard to judge with, and a second one where the first's score is in the band.
#[derive(Debug)]
pub struct Pair {
    /// The one that is asked first, or the only one.
    pub first: Guard,
    /// The one that is asked where the first is unsure.
    pub second: Option<(Band, Guard)>,
}

/// One request's share of the queue of each guard.
pub(super) struct Shares {
    first: Share,
    second: Option<Share>,
}

impl Shares {
    /// What both guards scored.
    pub(super) fn scoring(&self) -> Scoring {
        self.second.iter().map(Share::scoring).fold(self.first.scoring(), Scoring::and)
    }
}

/// Such guards at work.
#[derive(Debug)]
pub(super) struct Cascade {
    first: Arc<Judge>,
    second: Option<(Band, Arc<Judge>)>,
}

impl Cascade {
    /// Each guard shares the scores of `cache` and `shared`, and no more than these.
    pub(super) fn new(Pair { first, second }: Pair, cache: &Cache, shared: Option<&Shared>, metrics: &Arc<Metrics>) -> Self {
        let judge = |guard| Arc::new(Judge::new(guard, cache.beside(), shared, metrics));
        Self { first: judge(first), second: second.map(|(band, guard)| (band, judge(guard))) }
    }

    pub(super) fn first(&self) -> &Guard {
        &self.first.guard
    }

    pub(super) fn second(&self) -> Option<&Guard> {
        self.second.as_ref().map(|(_, judge)| &judge.guard)
    }

    pub(super) fn get(&self, which: Which) -> &Guard {
        self.second().filter(|_| which == Which::Second).unwrap_or(self.first())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Guard> {
        std::iter::once(self.first()).chain(self.second())
    }

    pub(super) fn shares(&self, direction: Direction, meter: &Meter) -> Shares {
        let share = |guard| Share::at(guard, direction, meter.clone());
        Shares { first: share(self.first()), second: self.second().map(share) }
    }

    /// What the guards think of a text that is known, and which of them decided. [`Self::count_known`] is to be told if use is made
    /// of it.
    pub(super) fn known(&self, question: &Question<'_>, spoken: &Spoken) -> Option<(Which, Score, Spots)> {
        let first = self.first.known(question)?;
        let second = match &self.second {
            Some((band, second)) if band.holds(first.value) => Some(second.known(question)?),
            Some(_) | None => None,
        };
        let (by, scored) = second.map_or((Which::First, first), |second| (Which::Second, second));
        let (score, spots) = self.held_against(by, scored, question, spoken);
        Some((by, score, spots))
    }

    /// Counts a verdict that was known, by the guard that decided.
    pub(super) fn count_known(&self, by: Which) {
        let metrics = &self.first.metrics;
        metrics.verdict(true, true);
        if self.second.is_some() {
            let is_second = by == Which::Second;
            if is_second {
                metrics.verdict(true, true);
            }
            metrics.cascade(is_second);
        }
    }

    /// A score beside the threshold of the guard that gave it.
    fn held_against(&self, by: Which, scored: Scored, question: &Question<'_>, spoken: &Spoken) -> (Score, Spots) {
        let threshold = self.get(by).manifest().task(question.target.task()).threshold(spoken.all());
        (Score { value: scored.value, threshold }, scored.spots)
    }

    /// What the guards think of a text, which of them decided, and whether all of that was known.
    pub(super) async fn judge(
        &self,
        question: &Question<'_>,
        spoken: &Spoken,
        shares: &Shares,
    ) -> (Which, Result<(Score, Spots), Unavailable>, bool) {
        let (mut by, (mut scored, mut hit)) = (Which::First, self.first.ask(question, &shares.first).await);
        if let (Some((band, second)), Some(share)) = (&self.second, &shares.second) {
            if scored.as_ref().is_ok_and(|scored| band.holds(scored.value)) {
                // If the second cannot tell, nobody can: the first has said that it is unsure.
                let (score, known) = second.ask(question, share).await;
                (by, scored, hit) = (Which::Second, score, hit && known);
            }
            self.first.metrics.cascade(by == Which::Second);
        }
        (by, scored.map(|scored| self.held_against(by, scored, question, spoken)), hit)
    }
}
