//! What a cascade saves and what it costs: how many texts its second guard is spared, against what is lost in ranking them.

use serde::Serialize;

use super::{
    Judged,
    metrics::{Interval, Ranking, resample},
    report::{interval, percent, plain},
    task_name,
};
use crate::{
    scan::Band,
    segment::{Score, Task},
};

/// A cascade's figures on labelled texts.
#[derive(Debug, Clone, Serialize)]
pub struct CascadeReport {
    /// The first guard's identity.
    pub first: String,
    /// The second's.
    pub second: String,
    /// Figures for each band and task.
    pub rows: Vec<CascadeRow>,
}

/// The figures of one band on the texts of one task; those that the texts cannot tell are `None`.
#[derive(Debug, Clone, Serialize)]
pub struct CascadeRow {
    /// The second guard is asked from this score of the first on …
    pub low: f32,
    /// … up to this one.
    pub high: f32,
    /// The task.
    pub task: &'static str,
    /// Unsafe texts.
    pub unsafe_texts: usize,
    /// Safe texts.
    pub safe_texts: usize,
    /// Share of texts that the second guard is asked.
    pub asked: Option<Interval>,
    /// Area under the precision–recall curve of the first guard alone.
    pub first: Option<f64>,
    /// Of the second alone.
    pub second: Option<f64>,
    /// Of the two together, each text with the score of the guard that decides.
    pub cascade: Option<Interval>,
    /// How much of the second's area is lost, on the same resamples.
    pub lost: Option<Interval>,
    /// Share of unsafe texts that the cascade flags, each at the threshold of the guard that decides.
    pub recall: Option<Interval>,
    /// Share of safe texts that it flags.
    pub fpr: Option<Interval>,
}

const COLUMNS: [&str; 12] = [
    "BAND",
    "TASK",
    "TEXTS",
    "UNSAFE",
    "SAFE",
    "ASKED",
    "AUPRC FIRST",
    "AUPRC SECOND",
    "AUPRC CASCADE",
    "LOST",
    "RECALL",
    "FPR",
];

/// A text's two scores and the truth.
struct Pair {
    first: Score,
    second: Score,
    is_unsafe: bool,
}

impl CascadeReport {
    /// Measures bands on what both guards think of the same texts, in the same order.
    #[must_use]
    pub fn new([first, second]: [(&str, &[Judged]); 2], bands: &[Band], rounds: usize) -> Self {
        let mut rows = Vec::new();
        for band in bands {
            for task in [Task::Prompt, Task::Response] {
                let both = first.1.iter().zip(second.1).filter(|(first, _)| first.text.task == task);
                let pair = |(a, b): (&Judged, &Judged)| Pair { first: a.score, second: b.score, is_unsafe: a.text.is_unsafe };
                let pairs: Vec<Pair> = both.map(pair).collect();
                if !pairs.is_empty() {
                    rows.push(CascadeRow::new(*band, task_name(task), &pairs, rounds));
                }
            }
        }
        Self { first: first.0.to_owned(), second: second.0.to_owned(), rows }
    }

    /// The table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let rows: Vec<_> = self.rows.iter().map(CascadeRow::cells).collect();
        format!(
            "first  {}\nsecond {}\n\n{}\nPercent; in brackets 95% intervals. ASKED is the share of texts that the second guard is asked; LOST is how much\nsmaller the cascade's area is than the second guard's alone. Recall and FPR are at the guards' own thresholds.\n",
            self.first,
            self.second,
            plain(&COLUMNS, &rows)
        )
    }
}

