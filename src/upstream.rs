//! The LLM behind the proxy: one pool of connections, deadlines, and nothing sent but what was scanned.

use std::{error::Error as _, fs, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, uri::PathAndQuery};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{config, policy::Scanned};

/// Settings that no upstream can be reached with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(String);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No connection, or one that broke before the answer.
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("the upstream did not answer within {0} ms")]
    Slow(u128),
}

/// The upstream.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: Uri,
    response_timeout: Duration,
}

impl Upstream {
    /// The upstream of these settings; connects when it is first needed.
    ///
    /// # Errors
    /// No usable URL, or authorities that cannot be read.
    pub fn new(settings: &config::Upstream) -> Result<Self, Misconfigured> {
        if settings.url.is_empty() {
            return Err(Misconfigured("no upstream: pass --upstream https://api.openai.com, or set `upstream.url`".to_owned()));
        }
        let wrong = |why: &str| Misconfigured(format!("`upstream.url` {}: {why}", settings.url));
        let base: Uri = settings.url.parse().map_err(|e| wrong(&format!("{e}")))?;
        if !matches!(base.scheme_str(), Some("http" | "https")) || base.authority().is_none() {
            return Err(wrong("must be http://HOST or https://HOST, with a port and a path if need be"));
        }
        if base.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Misconfigured(
                "`upstream.url` must hold no user name or password: the client's own key goes through".to_owned(),
            ));
        }
        if base.query().is_some() {
            return Err(wrong("must have no query"));
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(Duration::from_millis(settings.connect_timeout_ms)));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls(settings)?).https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { client, base, response_timeout: Duration::from_millis(settings.response_timeout_ms) })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn base(&self) -> &Uri {
        &self.base
    }

    /// Sends a scanned body; headers must be fit for the upstream.
    ///
    /// # Errors
    /// No answer.
    pub async fn send(
        &self,
        method: Method,
        path: &PathAndQuery,
        headers: HeaderMap,
        body: Scanned,
    ) -> Result<Response<Incoming>, Failed> {
        self.call(method, path, headers, body.into_body().into()).await
    }

    /// Sends a call that carries no body.
    ///
    /// # Errors
    /// No answer.
    pub async fn pass(&self, method: Method, path: &PathAndQuery, headers: HeaderMap) -> Result<Response<Incoming>, Failed> {
        self.call(method, path, headers, Bytes::new()).await
    }

    async fn call(
        &self,
        method: Method,
        path: &PathAndQuery,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failed> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.uri_mut() = self.uri(path).map_err(|e| Failed::Unreachable(e.to_string()))?;
        let answer = tokio::time::timeout(self.response_timeout, self.client.request(request)).await;
        answer.map_err(|_| Failed::Slow(self.response_timeout.as_millis()))?.map_err(|e| Failed::Unreachable(root(&e)))
    }

    /// The upstream's address of a path: under the base's own path, which clients often repeat (`…/v1`).
    fn uri(&self, path: &PathAndQuery) -> Result<Uri, http::Error> {
        let prefix = self.base.path().trim_end_matches('/');
        let repeated = path.as_str().strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let full = if repeated { path.as_str().to_owned() } else { format!("{prefix}{path}") };
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(full.parse::<PathAndQuery>()?);
        Ok(Uri::from_parts(parts)?)
    }
}

fn tls(settings: &config::Upstream) -> Result<ClientConfig, Misconfigured> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| Misconfigured(e.to_string()))?;
    Ok(builder.with_root_certificates(authorities(settings)?).with_no_client_auth())
}

/// The system's authorities, and those of the PEM file that is named.
fn authorities(settings: &config::Upstream) -> Result<RootCertStore, Misconfigured> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &settings.ca_file {
        let wrong = |why: String| Misconfigured(format!("`upstream.ca_file` {}: {why}", file.display()));
        let pem = fs::read(file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let named: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))?;
        if named.is_empty() {
            return Err(wrong("holds no certificate".to_owned()));
        }
        for certificate in named {
            roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
    }
    // A machine without any authorities can still reach an http:// upstream.
    if roots.is_empty() && settings.url.starts_with("https:") {
        return Err(Misconfigured(
            "this machine has no certificate authorities: install ca-certificates, or set `upstream.ca_file`".to_owned(),
        ));
    }
    Ok(roots)
}

/// The innermost cause: what a person needs to read.
fn root(error: &hyper_util::client::legacy::Error) -> String {
    let mut cause = error.source();
    let mut told = error.to_string();
    while let Some(inner) = cause {
        told = inner.to_string();
        cause = inner.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(base: &str, path: &str) -> String {
        let settings = config::Upstream { url: base.into(), ..config::Upstream::default() };
        Upstream::new(&settings).unwrap().uri(&path.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn paths_go_under_the_base() {
        assert_eq!(uri("http://h:1", "/v1/chat/completions?a=1"), "http://h:1/v1/chat/completions?a=1");
        assert_eq!(uri("http://h/v1/", "/v1/chat/completions"), "http://h/v1/chat/completions");
        assert_eq!(uri("http://h/openai", "/v1/models"), "http://h/openai/v1/models");
        assert_eq!(uri("http://h/v1", "/v1beta/x"), "http://h/v1/v1beta/x");
    }

    #[test]
    fn unusable_urls_are_told() {
        for (url, told) in
            [("", "no upstream"), ("api.openai.com", "must be http"), ("ftp://x", "must be http"), ("http://x/?q", "no query")]
        {
            let settings = config::Upstream { url: url.into(), ..config::Upstream::default() };
            let error = Upstream::new(&settings).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
