//! Where calls come from. A browser that can reach this listener shows other sites' pages too, and any page in it could try: no
//! call passes that a page of another site can make.

use std::net::IpAddr;

use axum::http::{
    HeaderMap, Method, StatusCode, Uri,
    header::{CONTENT_TYPE, HOST, ORIGIN},
    uri::Authority,
};

use super::refusal::Refusal;

/// What a browser says of where a call comes from.
const SITE: &str = "sec-fetch-site";

/// The host that was asked for: HTTP/2 has it in the address.
pub(super) fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let named = || headers.get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    uri.authority().cloned().or_else(named)
}

/// Whether this is a host that leads to the browser's own machine.
pub(super) fn is_loopback(host: &Authority) -> bool {
    let host = host.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Whether a browser says that a page of another site, or a link in it, makes this call.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get(SITE).is_some_and(|site| site != "same-origin" && site != "none")
}

/// Lets pass what tools and this server's own pages send; `local` if the listener is reached from this machine only.
pub(super) fn check(local: bool, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let host = host(uri, headers);
    // A site may have its own name lead here, and then its pages are of this host to a browser.
    if local && !host.as_ref().is_some_and(is_loopback) {
        let why = "`host` must be `localhost` or a loopback address, as the admin listener's is";
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    }
    if method.is_safe() {
        return Ok(());
    }
    let is_own = |origin: &str| {
        let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        origin.zip(host.as_ref()).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host.as_str()))
    };
    if is_foreign(headers) || headers.get(ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(is_own)) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "the call comes from a page of another site"));
    }
    let kind = if is_api(uri) { "application/json" } else { FORM };
    if is_of(headers, kind) {
        return Ok(());
    }
    // A page can send other types to any site without being asked; for JSON a browser asks first, and is not answered.
    let why = format!("send `content-type: {kind}`, also without a body");
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
}

/// What forms send.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// Whether the body is of this type.
pub(super) fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let named = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    named.split(';').next().is_some_and(|named| named.trim().eq_ignore_ascii_case(kind))
}

/// Whether tools call this, not people.
pub(in crate::console) fn is_api(uri: &Uri) -> bool {
    uri.path().starts_with("/api/")
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    type Header = (&'static str, &'static str);

    fn checked(local: bool, method: &Method, path: &'static str, headers: &[Header]) -> u16 {
        let pair = |(name, value): &Header| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers: HeaderMap = headers.iter().map(pair).collect();
        check(local, method, &Uri::from_static(path), &headers).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    const JSON: Header = ("content-type", "application/json; charset=utf-8");
    const SENT: Header = ("content-type", FORM);

    #[test]
    fn no_page_of_another_site_changes_anything() {
        let host = ("host", "localhost:8081");
        let (api, page) = ("/api/v1/x", "/review/x");
        for (path, more, status) in [
            (api, vec![JSON], 200),
            (api, vec![], 415),
            (api, vec![("content-type", "text/plain")], 415),
            (api, vec![SENT], 415),
            (page, vec![SENT], 200),
            (page, vec![("content-type", "text/plain")], 415),
            (api, vec![JSON, ("origin", "http://localhost:8081"), (SITE, "same-origin")], 200),
            (page, vec![SENT, ("origin", "http://localhost:8081"), (SITE, "same-origin")], 200),
            (api, vec![JSON, ("origin", "http://evil.example")], 403),
            (page, vec![SENT, ("origin", "http://evil.example")], 403),
            (api, vec![JSON, ("origin", "http://localhost:9")], 403),
            (page, vec![SENT, ("origin", "null")], 403),
            (page, vec![SENT, (SITE, "cross-site")], 403),
            (api, vec![JSON, (SITE, "same-site")], 403),
        ] {
            let headers: Vec<_> = [host].into_iter().chain(more).collect();
            assert_eq!(checked(true, &Method::POST, path, &headers), status, "{path} {headers:?}");
        }
    }

    #[test]
    fn no_name_of_another_site_leads_here() {
        for host in ["127.0.0.1:8081", "localhost", "LOCALHOST:1", "[::1]:8081", "127.9.9.9"] {
            assert_eq!(checked(true, &Method::GET, "/review", &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "@"] {
            assert_eq!(checked(true, &Method::GET, "/review", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(checked(true, &Method::GET, "/review", &[]), 403);
        let named = [("host", "seawall.internal:8081")];
        assert_eq!(checked(false, &Method::GET, "/review", &named), 200, "it has a name of its own");
        // HTTP/2 has no `host`.
        assert_eq!(checked(true, &Method::GET, "https://localhost/review", &[]), 200);
        assert_eq!(checked(true, &Method::GET, "https://evil.example/review", &[("host", "localhost")]), 403);
    }
}
