//! Ollama's own API: chat and generate, whose answers come as lines of JSON unless the request says otherwise.

mod answer;
mod request;
mod stream;

use http::{Method, StatusCode, Uri};
use serde_json::json;

use super::{Content, Dialect, Refusal, Request, StreamDialect};
use crate::wire::{
    frame::Framing,
    json::{Document, Malformed},
};

/// The dialect: one row of the table for each of its paths, whose answers keep their text in different places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ollama {
    /// `/api/chat`.
    Chat,
    /// `/api/generate`.
    Generate,
}

impl Dialect for Ollama {
    fn name(&self) -> &'static str {
        match self {
            Self::Chat => "ollama_chat",
            Self::Generate => "ollama_generate",
        }
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        let end = match self {
            Self::Chat => "/api/chat",
            Self::Generate => "/api/generate",
        };
        method == Method::POST && path.ends_with(end)
    }

    fn read(&self, _uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        request::read(document)
    }

    fn silent(&self) -> &'static [&'static str] {
        &["/model", "images"]
    }

    fn response(&self, document: &Document) -> Result<Content, Malformed> {
        answer::whole(document)
    }

    fn framings(&self) -> &'static [Framing] {
        &[Framing::Ndjson]
    }

    fn stream(&self, request: &Request) -> Box<dyn StreamDialect> {
        Box::new(stream::Stream::new(*self, request))
    }

    fn refuse(&self, request: &Request, refusal: &Refusal) -> String {
        answer::refused(*self, &request.model, refusal)
    }

    fn error(&self, _status: StatusCode, code: &str, message: &str) -> String {
        json!({"error": message, "code": code}).to_string()
    }
}
