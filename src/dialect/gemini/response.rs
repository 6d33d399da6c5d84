//! Every place of a whole answer that can carry text to the user, and the answers that Seawall itself gives.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    content::{self, Stands},
    fields::{camel, fields, is_code, items, setting},
};
use crate::{
    dialect::{
        Refusal, Request, new_id,
        text::{Collector, error_word},
    },
    segment::{Content, Direction, Place, Target},
    wire::json::{Document, Malformed, Node},
};

pub(super) const ANSWER: &[&str] =
    &["candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "createTime", "modelStatus", "error"];
pub(super) const CANDIDATE: &[&str] = &[
    "index",
    "content",
    "finishReason",
    "finishMessage",
    "safetyRatings",
    "tokenCount",
    "avgLogprobs",
    "logprobsResult",
    "citationMetadata",
    "groundingMetadata",
    "urlContextMetadata",
    "continuationToken",
];
const FEEDBACK: &[&str] = &["blockReason", "blockReasonMessage", "safetyRatings"];
const GROUNDING: &[&str] = &[
    "groundingChunks",
    "groundingSupports",
    "searchEntryPoint",
    "webSearchQueries",
    "imageSearchQueries",
    "retrievalQueries",
    "retrievalMetadata",
    "googleMapsWidgetContextToken",
    "sourceFlaggingUris",
];
const ENTRY: &[&str] = &["renderedContent", "sdkBlob"];
/// Names within citations, grounding and fetched addresses that are only form.
const SOURCE_WORDS: &[&str] = &[
    "citations",
    "citationSources",
    "startIndex",
    "endIndex",
    "partIndex",
    "uri",
    "title",
    "license",
    "publicationDate",
    "year",
    "month",
    "day",
    "web",
    "domain",
    "retrievedContext",
    "documentName",
    "ragChunk",
    "pageSpan",
    "firstPage",
    "lastPage",
    "maps",
    "placeId",
    "placeAnswerSources",
    "reviewSnippets",
    "reviewId",
    "review",
    "googleMapsUri",
    "flagContentUri",
    "sourceId",
    "image",
    "imageUri",
    "sourceUri",
    "segment",
    "text",
    "groundingChunkIndices",
    "confidenceScores",
    "renderedParts",
    "googleSearchDynamicRetrievalScore",
    "urlMetadata",
    "retrievedUrl",
    "urlRetrievalStatus",
];

pub(super) fn read(document: &Document) -> Result<Content, Malformed> {
    let answers = items(&document.root());
    // An endpoint that streams reports an error in an array; several answers in one would be text cut in pieces.
    if answers.len() > 1 {
        return Err(Malformed::new(format!("an array of {} answers, where one was asked", answers.len())));
    }
    gather(&answers)
}

/// The text of some answers.
pub(super) fn gather(answers: &[Node<'_>]) -> Result<Content, Malformed> {
    let mut text = Collector::default();
    for answer in answers {
        for (key, value) in fields(answer, "answer", ANSWER)? {
            if key != "candidates" {
                read_member(&mut text, &key, &value)?;
                continue;
            }
            for candidate in items(&value) {
                for (key, value) in fields(&candidate, "candidate", CANDIDATE)? {
                    read_candidate(&mut text, &key, &value)?;
                }
            }
        }
    }
    Ok(text.into())
}

/// A member of an answer, other than its candidates.
pub(super) fn read_member(text: &mut Collector, key: &str, value: &Node<'_>) -> Result<(), Malformed> {
    text.passage();
    match key {
        "promptFeedback" => {
            for (key, value) in fields(value, key, FEEDBACK)? {
                match key.as_ref() {
                    "blockReason" | "safetyRatings" => setting(text, Target::Completion, &value),
                    "blockReasonMessage" => text.string(Target::Completion, &key, &value)?,
                    _ => text.strings(Target::Completion, &value, &|_, _| false),
                }
            }
        }
        "usageMetadata" | "modelVersion" | "responseId" | "createTime" | "modelStatus" => {
            setting(text, Target::Completion, value);
        }
        "error" => text.strings(Target::Completion, value, &detail_word),
        _ => {
            text.name(Target::Completion, key);
            text.strings(Target::Completion, value, &|_, _| false);
        }
    }
    Ok(())
}

/// Words of an error and its details that are names and codes.
fn detail_word(key: &str, value: &str) -> bool {
    error_word(key, value) || matches!(key, "@type" | "reason" | "domain") || (key == "details" && value.is_empty())
}

/// A member of a candidate.
pub(super) fn read_candidate(text: &mut Collector, key: &str, value: &Node<'_>) -> Result<(), Malformed> {
    text.passage();
    match key {
        "content" => content::read(text, value, Stands::Answer)?,
        "finishMessage" => text.string(Target::Completion, key, value)?,
        // Token lists spell the text once more.
        "logprobsResult" => text.echoes.push(Place(value.range())),
        "index" | "finishReason" | "safetyRatings" | "tokenCount" | "avgLogprobs" | "continuationToken" => {
            setting(text, Target::Completion, value);
        }
        "groundingMetadata" => {
            for (key, value) in fields(value, key, GROUNDING)? {
                read_grounding(text, &key, &value)?;
            }
        }
        "citationMetadata" | "urlContextMetadata" => text.strings(Target::Completion, value, &source_word),
        _ => {
            text.name(Target::Completion, key);
            text.strings(Target::Completion, value, &|_, _| false);
        }
    }
    Ok(())
}

fn read_grounding(text: &mut Collector, key: &str, value: &Node<'_>) -> Result<(), Malformed> {
    match key {
        "searchEntryPoint" => {
            for (key, value) in fields(value, key, ENTRY)? {
                match key.as_ref() {
                    // Base64 of the searches, which are also told as they are.
                    "sdkBlob" if value.string().is_some() => text.echoes.push(Place(value.range())),
                    _ => text.strings(Target::Completion, &value, &|_, _| false),
                }
            }
        }
        "googleMapsWidgetContextToken" => setting(text, Target::Completion, value),
        _ => text.strings(Target::Completion, value, &source_word),
    }
    Ok(())
}

fn source_word(key: &str, value: &str) -> bool {
    let name = camel(key);
    (value.is_empty() && SOURCE_WORDS.contains(&name.as_ref())) || (name == "urlRetrievalStatus" && is_code(value))
}

/// Why the model is said to have stopped.
pub(super) fn finish_reason(refusal: &Refusal) -> &'static str {
    if refusal.filtered { "SAFETY" } else { "STOP" }
}

/// Adds to an answer that its prompt was refused. The API then gives no candidate; here one is given all the same, as clients
/// show no other text.
pub(super) fn tell_blocked(answer: &mut Value, refusal: &Refusal) {
    if refusal.filtered
        && refusal.direction == Direction::Request
        && let Some(answer) = answer.as_object_mut()
    {
        let feedback = json!({"blockReason": "SAFETY", "blockReasonMessage": refusal.message});
        answer.insert("promptFeedback".to_owned(), feedback);
    }
}

pub(super) fn refuse(request: &Request, refusal: &Refusal) -> String {
    let candidates: Vec<_> = (0..request.choices.clamp(1, 128))
        .map(|index| {
            json!({
                "content": {"parts": [{"text": refusal.message}], "role": "model"},
                "finishReason": finish_reason(refusal),
                "index": index,
            })
        })
        .collect();
    let mut answer = json!({
        "candidates": candidates,
        "usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
        "modelVersion": request.model,
        "responseId": new_id(""),
    });
    tell_blocked(&mut answer, refusal);
    answer.to_string()
}

/// An error as Google's APIs report one; `code` is the reason in its details.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> String {
    let name = match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ if status.is_client_error() => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    };
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "seawall"});
    json!({"error": {"code": status.as_u16(), "message": message, "status": name, "details": [info]}}).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::any::{all_read, any_json};

    fn parse(answer: &str) -> Value {
        serde_json::from_str(answer).unwrap()
    }

    fn content(answer: &Value) -> Content {
        read(&Document::read(answer.to_string().as_bytes()).unwrap()).unwrap()
    }

    fn refusal(filtered: bool, direction: Direction) -> Refusal {
        Refusal { message: "No.".to_owned(), filtered, direction }
    }

    #[test]
    fn every_place_of_an_answer() {
        let answer = json!({
            "candidates": [{
                "content": {"role": "model", "parts": [
                    {"text": "Hm.", "thought": true},
                    {"text": "It is sunny"},
                    {"text": ".", "thoughtSignature": "c2ln"},
                    {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
                    {"functionCall": {"id": "1", "name": "look", "args": {"where": "up"}}},
                    {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
                ]},
                "finishReason": "STOP",
                "finishMessage": "Model stopped.",
                "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW", "blocked": false}],
                "citationMetadata": {"citationSources": [{"startIndex": 1, "uri": "https://a.example", "license": "MIT"}]},
                "groundingMetadata": {
                    "webSearchQueries": ["weather"],
                    "searchEntryPoint": {"renderedContent": "<b>weather</b>", "sdk_blob": "d2VhdGhlcg=="},
                    "groundingChunks": [{"web": {"uri": "https://b.example", "title": "b"}}],
                    "groundingSupports": [{"segment": {"endIndex": 12, "text": "sunny"}, "groundingChunkIndices": [0]}],
                },
                "urlContextMetadata": {"urlMetadata": [
                    {"retrievedUrl": "https://c.example", "urlRetrievalStatus": "X_SUCCESS"}]},
                "logprobsResult": {"chosenCandidates": [{"token": "It", "logProbability": -0.1}]},
                "avgLogprobs": -0.1,
            }],
            "promptFeedback": {"safetyRatings": [], "blockReasonMessage": "Blocked."},
            "usageMetadata": {"promptTokenCount": 3, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}]},
            "modelVersion": "gemini-pro",
            "responseId": "abc",
        });
        let content = content(&answer);
        let mut found: Vec<_> = content.segments.iter().map(|s| (s.target, s.text.as_str())).collect();
        found.sort_unstable();
        let calls = ["look", "print(1)", "up", "where"].map(|text| (Target::ToolCall, text));
        let mut told = [
            "Hm.",
            "It is sunny",
            ".",
            "1",
            "Model stopped.",
            "https://a.example",
            "MIT",
            "weather",
            "<b>weather</b>",
            "https://b.example",
            "b",
            "sunny",
            "https://c.example",
            "Blocked.",
        ]
        .map(|text| (Target::Completion, text));
        told.sort_unstable();
        assert_eq!(found, [&calls[..], &told[..]].concat());
        assert_eq!(content.unscorable, ["inlineData"]);
        let body = answer.to_string();
        let mut echoes: Vec<_> = content.echoes.iter().map(|place| &body[place.0.clone()]).collect();
        echoes.sort_unstable();
        assert_eq!(echoes[0], "\"d2VhdGhlcg==\"");
        assert!(echoes[1].contains("chosenCandidates") && echoes.len() == 2);
        let passage = |text: &str| content.segments.iter().find(|s| s.text == text).unwrap().passage;
        assert_eq!(passage("It is sunny"), passage("."));
        assert_ne!(passage("Hm."), passage("."));
    }

    #[test]
    fn refusals() {
        let request = Request { model: "gemini-pro".to_owned(), choices: 2, ..Request::default() };
        let answer = parse(&refuse(&request, &refusal(true, Direction::Request)));
        assert_eq!(answer["promptFeedback"], json!({"blockReason": "SAFETY", "blockReasonMessage": "No."}));
        assert_eq!(answer["candidates"].as_array().unwrap().len(), 2);
        let answer = parse(&refuse(&request, &refusal(true, Direction::Response)));
        let expected = json!({"content": {"parts": [{"text": "No."}], "role": "model"}, "finishReason": "SAFETY", "index": 1});
        assert_eq!(answer["candidates"][1], expected);
        assert_eq!((&answer["promptFeedback"], &answer["modelVersion"]), (&Value::Null, &json!("gemini-pro")));
        let answer = parse(&refuse(&request, &refusal(false, Direction::Request)));
        assert_eq!((&answer["candidates"][0]["finishReason"], &answer["promptFeedback"]), (&json!("STOP"), &Value::Null));
    }

    #[test]
    fn errors() {
        let answer = parse(&error(StatusCode::BAD_REQUEST, "content_filter", "No."));
        let told = &answer["error"];
        assert_eq!((&told["code"], &told["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
        assert_eq!(told["details"][0]["reason"], json!("content_filter"));
        for body in [answer.clone(), json!([answer])] {
            let texts: Vec<_> = content(&body).segments.into_iter().map(|segment| segment.text).collect();
            assert_eq!(texts, ["No."]);
        }
        let two = json!([{"error": {}}, {"error": {}}]).to_string();
        assert!(read(&Document::read(two.as_bytes()).unwrap()).unwrap_err().why.contains("array of 2"));
    }

    proptest! {
        /// Whatever stands in fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(values in prop::collection::vec(any_json(), 7)) {
            let at = |index: usize| values[index].clone();
            let answer = json!({
                "vendor": at(0),
                "candidates": [{
                    "more": at(1),
                    "content": {"extra": at(2), "parts": [{"text": "a", "extra": at(3)}]},
                    "groundingMetadata": {"ground": at(4), "searchEntryPoint": {"exit": at(5)}},
                }],
                "usageMetadata": {"mood": at(6)},
            });
            let read: Vec<String> = content(&answer).segments.into_iter().map(|segment| segment.text).collect();
            all_read(&values, &read)?;
        }
    }
}
