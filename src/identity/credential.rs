//! Where clients put keys and tokens.

use http::{HeaderMap, HeaderName, Uri, header, uri::PathAndQuery};

use super::Secret;

/// The header that is Seawall's alone: it leaves the others to the upstream's key.
const OURS: HeaderName = HeaderName::from_static("seawall-key");
/// Where SDKs put keys, in the order in which they count.
static HEADERS: [HeaderName; 5] = [
    OURS,
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];
/// The query's field that Gemini's clients put theirs in.
const FIELD: &str = "key";

/// Where a credential stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In this one of the headers.
    Header(usize),
    /// In the query.
    Query,
}

/// What stands in all places that may hold a credential.
pub(super) fn all(headers: &HeaderMap, uri: &Uri) -> Vec<(Place, Secret)> {
    let mut found = Vec::new();
    for (at, name) in HEADERS.iter().enumerate() {
        for value in headers.get_all(name) {
            let Some(text) = value.to_str().ok().map(str::trim) else { continue };
            let credential = if *name == header::AUTHORIZATION { bearer(text) } else { Some(text) };
            found.extend(credential.filter(|text| !text.is_empty()).map(|text| (Place::Header(at), Secret::new(text))));
        }
    }
    let fields = uri.query().unwrap_or_default().split('&').filter_map(|field| field.split_once('='));
    found.extend(fields.filter(|(name, _)| *name == FIELD).map(|(_, value)| (Place::Query, Secret::new(value))));
    found
}

fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

impl Place {
    /// Whether nothing but Seawall's credentials belongs here.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Header(at) if HEADERS.get(at) == Some(&OURS))
    }

    /// Takes the credential out of the request: a header whole, as servers differ in which of its values counts.
    pub(super) fn clear(self, headers: &mut HeaderMap, uri: &mut Uri, credential: &Secret) {
        match self {
            Self::Header(at) => {
                if let Some(name) = HEADERS.get(at) {
                    headers.remove(name);
                }
            }
            Self::Query => {
                let query = uri.query().unwrap_or_default().split('&');
                let is_kept = |field: &&str| field.split_once('=') != Some((FIELD, credential.expose()));
                let kept: Vec<&str> = query.filter(is_kept).collect();
                let path = uri.path();
                let path = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
                let mut parts = uri.clone().into_parts();
                // Fewer of the same characters always are an address again.
                parts.path_and_query = path.parse::<PathAndQuery>().ok();
                *uri = Uri::from_parts(parts).unwrap_or_default();
            }
        }
    }
}
