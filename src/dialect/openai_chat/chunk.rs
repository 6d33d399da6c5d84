//! The chunks that OpenAI's streams of choices are made of: what Chat Completions and the legacy Completions do alike.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::vendor;
use crate::{
    dialect::{
        Brought, Progress, Refusal, Request,
        delta::{edited, is_marker, unknown},
        new_id,
        text::error_word,
        tokens::{LISTS, are_ahead},
    },
    segment::Delta,
    wire::{
        frame::{Event, Message},
        json::{Document, Malformed, Node, Patch},
    },
};

/// Fields of a chunk that hold no text.
pub(in crate::dialect) const ENVELOPE: &[&str] =
    &["id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "choices", "obfuscation"];

/// One streamed answer: what was seen of it so far that its end must repeat.
#[derive(Debug)]
pub(in crate::dialect) struct Chunks {
    prefix: &'static str,
    object: &'static str,
    id: Option<String>,
    created: Option<u64>,
    model: String,
    usage: bool,
    choices: u64,
    /// Choices that the client saw ended.
    ended: BTreeSet<u64>,
}

impl Chunks {
    /// The chunks of an API, by the prefix of its ids and by what it calls a chunk.
    pub(in crate::dialect) fn new(prefix: &'static str, object: &'static str, request: &Request) -> Self {
        let (model, usage, choices) = (request.model.clone(), request.usage, request.choices);
        Self { prefix, object, id: None, created: None, model, usage, choices, ended: BTreeSet::new() }
    }

    /// What an event brings; `read_choice` adds what one of its choices does.
    ///
    /// # Errors
    /// An event that cannot be read.
    pub(in crate::dialect) fn read(
        &mut self,
        event: &Event,
        read_choice: fn(&Node<'_>, &mut Brought) -> Result<(), Malformed>,
    ) -> Result<Brought, Malformed> {
        let mut brought = Brought::default();
        let Some(data) = event.data.as_deref().filter(|data| !is_marker(data)) else { return Ok(brought) };
        let document = Document::read(data.as_bytes())?;
        let members = document.root().known("chunk", &[ENVELOPE, LISTS].concat())?;
        for (key, value) in &members {
            match key.as_ref() {
                "id" => self.id = value.string().map(Into::into).or(self.id.take()),
                "created" => self.created = value.integer().or(self.created),
                "model" => self.model = value.string().map_or_else(|| self.model.clone(), Into::into),
                "choices" => {
                    for choice in value.array().ok_or_else(|| Malformed::new("`choices` is not an array"))? {
                        read_choice(&choice, &mut brought)?;
                    }
                }
                "error" => unknown(0, key, value, &error_word, &mut brought),
                known if ENVELOPE.contains(&known) || LISTS.contains(&known) => {}
                _ => unknown(0, key, value, vendor::words(key), &mut brought),
            }
        }
        brought.ahead |= are_ahead(&members, 0, &brought.deltas);
        Ok(brought)
    }

    /// An event has left for the client.
    pub(in crate::dialect) fn left(&mut self, progress: &Progress) {
        self.ended.extend(&progress.ended);
    }

    /// Choices that the client has not seen ended.
    pub(in crate::dialect) fn open(&self) -> impl Iterator<Item = u64> {
        (0..self.choices.clamp(1, 128)).filter(|index| !self.ended.contains(index))
    }

    /// The end of a stream that tells these choices last, a chunk each.
    pub(in crate::dialect) fn end(&self, choices: impl Iterator<Item = Value>) -> Vec<Message> {
        let told = choices.map(|choice| self.chunk(&json!([choice]), &Value::Null));
        let usage = self.usage.then(|| self.chunk(&json!([]), &no_usage()));
        told.chain(usage).chain([Message::plain("[DONE]")]).collect()
    }

    fn chunk(&self, choices: &Value, usage: &Value) -> Message {
        let mut chunk = json!({
            "id": self.id.clone().unwrap_or_else(|| new_id(self.prefix)),
            "object": self.object,
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

/// The event's data with other texts, without its lists of tokens and without its padding, which would tell the length of what
/// was taken out.
///
/// # Errors
/// A text that was changed in a place that cannot be edited.
pub(in crate::dialect) fn edit(event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
    let document = Document::read(event.data.as_deref().unwrap_or_default().as_bytes())?;
    let members = document.root().object().unwrap_or_default();
    let padding = members.iter().filter(|(key, _)| key == "obfuscation").map(|(_, value)| (value.range(), "\"\""));
    let choices = members.iter().filter(|(key, _)| key == "choices").filter_map(|(_, value)| value.array()).flatten();
    let lists = choices.filter_map(|choice| choice.object()).flatten().chain(members.iter().cloned());
    let lists = lists.filter(|(key, _)| LISTS.contains(&key.as_ref()));
    let lists = lists.map(|(_, value)| (value.range(), "null"));
    let echoes = padding.chain(lists).map(|(range, with)| Patch { range, with: with.to_owned() }).collect();
    edited(document, echoes, deltas, texts)
}

pub(in crate::dialect) fn finish_reason(refusal: &Refusal) -> &'static str {
    if refusal.filtered { "content_filter" } else { "stop" }
}

pub(in crate::dialect) fn no_usage() -> Value {
    json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
}
