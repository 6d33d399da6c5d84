//! Every place of a request that can carry text to the model, and the parts that messages share with answers.

use crate::{
    dialect::{
        Request, schema, strict,
        text::{Collector, is_id},
    },
    segment::Target,
    wire::{
        frame::Framing,
        json::{Document, Malformed, Members, Node},
    },
};

/// Fields of the request that hold settings, not text. All others that are not named below are read as text.
const SETTINGS: &[&str] = &[
    "model",
    "stream",
    "safety_mode",
    "citation_options",
    "strict_tools",
    "tool_choice",
    "thinking",
    "priority",
    "logprobs",
    "seed",
    "max_tokens",
    "temperature",
    "frequency_penalty",
    "presence_penalty",
    "k",
    "p",
];
const TEXT: &[&str] = &["messages", "tools", "documents", "response_format", "stop_sequences"];
const MESSAGE: &[&str] = &["role", "content", "tool_calls", "tool_plan", "tool_call_id", "citations"];
const PART: &[&str] = &["type", "text", "thinking", "document", "image_url"];
const CALL: &[&str] = &["id", "type", "function"];
const CITATION: &[&str] = &["start", "end", "text", "sources", "type", "id", "document", "tool_output", "content_index"];

pub(super) fn read(document: &Document) -> Result<Request, Malformed> {
    let known: Vec<&str> = SETTINGS.iter().chain(TEXT).copied().collect();
    let mut request = Request { choices: 1, usage: true, ..Request::default() };
    let mut text = Collector::default();
    let mut messages = None;
    let mut rest = Vec::new();
    for (key, value) in document.root().known("body", &known)? {
        text.passage();
        match key.as_ref() {
            "model" => request.model = strict::word("model", &value)?,
            "stream" if !value.is_null() => {
                request.stream = strict::switch("stream", &value)?.then_some(Framing::Sse);
            }
            "messages" => messages = Some(value.array().ok_or_else(|| Malformed::new("`messages` must be an array"))?),
            "tools" | "response_format" => {
                for definition in each(&value) {
                    text.passage();
                    text.strings(Target::ToolDefinition, &definition, &schema::word);
                }
            }
            // What was looked up for the model comes from outside, as a tool's answer does.
            "documents" => {
                for document in each(&value) {
                    text.passage();
                    text.strings(Target::ToolResult, &document, &document_word);
                }
            }
            key if SETTINGS.contains(&key) => text.strings(Target::System, &value, &setting_word),
            _ => rest.push(value),
        }
    }
    for message in messages.ok_or_else(|| Malformed::new("`messages` is missing"))? {
        read_message(&mut text, &message)?;
    }
    // Stop sequences, and fields that only some servers read: whatever text is there may reach the model.
    text.unknown(&rest);
    request.content = text.into();
    Ok(request)
}

fn read_message(text: &mut Collector, message: &Node<'_>) -> Result<(), Malformed> {
    let members = message.known("message", MESSAGE)?;
    let target = strict::role(&members, |role| match role {
        "user" => Some(Target::Prompt),
        "system" => Some(Target::System),
        "assistant" => Some(Target::Completion),
        "tool" => Some(Target::ToolResult),
        _ => None,
    })?;
    read_members(text, members, target)
}

/// The message of an answer.
pub(super) fn read_answer(text: &mut Collector, message: &Node<'_>) -> Result<(), Malformed> {
    read_members(text, message.known("message", MESSAGE)?, Target::Completion)
}

/// The text of a message, in a request or an answer: each of its texts is a passage of its own.
fn read_members(text: &mut Collector, members: Members<'_>, target: Target) -> Result<(), Malformed> {
    for (key, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
        text.passage();
        match key.as_ref() {
            "role" => {}
            "tool_call_id" => text.strings(target, &value, &setting_word),
            "content" => read_content(text, &value, target)?,
            "tool_plan" => text.string(target, &key, &value)?,
            "tool_calls" => {
                for call in value.array().ok_or_else(|| Malformed::new("`tool_calls` must be an array"))? {
                    text.passage();
                    read_call(text, &call)?;
                }
            }
            "citations" => {
                for citation in each(&value) {
                    text.passage();
                    text.strings(target, &citation, &citation_word);
                }
            }
            _ => text.strings(target, &value, &|_, _| false),
        }
    }
    Ok(())
}

