//! Every dialect through the whole proxy, by one table: the same promises hold for each.

use http::Method;
use seawall::{
    dialect::DIALECTS,
    wire::frame::{Framing, Message},
};
use serde_json::{Value, json};

use crate::harness::{Answer, Proxy, RULES};

/// An API as its clients and servers speak it.
pub(crate) struct Api {
    pub(crate) name: &'static str,
    pub(crate) framing: Framing,
    path: &'static str,
    pub(crate) stream_path: &'static str,
    /// A request with this text of the user; streamed or not.
    pub(crate) ask: fn(&str, bool) -> Value,
    /// A whole answer with this text.
    pub(crate) whole: fn(&str) -> Value,
    /// A streamed answer that brings these pieces.
    pub(crate) stream: fn(&[&str]) -> Vec<Message>,
}

pub(crate) const CARD: &str = "my card is 4111 1111 1111 1111, thanks.";
pub(crate) const MASKED: &str = "[payment card]";

fn chat_ask(text: &str, stream: bool) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream})
}

pub(crate) fn events(events: impl IntoIterator<Item = Value>) -> Vec<Message> {
    events
        .into_iter()
        .map(|event| {
            let name = event["type"].as_str().unwrap_or_default().to_owned();
            Message::named(&name, event.to_string())
        })
        .collect()
}

pub(crate) fn plain(values: impl IntoIterator<Item = Value>) -> Vec<Message> {
    values.into_iter().map(|value| Message::plain(value.to_string())).collect()
}

fn gemini_ask(text: &str, _: bool) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

fn gemini_answer(text: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 1}, "modelVersion": "m", "responseId": "r1"})
}

fn gemini_stream(texts: &[&str]) -> Vec<Message> {
    let chunk = |text: &&str| json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}]});
    plain(texts.iter().map(chunk).chain([gemini_answer("")]))
}

fn responses_item(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn responses_answer(text: &str) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
        "output": [responses_item(text)], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}})
}

