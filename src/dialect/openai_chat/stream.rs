//! Streamed answers: chunks to deltas, deltas back into their chunk, and a proper end when an answer is cut.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::json;

use super::{
    chunk::{self, Chunks, finish_reason},
    request::AUDIO,
    response::{CHOICE, MESSAGE, error},
    vendor,
};
use crate::{
    dialect::{
        Brought, Progress, Refusal, Request, StreamDialect,
        delta::{bring, unknown},
        text::is_id,
        tokens::{LISTS, are_ahead},
    },
    segment::{Delta, Part},
    wire::{
        frame::{Event, Message},
        json::{Malformed, Node},
    },
};

const CALL: &[&str] = &["index", "id", "type", "function", "custom"];

/// One streamed answer.
#[derive(Debug)]
pub(super) struct Stream {
    chunks: Chunks,
    /// Choices that the client saw begun.
    begun: BTreeSet<u64>,
}

impl Stream {
    pub(super) fn new(request: &Request) -> Self {
        Self { chunks: Chunks::new("chatcmpl-", "chat.completion.chunk", request), begun: BTreeSet::new() }
    }
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        self.chunks.read(event, read_choice)
    }

    fn left(&mut self, progress: &Progress) {
        self.begun.extend(&progress.begun);
        self.chunks.left(progress);
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        chunk::edit(event, deltas, texts)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        let told = self.chunks.open().map(|index| {
            let mut delta = json!({"content": refusal.message});
            if !self.begun.contains(&index) {
                delta = json!({"role": "assistant", "content": refusal.message});
            }
            json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null})
        });
        let ended = self
            .chunks
            .open()
            .map(|index| json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": finish_reason(refusal)}));
        self.chunks.end(told.chain(ended))
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        vec![Message::plain(error(StatusCode::SERVICE_UNAVAILABLE, code, message))]
    }
}

fn read_choice(choice: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    let members = choice.known("choice", &[CHOICE, LISTS].concat())?;
    let index = members.iter().find(|(key, _)| key == "index").and_then(|(_, value)| value.integer()).unwrap_or(0);
    for (key, value) in &members {
        match key.as_ref() {
            "index" => {}
            key if LISTS.contains(&key) => {}
            "finish_reason" | "delta" if value.is_null() => {}
            "finish_reason" => brought.progress.ended.push(index),
            "delta" => {
                brought.progress.begun.push(index);
                delta(index, value, brought)?;
            }
            _ => unknown(index, key, value, vendor::words(key), brought),
        }
    }
    brought.ahead |= are_ahead(&members, index, &brought.deltas);
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
                    for (key, value) in &members {
                        match key.as_ref() {
                            "index" => {}
                            // As of a whole answer: what says more than ids do is text.
                            "id" | "type" => unknown(choice, key, value, &|_, value| is_id(value), brought),
                            _ => bring(choice, Part::ToolCall(index.unwrap_or(0)), value, &call_word, brought),
                        }
                    }
                }
            }
            "function_call" => bring(choice, Part::ToolCall(0), &value, &call_word, brought),
            "audio" => audio(choice, &value, brought)?,
            _ => unknown(choice, &key, &value, vendor::words(&key), brought),
        }
    }
    Ok(())
}

fn call_word(key: &str, value: &str) -> bool {
    value.is_empty() && matches!(key, "name" | "arguments" | "input")
}

/// Of audio only the transcript is text.
fn audio(choice: u64, audio: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in audio.known("audio", AUDIO)?.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "data" if value.raw() == r#""""# => {}
            "data" => brought.unscorable.push("audio".to_owned()),
            "id" if value.string().is_some_and(|id| is_id(&id)) => {}
            "expires_at" if value.integer().is_some() => {}
            _ => unknown(choice, key, value, &|_, _| false, brought),
        }
    }
    Ok(())
}

/// Some servers stream content as parts.
fn content_word(key: &str, value: &str) -> bool {
    (key == "type" && matches!(value, "text" | "")) || (value.is_empty() && key == "text")
}