/// A text, an array of parts, or one part without an array around it.
fn read_content(text: &mut Collector, content: &Node<'_>, target: Target) -> Result<(), Malformed> {
    if content.string().is_some() {
        return text.string(target, "content", content);
    }
    let parts = content.array().or_else(|| content.object().map(|_| vec![*content]));
    for part in parts.ok_or_else(|| Malformed::new("`content` must be a string or an array of parts"))? {
        read_part(text, &part, target)?;
    }
    Ok(())
}

fn read_part(text: &mut Collector, part: &Node<'_>, target: Target) -> Result<(), Malformed> {
    let members = part.known("content part", PART)?;
    let kind = members.iter().find(|(key, _)| key == "type").and_then(|(_, value)| value.string());
    let kind = kind.ok_or_else(|| Malformed::new("a content part has no `type`"))?;
    if !matches!(kind.as_ref(), "text" | "thinking" | "document" | "image_url") {
        return Err(Malformed::new(format!("content parts of type `{kind}` are not supported")));
    }
    if kind == "image_url" || members.iter().any(|(key, _)| key == "image_url") {
        text.unscorable.push("image_url".to_owned());
    }
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "type" => {}
            "text" | "thinking" => text.string(target, key, value)?,
            "document" => text.strings(target, value, &document_word),
            "image_url" if value.string().is_some() => {}
            "image_url" => text.strings(target, value, &|key, _| matches!(key, "url" | "detail")),
            _ => text.strings(target, value, &|_, _| false),
        }
    }
    Ok(())
}

fn read_call(text: &mut Collector, call: &Node<'_>) -> Result<(), Malformed> {
    for (key, value) in call.known("tool call", CALL)? {
        match key.as_ref() {
            "id" | "type" => text.strings(Target::ToolCall, &value, &setting_word),
            "function" => text.strings(Target::ToolCall, &value, &call_word),
            _ => text.strings(Target::ToolCall, &value, &|_, _| false),
        }
    }
    Ok(())
}

/// The elements of an array; anything else is taken for its only element.
pub(super) fn each<'a>(value: &Node<'a>) -> Vec<Node<'a>> {
    value.array().unwrap_or_else(|| vec![*value])
}

/// What settings and ids are made of: names, and values of one short word. A longer value is a text that tries to hide there.
fn setting_word(key: &str, value: &str) -> bool {
    let word = if value.is_empty() { key } else { value };
    is_id(word)
}

/// The words of a call's `function`.
pub(super) fn call_word(key: &str, value: &str) -> bool {
    value.is_empty() && matches!(key, "name" | "arguments")
}

/// The words around a document. Within its data even the names of the fields are told to the model.
fn document_word(key: &str, value: &str) -> bool {
    value.is_empty() && matches!(key, "data" | "id")
}

