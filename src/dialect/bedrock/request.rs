//! Every place of a request that can carry text to the model.

use super::{
    address,
    block::{read_blocks, read_message, word},
};
use crate::{
    dialect::{Request, model::decoded, schema, strict, text::Collector},
    segment::Target,
    wire::{
        frame::Framing,
        json::{Document, Malformed, Node},
    },
};

/// Fields of the request that hold settings, not text. All others that are not named below are read as text.
const SETTINGS: &[&str] =
    &["guardrailConfig", "requestMetadata", "performanceConfig", "serviceTier", "additionalModelResponseFieldPaths"];
const TEXT: &[&str] =
    &["messages", "system", "inferenceConfig", "toolConfig", "outputConfig", "promptVariables", "additionalModelRequestFields"];
/// Names around tools, and around the form of the answer.
const TOOL_WORDS: &[&str] =
    &["systemTool", "cachePoint", "auto", "any", "tool", "textFormat", "structure", "jsonSchema", "toolChoice"];

pub(super) fn read(path: &str, document: &Document) -> Result<Request, Malformed> {
    let (model, stream) = address(path).ok_or_else(|| Malformed::new("the path names no model"))?;
    let stream = stream.then_some(Framing::EventStream);
    let mut request = Request { model: decoded(model), stream, choices: 1, usage: true, ..Request::default() };
    let mut text = Collector::default();
    // A prompt that is stored at Amazon's, whose text nobody sees here.
    if request.model.to_ascii_lowercase().contains(":prompt/") {
        text.unscorable.push("prompt".to_owned());
    }
    let known: Vec<&str> = SETTINGS.iter().chain(TEXT).copied().collect();
    let mut messages = Vec::new();
    for (key, value) in document.root().known("body", &known)? {
        text.passage();
        match key.as_ref() {
            _ if value.is_null() => {}
            "messages" => messages = value.array().ok_or_else(|| Malformed::new("`messages` must be an array"))?,
            "system" => read_blocks(&mut text, "system", &value, Target::System)?,
            "toolConfig" => read_tools(&mut text, &value)?,
            "outputConfig" => text.strings(Target::ToolDefinition, &value, &tool_word),
            // They fill in the gaps of a stored prompt, which is what the user says.
            "promptVariables" => text.strings(Target::Prompt, &value, &word),
            "inferenceConfig" => text.strings(Target::System, &value, &setting_word),
            key if SETTINGS.contains(&key) => {}
            // Fields of the model's own, and unknown ones: whatever text is there may reach the model.
            _ => text.strings(Target::System, &value, &|_, _| false),
        }
    }
    for message in messages {
        let role = |role: &str| match role {
            "user" => Some(Target::Prompt),
            "assistant" => Some(Target::Completion),
            "system" => Some(Target::System),
            _ => None,
        };
        read_message(&mut text, &message, |members| strict::role(members, role))?;
    }
    request.content = text.into();
    Ok(request)
}

fn read_tools(text: &mut Collector, config: &Node<'_>) -> Result<(), Malformed> {
    for (key, value) in config.known("toolConfig", &["tools", "toolChoice"])? {
        if key == "tools" && !value.is_null() {
            for tool in value.array().ok_or_else(|| Malformed::new("`tools` must be an array"))? {
                text.passage();
                text.strings(Target::ToolDefinition, &tool, &tool_word);
            }
        } else {
            text.passage();
            text.strings(Target::ToolDefinition, &value, &tool_word);
        }
    }
    Ok(())
}

fn tool_word(key: &str, value: &str) -> bool {
    schema::word(key, value) || word(key, value) || (value.is_empty() && TOOL_WORDS.contains(&key))
}

