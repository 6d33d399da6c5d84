//! What the client has seen of a stream: all that its end must close and tell once more.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    fields::fields,
    response::{finish_reason, tell_blocked},
};
use crate::{
    dialect::{Progress, Refusal, Request, new_id},
    wire::{
        frame::Message,
        json::{Malformed, Members},
    },
};

/// Counts of tokens.
const COUNTS: &[&str] = &[
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "toolUsePromptTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
];

/// What the client has seen.
#[derive(Debug)]
pub(super) struct Seen {
    model: String,
    choices: u64,
    /// Candidates that were begun.
    begun: BTreeSet<u64>,
    /// Candidates that were ended.
    ended: BTreeSet<u64>,
    /// The answer's id, model and counts.
    envelope: Map<String, Value>,
}

impl Seen {
    pub(super) fn new(request: &Request) -> Self {
        let (begun, ended) = (BTreeSet::new(), BTreeSet::new());
        Self { model: request.model.clone(), choices: request.choices, begun, ended, envelope: Map::new() }
    }

    /// The client has seen the chunk that brought this.
    pub(super) fn left(&mut self, progress: &Progress) {
        self.begun.extend(&progress.begun);
        self.ended.extend(&progress.ended);
        if let Some(Value::Object(mark)) = &progress.mark {
            self.envelope.extend(mark.clone());
        }
    }

    /// Ends what is open with a refusal.
    pub(super) fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        let asked = 0..self.choices.clamp(1, 128);
        let all: BTreeSet<u64> = asked.chain(self.begun.iter().copied()).collect();
        let open: Vec<u64> = all.difference(&self.ended).copied().collect();
        if open.is_empty() {
            return Vec::new();
        }
        let mut envelope = json!({
            "usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
            "modelVersion": self.model,
            "responseId": new_id(""),
        });
        if let Some(envelope) = envelope.as_object_mut() {
            envelope.extend(self.envelope.clone());
        }
        let chunk = |text: &str, reason: Option<&str>| {
            let candidates = open.iter().map(|index| {
                let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": index});
                if let (Some(candidate), Some(reason)) = (candidate.as_object_mut(), reason) {
                    candidate.insert("finishReason".to_owned(), reason.into());
                }
                candidate
            });
            let mut chunk = envelope.clone();
            if let Some(chunk) = chunk.as_object_mut() {
                chunk.insert("candidates".to_owned(), candidates.collect());
            }
            chunk
        };
        // The last chunk has a text, if an empty one: many clients join the texts of all chunks unseen.
        let (mut told, end) = (chunk(&refusal.message, None), chunk("", Some(finish_reason(refusal))));
        tell_blocked(&mut told, refusal);
        [told, end].iter().map(|chunk| Message::plain(chunk.to_string())).collect()
    }
}

/// The id, model and counts that a chunk tells.
pub(super) fn mark(members: &Members<'_>) -> Result<Option<Value>, Malformed> {
    let mut mark = Map::new();
    for (key, value) in members {
        let told = match key.as_ref() {
            "responseId" | "modelVersion" => value.string().map(|text| Value::from(text.as_ref())),
            "usageMetadata" => {
                let counts = fields(value, key, COUNTS)?.into_iter().filter(|(key, _)| COUNTS.contains(&key.as_ref()));
                let counts = counts.filter_map(|(key, value)| Some((key.into_owned(), value.integer()?.into())));
                Some(Value::Object(counts.collect()))
            }
            _ => None,
        };
        mark.extend(told.map(|told| (key.to_string(), told)));
    }
    Ok((!mark.is_empty()).then_some(Value::Object(mark)))
}