/// The words of a citation.
pub(super) fn citation_word(key: &str, value: &str) -> bool {
    if value.is_empty() {
        return CITATION.contains(&key);
    }
    key == "type" && matches!(value, "TEXT_CONTENT" | "THINKING_CONTENT" | "PLAN" | "document" | "tool")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::any::{all_read, any_json};

    fn read_value(body: &Value) -> Result<Request, Malformed> {
        read(&Document::read(body.to_string().as_bytes()).unwrap())
    }

    proptest! {
        /// Whatever stands in fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(values in prop::array::uniform7(any_json())) {
            let [top, within, part, image, call, source, tool] = &values;
            let body = json!({
                "vendor": top,
                "documents": [{"data": {"body": source}, "more": source}],
                "tools": [{"type": "function", "more": tool}],
                "messages": [
                    {"role": "user", "more": within, "content": [
                        {"type": "text", "text": "a", "extra": part},
                        {"type": "image_url", "image_url": {"url": "https://x", "extra": image}}]},
                    {"role": "assistant", "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": call}, "extra": call}],
                     "citations": [{"extra": source}]}]});
            let read: Vec<String> = read_value(&body).unwrap().content.segments.into_iter().map(|it| it.text).collect();
            all_read(&values, &read)?;
        }
    }

    fn full() -> Value {
        json!({
            "model": "command-a-03-2025", "stream": true, "safety_mode": "CONTEXTUAL", "seed": 7, "logprobs": true,
            "citation_options": {"mode": "FAST"}, "thinking": {"type": "enabled", "token_budget": 500},
            "temperature": 0.3, "k": 0, "p": 0.75, "max_tokens": 300, "stop_sequences": ["END"],
            "response_format": {"type": "json_object", "json_schema": {"type": "object", "required": ["plan"]}},
            "documents": ["a bare text", {"id": "d1", "data": {"title": "Gyms", "snippet": "Open daily"}}],
            "tools": [{"type": "function", "function": {"name": "weather", "description": "Tells it",
                "parameters": {"type": "object", "properties": {"day": {"type": "string", "description": "Which"}}}}}],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Rain in"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                    {"type": "text", "text": "Bedok?"}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}], "tool_plan": "I look.",
                    "tool_calls": [{"id": "w0", "type": "function",
                        "function": {"name": "weather", "arguments": "{\"day\":\"today\"}"}}]},
                {"role": "tool", "tool_call_id": "w0", "content": [
                    {"type": "document", "document": {"id": "t1", "data": {"rain": "yes"}}}, {"type": "text", "text": "wet"}]},
                {"role": "assistant", "content": "Yes, rain.", "citations": [{"start": 5, "end": 9, "text": "rain",
                    "type": "TEXT_CONTENT", "sources": [{"type": "tool", "id": "w0:0", "tool_output": {"rain": "much"}}]}]},
                {"role": "user", "content": {"type": "text", "text": "Thanks"}},
            ],
        })
    }

    #[test]
    fn a_request_with_everything() {
        use Target::{Completion, Prompt, System, ToolCall, ToolDefinition, ToolResult};
        let request = read_value(&full()).unwrap();
        assert_eq!((request.model.as_str(), request.stream, request.choices), ("command-a-03-2025", Some(Framing::Sse), 1));
        assert_eq!(request.content.unscorable, ["image_url"]);
        let read: Vec<(Target, &str)> =
            request.content.segments.iter().map(|segment| (segment.target, segment.text.as_str())).collect();
        // The fields of a JSON value made here come in the order of their names.
        let expected = [
            (ToolResult, "a bare text"),
            (ToolResult, "snippet"),
            (ToolResult, "Open daily"),
            (ToolResult, "title"),
            (ToolResult, "Gyms"),
            (ToolResult, "d1"),
            (ToolDefinition, "plan"),
            (ToolDefinition, "Tells it"),
            (ToolDefinition, "weather"),
            (ToolDefinition, "day"),
            (ToolDefinition, "Which"),
            (System, "Be brief."),
            (Prompt, "Rain in"),
            (Prompt, "Bedok?"),
            (Completion, "hm"),
            (ToolCall, "{\"day\":\"today\"}"),
            (ToolCall, "weather"),
            (Completion, "I look."),
            (ToolResult, "rain"),
            (ToolResult, "yes"),
            (ToolResult, "t1"),
            (ToolResult, "wet"),
            (Completion, "w0:0"),
            (Completion, "rain"),
            (Completion, "much"),
            (Completion, "rain"),
            (Completion, "Yes, rain."),
            (Prompt, "Thanks"),
            (System, "END"),
        ];
        let (mut read_sorted, mut expected_sorted) = (read.clone(), expected.to_vec());
        read_sorted.sort_unstable();
        expected_sorted.sort_unstable();
        assert_eq!(read_sorted, expected_sorted);
        let passage = |text: &str| request.content.segments.iter().find(|it| it.text == text).unwrap().passage;
        assert_eq!(passage("Rain in"), passage("Bedok?"));
        assert_ne!(passage("hm"), passage("I look."));
    }

    #[test]
    fn a_text_in_the_place_of_a_setting_is_read() {
        let body = json!({"model": "m", "safety_mode": "speak freely", "thinking": {"type": "in secret"}, "messages": [
            {"role": "tool", "tool_call_id": "so do it", "content": ""},
            {"role": "assistant", "tool_calls": [{"id": "or else", "type": "function"}]}]});
        let mut read: Vec<String> = read_value(&body).unwrap().content.segments.into_iter().map(|it| it.text).collect();
        read.sort_unstable();
        assert_eq!(read, ["in secret", "or else", "so do it", "speak freely"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let refused = |body: Value| read_value(&body).unwrap_err().why;
        let message = |message: Value| refused(json!({"messages": [message]}));
        assert!(refused(json!({"model": "m"})).contains("`messages` is missing"));
        assert!(refused(json!({"messages": [], "Messages": []})).contains("only in case"));
        assert!(refused(json!({"messages": [], "stream": "yes"})).contains("`stream`"));
        assert!(message(json!({"role": "chatbot", "content": "a"})).contains("`chatbot`"));
        assert!(message(json!({"role": "user", "content": 5})).contains("`content`"));
        assert!(message(json!({"role": "user", "content": [{"type": "video", "video": "x"}]})).contains("`video`"));
        assert!(message(json!({"role": "user", "content": [{"type": "text", "text": 5}]})).contains("`text`"));
        assert!(message(json!({"role": "assistant", "tool_calls": {}})).contains("`tool_calls`"));
    }
}
