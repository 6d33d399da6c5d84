//! Every place of a whole answer that can carry text to the user, and the answers that Seawall itself gives.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{item, request::setting, tool};
use crate::{
    dialect::{
        Refusal, Request, new_id,
        text::{Collector, error_word},
    },
    segment::{Content, Direction, Target},
    wire::json::{Document, Malformed, Node},
};

/// Fields of an answer that hold no text: names, states and numbers, and what the upstream's own filters report.
const FORM: &[&str] = &[
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "model",
    "usage",
    "tool_usage",
    "billing",
    "background",
    "store",
    "user",
    "safety_identifier",
    "conversation",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_diagnostics",
    "service_tier",
    "parallel_tool_calls",
    "truncation",
    "max_output_tokens",
    "max_tool_calls",
    "temperature",
    "top_p",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "input_transformations",
    "moderation",
    "content_filters",
];
/// Fields that repeat the request.
const ASKED: &[&str] = &[
    "instructions",
    "tools",
    "text",
    "metadata",
    "prompt",
    "reasoning",
    "tool_choice",
    "context_management",
    "access_programs",
    "prompt_cache_options",
    "image",
];
const TEXT: &[&str] = &["output", "output_text", "error", "incomplete_details"];

pub(super) fn read(document: &Document) -> Result<Content, Malformed> {
    let mut text = Collector::default();
    answer(&mut text, &document.root(), true)?;
    Ok(text.into())
}

/// Reads an answer; what of it repeats the request only if that is `asked`.
pub(super) fn answer(text: &mut Collector, answer: &Node<'_>, asked: bool) -> Result<(), Malformed> {
    let known: Vec<&str> = FORM.iter().chain(ASKED).chain(TEXT).copied().collect();
    for (key, value) in answer.known("answer", &known)?.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            key if FORM.contains(&key) => {}
            key if ASKED.contains(&key) => {
                if asked {
                    repeated(text, key, value);
                }
            }
            "output" => {
                for node in value.array().ok_or_else(|| Malformed::new("`output` is not an array"))? {
                    item::read(text, &node, Direction::Response)?;
                }
            }
            "incomplete_details" => {
                text.passage();
                text.strings(Target::Completion, value, &|key, _| key == "reason");
            }
            "error" => {
                text.passage();
                text.strings(Target::Completion, value, &error_word);
            }
            key => {
                text.passage();
                text.name(Target::Completion, key);
                text.strings(Target::Completion, value, &|_, _| false);
            }
        }
    }
    Ok(())
}

/// Words of the request, which are what they were there.
fn repeated(text: &mut Collector, key: &str, value: &Node<'_>) {
    text.passage();
    match key {
        "instructions" => text.strings(Target::System, value, &|key, value| match key {
            "type" | "role" | "content" | "text" => value.is_empty() || key == "role" || (key == "type" && is_plain(value)),
            _ => false,
        }),
        "tools" => tool::read(text, value),
        "text" => tool::format(text, value),
        "prompt" => text.strings(Target::System, value, &|key, value| match key {
            "id" | "version" => true,
            "variables" | "type" | "text" => value.is_empty() || (key == "type" && is_plain(value)),
            _ => false,
        }),
        "metadata" => text.strings(Target::System, value, &|_, _| false),
        _ => setting(text, value),
    }
}

fn is_plain(kind: &str) -> bool {
    matches!(kind, "message" | "input_text" | "output_text")
}

/// An answer that has begun.
pub(super) fn begun(model: &str) -> Value {
    json!({
        "id": new_id("resp_"),
        "object": "response",
        "created_at": Timestamp::now().as_second(),
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "max_output_tokens": null,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "store": false,
        "temperature": null,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": null,
        "truncation": "disabled",
        "usage": null,
        "user": null,
    })
}

/// An answer as a refusal leaves it.
pub(super) fn ended(mut answer: Value, output: Vec<Value>, refusal: &Refusal) -> Value {
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("output".to_owned(), output.into());
        answer.insert("status".to_owned(), if refusal.filtered { "incomplete" } else { "completed" }.into());
        let details = if refusal.filtered { json!({"reason": "content_filter"}) } else { Value::Null };
        answer.insert("incomplete_details".to_owned(), details);
        answer.insert("error".to_owned(), Value::Null);
        let usage = answer.entry("usage").or_insert(Value::Null);
        if usage.is_null() {
            *usage = json!({
                "input_tokens": 0,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": 0,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 0,
            });
        }
    }
    answer
}

