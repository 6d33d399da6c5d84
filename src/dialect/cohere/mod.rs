//! Cohere's Chat API, version 2, as spoken by Cohere, its private deployments and gateways.

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
pub(super) struct Cohere;

impl Dialect for Cohere {
    fn name(&self) -> &'static str {
        "cohere"
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && path.ends_with("/v2/chat")
    }

    fn read(&self, _uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        request::read(document)
    }

    fn silent(&self) -> &'static [&'static str] {
        &["/model", "image_url/url", "image_url"]
    }

    fn response(&self, document: &Document) -> Result<Content, Malformed> {
        response::read(document)
    }

    fn framings(&self) -> &'static [Framing] {
        &[Framing::Sse]
    }

    fn stream(&self, _request: &Request) -> Box<dyn StreamDialect> {
        Box::new(stream::Stream::default())
    }

    fn refuse(&self, _request: &Request, refusal: &Refusal) -> String {
        response::refuse(refusal)
    }

    fn error(&self, _status: StatusCode, code: &str, message: &str) -> String {
        response::error(code, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_two_of_chat() {
        assert!(Cohere.matches(&Method::POST, "/v2/chat"));
        assert!(Cohere.matches(&Method::POST, "/cohere/v2/chat"));
        for path in ["/v1/chat", "/v2/chat/completions", "/api/chat", "/v2/embed", "/xv2/chats"] {
            assert!(!Cohere.matches(&Method::POST, path), "{path}");
        }
        assert!(!Cohere.matches(&Method::GET, "/v2/chat"));
    }
}
