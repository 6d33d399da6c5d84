//! Streamed answers: chunks to deltas, deltas back into their chunk, and a proper end when an answer is cut.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    response::{CHOICE, MESSAGE, error, finish_reason},
    vendor,
};
use crate::{
    dialect::{
        Brought, Progress, Refusal, Request, StreamDialect,
        delta::{bring, edited, is_marker, unknown},
        new_id,
        text::error_word,
    },
    segment::{Delta, Part},
    wire::{
        frame::{Event, Message},
        json::{Document, Malformed, Node, Patch},
    },
};

const CHUNK: &[&str] =
    &["id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "choices", "obfuscation"];
const CALL: &[&str] = &["index", "id", "type", "function", "custom"];

/// One streamed answer: what was seen of it so far that its end must repeat.
#[derive(Debug)]
pub(super) struct Stream {
    id: Option<String>,
    created: Option<u64>,
    model: String,
    usage: bool,
    choices: u64,
    /// Choices that the client saw begun.
    begun: BTreeSet<u64>,
    /// Choices that the client saw ended.
    ended: BTreeSet<u64>,
}

impl Stream {
    pub(super) fn new(request: &Request) -> Self {
        Self {
            id: None,
            created: None,
            model: request.model.clone(),
            usage: request.usage,
            choices: request.choices,
            begun: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    fn chunk(&self, choices: &Value, usage: &Value) -> Message {
        let mut chunk = json!({
            "id": self.id.clone().unwrap_or_else(|| new_id("chatcmpl-")),
            "object": "chat.completion.chunk",
            "created": self.created.map_or_else(|| json!(Timestamp::now().as_second()), Value::from),
            "model": self.model,
            "choices": choices,
        });
        if self.usage
            && let Some(chunk) = chunk.as_object_mut()
        {
            chunk.insert("usage".to_owned(), usage.clone());
        }
        Message::plain(chunk.to_string())
    }
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        let mut brought = Brought::default();
        let Some(data) = event.data.as_deref().filter(|data| !is_marker(data)) else { return Ok(brought) };
        let document = Document::read(data.as_bytes())?;
        for (key, value) in document.root().known("chunk", CHUNK)? {
            match key.as_ref() {
                "id" => self.id = value.string().map(Into::into).or(self.id.take()),
                "created" => self.created = value.integer().or(self.created),
                "model" => self.model = value.string().map_or_else(|| self.model.clone(), Into::into),
                "choices" => {
                    for choice in value.array().ok_or_else(|| Malformed::new("`choices` is not an array"))? {
                        read_choice(&choice, &mut brought)?;
                    }
                }
                "error" => unknown(0, &key, &value, &error_word, &mut brought),
                known if CHUNK.contains(&known) => {}
                _ => unknown(0, &key, &value, vendor::words(&key), &mut brought),
            }
        }
        Ok(brought)
    }

    fn left(&mut self, progress: &Progress) {
        self.begun.extend(&progress.begun);
        self.ended.extend(&progress.ended);
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        let document = Document::read(event.data.as_deref().unwrap_or_default().as_bytes())?;
        let echoes = echoes(&document.root());
        edited(document, echoes, deltas, texts)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        let open: Vec<u64> = (0..self.choices.clamp(1, 128)).filter(|index| !self.ended.contains(index)).collect();
        let mut out = Vec::new();
        for index in &open {
            let mut delta = json!({"content": refusal.message});
            if !self.begun.contains(index) {
                delta = json!({"role": "assistant", "content": refusal.message});
            }
            let choice = json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]);
            out.push(self.chunk(&choice, &Value::Null));
        }
        for index in &open {
            let choice = json!([{"index": index, "delta": {}, "logprobs": null, "finish_reason": finish_reason(refusal)}]);
            out.push(self.chunk(&choice, &Value::Null));
        }
        if self.usage {
            let usage = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
            out.push(self.chunk(&json!([]), &usage));
        }
        out.push(Message::plain("[DONE]"));
        out
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        vec![Message::plain(error(http::StatusCode::SERVICE_UNAVAILABLE, code, message))]
    }
}

fn read_choice(choice: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    let members = choice.known("choice", CHOICE)?;
    let index = members.iter().find(|(key, _)| key == "index").and_then(|(_, value)| value.integer()).unwrap_or(0);
    for (key, value) in &members {
        match key.as_ref() {
            "index" | "logprobs" => {}
            "finish_reason" | "delta" if value.is_null() => {}
            "finish_reason" => brought.progress.ended.push(index),
            "delta" => {
                brought.progress.begun.push(index);
                delta(index, value, brought)?;
            }
            _ => unknown(index, key, value, vendor::words(key), brought),
        }
    }
    Ok(())
}

fn delta(choice: u64, delta: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in delta.known("delta", MESSAGE)? {
        match key.as_ref() {
            _ if value.is_null() || key == "role" => {}
            "content" => bring(choice, Part::Content, &value, &content_word, brought),
            "reasoning" | "reasoning_content" => bring(choice, Part::Reasoning, &value, &|_, _| false, brought),
            "refusal" => bring(choice, Part::Refusal, &value, &|_, _| false, brought),
            "tool_calls" => {
                for call in value.array().ok_or_else(|| Malformed::new("`tool_calls` is not an array"))? {
                    let members = call.known("tool call", CALL)?;
                    let index = members.iter().find(|(key, _)| key == "index").and_then(|(_, value)| value.integer());
                    for (_, value) in members.iter().filter(|(key, _)| !matches!(key.as_ref(), "index" | "id" | "type")) {
                        bring(choice, Part::ToolCall(index.unwrap_or(0)), value, &call_word, brought);
                    }
                }
            }
            "function_call" => bring(choice, Part::ToolCall(0), &value, &call_word, brought),
            _ => unknown(choice, &key, &value, vendor::words(&key), brought),
        }
    }
    Ok(())
}

fn call_word(key: &str, value: &str) -> bool {
    value.is_empty() && matches!(key, "name" | "arguments" | "input")
}

/// Some servers stream content as parts.
fn content_word(key: &str, value: &str) -> bool {
    (key == "type" && matches!(value, "text" | "")) || (value.is_empty() && key == "text")
}

/// Token lists of a chunk, and its padding, which would tell the length of what was taken out.
fn echoes(chunk: &Node<'_>) -> Vec<Patch> {
    let mut patches = Vec::new();
    for (key, value) in chunk.object().unwrap_or_default() {
        match key.as_ref() {
            "obfuscation" => patches.push(Patch { range: value.range(), with: "\"\"".to_owned() }),
            "choices" => {
                let choices = value.array().unwrap_or_default();
                let members = choices.iter().filter_map(Node::object).flatten();
                let lists = members.filter(|(key, _)| key == "logprobs");
                patches.extend(lists.map(|(_, value)| Patch { range: value.range(), with: "null".to_owned() }));
            }
            _ => {}
        }
    }
    patches
}
