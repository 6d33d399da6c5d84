//! What an attacker sends: shapes that servers read differently, ways to other hosts, headers that lie, and clients that take
//! nothing of their answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    architecture::sources,
    harness::{Answer, Call, Proxy, RULES, ask, completion},
    reload::until,
};

const CHAT: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";

/// A whole request with these lines in its head, and this body.
fn request(head: &str, lines: &str, body: &str) -> Vec<u8> {
    format!("{head}{lines}\r\n{body}").into_bytes()
}

#[tokio::test]
async fn lengths_that_servers_read_differently_are_refused() {
    let proxy = Proxy::start().await;
    for lines in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2, 3\r\n",
        "content-length: +2\r\n",
        "content-length: 0x2\r\n",
        "content-length: -2\r\n",
        "content-length : 2\r\n",
        "content-length: 2\r\n folded: 1\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n",
    ] {
        let told = proxy.raw(&request(CHAT, lines, "{}")).await;
        assert!(told.starts_with("HTTP/1.1 400 "), "{lines:?}: {told}");
    }
    let old = CHAT.replace("HTTP/1.1", "HTTP/1.0");
    let told = proxy.raw(&request(&old, "transfer-encoding: chunked\r\n", "0\r\n\r\n")).await;
    assert!(told.starts_with("HTTP/1.0 400 ") || told.starts_with("HTTP/1.1 400 "), "{told}");
    for chunks in ["2;\u{0}\r\n{}\r\n0\r\n\r\n", "+2\r\n{}\r\n0\r\n\r\n", "2\r\n{}XX0\r\n\r\n", "ffffffffffffffffff\r\n{}"] {
        let told = proxy.raw(&request(CHAT, "connection: close\r\ntransfer-encoding: chunked\r\n", chunks)).await;
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 400 "), "{chunks:?}: {told}");
    }
    assert!(proxy.upstream.is_idle().await, "nothing of it leaves");
}

/// RFC 9112, 6.1: where both stand the chunks count, and nothing more is read from that connection.
#[tokio::test]
async fn what_follows_a_request_with_both_lengths_is_no_request() {
    let proxy = Proxy::start().await;
    let hidden = String::from_utf8(request(CHAT, "content-length: 2\r\n", "{}")).unwrap();
    let body = format!("2\r\n{{}}\r\n0\r\n\r\n{hidden}");
    for lines in [
        format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", body.len()),
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n".to_owned(),
    ] {
        let told = timeout(Duration::from_secs(5), proxy.raw(&request(CHAT, &lines, &body))).await;
        assert_eq!(told.map(|told| told.matches("HTTP/1.1 ").count()), Ok(1), "one answer, and the connection is closed");
    }
}

#[tokio::test]
async fn a_request_with_two_hosts_is_refused() {
    let proxy = Proxy::start().await;
    let told = proxy.raw(&request(CHAT, "host: y\r\nconnection: close\r\ncontent-length: 2\r\n", "{}")).await;
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("\"ambiguous_host\""), "{told}");
}

