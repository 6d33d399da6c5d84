//! Every place of a request that can carry text to the model.

use super::{item, tool};
use crate::{
    dialect::{
        Request, strict,
        text::{Collector, is_id},
    },
    segment::{Direction, Target},
    wire::{
        frame::Framing,
        json::{Document, Malformed, Node},
    },
};

/// Fields of the request that hold a setting, not text. All others that are not named below are read as text.
const PLAIN: &[&str] = &[
    "model",
    "stream",
    "background",
    "store",
    "include",
    "user",
    "safety_identifier",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "parallel_tool_calls",
    "truncation",
    "max_output_tokens",
    "max_tool_calls",
    "temperature",
    "top_p",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
];
/// Fields that hold several settings.
const SETTINGS: &[&str] = &[
    "stream_options",
    "background_options",
    "conversation",
    "reasoning",
    "tool_choice",
    "context_management",
    "moderation",
    "access_programs",
    "prompt_cache_options",
    "image",
];
/// Keys within these.
const SETTING: &[&str] = &[
    "type",
    "id",
    "name",
    "mode",
    "tools",
    "function",
    "server_label",
    "effort",
    "summary",
    "generate_summary",
    "context",
    "compact_threshold",
    "include_obfuscation",
    "completion_window",
    "continuation_id",
    "model",
    "policy",
    "input",
    "output",
    "cyber",
    "comparison_response_id",
    "prewarm",
    "ttl",
    "context_compression",
];
const TEXT: &[&str] = &["input", "instructions", "tools", "text", "prompt", "metadata"];

pub(super) fn read(document: &Document) -> Result<Request, Malformed> {
    let known: Vec<&str> = PLAIN.iter().chain(SETTINGS).chain(TEXT).copied().collect();
    let mut request = Request { choices: 1, ..Request::default() };
    let mut text = Collector::default();
    let mut input = None;
    let mut unknown = Vec::new();
    let members = document.root().known("body", &known)?;
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "model" => request.model = strict::word("model", value)?,
            "stream" => request.stream = strict::switch(key, value)?.then_some(Framing::Sse),
            "background" if strict::switch(key, value)? => {
                return Err(Malformed::new(
                    "`background` must be false: an answer that is fetched later would not pass through this proxy",
                ));
            }
            "input" => input = Some(*value),
            "instructions" => {
                text.passage();
                text.string(Target::System, key, value)?;
            }
            "prompt" => prompt(&mut text, value)?,
            "tools" => tool::read(&mut text, value),
            "text" => tool::format(&mut text, value),
            key if SETTINGS.contains(&key) => setting(&mut text, value),
            key if PLAIN.contains(&key) => {}
            key => {
                text.passage();
                text.name(Target::System, key);
                unknown.push(*value);
            }
        }
    }
    if let Some(input) = input {
        read_input(&mut text, &input)?;
    }
    // Servers read fields of their own: whatever text is there may reach the model. What `metadata` holds does not, but shows
    // in the upstream's logs and pages.
    text.unknown(&unknown);
    request.content = text.into();
    Ok(request)
}

fn read_input(text: &mut Collector, input: &Node<'_>) -> Result<(), Malformed> {
    let Some(items) = input.array() else {
        text.passage();
        return text
            .string(Target::Prompt, "input", input)
            .map_err(|_| Malformed::new("`input` must be a string or an array of items"));
    };
    for node in items {
        item::read(text, &node, Direction::Request)?;
    }
    Ok(())
}

/// A prompt that is stored at the upstream, and what is put into its gaps.
fn prompt(text: &mut Collector, prompt: &Node<'_>) -> Result<(), Malformed> {
    text.unscorable.push("prompt".to_owned());
    for (key, value) in prompt.known("prompt", &["id", "version", "variables"])? {
        match key.as_ref() {
            _ if value.is_null() => {}
            "id" | "version" => {}
            "variables" => {
                text.passage();
                // Their names are those of the stored prompt.
                for (_, value) in value.object().ok_or_else(|| Malformed::new("`variables` must be an object"))? {
                    if value.object().is_some() {
                        item::part(text, Target::Prompt, &value, Direction::Request)?;
                    } else {
                        text.strings(Target::Prompt, &value, &|_, _| false);
                    }
                }
            }
            key => {
                text.name(Target::System, key);
                text.strings(Target::System, &value, &|_, _| false);
            }
        }
    }
    Ok(())
}

