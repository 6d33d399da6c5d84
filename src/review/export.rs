//! The record for other tools: labelled texts to measure and tune guards with, and a table for spreadsheets.

use std::borrow::Cow;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde_json::json;

use super::{Case, Decision, Error, Filter, Opinion, Order, State, Store};
use crate::segment::{Direction, Task};

/// Cases as `seawall scan` reads them, and whole as `seawall policy replay` does, one line of JSON each, the oldest first.
pub fn cases(store: &Store, filter: Filter) -> impl Stream<Item = Result<String, Error>> + '_ {
    store.cases(filter, Order::OldestFirst).map_ok(|case| line(&case))
}

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

/// A labelled text, as `seawall eval` and `seawall guard calibrate` read it.
#[derive(Debug, PartialEq, Serialize)]
struct Labelled<'c> {
    /// The text judged, or the prompt that `response` answers.
    text: Cow<'c, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Cow<'c, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<&'c str>,
    source: &'static str,
    id: &'c str,
    score: f64,
}

/// The texts for whose scores cases were flagged, labelled as reviewers decided, one line of JSON each, the oldest first: `unsafe`
/// where the flag was right, `safe` where it was wrong. What reviewers have yet to decide, or do not agree on, comes without a
/// label if `undecided` texts are wanted, and else not at all.
pub fn labelled(store: &Store, filter: Filter, undecided: bool) -> impl Stream<Item = Result<String, Error>> + '_ {
    let lines = store.cases(filter, Order::OldestFirst).and_then(move |case| async move {
        let label = label(store.state(&case.id).await?);
        if label.is_none() && !undecided {
            return Ok(Vec::new());
        }
        let wrong = |e: serde_json::Error| Error::Row { id: case.id.clone(), why: e.to_string() };
        lines(&case, label).iter().map(|line| serde_json::to_string(line).map_err(wrong)).collect()
    });
    lines.map_ok(|lines| stream::iter(lines).map(Ok)).try_flatten()
}

/// What a guard should say of what reviewers decided so.
fn label(state: State) -> Option<&'static str> {
    match state {
        State::Right => Some("unsafe"),
        State::Wrong => Some("safe"),
        State::Open | State::Disputed => None,
    }
}

fn lines<'c>(case: &'c Case, label: Option<&'static str>) -> Vec<Labelled<'c>> {
    let flagged = case.flagged();
    let lines = flagged.iter().filter_map(|own| {
        let texts: Vec<&str> = case.texts_of(own.passage).map(|text| text.text.as_str()).collect();
        let judged = match texts.as_slice() {
            [one] => Cow::Borrowed(*one),
            several => Cow::Owned(several.join("\n")),
        };
        // Of a hash there is nothing to judge.
        if judged.is_empty() {
            return None;
        }
        // Words of the assistant that a request brings back are judged without what they answer.
        let answers = own.passage.direction == Direction::Response && own.passage.target.task() == Task::Response;
        let (text, response) = if answers { (case.prompt().into(), Some(judged)) } else { (judged, None) };
        let lang = own.passage.language.as_deref().or(case.language.as_deref());
        Some(Labelled { text, response, label, lang, source: "review", id: &case.id, score: own.score })
    });
    lines.collect()
}

/// The table's columns.
const COLUMNS: [&str; 18] = [
    "id",
    "at",
    "decision",
    "state",
    "label",
    "dialect",
    "model",
    "stream",
    "language",
    "score",
    "guard",
    "policy",
    "rules",
    "tenant",
    "key",
    "prompt",
    "answer",
    "decisions",
];

/// Cases as rows of CSV, the oldest first, below a row of names. Each ends with a line break.
pub fn csv(store: &Store, filter: Filter) -> impl Stream<Item = Result<String, Error>> + '_ {
    let names = stream::once(async { row(&COLUMNS.map(Cow::Borrowed)) });
    names.chain(store.cases(filter, Order::OldestFirst).and_then(move |case| async move {
        let (state, decisions) = (store.state(&case.id).await?, store.decisions(&case.id).await?);
        row(&cells(&case, state, &decisions))
    }))
}

fn cells<'c>(case: &'c Case, state: State, decisions: &[Decision]) -> [Cow<'c, str>; COLUMNS.len()] {
    let of_call = |value: fn(&super::Facts) -> Option<&str>| case.call.as_ref().and_then(value).unwrap_or_default().into();
    let said = |decision: &Decision| {
        let Decision { reviewer, opinion, note, .. } = decision;
        let opinion = match opinion {
            Opinion::Right => "right",
            Opinion::Wrong => "wrong",
        };
        if note.is_empty() { format!("{reviewer}: {opinion}") } else { format!("{reviewer}: {opinion}, {note}") }
    };
    [
        case.id.as_str().into(),
        case.at.as_str().into(),
        case.decision.as_str().into(),
        state.name().into(),
        label(state).unwrap_or_default().into(),
        case.dialect.as_str().into(),
        case.model.as_str().into(),
        if case.stream { "yes" } else { "no" }.into(),
        case.language.as_deref().unwrap_or_default().into(),
        case.score.map(|score| score.to_string()).unwrap_or_default().into(),
        case.guard.as_str().into(),
        case.policy.as_str().into(),
        case.rules().join(" ").into(),
        of_call(|call| call.tenant.as_deref()),
        of_call(|call| call.key.as_deref()),
        case.prompt().into(),
        case.answer().into(),
        decisions.iter().map(said).collect::<Vec<_>>().join("\n").into(),
    ]
}

fn row(cells: &[Cow<'_, str>]) -> Result<String, Error> {
    let wrong = |e: String| Error::Row { id: cells.first().map(ToString::to_string).unwrap_or_default(), why: e };
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(cells.iter().map(|cell| defused(cell).into_owned())).map_err(|e| wrong(e.to_string()))?;
    let row = writer.into_inner().map_err(|e| wrong(e.to_string()))?;
    String::from_utf8(row).map_err(|e| wrong(e.to_string()))
}

/// A cell that no spreadsheet takes for a formula.
fn defused(cell: &str) -> Cow<'_, str> {
    let is_formula = cell.trim_start().starts_with(['=', '+', '-', '@']) || cell.starts_with(['\t', '\r']);
    if is_formula { format!("'{cell}").into() } else { cell.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let row = row(&["=1+1", "+1", "-1", "@a", " =1", "\t=1", "a=1", "a\"b,\nc"].map(Cow::Borrowed)).unwrap();
        assert_eq!(row, "'=1+1,'+1,'-1,'@a,' =1,'\t=1,a=1,\"a\"\"b,\nc\"\n");
    }
}
