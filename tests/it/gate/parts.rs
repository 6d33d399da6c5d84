//! Streams of other text than an answer's content, as each API sends them: reasoning, the arguments of a call, several choices.

use seawall::wire::frame::Message;
use serde_json::{Value, json};

use crate::dialects::{Api, events, plain};

/// What a stream brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Thinking that the model shows.
    Reasoning,
    /// A tool call's arguments, piece by piece.
    Arguments,
}

/// A streamed answer that brings these pieces of such a text; `None` where the API has none that comes in pieces.
pub(crate) fn stream(api: &Api, part: Part, texts: &[&str]) -> Option<Vec<Message>> {
    let reasons = part == Part::Reasoning;
    let out = match api.name {
        "openai_chat" => openai_chat(reasons, texts),
        "openai_responses" => openai_responses(reasons, texts),
        "anthropic" => anthropic(reasons, texts),
        "gemini" if reasons => {
            let chunk = |text: &str, more: Value| {
                let mut candidate =
                    json!({"content": {"role": "model", "parts": [{"text": text, "thought": true}]}, "index": 0});
                candidate.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                json!({"candidates": [candidate]})
            };
            plain(texts.iter().map(|text| chunk(text, json!({}))).chain([chunk("", json!({"finishReason": "STOP"}))]))
        }
        "ollama_chat" if reasons => {
            let line = |text: &str, done: bool| {
                json!({"model": "m", "message": {"role": "assistant", "content": "",
                "thinking": text}, "done": done})
            };
            plain(texts.iter().map(|text| line(text, false)).chain([line("", true)]))
        }
        "ollama_generate" if reasons => {
            let line = |text: &str, done: bool| json!({"model": "m", "response": "", "thinking": text, "done": done});
            plain(texts.iter().map(|text| line(text, false)).chain([line("", true)]))
        }
        "cohere" => cohere(reasons, texts),
        "bedrock" => bedrock(reasons, texts),
        _ => return None,
    };
    Some(out)
}

fn openai_chat(reasons: bool, texts: &[&str]) -> Vec<Message> {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c1", "choices": [{"index": 0, "delta": delta,
        "finish_reason": finish}]})
    };
    let call = |function: Value| json!({"tool_calls": [{"index": 0, "function": function}]});
    let piece = |text: &&str| if reasons { json!({"reasoning_content": text}) } else { call(json!({"arguments": text})) };
    let begin = (!reasons).then(|| call(json!({"name": "f", "arguments": ""})));
    let deltas = begin.into_iter().chain(texts.iter().map(piece));
    let pieces = deltas.map(|delta| chunk(delta, Value::Null));
    let end = Message::plain("[DONE]");
    [plain(pieces.chain([chunk(json!({}), json!("stop"))])), vec![end]].concat()
}

fn anthropic(reasons: bool, texts: &[&str]) -> Vec<Message> {
    let (block, kind, field) = if reasons {
        (json!({"type": "thinking", "thinking": "", "signature": ""}), "thinking_delta", "thinking")
    } else {
        (json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}), "input_json_delta", "partial_json")
    };
    let delta = |text: &&str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: text}});
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null,
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let begin = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
    ];
    let end = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
        json!({"type": "message_stop"}),
    ];
    events(begin.into_iter().chain(texts.iter().map(delta)).chain(end))
}

fn cohere(reasons: bool, texts: &[&str]) -> Vec<Message> {
    let at = |kind: &str, message: Value| json!({"type": kind, "index": 0, "delta": {"message": message}});
    let call = |function: Value| json!({"tool_calls": {"id": "f0", "type": "function", "function": function}});
    let start = json!({"type": "message-start", "id": "i", "delta": {"message": {"role": "assistant", "content": []}}});
    let (begin, end) = if reasons {
        (
            at("content-start", json!({"content": {"type": "thinking", "thinking": ""}})),
            json!({"type": "content-end", "index": 0}),
        )
    } else {
        (at("tool-call-start", call(json!({"name": "f", "arguments": ""}))), json!({"type": "tool-call-end", "index": 0}))
    };
    let piece = |text: &&str| {
        if reasons {
            at("content-delta", json!({"content": {"thinking": text}}))
        } else {
            at("tool-call-delta", json!({"tool_calls": {"function": {"arguments": text}}}))
        }
    };
    let last = json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {}}});
    events([start, begin].into_iter().chain(texts.iter().map(piece)).chain([end, last]))
}

