//! Starting, stopping, and a guard that fails.

use http::StatusCode;
use tokio::net::TcpStream;

use crate::harness::{Proxy, RULES, ask, ask_stream, chunk, finish, told};

#[tokio::test]
async fn a_stop_lets_streams_finish() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "A first sentence. ")).await;
    stream.next().await.unwrap().unwrap();
    proxy.stop.cancel();
    // The listener is closed once connecting fails; only then is the stream known to outlive it.
    while TcpStream::connect(proxy.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    pieces.send([chunk(0, "And a last one."), finish(0), "data: [DONE]\n\n".to_owned()].concat()).await;
    drop(pieces);
    assert_eq!(told(&stream.chunks().await, 0), ("And a last one.".to_owned(), Some("stop".to_owned())));
    drop(stream);
    proxy.running.await.unwrap();
}

#[tokio::test]
async fn a_guard_without_time_refuses_rather_than_passes() {
    let proxy = Proxy::with(RULES, |config| config.guard.deadline_ms = 0).await;
    let answer = proxy.post(ask("hello")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(answer.json()["error"]["code"], "guard_unavailable");
    assert!(proxy.upstream.is_idle().await);
}

#[tokio::test]
async fn the_listener_is_ready_when_it_answers() {
    let proxy = Proxy::start().await;
    let answer = proxy.admin("/readyz").await;
    assert_eq!((answer.json()["ready"].as_bool(), answer.json()["policies"][0].as_str()), (Some(true), Some("tests")));
}
