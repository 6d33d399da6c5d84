//! Policies that change while the proxy runs: what brings a change about, what becomes of a broken one, and what operators see.

mod api;
mod files;
mod load;
mod signal;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::{sleep, timeout};

use crate::harness::{Answer, Proxy, RULES, TOKEN};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A proxy with the policies at this path.
async fn proxy(policies: &Path) -> Proxy {
    Proxy::with(RULES, |config| config.policies.dir = Some(policies.to_owned())).await
}

/// Asks for a reload.
async fn reload(proxy: &Proxy, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::post(format!("http://{}/api/v1/policy/reload", proxy.admin));
    request = request.header("authorization", format!("Bearer {TOKEN}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(proxy.send(request.body(Full::<Bytes>::default()).unwrap()).await).await
}

/// Waits for something that the proxy does unasked.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let holding = async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(Duration::from_secs(60), holding).await.is_ok(), "never: {what}");
}

/// Waits until just these policies are in force.
async fn in_force(proxy: &Proxy, names: &[&str]) {
    let what = format!("{names:?} are in force");
    until(&what, async || proxy.inner.policies().names().eq(names.iter().copied())).await;
}
