//! Amazon Bedrock's Converse and `ConverseStream`. The path names the model and tells whether the answer is streamed.

mod block;
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
pub(super) struct Bedrock;

impl Dialect for Bedrock {
    fn name(&self) -> &'static str {
        "bedrock"
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        method == Method::POST && address(path).is_some()
    }

    fn read(&self, uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        request::read(uri.path(), document)
    }

    fn silent(&self) -> &'static [&'static str] {
        &["source/bytes", "s3Location/uri", "/guardrailConfig/guardrailIdentifier", "/additionalModelResponseFieldPaths"]
    }

    fn response(&self, document: &Document) -> Result<Content, Malformed> {
        response::read(document)
    }

    fn framings(&self) -> &'static [Framing] {
        &[Framing::EventStream]
    }

    fn stream(&self, _request: &Request) -> Box<dyn StreamDialect> {
        Box::new(stream::Stream::default())
    }

    fn refuse(&self, _request: &Request, refusal: &Refusal) -> String {
        response::refuse(refusal)
    }

    fn error(&self, status: StatusCode, code: &str, message: &str) -> String {
        response::error(status, code, message)
    }
}

/// The model that a path names, as it is written there, and whether the answer is to be streamed.
fn address(path: &str) -> Option<(&str, bool)> {
    let (before, verb) = path.rsplit_once('/')?;
    let (_, model) = before.rsplit_once("/model/")?;
    let stream = match verb {
        "converse" => false,
        "converse-stream" => true,
        _ => return None,
    };
    (!model.is_empty()).then_some((model, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_model() {
        let titan = "amazon.titan-text-express-v1";
        assert_eq!(address(&format!("/model/{titan}/converse")), Some((titan, false)));
        assert_eq!(address("/aws/model/a%3A0/converse-stream"), Some(("a%3A0", true)));
        assert_eq!(address("/model/arn:aws:bedrock:x:1:prompt/P:1/converse"), Some(("arn:aws:bedrock:x:1:prompt/P:1", false)));
        for path in
            ["/model/a/invoke", "/model/a/invoke-with-response-stream", "/model//converse", "/converse", "/model/converse"]
        {
            assert_eq!(address(path), None, "{path}");
            assert!(!Bedrock.matches(&Method::POST, path));
        }
        assert!(Bedrock.matches(&Method::POST, "/model/a/converse"));
        assert!(!Bedrock.matches(&Method::GET, "/model/a/converse"));
    }
}
