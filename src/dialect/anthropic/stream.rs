//! Streamed answers: events to deltas, deltas back into their event, and a proper end when an answer is cut.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    fields::{self, ANSWER, DELTAS, EVENT, Field, Kind, Voice},
    reader::{Reader, type_of},
    response::{error, message, stop_reason},
};
use crate::{
    dialect::{
        Brought, Progress, Refusal, Request, StreamDialect,
        delta::{APART, edited, is_marker, line_end, unknown},
        text::path,
    },
    segment::{Channel, Delta, Part, Target},
    wire::{
        frame::{Event, Message},
        json::{Document, Malformed, Node},
    },
};

/// What events say that is of no block.
const NO_BLOCK: Channel = Channel { choice: u64::MAX, part: APART };

/// The answer's text and thoughts, of whatever block.
const TEXT: u64 = u64::MAX - 1;

/// One streamed answer: what its client has seen of it.
#[derive(Debug)]
pub(super) struct Stream {
    model: String,
    /// `message_start` has left.
    started: bool,
    /// `message_stop` has left.
    stopped: bool,
    /// Blocks that the client saw begun.
    begun: BTreeSet<u64>,
    /// Blocks that the client saw ended.
    ended: BTreeSet<u64>,
}

impl Stream {
    pub(super) fn new(request: &Request) -> Self {
        let (begun, ended) = (BTreeSet::new(), BTreeSet::new());
        Self { model: request.model.clone(), started: false, stopped: false, begun, ended }
    }
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        let mut brought = Brought::default();
        let Some(data) = event.data.as_deref().filter(|data| !is_marker(data)) else { return Ok(brought) };
        let document = Document::read(data.as_bytes())?;
        let name = type_of(&document.root()).map(String::from).or_else(|| event.name.clone()).unwrap_or_default();
        let members = document.root().known("event", &fields::keys(EVENT))?;
        let index = members.iter().find(|(key, _)| key == "index").and_then(|(_, value)| value.integer());
        let block = index.unwrap_or(0);
        match name.as_str() {
            "content_block_start" | "content_block_delta" => brought.progress.begun.push(block),
            "content_block_stop" => brought.progress.ended.push(block),
            "message_delta" => brought.closed.push(TEXT),
            "message_start" | "message_stop" => brought.progress.mark = Some(Value::from(name.as_str())),
            _ => {}
        }
        for (key, value) in members {
            match key.as_ref() {
                _ if value.is_null() => {}
                "message" if value.raw().starts_with('{') => read_message(value, name == "message_start", &mut brought)?,
                // A server that tells a block once more at its end repeats its text.
                "content_block" => read_block(block, value, name != "content_block_stop", &mut brought)?,
                "delta" => read_delta(index, value, &mut brought)?,
                key => take(NO_BLOCK, key, value, fields::kind(EVENT, key), &mut brought)?,
            }
        }
        Ok(brought)
    }

    fn left(&mut self, progress: &Progress) {
        self.begun.extend(&progress.begun);
        self.ended.extend(&progress.ended);
        match progress.mark.as_ref().and_then(Value::as_str) {
            Some("message_start") => self.started = true,
            Some("message_stop") => self.stopped = true,
            _ => {}
        }
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        let document = Document::read(event.data.as_deref().unwrap_or_default().as_bytes())?;
        edited(document, Vec::new(), deltas, texts)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        if self.stopped {
            return Vec::new();
        }
        let mut out = Vec::new();
        if !self.started {
            let start = message(&self.model, &json!([]), None);
            out.push(told("message_start", json!({"message": start})));
        }
        let open = self.begun.difference(&self.ended);
        out.extend(open.map(|index| told("content_block_stop", json!({"index": index}))));
        let next = self.begun.last().map_or(0, |last| last.saturating_add(1));
        let block = json!({"index": next, "content_block": {"type": "text", "text": ""}});
        let delta = json!({"index": next, "delta": {"type": "text_delta", "text": refusal.message}});
        let end = json!({"delta": {"stop_reason": stop_reason(refusal), "stop_sequence": null}, "usage": {"output_tokens": 0}});
        out.push(told("content_block_start", block));
        out.push(told("content_block_delta", delta));
        out.push(told("content_block_stop", json!({"index": next})));
        out.push(told("message_delta", end));
        out.push(told("message_stop", json!({})));
        out
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        // A status has been sent; the error's type still tells whether to try again.
        let status = match code {
            "content_filter" | "unscorable_content" => StatusCode::BAD_REQUEST,
            _ if code.starts_with("upstream") => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        vec![Message { error: true, ..Message::named("error", error(status, code, message)) }]
    }
}

