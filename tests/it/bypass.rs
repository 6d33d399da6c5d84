//! Ways around a guard that others left open. Each is scored and decided like its plain form, or refused in the dialect's own
//! error shape; and none of it reaches the upstream.

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Answer, Proxy, ask, ask_stream, completion};

/// A line of `tests/bypass/requests.jsonl`: a request to be `blocked` like its plain form, or `refused`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    hole: String,
    name: String,
    path: String,
    expect: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    body_base64: Option<String>,
}

#[tokio::test]
async fn requests_are_blocked_like_their_plain_form_or_refused() {
    let proxy = Proxy::start().await;
    let corpus = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bypass/requests.jsonl")).unwrap();
    let mut slipped = Vec::new();
    for line in corpus.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let body =
            case.body_base64.as_ref().map_or_else(|| case.body.clone().into(), |body| BASE64.decode(body.as_bytes()).unwrap());
        let mut request: Request<Full<Bytes>> = proxy.request(Method::POST, &case.path, body);
        for (name, value) in &case.headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().remove(&name);
            if !value.is_empty() {
                request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        let send = async { Answer::read(proxy.send(request).await).await };
        let call = async {
            let call = proxy.upstream.call().await;
            let text = String::from_utf8_lossy(&call.body).into_owned();
            call.answer(200, completion("fine"));
            text
        };
        // Whichever comes first: an answer of the proxy's own, or a call that should not have been.
        let seen = tokio::select! {
            answer = send => {
                let refused = answer.status.is_client_error() && answer.json()["error"]["code"].is_string();
                match answer.header("seawall-decision") {
                    "block" if refused => "refused",
                    "block" if answer.status == 200 => "blocked",
                    _ => "passed",
                }
            }
            _ = call => "forwarded",
        };
        if seen != case.expect {
            slipped.push(format!("{}: {}: {seen} instead of {}", case.hole, case.name, case.expect));
        }
    }
    assert!(slipped.is_empty(), "{}", slipped.join("\n"));
    assert!(proxy.upstream.is_idle().await);
}