fn bedrock(reasons: bool, texts: &[&str]) -> Vec<Message> {
    let named = |name: &str, data: Value| Message::named(name, data.to_string());
    let piece = |text: &&str| {
        if reasons { json!({"reasoningContent": {"text": text}}) } else { json!({"toolUse": {"input": text}}) }
    };
    let start = json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}});
    let mut out = vec![named("messageStart", json!({"role": "assistant"}))];
    out.extend((!reasons).then(|| named("contentBlockStart", start)));
    out.extend(texts.iter().map(|text| named("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": piece(text)}))));
    out.push(named("contentBlockStop", json!({"contentBlockIndex": 0})));
    out.push(named("messageStop", json!({"stopReason": "end_turn"})));
    out
}

fn openai_responses(reasons: bool, texts: &[&str]) -> Vec<Message> {
    let all = texts.concat();
    let answer = |status: &str, output: Value| {
        json!({"id": "resp_1", "object": "response", "created_at": 1,
        "status": status, "model": "m", "output": output})
    };
    let item = |text: &str| {
        if reasons {
            json!({"id": "i_1", "type": "reasoning",
                "summary": if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) }})
        } else {
            json!({"id": "i_1", "type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": text})
        }
    };
    let (kind, field) = if reasons { ("reasoning_summary_text", "text") } else { ("function_call_arguments", "arguments") };
    let at = |end: &str, field: &str, value: Value| {
        let mut event = json!({"type": format!("response.{kind}.{end}"), "item_id": "i_1", "output_index": 0, field: value});
        if reasons {
            event["summary_index"] = json!(0);
        }
        event
    };
    let part = |end: &str, text: &str| {
        json!({"type": format!("response.reasoning_summary_part.{end}"), "item_id": "i_1", "output_index": 0,
        "summary_index": 0, "part": {"type": "summary_text", "text": text}})
    };
    let mut out = vec![
        json!({"type": "response.created", "response": answer("in_progress", json!([]))}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("")}),
    ];
    out.extend(reasons.then(|| part("added", "")));
    out.extend(texts.iter().map(|text| at("delta", "delta", json!(text))));
    out.push(at("done", field, json!(all)));
    out.extend(reasons.then(|| part("done", &all)));
    out.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item(&all)}));
    out.push(json!({"type": "response.completed", "response": answer("completed", json!([item(&all)]))}));
    for (number, event) in out.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events(out)
}

/// Two choices, whose pieces come in turns; `None` where the API has but one.
pub(crate) fn choices(api: &Api, texts: [&[&str]; 2]) -> Option<Vec<Message>> {
    let choice = |index: usize, text: &str, ends: bool| match api.name {
        "openai_chat" => {
            let delta = if ends { json!({}) } else { json!({"content": text}) };
            Some(json!({"id": "c1", "choices": [{"index": index, "delta": delta,
                    "finish_reason": if ends { json!("stop") } else { Value::Null }}]}))
        }
        "openai_completions" => Some(json!({"id": "c1", "choices": [{"index": index, "text": text,
                "finish_reason": if ends { json!("stop") } else { Value::Null }}]})),
        "gemini" => {
            let mut candidate = json!({"content": {"role": "model", "parts": [{"text": text}]}, "index": index});
            if ends {
                candidate["finishReason"] = json!("STOP");
            }
            Some(json!({"candidates": [candidate]}))
        }
        _ => None,
    };
    let [one, other] = texts;
    let pieces = one.iter().zip(other).flat_map(|(one, other)| [(0, *one, false), (1, *other, false)]);
    plain_all(pieces.chain([(0, "", true), (1, "", true)]).map(|(index, text, ends)| choice(index, text, ends)))
}

fn plain_all(values: impl Iterator<Item = Option<Value>>) -> Option<Vec<Message>> {
    values.collect::<Option<Vec<_>>>().map(plain)
}
