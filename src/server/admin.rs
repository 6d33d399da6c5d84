//! What operators ask: health, readiness, metrics.

use std::sync::Arc;

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{exchange::Proxy, telemetry::Now};

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

/// The server is bound only once guard, policies and store are there, so whoever is answered finds it ready.
async fn ready(State(proxy): State<Arc<Proxy>>) -> impl IntoResponse {
    let policies: Vec<&str> = proxy.policies().names().collect();
    let body = serde_json::json!({
        "ready": true,
        "guard": proxy.scanner().guard().identity(),
        "provider": proxy.scanner().guard().provider().name(),
        "policies": policies,
        "revision": proxy.policies().revision(),
    });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string())
}

async fn metrics(State(proxy): State<Arc<Proxy>>) -> impl IntoResponse {
    let (scanner, guard) = (proxy.scanner(), proxy.scanner().guard());
    let growth = guard.growth().unwrap_or_default();
    let text = proxy.metrics().render(&Now {
        waiting: guard.waiting(),
        cached: scanner.cached_verdicts(),
        guard: guard.identity(),
        provider: guard.provider().name(),
        checks: growth.checks,
        tokens: [growth.fed, growth.reused],
        kept: growth.kept,
    });
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
