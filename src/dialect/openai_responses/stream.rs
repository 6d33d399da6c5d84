//! Streamed answers: events to deltas, deltas back into their event, and a proper end when an answer is cut.
//!
//! A text comes in deltas and then whole, up to four times: in the text's own `done` event, its part's, its item's and in the
//! answer at the end. Each of these repetitions is a channel of its own, so that it is judged and edited as the text that it
//! is; what deltas bring, and the beginnings that they go on from, is one channel for each part of each item.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::Value;

use super::{
    event::{Told, delta, slot, tell},
    seen::Seen,
};
use crate::{
    dialect::{
        Brought, Progress, Refusal, Request, StreamDialect,
        delta::{APART, edited, is_marker, line_end},
    },
    segment::{Channel, Delta, Part, Segment, Target},
    wire::{
        frame::{Event, Message},
        json::{Document, Malformed, Patch},
    },
};

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        dialect::{any::told, openai_responses::response},
        segment::Direction,
        wire::frame::{Framing, tests::events},
    };

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
        let events = events(Framing::Sse, include_bytes!("../../../tests/fixtures/openai_responses/stream.txt"));
        events.into_iter().map(|event| serde_json::from_str(&event.data.unwrap()).unwrap()).collect()
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
    fn texts(stream: &mut Stream, events: &[Value]) -> BTreeMap<(u64, Part), String> {
        told(stream, &events.iter().map(event).collect::<Vec<_>>()).0
    }

    #[test]
    fn each_text_has_its_channel() {
        let texts = texts(&mut stream(), &answer());
        let (told, grown): (Vec<_>, Vec<_>) = texts.into_iter().partition(|((choice, _), _)| choice & TOLD != 0);
        let grown: Vec<_> = grown.iter().map(|((choice, part), text)| (*choice, *part, text.as_str())).collect();
        let expected = [
            (slot(0, (1, 0)), Part::Reasoning, "Think first."),
            (slot(2, (0, 0)), Part::ToolCall(2), "buy\n{\"n\":1}"),
            (slot(3, (0, 0)), Part::Content, "Hello, you."),
            (slot(3, (0, 1)), Part::Refusal, "No."),
        ];
        assert_eq!(grown, expected);
        let mut calls = 0;
        let mut counts = BTreeMap::<&str, usize>::new();
        for ((_, part), text) in &told {
            calls += usize::from(*part == Part::ToolCall(0));
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
}