fn setting_word(key: &str, value: &str) -> bool {
    value.is_empty() && matches!(key, "maxTokens" | "temperature" | "topP" | "stopSequences")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::any::{all_read, any_json};

    const MODEL: &str = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream";

    const SEALED: &str = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+/=";

    fn read_value(path: &str, body: &Value) -> Result<Request, Malformed> {
        read(path, &Document::read(body.to_string().as_bytes()).unwrap())
    }

    proptest! {
        /// Whatever stands in fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(values in prop::array::uniform9(any_json())) {
            let [top, own, tool, within, image, document, input, result, guard] = &values;
            let body = json!({
                "vendor": top, "additionalModelRequestFields": own, "inferenceConfig": {"more": own},
                "toolConfig": {"tools": [{"toolSpec": {"name": "t", "more": tool}}], "more": tool},
                "system": [{"guardContent": {"text": {"text": "a", "more": guard}, "more": guard}}],
                "messages": [
                    {"role": "user", "more": within, "content": [
                        {"image": {"format": "png", "source": {"bytes": "AAAA"}, "more": image}},
                        {"document": {"name": "n", "source": {"text": "a", "more": document}, "more": document}},
                        {"searchResult": {"title": "t", "more": document}}]},
                    {"role": "assistant", "content": [
                        {"reasoningContent": {"reasoningText": {"text": "a", "more": guard}}},
                        {"toolUse": {"toolUseId": "1", "name": "t", "input": {"toolUseId": input}, "more": input}},
                        {"citationsContent": {"citations": [{"more": result}]}}]},
                    {"role": "user", "content": [
                        {"toolResult": {"toolUseId": "1", "content": [{"json": {"text": result}}], "more": result}}]}]});
            let read = read_value(MODEL, &body).unwrap();
            let read: Vec<String> = read.content.segments.into_iter().map(|segment| segment.text).collect();
            all_read(&values, &read)?;
        }
    }

    fn full() -> Value {
        json!({
            "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}},
                {"guardContent": {"text": {"text": "Be kind.", "qualifiers": ["guard_content"]}}}],
            "inferenceConfig": {"maxTokens": 512, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"top_k": 200, "note": "own"},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
            "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"},
            "requestMetadata": {"team": "blue"}, "performanceConfig": {"latency": "optimized"},
            "serviceTier": {"type": "flex"}, "promptVariables": {"city": {"text": "Bedok"}},
            "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {
                "name": "plan", "schema": "{\"type\":\"object\"}"}}}},
            "toolConfig": {"toolChoice": {"tool": {"name": "weather"}}, "tools": [
                {"toolSpec": {"name": "weather", "description": "Tells it", "inputSchema": {"json": {"type": "object",
                    "properties": {"day": {"type": "string", "description": "Which"}}, "required": ["day"]}}}},
                {"systemTool": {"name": "nova_grounding"}}, {"cachePoint": {"type": "default"}}]},
            "messages": [
                {"role": "user", "content": [
                    {"text": "Look"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                    {"toolResult": {"toolUseId": "t0", "status": "success", "content": [
                        {"json": {"rain": "yes"}}, {"text": "wet"},
                        {"document": {"format": "pdf", "name": "scan", "source": {"bytes": "AAAA"}}}]}},
                    {"document": {"format": "txt", "name": "report", "source": {"text": "long"}, "context": "old",
                        "citations": {"enabled": true}}},
                    {"document": {"format": "txt", "name": "parts", "source": {"content": [{"text": "chunk"}]}}},
                    {"document": {"format": "pdf", "name": "far", "source": {"s3Location": {"uri": "s3://b/k"}}}},
                    {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/v", "bucketOwner": "1"}}}},
                    {"audio": {"format": "mp3", "source": {"bytes": "AAAA"}, "error": {"message": "broken"}}},
                    {"searchResult": {"source": "https://s", "title": "Rain", "content": [{"text": "falls"}],
                        "citations": {"enabled": true}}},
                    {"text": "here"}, {"cachePoint": {"type": "default"}}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": SEALED}}},
                    {"reasoningContent": {"redactedContent": SEALED}},
                    {"citationsContent": {"content": [{"text": "It rains"}], "citations": [{"title": "Rain",
                        "sourceContent": [{"text": "falls"}], "location": {"web": {"url": "https://s", "domain": "s"}}}]}},
                    {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"day": "today"}}}]},
            ],
        })
    }

    #[test]
    fn a_request_with_everything() {
        use Target::{Completion, Prompt, System, ToolCall, ToolDefinition, ToolResult};
        let request = read_value(MODEL, &full()).unwrap();
        assert_eq!(request.model, "us.anthropic.claude-sonnet-4-5-20250929-v1:0");
        assert_eq!((request.stream, request.choices), (Some(Framing::EventStream), 1));
        let mut unscorable = request.content.unscorable.clone();
        unscorable.sort_unstable();
        assert_eq!(unscorable, ["audio", "document", "document", "image", "video"]);
        let segments = &request.content.segments;
        let of = |target: Target| {
            let mut texts: Vec<&str> = segments.iter().filter(|it| it.target == target).map(|it| it.text.as_str()).collect();
            texts.sort_unstable();
            texts
        };
        assert_eq!(of(System), ["Be brief.", "Be kind.", "END", "note", "own", "top_k"]);
        let words = ["Bedok", "Look", "Rain", "broken", "chunk", "city", "falls", "far", "here", "https://s", "long", "old"];
        assert_eq!(of(Prompt), [&words[..], &["parts", "report"]].concat());
        assert_eq!(of(Completion), ["It rains", "Rain", "falls", "hm", "https://s", "s"]);
        assert_eq!(of(ToolCall), ["day", "today", "weather"]);
        assert_eq!(of(ToolResult), ["rain", "scan", "wet", "yes"]);
        let definitions = ["Tells it", "Which", "day", "day", "nova_grounding", "plan", "weather", "weather"];
        assert_eq!(of(ToolDefinition), [&definitions[..], &["{\"type\":\"object\"}"]].concat());
        let passage = |text: &str| segments.iter().find(|it| it.text == text).unwrap().passage;
        assert_eq!(passage("Look"), passage("here"));
        assert_ne!(passage("Look"), passage("wet"));
        assert_eq!(passage("Be brief."), passage("Be kind."));
    }

    #[test]
    fn a_stored_prompt_cannot_be_judged() {
        let body = json!({"promptVariables": {"city": {"text": "Bedok"}}});
        let read = |path| read_value(path, &body).unwrap();
        let request = read("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123%3Aprompt%2FPROMPT12345%3A1/converse");
        assert_eq!(request.model, "arn:aws:bedrock:us-east-1:123:prompt/PROMPT12345:1");
        assert_eq!((request.content.unscorable, request.stream), (vec!["prompt".to_owned()], None));
        let router = read("/model/arn:aws:bedrock:us-east-1:123:default-prompt-router/anthropic.claude:1/converse");
        assert!(router.content.unscorable.is_empty());
        assert_eq!(decoded("a%3a%zz%"), "a:%zz%");
    }

    #[test]
    fn a_text_in_the_place_of_an_id_or_a_signature_is_read() {
        let body = json!({"messages": [{"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "", "signature": "speak freely"}}},
            {"reasoningContent": {"redactedContent": "in secret"}},
            {"document": {"format": "of a bomb"}},
            {"toolUse": {"toolUseId": "or else", "name": ""}},
            {"toolResult": {"toolUseId": "t", "status": "so do it"}}]}]});
        let read = read_value(MODEL, &body).unwrap().content;
        let mut texts: Vec<String> = read.segments.into_iter().map(|it| it.text).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["in secret", "of a bomb", "or else", "so do it", "speak freely"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let refused = |body: Value| read_value(MODEL, &body).unwrap_err().why;
        let block = |block: Value| refused(json!({"messages": [{"role": "user", "content": [block]}]}));
        assert!(refused(json!({"messages": {}})).contains("`messages`"));
        assert!(refused(json!({"messages": [], "SYSTEM": []})).contains("only in case"));
        assert!(refused(json!({"system": "Be brief."})).contains("`system`"));
        assert!(refused(json!({"messages": [{"role": "tool", "content": []}]})).contains("`tool`"));
        assert!(refused(json!({"messages": [{"role": "user", "content": "text"}]})).contains("`content`"));
        assert!(block(json!({"text": 5})).contains("`text`"));
        assert!(block(json!({"Text": "a"})).contains("only in case"));
        assert!(block(json!({"hologram": {}})).contains("`hologram`"));
        assert!(block(json!({"toolResult": {"content": "a"}})).contains("`toolResult.content`"));
        assert!(block(json!({"toolUse": "a"})).contains("`toolUse`"));
    }
}
