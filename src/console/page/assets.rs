//! The page's own files, in the binary. Their addresses carry a hash of what they hold, so browsers may keep them for ever.

use std::sync::LazyLock;

use axum::{
    extract::{Path, RawQuery},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};

/// A file.
struct Asset {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
    /// Of what it holds; quoted, as an entity tag is.
    tag: String,
}

static ASSETS: LazyLock<[Asset; 4]> = LazyLock::new(|| {
    let asset = |name, kind, body: &'static str| {
        let hash = blake3::hash(body.as_bytes()).to_hex();
        Asset { name, kind, body, tag: format!("\"{}\"", hash.get(..16).unwrap_or_default()) }
    };
    [
        asset("review.css", "text/css; charset=utf-8", include_str!("assets/review.css")),
        asset("review.js", "text/javascript; charset=utf-8", include_str!("assets/review.js")),
        asset("theme.js", "text/javascript; charset=utf-8", include_str!("assets/theme.js")),
        asset("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ]
});

fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// Where a file is.
pub(super) fn href(name: &str) -> String {
    let version = find(name).map_or("", |asset| asset.tag.trim_matches('"'));
    format!("/review/assets/{name}?v={version}")
}

/// `GET /review/assets/{name}`: needs no sign-in, for the page to sign in looks the same.
pub(super) async fn get(Path(name): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let Some(Asset { kind, body, tag, .. }) = find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let is_versioned = query.is_some_and(|query| query.strip_prefix("v=") == Some(tag.trim_matches('"')));
    let age = if is_versioned { "public, max-age=31536000, immutable" } else { "no-cache" };
    let cache = [(ETAG, tag.as_str()), (CACHE_CONTROL, age)];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, cache).into_response();
    }
    (cache, [(CONTENT_TYPE, *kind)], *body).into_response()
}
