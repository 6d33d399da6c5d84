//! Every place of a request that can carry text to the model.

use http::Uri;

use super::{
    content::{self, Stands},
    fields::{camel, fields, items, number, setting},
};
use crate::{
    dialect::{Request, model::decoded, schema, text::Collector},
    segment::Target,
    wire::{
        frame::Framing,
        json::{Document, Malformed, Node},
    },
};

const FIELDS: &[&str] = &[
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "labels",
    "model",
    "modelArmorConfig",
    "serviceTier",
    "store",
    "continuationToken",
];
const CONFIG: &[&str] = &[
    "candidateCount",
    "stopSequences",
    "responseSchema",
    "responseJsonSchema",
    "_responseJsonSchema",
    "responseFormat",
    "responseMimeType",
    "responseModalities",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "enableAffectiveDialog",
    "speechConfig",
    "thinkingConfig",
    "imageConfig",
    "mediaResolution",
    "audioTimestamp",
    "routingConfig",
    "modelSelectionConfig",
    "modelConfig",
];
const TOOL: &[&str] = &[
    "functionDeclarations",
    "googleSearch",
    "googleSearchRetrieval",
    "enterpriseWebSearch",
    "googleMaps",
    "urlContext",
    "codeExecution",
    "computerUse",
    "fileSearch",
    "retrieval",
    "mcpServers",
    "parallelAiSearch",
    "exaAiSearch",
];
/// Names within tools, beside those of every API, that are only form.
const TOOL_WORDS: &[&str] = &[
    "behavior",
    "defs",
    "ref",
    "excludeDomains",
    "timeRangeFilter",
    "startTime",
    "endTime",
    "searchTypes",
    "webSearch",
    "imageSearch",
    "dynamicRetrievalConfig",
    "dynamicThreshold",
    "mode",
    "environment",
    "excludedPredefinedFunctions",
    "fileSearchStoreNames",
    "metadataFilter",
    "vertexAiSearch",
    "vertexRagStore",
    "datastore",
    "engine",
    "filter",
    "streamableHttpTransport",
    "url",
    "headers",
];

/// The model that a path asks, and whether it asks for a stream.
pub(super) fn address(path: &str) -> Option<(&str, bool)> {
    let (path, method) = path.rsplit_once(':')?;
    let stream = match method {
        "generateContent" => false,
        "streamGenerateContent" => true,
        _ => return None,
    };
    let kinds = ["/models/", "/tunedModels/", "/endpoints/"];
    let (at, kind) = kinds.iter().filter_map(|kind| path.rfind(kind).map(|at| (at, *kind))).max()?;
    // A tuned model's kind is part of its name.
    let whole = path.get(at + 1..).filter(|whole| whole.len() >= kind.len())?;
    Some((whole.strip_prefix("models/").unwrap_or(whole), stream))
}

/// How a stream is to come.
fn framing(query: &str) -> Result<Framing, Malformed> {
    let mut asked = None;
    for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        let framing = match (name, value) {
            ("alt" | "$alt" | "%24alt", "sse") => Framing::Sse,
            // Some clients add how enums are to be written: `json;enum-encoding=int`.
            ("alt" | "$alt" | "%24alt", value) if value.is_empty() || value.starts_with("json") => Framing::Array,
            ("alt" | "$alt" | "%24alt", _) => return Err(Malformed::new("`alt` must be `sse` or `json`")),
            // Google's servers take headers, the method and the body from such parameters.
            (name, _) if name.starts_with("$http") || name.starts_with("$req") || name.contains('%') => {
                return Err(Malformed::new(format!("the query parameter `{name}` is not passed on")));
            }
            _ => continue,
        };
        if asked.replace(framing).is_some_and(|other| other != framing) {
            return Err(Malformed::new("`alt` stands twice in the query"));
        }
    }
    Ok(asked.unwrap_or(Framing::Array))
}

