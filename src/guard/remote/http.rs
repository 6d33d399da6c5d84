//! JSON over HTTP to the servers of a guard.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use serde::{Serialize, de::DeserializeOwned};

use super::failure::Failure;
use crate::connect::{Connector, root};

/// Largest answer: scores and a few words.
const MOST: usize = 4 << 20;

/// A client with its pool of connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<Connector, Full<Bytes>>,
    key: Option<(HeaderName, HeaderValue)>,
}

impl Http {
    pub(super) fn new(connector: Connector, key: Option<(HeaderName, HeaderValue)>) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector), key }
    }

    /// Whether the server answers `path` with success.
    pub(super) async fn ready(&self, base: &Uri, path: &str) -> Result<(), Failure> {
        self.call(Method::GET, base, path, Bytes::new()).await.map(drop)
    }

    pub(super) async fn post<A: DeserializeOwned>(&self, base: &Uri, path: &str, body: &impl Serialize) -> Result<A, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| Failure::Unfit(e.to_string()))?;
        let answer = self.call(Method::POST, base, path, body.into()).await?;
        serde_json::from_slice(&answer).map_err(|e| {
            // What stands there is not told: it may repeat the text.
            let (line, column) = (e.line(), e.column());
            Failure::Unfit(format!("answered {path} with what is no answer of this API (line {line}, column {column})"))
        })
    }

    async fn call(&self, method: Method, base: &Uri, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let unfit = |e: http::Error| Failure::Unfit(e.to_string());
        let uri = format!("{}{path}", base.to_string().trim_end_matches('/'));
        let mut request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, "application/json");
        if let Some((name, value)) = &self.key {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(unfit)?;
        let answer = self.client.request(request).await.map_err(|e| Failure::Unreachable(root(&e)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST).collect().await;
        let body = body.map_err(|e| Failure::Broken(format!("broke off its answer to {path}: {e}")))?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(refusal(status, path)) }
    }
}

/// What a status means. The body is not told: it may repeat the text.
fn refusal(status: StatusCode, path: &str) -> Failure {
    let hint = match status {
        StatusCode::TOO_MANY_REQUESTS => return Failure::Overloaded,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; check `remote.key`",
        StatusCode::NOT_FOUND => "; check `remote.urls` and `remote.model`",
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => "; its log says why",
        _ => "",
    };
    let why = format!("answered {path} with status {status}{hint}");
    if status.is_server_error() { Failure::Broken(why) } else { Failure::Unfit(why) }
}
