//! A call to the upstream as it is measured: how long it took to its head and to its last byte, how it failed, and its span.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, Method, Response};
use hyper::body::Incoming;

use super::{Proxy, answer::Failure, record::Record, route::Route, traced};
use crate::{
    dialect::Outcome,
    telemetry::{Metrics, Span},
    upstream::Failed,
    wire::body::Unread,
};

/// A call under way.
#[derive(Debug)]
pub(super) struct Called {
    upstream: Arc<str>,
    begun: Instant,
    /// What a trace is to be told, if there is one.
    told: Option<Box<Told>>,
}

#[derive(Debug)]
struct Told {
    span: Span,
    outcome: Outcome,
}

impl Called {
    /// A call that begins now; its headers tell the upstream of its span.
    pub(super) fn begin(record: &mut Record, route: &Route, method: &Method, headers: &mut HeaderMap) -> Self {
        let (upstream, dialect, model) = (Arc::clone(&route.upstream_name), record.dialect, &record.model);
        let told = record.trace.as_mut().and_then(|trace| {
            let mut span = trace.call(traced::name(method, dialect, model), headers);
            if !span.is_recording() {
                return None;
            }
            traced::asked(&mut span, (dialect, model), method, route.upstream.base());
            Some(Box::new(Told { span, outcome: Outcome::default() }))
        });
        Self { upstream, begun: Instant::now(), told }
    }

    /// The head of the answer has come, or none will.
    pub(super) fn answered(&mut self, metrics: &Metrics, answer: &Result<Response<Incoming>, Failed>) {
        let status = answer.as_ref().map(|answer| answer.status().as_u16()).ok();
        if let Some(status) = status {
            metrics.answered(&self.upstream, status, self.begun.elapsed());
        }
        if let Some(told) = &mut self.told {
            traced::answered(&mut told.span, status, answer.as_ref().err().map(kind));
        }
    }

    /// The last byte of the answer has come, or as much as was wanted.
    pub(super) fn ended(&self, metrics: &Metrics, record: &mut Record) {
        record.upstream_time = self.begun.elapsed();
        metrics.called(&self.upstream, record.upstream_time);
    }

    /// Notes what the answer, or a piece of it, says of itself, if anybody wants to know.
    pub(super) fn hears(&mut self, data: &str) {
        if let Some(told) = &mut self.told {
            told.outcome.read(data);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        traced::told(&mut self.span, &self.outcome);
    }
}

impl Proxy {
    /// Counts a failure that is the upstream's.
    pub(super) fn blame(&self, record: &Record, failure: &Failure) {
        let kind = match failure {
            Failure::Upstream(failed) => kind(failed),
            Failure::ResponseBody(Unread::TooSlow(_)) => "timeout",
            Failure::ResponseBody(Unread::Broken(_)) => "broken",
            Failure::ResponseBody(Unread::TooLarge(_)) => "too_large",
            Failure::ResponseEncoding(_) | Failure::Response { .. } => "unreadable",
            _ => return,
        };
        self.metrics.fault(&record.upstream, kind);
    }
}

fn kind(failed: &Failed) -> &'static str {
    match failed {
        Failed::Unreachable(_) => "unreachable",
        Failed::Broken(_) => "broken",
        Failed::Resting => "resting",
        Failed::Redirects(_) => "redirects",
        Failed::Slow(_) => "timeout",
    }
}
