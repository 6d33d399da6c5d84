//! Lists of tokens beside a stream's text: they spell it once more, and may run ahead of it.
//!
//! A server that holds text back (what may become a stop string, a tool call that it parses) still tells its tokens as they
//! come, and nothing has judged these. So a list stays in its event only if it spells the end of a text that the same event
//! brings: the two leave together.

use std::borrow::Cow;

use crate::{segment::Delta, wire::json::Node};

/// Lists of the answer's tokens, or of the prompt's, in the APIs of OpenAI and of vLLM.
pub(super) const LISTS: &[&str] = &["logprobs", "token_ids", "prompt_logprobs", "prompt_token_ids"];

/// Whether lists among these members of an event tell what no text of this choice among its deltas does.
pub(super) fn are_ahead(members: &[(Cow<'_, str>, Node<'_>)], choice: u64, deltas: &[Delta]) -> bool {
    members.iter().any(|(key, value)| match key.as_ref() {
        "logprobs" => !is_told(value, choice, deltas),
        // Who has the vocabulary can read them, and this proxy has not.
        "token_ids" => !is_empty(value),
        _ => false,
    })
}

fn is_told(list: &Node<'_>, choice: u64, deltas: &[Delta]) -> bool {
    let mut spelled = Vec::new();
    spell(list, &mut spelled);
    if spelled.is_empty() {
        return is_empty(list);
    }
    deltas.iter().any(|delta| delta.channel.choice == choice && delta.text.as_bytes().ends_with(&spelled))
}

/// Adds what a list spells. A token may be part of a character: then only its bytes say so.
fn spell(node: &Node<'_>, spelled: &mut Vec<u8>) {
    if let Some(text) = node.string() {
        spelled.extend(text.bytes());
    } else if let Some(members) = node.object() {
        let bytes = members.iter().find(|(key, _)| key == "bytes").and_then(|(_, value)| bytes(value));
        for (key, value) in &members {
            match (key.as_ref(), &bytes) {
                ("token", Some(bytes)) => spelled.extend(bytes),
                // What the model might have said instead is no part of the answer.
                ("top_logprobs", _) => {}
                _ => spell(value, spelled),
            }
        }
    } else {
        node.array().unwrap_or_default().iter().for_each(|item| spell(item, spelled));
    }
}

fn bytes(node: &Node<'_>) -> Option<Vec<u8>> {
    let byte = |item: &Node<'_>| item.integer().and_then(|byte| u8::try_from(byte).ok());
    node.array()?.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|bytes| !bytes.is_empty())
}

/// Whether a value holds nothing but lists without items.
pub(super) fn is_empty(node: &Node<'_>) -> bool {
    match (node.object(), node.array()) {
        (Some(members), _) => members.iter().all(|(_, value)| is_empty(value)),
        (_, Some(items)) => items.iter().all(is_empty),
        _ => node.is_null(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        segment::{Channel, Part},
        wire::json::Document,
    };

    #[test]
    fn lists_stay_only_beside_the_text_that_they_spell() {
        let told = |text: &str, members: &str| {
            let document = Document::read(members.as_bytes()).unwrap();
            let delta = |choice, text: &str| Delta {
                channel: Channel { choice, part: Part::Content },
                text: text.to_owned(),
                place: None,
            };
            let deltas = [delta(0, text), delta(1, "of another choice")];
            !are_ahead(&document.root().object().unwrap(), 0, &deltas)
        };
        let yes = [
            ("", r#"{"logprobs": null, "token_ids": null, "prompt_token_ids": [1, 2], "prompt_logprobs": [null, {"1": {}}]}"#),
            ("", r#"{"logprobs": {"content": [], "refusal": null}, "token_ids": []}"#),
            (" bomb", r#"{"logprobs": {"content": [{"token": " b", "top_logprobs": [{"token": "no"}]}, {"token": "omb"}]}}"#),
            (" a bomb", r#"{"logprobs": {"tokens": [" bomb"], "token_logprobs": [-1], "top_logprobs": [{" b": -1}]}}"#),
            (" bomb", r#"{"logprobs": [{"token": " bomb", "bytes": [32, 98, 111, 109, 98]}]}"#),
            ("ก", r#"{"logprobs": [{"token": "", "bytes": [184, 129]}]}"#),
            ("a", r#"{"logprobs": [{"token": "a", "bytes": []}]}"#),
        ];
        for (text, members) in yes {
            assert!(told(text, members), "{members}");
        }
        let no = [
            ("", r#"{"logprobs": {"content": [{"token": " bomb"}]}}"#),
            ("", r#"{"logprobs": [{"token": "", "bytes": [224]}]}"#),
            ("", r#"{"logprobs": {"tokens": [], "top_logprobs": [{" bomb": -1}]}}"#),
            ("How to", r#"{"logprobs": {"content": [{"token": " bomb"}]}}"#),
            ("How", r#"{"logprobs": {"content": [{"token": "How", "bytes": [98]}]}}"#),
            ("choice", r#"{"logprobs": {"tokens": ["another choice"]}}"#),
            ("a", r#"{"token_ids": [97]}"#),
        ];
        for (text, members) in no {
            assert!(!told(text, members), "{members}");
        }
    }
}
