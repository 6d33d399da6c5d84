//! `[identity]`, `[limits]`, `[tenants.NAME]` and `[listen.tls]`: who may call, and how much.

use std::{collections::BTreeSet, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Wrong};

/// `[identity]`: who may call. The first credential that is Seawall's own tells the caller: a key or token in `seawall-key`,
/// `authorization: Bearer`, `x-api-key`, `api-key`, `x-goog-api-key` or `?key=`; without any, the client's certificate.
/// Where the credential names no tenant, the certificate does.
/// Seawall's own credentials are not passed on upstream; a client that has a key for the upstream too sends Seawall's in
/// `seawall-key`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Whether a caller who is not known is refused. If it is left out: yes, as soon as anything below is set. A credential
    /// that is Seawall's own and does not hold (a withdrawn key, an expired token) is refused in any case.
    pub required: Option<bool>,
    /// The keys that open, as `seawall key new` prints them.
    pub keys: Vec<KeyHash>,
    /// A file with more of them, written as here: `[[identity.keys]]`.
    pub keys_file: Option<PathBuf>,
    /// Tokens that open.
    pub jwt: Option<Jwt>,
    /// Subjects of client certificates that open; `[listen.tls]` says who vouches for these. The first that fits holds.
    pub subjects: Vec<Subject>,
}

impl Identity {
    /// Whether a caller who is not known is refused.
    #[must_use]
    pub fn is_required(&self) -> bool {
        // Who lists keys means them to be needed; a list that is empty by mistake must not open the door either.
        let named = !self.keys.is_empty() || self.keys_file.is_some() || self.jwt.is_some() || !self.subjects.is_empty();
        self.required.unwrap_or(named)
    }
}

/// `[[identity.keys]]`: a key, of which only the hash is kept.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyHash {
    /// Its name in policies, limits and logs.
    pub name: String,
    /// `sha256:` and the hash in hexadecimal digits.
    pub hash: String,
    /// Whose it is.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// `[identity.jwt]`: tokens of an OpenID Connect provider, or any other issuer of signed JSON Web Tokens. Only public-key
/// signatures count, by the algorithm that the key is for; `exp`, `iss` and `aud` must be there, and `nbf` holds if it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Jwt {
    /// What `iss` must be. Without `jwks_url` and `jwks_file` the keys are found from here
    /// (`/.well-known/openid-configuration`).
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// Where the issuer's public keys are; `https:`, or `http:` on this machine.
    pub jwks_url: Option<String>,
    /// The same keys as a file.
    pub jwks_file: Option<PathBuf>,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The claim that names the tenant; a token without it has none.
    pub tenant_claim: String,
    /// How far clocks may differ, in seconds.
    pub leeway_s: u64,
    /// Time after which the keys are read anew.
    pub refresh_s: u64,
    /// Shortest time between two readings, which a token signed by an unknown key may cause too.
    pub pause_s: u64,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            jwks_file: None,
            ca_file: None,
            tenant_claim: "tenant".to_owned(),
            leeway_s: 30,
            refresh_s: 300,
            pause_s: 10,
        }
    }
}

/// `[[identity.subjects]]`: a client certificate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// A URI or DNS name that the certificate is for, or its common name if it is for none; `*` stands for any characters. A
    /// pattern with `://`, or one that begins with `urn:`, is for URIs only, any other but a bare `*` for the rest.
    pub subject: String,
    /// Whose it is.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// `[limits]`: how much each tenant may ask for, and `[tenants.NAME]`: what a tenant has in place of that. A caller without a
/// tenant is bound by the same limits under its key's name or its subject; all callers who are not known are one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls a minute; as many at once, coming back evenly. No bound if left out; 0 lifts that of `[limits]`.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute that guards are given to read for its calls: of a stream, the text of each check. What the cache knows
    /// costs nothing. They are counted as they are read: a call may overdraw, and the next ones wait until that is made up
    /// for. No bound if left out; 0 lifts that of `[limits]`.
    pub tokens_per_minute: Option<u32>,
    /// Calls in flight, the rest of their streams included. No bound if left out; 0 lifts that of `[limits]`.
    pub concurrency: Option<u32>,
}

