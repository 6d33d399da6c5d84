//! The admin listener: health, readiness and metrics for machines, and the console for those who sign in.

use std::{collections::BTreeMap, iter::once, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, service::Service as _};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Tls, reload::Reloader, workers::Pulse};
use crate::{
    console::Console,
    exchange::{
        Proxy,
        body::{Body, Broken},
    },
    guard::{Growth, Guard, Server, Session},
    review,
    scan::Shared,
    telemetry::{self, Format, Now, Records, Sent},
};

/// How long the threads that serve clients may take to say that they are there.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is told of.
#[derive(Clone)]
pub(super) struct Rooms {
    pub(super) proxy: Arc<Proxy>,
    pub(super) reloader: Arc<Reloader>,
    /// TLS of the listeners that have it.
    pub(super) tls: Arc<[Arc<Tls>]>,
    /// What becomes of traces' spans, if there are traces.
    pub(super) spans: Option<Arc<Sent>>,
    pub(super) pulse: Pulse,
    /// Whether a proxy that cannot record is unready.
    pub(super) needs_store: bool,
    /// The server takes no more connections.
    pub(super) stop: CancellationToken,
}

/// All that the listener serves.
pub(super) fn app(rooms: Rooms, console: Console) -> Router {
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(rooms)
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
    /// It stops: exchanges in flight finish, and no more are taken.
    draining: bool,
    /// By name.
    guards: BTreeMap<&'r str, Described<'r>>,
    policies: Vec<&'r str>,
    revision: &'r str,
    /// Why the policy files are not what is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    policies_error: Option<&'r str>,
    review: Review,
    /// Those of the listeners with TLS, by the listener.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    certificates: BTreeMap<&'static str, Certificate>,
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

/// A certificate that is in force. Another one that is refused makes no proxy unready.
#[derive(Serialize)]
struct Certificate {
    /// Until when it holds (RFC 3339).
    expires: String,
    /// Why the files are not what is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Certificate {
    fn of(tls: &Tls) -> Self {
        let (expires, error) = tls.status();
        Self { expires: expires.to_string(), error }
    }
}

/// The record. Unless the settings say so, nothing of it makes a proxy unready: harmless traffic needs none, all nodes would be
/// unready at once, and policies say what happens to flagged traffic.
#[derive(Serialize)]
struct Review {
    /// Whether flagged exchanges go on: the store takes their records, or by the policies the journal beside it does.
    records: bool,
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

/// Whether the threads that serve clients still do. Only a restart helps one that something blocks.
async fn healthy(State(Rooms { pulse, .. }): State<Rooms>) -> (StatusCode, &'static str) {
    match timeout(PATIENCE, pulse.beat()).await {
        Ok(()) => (StatusCode::OK, "ok\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "a thread that serves clients is blocked\n"),
    }
}

/// The server is bound only once guard, policies and store are there; what can be lost is a guard's sessions, the servers of one
/// that runs elsewhere, or the store.
async fn ready(State(Rooms { proxy, reloader, tls, needs_store, stop, .. }): State<Rooms>) -> impl IntoResponse {
    let (scanner, status, record) = (proxy.scanner(), reloader.status(), proxy.recorder().status());
    let policies = &status.policies;
    let records = record.away.is_none() || policies.spool();
    let judges = scanner.guards().all(|(_, guard, second)| guard.is_ready() && second.is_none_or(Guard::is_ready));
    let draining = stop.is_cancelled();
    let readiness = Readiness {
        ready: judges && !draining && (records || !needs_store),
        draining,
        guards: scanner.guards().map(|(name, guard, second)| (name, Described::new(guard, second))).collect(),
        policies: policies.names().collect(),
        revision: policies.revision(),
        policies_error: status.mistakes(),
        review: Review { records, store_error: record.away, spooled: record.waiting },
        certificates: tls.iter().map(|tls| (tls.listener(), Certificate::of(tls))).collect(),
        shared_cache: scanner.shared().map(SharedCache::from),
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

async fn metrics(State(Rooms { proxy, spans, .. }): State<Rooms>, headers: HeaderMap) -> impl IntoResponse {
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
    let now = Now {
        calls: proxy.calls(),
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
        spans: spans.iter().flat_map(|spans| spans.counts()).collect(),
    };
    let format = Format::accepted(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(header::CONTENT_TYPE, format.content_type())], proxy.metrics().render(&now, format))
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
