//! Bounds of size, time and encoding.

use std::{pin::pin, time::Duration};

use async_compression::tokio::write::GzipEncoder;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{Answer, Proxy, RULES, ask, ask_stream, chunk, completion, finish};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

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
async fn silent_connections_are_closed() {
    let proxy = Proxy::with(RULES, |config| {
        config.listen.header_timeout_ms = 200;
        config.listen.drain_ms = 200;
    })
    .await;
    for bytes in ["", "P", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        assert!(timeout(LONG, proxy.raw(bytes.as_bytes())).await.is_ok(), "{bytes:?}");
    }
    // One that answers all that it is asked, and asks for nothing.
    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (_sender, connection) = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    assert!(timeout(LONG, connection).await.is_ok(), "a connection without streams");
}

#[tokio::test]
async fn an_exchange_is_no_silence() {
    let proxy = Proxy::with(RULES, |config| config.listen.header_timeout_ms = 200).await;
    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let request = Request::post("http://proxy/v1/chat/completions").header("content-type", "application/json");
    let asked = async {
        let request = request.body(Full::new(Bytes::from(ask_stream("hi")))).unwrap();
        Answer::read(sender.send_request(request).await.unwrap()).await
    };
    let upstream = async {
        let pieces = proxy.upstream.call().await.stream();
        // Before and within the answer.
        tokio::time::sleep(Duration::from_millis(500)).await;
        pieces.send(chunk(0, "hello there.")).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        pieces.send([finish(0), "data: [DONE]\n\n".to_owned()].concat()).await;
    };
    let mut connection = pin!(connection);
    let (answer, ()) = tokio::select! {
        both = async { tokio::join!(asked, upstream) } => both,
        _ = &mut connection => panic!("the connection has ended"),
    };
    assert!(answer.body.ends_with(b"data: [DONE]\n\n"), "{answer:?}");
    assert!(timeout(LONG, connection).await.is_ok(), "and then it ends");
}

/// A call that is refused because there is no room for it.
async fn has_no_room(proxy: &Proxy) {
    let answer = tokio::select! {
        answer = proxy.post(ask("another")) => answer,
        _ = proxy.upstream.call() => panic!("it was let in"),
    };
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(answer.json()["error"]["code"], "overloaded");
}

async fn has_room(proxy: &Proxy) {
    let (answer, ()) =
        tokio::join!(proxy.post(ask("another")), async { proxy.upstream.call().await.answer(200, completion("hello")) });
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn calls_in_flight_are_bounded_whatever_connection_they_are_on() {
    let proxy = Proxy::with(RULES, |config| config.listen.max_calls = 1).await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    has_no_room(&proxy).await;
    pieces.send([chunk(0, "hello there."), finish(0)].concat()).await;
    drop(pieces);
    stream.rest().await;
    has_room(&proxy).await;
}

#[tokio::test]
async fn a_whole_answer_is_in_flight_until_its_client_has_read_it() {
    let proxy = Proxy::with(RULES, |config| config.listen.max_calls = 1).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let body = ask("hi");
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    client.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    // More than the system takes in for a client that does not read.
    let answer = completion("hello") + &" ".repeat(12 << 20);
    proxy.upstream.call().await.answer(200, answer.clone());
    let mut told = vec![0; 12];
    client.read_exact(&mut told).await.unwrap();
    assert_eq!(told, b"HTTP/1.1 200");
    has_no_room(&proxy).await;
    client.read_to_end(&mut told).await.unwrap();
    assert!(told.ends_with(answer.as_bytes()));
    let length = format!("\r\ncontent-length: {}\r\n", answer.len());
    assert!(told.windows(length.len()).any(|part| part == length.as_bytes()), "its length is announced");
    has_room(&proxy).await;
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
