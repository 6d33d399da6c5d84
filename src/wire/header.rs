//! Which headers may cross the proxy.

use http::{HeaderMap, HeaderName, header};

/// Headers that belong to one connection (RFC 9110 §7.6.1) and never cross.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What the proxy states anew.
const RESTATED: [HeaderName; 2] = [header::CONTENT_LENGTH, header::CONTENT_ENCODING];

/// Removes what belongs to the connection, also what its `connection` header names, and what the proxy states anew:
/// length and encoding of the body, and Seawall's own headers.
pub fn end_to_end(headers: &mut HeaderMap) {
    let named = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok());
    let stays =
        |name: &&HeaderName| HOP_BY_HOP.contains(name) || RESTATED.contains(name) || name.as_str().starts_with("seawall-");
    let behind: Vec<HeaderName> = named.chain(headers.keys().filter(stays).cloned()).collect();
    for name in behind {
        headers.remove(name);
    }
}

/// Makes a client's headers fit for the upstream: end to end, for its host, and asking for an answer that can be read.
pub fn for_upstream(headers: &mut HeaderMap) {
    end_to_end(headers);
    headers.remove(header::HOST);
    headers.remove(header::EXPECT);
    headers.insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
    // What was read as JSON is JSON for the upstream too: under another type a server would read another text in it.
    if headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    }
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
}
