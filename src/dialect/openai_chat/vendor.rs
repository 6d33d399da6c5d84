//! What vendors put around an answer's text, often into every chunk of it: which of their words are only form.
//!
//! Each field has names and values of a closed set, or ids; anything else that stands there is text.

use crate::dialect::text::{is_id, is_sealed};

/// Azure's verdicts on prompt and answer.
const VERDICTS: &[&str] = &[
    "prompt_index",
    "content_filter_results",
    "content_filter_result",
    "content_filter_raw",
    "hate",
    "self_harm",
    "sexual",
    "violence",
    "profanity",
    "jailbreak",
    "indirect_attack",
    "protected_material_text",
    "protected_material_code",
    "custom_blocklists",
    "ungrounded_material",
    "filtered",
    "detected",
    "severity",
    "details",
    "citation",
    "error",
    "code",
    "message",
    "id",
    "check_offset",
    "start_offset",
    "end_offset",
];
/// Groq's account of a call.
const ACCOUNT: &[&str] = &[
    "id",
    "seed",
    "usage",
    "error",
    "queue_time",
    "prompt_tokens",
    "prompt_time",
    "completion_tokens",
    "completion_time",
    "total_tokens",
    "total_time",
    "prompt_tokens_details",
    "cached_tokens",
    "completion_tokens_details",
    "reasoning_tokens",
];
/// OpenRouter's pieces of reasoning, around their text.
const REASONING: &[&str] = &["type", "id", "format", "index", "text", "summary", "data", "signature"];
/// llama.cpp's times, all of them numbers.
const TIMES: &[&str] = &[
    "cache_n",
    "prompt_n",
    "prompt_ms",
    "prompt_per_token_ms",
    "prompt_per_second",
    "predicted_n",
    "predicted_ms",
    "predicted_per_token_ms",
    "predicted_per_second",
    "draft_n",
    "draft_n_accepted",
];

/// What of a vendor's field is only form; nothing of a field that is not known.
pub(in crate::dialect) fn words(field: &str) -> &'static dyn Fn(&str, &str) -> bool {
    match field {
        "content_filter_results" | "content_filter_result" | "content_filter_offsets" | "prompt_filter_results" => &verdict,
        "x_groq" => &account,
        "reasoning_details" => &reasoning,
        "timings" => &|key, value| value.is_empty() && TIMES.contains(&key),
        // Who answered, such as "Google AI Studio", and how the model's own API calls the end.
        "provider" | "native_finish_reason" => &|key, value| key.is_empty() && is_id(&value.replace(' ', "-")),
        _ => &|_, _| false,
    }
}

/// What stands in a field that servers such as KoboldCpp and llama.cpp have for what is no text, if it is one.
pub(in crate::dialect) fn media(field: &str) -> Option<&'static str> {
    match field {
        "images" | "image_data" => Some("image"),
        "audio" | "audio_data" => Some("audio"),
        _ => None,
    }
}

fn verdict(key: &str, value: &str) -> bool {
    match key {
        _ if value.is_empty() => VERDICTS.contains(&key),
        "severity" => matches!(value, "safe" | "low" | "medium" | "high"),
        "id" | "code" => is_id(value),
        _ => false,
    }
}

fn account(key: &str, value: &str) -> bool {
    if value.is_empty() { ACCOUNT.contains(&key) } else { key == "id" && is_id(value) }
}

fn reasoning(key: &str, value: &str) -> bool {
    match key {
        _ if value.is_empty() => REASONING.contains(&key),
        "type" => matches!(value, "reasoning.text" | "reasoning.summary" | "reasoning.encrypted"),
        "id" | "format" => is_id(value),
        "data" | "signature" => is_sealed(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        dialect::{Dialect as _, Request, openai_chat::OpenAiChat, openai_completions::OpenAiCompletions},
        wire::{
            frame::{Event, Framing},
            json::Document,
        },
    };

    /// All that is read in a chunk whose choice has these fields beside its text, and in a whole answer alike.
    fn read(beside: &Value, within: &Value) -> Vec<String> {
        let mut choice = json!({"index": 0, "delta": {"content": "a"}});
        choice.as_object_mut().unwrap().extend(within.as_object().unwrap().clone());
        let mut chunk = json!({"id": "c", "choices": [choice]});
        chunk.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        let event = |chunk: &Value| Event {
            raw: bytes::Bytes::new(),
            name: None,
            data: Some(chunk.to_string()),
            framing: Framing::Sse,
        };
        let streamed = OpenAiChat.stream(&Request::default()).read(&event(&chunk)).unwrap();
        let mut texts: Vec<String> = streamed.deltas.into_iter().map(|delta| delta.text).filter(|text| text != "\n").collect();
        let whole = chunk.to_string().replace("\"delta\"", "\"message\"");
        let whole = OpenAiChat.response(&Document::read(whole.as_bytes()).unwrap()).unwrap();
        let mut told: Vec<String> = whole.segments.into_iter().map(|segment| segment.text).collect();
        let text = chunk.to_string().replace(r#""delta":{"content":"a"}"#, r#""text":"a""#);
        let legacy = OpenAiCompletions.stream(&Request::default()).read(&event(&serde_json::from_str(&text).unwrap())).unwrap();
        let mut legacy: Vec<String> = legacy.deltas.into_iter().map(|delta| delta.text).filter(|text| text != "\n").collect();
        for texts in [&mut texts, &mut told, &mut legacy] {
            texts.sort();
        }
        assert_eq!((&texts, &texts), (&told, &legacy));
        texts
    }

    #[test]
    fn what_vendors_say_of_an_answer_is_no_text() {
        let verdicts = json!({
            "hate": {"filtered": false, "severity": "safe"},
            "jailbreak": {"detected": false, "filtered": false},
            "custom_blocklists": {"filtered": true, "details": [{"id": "words-1", "filtered": true}]},
        });
        let beside = json!({
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": verdicts}],
            "x_groq": {"id": "req_01jbd6g2qdfw2adyrt2az8hz4w", "usage": {"queue_time": 0.1, "total_tokens": 5}},
            "provider": "Google AI Studio",
            "timings": {"prompt_n": 1, "predicted_per_second": 9.5},
        });
        let within = json!({"content_filter_results": verdicts, "native_finish_reason": "stop"});
        assert_eq!(read(&beside, &within), ["a"]);
    }

    #[test]
    fn what_else_stands_there_is_text() {
        let beside = json!({
            "prompt_filter_results": [{"prompt_index": 0, "note": "one"}],
            "x_groq": {"id": "how to do it", "error": "two"},
            "provider": "Someone who tells you how to do it",
        });
        let citation = json!({"citation": {"license": "three"}});
        let within = json!({"content_filter_results": {"hate": {"severity": "four"}, "protected_material_code": citation}});
        let expected =
            ["Someone who tells you how to do it", "a", "four", "how to do it", "license", "note", "one", "three", "two"];
        assert_eq!(read(&beside, &within), expected);
    }
}
