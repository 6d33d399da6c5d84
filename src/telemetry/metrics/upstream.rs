//! What is counted of upstreams.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};

use super::{
    All, Metrics,
    labels::{Answer, Fault, Upstream},
    times,
};

/// A histogram for each upstream.
type Times = Family<Upstream, Histogram, fn() -> Histogram>;

#[derive(Debug)]
pub(super) struct Upstreams {
    whole: Times,
    head: Times,
    answers: Family<Answer, Counter>,
    faults: Family<Fault, Counter>,
}

impl Upstreams {
    pub(super) fn new(all: &mut All) -> Self {
        let each = || Times::new_with_constructor(times);
        Self {
            whole: all.seconds("upstream", "Time from a call to the upstream to the last byte of its answer", each()),
            head: all.seconds("upstream_head", "Time from a call to the upstream to the head of its answer", each()),
            answers: all.metric("upstream_responses", "Answers of upstreams by the hundred of their status"),
            faults: all.metric("upstream_errors", "Calls that an upstream failed, by kind"),
        }
    }
}

impl Metrics {
    /// The head of an upstream's answer has come, with this status.
    pub fn answered(&self, upstream: &Arc<str>, status: u16, time: Duration) {
        let status = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.upstreams.answers.get_or_create(&Answer { upstream: Arc::clone(upstream), status }).inc();
        self.upstreams.head.get_or_create(&Upstream { upstream: Arc::clone(upstream) }).observe(time.as_secs_f64());
    }

    /// All of an upstream's answer has come, or as much as was wanted.
    pub fn called(&self, upstream: &Arc<str>, time: Duration) {
        self.upstreams.whole.get_or_create(&Upstream { upstream: Arc::clone(upstream) }).observe(time.as_secs_f64());
    }

    /// An upstream failed a call.
    pub fn fault(&self, upstream: &Arc<str>, kind: &'static str) {
        self.upstreams.faults.get_or_create(&Fault { upstream: Arc::clone(upstream), kind }).inc();
    }
}
