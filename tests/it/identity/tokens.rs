//! Tokens of an issuer that serves its keys on this machine.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD as BASE64;
use http::StatusCode;
use seawall::config::Limits;
use serde_json::json;

use super::{answer, call, passed};
use crate::harness::{
    Answer, Proxy, RULES, ask,
    issuer::{Signer, Site, from_now},
};

async fn with(proxy: &Proxy, token: &str) -> Answer {
    answer(proxy, &[("authorization", &format!("Bearer {token}"))]).await
}

async fn lets_in(proxy: &Proxy, token: &str) {
    let bearer = format!("Bearer {token}");
    let (_, headers) = passed(proxy, call(proxy, "/v1/chat/completions", &ask("hi"), &[("authorization", &bearer)])).await;
    assert!(!headers.contains_key("authorization"), "the token stays here");
}

#[tokio::test]
async fn a_token_names_its_tenant() {
    let (site, signer) = (Site::start().await, Signer::new("one"));
    site.show_keys(&[&signer]);
    let trusted = site.trusted();
    let proxy = Proxy::with(RULES, |config| {
        trusted(config);
        config.tenants.insert("t".to_owned(), Limits { requests_per_minute: Some(1), ..Limits::default() });
    })
    .await;
    lets_in(&proxy, &signer.token(&site, |_| {})).await;
    let token = signer.token(&site, |claims| claims["sub"] = json!("user-2"));
    assert_eq!(with(&proxy, &token).await.status, StatusCode::TOO_MANY_REQUESTS, "it is the tenant's limit");
    assert_eq!(proxy.metric("seawall_limited_total{limit=\"requests\",tenant=\"t\"}").await, 1);
    lets_in(&proxy, &signer.token(&site, |claims| claims["tenant"] = json!(null))).await;
}

#[tokio::test]
async fn no_token_holds_that_is_wrong_in_anything() {
    let (site, signer, stranger) = (Site::start().await, Signer::new("one"), Signer::new("two"));
    site.show_keys(&[&signer]);
    let proxy = Proxy::with(RULES, site.trusted()).await;
    let good = signer.token(&site, |_| {});
    let claims = json!({"iss": site.issuer(), "aud": "seawall", "exp": from_now(60)});
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let richer = BASE64
        .encode(json!({"iss": site.issuer(), "aud": "seawall", "exp": from_now(60), "tenant": "x"}).to_string().as_bytes());
    for (token, told) in [
        (signer.token(&site, |claims| claims["exp"] = json!(from_now(-31))), "has expired"),
        (signer.token(&site, |claims| claims["nbf"] = json!(from_now(60))), "does not hold yet"),
        (signer.token(&site, |claims| claims["aud"] = json!("other")), "another audience"),
        (signer.token(&site, |claims| claims["exp"] = json!(null)), "lacks"),
        (signer.token(&site, |claims| claims["aud"] = json!(null)), "lacks"),
        (signer.token(&site, |claims| claims["iss"] = json!("http://other")), "no key came"),
        (signer.sign("none", &claims), "cannot be read"),
        (signer.sign("HS256", &claims), "algorithm"),
        (signer.sign("ES384", &claims), "algorithm"),
        (stranger.token(&site, |_| {}), "does not list"),
        (Signer { id: "one", ..Signer::new("") }.token(&site, |_| {}), "not signed by its issuer"),
        (format!("{header}.{richer}.{signature}"), "not signed by its issuer"),
        (format!("{message}."), "not signed by its issuer"),
    ] {
        let answer = with(&proxy, &token).await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{message}");
        assert!(message.contains(told), "{message} is not {told}");
    }
    assert!(proxy.upstream.is_idle().await);
    lets_in(&proxy, &good).await;
    lets_in(&proxy, &signer.token(&site, |claims| claims["exp"] = json!(from_now(-10)))).await;
}

#[tokio::test]
async fn keys_change_and_an_issuer_that_is_down_locks_nobody_out() {
    let (site, old, new) = (Site::start().await, Signer::new("old"), Signer::new("new"));
    site.show_keys(&[&old]);
    let trusted = site.trusted();
    let proxy = Proxy::with(RULES, |config| {
        trusted(config);
        config.identity.jwt.as_mut().unwrap().refresh_s = 1;
    })
    .await;
    lets_in(&proxy, &old.token(&site, |_| {})).await;
    site.show_keys(&[&new]);
    lets_in(&proxy, &new.token(&site, |_| {})).await;
    assert_eq!(
        with(&proxy, &old.token(&site, |_| {})).await.status,
        StatusCode::UNAUTHORIZED,
        "a key that is gone holds no more"
    );
    site.take_down();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    lets_in(&proxy, &new.token(&site, |_| {})).await;
    // Without any token that asks for it.
    site.show_keys(&[&old]);
    for _ in 0..100 {
        if site.asked("/keys") > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(site.asked("/keys") > 0, "keys are read again by age");
}

#[tokio::test]
async fn tokens_of_unknown_keys_do_not_make_a_flood() {
    let (site, signer, stranger) = (Site::start().await, Signer::new("one"), Signer::new("two"));
    site.show_keys(&[&signer]);
    let trusted = site.trusted();
    let proxy = Proxy::with(RULES, |config| {
        trusted(config);
        config.identity.jwt.as_mut().unwrap().pause_s = 60;
    })
    .await;
    for _ in 0..10 {
        assert_eq!(with(&proxy, &stranger.token(&site, |_| {})).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(site.asked("/keys"), 1, "once, at the start");
}

#[tokio::test]
async fn the_first_token_of_a_request_is_the_only_one_that_is_verified() {
    let (site, signer, stranger) = (Site::start().await, Signer::new("one"), Signer::new("two"));
    site.show_keys(&[&signer]);
    let proxy = Proxy::with(RULES, site.trusted()).await;
    let (before, token) = (site.asked("/keys"), stranger.token(&site, |_| {}));
    let bearer = format!("Bearer {token}");
    let mut sent = vec![("authorization", bearer.as_str())];
    sent.extend(["x-api-key", "api-key", "x-goog-api-key"].map(|name| (name, token.as_str())));
    assert_eq!(answer(&proxy, &sent).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(site.asked("/keys") - before, 1);
    // The others stay here all the same.
    let good = format!("Bearer {}", signer.token(&site, |_| {}));
    let sent = [("authorization", good.as_str()), ("x-api-key", token.as_str())];
    let (_, headers) = passed(&proxy, call(&proxy, "/v1/chat/completions", &ask("hi"), &sent)).await;
    assert!(!headers.contains_key("authorization") && !headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are_and_until_then_nothing_holds() {
    let (site, signer) = (Site::start().await, Signer::new("one"));
    let trusted = site.trusted();
    let proxy = Proxy::with(RULES, |config| {
        trusted(config);
        config.identity.jwt.as_mut().unwrap().jwks_url = None;
    })
    .await;
    let token = signer.token(&site, |_| {});
    let answer = with(&proxy, &token).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(answer.json()["error"]["code"], "identity_unavailable");
    let described = |issuer: &str| json!({"issuer": issuer, "jwks_uri": format!("{}/keys", site.issuer())});
    site.show_keys(&[&signer]);
    site.show("/.well-known/openid-configuration", &described("http://another"));
    assert_eq!(with(&proxy, &token).await.status, StatusCode::SERVICE_UNAVAILABLE, "it must speak for itself");
    site.show("/.well-known/openid-configuration", &described(&site.issuer()));
    lets_in(&proxy, &token).await;
}
