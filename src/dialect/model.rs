//! Which models a request names: in its path, and besides the one that it asks for.

use std::borrow::Cow;

use http::Uri;
use memchr::memmem;

use super::Request;
use crate::wire::json::{Document, Malformed, Node};

/// Most models that a request may name.
const MOST: usize = 32;
/// Pieces of a path that the name of a deployment stands after: Azure's, and its and OpenAI's of old. Servers ask the model that
/// is deployed there, whatever the body says.
const DEPLOYED: [&str; 2] = ["/deployments/", "/engines/"];
/// Fields of gateways, and of Anthropic, for models that answer in place of the one asked for (OpenRouter's `models`, LiteLLM's
/// `fallbacks` and its like for some errors). `model` stands here for paths that name another.
const OTHERS: [&str; 7] =
    ["model", "models", "fallback", "fallbacks", "fallback_models", "context_window_fallbacks", "content_policy_fallbacks"];

/// The deployment that a path names before `end`.
pub(super) fn deployment(path: &str, end: &str) -> Option<String> {
    let before = path.strip_suffix(end)?;
    let (at, piece) =
        DEPLOYED.iter().filter_map(|piece| Some((memmem::rfind(before.as_bytes(), piece.as_bytes())?, *piece))).max()?;
    let name = before.get(at + piece.len()..).filter(|name| !name.is_empty())?;
    Some(decoded(name))
}

/// A piece of a path with its percent codes undone.
pub(super) fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut out = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let code = piece.split_at_checked(2).and_then(|(code, rest)| Some((u8::from_str_radix(code, 16).ok()?, rest)));
        if let Some((byte, rest)) = code {
            out.push(byte);
            out.extend(rest.as_bytes());
        } else {
            out.push(b'%');
            out.extend(piece.as_bytes());
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Puts the path's deployment in place of the body's model, if it names one.
pub(super) fn deploy(request: &mut Request, uri: &Uri, end: &str) {
    if let Some(name) = deployment(uri.path(), end) {
        request.model = name;
    }
}

/// Adds the other models that a request names.
///
/// # Errors
/// More than any client has use for.
pub(super) fn add(request: &mut Request, document: &Document) -> Result<(), Malformed> {
    let mut named = Vec::new();
    for (key, value) in document.root().object().unwrap_or_default() {
        if OTHERS.iter().any(|field| key.eq_ignore_ascii_case(field)) {
            names(&value, &mut named);
        }
    }
    for name in named {
        // Gemini's body may repeat the model of the path as the name of a resource.
        let name = name.strip_prefix("models/").unwrap_or(&name).to_owned();
        if name != request.model && !request.others.contains(&name) {
            request.others.push(name);
        }
        if request.others.len() >= MOST {
            return Err(Malformed::new(format!("the request names more than {MOST} models")));
        }
    }
    Ok(())
}

/// The names in such a field: itself, the items of a list, what stands under `model`, and the lists of a map of models.
fn names<'n>(node: &Node<'n>, named: &mut Vec<Cow<'n, str>>) {
    if let Some(name) = node.string() {
        named.push(name);
    } else if let Some(items) = node.array() {
        items.iter().for_each(|item| names(item, named));
    } else if let Some(members) = node.object() {
        for (key, value) in members {
            let is_list = || value.array().is_some_and(|items| items.iter().all(|item| item.string().is_some()));
            if key == "model" || is_list() {
                names(&value, named);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments() {
        let named = |path: &str| deployment(path, "/chat/completions");
        assert_eq!(named("/openai/deployments/gpt-4o/chat/completions").as_deref(), Some("gpt-4o"));
        assert_eq!(named("/openai/deployments/my%20own/chat/completions").as_deref(), Some("my own"));
        assert_eq!(named("/engines/a/b/chat/completions").as_deref(), Some("a/b"));
        for path in ["/v1/chat/completions", "/deployments//chat/completions", "/deployments/x/completions"] {
            assert_eq!(named(path), None, "{path}");
        }
    }

    #[test]
    fn all_models_are_found() {
        let others = |body: &str| {
            let mut request = Request { model: "a".to_owned(), ..Request::default() };
            add(&mut request, &Document::read(body.as_bytes()).unwrap()).map(|()| request.others)
        };
        for (body, found) in [
            (r#"{"model": "a", "models": ["a", "b", "b"]}"#, &["b"][..]),
            (r#"{"model": "models/a", "fallbacks": "b"}"#, &["b"][..]),
            (r#"{"model": "c"}"#, &["c"][..]),
            (r#"{"fallbacks": [{"model": "b", "messages": [{"role": "user", "content": "x"}]}, "c"]}"#, &["b", "c"][..]),
            (r#"{"Fallbacks": [{"a": ["b", "c"]}], "context_window_fallbacks": [{"a": ["d"]}]}"#, &["b", "c", "d"][..]),
            (r#"{"metadata": {"models": ["x"]}, "models": null, "fallbacks": [1]}"#, &[][..]),
        ] {
            assert_eq!(others(body).unwrap(), found, "{body}");
        }
        let many: Vec<String> = (0..MOST).map(|number| format!("\"{number}\"")).collect();
        assert!(others(&format!(r#"{{"models": [{}]}}"#, many.join(","))).unwrap_err().why.contains("more than"));
    }
}
