//! Streamed answers: events to deltas, deltas back into their event, and a proper end when an answer is cut.
//!
//! A text comes in deltas and then whole, up to four times: in the text's own `done` event, its part's, its item's and in the
//! answer at the end. Each of these repetitions is a channel of its own, so that it is judged and edited as the text that it
//! is; what deltas bring, and the beginnings that they go on from, is one channel for each part of each item.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::Value;

use super::{
    item::{self, annotation_word, answer_word, word},
    response,
    seen::Seen,
};
use crate::{
    dialect::{
        Brought, Progress, Refusal, Request, StreamDialect,
        delta::{APART, bring, edited, is_marker, line_end, unknown},
        text::{Collector, error_word, path},
    },
    segment::{Channel, Delta, Direction, Part, Segment, Target},
    wire::{
        frame::{Event, Message},
        json::{Document, Malformed, Node, Patch},
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

/// Marks channels of texts that are told whole.
const TOLD: u64 = 1 << 63;

/// One streamed answer.
#[derive(Debug)]
pub(super) struct Stream {
    seen: Seen,
    /// Slots with text that may still grow.
    grown: BTreeSet<u64>,
    /// Texts told whole so far.
    told: u64,
    /// The data of the event that is about to leave, if it was edited: the end must repeat what the client saw.
    edited: RefCell<Option<String>>,
}

impl Stream {
    pub(super) fn new(request: &Request) -> Self {
        Self { seen: Seen::new(&request.model), grown: BTreeSet::new(), told: 0, edited: RefCell::new(None) }
    }

    /// Gives each text that is told whole a channel. Tool definitions, and what has keys that are text, say something only
    /// together.
    fn whole(&mut self, segments: &[Segment]) -> Vec<Delta> {
        let mut deltas = Vec::with_capacity(segments.len());
        for passage in segments.chunk_by(|a, b| a.passage == b.passage) {
            let together = passage.iter().any(|segment| segment.place.is_none() || segment.target == Target::ToolDefinition);
            for (index, segment) in passage.iter().enumerate() {
                if index == 0 || !together {
                    self.told += 1;
                }
                let first = if together { passage.first().unwrap_or(segment) } else { segment };
                let part = match first.target {
                    Target::ToolCall => Part::ToolCall(0),
                    _ if together => APART,
                    _ => Part::Content,
                };
                let channel = Channel { choice: TOLD | self.told, part };
                deltas.push(delta(channel, segment.clone()));
                deltas.extend(together.then(|| line_end(channel)));
            }
        }
        deltas
    }
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        let Some(data) = event.data.as_deref().filter(|data| !is_marker(data)) else { return Ok(Brought::default()) };
        let document = Document::read(data.as_bytes())?;
        let Told { mut brought, whole, .. } = tell(event, &document.root())?;
        self.grown.extend(brought.deltas.iter().map(|delta| delta.channel.choice));
        for item in &brought.progress.ended {
            let after = self.grown.split_off(&(item + slot(1, (0, 0))));
            brought.closed.extend(self.grown.split_off(item));
            self.grown.extend(after);
        }
        let whole_texts = self.whole(&whole.segments);
        brought.closed.extend(whole_texts.iter().map(|delta| delta.channel.choice));
        brought.deltas.extend(whole_texts);
        brought.unscorable.extend(whole.unscorable);
        brought.progress.mark = Some(data.into());
        Ok(brought)
    }

    fn left(&mut self, progress: &Progress) {
        let edited = self.edited.take();
        let data = edited.as_deref().or(progress.mark.as_ref().and_then(Value::as_str)).unwrap_or_default();
        if let Ok(event) = serde_json::from_str(data) {
            self.seen.event(&event);
        }
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        let document = Document::read(event.data.as_deref().unwrap_or_default().as_bytes())?;
        let Told { mut echoes, whole, .. } = tell(event, &document.root())?;
        echoes.extend(whole.echoes.into_iter().map(|place| Patch { range: place.0, with: "[]".to_owned() }));
        let data = edited(document, echoes, deltas, texts)?;
        *self.edited.borrow_mut() = Some(data.clone());
        Ok(data)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        self.seen.cut(refusal)
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        // The API's event is flat; SDKs raise on the object that the API puts into an answer's body.
        let error = serde_json::json!({
            "type": "error",
            "sequence_number": self.seen.next(),
            "code": code,
            "message": message,
            "param": null,
            "error": {"type": "server_error", "code": code, "message": message, "param": null},
        });
        vec![Message::named("error", error.to_string())]
    }
}

/// What an event tells.
#[derive(Debug, Default)]
struct Told {
    /// Text that goes on, or may go on with further events.
    brought: Brought,
    /// Texts that are told whole.
    whole: Collector,
    /// Token lists, and padding, which would tell the length of what was taken out: what becomes of them in an edit.
    echoes: Vec<Patch>,
}

/// Where an event's text belongs.
struct At<'k> {
    kind: &'k str,
    item: u64,
    /// Number of the item's part, counted apart in each of its lists.
    slot: u64,
}

