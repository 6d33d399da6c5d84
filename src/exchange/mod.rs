//! The straight line: decode, scan, decide, forward, decode, gate, decide, encode, record. Reading this file explains Seawall.

mod admit;
pub mod answer;
mod asked;
pub mod body;
mod called;
mod contain;
mod heard;
mod moderation;
mod race;
mod record;
mod returned;
mod route;
mod stream;
mod traced;
mod whole;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts, response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::{
    admit::Admitted,
    answer::{Failure, events, json},
    asked::{asked, headers},
    body::{Body, Broken, holding},
    called::Called,
    race::{acts, raced},
    record::Record,
    route::{Kind, Route},
    stream::Streamed,
};
pub use self::{contain::contained, route::Routes};
use crate::{
    config::{self, Config, Headers, Uncovered},
    dialect::{self, DIALECTS, Dialect, Refusal},
    identity::{self, Identity},
    policy::{self, Exceptions, Placeholders, Policies, Refused, Respond, Selected, Settled},
    review::Recorder,
    scan::{METER, Scanner},
    segment::{Content, Direction, last_prompt},
    telemetry::{Metrics, Trace, Traces},
    upstream::Upstream,
    wire::{
        body::{Patience, read},
        encoding,
        frame::Framing,
        header as hygiene,
        json::{Document, Malformed},
    },
};

/// All that an exchange needs; shared by all of them.
#[derive(Debug)]
pub struct Proxy {
    routes: Routes,
    scanner: Scanner,
    policies: ArcSwap<Policies>,
    exceptions: ArcSwap<Exceptions>,
    recorder: Recorder,
    /// What the record keeps of texts.
    content: config::Content,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
    identity: Identity,
    quotas: identity::Limits,
    /// Room for calls in flight.
    room: Arc<Semaphore>,
    limits: Limits,
    tasks: TaskTracker,
}

/// The rooms that a proxy is made of.
#[derive(Debug)]
pub struct Rooms {
    /// Judges text.
    pub scanner: Scanner,
    /// Decides.
    pub policies: Policies,
    /// The LLMs, and which calls go to which.
    pub routes: Routes,
    /// Keeps what was flagged.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Tells a collector, if there is one.
    pub traces: Option<Traces>,
    /// Knows callers.
    pub identity: Identity,
}

#[derive(Debug)]
struct Limits {
    calls: usize,
    request_bytes: usize,
    request_time: Duration,
    stream: config::Stream,
    headers: Headers,
    uncovered: Uncovered,
}

/// Headers of Seawall's own answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("seawall-request-id");
const DECISION: HeaderName = HeaderName::from_static("seawall-decision");
const CACHE: HeaderName = HeaderName::from_static("seawall-cache");

/// Most texts of one request.
const SEGMENTS: usize = 16_384;

/// What a chat call comes to.
enum Answered {
    Whole(Response<Body>),
    Stream(Box<Streamed>),
}

/// A chat call on its way: what each step needs of the steps before.
struct Call {
    dialect: &'static dyn Dialect,
    upstream: Arc<Upstream>,
    policies: Selected,
    request: dialect::Request,
    /// The user's last turn, which the answer answers.
    prompt: Option<String>,
    /// What stands for values in what the upstream was sent.
    placeholders: Placeholders,
}

impl Proxy {
    /// A proxy made of its rooms.
    #[must_use]
    pub fn new(settings: &Config, rooms: Rooms) -> Self {
        let Rooms { scanner, policies, routes, recorder, metrics, traces, identity } = rooms;
        let quotas = identity::Limits::new(settings.limits, &settings.tenants);
        let limits = Limits {
            calls: settings.listen.max_calls,
            request_bytes: settings.listen.max_body_bytes,
            request_time: Duration::from_millis(settings.listen.body_timeout_ms),
            stream: settings.stream,
            headers: settings.listen.headers,
            uncovered: settings.policies.uncovered,
        };
        Self {
            routes,
            scanner,
            policies: ArcSwap::from_pointee(policies),
            exceptions: ArcSwap::default(),
            recorder,
            content: settings.review.content,
            metrics,
            traces,
            identity,
            quotas,
            room: Arc::new(Semaphore::new(limits.calls)),
            limits,
            tasks: TaskTracker::new(),
        }
    }

