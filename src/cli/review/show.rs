//! `seawall review show`

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{StoreArgs, actor, find};
use crate::{
    cli::{
        Failed, failed, say,
        text::{short, visible},
    },
    review::{Action, Case, Decision, Facts, Kept, Said, State, Verdict},
    segment::Direction,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    store: StoreArgs,
    /// Its id, or as much of it as is needed
    id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let store = self.store.open().await?;
        let case = find(&store, &self.id).await?;
        store.audit(&actor(), Action::Look, Some(&case.id), &json!({})).await.map_err(failed)?;
        let (state, decisions) = (store.state(&case.id).await, store.decisions(&case.id).await);
        let (state, decisions) = (state.map_err(failed)?, decisions.map_err(failed)?);
        if !self.json {
            return tell(&case, state, &decisions);
        }
        let mut whole = json!(case);
        if let Some(fields) = whole.as_object_mut() {
            fields.insert("state".to_owned(), json!(state));
            fields.insert("decisions".to_owned(), json!(decisions));
        }
        say(serde_json::to_string_pretty(&whole).map_err(failed)?)
    }
}

fn tell(case: &Case, state: State, decisions: &[Decision]) -> Result<(), Failed> {
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
        let number = |name: &str, word: &str| {
            let number = reason.get(name).and_then(serde_json::Value::as_f64);
            number.map_or_else(String::new, |number| format!("{word} {number:.3}"))
        };
        let score = number("score", ", score") + &number("threshold", " of");
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
    say(format!("state     {}", state.name()))?;
    for Decision { reviewer, opinion, note, at_ms } in decisions {
        let at = Timestamp::from_millisecond(*at_ms).map_err(failed)?;
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        say(visible(&format!("decision  {reviewer} says {} ({at:.0}){note}", opinion.name())))?;
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
