//! How well scores rank and sort labelled texts. Pure: numbers in, numbers out.
//!
//! Area under the precision–recall curve is average precision, Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct scores, as
//! scikit-learn's `average_precision_score` has it: no interpolation, and equal scores count as one step. Area under the
//! ROC curve is the chance that an unsafe text scores above a safe one, equal scores counting half. Intervals are 95%:
//! percentile bootstraps over texts (Efron 1979), for shares Wilson's. They take texts for independent of each other;
//! where a file holds translations of one text, those of its languages together are too narrow.

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

    /// The lowest threshold that flags at most `target` of the safe texts, about half way between the last score that it
    /// flags and the next one. `None` when there are no safe texts, or even the highest score flags too many.
    #[must_use]
    pub fn at_target(&self, target: f64) -> Option<AtTarget> {
        let (positive, negative) = self.counts();
        if negative == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
        let (positive, negative) = (positive as f64, negative as f64);
        let steps: Vec<Step> = self.steps(None).collect();
        let within = steps.iter().take_while(|step| step.flagged / negative <= target).count();
        let last = steps.get(within.checked_sub(1)?)?;
        let threshold = steps.get(within).map_or(last.score, |next| between(next.score, last.score));
        Some(AtTarget { threshold, recall: last.caught / positive.max(1.0), fpr: last.flagged / negative })
    }
}

/// A number between `low` and `high` near their middle, with few digits: people read thresholds.
fn between(low: f32, high: f32) -> f32 {
    let middle = f64::midpoint(f64::from(low), f64::from(high));
    #[expect(clippy::cast_possible_truncation, reason = "it is checked to lie between two f32")]
    let rounded = (2..=7).map(|digits| (middle * 10_f64.powi(digits)).round() / 10_f64.powi(digits)).map(|short| short as f32);
    rounded.into_iter().find(|short| *short > low && *short < high).unwrap_or(high)
}

/// Figures of resampled texts: `figures` is told how often each of `count` texts counts, `rounds` times.
pub fn resample<const N: usize>(
    count: usize,
    rounds: usize,
    mut figures: impl FnMut(&[u32]) -> [Option<f64>; N],
) -> [Vec<Option<f64>>; N] {
    // The same draws each time: a report must not change when nothing else has.
    let mut random = fastrand::Rng::with_seed(2026);
    let mut weights = vec![0_u32; count];
    let mut values = [const { Vec::new() }; N];
    for _ in 0..rounds {
        weights.fill(0);
        for _ in 0..count {
            if let Some(weight) = weights.get_mut(random.usize(..count)) {
                *weight += 1;
            }
        }
        for (values, value) in values.iter_mut().zip(figures(&weights)) {
            values.push(value);
        }
    }
    values
}

impl Interval {
    /// From a figure's values on resampled texts; those that could not be told are left out.
    #[must_use]
    pub fn percentile(value: f64, resampled: &[Option<f64>]) -> Self {
        let mut values: Vec<f64> = resampled.iter().flatten().copied().collect();
        values.sort_by(f64::total_cmp);
        let at = |per_mille: usize| values.get((values.len().saturating_sub(1)) * per_mille / 1000).copied().unwrap_or(value);
        Self { value, low: at(25), high: at(975) }
    }

    /// A share of texts, with Wilson's score interval (Wilson 1927), which holds for few texts and shares near 0 and 1;
    /// `None` of no texts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
    pub fn share(part: usize, whole: usize) -> Option<Self> {
        // The normal distribution's 97.5% quantile.
        const Z: f64 = 1.959_964;
        let (n, value) = (whole as f64, part as f64 / whole as f64);
        let centre = (value + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (value * (1.0 - value) / n + Z * Z / (4.0 * n * n)).sqrt();
        (whole > 0).then(|| Self { value, low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
    }
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
    fn a_threshold_is_short_and_lies_between() {
        assert_eq!(between(0.2, 0.4), 0.3);
        assert_eq!(between(0.123_41, 0.123_49), 0.12345);
        let next = f32::from_bits(0.9999_f32.to_bits() + 1);
        assert_eq!(between(0.9999, next), next);
        assert!(between(0.999_98, 1.0) < 1.0);
    }

    /// The values of Wilson's interval in Newcombe 1998, table I: 15 of 148 and 0 of 20.
    #[test]
    fn shares_have_wilsons_interval() {
        let share = Interval::share(15, 148).unwrap();
        assert!((share.low - 0.0624).abs() < 1e-4 && (share.high - 0.1605).abs() < 1e-4, "{share:?}");
        let none = Interval::share(0, 20).unwrap();
        assert!(none.low == 0.0 && (none.high - 0.1611).abs() < 1e-4, "{none:?}");
        assert_eq!(Interval::share(0, 0), None);
    }

    #[test]
    fn intervals_hold_the_value_and_narrow_with_more_texts() {
        let width = |repeats: usize| {
            let texts = [(0.9, true), (0.7, false), (0.6, true), (0.2, false)];
            let ranking = Ranking::new(texts.into_iter().cycle().take(texts.len() * repeats));
            let value = ranking.average_precision(None).unwrap();
            let [values] = resample(texts.len() * repeats, 500, |weights| [ranking.average_precision(Some(weights))]);
            let interval = Interval::percentile(value, &values);
            assert!(interval.low <= value && value <= interval.high, "{interval:?}");
            interval.high - interval.low
        };
        assert!(width(100) < width(5));
    }
}