/// An event of ours; its `type` is its name.
fn told(name: &str, mut data: Value) -> Message {
    if let Some(members) = data.as_object_mut() {
        members.insert("type".to_owned(), Value::from(name));
    }
    Message::named(name, data.to_string())
}

/// The message as it begins (`first`), which from most servers has no content yet, or as some tell it once more.
fn read_message(node: Node<'_>, first: bool, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in node.known("message", &fields::keys(ANSWER))? {
        let Some(blocks) = value.array().filter(|_| key == "content") else {
            take(NO_BLOCK, &key, value, fields::kind(ANSWER, &key), brought)?;
            continue;
        };
        for (index, block) in (0..).zip(blocks) {
            read_block(index, block, first, brought)?;
            brought.progress.begun.extend(first.then_some(index));
        }
    }
    Ok(())
}

/// A block, as it begins (`first`) or told once more.
fn read_block(index: u64, node: Node<'_>, first: bool, brought: &mut Brought) -> Result<(), Malformed> {
    let Some(shape) = type_of(&node).and_then(|name| fields::shape(&name)) else {
        return take(Channel { choice: index, part: APART }, "content_block", node, None, brought);
    };
    if shape.voice == Voice::File {
        brought.unscorable.push(shape.name.to_owned());
    }
    let channel = |key: &str| match (shape.name, key) {
        _ if !first => Channel { choice: index, part: APART },
        ("text", "text") => Channel { choice: TEXT, part: Part::Content },
        ("thinking", "thinking") => Channel { choice: TEXT, part: Part::Reasoning },
        _ if shape.voice == Voice::Call => Channel { choice: index, part: Part::ToolCall(index) },
        _ => Channel { choice: index, part: APART },
    };
    spread(node, shape.fields, &channel, brought)
}

/// What is added to a block, or to the message if there is no `index`.
fn read_delta(index: Option<u64>, node: Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    let other = index.map_or(NO_BLOCK, |choice| Channel { choice, part: APART });
    let Some(name) = type_of(&node) else { return take(other, "delta", node, fields::kind(EVENT, "delta"), brought) };
    let Some((_, table)) = DELTAS.iter().find(|(kind, _)| *kind == name) else {
        return take(other, "delta", node, None, brought);
    };
    let choice = index.unwrap_or(0);
    let channel = |key: &str| match (&*name, key) {
        // The user reads the texts of all blocks as one: cited answers begin a block in the middle of a sentence.
        ("text_delta", "text") => Channel { choice: TEXT, part: Part::Content },
        ("thinking_delta", "thinking") => Channel { choice: TEXT, part: Part::Reasoning },
        ("input_json_delta", "partial_json") => Channel { choice, part: Part::ToolCall(choice) },
        _ => Channel { choice, part: APART },
    };
    spread(node, table, &channel, brought)
}

/// An object of these fields, each into its channel.
fn spread(node: Node<'_>, table: &[Field], channel: &dyn Fn(&str) -> Channel, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in node.known("block", &fields::keys(table))? {
        take(channel(&key), &key, value, fields::kind(table, &key), brought)?;
    }
    Ok(())
}

