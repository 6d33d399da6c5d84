//! What is read where it is counted, at the moment when somebody asks for the metrics.

use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::text::encode;

use super::{
    Metrics, classic,
    labels::{Guard, Outcome, Place, Server, Source},
};
use crate::telemetry::panics;

/// A session of a guard that runs here.
#[derive(Debug, Clone)]
pub struct Session<'n> {
    /// The guard's name.
    pub name: &'n str,
    /// Its number among the guard's.
    pub session: usize,
    /// Where it runs.
    pub device: String,
    /// Whether it takes texts.
    pub is_ready: bool,
    /// Batches that it failed.
    pub failures: u64,
}

/// What is read then; of all guards together.
#[derive(Debug, Clone)]
pub struct Now<'n> {
    /// Calls in flight, and how many there may be.
    pub calls: [usize; 2],
    /// Texts that wait for the guard.
    pub waiting: usize,
    /// Batches that guards have begun.
    pub batches: u64,
    /// Verdicts in the cache.
    pub cached: u64,
    /// Each guard's name and identity, and what runs its model.
    pub guards: Vec<(&'n str, &'n str, &'static str)>,
    /// Sessions of guards that run here.
    pub sessions: Vec<Session<'n>>,
    /// Servers of guards that run elsewhere: the guard's name, the address, and whether it takes calls.
    pub servers: Vec<(String, String, bool)>,
    /// Windows of growing texts scored on from what was kept of them.
    pub checks: u64,
    /// Tokens computed for these, and tokens not computed again.
    pub tokens: [u64; 2],
    /// Tokens whose keys and values are kept.
    pub kept: u64,
    /// Windows of growing texts that could not be scored so.
    pub failed: u64,
    /// What the record took.
    pub records: Records,
    /// What became of the spans of traces, by outcome; none where there are no traces.
    pub spans: Vec<(&'static str, u64)>,
}

/// What the record took so far, and how its store is.
#[derive(Debug, Clone, Copy)]
pub struct Records {
    /// Written into the store.
    pub written: u64,
    /// Written to the journal beside it.
    pub spooled: u64,
    /// Taken by neither.
    pub refused: u64,
    /// In the journal.
    pub waiting: u64,
    /// Whether the store took what was written to it last.
    pub is_ready: bool,
}

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that a client's `accept` asks for.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn render(&self, now: &Now<'_>, format: Format) -> String {
        self.set(now);
        let mut out = String::new();
        match encode(&mut out, &self.registry) {
            Ok(()) if format == Format::Prometheus => classic::classic(&out),
            Ok(()) => out,
            Err(error) => format!("# {error}\n"),
        }
    }

    fn set(&self, now: &Now<'_>) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for (metric, value) in [&self.calls, &self.calls_limit].into_iter().zip(now.calls) {
            metric.set(gauge(value as u64));
        }
        self.waiting.set(gauge(now.waiting as u64));
        self.batches.inner().store(now.batches, Relaxed);
        self.cached.set(gauge(now.cached));
        self.kept.set(gauge(now.kept));
        for &(name, guard, provider) in &now.guards {
            self.guards.get_or_create(&Guard { name: name.to_owned(), guard: guard.to_owned(), provider }).set(1);
        }
        for Session { name, session, device, is_ready, failures } in &now.sessions {
            let place = Place { name: (*name).to_owned(), session: *session, device: device.clone() };
            self.sessions.get_or_create(&place).set(i64::from(*is_ready));
            self.session_failures.get_or_create(&place).inner().store(*failures, Relaxed);
        }
        for (name, url, is_ready) in &now.servers {
            self.servers.get_or_create(&Server { name: name.clone(), url: url.clone() }).set(i64::from(*is_ready));
        }
        self.checks.inner().store(now.checks, Relaxed);
        self.check_failures.inner().store(now.failed, Relaxed);
        for (source, tokens) in ["computed", "kept"].into_iter().zip(now.tokens) {
            self.tokens.get_or_create(&Source { source }).inner().store(tokens, Relaxed);
        }
        let Records { written, spooled, refused, waiting, is_ready } = now.records;
        for (counter, count) in [(&self.records, written), (&self.spooled, spooled), (&self.unrecorded, refused)] {
            counter.inner().store(count, Relaxed);
        }
        self.spool.set(gauge(waiting));
        self.store.set(i64::from(is_ready));
        self.panics.inner().store(panics::count(), Relaxed);
        for &(outcome, count) in &now.spans {
            self.spans.get_or_create(&Outcome { outcome }).inner().store(count, Relaxed);
        }
    }
}
