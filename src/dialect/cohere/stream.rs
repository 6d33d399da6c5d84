//! Streamed answers: events to deltas, deltas back into their event, and a proper end when an answer is cut.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    request::{call_word, citation_word, each},
    response::{FINISHED, usage},
};
use crate::{
    dialect::{
        Brought, Progress, Refusal, StreamDialect,
        delta::{APART, bring, edited, is_marker, lines, unknown},
        new_id,
        text::Collector,
        tokens::are_ahead,
    },
    segment::{Channel, Delta, Part, Target},
    wire::{
        frame::{Event, Message},
        json::{Document, Malformed, Node, Patch},
    },
};

const EVENT: &[&str] = &["id", "type", "index", "delta", "logprobs"];
const DELTA: &[&str] = &["message", "finish_reason", "usage", "error"];
const MESSAGE: &[&str] = &["role", "content", "tool_plan", "tool_calls", "citations"];
const PART: &[&str] = &["type", "text", "thinking"];
const CALL: &[&str] = &["id", "type", "function"];

/// Content blocks, tool calls and citations are each numbered from nought; here their numbers stand apart.
const CALLS: u64 = 1 << 32;
const CITATIONS: u64 = 2 << 32;
/// What belongs to the message and to none of its blocks.
const WHOLE: u64 = u64::MAX;

/// One streamed answer: what of it has left.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The message's id, once the client saw it begun.
    id: Option<String>,
    /// The client saw the message ended.
    done: bool,
    /// Blocks that the client saw begun.
    begun: BTreeSet<u64>,
    /// Blocks that the client saw ended.
    ended: BTreeSet<u64>,
}

impl Stream {
    /// The message's beginning, if the client has not seen it.
    fn start(&self) -> Option<Message> {
        let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        self.id.is_none().then(|| told("message-start", json!({"id": new_id(""), "delta": {"message": message}})))
    }
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        let mut brought = Brought::default();
        let Some(data) = event.data.as_deref().filter(|data| !is_marker(data)) else { return Ok(brought) };
        let document = Document::read(data.as_bytes())?;
        let members = document.root().known("event", EVENT)?;
        let find = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        let index = find("index").and_then(|index| index.integer()).unwrap_or(0).min(u64::from(u32::MAX));
        for (key, value) in &members {
            match key.as_ref() {
                "id" | "type" | "index" | "logprobs" => {}
                "delta" if !value.is_null() => read_delta(index, value, &mut brought)?,
                _ => unknown(WHOLE, key, value, &|_, _| false, &mut brought),
            }
        }
        brought.ahead = are_ahead(&members, index, &brought.deltas);
        let kind = find("type").and_then(|kind| kind.string()).or_else(|| event.name.as_deref().map(Into::into));
        let id = find("id").and_then(|id| id.string());
        brought.progress = progress(kind.as_deref().unwrap_or_default(), index, id.as_deref().unwrap_or_default());
        Ok(brought)
    }

    fn left(&mut self, progress: &Progress) {
        self.begun.extend(&progress.begun);
        self.ended.extend(&progress.ended);
        match &progress.mark {
            Some(Value::String(id)) => self.id = Some(id.clone()),
            Some(_) => self.done = true,
            None => {}
        }
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        let document = Document::read(event.data.as_deref().unwrap_or_default().as_bytes())?;
        // The token list spells the text once more.
        let members = document.root().object().unwrap_or_default();
        let lists = members.iter().filter(|(key, _)| key == "logprobs");
        let echoes = lists.map(|(_, value)| Patch { range: value.range(), with: "null".to_owned() }).collect();
        edited(document, echoes, deltas, texts)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        let mut out = Vec::new();
        if !self.done {
            out.extend(self.start());
            // Citations stand within the content and close before it.
            let open = self.begun.iter().rev().filter(|block| !self.ended.contains(block));
            out.extend(open.map(|block| end(*block)));
            let index = self.begun.range(..CALLS).next_back().map_or(0, |last| last + 1);
            let content = |content: Value| json!({"index": index, "delta": {"message": {"content": content}}});
            out.push(told("content-start", content(json!({"type": "text", "text": ""}))));
            out.push(told("content-delta", content(json!({"text": refusal.message}))));
            out.push(end(index));
            out.push(told("message-end", json!({"delta": {"finish_reason": FINISHED, "usage": usage()}})));
        }
        out.push(Message::plain("[DONE]"));
        out
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        let mut out = Vec::new();
        if !self.done {
            out.extend(self.start());
            let delta = json!({"finish_reason": "ERROR", "error": message, "code": code, "usage": usage()});
            out.push(told("message-end", json!({"delta": delta})));
        }
        out.push(Message::plain("[DONE]"));
        out
    }
}

