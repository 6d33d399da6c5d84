//! An issuer's public keys: read at the start, by age, and when a token names one that is not known.
//!
//! Keys that were read stand until others are: an issuer that is down for a while locks nobody out. Until the first are read, no
//! token holds.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::Uri;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use serde::Deserialize;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use super::fetch::{Fetch, PATIENCE};
use crate::{
    config,
    connect::{self, Misconfigured, Version, connector},
};

/// Where OpenID Connect has an issuer describe itself.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A key, and the algorithms that it is for.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) key: DecodingKey,
    pub(super) algorithms: Vec<Algorithm>,
}

/// A set of keys by their ids.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<String, Arc<Key>>);

/// An issuer's keys, kept fresh.
#[derive(Debug)]
pub(super) struct Issuer {
    inner: Arc<Inner>,
    _refreshes: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    issuer: String,
    fetch: Fetch,
    keys: ArcSwapOption<Keys>,
    described: ArcSwapOption<Description>,
    /// When they were last asked for. Whoever holds this asks; the others wait for the answer.
    asked: Arc<Mutex<Option<Instant>>>,
    pause: Duration,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Keys(Uri),
    /// The address of the issuer's description, which says where the keys are.
    Description(Uri),
}

/// What of an issuer's description matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Description {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    pub(super) authorization_endpoint: Option<String>,
    #[serde(default)]
    pub(super) token_endpoint: Option<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Issuer {
    /// `section` is where its settings stand.
    pub(super) async fn new(settings: &config::Jwt, section: &str) -> Result<Self, Misconfigured> {
        let at = |url: &str, key: &str| address(url).map_err(|why| Misconfigured(format!("`{section}.{key}` {url}: {why}")));
        let source = match (&settings.jwks_file, &settings.jwks_url) {
            (Some(file), _) => Source::File(file.clone()),
            (None, Some(url)) => Source::Keys(at(url, "jwks_url")?),
            (None, None) => Source::Description(at(&(settings.issuer.trim_end_matches('/').to_owned() + DISCOVERY), "issuer")?),
        };
        let reached = connect::Settings {
            section,
            secure: matches!(&source, Source::Keys(at) | Source::Description(at) if at.scheme_str() == Some("https")),
            ca_file: settings.ca_file.as_deref(),
            client: [None, None],
            timeout: PATIENCE,
        };
        let inner = Arc::new(Inner {
            source,
            issuer: settings.issuer.clone(),
            fetch: Fetch::new(connector(reached, Version::Http1)?),
            keys: ArcSwapOption::empty(),
            described: ArcSwapOption::empty(),
            asked: Arc::default(),
            pause: Duration::from_secs(settings.pause_s),
        });
        inner.refresh().await;
        if let (Source::File(file), None) = (&inner.source, &*inner.keys.load()) {
            return Err(Misconfigured(format!("`{section}.jwks_file` {}: holds no usable keys", file.display())));
        }
        let (own, age) = (Arc::clone(&inner), Duration::from_secs(settings.refresh_s));
        let refreshes = tokio::spawn(async move {
            loop {
                let next = if own.keys.load().is_some() { age } else { age.min(own.pause.max(Duration::from_secs(1))) };
                tokio::time::sleep(next).await;
                own.refresh().await;
            }
        });
        Ok(Self { inner, _refreshes: AbortOnDropHandle::new(refreshes) })
    }

    /// The keys as they are.
    pub(super) fn keys(&self) -> Option<Arc<Keys>> {
        self.inner.keys.load_full()
    }

    /// How the issuer describes itself, if its keys were found that way.
    pub(super) async fn described(&self) -> Option<Arc<Description>> {
        if self.inner.described.load().is_none() {
            self.inner.refresh().await;
        }
        self.inner.described.load_full()
    }

    /// What asks it.
    pub(super) fn fetch(&self) -> &Fetch {
        &self.inner.fetch
    }

    /// The keys after one more reading, unless there was one just now.
    pub(super) async fn fresh(&self) -> Option<Arc<Keys>> {
        self.inner.refresh().await;
        self.keys()
    }
}

impl Inner {
    async fn refresh(self: &Arc<Self>) {
        let mut asked = Arc::clone(&self.asked).lock_owned().await;
        if asked.is_some_and(|asked| asked.elapsed() < self.pause) {
            return;
        }
        *asked = Some(Instant::now());
        // It outlives its asker: who goes away at once and comes again would have the keys read each time.
        let reading = tokio::spawn(Arc::clone(self).ask(asked));
        if let Err(error) = reading.await {
            tracing::warn!(issuer = self.issuer, %error, "the keys that tokens are signed by could not be read");
        }
    }

    async fn ask(self: Arc<Self>, _asked: OwnedMutexGuard<Option<Instant>>) {
        match self.read().await {
            Ok(keys) => self.keys.store(Some(Arc::new(keys))),
            Err(error) => tracing::warn!(issuer = self.issuer, error, "the keys that tokens are signed by could not be read"),
        }
    }

