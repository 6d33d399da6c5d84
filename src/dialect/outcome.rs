//! What an answer says of itself, for traces: which model it is of, why it ended, how many tokens it took. None of its text.
//!
//! Read where any of the APIs has it, since servers mix them; nobody's verdict rests on it.

use serde_json::{Map, Value};

/// Where an answer, or an event of a stream, keeps it: at its root, or in one of these.
const INSIDE: [&str; 3] = ["response", "message", "delta"];
/// Fields that say why an answer ended.
const ENDS: [&str; 4] = ["finish_reason", "finishReason", "stop_reason", "stopReason"];
/// Lists of answers that are choices of one call.
const CHOICES: [&str; 2] = ["choices", "candidates"];
/// Fields that count tokens of the prompt, and of the answer.
const INPUT: [&str; 5] = ["prompt_tokens", "input_tokens", "inputTokens", "promptTokenCount", "prompt_eval_count"];
const OUTPUT: [&str; 5] = ["completion_tokens", "output_tokens", "outputTokens", "candidatesTokenCount", "eval_count"];
/// Most reasons: one for each choice.
const MOST: usize = 16;
/// Longest word that is taken for one.
const LONGEST: usize = 64;

/// What is known of an answer so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The model that answered.
    pub model: Option<String>,
    /// Why each choice ended, in the API's own words.
    pub ends: Vec<String>,
    /// Tokens of the prompt.
    pub input: Option<u64>,
    /// Tokens of the answer.
    pub output: Option<u64>,
}

impl Outcome {
    /// Reads an answer, or the next event of a stream. What is no JSON says nothing.
    pub fn read(&mut self, data: &str) {
        let Ok(Value::Object(root)) = serde_json::from_str(data) else { return };
        self.look(&root);
        for inner in INSIDE.iter().filter_map(|name| root.get(*name)?.as_object()) {
            self.look(inner);
        }
    }

    fn look(&mut self, object: &Map<String, Value>) {
        let model = ["model", "modelVersion"].iter().find_map(|name| word(object.get(*name)?));
        self.model = model.or(self.model.take());
        let choices = CHOICES.iter().filter_map(|name| object.get(*name)?.as_array()).flatten().filter_map(Value::as_object);
        let ends: Vec<String> = std::iter::once(object).chain(choices).filter_map(end).collect();
        self.ends.extend(ends);
        self.ends.truncate(MOST);
        let usage = ["usage", "usageMetadata"].iter().find_map(|name| object.get(*name)?.as_object()).unwrap_or(object);
        // Cohere counts what it bills beside.
        let usage = usage.get("tokens").and_then(Value::as_object).unwrap_or(usage);
        self.input = count(usage, &INPUT).or(self.input);
        self.output = count(usage, &OUTPUT).or(self.output);
    }
}

/// Why an answer ended, if it has.
fn end(object: &Map<String, Value>) -> Option<String> {
    let reason = ENDS.iter().chain(&["done_reason"]).find_map(|name| word(object.get(*name)?));
    let cut = || word(object.get("incomplete_details")?.get("reason")?);
    // The Responses API has a status, which says so of answers that are under way too.
    let status = || word(object.get("status")?).filter(|status| object.contains_key("output") && status != "in_progress");
    reason.or_else(cut).or_else(status)
}

/// A word, as it is not text that a model wrote.
fn word(value: &Value) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    let text = value.as_str().filter(|text| !text.is_empty())?;
    Some(if text.len() <= LONGEST && text.chars().all(fits) { text.to_owned() } else { "other".to_owned() })
}

fn count(usage: &Map<String, Value>, names: &[&str]) -> Option<u64> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_f64().and_then(|count| format!("{count:.0}").parse().ok()));
    names.iter().find_map(|name| number(usage.get(*name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events; and the model, reasons and tokens that they tell.
    type Case<'c> = (&'c [&'c str], (&'c str, &'c str, u64, u64));

    fn told(events: &[&str]) -> (String, String, Option<u64>, Option<u64>) {
        let mut outcome = Outcome::default();
        events.iter().for_each(|event| outcome.read(event));
        (outcome.model.unwrap_or_default(), outcome.ends.join(","), outcome.input, outcome.output)
    }

    #[test]
    fn every_api_says_how_it_ended_and_what_it_took() {
        let cases: [Case<'_>; 12] = [
            (
                &[
                    r#"{"model":"gpt-5","choices":[{"finish_reason":"stop"},{"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
                ],
                ("gpt-5", "stop,length", 3, 4),
            ),
            (
                &[
                    r#"{"model":"gpt-5","choices":[{"delta":{"content":"x"},"finish_reason":null}]}"#,
                    r#"{"model":"gpt-5","choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}"#,
                    r#"{"model":"gpt-5","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
                    "[DONE]",
                ],
                ("gpt-5", "stop", 3, 4),
            ),
            (
                &[r#"{"model":"gpt-5","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":4}}"#],
                ("gpt-5", "completed", 3, 4),
            ),
            (
                &[
                    r#"{"type":"response.created","response":{"model":"gpt-5","status":"in_progress","output":[],"usage":null}}"#,
                    r#"{"type":"response.output_item.done","item":{"status":"completed"}}"#,
                    r#"{"type":"response.incomplete","response":{"status":"incomplete","output":[],"incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":3,"output_tokens":4}}}"#,
                ],
                ("gpt-5", "max_output_tokens", 3, 4),
            ),
            (
                &[r#"{"model":"claude","stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4}}"#],
                ("claude", "end_turn", 3, 4),
            ),
            (
                &[
                    r#"{"type":"message_start","message":{"model":"claude","stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}"#,
                    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}"#,
                ],
                ("claude", "end_turn", 3, 4),
            ),
            (
                &[
                    r#"{"modelVersion":"gemini","candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4}}"#,
                ],
                ("gemini", "STOP", 3, 4),
            ),
            (
                &[
                    r#"{"model":"llama","message":{"content":"x"},"done":false}"#,
                    r#"{"model":"llama","done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":4}"#,
                ],
                ("llama", "stop", 3, 4),
            ),
            (
                &[
                    r#"{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":9},"tokens":{"input_tokens":3.0,"output_tokens":4.0}}}"#,
                ],
                ("", "COMPLETE", 3, 4),
            ),
            (
                &[
                    r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":3,"output_tokens":4}}}}"#,
                ],
                ("", "COMPLETE", 3, 4),
            ),
            (&[r#"{"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":4}}"#], ("", "end_turn", 3, 4)),
            (&[r#"{"stopReason":"end_turn"}"#, r#"{"usage":{"inputTokens":3,"outputTokens":4}}"#], ("", "end_turn", 3, 4)),
        ];
        for (events, (model, ends, input, output)) in cases {
            assert_eq!(told(events), (model.to_owned(), ends.to_owned(), Some(input), Some(output)), "{events:?}");
        }
    }

    #[test]
    fn text_is_no_reason() {
        let (model, ends, ..) = told(&[r#"{"model":"my card is 4111","choices":[{"finish_reason":"because I said so"}]}"#]);
        assert_eq!((model.as_str(), ends.as_str()), ("other", "other"));
        let long = format!(r#"{{"choices":[{{"finish_reason":"{}"}}]}}"#, "x".repeat(65));
        assert_eq!(told(&[&long, "x", "[1]"]).1, "other");
        let many = format!(r#"{{"choices":[{}]}}"#, vec![r#"{"finish_reason":"stop"}"#; 99].join(","));
        assert_eq!(told(&[&many]).1.split(',').count(), MOST);
    }
}
