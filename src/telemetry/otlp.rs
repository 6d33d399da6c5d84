//! Finished spans on their way to a collector, by OTLP.
//!
//! They wait in a queue with a bound and leave together. One for which there is no room is dropped at once, and what the collector
//! does not take is not sent again: no exchange ever waits for a collector, and one that is down costs spans only. Both are
//! counted.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Uri, header,
    uri::{InvalidUri, PathAndQuery},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry::Context;
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, client::Grpc, metadata::MetadataMap};
use tonic_prost::ProstCodec;

use crate::{
    config::{Otlp, OtlpProtocol},
    connect::{self, Connector, Misconfigured, Version, address, connector, root},
};

/// Where the settings stand.
const SECTION: &str = "telemetry.otlp";
/// Where collectors take traces: over HTTP, and over gRPC.
const PATHS: [&str; 2] = ["/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"];
/// Spans that wait. Each has a kilobyte or two.
const QUEUE: usize = 4_096;
/// Spans that leave together, and how long the first of them waits for the others.
const BATCH: usize = 512;
const LINGER: Duration = Duration::from_secs(1);
/// Longest time that the collector has for them.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer of a collector, in bytes: a few words.
const ANSWER: usize = 64 << 10;

/// What became of spans.
#[derive(Debug, Default)]
pub struct Sent {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Sent {
    /// How many so far, by outcome.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        [("sent", &self.sent), ("failed", &self.failed), ("dropped", &self.dropped)]
            .map(|(name, count)| (name, count.load(Relaxed)))
    }
}

/// The way in.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    counts: Arc<Sent>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The way out: sends spans while [`Exporter::run`] runs.
pub struct Exporter {
    spans: mpsc::Receiver<SpanData>,
    resource: ResourceAttributesWithSchema,
    wire: Wire,
    headers: HeaderMap,
    counts: Arc<Sent>,
    /// Why the collector did not take the last ones.
    away: Option<String>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("wire", &self.wire).finish_non_exhaustive()
    }
}

/// How the collector is spoken to, and where it is.
#[derive(Debug)]
enum Wire {
    Http(Client<Connector, Full<Bytes>>, Uri),
    Grpc(Client<Connector, Body>, Uri, PathAndQuery),
}

impl Exporter {
    /// The two ends of the way to the collector of these settings; `None` if they name none.
    pub(super) fn new(settings: &Otlp) -> Result<Option<(Queue, Self)>, Misconfigured> {
        let Some(endpoint) = settings.address() else { return Ok(None) };
        let mut headers = HeaderMap::new();
        for (name, secret) in &settings.headers {
            let named = secret.value().and_then(|value| connect::header(name, &value));
            let (name, value) = named.map_err(|why| Misconfigured(format!("`{SECTION}.headers.{name}`: {why}")))?;
            headers.insert(name, value);
        }
        let wire = Wire::new(settings, &endpoint)?;
        let ((sender, spans), counts) = (mpsc::channel(QUEUE), Arc::<Sent>::default());
        let queue = Queue { spans: sender, counts: Arc::clone(&counts) };
        let resource = (&resource()).into();
        Ok(Some((queue, Self { spans, resource, wire, headers, counts, away: None })))
    }

    /// What becomes of spans.
    #[must_use]
    pub fn counts(&self) -> Arc<Sent> {
        Arc::clone(&self.counts)
    }

    /// Sends spans until `stop`, and then what still waits.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch, &stop).await {
            let spans = std::mem::take(&mut batch);
            self.send(spans).await;
        }
    }

    /// Waits for spans to send together; false once there are none left.
    async fn gather(&mut self, batch: &mut Vec<SpanData>, stop: &CancellationToken) -> bool {
        let first = stop.run_until_cancelled(self.spans.recv_many(batch, BATCH)).await;
        if first.is_none() {
            // Whoever makes spans may be there still: nothing that comes later is waited for.
            self.spans.close();
            return self.spans.recv_many(batch, BATCH).await > 0;
        }
        let others = async {
            loop {
                let room = BATCH - batch.len();
                // It takes none where there is no room.
                if self.spans.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        tokio::select! {
            () = others => {}
            () = sleep(LINGER) => {}
            () = stop.cancelled() => {}
        }
        !batch.is_empty()
    }

    async fn send(&mut self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        let request = ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(spans, &self.resource) };
        let sent = timeout(DEADLINE, self.wire.send(request, self.headers.clone())).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("it did not answer within {} s", DEADLINE.as_secs())));
        let failed = match &sent {
            Ok(refused) => count.min(*refused),
            Err(_) => count,
        };
        self.counts.sent.fetch_add(count - failed, Relaxed);
        self.counts.failed.fetch_add(failed, Relaxed);
        match (sent, self.away.take()) {
            (Ok(_), Some(_)) => tracing::info!("the collector takes traces again"),
            (Ok(_), None) => {}
            (Err(why), before) => {
                if before.is_none() {
                    tracing::warn!(why, "the collector does not take traces; they are lost until it does");
                }
                self.away = Some(why);
            }
        }
    }
}

