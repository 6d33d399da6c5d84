//! Values that the model never sees and the client has back.

use std::collections::BTreeMap;

use seawall::{
    config::StreamMode,
    dialect::{DIALECTS, Request},
    segment::{Channel, Part},
};
use serde_json::{Value, json};

use crate::{
    dialects::{Api, apis},
    gate::parts,
    harness::{Answer, Proxy, ask, completion},
};

const RULES: &str = r#"
name = "team"

[[rule]]
name = "contacts"
where = ["prompt", "system", "tool_call", "tool_result", "completion"]
detectors = ["email", "quotes"]
action = "redact"
redact = "placeholder"

[detectors.quotes]
regex = ['<<[^>]*>>']
mask = "[quoted text]"
"#;

const AN: &str = "an@example.com";
const QUOTE: &str = r#"<<a "b" \ c>>"#;
const ASKED: &str = r#"Write to an@example.com, not to bo@example.com: <<a "b" \ c>>. To an@example.com."#;
const SENT: &str = "Write to [EMAIL_1], not to [EMAIL_2]: [QUOTED_TEXT_1]. To [EMAIL_1].";

/// What a client has who asked all that, and what was sent on.
async fn answered(proxy: &Proxy, api: &Api, answer: String) -> (Answer, String) {
    tokio::join!(api.post(proxy, ASKED), async {
        let call = proxy.upstream.call().await;
        let sent = call.text();
        call.answer(200, answer);
        sent
    })
}

/// The same of a stream.
async fn streamed(proxy: &Proxy, api: &Api, answer: Vec<u8>) -> Vec<u8> {
    let ((bytes, _), ()) = tokio::join!(api.streamed(proxy, ASKED), async {
        let call = proxy.upstream.call().await;
        assert_eq!(call.text(), (api.ask)(SENT, true).to_string(), "{}", api.name);
        call.stream_as(api.framing.content_type()).send(answer).await;
    });
    bytes
}

/// The texts that a stream brings.
fn texts(api: &Api, bytes: &[u8]) -> BTreeMap<Channel, String> {
    let dialect = DIALECTS.iter().find(|dialect| dialect.name() == api.name).unwrap();
    let (mut reader, mut decoder) = (dialect.stream(&Request::default()), api.framing.decoder(1 << 20));
    decoder.feed(bytes);
    let mut texts = BTreeMap::<Channel, String>::new();
    while let Some(event) = decoder.event().unwrap().or_else(|| decoder.rest().unwrap()) {
        for delta in reader.read(&event).unwrap().deltas {
            texts.entry(delta.channel).or_default().push_str(&delta.text);
        }
    }
    texts
}

#[tokio::test]
async fn the_model_sees_names_and_the_client_its_values() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    for api in apis() {
        let said = "To [EMAIL_1]; [EMAIL_9], [email_1], cy@example.com.";
        let (answer, sent) = answered(&proxy, &api, (api.whole)(said).to_string()).await;
        assert_eq!(sent, (api.ask)(SENT, false).to_string(), "{}", api.name);
        let expected = (api.whole)("To an@example.com; [EMAIL_9], [email_1], [email].").to_string();
        assert_eq!(String::from_utf8_lossy(&answer.body), expected, "{}", api.name);
        assert_eq!(answer.header("seawall-decision"), "rewrite");
    }
}

