//! A reviewer's call of a page: who they are, where they come from, and how a page or a redirect answers them.

use std::time::Duration;

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{REFERER, SET_COOKIE},
        request::Parts,
    },
    response::{IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    done::Done,
    layout::{Room, Shell, bare},
    query::Asked,
};
use crate::{
    config::Role,
    console::{Reviewer, auth::DONE},
    review::{Error, Exception},
};

/// The queue.
const HOME: &str = "/review";
/// How long a browser keeps what was just done, if no page comes to tell it.
const MOMENT: Duration = Duration::from_secs(30);

/// Who asks for a page.
pub(super) struct Visit {
    pub(super) reviewer: Reviewer,
    pub(super) now: Timestamp,
    /// What they just did.
    done: Option<Done>,
    /// The page that they come from, if it is one of these.
    from: Option<Uri>,
}

impl Visit {
    pub(super) fn name(&self) -> &str {
        &self.reviewer.name
    }

    pub(super) fn csrf(&self) -> &str {
        &self.reviewer.csrf
    }

    /// Whether they may decide.
    pub(super) fn decides(&self) -> bool {
        self.reviewer.role >= Role::Reviewer
    }

    /// Whether they may do what others may not.
    pub(super) fn is_admin(&self) -> bool {
        self.reviewer.role >= Role::Admin
    }

    /// A page for them.
    pub(super) fn page(self, room: Room, title: &str, main: &Markup) -> Response {
        let toast = self.done.clone().map(Done::toast);
        let shell = Shell {
            title,
            room,
            name: self.name(),
            role: self.reviewer.role.name(),
            admin: self.is_admin(),
            csrf: self.csrf(),
            done: toast.as_ref(),
        };
        let told = toast.as_ref().and_then(|_| DONE.end());
        with_cookie(shell.page(main).into_response(), told)
    }

    /// What the page that they come from asked.
    pub(super) fn asked(&self) -> Asked {
        Asked::new(self.from.as_ref().and_then(Uri::query).unwrap_or_default())
    }

    /// Leads back to where they come from, and tells there what was done.
    pub(super) fn back(&self, done: &Done) -> Response {
        let from = self.from.as_ref().and_then(Uri::path_and_query).map_or(HOME, |from| from.as_str());
        onward(from, done)
    }

    /// Whether they may remove an exception.
    pub(super) fn removes(&self, exception: &Exception) -> bool {
        self.is_admin() || (self.decides() && exception.created_by == self.name())
    }
}

/// Leads on to a page, and tells there what was done.
pub(super) fn onward(page: &str, done: &Done) -> Response {
    with_cookie(Redirect::to(page).into_response(), DONE.set(&done.told(), MOMENT))
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// The page of ours that a call comes from. Only its path and query are taken: nobody is led to another site.
fn from(headers: &HeaderMap) -> Option<Uri> {
    let from: Uri = headers.get(REFERER)?.to_str().ok()?.parse().ok()?;
    let path = from.path_and_query()?.path();
    let is_own = path == HOME || path.strip_prefix(HOME).is_some_and(|rest| rest.starts_with('/'));
    is_own.then(|| from.path_and_query()?.as_str().parse().ok()).flatten()
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Response;

    async fn from_request_parts(call: &mut Parts, state: &S) -> Result<Self, Response> {
        let reviewer = Reviewer::from_request_parts(call, state).await?;
        let done = DONE.read(&call.headers).and_then(|told| Done::read(told.expose()));
        Ok(Self { reviewer, now: Timestamp::now(), done, from: from(&call.headers) })
    }
}

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Failed {
    /// What it would show is not there.
    Missing,
    /// The record cannot be read.
    Unread,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Gone(_)) {
            return Self::Missing;
        }
        tracing::warn!(%error, "a page cannot be shown");
        Self::Unread
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let (status, title, words) = match self {
            Self::Missing => (StatusCode::NOT_FOUND, "No such case", "Nothing of this address is on record, or not any more."),
            Self::Unread => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The record cannot be read",
                "Try again in a moment. What is wrong stands in Seawall's log.",
            ),
        };
        (status, bare(title, &html! { p { (words) } })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        let from = |address: &'static str| {
            let headers = HeaderMap::from_iter([(REFERER, HeaderValue::from_static(address))]);
            from(&headers).map(|uri| uri.to_string())
        };
        assert_eq!(from("http://h:1/review?state=all").as_deref(), Some("/review?state=all"));
        assert_eq!(from("https://evil.example/review/cases/a").as_deref(), Some("/review/cases/a"));
        for other in ["http://h/reviewer", "http://h//evil.example", "http://h/api/v1", "x", "http://h/"] {
            assert_eq!(from(other), None, "{other}");
        }
    }
}