/// The text of one value. In a channel for what is not the answer's own words, each field has its own.
fn take(channel: Channel, what: &str, node: Node<'_>, kind: Option<Kind>, brought: &mut Brought) -> Result<(), Malformed> {
    let Some(kind) = kind else {
        unknown(channel.choice, what, &node, &|_, _| false, brought);
        return Ok(());
    };
    let channel = match channel.part {
        Part::Other(_) => Channel { part: Part::Other(path(&[what])), ..channel },
        _ => channel,
    };
    let mut reader = Reader::answer();
    reader.alone(Target::Completion, what, node, kind)?;
    let text = reader.finish();
    brought.unscorable.extend(text.unscorable);
    // Strings that only stand side by side, such as a title and an address, are no running text.
    let end = (text.segments.len() > 1).then(|| line_end(channel));
    for segment in text.segments {
        brought.deltas.push(Delta { channel, text: segment.text, place: segment.place });
        brought.deltas.extend(end.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dialect::any::told,
        segment::Direction,
        wire::frame::{self, Framing},
    };

    /// As the API sends it, but for the line breaks, and with less usage and shorter ciphertext.
    const ANSWER: &[&str] = &[
        r#"{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant",
            "model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,
            "usage":{"input_tokens":25,"cache_creation":{"ephemeral_5m_input_tokens":0},"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type": "ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":" see"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta",
            "signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+/="}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{
            "type":"char_location","cited_text":"A plan.","document_index":0,"document_title":"Plan",
            "start_char_index":0,"end_char_index":7,"file_id":null}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hello 41"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"11"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{
            "type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"query\": \"te"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"a\"}"}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"web_search_tool_result",
            "tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","title":"All of tea","url":"https://tea.example",
            "encrypted_content":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+/=","page_age":null}]}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"content_block_start","index":4,"content_block":{
            "type":"tool_use","id":"toolu_1","name":"weather","input":{}}}"#,
        r#"{"type":"content_block_delta","index":4,"delta":{
            "type":"input_json_delta","partial_json":"{\"city\": \"Yangon\"}"}}"#,
        r#"{"type":"content_block_stop","index":4}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},
            "usage":{"output_tokens":89,"server_tool_use":{"web_search_requests":1}}}"#,
        r#"{"type":"message_stop"}"#,
    ];

    fn parsed(data: &str) -> Value {
        serde_json::from_str(data).unwrap()
    }

    fn events(data: &[&str]) -> Vec<Event> {
        let name = |data: &str| parsed(data)["type"].as_str().unwrap().to_owned();
        let events = data.iter().map(|data| format!("event: {}\ndata: {}\n\n", name(data), data.replace('\n', "")));
        frame::tests::events(Framing::Sse, events.collect::<String>().as_bytes())
    }

    fn stream() -> Stream {
        Stream::new(&Request { model: "m".to_owned(), ..Request::default() })
    }

    #[test]
    fn each_block_is_a_text() {
        let expected = [
            ((TEXT, Part::Reasoning), "Let me see"),
            ((TEXT, Part::Content), "Hello 4111"),
            ((1, Part::Other(path(&["citation"]))), "A plan.\nPlan\n"),
            ((2, Part::ToolCall(2)), r#"web_search{"query": "tea"}"#),
            ((3, Part::Other(path(&["content"]))), "All of tea\nhttps://tea.example\n"),
            ((4, Part::ToolCall(4)), r#"weather{"city": "Yangon"}"#),
        ];
        let expected = expected.map(|(channel, text)| (channel, text.to_owned())).into();
        assert_eq!(told(&mut stream(), &events(ANSWER)), (expected, vec![]));
    }

    #[test]
    fn what_is_not_known_or_told_twice_is_read() {
        let events = events(&[
            r#"{"type":"message_start","message":{"content":[{"type":"text","text":"a"}],"vendor":"b b"}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"hologram_delta","beam":"c"},"vendor":"d"}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"e","vendor":"f"}}"#,
            r#"{"type":"content_block_stop","index":2,"content_block":{"type":"text","text":"e"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"g"},"usage":{}}"#,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"h"}}"#,
            r#"{"type":"content_block_start","index":3,"content_block":{"type":"container_upload","file_id":"file_1"}}"#,
        ]);
        let other = |names: &[&str]| Part::Other(path(names));
        let expected = [
            ((TEXT, Part::Content), "ae"),
            ((1, other(&["delta", "type"])), "hologram_delta"),
            ((1, other(&["delta", "beam"])), "c"),
            ((1, APART), "type\nbeam\n"),
            ((2, other(&["vendor"])), "f"),
            ((2, other(&["text"])), "e"),
            ((u64::MAX, other(&["vendor"])), "b bd"),
            ((u64::MAX, other(&["delta"])), "g"),
            ((u64::MAX, other(&["error"])), "h"),
        ];
        let expected = expected.map(|(channel, text)| (channel, text.to_owned())).into();
        assert_eq!(told(&mut stream(), &events), (expected, vec!["container_upload".to_owned()]));
    }

    #[test]
    fn an_edit_stays_in_its_place() {
        let events = events(ANSWER);
        for (at, text) in [(9, "Hello [x]"), (15, "a [x]\"}")] {
            let deltas = stream().read(&events[at]).unwrap().deltas;
            let edited = stream().edit(&events[at], &deltas, &[text.to_owned()]).unwrap();
            let mut expected = parsed(ANSWER[at]);
            let key = if at == 9 { "text" } else { "partial_json" };
            expected["delta"][key] = Value::from(text);
            assert_eq!(parsed(&edited), expected);
        }
    }

    /// Reads as a strict client does: all in order, all ended; its text and stop reason.
    fn client(events: &[Value]) -> (String, String) {
        let (mut text, mut stop_reason, mut blocks) = (String::new(), None, Vec::<bool>::new());
        for (at, event) in events.iter().enumerate() {
            let kind = event["type"].as_str().unwrap();
            assert_eq!(kind == "message_start", at == 0);
            assert_eq!(kind == "message_stop", at + 1 == events.len());
            let index = event["index"].as_u64().map(|index| usize::try_from(index).unwrap());
            match kind {
                "content_block_start" => {
                    assert_eq!(index, Some(blocks.len()));
                    assert!(blocks.iter().all(|open| !open), "one block at a time");
                    blocks.push(true);
                }
                "content_block_delta" => {
                    assert!(blocks[index.unwrap()]);
                    text.push_str(event["delta"]["text"].as_str().unwrap_or_default());
                }
                "content_block_stop" => assert!(std::mem::replace(&mut blocks[index.unwrap()], false)),
                "message_delta" => {
                    assert!(event["usage"]["output_tokens"].is_u64());
                    stop_reason = event["delta"]["stop_reason"].as_str().map(str::to_owned);
                }
                _ => {}
            }
        }
        assert!(blocks.iter().all(|open| !open));
        (text, stop_reason.unwrap())
    }

    #[test]
    fn a_cut_after_any_event_ends_the_stream() {
        let mut refusal = Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Response };
        for left in 0..ANSWER.len() {
            // All has been read, but only some of it has left.
            let mut stream = stream();
            let progress: Vec<_> = events(ANSWER).iter().map(|event| stream.read(event).unwrap().progress).collect();
            progress.iter().take(left).for_each(|progress| stream.left(progress));
            refusal.filtered = left.is_multiple_of(2);
            let cut = stream.cut(&refusal);
            assert!(cut.iter().all(|message| parsed(&message.data)["type"].as_str() == message.name.as_deref()));
            let seen = ANSWER.iter().take(left).copied().chain(cut.iter().map(|message| message.data.as_str()));
            let (text, stop_reason) = client(&seen.map(parsed).collect::<Vec<_>>());
            assert!(text.ends_with("No."));
            assert_eq!(stop_reason, if refusal.filtered { "refusal" } else { "end_turn" });
        }
        let mut stream = stream();
        for event in events(ANSWER) {
            let progress = stream.read(&event).unwrap().progress;
            stream.left(&progress);
        }
        assert!(stream.cut(&refusal).is_empty(), "nothing follows the end");
    }

    #[test]
    fn an_error_is_an_event() {
        let message = stream().fail("content_filter", "no: this").remove(0);
        assert_eq!((message.name.as_deref(), message.error), (Some("error"), true));
        assert_eq!(parsed(&message.data)["error"]["type"], "invalid_request_error");
        assert!(stream().fail("guard_unavailable", "later").remove(0).data.contains("overloaded_error"));
    }

    #[test]
    fn markers_and_pings_bring_nothing() {
        let bytes = b": hello\n\ndata: [DONE]\n\ndata:\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";
        for event in frame::tests::events(Framing::Sse, bytes) {
            assert_eq!(stream().read(&event).unwrap(), Brought::default());
        }
    }
}