fn responses_stream(texts: &[&str]) -> Vec<Message> {
    let at = |kind: &str, more: Value| {
        let mut event = json!({"type": kind, "item_id": "msg_1", "output_index": 0, "content_index": 0});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let all = texts.concat();
    let begun =
        json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": "m", "output": []});
    let item = json!({"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []});
    let mut out = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        at("response.content_part.added", json!({"part": {"type": "output_text", "text": "", "annotations": []}})),
    ];
    out.extend(texts.iter().map(|text| at("response.output_text.delta", json!({"delta": text}))));
    out.extend([
        at("response.output_text.done", json!({"text": all})),
        at("response.content_part.done", json!({"part": {"type": "output_text", "text": all, "annotations": []}})),
        json!({"type": "response.output_item.done", "output_index": 0, "item": responses_item(&all)}),
        json!({"type": "response.completed", "response": responses_answer(&all)}),
    ]);
    for (number, event) in out.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events(out)
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn apis() -> Vec<Api> {
    vec![
        Api {
            name: "openai_chat",
            framing: Framing::Sse,
            path: "/v1/chat/completions",
            stream_path: "/v1/chat/completions",
            ask: chat_ask,
            whole: |text| {
                json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
            },
            stream: |texts| {
                let chunk = |delta: Value, finish: Value| {
                    json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
                };
                let deltas = texts.iter().map(|text| chunk(json!({"content": text}), Value::Null));
                let mut out = plain(deltas.chain([chunk(json!({}), json!("stop"))]));
                out.push(Message::plain("[DONE]"));
                out
            },
        },
        Api {
            name: "openai_completions",
            framing: Framing::Sse,
            path: "/v1/completions",
            stream_path: "/v1/completions",
            ask: |text, stream| json!({"model": "m", "prompt": text, "stream": stream}),
            whole: |text| {
                json!({"id": "c1", "object": "text_completion", "created": 1, "model": "m", "choices": [
                    {"index": 0, "text": text, "logprobs": null, "finish_reason": "stop"}]})
            },
            stream: |texts| {
                let chunk = |text: &str, finish: Value| {
                    json!({"id": "c1", "object": "text_completion", "created": 1, "model": "m",
                        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}]})
                };
                let deltas = texts.iter().map(|text| chunk(text, Value::Null));
                let mut out = plain(deltas.chain([chunk("", json!("stop"))]));
                out.push(Message::plain("[DONE]"));
                out
            },
        },
        Api {
            name: "openai_responses",
            framing: Framing::Sse,
            path: "/v1/responses",
            stream_path: "/v1/responses",
            ask: |text, stream| json!({"model": "m", "input": text, "stream": stream}),
            whole: responses_answer,
            stream: responses_stream,
        },
        Api {
            name: "anthropic",
            framing: Framing::Sse,
            path: "/v1/messages",
            stream_path: "/v1/messages",
            ask: |text, stream| json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}], "stream": stream}),
            whole: |text| {
                json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                    "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
                    "usage": {"input_tokens": 1, "output_tokens": 1}})
            },
            stream: |texts| {
                let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
                    "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
                let mut out = vec![
                    json!({"type": "message_start", "message": message}),
                    json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                    json!({"type": "ping"}),
                ];
                out.extend(texts.iter().map(
                    |text| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
                ));
                out.extend([
                    json!({"type": "content_block_stop", "index": 0}),
                    json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                        "usage": {"output_tokens": 3}}),
                    json!({"type": "message_stop"}),
                ]);
                events(out)
            },
        },
        Api {
            name: "gemini",
            framing: Framing::Sse,
            path: "/v1beta/models/m:generateContent",
            stream_path: "/v1beta/models/m:streamGenerateContent?alt=sse",
            ask: gemini_ask,
            whole: gemini_answer,
            stream: gemini_stream,
        },
        Api {
            name: "gemini",
            framing: Framing::Array,
            path: "/v1/models/m:generateContent",
            stream_path: "/v1/models/m:streamGenerateContent",
            ask: gemini_ask,
            whole: gemini_answer,
            stream: gemini_stream,
        },
        Api {
            name: "ollama_chat",
            framing: Framing::Ndjson,
            path: "/api/chat",
            stream_path: "/api/chat",
            ask: chat_ask,
            whole: |text| {
                json!({"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": text},
                    "done": true, "done_reason": "stop"})
            },
            stream: |texts| {
                let line = |text: &str, done: bool| {
                    json!({"model": "m", "created_at": "2026-01-01T00:00:00Z",
                        "message": {"role": "assistant", "content": text}, "done": done})
                };
                plain(texts.iter().map(|text| line(text, false)).chain([line("", true)]))
            },
        },
        Api {
            name: "ollama_generate",
            framing: Framing::Ndjson,
            path: "/api/generate",
            stream_path: "/api/generate",
            ask: |text, stream| json!({"model": "m", "prompt": text, "stream": stream}),
            whole: |text| json!({"model": "m", "created_at": "2026-01-01T00:00:00Z", "response": text, "done": true}),
            stream: |texts| {
                let line = |text: &str, done: bool| json!({"model": "m", "created_at": "2026-01-01T00:00:00Z", "response": text, "done": done});
                plain(texts.iter().map(|text| line(text, false)).chain([line("", true)]))
            },
        },
        Api {
            name: "cohere",
            framing: Framing::Sse,
            path: "/v2/chat",
            stream_path: "/v2/chat",
            ask: chat_ask,
            whole: |text| {
                json!({"id": "i", "finish_reason": "COMPLETE", "message": {"role": "assistant",
                    "content": [{"type": "text", "text": text}]}, "usage": {"tokens": {"input_tokens": 1, "output_tokens": 1}}})
            },
            stream: |texts| {
                let mut out = vec![
                    json!({"type": "message-start", "id": "i", "delta": {"message": {"role": "assistant", "content": []}}}),
                    json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
                ];
                out.extend(texts.iter().map(
                    |text| json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}),
                ));
                out.extend([
                    json!({"type": "content-end", "index": 0}),
                    json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE",
                        "usage": {"tokens": {"input_tokens": 1, "output_tokens": 1}}}}),
                ]);
                events(out)
            },
        },
        Api {
            name: "bedrock",
            framing: Framing::EventStream,
            path: "/model/m%3A0/converse",
            stream_path: "/model/m%3A0/converse-stream",
            ask: |text, _| json!({"messages": [{"role": "user", "content": [{"text": text}]}]}),
            whole: |text| {
                json!({"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn",
                    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {"latencyMs": 1}})
            },
            stream: |texts| {
                let named = |name: &str, data: Value| Message::named(name, data.to_string());
                let mut out = vec![named("messageStart", json!({"role": "assistant", "p": "abc"}))];
                out.extend(texts.iter().map(|text| {
                    named("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": text}, "p": "abcd"}))
                }));
                out.extend([
                    named("contentBlockStop", json!({"contentBlockIndex": 0, "p": "ab"})),
                    named("messageStop", json!({"stopReason": "end_turn", "p": "a"})),
                    named("metadata", json!({"usage": {"inputTokens": 1}, "metrics": {"latencyMs": 1}, "p": "a"})),
                ]);
                out
            },
        },
    ]
}

