//! Signing in and out.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Form,
    extract::{ConnectInfo, Query, State},
    http::{
        HeaderMap, StatusCode, Uri,
        header::{RETRY_AFTER, SET_COOKIE},
    },
    response::{IntoResponse, Redirect, Response},
};
use data_encoding::BASE64URL_NOPAD;
use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::json;

use super::{
    Auth, How, Reviewer,
    oidc::Flow,
    origin,
    refusal::Refusal,
    session::{FLOW, SESSION},
    view,
};
use crate::{
    config::{OIDC_DONE, Role},
    console::{Access, Rooms, Route, answer},
    identity::Secret,
};

/// Where people sign in.
pub(super) const PATH: &str = "/review/sign-in";
/// Where they sign in elsewhere.
const PROVIDER: &str = "/review/sign-in/oidc";
/// Where they are afterwards, unless they were on their way to another page.
pub(super) const HOME: &str = "/review";
/// Time for signing in at a provider.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest name, password and way back, in bytes.
const LONGEST: usize = 4_096;

const WRONG: &str = "No such name and password.";
const PLAIN: &str = "Browsers keep no sign-in over a plain connection, and the password could be read on its way: open this page \
    over https ([admin.tls] in seawall.toml), or on the machine itself by a loopback address such as http://127.0.0.1:8081/review.";
const LATER: &str = "Too many tries have failed. Wait a while.";
const FAILED: &str = "The provider did not sign you in. The log says why.";

/// The calls.
pub(in crate::console) fn routes() -> [Route; 6] {
    [
        Route::get(PATH, Access::Open, show),
        Route::post(PATH, Access::Open, by_password),
        Route::get(PROVIDER, Access::Open, go_to_provider),
        Route::get(OIDC_DONE, Access::Open, come_from_provider),
        Route::post("/review/sign-out", Role::Viewer, sign_out),
        Route::get("/api/v1/me", Role::Viewer, me),
    ]
}

/// The sign-in that leads on to this page.
pub(super) fn address(next: &str) -> String {
    with_next(PATH, next)
}

/// The provider's sign-in that leads on to this page.
pub(super) fn at_provider(next: &str) -> String {
    with_next(PROVIDER, next)
}

fn with_next(path: &str, next: &str) -> String {
    format!("{path}?{}", Serializer::new(String::new()).append_pair("next", next).finish())
}

/// Where to go on to.
#[derive(Deserialize)]
struct Onward {
    next: Option<String>,
}

impl Onward {
    /// Never to another site, whatever is named.
    fn page(&self) -> &str {
        let is_own = |next: &&str| {
            let path = next.split(['?', '#']).next().unwrap_or_default();
            let is_inside = path == HOME || path.strip_prefix(HOME).is_some_and(|rest| rest.starts_with('/'));
            is_inside && next.len() <= LONGEST && !next.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\')
        };
        self.next.as_deref().filter(is_own).unwrap_or(HOME)
    }
}

#[derive(Deserialize)]
struct Given {
    name: String,
    password: String,
    next: Option<String>,
}

/// Whether a browser keeps our cookies on this connection: over TLS, here or at a server before this one, or from its own machine.
fn is_kept(auth: &Auth, uri: &Uri, headers: &HeaderMap) -> bool {
    auth.is_tls
        || headers.get("x-forwarded-proto").is_some_and(|protocol| protocol == "https")
        || origin::host(uri, headers).as_ref().is_some_and(origin::is_loopback)
}

fn again(auth: &Auth, status: StatusCode, why: &str, onward: &Onward) -> Response {
    (status, view::sign_in(auth.ways(), Some(why), onward.page())).into_response()
}

fn later(auth: &Auth, wait: Duration, onward: &Onward) -> Response {
    let mut response = again(auth, StatusCode::TOO_MANY_REQUESTS, LATER, onward);
    response.headers_mut().insert(RETRY_AFTER, (wait.as_secs() + 1).into());
    response
}

async fn show(State(Rooms { auth, .. }): State<Rooms>, Query(onward): Query<Onward>, uri: Uri, headers: HeaderMap) -> Response {
    if is_kept(&auth, &uri, &headers) {
        return view::sign_in(auth.ways(), None, onward.page()).into_response();
    }
    (StatusCode::FORBIDDEN, view::notice(PLAIN)).into_response()
}

async fn by_password(
    State(Rooms { auth, .. }): State<Rooms>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    Form(Given { name, password, next }): Form<Given>,
) -> Result<Response, Refusal> {
    let (password, onward) = (Secret::new(password), Onward { next });
    if !is_kept(&auth, &uri, &headers) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, PLAIN));
    }
    if name.len().max(password.expose().len()) > LONGEST {
        return Ok(again(&auth, StatusCode::FORBIDDEN, WRONG, &onward));
    }
    let attempt = match auth.throttle.begin(Some(&name), peer.ip()) {
        Ok(attempt) => attempt,
        Err(wait) => return Ok(later(&auth, wait, &onward)),
    };
    let Ok(found) = auth.users.find(&name, password).await else {
        return Ok(later(&auth, Duration::from_secs(1), &onward));
    };
    let Some(user) = found else {
        auth.failed(&name, "password").await?;
        return Ok(again(&auth, StatusCode::FORBIDDEN, WRONG, &onward));
    };
    attempt.succeeded();
    let cookie = auth.begin(&headers, &name, None, user.proof()).await?;
    Ok(([(SET_COOKIE, cookie)], Redirect::to(onward.page())).into_response())
}

