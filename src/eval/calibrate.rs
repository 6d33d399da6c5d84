//! From labelled text to a guard's thresholds and to scores that mean probabilities.
//!
//! Scores are mapped by Platt scaling, σ(slope · logit(p) + offset) (Platt 1999, with his smoothed targets), fitted so that
//! safe and unsafe texts weigh the same: a calibrated score of 0.5 is even odds where both are as frequent. Thresholds are
//! the lowest that flag at most the target share of a language's safe texts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Judged,
    metrics::{Interval, Ranking},
    task_name,
};
use crate::{
    guard::{Calibration, Tuning, logit},
    segment::Task,
};

/// Newton's steps: far more than it takes.
const STEPS: usize = 100;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Largest share of safe texts that may be flagged.
    pub fpr: f64,
    /// Safe texts that a language needs for a threshold of its own.
    pub enough: usize,
}

/// A task's new thresholds and what they do on the texts that they were chosen on.
#[derive(Debug, Clone, Serialize)]
pub struct Tuned {
    /// The task.
    pub task: &'static str,
    /// What the manifest is to say.
    #[serde(skip)]
    pub tuning: Tuning,
    /// By language, and `others` for the languages that share the default. A language that the texts lack keeps its old
    /// threshold, on the new scores.
    pub rows: Vec<Row>,
    /// Mean squared error of scores as probabilities, before and after, both kinds of text weighing the same; `None` without both.
    pub brier: Option<[f64; 2]>,
}

/// A language's texts and threshold.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The language.
    pub language: String,
    /// Unsafe texts.
    pub unsafe_texts: usize,
    /// Safe texts.
    pub safe_texts: usize,
    /// The threshold, on calibrated scores.
    pub threshold: f32,
    /// Share of unsafe texts caught.
    pub recall: Option<f64>,
    /// Share of safe texts flagged.
    pub fpr: Option<f64>,
}

/// The texts cannot say what was asked of them.
#[derive(Debug, thiserror::Error)]
pub enum Untunable {
    /// Too few safe texts.
    #[error("there are {found} safe {task} texts, a threshold for {:.1}% false positives needs {needed}; add some, or raise --target-fpr", target * 100.0)]
    TooFewSafe {
        /// The task.
        task: &'static str,
        /// Safe texts.
        found: usize,
        /// Safe texts of which one more than the target would be flagged.
        needed: usize,
        /// The rate.
        target: f64,
    },
    /// So many safe texts score highest of all that any threshold flags too many.
    #[error("no threshold keeps the {task} texts of `{language}` within {:.1}% false positives: too many safe ones share the highest score", target * 100.0)]
    NoThreshold {
        /// The task.
        task: &'static str,
        /// The language, or `others`.
        language: String,
        /// The rate.
        target: f64,
    },
    /// Unsafe texts score lower.
    #[error("unsafe {0} texts score lower than safe ones: check the labels")]
    Reversed(&'static str),
}

/// Chooses thresholds for every task that the texts have.
///
/// # Errors
/// A task without safe texts, or whose scores run against the labels.
pub fn tune(judged: &[Judged], current: impl Fn(Task) -> Tuning, wanted: Wanted) -> Result<Vec<(Task, Tuned)>, Untunable> {
    let tasks = [Task::Prompt, Task::Response].into_iter().map(|task| {
        let texts: Vec<&Judged> = judged.iter().filter(|judged| judged.text.task == task).collect();
        (task, texts)
    });
    tasks
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(task, texts)| Ok((task, tune_task(task, &texts, current(task), wanted)?)))
        .collect()
}

