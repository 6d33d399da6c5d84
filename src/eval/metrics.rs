//! How well scores rank and sort labelled texts. Pure: numbers in, numbers out.
//!
//! Area under the precision–recall curve is average precision, Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct scores, as
//! scikit-learn's `average_precision_score` has it: no interpolation, and equal scores count as one step. Area under the
//! ROC curve is the chance that an unsafe text scores above a safe one, equal scores counting half. Intervals are 95%
//! percentile bootstraps over texts (Efron 1979).

use serde::Serialize;

/// Texts in the order of their scores, worst first, with what they are.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Index, score and truth of each text, by falling score.
    ranked: Vec<(usize, f32, bool)>,
}

/// A step of the ranking: how much is flagged when everything at or above a score is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The score.
    pub score: f32,
    /// Unsafe texts at or above it.
    pub caught: f64,
    /// Safe texts at or above it.
    pub flagged: f64,
}

/// A figure and where it lies with 95% confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The best that one threshold can do within a false-positive rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtTarget {
    /// Unsafe at or above it.
    pub threshold: f32,
    /// Share of unsafe texts that it catches.
    pub recall: f64,
    /// Share of safe texts that it flags: at most the target.
    pub fpr: f64,
}

impl Ranking {
    /// Ranks texts: a score and whether the text is unsafe, each.
    #[must_use]
    pub fn new(texts: impl IntoIterator<Item = (f32, bool)>) -> Self {
        let mut ranked: Vec<_> = texts.into_iter().enumerate().map(|(at, (score, truth))| (at, score, truth)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self { ranked }
    }

    /// Unsafe and safe texts.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let positive = self.ranked.iter().filter(|(_, _, truth)| *truth).count();
        (positive, self.ranked.len() - positive)
    }

    /// The steps from the highest score to the lowest; `weights` says how often each text counts, once if left out.
    pub fn steps<'a>(&'a self, weights: Option<&'a [u32]>) -> impl Iterator<Item = Step> + 'a {
        let weight = move |at: usize| weights.map_or(1.0, |weights| weights.get(at).copied().map_or(0.0, f64::from));
        let (mut caught, mut flagged) = (0.0, 0.0);
        self.ranked.chunk_by(|a, b| a.1 == b.1).map(move |equals| {
            for (at, _, truth) in equals {
                *(if *truth { &mut caught } else { &mut flagged }) += weight(*at);
            }
            Step { score: equals.first().map_or(f32::NAN, |first| first.1), caught, flagged }
        })
    }

    /// Average precision; `None` without unsafe texts.
    #[must_use]
    pub fn average_precision(&self, weights: Option<&[u32]>) -> Option<f64> {
        let (mut area, mut before) = (0.0, 0.0);
        for Step { caught, flagged, .. } in self.steps(weights) {
            if caught > before {
                area += (caught - before) * caught / (caught + flagged);
                before = caught;
            }
        }
        (before > 0.0).then(|| area / before)
    }

    /// Area under the ROC curve; `None` unless there are both kinds of text.
    #[must_use]
    pub fn roc_area(&self, weights: Option<&[u32]>) -> Option<f64> {
        let (mut area, mut last) = (0.0, Step { score: f32::INFINITY, caught: 0.0, flagged: 0.0 });
        for step in self.steps(weights) {
            area += (step.flagged - last.flagged) * (step.caught + last.caught) / 2.0;
            last = step;
        }
        let all = last.caught * last.flagged;
        (all > 0.0).then(|| area / all)
    }

