//! Which headers may cross the proxy.

use http::{HeaderMap, HeaderName, header};

// These lists are `static`: as constants they would be made anew for each header that is looked for in them.

/// Headers that belong to one connection (RFC 9110 §7.6.1) and never cross.
static HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What the proxy states anew.
static RESTATED: [HeaderName; 2] = [header::CONTENT_LENGTH, header::CONTENT_ENCODING];

/// What servers before Seawall say of the client, beside `x-forwarded-…`, or the client says of itself: an upstream that believes
/// Seawall would believe it, and where a client is is none of a foreign upstream's business.
static FORWARDED: [HeaderName; 5] = [
    header::FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
];

/// What an upstream says of its own host, which clients would take for Seawall's: some would go past it from then on.
static OF_ITS_HOST: [HeaderName; 2] = [header::ALT_SVC, header::STRICT_TRANSPORT_SECURITY];

/// Removes what belongs to the connection, also what its `connection` header names, what the proxy states anew (length and
/// encoding of the body, and Seawall's own headers), and what is `left` behind besides.
fn strip(headers: &mut HeaderMap, left: fn(&HeaderName) -> bool) {
    let named = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let stays = |name: &&HeaderName| {
        HOP_BY_HOP.contains(name) || RESTATED.contains(name) || name.as_str().starts_with("seawall-") || left(name)
    };
    let behind: Vec<HeaderName> = named.chain(headers.keys().filter(stays).cloned()).collect();
    for name in behind {
        headers.remove(name);
    }
}

/// Makes a client's headers fit for the upstream: end to end, for its host, with nothing of where the client is, and asking for
/// an answer that can be read.
pub fn for_upstream(headers: &mut HeaderMap) {
    strip(headers, |name| FORWARDED.contains(name) || is_forwarded(name.as_str()));
    headers.remove(header::HOST);
    headers.remove(header::EXPECT);
    headers.insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
    // What was read as JSON is JSON for the upstream too: under another type a server would read another text in it.
    if headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    }
}

/// Makes an upstream's headers fit for the client: end to end, and with nothing that leads past Seawall.
pub fn for_client(headers: &mut HeaderMap) {
    strip(headers, |name| OF_ITS_HOST.contains(name));
}

/// Whether a header is one of those that tell where a call came from; many servers read an underscore in a name as a hyphen.
fn is_forwarded(name: &str) -> bool {
    let rest = name.strip_prefix("x-").or_else(|| name.strip_prefix("x_"));
    rest.and_then(|rest| rest.strip_prefix("forwarded")).is_some_and(|rest| rest.starts_with(['-', '_']))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_end_to_end_headers_cross() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer k"),
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("seawall-decision", "allow"),
            ("host", "proxy"),
            ("accept-encoding", "gzip"),
            ("content-type", "application/x-www-form-urlencoded"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for_upstream(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "authorization", "content-type"]);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["accept-encoding"], "identity");
    }

    fn left(sent: &[(&'static str, &[u8])], fit: fn(&mut HeaderMap)) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        fit(&mut headers);
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn all_that_a_connection_names_stays_on_it() {
        let sent: &[(&str, &[u8])] = &[
            ("connection", b"keep-alive,\tX-One"),
            ("connection", b"x-two, \xff, x y,, X-Three "),
            ("x-one", b"1"),
            ("x-two", b"1"),
            ("x-three", b"1"),
            ("x-four", b"1"),
            ("keep-alive", b"1"),
            ("proxy-connection", b"keep-alive"),
            ("http2-settings", b"AAMAAABkAAQAoAAAAAIAAAAA"),
            ("te", b"trailers"),
            ("trailer", b"x"),
            ("upgrade", b"h2c"),
        ];
        assert_eq!(left(sent, for_upstream), ["accept-encoding", "x-four"]);
        assert_eq!(left(sent, for_client), ["x-four"]);
    }

    #[test]
    fn where_a_client_is_stays_here_and_no_answer_leads_past_seawall() {
        let sent: &[(&str, &[u8])] = &[
            ("forwarded", b"for=127.0.0.1"),
            ("x-forwarded-for", b"127.0.0.1"),
            ("x_forwarded_host", b"evil.example"),
            ("x-forwarded-client-cert", b"Subject=admin"),
            ("x-real-ip", b"127.0.0.1"),
            ("cf-connecting-ip", b"127.0.0.1"),
            ("x-forward", b"1"),
        ];
        assert_eq!(left(sent, for_upstream), ["accept-encoding", "x-forward"]);
        let sent: &[(&str, &[u8])] =
            &[("alt-svc", b"h3=\"api.example:443\""), ("strict-transport-security", b"max-age=1"), ("openai-version", b"1")];
        assert_eq!(left(sent, for_client), ["openai-version"]);
    }
}