    /// Answers one request of a caller who may make it.
    pub async fn handle(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        let trace = self.traces.as_ref().map(|traces| Box::new(traces.begin(request.method(), request.headers())));
        let admitted = self.admit(&mut request).await;
        let meter = admitted.as_ref().map(Admitted::meter).unwrap_or_default();
        METER.scope(meter, self.exchange(admitted, request, trace)).await
    }

    async fn exchange(
        self: Arc<Self>,
        admitted: Result<Admitted, Failure>,
        request: Request<Incoming>,
        trace: Option<Box<Trace>>,
    ) -> Response<Body> {
        let route = self.routes.find(request.method(), request.uri(), request.headers());
        let dialect = match &route {
            Ok(Route { kind: Kind::Chat(dialect), .. }) => Some(*dialect),
            Ok(_) | Err(_) => None,
        };
        let mut record = Record::new(dialect.map_or("none", Dialect::name), trace);
        if let Ok(route) = &route {
            record.routed(request.method(), route);
        }
        let answered = match admitted.map(|admitted| record.admitted = admitted).and(route) {
            Ok(route) => match route.kind {
                // Much is kept on the way: on the heap it stays where it is when its connection's state is moved.
                Kind::Chat(dialect) => Box::pin(self.chat(dialect, route, request, &mut record)).await,
                Kind::Moderation => Box::pin(self.moderate(request)).await.map(Answered::Whole),
                Kind::Pass => Box::pin(self.pass(&route, request, &mut record)).await.map(Answered::Whole),
            },
            Err(failure) => Err(failure),
        };
        match answered {
            Ok(Answered::Whole(answer)) => self.finish(record, answer),
            Ok(Answered::Stream(streamed)) => self.stream(*streamed, record),
            Err(failure) => {
                let answer = self.fail(&mut record, &failure, dialect);
                self.finish(record, answer)
            }
        }
    }