fn tell(event: &Event, root: &Node<'_>) -> Result<Told, Malformed> {
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
fn slot(item: u64, (list, index): (u64, u64)) -> u64 {
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

fn delta(channel: Channel, segment: Segment) -> Delta {
    Delta { channel, text: segment.text, place: segment.place }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::dialect::any::{any_json, strings};
    use crate::wire::frame::Framing;

    const NO: &str = "Not that.";

    fn refusal(filtered: bool) -> Refusal {
        Refusal { message: NO.to_owned(), filtered, direction: Direction::Response }
    }

    fn stream() -> Stream {
        Stream::new(&Request { model: "m".to_owned(), choices: 1, ..Request::default() })
    }

    fn event(data: &Value) -> Event {
        let name = data["type"].as_str().map(str::to_owned);
        Event { raw: bytes::Bytes::new(), name, data: Some(data.to_string()), framing: Framing::Sse }
    }

    /// An answer as the API streams it: reasoning, a search, a call and a message.
    fn answer() -> Vec<Value> {
        let mut decoder = Framing::Sse.decoder(1 << 20);
        decoder.feed(include_bytes!("../../../tests/fixtures/openai_responses/stream.txt"));
        let events = std::iter::from_fn(|| decoder.event().unwrap());
        events.map(|event| serde_json::from_str(&event.data.unwrap()).unwrap()).collect()
    }

    /// A client that holds a stream to the API's rules.
    #[derive(Default)]
    struct Client {
        number: u64,
        id: Option<Value>,
        items: BTreeMap<u64, (Value, bool)>,
        /// Open parts, and the text that their deltas made.
        parts: BTreeMap<(u64, u64), String>,
        end: Option<Value>,
    }

    impl Client {
        fn see(&mut self, event: &Value) {
            assert!(self.end.is_none(), "something comes after the end: {event}");
            assert_eq!(event["sequence_number"].as_u64(), Some(self.number), "{event}");
            self.number += 1;
            let kind = event["type"].as_str().unwrap();
            assert!(self.id.is_some() || kind == "response.created", "{event}");
            let index = event["output_index"].as_u64();
            let part = (index.unwrap_or(0), event["content_index"].as_u64().or(event["summary_index"].as_u64()).unwrap_or(0));
            match kind {
                "response.created" => self.id = Some(event["response"]["id"].clone()),
                "response.in_progress" => assert_eq!(self.id.as_ref(), Some(&event["response"]["id"])),
                "response.completed" | "response.incomplete" => {
                    assert_eq!(self.id.as_ref(), Some(&event["response"]["id"]));
                    assert!(self.parts.is_empty(), "{:?} are open", self.parts);
                    let items: Vec<Value> = self
                        .items
                        .values()
                        .map(|(item, ended)| {
                            assert!(ended, "{item} is open");
                            item.clone()
                        })
                        .collect();
                    assert_eq!(event["response"]["output"], Value::from(items));
                    self.end = Some(event.clone());
                }
                "response.output_item.added" => {
                    let old = self.items.insert(index.unwrap(), (event["item"].clone(), false));
                    assert!(old.is_none(), "{event}");
                }
                "response.output_item.done" => {
                    let (item, ended) = self.items.get_mut(&index.unwrap()).unwrap();
                    assert!(!*ended && item["id"] == event["item"]["id"] && item["call_id"] == event["item"]["call_id"]);
                    (*item, *ended) = (event["item"].clone(), true);
                }
                "response.content_part.added" | "response.reasoning_summary_part.added" => {
                    assert_eq!(self.items[&part.0].0["id"], event["item_id"]);
                    assert!(self.parts.insert(part, String::new()).is_none());
                }
                "response.content_part.done" | "response.reasoning_summary_part.done" => {
                    let text = self.parts.remove(&part).unwrap();
                    let told = event["part"]["text"].as_str().or(event["part"]["refusal"].as_str());
                    assert_eq!(told, Some(text.as_str()));
                }
                "response.output_text.delta" | "response.refusal.delta" | "response.reasoning_summary_text.delta" => {
                    self.parts.get_mut(&part).unwrap().push_str(event["delta"].as_str().unwrap());
                }
                "response.output_text.done" | "response.refusal.done" | "response.reasoning_summary_text.done" => {
                    let told = event["text"].as_str().or(event["refusal"].as_str());
                    assert_eq!(told, Some(self.parts[&part].as_str()));
                }
                _ => assert!(!self.items[&index.unwrap()].1, "{event}"),
            }
        }
    }

    /// The texts that events bring, channel by channel; those told whole in their order.
    fn texts(stream: &mut Stream, events: &[Value]) -> BTreeMap<Channel, String> {
        let mut texts = BTreeMap::<Channel, String>::new();
        for data in events {
            for delta in stream.read(&event(data)).unwrap().deltas {
                texts.entry(delta.channel).or_default().push_str(&delta.text);
            }
        }
        texts
    }

    #[test]
    fn each_text_has_its_channel() {
        let texts = texts(&mut stream(), &answer());
        let (told, grown): (Vec<_>, Vec<_>) = texts.into_iter().partition(|(channel, _)| channel.choice & TOLD != 0);
        let grown: Vec<_> = grown.iter().map(|(channel, text)| (channel.choice, channel.part, text.as_str())).collect();
        let expected = [
            (slot(0, (1, 0)), Part::Reasoning, "Think first."),
            (slot(2, (0, 0)), Part::ToolCall(2), "buy\n{\"n\":1}"),
            (slot(3, (0, 0)), Part::Content, "Hello, you."),
            (slot(3, (0, 1)), Part::Refusal, "No."),
        ];
        assert_eq!(grown, expected);
        let mut calls = 0;
        let mut counts = BTreeMap::<&str, usize>::new();
        for (channel, text) in &told {
            calls += usize::from(channel.part == Part::ToolCall(0));
            *counts.entry(text.as_str()).or_default() += 1;
        }
        let expected = [
            ("Think first.", 4),
            ("tea", 2),
            ("buy", 2),
            ("{\"n\":1}", 3),
            ("Hello, you.", 4),
            ("No.", 4),
            ("Tea", 4),
            ("https://tea", 4),
        ];
        assert_eq!(counts, BTreeMap::from(expected));
        assert_eq!(calls, 7);
    }

    #[test]
    fn an_item_that_ends_ends_its_own_texts() {
        let mut stream = stream();
        let delta = |item: u64, part: u64| {
            json!({"type": "response.output_text.delta", "output_index": item,
            "content_index": part, "delta": "a"})
        };
        for (item, part) in [(0, 1), (1, 0), (1, 1), (2, 0)] {
            stream.read(&event(&delta(item, part))).unwrap();
        }
        let done = json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "message", "content": []}});
        let brought = stream.read(&event(&done)).unwrap();
        assert_eq!(brought.closed, [slot(1, (0, 0)), slot(1, (0, 1))]);
        assert_eq!(brought.progress.ended, [slot(1, (0, 0))]);
        assert!(stream.read(&event(&done)).unwrap().closed.is_empty());
    }

    #[test]
    fn a_cut_after_any_event_ends_properly() {
        let events = answer();
        for filtered in [true, false] {
            for left in 0..events.len() {
                let (mut stream, mut client) = (stream(), Client::default());
                for (index, data) in events.iter().enumerate() {
                    // Events that were read and have not left do not count.
                    let progress = stream.read(&event(data)).unwrap().progress;
                    if index < left {
                        stream.left(&progress);
                        client.see(data);
                    }
                }
                for message in stream.cut(&refusal(filtered)) {
                    let data: Value = serde_json::from_str(&message.data).unwrap();
                    assert_eq!(message.name.as_deref(), data["type"].as_str());
                    client.see(&data);
                }
                let end = client.end.unwrap();
                let last = end["response"]["output"].as_array().unwrap().last().unwrap().clone();
                let status = if filtered { "incomplete" } else { "completed" };
                assert_eq!(end["response"]["status"], status);
                assert_eq!(last["content"], json!([response::part(&refusal(filtered), NO)]));
            }
        }
    }

    #[test]
    fn nothing_follows_the_end() {
        let mut stream = stream();
        for data in answer() {
            let progress = stream.read(&event(&data)).unwrap().progress;
            stream.left(&progress);
        }
        assert!(stream.cut(&refusal(true)).is_empty());
    }

    #[test]
    fn an_edit_reaches_its_place_and_the_end_repeats_what_the_client_saw() {
        let mut stream = stream();
        for data in &answer()[..=20] {
            let brought = stream.read(&event(data)).unwrap();
            if data["delta"] == "Hello" {
                let data = stream.edit(&event(data), &brought.deltas, &["\"H\"".to_owned()]).unwrap();
                let data: Value = serde_json::from_str(&data).unwrap();
                let expected = (&json!("\"H\""), &json!([]), &json!(""));
                assert_eq!((&data["delta"], &data["logprobs"], &data["obfuscation"]), expected);
            }
            stream.left(&brought.progress);
        }
        let ending = stream.cut(&refusal(true));
        assert!(ending.iter().all(|message| !message.data.contains("Hello")));
        let told = |message: &Message| serde_json::from_str::<Value>(&message.data).unwrap()["text"].clone();
        assert_eq!(told(&ending[0]), "\"H\"");
        assert!(ending.last().unwrap().data.contains("\\\"H\\\""));
    }

    #[test]
    fn an_edit_of_what_is_told_whole_blanks_its_token_lists() {
        let part = json!({"type": "output_text", "text": "Hello", "annotations": [], "logprobs": [{"token": "Hello"}]});
        let item = json!({"type": "message", "id": "m", "role": "assistant", "content": [part]});
        for data in [
            json!({"type": "response.content_part.done", "part": part}),
            json!({"type": "response.output_item.done", "item": item}),
            json!({"type": "response.completed", "response": {"id": "r", "output": [item]}}),
        ] {
            let mut stream = stream();
            let deltas = stream.read(&event(&data)).unwrap().deltas;
            assert_eq!(deltas.len(), 1);
            let edited = stream.edit(&event(&data), &deltas, &["H".to_owned()]).unwrap();
            assert_eq!(edited, data.to_string().replace("[{\"token\":\"Hello\"}]", "[]").replace("Hello", "H"));
        }
    }

    #[test]
    fn errors_images_and_markers() {
        let mut stream = stream();
        let error = json!({"code": "server_error", "message": "Sorry."});
        let failed =
            json!({"type": "response.failed", "response": {"id": "r", "status": "failed", "output": [], "error": error}});
        let error = json!({"type": "error", "code": "server_error", "message": "Sorry.", "param": null, "sequence_number": 1});
        for data in [error, failed] {
            let texts: Vec<_> = texts(&mut stream, &[data]).into_values().collect();
            assert_eq!(texts, ["Sorry."]);
        }
        let image = json!({"type": "response.image_generation_call.partial_image", "partial_image_b64": "AAAA"});
        let audio = json!({"type": "response.audio.delta", "delta": "AAAA"});
        for (data, kind) in [(image, "image_generation_call"), (audio, "audio")] {
            let brought = stream.read(&event(&data)).unwrap();
            assert_eq!((brought.deltas, brought.unscorable), (vec![], vec![kind.to_owned()]));
        }
        for data in [Some("[DONE]"), Some(" "), None] {
            let marker = Event { data: data.map(str::to_owned), ..event(&json!({})) };
            assert_eq!(stream.read(&marker).unwrap(), Brought::default());
        }
        let fail: Value = serde_json::from_str(&stream.fail("overloaded", "Later.")[0].data).unwrap();
        assert_eq!(
            (&fail["type"], &fail["code"], &fail["error"]["message"]),
            (&json!("error"), &json!("overloaded"), &json!("Later."))
        );
    }

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
                let deltas = stream().read(&event(&data)).unwrap().deltas;
                let read: Vec<String> = deltas.into_iter().map(|delta| delta.text).collect();
                let mut all = Vec::new();
                strings(&any, &mut all);
                for text in all.iter().filter(|text| !text.is_empty()) {
                    prop_assert!(read.contains(text), "{} is not read in {}", text, data);
                }
            }
        }
    }
}
