//! The record of flagged traffic, for people to review.
//!
//! A case is durable before the client has its answer. What detectors find is masked before anything is stored: the record
//! must not become the leak that the rule prevented.

mod sqlite;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::sqlite::Store;
use crate::{
    policy::Reason,
    scan::{detect::Detectors, findings},
    segment::{Edit, Finding, Segment, Target, apply, merge},
};

/// The record cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's own words.
    #[error("review store {url}: {why}")]
    Store {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A row that this version cannot read.
    #[error("review store: case {id} cannot be read: {why}")]
    Row {
        /// The case.
        id: String,
        /// What is wrong.
        why: String,
    },
}

/// A flagged exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The exchange's id, as in the `seawall-request-id` header.
    pub id: String,
    /// When it began (RFC 3339).
    pub at: String,
    /// What was decided: `allow` (a shadow rule matched), `flag`, `rewrite` or `block`.
    pub decision: String,
    /// The API spoken.
    pub dialect: String,
    /// The model asked for.
    pub model: String,
    /// Whether the answer was a stream.
    pub stream: bool,
    /// Language of the text that mattered.
    pub language: Option<String>,
    /// The highest P(unsafe) of any text.
    pub score: Option<f32>,
    /// The guard's identity.
    pub guard: String,
    /// The policies' revision.
    pub policy: String,
    /// The rules that matched.
    pub reasons: serde_json::Value,
    /// The request's text.
    pub request: Vec<Text>,
    /// The answer's text, as far as it was read.
    pub response: Vec<Text>,
}

/// A piece of text in a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// What it was to the model.
    pub target: Target,
    /// The text, findings masked.
    pub text: String,
}

impl Text {
    /// The text of a segment as it may be stored.
    #[must_use]
    pub fn of(segment: &Segment, detectors: &Detectors) -> Self {
        Self::masked(segment.target, &segment.text, detectors)
    }

    /// A text as it may be stored.
    #[must_use]
    pub fn masked(target: Target, text: &str, detectors: &Detectors) -> Self {
        let found = findings(detectors, target, text).into_iter();
        let edit = |finding: Finding| {
            let with = detectors.mask(&finding.detector);
            let parts = if &*finding.detector == "url" { private(text, finding.range) } else { vec![finding.range] };
            parts.into_iter().map(move |range| Edit { range, with: with.to_owned() })
        };
        let mut edits: Vec<Edit> = found.flat_map(edit).collect();
        merge(&mut edits);
        Self { target, text: apply(text, &edits) }
    }
}

/// What of a web address may tell of somebody: who logs in, and what is asked of the host. A reviewer needs to know the host.
fn private(text: &str, address: Range<usize>) -> Vec<Range<usize>> {
    let Some(written) = text.get(address.clone()) else { return vec![address] };
    let start = written.find("://").map_or(0, |at| at + 3);
    let end = written.get(start..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(written.len(), |at| start + at);
    let user = written.get(start..end).and_then(|host| host.rfind('@')).map(|at| start..start + at);
    let asked = (end + 1 < written.len()).then_some(end..written.len());
    let parts = [user, asked].into_iter().flatten();
    parts.map(|part| address.start + part.start..address.start + part.end).collect()
}

/// The reasons as they are stored.
#[must_use]
pub fn reasons(reasons: &[Reason]) -> serde_json::Value {
    serde_json::to_value(reasons).unwrap_or_default()
}

impl Case {
    /// The rules that matched, for a list.
    #[must_use]
    pub fn rules(&self) -> Vec<&str> {
        let reasons = self.reasons.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rules: Vec<&str> = reasons.iter().filter_map(|reason| reason.get("rule")?.as_str()).collect();
        rules.dedup();
        rules
    }

    /// The last text of the user: what a reviewer looks at first.
    #[must_use]
    pub fn prompt(&self) -> &str {
        self.request.iter().rev().find(|text| text.target == Target::Prompt).map_or("", |text| text.text.as_str())
    }

    /// The assistant's answer.
    #[must_use]
    pub fn answer(&self) -> String {
        let texts = self.response.iter().filter(|text| text.target == Target::Completion);
        texts.map(|text| text.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_the_hosts_of_web_addresses() {
        let masked = |text: &str| Text::masked(Target::Prompt, text, &Detectors::default()).text;
        assert_eq!(masked("see https://example.com/a?to=a@b.co#x now"), "see https://example.com[url] now");
        assert_eq!(
            masked("see https://bob:pw@localhost:8443/, www.example.org"),
            "see https://[url]@localhost:8443/, www.example.org"
        );
        assert_eq!(masked("www.example.org/bob"), "www.example.org[url]");
    }
}
