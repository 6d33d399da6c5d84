//! The LLM behind the proxy: pools of connections, deadlines, and nothing sent but what was scanned.
//!
//! A call is made once. One that meets a kept connection which the upstream had closed, so that nothing of it was sent, goes to
//! another; that is `hyper_util`'s own doing.

mod breaker;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use thread_local::ThreadLocal;

use self::breaker::Breaker;

pub use crate::connect::Misconfigured;
use crate::{
    config,
    connect::{self, Connector, Version, address, connector, root},
    policy::Scanned,
    wire::json::Document,
};

/// Headers that carry a client's key in one of the APIs, and the query's field that does.
static CREDENTIALS: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    HeaderName::from_static("ocp-apim-subscription-key"),
];
const KEY_FIELDS: [&str; 4] = ["key", "api-key", "access_token", "subscription-key"];

/// How often a connection with HTTP/2 is asked whether it lives.
const PING: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No connection.
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(String),
    /// No connection lately, so none was tried.
    #[error("the upstream could not be reached lately and is left alone for a moment; try again")]
    Resting,
    /// The connection broke before the answer, or what came is no answer.
    #[error("the upstream broke off before its answer, or answered with what is no HTTP: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("the upstream did not answer within {0} ms")]
    Slow(u128),
    /// It sends the client elsewhere, where nothing would be judged.
    #[error(
        "the upstream answered with a redirect ({0}), which is not passed on: the operator can set the `url` where it leads"
    )]
    Redirects(StatusCode),
}

/// The upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Each thread has connections of its own: an answer that comes in on another's would have to be handed over.
    clients: ThreadLocal<Client<Connector, Full<Bytes>>>,
    connector: Connector,
    breaker: Breaker,
    base: Uri,
    response_timeout: Duration,
    headers: Headers,
    race: bool,
    /// Largest whole answer, and largest text of a stream, in bytes.
    pub max_answer: usize,
    /// Longest silence within an answer.
    pub idle: Duration,
}

/// What is done to a call's headers.
#[derive(Debug, Clone)]
struct Headers {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    /// Whether the client's own key stays behind.
    keyed: bool,
}

