//! Who may use the console: people who have signed in, and tools that have a token.
//!
//! People sign in with a password or at an OpenID Connect provider, and then have a session: 256 bits of chance in a cookie, of
//! which the store has only the hash. A session holds as long as what it rests on: it ends by age, by idleness, by signing out,
//! when its user is taken out of the settings or has another password, and when the provider is. What a local user may do is
//! looked up at each call.

mod oidc;
mod origin;
mod refusal;
mod session;
mod sign_in;
#[cfg(test)]
mod tests;
mod throttle;
mod users;
mod view;

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::AUTHORIZATION, request::Parts},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) use self::origin::is_api;
pub use self::users::{TooShort, password_hash};
use self::{
    oidc::Provider,
    refusal::Refusal,
    session::{SESSION, csrf},
    throttle::Throttle,
    users::Users,
    view::Ways,
};
pub(super) use self::{session::DONE, sign_in::routes};
use crate::{
    config::{self, Role},
    connect::Misconfigured,
    identity::{chance, hash},
    review::{Action, Session, Store},
};

/// Where scripts put the session's token against forgery; forms have it in the field `csrf`.
const CSRF: HeaderName = HeaderName::from_static("seawall-csrf");
/// Largest form.
const FORM: usize = 1 << 20;

/// Knows who may do what.
#[derive(Debug)]
pub struct Auth {
    users: Users,
    /// Tools, by the hashes of their tokens.
    tokens: HashMap<String, (String, Role)>,
    provider: Option<Provider>,
    throttle: Throttle,
    store: Store,
    /// The longest that a session lasts, and without any call.
    age: [Duration; 2],
    /// Whether the listener speaks TLS.
    is_tls: bool,
    /// Whether it is reached from this machine only.
    is_local: bool,
}

/// Who makes a call.
#[derive(Debug, Clone)]
pub struct Reviewer {
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// What forms and scripts of the session send back, so that no other site's can act in its name; tools need none.
    pub csrf: String,
    /// How that is known.
    pub how: How,
}

/// How somebody is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// By a session: its id, which does not open it.
    Session(String),
    /// By a token.
    Token,
}

impl Auth {
    /// As these settings say; `is_local` if the listener is reached from this machine only.
    ///
    /// # Errors
    /// Hashes, addresses or secrets that cannot be used.
    pub async fn new(settings: &config::Admin, is_local: bool, store: Store) -> Result<Self, Misconfigured> {
        let users = Users::new(&settings.users)?;
        let tokens = settings.tokens.iter().map(|token| (token.hash.to_lowercase(), (token.name.clone(), token.role)));
        let provider = match &settings.oidc {
            Some(settings) => Some(Provider::new(settings).await?),
            None => None,
        };
        let age = [settings.session_h.saturating_mul(60), settings.session_idle_m].map(Duration::from_mins);
        let (tokens, is_tls) = (tokens.collect(), settings.tls.is_some());
        if !is_tls && !is_local {
            tracing::warn!("the admin listener is reached from other machines without TLS: tokens can be read on their way");
        }
        Ok(Self { users, tokens, provider, throttle: Throttle::default(), store, age, is_tls, is_local })
    }

    fn ways(&self) -> Ways {
        Ways { password: !self.users.is_empty(), oidc: self.provider.is_some() }
    }

    /// Whether this is the name of a user or a tool in the settings.
    fn is_named(&self, name: &str) -> bool {
        self.users.get(name).is_some() || self.tokens.values().any(|(own, _)| own == name)
    }

