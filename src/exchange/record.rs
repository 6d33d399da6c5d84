//! One exchange's file: who asked what, what was decided on the way, and the case that is made of it when it is flagged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use jiff::Timestamp;
use uuid::Uuid;

use super::{admit::Admitted, heard::Heard, route::Route, traced};
use crate::{
    config,
    policy::{Action, Call, Decision, Selected, Unstored},
    review::{self, Care, Case, Facts, Kept, Moves, Text, Told, Unscorable},
    scan::{self, Evidence, Scanner, Which, detect::Detectors},
    segment::{Channel, Check, Segment},
    telemetry::Trace,
};

/// Kinds of content that cannot be judged, as many as are kept of one exchange.
const UNSCORABLE: usize = 16;

/// What is known of an exchange so far.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    at: Timestamp,
    begun: Instant,
    pub(super) dialect: &'static str,
    /// Name of the route that took the call; empty if none did.
    pub(super) route: Arc<str>,
    pub(super) upstream: Arc<str>,
    /// How long the upstream was at it.
    pub(super) upstream_time: Duration,
    /// Its part of a trace, if anybody wants one.
    pub(super) trace: Option<Box<Trace>>,
    /// Code of the error that it ended in.
    pub(super) failed: Option<&'static str>,
    /// Who calls. The call is in flight as long as this is there.
    pub(super) admitted: Admitted,
    /// Whether the request's verdicts came from the cache; `None` when nothing was scored.
    pub(super) cached: Option<bool>,
    pub(super) model: String,
    stream: bool,
    /// The policies' revision.
    pub(super) policy: String,
    /// What they could ask of the call, and whether its headers are only those that they name.
    call: Option<(Arc<Call>, bool)>,
    /// What they look for, which is masked in the case.
    detectors: Arc<Detectors>,
    action: Action,
    word: &'static str,
    reasons: Vec<Told>,
    /// What the policies with these reasons say of a store that cannot take them.
    on_store_error: Option<Unstored>,
    score: Option<f32>,
    /// The guard that gave it, and which of its cascade.
    guard: (usize, Which),
    language: Option<&'static str>,
    request: Option<Evidence>,
    /// An answer that came whole.
    response: Option<Evidence>,
    /// An answer that came as a stream: its text so far, and the checks that mattered.
    streamed: Vec<(Channel, Segment)>,
    heard: Heard,
    unscorable: Vec<Unscorable>,
    /// How often it was written down.
    version: u32,
}

