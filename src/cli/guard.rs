//! `seawall guard`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::{Args, Subcommand};

use super::{
    Failed, Settings,
    eval::{patient, share, texts},
    failed, say, usage, with_one_guard,
};
use crate::{
    config::Engine,
    eval::{
        calibrate::{Tuned, Wanted, tune},
        judge, percent,
    },
    guard::{self, Manifest, Server, Session, Tuning, manifest::Label},
    segment::Task,
    server,
    telemetry::{self, Metrics},
};

/// Tokens of the texts that the latency probe scores, and how often each.
const PROBES: [usize; 4] = [16, 64, 128, 256];
const ROUNDS: usize = 30;

#[derive(Debug, Subcommand)]
pub(super) enum Guard {
    /// What the guard is and how it judges, from its manifest
    Info(Info),
    /// Prove a guard: checksums, tensors, golden texts, the provider in force, and how long a text takes
    Verify(Verify),
    /// Choose thresholds and calibrate scores on labelled texts, and write them to the guard's manifest
    Calibrate(Calibrate),
}

#[derive(Debug, Args)]
pub(super) struct Info {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(super) struct Calibrate {
    #[command(flatten)]
    settings: Settings,
    /// JSON Lines with "text" and "label" (`safe` or `unsafe`), and "response" if need be: your own traffic is best
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Share of safe texts that may be flagged
    #[arg(long, default_value_t = 0.02, value_name = "SHARE", value_parser = share)]
    target_fpr: f64,
    /// Safe texts that a language needs for a threshold of its own
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    enough: usize,
    /// Tell only, change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Guard {
    pub(super) async fn run(self) -> Result<(), Failed> {
        match self {
            Self::Info(info) => info.run(),
            Self::Verify(verify) => verify.run().await,
            Self::Calibrate(calibrate) => calibrate.run().await,
        }
    }
}

impl Info {
    fn run(self) -> Result<(), Failed> {
        let config = self.settings.load(&[])?;
        let dir = guard::directory(config.guard.dir.as_deref()).map_err(usage)?;
        let engine = config.guard.engine;
        describe(&dir, &Manifest::load(&dir, engine.into()).map_err(usage)?, engine)
    }
}

fn describe(dir: &Path, manifest: &Manifest, engine: Engine) -> Result<(), Failed> {
    say(format!("guard        {}", manifest.identity()))?;
    say(format!("directory    {}", dir.display()))?;
    say(format!("kind         {}{}", manifest.kind.name(), labels(manifest, engine)))?;
    say(format!("licence      {}", manifest.licence))?;
    say(format!("languages    {}", manifest.languages.join(" ")))?;
    let tokens = &manifest.tokens;
    say(format!("tokens       {} a window, {} apart, {} at most", tokens.window, tokens.stride, tokens.max))?;
    for (name, task) in [("prompt", Some(&manifest.tasks.prompt)), ("response", manifest.tasks.response.as_ref())] {
        let Some(task) = task else {
            say(format!("{name:<12} judged as prompts are"))?;
            continue;
        };
        let own = task.thresholds.iter().map(|(language, threshold)| format!("{language} {threshold}"));
        say(format!("{name:<12} unsafe from {} on; {}", task.threshold, own.collect::<Vec<_>>().join(", ")))?;
        let calibration = task.calibration.map_or_else(
            || "none: scores are the graph's own".to_owned(),
            |map| format!("slope {}, offset {}", map.slope, map.offset),
        );
        say(format!("  calibrated {calibration}"))?;
        if !task.passes.is_empty() {
            say(format!("  passes     {}, of which the worst counts", task.passes.len()))?;
        }
    }
    Ok(())
}

/// The words that a generative guard answers with, and what becomes of growing texts.
fn labels(manifest: &Manifest, engine: Engine) -> String {
    let labels: Vec<String> = manifest.output.labels.iter().map(|Label { text, id }| format!("{text:?} {id}")).collect();
    if labels.is_empty() {
        return String::new();
    }
    let keeps = engine == Engine::Onnx && manifest.files.incremental.is_some();
    let growing = if keeps { "from what was kept of them" } else { "whole each time" };
    format!(": answers {}; growing texts are scored {growing}", labels.join(" or "))
}

impl Verify {
    async fn run(self) -> Result<(), Failed> {
        let config = with_one_guard(self.settings.load(&[])?, None)?;
        telemetry::start(&config.telemetry).map_err(usage)?;
        let dir = guard::directory(config.guard.dir.as_deref()).map_err(usage)?;
        say(format!("proving      {}", dir.display()))?;
        let scanner = server::scanner(&config, &Arc::new(Metrics::default())).await.map_err(failed)?;
        let (guard, manifest) = (scanner.guard(), scanner.guard().manifest());
        let engine = config.guard.engine;
        describe(&dir, manifest, engine)?;
        say(format!("checksums    fine: {}", files(manifest, engine).join(", ")))?;
        for Server { url, is_ready, why } in guard.servers() {
            say(format!("server       {url} {}", if is_ready { "takes calls" } else { &why }))?;
        }
        let proof = guard.proof().ok_or_else(|| failed("no server can be asked, so nothing is proven"))?;
        if engine == Engine::Onnx {
            say("tensors      fine: the graphs have the inputs and outputs that the manifest names")?;
        }
        say(format!(
            "golden       fine: {} texts, ids the same, scores within {:.5} (allowed {})",
            proof.texts, proof.gap, manifest.golden.tolerance
        ))?;
        if let (Some(gap), Some(growth)) = (proof.grown_gap, guard.growth()) {
            say(format!(
                "incremental  fine: the same texts from kept beginnings within {gap:.5}; {} of {} tokens are kept",
                growth.kept,
                config.guard.kv_tokens * config.guard.devices.len()
            ))?;
        }
        say(format!("provider     {}", guard.runs_on()))?;
        for Session { device, .. } in guard.sessions() {
            say(format!("session      {device}"))?;
        }
        // A hosted guard counts its calls.
        let probes = if engine == Engine::Openai { &[][..] } else { &PROBES };
        for &tokens in probes {
            let Some(times) = probe(guard, tokens).await? else { continue };
            let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(f64::NAN);
            say(format!("latency      {tokens:>4} tokens: median {:.1} ms, 90% within {:.1} ms", at(50), at(90)))?;
        }
        say("the guard is fine")
    }
}

fn files(manifest: &Manifest, engine: Engine) -> Vec<String> {
    manifest.files.needed(engine.into()).map(|file| file.path.display().to_string()).collect()
}

/// Milliseconds that a text of so many tokens takes alone, sorted; `None` if the guard's windows are shorter.
async fn probe(guard: &guard::Guard, tokens: usize) -> Result<Option<Vec<f64>>, Failed> {
    let text = "rice ".repeat(tokens);
    let window = guard.windows(Task::Prompt, &text, None).await.map_err(failed)?;
    let mut window = window.into_iter().next().ok_or_else(|| failed("the tokenizer yields no window"))?;
    if window.ids.len() < tokens {
        return Ok(None);
    }
    let end = window.ids.last().copied();
    window.ids.truncate(tokens.saturating_sub(1));
    window.ids.extend(end);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        guard.score(window.clone()).await.map_err(failed)?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(Some(times))
}

impl Calibrate {
    async fn run(self) -> Result<(), Failed> {
        let mut config = patient(with_one_guard(self.settings.load(&[])?, None)?);
        // A guard is tuned by its own scores.
        config.guard.cascade = None;
        telemetry::start(&config.telemetry).map_err(usage)?;
        let texts = texts(&self.files)?;
        let scanner = server::scanner(&config, &Arc::new(Metrics::default())).await.map_err(usage)?;
        let judged = judge(&scanner, texts).await.map_err(failed)?;
        let manifest = scanner.guard().manifest();
        if manifest.tasks.response.is_none() && judged.iter().any(|judged| judged.text.task == Task::Response) {
            return Err(usage("this guard has no task for responses; leave texts with a `response` out"));
        }
        let wanted = Wanted { fpr: self.target_fpr, enough: self.enough };
        let current = |task| {
            let spec = manifest.task(task);
            Tuning { calibration: spec.calibration, threshold: spec.threshold, thresholds: spec.thresholds.clone() }
        };
        let tuned = tune(&judged, current, wanted).map_err(usage)?;
        for (_, tuned) in &tuned {
            tell(tuned)?;
        }
        if self.dry_run {
            return say("nothing was written: this was a dry run");
        }
        let tunings: Vec<_> = tuned.into_iter().map(|(task, tuned)| (task, tuned.tuning)).collect();
        guard::tune(scanner.guard().dir(), &tunings).map_err(failed)?;
        say(format!(
            "written to {}; running servers take it up when they are started again",
            scanner.guard().dir().join("guard.toml").display()
        ))
    }
}

fn tell(tuned: &Tuned) -> Result<(), Failed> {
    if let (Some([before, after]), Some(map)) = (tuned.brier, tuned.tuning.calibration) {
        say(format!(
            "{}: scores mapped with slope {:.3}, offset {:.3}; mean squared error {before:.4} → {after:.4}",
            tuned.task, map.slope, map.offset
        ))?;
    }
    say(format!(
        "{:<9} {:<9} {:>6} {:>6} {:>10} {:>8} {:>6}",
        "TASK", "LANGUAGE", "UNSAFE", "SAFE", "THRESHOLD", "RECALL %", "FPR %"
    ))?;
    for row in &tuned.rows {
        say(format!(
            "{:<9} {:<9} {:>6} {:>6} {:>10} {:>8} {:>6}",
            tuned.task,
            row.language,
            row.unsafe_texts,
            row.safe_texts,
            row.threshold,
            percent(row.recall),
            percent(row.fpr)
        ))?;
    }
    Ok(())
}
