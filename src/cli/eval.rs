//! `seawall eval`

use std::{fs::File, io::Write as _, path::PathBuf, sync::Arc};

use clap::Args;

use super::{Failed, Settings, failed, say, usage, with_one_guard};
use crate::{
    config::{Config, Guard},
    eval::{CascadeReport, Comparison, Judged, Labelled, Measure, Report, hidden, judge, page, read},
    scan::{Band, Scanner},
    server,
    telemetry::{self, Metrics},
};

#[derive(Debug, Args)]
pub(super) struct Eval {
    #[command(flatten)]
    settings: Settings,
    /// JSON Lines with "text" and "label" (`safe` or `unsafe`), and "response", "lang" and "source" if need be
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of the guard, as the settings have it; `[guard]` if left out
    #[arg(long, value_name = "NAME", conflicts_with_all = ["guard", "compare"])]
    guard_name: Option<String>,
    /// Two guards' directories, to be shown side by side
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "guard")]
    compare: Option<Vec<PathBuf>>,
    /// Show what the settings' `[guard.cascade]` saves, and what it costs, against both of its guards alone
    #[arg(long, conflicts_with_all = ["compare", "html", "hide", "threshold"])]
    cascade: bool,
    /// Show it for these scores of the first guard instead: the second is asked from LOW up to HIGH
    #[arg(long, value_name = "LOW:HIGH", value_parser = band, requires = "cascade")]
    band: Vec<Band>,
    /// Write a page with curves and the worst mistakes; it holds the texts
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Share of safe texts that a threshold may flag
    #[arg(long, default_value_t = 0.02, value_name = "SHARE", value_parser = share)]
    target_fpr: f64,
    /// Call unsafe what scores at least this, instead of the guard's own thresholds
    #[arg(long, value_name = "SCORE", value_parser = score)]
    threshold: Option<f32>,
    /// Unsafe prompts a language that are also hidden in long harmless texts
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    hide: usize,
    /// Resamples behind each interval
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    rounds: u32,
}

/// A share, 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not between 0 and 1".to_owned()) }
}

pub(super) fn score(text: &str) -> Result<f32, String> {
    share(text)?;
    text.parse().map_err(|_| "not a number".to_owned())
}

fn band(text: &str) -> Result<Band, String> {
    let (low, high) = text.split_once(':').ok_or_else(|| "not two numbers with a colon between them".to_owned())?;
    let band = Band { low: score(low)?, high: score(high)? };
    if band.low < band.high { Ok(band) } else { Err("the first must be less than the second".to_owned()) }
}

/// The settings for many long texts at once and nobody who waits: a full queue and a deadline protect callers, here they
/// would only lose scores.
pub(super) fn patient(mut config: Config) -> Config {
    let wait = |guard: &mut Guard| (guard.queue_tokens, guard.queue_ms, guard.deadline_ms) = (usize::MAX, u64::MAX, DAY_MS);
    wait(&mut config.guard);
    if let Some(cascade) = &mut config.guard.cascade {
        wait(&mut cascade.second);
    }
    config
}

const DAY_MS: u64 = 86_400_000;

/// A guard's name, and what it thinks of the texts and of the hidden ones.
struct Seen {
    guard: String,
    texts: Vec<Judged>,
    hidden: Vec<Judged>,
}

impl Eval {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let config = patient(with_one_guard(self.settings.load(&[])?, self.guard_name.as_deref())?);
        telemetry::start(&config.telemetry).map_err(usage)?;
        let texts = texts(&self.files)?;
        if self.cascade {
            return self.measure_cascade(config, &texts).await;
        }
        let measure = Measure { target_fpr: self.target_fpr, rounds: self.rounds.try_into().unwrap_or(usize::MAX) };
        // A place that cannot be written is told now, not when all is scored.
        let mut html = match &self.html {
            Some(path) => Some(File::create(path).map_err(|e| usage(format!("{}: cannot be written: {e}", path.display())))?),
            None => None,
        };
        let (table, json, page) = if let Some([a, b]) = self.compare.as_deref() {
            let a = self.look(&with_guard(&config, a), &texts).await?;
            let b = self.look(&with_guard(&config, b), &texts).await?;
            let sides = [(a.guard.as_str(), a.texts.as_slice()), (b.guard.as_str(), b.texts.as_slice())];
            let comparison = Comparison::new(sides, [&a.hidden, &b.hidden], measure);
            let page = self.html.is_some().then(|| page::two(&comparison, [&a.texts, &b.texts]));
            (comparison.table(), serde_json::to_string(&comparison), page)
        } else {
            let Seen { guard, texts, hidden } = self.look(&config, &texts).await?;
            let report = Report::new(&guard, &texts, &hidden, measure);
            let page = self.html.is_some().then(|| page::one(&report, &texts));
            (report.table(), serde_json::to_string(&report), page)
        };
        say(if self.json { json.map_err(failed)? } else { table })?;
        if let (Some(file), Some(page)) = (&mut html, page) {
            file.write_all(page.as_bytes()).map_err(|e| failed(format!("the page cannot be written: {e}")))?;
        }
        Ok(())
    }

    async fn measure_cascade(&self, mut config: Config, texts: &[Labelled]) -> Result<(), Failed> {
        let cascade = config.guard.cascade.take().ok_or_else(|| usage("--cascade needs `[guard.cascade]` in the settings"))?;
        let first = self.look(&config, texts).await?;
        let own = Band { low: cascade.low, high: cascade.high };
        config.guard = cascade.second;
        let second = self.look(&config, texts).await?;
        let sides = [(first.guard.as_str(), first.texts.as_slice()), (second.guard.as_str(), second.texts.as_slice())];
        let bands = if self.band.is_empty() { &[own][..] } else { &self.band };
        let report = CascadeReport::new(sides, bands, self.rounds.try_into().unwrap_or(usize::MAX));
        say(if self.json { serde_json::to_string(&report).map_err(failed)? } else { report.table() })
    }

    async fn look(&self, config: &Config, texts: &[Labelled]) -> Result<Seen, Failed> {
        let scanner = server::scanner(config, &Arc::new(Metrics::default())).await.map_err(usage)?;
        let hidden = if self.hide > 0 { hidden(texts, self.hide) } else { Vec::new() };
        let hidden = self.score(&scanner, hidden).await?;
        Ok(Seen { guard: scanner.guard().identity().to_owned(), texts: self.score(&scanner, texts.to_vec()).await?, hidden })
    }

    async fn score(&self, scanner: &Scanner, texts: Vec<Labelled>) -> Result<Vec<Judged>, Failed> {
        let mut judged = judge(scanner, texts).await.map_err(failed)?;
        for text in &mut judged {
            text.score.threshold = self.threshold.unwrap_or(text.score.threshold);
        }
        Ok(judged)
    }
}

/// The labelled texts of all files.
pub(super) fn texts(files: &[PathBuf]) -> Result<Vec<Labelled>, Failed> {
    let texts: Result<Vec<_>, _> = files.iter().map(|file| read(file)).collect();
    Ok(texts.map_err(usage)?.into_iter().flatten().collect())
}

fn with_guard(config: &Config, dir: &std::path::Path) -> Config {
    let mut config = config.clone();
    config.guard.dir = Some(dir.to_owned());
    config
}
