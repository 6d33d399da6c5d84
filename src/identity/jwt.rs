//! Signed tokens (JSON Web Tokens) of one issuer.

use bytes::Bytes;
use http::Uri;
use jsonwebtoken::{Validation, dangerous::insecure_decode_claims, decode, decode_header, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{
    Caller, Method, Unknown, crypto,
    fetch::Fetch,
    jwks::{Issuer, address},
};
use crate::{config, connect::Misconfigured};

/// Knows callers by the tokens of an issuer.
#[derive(Debug)]
pub struct Tokens {
    issuer: Issuer,
    settings: config::Jwt,
}

impl Tokens {
    /// As these settings say; `section` is where they stand.
    ///
    /// # Errors
    /// Addresses or files that cannot be used.
    pub async fn new(settings: &config::Jwt, section: &str) -> Result<Self, Misconfigured> {
        crypto::install();
        Ok(Self { issuer: Issuer::new(settings, section).await?, settings: settings.clone() })
    }

    /// Where people sign in at this issuer.
    ///
    /// # Errors
    /// It cannot be reached, or does not say.
    pub async fn endpoints(&self) -> Result<Endpoints<'_>, String> {
        let described = self.issuer.described().await.ok_or("its description could not be read")?;
        let at = |endpoint: &Option<String>, name: &str| {
            let endpoint = endpoint.as_deref().ok_or_else(|| format!("its description has no `{name}`"))?;
            address(endpoint).map_err(|why| format!("`{name}` {endpoint}: {why}"))
        };
        let methods = described.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
        Ok(Endpoints {
            authorization: at(&described.authorization_endpoint, "authorization_endpoint")?,
            token: at(&described.token_endpoint, "token_endpoint")?,
            // What is not told means the first (OpenID Connect Discovery, 3).
            basic: methods.is_empty() || methods.iter().any(|method| method == "client_secret_basic"),
            fetch: self.issuer.fetch(),
        })
    }

    /// Whether this is a token that says to be of this issuer. Nobody has vouched for that: it only tells whether there is
    /// something to verify.
    pub(super) fn issued(&self, token: &str) -> bool {
        let claims: Option<Map<String, Value>> = insecure_decode_claims(token).ok();
        claims.as_ref().and_then(|claims| claims.get("iss")?.as_str()) == Some(&self.settings.issuer)
    }

    /// Whom a token names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn verify(&self, token: &str) -> Result<Caller, Unknown> {
        let invalid = |why: &str| Unknown::Invalid(format!("the token {why}"));
        let header = decode_header(token).map_err(|e| invalid(told(e.kind())))?;
        let id = header.kid.as_deref();
        let known = self.issuer.keys().and_then(|keys| keys.get(id));
        let key = match known {
            Some(key) => key,
            None => {
                let keys = self.issuer.fresh().await.ok_or(Unknown::Unavailable)?;
                keys.get(id).ok_or_else(|| invalid("is signed by a key that its issuer does not list"))?
            }
        };
        let mut rules = Validation::new(header.alg);
        rules.algorithms.clone_from(&key.algorithms);
        rules.leeway = self.settings.leeway_s;
        rules.validate_nbf = true;
        rules.set_issuer(&[&self.settings.issuer]);
        rules.set_audience(&[&self.settings.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = decode::<Map<String, Value>>(token, &key.key, &rules).map_err(|e| invalid(told(e.kind())))?.claims;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let (tenant, subject) = (text(&self.settings.tenant_claim), text("sub"));
        Ok(Caller { method: Some(Method::Token), tenant, subject, key: None, claims })
    }
}

/// Where people sign in at an issuer.
#[derive(Debug)]
pub struct Endpoints<'t> {
    /// Where browsers are sent.
    pub authorization: Uri,
    token: Uri,
    /// Whether a client says who it is in `authorization`, not in the form.
    pub basic: bool,
    fetch: &'t Fetch,
}

impl Endpoints<'_> {
    /// Exchanges a code for tokens: the answer as it came.
    ///
    /// # Errors
    /// The issuer does not answer, or refuses.
    pub async fn exchange(&self, authorization: Option<&str>, form: String) -> Result<Bytes, String> {
        self.fetch.post(&self.token, authorization, form).await
    }
}

/// What is wrong with a token, for the one who sent it.
fn told(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "has expired",
        ErrorKind::ImmatureSignature => "does not hold yet (`nbf`)",
        ErrorKind::InvalidAudience => "is for another audience (`aud`)",
        ErrorKind::InvalidIssuer => "is of another issuer (`iss`)",
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "is signed by an algorithm that its key is not for"
        }
        ErrorKind::InvalidSignature => "is not signed by its issuer",
        ErrorKind::MissingRequiredClaim(_) => "lacks one of `exp`, `iss` and `aud`",
        _ => "cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[tokio::test]
    async fn rsa_as_most_issuers_sign() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/identity/rsa.json");
        let set: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let settings = |audience: &str| config::Jwt {
            issuer: "i".to_owned(),
            audience: audience.to_owned(),
            jwks_file: Some(file.clone()),
            ..config::Jwt::default()
        };
        let (tokens, others) = (Tokens::new(&settings("a"), "").await.unwrap(), Tokens::new(&settings("b"), "").await.unwrap());
        for token in set["tokens"].as_array().unwrap() {
            let token = token.as_str().unwrap();
            assert!(tokens.issued(token));
            let caller = tokens.verify(token).await.unwrap();
            assert_eq!((caller.subject.as_deref(), caller.tenant), (Some("s"), None));
            let told = others.verify(token).await.unwrap_err();
            assert_eq!(told.to_string(), "the token is for another audience (`aud`)");
            let (signed, _) = token.rsplit_once('.').unwrap();
            let forged = format!("{signed}.{}", "A".repeat(342));
            assert_eq!(tokens.verify(&forged).await.unwrap_err().to_string(), "the token is not signed by its issuer");
        }
        assert!(!tokens.issued("sk-upstream") && !tokens.issued("a.b.c"));
    }
}
