//! Certificates that change, in files, while clients are connected.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use seawall::config::ClientAuth;
use std::fs;

use crate::{
    harness::{Proxy, RULES, ask, ask_stream, chunk, completion, finish},
    identity::mtls::{Authority, is_closed},
    reload::until,
};

async fn client(authority: &Authority, proxy: &Proxy) -> SendRequest<Full<Bytes>> {
    let io = TokioIo::new(authority.connect(proxy.address, None, b"h2").await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    drop(tokio::spawn(connection));
    sender
}

async fn send(client: &mut SendRequest<Full<Bytes>>, body: String) -> http::Response<Incoming> {
    let request = Request::post("https://localhost/v1/chat/completions").header("content-type", "application/json");
    client.send_request(request.body(Full::from(body)).unwrap()).await.unwrap()
}

/// A proxy with the certificate of this authority.
async fn proxy(authority: &Authority, client_auth: Option<ClientAuth>) -> Proxy {
    Proxy::with(RULES, |config| config.listen.tls = Some(authority.tls(client_auth))).await
}

async fn serves(authority: &Authority, proxy: &Proxy) -> bool {
    authority.connect(proxy.address, None, b"h2").await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_greets_new_clients_and_no_connection_is_dropped() {
    let (old, new) = (Authority::new(), Authority::new());
    let proxy = proxy(&old, Some(ClientAuth::Optional)).await;
    let mut early = client(&old, &proxy).await;
    let (stream, pieces) = tokio::join!(send(&mut early, ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "A first sentence. ")).await;
    let mut body = stream.into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert!(!serves(&new, &proxy).await);
    new.takes_the_place_of(&old);
    until("the new certificate is served", async || serves(&new, &proxy).await).await;
    assert!(!serves(&old, &proxy).await, "the old one is not");
    pieces.send([chunk(0, "And a last one."), finish(0), "data: [DONE]\n\n".to_owned()].concat()).await;
    drop(pieces);
    assert!(body.collect().await.unwrap().to_bytes().ends_with(b"data: [DONE]\n\n"), "the stream ends as it should");
    let (answer, ()) = tokio::join!(send(&mut early, ask("hi again")), async {
        proxy.upstream.call().await.answer(200, completion("hello"));
    });
    assert_eq!(answer.status(), StatusCode::OK, "its connection goes on");
    assert_eq!(proxy.metric("seawall_certificate_stale{listener=\"listen\"}").await, 0);
    let ends = proxy.metric("seawall_certificate_expires_timestamp_seconds{listener=\"listen\"}").await;
    let told = proxy.admin("/readyz").await.json()["certificates"]["listen"]["expires"].as_str().unwrap().to_owned();
    assert_eq!(told.parse::<Timestamp>().unwrap().as_second().cast_unsigned(), ends);
    assert!(proxy.metric("seawall_certificate_reloads_total{listener=\"listen\",outcome=\"changed\"}").await >= 1);
}

#[tokio::test]
async fn a_broken_file_keeps_the_certificate_and_says_so_until_it_is_mended() {
    let (old, new) = (Authority::new(), Authority::new());
    let proxy = proxy(&old, Some(ClientAuth::Optional)).await;
    let stale = async || proxy.metric("seawall_certificate_stale{listener=\"listen\"}").await;
    fs::write(old.file("cert.pem"), "-----BEGIN NOTHING-----\n").unwrap();
    until("it is refused", async || stale().await == 1).await;
    assert!(serves(&old, &proxy).await);
    let ready = proxy.admin("/readyz").await;
    let told = ready.json()["certificates"]["listen"]["error"].as_str().unwrap_or_default().to_owned();
    assert!(ready.status == StatusCode::OK && told.starts_with("`listen.tls.cert_file` "), "{told}");
    // A certificate whose key is another's.
    fs::copy(new.file("cert.pem"), old.file("cert.pem")).unwrap();
    let told = async || proxy.admin("/readyz").await.json()["certificates"]["listen"]["error"].to_string();
    until("the keys are told to differ", async || told().await.contains("KeyMismatch")).await;
    assert!(serves(&old, &proxy).await && !serves(&new, &proxy).await);
    fs::copy(new.file("key.pem"), old.file("key.pem")).unwrap();
    until("it is mended", async || stale().await == 0).await;
    assert!(serves(&new, &proxy).await);
    assert!(proxy.admin("/readyz").await.json()["certificates"]["listen"].get("error").is_none());
}

#[tokio::test]
async fn other_authorities_vouch_for_clients_at_once() {
    let (old, new) = (Authority::new(), Authority::new());
    let proxy = proxy(&old, None).await;
    let lets_in = async |by: &Authority| {
        let connected = old.connect(proxy.address, by.client("urn:app"), b"http/1.1").await;
        let Ok(stream) = connected else { return false };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let asked = Request::get("/nowhere").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
        let running = tokio::spawn(connection);
        let answer = sender.send_request(asked).await;
        running.abort();
        answer.is_ok_and(|answer| answer.status() == StatusCode::NOT_FOUND)
    };
    assert!(lets_in(&old).await && !lets_in(&new).await);
    fs::copy(new.file("ca.pem"), old.file("ca.pem")).unwrap();
    until("the other authority vouches", async || lets_in(&new).await).await;
    assert!(!lets_in(&old).await, "the old one vouches for nobody any more");
    assert!(is_closed(old.connect(proxy.address, None, b"http/1.1").await).await, "one must be shown all the same");
}

#[tokio::test]
async fn operators_are_greeted_with_a_new_one_too() {
    let (old, new) = (Authority::new(), Authority::new());
    let proxy = Proxy::with(RULES, |config| config.admin.tls = Some(old.tls(Some(ClientAuth::Optional)))).await;
    let serves = async |authority: &Authority| authority.connect(proxy.admin, None, b"http/1.1").await.is_ok();
    assert!(serves(&old).await && !serves(&new).await);
    new.takes_the_place_of(&old);
    until("the new certificate is served", async || serves(&new).await).await;
}

#[tokio::test]
async fn clients_choose_the_protocol_among_modern_ones() {
    let authority = Authority::new();
    let proxy = proxy(&authority, Some(ClientAuth::Optional)).await;
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let stream = authority.connect(proxy.address, None, protocol).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(protocol));
        assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
    assert!(authority.connect(proxy.address, None, b"http/1.0").await.is_err(), "no protocol is left to speak");
}
