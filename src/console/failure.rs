//! What the API says where it does not do what it was asked.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::answer;
use crate::review;

/// When to try again what the store could not do.
const SOON: Duration = Duration::from_secs(1);

/// Why a call of the API has failed.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    message: Cow<'static, str>,
    mistakes: Vec<String>,
    wait: Option<Duration>,
}

/// What tools are told of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Failed {
    /// What went wrong.
    error: Why,
}

#[derive(Serialize, JsonSchema)]
struct Why {
    /// For programs: always the same for the same status.
    code: &'static str,
    /// For people: what is wrong, and what to do.
    message: String,
    /// All that is wrong, one by one, where it is many things.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<String>,
}

impl Failure {
    /// A failure of this status, and what is wrong.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), mistakes: Vec::new(), wait: None }
    }

    /// The call itself cannot be understood.
    pub(super) fn unread(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What it is about is not there.
    pub(super) fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    /// The same, with all that is wrong.
    #[must_use]
    pub fn with(self, mistakes: Vec<String>) -> Self {
        Self { mistakes, ..self }
    }

    /// The same, to be tried again after a while.
    pub(super) fn later(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { status, message, mistakes, wait } = self;
        let mut response = answer(status, &Failed { error: Why { code: code(status), message: message.into(), mistakes } });
        if let Some(wait) = wait {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "invalid_request",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::CONFLICT => "conflict",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::UNPROCESSABLE_ENTITY => "invalid",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ => "internal_error",
    }
}

impl From<review::Error> for Failure {
    fn from(error: review::Error) -> Self {
        match error {
            review::Error::Store { .. } | review::Error::Spool { .. } | review::Error::Ended => {
                // Its address and what it says are for operators.
                tracing::warn!(%error, "the review store does not do what the API asks");
                let message = "the review store does not answer; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, message).later(Some(SOON))
            }
            review::Error::Gone(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            review::Error::Wrong { .. } | review::Error::Search(_) | review::Error::Values { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            review::Error::Row { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}
