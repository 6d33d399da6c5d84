//! Health and readiness, as a load balancer sees them.

use http::StatusCode;

use crate::harness::{Proxy, ask_stream, chunk, finish, told};

#[tokio::test]
async fn a_proxy_that_stops_is_alive_and_not_ready() {
    let proxy = Proxy::start().await;
    assert_eq!(proxy.admin("/healthz").await.status, StatusCode::OK);
    let ready = proxy.admin("/readyz").await;
    assert_eq!((ready.status, ready.json()["draining"].as_bool()), (StatusCode::OK, Some(false)));
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "A first sentence. ")).await;
    stream.next().await.unwrap().unwrap();
    proxy.stop.cancel();
    let ready = proxy.admin("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((ready.json()["ready"].as_bool(), ready.json()["draining"].as_bool()), (Some(false), Some(true)));
    assert_eq!(proxy.admin("/healthz").await.status, StatusCode::OK, "what is under way is to end in peace");
    assert_eq!(proxy.metric("seawall_calls").await, 1);
    pieces.send([chunk(0, "And a last one."), finish(0), "data: [DONE]\n\n".to_owned()].concat()).await;
    drop(pieces);
    assert_eq!(told(&stream.chunks().await, 0).1.as_deref(), Some("stop"));
    drop(stream);
    proxy.running.await.unwrap();
}
