//! Every place of a request that can carry text to the model.

use super::vendor;
use crate::{
    dialect::{
        Request, schema, strict,
        text::{Collector, is_id, is_sealed},
        tokens::is_empty,
    },
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
    "stream_options",
    "n",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "reasoning_effort",
    "verbosity",
    "modalities",
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "store",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "audio",
];
const TEXT: &[&str] = &["messages", "tools", "functions", "response_format", "prediction"];

const MESSAGE: &[&str] = &[
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "refusal",
    "reasoning",
    "reasoning_content",
    "audio",
];
/// Audio that a model made, or a reference to it.
pub(super) const AUDIO: &[&str] = &["id", "transcript", "data", "expires_at"];
const PART: &[&str] = &["type", "text", "refusal", "image_url", "input_audio", "file"];

pub(super) fn read(document: &Document) -> Result<Request, Malformed> {
    let known: Vec<&str> = SETTINGS.iter().chain(TEXT).copied().collect();
    let members = document.root().known("body", &known)?;
    let mut request = Request { choices: 1, ..Request::default() };
    let mut text = Collector::default();
    let mut unknown = Vec::new();
    let mut messages = None;
    for (key, value) in &members {
        match key.as_ref() {
            "model" => request.model = strict::word("model", value)?,
            "stream" if !value.is_null() => {
                request.stream = strict::switch("stream", value)?.then_some(Framing::Sse);
            }
            "n" if !value.is_null() => {
                request.choices = strict::count("n", value)?;
            }
            "stream_options" if !value.is_null() => {
                let options = value.known("stream_options", &["include_usage", "include_obfuscation"])?;
                request.usage = options.iter().any(|(key, value)| key == "include_usage" && value.raw() == "true");
            }
            "messages" => messages = Some(value.array().ok_or_else(|| Malformed::new("`messages` must be an array"))?),
            "tools" | "functions" => {
                for tool in value.array().unwrap_or_else(|| vec![*value]) {
                    text.passage();
                    text.strings(Target::ToolDefinition, &tool, &schema::word);
                }
            }
            "response_format" => {
                text.passage();
                text.strings(Target::ToolDefinition, value, &schema::word);
            }
            "prediction" => {
                text.passage();
                text.strings(Target::System, value, &|key, text| {
                    matches!((key, text), ("type", "content" | "text") | ("type" | "content" | "text", ""))
                });
            }
            // Who asks is told to no model.
            "user" | "safety_identifier" | "prompt_cache_key" => {}
            key if SETTINGS.contains(&key) => {
                text.passage();
                text.id(Target::System, value);
            }
            key => match vendor::media(key) {
                Some(kind) => text.unscorable.extend((!is_empty(value)).then(|| kind.to_owned())),
                None => unknown.push(*value),
            },
        }
    }
    for message in messages.ok_or_else(|| Malformed::new("`messages` is missing"))? {
        read_message(&mut text, &message)?;
    }
    // Servers read fields of their own (vLLM's `chat_template`, `documents`): whatever text is there may reach the model.
    text.unknown(&unknown);
    request.content = text.into();
    Ok(request)
}

/// A message of a request.
fn read_message(text: &mut Collector, message: &Node<'_>) -> Result<(), Malformed> {
    let members = message.known("message", MESSAGE)?;
    let target = strict::role(&members, |role| match role {
        "user" => Some(Target::Prompt),
        "system" | "developer" => Some(Target::System),
        "assistant" => Some(Target::Completion),
        "tool" | "function" => Some(Target::ToolResult),
        _ => None,
    })?;
    read_members(text, &members, target)
}

/// The text of a message, in a request or an answer: each of its texts is a passage of its own.
pub(super) fn read_members(
    text: &mut Collector,
    members: &[(std::borrow::Cow<'_, str>, Node<'_>)],
    target: Target,
) -> Result<(), Malformed> {
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        text.passage();
        match key.as_ref() {
            "role" => {}
            "tool_call_id" => text.id(target, value),
            "content" => read_content(text, value, target)?,
            "name" => text.string(Target::System, key, value)?,
            "refusal" | "reasoning" | "reasoning_content" => text.string(target, key, value)?,
            "tool_calls" => {
                for call in value.array().ok_or_else(|| Malformed::new("`tool_calls` must be an array"))? {
                    text.passage();
                    read_call(text, &call);
                }
            }
            "function_call" => read_call(text, value),
            // In a request a reference to an earlier answer's audio; in an answer the audio itself, with its transcript.
            "audio" => {
                let audio = value.known("audio", AUDIO)?;
                for (key, value) in &audio {
                    match key.as_ref() {
                        "data" => text.unscorable.push("audio".to_owned()),
                        "id" | "expires_at" => {}
                        _ => text.strings(target, value, &|_, _| false),
                    }
                }
            }
            key => {
                let media = vendor::media(key).filter(|_| !is_empty(value));
                text.unscorable.extend(media.map(str::to_owned));
                text.strings(target, value, &|name, said| {
                    vendor::words(key)(name, said) || (media.is_some() && is_sealed(said))
                });
            }
        }
    }
    Ok(())
}

fn read_content(text: &mut Collector, content: &Node<'_>, target: Target) -> Result<(), Malformed> {
    let Some(parts) = content.array() else {
        return text
            .string(target, "content", content)
            .map_err(|_| Malformed::new("`content` must be a string or an array of parts"));
    };
    for part in parts {
        let members = part.known("content part", PART)?;
        let kind = members.iter().find(|(key, _)| key == "type").and_then(|(_, value)| value.string());
        let kind = kind.ok_or_else(|| Malformed::new("a content part has no `type`"))?;
        match kind.as_ref() {
            "text" | "refusal" => {}
            "image_url" | "input_audio" | "file" => text.unscorable.push(kind.clone().into_owned()),
            other => return Err(Malformed::new(format!("content parts of type `{other}` are not supported"))),
        }
        for (key, value) in &members {
            match key.as_ref() {
                "type" => {}
                key if key == kind && text_part(key) => text.string(target, key, value)?,
                key if key == kind => {}
                _ => text.strings(target, value, &|_, _| false),
            }
        }
    }
    Ok(())
}

fn text_part(kind: &str) -> bool {
    matches!(kind, "text" | "refusal")
}

/// A tool call: its name and arguments, or a custom tool's input.
fn read_call(text: &mut Collector, call: &Node<'_>) {
    for (_, id) in call.object().unwrap_or_default().iter().filter(|(key, _)| key == "id") {
        text.id(Target::ToolCall, id);
    }
    text.strings(Target::ToolCall, call, &|key, value| match key {
        "id" | "index" => value.is_empty() || is_id(value),
        "type" => matches!(value, "function" | "custom" | ""),
        "function" | "custom" | "name" | "arguments" | "input" => value.is_empty(),
        _ => false,
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::dialect::any::{all_read, any_json};

    proptest! {
        /// Whatever stands in fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(top in any_json(), within in any_json(), part in any_json()) {
            let body = json!({"vendor": top, "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a", "extra": part}], "more": within}]});
            let document = Document::read(body.to_string().as_bytes()).unwrap();
            let read: Vec<String> = read(&document).unwrap().content.segments.into_iter().map(|segment| segment.text).collect();
            all_read([&top, &within, &part], &read)?;
        }
    }
}
