//! Who calls: told by a key, a signed token or a client certificate; and how much each caller may ask for.

mod certificate;
mod credential;
mod crypto;
mod fetch;
mod jwks;
mod jwt;
mod keys;
mod limits;

use http::{HeaderMap, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::{
    certificate::Certificate,
    jwt::{Endpoints, Tokens},
    keys::{Secret, chance, hash, new_key},
    limits::{Account, Exceeded, Limit, Limits, Permit},
};
use self::{certificate::Subjects, credential::Place, keys::Keys};
use crate::{config, connect::Misconfigured};

/// How a caller is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By a key; the subject is that of the certificate, if one was shown too.
    Key,
    /// By a signed token, and by its subject.
    #[serde(rename = "jwt")]
    Token,
    /// By a client certificate, and by its name.
    Certificate,
}

impl Method {
    /// Its name in conditions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Token => "jwt",
            Self::Certificate => "certificate",
        }
    }
}

/// Who calls, as far as that is known. The default is nobody.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caller {
    /// How that is known. It also tells of what kind the subject is: issuers of tokens and of certificates may give two the
    /// same name.
    pub method: Option<Method>,
    /// Whose traffic it is.
    pub tenant: Option<String>,
    /// The name of the key, never the key itself.
    pub key: Option<String>,
    /// The token's subject, or the name in the certificate by which it is known.
    pub subject: Option<String>,
    /// What the token says.
    pub claims: Map<String, Value>,
}

/// Why nobody may call like this. No text holds any part of a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No credential of Seawall's came.
    #[error(
        "no key came that Seawall knows: send one as `authorization: Bearer KEY`, `x-api-key`, `api-key`, `x-goog-api-key` or \
         `seawall-key`"
    )]
    Missing,
    /// One came that does not hold.
    #[error("{0}")]
    Invalid(String),
    /// One came that cannot be judged now.
    #[error("tokens cannot be judged now, as their issuer's keys could not be read; try again")]
    Unavailable,
}

/// Knows callers.
#[derive(Debug)]
pub struct Identity {
    required: bool,
    keys: Keys,
    tokens: Option<Tokens>,
    subjects: Subjects,
}

impl Identity {
    /// As these settings say. An issuer whose keys cannot be read now is asked again; until then no token holds.
    ///
    /// # Errors
    /// Keys, files or addresses that cannot be used.
    pub async fn new(settings: &config::Identity) -> Result<Self, Misconfigured> {
        let keys = Keys::new(settings)?;
        let tokens = match &settings.jwt {
            Some(settings) => Some(Tokens::new(settings, "identity.jwt").await?),
            None => None,
        };
        let subjects = Subjects::new(&settings.subjects);
        Ok(Self { required: settings.is_required(), keys, tokens, subjects })
    }

    /// Who calls. Takes Seawall's own credentials out of the request, so that they do not leave for the upstream.
    ///
    /// # Errors
    /// A credential of Seawall's that does not hold; none at all, where one is required.
    pub async fn caller(
        &self,
        headers: &mut HeaderMap,
        uri: &mut Uri,
        certificate: Option<&Certificate>,
    ) -> Result<Caller, Unknown> {
        let mut found: Option<Result<Caller, Unknown>> = None;
        for (place, credential) in credential::all(headers, uri) {
            if !self.owns(place, credential.expose()) {
                continue;
            }
            place.clear(headers, uri, &credential);
            // The first that is Seawall's own tells, be it good or bad: to go on to the next would hide a mistake, and let one
            // request cause as many verifications as it holds tokens.
            if found.is_none() {
                found = Some(self.know(credential.expose()).await);
            }
        }
        let shown = certificate.and_then(|certificate| self.subjects.caller(certificate));
        match (found.transpose()?, shown) {
            // Nobody sheds the tenant of a certificate by showing what names none.
            (Some(caller), Some(shown)) => {
                let subject = if caller.method == Some(Method::Token) { caller.subject } else { shown.subject };
                Ok(Caller { tenant: caller.tenant.or(shown.tenant), subject, ..caller })
            }
            (Some(caller), None) | (None, Some(caller)) => Ok(caller),
            (None, None) if self.required => Err(Unknown::Missing),
            (None, None) => Ok(Caller::default()),
        }
    }

    /// Whether a credential is Seawall's, unlike the upstream's own key. A key of ours that was withdrawn is still a secret of
    /// ours.
    fn owns(&self, place: Place, credential: &str) -> bool {
        place.is_ours()
            || credential.starts_with(keys::PREFIX)
            || self.keys.find(credential).is_some()
            || self.tokens.as_ref().is_some_and(|tokens| tokens.issued(credential))
    }

