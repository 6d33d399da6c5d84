//! Who may call, and how much.

mod limits;
pub(crate) mod mtls;
mod tokens;

use std::pin::pin;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use seawall::{
    config::{self, Config},
    identity::hash,
};
use serde_json::json;

use crate::harness::{Answer, Proxy, RULES, ask, completion};

/// A key that is listed, and one that would be the upstream's.
pub(super) const KEY: &str = "a-key-of-ours";
const THEIRS: &str = "Bearer sk-of-the-upstream";

pub(super) fn key(name: &str, key: &str, tenant: Option<&str>) -> config::KeyHash {
    config::KeyHash { name: name.to_owned(), hash: hash(key), tenant: tenant.map(str::to_owned) }
}

fn listed(config: &mut Config) {
    config.identity.keys = vec![key("ci", KEY, Some("support"))];
}

/// A call with these headers more.
pub(super) fn call(proxy: &Proxy, path: &str, body: &str, headers: &[(&'static str, &str)]) -> Request<Full<bytes::Bytes>> {
    let mut request = proxy.request(Method::POST, path, body.to_owned());
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

pub(super) async fn answer(proxy: &Proxy, headers: &[(&'static str, &str)]) -> Answer {
    Answer::read(proxy.send(call(proxy, "/v1/chat/completions", &ask("hi"), headers)).await).await
}

/// What the upstream got, of a call that was let in.
pub(super) async fn passed(proxy: &Proxy, request: Request<Full<bytes::Bytes>>) -> (http::Uri, http::HeaderMap) {
    let mut answer = pin!(async { Answer::read(proxy.send(request).await).await });
    let call = tokio::select! {
        refused = &mut answer => Err(refused),
        call = proxy.upstream.call() => Ok(call),
    };
    let call = call.unwrap();
    let got = (call.uri.clone(), call.headers.clone());
    call.answer(200, completion("hello"));
    assert_eq!(answer.await.status, StatusCode::OK);
    got
}

#[tokio::test]
async fn a_key_lets_in_and_stays_here() {
    let proxy = Proxy::with(RULES, listed).await;
    let bearer = format!("Bearer {KEY}");
    for (name, value) in [
        ("authorization", bearer.as_str()),
        ("x-api-key", KEY),
        ("api-key", KEY),
        ("x-goog-api-key", KEY),
        ("seawall-key", KEY),
    ] {
        let (_, headers) = passed(&proxy, call(&proxy, "/v1/chat/completions", &ask("hi"), &[(name, value)])).await;
        assert!(!headers.contains_key(name), "{name}");
    }
    let both = [("seawall-key", KEY), ("authorization", THEIRS)];
    let (_, headers) = passed(&proxy, call(&proxy, "/v1/chat/completions", &ask("hi"), &both)).await;
    assert_eq!((&headers["authorization"], headers.contains_key("seawall-key")), (&THEIRS.parse().unwrap(), false));
    let (uri, _) = passed(&proxy, call(&proxy, &format!("/v1/chat/completions?key={KEY}&b=1"), &ask("hi"), &[])).await;
    assert_eq!(uri.to_string(), "/v1/chat/completions?b=1");
}

#[tokio::test]
async fn who_is_not_known_is_told_so_in_the_apis_own_words() {
    let proxy = Proxy::with(RULES, listed).await;
    let refused = async |method: Method, path: &str, body: &str| {
        let mut request = proxy.request(method, path, body.to_owned());
        request.headers_mut().insert("authorization", THEIRS.parse().unwrap());
        let answer = Answer::read(proxy.send(request).await).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"), "{path}");
        answer.json()
    };
    assert_eq!(refused(Method::POST, "/v1/chat/completions", &ask("hi")).await["error"]["code"], "invalid_api_key");
    assert_eq!(refused(Method::POST, "/v1/messages", "{}").await["error"]["type"], "authentication_error");
    let gemini = refused(Method::POST, "/v1beta/models/m:generateContent", "{}").await;
    assert_eq!(gemini["error"]["status"], "UNAUTHENTICATED");
    // Nor may they ask the guard, read a list, or learn what there is.
    for (method, path) in [(Method::POST, "/v1/moderations"), (Method::GET, "/v1/models"), (Method::GET, "/nowhere")] {
        refused(method, path, "").await;
    }
    assert!(proxy.upstream.is_idle().await);
    assert_eq!(proxy.metric("seawall_failures_total{code=\"invalid_api_key\"}").await, 6);
}

#[tokio::test]
async fn where_nobody_must_be_known_the_upstreams_own_keys_pass() {
    let proxy = Proxy::with(RULES, |config| {
        listed(config);
        config.identity.required = Some(false);
    })
    .await;
    let (_, headers) = passed(&proxy, call(&proxy, "/v1/chat/completions", &ask("hi"), &[("authorization", THEIRS)])).await;
    assert_eq!(headers["authorization"], THEIRS);
    let told = answer(&proxy, &[("authorization", "Bearer sk-seawall-withdrawn")]).await;
    assert_eq!(told.status, StatusCode::UNAUTHORIZED);
    assert!(!String::from_utf8_lossy(&told.body).contains("sk-seawall-"), "no answer repeats a credential");
    assert!(proxy.upstream.is_idle().await);
}

#[tokio::test]
async fn moderations_and_lists_are_for_those_who_are_known() {
    let proxy = Proxy::with(RULES, listed).await;
    let body = json!({"input": "a quiet day"}).to_string();
    let answer = Answer::read(proxy.send(call(&proxy, "/v1/moderations", &body, &[("x-api-key", KEY)])).await).await;
    assert_eq!(answer.json()["results"][0]["flagged"], false);
    let mut list = proxy.request(Method::GET, "/v1/models", "");
    list.headers_mut().insert("x-api-key", KEY.parse().unwrap());
    let (_, headers) = passed(&proxy, list).await;
    assert!(!headers.contains_key("x-api-key"));
}
