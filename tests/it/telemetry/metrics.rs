//! Metrics: what Prometheus thinks of them, and that no client can make them many.

use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;

use super::{
    promtool::promtool,
    scrape::{busy, everything},
};
use crate::harness::{Answer, Proxy, RULES, ask, completion};

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    promtool(&["check", "metrics"], &everything().await);
}

#[tokio::test]
async fn both_formats_are_spoken() {
    let proxy = Proxy::start().await;
    let scrape = async |accept: &'static str| {
        let mut request = proxy.request(Method::GET, "/metrics", "");
        *request.uri_mut() = format!("http://{}/metrics", proxy.admin).parse().unwrap();
        request.headers_mut().insert("accept", HeaderValue::from_static(accept));
        let answer = Answer::read(proxy.send(request).await).await;
        (answer.header("content-type").to_owned(), String::from_utf8(answer.body.to_vec()).unwrap())
    };
    let (kind, text) = scrape("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3").await;
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0") && text.ends_with("# EOF\n"), "{kind}");
    assert!(text.contains("# TYPE seawall_stream_cuts counter\n"), "{text}");
    let (kind, text) = scrape("*/*").await;
    assert!(kind.starts_with("text/plain; version=0.0.4") && !text.contains("# EOF"), "{kind}");
    assert!(text.contains("# TYPE seawall_stream_cuts_total counter\nseawall_stream_cuts_total 0\n"), "{text}");
}

#[tokio::test]
async fn what_happened_is_counted_where_it_belongs() {
    let (proxy, _dir) = busy().await;
    let told = [
        ("seawall_exchanges_total{dialect=\"openai_chat\",route=\"\",decision=\"allow\"}", 1),
        ("seawall_upstream_responses_total{upstream=\"default\",status=\"2xx\"}", 2),
        ("seawall_upstream_responses_total{upstream=\"default\",status=\"5xx\"}", 1),
        ("seawall_upstream_errors_total{upstream=\"default\",kind=\"unreadable\"}", 1),
        ("seawall_upstream_head_seconds_count{upstream=\"default\"}", 3),
        ("seawall_upstream_seconds_count{upstream=\"default\"}", 3),
        ("seawall_exchange_seconds_count", 6),
        ("seawall_added_seconds_count", 6),
        ("seawall_stream_cuts_total", 1),
        ("seawall_calls", 0),
        ("seawall_guard_server_ready{name=\"far\",url=\"http://127.0.0.1:1/\"}", 0),
    ];
    for (name, value) in told {
        assert_eq!(proxy.metric(name).await, value, "{name}");
    }
    let windows = proxy.metric("seawall_guard_windows_total").await;
    assert_eq!(proxy.metric("seawall_guard_wait_seconds_count").await, windows);
    assert_eq!(proxy.metric("seawall_guard_batch_texts_count").await, proxy.metric("seawall_guard_batches_total").await);
    assert!(proxy.metric("seawall_review_write_seconds_count").await >= 2, "the blocked prompt and the cut stream");
}

#[tokio::test]
async fn the_upstreams_time_is_not_ours() {
    let proxy = Proxy::start().await;
    let pause = std::time::Duration::from_millis(200);
    tokio::join!(proxy.post(ask("hello")), async {
        let call = proxy.upstream.call().await;
        tokio::time::sleep(pause).await;
        call.answer(200, completion("hi"));
    });
    let sum = async |name: &str| {
        let text = String::from_utf8(proxy.admin("/metrics").await.body.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        line.parse::<f64>().unwrap()
    };
    let [all, upstream, own] = [
        sum("seawall_exchange_seconds_sum ").await,
        sum("seawall_upstream_seconds_sum{upstream=\"default\"} ").await,
        sum("seawall_added_seconds_sum ").await,
    ];
    assert!(upstream >= pause.as_secs_f64() && (all - upstream - own).abs() < 1e-6, "{all} {upstream} {own}");
}

#[tokio::test]
async fn no_client_can_make_them_many() {
    let proxy = Proxy::with(RULES, |config| {
        let upstream = seawall::config::Upstream { url: config.upstream.url.clone(), ..seawall::config::Upstream::default() };
        config.upstreams.insert("team".to_owned(), upstream);
        let route = |host: Option<&str>, prefix: &str| seawall::config::Route {
            name: None,
            prefix: prefix.to_owned(),
            host: host.map(str::to_owned),
            upstream: "team".to_owned(),
        };
        config.routes = vec![route(None, "/team"), route(Some("llm.example.com"), "")];
    })
    .await;
    let series = async || {
        let text = String::from_utf8(proxy.admin("/metrics").await.body.to_vec()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<BTreeSet<String>>()
    };
    flood(&proxy, 0).await;
    let before = series().await;
    assert!(before.iter().any(|series| series.contains("route=\"/team\"")));
    for round in 1..6 {
        flood(&proxy, round).await;
    }
    assert_eq!(before.symmetric_difference(&series().await).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// What a client can make up, each time otherwise.
async fn flood(proxy: &Proxy, round: usize) {
    let danger = json!({"model": format!("model-{round}"), "user": format!("user-{round}"),
        "messages": [{"role": "user", "content": format!("danger {round}")}]})
    .to_string();
    for path in ["/v1/chat/completions", "/team/v1/chat/completions", "/v1/messages", "/no/such/path"] {
        let mut request = proxy.request(Method::POST, &format!("{path}?round={round}"), danger.clone());
        for name in ["host", "authorization", "x-tenant", "openai-organization", "user-agent"] {
            let value = HeaderValue::from_str(&format!("made-up-{round}.example.com")).unwrap();
            request.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value);
        }
        Answer::read(proxy.send(request).await).await;
    }
    let made_up = Method::from_bytes(format!("BREW{round}").as_bytes()).unwrap();
    let unknown = Answer::read(proxy.send(proxy.request(made_up, &format!("/{round}"), "")).await).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let gemini = format!("/v1beta/models/gemini-{round}:generateContent");
    let body = json!({"contents": [{"parts": [{"text": format!("danger {round}")}]}]}).to_string();
    Answer::read(proxy.send(proxy.request(Method::POST, &gemini, body)).await).await;
}