    async fn read(&self) -> Result<Keys, String> {
        let text = match &self.source {
            Source::File(file) => tokio::fs::read(file).await.map_err(|e| format!("{}: {e}", file.display()))?.into(),
            Source::Keys(at) => self.fetch.get(at).await?,
            Source::Description(at) => {
                let description: Description = serde_json::from_slice(&self.fetch.get(at).await?)
                    .map_err(|e| format!("{at}: no description of an issuer: {e}"))?;
                if description.issuer != self.issuer {
                    return Err(format!("{at} describes another issuer, `{}`", description.issuer));
                }
                let keys = &description.jwks_uri;
                let keys = address(keys).map_err(|why| format!("{at}: `jwks_uri` {keys}: {why}"))?;
                self.described.store(Some(Arc::new(description)));
                self.fetch.get(&keys).await?
            }
        };
        Keys::read(&text)
    }
}

impl Keys {
    fn read(text: &[u8]) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(text).map_err(|e| format!("no JSON Web Key Set: {e}"))?;
        let signing = |jwk: &&Jwk| matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let keys = set.keys.iter().filter(signing).filter_map(|jwk| {
            let (key, algorithms) = (DecodingKey::from_jwk(jwk).ok()?, algorithms(jwk)?);
            Some((jwk.common.key_id.clone().unwrap_or_default(), Arc::new(Key { key, algorithms })))
        });
        let keys: HashMap<_, _> = keys.collect();
        if keys.is_empty() { Err("the key set holds no public key for signatures".to_owned()) } else { Ok(Self(keys)) }
    }

    /// The key of this id. A token that names none means the only one.
    pub(super) fn get(&self, id: Option<&str>) -> Option<Arc<Key>> {
        match id {
            Some(id) => self.0.get(id).cloned(),
            None if self.0.len() == 1 => self.0.values().next().cloned(),
            None => None,
        }
    }
}

/// The algorithms that a key is for: the one that it names, if that is of its kind; else all of its kind.
fn algorithms(jwk: &Jwk) -> Option<Vec<Algorithm>> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![EdDSA],
        // A shared secret in a public set is none.
        _ => return None,
    };
    let Some(named) = jwk.common.key_algorithm else { return Some(kind) };
    let named = Algorithm::try_from(named).ok()?;
    kind.contains(&named).then(|| vec![named])
}

/// An address from which keys may be read: whoever can change them on their way can be anybody.
pub(super) fn address(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|e| format!("{e}"))?;
    let here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if here => Ok(uri),
        _ => Err("must be an https:// address; plain http:// only on this machine".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn only_public_keys_for_signatures_count() {
        let (x, y, n) = ("A".repeat(43), "A".repeat(43), "A".repeat(342));
        let ec = |id: &str| json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y});
        let with = |mut key: serde_json::Value, name: &str, value: &str| {
            key[name] = json!(value);
            key
        };
        let set = json!({"keys": [
            ec("plain"),
            with(ec("for encryption"), "use", "enc"),
            with(ec("of another kind"), "alg", "RS256"),
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
            {"kty": "unheard of", "kid": "new"},
            {"kty": "RSA", "kid": "any", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "one", "n": n, "e": "AQAB", "alg": "PS384", "use": "sig"},
        ]});
        let keys = Keys::read(set.to_string().as_bytes()).unwrap();
        let algorithms = |id| keys.get(Some(id)).map(|key| key.algorithms.clone());
        assert_eq!(algorithms("plain"), Some(vec![Algorithm::ES256]));
        assert_eq!(algorithms("any").map(|all| all.len()), Some(6));
        assert_eq!(algorithms("one"), Some(vec![Algorithm::PS384]));
        assert_eq!((keys.0.len(), keys.get(None).is_none()), (3, true));
        assert!(Keys::read(br#"{"keys": []}"#).is_err());
    }

    /// Answers the question that a connection carries.
    async fn answer(mut stream: TcpStream, status: u16, body: &str) {
        // What is closed unread takes its answer with it.
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let length = body.len();
        let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all((head + body).as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn a_reading_goes_on_when_its_asker_goes_away() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = config::Jwt { issuer: "i".to_owned(), jwks_url: Some(url), pause_s: 60, ..config::Jwt::default() };
        let (issuer, ()) = tokio::join!(Issuer::new(&settings, "identity.jwt"), async {
            answer(listener.accept().await.unwrap().0, 404, "").await
        });
        let issuer = issuer.unwrap();
        *issuer.inner.asked.lock().await = None;
        let mut asker = Box::pin(issuer.fresh());
        let asked = tokio::select! {
            _ = &mut asker => panic!("nobody has answered"),
            asked = listener.accept() => asked.unwrap().0,
        };
        drop(asker);
        let point = "A".repeat(43);
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": point, "y": point}]}).to_string();
        let again = async {
            answer(asked, 200, &keys).await;
            listener.accept().await.unwrap();
        };
        tokio::select! {
            keys = issuer.fresh() => assert!(keys.unwrap().get(Some("k")).is_some()),
            () = again => panic!("it was asked again"),
        }
    }

    #[test]
    fn keys_come_over_tls_or_from_here() {
        for (url, is_fine) in [
            ("https://login.example.com/keys?tenant=1", true),
            ("http://127.0.0.1:1/keys", true),
            ("http://localhost/keys", true),
            ("http://login.example.com/keys", false),
            ("http://127.0.0.1.example.com/keys", false),
            ("login.example.com", false),
        ] {
            assert_eq!(address(url).is_ok(), is_fine, "{url}");
        }
    }
}
