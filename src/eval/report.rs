//! The figures of a guard on labelled text, by task, language and source, and of two guards side by side.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    Judged,
    metrics::{AtTarget, Interval, Ranking, resample},
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
    /// The same for unsafe prompts by themselves and hidden in long texts, by place and language; empty if not asked for.
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
    pub f1: Option<Interval>,
    /// At the thresholds in force: share of unsafe texts that are flagged.
    pub recall: Option<Interval>,
    /// At the thresholds in force: share of safe texts that are flagged.
    pub fpr: Option<Interval>,
    /// What one threshold for all these texts could do within the target rate.
    pub at_target: Option<AtTarget>,
    /// The first two of the resampled texts, for the mean over groups.
    #[serde(skip)]
    resampled: [Vec<Option<f64>>; 2],
}

/// Means over languages.
#[derive(Debug, Clone, Serialize)]
pub struct Mean {
    /// The task.
    pub task: &'static str,
    /// Languages with both kinds of text.
    pub languages: usize,
    /// Mean area under the precision–recall curve.
    pub auprc: Interval,
    /// Mean area under the ROC curve.
    pub auroc: Interval,
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

/// The columns of a table of figures, in the order of [`Group::cells`].
pub(super) const COLUMNS: [&str; 11] =
    ["TASK", "TEXTS", "UNSAFE", "SAFE", "AUPRC", "AUROC", "F1", "RECALL", "FPR", "THRESHOLD", "RECALL THERE"];
/// The columns of a table of two guards.
pub(super) const COMPARED: [&str; 9] =
    ["TASK", "TEXTS", "UNSAFE", "SAFE", "AUPRC A", "AUPRC B", "B − A", "RECALL A → B", "FPR A → B"];

impl Report {
    /// Measures.
    #[must_use]
    pub fn new(guard: &str, judged: &[Judged], hidden: &[Judged], measure: Measure) -> Self {
        let groups: Vec<Group> = grouped(judged).into_iter().map(|texts| Group::new(texts, measure)).collect();
        let hidden = grouped(hidden).into_iter().filter(|(key, _)| key.by != "all").map(|texts| Group::new(texts, measure));
        let means = ["prompt", "response"].into_iter().filter_map(|task| Mean::new(task, &groups)).collect();
        Self { guard: guard.to_owned(), target_fpr: measure.target_fpr, hidden: hidden.collect(), groups, means }
    }

    /// The rows of the groups and of the means.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        self.groups.iter().map(Group::cells).chain(self.means.iter().map(Mean::cells)).collect()
    }

    /// The rows of the hidden texts.
    pub(super) fn hidden_rows(&self) -> Vec<Vec<String>> {
        self.hidden.iter().map(Group::cells).collect()
    }

    /// The table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = format!("guard {}\n\n{}", self.guard, plain(&COLUMNS, &self.rows()));
        if !self.hidden.is_empty() {
            _ = write!(
                out,
                "\nunsafe prompts by themselves and hidden in long harmless text\n\n{}",
                plain(&COLUMNS, &self.hidden_rows())
            );
        }
        out + "\n" + &self.legend()
    }

    pub(super) fn legend(&self) -> String {
        format!(
            "Percent; in brackets 95% intervals. F1, recall and FPR are at the guard's thresholds; the last two columns are what one\nthreshold for a row's texts could do at {:.1}% false positives.\n",
            self.target_fpr * 100.0
        )
    }
}

impl Group {
    fn new((key, texts): (Key<'_>, Vec<&Judged>), measure: Measure) -> Self {
        Self { task: key.task, by: key.by, name: key.name.to_owned(), figures: Figures::new(&texts, measure) }
    }

    fn name(&self) -> String {
        if self.by == "all" { "all".to_owned() } else { self.name.clone() }
    }

    fn cells(&self) -> Vec<String> {
        let Figures { unsafe_texts, safe_texts, auprc, auroc, f1, recall, fpr, at_target, .. } = &self.figures;
        vec![
            self.task.to_owned(),
            self.name(),
            unsafe_texts.to_string(),
            safe_texts.to_string(),
            interval(*auprc),
            interval(*auroc),
            interval(*f1),
            interval(*recall),
            interval(*fpr),
            at_target.map_or_else(|| NONE.to_owned(), |at| at.threshold.to_string()),
            percent(at_target.filter(|_| *unsafe_texts > 0).map(|at| at.recall)),
        ]
    }
}

/// Stands for a figure that the texts cannot tell.
const NONE: &str = "–";

/// A figure in percent.
#[must_use]
pub fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{:.1}", value * 100.0))
}

