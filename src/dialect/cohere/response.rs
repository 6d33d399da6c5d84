//! Every place of a whole answer that can carry text to the user, and the answers that Seawall itself gives.

use serde_json::{Value, json};

use super::request::read_answer;
use crate::{
    dialect::{Refusal, new_id, text::Collector},
    segment::{Content, Place, Target},
    wire::json::{Document, Malformed},
};

/// Why a refusal says the answer ended. Version 2 has no reason for a filter: `ERROR_TOXIC` is version 1's, and Cohere's Java
/// SDK fails on a reason that it does not know; `ERROR` says that the call went wrong, and clients then drop the text or ask
/// again. Cohere's own models, when a safety mode stops them, refuse in words and end with this.
pub(super) const FINISHED: &str = "COMPLETE";

const ENVELOPE: &[&str] = &["id", "finish_reason", "message", "usage", "logprobs"];

pub(super) fn read(document: &Document) -> Result<Content, Malformed> {
    let mut text = Collector::default();
    for (key, value) in document.root().known("answer", ENVELOPE)? {
        text.passage();
        match key.as_ref() {
            _ if value.is_null() => {}
            "id" | "finish_reason" | "usage" => {}
            // Token lists spell the text once more.
            "logprobs" => text.echoes.push(Place(value.range())),
            // An answer's message is an object, an error's is a text.
            "message" if value.string().is_none() => read_answer(&mut text, &value)?,
            _ => text.strings(Target::Completion, &value, &|_, _| false),
        }
    }
    Ok(text.into())
}

/// What a refusal has cost.
pub(super) fn usage() -> Value {
    let none = json!({"input_tokens": 0, "output_tokens": 0});
    json!({"billed_units": none, "tokens": none})
}

pub(super) fn refuse(refusal: &Refusal) -> String {
    json!({
        "id": new_id(""),
        "message": {"role": "assistant", "content": [{"type": "text", "text": refusal.message}]},
        "finish_reason": FINISHED,
        "usage": usage(),
    })
    .to_string()
}

/// The SDKs take their exception from the status.
pub(super) fn error(code: &str, message: &str) -> String {
    json!({"id": new_id(""), "message": message, "code": code}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Direction;

    #[test]
    fn an_answer_with_everything() {
        use Target::{Completion, ToolCall};
        let answer = json!({
            "id": "c14c80c3", "finish_reason": "TOOL_CALL", "usage": usage(), "vendor": {"note": "b"},
            "logprobs": [{"text": "Yes", "token_ids": [1], "logprobs": [-0.1]}],
            "message": {"role": "assistant", "tool_plan": "I look.",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}],
                "tool_calls": [{"id": "w0", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
                "citations": [{"start": 0, "end": 3, "text": "Yes", "type": "PLAN", "sources": [
                    {"type": "document", "id": "doc:0", "document": {"snippet": "s"}}]}]},
        });
        let content = read(&Document::read(answer.to_string().as_bytes()).unwrap()).unwrap();
        let mut read: Vec<(Target, &str)> = content.segments.iter().map(|it| (it.target, it.text.as_str())).collect();
        let mut expected = vec![
            (Completion, "I look."),
            (Completion, "hm"),
            (Completion, "Yes"),
            (ToolCall, "weather"),
            (ToolCall, "{}"),
            (Completion, "Yes"),
            (Completion, "doc:0"),
            (Completion, "snippet"),
            (Completion, "s"),
            (Completion, "note"),
            (Completion, "b"),
        ];
        read.sort_unstable();
        expected.sort_unstable();
        assert_eq!(read, expected);
        assert_eq!(content.echoes.len(), 1);
        assert!(content.unscorable.is_empty());
    }

    #[test]
    fn refusals_and_errors_have_the_shape_of_the_api() {
        let refusal = Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Request };
        let answer: Value = serde_json::from_str(&refuse(&refusal)).unwrap();
        assert_eq!(answer["message"], json!({"role": "assistant", "content": [{"type": "text", "text": "No."}]}));
        assert_eq!(answer["finish_reason"], "COMPLETE");
        assert_eq!(answer["usage"]["tokens"]["output_tokens"], 0);
        let error: Value = serde_json::from_str(&error("content_filter", "No.")).unwrap();
        assert_eq!((&error["message"], &error["code"]), (&json!("No."), &json!("content_filter")));
        assert!(error["id"].is_string());
    }
}
