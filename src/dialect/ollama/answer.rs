//! Every place of an answer that can carry text to the user: a whole answer and each line of a stream are alike.

use jiff::Timestamp;
use serde_json::json;

use super::{Ollama, request::MESSAGE};
use crate::{
    dialect::{
        Brought, Refusal,
        delta::{bring, is_line_end, lines, unknown},
        text::{Collector, error_word, is_id},
        tokens::are_ahead,
    },
    segment::{Channel, Content, Part, Place, Segment, Target},
    wire::json::{Document, Malformed, Node},
};

/// Fields around the text that hold none.
const ENVELOPE: &[&str] = &[
    "model",
    "remote_model",
    "remote_host",
    "created_at",
    "done_reason",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
];
const TEXT: &[&str] = &["message", "response", "thinking", "tool_calls", "image", "done", "error"];
/// Token lists, which spell the text once more.
const ECHOES: &[&str] = &["context", "logprobs"];
const CALL: &[&str] = &["id", "type", "function"];
const FUNCTION: &[&str] = &["index", "name", "arguments"];

/// Reads a whole answer.
pub(super) fn whole(document: &Document) -> Result<Content, Malformed> {
    let Brought { deltas, unscorable, .. } = read(document, &mut 0)?;
    let echoes = echoes(&document.root()).collect();
    let (mut passage, mut last) = (0, None);
    let segments = deltas.into_iter().filter(|delta| !is_line_end(delta)).map(|delta| {
        // Unknown fields that stand side by side are read together too.
        let told = if let Part::Other(_) = delta.channel.part { None } else { Some(delta.channel.part) };
        if last.replace(told) != Some(told) {
            passage += 1;
        }
        Segment { target: delta.channel.part.target(), passage, text: delta.text, place: delta.place }
    });
    Ok(Content { segments: segments.collect(), unscorable, echoes })
}

/// Reads an answer or a line of one; `calls` is the number of tool calls before it, each of which has a channel of its own.
pub(super) fn read(document: &Document, calls: &mut u64) -> Result<Brought, Malformed> {
    let known: Vec<&str> = ENVELOPE.iter().chain(TEXT).chain(ECHOES).copied().collect();
    let mut brought = Brought::default();
    let members = document.root().known("answer", &known)?;
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "message" => {
                brought.progress.begun.push(0);
                read_message(value, calls, &mut brought)?;
            }
            "response" => {
                brought.progress.begun.push(0);
                bring(0, Part::Content, value, &|_, _| false, &mut brought);
            }
            "thinking" => bring(0, Part::Reasoning, value, &|_, _| false, &mut brought),
            "tool_calls" => read_calls(value, calls, &mut brought)?,
            "image" => brought.unscorable.extend(value.string().filter(|data| !data.is_empty()).map(|_| "image".to_owned())),
            "done" => brought.progress.ended.extend((value.raw() == "true").then_some(0)),
            "error" => unknown(0, key, value, &error_word, &mut brought),
            name if known.contains(&name) => {}
            _ => unknown(0, key, value, &|_, _| false, &mut brought),
        }
    }
    brought.ahead = are_ahead(&members, 0, &brought.deltas);
    Ok(brought)
}

fn read_message(message: &Node<'_>, calls: &mut u64, brought: &mut Brought) -> Result<(), Malformed> {
    for (key, value) in message.known("message", MESSAGE)?.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "role" | "tool_call_id" => {}
            "content" => bring(0, Part::Content, value, &|_, _| false, brought),
            "thinking" => bring(0, Part::Reasoning, value, &|_, _| false, brought),
            "images" => brought.unscorable.extend(images(value)?),
            "tool_calls" => read_calls(value, calls, brought)?,
            _ => unknown(0, key, value, &|_, _| false, brought),
        }
    }
    Ok(())
}

fn read_calls(value: &Node<'_>, calls: &mut u64, brought: &mut Brought) -> Result<(), Malformed> {
    for call in value.array().ok_or_else(|| Malformed::new("`tool_calls` is not an array"))? {
        let mut text = Collector::default();
        for node in call_texts(&call)? {
            text.strings(Target::ToolCall, &node, &|_, _| false);
        }
        // An argument may be called `type` and say `image`: it is no image.
        text.unscorable.clear();
        lines(Channel { choice: 0, part: Part::ToolCall(*calls) }, text, brought);
        *calls += 1;
    }
    Ok(())
}

/// The values of a tool call that hold its text, each string under them: its arguments are an object of any shape.
pub(super) fn call_texts<'d>(call: &Node<'d>) -> Result<Vec<Node<'d>>, Malformed> {
    let mut texts = Vec::new();
    for (key, value) in call.known("tool call", CALL)? {
        match key.as_ref() {
            "id" if value.string().is_none_or(|id| is_id(&id)) => {}
            "type" if value.string().as_deref() == Some("function") => {}
            "function" => {
                let members = value.known("function", FUNCTION)?;
                texts.extend(members.into_iter().filter(|(key, _)| key != "index").map(|(_, value)| value));
            }
            _ => texts.push(value),
        }
    }
    Ok(texts)
}

/// Images, by their type's name: no text guard can judge them.
pub(super) fn images(value: &Node<'_>) -> Result<Vec<String>, Malformed> {
    let items = value.array().filter(|items| items.iter().all(|item| item.string().is_some()));
    let items = items.ok_or_else(|| Malformed::new("`images` must be an array of strings"))?;
    Ok(vec!["image".to_owned(); items.len()])
}

