//! OpenAI's Responses API, as spoken by OpenAI, Azure, vLLM, Ollama, LiteLLM, OpenRouter and others.
//!
//! A request may name text that does not come with it. What is let pass and what is not:
//! - `previous_response_id`, `conversation` and `item_reference` bring earlier turns, which were judged when they were made
//!   through this proxy; they pass. Whoever can reach the upstream by another way can put unjudged turns there; and an answer
//!   that was cut or edited here is kept whole by the upstream, which goes on from it.
//! - `prompt` brings a text that is stored at the upstream: nobody here can judge it, so it is unscorable content. So are
//!   skills that a tool brings as an archive or by id. Variables of a stored prompt are judged.
//! - Files that a tool may search (`vector_store_ids`, `file_ids`), and what a server of the Model Context Protocol answers,
//!   reach the model within the upstream; they are judged where they come back in an answer or as history.
//! - `background: true` is refused: its answer would be fetched past the proxy.
//!
//! `encrypted_content` holds no text for anybody but the upstream. Some servers put plain text there; so what does not look
//! encrypted is read.
//!
//! An answer repeats what was asked (`instructions`, `tools`, `text`, `metadata`, `prompt`). A whole answer's repetition is
//! read like the request; that of a stream, which comes before all else and says nothing new, is not.

mod event;
mod item;
mod request;
mod response;
mod seen;
mod stream;
mod tool;

use http::{Method, StatusCode, Uri};

use super::{Content, Dialect, Refusal, Request, StreamDialect};
use crate::wire::{
    frame::Framing,
    json::{Document, Malformed},
};

/// The dialect.
#[derive(Debug)]
pub(super) struct OpenAiResponses;

impl Dialect for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai_responses"
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && path.ends_with("/responses")
    }

    fn read(&self, _uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        request::read(document)
    }

    fn silent(&self) -> &'static [&'static str] {
        &[
            "/model",
            "/user",
            "/safety_identifier",
            "/prompt_cache_key",
            "/include",
            "tools/server_url",
            "tools/authorization",
            "tools/headers/*",
            "image_url",
            "video_url",
            "file_url",
            "file_data",
            "input_audio/data",
            "outputs/url",
            "input/result",
            "source/data",
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
