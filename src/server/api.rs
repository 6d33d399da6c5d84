//! `/api/v1/policy`: which policies are in force, and other ones.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde::Serialize;
use serde_json::json;

use super::reload::{Outcome, Reload, Reloader, Status};
use crate::{
    config::Role,
    console::{Route, answer},
    policy::Listed,
};

/// The calls.
pub(super) fn routes(reloader: &Arc<Reloader>) -> [Route; 2] {
    let (look, read) = (Arc::clone(reloader), Arc::clone(reloader));
    [
        Route::get("/api/v1/policy", Role::Viewer, move || policy(look)),
        Route::post("/api/v1/policy/reload", Role::Admin, move || reload(read)),
    ]
}

/// What `/api/v1/policy` tells.
#[derive(Serialize)]
struct InForce<'s> {
    revision: &'s str,
    since: String,
    policies: Vec<Listed<'s>>,
    last_reload: Option<LastReload<'s>>,
}

#[derive(Serialize)]
struct LastReload<'s> {
    at: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<&'s str>,
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

async fn policy(reloader: Arc<Reloader>) -> Response {
    let status = reloader.status();
    let Status { policies, since, last } = &*status;
    let told = InForce {
        revision: policies.revision(),
        since: since.to_string(),
        policies: policies.list(),
        last_reload: last.as_ref().map(LastReload::new),
    };
    answer(StatusCode::OK, &told)
}

async fn reload(reloader: Arc<Reloader>) -> Response {
    let status = reloader.reload().await;
    let revision = status.policies.revision();
    let outcome = status.last.as_ref().map(|last| &last.outcome);
    let changed = outcome == Some(&Outcome::Changed);
    match outcome {
        Some(refused @ Outcome::Refused(_)) => {
            let told = json!({"revision": revision, "changed": changed, "mistakes": mistakes(refused)});
            answer(StatusCode::UNPROCESSABLE_ENTITY, &told)
        }
        _ => answer(StatusCode::OK, &json!({"revision": revision, "changed": changed})),
    }
}
