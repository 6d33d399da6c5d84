//! `/api/v1`: what operators' tools ask and do.
//!
//! There is no sign-in here yet, so what protects it is that only operators reach its address. A browser on an operator's machine
//! reaches it too, and any page in it could try: no call passes that a page of another site can make.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{CONTENT_TYPE, HOST, ORIGIN},
        uri::Authority,
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use serde_json::json;

use super::reload::{Outcome, Reload, Reloader, Status};
use crate::policy::Listed;

/// What a browser says of where a call comes from.
const SITE: &str = "sec-fetch-site";

/// The API; `local` if its address is reached from this machine only.
pub(super) fn router(reloader: Arc<Reloader>, local: bool) -> Router {
    Router::new()
        .route("/policy", get(policy))
        .route("/policy/reload", post(reload))
        .with_state(reloader)
        .layer(from_fn_with_state(local, own_calls))
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

async fn policy(State(reloader): State<Arc<Reloader>>) -> Response {
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

async fn reload(State(reloader): State<Arc<Reloader>>) -> Response {
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

/// Lets pass what tools and this server's own pages send.
async fn own_calls(State(local): State<bool>, request: Request, next: Next) -> Response {
    match check(local, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => answer(status, &json!({"error": why})),
    }
}

fn check(local: bool, method: &Method, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    // A site may have its own name lead here, and then its pages are of this host to a browser.
    if local && !host.as_ref().is_some_and(is_loopback) {
        return Err((StatusCode::FORBIDDEN, "`host` must be `localhost` or a loopback address, as the admin listener's is"));
    }
    if method.is_safe() {
        return Ok(());
    }
    let is_own = |origin: &str| {
        let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        origin.zip(host.as_ref()).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host.as_str()))
    };
    let foreign = headers.get(ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(is_own))
        || headers.get(SITE).is_some_and(|site| site != "same-origin" && site != "none");
    if foreign {
        return Err((StatusCode::FORBIDDEN, "the call comes from a page of another site"));
    }
    // A page can send other types to any site without being asked; for this one a browser asks first, and is not answered.
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `content-type: application/json`, also without a body"));
    }
    Ok(())
}

fn is_loopback(host: &Authority) -> bool {
    let host = host.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_string(body).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn checked(local: bool, method: &Method, headers: &[(&'static str, &'static str)]) -> u16 {
        let pair =
            |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        check(local, method, &headers.iter().map(pair).collect()).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn no_page_of_another_site_changes_anything() {
        let host = ("host", "localhost:8081");
        for (more, status) in [
            (vec![JSON], 200),
            (vec![], 415),
            (vec![("content-type", "text/plain")], 415),
            (vec![JSON, ("origin", "http://localhost:8081"), (SITE, "same-origin")], 200),
            (vec![JSON, ("origin", "http://evil.example")], 403),
            (vec![JSON, ("origin", "http://localhost:9")], 403),
            (vec![JSON, ("origin", "null")], 403),
            (vec![JSON, (SITE, "cross-site")], 403),
            (vec![JSON, (SITE, "same-site")], 403),
        ] {
            let headers: Vec<_> = [host].into_iter().chain(more).collect();
            assert_eq!(checked(true, &Method::POST, &headers), status, "{headers:?}");
        }
    }

    #[test]
    fn no_name_of_another_site_leads_here() {
        for host in ["127.0.0.1:8081", "localhost", "LOCALHOST:1", "[::1]:8081", "127.9.9.9"] {
            assert_eq!(checked(true, &Method::GET, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "@"] {
            assert_eq!(checked(true, &Method::GET, &[("host", host)]), 403, "{host}");
        }
        assert_eq!(checked(true, &Method::GET, &[]), 403);
        assert_eq!(checked(false, &Method::GET, &[("host", "seawall.internal:8081")]), 200, "it has a name of its own");
    }
}