    /// Waits for what runs on after the last answer.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.recorder.close().await;
    }

    /// The scanner, for health and metrics.
    #[must_use]
    pub fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// The way into the record, for health and metrics.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The policies in force.
    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    /// Puts other policies in force. Exchanges that have begun end under those that they began with.
    pub fn replace_policies(&self, policies: impl Into<Arc<Policies>>) {
        self.policies.store(policies.into());
    }

    /// Puts other exceptions in force, for the exchanges that begin from now on.
    pub fn replace_exceptions(&self, exceptions: Exceptions) {
        self.exceptions.store(Arc::new(exceptions));
    }

    /// Calls in flight, and how many there may be.
    #[must_use]
    pub fn calls(&self) -> [usize; 2] {
        [self.limits.calls.saturating_sub(self.room.available_permits()), self.limits.calls]
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A request's body, decoded and strictly read.
    async fn read(&self, headers: &HeaderMap, body: Incoming) -> Result<Document, Failure> {
        let Limits { request_bytes, request_time, .. } = self.limits;
        let bytes = read(body, request_bytes, Patience::Whole(request_time)).await.map_err(Failure::RequestBody)?;
        let bytes = encoding::decode(headers, bytes, request_bytes).await.map_err(Failure::RequestEncoding)?;
        Document::read(bytes).map_err(Failure::Request)
    }

    /// A chat call, up to the upstream's answer and, if that is whole, to its end.
    async fn chat(
        &self,
        dialect: &'static dyn Dialect,
        route: Route,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Answered, Failure> {
        let (mut head, body) = request.into_parts();
        let document = self.read(&head.headers, body).await?;
        // Read as the upstream is asked: a route's prefix says nothing of models.
        let mut request = dialect.request(&route.path.clone().into(), &document).map_err(Failure::Request)?;
        record.asked(&request.model, request.stream.is_some());
        let content = std::mem::take(&mut request.content);
        if content.segments.len() > SEGMENTS {
            return Err(Failure::Request(Malformed::new(format!("the body holds more than {SEGMENTS} texts"))));
        }
        let prompt = last_prompt(&content.segments);
        let policies = self.policies();
        let language = prompt.as_deref().and_then(|prompt| self.scanner.language(prompt));
        let asked = asked(dialect, &route, &request, language);
        let (headers, caller) = (headers(&policies, &head.headers), record.admitted.caller.clone());
        let policies = policies.select(policy::Call { headers, caller, ..asked }).except(self.exceptions.load_full());
        record.covered(&policies);
        if !policies.is_covered() && self.limits.uncovered == Uncovered::Block {
            return Err(Failure::Uncovered);
        }
        let placeholders = Placeholders::default();
        let upstream = Arc::clone(&route.upstream);
        let mut call = Call { dialect, upstream, policies, request, prompt, placeholders };

        hygiene::for_upstream(&mut head.headers);
        let Parts { method, mut headers, .. } = head;
        // A call that can act, or be remembered, waits for its verdict.
        let (settled, answer) = if call.upstream.races() && !acts(&document) {
            // Seldom, and much to keep: on the heap.
            Box::pin(async {
                let ahead = document.clone();
                let mut called = Called::begin(record, &route, &method, &mut headers);
                let ask = async {
                    let answer = call.upstream.race(method.clone(), &route.path, headers.clone(), &ahead).await;
                    called.answered(&self.metrics, &answer);
                    (called, answer)
                };
                raced(self.judge(document, content, &call.policies, record), ask, &ahead).await
            })
            .await?
        } else {
            (self.judge(document, content, &call.policies, record).await?, None)
        };
        let scanned = match settled {
            Settled::Forward(scanned) => scanned,
            Settled::Refuse(refused) => return refuse(&call, refused, Direction::Request).map(Answered::Whole),
        };
        call.placeholders = scanned.placeholders().clone();
        let (called, answer) = match answer {
            Some(answer) => answer,
            None => {
                let mut called = Called::begin(record, &route, &method, &mut headers);
                let answer = call.upstream.send(method, &route.path, headers, scanned).await;
                called.answered(&self.metrics, &answer);
                (called, answer)
            }
        };
        if answer.is_err() {
            called.ended(&self.metrics, record);
        }
        let (head, body) = answer.map_err(Failure::Upstream)?.into_parts();
        if let Some(framing) = framing(&call, &head) {
            return Ok(Answered::Stream(Box::new(Streamed { call, called, head, body, framing })));
        }
        self.whole(&call, called, (head, body), record).await.map(Answered::Whole)
    }

    /// Judges a request and makes the record of it durable.
    async fn judge(
        &self,
        document: Document,
        content: Content,
        policies: &Selected,
        record: &mut Record,
    ) -> Result<Settled, Failure> {
        let begun = record.now();
        let assessed = self.scanner.assess(policies.ask(), (document, content), Direction::Request, None).await;
        record.judged(begun, assessed.evidence());
        let patches = policies.settle(assessed, &Placeholders::default(), |evidence, edits| {
            dialect::patches(&evidence.segments, &evidence.echoes, edits)
        });
        let (settled, decision, evidence) = patches.map_err(Failure::Request)?;
        record.decided(&decision, &evidence);
        record.cached = evidence.cached;
        record.requested(evidence);
        self.record(record).await?;
        Ok(settled)
    }

    /// A call that carries no chat.
    async fn pass(&self, route: &Route, request: Request<Incoming>, record: &mut Record) -> Result<Response<Body>, Failure> {
        let (mut head, body) = request.into_parts();
        // What has a body is not a call that carries no text.
        read(body, 0, Patience::Whole(self.limits.request_time)).await.map_err(Failure::RequestBody)?;
        hygiene::for_upstream(&mut head.headers);
        let mut called = Called::begin(record, route, &head.method, &mut head.headers);
        let answer = route.upstream.pass(head.method, &route.path, head.headers).await;
        called.answered(&self.metrics, &answer);
        called.ended(&self.metrics, record);
        let (mut head, body) = answer.map_err(Failure::Upstream)?.into_parts();
        // Nobody reads this body here, so its encoding stays as it is.
        let coding = head.headers.get(header::CONTENT_ENCODING).cloned();
        hygiene::for_client(&mut head.headers);
        head.headers.extend(coding.map(|coding| (header::CONTENT_ENCODING, coding)));
        Ok(Response::from_parts(head, body.map_err(|_| Broken).boxed_unsync()))
    }

    /// Makes a flagged exchange durable; what cannot be recorded does not go on.
    async fn record(&self, record: &mut Record) -> Result<(), Failure> {
        if !record.is_flagged() {
            return Ok(());
        }
        let (unstored, begun) = (record.on_store_error(), Instant::now());
        // Few exchanges come here, and a case is large: no call keeps room for one.
        let recorded = Box::pin(self.recorder.record(record.case(&self.scanner, self.content), unstored)).await;
        self.metrics.record(begun.elapsed());
        recorded.map_err(Failure::Unrecorded)
    }

    fn fail(&self, record: &mut Record, failure: &Failure, dialect: Option<&'static dyn Dialect>) -> Response<Body> {
        let (status, code) = failure.kind();
        self.metrics.failure(code);
        self.blame(record, failure);
        record.failed = Some(code);
        if let Failure::Limited(exceeded) = failure {
            self.metrics.limited(exceeded.limit.name(), &exceeded.tenant);
        }
        if failure.is_refusal() {
            record.refused();
        }
        if status.is_server_error() {
            tracing::warn!(id = record.id, code, error = describe(failure), "exchange failed");
        }
        // A path of no dialect is answered in the shape that most clients read.
        let dialect = dialect.or_else(|| DIALECTS.first().copied());
        dialect.map_or_else(|| json(status, String::new()), |dialect| failure.answer(dialect))
    }

    /// The last step of a whole answer: headers, log and count. The call is in flight until the last piece has left.
    fn finish(&self, record: Record, mut answer: Response<Body>) -> Response<Body> {
        self.stamp(&record, answer.headers_mut());
        self.count(&record, answer.status().as_u16());
        answer.map(|body| holding(body, record.admitted.place))
    }

    fn stamp(&self, record: &Record, headers: &mut HeaderMap) {
        headers.extend(HeaderValue::from_str(&record.id).ok().map(|id| (REQUEST_ID, id)));
        if self.limits.headers == Headers::All {
            headers.insert(DECISION, HeaderValue::from_static(record.word()));
            let cache = record.cached.map_or("none", |hit| if hit { "hit" } else { "miss" });
            headers.insert(CACHE, HeaderValue::from_static(cache));
        }
    }

    fn count(&self, record: &Record, status: u16) {
        let [time, own] = record.times();
        let (dialect, decision) = (record.dialect, record.word());
        self.metrics.exchange(dialect, &record.route, decision, [time, own]);
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let identity::Caller { tenant, key, .. } = &record.admitted.caller;
        let (tenant, key) = (tenant.as_deref(), key.as_deref());
        let trace_id = record.trace.as_ref().map(|trace| trace.id());
        tracing::info!(id = record.id, trace_id, dialect, decision, status, ms, tenant, key, "exchange");
        if let Some(trace) = &record.trace {
            record.tell(trace, status);
        }
    }
}

/// Names of the APIs that are spoken, for policies.
pub fn dialects() -> impl Iterator<Item = &'static str> {
    DIALECTS.iter().map(|dialect| dialect.name())
}

