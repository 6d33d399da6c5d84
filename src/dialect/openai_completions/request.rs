//! Every place of a request that can carry text to the model.

use crate::{
    dialect::{Request, openai_chat::vendor, strict, text::Collector, tokens::is_empty},
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
    "best_of",
    "echo",
    "logprobs",
    "logit_bias",
    "max_tokens",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "user",
];
const TEXT: &[&str] = &["prompt", "suffix", "stop"];
/// vLLM's ways to prompt without text, and what each is called when the policies are asked.
const TEXTLESS: &[(&str, &str)] = &[("prompt_token_ids", "tokens"), ("prompt_embeds", "prompt_embeds")];
const STREAM_OPTIONS: &[&str] = &["include_usage", "include_obfuscation", "continuous_usage_stats"];

pub(super) fn read(document: &Document) -> Result<Request, Malformed> {
    let known: Vec<&str> = SETTINGS.iter().chain(TEXT).copied().chain(TEXTLESS.iter().map(|(key, _)| *key)).collect();
    let members = document.root().known("body", &known)?;
    if members.iter().any(|(key, _)| key == "messages") {
        return Err(Malformed::new("`messages` belong to a chat, which this path is not for"));
    }
    let mut request = Request::default();
    let mut text = Collector::default();
    let (mut n, mut prompt, mut suffix, mut unknown) = (1, None, None, Vec::new());
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "model" => request.model = strict::word("model", value)?,
            "stream" => {
                request.stream = strict::switch("stream", value)?.then_some(Framing::Sse);
            }
            "n" => n = strict::count("n", value)?,
            "stream_options" => {
                let options = value.known("stream_options", STREAM_OPTIONS)?;
                request.usage = options.iter().any(|(key, value)| key == "include_usage" && value.raw() == "true");
                text.passage();
                text.strings(Target::System, value, &|key, text| text.is_empty() && STREAM_OPTIONS.contains(&key));
            }
            "prompt" => prompt = Some(value),
            "suffix" => suffix = Some(value),
            key if SETTINGS.contains(&key) => {}
            key => match TEXTLESS.iter().find(|(name, _)| *name == key).map(|(_, kind)| *kind).or_else(|| vendor::media(key)) {
                Some(kind) => text.unscorable.extend((!is_empty(value)).then(|| kind.to_owned())),
                None => unknown.push(*value),
            },
        }
    }
    text.passage();
    let prompts = prompt.map_or(Ok(1), |prompt| read_prompts(&mut text, prompt))?;
    request.choices = prompts.saturating_mul(n);
    // What is to follow the answer is read with the prompt: the model sees them together.
    if let Some(suffix) = suffix {
        text.string(Target::Prompt, "suffix", suffix)?;
    }
    // Servers read fields of their own (vLLM's `guided_regex`, llama.cpp's `grammar`): text there may reach the model.
    text.unknown(&unknown);
    request.content = text.into();
    Ok(request)
}

/// Reads one prompt or several, and tells how many they are.
fn read_prompts(text: &mut Collector, prompt: &Node<'_>) -> Result<u64, Malformed> {
    let items = prompt.array();
    let prompts = items.as_deref().unwrap_or(std::slice::from_ref(prompt));
    let mut tokens = false;
    for prompt in prompts {
        text.passage();
        tokens |= read_prompt(text, prompt)?;
    }
    text.unscorable.extend(tokens.then(|| "tokens".to_owned()));
    // Bare tokens (and llama.cpp's strings among them) make one prompt together.
    let one = prompts.is_empty() || prompts.iter().any(|prompt| prompt.integer().is_some());
    Ok(if one { 1 } else { u64::try_from(prompts.len()).unwrap_or(u64::MAX) })
}