pub(super) fn read(uri: &Uri, document: &Document) -> Result<Request, Malformed> {
    let (model, streams) = address(uri.path()).ok_or_else(|| Malformed::new("the path names no model"))?;
    let framing = framing(uri.query().unwrap_or_default())?;
    let mut request =
        Request { model: decoded(model), stream: streams.then_some(framing), choices: 1, usage: true, ..Request::default() };
    let mut text = Collector::default();
    let members = fields(&document.root(), "body", FIELDS)?;
    if !members.iter().any(|(key, _)| key == "contents") {
        return Err(Malformed::new("`contents` is missing"));
    }
    for (key, value) in &members {
        text.passage();
        match key.as_ref() {
            "contents" => {
                for content in items(value) {
                    content::read(&mut text, &content, Stands::Turn)?;
                }
            }
            "systemInstruction" if value.string().is_some() => text.string(Target::System, key, value)?,
            "systemInstruction" => content::read(&mut text, value, Stands::Instruction)?,
            "tools" => {
                for tool in items(value) {
                    read_tool(&mut text, &tool)?;
                }
            }
            "generationConfig" => request.choices = read_config(&mut text, value)?,
            // It stands for contents that were given to the server before and are not seen here.
            "cachedContent" if value.string().is_some_and(|name| name.is_empty()) => {}
            "cachedContent" => text.unscorable.push("cachedContent".to_owned()),
            "toolConfig" | "safetySettings" | "modelArmorConfig" | "model" | "serviceTier" | "store" | "continuationToken" => {
                setting(&mut text, Target::System, value);
            }
            _ => {
                text.name(Target::System, key);
                text.strings(Target::System, value, &|_, _| false);
            }
        }
    }
    request.content = text.into();
    Ok(request)
}

fn read_tool(text: &mut Collector, tool: &Node<'_>) -> Result<(), Malformed> {
    for (key, value) in fields(tool, "tool", TOOL)? {
        text.passage();
        text.name(Target::ToolDefinition, &key);
        for part in items(&value) {
            text.passage();
            text.strings(Target::ToolDefinition, &part, &word);
        }
    }
    Ok(())
}

/// Reads the settings of generation, and gives the number of candidates asked for.
fn read_config(text: &mut Collector, config: &Node<'_>) -> Result<u64, Malformed> {
    let mut choices = 1;
    for (key, value) in fields(config, "generationConfig", CONFIG)? {
        text.passage();
        match key.as_ref() {
            "candidateCount" => choices = number(&key, &value)?.max(1),
            "responseSchema" | "responseJsonSchema" | "_responseJsonSchema" | "responseFormat" => {
                text.strings(Target::ToolDefinition, &value, &word);
            }
            "stopSequences" => text.strings(Target::System, &value, &|_, _| false),
            key if CONFIG.contains(&key) => setting(text, Target::System, &value),
            _ => {
                text.name(Target::System, &key);
                text.strings(Target::System, &value, &|_, _| false);
            }
        }
    }
    Ok(choices)
}