/// Sends a request as it is written, and answers the call that the upstream gets.
async fn called(proxy: &Proxy, head: &str) -> (String, http::HeaderMap) {
    let body = ask("hi");
    let lines = format!("connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let sent = request(head, &lines, &body);
    let (told, got) = tokio::join!(proxy.raw(&sent), async {
        let call: Call = proxy.upstream.call().await;
        let got = (call.uri.to_string(), call.headers.clone());
        call.answer(200, completion("hello"));
        got
    });
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    got
}

#[tokio::test]
async fn no_client_chooses_the_server_that_is_called() {
    let proxy = Proxy::start().await;
    let own = HeaderValue::from_str(&proxy.upstream.address.to_string()).unwrap();
    for head in [
        "POST http://evil.example/v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\n",
        "POST https://a:b@evil.example:1/v1/chat/completions HTTP/1.1\r\nhost: x\r\n",
        "POST /@evil.example/v1/chat/completions HTTP/1.1\r\nhost: a@evil.example\r\n",
        "POST /http:/evil.example/v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\n",
        "POST /v1/chat/completions?url=http://evil.example/ HTTP/1.1\r\nhost: evil.example:80\r\nx-forwarded-host: evil.example\r\n",
    ] {
        let (uri, headers) = called(&proxy, head).await;
        assert!(uri.starts_with('/') && headers["host"] == own, "{head}: {uri}");
        assert!(!headers.contains_key("x-forwarded-host"));
    }
    for (head, status) in [
        ("POST //evil.example/v1/chat/completions HTTP/1.1\r\nhost: x\r\n", 400),
        ("POST /..//evil.example/v1/chat/completions HTTP/1.1\r\nhost: x\r\n", 400),
        ("POST /v1/../admin/v1/chat/completions HTTP/1.1\r\nhost: x\r\n", 400),
        ("POST /v1/%2e%2e/v1/chat/completions HTTP/1.1\r\nhost: x\r\n", 400),
        ("CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n", 404),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\n", 404),
        ("GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n", 404),
        ("TRACE /v1/models HTTP/1.1\r\nhost: x\r\n", 404),
    ] {
        let told = proxy.raw(&request(head, "connection: close\r\ncontent-length: 0\r\n", "")).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {told}");
    }
    assert!(proxy.upstream.is_idle().await);
}

#[tokio::test]
async fn a_redirect_leads_no_client_past_seawall() {
    let proxy = Proxy::start().await;
    let chat = || proxy.request(Method::POST, "/v1/chat/completions", ask("hi"));
    let list = || proxy.request(Method::GET, "/v1/models", "");
    for (asked, status) in [(chat(), 307), (chat(), 301), (list(), 308)] {
        let (answer, ()) = tokio::join!(async { Answer::read(proxy.send(asked).await).await }, async {
            let call = proxy.upstream.call().await;
            call.answer_as(
                status,
                &[("location", "https://user:pw@evil.example/"), ("content-type", "application/json")],
                "{}",
            );
        });
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (StatusCode::BAD_GATEWAY, Some("upstream_redirects"))
        );
        assert!(!answer.headers.contains_key("location") && !String::from_utf8_lossy(&answer.body).contains("evil.example"));
    }
    let (answer, ()) = tokio::join!(async { Answer::read(proxy.send(list()).await).await }, async {
        proxy.upstream.call().await.answer_as(304, &[("etag", "\"1\"")], "");
    });
    assert_eq!((answer.status, answer.header("etag")), (StatusCode::NOT_MODIFIED, "\"1\""));
}

