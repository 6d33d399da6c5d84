//! Signing in at an OpenID Connect provider.

use std::collections::HashMap;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::{Method, StatusCode};
use seawall::config::{Config, OIDC_DONE, Oidc, Secret};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Browser, FORM, call, people};
use crate::harness::{
    Answer, Proxy, RULES,
    issuer::{Signer, Site, from_now},
};

const START: &str = "/review/sign-in/oidc?next=%2Freview%2Fcase%2F1";

/// A provider, and a proxy that trusts it.
struct Stage {
    site: Site,
    signer: Signer,
    proxy: Proxy,
    _secret: tempfile::NamedTempFile,
}

/// What makes a token wrong.
type Change<'c> = &'c dyn Fn(&mut Value);

/// A sign-in that was begun: what the provider is asked, and what the browser keeps.
struct Begun {
    asked: HashMap<String, String>,
    cookie: String,
}

fn fields(query: &str) -> HashMap<String, String> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

impl Stage {
    async fn set(change: impl FnOnce(&mut Config)) -> Self {
        let (site, signer) = (Site::start().await, Signer::new("one"));
        site.show_keys(&[&signer]);
        let (at, issuer) = (|path: &str| format!("{}{path}", site.issuer()), site.issuer());
        site.show(
            "/.well-known/openid-configuration",
            &json!({"issuer": issuer, "jwks_uri": at("/keys"),
            "authorization_endpoint": at("/authorize?tenant=1"), "token_endpoint": at("/token")}),
        );
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "the/secret\n").unwrap();
        let mut settings = Oidc {
            issuer,
            client_id: "seawall".to_owned(),
            client_secret: Some(Secret { env: None, file: Some(secret.path().to_owned()) }),
            redirect_url: format!("https://seawall.example{OIDC_DONE}"),
            scopes: vec!["groups".to_owned()],
            ..Oidc::default()
        };
        settings.roles.reviewer = vec!["safety".to_owned()];
        let proxy = Proxy::with(RULES, |config| {
            people(config);
            config.admin.oidc = Some(settings);
            change(config);
        });
        Self { proxy: proxy.await, site, signer, _secret: secret }
    }

    async fn begin(&self) -> Begun {
        let answer = call(&self.proxy, Method::GET, START, &[], "").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let there = answer.header("location").strip_prefix(&format!("{}/authorize?tenant=1&", self.site.issuer())).unwrap();
        let set = answer.header("set-cookie");
        assert!(set.ends_with("; Path=/review/sign-in; Max-Age=600; HttpOnly; Secure; SameSite=Lax"), "{set}");
        Begun { asked: fields(there), cookie: set.split(';').next().unwrap().to_owned() }
    }

    /// The provider sends the browser back, and gives this token for the code.
    async fn end(&self, Begun { asked, cookie }: &Begun, change: impl FnOnce(&mut Value)) -> Answer {
        let mut claims = json!({"iss": self.site.issuer(), "aud": "seawall", "sub": "1", "exp": from_now(60),
            "nonce": asked["nonce"], "email": "mai@example.com", "groups": ["all", "safety"]});
        change(&mut claims);
        self.site.show("/token", &json!({"id_token": self.signer.sign("ES256", &claims), "token_type": "Bearer"}));
        let back = format!("{OIDC_DONE}?code=c%2F1&state={}", asked["state"]);
        call(&self.proxy, Method::GET, &back, &[("cookie", cookie), ("sec-fetch-site", "cross-site")], "").await
    }
}

/// What becomes the session's cookie.
fn session(answer: &Answer) -> Option<&str> {
    let mut set = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    set.find(|set| set.starts_with("seawall_session="))
}

