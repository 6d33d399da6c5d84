//! Where a call goes: to a dialect, through unread because it carries no chat, or nowhere.

use http::{Method, Uri};

use super::answer::Failure;
use crate::dialect::{DIALECTS, Dialect};

/// What a call is.
#[derive(Clone, Copy)]
pub(super) enum Route {
    /// A chat call of this API.
    Chat(&'static dyn Dialect),
    /// One that carries no chat and passes.
    Pass,
}

/// The calls that pass unread.
#[derive(Debug)]
pub(super) struct Routes {
    pass: Vec<(String, Vec<String>)>,
}

impl Routes {
    /// `pass` holds methods and paths, `*` for any one segment.
    pub(super) fn new(pass: &[String]) -> Self {
        let split = |line: &String| {
            let (method, path) = line.split_once(' ').unwrap_or_default();
            (method.to_owned(), path.split('/').map(str::to_owned).collect())
        };
        Self { pass: pass.iter().map(split).collect() }
    }

    pub(super) fn find(&self, method: &Method, uri: &Uri) -> Result<Route, Failure> {
        let path = uri.path();
        if is_ambiguous(path) {
            return Err(Failure::AmbiguousPath);
        }
        if let Some(dialect) = DIALECTS.iter().find(|dialect| dialect.matches(method, path)) {
            return Ok(Route::Chat(*dialect));
        }
        let segments: Vec<&str> = path.split('/').collect();
        let fits = |(verb, listed): &(String, Vec<String>)| {
            verb == method.as_str()
                && listed.len() == segments.len()
                && listed.iter().zip(&segments).all(|(listed, asked)| listed == asked || (listed == "*" && !asked.is_empty()))
        };
        if self.pass.iter().any(fits) {
            return Ok(Route::Pass);
        }
        Err(Failure::UnknownPath { method: method.to_string(), path: path.to_owned() })
    }
}

/// Whether servers are known to read a path in different ways.
fn is_ambiguous(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    path.contains("//")
        || path.contains('\\')
        || path.contains(';')
        || path.split('/').any(|segment| matches!(segment, "." | ".."))
        || ["%2e", "%2f", "%5c", "%00", "%25"].iter().any(|code| lower.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_listed_unknown_and_ambiguous() {
        let routes = Routes::new(&["GET /v1/models".into(), "GET /v1/models/*".into()]);
        let find = |method: Method, path: &str| match routes.find(&method, &path.parse().unwrap()) {
            Ok(Route::Chat(dialect)) => dialect.name(),
            Ok(Route::Pass) => "pass",
            Err(Failure::AmbiguousPath) => "ambiguous",
            Err(_) => "unknown",
        };
        assert_eq!(find(Method::POST, "/v1/chat/completions"), "openai_chat");
        assert_eq!(find(Method::POST, "/openai/deployments/x/chat/completions?api-version=1"), "openai_chat");
        assert_eq!(find(Method::GET, "/v1/models"), "pass");
        assert_eq!(find(Method::GET, "/v1/models/gpt"), "pass");
        assert_eq!(find(Method::GET, "/v1/models/gpt/x"), "unknown");
        assert_eq!(find(Method::POST, "/v1/models"), "unknown");
        assert_eq!(find(Method::POST, "/v1/embeddings"), "unknown");
        for path in ["/v1/models/../chat/completions", "/v1//models", "/v1/%2e%2e/models", "/v1/models%2fx", "/v1/models;x"] {
            assert_eq!(find(Method::GET, path), "ambiguous");
        }
    }
}