/// Where an answer, or a line of one, repeats its text as tokens.
pub(super) fn echoes(answer: &Node<'_>) -> impl Iterator<Item = Place> {
    let members = answer.object().unwrap_or_default();
    members.into_iter().filter(|(key, _)| ECHOES.contains(&key.as_ref())).map(|(_, value)| Place(value.range()))
}

/// An answer that refuses, or the line that ends a stream so: the API has one reason for both kinds of refusal.
pub(super) fn refused(api: Ollama, model: &str, refusal: &Refusal) -> String {
    let mut answer = json!({
        "model": model,
        "created_at": Timestamp::now().to_string(),
        "done": true,
        "done_reason": "stop",
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": 0,
        "prompt_eval_duration": 0,
        "eval_count": 0,
        "eval_duration": 0,
    });
    let (key, told) = match api {
        Ollama::Chat => ("message", json!({"role": "assistant", "content": refusal.message})),
        Ollama::Generate => ("response", json!(refusal.message)),
    };
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(key.to_owned(), told);
    }
    answer.to_string()
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{
        dialect::{
            Dialect as _, Request,
            any::{all_read, any_json},
        },
        segment::Direction,
    };

    fn found(content: &Content) -> Vec<(Target, usize, &str)> {
        content.segments.iter().map(|segment| (segment.target, segment.passage, segment.text.as_str())).collect()
    }

    #[test]
    fn paths() {
        let matches = |dialect: Ollama, path: &str| dialect.matches(&Method::POST, path);
        assert!(matches(Ollama::Chat, "/api/chat") && matches(Ollama::Generate, "/ollama/api/generate"));
        assert!(!matches(Ollama::Chat, "/api/generate") && !matches(Ollama::Chat, "/api/chat/completions"));
        assert!(!Ollama::Chat.matches(&Method::GET, "/api/chat") && !matches(Ollama::Generate, "/api/embed"));
    }

    proptest! {
        /// Whatever stands in fields that are not known, and in a call's arguments: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(top in any_json(), within in any_json(), call in any_json()) {
            let body = json!({"vendor": top, "done": false, "message": {"role": "assistant", "content": "a", "more": within,
                "tool_calls": [{"more": call, "function": {"name": "f", "arguments": {"a": call}}}]}});
            let content = whole(&Document::read(body.to_string().as_bytes()).unwrap()).unwrap();
            let read: Vec<&str> = found(&content).into_iter().map(|(.., text)| text).collect();
            all_read([&top, &within, &call], &read)?;
        }
    }

    #[test]
    fn whole_answers() {
        let read = |body: &str| whole(&Document::read(body.as_bytes()).unwrap()).unwrap();
        let body = r#"{"model": "qwen3", "created_at": "2026-01-01T00:00:00.5Z", "message": {"role": "assistant",
            "content": "Done.", "thinking": "Hm.", "tool_calls": [
                {"function": {"index": 0, "name": "look", "arguments": {"at": "north", "type": "image"}}},
                {"function": {"name": "go", "arguments": {}}}]},
            "done": true, "done_reason": "stop", "total_duration": 5, "eval_count": 3, "logprobs": [{"token": "Done."}]}"#;
        let content = read(body);
        let expected = [
            (Target::Completion, 1, "Done."),
            (Target::Completion, 2, "Hm."),
            (Target::ToolCall, 3, "look"),
            (Target::ToolCall, 3, "at"),
            (Target::ToolCall, 3, "north"),
            (Target::ToolCall, 3, "type"),
            (Target::ToolCall, 3, "image"),
            (Target::ToolCall, 4, "go"),
        ];
        assert_eq!(found(&content), expected);
        assert!(content.unscorable.is_empty() && content.echoes.len() == 1);
        let body = r#"{"model": "m", "response": "Yes.", "thinking": "Hm.", "done": true, "context": [1, 2], "image": "aGk="}"#;
        let content = read(body);
        assert_eq!(found(&content), [(Target::Completion, 1, "Yes."), (Target::Completion, 2, "Hm.")]);
        assert_eq!(content.echoes.iter().filter_map(|place| body.get(place.0.clone())).collect::<Vec<_>>(), ["[1, 2]"]);
        assert_eq!(content.unscorable, ["image"]);
        assert_eq!(found(&read(r#"{"error": "model not found"}"#)), [(Target::Completion, 1, "model not found")]);
    }

    #[test]
    fn a_refusal_and_an_error() {
        let request = Request { model: "m".to_owned(), choices: 1, ..Request::default() };
        let refusal = Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Request };
        let read = |api: Ollama| serde_json::from_str::<Value>(&api.refuse(&request, &refusal)).unwrap();
        let (chat, generate) = (read(Ollama::Chat), read(Ollama::Generate));
        assert_eq!(chat["message"], json!({"role": "assistant", "content": "No."}));
        assert_eq!((&generate["response"], generate.get("message")), (&json!("No."), None));
        for answer in [chat, generate] {
            assert_eq!(
                (&answer["done"], &answer["done_reason"], &answer["model"]),
                (&json!(true), &json!("stop"), &json!("m"))
            );
            assert!(answer["created_at"].as_str().unwrap().parse::<Timestamp>().is_ok());
        }
        let error: Value = serde_json::from_str(&Ollama::Chat.error(StatusCode::BAD_REQUEST, "c", "No.")).unwrap();
        assert_eq!(error, json!({"error": "No.", "code": "c"}));
    }
}
