//! `seawall scan`

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use futures_util::{TryStreamExt as _, stream};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, AsyncRead, BufReader, stdin},
};

use super::{Failed, Settings, failed, no_guard, say, usage};
use crate::{
    policy::{self, Policies},
    scan::{self, Scanner, Which, detect_language},
    segment::{Content, Direction, Segment, Target},
    server,
    telemetry::{self, Metrics},
};

/// Texts judged at once, so that the guard has full batches.
const AT_ONCE: usize = 64;

#[derive(Debug, Args)]
pub(super) struct Scan {
    #[command(flatten)]
    settings: Settings,
    /// Name of the guard whose score is shown, as the settings have it; `[guard]` if left out
    #[arg(long, value_name = "NAME")]
    guard_name: Option<String>,
    /// JSON Lines with "text", and "response", "lang" and "id" if need be; `-` for standard input
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// Judge this text instead
    #[arg(long, conflicts_with = "file")]
    text: Option<String>,
}

/// A line to judge. With a response, the response is judged and the text is the prompt that it answers.
#[derive(Debug, Deserialize)]
struct Question {
    text: String,
    response: Option<String>,
    lang: Option<String>,
    id: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<serde_json::Value>,
    /// P(unsafe); null when the guard failed.
    score: Option<f32>,
    lang: Option<String>,
    decision: &'static str,
    findings: Vec<Found>,
    cached: bool,
    /// The guard that decided.
    guard: String,
}

/// What a detector found, in characters of the text.
#[derive(Debug, Serialize)]
struct Found {
    detector: String,
    start: usize,
    end: usize,
}

impl Scan {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let config = self.settings.load(&[])?;
        telemetry::start(&config.telemetry).map_err(usage)?;
        let policies = Arc::new(server::policies(&config).map_err(usage)?);
        let scanner = server::scanner(&config, &Arc::new(Metrics::default())).await.map_err(usage)?;
        let shown = match &self.guard_name {
            Some(name) => scanner.guard_names().position(|own| own == name),
            None => Some(scan::DEFAULT),
        };
        let unknown = || no_guard(self.guard_name.as_deref().unwrap_or_default(), scanner.guard_names());
        let shown = shown.ok_or_else(unknown)?;
        if let Some(text) = self.text {
            let question = Question { text, response: None, lang: None, id: None };
            return print(&judge(&scanner, &policies, shown, question).await);
        }
        let name = self.file.display().to_string();
        let input: Box<dyn AsyncRead + Unpin + Send> = if name == "-" {
            Box::new(stdin())
        } else {
            Box::new(File::open(&self.file).await.map_err(|e| usage(format!("{name}: cannot be read: {e}")))?)
        };
        let lines = BufReader::new(input).lines();
        let lines = stream::try_unfold((lines, 1_usize), |(mut lines, number)| async move {
            let line = lines.next_line().await?;
            Ok::<_, std::io::Error>(line.map(|line| ((number, line), (lines, number + 1))))
        });
        let verdicts = lines
            .map_err(|e| failed(format!("{name}: {e}")))
            .try_filter(|(_, line)| std::future::ready(!line.trim().is_empty()));
        let verdicts = verdicts.and_then(|(number, line)| {
            let question = serde_json::from_str::<Question>(&line);
            std::future::ready(question.map_err(|e| usage(format!("{name}:{number}: {e}"))))
        });
        let verdicts = verdicts.map_ok(|question| {
            let judged = judge(&scanner, &policies, shown, question);
            async { Ok(judged.await) }
        });
        verdicts.try_buffered(AT_ONCE).try_for_each(|verdict| std::future::ready(print(&verdict))).await
    }
}

/// Judges a line; `shown` is the guard whose score is wanted, beside what the policies ask.
async fn judge(scanner: &Scanner, policies: &Arc<Policies>, shown: usize, question: Question) -> Verdict {
    let Question { text, response, lang, id } = question;
    let (direction, target, judged, prompt) = match response {
        Some(response) => (Direction::Response, Target::Completion, response, Some(text)),
        None => (Direction::Request, Target::Prompt, text, None),
    };
    let lang = lang.or_else(|| detect_language(&judged).map(str::to_owned));
    let segment = Segment { target, passage: 0, text: judged.clone(), place: None };
    let content = Content { segments: vec![segment], ..Content::default() };
    // A text comes over no route and from nobody: only policies that ask for neither hold.
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let call = policy::Call { draw: fastrand::u64(..), today, ..policy::Call::default() };
    let selected = policies.select(call);
    let mut ask = selected.ask().clone();
    if !ask.guards.contains(&shown) {
        ask.guards.push(shown);
    }
    let evidence = scanner.evidence(&ask, content, direction, prompt.as_deref()).await;
    let decision = selected.decide(&evidence);
    let verdict = evidence.passages.first().and_then(|passage| passage.verdict(shown));
    let score = verdict.and_then(|verdict| verdict.score.as_ref().ok()).map(|score| score.value);
    let guard = scanner.identity(shown, verdict.map_or(Which::First, |verdict| verdict.by)).to_owned();
    let chars = |byte: usize| judged.get(..byte).map_or(0, |before| before.chars().count());
    let findings = evidence.findings.iter().flatten();
    Verdict {
        id,
        score,
        lang,
        decision: decision.word(),
        findings: findings
            .map(|finding| Found {
                detector: finding.detector.to_string(),
                start: chars(finding.range.start),
                end: chars(finding.range.end),
            })
            .collect(),
        cached: evidence.cached == Some(true),
        guard,
    }
}

fn print(verdict: &Verdict) -> Result<(), Failed> {
    say(serde_json::to_string(verdict).map_err(failed)?)
}
