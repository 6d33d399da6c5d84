//! Streamed answers: chunks to deltas, deltas back into their chunk, and a proper end when an answer is cut.

use http::StatusCode;

use super::response::{known_choice, refused};
use crate::{
    dialect::{
        Brought, Dialect as _, Progress, Refusal, Request, StreamDialect,
        delta::{bring, unknown},
        openai_chat::{
            OpenAiChat,
            chunk::{self, Chunks},
            vendor,
        },
        tokens::{LISTS, are_ahead},
    },
    segment::{Delta, Part},
    wire::{
        frame::{Event, Message},
        json::{Malformed, Node},
    },
};

/// One streamed answer.
#[derive(Debug)]
pub(super) struct Stream(Chunks);

impl Stream {
    pub(super) fn new(request: &Request) -> Self {
        Self(Chunks::new("cmpl-", "text_completion", request))
    }
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        self.0.read(event, read_choice)
    }

    fn left(&mut self, progress: &Progress) {
        self.0.left(progress);
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        chunk::edit(event, deltas, texts)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        self.0.end(self.0.open().map(|index| refused(index, refusal)))
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        vec![Message::plain(OpenAiChat.error(StatusCode::SERVICE_UNAVAILABLE, code, message))]
    }
}

fn read_choice(choice: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
    let members = known_choice(choice)?;
    let index = members.iter().find(|(key, _)| key == "index").and_then(|(_, value)| value.integer()).unwrap_or(0);
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "index" => {}
            "finish_reason" => brought.progress.ended.push(index),
            "text" => {
                brought.progress.begun.push(index);
                bring(index, Part::Content, value, &|_, _| false, brought);
            }
            key if LISTS.contains(&key) => {}
            _ => unknown(index, key, value, vendor::words(key), brought),
        }
    }
    brought.ahead |= are_ahead(&members, index, &brought.deltas);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        dialect::any::told,
        segment::Direction,
        wire::frame::{Framing, tests::events},
    };

    /// Two choices as OpenAI streams them, with token lists.
    fn streamed() -> Vec<Event> {
        let chunk = |choices: Value| {
            let usage = if choices == json!([]) { json!({"total_tokens": 5}) } else { Value::Null };
            let chunk = json!({"id": "cmpl-7", "object": "text_completion", "created": 1_700_000_000, "choices": choices,
                "model": "gpt-3.5-turbo-instruct", "usage": usage, "obfuscation": "a8"});
            format!("data: {chunk}\n\n")
        };
        let choice = |index: u64, text: &str, reason: Option<&str>| {
            let tokens = json!({"tokens": [text], "token_logprobs": [-0.1], "top_logprobs": null, "text_offset": [0]});
            chunk(json!([{"text": text, "index": index, "logprobs": tokens, "finish_reason": reason}]))
        };
        let stream = [
            choice(0, "Card ", None),
            choice(1, "Second", None),
            choice(0, "4111", None),
            choice(0, "", Some("stop")),
            choice(1, "!", Some("length")),
            chunk(json!([])),
            "data: [DONE]\n\n".to_owned(),
        ];
        events(Framing::Sse, stream.concat().as_bytes())
    }

    fn asked() -> Request {
        Request { model: "m".to_owned(), choices: 2, usage: true, stream: Some(Framing::Sse), ..Request::default() }
    }

    #[test]
    fn a_stream_is_read_and_edited() {
        let (mut stream, events) = (Stream::new(&asked()), streamed());
        let expected = [((0, Part::Content), "Card 4111".to_owned()), ((1, Part::Content), "Second!".to_owned())];
        assert_eq!(told(&mut stream, &events), (expected.into(), vec![]));
        let deltas = stream.read(&events[2]).unwrap().deltas;
        let edited: Value = serde_json::from_str(&stream.edit(&events[2], &deltas, &["[x]".to_owned()]).unwrap()).unwrap();
        let choice = json!({"text": "[x]", "index": 0, "logprobs": null, "finish_reason": null});
        assert_eq!((&edited["choices"][0], &edited["obfuscation"]), (&choice, &json!("")));
    }

    #[test]
    fn tokens_that_run_ahead_of_the_text_are_blanked() {
        let logprobs = json!({"tokens": ["bomb"]});
        for (choice, ahead) in [
            (json!({"index": 1, "text": "a bomb", "logprobs": logprobs, "token_ids": null}), false),
            (json!({"index": 1, "text": "", "logprobs": logprobs}), true),
            (json!({"index": 1, "text": "a bomb", "token_ids": [1]}), true),
        ] {
            let chunk = json!({"choices": [{"index": 0, "text": "a bomb"}, choice], "prompt_token_ids": [1]});
            let event = events(Framing::Sse, format!("data: {chunk}\n\n").as_bytes()).remove(0);
            let mut stream = Stream::new(&asked());
            let brought = stream.read(&event).unwrap();
            assert_eq!(brought.ahead, ahead, "{choice}");
            let texts: Vec<String> = brought.deltas.iter().map(|delta| delta.text.clone()).collect();
            let edited: Value = serde_json::from_str(&stream.edit(&event, &brought.deltas, &texts).unwrap()).unwrap();
            assert_eq!((&edited["choices"][1]["text"], &edited["prompt_token_ids"]), (&choice["text"], &Value::Null));
            for list in LISTS {
                assert!(edited["choices"][1].get(list).is_none_or(Value::is_null), "{list} in {edited}");
            }
        }
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let refusal = Refusal { message: "No.".to_owned(), filtered: true, direction: Direction::Response };
        let all = streamed();
        for seen in 0..all.len() {
            let mut stream = Stream::new(&asked());
            let mut client: Vec<Event> = all[..seen].to_vec();
            for event in &client {
                let progress = stream.read(event).unwrap().progress;
                stream.left(&progress);
            }
            client.extend(events(Framing::Sse, &Framing::Sse.ending(&stream.cut(&refusal), seen > 0)));
            let mut reader = Stream::new(&asked());
            let progress: Vec<Progress> = client.iter().map(|event| reader.read(event).unwrap().progress).collect();
            let begun: BTreeSet<u64> = progress.iter().flat_map(|progress| progress.begun.clone()).collect();
            let mut ended: Vec<u64> = progress.iter().flat_map(|progress| progress.ended.clone()).collect();
            ended.sort_unstable();
            assert_eq!((begun, ended), (BTreeSet::from([0, 1]), vec![0, 1]), "cut after {seen}");
            assert_eq!(client.last().unwrap().data.as_deref(), Some("[DONE]"));
            let usage: Value = serde_json::from_str(client[client.len() - 2].data.as_deref().unwrap()).unwrap();
            assert!(usage["usage"].is_object());
        }
    }
}