    /// The lowest threshold that flags at most `target` of the safe texts: half way between the last score that it lets
    /// flag and the next one. `None` when there are no safe texts, or even the highest score flags too many.
    #[must_use]
    pub fn at_target(&self, target: f64) -> Option<AtTarget> {
        let (positive, negative) = self.counts();
        if negative == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
        let (positive, negative) = (positive as f64, negative as f64);
        let steps: Vec<Step> = self.steps(None).collect();
        let within = steps.iter().take_while(|step| step.flagged <= target * negative).count();
        let last = steps.get(within.checked_sub(1)?)?;
        let threshold = steps.get(within).map_or(last.score, |next| f32::midpoint(last.score, next.score));
        // Neighbouring floats have no middle.
        let threshold =
            if threshold > steps.get(within).map_or(f32::NEG_INFINITY, |next| next.score) { threshold } else { last.score };
        Some(AtTarget { threshold, recall: last.caught / positive.max(1.0), fpr: last.flagged / negative })
    }
}

/// The interval of a figure over resampled texts; `figure` is told how often each of `count` texts counts.
pub fn bootstrap(value: f64, count: usize, rounds: usize, mut figure: impl FnMut(&[u32]) -> Option<f64>) -> Interval {
    // The same draws each time: a report must not change when nothing else has.
    let mut random = fastrand::Rng::with_seed(2026);
    let mut weights = vec![0_u32; count];
    let mut values: Vec<f64> = (0..rounds)
        .filter_map(|_| {
            weights.fill(0);
            for _ in 0..count {
                if let Some(weight) = weights.get_mut(random.usize(..count)) {
                    *weight += 1;
                }
            }
            figure(&weights)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |per_mille: usize| values.get((values.len().saturating_sub(1)) * per_mille / 1000).copied().unwrap_or(value);
    Interval { value, low: at(25), high: at(975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that scikit-learn 1.9.1 gives for the same texts.
    #[test]
    fn areas_are_scikit_learns() {
        let scores = [0.1, 0.4, 0.35, 0.8, 0.4, 0.9, 0.9, 0.2];
        let truth = [false, false, true, true, true, true, false, false];
        let ranking = Ranking::new(scores.into_iter().zip(truth));
        assert_eq!(ranking.counts(), (4, 4));
        assert!((ranking.average_precision(None).unwrap() - 0.608_333_333).abs() < 1e-6);
        assert!((ranking.roc_area(None).unwrap() - 0.6875).abs() < 1e-6);
    }

    #[test]
    fn one_kind_of_text_has_no_area() {
        let safe = Ranking::new([(0.1, false), (0.2, false)]);
        assert_eq!((safe.average_precision(None), safe.roc_area(None)), (None, None));
        assert_eq!(Ranking::new([(0.1, true)]).at_target(0.1), None);
        assert_eq!(Ranking::new([]).roc_area(None), None);
    }

    #[test]
    fn the_threshold_keeps_the_false_positives_within_the_target() {
        let safe = (0..100_u8).map(|n| (f32::from(n) / 100.0, false));
        let ranking = Ranking::new(safe.chain([(0.995, true), (0.975, true), (0.5, true)]));
        let at = ranking.at_target(0.02).unwrap();
        assert!(at.threshold > 0.97 && at.threshold <= 0.975, "{at:?}");
        assert!((at.fpr - 0.02).abs() < 1e-9 && (at.recall - 2.0 / 3.0).abs() < 1e-9, "{at:?}");
        let none = ranking.at_target(0.0).unwrap();
        assert!(none.fpr == 0.0 && none.threshold > 0.99, "{none:?}");
        assert_eq!(Ranking::new([(0.9, false), (0.9, true)]).at_target(0.1), None, "equal scores cannot be parted");
    }

    #[test]
    fn intervals_hold_the_value_and_narrow_with_more_texts() {
        let width = |repeats: usize| {
            let texts = [(0.9, true), (0.7, false), (0.6, true), (0.2, false)];
            let ranking = Ranking::new(texts.into_iter().cycle().take(texts.len() * repeats));
            let value = ranking.average_precision(None).unwrap();
            let interval = bootstrap(value, texts.len() * repeats, 500, |weights| ranking.average_precision(Some(weights)));
            assert!(interval.low <= value && value <= interval.high, "{interval:?}");
            interval.high - interval.low
        };
        assert!(width(100) < width(5));
    }
}