#[tokio::test]
async fn a_name_split_anywhere_in_a_stream_is_put_back_in_every_mode() {
    for mode in [StreamMode::Hold, StreamMode::Lag, StreamMode::Buffer] {
        let proxy = Proxy::with(RULES, |config| config.stream.mode = mode).await;
        for api in apis() {
            let name = "[EMAIL_1]";
            for at in (1..name.len()).filter(|at| mode == StreamMode::Hold || at % 4 == 0) {
                let (head, tail) = name.split_at(at);
                let bytes = streamed(&proxy, &api, api.bytes(&["Dear ", head, tail, ", or [EMAIL_9], in [EMA"])).await;
                let texts = texts(&api, &bytes);
                let said: Vec<_> = texts.values().filter(|text| text.contains("Dear")).collect();
                assert!(!said.is_empty());
                for text in said {
                    assert_eq!(text, "Dear an@example.com, or [EMAIL_9], in [EMA", "{} {mode:?} at {at}", api.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn every_choice_has_its_values() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    let mut streams = 0;
    for api in apis() {
        let pieces: [&[&str]; 2] = [&["To [EMA", "IL_1]."], &["Or [EMAIL_", "2]."]];
        let Some(answer) = parts::choices(&api, pieces) else { continue };
        streams += 1;
        let texts = texts(&api, &streamed(&proxy, &api, api.framing.ending(&answer, false).to_vec()).await);
        let said: Vec<_> = texts.iter().filter(|(channel, _)| channel.part == Part::Content).map(|(_, text)| text).collect();
        assert_eq!(said, ["To an@example.com.", "Or bo@example.com."], "{}", api.name);
    }
    assert_eq!(streams, 4);
    let choice = |index: u64, text: &str| json!({"index": index, "message": {"role": "assistant", "content": text}});
    let answer = json!({"choices": [choice(0, "To [EMAIL_1]."), choice(1, "Or [EMAIL_2].")]});
    let (answer, _) = answered(&proxy, &apis()[0], answer.to_string()).await;
    let expected = json!({"choices": [choice(0, "To an@example.com."), choice(1, "Or bo@example.com.")]});
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn a_tool_has_the_values_and_its_arguments_stay_json() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    let meant = json!({"to": AN, "text": QUOTE});
    let mut streams = 0;
    for api in apis() {
        let pieces = ["{\"to\": \"[EMAIL_", "1]\", \"text\": \"", "[QUOTED_TEXT_1]\"}"];
        let Some(answer) = parts::stream(&api, parts::Part::Arguments, &pieces) else { continue };
        streams += 1;
        let bytes = streamed(&proxy, &api, api.framing.ending(&answer, false).to_vec()).await;
        let mut calls = 0;
        for text in texts(&api, &bytes).values().filter(|text| text.contains('{')) {
            let arguments: Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
            assert_eq!(arguments, meant, "{}", api.name);
            calls += 1;
        }
        assert!(calls > 0, "{}", api.name);
    }
    assert_eq!(streams, 5);
    let said = json!({"to": "[EMAIL_1]", "text": "[QUOTED_TEXT_1]"});
    let chat = |arguments: &Value| {
        let call = json!({"id": "c", "type": "function", "function": {"name": "mail", "arguments": arguments.to_string()}});
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [call]}}]})
    };
    let anthropic = |arguments: &Value| {
        json!({"type": "message", "role": "assistant", "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "mail", "input": arguments}]})
    };
    let gemini = |arguments: &Value| {
        let call = json!({"functionCall": {"name": "mail", "args": arguments}});
        json!({"candidates": [{"content": {"role": "model", "parts": [call]}, "index": 0}]})
    };
    let whole: [fn(&Value) -> Value; 3] = [chat, anthropic, gemini];
    for (name, whole) in ["openai_chat", "anthropic", "gemini"].into_iter().zip(whole) {
        let api = apis().into_iter().find(|api| api.name == name).unwrap();
        let (answer, _) = answered(&proxy, &api, whole(&said).to_string()).await;
        assert_eq!(answer.json(), whole(&meant), "{name}");
    }
}

#[tokio::test]
async fn lists_of_tokens_do_not_spell_the_names() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    let mut said: Value = serde_json::from_str(&completion("To [EMAIL_1].")).unwrap();
    let token = |token: &str| json!({"token": token, "logprob": -0.1, "bytes": token.as_bytes(), "top_logprobs": []});
    let tokens = ["To", " [EMAIL", "_1]."].map(token);
    said["choices"][0]["logprobs"] = json!({"content": tokens});
    let (answer, _) = answered(&proxy, &apis()[0], said.to_string()).await;
    assert_eq!((answer.content().as_str(), &answer.json()["choices"][0]["logprobs"]), ("To an@example.com.", &Value::Null));
}

#[tokio::test]
async fn the_record_has_no_value() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    let (answer, _) = answered(&proxy, &apis()[0], completion("To [EMAIL_1].")).await;
    assert_eq!(answer.content(), "To an@example.com.");
    let case = proxy.review().await.find(answer.header("seawall-request-id")).await.unwrap().unwrap();
    assert_eq!(case.answer(), "To [EMAIL_1].");
    let kept = serde_json::to_string(&proxy.cases().await).unwrap();
    assert!(!kept.contains("example.com") && !kept.contains("<<"), "{kept}");
}

#[tokio::test]
async fn a_conversation_keeps_its_names_and_a_typed_name_is_no_value() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    let api = &apis()[0];
    let message = |role: &str, text: &str| json!({"role": role, "content": text});
    let body = |messages: &[Value]| json!({"model": "m", "messages": messages}).to_string();
    let sent = async |messages: &[Value], said: &str| {
        let (answer, sent) = tokio::join!(api.post_raw(&proxy, body(messages)), async {
            let call = proxy.upstream.call().await;
            let sent = call.text();
            call.answer(200, completion(said));
            sent
        });
        (sent, answer.content())
    };
    let history =
        [message("user", ASKED), message("assistant", "To an@example.com."), message("user", "bo@example.com? cy@a.co")];
    let named = [message("user", SENT), message("assistant", "To [EMAIL_1]."), message("user", "[EMAIL_2]? [EMAIL_3]")];
    for turn in [1, 3] {
        assert_eq!(sent(&history[..turn], "To [EMAIL_1].").await, (body(&named[..turn]), "To an@example.com.".to_owned()));
    }
    let typed = [message("system", "Never say [EMAIL_1]."), message("user", "an@example.com")];
    let named = [message("system", "Never say [EMAIL_1]."), message("user", "[EMAIL_2]")];
    assert_eq!(sent(&typed, "[EMAIL_1] [EMAIL_2]").await, (body(&named), "[EMAIL_1] an@example.com".to_owned()));
}

#[tokio::test]
async fn a_raced_answer_to_the_values_themselves_is_not_passed_on() {
    let proxy = Proxy::with(RULES, |config| config.upstream.race = true).await;
    let (answer, ()) = tokio::join!(proxy.post(ask(ASKED)), async {
        loop {
            let call = proxy.upstream.call().await;
            if call.text() == ask(SENT) {
                return call.answer(200, completion("To [EMAIL_1]."));
            }
        }
    });
    assert_eq!(answer.content(), "To an@example.com.");
}
