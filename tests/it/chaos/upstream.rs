//! The upstream fails in each way that a server can.

use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::harness::{
    Answer, Events, Proxy, RULES, ask, ask_stream, chunk, completion,
    program::PATIENCE,
    raw::{Raw, answer, request},
};

const JSON: &str = "content-type: application/json";
const SSE: &str = "content-type: text/event-stream\r\ntransfer-encoding: chunked";
/// More than any part of an answer may take, and less than would matter.
const MUCH: usize = 64 << 20;

fn code(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.json()["error"]["code"].as_str().unwrap().to_owned())
}

fn failed(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// One piece of a body without a length.
fn piece(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Writes the same again and again until the proxy has had enough; tells how much that took.
async fn flood(mut stream: TcpStream, first: &str, again: &str) -> usize {
    let mut written = 0;
    let mut next = first;
    while stream.write_all(next.as_bytes()).await.is_ok() {
        written += next.len();
        assert!(written < MUCH, "it reads without an end");
        next = again;
    }
    written
}

/// What is left of a stream, and whether it ended properly.
async fn rest(stream: &mut Events) -> (String, bool) {
    let mut text = String::new();
    loop {
        match stream.next().await {
            Ok(Some(event)) => text.push_str(&String::from_utf8_lossy(&event.raw)),
            Ok(None) => return (text, true),
            Err(_) => return (text, false),
        }
    }
}

/// The proxy serves as before.
async fn serves(proxy: &Proxy, raw: &Raw) {
    let body = completion("fine again");
    let whole = answer(&format!("{JSON}\r\ncontent-length: {}", body.len()), &body);
    let (told, _stream) = tokio::join!(proxy.post(ask("hi once more")), raw.answer(whole));
    assert_eq!((told.status, told.content().as_str()), (StatusCode::OK, "fine again"));
}

#[tokio::test]
async fn one_that_refuses_is_left_alone_for_a_moment_and_found_when_it_is_back() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let proxy = Proxy::with(RULES, |config| config.upstream.url = url).await;
    for _ in 0..5 {
        assert_eq!(code(&proxy.post(ask("hi")).await), failed(502, "upstream_unreachable"));
    }
    let told = proxy.post(ask("hi")).await;
    assert_eq!((code(&told), told.header("retry-after")), (failed(503, "upstream_unreachable"), "1"));
    assert_eq!(proxy.post(ask("danger")).await.header("seawall-decision"), "block", "what needs no upstream goes on");
    let raw = Raw::of(socket.listen(16).unwrap());
    let back = async {
        while proxy.post(ask("hi")).await.status != StatusCode::OK {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let body = completion("hello");
    let whole = answer(&format!("{JSON}\r\ncontent-length: {}", body.len()), &body);
    let both = async { tokio::join!(back, raw.answer(whole)) };
    assert!(timeout(PATIENCE, both).await.is_ok());
}

#[tokio::test]
async fn one_that_is_silent_before_its_answer_is_waited_for_so_long() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|config| config.upstream.response_timeout_ms = 200).await;
    let (told, mut stream) = tokio::join!(proxy.post(ask("hi")), raw.call());
    assert_eq!(code(&told), failed(504, "upstream_timeout"));
    assert_eq!(request(&mut stream).await, None, "the call is let go of");
    // Headers that come one by one are no answer either.
    let drip = async {
        let mut stream = raw.answer("HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x: y\r\n").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let (told, ()) = tokio::join!(proxy.post(ask("hi")), drip);
    assert_eq!(code(&told), failed(504, "upstream_timeout"));
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn one_that_is_silent_before_its_body_is_waited_for_so_long() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|config| config.upstream.idle_timeout_ms = 200).await;
    let (told, _stream) = tokio::join!(proxy.post(ask("hi")), raw.answer(answer(&format!("{JSON}\r\ncontent-length: 9"), "")));
    assert_eq!(code(&told), failed(504, "upstream_timeout"));
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_breaks_off_after_what_was_judged() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|config| config.upstream.idle_timeout_ms = 300).await;
    let begun = answer(SSE, &piece(&chunk(0, "A first sentence. And half a")));
    let (mut stream, _connection) = tokio::join!(proxy.stream(ask_stream("hi")), raw.answer(begun));
    assert_eq!(rest(&mut stream).await, (chunk(0, "A first sentence. And half a"), false));
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_breaks_off_after_what_was_judged() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    let begun = answer(SSE, &piece(&chunk(0, "A first sentence. ")));
    let (mut stream, connection) = tokio::join!(proxy.stream(ask_stream("hi")), raw.answer(begun));
    assert_eq!(stream.next().await.unwrap().unwrap().raw, chunk(0, "A first sentence. "));
    connection.set_zero_linger().unwrap();
    drop(connection);
    assert_eq!(rest(&mut stream).await, (String::new(), false));
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn what_is_no_http_is_told_to_be_none() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 one OK\r\n\r\n", "HTTP/1.1 200 OK\r\nx y\r\n\r\n", "\u{16}\u{3}\u{1}"]
    {
        let (told, _) = tokio::join!(proxy.post(ask("hi")), async { drop(raw.answer(garbage).await) });
        assert_eq!(code(&told), failed(502, "upstream_unreachable"), "{garbage:?}");
        assert!(told.json()["error"]["message"].as_str().unwrap().contains("no HTTP"), "{garbage:?}");
    }
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn headers_without_an_end_are_read_to_a_bound() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    let line = format!("x-more: {}\r\n", "y".repeat(1_000));
    let feed = async { flood(raw.call().await, "HTTP/1.1 200 OK\r\n", &line).await };
    let (told, _) = tokio::join!(proxy.post(ask("hi")), feed);
    assert_eq!(code(&told), failed(502, "upstream_unreachable"));
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_body_without_an_end_is_read_to_a_bound() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|config| config.upstream.max_body_bytes = 1 << 20).await;
    let head = answer(&format!("{JSON}\r\ntransfer-encoding: chunked"), "");
    let feed = async { flood(raw.call().await, &head, &piece(&" ".repeat(10_000))).await };
    let (told, _) = tokio::join!(proxy.post(ask("hi")), feed);
    assert_eq!(code(&told), failed(502, "upstream_unreadable"));
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_stream_without_an_end_is_read_to_a_bound() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|config| config.upstream.max_body_bytes = 1 << 16).await;
    let head = answer(SSE, "");
    let [text, event] = [chunk(0, "so it goes on. ").repeat(10), "x".repeat(10_000)].map(|text| piece(&text));
    for (first, again) in [(head.clone(), text), ([head, piece("data: ")].concat(), event)] {
        let told = async { rest(&mut proxy.stream(ask_stream("hi")).await).await };
        let feed = async { flood(raw.call().await, &first, &again).await };
        let ((text, ended), _) = tokio::join!(told, feed);
        assert!(ended && text.contains("upstream_unreadable"), "{}", &text[text.len().saturating_sub(300)..]);
    }
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_wrong_length_makes_no_answer_and_no_second_one() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    let body = completion("hello");
    let of_length = |length: usize| answer(&format!("{JSON}\r\ncontent-length: {length}"), &body);
    for length in [body.len() + 1, body.len() - 1] {
        let (told, _) = tokio::join!(proxy.post(ask("hi")), async { drop(raw.answer(of_length(length)).await) });
        assert_eq!(code(&told), failed(502, "upstream_unreadable"), "{length}");
    }
    // What follows a whole answer is not taken for the next one.
    let twice = [of_length(body.len()), of_length(body.len()).replace("hello", "from before")].concat();
    let (told, _stream) = tokio::join!(proxy.post(ask("hi")), raw.answer(twice));
    assert_eq!(told.content(), "hello");
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_stream_with_a_wrong_length_breaks_off() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    let event = chunk(0, "A first sentence. ");
    let short = answer(&format!("content-type: text/event-stream\r\ncontent-length: {}", event.len() + 9), &event);
    let (mut stream, _) = tokio::join!(proxy.stream(ask_stream("hi")), async { drop(raw.answer(short).await) });
    assert_eq!(rest(&mut stream).await, (event, false));
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_broken_encoding_is_not_passed_on() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    // The beginning of what gzip makes, and what it never makes.
    for bytes in [&b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV"[..], b"danger"] {
        let head = answer(&format!("{JSON}\r\ncontent-encoding: gzip\r\ncontent-length: {}", bytes.len()), "");
        let (told, _stream) = tokio::join!(proxy.post(ask("hi")), raw.answer([head.as_bytes(), bytes].concat()));
        assert_eq!(code(&told), failed(502, "upstream_unreadable"));
    }
    let head = answer(&format!("{SSE}\r\ncontent-encoding: gzip"), "");
    let (told, _stream) = tokio::join!(proxy.post(ask_stream("hi")), raw.answer(head));
    assert_eq!(code(&told), failed(502, "upstream_unreadable"));
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_broken_event_ends_the_stream_in_an_error() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    let good = chunk(0, "A first sentence. ");
    for broken in
        ["data: {\"choices\": [{\"delta\": {\"content\": \"danger\n\n", "data: danger\n\n", "data: {}\ndata: danger\n\n"]
    {
        let events = answer(SSE, &piece(&[&good, broken].concat()));
        let (mut stream, _connection) = tokio::join!(proxy.stream(ask_stream("hi")), raw.answer(events));
        let (text, ended) = rest(&mut stream).await;
        assert!(ended && text.contains("upstream_unreadable") && !text.contains("danger"), "{broken:?}: {text}");
    }
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closed_costs_no_call() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    let body = completion("hello");
    let whole = answer(&format!("{JSON}\r\ncontent-length: {}", body.len()), &body);
    for _ in 0..20 {
        let (told, connection) = tokio::join!(proxy.post(ask("hi")), raw.answer(&whole));
        assert_eq!(told.status, StatusCode::OK);
        // As a server does whose patience with idle connections is over.
        drop(connection);
    }
}

