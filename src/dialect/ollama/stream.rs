//! Streamed answers: lines to deltas, deltas back into their line, and a last line when an answer is cut.

use serde_json::json;

use super::{Ollama, answer};
use crate::{
    dialect::{Brought, Progress, Refusal, Request, StreamDialect, delta::edited},
    segment::Delta,
    wire::{
        frame::{Event, Message},
        json::{Document, Malformed, Patch},
    },
};

/// One streamed answer: what was seen of it so far that its end must know.
#[derive(Debug)]
pub(super) struct Stream {
    api: Ollama,
    model: String,
    /// Tool calls so far: each comes whole.
    calls: u64,
    /// The client saw the last line.
    ended: bool,
}

impl Stream {
    pub(super) fn new(api: Ollama, request: &Request) -> Self {
        Self { api, model: request.model.clone(), calls: 0, ended: false }
    }
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        let Some(data) = event.data.as_deref().filter(|data| !data.trim().is_empty()) else { return Ok(Brought::default()) };
        answer::read(&Document::read(data.as_bytes())?, &mut self.calls)
    }

    fn left(&mut self, progress: &Progress) {
        self.ended |= !progress.ended.is_empty();
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        let document = Document::read(event.data.as_deref().unwrap_or_default().as_bytes())?;
        let echoes = answer::echoes(&document.root()).map(|place| Patch { range: place.0, with: "null".to_owned() }).collect();
        edited(document, echoes, deltas, texts)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        if self.ended { Vec::new() } else { vec![Message::plain(answer::refused(self.api, &self.model, refusal))] }
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        vec![Message::plain(json!({"error": message, "code": code}).to_string())]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::{
        dialect::{any, delta::APART, text::path},
        segment::{Direction, Part},
        wire::frame::{Framing, tests::events},
    };

    fn lines(lines: &[Value]) -> String {
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    const PAY: &str = concat!(
        r#"{"model":"qwen3","created_at":"2026-01-01T00:00:00.1Z","message":{"role":"assistant","content":"","tool_calls":["#,
        r#"{"id":"call_1","function":{"index":0,"name":"pay","arguments":{"card":"4111"}}}]},"done":false}"#,
        "\n"
    );

    /// A chat as Ollama streams it: thinking, text, two calls, the last line with its counts.
    fn chat() -> String {
        let line = |key: &str, value: Value| {
            let mut message = json!({"role": "assistant", "content": ""});
            message[key] = value;
            json!({"model": "qwen3", "created_at": "2026-01-01T00:00:00.1Z", "message": message, "done": false})
        };
        let mut told = line("content", json!("4111"));
        told["logprobs"] = json!([{"token": "4111", "logprob": -0.1}]);
        let mut last = line("content", json!(""));
        for (key, value) in [("done", json!(true)), ("done_reason", json!("stop")), ("eval_count", json!(4))] {
            last[key] = value;
        }
        let before = [line("thinking", json!("Hm")), line("thinking", json!("…")), line("content", json!("Card ")), told];
        let after = [line("tool_calls", json!([{"function": {"name": "go", "arguments": {}}}])), last];
        lines(&before) + PAY + &lines(&after)
    }

    /// A generation as Ollama streams it, with its tokens at the end.
    fn generation() -> String {
        let at = "2026-01-01T00:00:00.1Z";
        lines(&[
            json!({"model": "m", "created_at": at, "response": "", "thinking": "Hm", "done": false}),
            json!({"model": "m", "created_at": at, "response": "Yes", "done": false}),
            json!({"model": "m", "created_at": at, "response": ".", "done": true, "done_reason": "stop", "context": [1, 2],
                "eval_count": 2}),
        ])
    }

    fn stream(api: Ollama) -> Stream {
        Stream::new(api, &Request { model: "m".to_owned(), choices: 1, usage: true, ..Request::default() })
    }

    fn told(api: Ollama, lines: &str) -> BTreeMap<(u64, Part), String> {
        any::told(&mut stream(api), &events(Framing::Ndjson, lines.as_bytes())).0
    }

    #[test]
    fn streams_are_read() {
        let texts = |parts: &[(Part, &str)]| -> BTreeMap<(u64, Part), String> {
            parts.iter().map(|(part, text)| ((0, *part), (*text).to_owned())).collect()
        };
        let expected = texts(&[
            (Part::Content, "Card 4111"),
            (Part::Reasoning, "Hm…"),
            (Part::ToolCall(0), "pay\ncard\n4111\n"),
            (Part::ToolCall(1), "go\n"),
        ]);
        assert_eq!(told(Ollama::Chat, &chat()), expected);
        assert_eq!(told(Ollama::Generate, &generation()), texts(&[(Part::Content, "Yes."), (Part::Reasoning, "Hm")]));
        let error = "{\"error\":\"out of memory\",\"hint\":{\"a\":\"b\"}}\n\n";
        assert_eq!(
            told(Ollama::Chat, error),
            texts(&[
                (Part::Other(path(&["error"])), "out of memory"),
                (Part::Other(path(&["hint", "a"])), "b"),
                (APART, "a\n"),
            ])
        );
    }

    #[test]
    fn lines_are_edited() {
        let edit = |api: Ollama, lines: &str, line: usize, text: &str, with: &str| -> Result<Value, Malformed> {
            let (mut stream, event) = (stream(api), events(Framing::Ndjson, lines.as_bytes()).remove(line));
            let deltas = stream.read(&event)?.deltas;
            let texts: Vec<String> = deltas.iter().map(|delta| delta.text.replace(text, with)).collect();
            Ok(serde_json::from_str(&stream.edit(&event, &deltas, &texts)?).unwrap())
        };
        let edited = edit(Ollama::Chat, &chat(), 3, "4111", "[\"x\"]").unwrap();
        assert_eq!((&edited["message"]["content"], &edited["logprobs"]), (&json!("[\"x\"]"), &Value::Null));
        let edited = edit(Ollama::Chat, &chat(), 4, "4111", "[x]").unwrap();
        assert_eq!(edited["message"]["tool_calls"][0]["function"]["arguments"], json!({"card": "[x]"}));
        assert!(edit(Ollama::Chat, &chat(), 4, "card", "x").is_err(), "a name cannot be edited");
        let edited = edit(Ollama::Generate, &generation(), 2, ".", "!").unwrap();
        assert_eq!((&edited["response"], &edited["context"], &edited["eval_count"]), (&json!("!"), &Value::Null, &json!(2)));
    }

    #[test]
    fn tokens_that_run_ahead_of_the_text_are_blanked() {
        for (text, ahead) in [("", true), ("a bomb", false)] {
            let line = json!({"model": "m", "message": {"role": "assistant", "content": text}, "done": false,
                "logprobs": [{"token": " bomb", "bytes": [32, 98, 111, 109, 98], "logprob": -0.1}]});
            let (mut stream, event) = (stream(Ollama::Chat), events(Framing::Ndjson, lines(&[line]).as_bytes()).remove(0));
            let brought = stream.read(&event).unwrap();
            assert_eq!(brought.ahead, ahead);
            let texts: Vec<String> = brought.deltas.iter().map(|delta| delta.text.clone()).collect();
            assert!(!stream.edit(&event, &brought.deltas, &texts).unwrap().contains("token"));
        }
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let refusal = Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Response };
        for (api, lines) in [(Ollama::Chat, chat()), (Ollama::Generate, generation())] {
            let all = events(Framing::Ndjson, lines.as_bytes());
            for seen in 0..=all.len() {
                let mut stream = stream(api);
                let mut client: Vec<Event> = all[..seen].to_vec();
                for event in &client {
                    let progress = stream.read(event).unwrap().progress;
                    stream.left(&progress);
                }
                client.extend(events(Framing::Ndjson, &Framing::Ndjson.ending(&stream.cut(&refusal), seen > 0)));
                let lines: Vec<Value> =
                    client.iter().map(|event| serde_json::from_str(event.data.as_deref().unwrap()).unwrap()).collect();
                let done: Vec<bool> = lines.iter().map(|line| line["done"] == true).collect();
                assert_eq!(done.iter().filter(|done| **done).count(), 1, "cut after {seen}");
                assert_eq!(done.last(), Some(&true), "cut after {seen}");
                assert!(lines.iter().all(|line| line.get("message").is_some() == (api == Ollama::Chat)));
            }
        }
        let error: Value = serde_json::from_str(&stream(Ollama::Chat).fail("c", "No.")[0].data).unwrap();
        assert_eq!(error, json!({"error": "No.", "code": "c"}));
    }
}