    /// Who makes a call with these headers.
    async fn reviewer(&self, headers: &HeaderMap) -> Result<Reviewer, Refusal> {
        // The first credential tells, be it good or bad: to go on to the next would hide a mistake.
        if let Some(sent) = headers.get(AUTHORIZATION) {
            let token = sent.to_str().ok().and_then(|sent| sent.split_once(' '));
            let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| hash(token.trim()));
            let (name, role) = token.and_then(|token| self.tokens.get(&token)).cloned().ok_or_else(Refusal::unknown)?;
            return Ok(Reviewer { name, role, csrf: String::new(), how: How::Token });
        }
        let token = SESSION.read(headers).ok_or_else(Refusal::unknown)?;
        let (id, [_, idle]) = (hash(token.expose()), self.age);
        let session = self.store.session_find(&id, now(), millis(idle)).await?.ok_or_else(Refusal::unknown)?;
        let role = self.role(&session).ok_or_else(Refusal::unknown)?;
        Ok(Reviewer { name: session.name, role, csrf: csrf(&token), how: How::Session(id) })
    }

    /// What the one whose session this is may do, if what it rests on still holds.
    fn role(&self, Session { name, role, proof, .. }: &Session) -> Option<Role> {
        let Some(vouched) = role else {
            return self.users.get(name).filter(|user| user.proof() == *proof).map(|user| user.role);
        };
        let vouched = Role::ALL.into_iter().find(|role| role.name() == vouched);
        vouched.filter(|_| self.provider.as_ref().is_some_and(|provider| provider.proof() == *proof) && !self.is_named(name))
    }

    /// Begins a session, in place of the one that the browser has: the cookie for it. `role` is that of somebody whom a provider
    /// vouches for.
    async fn begin(&self, headers: &HeaderMap, name: &str, role: Option<Role>, proof: String) -> Result<HeaderValue, Refusal> {
        let failed = |why: String| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why);
        if let Some(old) = SESSION.read(headers) {
            self.store.session_end(&hash(old.expose())).await?;
        }
        let token = chance().map_err(failed)?;
        let (now, [age, _]) = (now(), self.age);
        let (vouched, role) = (role.is_some(), role.map(|role| role.name().to_owned()));
        let expires_ms = now.saturating_add(millis(age));
        let session = Session { name: name.to_owned(), role, proof, created_ms: now, expires_ms };
        self.store.session_new(&hash(token.expose()), &session).await?;
        self.store.audit(name, Action::SignIn, None, &json!({"how": if vouched { "oidc" } else { "password" }})).await?;
        tracing::info!(name, "signed in");
        SESSION.set(token.expose(), age).ok_or_else(|| failed("the session's token is no header's value".to_owned()))
    }

    /// Ends a session.
    async fn end(&self, name: &str, id: &str) -> Result<(), Refusal> {
        self.store.session_end(id).await?;
        self.store.audit(name, Action::SignOut, None, &Value::Null).await?;
        tracing::info!(name, "signed out");
        Ok(())
    }

    /// Remembers a sign-in that failed. What is no known name is told to nobody: people type passwords there.
    async fn failed(&self, name: &str, how: &str) -> Result<(), Refusal> {
        let name = if self.is_named(name) { name } else { "unknown" };
        tracing::warn!(name, how, "a sign-in has failed");
        Ok(self.store.audit(name, Action::SignInFailed, None, &json!({"how": how})).await?)
    }
}

/// Lets pass what tools and this server's own pages send.
pub(super) async fn own_calls(State(auth): State<Arc<Auth>>, request: Request, next: Next) -> Response {
    let (call, body) = request.into_parts();
    match origin::check(auth.is_local, &call.method, &call.uri, &call.headers) {
        Ok(()) => next.run(Request::from_parts(call, body)).await,
        Err(refusal) => refusal.answer(&call),
    }
}

/// Lets pass whoever has this role, or one that may more.
pub(super) async fn admit(State((auth, least)): State<(Arc<Auth>, Role)>, request: Request, next: Next) -> Response {
    let (mut call, mut body) = request.into_parts();
    match admitted(&auth, least, &call, &mut body).await {
        Ok(reviewer) => {
            call.extensions.insert(reviewer);
            next.run(Request::from_parts(call, body)).await
        }
        Err(refusal) => refusal.answer(&call),
    }
}

async fn admitted(auth: &Auth, least: Role, call: &Parts, body: &mut Body) -> Result<Reviewer, Refusal> {
    let reviewer = auth.reviewer(&call.headers).await?;
    // What browsers send unasked proves no will: only our own pages know the token.
    if reviewer.how != How::Token && !call.method.is_safe() && !is_willed(&reviewer.csrf, call, body).await? {
        let why =
            "the page has grown old, or the call does not come from it: load it anew, or send its token as `seawall-csrf`";
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    }
    if reviewer.role < least { Err(Refusal::role(reviewer.role, least)) } else { Ok(reviewer) }
}

/// Whether a call carries the session's token against forgery.
async fn is_willed(csrf: &str, call: &Parts, body: &mut Body) -> Result<bool, Refusal> {
    if let Some(sent) = call.headers.get(CSRF) {
        return Ok(sent.to_str().is_ok_and(|sent| session::is_same(sent, csrf)));
    }
    if !origin::is_of(&call.headers, origin::FORM) {
        return Ok(false);
    }
    let read = to_bytes(std::mem::take(body), FORM).await;
    let read = read.map_err(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large, or broke off"))?;
    let is_willed = form_urlencoded::parse(&read).any(|(name, sent)| name == "csrf" && session::is_same(&sent, csrf));
    *body = read.into();
    Ok(is_willed)
}

/// A route that nobody had to sign in for has nobody.
impl<S: Sync> FromRequestParts<S> for Reviewer {
    type Rejection = Response;

    async fn from_request_parts(call: &mut Parts, _: &S) -> Result<Self, Response> {
        call.extensions.get::<Self>().cloned().ok_or_else(|| Refusal::unknown().answer(call))
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