/// Reads a string, a token or an array of these, and tells whether it holds tokens, which no text guard can judge.
fn read_prompt(text: &mut Collector, prompt: &Node<'_>) -> Result<bool, Malformed> {
    if prompt.integer().is_some() {
        return Ok(true);
    }
    if let Some(items) = prompt.array() {
        return items.iter().try_fold(false, |tokens, item| Ok(read_prompt(text, item)? || tokens));
    }
    text.string(Target::Prompt, "prompt", prompt)
        .map_err(|_| Malformed::new("`prompt` must be a string, or an array of strings or tokens"))?;
    Ok(false)
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

    proptest! {
        /// Whatever stands in fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(top in any_json(), stop in any_json(), option in any_json()) {
            let body = json!({"prompt": ["a"], "vendor": top, "stop": stop, "stream_options": {"more": option}});
            let request = read_text(&body.to_string()).unwrap();
            let read: Vec<String> = request.content.segments.into_iter().map(|segment| segment.text).collect();
            all_read([&top, &stop, &option], &read)?;
        }
    }

    #[test]
    fn every_place_of_a_request() {
        let body = r#"{"model": "gpt-3.5-turbo-instruct", "suffix": "The end.", "prompt": ["One", "Two"], "max_tokens": 7,
            "temperature": 0, "n": 2, "best_of": 3, "echo": true, "logprobs": 1, "logit_bias": {"50256": -100}, "user": "u1",
            "stop": ["\n", "END"], "stream": true, "guided_regex": "[a-z]+", "seed": null,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true, "hint": "x"}}"#;
        let request = read_text(body).unwrap();
        let found: Vec<_> = request.content.segments.iter().map(|segment| (segment.target, segment.text.as_str())).collect();
        let (prompt, system) = (Target::Prompt, Target::System);
        let expected = [
            (system, "hint"),
            (system, "x"),
            (prompt, "One"),
            (prompt, "Two"),
            (prompt, "The end."),
            (system, "\n"),
            (system, "END"),
            (system, "[a-z]+"),
        ];
        assert_eq!(found, expected);
        let passages: Vec<usize> = request.content.segments.iter().map(|segment| segment.passage).collect();
        assert!(passages[2] != passages[3] && passages[3] == passages[4] && passages[4] != passages[5]);
        assert!(request.content.unscorable.is_empty());
        assert_eq!((request.model.as_str(), request.choices, request.usage), ("gpt-3.5-turbo-instruct", 4, true));
        assert_eq!(request.stream, Some(Framing::Sse));
    }

    #[test]
    fn prompts_of_tokens_and_wrong_types() {
        let cases = [
            (r#"{"prompt": "a"}"#, 1, "a", ""),
            ("{}", 1, "", ""),
            (r#"{"prompt": [1, 2, 3]}"#, 1, "", "tokens"),
            (r#"{"prompt": [[1], [2, 3]], "n": 3}"#, 6, "", "tokens"),
            (r#"{"prompt": ["a", [1, "b"]]}"#, 2, "ab", "tokens"),
            (r#"{"prompt": [12, "a"]}"#, 1, "a", "tokens"),
            (r#"{"prompt": 12}"#, 1, "", "tokens"),
            (r#"{"prompt": "", "prompt_embeds": "AAAA"}"#, 1, "", "prompt_embeds"),
            (r#"{"prompt": "a", "images": ["AAAA"]}"#, 1, "a", "image"),
            (r#"{"prompt": "a", "image_data": [{"data": "AAAA", "id": 1}], "images": []}"#, 1, "a", "image"),
            (r#"{"prompt": "a", "audio": ["AAAA"]}"#, 1, "a", "audio"),
        ];
        for (body, choices, text, unscorable) in cases {
            let request = read_text(body).unwrap();
            let read: String = request.content.segments.into_iter().map(|segment| segment.text).collect();
            assert_eq!((request.choices, read.as_str()), (choices, text), "{body}");
            assert_eq!(request.content.unscorable.concat(), unscorable, "{body}");
        }
        for (body, word) in [
            (r#"{"prompt": 1.5}"#, "`prompt`"),
            (r#"{"prompt": [{"a": 1}]}"#, "`prompt`"),
            (r#"{"prompt": "a", "suffix": 1}"#, "`suffix`"),
            (r#"{"prompt": "a", "n": "2"}"#, "`n`"),
            (r#"{"prompt": "a", "stream": 1}"#, "`stream`"),
            (r#"{"prompt": "a", "Prompt": "b"}"#, "case"),
        ] {
            assert!(read_text(body).unwrap_err().why.contains(word), "{body}");
        }
    }
}
