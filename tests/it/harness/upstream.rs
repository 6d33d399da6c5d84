//! An upstream that does as it is told: every call waits until the test answers it.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Response, Uri};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, oneshot},
};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    calls: Mutex<mpsc::UnboundedReceiver<Call>>,
}

/// A call that waits for its answer.
pub(crate) struct Call {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    answer: oneshot::Sender<Response<Body>>,
}

/// The pieces of an answer, sent when the test sends them.
pub(crate) struct Pieces(mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>);

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let sender = sender.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let (answer, answered) = oneshot::channel();
                        sender.send(Call { uri: head.uri, headers: head.headers, body, answer }).ok().unwrap();
                        Ok::<_, Infallible>(answered.await.unwrap_or_else(|_| Response::new(full(""))))
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, calls: Mutex::new(calls) }
    }

    /// The next call.
    pub(crate) async fn call(&self) -> Call {
        self.calls.lock().await.recv().await.unwrap()
    }

    /// Whether a call has come that no test has taken.
    pub(crate) async fn is_idle(&self) -> bool {
        self.calls.lock().await.is_empty()
    }
}

impl Call {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// Answers whole, as JSON.
    pub(crate) fn answer(self, status: u16, body: impl Into<Bytes>) {
        self.answer_as(status, &[("content-type", "application/json")], body);
    }

    pub(crate) fn answer_as(self, status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) {
        drop(self.answer.send(response(status, headers, full(body))));
    }

    /// Begins a stream of events.
    pub(crate) fn stream(self) -> Pieces {
        self.stream_as("text/event-stream")
    }

    pub(crate) fn stream_as(self, content_type: &str) -> Pieces {
        let (sender, receiver) = mpsc::channel(1);
        let body = StreamBody::new(futures_util::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
            receiver.recv().await.map(|piece| (piece, receiver))
        }));
        drop(self.answer.send(response(200, &[("content-type", content_type)], body.boxed_unsync())));
        Pieces(sender)
    }
}

impl Pieces {
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) {
        // A proxy that has let go of the call reads no more.
        drop(self.0.send(Ok(Frame::data(bytes.into()))).await);
    }

    /// Breaks off as a server that dies does.
    pub(crate) async fn break_off(self) {
        self.0.send(Err(std::io::Error::other("gone"))).await.unwrap();
    }

    /// Waits until the proxy has let go of the call.
    pub(crate) async fn abandoned(&self) {
        self.0.closed().await;
    }
}

fn response(status: u16, headers: &[(&'static str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap()
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}
