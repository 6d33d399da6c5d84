//! Streamed answers: events to deltas, deltas back into their event, and a proper end when an answer is cut.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    block::{id_word, media_word, word},
    response::{stop_reason, trace_word, usage},
};
use crate::{
    dialect::{
        Brought, Progress, Refusal, StreamDialect,
        delta::{APART, bring, edited, lines, unknown},
        text::{Collector, is_sealed},
    },
    segment::{Channel, Delta, Part, Target},
    wire::{
        frame::{Event, Message},
        json::{Document, Malformed, Node, Patch},
    },
};

/// Fields of events that hold no text; `p` is padding.
const PLAIN: &[&str] =
    &["role", "contentBlockIndex", "stopReason", "usage", "metrics", "performanceConfig", "serviceTier", "p"];
const TEXT: &[&str] = &["start", "delta", "additionalModelResponseFields", "trace", "message", "Message", "originalMessage"];
const PIECE: &[&str] = &["text", "toolUse", "toolResult", "reasoningContent", "citation", "image"];
const CALL: &[&str] = &["toolUseId", "name", "type", "input"];
const RESULT: &[&str] = &["toolUseId", "type", "status"];
const REASONING: &[&str] = &["text", "signature", "redactedContent"];

/// What belongs to the message and to none of its blocks.
const WHOLE: u64 = u64::MAX;
/// The trace of Amazon's guardrail, which tells the answer once more.
const TRACE: u64 = u64::MAX - 1;

/// One streamed answer: what of it has left.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Names of the events around the blocks that the client saw.
    seen: BTreeSet<String>,
    /// Blocks that the client saw begun.
    begun: BTreeSet<u64>,
    /// Blocks that the client saw ended.
    ended: BTreeSet<u64>,
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        let mut brought = Brought::default();
        let Some(data) = event.data.as_deref() else { return Ok(brought) };
        let document = Document::read(data.as_bytes())?;
        let known: Vec<&str> = PLAIN.iter().chain(TEXT).copied().collect();
        let members = document.root().known("event", &known)?;
        let index = members.iter().find(|(key, _)| key == "contentBlockIndex").and_then(|(_, value)| value.integer());
        let index = index.unwrap_or(0).min(u64::from(u32::MAX));
        for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "start" | "delta" => read_piece(index, value, &mut brought)?,
                "trace" => entire(TRACE, value, &trace_word, &mut brought),
                name if PLAIN.contains(&name) => {}
                _ => unknown(WHOLE, key, value, &|_, _| false, &mut brought),
            }
        }
        brought.progress = progress(event.name.as_deref().unwrap_or_default(), index);
        Ok(brought)
    }

    fn left(&mut self, progress: &Progress) {
        self.begun.extend(&progress.begun);
        self.ended.extend(&progress.ended);
        self.seen.extend(progress.mark.as_ref().and_then(Value::as_str).map(str::to_owned));
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        let document = Document::read(event.data.as_deref().unwrap_or_default().as_bytes())?;
        // The padding would tell the length of what was taken out.
        let members = document.root().object().unwrap_or_default();
        let padding = members.iter().filter(|(key, _)| key == "p");
        let echoes = padding.map(|(_, value)| Patch { range: value.range(), with: "\"\"".to_owned() }).collect();
        edited(document, echoes, deltas, texts)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        let mut out = Vec::new();
        if !self.seen.contains("messageStop") {
            if !self.seen.contains("messageStart") {
                out.push(told("messageStart", &json!({"role": "assistant"})));
            }
            let stop = |block: u64| told("contentBlockStop", &json!({"contentBlockIndex": block}));
            out.extend(self.begun.difference(&self.ended).map(|block| stop(*block)));
            // A block of text begins with its first delta.
            let block = self.begun.last().map_or(0, |last| last + 1);
            let delta = json!({"contentBlockIndex": block, "delta": {"text": refusal.message}});
            out.push(told("contentBlockDelta", &delta));
            out.push(stop(block));
            out.push(told("messageStop", &json!({"stopReason": stop_reason(refusal)})));
        }
        if !self.seen.contains("metadata") {
            out.push(told("metadata", &json!({"usage": usage(), "metrics": {"latencyMs": 0}})));
        }
        out
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        // The SDKs ask again after a stream's error, but not after a refused request.
        let refused = matches!(code, "content_filter" | "unscorable_content");
        let kind = if refused { "validationException" } else { "modelStreamErrorException" };
        vec![Message { error: true, ..told(kind, &json!({"message": message, "reason": code})) }]
    }
}

fn told(kind: &str, data: &Value) -> Message {
    Message::named(kind, data.to_string())
}

fn progress(kind: &str, index: u64) -> Progress {
    match kind {
        "contentBlockStart" | "contentBlockDelta" => Progress { begun: vec![index], ..Progress::default() },
        "contentBlockStop" => Progress { ended: vec![index], ..Progress::default() },
        "messageStart" | "messageStop" | "metadata" => Progress { mark: Some(kind.into()), ..Progress::default() },
        _ => Progress::default(),
    }
}

