//! An issuer of tokens that serves its keys on this machine.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD as BASE64;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use seawall::config::{Config, Jwt};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// An issuer's web site: what stands at each path, and who has asked for that.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pages: Arc<Mutex<HashMap<String, Page>>>,
}

#[derive(Default)]
struct Page {
    text: String,
    asked: Vec<(HeaderMap, String)>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = Self { address: listener.local_addr().unwrap(), pages: Arc::default() };
        let own = site.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let site = own.clone();
                let service = service_fn(move |request| site.clone().answer(request));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        site
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let mut pages = self.pages.lock().unwrap();
        let page = pages.get_mut(head.uri.path()).map(|page| {
            page.asked.push((head.headers, body));
            page.text.clone()
        });
        let status = if page.is_some() { 200 } else { 404 };
        Ok(Response::builder().status(status).body(Full::new(page.unwrap_or_default().into())).unwrap())
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn show(&self, path: &str, page: &Value) {
        let mut pages = self.pages.lock().unwrap();
        pages.entry(path.to_owned()).or_default().text = page.to_string();
    }

    pub(crate) fn show_keys(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.public()).collect();
        self.show("/keys", &json!({"keys": keys}));
    }

    pub(crate) fn take_down(&self) {
        self.pages.lock().unwrap().clear();
    }

    pub(crate) fn asked(&self, path: &str) -> usize {
        self.pages.lock().unwrap().get(path).map_or(0, |page| page.asked.len())
    }

    /// The headers and the body of the last question for this.
    pub(crate) fn last(&self, path: &str) -> (HeaderMap, String) {
        self.pages.lock().unwrap()[path].asked.last().unwrap().clone()
    }

    pub(crate) fn trusted(&self) -> impl FnOnce(&mut Config) {
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

/// Who signs tokens.
pub(crate) struct Signer {
    pub(crate) id: &'static str,
    pub(crate) key: EcdsaKeyPair,
}

impl Signer {
    pub(crate) fn new(id: &'static str) -> Self {
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

    pub(crate) fn sign(&self, algorithm: &str, claims: &Value) -> String {
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
    pub(crate) fn token(&self, site: &Site, change: impl FnOnce(&mut Value)) -> String {
        let mut claims =
            json!({"iss": site.issuer(), "aud": ["other", "seawall"], "sub": "user-1", "tenant": "t", "exp": from_now(60)});
        change(&mut claims);
        self.sign("ES256", &claims)
    }
}

/// So many seconds from now, as tokens have times.
pub(crate) fn from_now(seconds: i64) -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap() + seconds
}
