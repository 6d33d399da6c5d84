//! What issuers of tokens are asked.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::connect::{Connector, root};

/// Largest answer.
const MOST: usize = 1 << 20;
/// Time for one question.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Asks over HTTP.
#[derive(Debug)]
pub(super) struct Fetch(Client<Connector, Full<Bytes>>);

impl Fetch {
    pub(super) fn new(connector: Connector) -> Self {
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    pub(super) async fn get(&self, at: &Uri) -> Result<Bytes, String> {
        self.ask(at, Request::get(at.clone()), Bytes::new()).await
    }

    /// Sends a form, and says by this `authorization` who does.
    pub(super) async fn post(&self, at: &Uri, authorization: Option<&str>, form: String) -> Result<Bytes, String> {
        let mut request = Request::post(at.clone()).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.ask(at, request, form.into()).await
    }

    async fn ask(&self, at: &Uri, request: http::request::Builder, body: Bytes) -> Result<Bytes, String> {
        let request = request.header(header::ACCEPT, "application/json").body(Full::new(body)).map_err(|e| e.to_string())?;
        let asked = async {
            let answer = self.0.request(request).await.map_err(|e| format!("{at}: {}", root(&e)))?;
            if !answer.status().is_success() {
                return Err(format!("{at} answered with status {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), MOST).collect().await;
            body.map(|body| body.to_bytes()).map_err(|e| format!("{at}: {e}"))
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.unwrap_or_else(|_| Err(format!("{at}: no answer within {} s", PATIENCE.as_secs())))
    }
}