/// The answer to a request that is refused.
fn refuse(call: &Call, refused: Refused, direction: Direction) -> Result<Response<Body>, Failure> {
    match refused {
        Refused::Blocked { message, respond: Respond::Message } => {
            let refusal = Refusal { message, filtered: true, direction };
            Ok(match call.request.stream {
                Some(framing) => events(framing, &call.dialect.stream(&call.request).cut(&refusal)),
                None => json(StatusCode::OK, call.dialect.refuse(&call.request, &refusal)),
            })
        }
        Refused::Blocked { message, respond: Respond::Error } => Err(Failure::Blocked(message)),
        Refused::Unjudged(unavailable) => Err(Failure::Unjudged(unavailable)),
        Refused::Unscorable(kind) => Err(Failure::Unscorable(kind)),
    }
}

/// How an answer is streamed, if it is: as its media type says, or as was asked where that says only JSON.
fn framing(call: &Call, head: &response::Parts) -> Option<Framing> {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let asked =
        call.request.stream.filter(|asked| matches!(asked, Framing::Ndjson | Framing::Array) && head.status.is_success());
    Framing::of(kind).or(asked).filter(|framing| call.dialect.framings().contains(framing))
}

/// A failure and its causes; none of them holds a prompt.
fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Unrecorded(cause) => format!("{failure}: {cause}"),
        other => other.to_string(),
    }
}