/// Whether a key (`value` empty), or a value under `type`, of a tool or schema is only form.
fn word(key: &str, value: &str) -> bool {
    let name = camel(key);
    schema::word(key, value) || schema::word(&name, value) || (value.is_empty() && TOOL_WORDS.contains(&name.as_ref()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::any::{all_read, any_json};

    fn ask(path: &str, body: &Value) -> Result<Request, Malformed> {
        read(&path.parse().unwrap(), &Document::read(body.to_string().as_bytes()).unwrap())
    }

    fn ask_pro(body: &Value) -> Result<Request, Malformed> {
        ask("/v1beta/models/gemini-pro:generateContent", body)
    }

    #[test]
    fn text_files_are_read_and_others_are_not() {
        let read = |kind: &str, data: &str| {
            let part = json!({"inline_data": {"mime_type": kind, "data": data}});
            let content = ask_pro(&json!({"contents": {"parts": part}})).unwrap().content;
            let texts: Vec<String> = content.segments.into_iter().map(|segment| segment.text).collect();
            (texts, content.unscorable.len())
        };
        let text = |text: &str| (vec![text.to_owned()], 0);
        assert_eq!(read("text/plain", "SSBzYXk="), text("I say"));
        assert!(read("Text/CSV; charset=UTF-8", "SSBzYXk").0.contains(&"I say".to_owned()));
        assert_eq!(read("text/html", "PGI-4LiBPC9iPg=="), text("<b>ก</b>"));
        for (kind, data) in [
            ("text/plain", "no base64"),
            ("text/plain", "/w=="),
            ("text/plain", "SQAgAA=="),
            ("text/plain; charset=utf-16", "SSBzYXk="),
            ("application/pdf", "SSBzYXk="),
            ("", "SSBzYXk="),
        ] {
            let (texts, unscorable) = read(kind, data);
            assert!(unscorable == 1 && !texts.contains(&"I say".to_owned()), "{kind} {data}");
        }
        for field in ["fileData", "inlineData"] {
            let blob = json!({"mimeType": "text/plain", "data": "SSBzYXk=", "fileUri": "gs://b/x"});
            let content = ask_pro(&json!({"contents": {"parts": {field: blob}}})).unwrap().content;
            assert_eq!(content.unscorable, [field], "what stands elsewhere is not what stands here");
        }
    }

    #[test]
    fn names_that_say_something_are_read() {
        let body = json!({"one of them": 1, "generationConfig": {"two of them": 1}, "tools": [{"three of them": {}}],
            "contents": [{"four of them": 1, "parts": [{"text": "a", "five of them": 1},
                {"functionCall": {"name": "f", "six of them": 1}}]}]});
        let texts: Vec<_> = ask_pro(&body).unwrap().content.segments.into_iter().map(|segment| segment.text).collect();
        for name in ["one", "two", "three", "four", "five", "six"] {
            assert!(texts.contains(&format!("{name} of them")), "{name}: {texts:?}");
        }
    }

    #[test]
    fn addresses() {
        let body = json!({"contents": []});
        let asked = |path: &str| ask(path, &body).map(|request| (request.model, request.stream)).ok();
        let whole = |model: &str| Some((model.to_owned(), None));
        assert_eq!(asked("/v1/models/gemini-pro:generateContent?key=a%2Fb"), whole("gemini-pro"));
        assert_eq!(asked("/v1beta/tunedModels/mine-1:generateContent"), whole("tunedModels/mine-1"));
        assert_eq!(asked("/v1beta/models/gemini%40pro:generateContent"), whole("gemini@pro"));
        let vertex = "/v1/projects/p/locations/l/publishers/google/models/gemini-pro@001:generateContent";
        assert_eq!(asked(vertex), whole("gemini-pro@001"));
        assert_eq!(asked("/v1/projects/p/locations/l/endpoints/12:generateContent"), whole("endpoints/12"));
        let stream = |framing| Some(("m".to_owned(), Some(framing)));
        assert_eq!(asked("/x/v1beta/models/m:streamGenerateContent?alt=sse"), stream(Framing::Sse));
        assert_eq!(asked("/v1beta/models/m:streamGenerateContent?%24alt=json;enum-encoding=int"), stream(Framing::Array));
        assert_eq!(asked("/v1beta/models/m:streamGenerateContent"), stream(Framing::Array));
        for query in ["alt=proto", "alt=sse&alt=json", "$httpHeaders=x", "%24req=x", "al%74=sse"] {
            assert_eq!(asked(&format!("/v1beta/models/m:streamGenerateContent?{query}")), None, "{query}");
        }
        for path in ["/v1beta/models/:generateContent", "/v1beta/models/m:countTokens", "/v1/m:generateContent", "/v1/models/m"]
        {
            assert_eq!(address(path), None, "{path}");
        }
    }

    #[test]
    fn every_place_of_a_request() {
        let body = json!({
            "systemInstruction": {"role": "system", "parts": {"text": "Be brief."}},
            "contents": [
                {"role": "user", "parts": [
                    {"text": "What is this?"},
                    {"inlineData": {"mimeType": "image/png", "data": "aGk=", "displayName": "my dog"}},
                    {"fileData": {"fileUri": "https://youtu.be/x"}, "videoMetadata": {"startOffset": "3s"}},
                    {"text": "And this?"},
                ]},
                {"role": "model", "parts": [
                    {"text": "I should look it up.", "thought": true},
                    {"text": "Let me see.", "thoughtSignature": "c2ln"},
                    {"function_call": {"id": "call-1", "name": "look", "args": {"type": "image", "id": [7, "breed"]}}},
                    {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
                ]},
                {"role": "function", "parts": [{"functionResponse": {"name": "look", "response": {"result": "a corgi"},
                    "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}}]},
                {"parts": [{"text": "Thanks."}]},
            ],
            "tools": [
                {"function_declarations": [{"name": "look", "description": "Looks things up.", "parameters":
                    {"type": "OBJECT", "properties": {"breed": {"type": "STRING", "any_of": []}}}}]},
                {"googleSearch": {"excludeDomains": ["example.com"]}, "codeExecution": {}},
            ],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}},
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "generationConfig": {"candidateCount": 2, "temperature": 0.5, "stopSequences": ["END"],
                "responseMimeType": "text/plain", "responseSchema": {"type": "STRING", "enum": ["yes", "no"]},
                "thinkingConfig": {"thinkingLevel": "LOW", "why": "hm"}},
            "cachedContent": "cachedContents/1",
            "labels": {"team": "vets"},
        });
        let request = ask_pro(&body).unwrap();
        assert_eq!(request.choices, 2);
        let mut unscorable = request.content.unscorable;
        unscorable.sort_unstable();
        assert_eq!(unscorable, ["cachedContent", "fileData", "inlineData", "inlineData"]);
        let mut found: Vec<_> = request.content.segments.iter().map(|s| (s.target, s.text.as_str())).collect();
        let mut expected = vec![
            (Target::System, "Be brief."),
            (Target::Prompt, "What is this?"),
            (Target::Prompt, "my dog"),
            (Target::Prompt, "And this?"),
            (Target::Completion, "I should look it up."),
            (Target::Completion, "Let me see."),
            (Target::ToolCall, "look"),
            (Target::ToolCall, "type"),
            (Target::ToolCall, "image"),
            (Target::ToolCall, "id"),
            (Target::ToolCall, "breed"),
            (Target::ToolCall, "print(1)"),
            (Target::ToolResult, "1\n"),
            (Target::ToolResult, "look"),
            (Target::ToolResult, "result"),
            (Target::ToolResult, "a corgi"),
            (Target::Prompt, "Thanks."),
            (Target::ToolDefinition, "look"),
            (Target::ToolDefinition, "Looks things up."),
            (Target::ToolDefinition, "breed"),
            (Target::ToolDefinition, "example.com"),
            (Target::System, "END"),
            (Target::ToolDefinition, "yes"),
            (Target::ToolDefinition, "no"),
            (Target::System, "why"),
            (Target::System, "hm"),
            (Target::System, "team"),
            (Target::System, "vets"),
        ];
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        let passage = |text: &str| request.content.segments.iter().find(|s| s.text == text).unwrap().passage;
        assert_eq!(passage("What is this?"), passage("And this?"));
        assert_ne!(passage("I should look it up."), passage("Let me see."));
        assert_ne!(passage("And this?"), passage("Thanks."));
    }

    #[test]
    fn what_cannot_be_read_one_way_is_refused() {
        let part = |part: Value| json!({"contents": [{"parts": [part]}]});
        for (body, why) in [
            (json!({}), "`contents` is missing"),
            (json!({"contents": "hi"}), "`content` must be an object"),
            (json!({"contents": [], "systemInstruction": "a", "system_instruction": "b"}), "two spellings"),
            (json!({"contents": [], "Tools": []}), "only in case"),
            (json!({"contents": [{"role": "robot", "parts": []}]}), "is not a role"),
            (json!({"contents": [], "generationConfig": {"candidateCount": "many"}}), "`candidateCount` must be"),
            (part(json!({"text": ["a"]})), "`text` must be a string"),
            (part(json!({"hologram": {"data": "x"}})), "parts with `hologram`"),
            (part(json!({"inlineData": {"data": "x"}, "inline_data": {"data": "y"}})), "two spellings"),
            (part(json!({"functionCall": {"name": 1}})), "`name` must be a string"),
        ] {
            let refused = ask_pro(&body).unwrap_err().why;
            assert!(refused.contains(why), "{refused} for {body}");
        }
        let plain = ask_pro(&json!({"contents": {"parts": {"text": "hi"}}, "system_instruction": "Be brief."})).unwrap();
        let texts: Vec<_> = plain.content.segments.iter().map(|s| (s.target, s.text.as_str())).collect();
        assert!(texts.contains(&(Target::Prompt, "hi")) && texts.contains(&(Target::System, "Be brief.")), "{texts:?}");
    }

    proptest! {
        /// Whatever stands in fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(values in prop::collection::vec(any_json(), 9)) {
            let at = |index: usize| values[index].clone();
            let body = json!({
                "vendor": at(0),
                "contents": [{"role": "user", "more": at(1), "parts": [
                    {"text": "a", "extra": at(2)},
                    {"functionCall": {"name": "f", "args": at(3), "data": at(4)}},
                    {"functionResponse": {"name": "f", "response": at(5)}},
                ]}],
                "tools": [{"gadget": at(6)}],
                "generationConfig": {"mood": at(7), "thinkingConfig": {"mood": at(8)}},
            });
            let request = ask_pro(&body).unwrap();
            let read: Vec<String> = request.content.segments.into_iter().map(|segment| segment.text).collect();
            all_read(&values, &read)?;
        }
    }
}
