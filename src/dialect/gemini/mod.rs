//! Google's Gemini API, as spoken by the Gemini Developer API and Vertex AI.
//!
//! The address tells the model and whether to stream; `alt=sse` asks for server-sent events, without it a stream is one JSON
//! array. It is protobuf's JSON, so a field has two spellings, may be `null` for unset, and a list of one may be that one.

mod content;
mod fields;
mod request;
mod response;
mod stream;

use http::{Method, StatusCode, Uri};

use super::{Content, Dialect, Refusal, Request, StreamDialect};
use crate::wire::{
    frame::Framing,
    json::{Document, Malformed},
};

/// The dialect.
#[derive(Debug)]
pub(super) struct Gemini;

impl Dialect for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && request::address(path).is_some()
    }

    fn read(&self, uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        request::read(uri, document)
    }

    fn silent(&self) -> &'static [&'static str] {
        &["inlineData/data", "inline_data/data", "fileData/fileUri", "file_data/file_uri"]
    }

    fn response(&self, document: &Document) -> Result<Content, Malformed> {
        response::read(document)
    }

    fn framings(&self) -> &'static [Framing] {
        &[Framing::Sse, Framing::Array]
    }

    fn stream(&self, request: &Request) -> Box<dyn StreamDialect> {
        Box::new(stream::Stream::new(request))
    }

    fn refuse(&self, request: &Request, refusal: &Refusal) -> String {
        response::refuse(request, refusal)
    }

    fn error(&self, status: StatusCode, code: &str, message: &str) -> String {
        response::error(status, code, message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Every string in a value, keys included.
    pub(super) fn strings(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
            Value::Object(members) => members.iter().for_each(|(key, value)| {
                found.push(key.clone());
                strings(value, found);
            }),
            _ => {}
        }
    }

    pub(super) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), "[a-z ก\"]{0,8}".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            // No known name begins so.
            let object = prop::collection::vec(("k_?[a-z]{0,4}", inner.clone()), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                object.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn its_own_paths() {
        let matches = |method: Method, path: &str| Gemini.matches(&method, path);
        assert!(matches(Method::POST, "/v1beta/models/gemini-pro:streamGenerateContent"));
        assert!(!matches(Method::GET, "/v1beta/models/gemini-pro:generateContent"));
        for path in ["/v1/chat/completions", "/v1/messages", "/v1beta/models/m:embedContent", "/v1beta/openai/chat/completions"]
        {
            assert!(!matches(Method::POST, path), "{path}");
        }
    }
}
