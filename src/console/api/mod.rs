//! `/api/v1`: what tools, and the reviewers' own pages, ask and do. Each call does what it does in a file of its concern here,
//! and the table below is all that is served.

mod call;
mod cases;
mod chosen;
mod decisions;
mod document;
mod exceptions;
mod export;
mod record;

use std::sync::{Arc, OnceLock};

use axum::http::Method;
use serde_json::Value;

pub(super) use self::call::Operation;
pub use self::{
    call::{Asked, Input, Nothing, Output, Tell, call},
    document::Schemas,
};
use super::{Failure, Route};
use crate::config::Role::{Admin, Reviewer, Viewer};

/// The calls.
pub(super) fn routes() -> Vec<Route> {
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    vec![
        call(GET, "/api/v1/cases", Viewer, "Flagged exchanges, the newest first", cases::list),
        call(GET, "/api/v1/cases/{id}", Viewer, "A flagged exchange; that it was looked at is on record", cases::open),
        call(GET, "/api/v1/cases/export", Reviewer, "Flagged exchanges as a file, the oldest first", export::export),
        call(POST, "/api/v1/cases/{id}/decision", Reviewer, "Says whether it was rightly flagged", decisions::decide),
        call(DELETE, "/api/v1/cases/{id}/decision", Reviewer, "Takes that back", decisions::undo),
        call(POST, "/api/v1/cases/decisions", Reviewer, "Says the same of many exchanges", decisions::decide_many),
        call(GET, "/api/v1/exceptions", Viewer, "Texts that policies let pass for a while", exceptions::list),
        call(POST, "/api/v1/exceptions", Reviewer, "Lets the text of a flagged exchange pass for a while", exceptions::add),
        call(
            DELETE,
            "/api/v1/exceptions/{id}",
            Reviewer,
            "Ends an exception; others' take the role `admin`",
            exceptions::remove,
        ),
        call(GET, "/api/v1/stats", Viewer, "Counts by day, rule, language, score and reviewer", record::stats),
        call(GET, "/api/v1/audit", Admin, "Who looked, decided, exported and purged, the newest first", record::audit),
        call(POST, "/api/v1/purge", Admin, "Deletes flagged exchanges for good", record::purge),
    ]
}

/// Adds the call that tells of all of them, and of itself.
pub(super) fn documented(mut routes: Vec<Route>) -> Vec<Route> {
    let document = Arc::new(OnceLock::<Value>::new());
    let told = Arc::clone(&document);
    let tell = move |_: Asked| {
        let told = told.get().cloned().unwrap_or_default();
        async move { Ok::<_, Failure>(Tell(told)) }
    };
    routes.push(call(Method::GET, "/api/v1/openapi.json", Viewer, "This document, in OpenAPI 3.1", tell));
    document.get_or_init(|| document::document(&routes));
    routes
}