#[tokio::test]
async fn a_call_that_the_upstream_has_had_is_not_made_again() {
    let raw = Raw::start().await;
    let proxy = raw.proxy(|_| {}).await;
    let body = completion("hello");
    let whole = answer(&format!("{JSON}\r\ncontent-length: {}", body.len()), &body);
    // On a connection that it knows, too.
    let (told, mut connection) = tokio::join!(proxy.post(ask("hi")), raw.answer(&whole));
    assert_eq!(told.status, StatusCode::OK);
    let (told, had) = tokio::join!(proxy.post(ask("hi again")), async move { request(&mut connection).await });
    assert!(had.unwrap().contains("hi again"));
    assert_eq!(code(&told), failed(502, "upstream_unreachable"));
    assert!(raw.connection().now_or_never().is_none(), "it was not tried elsewhere");
    serves(&proxy, &raw).await;
}

#[tokio::test]
async fn an_expired_certificate_is_told_by_its_name() {
    let raw = Raw::start().await;
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let certificate = params.signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = TlsAcceptor::from(std::sync::Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap()));
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let proxy = raw
        .proxy(|config| {
            config.upstream.url = format!("https://{}", raw.address);
            config.upstream.ca_file = Some(ca_file);
        })
        .await;
    let greet = async { tls.accept(raw.connection().await).await.is_err() };
    let (told, refused) = tokio::join!(proxy.post(ask("hi")), greet);
    assert!(refused, "nothing is sent to it");
    assert_eq!(code(&told), failed(502, "upstream_unreachable"));
    let why = told.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(why.contains("certificate expired"), "{why}");
}