async fn go_to_provider(
    State(Rooms { auth, .. }): State<Rooms>,
    Query(onward): Query<Onward>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Some(provider) = auth.provider.as_ref().filter(|_| is_kept(&auth, &uri, &headers)) else {
        return Ok(Redirect::to(&address(onward.page())).into_response());
    };
    let flow = Flow::new().map_err(|why| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why))?;
    match provider.begin(&flow).await {
        Ok(there) => {
            let kept = format!("{}.{}", flow.keep(), BASE64URL_NOPAD.encode(onward.page().as_bytes()));
            let cookie = FLOW.set(&kept, PATIENCE).map(|cookie| [(SET_COOKIE, cookie)]);
            Ok((cookie.into_iter().flatten().collect::<HeaderMap>(), Redirect::to(&there)).into_response())
        }
        Err(error) => {
            tracing::warn!(error, "nobody can sign in at the provider of `[admin.oidc]` now");
            Ok(again(&auth, StatusCode::SERVICE_UNAVAILABLE, FAILED, &onward))
        }
    }
}

/// What a provider sends a browser back with.
#[derive(Deserialize)]
struct Answered {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
}

async fn come_from_provider(
    State(Rooms { auth, .. }): State<Rooms>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(answered): Query<Answered>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (flow, onward) = match FLOW.read(&headers).as_ref().and_then(|kept| kept.expose().split_once('.')) {
        Some((secret, next)) => {
            let next = BASE64URL_NOPAD.decode(next.as_bytes()).ok().and_then(|next| String::from_utf8(next).ok());
            (Some(Flow::kept(Secret::new(secret))), Onward { next })
        }
        None => (None, Onward { next: None }),
    };
    let mut response = finish(&auth, peer, flow, answered, (&headers, &onward)).await?;
    response.headers_mut().extend(FLOW.end().map(|end| (SET_COOKIE, end)));
    Ok(response)
}

async fn finish(
    auth: &Auth,
    peer: SocketAddr,
    flow: Option<Flow>,
    Answered { code, state, error }: Answered,
    (headers, onward): (&HeaderMap, &Onward),
) -> Result<Response, Refusal> {
    let failed = |why: &str| again(auth, StatusCode::FORBIDDEN, why, onward);
    let (Some(provider), Some(flow)) = (&auth.provider, flow) else {
        return Ok(failed("The sign-in took too long: try again."));
    };
    if !flow.is_answered(&state.unwrap_or_default()) {
        return Ok(failed("This is the answer to another sign-in: try again."));
    }
    let Some(code) = code else {
        tracing::info!(error, "the provider of `[admin.oidc]` has refused a sign-in");
        return Ok(failed(FAILED));
    };
    let attempt = match auth.throttle.begin(None, peer.ip()) {
        Ok(attempt) => attempt,
        Err(wait) => return Ok(later(auth, wait, onward)),
    };
    let person = match provider.finish(&flow, &code).await {
        Ok(person) => person,
        Err(error) => {
            tracing::warn!(error, "a sign-in at the provider of `[admin.oidc]` does not hold");
            auth.failed("", "oidc").await?;
            return Ok(failed(FAILED));
        }
    };
    // What it calls somebody must not pass for somebody of ours in the records.
    if auth.is_named(&person.name) {
        auth.failed(&person.name, "oidc").await?;
        return Ok(failed("Somebody in the settings has your name: ask an operator to change it."));
    }
    attempt.succeeded();
    let cookie = auth.begin(headers, &person.name, Some(person.role), provider.proof()).await?;
    Ok(([(SET_COOKIE, cookie)], view::onward(onward.page())).into_response())
}

async fn sign_out(State(Rooms { auth, .. }): State<Rooms>, reviewer: Reviewer) -> Result<Response, Refusal> {
    if let How::Session(id) = &reviewer.how {
        auth.end(&reviewer.name, id).await?;
    }
    let end = SESSION.end().map(|end| (SET_COOKIE, end));
    Ok((end.into_iter().collect::<HeaderMap>(), Redirect::to(PATH)).into_response())
}

async fn me(Reviewer { name, role, csrf, .. }: Reviewer) -> Response {
    answer(StatusCode::OK, &json!({"name": name, "role": role, "csrf": csrf}))
}

/// Of pages only: the API has no such calls.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, view::notice(&self.why)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        let onward = |next: &str| Onward { next: Some(next.to_owned()) }.page().to_owned();
        for next in ["/review", "/review/case/1?a=b&c=%2F", "/review?state=open#x"] {
            assert_eq!(onward(next), next);
            assert!(address(next).starts_with("/review/sign-in?next=%2Freview"));
        }
        for next in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/review",
            "/reviewer",
            "/api/v1/policy",
            "/review\\x",
            "/review/\n",
        ] {
            assert_eq!(onward(next), HOME, "{next}");
        }
    }
}
