//! `seawall policy explain`

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{ArgGroup, Args};

use super::{Which, test::scanner};
use crate::{
    cli::{Failed, say, usage},
    config::Config,
    policy::{Asked, ExplainedRule, Mode, Outcome, Policies},
    segment::Target,
    server,
    trial::{Explanation, Facts, Given, Guards, Judge, Judged, Scores, Side, Subject, language},
};

/// Characters of a text that are shown.
const SHOWN: usize = 100;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("tried").required(true).multiple(true).args(["text", "response", "request"]))]
pub(in crate::cli) struct Explain {
    #[command(flatten)]
    which: Which,
    /// A user's text
    #[arg(long, conflicts_with = "request")]
    text: Option<String>,
    /// A model's answer, to the text if there is one
    #[arg(long, conflicts_with = "request", value_name = "TEXT")]
    response: Option<String>,
    /// A file with a request's body, `-` for standard input
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// A file with the body of the upstream's answer to it
    #[arg(long, value_name = "FILE", requires = "request")]
    answer: Option<PathBuf>,
    /// The path that the request is sent to, which tells its API
    #[arg(long, value_name = "PATH", default_value = "/v1/chat/completions", requires = "request")]
    path: String,
    /// P(unsafe) that all guards are taken to say; the guards themselves are asked if left out
    #[arg(long, value_name = "SCORE", value_parser = crate::cli::eval::score)]
    score: Option<f32>,
    /// The language of all texts; each tells its own if left out
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
    /// Whose call it is
    #[arg(long)]
    tenant: Option<String>,
    /// The name of the caller's key
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// The caller's subject
    #[arg(long)]
    subject: Option<String>,
    /// A claim of the caller's token; its value is JSON, or else text
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    claim: Vec<(String, String)>,
    /// The model asked for; a request's own counts more
    #[arg(long)]
    model: Option<String>,
    /// The route
    #[arg(long)]
    route: Option<String>,
    /// The upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// The API spoken by texts
    #[arg(long, value_name = "NAME", conflicts_with = "request")]
    dialect: Option<String>,
    /// A header of the call
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    header: Vec<(String, String)>,
    /// The random number by which rules with a `sample` are asked or not
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    draw: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "not a name and a value with `=` between them".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let facts = self.facts();
        let Self { which, text, response, request, answer, path, score, language: tag, json, .. } = self;
        let config = which.load()?;
        let policies = Arc::new(server::policies(&config).map_err(usage)?);
        let language = tag.as_deref().map(language).transpose().map_err(usage)?;
        let subject = match request {
            Some(request) => {
                let answer = answer.as_deref().map(read).transpose()?;
                Subject::exchange(facts, &path, &read(&request)?, answer.as_deref())
            }
            None => Subject::texts(facts, text.into_iter().map(|text| (Target::Prompt, text)).collect(), response),
        };
        let guards = Guards::new(&config);
        let tried = put(
            subject.map_err(usage)?,
            &config,
            (&policies, &guards),
            score.map(|score| Scores::One(Given::Score(score))),
            language,
        );
        let explanation = Explanation::new(&tried.await?, &guards);
        if json {
            return say(serde_json::to_string_pretty(&explanation).map_err(usage)?);
        }
        say(told(&explanation).trim_end())
    }

    fn facts(&self) -> Facts {
        let usual = Facts::default();
        let claim = |(name, value): &(String, String)| {
            (name.clone(), serde_json::from_str(value).unwrap_or_else(|_| value.clone().into()))
        };
        Facts {
            tenant: self.tenant.clone(),
            key: self.key.clone(),
            subject: self.subject.clone(),
            claims: self.claim.iter().map(claim).collect(),
            model: self.model.clone().unwrap_or(usual.model),
            route: self.route.clone().unwrap_or(usual.route),
            upstream: self.upstream.clone().unwrap_or(usual.upstream),
            dialect: self.dialect.clone().unwrap_or(usual.dialect),
            stream: usual.stream,
            headers: self.header.iter().cloned().collect(),
            draw: self.draw,
        }
    }
}

fn read(path: &Path) -> Result<String, Failed> {
    let text = if path == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    text.map_err(|e| usage(format!("{}: cannot be read: {e}", path.display())))
}

/// Tries the policies, with the guards if no scores are given.
async fn put(
    subject: Subject,
    config: &Config,
    (policies, guards): (&Arc<Policies>, &Guards),
    scores: Option<Scores>,
    language: Option<&'static str>,
) -> Result<crate::trial::Tried, Failed> {
    match scores {
        Some(scores) => subject.put(policies, Judge::Given(&scores, guards), language).await,
        None => subject.put(policies, Judge::Asked(&scanner(config).await?), language).await,
    }
    .map_err(usage)
}

