//! Every place of a whole answer that can carry text to the user, and the answers that Seawall itself gives.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    dialect::{
        Refusal, Request, new_id,
        openai_chat::{
            chunk::{ENVELOPE, finish_reason, no_usage},
            vendor,
        },
        text::{Collector, error_word},
        tokens::LISTS,
    },
    segment::{Content, Place, Target},
    wire::json::{Document, Malformed, Members, Node},
};

const CHOICE: &[&str] = &["index", "finish_reason", "text"];

pub(super) fn read(document: &Document) -> Result<Content, Malformed> {
    let mut text = Collector::default();
    for (key, value) in document.root().known("answer", &[ENVELOPE, LISTS].concat())? {
        text.passage();
        match key.as_ref() {
            "choices" => {
                for choice in value.array().ok_or_else(|| Malformed::new("`choices` is not an array"))? {
                    read_choice(&mut text, &choice)?;
                }
            }
            "error" => text.strings(Target::Completion, &value, &error_word),
            key if ENVELOPE.contains(&key) => {}
            key if LISTS.contains(&key) => text.echoes.push(Place(value.range())),
            key => text.strings(Target::Completion, &value, vendor::words(key)),
        }
    }
    Ok(text.into())
}

fn read_choice(text: &mut Collector, choice: &Node<'_>) -> Result<(), Malformed> {
    for (key, value) in known_choice(choice)? {
        text.passage();
        match key.as_ref() {
            "index" | "finish_reason" => {}
            // They spell the text, or the prompt's, once more.
            key if LISTS.contains(&key) => text.echoes.push(Place(value.range())),
            key => text.strings(Target::Completion, &value, vendor::words(key)),
        }
    }
    Ok(())
}

pub(super) fn known_choice<'d>(choice: &Node<'d>) -> Result<Members<'d>, Malformed> {
    choice.known("choice", &[CHOICE, LISTS].concat())
}

/// A choice that tells the refusal and ends, in an answer or a chunk.
pub(super) fn refused(index: u64, refusal: &Refusal) -> Value {
    json!({"index": index, "text": refusal.message, "logprobs": null, "finish_reason": finish_reason(refusal)})
}

pub(super) fn refuse(request: &Request, refusal: &Refusal) -> String {
    let choices: Vec<Value> = (0..request.choices.clamp(1, 128)).map(|index| refused(index, refusal)).collect();
    json!({
        "id": new_id("cmpl-"),
        "object": "text_completion",
        "created": Timestamp::now().as_second(),
        "model": request.model,
        "choices": choices,
        "usage": no_usage(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        dialect::{
            Dialect as _,
            any::{all_read, any_json},
            openai_completions::OpenAiCompletions,
        },
        segment::Direction,
        wire::frame::{Framing, tests::events},
    };

    proptest! {
        /// Whatever stands in fields that are not known, whole or streamed: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(top in any_json(), within in any_json(), error in any_json()) {
            let body = json!({"choices": [{"index": 0, "text": "a", "more": within}], "vendor": top, "error": error});
            let content = read(&Document::read(body.to_string().as_bytes()).unwrap()).unwrap();
            let whole: Vec<String> = content.segments.into_iter().map(|segment| segment.text).collect();
            let event = events(Framing::Sse, format!("data: {body}\n\n").as_bytes()).remove(0);
            let brought = OpenAiCompletions.stream(&Request::default()).read(&event).unwrap();
            let streamed: Vec<String> = brought.deltas.into_iter().map(|delta| delta.text).collect();
            for read in [whole, streamed] { all_read([&top, &within, &error], &read)?; }
        }
    }

    #[test]
    fn a_whole_answer() {
        let body = r#"{"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [
            {"text": "One", "index": 0, "logprobs": {"tokens": ["One"]}, "finish_reason": "stop", "stop_reason": "END",
             "token_ids": [1], "prompt_logprobs": null}], "usage": {"total_tokens": 2}}"#;
        let content = read(&Document::read(body.as_bytes()).unwrap()).unwrap();
        let found: Vec<_> = content.segments.iter().map(|segment| (segment.target, segment.text.as_str())).collect();
        assert_eq!(found, [(Target::Completion, "One"), (Target::Completion, "END")]);
        let echoes: Vec<_> = content.echoes.iter().filter_map(|place| body.get(place.0.clone())).collect();
        assert_eq!(echoes, [r#"{"tokens": ["One"]}"#, "[1]", "null"]);
    }

    #[test]
    fn a_refusal_and_an_error() {
        let refusal = |filtered| Refusal { message: "No.".to_owned(), filtered, direction: Direction::Response };
        let request = Request { model: "m".to_owned(), choices: 2, ..Request::default() };
        let answer: Value = serde_json::from_str(&OpenAiCompletions.refuse(&request, &refusal(true))).unwrap();
        assert_eq!(answer["object"], "text_completion");
        let choice = json!({"index": 1, "text": "No.", "logprobs": null, "finish_reason": "content_filter"});
        assert_eq!((answer["choices"].as_array().unwrap().len(), &answer["choices"][1]), (2, &choice));
        let answer: Value = serde_json::from_str(&OpenAiCompletions.refuse(&request, &refusal(false))).unwrap();
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let error: Value = serde_json::from_str(&OpenAiCompletions.error(StatusCode::BAD_REQUEST, "c", "No.")).unwrap();
        assert_eq!((&error["error"]["code"], &error["error"]["message"]), (&json!("c"), &json!("No.")));
    }
}
