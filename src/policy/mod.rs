//! Policies: from evidence to a decision. Pure: no I/O here but the loading of files, no clock, no HTTP, no dialect.
//!
//! A set of [`Policies`] never changes. An exchange takes the set in force once, [`Policies::select`]s what covers its call, and
//! asks that to its end; [`Selected::settle`] is the only way from assessed text to text that may be sent on.
//!
//! `rule`, `scope` and `threshold` are what a file says; `load` reads files; `compile` makes of them what `decide` asks.

mod ask;
mod compile;
mod decide;
mod exceptions;
mod explain;
pub mod expression;
mod lint;
mod listing;
mod load;
mod message;
mod own;
mod placeholder;
mod pseudonym;
mod rule;
mod sample;
mod scope;
mod select;
mod shipped;
mod sources;
mod threshold;

use std::sync::Arc;

use self::compile::Policy;
pub use self::{
    ask::{Outcome, text_hash},
    decide::{Decision, Reason, Refused},
    exceptions::Exceptions,
    explain::{Asked, Compared, Evaluated, Explained, ExplainedRule, Looked, Misfit},
    lint::Surroundings,
    listing::{Listed, ListedRule},
    load::{LoadError, Source, Terms, name, named, sources},
    message::{built_in, languages},
    placeholder::Placeholders,
    pseudonym::HashKey,
    rule::{Action, Mode, Respond, Unstored, schema},
    select::{Call, Selected},
    shipped::{Shipped, shipped},
    sources::{is_policy, watched},
};
use crate::scan::detect::Detectors;

/// A set of policies.
#[derive(Debug)]
pub struct Policies {
    policies: Vec<Policy>,
    revision: String,
    /// The headers that policies ask for, in lower case; `None` if a condition reads all.
    headers: Option<Vec<String>>,
    hash_key: HashKey,
    detectors: Arc<Detectors>,
    /// The guards' names, by their places.
    guards: Vec<Arc<str>>,
}

/// What becomes of a body.
#[derive(Debug)]
pub enum Settled {
    /// It goes on.
    Forward(Scanned),
    /// It does not.
    Refuse(Refused),
}

/// A body whose every text was judged, edits made: the only thing that is ever sent on.
#[derive(Debug)]
pub struct Scanned {
    body: String,
    placeholders: Placeholders,
}

impl Scanned {
    /// The body.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// What stands for values in it.
    #[must_use]
    pub fn placeholders(&self) -> &Placeholders {
        &self.placeholders
    }

    /// The bytes to send.
    #[must_use]
    pub fn into_body(self) -> String {
        self.body
    }
}

impl Policies {
    /// A name for exactly these rules: changes when any of them does.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The policies' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name.as_str())
    }

    /// Whether whatever any of them flags goes to the journal while the store is away.
    #[must_use]
    pub fn spool(&self) -> bool {
        self.policies.iter().all(|policy| policy.on_store_error == Unstored::Spool)
    }

    /// The headers that any policy asks for, in lower case; `None` for all.
    #[must_use]
    pub fn headers(&self) -> Option<&[String]> {
        self.headers.as_deref()
    }

    /// The guards' names, by their places.
    #[must_use]
    pub fn guards(&self) -> &[Arc<str>] {
        &self.guards
    }

    /// What all policies look for.
    #[must_use]
    pub fn detectors(&self) -> &Arc<Detectors> {
        &self.detectors
    }
}

#[cfg(test)]
mod tests;
