//! More than a tenant may ask for.

use http::StatusCode;
use seawall::config::{Config, Limits};

use super::{KEY, answer, call, key, passed};
use crate::harness::{Answer, Proxy, RULES, ask, ask_stream, chunk, finish};

/// Two keys of a tenant with these limits, and one of nobody's.
fn limited(limits: Limits) -> impl FnOnce(&mut Config) {
    move |config| {
        config.identity.keys = vec![key("ci", KEY, Some("a")), key("second", "second", Some("a")), key("free", "free", None)];
        config.tenants.insert("a".to_owned(), limits);
    }
}

const OURS: &[(&str, &str)] = &[("x-api-key", KEY)];

fn refused_by(answer: &Answer, limit: &str) -> u64 {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    let told = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains(limit), "{told}");
    answer.header("retry-after").parse().unwrap()
}

#[tokio::test]
async fn calls_a_minute_in_the_apis_own_words() {
    let proxy = Proxy::with(RULES, limited(Limits { requests_per_minute: Some(2), ..Limits::default() })).await;
    passed(&proxy, call(&proxy, "/v1/chat/completions", &ask("hi"), OURS)).await;
    passed(&proxy, call(&proxy, "/v1/chat/completions", &ask("hi"), &[("x-api-key", "second")])).await;
    let refused = answer(&proxy, OURS).await;
    assert!((20..=30).contains(&refused_by(&refused, "2 calls a minute")));
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    let of = async |path: &str| Answer::read(proxy.send(call(&proxy, path, "{}", OURS)).await).await.json();
    assert_eq!(of("/v1/messages").await["error"]["type"], "rate_limit_error");
    assert_eq!(of("/v1beta/models/m:generateContent").await["error"]["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(of("/v1/moderations").await["error"]["code"], "rate_limit_exceeded");
    // Others go on.
    passed(&proxy, call(&proxy, "/v1/chat/completions", &ask("hi"), &[("x-api-key", "free")])).await;
    assert_eq!(proxy.metric("seawall_limited_total{limit=\"requests\",tenant=\"a\"}").await, 4);
}

#[tokio::test]
async fn tokens_that_the_guard_reads_count_and_those_that_the_cache_knows_do_not() {
    let proxy = Proxy::with(RULES, limited(Limits { tokens_per_minute: Some(10), ..Limits::default() })).await;
    let long = ask(&"one more quiet word. ".repeat(8));
    passed(&proxy, call(&proxy, "/v1/chat/completions", &long, &[("x-api-key", "free")])).await;
    for _ in 0..3 {
        passed(&proxy, call(&proxy, "/v1/chat/completions", &long, OURS)).await;
    }
    let new = ask(&"another quiet word. ".repeat(8));
    passed(&proxy, call(&proxy, "/v1/chat/completions", &new, OURS)).await;
    let wait = refused_by(&answer(&proxy, OURS).await, "10 tokens a minute");
    assert!(wait > 60, "more than a minute's worth was read: {wait}");
    assert_eq!(proxy.metric("seawall_limited_total{limit=\"tokens\",tenant=\"a\"}").await, 1);
}

#[tokio::test]
async fn a_place_is_free_again_when_a_stream_ends_or_its_client_leaves() {
    let proxy = Proxy::with(RULES, limited(Limits { concurrency: Some(1), ..Limits::default() })).await;
    let begin = async || {
        let request = call(&proxy, "/v1/chat/completions", &ask_stream("hi"), OURS);
        let (response, pieces) = tokio::join!(proxy.send(request), async { proxy.upstream.call().await.stream() });
        assert_eq!(response.status(), StatusCode::OK);
        (response, pieces)
    };
    let (response, pieces) = begin().await;
    assert_eq!(refused_by(&answer(&proxy, OURS).await, "1 calls at once"), 1);
    pieces.send([chunk(0, "hello there."), finish(0)].concat()).await;
    drop(pieces);
    assert!(!Answer::read(response).await.body.is_empty());
    let (response, pieces) = begin().await;
    refused_by(&answer(&proxy, OURS).await, "1 calls at once");
    drop(response);
    pieces.abandoned().await;
    // The place is given back just after the upstream was let go of.
    for _ in 0..100 {
        let (answer, ()) = tokio::join!(answer(&proxy, OURS), async {
            if let Ok(call) = tokio::time::timeout(std::time::Duration::from_millis(50), proxy.upstream.call()).await {
                call.answer(200, crate::harness::completion("hello"));
            }
        });
        if answer.status == StatusCode::OK {
            return;
        }
    }
    panic!("the place of a client that has left is still taken");
}