/// An event of a kind, which is told both in its name and in its data.
fn told(kind: &str, mut data: Value) -> Message {
    if let Some(data) = data.as_object_mut() {
        data.insert("type".to_owned(), kind.into());
    }
    Message::named(kind, data.to_string())
}

/// The event that ends a block.
fn end(block: u64) -> Message {
    let (kind, first) = match block {
        CITATIONS.. => ("citation-end", CITATIONS),
        CALLS.. => ("tool-call-end", CALLS),
        _ => ("content-end", 0),
    };
    told(kind, json!({"index": block - first}))
}

/// What an event of a kind begins and ends. The mark of a message's beginning is its id.
fn progress(kind: &str, index: u64, id: &str) -> Progress {
    let begun = |block| Progress { begun: vec![block], ..Progress::default() };
    let ended = |block| Progress { ended: vec![block], ..Progress::default() };
    match kind {
        "content-start" | "content-delta" => begun(index),
        "content-end" => ended(index),
        "tool-call-start" | "tool-call-delta" => begun(CALLS + index),
        "tool-call-end" => ended(CALLS + index),
        "citation-start" => begun(CITATIONS + index),
        "citation-end" => ended(CITATIONS + index),
        "message-start" => Progress { mark: Some(id.into()), ..Progress::default() },
        "message-end" => Progress { mark: Some(true.into()), ..Progress::default() },
        _ => Progress::default(),
    }
}

fn read_delta(index: u64, delta: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in delta.known("delta", DELTA)? {
        match key.as_ref() {
            _ if value.is_null() => {}
            "finish_reason" | "usage" => {}
            "message" => read_message(index, &value, brought)?,
            _ => unknown(WHOLE, &key, &value, &|_, _| false, brought),
        }
    }
    Ok(())
}

/// A piece of a message: its lists hold one element of the event's index, or, where the message begins, all of them.
fn read_message(index: u64, message: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in message.known("message", MESSAGE)? {
        match key.as_ref() {
            _ if value.is_null() => {}
            "role" => {}
            "content" => {
                for (index, part) in (index..).zip(each(&value)) {
                    read_part(index, &part, brought)?;
                }
            }
            "tool_plan" => bring(WHOLE, Part::Reasoning, &value, &|_, _| false, brought),
            "tool_calls" => {
                for (index, call) in (index..).zip(each(&value)) {
                    read_call(index, &call, brought)?;
                }
            }
            "citations" => {
                for (index, citation) in (CITATIONS + index..).zip(each(&value)) {
                    let mut text = Collector::default();
                    text.strings(Target::Completion, &citation, &citation_word);
                    lines(Channel { choice: index, part: APART }, text, brought);
                }
            }
            _ => unknown(WHOLE, &key, &value, &|_, _| false, brought),
        }
    }
    Ok(())
}