/// A block's beginning, or a piece of it.
fn read_piece(index: u64, piece: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in piece.known("delta", PIECE)?.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "text" => bring(index, Part::Content, value, &|_, _| false, brought),
            "toolUse" => {
                for (key, value) in value.known("toolUse", CALL)? {
                    if matches!(key.as_ref(), "toolUseId" | "type") {
                        entire(index, &value, &id_word, brought);
                    } else {
                        bring(index, Part::ToolCall(0), &value, &|_, _| false, brought);
                    }
                }
            }
            "toolResult" => read_result(index, value, brought)?,
            "reasoningContent" => {
                for (key, value) in value.known("reasoningContent", REASONING)?.iter().filter(|(_, value)| !value.is_null()) {
                    match key.as_ref() {
                        "text" => bring(index, Part::Reasoning, value, &|_, _| false, brought),
                        "signature" | "redactedContent" if value.string().is_some_and(|value| is_sealed(&value)) => {}
                        _ => unknown(index, key, value, &|_, _| false, brought),
                    }
                }
            }
            "citation" => entire(index, value, &word, brought),
            "image" => {
                brought.unscorable.push("image".to_owned());
                entire(index, value, &media_word, brought);
            }
            _ => unknown(index, key, value, &|_, _| false, brought),
        }
    }
    Ok(())
}

/// A field that comes whole.
fn entire(choice: u64, value: &Node<'_>, skip: &dyn Fn(&str, &str) -> bool, brought: &mut Brought) {
    let mut text = Collector::default();
    text.strings(Target::Completion, value, skip);
    lines(Channel { choice, part: APART }, text, brought);
}

