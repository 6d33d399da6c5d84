//! A collector of traces, as OpenTelemetry's is spoken to: OTLP over HTTP and over gRPC.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use seawall::config::{Config, OtlpProtocol};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};

/// The kinds of spans of exchanges, and of calls to upstreams.
pub(super) const SERVER: i32 = 2;
pub(super) const CLIENT: i32 = 3;

pub(super) struct Collector {
    pub(super) address: SocketAddr,
    calls: Mutex<mpsc::UnboundedReceiver<Call>>,
}

/// What it was sent at once.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) request: ExportTraceServiceRequest,
}

/// A span, its ids in hexadecimal and its attributes as text.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) kind: i32,
    pub(super) is_error: bool,
    pub(super) times: [u64; 2],
    pub(super) says: BTreeMap<String, String>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request| answer(request, sender.clone()));
                tokio::spawn(async move {
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
        Self { address, calls: Mutex::new(calls) }
    }

    /// Has a proxy send its traces here.
    pub(super) fn takes(&self, protocol: OtlpProtocol) -> impl FnOnce(&mut Config) + use<> {
        let endpoint = format!("http://{}", self.address);
        move |config| {
            config.telemetry.otlp.endpoint = Some(endpoint);
            config.telemetry.otlp.protocol = protocol;
        }
    }

    /// What it is sent up to an exchange's span, which comes after all that are in it.
    pub(super) async fn exchange(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        loop {
            let call = self.calls.lock().await.recv().await.unwrap();
            let is_last = call.spans().iter().any(|span| span.kind == SERVER);
            calls.push(call);
            if is_last {
                return calls;
            }
        }
    }
}

impl Call {
    pub(super) fn spans(&self) -> Vec<Told> {
        let scopes = self.request.resource_spans.iter().flat_map(|spans| &spans.scope_spans);
        scopes.flat_map(|scope| &scope.spans).map(Told::of).collect()
    }
}

impl Told {
    fn of(span: &Span) -> Self {
        let says = |(key, value): (&String, &Option<AnyValue>)| (key.clone(), text(value.as_ref().unwrap()));
        Self {
            trace: HEXLOWER.encode(&span.trace_id),
            id: HEXLOWER.encode(&span.span_id),
            parent: HEXLOWER.encode(&span.parent_span_id),
            name: span.name.clone(),
            kind: span.kind,
            is_error: span.status.as_ref().is_some_and(|status| status.code == 2),
            times: [span.start_time_unix_nano, span.end_time_unix_nano],
            says: span.attributes.iter().map(|attribute| (&attribute.key, &attribute.value)).map(says).collect(),
        }
    }

    pub(super) fn says(&self, key: &str) -> &str {
        self.says.get(key).map_or("", String::as_str)
    }
}

fn text(value: &AnyValue) -> String {
    match value.value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(is) => is.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::ArrayValue(array) => array.values.iter().map(text).collect::<Vec<_>>().join(","),
        other => panic!("{other:?}"),
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, calls: mpsc::UnboundedSender<Call>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let is_grpc = head.headers["content-type"] == "application/grpc";
    // gRPC puts a byte and a length before each message.
    let message = if is_grpc { body.slice(5..) } else { body };
    let request = ExportTraceServiceRequest::decode(message).unwrap();
    drop(calls.send(Call { path: head.uri.path().to_owned(), headers: head.headers, request }));
    let frames = if is_grpc {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        vec![Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))]
    } else {
        Vec::new()
    };
    let kind = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    Ok(Response::builder().header("content-type", kind).body(body).unwrap())
}
