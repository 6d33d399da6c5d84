//! Anthropic's Messages, as spoken by Anthropic and by the many servers and gateways that offer the same path.

mod fields;
mod reader;
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
pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        // OpenAI's `/threads/{id}/messages` ends alike for a thread named `v1`.
        method == Method::POST && path.strip_suffix("/v1/messages").is_some_and(|prefix| !prefix.ends_with("/threads"))
    }

    fn read(&self, _uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        request::read(document)
    }

    fn silent(&self) -> &'static [&'static str] {
        &[
            "/model",
            "metadata/user_id",
            "mcp_servers/url",
            "mcp_servers/authorization_token",
            "source/data",
            "tool_choice/disable_parallel_tool_use",
            "source/url",
        ]
    }

    fn response(&self, document: &Document) -> Result<Content, Malformed> {
        response::read(document)
    }

    fn framings(&self) -> &'static [Framing] {
        &[Framing::Sse]
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
    fn only_its_own_path() {
        let matches = |path| Anthropic.matches(&Method::POST, path);
        assert!(matches("/v1/messages") && matches("/anthropic/v1/messages"));
        for path in [
            "/v1/messages/count_tokens",
            "/v1/messages/batches",
            "/v1/threads/t/messages",
            "/v1/threads/v1/messages",
            "/xv1/messages",
            "/v1/chat/completions",
        ] {
            assert!(!matches(path), "{path}");
        }
        assert!(!Anthropic.matches(&Method::GET, "/v1/messages"));
    }
}
