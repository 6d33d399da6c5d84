//! Signing in at an OpenID Connect provider: the code flow, with PKCE, `state` and `nonce`.
//!
//! All three come from one secret that the browser keeps in a cookie meanwhile, so that any node can end what another began.

use axum::http::Uri;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use form_urlencoded::{Serializer, byte_serialize};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::session::{is_same, proof};
use crate::{
    config::{self, Role},
    connect::Misconfigured,
    identity::{Endpoints, Secret, Tokens, chance},
};

/// The provider.
#[derive(Debug)]
pub(super) struct Provider {
    settings: config::Oidc,
    secret: Option<Secret>,
    tokens: Tokens,
}

/// One sign-in on its way.
#[derive(Debug)]
pub(super) struct Flow(Secret);

/// Somebody who has signed in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) role: Role,
}

/// What the provider gives for a code.
#[derive(Deserialize)]
struct Given {
    id_token: String,
}

impl Flow {
    pub(super) fn new() -> Result<Self, String> {
        chance().map(Self)
    }

    /// What the browser has kept.
    pub(super) fn kept(secret: Secret) -> Self {
        Self(secret)
    }

    /// What the browser is to keep.
    pub(super) fn keep(&self) -> &str {
        self.0.expose()
    }

    /// Whether the provider's answer is to this.
    pub(super) fn is_answered(&self, state: &str) -> bool {
        is_same(&self.part("state"), state)
    }

    /// A part of it, which tells of no other.
    fn part(&self, of: &str) -> String {
        BASE64URL_NOPAD.encode(&Sha256::digest(format!("{of}:{}", self.keep())))
    }
}

impl Provider {
    pub(super) async fn new(settings: &config::Oidc) -> Result<Self, Misconfigured> {
        let secret = settings.client_secret.as_ref().map(config::Secret::value).transpose();
        let secret = secret.map_err(|why| Misconfigured(format!("`admin.oidc.client_secret`: {why}")))?;
        let tokens = config::Jwt {
            issuer: settings.issuer.clone(),
            audience: settings.client_id.clone(),
            ca_file: settings.ca_file.clone(),
            ..config::Jwt::default()
        };
        let tokens = Tokens::new(&tokens, "admin.oidc").await?;
        Ok(Self { settings: settings.clone(), secret: secret.map(|secret| Secret::new(secret.as_str())), tokens })
    }

    /// What a session rests on that began there.
    pub(super) fn proof(&self) -> String {
        proof("oidc", &format!("{} {}", self.settings.issuer, self.settings.client_id))
    }

    /// Where the browser is to go.
    pub(super) async fn begin(&self, flow: &Flow) -> Result<String, String> {
        let Endpoints { authorization, .. } = self.tokens.endpoints().await?;
        let scopes = ["openid", "email"].into_iter().chain(self.settings.scopes.iter().map(String::as_str));
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(flow.part("verifier")));
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.settings.redirect_url)
            .append_pair("scope", &scopes.collect::<Vec<_>>().join(" "))
            .append_pair("state", &flow.part("state"))
            .append_pair("nonce", &flow.part("nonce"))
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        Ok(joined(&authorization, &query))
    }

    /// Who has signed in, by the code that the browser brought back.
    pub(super) async fn finish(&self, flow: &Flow, code: &str) -> Result<Person, String> {
        let endpoints = self.tokens.endpoints().await?;
        let (authorization, form) = self.question(flow, code, endpoints.basic);
        let answer = endpoints.exchange(authorization.as_ref().map(Secret::expose), form).await?;
        // What stands there is not told: it may hold tokens.
        let given: Given =
            serde_json::from_slice(&answer).map_err(|_| "the provider's answer holds no `id_token`".to_owned())?;
        let claims = self.tokens.verify(&given.id_token).await.map_err(|unknown| unknown.to_string())?.claims;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if !text("nonce").is_some_and(|nonce| is_same(nonce, &flow.part("nonce"))) {
            return Err("the token is the answer to another sign-in (`nonce`)".to_owned());
        }
        if text("azp").is_some_and(|party| party != self.settings.client_id) {
            return Err("the token was made for another client (`azp`)".to_owned());
        }
        person(&self.settings, &claims)
    }

    /// How the provider is asked for what a code stands for: the `authorization`, if this says who asks, and the form.
    fn question(&self, flow: &Flow, code: &str, basic: bool) -> (Option<Secret>, String) {
        let id = &self.settings.client_id;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.settings.redirect_url)
            .append_pair("code_verifier", &flow.part("verifier"));
        match &self.secret {
            Some(secret) if basic => return (Some(by_basic(id, secret)), form.finish()),
            Some(secret) => form.append_pair("client_id", id).append_pair("client_secret", secret.expose()),
            None => form.append_pair("client_id", id),
        };
        (None, form.finish())
    }
}

