//! Sessions of browsers: the cookie, and what stands behind it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header::COOKIE};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest as _, Sha256};

use crate::identity::Secret;

/// A cookie that browsers show to no script, over no plain connection but to their own machine, and as `site` says.
#[derive(Debug, Clone, Copy)]
pub(in crate::console) struct Cookie {
    name: &'static str,
    path: &'static str,
    site: &'static str,
}

/// The session's. No other site's page or link makes a browser send it.
pub(super) const SESSION: Cookie = Cookie { name: "seawall_session", path: "/", site: "Strict" };
/// What an OpenID provider's answer must fit. It is of use to the way there and back only, which is a link on another site.
pub(super) const FLOW: Cookie = Cookie { name: "seawall_oidc", path: "/review/sign-in", site: "Lax" };
/// What was just done, told on the next page.
pub(in crate::console) const DONE: Cookie = Cookie { name: "seawall_done", path: "/review", site: "Strict" };

impl Cookie {
    /// What has the browser keep it.
    pub(in crate::console) fn set(self, value: &str, age: Duration) -> Option<HeaderValue> {
        let Self { name, path, site } = self;
        let text = format!("{name}={value}; Path={path}; Max-Age={}; HttpOnly; Secure; SameSite={site}", age.as_secs());
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// What has it forget it.
    pub(in crate::console) fn end(self) -> Option<HeaderValue> {
        self.set("", Duration::ZERO)
    }

    /// What the browser sent. Of two, as another site of the same domain may have planted one, none counts.
    pub(in crate::console) fn read(self, headers: &HeaderMap) -> Option<Secret> {
        let sent = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let mut own = sent.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == self.name);
        let (_, value) = own.next()?;
        (own.next().is_none() && !value.is_empty()).then(|| Secret::new(value))
    }
}

/// What a session rests on, in a form that may be stored: how somebody signed in, and a mark of what that was proven by.
pub(super) fn proof(how: &str, by: &str) -> String {
    let mark = HEXLOWER.encode(&Sha256::digest(by.as_bytes()));
    format!("{how}:{}", mark.get(..16).unwrap_or_default())
}

/// The session's token against forgery: it follows from the session's own, and does not lead back to it.
pub(super) fn csrf(token: &Secret) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(format!("csrf:{}", token.expose())))
}

/// Whether two secrets are the same, in a time that says nothing of where they differ.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    Sha256::digest(one.as_bytes()) == Sha256::digest(other.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies() {
        let set = SESSION.set("x", Duration::from_secs(60)).unwrap();
        assert_eq!(set, "seawall_session=x; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Strict");
        assert!(!format!("{set:?}").contains("=x"), "no log tells it");
        assert_eq!(SESSION.set("a\nb", Duration::ZERO), None);
        let read = |lines: &[&str]| {
            let headers: HeaderMap = lines.iter().map(|line| (COOKIE, line.parse().unwrap())).collect();
            SESSION.read(&headers).map(|value| value.expose().to_owned())
        };
        assert_eq!(read(&["a=b; seawall_session=x=y ;c"]).as_deref(), Some("x=y"));
        assert_eq!(read(&["a=b", "seawall_session=x"]).as_deref(), Some("x"));
        assert_eq!(read(&["seawall_session=x; seawall_session=y"]), None);
        assert_eq!(read(&["seawall_session=", "xseawall_session=x"]), None);
    }

    #[test]
    fn what_a_session_rests_on_says_nothing_of_the_password() {
        assert_eq!(proof("user", "abc"), "user:ba7816bf8f01cfea");
        assert!(is_same("a", "a") && !is_same("a", "b"));
    }
}
