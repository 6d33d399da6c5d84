//! The record of flagged traffic, for people to review.
//!
//! A case is durable before the client has its answer. What detectors find is masked before anything is stored, unless the
//! settings say otherwise: the record must not become the leak that the rule prevented. What the decision rests on is kept
//! beside the texts, so that other policies can be asked of a case later without any guard.

pub mod export;
mod filter;
mod flagged;
mod hook;
mod kept;
#[cfg(test)]
#[path = "../../tests/it/harness/postgres.rs"]
pub(crate) mod postgres;
mod recorder;
mod seal;
#[cfg(test)]
#[path = "../../tests/it/harness/shell.rs"]
mod shell;
mod spool;
mod store;
mod text;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    filter::{Chosen, Filter, Moment, Opinion, Place, State},
    flagged::Flagged,
    hook::Hook,
    kept::{Facts, Judge, Kept, Passage, Piece, Said, Unscorable, Verdict, Window},
    recorder::{Recorder, Status},
    seal::{Seal, SealError, Sealed, new_sealing_key},
    store::{
        Action, Charts, Choices, Day, Decision, Delivery, Entry, Exception, Group, Keep, Line, NewDecision, NewException,
        Order, Person, Purged, Session, Spread, Store, Trail, Verified,
    },
    text::{Care, Found, Moves, Text},
};
/// Windows that are kept of one text.
pub use crate::scan::MOST_WINDOWS;
use crate::{
    policy::Reason,
    segment::{Direction, Target},
};

/// The record cannot be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store's own words.
    #[error("review store {url}: {why}")]
    Store {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The store takes other values, but not these.
    #[error("review store {url} refuses a value: {why}")]
    Values {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A case that cannot be read, or not be written as one.
    #[error("review store: case {id}: {why}")]
    Row {
        /// The case.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// What was asked for is not there.
    #[error("there is no {0}")]
    Gone(String),
    /// What was asked for cannot be.
    #[error("`{field}` {why}")]
    Wrong {
        /// What it is about.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The journal beside the store.
    #[error("review.spool {}: {why}", folder.display())]
    Spool {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// No such search.
    #[error("search: {0}")]
    Search(&'static str),
    /// The server is going down.
    #[error("the recorder has ended")]
    Ended,
}

/// A flagged exchange.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Case {
    /// The exchange's id, as in the `seawall-request-id` header.
    pub id: String,
    /// How often its record was written; a later writing takes the place of an earlier one.
    #[serde(default)]
    pub version: u32,
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
    #[schemars(with = "Vec<Told>")]
    pub reasons: serde_json::Value,
    /// The request's text.
    pub request: Vec<Text>,
    /// The answer's text, as far as it was read.
    pub response: Vec<Text>,
    /// What policies could ask of the call; older cases have it not.
    #[serde(default)]
    pub call: Option<Facts>,
    /// What was learned about the texts; older cases have it not.
    #[serde(default)]
    pub evidence: Option<Kept>,
}

/// A rule that matched, and in which direction, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Told {
    /// Which way the text travelled.
    pub direction: Direction,
    /// The rule and why.
    #[serde(flatten)]
    pub reason: Reason,
}

impl Told {
    /// Whether one rule does the same to the same kind of text in both; a guard's failure can have it do another thing.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let key = |told: &Self| (told.direction, told.reason.target, told.reason.action);
        key(self) == key(other) && self.reason.rule == other.reason.rule && self.reason.policy == other.reason.policy
    }
}

/// The reasons as they are stored.
#[must_use]
pub fn reasons(reasons: &[Told]) -> serde_json::Value {
    serde_json::to_value(reasons).unwrap_or_default()
}

/// The names of the rules in reasons as they are stored.
fn rules(reasons: &serde_json::Value) -> Vec<&str> {
    let mut rules: Vec<&str> =
        reasons.as_array().into_iter().flatten().filter_map(|reason| reason.get("rule")?.as_str()).collect();
    rules.dedup();
    rules
}

impl Case {
    /// The rules that matched, for a list.
    #[must_use]
    pub fn rules(&self) -> Vec<&str> {
        rules(&self.reasons)
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
