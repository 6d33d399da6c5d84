//! OpenAI's legacy Completions, as spoken by OpenAI, Azure's deployment paths, vLLM, llama.cpp and others: prompts go in,
//! choices of plain text come out.

mod request;
mod response;
mod stream;

use http::{Method, StatusCode, Uri};

use super::{Content, Dialect, Refusal, Request, StreamDialect, model, openai_chat::OpenAiChat};
use crate::wire::{
    frame::Framing,
    json::{Document, Malformed},
};

/// The dialect.
#[derive(Debug)]
pub(super) struct OpenAiCompletions;

impl Dialect for OpenAiCompletions {
    fn name(&self) -> &'static str {
        "openai_completions"
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        // Mistral's fill-in-the-middle takes a like request, but answers as a chat.
        let other = ["/chat/completions", "/fim/completions"];
        method == Method::POST && path.ends_with("/completions") && !other.iter().any(|end| path.ends_with(end))
    }

    fn read(&self, uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        let mut request = request::read(document)?;
        model::deploy(&mut request, uri, "/completions");
        Ok(request)
    }

    fn silent(&self) -> &'static [&'static str] {
        &["/model", "/user"]
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
        // All of OpenAI's APIs report errors alike.
        OpenAiChat.error(status, code, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let matches = |path: &str| OpenAiCompletions.matches(&Method::POST, path);
        assert!(matches("/v1/completions") && matches("/openai/deployments/x/completions"));
        assert!(!matches("/v1/chat/completions") && !matches("/v1/fim/completions") && !matches("/v1/models"));
    }
}