/// Settings: only what is not known among them is read.
pub(super) fn setting(text: &mut Collector, setting: &Node<'_>) {
    text.passage();
    let form = |key: &str, value: &str| (key.is_empty() || SETTING.contains(&key)) && is_id(value);
    text.strings(Target::System, setting, &form);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::any::{all_read, any_json};
    use crate::segment::Target::{Completion, Prompt, System, ToolCall, ToolDefinition, ToolResult};

    fn request(body: &Value) -> Result<Request, Malformed> {
        read(&Document::read(body.to_string().as_bytes()).unwrap())
    }

    fn segments(body: &Value) -> Vec<(Target, String)> {
        let content = request(body).unwrap().content;
        content.segments.into_iter().map(|segment| (segment.target, segment.text)).collect()
    }

    proptest! {
        /// Whatever stands in fields, items and tools that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(
            top in any_json(), within in any_json(), part in any_json(),
            call in any_json(), item in any_json(), tool in any_json(),
        ) {
            let body = json!({
                "vendor": top,
                "reasoning": {"effort": "low", "vendor": top},
                "tools": [{"type": "function", "a": tool}, {"type": "mcp", "a": tool}, {"type": "new", "a": tool}],
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "a", "vendor": part}], "vendor": within},
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": call, "vendor": within},
                    {"type": "shell_call_output", "call_id": "c", "output": item},
                    {"type": "reasoning", "summary": [], "encrypted_content": part, "vendor": within},
                    {"type": "item_reference", "id": "i", "vendor": within},
                    {"type": "new_kind", "id": "i", "vendor": item},
                ],
            });
            let read: Vec<String> = segments(&body).into_iter().map(|(_, text)| text).collect();
            all_read([&top, &within, &part, &call, &item, &tool, &"new_kind".into()], &read)?;
        }
    }

    #[test]
    fn names_that_say_something_are_read() {
        let body = json!({"one of them": 1, "prompt": {"id": "p", "two of them": 1}, "tools": [{"type": "mcp", "three of them": 1}],
            "input": [{"role": "user", "four of them": 1, "content": [{"type": "input_text", "text": "a", "five of them": 1}]}]});
        let texts: Vec<_> = segments(&body).into_iter().map(|(_, text)| text).collect();
        for name in ["one", "two", "three", "four", "five"] {
            assert!(texts.contains(&format!("{name} of them")), "{name}: {texts:?}");
        }
    }

    #[test]
    fn every_place_is_read_and_told_apart() {
        let body = serde_json::from_str(include_str!("../../../tests/fixtures/requests/openai_responses.json")).unwrap();
        let expected = [
            (System, "Be kind."),
            (Prompt, "short"),
            (Prompt, "Bangkok"),
            (ToolDefinition, "place"),
            (ToolDefinition, "town"),
            (ToolDefinition, "Where?"),
            (ToolDefinition, "Tells the weather."),
            (ToolDefinition, "weather"),
            (ToolDefinition, "town"),
            (ToolDefinition, "start: WORD"),
            (ToolDefinition, "sql"),
            (ToolDefinition, "Hanoi"),
            (ToolDefinition, "buy"),
            (ToolDefinition, "Sells tea."),
            (ToolDefinition, "shop"),
            (ToolDefinition, "Digs."),
            (ToolDefinition, "dig"),
            (System, "Answer in Thai."),
            (Prompt, "What is"),
            (Prompt, "this?"),
            (Prompt, "tax.pdf"),
            (Completion, "Let me see."),
            (Completion, "Hm."),
            (ToolCall, "{\"town\":\"Hue\"}"),
            (ToolCall, "weather"),
            (ToolResult, "Rain."),
            (ToolCall, "select 1"),
            (ToolCall, "sql"),
            (ToolResult, "one row"),
            (ToolCall, "tea"),
            (ToolCall, "coffee"),
            (ToolResult, "f"),
            (ToolResult, "Beans."),
            (ToolCall, "hello"),
            (ToolCall, "print(1)"),
            (ToolResult, "1"),
            (ToolCall, "{}"),
            (ToolCall, "buy"),
            (ToolCall, "shop"),
            (ToolResult, "Bought."),
            (ToolDefinition, "shop"),
            (ToolDefinition, "sell"),
            (ToolCall, "ls -l"),
            (ToolResult, "oops"),
            (ToolResult, "a.txt"),
            (ToolCall, "+b"),
            (ToolCall, "a.txt"),
            (ToolCall, "A cat."),
            (Completion, "Cats"),
            (Completion, "https://cats"),
            (Completion, "A cat."),
            (Completion, "No."),
            (Prompt, "Go on."),
            (System, "topic"),
            (System, "travel"),
        ];
        let mut read: Vec<_> = segments(&body);
        let mut expected = expected.map(|(target, text)| (target, text.to_owned())).to_vec();
        // `json!` sorts the keys of its objects.
        read.sort();
        expected.sort();
        assert_eq!(read, expected);
        let request = request(&body).unwrap();
        assert_eq!((request.model.as_str(), request.stream, request.choices), ("gpt-5", Some(Framing::Sse), 1));
        let mut unscorable = request.content.unscorable;
        unscorable.sort();
        unscorable.dedup();
        let expected = [
            "computer_screenshot",
            "image",
            "image_generation_call",
            "input_audio",
            "input_file",
            "input_image",
            "input_video",
            "prompt",
            "skill",
        ];
        assert_eq!(unscorable, expected);
    }

    #[test]
    fn passages_are_messages_and_the_last_prompt_is_the_users() {
        let parts = json!([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]);
        let body = json!({"input": [{"role": "user", "content": parts}, {"role": "user", "content": "c"}]});
        let passages: Vec<usize> = request(&body).unwrap().content.segments.iter().map(|segment| segment.passage).collect();
        assert_eq!(passages[0], passages[1]);
        assert_ne!(passages[1], passages[2]);
        assert_eq!(segments(&json!({"input": "hi", "stream": null})), [(Prompt, "hi".to_owned())]);
    }

    #[test]
    fn what_hides_in_encrypted_content_is_read() {
        let text = "First you do this, then that. And so on, and so on.";
        let item = json!({"type": "reasoning", "summary": [], "encrypted_content": text});
        assert_eq!(segments(&json!({"input": [item]})).len(), 1);
    }

    #[test]
    fn what_cannot_be_judged_or_read_is_refused() {
        for (body, why) in [
            (json!({"input": "a", "background": true}), "`background` must be false"),
            (json!({"input": "a", "background": "yes"}), "`background` must be true or false"),
            (json!({"input": "a", "stream": 1}), "`stream` must be"),
            (json!({"input": "a", "model": 1}), "`model` must be"),
            (json!({"input": "a", "instructions": ["b"]}), "`instructions` must be a string"),
            (json!({"input": 1}), "`input` must be"),
            (json!({"input": ["a"]}), "`item` must be an object"),
            (json!({"input": [{"type": "message", "content": "a"}]}), "no `role`"),
            (json!({"input": [{"role": "critic", "content": "a"}]}), "`critic` is not a role"),
            (json!({"input": [{"role": "user", "content": 1}]}), "`content` must be"),
            (json!({"input": [{"role": "user", "content": [{"type": "hologram"}]}]}), "`hologram` are not supported"),
            (json!({"input": [{"role": "user", "content": [{"text": "a"}]}]}), "no `type`"),
            (json!({"input": [{"role": "user", "Content": "a"}]}), "only in case"),
            (json!({"input": [{"type": "function_call_output", "output": [{"type": "hologram"}]}]}), "`hologram` are not"),
            (json!({"Input": "a"}), "only in case"),
            (json!({"prompt": "p"}), "`prompt` must be an object"),
        ] {
            let refused = request(&body).unwrap_err().why;
            assert!(refused.contains(why), "{refused}");
        }
    }
}
