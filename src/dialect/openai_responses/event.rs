//! What an event of a streamed answer tells: text that goes on, texts that are told whole, and what spells them once more.

use super::{
    item::{self, annotation_word, answer_word, word},
    response,
};
use crate::{
    dialect::{
        Brought,
        delta::{bring, line_end, unknown},
        text::{Collector, error_word, path},
    },
    segment::{Channel, Delta, Direction, Part, Segment, Target},
    wire::{
        frame::Event,
        json::{Malformed, Node, Patch},
    },
};

/// Fields of an event that hold no text.
const FORM: &[&str] = &[
    "type",
    "sequence_number",
    "stream_id",
    "item_id",
    "call_id",
    "output_index",
    "content_index",
    "summary_index",
    "annotation_index",
    "command_index",
    "partial_image_index",
    "status",
    "background",
    "output_format",
    "quality",
    "size",
];
/// Fields that tell a text whole.
const WHOLE: &[&str] = &["text", "refusal", "arguments", "input", "code", "command", "output", "transcript", "name", "message"];
const OTHER: &[&str] =
    &["delta", "item", "part", "response", "annotation", "error", "param", "partial_image_b64", "obfuscation", "logprobs"];

/// What an event tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Text that goes on, or may go on with further events.
    pub(super) brought: Brought,
    /// Texts that are told whole.
    pub(super) whole: Collector,
    /// Token lists, and padding, which would tell the length of what was taken out: what becomes of them in an edit.
    pub(super) echoes: Vec<Patch>,
}

/// Where an event's text belongs.
struct At<'k> {
    kind: &'k str,
    item: u64,
    /// Number of the item's part, counted apart in each of its lists.
    slot: u64,
}

/// Reads an event: every string of it, unless it is known to be no text.
///
/// # Errors
/// An event that cannot be read unambiguously.
pub(super) fn tell(event: &Event, root: &Node<'_>) -> Result<Told, Malformed> {
    let known: Vec<&str> = FORM.iter().chain(WHOLE).chain(OTHER).copied().collect();
    let members = root.known("event", &known)?;
    let kind = word(&members, "type").or(event.name.as_deref().map(Into::into)).unwrap_or_default();
    let number = |key: &str| members.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.integer());
    let item = number("output_index").unwrap_or(0);
    let lists = ["content_index", "summary_index", "command_index"];
    let place = (0..).zip(lists).find_map(|(list, key)| number(key).map(|index| (list, index)));
    let at = At { kind: &kind, item, slot: slot(item, place.unwrap_or((0, 0))) };
    let mut told = Told::default();
    match kind.as_ref() {
        "response.output_item.added" => told.brought.progress.begun.push(slot(item, (0, 0))),
        "response.output_item.done" => told.brought.progress.ended.push(slot(item, (0, 0))),
        _ => {}
    }
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        told.member(&at, key, value)?;
    }
    Ok(told)
}

/// A number for the part of an item.
pub(super) fn slot(item: u64, (list, index): (u64, u64)) -> u64 {
    ((item & 0xffff_ffff) << 24) | (list << 22) | (index & 0x3f_ffff)
}

impl Told {
    fn member(&mut self, at: &At<'_>, key: &str, value: &Node<'_>) -> Result<(), Malformed> {
        match key {
            key if FORM.contains(&key) => {}
            "code" | "param" if at.kind == "error" => {}
            "obfuscation" => self.echoes.push(Patch { range: value.range(), with: "\"\"".to_owned() }),
            "logprobs" => self.echoes.push(Patch { range: value.range(), with: "[]".to_owned() }),
            "partial_image_b64" => self.brought.unscorable.push("image_generation_call".to_owned()),
            "delta" if at.kind == "response.audio.delta" => self.brought.unscorable.push("audio".to_owned()),
            "delta" => self.strings(at, key, value),
            "item" => self.item(at, value)?,
            "part" if at.begins() => {
                let mut text = Collector::default();
                item::part(&mut text, Target::Completion, value, Direction::Response)?;
                let kind = value.object().and_then(|members| word(&members, "type").map(|kind| part_of(&kind)));
                self.grow(text, |_| Channel { choice: at.slot, part: kind.unwrap_or(Part::Content) });
            }
            "part" => {
                self.whole.passage();
                item::part(&mut self.whole, Target::Completion, value, Direction::Response)?;
            }
            "response" => response::answer(&mut self.whole, value, false)?,
            "annotation" => {
                self.whole.passage();
                self.whole.strings(Target::Completion, value, &annotation_word);
            }
            "error" => {
                self.whole.passage();
                self.whole.strings(Target::Completion, value, &error_word);
            }
            key if WHOLE.contains(&key) && !at.begins() => {
                self.whole.passage();
                self.whole.strings(at.part().map_or(Target::Completion, Part::target), value, &answer_word);
            }
            key if WHOLE.contains(&key) => self.strings(at, key, value),
            _ => unknown(at.slot, key, value, &|_, _| false, &mut self.brought),
        }
        Ok(())
    }

