//! `seawall review`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::{
    Failed, failed, say,
    text::{short, visible},
    usage,
};
use crate::{
    config,
    review::{Case, Facts, Filter, Kept, Order, Said, Seal, Store, Verdict},
    segment::Direction,
};

#[derive(Debug, Subcommand)]
pub(super) enum Review {
    /// The newest cases
    List {
        #[command(flatten)]
        store: StoreArgs,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// One case in full
    Show {
        #[command(flatten)]
        store: StoreArgs,
        /// Its id, or as much of it as is needed
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// All cases as JSON Lines, oldest first, in the form that `seawall scan` and `seawall policy replay` read
    Export {
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// Settings' file; `seawall.toml` here if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where flagged traffic is recorded [default: sqlite://seawall.db]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl StoreArgs {
    async fn open(self) -> Result<Store, Failed> {
        let flags: Vec<_> = self.store.into_iter().map(|url| ("review.store", url)).collect();
        let config = config::load(self.config.as_deref(), &flags).map_err(usage)?;
        let seal = Seal::new(&config.review.keys).map_err(usage)?;
        Ok(Store::open_existing(&config.review.store).await.map_err(failed)?.sealing(seal))
    }
}

impl Review {
    pub(super) async fn run(self) -> Result<(), Failed> {
        match self {
            Self::List { store, limit, json } => list(&store.open().await?, limit, json).await,
            Self::Show { store, id, json } => show(&store.open().await?, &id, json).await,
            Self::Export { store } => export(&store.open().await?).await,
        }
    }
}

async fn list(store: &Store, limit: u32, json: bool) -> Result<(), Failed> {
    let cases = store.cases(Filter::default(), Order::NewestFirst).take(limit as usize);
    let cases: Vec<Case> = cases.try_collect().await.map_err(failed)?;
    if json {
        return cases.iter().try_for_each(|case| say(serde_json::to_string(case).map_err(failed)?));
    }
    if cases.is_empty() {
        return say("no flagged traffic");
    }
    say(format!(
        "{:<36}  {:<19}  {:<8}  {:>5}  {:<4}  {:<20}  PROMPT",
        "ID", "TIME (UTC)", "DECISION", "SCORE", "LANG", "RULES"
    ))?;
    for case in &cases {
        let score = case.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"));
        let (time, language) = (case.at.get(..19).unwrap_or(&case.at), case.language.as_deref().unwrap_or("-"));
        let (rules, prompt) = (case.rules().join(","), short(case.prompt(), 60));
        say(format!("{:<36}  {time:<19}  {:<8}  {score:>5}  {language:<4}  {rules:<20}  {prompt}", case.id, case.decision))?;
    }
    Ok(())
}

async fn show(store: &Store, id: &str, json: bool) -> Result<(), Failed> {
    let case = store.find(id).await.map_err(failed)?;
    let case =
        case.ok_or_else(|| failed(format!("no case, or several, with an id that begins `{id}`; see `seawall review list`")))?;
    if json {
        return say(serde_json::to_string_pretty(&case).map_err(failed)?);
    }
    say(format!(
        "case      {}\ntime      {}\ndecision  {}\nmodel     {} ({}{})",
        case.id,
        case.at,
        case.decision,
        case.model,
        case.dialect,
        if case.stream { ", stream" } else { "" }
    ))?;
    say(format!("guard     {}\npolicy    {}", case.guard, case.policy))?;
    for reason in case.reasons.as_array().into_iter().flatten() {
        let field = |name: &str| reason.get(name).and_then(serde_json::Value::as_str).unwrap_or("-");
        let score = reason
            .get("score")
            .and_then(serde_json::Value::as_f64)
            .map_or_else(String::new, |score| format!(", score {score:.3}"));
        let found = reason.get("detectors").and_then(serde_json::Value::as_array).into_iter().flatten();
        let found: Vec<&str> = found.filter_map(serde_json::Value::as_str).collect();
        let found = if found.is_empty() { String::new() } else { format!(", found {}", found.join(", ")) };
        let mode = if field("mode") == "shadow" { " (shadow)" } else { "" };
        say(format!(
            "rule      {}/{}: {} of {}{score}{found}{mode}",
            field("policy"),
            field("rule"),
            field("action"),
            field("target")
        ))?;
    }
    case.call.as_ref().map_or(Ok(()), call)?;
    case.evidence.as_ref().map_or(Ok(()), evidence)?;
    for (title, texts) in [("request", &case.request), ("response", &case.response)] {
        for (at, text) in texts.iter().enumerate() {
            let kept = text.hashed.as_ref().map_or_else(|| visible(&text.text), |hash| format!("(hash) {hash}"));
            say(format!("\n--- {title} {}: {}\n{kept}", at + 1, text.target.name()))?;
        }
    }
    Ok(())
}

/// The call as policies could ask of it.
fn call(facts: &Facts) -> Result<(), Failed> {
    let Facts { models, method, route, upstream, tenant, key, subject, language, headers, draw: _ } = facts;
    let method = method.map(|method| method.name().to_owned());
    let models = (!models.is_empty()).then(|| models.join(" "));
    let named =
        [("also", &models), ("by", &method), ("tenant", tenant), ("key", key), ("subject", subject), ("language", language)];
    let named = named.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    let headers = headers.iter().map(|(name, value)| format!("{name}: {value}"));
    let route = (!route.is_empty()).then(|| format!("route {route}"));
    let parts: Vec<String> = route.into_iter().chain([format!("upstream {upstream}")]).chain(named).chain(headers).collect();
    say(format!("call      {}", visible(&parts.join(", "))))
}

/// What the guards thought of each text that was judged as one.
fn evidence(kept: &Kept) -> Result<(), Failed> {
    let said = |verdict: &Verdict| {
        let name = kept.guards.get(verdict.guard).map_or("?", |guard| guard.name.as_str());
        match &verdict.said {
            Said::Score { score, threshold } => format!("{name} {score:.3} of {threshold:.3}"),
            Said::Failed { failed } => format!("{name} failed ({failed})"),
        }
    };
    for passage in kept.passages.iter().filter(|passage| !passage.verdicts.is_empty()) {
        let verdicts: Vec<String> = passage.verdicts.iter().map(said).collect();
        let (way, piece) = (way(passage.direction), if passage.piece.is_some() { ", a part" } else { "" });
        let language = passage.language.as_deref().map_or_else(String::new, |tag| format!(" ({tag})"));
        let texts: Vec<String> = passage.texts.iter().map(|at| (at + 1).to_string()).collect();
        let (target, texts) = (passage.target.name(), short(&texts.join(" "), 20));
        say(visible(&format!("judged    {way} {texts}{piece}, {target}{language}: {}", verdicts.join(", "))))?;
    }
    for own in &kept.unscorable {
        say(visible(&format!("unjudged  {}: {}", way(own.direction), own.kind)))?;
    }
    Ok(())
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Request => "request",
        Direction::Response => "response",
    }
}

async fn export(store: &Store) -> Result<(), Failed> {
    let cases = store.cases(Filter::default(), Order::OldestFirst).map_err(failed);
    cases.try_for_each(|case| std::future::ready(say(line(&case)))).await
}

/// A case as `seawall scan` reads it, and whole as `seawall policy replay` does.
fn line(case: &Case) -> String {
    let answer = case.answer();
    json!({
        "id": case.id,
        "at": case.at,
        "text": case.prompt(),
        "response": (!answer.is_empty()).then_some(answer),
        "lang": case.language,
        "decision": case.decision,
        "score": case.score,
        "rules": case.rules(),
        "guard": case.guard,
        "policy": case.policy,
        "case": case,
    })
    .to_string()
}