#[tokio::test]
async fn people_sign_in_with_their_organisation() {
    let stage = Stage::set(|_| {}).await;
    let begun = stage.begin().await;
    let asked = |name: &str| begun.asked[name].as_str();
    assert_eq!((asked("response_type"), asked("client_id"), asked("scope")), ("code", "seawall", "openid email groups"));
    assert_eq!(asked("redirect_uri"), "https://seawall.example/review/sign-in/oidc/done");
    let done = stage.end(&begun, |_| {}).await;
    let html = String::from_utf8(done.body.to_vec()).unwrap();
    assert!(done.status == StatusCode::OK && html.contains("content=\"0; url=/review/case/1\""), "{html}");
    // The code is exchanged by who has begun, and by this client.
    let (headers, form) = stage.site.last("/token");
    let form = fields(&form);
    assert_eq!(headers["authorization"], format!("Basic {}", BASE64.encode(b"seawall:the%2Fsecret")));
    assert_eq!((form["grant_type"].as_str(), form["code"].as_str()), ("authorization_code", "c/1"));
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&form["code_verifier"]));
    assert_eq!((asked("code_challenge"), asked("code_challenge_method")), (challenge.as_str(), "S256"));

    let set = session(&done).unwrap();
    assert!(set.ends_with("HttpOnly; Secure; SameSite=Strict"), "{set}");
    let browser = Browser::with(&stage.proxy, set).await;
    let me = browser.get("/api/v1/me").await.json();
    assert_eq!((&me["name"], &me["role"]), (&json!("mai@example.com"), &json!("reviewer")));
    let out = browser.post("/review/sign-out", &[FORM], &format!("csrf={}", browser.csrf)).await;
    assert!(out.status == StatusCode::SEE_OTHER && !browser.is_signed_in().await);
    // Two sign-ins have nothing in common.
    let other = stage.begin().await;
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(other.asked[name], begun.asked[name]);
    }
}

#[tokio::test]
async fn nobody_gets_in_by_an_answer_that_is_wrong_in_anything() {
    let stage = Stage::set(|_| {}).await;
    let wrong: [(&str, Change<'_>); 8] = [
        ("nonce", &|claims| claims["nonce"] = json!("another")),
        ("no nonce", &|claims| claims["nonce"] = json!(null)),
        ("audience", &|claims| claims["aud"] = json!("other")),
        ("party", &|claims| claims["azp"] = json!("other")),
        ("age", &|claims| claims["exp"] = json!(from_now(-60))),
        ("issuer", &|claims| claims["iss"] = json!("https://other.example")),
        ("groups", &|claims| claims["groups"] = json!(["all"])),
        ("name", &|claims| claims["email"] = json!("reviewer")),
    ];
    for (what, change) in wrong {
        let begun = stage.begin().await;
        let answer = stage.end(&begun, change).await;
        assert_eq!((answer.status, session(&answer)), (StatusCode::FORBIDDEN, None), "{what}");
    }
    let (one, two) = (stage.begin().await, stage.begin().await);
    let mixed = Begun { asked: one.asked.clone(), cookie: two.cookie };
    assert_eq!(session(&stage.end(&mixed, |_| {}).await), None, "another browser's");
    let without = Begun { asked: one.asked, cookie: "a=b".to_owned() };
    assert_eq!(session(&stage.end(&without, |_| {}).await), None, "nobody's");
    let begun = stage.begin().await;
    let denied = format!("{OIDC_DONE}?error=access_denied&state={}", begun.asked["state"]);
    let denied = call(&stage.proxy, Method::GET, &denied, &[("cookie", &begun.cookie)], "").await;
    assert_eq!((denied.status, session(&denied)), (StatusCode::FORBIDDEN, None));
    stage.site.take_down();
    let begun = stage.begin().await;
    let back = format!("{OIDC_DONE}?code=c&state={}", begun.asked["state"]);
    let lost = call(&stage.proxy, Method::GET, &back, &[("cookie", &begun.cookie)], "").await;
    assert_eq!((lost.status, session(&lost)), (StatusCode::FORBIDDEN, None));
    // All the while, the ones in the settings sign in.
    Browser::of(&stage.proxy, "viewer").await;
}

#[tokio::test]
async fn a_provider_that_is_no_longer_trusted_vouches_for_nobody() {
    let stage = Stage::set(|_| {}).await;
    let begun = stage.begin().await;
    let set = session(&stage.end(&begun, |_| {}).await).unwrap().to_owned();
    let cookie = set.split(';').next().unwrap();
    let me = async |node: &Proxy| call(node, Method::GET, "/api/v1/me", &[("cookie", cookie)], "").await.status;
    assert_eq!(me(&stage.proxy).await, StatusCode::OK);
    let store = |config: &mut Config| config.review.store.clone_from(&stage.proxy.store);
    assert_eq!(me(&Proxy::with(RULES, store).await).await, StatusCode::UNAUTHORIZED);
    let another = Stage::set(store).await;
    assert_eq!(me(&another.proxy).await, StatusCode::UNAUTHORIZED, "nor does another");
    let told = call(&another.proxy, Method::GET, "/review/sign-in", &[], "").await;
    assert!(String::from_utf8_lossy(&told.body).contains("/review/sign-in/oidc?next=%2Freview"));
}
