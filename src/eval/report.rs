//! The figures of a guard on labelled text, by task, language and source, and of two guards side by side.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    Judged,
    metrics::{AtTarget, Interval, Ranking, bootstrap},
    task_name,
};

/// What is measured and how.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// The false-positive rate that a threshold is looked for.
    pub target_fpr: f64,
    /// Resamples behind each interval.
    pub rounds: usize,
}

/// A guard's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The guard's identity.
    pub guard: String,
    /// The false-positive rate that thresholds are looked for.
    pub target_fpr: f64,
    /// Figures of each group that has any text: all of a task, then by language, then by source.
    pub groups: Vec<Group>,
    /// The mean over a task's languages, each counting the same.
    pub means: Vec<Mean>,
    /// The same for long texts with something hidden in them, by place; empty if not asked for.
    pub hidden: Vec<Group>,
}

/// A set of texts and its figures.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// The task.
    pub task: &'static str,
    /// What the texts have in common: `all`, `language` or `source`.
    pub by: &'static str,
    /// Its name; empty for all.
    pub name: String,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Figures; those that the texts cannot tell are `None`.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Unsafe texts.
    pub unsafe_texts: usize,
    /// Safe texts.
    pub safe_texts: usize,
    /// Area under the precision–recall curve.
    pub auprc: Option<Interval>,
    /// Area under the ROC curve.
    pub auroc: Option<Interval>,
    /// At the thresholds in force: harmonic mean of precision and recall.
    pub f1: Option<f64>,
    /// At the thresholds in force: share of unsafe texts that are flagged.
    pub recall: Option<f64>,
    /// At the thresholds in force: share of safe texts that are flagged.
    pub fpr: Option<f64>,
    /// What one threshold for all these texts could do within the target rate.
    pub at_target: Option<AtTarget>,
}

/// Means over languages.
#[derive(Debug, Clone, Serialize)]
pub struct Mean {
    /// The task.
    pub task: &'static str,
    /// Languages with both kinds of text.
    pub languages: usize,
    /// Mean area under the precision–recall curve.
    pub auprc: f64,
    /// Mean area under the ROC curve.
    pub auroc: f64,
    /// Mean recall at the thresholds in force.
    pub recall: f64,
    /// Mean false-positive rate at the thresholds in force.
    pub fpr: f64,
    /// Mean recall where each language has its own threshold for the target rate.
    pub recall_at_target: f64,
}

/// Two guards on the same texts.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The first.
    pub a: Report,
    /// The second.
    pub b: Report,
    /// How much larger the second's area under the precision–recall curve is, for each of the groups, on the same resamples.
    pub differences: Vec<Option<Interval>>,
}

impl Report {
    /// Measures.
    #[must_use]
    pub fn new(guard: &str, judged: &[Judged], hidden: &[Judged], measure: Measure) -> Self {
        let groups: Vec<Group> = grouped(judged).into_iter().map(|key_texts| Group::new(key_texts, measure)).collect();
        let hidden = grouped(hidden).into_iter().filter(|(key, _)| key.by == "source").map(|texts| Group::new(texts, measure));
        let means = ["prompt", "response"].into_iter().filter_map(|task| Mean::new(task, &groups)).collect();
        Self { guard: guard.to_owned(), target_fpr: measure.target_fpr, hidden: hidden.collect(), groups, means }
    }

    /// The table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = format!("guard {}\n", self.guard);
        let target = self.target_fpr * 100.0;
        let head = |out: &mut String, what: &str| {
            let at = format!("AT {target:.1}% FPR");
            // Writing to a string does not fail.
            _ = writeln!(
                out,
                "\n{what:<9} {:<22} {:>6} {:>6}  {:<16} {:<16} {:>5} {:>7} {:>6}  {:>9} {:>7}",
                "TEXTS", "UNSAFE", "SAFE", "AUPRC", "AUROC", "F1", "RECALL", "FPR", "THRESHOLD", at
            );
        };
        head(&mut out, "TASK");
        for group in &self.groups {
            _ = writeln!(out, "{}", group.line());
        }
        for mean in &self.means {
            _ = writeln!(
                out,
                "{:<9} {:<22} {:>6} {:>6}  {:<16} {:<16} {:>5} {:>7} {:>6}  {:>9} {:>7}",
                mean.task,
                format!("mean of {} languages", mean.languages),
                "",
                "",
                format!("{:.1}", mean.auprc * 100.0),
                format!("{:.1}", mean.auroc * 100.0),
                "",
                format!("{:.1}", mean.recall * 100.0),
                format!("{:.1}", mean.fpr * 100.0),
                "",
                format!("{:.1}", mean.recall_at_target * 100.0),
            );
        }
        if !self.hidden.is_empty() {
            head(&mut out, "LONG TEXT");
            for group in &self.hidden {
                _ = writeln!(out, "{}", group.line());
            }
        }
        out.push_str(
            "\nPercent; in brackets 95% intervals. F1, RECALL and FPR are at the guard's thresholds; the last two columns are what\none threshold for the group's texts could do.\n",
        );
        out
    }
}