/// A result of a tool that the service ran: an object where its block begins, then lists of pieces.
fn read_result(index: u64, result: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    if result.array().is_some() {
        let word = |key: &str, value: &str| value.is_empty() && matches!(key, "text" | "json");
        unknown(index, "toolResult", result, &word, brought);
        return Ok(());
    }
    for (key, value) in result.known("toolResult", RESULT)? {
        if RESULT.contains(&key.as_ref()) {
            entire(index, &value, &id_word, brought);
        } else {
            unknown(index, &key, &value, &|_, _| false, brought);
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

    /// An answer as Bedrock streams it: reasoning, text with a citation, a call, and the trace of a guardrail.
    fn answer() -> Vec<Event> {
        let messages = [
            ("messageStart", r#"{"p":"abcd","role":"assistant"}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}},"p":"ab"}"#),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLo="}},"p":"a"}"#,
            ),
            ("contentBlockStop", r#"{"contentBlockIndex":0,"p":"abcdef"}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"It "},"p":"abcdefgh"}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"rains."},"p":"abc"}"#),
            (
                "contentBlockDelta",
                r#"{"contentBlockIndex":1,"delta":{"citation":{"title":"Rain","sourceContent":[{"text":"falls"}]}},"p":"abc"}"#,
            ),
            ("contentBlockStop", r#"{"contentBlockIndex":1,"p":"abcde"}"#),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":2,"p":"ab","start":{"toolUse":{"name":"weather","toolUseId":"tooluse_1"}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"day\":"}},"p":"abc"}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"\"now\"}"}},"p":"abc"}"#),
            ("contentBlockStop", r#"{"contentBlockIndex":2,"p":"abc"}"#),
            ("messageStop", r#"{"p":"ab","stopReason":"tool_use","additionalModelResponseFields":{"note":"x"}}"#),
            (
                "metadata",
                r#"{"metrics":{"latencyMs":9},"p":"ab","usage":{"inputTokens":9,"outputTokens":4,"totalTokens":13},"trace":{"guardrail":{"modelOutput":["It rains."]}}}"#,
            ),
        ];
        decode(&messages.map(|(name, data)| Message::named(name, data)))
    }

    fn decode(messages: &[Message]) -> Vec<Event> {
        events(Framing::EventStream, &Framing::EventStream.ending(messages, false))
    }

    fn refusal() -> Refusal {
        Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Response }
    }

    fn value(event: &Event) -> Value {
        serde_json::from_str(event.data.as_deref().unwrap()).unwrap()
    }

    /// Fails unless all that is begun is ended, in order, and the message too; gives its text and why it ended.
    fn well_formed(events: &[Event]) -> (String, String) {
        let (mut open, mut seen, mut text, mut reason) = (BTreeSet::new(), Vec::new(), String::new(), String::new());
        for event in events {
            let (name, data) = (event.name.as_deref().unwrap(), value(event));
            assert_eq!(seen.is_empty(), name == "messageStart");
            let block = data["contentBlockIndex"].as_u64();
            match name {
                "contentBlockStart" | "contentBlockDelta" => {
                    open.insert(block);
                }
                "contentBlockStop" => assert!(open.remove(&block)),
                "messageStop" => {
                    assert!(open.is_empty());
                    reason.push_str(data["stopReason"].as_str().unwrap());
                }
                "metadata" => assert!(data["usage"].is_object() && seen.contains(&"messageStop".to_owned())),
                other => assert_eq!(other, "messageStart"),
            }
            assert!(!name.starts_with("content") || !seen.contains(&"messageStop".to_owned()));
            text.push_str(data["delta"]["text"].as_str().unwrap_or_default());
            seen.push(name.to_owned());
        }
        assert_eq!(seen[seen.len() - 2..], ["messageStop", "metadata"]);
        (text, reason)
    }

    #[test]
    fn an_answer_comes_channel_by_channel() {
        let expected = [
            ((0, Part::Reasoning), "hm"),
            ((1, Part::Content), "It rains."),
            ((1, APART), "Rain\nfalls\n"),
            ((2, Part::ToolCall(0)), "weather{\"day\":\"now\"}"),
            ((TRACE, APART), "It rains.\n"),
            ((WHOLE, Part::Other(path(&["additionalModelResponseFields", "note"]))), "x"),
            ((WHOLE, APART), "note\n"),
        ];
        let expected = expected.map(|(channel, text)| (channel, text.to_owned())).into();
        assert_eq!(told(&mut Stream::default(), &answer()), (expected, vec![]));
    }

    #[test]
    fn media_unknown_pieces_and_exceptions() {
        let mut stream = Stream::default();
        let mut read = |name: &str, data: Value| {
            let brought = stream.read(&decode(&[Message::named(name, data.to_string())]).remove(0)).unwrap();
            (brought.deltas.into_iter().map(|delta| delta.text).collect::<Vec<_>>().concat(), brought.unscorable)
        };
        let mut delta = |delta: Value| read("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": delta}));
        assert_eq!(delta(json!({"image": {"source": {"bytes": "AAAA"}}})), (String::new(), vec!["image".to_owned()]));
        let reasoning = |field: &str, value: &str| json!({"reasoningContent": {field: value}});
        let sealed = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLo=";
        assert_eq!(delta(reasoning("redactedContent", sealed)), (String::new(), vec![]));
        assert_eq!(delta(reasoning("signature", "not sealed")), ("not sealed".to_owned(), vec![]));
        let result = json!({"toolResult": [{"text": "wet"}, {"json": {"status": "dry"}}]});
        assert_eq!(delta(result), ("wetstatus\ndry".to_owned(), vec![]));
        for field in ["toolUse", "toolResult"] {
            let piece = |id: &str| json!({field: {"toolUseId": id, "type": "server_tool_use"}});
            assert_eq!(delta(piece("how_to_build_a_pipe_bomb")), ("how_to_build_a_pipe_bomb\n".to_owned(), vec![]));
            assert_eq!(delta(piece("tooluse_kZJMlvQmRJ6eAyJE5GIl7Q")), (String::new(), vec![]));
        }
        assert_eq!(delta(json!({"hologram": {"a": "b"}})), ("a\nb".to_owned(), vec![]));
        assert_eq!(read("throttlingException", json!({"message": "Slow."})).0, "Slow.");
    }

    #[test]
    fn an_edited_event_keeps_all_but_its_text_and_padding() {
        let mut stream = Stream::default();
        let event = answer().remove(4);
        let brought = stream.read(&event).unwrap();
        let data = stream.edit(&event, &brought.deltas, &["We".to_owned()]).unwrap();
        assert_eq!(data, r#"{"contentBlockIndex":1,"delta":{"text":"We"},"p":""}"#);
    }

    #[test]
    fn a_cut_anywhere_ends_the_stream_properly() {
        let events = answer();
        assert_eq!(well_formed(&events), ("It rains.".to_owned(), "tool_use".to_owned()));
        for count in 0..events.len() {
            let mut stream = Stream::default();
            let mut seen = events[..count].to_vec();
            for event in &seen {
                let brought = stream.read(event).unwrap();
                stream.left(&brought.progress);
            }
            seen.extend(decode(&stream.cut(&refusal())));
            let (text, reason) = well_formed(&seen);
            // Once the message is ended, only its last event can follow.
            let stopped = count == events.len() - 1;
            assert_eq!(text.ends_with("No."), !stopped, "cut after {count}");
            assert_eq!(reason, if stopped { "tool_use" } else { "guardrail_intervened" });
        }
    }

    #[test]
    fn what_was_read_but_has_not_left_does_not_count() {
        let mut stream = Stream::default();
        for event in answer() {
            stream.read(&event).unwrap();
        }
        assert_eq!(well_formed(&decode(&stream.cut(&refusal()))).0, "No.");
        let failed = stream.fail("guard_unavailable", "Late.");
        assert_eq!((failed[0].name.as_deref(), failed[0].error), (Some("modelStreamErrorException"), true));
        assert_eq!(value(&decode(&failed)[0]), json!({"message": "Late.", "reason": "guard_unavailable"}));
        assert_eq!(stream.fail("content_filter", "No.")[0].name.as_deref(), Some("validationException"));
    }
}
