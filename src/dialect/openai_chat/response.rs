//! Every place of a whole answer that can carry text to the user, and the answers that Seawall itself gives.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;

use super::{
    chunk::{finish_reason, no_usage},
    request::read_members,
    vendor,
};
use crate::{
    dialect::{
        Refusal, Request, new_id,
        text::{Collector, error_word},
        tokens::LISTS,
    },
    segment::{Content, Place, Target},
    wire::json::{Document, Malformed, Node},
};

/// Fields around the choices that hold no text.
const ENVELOPE: &[&str] = &["id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "choices"];
pub(super) const CHOICE: &[&str] = &["index", "finish_reason", "message", "delta"];
pub(super) const MESSAGE: &[&str] =
    &["role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls", "function_call", "audio"];

pub(super) fn read(document: &Document) -> Result<Content, Malformed> {
    let mut text = Collector::default();
    for (key, value) in document.root().known("answer", &[ENVELOPE, LISTS].concat())? {
        match key.as_ref() {
            "choices" => {
                for choice in value.array().ok_or_else(|| Malformed::new("`choices` is not an array"))? {
                    read_choice(&mut text, &choice)?;
                }
            }
            key if ENVELOPE.contains(&key) => {}
            key if LISTS.contains(&key) => text.echoes.push(Place(value.range())),
            "error" => {
                text.passage();
                text.strings(Target::Completion, &value, &error_word);
            }
            key => {
                text.passage();
                text.strings(Target::Completion, &value, vendor::words(key));
            }
        }
    }
    Ok(text.into())
}

fn read_choice(text: &mut Collector, choice: &Node<'_>) -> Result<(), Malformed> {
    for (key, value) in choice.known("choice", &[CHOICE, LISTS].concat())? {
        match key.as_ref() {
            "index" | "finish_reason" => {}
            "message" => read_members(text, &value.known("message", MESSAGE)?, Target::Completion)?,
            // They spell the text once more.
            key if LISTS.contains(&key) => text.echoes.push(Place(value.range())),
            key => {
                text.passage();
                text.strings(Target::Completion, &value, vendor::words(key));
            }
        }
    }
    Ok(())
}

pub(super) fn refuse(request: &Request, refusal: &Refusal) -> String {
    let choices: Vec<_> = (0..request.choices.clamp(1, 128))
        .map(|index| {
            json!({
                "index": index,
                "message": {"role": "assistant", "content": refusal.message, "refusal": null},
                "logprobs": null,
                "finish_reason": finish_reason(refusal),
            })
        })
        .collect();
    json!({
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": Timestamp::now().as_second(),
        "model": request.model,
        "choices": choices,
        "usage": no_usage(),
    })
    .to_string()
}

pub(super) fn error(status: StatusCode, code: &str, message: &str) -> String {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}