fn read_part(index: u64, part: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    if part.object().is_none() {
        bring(index, Part::Content, part, &|_, _| false, brought);
        return Ok(());
    }
    for (key, value) in part.known("content", PART)? {
        match key.as_ref() {
            "type" => {
                let kind = value.string().filter(|kind| !matches!(kind.as_ref(), "text" | "thinking"));
                brought.unscorable.extend(kind.map(String::from));
            }
            "text" => bring(index, Part::Content, &value, &|_, _| false, brought),
            "thinking" => bring(index, Part::Reasoning, &value, &|_, _| false, brought),
            _ => unknown(index, &key, &value, &|_, _| false, brought),
        }
    }
    Ok(())
}

fn read_call(index: u64, call: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in call.known("tool call", CALL)? {
        if matches!(key.as_ref(), "id" | "type") {
            let mut text = Collector::default();
            text.id(Target::Completion, &value);
            lines(Channel { choice: CALLS + index, part: APART }, text, brought);
        } else {
            bring(CALLS + index, Part::ToolCall(index), &value, &call_word, brought);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dialect::{any::told, text::path},
        segment::Direction,
        wire::frame::{Framing, tests::events},
    };

    /// An answer as Cohere streams it: a plan, a call, thinking, text with a citation.
    fn answer() -> Vec<Event> {
        let data = [
            r#"{"id":"29f14a5a","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#,
            r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I will"}}}"#,
            r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":" look."}}}"#,
            r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"w_1","type":"function","function":{"name":"weather","arguments":""}}}}}"#,
            r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"day\":"}}}}}"#,
            r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"\"now\"}"}}}}}"#,
            r#"{"type":"tool-call-end","index":0}"#,
            r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":""}}}}"#,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"hm"}}}}"#,
            r#"{"type":"content-end","index":0}"#,
            r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
            r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"It "}}},"logprobs":{"text":"It ","token_ids":[5],"logprobs":[-0.1]}}"#,
            r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"rains."}}},"vendor":["x"]}"#,
            r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":3,"end":8,"text":"rains","type":"TEXT_CONTENT","sources":[{"type":"document","document":{"snippet":"wet"}}]}}}}"#,
            r#"{"type":"citation-end","index":0}"#,
            r#"{"type":"content-end","index":1}"#,
            r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":9,"output_tokens":4},"tokens":{"input_tokens":90,"output_tokens":4}}}}"#,
        ];
        let kind = |data: &str| serde_json::from_str::<Value>(data).unwrap()["type"].as_str().unwrap().to_owned();
        let text: String = data.iter().map(|data| format!("event: {}\ndata: {data}\n\n", kind(data))).collect();
        decode(format!("{text}data: [DONE]\n\n").as_bytes())
    }

    fn decode(bytes: &[u8]) -> Vec<Event> {
        events(Framing::Sse, bytes).into_iter().filter(|event| event.data.is_some()).collect()
    }

    fn refusal() -> Refusal {
        Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Response }
    }

    /// Fails unless all that is begun is ended, in order, and the message too; gives the text told.
    fn well_formed(events: &[Event]) -> String {
        let (mut open, mut seen, mut text) = (BTreeSet::new(), Vec::new(), String::new());
        for event in events {
            let data = event.data.as_deref().unwrap();
            assert_ne!(seen.last().map(String::as_str), Some("[DONE]"));
            if data == "[DONE]" {
                seen.push(data.to_owned());
                continue;
            }
            let data: Value = serde_json::from_str(data).unwrap();
            let kind = data["type"].as_str().unwrap();
            assert_eq!(event.name.as_deref(), Some(kind));
            assert_eq!(seen.is_empty(), kind == "message-start");
            assert_ne!(seen.last().map(String::as_str), Some("message-end"));
            let index = data["index"].as_u64();
            match kind.rsplit_once('-').unwrap() {
                ("message", "end") => assert!(open.is_empty()),
                ("message", _) | ("tool-plan", _) => {}
                (block, "start") => assert!(open.insert((block.to_owned(), index))),
                (block, "end") => assert!(open.remove(&(block.to_owned(), index))),
                (block, _) => assert!(open.contains(&(block.to_owned(), index))),
            }
            text.push_str(data["delta"]["message"]["content"]["text"].as_str().unwrap_or_default());
            seen.push(kind.to_owned());
        }
        assert_eq!(seen[seen.len() - 2..], ["message-end", "[DONE]"]);
        text
    }

    #[test]
    fn an_answer_comes_channel_by_channel() {
        let expected = [
            ((0, Part::Reasoning), "hm"),
            ((1, Part::Content), "It rains."),
            ((CALLS, Part::ToolCall(0)), "weather\n{\"day\":\"now\"}"),
            ((CITATIONS, APART), "rains\nsnippet\nwet\n"),
            ((WHOLE, Part::Reasoning), "I will look."),
            ((WHOLE, Part::Other(path(&["vendor"]))), "x"),
        ];
        let expected = expected.map(|(channel, text)| (channel, text.to_owned())).into();
        assert_eq!(told(&mut Stream::default(), &answer()), (expected, vec![]));
    }

    #[test]
    fn an_id_that_says_something_is_read() {
        let event = |id: &str| {
            let call = json!({"id": id, "type": "function", "function": {"name": "f"}});
            let data = json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": call}}});
            decode(format!("data: {data}\n\n").as_bytes())
        };
        let apart = |id: &str| told(&mut Stream::default(), &event(id)).0.remove(&(CALLS, APART));
        assert_eq!(apart("how_to_build_a_pipe_bomb").as_deref(), Some("how_to_build_a_pipe_bomb\n"));
        assert_eq!(apart("weather_AbC12dEf"), None);
    }

    #[test]
    fn an_edited_event_keeps_all_but_its_text_and_tokens() {
        let mut stream = Stream::default();
        let event = answer().remove(11);
        let brought = stream.read(&event).unwrap();
        let data: Value = serde_json::from_str(&stream.edit(&event, &brought.deltas, &["We".to_owned()]).unwrap()).unwrap();
        let expected = json!({"type": "content-delta", "index": 1, "delta": {"message": {"content": {"text": "We"}}},
            "logprobs": null});
        assert_eq!(data, expected);
    }

    #[test]
    fn tokens_that_run_ahead_of_the_text_are_marked() {
        let text = r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"a bomb"}}},"logprobs":{"text":" bomb"}}"#;
        for (data, ahead) in [(text.to_owned(), false), (text.replace("a bomb", ""), true)] {
            let brought = Stream::default().read(&decode(format!("data: {data}\n\n").as_bytes())[0]).unwrap();
            assert_eq!(brought.ahead, ahead, "{data}");
        }
    }

    #[test]
    fn a_cut_anywhere_ends_the_stream_properly() {
        let events = answer();
        assert_eq!(well_formed(&events), "It rains.");
        for count in 0..=events.len() - 2 {
            let mut stream = Stream::default();
            let mut seen = events[..count].to_vec();
            for event in &seen {
                let brought = stream.read(event).unwrap();
                stream.left(&brought.progress);
            }
            seen.extend(decode(&Framing::Sse.ending(&stream.cut(&refusal()), count > 0)));
            assert!(well_formed(&seen).ends_with("No."), "cut after {count}");
        }
    }

    #[test]
    fn what_was_read_but_has_not_left_does_not_count() {
        let mut stream = Stream::default();
        for event in answer() {
            stream.read(&event).unwrap();
        }
        assert_eq!(well_formed(&decode(&Framing::Sse.ending(&stream.cut(&refusal()), false))), "No.");
        let failed = decode(&Framing::Sse.ending(&stream.fail("guard_unavailable", "Late."), false));
        let end: Value = serde_json::from_str(failed[1].data.as_deref().unwrap()).unwrap();
        assert_eq!((&end["type"], &end["delta"]["finish_reason"]), (&json!("message-end"), &json!("ERROR")));
        assert_eq!((&end["delta"]["error"], &end["delta"]["code"]), (&json!("Late."), &json!("guard_unavailable")));
    }
}