impl Group {
    fn new((key, texts): (Key<'_>, Vec<&Judged>), measure: Measure) -> Self {
        Self { task: key.task, by: key.by, name: key.name.to_owned(), figures: Figures::new(&texts, measure) }
    }

    fn line(&self) -> String {
        let Figures { unsafe_texts, safe_texts, auprc, auroc, f1, recall, fpr, at_target } = &self.figures;
        let name = if self.by == "all" { "all" } else { &self.name };
        let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{:.1}", value * 100.0));
        format!(
            "{:<9} {name:<22} {unsafe_texts:>6} {safe_texts:>6}  {:<16} {:<16} {:>5} {:>7} {:>6}  {:>9} {:>7}",
            self.task,
            interval(*auprc),
            interval(*auroc),
            percent(*f1),
            percent(*recall),
            percent(*fpr),
            at_target.map_or_else(|| "–".to_owned(), |at| format!("{:.3}", at.threshold)),
            percent(at_target.filter(|_| *unsafe_texts > 0).map(|at| at.recall)),
        )
    }
}

/// A figure and its interval, in percent.
pub(super) fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || "–".to_owned(),
        |Interval { value, low, high }| format!("{:.1} ({:.1}–{:.1})", value * 100.0, low * 100.0, high * 100.0),
    )
}

