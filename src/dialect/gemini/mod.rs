//! Google's Gemini API, as spoken by the Gemini Developer API and Vertex AI.
//!
//! The address tells the model and whether to stream; `alt=sse` asks for server-sent events, without it a stream is one JSON
//! array. It is protobuf's JSON, so a field has two spellings, may be `null` for unset, and a list of one may be that one.

mod content;
mod fields;
mod request;
mod response;
mod seen;
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
    use super::*;

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