impl Upstream {
    /// The upstream of these settings, which stand in the section `section`; connects when it is first needed.
    ///
    /// # Errors
    /// No usable URL, headers or key, or files that cannot be read.
    pub fn new(settings: &config::Upstream, section: &str) -> Result<Self, Misconfigured> {
        if settings.url.is_empty() {
            let flag = if section == "upstream" { "pass --upstream https://api.openai.com, or " } else { "" };
            return Err(Misconfigured(format!("no upstream: {flag}set `{section}.url`")));
        }
        let base = address(&settings.url, section, "url")?;
        let reached = connect::Settings {
            section,
            secure: base.scheme_str() == Some("https"),
            ca_file: settings.ca_file.as_deref(),
            client: [settings.client_cert_file.as_deref(), settings.client_key_file.as_deref()],
            timeout: Duration::from_millis(settings.connect_timeout_ms),
        };
        let connector = connector(reached, if settings.http2 { Version::Either } else { Version::Http1 })?;
        let response_timeout = Duration::from_millis(settings.response_timeout_ms);
        let headers = Headers::new(settings).map_err(|(key, why)| Misconfigured(format!("`{section}.{key}` {why}")))?;
        Ok(Self {
            clients: ThreadLocal::new(),
            connector,
            breaker: Breaker::new(),
            base,
            response_timeout,
            headers,
            race: settings.race,
            max_answer: settings.max_body_bytes,
            idle: Duration::from_millis(settings.idle_timeout_ms),
        })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn base(&self) -> &Uri {
        &self.base
    }

    /// Whether the operator removes the client's header of this name, or puts another in its place.
    #[must_use]
    pub fn replaces(&self, header: &str) -> bool {
        let set = self.headers.set.iter().map(|(name, _)| name);
        self.headers.remove.iter().chain(set).any(|name| name == header)
    }

    /// Whether calls start while their prompt is still being judged.
    #[must_use]
    pub fn races(&self) -> bool {
        self.race
    }

    /// Sends a body that is still being judged, which only race mode does: the answer must wait for the verdict.
    ///
    /// # Errors
    /// No answer.
    pub async fn race(
        &self,
        method: Method,
        path: &PathAndQuery,
        headers: HeaderMap,
        body: &Document,
    ) -> Result<Response<Incoming>, Failed> {
        self.call(method, path, headers, body.text().to_owned().into()).await
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
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failed> {
        self.headers.apply(&mut headers);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.uri_mut() = self.uri(path).map_err(|e| Failed::Unreachable(e.to_string()))?;
        if !self.breaker.allows() {
            return Err(Failed::Resting);
        }
        let answer = tokio::time::timeout(self.response_timeout, self.client().request(request)).await;
        match answer.map_err(|_| Failed::Slow(self.response_timeout.as_millis()))? {
            Ok(answer) => {
                if self.breaker.found() {
                    tracing::info!(upstream = %self.base, "the upstream can be reached again");
                }
                match answer.status() {
                    status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => Err(Failed::Redirects(status)),
                    _ => Ok(answer),
                }
            }
            Err(error) if error.is_connect() => {
                if self.breaker.missed() {
                    tracing::error!(upstream = %self.base, error = root(&error), "the upstream cannot be reached: calls are refused");
                }
                Err(Failed::Unreachable(root(&error)))
            }
            Err(error) => Err(Failed::Broken(root(&error))),
        }
    }

    fn client(&self) -> &Client<Connector, Full<Bytes>> {
        self.clients.get_or(|| {
            let mut builder = Client::builder(TokioExecutor::new());
            // All calls of a thread would wait on a connection with HTTP/2 that has died in silence.
            builder.timer(TokioTimer::new()).http2_keep_alive_interval(Some(PING));
            builder.pool_timer(TokioTimer::new()).build(self.connector.clone())
        })
    }

    /// The upstream's address of a path: under the base's own path, which clients often repeat (`…/v1`).
    fn uri(&self, path: &PathAndQuery) -> Result<Uri, http::Error> {
        let prefix = self.base.path().trim_end_matches('/');
        let is_whole = path.as_str().strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(if is_whole && !self.headers.keyed {
            path.clone()
        } else {
            let path = if self.headers.keyed { without_key(path.as_str()) } else { path.as_str().to_owned() };
            if is_whole { path.parse()? } else { format!("{prefix}{path}").parse()? }
        });
        Ok(Uri::from_parts(parts)?)
    }
}

impl Headers {
    fn new(settings: &config::Upstream) -> Result<Self, (&'static str, String)> {
        let name = |key: &'static str, name: &str| {
            name.parse::<HeaderName>().map_err(|_| (key, format!("`{name}` is no name of a header")))
        };
        let remove = settings.remove_headers.iter().map(|own| name("remove_headers", own)).collect::<Result<_, _>>()?;
        let mut set = Vec::new();
        for (own, text) in &settings.set_headers {
            set.push(connect::header(own, text).map_err(|why| ("set_headers", why))?);
        }
        if let Some(key) = &settings.key {
            let secret = key.value().map_err(|why| ("key", why))?;
            set.push(connect::header(&key.header, &secret).map_err(|why| ("key", why))?);
        }
        Ok(Self { remove, set, keyed: settings.key.is_some() })
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        if self.keyed {
            for name in &CREDENTIALS {
                headers.remove(name);
            }
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}

/// A path without the key that its query holds.
fn without_key(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let is_kept = |field: &&str| {
        let name = field.split('=').next().unwrap_or_default().to_ascii_lowercase();
        // A name that is written in codes hides what it is.
        !KEY_FIELDS.contains(&name.as_str()) && !name.starts_with("x-amz-") && !name.contains('%')
    };
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn uri(base: &str, path: &str) -> String {
        let settings = config::Upstream { url: base.into(), ..config::Upstream::default() };
        Upstream::new(&settings, "upstream").unwrap().uri(&path.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn paths_go_under_the_base() {
        assert_eq!(uri("http://h:1", "/v1/chat/completions?a=1"), "http://h:1/v1/chat/completions?a=1");
        assert_eq!(uri("http://h/v1/", "/v1/chat/completions"), "http://h/v1/chat/completions");
        assert_eq!(uri("http://h/openai", "/v1/models"), "http://h/openai/v1/models");
        assert_eq!(uri("http://h/v1", "/v1beta/x"), "http://h/v1/v1beta/x");
    }

    #[test]
    fn a_key_of_ours_takes_the_clients_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, " s3cret\n").unwrap();
        let key = |header: &str| config::Key { env: None, file: Some(file.clone()), header: header.into(), prefix: None };
        let headers = |settings: &config::Upstream| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("authorization", "Bearer client"), ("x-api-key", "client"), ("x-team", "1"), ("x-kept", "1")]
            {
                headers.insert(name, HeaderValue::from_static(value));
            }
            Upstream::new(settings, "upstream").unwrap().headers.apply(&mut headers);
            let mut told: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            told.sort();
            told
        };
        let mut settings = config::Upstream { url: "http://h".into(), ..config::Upstream::default() };
        settings.remove_headers = vec!["X-Team".into()];
        settings.set_headers = [("x-kept".to_owned(), "2".to_owned())].into();
        assert_eq!(headers(&settings), ["authorization: Bearer client", "x-api-key: client", "x-kept: 2"]);
        settings.key = Some(key("authorization"));
        assert_eq!(headers(&settings), ["authorization: Bearer s3cret", "x-kept: 2"]);
        settings.key = Some(key("api-key"));
        assert_eq!(headers(&settings), ["api-key: s3cret", "x-kept: 2"]);
        let debug = format!("{:?}", Upstream::new(&settings, "upstream").unwrap());
        assert!(!debug.contains("s3cret"), "{debug}");
        let path = Upstream::new(&settings, "upstream").unwrap().uri(&"/v1/x?key=client&alt=sse".parse().unwrap()).unwrap();
        assert_eq!(path.to_string(), "http://h/v1/x?alt=sse");
        settings.key = Some(config::Key { file: Some(dir.path().join("none")), ..key("api-key") });
        assert!(Upstream::new(&settings, "upstreams.a").unwrap_err().to_string().starts_with("`upstreams.a.key` "));
    }

    #[test]
    fn unusable_urls_are_told() {
        for (url, told) in
            [("", "no upstream"), ("api.openai.com", "must be http"), ("ftp://x", "must be http"), ("http://x/?q", "no query")]
        {
            let settings = config::Upstream { url: url.into(), ..config::Upstream::default() };
            let error = Upstream::new(&settings, "upstream").unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        for url in ["ftp://ana:s3cret@x", "http://ana:s3cret@x y", "http://ana:s3cret@x", "http://x/?key=s3cret"] {
            let settings = config::Upstream { url: url.into(), ..config::Upstream::default() };
            let error = Upstream::new(&settings, "upstream").unwrap_err().to_string();
            assert!(error.starts_with("`upstream.url`") && !error.contains("s3cret"), "{error}");
        }
    }
}
