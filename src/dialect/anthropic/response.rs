//! Every place of a whole answer that can carry text to the user, and the answers that Seawall itself gives.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    fields::{self, ANSWER, Kind},
    reader::Reader,
};
use crate::{
    dialect::{Refusal, Request, new_id},
    segment::{Content, Target},
    wire::json::{Document, Malformed},
};

pub(super) fn read(document: &Document) -> Result<Content, Malformed> {
    let mut reader = Reader::answer();
    for (key, value) in document.root().known("answer", &fields::keys(ANSWER))? {
        reader.alone(Target::Completion, &key, value, fields::kind(ANSWER, &key).unwrap_or(Kind::Any))?;
    }
    Ok(reader.finish().into())
}

/// A message of the assistant's.
pub(super) fn message(model: &str, content: &Value, stop_reason: Option<&str>) -> Value {
    json!({
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    })
}

pub(super) fn stop_reason(refusal: &Refusal) -> &'static str {
    if refusal.filtered { "refusal" } else { "end_turn" }
}

pub(super) fn refuse(request: &Request, refusal: &Refusal) -> String {
    let content = json!([{"type": "text", "text": refusal.message}]);
    message(&request.model, &content, Some(stop_reason(refusal))).to_string()
}

/// The SDKs show the code as `error_code`.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> String {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message, "details": {"error_code": code}}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dialect::Dialect as _, segment::Direction};

    fn texts(answer: &Value) -> (Vec<(Target, String)>, Vec<String>) {
        let content = read(&Document::read(answer.to_string().as_bytes()).unwrap()).unwrap();
        (content.segments.into_iter().map(|segment| (segment.target, segment.text)).collect(), content.unscorable)
    }

    #[test]
    fn every_place_of_an_answer() {
        let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude of ours", "content": [
                {"type": "thinking", "thinking": "thought", "signature": "not sealed"},
                {"type": "text", "text": "said", "citations": [{"type": "page_location", "cited_text": "cited"}], "more": "x"},
                {"type": "server_tool_use", "id": "s", "name": "bash_code_execution", "input": {"command": "ls"}},
                {"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {
                    "type": "bash_code_execution_result", "stdout": "out", "stderr": "", "return_code": 0,
                    "content": [{"type": "bash_code_execution_output", "file_id": "file_1"}]}},
                {"type": "hologram", "beam": "light"}],
            "stop_reason": "stop_sequence", "stop_sequence": "THE END",
            "container": {"id": "c", "expires_at": "2026-01-01T00:00:00Z"},
            "usage": {"input_tokens": 1, "service_tier": "standard", "note": "a text"}, "vendor": {"k": "v"}});
        let (read, unscorable) = texts(&answer);
        for text in ["thought", "not sealed", "said", "cited", "x", "out", "beam", "light", "THE END", "a text", "k", "v"] {
            assert!(read.contains(&(Target::Completion, text.to_owned())), "{text}");
        }
        for text in ["bash_code_execution", "command", "ls"] {
            assert!(read.contains(&(Target::ToolCall, text.to_owned())), "{text}");
        }
        assert_eq!(unscorable, ["bash_code_execution_output"]);
        assert_eq!(read.len(), 17, "{read:?}");
    }

    #[test]
    fn an_errors_message_is_its_only_text() {
        let details = json!({"error_code": "content_filter"});
        let error = json!({"type": "error", "request_id": "req_1",
            "error": {"type": "invalid_request_error", "message": "no: this", "details": details}});
        assert_eq!(texts(&error).0, [(Target::Completion, "no: this".to_owned())]);
        let own = super::super::Anthropic.error(StatusCode::BAD_REQUEST, "content_filter", "no: this");
        let mut expected = error;
        expected.as_object_mut().unwrap().remove("request_id");
        assert_eq!(serde_json::from_str::<Value>(&own).unwrap(), expected);
    }

    #[test]
    fn a_refusal_has_the_shape_of_a_message() {
        let request = Request { model: "m".to_owned(), ..Request::default() };
        let mut refusal = Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Request };
        let mut answer: Value = serde_json::from_str(&refuse(&request, &refusal)).unwrap();
        assert!(answer["id"].as_str().unwrap().starts_with("msg_"));
        answer["id"] = Value::Null;
        assert_eq!(
            answer,
            json!({"id": null, "type": "message", "role": "assistant", "model": "m",
                "content": [{"type": "text", "text": "No."}], "stop_reason": "refusal", "stop_sequence": null,
                "usage": {"input_tokens": 0, "output_tokens": 0}})
        );
        refusal.filtered = false;
        assert!(refuse(&request, &refusal).contains(r#""stop_reason":"end_turn""#));
    }
}
