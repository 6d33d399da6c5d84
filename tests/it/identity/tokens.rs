//! Tokens of an issuer that serves its keys on this machine.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD as BASE64;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use seawall::config::{Config, Jwt, Limits};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{answer, call, passed};
use crate::harness::{Answer, Proxy, RULES, ask};

/// An issuer's web site: what stands at each path, and how often that was asked for.
#[derive(Clone)]
struct Site {
    address: SocketAddr,
    pages: Arc<Mutex<HashMap<String, (String, usize)>>>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = Self { address: listener.local_addr().unwrap(), pages: Arc::default() };
        let own = site.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let site = own.clone();
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let mut pages = site.pages.lock().unwrap();
                    let page = pages.get_mut(request.uri().path()).map(|(page, asked)| {
                        *asked += 1;
                        page.clone()
                    });
                    let status = if page.is_some() { 200 } else { 404 };
                    let body = Full::<bytes::Bytes>::new(page.unwrap_or_default().into());
                    let answer = Response::builder().status(status).body(body).unwrap();
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        site
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn show(&self, path: &str, page: &Value) {
        let mut pages = self.pages.lock().unwrap();
        pages.entry(path.to_owned()).or_default().0 = page.to_string();
    }

    fn show_keys(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.public()).collect();
        self.show("/keys", &json!({"keys": keys}));
    }

    fn take_down(&self) {
        self.pages.lock().unwrap().clear();
    }

    fn asked(&self, path: &str) -> usize {
        self.pages.lock().unwrap().get(path).map_or(0, |(_, asked)| *asked)
    }

    fn trusted(&self) -> impl FnOnce(&mut Config) {
        let settings = Jwt {
            issuer: self.issuer(),
            audience: "seawall".to_owned(),
            jwks_url: Some(format!("{}/keys", self.issuer())),
            pause_s: 0,
            ..Jwt::default()
        };
        |config| config.identity.jwt = Some(settings)
    }
}

struct Signer {
    id: &'static str,
    key: EcdsaKeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self { id, key }
    }

    fn public(&self) -> Value {
        let point = &self.key.public_key().as_ref()[1..];
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": BASE64.encode(&point[..32]),
               "y": BASE64.encode(&point[32..])})
    }

    fn sign(&self, algorithm: &str, claims: &Value) -> String {
        let part = |value: &Value| BASE64.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&json!({"alg": algorithm, "kid": self.id, "typ": "JWT"})), part(claims));
        let signature = match algorithm {
            "none" => String::new(),
            // The classic: the public key taken for a shared secret.
            "HS256" => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
                BASE64.encode(hmac::sign(&secret, message.as_bytes()).as_ref())
            }
            _ => BASE64.encode(self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref()),
        };
        format!("{message}.{signature}")
    }

    /// A token in order but for what `change` makes of it.
    fn token(&self, site: &Site, change: impl FnOnce(&mut Value)) -> String {
        let mut claims =
            json!({"iss": site.issuer(), "aud": ["other", "seawall"], "sub": "user-1", "tenant": "t", "exp": from_now(60)});
        change(&mut claims);
        self.sign("ES256", &claims)
    }
}

fn from_now(seconds: i64) -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap() + seconds
}

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