impl Api {
    /// The bytes of a streamed answer.
    pub(crate) fn bytes(&self, texts: &[&str]) -> Vec<u8> {
        self.framing.ending(&(self.stream)(texts), false).to_vec()
    }

    pub(crate) async fn post(&self, proxy: &Proxy, text: &str) -> Answer {
        self.post_raw(proxy, (self.ask)(text, false).to_string()).await
    }

    pub(crate) async fn post_raw(&self, proxy: &Proxy, body: String) -> Answer {
        Answer::read(proxy.send(proxy.request(Method::POST, self.path, body)).await).await
    }

    /// What a client sees of a stream: its bytes, and the data of its events.
    pub(crate) async fn streamed(&self, proxy: &Proxy, text: &str) -> (Vec<u8>, Vec<String>) {
        let mut stream = proxy.stream_of(self.stream_path, self.framing, (self.ask)(text, true).to_string()).await;
        assert_eq!(stream.status, 200, "{}", self.name);
        let (mut bytes, mut data) = (Vec::new(), Vec::new());
        while let Some(event) = stream.next().await.unwrap() {
            bytes.extend_from_slice(&event.raw);
            data.extend(event.data);
        }
        (bytes, data)
    }

    /// The same, of an upstream that sends these bytes in pieces of this size.
    pub(crate) async fn answered(&self, proxy: &Proxy, answer: &[u8], size: usize) -> (Vec<u8>, Vec<String>) {
        let (seen, ()) = tokio::join!(self.streamed(proxy, "hi"), async {
            let pieces = proxy.upstream.call().await.stream_as(self.framing.content_type());
            for piece in answer.chunks(size) {
                pieces.send(piece.to_vec()).await;
            }
        });
        seen
    }
}

#[tokio::test]
async fn every_dialect_is_in_this_table() {
    let tested = apis();
    for dialect in DIALECTS {
        assert!(tested.iter().any(|api| api.name == dialect.name()), "{}", dialect.name());
    }
    for api in tested {
        assert!(DIALECTS.iter().any(|dialect| dialect.name() == api.name), "{}", api.name);
    }
}

