//! Every place of a request that can carry text to the model. The two paths' fields are read alike: none means two things.

use super::answer::{call_texts, images};
use crate::{
    dialect::{Request, schema, strict, text::Collector},
    segment::Target,
    wire::{
        frame::Framing,
        json::{Document, Malformed, Node},
    },
};

/// Fields of the request that hold settings, not text. All others that are not named below are read as text.
const SETTINGS: &[&str] = &[
    "model",
    "stream",
    "raw",
    "keep_alive",
    "truncate",
    "shift",
    "logprobs",
    "top_logprobs",
    "width",
    "height",
    "steps",
    "_debug_render_only",
];
const TEXT: &[&str] =
    &["messages", "tools", "format", "options", "think", "prompt", "suffix", "system", "template", "images", "context"];
/// Names of the model's options; only `stop` holds text.
const OPTIONS: &[&str] = &[
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "top_p",
    "min_p",
    "tfs_z",
    "typical_p",
    "repeat_last_n",
    "temperature",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "penalize_newline",
    "stop",
    "numa",
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "low_vram",
    "vocab_only",
    "use_mmap",
    "use_mlock",
    "num_thread",
];
/// Fields of a message, in a request or an answer.
pub(super) const MESSAGE: &[&str] = &["role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"];

pub(super) fn read(document: &Document) -> Result<Request, Malformed> {
    let known: Vec<&str> = SETTINGS.iter().chain(TEXT).copied().collect();
    let members = document.root().known("body", &known)?;
    let mut request = Request { choices: 1, usage: true, stream: Some(Framing::Ndjson), ..Request::default() };
    let mut text = Collector::default();
    let (mut messages, mut prompt, mut suffix, mut unknown) = (Vec::new(), None, None, Vec::new());
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        text.passage();
        match key.as_ref() {
            "model" => request.model = strict::word("model", value)?,
            "stream" => {
                request.stream = strict::switch("stream", value)?.then_some(Framing::Ndjson);
            }
            "messages" => messages = array("messages", value)?,
            "prompt" => prompt = Some(value),
            "suffix" => suffix = Some(value),
            "system" | "template" => text.string(Target::System, key, value)?,
            "tools" => {
                for tool in array("tools", value)? {
                    text.passage();
                    text.strings(Target::ToolDefinition, &tool, &schema::word);
                }
            }
            "format" => text.strings(Target::ToolDefinition, value, &format_word),
            "options" => {
                text.strings(Target::System, value, &|key, text| text.is_empty() && OPTIONS.contains(&key));
            }
            "think" => text.strings(Target::System, value, &|_, text| matches!(text, "low" | "medium" | "high" | "max")),
            "images" => text.unscorable.extend(images(value)?),
            "context" => text.unscorable.extend(context(value)?),
            key if SETTINGS.contains(&key) => {}
            _ => unknown.push(*value),
        }
    }
    for message in messages {
        read_message(&mut text, &message)?;
    }
    // What is to follow the answer is read with the prompt: the model sees them together.
    text.passage();
    for (what, value) in [("prompt", prompt), ("suffix", suffix)] {
        value.map_or(Ok(()), |value| text.string(Target::Prompt, what, value))?;
    }
    text.unknown(&unknown);
    request.content = text.into();
    Ok(request)
}

fn array<'d>(what: &str, value: &Node<'d>) -> Result<Vec<Node<'d>>, Malformed> {
    value.array().ok_or_else(|| Malformed::new(format!("`{what}` must be an array")))
}

/// `json`, or a schema's form.
fn format_word(key: &str, value: &str) -> bool {
    schema::word(key, value) || (key.is_empty() && value == "json")
}

/// The tokens of earlier turns, which no text guard can judge.
fn context(value: &Node<'_>) -> Result<Option<String>, Malformed> {
    let tokens = array("context", value)?;
    if tokens.iter().any(|token| token.integer().is_none()) {
        return Err(Malformed::new("`context` must be an array of whole numbers"));
    }
    Ok((!tokens.is_empty()).then(|| "context".to_owned()))
}

fn read_message(text: &mut Collector, message: &Node<'_>) -> Result<(), Malformed> {
    let members = message.known("message", MESSAGE)?;
    // The server lowers the letters of a role before it reads it. `control` switches Granite's thinking on.
    let target = strict::role(&members, |role| match role.to_lowercase().as_str() {
        "user" => Some(Target::Prompt),
        "system" | "developer" | "control" => Some(Target::System),
        "assistant" => Some(Target::Completion),
        "tool" => Some(Target::ToolResult),
        _ => None,
    })?;
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        text.passage();
        match key.as_ref() {
            "role" => {}
            "tool_call_id" => text.id(target, value),
            "content" | "thinking" | "tool_name" => text.string(target, key, value)?,
            "images" => text.unscorable.extend(images(value)?),
            "tool_calls" => {
                for call in array("tool_calls", value)? {
                    read_call(text, &call)?;
                }
            }
            _ => text.strings(target, value, &|_, _| false),
        }
    }
    Ok(())
}

