//! A scrape, taken apart; and a proxy that has something to say of everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::StatusCode;
use seawall::config::{Engine, OtlpProtocol, SharedCache};
use tempfile::TempDir;

use super::collector::Collector;
use crate::{
    harness::{Proxy, RULES, ask, ask_stream, chunk, completion},
    identity::mtls::Authority,
    remote::{remote, speaking},
};

/// A metric: its type, and its labels.
pub(super) type Described = (String, BTreeSet<String>);

/// The metrics of a scrape by name, as Prometheus has them.
pub(super) fn families(text: &str) -> BTreeMap<String, Described> {
    let mut families = BTreeMap::<String, Described>::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (name, labels) = sample(line);
            let base = base(&name, &families);
            families.get_mut(&base).unwrap_or_else(|| panic!("{line} has no type")).1.extend(labels);
        }
    }
    families
}

/// The name of the metric that a sample's name is of.
pub(super) fn base(name: &str, families: &BTreeMap<String, Described>) -> String {
    let ends = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    ends.filter(|base| families.get(*base).is_some_and(|(kind, _)| kind == "histogram")).unwrap_or(name).to_owned()
}

/// A sample's name and labels, `le` left out.
fn sample(line: &str) -> (String, Vec<String>) {
    let series = line.rsplit_once(' ').unwrap().0;
    let Some((name, labels)) = series.split_once('{') else { return (series.to_owned(), Vec::new()) };
    let keys = labels.split("=\"").filter_map(|piece| piece.rsplit(['"', ',', '{']).next()).map(str::to_owned);
    (name.to_owned(), keys.filter(|key| key != "le" && key != "}" && !key.is_empty()).collect())
}

/// Everything that a proxy tells, after each kind of thing has happened to it once.
pub(super) async fn everything() -> String {
    let (proxy, _dir) = busy().await;
    String::from_utf8(proxy.admin("/metrics").await.body.to_vec()).unwrap()
}

/// The metrics of such a scrape, and those of listeners with TLS.
pub(super) async fn all() -> BTreeMap<String, Described> {
    let authority = Authority::new();
    let secured = Proxy::with(RULES, |config| config.listen.tls = Some(authority.tls(None))).await;
    let told = secured.admin("/metrics").await.body;
    let mut all = families(std::str::from_utf8(&told).unwrap());
    all.extend(families(&everything().await));
    all
}

pub(super) async fn busy() -> (Proxy, TempDir) {
    let (collector, dir) = (Collector::start().await, speaking());
    let (traced, far) =
        (collector.takes(OtlpProtocol::HttpProtobuf), remote(Engine::Vllm, &dir, vec!["http://127.0.0.1:1".to_owned()]));
    let proxy = Proxy::with(RULES, |config| {
        traced(config);
        config.guards.insert("far".to_owned(), far);
        config.limits.concurrency = Some(1);
        config.cache.shared = Some(SharedCache { url: "redis://127.0.0.1:1".to_owned(), ..SharedCache::default() });
    })
    .await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    assert_eq!(proxy.post(ask("beside it")).await.status, StatusCode::TOO_MANY_REQUESTS);
    pieces.send(chunk(0, "there is menace in this answer. ")).await;
    stream.rest().await;
    quiet(&proxy).await;
    tokio::join!(proxy.post(ask("hello")), async { proxy.upstream.call().await.answer(200, completion("hi")) });
    quiet(&proxy).await;
    assert_eq!(proxy.post(ask("danger")).await.header("seawall-decision"), "block");
    quiet(&proxy).await;
    tokio::join!(proxy.post(ask("how")), async {
        proxy.upstream.call().await.answer_as(503, &[("content-type", "text/html")], "<h1>down</h1>");
    });
    quiet(&proxy).await;
    assert_eq!(proxy.post("no JSON").await.status, StatusCode::BAD_REQUEST);
    quiet(&proxy).await;
    (proxy, dir)
}

/// Waits until no call is in flight: its client may have read an answer before it counts as done.
async fn quiet(proxy: &Proxy) {
    while proxy.metric("seawall_calls").await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