impl CascadeRow {
    fn new(band: Band, task: &'static str, pairs: &[Pair], rounds: usize) -> Self {
        let asks = |pair: &Pair| band.holds(pair.first.value);
        let decides = |pair: &Pair| if asks(pair) { pair.second } else { pair.first };
        let ranking =
            |score: &dyn Fn(&Pair) -> Score| Ranking::new(pairs.iter().map(|pair| (score(pair).value, pair.is_unsafe)));
        let (first, second, cascade) = (ranking(&|pair| pair.first), ranking(&|pair| pair.second), ranking(&decides));
        let (unsafe_texts, safe_texts) = first.counts();
        let both = unsafe_texts > 0 && safe_texts > 0;
        let area = |ranking: &Ranking, weights: Option<&[u32]>| ranking.average_precision(weights).filter(|_| both);
        let figures = |weights: Option<&[u32]>| {
            let cascade = area(&cascade, weights);
            [cascade, area(&second, weights).zip(cascade).map(|(second, cascade)| second - cascade)]
        };
        let values = figures(None);
        let resampled = resample(pairs.len(), if both { rounds } else { 0 }, |weights| figures(Some(weights)));
        let interval = |at: usize| Some(Interval::percentile((*values.get(at)?)?, resampled.get(at)?));
        let flagged = |of: bool| {
            let all = pairs.iter().filter(|pair| pair.is_unsafe == of).map(decides);
            Interval::share(all.clone().filter(|score| score.value >= score.threshold).count(), all.count())
        };
        Self {
            low: band.low,
            high: band.high,
            task,
            unsafe_texts,
            safe_texts,
            asked: Interval::share(pairs.iter().filter(|pair| asks(pair)).count(), pairs.len()),
            first: area(&first, None),
            second: area(&second, None),
            cascade: interval(0),
            lost: interval(1),
            recall: flagged(true),
            fpr: flagged(false),
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            format!("{}:{}", self.low, self.high),
            self.task.to_owned(),
            (self.unsafe_texts + self.safe_texts).to_string(),
            self.unsafe_texts.to_string(),
            self.safe_texts.to_string(),
            percent(self.asked.map(|asked| asked.value)),
            percent(self.first),
            percent(self.second),
            interval(self.cascade),
            interval(self.lost),
            percent(self.recall.map(|recall| recall.value)),
            percent(self.fpr.map(|fpr| fpr.value)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Labelled;

    fn judged(scores: [f32; 4]) -> Vec<Judged> {
        let one = |(value, is_unsafe): (f32, bool)| Judged {
            text: Labelled { task: Task::Prompt, text: "t".into(), prompt: None, lang: None, source: "s".into(), is_unsafe },
            score: Score { value, threshold: 0.5 },
            detected: None,
        };
        scores.into_iter().zip([true, true, false, false]).map(one).collect()
    }

    #[test]
    fn what_is_saved_stands_against_what_is_lost() {
        // The first ranks one safe text above an unsafe one and is sure of two; the second ranks all rightly.
        let (first, second) = (judged([0.95, 0.4, 0.6, 0.05]), judged([0.9, 0.8, 0.1, 0.2]));
        let bands = [Band { low: 0.3, high: 0.9 }, Band { low: 0.5, high: 0.9 }, Band { low: 0.97, high: 1.0 }];
        let report = CascadeReport::new([("a", &first), ("b", &second)], &bands, 20);
        let told = |row: &CascadeRow| (row.asked.unwrap().value, row.cascade.unwrap().value, row.lost.unwrap().value);
        let rows: Vec<_> = report.rows.iter().map(told).collect();
        assert_eq!(rows[0], (0.5, 1.0, 0.0), "the second is asked for the two that the first mistakes");
        assert_eq!(rows[1], (0.25, 1.0, 0.0));
        assert_eq!(rows[2].0, 0.0);
        assert!((rows[2].1 - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-9 && (rows[2].2 - 1.0 / 6.0).abs() < 1e-9);
        assert_eq!(report.rows[0].recall.unwrap().value, 1.0);
        assert_eq!((report.rows[1].recall.unwrap().value, report.rows[1].fpr.unwrap().value), (0.5, 0.0));
        let table = report.table();
        assert!(table.contains("0.3:0.9") && table.contains("83.3") && table.contains("50.0"), "{table}");
    }
}