/// A figure and its interval, in percent.
pub(super) fn interval(interval: Option<Interval>) -> String {
    let Some(Interval { value, low, high }) = interval else { return NONE.to_owned() };
    format!("{:.1} ({:.1}–{:.1})", value * 100.0, low * 100.0, high * 100.0)
}

/// Rows in columns as wide as their widest cell; the first two to the left, numbers to the right.
pub(super) fn plain(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

impl Figures {
    fn new(texts: &[&Judged], measure: Measure) -> Self {
        let ranking = ranking(texts);
        let (unsafe_texts, safe_texts) = ranking.counts();
        let both = unsafe_texts > 0 && safe_texts > 0;
        let figures = |weights: Option<&[u32]>| {
            [ranking.average_precision(weights), ranking.roc_area(weights), f1(texts, weights)]
                .map(|figure| figure.filter(|_| both))
        };
        let values = figures(None);
        let rounds = if both { measure.rounds } else { 0 };
        let resampled = resample(texts.len(), rounds, |weights| figures(Some(weights)));
        let interval = |at: usize| Some(Interval::percentile((*values.get(at)?)?, resampled.get(at)?));
        let share = |of: bool| {
            let all = texts.iter().filter(|judged| judged.text.is_unsafe == of);
            Interval::share(all.clone().filter(|judged| judged.is_flagged()).count(), all.count())
        };
        Self {
            unsafe_texts,
            safe_texts,
            auprc: interval(0),
            auroc: interval(1),
            f1: interval(2),
            recall: share(true),
            fpr: share(false),
            at_target: ranking.at_target(measure.target_fpr),
            resampled: resampled.into_iter().take(2).collect::<Vec<_>>().try_into().unwrap_or_default(),
        }
    }
}

/// 2PR / (P + R), which is 2 · caught / (flagged + unsafe).
fn f1(texts: &[&Judged], weights: Option<&[u32]>) -> Option<f64> {
    let weight = |at: usize| weights.map_or(1, |weights| weights.get(at).copied().unwrap_or(0));
    let (mut caught, mut flagged, mut all) = (0, 0, 0);
    for (at, judged) in texts.iter().enumerate() {
        let own = weight(at);
        flagged += own * u32::from(judged.is_flagged());
        all += own * u32::from(judged.text.is_unsafe);
        caught += own * u32::from(judged.text.is_unsafe && judged.is_flagged());
    }
    (all > 0).then(|| f64::from(2 * caught) / f64::from(flagged + all))
}

impl Mean {
    fn new(task: &'static str, groups: &[Group]) -> Option<Self> {
        let own = groups.iter().filter(|group| group.task == task && group.by == "language" && group.name != UNKNOWN);
        let own: Vec<&Figures> = own.map(|group| &group.figures).filter(|figures| figures.auprc.is_some()).collect();
        if own.len() < 2 {
            return None;
        }
        let rounds = own.first().map_or(0, |figures| figures.resampled.first().map_or(0, Vec::len));
        let area = |at: usize, value: f64| {
            let round = |round: usize| mean(own.iter().map(|figures| *figures.resampled.get(at)?.get(round)?));
            Interval::percentile(value, &(0..rounds).map(round).collect::<Vec<_>>())
        };
        let of = |figure: fn(&Figures) -> Option<f64>| mean(own.iter().map(|figures| figure(figures)));
        Some(Self {
            task,
            languages: own.len(),
            auprc: area(0, of(|figures| figures.auprc.map(|auprc| auprc.value))?),
            auroc: area(1, of(|figures| figures.auroc.map(|auroc| auroc.value))?),
            recall: of(|figures| figures.recall.map(|recall| recall.value))?,
            fpr: of(|figures| figures.fpr.map(|fpr| fpr.value))?,
            recall_at_target: of(|figures| Some(figures.at_target.map_or(0.0, |at| at.recall)))?,
        })
    }

    fn cells(&self) -> Vec<String> {
        let none = String::new;
        vec![
            self.task.to_owned(),
            format!("mean of {} languages", self.languages),
            none(),
            none(),
            interval(Some(self.auprc)),
            interval(Some(self.auroc)),
            none(),
            percent(Some(self.recall)),
            percent(Some(self.fpr)),
            none(),
            percent(Some(self.recall_at_target)),
        ]
    }
}

/// The mean of those values that there are.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values.flatten().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
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

    /// The rows of the groups, of the hidden texts, and of the means.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let groups = self.a.groups.iter().zip(&self.b.groups).zip(&self.differences);
        let hidden = self.a.hidden.iter().zip(&self.b.hidden);
        let groups = groups.map(|((a, b), difference)| compared(a, b, interval(*difference)));
        let hidden = hidden.map(|(a, b)| compared(a, b, NONE.to_owned()));
        let means = self.a.means.iter().zip(&self.b.means).map(|(a, b)| {
            vec![
                a.task.to_owned(),
                format!("mean of {} languages", a.languages),
                String::new(),
                String::new(),
                percent(Some(a.auprc.value)),
                percent(Some(b.auprc.value)),
                percent(Some(b.auprc.value - a.auprc.value)),
                change(Some(a.recall), Some(b.recall)),
                change(Some(a.fpr), Some(b.fpr)),
            ]
        });
        groups.chain(hidden).chain(means).collect()
    }

    /// The table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        format!(
            "A  {}\nB  {}\n\n{}\nPercent; in brackets 95% intervals of the difference, both guards on the same resampled texts.\n",
            self.a.guard,
            self.b.guard,
            plain(&COMPARED, &self.rows())
        )
    }
}

