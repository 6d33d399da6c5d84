//! The admin listener: health, readiness and metrics for machines, and the console for those who sign in.

use std::{collections::BTreeMap, iter::once, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, service::Service as _};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;

use super::reload::Reloader;
use crate::{
    console::Console,
    exchange::{
        Proxy,
        body::{Body, Broken},
    },
    guard::{Growth, Guard, Server, Session},
    review,
    scan::Shared,
    telemetry::{self, Now, Records},
};

#[derive(Clone)]
struct Rooms {
    proxy: Arc<Proxy>,
    reloader: Arc<Reloader>,
}

/// All that the listener serves.
pub(super) fn app(proxy: Arc<Proxy>, reloader: Arc<Reloader>, console: Console) -> Router {
    Router::new()
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Rooms { proxy, reloader })
        .merge(console.router())
}

/// Answers a request from there.
pub(super) async fn answer(app: Router, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    request.extensions_mut().insert(ConnectInfo(peer));
    let Ok(answer) = TowerToHyperService::new(app).call(request).await;
    answer.map(|body| body.map_err(|_| Broken).boxed_unsync())
}

/// What `/readyz` tells.
#[derive(Serialize)]
struct Readiness<'r> {
    ready: bool,
    /// By name.
    guards: BTreeMap<&'r str, Described<'r>>,
    policies: Vec<&'r str>,
    revision: &'r str,
    /// Why the policy files are not what is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    policies_error: Option<&'r str>,
    review: Review,
    /// The shared cache, if there is one. Without it a proxy is slower, and as ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_cache: Option<SharedCache>,
}

#[derive(Serialize)]
struct SharedCache {
    ready: bool,
    /// Why it is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<&Shared> for SharedCache {
    fn from(shared: &Shared) -> Self {
        let error = shared.away();
        Self { ready: error.is_none(), error }
    }
}

/// The record. Nothing of it makes a proxy unready: harmless traffic needs none, all nodes would be unready at once, and policies
/// say what happens to flagged traffic.
#[derive(Serialize)]
struct Review {
    /// Why the store was not written when it was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_error: Option<String>,
    /// Records that wait in the journal for the store.
    spooled: u64,
}

#[derive(Serialize)]
struct Described<'r> {
    guard: &'r str,
    provider: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<Session>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<Server>,
    /// The second guard of a cascade.
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<Box<Self>>,
}

impl<'r> Described<'r> {
    fn new(guard: &'r Guard, second: Option<&'r Guard>) -> Self {
        let second = second.map(|second| Box::new(Self::new(second, None)));
        let (sessions, servers) = (guard.sessions(), guard.servers());
        Self { guard: guard.identity(), provider: guard.runs_on(), sessions, servers, second }
    }
}

/// The server is bound only once guard, policies and store are there; what can be lost is a guard's sessions, or the servers of
/// one that runs elsewhere.
async fn ready(State(Rooms { proxy, reloader }): State<Rooms>) -> impl IntoResponse {
    let (scanner, status, record) = (proxy.scanner(), reloader.status(), proxy.recorder().status());
    let policies = &status.policies;
    let readiness = Readiness {
        ready: scanner.guards().all(|(_, guard, second)| guard.is_ready() && second.is_none_or(Guard::is_ready)),
        guards: scanner.guards().map(|(name, guard, second)| (name, Described::new(guard, second))).collect(),
        policies: policies.names().collect(),
        revision: policies.revision(),
        policies_error: status.mistakes(),
        review: Review { store_error: record.away, spooled: record.waiting },
        shared_cache: scanner.shared().map(SharedCache::from),
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

async fn metrics(State(Rooms { proxy, .. }): State<Rooms>) -> impl IntoResponse {
    let scanner = proxy.scanner();
    let guards = scanner.guards().flat_map(|(name, guard, second)| {
        let second = second.map(|second| (format!("{name}.second"), second));
        once((name.to_owned(), guard)).chain(second)
    });
    let guards: Vec<(String, &Guard)> = guards.collect();
    let growth: Vec<Growth> = guards.iter().filter_map(|(_, guard)| guard.growth()).collect();
    let all = |count: fn(&Growth) -> u64| growth.iter().map(count).sum();
    let servers = |(name, guard): &(String, &Guard)| {
        let servers = guard.servers().into_iter();
        servers.map(|server| (name.clone(), server.url, server.is_ready)).collect::<Vec<_>>()
    };
    let review::Status { written, spooled, refused, waiting, away } = proxy.recorder().status();
    let text = proxy.metrics().render(&Now {
        waiting: guards.iter().map(|(_, guard)| guard.waiting()).sum(),
        batches: guards.iter().map(|(_, guard)| guard.batches()).sum(),
        cached: scanner.cached_verdicts(),
        guards: guards.iter().map(|(name, guard)| (name.as_str(), guard.identity(), guard.runs_on())).collect(),
        servers: guards.iter().flat_map(servers).collect(),
        sessions: guards.iter().flat_map(|(name, guard)| sessions(name, guard)).collect(),
        checks: all(|growth| growth.checks),
        tokens: [all(|growth| growth.fed), all(|growth| growth.reused)],
        kept: all(|growth| growth.kept),
        failed: all(|growth| growth.failed),
        records: Records { written, spooled, refused, waiting, is_ready: away.is_none() },
    });
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

fn sessions<'n>(name: &'n str, guard: &Guard) -> impl Iterator<Item = telemetry::Session<'n>> {
    guard.sessions().into_iter().enumerate().map(|(session, Session { device, is_ready, failures })| telemetry::Session {
        name,
        session,
        device,
        is_ready,
        failures,
    })
}