impl Figures {
    fn new(texts: &[&Judged], measure: Measure) -> Self {
        let ranking = ranking(texts);
        let (unsafe_texts, safe_texts) = ranking.counts();
        let both = unsafe_texts > 0 && safe_texts > 0;
        let area = |figure: &dyn Fn(Option<&[u32]>) -> Option<f64>| {
            let value = figure(None).filter(|_| both)?;
            Some(bootstrap(value, texts.len(), measure.rounds, |weights| figure(Some(weights))))
        };
        let share = |of: bool| {
            let all = texts.iter().filter(|judged| judged.text.is_unsafe == of);
            let flagged = all.clone().filter(|judged| judged.is_flagged()).count();
            ratio(flagged, all.count())
        };
        let flagged = texts.iter().filter(|judged| judged.is_flagged());
        let caught = flagged.clone().filter(|judged| judged.text.is_unsafe).count();
        Self {
            unsafe_texts,
            safe_texts,
            auprc: area(&|weights| ranking.average_precision(weights)),
            auroc: area(&|weights| ranking.roc_area(weights)),
            // 2PR / (P + R) = 2 caught / (flagged + unsafe).
            f1: ratio(2 * caught, flagged.count() + unsafe_texts).filter(|_| both),
            recall: share(true),
            fpr: share(false),
            at_target: ranking.at_target(measure.target_fpr),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Mean {
    fn new(task: &'static str, groups: &[Group]) -> Option<Self> {
        let own = groups.iter().filter(|group| group.task == task && group.by == "language");
        let own: Vec<(&Figures, f64)> = own.filter_map(|group| Some((&group.figures, group.figures.auprc?.value))).collect();
        let mean = |figure: &dyn Fn(&(&Figures, f64)) -> Option<f64>| {
            let values: Vec<f64> = own.iter().filter_map(figure).collect();
            #[expect(clippy::cast_precision_loss, reason = "there are a few languages")]
            let count = values.len() as f64;
            values.iter().sum::<f64>() / count
        };
        (own.len() > 1).then(|| Self {
            task,
            languages: own.len(),
            auprc: mean(&|(_, auprc)| Some(*auprc)),
            auroc: mean(&|(figures, _)| figures.auroc.map(|auroc| auroc.value)),
            recall: mean(&|(figures, _)| figures.recall),
            fpr: mean(&|(figures, _)| figures.fpr),
            recall_at_target: mean(&|(figures, _)| Some(figures.at_target.map_or(0.0, |at| at.recall))),
        })
    }
}

impl Comparison {
    /// Measures two guards on the same texts, in the same order.
    #[must_use]
    pub fn new([a, b]: [(&str, &[Judged]); 2], hidden: [&[Judged]; 2], measure: Measure) -> Self {
        let [hidden_a, hidden_b] = hidden;
        let pairs = grouped(a.1).into_iter().zip(grouped(b.1));
        let differences = pairs.map(|((_, a), (_, b))| difference(&a, &b, measure.rounds)).collect();
        Self { a: Report::new(a.0, a.1, hidden_a, measure), b: Report::new(b.0, b.1, hidden_b, measure), differences }
    }

    /// The table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = format!("A  {}\nB  {}\n\n", self.a.guard, self.b.guard);
        _ = writeln!(
            out,
            "{:<9} {:<22} {:>6} {:>6}  {:>7} {:>7} {:<20} {:>9} {:>9} {:>7} {:>7}",
            "TASK", "TEXTS", "UNSAFE", "SAFE", "AUPRC A", "AUPRC B", "B − A", "RECALL A", "RECALL B", "FPR A", "FPR B"
        );
        let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{:.1}", value * 100.0));
        for ((a, b), difference) in self.a.groups.iter().zip(&self.b.groups).zip(&self.differences) {
            _ = writeln!(
                out,
                "{:<9} {:<22} {:>6} {:>6}  {:>7} {:>7} {:<20} {:>9} {:>9} {:>7} {:>7}",
                a.task,
                if a.by == "all" { "all" } else { &a.name },
                a.figures.unsafe_texts,
                a.figures.safe_texts,
                percent(a.figures.auprc.map(|auprc| auprc.value)),
                percent(b.figures.auprc.map(|auprc| auprc.value)),
                interval(*difference),
                percent(a.figures.recall),
                percent(b.figures.recall),
                percent(a.figures.fpr),
                percent(b.figures.fpr),
            );
        }
        out.push_str("\nPercent; in brackets 95% intervals of the difference, both guards on the same resampled texts.\n");
        out
    }
}

/// How much larger the second's area under the precision–recall curve is.
fn difference(a: &[&Judged], b: &[&Judged], rounds: usize) -> Option<Interval> {
    let (a, b) = (ranking(a), ranking(b));
    let (unsafe_texts, safe_texts) = a.counts();
    let figure = |weights: Option<&[u32]>| Some(b.average_precision(weights)? - a.average_precision(weights)?);
    let value = figure(None).filter(|_| safe_texts > 0)?;
    Some(bootstrap(value, unsafe_texts + safe_texts, rounds, |weights| figure(Some(weights))))
}

pub(super) fn ranking(texts: &[&Judged]) -> Ranking {
    Ranking::new(texts.iter().map(|judged| (judged.score.value, judged.text.is_unsafe)))
}

/// What the texts of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    pub(super) task: &'static str,
    pub(super) by: &'static str,
    pub(super) name: &'a str,
}

/// All groups, in the order in which they are told.
pub(super) fn grouped(judged: &[Judged]) -> BTreeMap<Key<'_>, Vec<&Judged>> {
    let mut groups = BTreeMap::<Key<'_>, Vec<&Judged>>::new();
    for text in judged {
        let task = task_name(text.text.task);
        for (by, name) in [("all", ""), ("language", text.language()), ("source", text.text.source.as_str())] {
            groups.entry(Key { task, by, name }).or_default().push(text);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eval::Labelled,
        segment::{Score, Task},
    };

    fn judged(lang: &str, value: f32, is_unsafe: bool) -> Judged {
        let text = Labelled {
            task: Task::Prompt,
            text: format!("{lang} {value}"),
            prompt: None,
            lang: Some(lang.into()),
            source: "s".into(),
            is_unsafe,
        };
        Judged { text, score: Score { value, threshold: 0.5 }, detected: None }
    }

    fn texts() -> Vec<Judged> {
        [("en", 0.9, true), ("en", 0.6, false), ("en", 0.4, true), ("en", 0.1, false), ("th", 0.8, true), ("th", 0.2, false)]
            .map(|(lang, value, truth)| judged(lang, value, truth))
            .to_vec()
    }

    const MEASURE: Measure = Measure { target_fpr: 0.5, rounds: 50 };

    #[test]
    fn groups_have_their_own_figures() {
        let report = Report::new("g", &texts(), &[], MEASURE);
        let names: Vec<_> = report.groups.iter().map(|group| (group.by, group.name.as_str())).collect();
        assert_eq!(names, [("all", ""), ("language", "en"), ("language", "th"), ("source", "s")]);
        let english = &report.groups[1].figures;
        assert_eq!((english.unsafe_texts, english.safe_texts), (2, 2));
        assert_eq!((english.recall, english.fpr, english.f1), (Some(0.5), Some(0.5), Some(0.5)));
        assert!((english.auprc.unwrap().value - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-9);
        assert_eq!(english.at_target.unwrap().recall, 1.0);
        assert_eq!((report.means[0].languages, report.means[0].recall), (2, 0.75));
        let table = report.table();
        assert!(table.contains("mean of 2 languages") && table.contains("83.3 ("), "{table}");
    }

    #[test]
    fn figures_that_the_texts_cannot_tell_are_left_out() {
        let report = Report::new("g", &[judged("en", 0.9, true)], &[], MEASURE);
        let figures = &report.groups[0].figures;
        assert!(figures.auprc.is_none() && figures.f1.is_none() && figures.fpr.is_none() && figures.at_target.is_none());
        assert_eq!(figures.recall, Some(1.0));
        assert!(report.means.is_empty());
    }

    #[test]
    fn a_better_guard_is_seen_to_be_better() {
        let mut better = texts();
        better[1].score.value = 0.3;
        let comparison = Comparison::new([("a", &texts()), ("b", &better)], [&[], &[]], MEASURE);
        let all = comparison.differences[0].unwrap();
        assert!(all.value > 0.0 && all.low >= 0.0, "{all:?}");
        assert!(comparison.table().contains("B − A"));
    }
}