fn compared(a: &Group, b: &Group, difference: String) -> Vec<String> {
    let (one, other) = (&a.figures, &b.figures);
    let value = |interval: Option<Interval>| interval.map(|interval| interval.value);
    vec![
        a.task.to_owned(),
        a.name(),
        one.unsafe_texts.to_string(),
        one.safe_texts.to_string(),
        percent(value(one.auprc)),
        percent(value(other.auprc)),
        difference,
        change(value(one.recall), value(other.recall)),
        change(value(one.fpr), value(other.fpr)),
    ]
}

fn change(a: Option<f64>, b: Option<f64>) -> String {
    format!("{} → {}", percent(a), percent(b))
}

/// How much larger the second's area under the precision–recall curve is.
fn difference(a: &[&Judged], b: &[&Judged], rounds: usize) -> Option<Interval> {
    let (a, b) = (ranking(a), ranking(b));
    let (unsafe_texts, safe_texts) = a.counts();
    let figure = |weights: Option<&[u32]>| Some(b.average_precision(weights)? - a.average_precision(weights)?);
    let value = figure(None).filter(|_| safe_texts > 0)?;
    let [resampled] = resample(unsafe_texts + safe_texts, rounds, |weights| [figure(Some(weights))]);
    Some(Interval::percentile(value, &resampled))
}

pub(super) fn ranking(texts: &[&Judged]) -> Ranking {
    Ranking::new(texts.iter().map(|judged| (judged.score.value, judged.text.is_unsafe)))
}

/// The language of texts whose language nobody said and no detector tells.
pub(super) const UNKNOWN: &str = "?";

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
        let values = [english.recall, english.fpr, english.f1].map(|interval| interval.unwrap().value);
        assert_eq!(values, [0.5, 0.5, 0.5]);
        assert!((english.auprc.unwrap().value - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-9);
        assert_eq!(english.at_target.unwrap().recall, 1.0);
        let mean = &report.means[0];
        assert_eq!((mean.languages, mean.recall), (2, 0.75));
        assert!(mean.auprc.low < mean.auprc.value && mean.auprc.value <= mean.auprc.high, "{mean:?}");
        let table = report.table();
        assert!(table.contains("mean of 2 languages") && table.contains("83.3 ("), "{table}");
    }

    #[test]
    fn figures_that_the_texts_cannot_tell_are_left_out() {
        let report = Report::new("g", &[judged("en", 0.9, true)], &[], MEASURE);
        let figures = &report.groups[0].figures;
        assert!(figures.auprc.is_none() && figures.f1.is_none() && figures.fpr.is_none() && figures.at_target.is_none());
        assert_eq!(figures.recall.unwrap().value, 1.0);
        assert!(report.means.is_empty());
    }

    #[test]
    fn a_better_guard_is_seen_to_be_better() {
        let mut better = texts();
        better[1].score.value = 0.3;
        let comparison = Comparison::new([("a", &texts()), ("b", &better)], [&texts(), &better], MEASURE);
        let all = comparison.differences[0].unwrap();
        assert!(all.value > 0.0 && all.low >= 0.0, "{all:?}");
        let table = comparison.table();
        assert!(table.contains("B − A") && table.contains("66.7 → 66.7") && table.contains("mean of 2"), "{table}");
    }
}
