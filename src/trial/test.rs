//! A policy's tests run.

use std::{fmt, sync::Arc};

use serde_json::Value;

use super::{
    Guards, Judge, Step, Tried, diff,
    file::{Test, Word},
};
use crate::{
    config::nearest,
    policy::{Policies, languages},
    scan::Scanner,
    segment::{Direction, Segment, Target, last_prompt},
};

/// Why a test failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It could not be run.
    Wrong(String),
    /// What was expected and what came differ: what of, and the two line by line.
    Differs(Vec<(&'static str, Vec<String>)>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(why) => write!(f, "  {why}"),
            Self::Differs(all) => {
                let told = all.iter().map(|(what, lines)| format!("  {what}\n    {}", lines.join("\n    ")));
                f.write_str(&told.collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

/// Runs a test with these policies in force. `scanner` is asked if the test gives no scores.
///
/// # Errors
/// It failed.
pub async fn run(test: &Test, policies: &Arc<Policies>, guards: &Guards, scanner: Option<&Scanner>) -> Result<(), Failure> {
    let judge = match (&test.score, scanner) {
        (Some(scores), _) => scores.mistake(guards).map_or(Ok(Judge::Given(scores, guards)), |why| Err(Failure::Wrong(why)))?,
        (None, Some(scanner)) => Judge::Asked(scanner),
        (None, None) => return Err(Failure::Wrong("it gives no `score`, and no guard is there to ask".to_owned())),
    };
    let language = test.language.as_deref().map(language).transpose().map_err(Failure::Wrong)?;
    let subject = test.subject().map_err(Failure::Wrong)?;
    let tried = subject.put(policies, judge, language).await.map_err(Failure::Wrong)?;
    let differs = compare(test, &tried);
    if differs.is_empty() { Ok(()) } else { Err(Failure::Differs(differs)) }
}

/// The language that texts are told to be in by this name.
///
/// # Errors
/// There is none.
fn language(tag: &str) -> Result<&'static str, String> {
    languages().find(|known| *known == tag).ok_or_else(|| {
        let near = nearest(tag, languages()).unwrap_or_default();
        format!("language: texts are never told to be in `{tag}`; did you mean `{near}`?")
    })
}

fn compare(test: &Test, tried: &Tried) -> Vec<(&'static str, Vec<String>)> {
    let expect = &test.expect;
    let word = if tried.is_covered() { tried.word() } else { Word::Uncovered.name() };
    let rules = expect.rules.as_ref().map(|rules| sorted(rules.iter().map(String::as_str)));
    let matched = tried.steps().flat_map(|step| &step.decision.reasons).map(|reason| reason.rule.as_str());
    let request = tried.steps().find(|step| step.evidence.direction == Direction::Request);
    let answer = tried.steps().find(|step| step.evidence.direction == Direction::Response);
    let prompt = || last_prompt(&request?.texts()?);
    let response = || answer?.texts().map(|texts| completion(&texts));
    let body = |step: Option<&Step>| Some(pretty(step?.body.as_deref()?));
    let json = |text: &Option<String>| text.as_deref().map(pretty);
    let all = [
        ("decision", Some(expect.decision.name().to_owned()), Some(word.to_owned())),
        ("rules", rules, Some(sorted(matched))),
        ("prompt", expect.prompt.clone(), prompt()),
        ("response", expect.response.clone(), response()),
        ("message", expect.message.clone(), tried.message()),
        ("request", json(&expect.request), body(request)),
        ("answer", json(&expect.answer), body(answer)),
    ];
    let differs = |(what, expected, actual): (_, Option<String>, Option<String>)| {
        let (expected, actual) = (expected?, actual.unwrap_or_default());
        (expected != actual).then(|| (what, diff::lines(&expected, &actual)))
    };
    all.into_iter().filter_map(differs).collect()
}

fn sorted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.join("\n")
}

fn completion(segments: &[Segment]) -> String {
    let texts = segments.iter().filter(|segment| segment.target == Target::Completion);
    texts.map(|segment| segment.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// JSON as it is compared: spaces and the order of names do not count. What is no JSON stays as it is.
fn pretty(text: &str) -> String {
    let sorted = serde_json::from_str::<Value>(text).map(|mut value| {
        value.sort_all_objects();
        format!("{value:#}")
    });
    sorted.unwrap_or_else(|_| text.to_owned())
}
