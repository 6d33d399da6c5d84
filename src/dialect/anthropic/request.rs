//! Every place of a request that can carry text to the model.

use super::{
    fields::{self, BODY, DEFINITIONS, Kind},
    reader::Reader,
};
use crate::{
    dialect::{Request, strict},
    segment::Target,
    wire::{
        frame::Framing,
        json::{Document, Malformed},
    },
};

pub(super) fn read(document: &Document) -> Result<Request, Malformed> {
    let known: Vec<&str> = BODY.iter().chain(DEFINITIONS).map(|(key, _)| *key).collect();
    let mut request = Request { choices: 1, usage: true, ..Request::default() };
    let mut reader = Reader::request();
    let mut messages = None;
    for (key, value) in document.root().known("body", &known)? {
        match key.as_ref() {
            "model" => request.model = strict::word("model", &value)?,
            "stream" if !value.is_null() => {
                request.stream = strict::switch("stream", &value)?.then_some(Framing::Sse);
            }
            "messages" => messages = Some(value.array().ok_or_else(|| Malformed::new("`messages` must be an array"))?),
            key => match DEFINITIONS.iter().find(|(name, _)| *name == key) {
                Some((_, kind)) => {
                    for definition in value.array().unwrap_or_else(|| vec![value]) {
                        reader.alone(Target::ToolDefinition, key, definition, *kind)?;
                    }
                }
                // Servers read fields of their own: whatever text is there may reach the model.
                None => reader.alone(Target::System, key, value, fields::kind(BODY, key).unwrap_or(Kind::Any))?,
            },
        }
    }
    for message in messages.ok_or_else(|| Malformed::new("`messages` is missing"))? {
        reader.message(message)?;
    }
    request.content = reader.finish().into();
    Ok(request)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::any::{all_read, any_json};

    const SEALED: &str = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+/=";

    fn read_text(text: &str) -> Result<Request, Malformed> {
        read(&Document::read(text.as_bytes()).unwrap())
    }

    fn refused(body: &Value) -> String {
        read_text(&body.to_string()).unwrap_err().why
    }

    const FULL: &str = r#"{
        "model": "claude-sonnet-4-5", "max_tokens": 1024, "stream": true, "temperature": 1.0,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "metadata": {"user_id": "user number 7", "note": "of gold"},
        "stop_sequences": ["END OF"],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": true},
        "tools": [
            {"name": "weather", "description": "The weather", "cache_control": {"type": "ephemeral"}, "input_schema":
                {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}, "required": ["city"]}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3,
                "user_location": {"type": "approximate", "city": "Yangon"}}],
        "mcp_servers": [{"type": "url", "name": "files", "url": "https://mcp.example/sse", "authorization_token": "a b"}],
        "container": {"id": "container_1", "skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]},
        "context_management": {"edits": [{"type": "compact_20260112", "instructions": "Sum up",
            "trigger": {"type": "input_tokens", "value": 9}}]},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A plan."},
                    "title": "Plan", "context": "Draft", "citations": {"enabled": true}},
                {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Chunk"}]}},
                {"type": "search_result", "source": "kb/1", "title": "Tea", "citations": {"enabled": true},
                    "content": [{"type": "text", "text": "Hot water"}]}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Let me see", "signature": "SEALED"},
                {"type": "redacted_thinking", "data": "SEALED"},
                {"type": "text", "text": "As it says", "citations": [{"type": "char_location", "cited_text": "A plan.",
                    "document_index": 1, "document_title": "The plan", "start_char_index": 0, "end_char_index": 7}]},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "tea"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result",
                    "url": "https://tea.example", "title": "All of tea", "encrypted_content": "SEALED", "page_age": "May 1"}]},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Yangon"}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "So"},
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": false, "content": [
                    {"type": "text", "text": "Rain"},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]},
                {"type": "text", "text": "what?"}]},
            {"role": "assistant", "content": "Here is"}]}"#;

    #[test]
    fn every_feature() {
        use Target::{Completion, Prompt, System, ToolCall, ToolDefinition, ToolResult};
        let request = read_text(&FULL.replace("SEALED", SEALED)).unwrap();
        assert_eq!((request.model.as_str(), request.choices), ("claude-sonnet-4-5", 1));
        assert_eq!(request.stream, Some(Framing::Sse));
        let mut passages: Vec<(Target, Vec<&str>)> = Vec::new();
        let mut last = 0;
        for segment in &request.content.segments {
            assert!(segment.passage >= last);
            if segment.passage > last {
                passages.push((segment.target, Vec::new()));
            }
            last = segment.passage;
            let (target, texts) = passages.last_mut().unwrap();
            assert_eq!(*target, segment.target, "a passage has one target: {}", segment.text);
            texts.push(&segment.text);
        }
        let expected: [(Target, &[&str]); 17] = [
            (System, &["Be brief."]),
            (System, &["of gold"]),
            (System, &["END OF"]),
            (ToolDefinition, &["weather", "The weather", "city", "Where", "city"]),
            (ToolDefinition, &["web_search", "Yangon"]),
            (ToolDefinition, &["files"]),
            (System, &["Sum up"]),
            (Prompt, &["What is this?", "A plan.", "Plan", "Draft", "Chunk", "kb/1", "Tea", "Hot water"]),
            (Completion, &["As it says"]),
            (Completion, &["Let me see"]),
            (Completion, &["A plan.", "The plan"]),
            (ToolCall, &["web_search", "query", "tea"]),
            (ToolResult, &["https://tea.example", "All of tea", "May 1"]),
            (ToolCall, &["weather", "city", "Yangon"]),
            (Prompt, &["So", "what?"]),
            (ToolResult, &["Rain"]),
            (Completion, &["Here is"]),
        ];
        assert_eq!(passages, expected.map(|(target, texts)| (target, texts.to_vec())));
        assert_eq!(request.content.unscorable, ["image", "document", "image"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let message = |message: Value| refused(&json!({"messages": [message]}));
        let block = |block: Value| message(json!({"role": "user", "content": [block]}));
        assert!(refused(&json!({"model": "m"})).contains("`messages`"));
        assert!(refused(&json!({"messages": [], "model": 1})).contains("`model`"));
        assert!(refused(&json!({"messages": [], "stream": "yes"})).contains("`stream`"));
        assert!(refused(&json!({"messages": [], "system": 1})).contains("`system`"));
        assert!(refused(&json!({"messages": [], "System": "x"})).contains("only in case"));
        assert!(refused(&json!({"messages": [], "metadata": "x"})).contains("`metadata`"));
        assert!(message(json!({"content": "x"})).contains("`role`"));
        assert!(message(json!({"role": "model", "content": "x"})).contains("`model`"));
        assert!(message(json!({"role": "user", "content": {"type": "text", "text": "x"}})).contains("`content`"));
        let result = json!({"type": "tool_result", "tool_use_id": "i", "content": "x"});
        assert!(message(json!({"role": "assistant", "content": [result]})).contains("`tool_result`"));
        assert!(block(json!({"text": "x"})).contains("`type`"));
        assert!(block(json!({"type": "hologram"})).contains("`hologram`"));
        assert!(block(json!({"type": "text", "text": ["x"]})).contains("`text`"));
        assert!(block(json!({"type": "text", "text": "x", "Text": "y"})).contains("only in case"));
        assert!(block(json!({"type": "document", "source": {"type": "tape"}})).contains("`tape`"));
    }

    #[test]
    fn skills_of_others_cannot_be_judged() {
        let unscorable = |skills: Value| {
            let body = json!({"messages": [], "container": {"skills": skills}});
            read_text(&body.to_string()).unwrap().content.unscorable
        };
        let own = json!({"type": "anthropic", "skill_id": "pptx"});
        assert!(unscorable(json!([own])).is_empty());
        for other in [json!({"type": "custom", "skill_id": "skill_1"}), json!({"skill_id": "skill_1"})] {
            assert_eq!(unscorable(json!([own, other])), ["skill"]);
            assert_eq!(unscorable(other), ["skill"]);
        }
    }

    #[test]
    fn text_in_the_place_of_a_word_is_text() {
        let body = json!({"service_tier": "tell me how", "thinking": {"type": "tell me why"}, "max_tokens": "tell me when",
            "messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "", "signature": "tell me where"}]}]});
        let texts: Vec<_> =
            read_text(&body.to_string()).unwrap().content.segments.into_iter().map(|segment| segment.text).collect();
        for word in ["how", "why", "when", "where"] {
            assert!(texts.contains(&format!("tell me {word}")), "{word}");
        }
    }

    proptest! {
        /// Whatever stands in fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(values in prop::collection::vec(any_json(), 12)) {
            let body = json!({
                "vendor": values[0],
                "metadata": {"user_id": "u", "more": values[1]},
                "cache_control": {"type": "ephemeral", "more": values[2]},
                "tools": [{"name": "t", "input_schema": {"type": "object"}, "more": values[3]}],
                "output_config": {"format": {"type": "json_schema", "schema": {}, "more": values[4]}},
                "messages": [
                    {"role": "user", "more": values[5], "content": [
                        {"type": "text", "text": "a", "more": values[6]},
                        {"type": "document", "source": {"type": "text", "data": "d", "more": values[7]}},
                        {"type": "tool_result", "tool_use_id": "i", "content": [
                            {"type": "text", "text": "b", "more": values[8]}]}]},
                    {"role": "assistant", "content": [
                        {"type": "text", "text": "c", "citations": [{"type": "char_location", "more": values[9]}]},
                        {"type": "tool_use", "id": "i", "name": "n", "input": values[10]},
                        {"type": "new_tool_result", "tool_use_id": "i", "content": {
                            "type": "new_result", "more": values[11]}}]}]});
            let read: Vec<String> =
                read_text(&body.to_string()).unwrap().content.segments.into_iter().map(|segment| segment.text).collect();
            all_read(&values, &read)?;
        }
    }
}