#[tokio::test]
async fn what_belongs_to_one_connection_crosses_in_neither_direction() {
    let proxy = Proxy::start().await;
    let mut asked = proxy.request(Method::POST, "/v1/chat/completions", ask("hi"));
    for (name, value) in [
        ("connection", "x-hop, keep-alive"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic x"),
        ("x-forwarded-for", "127.0.0.1"),
        ("seawall-decision", "allow"),
        ("x-kept", "1"),
    ] {
        asked.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let (answer, ()) = tokio::join!(async { Answer::read(proxy.send(asked).await).await }, async {
        let call = proxy.upstream.call().await;
        for name in ["x-hop", "te", "proxy-authorization", "x-forwarded-for", "seawall-decision", "connection"] {
            assert!(!call.headers.contains_key(name), "{name}");
        }
        assert_eq!(call.headers["x-kept"], "1");
        let headers = [
            ("content-type", "application/json"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("alt-svc", "h3=\":443\""),
            ("proxy-authenticate", "Basic"),
            ("seawall-decision", "block"),
            ("x-kept", "1"),
        ];
        call.answer_as(200, &headers, completion("hello"));
    });
    for name in ["x-hop", "alt-svc", "proxy-authenticate"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert_eq!((answer.header("x-kept"), answer.header("seawall-decision")), ("1", "allow"));
    assert_eq!(answer.headers.get_all("seawall-decision").iter().count(), 1);
}

#[tokio::test]
async fn heads_and_bodies_have_their_bounds() {
    let proxy = Proxy::with(RULES, |config| config.listen.max_header_bytes = 16_384).await;
    let many = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    assert!(proxy.raw(&request(CHAT, &many, "")).await.starts_with("HTTP/1.1 431 "), "many headers");
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n", "a".repeat(20_000));
    let told = proxy.raw(&request(&long, "", "")).await;
    assert!(told.starts_with("HTTP/1.1 431 ") || told.starts_with("HTTP/1.1 414 "), "a long path: {told}");
    let deep = format!("{{\"model\":\"m\",\"messages\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let answer = proxy.post(deep).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (StatusCode::BAD_REQUEST, Some("malformed_request")));
    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let running = tokio::spawn(connection);
    let large = Request::get("http://x/v1/models").header("x", "y".repeat(20_000)).body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(large).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    running.abort();
    assert!(proxy.upstream.is_idle().await);
}

/// More than the system takes in for a client that does not read.
fn much() -> String {
    completion("hello") + &" ".repeat(12 << 20)
}

async fn has_room(proxy: &Proxy) -> bool {
    tokio::select! {
        answer = proxy.post(ask("another")) => answer.status == StatusCode::OK,
        call = proxy.upstream.call() => { call.answer(200, completion("hello")); true }
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let proxy = Proxy::with(RULES, |config| {
        config.listen.max_calls = 1;
        config.listen.write_timeout_ms = 200;
    })
    .await;
    let body = ask("hi");
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(&request(CHAT, &format!("content-length: {}\r\n", body.len()), &body)).await.unwrap();
    proxy.upstream.call().await.answer(200, much());
    until("its place is free", async || has_room(&proxy).await).await;
    let mut told = Vec::new();
    drop(client.read_to_end(&mut told).await);
    assert!(told.starts_with(b"HTTP/1.1 200 ") && told.len() < much().len(), "it breaks off");

    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let _running = tokio::spawn(connection);
    let asked = Request::post("http://x/v1/chat/completions").header("content-type", "application/json");
    let (answer, ()) = tokio::join!(sender.send_request(asked.body(Full::<Bytes>::from(body)).unwrap()), async {
        proxy.upstream.call().await.answer(200, much());
    });
    let answer = answer.unwrap();
    until("its place is free with HTTP/2 too", async || has_room(&proxy).await).await;
    assert!(answer.into_body().collect().await.is_err(), "it breaks off");
}

#[tokio::test]
async fn a_client_that_reads_slowly_has_all_of_its_answer() {
    let proxy = Proxy::with(RULES, |config| config.listen.write_timeout_ms = 1_000).await;
    let body = ask("hi");
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let lines = format!("connection: close\r\ncontent-length: {}\r\n", body.len());
    client.write_all(&request(CHAT, &lines, &body)).await.unwrap();
    proxy.upstream.call().await.answer(200, much());
    let (mut told, mut piece) = (0, vec![0; 128 << 10]);
    // For longer than the time-out in all.
    loop {
        match client.read(&mut piece).await.unwrap() {
            0 => break,
            read => told += read,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(told > much().len(), "{told}");
}

/// The threat model names its tests.
#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("deploy/docs/security.md")).unwrap();
    let mut files = Vec::new();
    ["src", "tests/it"].into_iter().for_each(|dir| sources(&root.join(dir), &mut files));
    let code: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let names: Vec<&str> =
        page.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit(" | ").next()).flat_map(quoted).collect();
    assert!(names.len() > 40, "the tables are read");
    let missing: Vec<&&str> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What stands in code marks, if that could be a test's name.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|name| name.contains('_'))
}
