//! Every place of a whole answer that can carry text to the user, and the answers that Seawall itself gives.

use http::StatusCode;
use serde_json::{Value, json};

use super::block::read_message;
use crate::{
    dialect::{Refusal, text::Collector},
    segment::{Content, Target},
    wire::json::{Document, Malformed},
};

/// Fields of an answer, and of an error, that hold no text.
const PLAIN: &[&str] = &["stopReason", "usage", "metrics", "performanceConfig", "serviceTier", "__type"];
const TEXT: &[&str] = &["output", "additionalModelResponseFields", "trace", "message", "Message"];

/// Names of fields in the trace of Amazon's own guardrail.
const TRACE: &[&str] = &[
    "guardrail",
    "promptRouter",
    "invokedModelId",
    "modelOutput",
    "inputAssessment",
    "outputAssessments",
    "actionReason",
    "topicPolicy",
    "topics",
    "contentPolicy",
    "filters",
    "wordPolicy",
    "customWords",
    "managedWordLists",
    "sensitiveInformationPolicy",
    "piiEntities",
    "regexes",
    "contextualGroundingPolicy",
    "automatedReasoningPolicy",
    "findings",
    "invocationMetrics",
    "guardrailProcessingLatency",
    "guardrailCoverage",
    "usage",
    "textCharacters",
    "images",
    "guarded",
    "total",
    "topicPolicyUnits",
    "contentPolicyUnits",
    "wordPolicyUnits",
    "sensitiveInformationPolicyUnits",
    "sensitiveInformationPolicyFreeUnits",
    "contextualGroundingPolicyUnits",
    "contentPolicyImageUnits",
    "automatedReasoningPolicyUnits",
    "automatedReasoningPolicies",
    "appliedGuardrailDetails",
    "guardrailId",
    "guardrailVersion",
    "guardrailArn",
    "guardrailOrigin",
    "guardrailOwnership",
    "name",
    "type",
    "action",
    "detected",
    "match",
    "regex",
    "confidence",
    "filterStrength",
    "threshold",
    "score",
];

pub(super) fn read(document: &Document) -> Result<Content, Malformed> {
    let known: Vec<&str> = PLAIN.iter().chain(TEXT).copied().collect();
    let mut text = Collector::default();
    for (key, value) in document.root().known("answer", &known)? {
        text.passage();
        match key.as_ref() {
            _ if value.is_null() => {}
            "output" => {
                for (key, value) in value.known("output", &["message"])? {
                    match key.as_ref() {
                        "message" => read_message(&mut text, &value, |_| Ok(Target::Completion))?,
                        _ => text.strings(Target::Completion, &value, &|_, _| false),
                    }
                }
            }
            "trace" => text.strings(Target::Completion, &value, &trace_word),
            key if PLAIN.contains(&key) => {}
            _ => text.strings(Target::Completion, &value, &|_, _| false),
        }
    }
    Ok(text.into())
}

/// The words of a trace: names of its fields, and verdicts such as `BLOCKED` and `US_PASSPORT_NUMBER`.
pub(super) fn trace_word(key: &str, value: &str) -> bool {
    if value.is_empty() {
        return TRACE.contains(&key);
    }
    let capitals = value.len() <= 40 && value.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    capitals && matches!(key, "type" | "action" | "confidence" | "filterStrength" | "guardrailOrigin" | "guardrailOwnership")
}

pub(super) fn stop_reason(refusal: &Refusal) -> &'static str {
    if refusal.filtered { "guardrail_intervened" } else { "end_turn" }
}

/// What a refusal has cost.
pub(super) fn usage() -> Value {
    json!({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0})
}

pub(super) fn refuse(refusal: &Refusal) -> String {
    json!({
        "output": {"message": {"role": "assistant", "content": [{"text": refusal.message}]}},
        "stopReason": stop_reason(refusal),
        "usage": usage(),
        "metrics": {"latencyMs": 0},
    })
    .to_string()
}

/// The SDKs name their exception by the type, and would take a field `code` for one; so the code stands in `reason`.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> String {
    let kind = match status.as_u16() {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        400..=499 => "ValidationException",
        503 => "ServiceUnavailableException",
        504 => "ModelTimeoutException",
        _ => "InternalServerException",
    };
    json!({"__type": kind, "message": message, "reason": code}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Direction;

    fn texts(answer: &Value) -> (Vec<(Target, String)>, Vec<String>) {
        let content = read(&Document::read(answer.to_string().as_bytes()).unwrap()).unwrap();
        let mut texts: Vec<_> = content.segments.into_iter().map(|it| (it.target, it.text)).collect();
        texts.sort_unstable();
        (texts, content.unscorable)
    }

    #[test]
    fn an_answer_with_everything() {
        use Target::{Completion, ToolCall};
        let answer = json!({
            "output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm",
                    "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pki"}}},
                {"text": "Yes"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                {"toolUse": {"toolUseId": "t", "name": "weather", "input": {"day": "today"}, "type": "server_tool_use"}},
                {"toolResult": {"toolUseId": "t", "content": [{"text": "wet"}]}}]}},
            "stopReason": "tool_use", "usage": usage(), "metrics": {"latencyMs": 5}, "serviceTier": {"type": "default"},
            "additionalModelResponseFields": {"stop_sequence": "END"}, "performanceConfig": {"latency": "standard"},
            "trace": {"guardrail": {"modelOutput": ["Yes again"], "outputAssessments": {"g1": [{"contentPolicy": {"filters": [
                {"type": "HATE", "confidence": "LOW", "action": "NONE"}]}}]}}},
            "vendor": ["x"],
        });
        let (read, unscorable) = texts(&answer);
        let expected = [
            (ToolCall, "day"),
            (ToolCall, "today"),
            (ToolCall, "weather"),
            (Completion, "END"),
            (Completion, "Yes"),
            (Completion, "Yes again"),
            (Completion, "g1"),
            (Completion, "hm"),
            (Completion, "stop_sequence"),
            (Completion, "wet"),
            (Completion, "x"),
        ];
        assert_eq!(read, expected.map(|(target, text)| (target, text.to_owned())));
        assert_eq!(unscorable, ["image"]);
        assert_eq!(texts(&json!({"Message": "Denied."})).0, [(Completion, "Denied.".to_owned())]);
    }

    #[test]
    fn refusals_and_errors_have_the_shape_of_the_api() {
        let mut refusal = Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Request };
        let answer: Value = serde_json::from_str(&refuse(&refusal)).unwrap();
        assert_eq!(answer["output"]["message"], json!({"role": "assistant", "content": [{"text": "No."}]}));
        assert_eq!((&answer["stopReason"], &answer["usage"]), (&json!("guardrail_intervened"), &usage()));
        refusal.filtered = false;
        assert!(refuse(&refusal).contains("end_turn"));
        let error: Value = serde_json::from_str(&error(StatusCode::BAD_REQUEST, "content_filter", "No.")).unwrap();
        assert_eq!(error, json!({"__type": "ValidationException", "message": "No.", "reason": "content_filter"}));
    }
}