    /// An item: begun, to grow by deltas, or as it is in the end.
    fn item(&mut self, at: &At<'_>, item: &Node<'_>) -> Result<(), Malformed> {
        if !at.begins() {
            return item::read(&mut self.whole, item, Direction::Response);
        }
        let mut text = Collector::default();
        item::read(&mut text, item, Direction::Response)?;
        self.grow(text, |target| {
            let part = if target == Target::ToolCall { Part::ToolCall(at.item) } else { Part::Content };
            Channel { choice: at.slot, part }
        });
        Ok(())
    }

    fn strings(&mut self, at: &At<'_>, key: &str, value: &Node<'_>) {
        match at.part() {
            Some(part) => bring(at.slot, part, value, &answer_word, &mut self.brought),
            None => bring(at.slot, Part::Other(path(&[at.kind, key])), value, &|_, _| false, &mut self.brought),
        }
    }

    fn grow(&mut self, text: Collector, channel: impl Fn(Target) -> Channel) {
        self.brought.unscorable.extend(text.unscorable);
        self.echoes.extend(text.echoes.into_iter().map(|place| Patch { range: place.0, with: "[]".to_owned() }));
        let last = text.segments.len().saturating_sub(1);
        for (index, segment) in text.segments.into_iter().enumerate() {
            let channel = channel(segment.target);
            // A call begins with its name; only what stands behind that is gone on from.
            let ends = matches!(channel.part, Part::ToolCall(_)) && (index < last || last == 0);
            self.brought.deltas.push(delta(channel, segment));
            self.brought.deltas.extend(ends.then(|| line_end(channel)));
        }
    }
}

impl At<'_> {
    fn begins(&self) -> bool {
        self.kind.ends_with(".added")
    }

    /// What the event's text is, if its kind is known.
    fn part(&self) -> Option<Part> {
        let name = self.kind.strip_prefix("response.").and_then(|kind| kind.rsplit_once('.'));
        Some(match name.map_or(self.kind, |(name, _)| name) {
            "function_call_arguments"
            | "mcp_call_arguments"
            | "custom_tool_call_input"
            | "code_interpreter_call_code"
            | "shell_call_command" => Part::ToolCall(self.item),
            "refusal" => Part::Refusal,
            "reasoning_text" | "reasoning_summary_text" => Part::Reasoning,
            "output_text" | "audio.transcript" | "shell_call_output_content" => Part::Content,
            _ => return None,
        })
    }
}

/// What the text of a content part is.
fn part_of(kind: &str) -> Part {
    match kind {
        "refusal" => Part::Refusal,
        "reasoning_text" | "summary_text" => Part::Reasoning,
        _ => Part::Content,
    }
}

pub(super) fn delta(channel: Channel, segment: Segment) -> Delta {
    Delta { channel, text: segment.text, place: segment.place }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        dialect::any::{all_read, any_json},
        wire::{frame::Framing, json::Document},
    };

    proptest! {
        /// Whatever stands in events, items and fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_of_an_event_goes_unread(any in any_json(), kind in "response[.][a-z]{1,6}[.](delta|done|added)") {
            let item = json!({"type": "new_kind", "vendor": any});
            let part = json!({"type": "output_text", "text": "a", "vendor": any});
            let message = json!({"type": "message", "content": [part], "vendor": any});
            for data in [
                json!({"type": kind, "vendor": any}),
                json!({"type": kind, "delta": any}),
                json!({"type": kind, "item": item}),
                json!({"type": kind, "item": message}),
                json!({"type": kind, "part": part}),
                json!({"type": "response.output_text.delta", "delta": "a", "vendor": any}),
                json!({"type": "response.created", "response": {"vendor": any}}),
                json!({"type": "response.completed", "response": {"output": [item, message]}}),
            ] {
                let document = Document::read(data.to_string().as_bytes()).unwrap();
                let event = Event { raw: Bytes::new(), name: None, data: None, framing: Framing::Sse };
                let Told { brought, whole, .. } = tell(&event, &document.root()).unwrap();
                let grown = brought.deltas.into_iter().map(|delta| delta.text);
                let read: Vec<String> = grown.chain(whole.segments.into_iter().map(|segment| segment.text)).collect();
                all_read([&any], &read)?;
            }
        }
    }
}