impl Record {
    pub(super) fn new(dialect: &'static str, trace: Option<Box<Trace>>) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            at: Timestamp::now(),
            begun: Instant::now(),
            dialect,
            route: Arc::default(),
            upstream: Arc::default(),
            upstream_time: Duration::ZERO,
            trace,
            failed: None,
            admitted: Admitted::default(),
            cached: None,
            model: String::new(),
            stream: false,
            policy: String::new(),
            call: None,
            detectors: Arc::default(),
            action: Action::Allow,
            word: "allow",
            reasons: Vec::new(),
            on_store_error: None,
            score: None,
            guard: (scan::DEFAULT, Which::First),
            language: None,
            request: None,
            response: None,
            streamed: Vec::new(),
            heard: Heard::default(),
            unscorable: Vec::new(),
            version: 0,
        }
    }

    /// Keeps where the call goes.
    pub(super) fn routed(&mut self, method: &Method, route: &Route) {
        (self.route, self.upstream) = (Arc::clone(&route.name), Arc::clone(&route.upstream_name));
        if let Some(trace) = &self.trace {
            trace.name(traced::exchange(method, self.dialect));
        }
    }

    pub(super) fn asked(&mut self, model: &str, stream: bool) {
        model.clone_into(&mut self.model);
        self.stream = stream;
    }

    /// Keeps what the record needs of the policies that were chosen for the exchange.
    pub(super) fn covered(&mut self, policies: &Selected) {
        policies.revision().clone_into(&mut self.policy);
        self.detectors = Arc::clone(&policies.ask().detectors);
        self.call = Some((Arc::clone(policies.call()), policies.set().headers().is_some()));
    }

    /// Adds a decision and the evidence that it rests on.
    pub(super) fn decided(&mut self, decision: &Decision, evidence: &Evidence) {
        if decision.action > self.action {
            self.action = decision.action;
            self.word = decision.word();
        }
        self.on_store_error = self.on_store_error.max(decision.on_store_error);
        for reason in &decision.reasons {
            let told = Told { direction: evidence.direction, reason: reason.clone() };
            match self.reasons.iter_mut().find(|own| own.is_as(&told)) {
                Some(own) if own.reason.score < told.reason.score => *own = told,
                Some(_) => {}
                None => self.reasons.push(told),
            }
        }
        // A decision asks for the first kind; that of each event of a stream is one.
        let kind = evidence.unscorable.first().map(|kind| Unscorable { direction: evidence.direction, kind: kind.clone() });
        self.unscorable.extend(kind.filter(|kind| self.unscorable.len() < UNSCORABLE && !self.unscorable.contains(kind)));
        for passage in &evidence.passages {
            for verdict in &passage.verdicts {
                if let Ok(score) = &verdict.score
                    && self.score.is_none_or(|worst| score.value > worst)
                {
                    self.score = Some(score.value);
                    self.guard = (verdict.guard, verdict.by);
                    self.language = passage.language;
                }
            }
        }
    }

    /// Keeps the request for the case that may be made of it.
    pub(super) fn requested(&mut self, evidence: Evidence) {
        self.request = Some(evidence);
    }

    /// Keeps an answer that came whole.
    pub(super) fn answered(&mut self, evidence: Evidence) {
        self.response = Some(evidence);
    }

    /// Keeps a stream's text so far.
    pub(super) fn streamed(&mut self, texts: Vec<(Channel, Segment)>) {
        self.streamed = texts;
    }

    /// Adds the decision on a stream's check. Returns whether a rule matched that had not matched before.
    pub(super) fn heard(&mut self, check: &Check, evidence: &Evidence, decision: &Decision) -> bool {
        let known = self.reasons.len();
        self.decided(decision, evidence);
        let told = self.reasons.len() > known;
        self.heard.add(check, evidence, told);
        told
    }

    /// Whether a person is to see it: any rule matched, in shadow too.
    pub(super) fn is_flagged(&self) -> bool {
        self.action > Action::Allow || !self.reasons.is_empty()
    }

    /// The exchange was refused before or beside any rule.
    pub(super) fn refused(&mut self) {
        self.action = Action::Block;
        self.word = "block";
    }

    /// What happens to the exchange if the store cannot take its case.
    pub(super) fn on_store_error(&self) -> Unstored {
        self.on_store_error.unwrap_or_default()
    }

    pub(super) fn word(&self) -> &'static str {
        self.word
    }

    /// How long it has taken, and how much of that is Seawall's own: before the upstream was called, and after its last byte.
    pub(super) fn times(&self) -> [Duration; 2] {
        let time = self.begun.elapsed();
        [time, time.saturating_sub(self.upstream_time)]
    }

    /// The case as it now is.
    pub(super) fn case(&mut self, scanner: &Scanner, content: config::Content) -> Case {
        self.version += 1;
        let care = Care { content, detectors: &self.detectors };
        let (guard, by) = self.guard;
        let streamed = self.streamed.iter().map(|(_, segment)| Text::moved(segment, care));
        let (request, asked): (Vec<Text>, Vec<Moves>) = texts(self.request.as_ref(), care).unzip();
        let (response, told): (Vec<Text>, Vec<Moves>) = texts(self.response.as_ref(), care).chain(streamed).unzip();
        let facts = |(call, named): &(Arc<Call>, bool)| Facts::of(call, *named, care);
        Case {
            id: self.id.clone(),
            version: self.version,
            at: self.at.to_string(),
            decision: self.word.to_owned(),
            dialect: self.dialect.to_owned(),
            model: care.words(&self.model),
            stream: self.stream,
            language: self.language.map(str::to_owned),
            score: self.score,
            guard: scanner.identity(guard, by).to_owned(),
            policy: self.policy.clone(),
            reasons: review::reasons(&self.reasons),
            request,
            response,
            call: self.call.as_ref().map(facts),
            evidence: Some(self.evidence(scanner, &asked, &told)),
        }
    }

    /// The evidence, its stretches where they stand in the texts asked and told as these are kept.
    fn evidence(&self, scanner: &Scanner, asked: &[Moves], told: &[Moves]) -> Kept {
        let mut kept = Kept { unscorable: self.unscorable.clone(), ..Kept::default() };
        for (evidence, moves) in self.request.iter().map(|own| (own, asked)).chain(self.response.iter().map(|own| (own, told)))
        {
            for passage in &evidence.passages {
                kept.add(scanner, passage, (evidence.direction, passage.segments.clone(), moves), None);
            }
        }
        let texts: Vec<(Channel, usize)> =
            self.streamed.iter().map(|(channel, segment)| (*channel, segment.text.len())).collect();
        self.heard.tell(&mut kept, scanner, &texts, told);
        kept
    }
}

fn texts<'e>(evidence: Option<&'e Evidence>, care: Care<'e>) -> impl Iterator<Item = (Text, Moves)> + 'e {
    let texts = evidence.into_iter().flat_map(|evidence| evidence.segments.iter().zip(&evidence.findings));
    texts.map(move |(segment, findings)| Text::of(segment, findings, care))
}
