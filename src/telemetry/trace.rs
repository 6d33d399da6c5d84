//! Traces by OpenTelemetry: an exchange's span, with its place in the client's trace, and the spans within it.
//!
//! What they tell is up to those who make them. A span leaves for the collector ([`super::otlp`]) when it is dropped.

use std::{fmt, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::{
    Context, KeyValue, Value,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan},
};

use super::otlp::Exporter;
use crate::{config::Otlp, connect::Misconfigured};

/// The headers of W3C's trace context.
static TRACE_CONTEXT: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];
/// Most spans within an exchange's: a stream can have thousands of checks.
const MOST: usize = 64;
/// Longest text of an attribute, in bytes: clients choose some of them.
const LONGEST: usize = 128;

/// Begins the traces of exchanges. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Traces {
    tracer: SdkTracer,
}

/// An exchange's part of a trace: its span, and the spans within it.
pub struct Trace {
    tracer: SdkTracer,
    /// Holds the exchange's span.
    context: Context,
    /// Spans begun within it.
    spans: usize,
}

/// A span within an exchange's.
#[derive(Debug)]
pub struct Span(SdkSpan);

impl Traces {
    /// Traces that go to the collector of these settings; `None` if they name none.
    ///
    /// # Errors
    /// A collector that cannot be reached with these settings.
    pub fn new(settings: &Otlp) -> Result<Option<(Self, Exporter)>, Misconfigured> {
        let Some((queue, exporter)) = Exporter::new(settings)? else { return Ok(None) };
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.ratio)));
        let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(queue).build();
        Ok(Some((Self { tracer: provider.tracer(env!("CARGO_PKG_NAME")) }, exporter)))
    }

    /// The trace of an exchange that begins now: the client's, if its headers name one, else a new one.
    #[must_use]
    pub fn begin(&self, method: &Method, headers: &HeaderMap) -> Trace {
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Carried(headers));
        let method = verb(method);
        let told = [KeyValue::new("http.request.method", method)];
        let builder = SpanBuilder::from_name(method).with_kind(SpanKind::Server).with_attributes(told);
        let span = self.tracer.build_with_context(builder, &parent);
        Trace { tracer: self.tracer.clone(), context: parent.with_span(span), spans: 0 }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trace").field(&self.id()).finish()
    }
}

impl Trace {
    /// Its id, as logs tell it.
    #[must_use]
    pub fn id(&self) -> String {
        self.context.span().span_context().trace_id().to_string()
    }

    /// The time, if the trace is kept: what begins now can become a span.
    #[must_use]
    pub fn now(&self) -> Option<SystemTime> {
        self.context.span().is_recording().then(SystemTime::now)
    }

    /// Names the exchange's span.
    pub fn name(&self, name: String) {
        self.context.span().update_name(name);
    }

    /// Says something of the exchange.
    pub fn say(&self, key: &'static str, value: impl Into<Value>) {
        self.context.span().set_attribute(KeyValue::new(key, short(value.into())));
    }

    /// The exchange failed for a reason that lies behind the client.
    pub fn fails(&self) {
        self.context.span().set_status(Status::error(""));
    }

    /// Begins the span of a call to another server, which is told of it in the call's headers.
    #[must_use]
    pub fn call(&mut self, mut name: String, headers: &mut HeaderMap) -> Span {
        name.truncate(name.floor_char_boundary(LONGEST));
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Client);
        let span = self.tracer.build_with_context(builder, &self.context);
        self.spans += 1;
        for name in &TRACE_CONTEXT {
            headers.remove(name);
        }
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        TraceContextPropagator::new().inject_context(&context, &mut Carrier(headers));
        Span(span)
    }

    /// A span of what has been done since then. Of very many the first are told.
    pub fn did(&mut self, name: &'static str, since: SystemTime) -> Option<Span> {
        self.spans += 1;
        let builder = SpanBuilder::from_name(name).with_start_time(since);
        (self.spans <= MOST).then(|| Span(self.tracer.build_with_context(builder, &self.context)))
    }
}

impl Span {
    /// Says something of what is done in it.
    pub fn say(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, short(value.into())));
    }

    /// It failed.
    pub fn fails(&mut self) {
        self.0.set_status(Status::error(""));
    }

    /// Whether anything that is said of it is kept.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.is_recording()
    }
}

/// A method's name; one that a client made up has none.
#[must_use]
pub fn verb(method: &Method) -> &'static str {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    known.into_iter().find(|known| method == known).unwrap_or("_OTHER")
}

/// A value whose text is not longer than a name needs to be.
fn short(value: Value) -> Value {
    match value {
        Value::String(text) if text.as_str().len() > LONGEST => {
            let mut text = String::from(text);
            text.truncate(text.floor_char_boundary(LONGEST));
            text.into()
        }
        short => short,
    }
}

struct Carried<'h>(&'h HeaderMap);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Carrier<'h>(&'h mut HeaderMap);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::from_str(&value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}
