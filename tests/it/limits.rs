//! Bounds of size, time and encoding.

use std::time::Duration;

use async_compression::tokio::write::GzipEncoder;
use http::{HeaderValue, Method, StatusCode};
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Answer, Proxy, RULES, ask, completion};

async fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(text).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

async fn post_encoded(proxy: &Proxy, coding: &'static str, body: Vec<u8>) -> Answer {
    let mut request = proxy.request(Method::POST, "/v1/chat/completions", body);
    request.headers_mut().insert("content-encoding", HeaderValue::from_static(coding));
    Answer::read(proxy.send(request).await).await
}

#[tokio::test]
async fn compressed_requests_are_read_and_sent_on_plain() {
    let proxy = Proxy::start().await;
    let (answer, ()) = tokio::join!(post_encoded(&proxy, "gzip", gzip(ask("hi").as_bytes()).await), async {
        let call = proxy.upstream.call().await;
        assert_eq!(call.text(), ask("hi"));
        assert!(!call.headers.contains_key("content-encoding"));
        call.answer_as(200, &[("content-encoding", "gzip")], gzip(completion("hello").as_bytes()).await);
    });
    assert_eq!(answer.body, completion("hello"));
    assert!(!answer.headers.contains_key("content-encoding"));
    assert_eq!(post_encoded(&proxy, "gzip", gzip(ask("danger").as_bytes()).await).await.header("seawall-decision"), "block");
    assert_eq!(post_encoded(&proxy, "rot13", b"{}".to_vec()).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(post_encoded(&proxy, "gzip", b"{}".to_vec()).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn large_bodies_and_bombs_are_refused() {
    let proxy = Proxy::with(RULES, |config| config.listen.max_body_bytes = 10_000).await;
    assert_eq!(proxy.post(ask(&"x".repeat(10_000))).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let bomb = gzip(ask(&"x".repeat(1_000_000)).as_bytes()).await;
    assert!(bomb.len() < 10_000);
    assert_eq!(post_encoded(&proxy, "gzip", bomb).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn slow_and_oversized_requests_end() {
    let proxy = Proxy::with(RULES, |config| {
        config.listen.header_timeout_ms = 200;
        config.listen.body_timeout_ms = 200;
        config.listen.max_header_bytes = 8192;
    })
    .await;
    assert_eq!(proxy.raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n").await, "", "a head that never ends");
    let slow = proxy.raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{").await;
    assert!(slow.starts_with("HTTP/1.1 408 ") && slow.contains("body_too_slow"), "{slow}");
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    assert!(proxy.raw(large.as_bytes()).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn two_lengths_are_refused() {
    let proxy = Proxy::start().await;
    let both = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}";
    assert!(proxy.raw(both).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn an_answer_that_is_long_in_the_making_is_waited_for_while_it_shows_life() {
    let proxy = Proxy::with(RULES, |config| config.upstream.idle_timeout_ms = 2500).await;
    let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async {
        let stream = proxy.upstream.call().await.stream_as("application/json");
        // Longer than the longest silence in all, with none that is half as long.
        for piece in [" ", "\n", "\n", "\n", &completion("hello")] {
            tokio::time::sleep(Duration::from_millis(600)).await;
            stream.send(piece.to_owned()).await;
        }
    });
    assert_eq!((answer.status, answer.body.trim_ascii_start()), (StatusCode::OK, completion("hello").as_bytes()));
    let silent = async {
        let stream = proxy.upstream.call().await.stream_as("application/json");
        stream.send(" ").await;
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! { answer = proxy.post(ask("hi again")) => answer, () = silent => return };
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
}