/// The content part that tells a refusal, or the beginning of it.
pub(super) fn part(refusal: &Refusal, text: &str) -> Value {
    if refusal.filtered {
        json!({"type": "refusal", "refusal": text})
    } else {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    }
}

pub(super) fn message(id: &str, status: &str, content: &[Value]) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

pub(super) fn refuse(request: &Request, refusal: &Refusal) -> String {
    let message = message(&new_id("msg_"), "completed", &[part(refusal, &refusal.message)]);
    ended(begun(&request.model), vec![message], refusal).to_string()
}

pub(super) fn error(status: StatusCode, code: &str, message: &str) -> String {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Target::{Completion, System, ToolCall, ToolDefinition};

    fn content(body: &Value) -> Content {
        read(&Document::read(body.to_string().as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn every_place_of_an_answer_is_read() {
        let text = include_str!("../../../tests/fixtures/openai_responses/answer.json");
        let content = read(&Document::read(text.as_bytes()).unwrap()).unwrap();
        let mut read: Vec<_> = content.segments.iter().map(|segment| (segment.target, segment.text.as_str())).collect();
        let mut expected = vec![
            (Completion, "Sorry."),
            (System, "Be kind."),
            (System, "topic"),
            (System, "tea"),
            (ToolDefinition, "weather"),
            (Completion, "Hi there."),
            (Completion, "extra"),
            (Completion, "Hm."),
            (ToolCall, "tea"),
            (ToolCall, "weather"),
            (ToolCall, "{}"),
            (ToolCall, "1"),
            (Completion, "one"),
            (ToolCall, "buy"),
            (ToolCall, "shop"),
            (ToolCall, "{}"),
            (Completion, "Bought."),
            (Completion, "Hi there."),
            (Completion, "f"),
            (Completion, "a.txt"),
            (Completion, "No."),
            (Completion, "type"),
            (Completion, "hologram"),
            (Completion, "shape"),
            (Completion, "round"),
        ];
        read.sort_unstable();
        expected.sort_unstable();
        assert_eq!(read, expected);
        let echoes: Vec<&str> = content.echoes.iter().map(|place| &text[place.0.clone()]).collect();
        assert_eq!(echoes.len(), 1);
        assert!(echoes[0].starts_with("[{") && echoes[0].contains("\"Hi\""));
    }

    #[test]
    fn an_image_in_an_answer_is_unscorable() {
        let body = json!({"output": [{"type": "image_generation_call", "id": "ig", "status": "completed", "result": "AAAA"}]});
        assert_eq!(content(&body).unscorable, ["image_generation_call"]);
    }

    #[test]
    fn refusals_and_errors_have_the_shape_of_the_api() {
        let request = Request { model: "m".to_owned(), choices: 1, ..Request::default() };
        let refusal = |filtered| Refusal { message: "no".to_owned(), filtered, direction: Direction::Request };
        let parsed = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let answer = parsed(refuse(&request, &refusal(true)));
        assert_eq!((answer["status"].as_str(), answer["model"].as_str()), (Some("incomplete"), Some("m")));
        assert_eq!(answer["incomplete_details"]["reason"], "content_filter");
        assert_eq!(answer["output"][0]["content"], json!([{"type": "refusal", "refusal": "no"}]));
        assert_eq!(answer["output"][0]["role"], "assistant");
        assert_eq!(answer["usage"]["total_tokens"], 0);
        let answer = parsed(refuse(&request, &refusal(false)));
        assert_eq!(answer["status"], "completed");
        assert!(answer["incomplete_details"].is_null());
        assert_eq!(answer["output"][0]["content"][0]["text"], "no");
        let error = parsed(error(StatusCode::BAD_REQUEST, "content_filter", "no"));
        let expected = json!({"message": "no", "type": "invalid_request_error", "param": null, "code": "content_filter"});
        assert_eq!(error["error"], expected);
    }
}