/// The explanation for people.
fn told(explanation: &Explanation) -> String {
    let mut lines = Vec::new();
    for side in &explanation.sides {
        lines.push(side.direction.name().to_owned());
        for (number, passage) in side.passages.iter().enumerate() {
            lines.extend(judged(number, passage));
        }
        lines.extend(side.unscorable.iter().map(|kind| format!("  content of type `{kind}`, which no guard can judge")));
        for policy in &side.policies {
            match &policy.misfit {
                Some(misfit) => lines.push(format!(
                    "  policy {} does not cover the call: its scope's `{}` does not fit \"{}\"",
                    policy.policy, misfit.key, misfit.value
                )),
                None => {
                    lines.push(format!("  policy {}", policy.policy));
                    lines.extend(policy.rules.iter().flat_map(rule));
                }
            }
        }
        lines.extend(decided(side));
    }
    if !explanation.covered {
        lines.push("no policy covers the call: see `policies.uncovered`".to_owned());
    }
    lines.push(format!("decision: {}", explanation.decision));
    lines.extend(explanation.message.as_ref().map(|message| format!("the client reads: {message}")));
    lines.join("\n")
}

fn judged(number: usize, passage: &Judged) -> Vec<String> {
    let language = passage.language.map(|tag| format!(", {tag}")).unwrap_or_default();
    let mut shown: String = passage.text.chars().take(SHOWN).collect();
    if shown.len() < passage.text.len() {
        shown.push('…');
    }
    let mut lines =
        vec![format!("  [{number}] {}{language}: {shown:?}", passage.target.name()), format!("      hash {}", passage.hash)];
    lines.extend(passage.scores.iter().map(|scored| match (scored.score, scored.threshold, &scored.failure) {
        (Some(score), Some(threshold), _) => {
            format!("      guard {}: {score:.3}, its own threshold {threshold:.3}", scored.guard)
        }
        (_, _, failure) => format!("      guard {}: {}", scored.guard, failure.as_deref().unwrap_or_default()),
    }));
    let found = passage.findings.iter().map(|found| format!("      {} at {}..{}", found.detector, found.start, found.end));
    lines.extend(found);
    lines
}

fn rule(rule: &ExplainedRule) -> Vec<String> {
    let shadow = if rule.mode == Mode::Shadow { ", shadow" } else { "" };
    let sample = rule.sample.map(|share| format!(", in {share} of exchanges")).unwrap_or_default();
    let mut lines = vec![format!("    rule {} ({}{shadow}{sample})", rule.rule, rule.action.name())];
    let asked = rule.passages.iter().enumerate().filter(|(_, asked)| asked.outcome != Outcome::Elsewhere);
    lines.extend(asked.map(|(number, asked)| format!("      [{number}] {}", outcome(asked))));
    if lines.len() == 1 {
        lines.push("      looks at other kinds of text".to_owned());
    }
    lines
}

/// The outcome, and all that it rests on.
fn outcome(asked: &Asked) -> String {
    let mut line = match &asked.outcome {
        Outcome::Matched(_) => "matches",
        Outcome::Elsewhere => "looks at other kinds of text",
        Outcome::OtherLanguage => "the policy is for other languages",
        Outcome::NotDrawn => "not asked in this exchange",
        Outcome::NothingFound => "nothing found",
        Outcome::Below { .. } => "below the threshold",
        Outcome::Unmet => "the condition does not hold",
        Outcome::Exempt => "would match, but the text is exempt",
        Outcome::Unjudged(_) => "the guard could not judge it",
    }
    .to_owned();
    if let Some(compared) = &asked.threshold {
        let score = compared.score.map_or("no score".to_owned(), |score| format!("{score:.3}"));
        let least = compared.threshold.map_or("?".to_owned(), |least| format!("{least:.3}"));
        let from = if compared.from == "guard" { "the guard's own" } else { compared.from.as_str() };
        push(&mut line, format_args!("; {} {score} against {least} ({from})", compared.guard));
    }
    if let Some(looked) = &asked.detectors {
        let found = if looked.found.is_empty() { "none".to_owned() } else { looked.found.join(", ") };
        push(&mut line, format_args!("; found {found} of {}", looked.wanted.join(", ")));
    }
    if let Some(condition) = &asked.condition {
        let answer = condition.holds.map_or_else(|| condition.failure.clone().unwrap_or_default(), |holds| holds.to_string());
        let read: Vec<String> = condition.read.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        push(&mut line, format_args!("; `{}` is {answer} ({})", condition.condition, read.join(", ")));
    }
    line
}

fn push(line: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    line.write_fmt(more).unwrap_or_default();
}

fn decided(side: &Side) -> Vec<String> {
    let reasons: Vec<&str> = side.reasons.iter().map(|reason| reason.rule.as_str()).collect();
    let why = if reasons.is_empty() { "no rule matched".to_owned() } else { reasons.join(", ") };
    let mut lines = vec![format!("  {}: {why}", side.decision)];
    lines.extend(side.changed.iter().map(|changed| format!("  {} goes on as {:?}", changed.target.name(), changed.text)));
    lines
}
