//! How a call is refused: in JSON to tools, and to people in words or by a way to sign in.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
        request::Parts,
        uri::PathAndQuery,
    },
    response::{IntoResponse as _, Redirect, Response},
};

use super::{
    origin::{is_api, is_foreign},
    sign_in, view,
};
use crate::{config::Role, console::Failure, review};

/// Why a call is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: Cow<'static, str>,
    /// When to try again.
    pub(super) wait: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<Cow<'static, str>>) -> Self {
        Self { status, why: why.into(), wait: None }
    }

    /// Nobody has signed in.
    pub(super) fn unknown() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "sign in at /review, or send a token as `authorization: Bearer TOKEN`")
    }

    /// Somebody has who may not do this.
    pub(super) fn role(has: Role, least: Role) -> Self {
        let (has, least) = (has.name(), least.name());
        Self::new(StatusCode::FORBIDDEN, format!("this takes the role `{least}`, and yours is `{has}`"))
    }

    /// Later, perhaps.
    pub(super) fn later(status: StatusCode, why: &'static str, wait: Duration) -> Self {
        Self { wait: Some(wait), ..Self::new(status, why) }
    }

    /// For who has made this call.
    pub(super) fn answer(self, call: &Parts) -> Response {
        let Self { status, why, wait } = self;
        let mut response = match status {
            _ if is_api(&call.uri) => Failure::new(status, why).into_response(),
            StatusCode::UNAUTHORIZED => return sign_in_first(call),
            _ => (status, view::notice(&why)).into_response(),
        };
        let more = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            more.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = wait {
            more.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        response
    }
}

/// Leads to the sign-in, and back from there.
fn sign_in_first(call: &Parts) -> Response {
    let here = call.uri.path_and_query().filter(|_| call.method.is_safe()).map_or(sign_in::HOME, PathAndQuery::as_str);
    // A link on another site leads here without the cookie, which browsers then withhold: the page asks for itself once more.
    if call.method.is_safe() && is_foreign(&call.headers) {
        return view::onward(here).into_response();
    }
    Redirect::to(&sign_in::address(here)).into_response()
}

impl From<review::Error> for Refusal {
    fn from(error: review::Error) -> Self {
        tracing::warn!(%error, "sessions cannot be read or written");
        Self::later(StatusCode::SERVICE_UNAVAILABLE, "the review store does not answer; try again", Duration::from_secs(1))
    }
}