/// Whom claims name, and what they may do.
fn person(settings: &config::Oidc, claims: &Map<String, Value>) -> Result<Person, String> {
    let claim = &settings.name_claim;
    let name = claims.get(claim).and_then(Value::as_str).map(str::trim).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| format!("the provider names nobody: the token has no `{claim}`"))?.to_owned();
    if claim == "email" && claims.get("email_verified") == Some(&Value::Bool(false)) {
        return Err(format!("the provider has not verified that `{name}` is yours"));
    }
    let groups = match claims.get(&settings.role_claim) {
        Some(Value::String(group)) => vec![group.as_str()],
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_theirs =
        |role: &&Role| settings.roles.of(**role).iter().any(|group| group == "*" || groups.contains(&group.as_str()));
    match Role::ALL.iter().rev().find(is_theirs) {
        Some(role) => Ok(Person { name, role: *role }),
        None => Err(format!("`{name}` may do nothing here: none of their groups has a role")),
    }
}

/// An address with this query besides its own.
fn joined(address: &Uri, query: &str) -> String {
    let mark = if address.query().is_some() { '&' } else { '?' };
    format!("{address}{mark}{query}")
}

/// A client's id and secret as `authorization` has them (RFC 6749, 2.3.1).
fn by_basic(id: &str, secret: &Secret) -> Secret {
    let escaped = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    Secret::new(format!("Basic {}", BASE64.encode(format!("{}:{}", escaped(id), escaped(secret.expose())).as_bytes())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_give_roles() {
        let mut settings = config::Oidc::default();
        settings.roles.admin = vec!["sec".to_owned()];
        settings.roles.reviewer = vec!["safety".to_owned()];
        let told = |settings: &config::Oidc, claims: Value| {
            person(settings, claims.as_object().unwrap()).map(|person| (person.name, person.role))
        };
        let ana = |role| Ok(("ana@x".to_owned(), role));
        assert_eq!(told(&settings, json!({"email": "ana@x", "groups": ["all", "safety"]})), ana(Role::Reviewer));
        assert_eq!(told(&settings, json!({"email": "ana@x", "groups": ["safety", "sec"]})), ana(Role::Admin));
        assert_eq!(told(&settings, json!({"email": "ana@x", "groups": "sec", "email_verified": true})), ana(Role::Admin));
        for (claims, why) in [
            (json!({"groups": ["sec"]}), "names nobody"),
            (json!({"email": " ", "groups": ["sec"]}), "names nobody"),
            (json!({"email": "ana@x", "groups": ["sec"], "email_verified": false}), "not verified"),
            (json!({"email": "ana@x", "groups": ["all"]}), "may do nothing"),
            (json!({"email": "ana@x", "groups": {"sec": true}}), "may do nothing"),
            (json!({"email": "ana@x"}), "may do nothing"),
        ] {
            let told = told(&settings, claims).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        settings.roles.viewer = vec!["*".to_owned()];
        assert_eq!(told(&settings, json!({"email": "ana@x"})), ana(Role::Viewer));
    }

    #[test]
    fn what_leaves_is_escaped() {
        let uri = Uri::from_static("https://h/authorize?tenant=1");
        assert_eq!(joined(&uri, "a=b"), "https://h/authorize?tenant=1&a=b");
        assert_eq!(joined(&Uri::from_static("https://h/authorize"), "a=b"), "https://h/authorize?a=b");
        let expected = format!("Basic {}", BASE64.encode(b"a%3Ab:c+%2F"));
        assert_eq!(by_basic("a:b", &Secret::new("c /")).expose(), expected);
        let flow = Flow::new().unwrap();
        assert!(flow.is_answered(&flow.part("state")) && !flow.is_answered(&flow.part("nonce")) && !flow.is_answered(""));
    }
}
