//! OpenAI's Chat Completions, as spoken by OpenAI, Azure's deployment paths, vLLM, llama.cpp, LiteLLM and many more.

pub(super) mod chunk;
mod request;
mod response;
mod stream;
pub(super) mod vendor;

use http::{Method, StatusCode, Uri};

use super::{Content, Dialect, Refusal, Request, StreamDialect, model};
use crate::wire::{
    frame::Framing,
    json::{Document, Malformed},
};

/// The dialect.
#[derive(Debug)]
pub(super) struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai_chat"
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && path.ends_with("/chat/completions")
    }

    fn read(&self, uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        let mut request = request::read(document)?;
        model::deploy(&mut request, uri, "/chat/completions");
        Ok(request)
    }

    fn silent(&self) -> &'static [&'static str] {
        &["/model", "/user", "/safety_identifier", "/prompt_cache_key", "image_url/url", "input_audio/data", "file/file_data"]
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