fn tune_task(task: Task, texts: &[&Judged], current: Tuning, wanted: Wanted) -> Result<Tuned, Untunable> {
    let (name, target) = (task_name(task), wanted.fpr);
    let scores: Vec<(f32, bool)> = texts.iter().map(|judged| (judged.score.value, judged.text.is_unsafe)).collect();
    let needed = if target > 0.0 { fewest(target) } else { 1 };
    if safe(&scores) < needed {
        return Err(Untunable::TooFewSafe { task: name, found: safe(&scores), needed, target });
    }
    let fit = if scores.iter().any(|(_, is_unsafe)| *is_unsafe) {
        Some(fit(&scores).filter(|fit| fit.slope > 0.0).ok_or(Untunable::Reversed(name))?)
    } else {
        None
    };
    let map = |score: f32| fit.map_or(score, |fit| fit.apply(score));
    let brier = fit.map(|_| [brier(&scores, |score| score), brier(&scores, map)]);

    // The threshold is looked up by the language that the scanner detects, so it is chosen by that.
    let mut languages = BTreeMap::<&str, Vec<(f32, bool)>>::new();
    for judged in texts {
        languages.entry(judged.detected.unwrap_or("")).or_default().push((map(judged.score.value), judged.text.is_unsafe));
    }
    let enough = wanted.enough.max(needed);
    let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        languages.into_iter().partition(|(language, texts)| !language.is_empty() && safe(texts) >= enough);
    let pooled: Vec<(f32, bool)> = others.into_values().flatten().collect();
    // Where the other languages have next to nothing, the default is what all languages together say.
    let all = own.values().flatten().chain(&pooled).copied();
    let basis: Vec<(f32, bool)> = if safe(&pooled) >= enough { pooled.clone() } else { all.collect() };
    let threshold = |language: &str, texts: &[(f32, bool)]| {
        let found = Ranking::new(texts.iter().copied()).at_target(target).map(|at| at.threshold);
        found.ok_or_else(|| Untunable::NoThreshold { task: name, language: language.to_owned(), target })
    };
    let default = threshold(OTHERS, &basis)?;
    let mut thresholds: BTreeMap<String, f32> =
        current.thresholds.into_iter().map(|(language, threshold)| (language, map(threshold))).collect();
    let mut rows = Vec::new();
    for (language, texts) in own {
        let threshold = threshold(language, &texts)?;
        rows.push(Row::new(language, &texts, threshold));
        thresholds.insert(language.to_owned(), threshold);
    }
    rows.push(Row::new(OTHERS, &pooled, default));
    let calibration = match (current.calibration, fit) {
        // The scores were calibrated already: the new map comes on top of the old one.
        (Some(current), Some(fit)) => Some(current.then(fit)),
        (current, fit) => fit.or(current),
    };
    Ok(Tuned { task: name, tuning: Tuning { calibration, threshold: default, thresholds }, rows, brier })
}

/// Languages that share the default threshold.
const OTHERS: &str = "others";

fn safe(texts: &[(f32, bool)]) -> usize {
    texts.iter().filter(|(_, is_unsafe)| !is_unsafe).count()
}

/// The fewest texts of which a share can be one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "more than 2^32 texts are never needed")]
fn fewest(share: f64) -> usize {
    (1.0 / share).ceil().min(f64::from(u32::MAX)) as usize
}

impl Row {
    fn new(language: &str, texts: &[(f32, bool)], threshold: f32) -> Self {
        let share = |of: bool| {
            let all = texts.iter().filter(|(_, is_unsafe)| *is_unsafe == of);
            let flagged = all.clone().filter(|(score, _)| *score >= threshold).count();
            Interval::share(flagged, all.count()).map(|share| share.value)
        };
        Self {
            language: language.to_owned(),
            unsafe_texts: texts.len() - safe(texts),
            safe_texts: safe(texts),
            threshold,
            recall: share(true),
            fpr: share(false),
        }
    }
}

/// Platt scaling by Newton's method; `None` if it does not settle.
fn fit(scores: &[(f32, bool)]) -> Option<Calibration> {
    #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
    let count = |of: bool| scores.iter().filter(|(_, is_unsafe)| *is_unsafe == of).count() as f64;
    let (positive, negative) = (count(true), count(false));
    let points = scores.iter().map(|&(score, is_unsafe)| {
        let (weight, target) = if is_unsafe {
            (0.5 / positive, (positive + 1.0) / (positive + 2.0))
        } else {
            (0.5 / negative, 1.0 / (negative + 2.0))
        };
        (f64::from(logit(score)), target, weight)
    });
    let points: Vec<(f64, f64, f64)> = points.collect();
    let loss = |slope: f64, offset: f64| -> f64 {
        points
            .iter()
            .map(|&(x, target, weight)| {
                let z = slope * x + offset;
                // log(1 + e^z) − target·z, without overflow.
                weight * (z.max(0.0) + (-z.abs()).exp().ln_1p() - target * z)
            })
            .sum()
    };
    let (mut slope, mut offset) = (1.0, 0.0);
    for _ in 0..STEPS {
        // Gradient and curvature of the loss; a little ridge keeps the curvature invertible.
        let (mut g1, mut g0, mut h11, mut h10, mut h00) = (0.0, 0.0, 1e-9, 0.0, 1e-9);
        for &(x, target, weight) in &points {
            let p = 1.0 / (1.0 + (-(slope * x + offset)).exp());
            let (gradient, curve) = (weight * (p - target), weight * p * (1.0 - p));
            g1 += gradient * x;
            g0 += gradient;
            h11 += curve * x * x;
            h10 += curve * x;
            h00 += curve;
        }
        let determinant = h11 * h00 - h10 * h10;
        let (d1, d0) = ((h00 * g1 - h10 * g0) / determinant, (h11 * g0 - h10 * g1) / determinant);
        // Half the step until it helps.
        let before = loss(slope, offset);
        let mut length = 1.0;
        while loss(slope - length * d1, offset - length * d0) > before && length > 1e-10 {
            length /= 2.0;
        }
        slope -= length * d1;
        offset -= length * d0;
        if d1.abs().max(d0.abs()) * length < 1e-9 {
            break;
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "the manifest holds f32")]
    let fit = Calibration { slope: slope as f32, offset: offset as f32 };
    (fit.slope.is_finite() && fit.offset.is_finite()).then_some(fit)
}

