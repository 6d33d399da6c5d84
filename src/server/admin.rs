//! What operators ask: health, readiness, metrics.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    exchange::Proxy,
    guard::{Growth, Guard, Server, Session},
    telemetry::{self, Now},
};

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, proxy: Arc<Proxy>, stop: CancellationToken) {
    let app = Router::new()
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(proxy);
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "the admin listener has ended");
    }
}

/// What `/readyz` tells.
#[derive(Serialize)]
struct Readiness<'r> {
    ready: bool,
    #[serde(flatten)]
    first: Described<'r>,
    /// The second guard of a cascade.
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<Described<'r>>,
    policies: Vec<&'r str>,
    revision: &'r str,
}

#[derive(Serialize)]
struct Described<'r> {
    guard: &'r str,
    provider: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<Session>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<Server>,
}

impl<'r> Described<'r> {
    fn new(guard: &'r Guard) -> Self {
        let (sessions, servers) = (guard.sessions(), guard.servers());
        let (guard, provider) = (guard.identity(), guard.runs_on());
        Self { guard, provider, sessions, servers }
    }
}

/// The server is bound only once guard, policies and store are there; what can be lost is a guard's sessions, or the servers of
/// one that runs elsewhere.
async fn ready(State(proxy): State<Arc<Proxy>>) -> impl IntoResponse {
    let scanner = proxy.scanner();
    let readiness = Readiness {
        ready: scanner.guards().all(Guard::is_ready),
        first: Described::new(scanner.guard()),
        second: scanner.guards().nth(1).map(Described::new),
        policies: proxy.policies().names().collect(),
        revision: proxy.policies().revision(),
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

async fn metrics(State(proxy): State<Arc<Proxy>>) -> impl IntoResponse {
    let scanner = proxy.scanner();
    let growth: Vec<Growth> = scanner.guards().filter_map(Guard::growth).collect();
    let all = |count: fn(&Growth) -> u64| growth.iter().map(count).sum();
    let text = proxy.metrics().render(&Now {
        waiting: scanner.guards().map(Guard::waiting).sum(),
        cached: scanner.cached_verdicts(),
        guards: scanner.guards().map(|guard| (guard.identity(), guard.runs_on())).collect(),
        sessions: scanner.guards().flat_map(sessions).collect(),
        servers: scanner.guards().flat_map(Guard::servers).map(|server| (server.url, server.is_ready)).collect(),
        checks: all(|growth| growth.checks),
        tokens: [all(|growth| growth.fed), all(|growth| growth.reused)],
        kept: all(|growth| growth.kept),
        failed: all(|growth| growth.failed),
    });
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

fn sessions(guard: &Guard) -> impl Iterator<Item = telemetry::Session<'_>> {
    guard.sessions().into_iter().enumerate().map(|(session, Session { device, is_ready, failures })| telemetry::Session {
        guard: guard.identity(),
        session,
        device,
        is_ready,
        failures,
    })
}