fn head(more: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn shapes_of_smuggling_are_refused() {
    let proxy = Proxy::start().await;
    let body = ask("much danger here");
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let shapes = [
        ("two lengths", head(&format!("content-length: {length}\r\ncontent-length: 2\r\n")) + &body),
        ("a list of lengths", head(&format!("content-length: {length}, 2\r\n")) + &body),
        ("a signed length", head(&format!("content-length: +{length}\r\n")) + &body),
        ("a length that is no number", head("content-length: 0x10\r\n") + &body),
        ("an unknown transfer encoding", head("transfer-encoding: xchunked\r\n") + &chunked),
        ("chunked, but not last", head("transfer-encoding: chunked, gzip\r\n") + &chunked),
        ("a bad chunk size", head("transfer-encoding: chunked\r\n") + "zz\r\n" + &body),
        ("a space before the colon", head(&format!("content-length : {length}\r\n")) + &body),
        ("a folded header", head(&format!("x: a\r\n b\r\ncontent-length: {length}\r\n")) + &body),
        ("a null in a header", head(&format!("x: a\0b\r\ncontent-length: {length}\r\n")) + &body),
        ("an unknown version", head(&format!("content-length: {length}\r\n")).replace("HTTP/1.1", "HTTP/3.7") + &body),
        ("a method in small letters", head(&format!("content-length: {length}\r\n")).replace("POST", "post") + &body),
        ("another method", head(&format!("content-length: {length}\r\n")).replace("POST", "PUT") + &body),
        ("a body where none belongs", format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a tunnel", "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\nconnection: close\r\n\r\n".to_owned()),
        (
            "a web socket",
            "GET /v1/realtime HTTP/1.1\r\nhost: x\r\nconnection: close, upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                .to_owned(),
        ),
    ];
    for (name, shape) in shapes {
        let answer = proxy.raw(shape.as_bytes()).await;
        let status = answer.get(9..12).unwrap_or("none");
        assert!(status.starts_with('4') || status.starts_with('5') || answer.is_empty(), "{name}: {answer}");
        assert!(proxy.upstream.is_idle().await, "{name}");
    }
}

#[tokio::test]
async fn other_ways_of_sending_are_scored_too() {
    let proxy = Proxy::start().await;
    let (bad, good) = (ask("much danger here"), ask("a quiet day"));
    let chunks: String =
        bad.as_bytes().chunks(3).map(|c| format!("{:x}\r\n{}\r\n", c.len(), str::from_utf8(c).unwrap())).collect();
    let both = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
    let shapes = [
        ("chunked", head("transfer-encoding: chunked\r\n") + &chunks + "0\r\n\r\n"),
        (
            "chunked with extensions and a trailer",
            head("transfer-encoding: chunked\r\n") + &format!("{:x};a=b\r\n{bad}\r\n0\r\nx: y\r\n\r\n", bad.len()),
        ),
        ("HTTP/1.0", head(&format!("content-length: {}\r\n", bad.len())).replace("HTTP/1.1", "HTTP/1.0") + &bad),
        (
            "an upgrade that is offered",
            head(&format!(
                "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ncontent-length: {}\r\n",
                bad.len()
            )) + &bad,
        ),
        ("an absolute address", head(&format!("content-length: {}\r\n", bad.len())).replace(" /v1", " http://other/v1") + &bad),
        ("an expectation", head(&format!("expect: 100-continue\r\ncontent-length: {}\r\n", bad.len())) + &bad),
    ];
    for (name, shape) in shapes {
        let answer = proxy.raw(shape.as_bytes()).await;
        assert!(answer.contains("no such prompts"), "{name}: {answer}");
        assert!(proxy.upstream.is_idle().await, "{name}");
    }
    // A length beside chunks: chunks win, as RFC 9112 says, or the request is refused; never the length.
    let answer = proxy.raw((head(both) + &chunks + "0\r\n\r\n").as_bytes()).await;
    assert!(answer.contains("no such prompts") || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(proxy.upstream.is_idle().await);
    // Two requests in one breath: each is judged by itself.
    let one = |body: &str| head(&format!("content-length: {}\r\n", body.len())) + body;
    let pipelined = one(&good).replace("connection: close\r\n", "") + &one(&bad);
    let (answer, asked) = tokio::join!(proxy.raw(pipelined.as_bytes()), async {
        let call = proxy.upstream.call().await;
        let asked = call.text();
        call.answer(200, completion("fine"));
        asked
    });
    assert_eq!(asked, good);
    assert!(answer.contains("fine") && answer.contains("no such prompts"), "{answer}");
    assert!(proxy.upstream.is_idle().await);
}

/// A way of answering: its name, headers and body.
type Odd<'a> = (&'a str, Vec<(&'static str, &'a str)>, Vec<u8>);

#[tokio::test]
async fn a_body_has_one_reading_for_the_upstream_too() {
    let proxy = Proxy::start().await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"user":"&input=danger&x="}"#;
    let mut request = proxy.request(Method::POST, "/v1/chat/completions", body);
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    let (_, kind) = tokio::join!(proxy.send(request), async {
        let call = proxy.upstream.call().await;
        let kind = call.headers["content-type"].clone();
        call.answer(200, completion("fine"));
        kind
    });
    assert_eq!(kind, "application/json");
}

#[tokio::test]
async fn answers_have_no_way_around_either() {
    let proxy = Proxy::start().await;
    let menace = completion("a menace");
    let gzip = {
        let mut encoder = async_compression::tokio::write::GzipEncoder::new(Vec::new());
        encoder.write_all(menace.as_bytes()).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    };
    let message = |fields: &str| {
        format!(r#"{{"id":"c","choices":[{{"index":0,"message":{{"role":"assistant",{fields}}},"finish_reason":"stop"}}]}}"#)
    };
    let json = [("content-type", "application/json")];
    let answers: Vec<Odd<'_>> = vec![
        ("plain", json.to_vec(), menace.clone().into_bytes()),
        ("compressed though not asked", [json[0], ("content-encoding", "gzip")].to_vec(), gzip.clone()),
        ("compressed, not said", json.to_vec(), gzip),
        ("an unknown encoding", [json[0], ("content-encoding", "compress")].to_vec(), menace.clone().into_bytes()),
        ("another content type", vec![("content-type", "text/html")], menace.clone().into_bytes()),
        ("no content type", vec![], menace.clone().into_bytes()),
        ("duplicate keys", json.to_vec(), message(r#""content":"fine","content":"a menace""#).into_bytes()),
        ("a second field", json.to_vec(), message(r#""content":"fine","content_blocks":[{"text":"a menace"}]"#).into_bytes()),
        ("reasoning", json.to_vec(), message(r#""content":"fine","reasoning_content":"a menace""#).into_bytes()),
        ("a refusal", json.to_vec(), message(r#""content":null,"refusal":"a menace""#).into_bytes()),
        ("a tool call", json.to_vec(), message(r#""content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\":\"danger\"}"}}]"#).into_bytes()),
        ("no JSON", json.to_vec(), b"a menace".to_vec()),
        ("nothing", json.to_vec(), Vec::new()),
    ];
    for (name, headers, body) in answers {
        let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async {
            proxy.upstream.call().await.answer_as(200, &headers, body);
        });
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("menace") && !text.contains("danger"), "{name}: {text}");
        assert!(text.contains("no such answers") || answer.status == 502, "{name}: {} {text}", answer.status);
    }
    // A stream that comes unasked is judged as one; one that is encoded is refused.
    let event =
        format!("data: {}\n\n", message(r#""content":"x""#).replace("message", "delta").replace("\"x\"", "\"a menace\""));
    for (name, request, headers) in [
        ("unasked", ask("hi"), vec![("content-type", "text/event-stream")]),
        ("in capitals", ask_stream("hi"), vec![("content-type", "Text/Event-Stream; charset=utf-8")]),
        ("encoded", ask_stream("hi"), vec![("content-type", "text/event-stream"), ("content-encoding", "gzip")]),
        ("said to be JSON", ask_stream("hi"), vec![("content-type", "application/json")]),
        ("without a type", ask_stream("hi"), vec![]),
    ] {
        let (answer, ()) = tokio::join!(proxy.post(request), async {
            proxy.upstream.call().await.answer_as(200, &headers, event.clone());
        });
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("menace"), "{name}: {text}");
    }
    // The id of a call is text when it says something.
    let call = |id: &str| {
        let chunk = message(r#""content":"x""#).replace("message", "delta");
        let call = format!(
            r#""tool_calls":[{{"index":0,"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]"#
        );
        format!("data: {}\n\n", chunk.replace(r#""content":"x""#, &call))
    };
    for (id, passes) in [("call_AbCdEfGhIjKlMnOp", true), ("here is a menace", false)] {
        let (answer, ()) = tokio::join!(proxy.post(ask_stream("hi")), async {
            proxy.upstream.call().await.answer_as(200, &[("content-type", "text/event-stream")], call(id));
        });
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(text.contains(id), passes, "{text}");
    }
}