/// Mean squared distance of scores from the truth, both kinds of text weighing the same.
fn brier(scores: &[(f32, bool)], map: impl Fn(f32) -> f32) -> f64 {
    let mean = |of: bool| {
        let own = scores.iter().filter(|(_, is_unsafe)| *is_unsafe == of);
        let errors = own.map(|(score, _)| (f64::from(map(*score)) - f64::from(u8::from(of))).powi(2));
        let (sum, count) = errors.fold((0.0, 0.0), |(sum, count), error| (sum + error, count + 1.0));
        sum / count
    };
    f64::midpoint(mean(true), mean(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{eval::Labelled, segment::Score};

    fn judged(lang: &'static str, value: f32, is_unsafe: bool) -> Judged {
        let text =
            Labelled { task: Task::Prompt, text: String::new(), prompt: None, lang: None, source: String::new(), is_unsafe };
        Judged { text, score: Score { value, threshold: 0.5 }, detected: Some(lang) }
    }

    /// Texts whose true odds are known: P(unsafe) = σ(2·logit(score) + 1).
    fn texts(lang: &'static str) -> Vec<Judged> {
        let truth = Calibration { slope: 2.0, offset: 1.0 };
        let scores = (1..100_u8).map(|n| f32::from(n) / 100.0);
        scores
            .flat_map(|score| {
                let p = truth.apply(score);
                (0..100_u8).map(move |n| judged(lang, score, f32::from(n) < p * 100.0))
            })
            .collect()
    }

    fn untuned() -> Tuning {
        Tuning { calibration: None, threshold: 0.5, thresholds: BTreeMap::from([("vi".to_owned(), 0.4)]) }
    }

    #[test]
    fn the_map_and_the_thresholds_come_out() {
        let mut all = texts("en");
        all.extend((0..3).map(|_| judged("th", 0.2, false)));
        let wanted = Wanted { fpr: 0.02, enough: 50 };
        let tuned = &tune(&all, |_| untuned(), wanted).unwrap()[0].1;
        let calibration = tuned.tuning.calibration.unwrap();
        assert!((calibration.slope - 2.0).abs() < 0.05, "{calibration:?}");
        let [before, after] = tuned.brier.unwrap();
        assert!(after < before);
        assert_eq!(tuned.tuning.thresholds.keys().collect::<Vec<_>>(), ["en", "vi"]);
        assert_eq!(tuned.tuning.thresholds["vi"], calibration.apply(0.4), "a language that the texts lack keeps its place");
        let english = &tuned.rows[0];
        assert!(english.fpr.unwrap() <= 0.02 && english.fpr.unwrap() > 0.01 && english.recall.unwrap() > 0.2, "{english:?}");
        assert_eq!((tuned.rows[1].language.as_str(), tuned.rows[1].safe_texts), ("others", 3));
        let apart = (tuned.tuning.threshold - english.threshold).abs();
        assert!(apart < 0.01, "three texts are too few for a default of their own");
    }

    #[test]
    fn a_second_calibration_comes_on_top_of_the_first() {
        let wanted = Wanted { fpr: 0.02, enough: 1 };
        let first = tune(&texts("en"), |_| untuned(), wanted).unwrap()[0].1.tuning.calibration.unwrap();
        let calibrated = texts("en").into_iter().map(|mut judged| {
            judged.score.value = first.apply(judged.score.value);
            judged
        });
        let all: Vec<_> = calibrated.collect();
        let current = |_| Tuning { calibration: Some(first), ..untuned() };
        let second = tune(&all, current, wanted).unwrap()[0].1.tuning.calibration.unwrap();
        let near = |a: f32, b: f32| (a - b).abs() < 0.01;
        assert!(near(second.slope, first.slope) && near(second.offset, first.offset), "{first:?} {second:?}");
    }

    #[test]
    fn texts_that_cannot_tell_are_refused() {
        let told = |texts: &[Judged], fpr: f64| tune(texts, |_| untuned(), Wanted { fpr, enough: 1 }).unwrap_err().to_string();
        let few = told(&[judged("en", 0.5, true), judged("en", 0.5, false)], 0.3);
        assert!(few.starts_with("there are 1 safe prompt texts, a threshold for 30.0% false positives needs 4"), "{few}");
        let reversed = [judged("en", 0.1, true), judged("en", 0.9, false), judged("en", 0.2, true), judged("en", 0.8, false)];
        assert!(told(&reversed, 0.5).contains("check the labels"));
        let tied = [judged("en", 0.9, false), judged("en", 0.9, false), judged("en", 0.9, true), judged("en", 0.1, false)];
        assert!(told(&tied, 0.5).contains("no threshold keeps"), "{}", told(&tied, 0.5));
        let safe = tune(&[judged("en", 0.5, false)], |_| untuned(), Wanted { fpr: 1.0, enough: 1 }).unwrap();
        assert_eq!(safe[0].1.tuning.calibration, None);
    }
}
