//! The demo's sample LLM: an OpenAI-compatible server that knows the demo's answers and keeps all that reaches it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::cases::CASES;

/// Time between two words of a streamed answer.
const PACE: Duration = Duration::from_millis(5);

/// What reached the model.
pub(super) type Journal = Arc<Mutex<String>>;

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, journal: Journal) -> std::io::Result<()> {
    let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(journal);
    axum::serve(listener, app).await
}

async fn complete(State(journal): State<Journal>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let prompt = request.pointer("/messages/0/content").and_then(Value::as_str).unwrap_or_default();
    {
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.push_str(prompt);
        journal.push('\n');
    }
    // A masked prompt is no longer the case's own; its beginning tells which it was.
    let begins = |text: &str| text.chars().take(20).collect::<String>();
    let known = CASES.iter().find(|case| begins(case.prompt) == begins(prompt));
    let answer = known.map_or("I am only a sample.", |case| case.answer);
    if request.get("stream") == Some(&Value::Bool(true)) {
        return streamed(answer);
    }
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"});
    let body =
        json!({"id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": "sample", "choices": [choice]});
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A few characters at a time, as models speak.
fn streamed(answer: &str) -> Response {
    let letters: Vec<char> = answer.chars().collect();
    let mut events: Vec<String> =
        letters.chunks(6).map(|piece| chunk(&json!({"content": String::from_iter(piece)}), None)).collect();
    events.push(chunk(&json!({}), Some("stop")));
    events.push("data: [DONE]\n\n".to_owned());
    let events = stream::iter(events).then(|event| async {
        tokio::time::sleep(PACE).await;
        Ok::<_, Infallible>(event)
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunk =
        json!({"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": "sample", "choices": [choice]});
    format!("data: {chunk}\n\n")
}
