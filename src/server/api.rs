//! `/api/v1/policy`: which policies are in force, and other ones.

use std::sync::Arc;

use axum::{
    http::{Method, StatusCode},
    response::Response,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::reload::{Outcome, Reload, Reloader, Status};
use crate::{
    config::Role,
    console::{Asked, Failure, Output, Route, Schemas, Tell, answer, call},
    policy::Listed,
};

/// The calls.
pub(super) fn routes(reloader: &Arc<Reloader>) -> [Route; 2] {
    let (look, read) = (Arc::clone(reloader), Arc::clone(reloader));
    let policy = move |_: Asked| {
        let status = look.status();
        async move { Ok(Shown(status)) }
    };
    let reload = move |_: Asked| reload(Arc::clone(&read));
    let again = "Reads the policy files again, and puts them in force if all are right";
    [
        call(Method::GET, "/api/v1/policy", Role::Viewer, "The policies in force", policy),
        call(Method::POST, "/api/v1/policy/reload", Role::Admin, again, reload),
    ]
}

/// What `/api/v1/policy` tells.
struct Shown(Arc<Status>);

#[derive(Serialize, JsonSchema)]
struct InForce<'s> {
    /// A mark of all that they say.
    revision: &'s str,
    /// Since when they are in force (RFC 3339).
    since: String,
    /// The policies, in the order of their files.
    policies: Vec<Listed<'s>>,
    /// What came of the last reading of the files after the start.
    last_reload: Option<LastReload<'s>>,
}

#[derive(Serialize, JsonSchema)]
struct LastReload<'s> {
    /// When (RFC 3339).
    at: String,
    /// `changed`, `unchanged` or `refused`.
    outcome: &'static str,
    /// Why they were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<&'s str>,
}

impl Output for Shown {
    fn answer(self) -> Response {
        let Status { policies, since, last } = &*self.0;
        let told = InForce {
            revision: policies.revision(),
            since: since.to_string(),
            policies: policies.list(),
            last_reload: last.as_ref().map(LastReload::new),
        };
        answer(Self::STATUS, &told)
    }

    fn content(schemas: &mut Schemas) -> Value {
        Tell::<InForce<'_>>::content(schemas)
    }
}

impl<'s> LastReload<'s> {
    fn new(Reload { at, outcome }: &'s Reload) -> Self {
        Self { at: at.to_string(), outcome: outcome.word(), mistakes: mistakes(outcome) }
    }
}

fn mistakes(outcome: &Outcome) -> Vec<&str> {
    match outcome {
        Outcome::Refused(mistakes) => mistakes.lines().collect(),
        Outcome::Changed | Outcome::Unchanged => Vec::new(),
    }
}

/// What came of reading the files again.
#[derive(Serialize, JsonSchema)]
struct Reloaded {
    /// A mark of all that the policies in force say.
    revision: String,
    /// Whether it is another one than before.
    changed: bool,
}

async fn reload(reloader: Arc<Reloader>) -> Result<Tell<Reloaded>, Failure> {
    let status = reloader.reload().await;
    let outcome = status.last.as_ref().map(|last| &last.outcome);
    if let Some(refused @ Outcome::Refused(_)) = outcome {
        let mistakes = mistakes(refused).into_iter().map(str::to_owned).collect();
        let message = "the policy files are refused, and policies stay as they were";
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message).with(mistakes));
    }
    let changed = outcome == Some(&Outcome::Changed);
    Ok(Tell(Reloaded { revision: status.policies.revision().to_owned(), changed }))
}