impl Wire {
    fn new(settings: &Otlp, endpoint: &str) -> Result<Self, Misconfigured> {
        let base = address(endpoint, SECTION, "endpoint")?;
        let reached = connect::Settings {
            section: SECTION,
            secure: base.scheme_str() == Some("https"),
            ca_file: settings.ca_file.as_deref(),
            client: [None, None],
            timeout: DEADLINE,
        };
        let mut builder = Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        let [http, grpc] = PATHS;
        let wrong = |e: InvalidUri| Misconfigured(format!("`{SECTION}.endpoint` {endpoint}: {e}"));
        Ok(match settings.protocol {
            OtlpProtocol::HttpProtobuf => {
                let base = endpoint.trim_end_matches('/');
                let uri = if base.ends_with(http) { base.parse() } else { format!("{base}{http}").parse() };
                Self::Http(builder.build(connector(reached, Version::Http1)?), uri.map_err(wrong)?)
            }
            OtlpProtocol::Grpc => {
                builder.http2_only(true);
                let path = grpc.parse().map_err(wrong)?;
                Self::Grpc(builder.build(connector(reached, Version::Http2)?), base, path)
            }
        })
    }

    /// How many of the spans the collector refused.
    async fn send(&self, request: ExportTraceServiceRequest, headers: HeaderMap) -> Result<u64, String> {
        let answer: ExportTraceServiceResponse = match self {
            Self::Http(client, uri) => {
                let mut post =
                    Request::post(uri.clone()).body(Full::from(request.encode_to_vec())).map_err(|e| e.to_string())?;
                *post.headers_mut() = headers;
                post.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                let answer = client.request(post).await.map_err(|e| root(&e))?;
                let status = answer.status();
                let body = Limited::new(answer.into_body(), ANSWER).collect().await.map_err(|e| e.to_string())?;
                if !status.is_success() {
                    return Err(format!("it answered {status}"));
                }
                // Some collectors answer with words.
                ExportTraceServiceResponse::decode(body.to_bytes()).unwrap_or_default()
            }
            Self::Grpc(client, uri, path) => {
                let mut client = Grpc::with_origin(client.clone(), uri.clone());
                client.ready().await.map_err(|e| e.to_string())?;
                let mut call = tonic::Request::new(request);
                *call.metadata_mut() = MetadataMap::from_headers(headers);
                let codec = ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceResponse>::default();
                let answer = client.unary(call, path.clone(), codec).await;
                answer.map_err(|status| format!("it answered {:?}: {}", status.code(), status.message()))?.into_inner()
            }
        };
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or_default())
    }
}

/// What is said of this process; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say it otherwise or add to it.
fn resource() -> Resource {
    let own = Resource::builder().with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let told = Resource::builder().build().get(&"service.name".into());
    match told {
        Some(name) if !name.as_str().starts_with("unknown_service") => own.build(),
        _ => own.with_service_name(env!("CARGO_PKG_NAME")).build(),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    #[test]
    fn spans_without_room_are_dropped_at_once() {
        let (counts, (spans, mut waiting)) = (Arc::<Sent>::default(), mpsc::channel(1));
        let queue = Queue { spans, counts: Arc::clone(&counts) };
        let tracer = SdkTracerProvider::builder().with_span_processor(queue).build().tracer("tests");
        for name in ["first", "second", "third"] {
            drop(tracer.start(name));
        }
        assert_eq!(counts.counts(), [("sent", 0), ("failed", 0), ("dropped", 2)]);
        assert_eq!(waiting.try_recv().unwrap().name, "first");
    }

    #[test]
    fn the_path_is_put_behind_the_address_once() {
        for (endpoint, uri) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("http://c/otlp", "http://c/otlp/v1/traces"),
            ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
        ] {
            let Ok(Wire::Http(_, told)) = Wire::new(&Otlp::default(), endpoint) else { panic!("{endpoint}") };
            assert_eq!(told, uri);
        }
        let told = Wire::new(&Otlp::default(), "collector:4318").unwrap_err().to_string();
        assert!(told.starts_with("`telemetry.otlp.endpoint` collector:4318: must be http://"), "{told}");
    }
}