impl Limits {
    /// These limits, and `fallback` where they say nothing.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        Self {
            requests_per_minute: self.requests_per_minute.or(fallback.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.or(fallback.tokens_per_minute),
            concurrency: self.concurrency.or(fallback.concurrency),
        }
    }
}

/// `[listen.tls]`: TLS towards clients, who then may speak HTTP/2 too. New connections are greeted with what the files hold, also
/// when that changes while it runs; those that stand stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the certificate, with its chain.
    pub cert_file: PathBuf,
    /// PEM file of its key.
    pub key_file: PathBuf,
    /// PEM file of the authorities that vouch for clients' certificates.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client must show a certificate; it must, if this is left out, where `client_ca_file` is set.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Who has none cannot connect.
    Required,
    /// Who has one is known by it.
    Optional,
}

/// What types alone cannot tell.
pub(super) fn check(config: &Config) -> Result<(), Wrong> {
    let wrong = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
    let identity = &config.identity;
    let mut names = BTreeSet::new();
    for (number, key) in identity.keys.iter().enumerate() {
        if !names.insert(&key.name) {
            return Err((format!("identity.keys.{number}.name"), format!("`{}` is another key's name too", key.name)));
        }
    }
    if let Some(jwt) = &identity.jwt {
        if jwt.issuer.is_empty() {
            return wrong("identity.jwt.issuer", "must be what the tokens' `iss` says, such as `https://login.example.com`");
        }
        if jwt.audience.is_empty() {
            return wrong("identity.jwt.audience", "must be what the tokens' `aud` says, such as `seawall`");
        }
        if jwt.jwks_url.is_some() && jwt.jwks_file.is_some() {
            return wrong("identity.jwt.jwks_file", "cannot stand beside `jwks_url`: name one");
        }
        if jwt.refresh_s == 0 {
            return wrong("identity.jwt.refresh_s", "must be more than 0");
        }
    }
    let authority = config.listen.tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref());
    if config.listen.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some()) && authority.is_none() {
        return wrong("listen.tls.client_auth", "needs `client_ca_file`: who vouches for the clients");
    }
    if !identity.subjects.is_empty() && authority.is_none() {
        return wrong("identity.subjects", "needs `listen.tls.client_ca_file`: who vouches for the clients");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::tests::told;

    #[test]
    fn mistakes_are_told() {
        let key = "[[identity.keys]]\nname = \"ci\"\nhash = \"sha256:00\"\n";
        assert_eq!(told(&format!("{key}{key}")), "s.toml:5: `identity.keys.1.name` `ci` is another key's name too");
        assert!(told("[identity.jwt]\nissuer = \"x\"\n").contains("`identity.jwt.audience` must be"));
        let jwt = "[identity.jwt]\nissuer = \"x\"\naudience = \"y\"\njwks_url = \"https://h\"\njwks_file = \"f\"\n";
        assert!(told(jwt).starts_with("s.toml:5: `identity.jwt.jwks_file` cannot stand"));
        assert!(told("[[identity.subjects]]\nsubject = \"x\"\n").contains("needs `listen.tls.client_ca_file`"));
        let tls = "[listen.tls]\ncert_file = \"c\"\nkey_file = \"k\"\nclient_auth = \"required\"\n";
        assert!(told(tls).starts_with("s.toml:4: `listen.tls.client_auth` needs `client_ca_file`"));
        assert!(told("[tenants.a]\nrequests_a_minute = 1\n").contains("did you mean `requests_per_minute`?"));
    }

    #[test]
    fn a_tenants_own_limits_come_first() {
        let defaults = Limits { requests_per_minute: Some(1), tokens_per_minute: Some(2), concurrency: None };
        let own = Limits { requests_per_minute: Some(0), ..Limits::default() };
        assert_eq!(own.or(defaults), Limits { requests_per_minute: Some(0), tokens_per_minute: Some(2), concurrency: None });
    }
}
