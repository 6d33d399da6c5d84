//! Signed tokens (JSON Web Tokens) of one issuer.

use jsonwebtoken::{Validation, dangerous::insecure_decode_claims, decode, decode_header, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{Caller, Method, Unknown, crypto, jwks::Issuer};
use crate::{config, connect::Misconfigured};

/// Knows callers by tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    issuer: Issuer,
    settings: config::Jwt,
}

impl Tokens {
    pub(super) async fn new(settings: &config::Jwt) -> Result<Self, Misconfigured> {
        crypto::install();
        Ok(Self { issuer: Issuer::new(settings).await?, settings: settings.clone() })
    }

    /// Whether this is a token that says to be of this issuer. Nobody has vouched for that: it only tells whether there is
    /// something to verify.
    pub(super) fn issued(&self, token: &str) -> bool {
        let claims: Option<Map<String, Value>> = insecure_decode_claims(token).ok();
        claims.as_ref().and_then(|claims| claims.get("iss")?.as_str()) == Some(&self.settings.issuer)
    }

    /// Whom a token names.
    pub(super) async fn verify(&self, token: &str) -> Result<Caller, Unknown> {
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
        let (tokens, others) = (Tokens::new(&settings("a")).await.unwrap(), Tokens::new(&settings("b")).await.unwrap());
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