    /// Whom a credential of Seawall's names.
    async fn know(&self, credential: &str) -> Result<Caller, Unknown> {
        if let Some(caller) = self.keys.find(credential) {
            return Ok(caller);
        }
        match &self.tokens {
            Some(tokens) if tokens.issued(credential) => tokens.verify(credential).await,
            _ => Err(Unknown::Invalid("the key is not known, or was withdrawn".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn settings(keys: &[(&str, &str, Option<&str>)]) -> config::Identity {
        let keys = keys.iter().map(|(name, key, tenant)| config::KeyHash {
            name: (*name).to_owned(),
            hash: hash(key),
            tenant: tenant.map(str::to_owned),
        });
        config::Identity { keys: keys.collect(), ..config::Identity::default() }
    }

    #[tokio::test]
    async fn a_certificates_tenant_stays_unless_the_credential_names_another() {
        let subject = config::Subject { subject: "svc".to_owned(), tenant: Some("bound".to_owned()) };
        let keys = settings(&[("free", "free", None), ("own", "own", Some("support"))]);
        let file = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/identity/rsa.json");
        let set: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let jwt =
            config::Jwt { issuer: "i".to_owned(), audience: "a".to_owned(), jwks_file: Some(file), ..config::Jwt::default() };
        let settings = config::Identity { subjects: vec![subject], jwt: Some(jwt), ..keys };
        let identity = Identity::new(&settings).await.unwrap();
        let params = rcgen::CertificateParams::new(vec!["svc".to_owned()]).unwrap();
        let certificate = Certificate::read(params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der());
        for (key, method, tenant, subject) in [
            (None, Method::Certificate, "bound", "svc"),
            (Some("free"), Method::Key, "bound", "svc"),
            (Some("own"), Method::Key, "support", "svc"),
            (set["tokens"][0].as_str(), Method::Token, "bound", "s"),
        ] {
            let mut headers: HeaderMap = key.iter().map(|key| (header::AUTHORIZATION, bearer(key))).collect();
            let caller = identity.caller(&mut headers, &mut Uri::default(), Some(&certificate)).await.unwrap();
            assert_eq!((caller.method, caller.tenant.as_deref()), (Some(method), Some(tenant)), "{key:?}");
            assert_eq!(caller.subject.as_deref(), Some(subject));
        }
    }

    fn bearer(key: &str) -> HeaderValue {
        format!("Bearer {key}").parse().unwrap()
    }

    async fn asked(identity: &Identity, sent: &[(&'static str, &str)], path: &str) -> (Result<Caller, Unknown>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        let mut uri = path.parse().unwrap();
        let caller = identity.caller(&mut headers, &mut uri, None).await;
        let mut left: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.push(uri.to_string());
        (caller, left)
    }

    fn named(caller: Result<Caller, Unknown>) -> (Option<String>, Option<String>) {
        let caller = caller.unwrap();
        (caller.key, caller.tenant)
    }

    #[tokio::test]
    async fn a_key_is_known_wherever_sdks_put_it_and_goes_no_further() {
        let identity = Identity::new(&settings(&[("ci", "s3cret", Some("support"))])).await.unwrap();
        let known = (Some("ci".to_owned()), Some("support".to_owned()));
        for sent in [
            ("authorization", "Bearer s3cret"),
            ("authorization", "bearer  s3cret"),
            ("x-api-key", "s3cret"),
            ("api-key", "s3cret"),
            ("x-goog-api-key", "s3cret"),
            ("seawall-key", "s3cret"),
        ] {
            let (caller, left) = asked(&identity, &[sent, ("x", "1")], "/v1/models?key=theirs&a=1").await;
            assert_eq!(named(caller), known, "{sent:?}");
            assert_eq!(left, ["x: 1", "/v1/models?key=theirs&a=1"], "{sent:?}");
        }
        let (caller, left) = asked(&identity, &[("x-goog-api-key", "theirs")], "/v1/models?a=1&key=s3cret&b=2").await;
        assert_eq!(
            (named(caller), left),
            (known.clone(), vec!["x-goog-api-key: theirs".to_owned(), "/v1/models?a=1&b=2".to_owned()])
        );
        let (_, left) =
            asked(&identity, &[("seawall-key", "s3cret"), ("authorization", "Bearer sk-upstream")], "/x?key=s3cret").await;
        assert_eq!(left, ["authorization: Bearer sk-upstream", "/x"]);
        // Any of several values of a header.
        let (caller, left) = asked(&identity, &[("x-api-key", "other"), ("x-api-key", "s3cret")], "/x").await;
        assert_eq!((named(caller), left), (known, vec!["/x".to_owned()]));
    }

    #[tokio::test]
    async fn who_is_not_known_is_refused_once_keys_are_listed() {
        let identity = Identity::new(&settings(&[("ci", "s3cret", None)])).await.unwrap();
        assert_eq!(asked(&identity, &[], "/x").await.0, Err(Unknown::Missing));
        assert_eq!(asked(&identity, &[("authorization", "Bearer sk-upstream")], "/x").await.0, Err(Unknown::Missing));
        assert_eq!(asked(&identity, &[("authorization", "Basic s3cret")], "/x").await.0, Err(Unknown::Missing));
        let open = Identity::new(&config::Identity::default()).await.unwrap();
        assert_eq!(asked(&open, &[("authorization", "Bearer sk-upstream")], "/x").await.0, Ok(Caller::default()));
    }

    #[tokio::test]
    async fn a_withdrawn_key_is_refused_even_where_none_is_needed() {
        let lax = config::Identity { required: Some(false), ..settings(&[("ci", "s3cret", None)]) };
        let identity = Identity::new(&lax).await.unwrap();
        let (caller, left) = asked(&identity, &[("authorization", "Bearer sk-upstream")], "/x").await;
        assert_eq!(
            (caller, left),
            (Ok(Caller::default()), vec!["authorization: Bearer sk-upstream".to_owned(), "/x".to_owned()])
        );
        let withdrawn = format!("Bearer {}", new_key().unwrap().expose());
        for sent in [("authorization", withdrawn.as_str()), ("seawall-key", "anything")] {
            let (caller, left) = asked(&identity, &[sent, ("x-api-key", "s3cret")], "/x").await;
            assert!(matches!(caller, Err(Unknown::Invalid(_))), "{sent:?}");
            assert_eq!(left, ["/x"], "{sent:?}");
        }
    }
}