#[tokio::test]
async fn whole_answers_pass_are_masked_or_refused() {
    let proxy = Proxy::start().await;
    for api in apis() {
        let answering = async |text: &str| {
            let (answer, asked) = tokio::join!(api.post(&proxy, "hi"), async {
                let call = proxy.upstream.call().await;
                let asked = call.text();
                call.answer(200, (api.whole)(text).to_string());
                asked
            });
            assert_eq!(asked, (api.ask)("hi", false).to_string(), "{}", api.name);
            assert_eq!(answer.status, 200, "{}", api.name);
            String::from_utf8(answer.body.to_vec()).unwrap()
        };
        assert_eq!(answering("quite harmless").await, (api.whole)("quite harmless").to_string(), "{}", api.name);
        let refused = answering("a menace").await;
        assert!(refused.contains("no such answers") && !refused.contains("menace"), "{}: {refused}", api.name);
        let masked = answering(CARD).await;
        assert_eq!(masked, (api.whole)(&CARD.replace("4111 1111 1111 1111", MASKED)).to_string(), "{}", api.name);

        let blocked = api.post(&proxy, "much danger").await;
        assert_eq!((blocked.status.as_u16(), blocked.header("seawall-decision")), (200, "block"), "{}", api.name);
        assert!(String::from_utf8_lossy(&blocked.body).contains("no such prompts"), "{}", api.name);
        assert!(proxy.upstream.is_idle().await, "{}", api.name);
        let (_, asked) = tokio::join!(api.post(&proxy, CARD), async {
            let call = proxy.upstream.call().await;
            let asked = call.text();
            call.answer(200, (api.whole)("ok").to_string());
            asked
        });
        assert_eq!(asked, (api.ask)(&CARD.replace("4111 1111 1111 1111", MASKED), false).to_string(), "{}", api.name);
    }
}

#[tokio::test]
async fn streams_pass_byte_for_byte_however_they_are_cut() {
    let proxy = Proxy::start().await;
    for api in apis() {
        let answer = api.bytes(&["Hello, ", "สวัสดีครับ. ", "and \"more\""]);
        for size in [1, 7, 4096] {
            let (seen, _) = api.answered(&proxy, &answer, size).await;
            assert_eq!(seen, answer, "{} {}", api.name, String::from_utf8_lossy(&seen));
        }
    }
}

#[tokio::test]
async fn streams_are_cut_properly_and_cards_masked() {
    let proxy = Proxy::start().await;
    for api in apis() {
        let answer = api.bytes(&["A harmless sentence to begin. ", "But then a me", "nace comes and", " stays."]);
        let (bytes, data) = api.answered(&proxy, &answer, 4096).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("no such answers") && !text.contains("nace"), "{}: {text}", api.name);
        for value in data.iter().filter(|data| *data != "[DONE]") {
            assert!(serde_json::from_str::<Value>(value).is_ok(), "{}: {value}", api.name);
        }
        let answer = api.bytes(&["my card is 4111 1", "111 11", "11 1111, ", "thanks."]);
        let (bytes, _) = api.answered(&proxy, &answer, 4096).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(MASKED) && !text.contains("4111") && !text.contains("111 11"), "{}: {text}", api.name);

        let (bytes, data) = api.streamed(&proxy, "much danger").await;
        assert!(String::from_utf8_lossy(&bytes).contains("no such prompts") && !data.is_empty(), "{}", api.name);
        assert!(proxy.upstream.is_idle().await, "{}", api.name);
    }
}

#[tokio::test]
async fn errors_have_the_dialects_shape() {
    let rules = RULES.replace("message = \"no such prompts\"", "message = \"no such prompts\"\nrespond = \"error\"");
    let proxy = Proxy::with(&rules, |_| {}).await;
    for api in apis() {
        let blocked = api.post(&proxy, "much danger").await;
        let text = String::from_utf8_lossy(&blocked.body).into_owned();
        assert_eq!(blocked.status, 400, "{}", api.name);
        assert!(text.contains("no such prompts") && text.contains("content_filter"), "{}: {text}", api.name);
        let twice = (api.ask)("hi", false).to_string().replacen('{', "{\"x\":1,\"x\":2,", 1);
        let refused = api.post_raw(&proxy, twice).await;
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert_eq!(refused.status, 400, "{}", api.name);
        assert!(text.contains("malformed_request") && text.contains("stands twice"), "{}: {text}", api.name);
        assert!(proxy.upstream.is_idle().await, "{}", api.name);
    }
}
