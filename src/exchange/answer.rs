//! Every failure's answer: the one place where errors meet HTTP.

use http::{HeaderValue, Response, StatusCode, header};

use super::body::{Body, full};
use crate::{
    dialect::{DIALECTS, Dialect},
    guard::Unavailable,
    identity::{Exceeded, Unknown},
    review, upstream,
    wire::{
        body::Unread,
        encoding::Undecodable,
        frame::{Framing, Message},
        json::Malformed,
    },
};

/// Why an exchange ends without the upstream's answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody knows who calls.
    #[error("{0}")]
    Unidentified(Unknown),
    /// The caller asks for more than the limits allow.
    #[error("{0}")]
    Limited(Exceeded),
    /// As many calls are in flight as may be.
    #[error("{0} calls are in flight, as many as are served at once; try again")]
    Overloaded(usize),
    /// The path is none that is passed on.
    #[error("{method} {path} is not passed on: Seawall knows no chat API there, and `upstream.pass` does not list it")]
    UnknownPath {
        /// As asked.
        method: String,
        /// As asked.
        path: String,
    },
    /// The path is written so that servers could read it differently.
    #[error("the path is ambiguous: write it without `.` or `..` segments, `//`, `\\` and encoded dots and slashes")]
    AmbiguousPath,
    /// Servers could take it to be for different hosts.
    #[error("the request names more than one host: send one `host` header")]
    AmbiguousHost,
    /// A header would have the upstream do something else than what was judged.
    #[error(
        "the header `{0}` is not passed on, as it would have the upstream do something else than what was judged: leave it \
         out, or let the operator set or remove it in `upstream.set_headers` or `upstream.remove_headers`"
    )]
    Steering(String),
    /// The request's body did not come.
    #[error("request: {0}")]
    RequestBody(Unread),
    /// The request's body is encoded in a way that is not read.
    #[error("request: {0}")]
    RequestEncoding(Undecodable),
    /// The request cannot be read unambiguously.
    #[error("request: {0}")]
    Request(Malformed),
    /// No policy covers the call.
    #[error(
        "no policy covers this call, so nothing was passed on: the operator can widen the `[scope]` of a policy, or set \
         `policies.uncovered = \"allow\"`"
    )]
    Uncovered,
    /// A rule blocks the exchange and asks for an error.
    #[error("{0}")]
    Blocked(String),
    /// The guard could not judge it.
    #[error("{}, so nothing was passed on; try again", .0.public())]
    Unjudged(Unavailable),
    /// It holds what cannot be judged.
    #[error("content of type `{0}` cannot be judged and the policy does not let it pass (`on_unscorable`)")]
    Unscorable(String),
    /// What was flagged could not be recorded.
    #[error("the exchange was flagged and could not be recorded, so it was stopped; try again")]
    Unrecorded(review::Error),
    /// No answer from the upstream.
    #[error("{0}")]
    Upstream(upstream::Failed),
    /// The upstream's answer did not come.
    #[error("the upstream's answer: {0}")]
    ResponseBody(Unread),
    /// The upstream's answer is encoded in a way that is not read.
    #[error("the upstream's answer: {0}")]
    ResponseEncoding(Undecodable),
    /// The upstream's answer cannot be read, so it cannot be judged.
    #[error("the upstream answered {status} with what is no answer of this API ({why})")]
    Response {
        /// Its status.
        status: StatusCode,
        /// What is wrong.
        why: Malformed,
    },
}

impl Failure {
    /// Status and code.
    #[must_use]
    pub fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unidentified(Unknown::Unavailable) => (StatusCode::SERVICE_UNAVAILABLE, "identity_unavailable"),
            Self::Unidentified(Unknown::Missing | Unknown::Invalid(_)) => (StatusCode::UNAUTHORIZED, "invalid_api_key"),
            Self::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
            Self::Overloaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::UnknownPath { .. } => (StatusCode::NOT_FOUND, "unknown_path"),
            Self::AmbiguousPath => (StatusCode::BAD_REQUEST, "ambiguous_path"),
            Self::AmbiguousHost => (StatusCode::BAD_REQUEST, "ambiguous_host"),
            Self::Steering(_) => (StatusCode::BAD_REQUEST, "steering_header"),
            Self::RequestBody(unread) => match unread {
                Unread::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
                Unread::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
                Unread::Broken(_) => (StatusCode::BAD_REQUEST, "body_broken"),
            },
            Self::RequestEncoding(undecodable) => match undecodable {
                Undecodable::Unknown(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"),
                Undecodable::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
                Undecodable::Corrupt(_) => (StatusCode::BAD_REQUEST, "corrupt_encoding"),
            },
            Self::Request(_) => (StatusCode::BAD_REQUEST, "malformed_request"),
            Self::Uncovered => (StatusCode::FORBIDDEN, "no_policy"),
            Self::Blocked(_) => (StatusCode::BAD_REQUEST, "content_filter"),
            Self::Unjudged(_) => (StatusCode::SERVICE_UNAVAILABLE, "guard_unavailable"),
            Self::Unscorable(_) => (StatusCode::BAD_REQUEST, "unscorable_content"),
            Self::Unrecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "review_unavailable"),
            Self::Upstream(upstream::Failed::Unreachable(_) | upstream::Failed::Broken(_)) => {
                (StatusCode::BAD_GATEWAY, "upstream_unreachable")
            }
            Self::Upstream(upstream::Failed::Redirects(_)) => (StatusCode::BAD_GATEWAY, "upstream_redirects"),
            Self::Upstream(upstream::Failed::Resting) => (StatusCode::SERVICE_UNAVAILABLE, "upstream_unreachable"),
            Self::Upstream(upstream::Failed::Slow(_)) | Self::ResponseBody(Unread::TooSlow(_)) => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
            }
            // An error of the upstream stays that error; only its unreadable body is not passed on.
            Self::Response { status, .. } if status.is_client_error() || status.is_server_error() => {
                (*status, "upstream_unreadable")
            }
            Self::ResponseBody(Unread::TooLarge(_) | Unread::Broken(_)) | Self::ResponseEncoding(_) | Self::Response { .. } => {
                (StatusCode::BAD_GATEWAY, "upstream_unreadable")
            }
        }
    }

    /// Whether Seawall refused the exchange, rather than the upstream failing it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Upstream(_) | Self::ResponseBody(_))
    }

    /// The answer in the client's dialect.
    #[must_use]
    pub fn answer(&self, dialect: &dyn Dialect) -> Response<Body> {
        let (status, code) = self.kind();
        let mut answer = json(status, dialect.error(status, code, &self.to_string()));
        let wait = match self {
            Self::Limited(exceeded) => Some(exceeded.wait_s),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        };
        answer.headers_mut().extend(wait.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))));
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// The answer to an exchange that a mistake in this program ended. Its API is not known any more, so it is told in the shape that
/// most clients read.
#[must_use]
pub fn internal() -> Response<Body> {
    let (status, message) = (StatusCode::INTERNAL_SERVER_ERROR, "Seawall itself failed at this call; its log says where");
    let told = DIALECTS.first().map(|dialect| dialect.error(status, "internal_error", message));
    json(status, told.unwrap_or_default())
}

/// A whole JSON answer.
#[must_use]
pub fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A finished stream of events.
#[must_use]
pub fn events(framing: Framing, messages: &[Message]) -> Response<Body> {
    let mut answer = Response::new(full(framing.ending(messages, false)));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(framing.content_type()));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}
