//! An answer that comes as events: through the gate, judged as it grows, cut when a verdict turns.
//!
//! One task a stream pulls the upstream's events, feeds the gate and writes to a bounded channel; so a slow client slows the
//! upstream, and a client that leaves ends the task, which drops the upstream call and the judging but still keeps the record.

use std::{
    collections::BTreeMap,
    mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered, stream::unfold};
use http::{Response, header, response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use super::{
    Call, Proxy,
    answer::Failure,
    body::{Body, Broken},
    called::Called,
    contain::or_break,
    record::Record,
    returned::Returned,
};
use crate::{
    config::StreamMode,
    dialect::{Arguments, Brought, Progress, Refusal, StreamDialect},
    gate::{Gate, Released},
    policy::{Action, Decision, Refused, Respond},
    scan::{Evidence, METER},
    segment::{Channel, Check, Direction, Edit, Segment, Target},
    wire::{
        encoding::Undecodable,
        frame::{Decode, Event, Framing},
        header as hygiene,
        json::Malformed,
    },
};

/// Pieces of answer that wait for the client.
const AHEAD: usize = 8;
/// Bytes of text that may wait for a verdict before reading pauses.
const HELD: usize = 64 << 10;
/// Largest event.
const EVENT: usize = 4 << 20;

/// Most independent texts of one answer, and most events that wait for a verdict.
const CHANNELS: usize = 4_096;
const WAITING: usize = 65_536;

/// A streamed answer that has begun.
pub(super) struct Streamed {
    pub(super) call: Call,
    pub(super) called: Called,
    pub(super) head: response::Parts,
    pub(super) body: Incoming,
    pub(super) framing: Framing,
}

/// Whether an event must leave without its lists of tokens.
type Ahead = bool;

/// A stream on its way.
struct Run {
    proxy: Arc<Proxy>,
    record: Record,
    call: Call,
    /// The upstream's part, until it is over.
    called: Option<Called>,
    dialect: Box<dyn StreamDialect>,
    framing: Framing,
    /// Something of the stream has left for the client.
    begun: bool,
    /// Something of it was edited.
    edited: bool,
    /// Bytes of events that wait.
    waiting: usize,
    /// The client was waited for, meanwhile the upstream was not heard.
    paused: bool,
    gate: Gate<(Event, Progress, Ahead)>,
    /// How far each text that holds JSON was read.
    arguments: BTreeMap<Channel, Arguments>,
    /// The request's values, which come back where placeholders stand for them.
    returned: Returned,
    /// Content just read that no text guard can judge.
    unscorable: Vec<String>,
    client: mpsc::Sender<Result<Bytes, Broken>>,
}

/// Why a stream ends.
enum End {
    /// All of it has left.
    Done,
    /// The client has gone.
    Gone,
    /// A rule stops it, as an answer.
    Cut(Refusal),
    /// It ends in an error.
    Failed(Failure),
    /// The upstream broke off, after this much was passed on.
    Broken,
}

/// Nobody reads the answer any more.
struct ClientGone;

/// What one step of waiting brought.
enum Step {
    /// A check, what came of it, and when it began if there is to be a span of it.
    Judged(Check, Box<Evidence>, usize, Option<SystemTime>),
    Bytes(Bytes),
    Ended {
        broken: bool,
    },
    Silence,
    Gone,
}

impl Proxy {
    /// Begins the answer and leaves the rest of it to a task.
    pub(super) fn stream(self: Arc<Self>, streamed: Streamed, mut record: Record) -> Response<Body> {
        let Streamed { call, called, mut head, body, framing } = streamed;
        let coding = head.headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
        if coding != "identity" {
            called.ended(&self.metrics, &mut record);
            let failure = Failure::ResponseEncoding(Undecodable::Unknown(coding.to_owned()));
            let answer = self.fail(&mut record, &failure, Some(call.dialect));
            return self.finish(record, answer);
        }
        hygiene::for_client(&mut head.headers);
        self.stamp(&record, &mut head.headers);
        let (client, receiver) = mpsc::channel(AHEAD);
        let pieces = unfold(receiver, async |mut receiver: mpsc::Receiver<Result<Bytes, Broken>>| {
            let piece = receiver.recv().await?;
            if piece.is_err() {
                // An error closes the connection at once; a pause lets what was passed on before it be written.
                tokio::task::yield_now().await;
            }
            Some((piece.map(Frame::data), receiver))
        });
        let status = head.status.as_u16();
        let dialect = call.dialect.stream(&call.request);
        let gate = Gate::new(self.limits.stream, self.scanner.reads_whole_answers(call.policies.ask()));
        let returned = Returned::new(call.placeholders.clone());
        let last = client.clone();
        let proxy = Arc::clone(&self);
        // On the heap, as what the task awaits would else hold it a second time.
        let run = Box::new(Run {
            proxy,
            record,
            call,
            called: Some(called),
            dialect,
            framing,
            begun: false,
            edited: false,
            waiting: 0,
            paused: false,
            gate,
            arguments: BTreeMap::new(),
            returned,
            unscorable: Vec::new(),
            client,
        });
        let meter = run.record.admitted.meter();
        self.tasks.spawn(or_break(METER.scope(meter, run.finish(body, status)), last));
        Response::from_parts(head, StreamBody::new(pieces).boxed_unsync())
    }
}

impl Run {
    async fn finish(mut self: Box<Self>, body: Incoming, status: u16) {
        let end = self.run(body).await;
        self.called();
        let mut last = match end {
            End::Done | End::Gone => Vec::new(),
            End::Cut(refusal) => {
                self.proxy.metrics.cut();
                vec![Ok(self.framing.ending(&self.dialect.cut(&refusal), self.begun))]
            }
            End::Failed(failure) => {
                let (_, code) = failure.kind();
                self.proxy.metrics.failure(code);
                self.proxy.blame(&self.record, &failure);
                self.record.failed = Some(code);
                self.record.refused();
                tracing::warn!(id = self.record.id, code, error = super::describe(&failure), "stream ended in an error");
                vec![Ok(self.framing.ending(&self.dialect.fail(code, &failure.to_string()), self.begun))]
            }
            End::Broken => {
                self.proxy.metrics.fault(&self.record.upstream, "broken");
                vec![Err(Broken)]
            }
        };
        // The record ends with all that the model said, also what came after the rule matched.
        self.record.streamed(self.texts());
        if let Err(failure) = self.proxy.record(&mut self.record).await {
            tracing::error!(
                id = self.record.id,
                error = super::describe(&failure),
                "the end of a flagged stream was not recorded"
            );
        }
        for piece in last.drain(..) {
            // A client that has gone needs no ending.
            drop(self.client.send(piece).await);
        }
        self.proxy.count(&self.record, status);
    }

    async fn run(&mut self, mut body: Incoming) -> End {
        let proxy = Arc::clone(&self.proxy);
        let prompt = self.call.prompt.clone();
        let ask = self.call.policies.ask().clone();
        // A trace is kept from its beginning or not at all.
        let traced = self.record.now().is_some();
        let judge = async |check: Check| {
            let begun = traced.then(SystemTime::now);
            let (evidence, settled) = proxy.scanner.stream(&ask, &check, prompt.as_deref()).await;
            Step::Judged(check, Box::new(evidence), settled, begun)
        };
        let idle = self.call.upstream.idle;
        let silence = Duration::from_millis(proxy.limits.stream.idle_ms);
        let buffers = proxy.limits.stream.mode == StreamMode::Buffer;
        let mut checks = FuturesUnordered::new();
        let mut decoder = self.framing.decoder(EVENT);
        let (mut ended, mut broken) = (false, false);
        // Only bytes put off the end of an upstream's silence; what is held is checked once in a stretch of it.
        let (mut deadline, mut checked) = (Instant::now() + idle, false);
        loop {
            checks.extend(self.gate.due().into_iter().map(&judge));
            if let Some(end) = self.release().await {
                return end;
            }
            if self.gate.is_done() && checks.is_empty() {
                return if broken { End::Broken } else { End::Done };
            }
            if mem::take(&mut self.paused) {
                deadline = Instant::now() + idle;
            }
            let room = if buffers { self.call.upstream.max_answer } else { HELD };
            let reads = !ended && self.gate.held_bytes() < room;
            if !ended && !reads && checks.is_empty() && !checked {
                (checked, deadline) = (true, Instant::now() + idle);
                self.gate.idle();
                continue;
            }
            if !ended && !reads && checks.is_empty() {
                // Judged, but a detector sees something in all of it that has no end, such as a key: it cannot be let go.
                return unreadable(Malformed::new(format!(
                    "over {HELD} bytes of text wait for the end of what a detector found"
                )));
            }
            if !reads {
                deadline = Instant::now() + idle;
            }
            let waits = reads && checks.is_empty() && !checked && self.gate.held_bytes() > 0;
            let step = tokio::select! {
                Some(step) = checks.next(), if !checks.is_empty() => step,
                () = self.client.closed() => Step::Gone,
                step = read(&mut body, deadline), if reads => step,
                () = tokio::time::sleep(silence), if waits => Step::Silence,
            };
            let end = match step {
                Step::Gone => Some(End::Gone),
                Step::Silence => {
                    checked = true;
                    self.gate.idle();
                    None
                }
                Step::Judged(check, evidence, settled, begun) => {
                    self.record.judged(begun, &evidence);
                    self.judged(&check, &evidence, settled).await
                }
                Step::Bytes(bytes) => {
                    (deadline, checked) = (Instant::now() + idle, false);
                    decoder.feed(&bytes);
                    self.take(decoder.as_mut(), false).err().map(unreadable).or_else(|| self.unscorable())
                }
                Step::Ended { broken: early } => {
                    (ended, broken) = (true, early);
                    let end = self.take(decoder.as_mut(), true).err().map(unreadable).or_else(|| self.unscorable());
                    self.called();
                    self.gate.end();
                    end
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// The upstream has no more to say, or is no longer asked.
    fn called(&mut self) {
        if let Some(called) = self.called.take() {
            called.ended(&self.proxy.metrics, &mut self.record);
        }
    }

    /// Moves whole events from the decoder to the gate.
    fn take(&mut self, decoder: &mut dyn Decode, last: bool) -> Result<(), Malformed> {
        while let Some(event) = decoder.event()? {
            self.push(event)?;
        }
        if last && let Some(event) = decoder.rest()? {
            self.push(event)?;
        }
        let most = self.call.upstream.max_answer;
        if self.gate.size() > most {
            return Err(Malformed::new(format!("the stream's text is larger than {most} bytes")));
        }
        let (channels, waiting) = self.gate.count();
        if channels > CHANNELS || waiting > WAITING || self.waiting > most.max(EVENT) {
            return Err(Malformed::new("the stream brings more at once than can be held"));
        }
        Ok(())
    }

    fn push(&mut self, event: Event) -> Result<(), Malformed> {
        let Brought { deltas, progress, unscorable, closed, ahead } = self.dialect.read(&event)?;
        if let (Some(called), Some(data)) = (&mut self.called, &event.data) {
            called.hears(data);
        }
        self.unscorable.extend(unscorable);
        self.waiting += event.raw.len();
        let over = [closed, progress.ended.clone()].concat();
        let channels = deltas.iter().map(|delta| delta.channel);
        let channels: Vec<Channel> = channels.filter(|_| !self.returned.is_empty()).collect();
        self.gate.push((event, progress, ahead), deltas, &over);
        for channel in channels {
            let (edits, settled) = self.returned.edits(channel, self.gate.text(channel));
            self.gate.swap(channel, edits, settled);
        }
        Ok(())
    }

    /// Ends the stream if it has brought content that no text guard can judge and the policies do not let pass.
    fn unscorable(&mut self) -> Option<End> {
        let unscorable = mem::take(&mut self.unscorable);
        if unscorable.is_empty() {
            return None;
        }
        let evidence = Evidence::unscorable(Direction::Response, unscorable);
        let decision = self.call.policies.decide(&evidence);
        self.record.decided(&decision, &evidence);
        ending(&decision)
    }

    /// Sends on what the gate lets go.
    async fn release(&mut self) -> Option<End> {
        for Released { event: (event, progress, ahead), deltas, edited } in self.gate.release() {
            self.waiting = self.waiting.saturating_sub(event.raw.len());
            // Once something was edited, later events may repeat it in another form, such as a list of tokens.
            self.edited |= edited.is_some();
            let as_it_came = || deltas.iter().map(|delta| delta.text.clone()).collect();
            let is_object = event.data.as_deref().is_some_and(|data| data.trim_start().starts_with('{'));
            let piece = if edited.is_some() || ahead || (self.edited && is_object) {
                let texts: Vec<String> = edited.unwrap_or_else(as_it_came);
                match self.dialect.edit(&event, &deltas, &texts).and_then(|data| event.with_data(&data)) {
                    Ok(edited) => edited,
                    Err(why) => return Some(unreadable(why)),
                }
            } else {
                event.raw
            };
            if self.send(piece).await.is_err() {
                return Some(End::Gone);
            }
            self.begun = true;
            self.dialect.left(&progress);
        }
        None
    }

    /// Hands a piece to the client's connection, or waits until it has room.
    async fn send(&mut self, piece: Bytes) -> Result<(), ClientGone> {
        match self.client.try_send(Ok(piece)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(piece)) => {
                self.paused = true;
                self.client.send(piece).await.map_err(|_| ClientGone)
            }
            Err(TrySendError::Closed(_)) => Err(ClientGone),
        }
    }

    /// Acts on a verdict: opens the gate so far, or ends the stream.
    async fn judged(&mut self, check: &Check, evidence: &Evidence, settled: usize) -> Option<End> {
        let decision = self.call.policies.decide(evidence);
        if self.record.heard(check, evidence, &decision) {
            self.record.streamed(self.texts());
            if let Err(failure) = self.proxy.record(&mut self.record).await {
                return Some(End::Failed(failure));
            }
        }
        if let Some(end) = ending(&decision) {
            return Some(end);
        }
        let edits = self.edits(check, &decision);
        if self.gate.cover(check.channel, check.from + settled, edits) {
            return None;
        }
        // What was to be edited has left already, as it can in `lag`.
        let message = self.call.policies.blocked().to_owned();
        Some(End::Cut(Refusal { message, filtered: true, direction: Direction::Response }))
    }

    /// A decision's edits, in bytes of the channel.
    fn edits(&mut self, check: &Check, decision: &Decision) -> Vec<Edit> {
        let edits = decision
            .edits
            .iter()
            .flat_map(|(_, edits)| edits)
            .map(|edit| Edit { range: edit.range.start + check.from..edit.range.end + check.from, with: edit.with.clone() });
        let edits: Vec<Edit> = edits.collect();
        if edits.is_empty() || !(check.json || check.channel.part.target() == Target::ToolCall) {
            return edits;
        }
        self.arguments.entry(check.channel).or_default().edits(self.gate.text(check.channel), check.from, &edits)
    }

    /// The answer's text so far, for the record.
    fn texts(&self) -> Vec<(Channel, Segment)> {
        let texts = self.gate.texts().filter(|(_, text)| !text.is_empty()).enumerate();
        texts
            .map(|(passage, (channel, text))| {
                (channel, Segment { target: channel.part.target(), passage, text: text.to_owned(), place: None })
            })
            .collect()
    }
}

/// The next bytes of the upstream's answer.
async fn read(body: &mut Incoming, deadline: Instant) -> Step {
    loop {
        return match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) | Ok(Some(Err(_))) => Step::Ended { broken: true },
            Ok(None) => Step::Ended { broken: false },
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => Step::Bytes(bytes),
                Err(_) => continue, // trailers say nothing to a chat client
            },
        };
    }
}

/// How a decision ends the stream, if it does. Text that has left cannot be replaced, so `replace` ends it with the message.
fn ending(decision: &Decision) -> Option<End> {
    match &decision.refusal {
        Some(Refused::Blocked { message, respond: Respond::Message }) => {
            Some(End::Cut(Refusal { message: message.clone(), filtered: true, direction: Direction::Response }))
        }
        Some(Refused::Blocked { message, respond: Respond::Error }) => Some(End::Failed(Failure::Blocked(message.clone()))),
        Some(Refused::Unjudged(unavailable)) => Some(End::Failed(Failure::Unjudged(unavailable.clone()))),
        Some(Refused::Unscorable(kind)) => Some(End::Failed(Failure::Unscorable(kind.clone()))),
        None if decision.action == Action::Replace => {
            let message = decision.edits.iter().flat_map(|(_, edits)| edits).map(|edit| edit.with.clone()).next()?;
            Some(End::Cut(Refusal { message, filtered: false, direction: Direction::Response }))
        }
        None => None,
    }
}

fn unreadable(why: Malformed) -> End {
    End::Failed(Failure::Response { status: http::StatusCode::OK, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, R>(_: impl Fn(A, B, C) -> R) -> usize {
        size_of::<R>()
    }

    /// Ten thousand of them are open at once.
    #[test]
    fn an_open_streams_task_is_small() {
        let size = size(Run::finish);
        assert!(size < 4_000, "{size} bytes");
    }
}