fn read_call(text: &mut Collector, call: &Node<'_>) -> Result<(), Malformed> {
    text.passage();
    let unscorable = text.unscorable.len();
    for node in call_texts(call)? {
        text.strings(Target::ToolCall, &node, &|_, _| false);
    }
    // An argument may be called `type` and say `image`: it is no image, the model reads it as text.
    text.unscorable.truncate(unscorable);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::dialect::any::{all_read, any_json};

    fn read_text(body: &str) -> Result<Request, Malformed> {
        read(&Document::read(body.as_bytes()).unwrap())
    }

    fn found(request: &Request) -> Vec<(Target, &str)> {
        request.content.segments.iter().map(|segment| (segment.target, segment.text.as_str())).collect()
    }

    proptest! {
        /// Whatever stands in fields that are not known, and in a call's arguments: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(top in any_json(), within in any_json(), call in any_json(), option in any_json()) {
            let call = json!({"more": call, "function": {"name": "f", "more": call, "arguments": {"a": call}}});
            let body = json!({"vendor": top, "options": {"vendor": option},
                "messages": [{"role": "assistant", "content": "a", "more": within, "tool_calls": [call]}]});
            let request = read_text(&body.to_string()).unwrap();
            let read: Vec<&str> = found(&request).into_iter().map(|(_, text)| text).collect();
            all_read([&top, &within, &option, &call["more"]], &read)?;
        }
    }

    #[test]
    fn every_place_of_a_chat() {
        let body = r#"{"model": "qwen3", "messages": [
                {"role": "SYSTEM", "content": "Be brief."},
                {"role": "user", "content": "What is this?", "images": ["aGk="]},
                {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [{"id": "call_1",
                    "type": "function", "function": {"index": 0, "name": "look",
                     "arguments": {"id": "north", "type": "image", "deep": ["a", 1]}}}]},
                {"role": "tool", "tool_name": "look", "tool_call_id": "call_1", "content": "A wall."}],
            "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {
                "type": "object", "required": ["id"], "properties": {"id": {"type": "string", "description": "Where to."}}}}}],
            "format": {"type": "object", "properties": {"answer": {"type": "string"}}},
            "options": {"temperature": 0.5, "stop": ["END"], "odd": "x"},
            "keep_alive": "5m", "think": "high", "logprobs": true, "truncate": true, "extra": "more"}"#;
        let request = read_text(body).unwrap();
        let expected = [
            (Target::ToolDefinition, "look"),
            (Target::ToolDefinition, "Looks."),
            (Target::ToolDefinition, "id"),
            (Target::ToolDefinition, "id"),
            (Target::ToolDefinition, "Where to."),
            (Target::ToolDefinition, "answer"),
            (Target::System, "END"),
            (Target::System, "odd"),
            (Target::System, "x"),
            (Target::System, "Be brief."),
            (Target::Prompt, "What is this?"),
            (Target::Completion, "Hm."),
            (Target::ToolCall, "look"),
            (Target::ToolCall, "id"),
            (Target::ToolCall, "north"),
            (Target::ToolCall, "type"),
            (Target::ToolCall, "image"),
            (Target::ToolCall, "deep"),
            (Target::ToolCall, "a"),
            (Target::ToolResult, "look"),
            (Target::ToolResult, "A wall."),
            (Target::System, "more"),
        ];
        assert_eq!(found(&request), expected);
        assert_eq!(request.content.unscorable, ["image"]);
        assert_eq!((request.model.as_str(), request.choices, request.stream), ("qwen3", 1, Some(Framing::Ndjson)));
    }

    #[test]
    fn every_place_of_a_generation() {
        let body = r#"{"model": "m", "suffix": "  return x", "prompt": "def f(", "system": "Be brief.",
            "template": "{{ .System }} {{ .Prompt }}", "context": [1, 2], "images": ["aGk=", "aGk="], "raw": false,
            "format": "json", "stream": false, "think": false, "keep_alive": 0, "width": 512}"#;
        let request = read_text(body).unwrap();
        let expected = [
            (Target::System, "Be brief."),
            (Target::System, "{{ .System }} {{ .Prompt }}"),
            (Target::Prompt, "def f("),
            (Target::Prompt, "  return x"),
        ];
        assert_eq!(found(&request), expected);
        let passages: Vec<usize> = request.content.segments.iter().map(|segment| segment.passage).collect();
        assert!(passages[0] != passages[1] && passages[1] != passages[2] && passages[2] == passages[3]);
        assert_eq!(request.content.unscorable, ["context", "image", "image"]);
        assert_eq!(request.stream, None);
    }

    #[test]
    fn nothing_to_say_and_wrong_types() {
        // A request without messages only loads the model.
        for body in [r#"{"model": "m"}"#, r#"{"model": "m", "messages": [], "stream": null, "context": [], "images": []}"#] {
            let request = read_text(body).unwrap();
            assert!(request.content.segments.is_empty() && request.content.unscorable.is_empty());
            assert_eq!(request.stream, Some(Framing::Ndjson));
        }
        for (body, word) in [
            (r#"{"prompt": ["a"]}"#, "`prompt`"),
            (r#"{"context": ["a"]}"#, "`context`"),
            (r#"{"images": "a"}"#, "`images`"),
            (r#"{"stream": "yes"}"#, "`stream`"),
            (r#"{"messages": {}}"#, "`messages`"),
            (r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}"#, "`content`"),
            (r#"{"messages": [{"role": "poet", "content": "a"}]}"#, "`poet`"),
            (r#"{"messages": [{"content": "a"}]}"#, "`role`"),
            (r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": "f"}]}]}"#, "`function`"),
            (r#"{"Messages": []}"#, "case"),
            (r#"{"messages": [{"role": "user", "Content": "a"}]}"#, "case"),
            (r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"Arguments": {}}}]}]}"#, "case"),
        ] {
            assert!(read_text(body).unwrap_err().why.contains(word), "{body}");
        }
    }
}
