//! What the admin listener serves to people who have signed in, and to tools that have a token: the API, and the reviewers' pages.
//!
//! All of it is one table of routes, each with the least role that it takes. A route without a role cannot be written down, and
//! the only ones open to all are those by which people sign in, and what these show.

mod api;
mod auth;
mod failure;
mod page;

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{self, MethodRouter},
};
use serde::Serialize;

pub use self::{
    api::{Asked, Input, Nothing, Output, Schemas, Tell, call},
    auth::{Auth, How, Reviewer, TooShort, password_hash},
    failure::Failure,
};
use crate::{config::Role, review::Store};

/// What every answer says to browsers, unless a route has said otherwise: nothing runs, loads or frames that is not this
/// server's own, and nothing is kept. A form's `origin` would be `null` under a stricter referrer policy.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// What the console stands on.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// The record.
    pub store: Store,
}

/// Who is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever has this role, or one that may more.
    Least(Role),
}

impl From<Role> for Access {
    fn from(role: Role) -> Self {
        Self::Least(role)
    }
}

/// A call that is served.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, in axum's form.
    pub path: &'static str,
    /// Who may make it.
    pub access: Access,
    handler: MethodRouter<Rooms>,
    /// What the API's document says of it; none of pages.
    told: Option<api::Operation>,
}

impl Route {
    /// A call that changes nothing.
    pub fn get<T: 'static>(path: &'static str, access: impl Into<Access>, handler: impl Handler<T, Rooms>) -> Self {
        Self { method: Method::GET, path, access: access.into(), handler: routing::get(handler), told: None }
    }

    /// A call that does something.
    pub fn post<T: 'static>(path: &'static str, access: impl Into<Access>, handler: impl Handler<T, Rooms>) -> Self {
        Self { method: Method::POST, path, access: access.into(), handler: routing::post(handler), told: None }
    }
}

/// All that is served.
#[derive(Debug, Clone)]
pub struct Console {
    rooms: Rooms,
    routes: Vec<Route>,
}

impl Console {
    /// The console, with these calls of other rooms besides its own.
    #[must_use]
    pub fn new(rooms: Rooms, more: impl IntoIterator<Item = Route>) -> Self {
        let routes = auth::routes().into_iter().chain(page::routes()).chain(api::routes()).chain(more);
        Self { rooms, routes: api::documented(routes.collect()) }
    }

    /// The table.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// What serves it.
    pub fn router(self) -> Router {
        let auth = Arc::clone(&self.rooms.auth);
        let add = |router: Router<Rooms>, Route { path, access, handler, .. }: Route| {
            let handler = match access {
                Access::Open => handler,
                Access::Least(role) => handler.route_layer(from_fn_with_state((Arc::clone(&auth), role), auth::admit)),
            };
            router.route(path, handler)
        };
        let router = self.routes.into_iter().fold(Router::new(), add).with_state(self.rooms);
        let router = router.fallback(missing).method_not_allowed_fallback(missing_there);
        router.layer(from_fn_with_state(auth, auth::own_calls)).layer(map_response(async |mut response: Response| {
            guard(response.headers_mut());
            response
        }))
    }
}

async fn missing(uri: Uri) -> Response {
    failed(&uri, StatusCode::NOT_FOUND, "there is no such call; /api/v1/openapi.json tells of all")
}

async fn missing_there(uri: Uri) -> Response {
    failed(&uri, StatusCode::METHOD_NOT_ALLOWED, "there is another method to this path; /api/v1/openapi.json tells which")
}

fn failed(uri: &Uri, status: StatusCode, why: &'static str) -> Response {
    if auth::is_api(uri) { Failure::new(status, why).into_response() } else { status.into_response() }
}

fn guard(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
}

/// An answer in JSON.
pub fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_string(body).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
