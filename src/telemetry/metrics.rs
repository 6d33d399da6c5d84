//! Counters in Prometheus' text format.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry, Unit},
};

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    exchanges: Family<Exchange, Counter>,
    seconds: Histogram,
    verdicts: Family<Verdict, Counter>,
    windows: Counter,
    waiting: Gauge,
    cached: Gauge,
    guards: Family<Guard, Gauge>,
    checks: Counter,
    tokens: Family<Tokens, Counter>,
    kept: Gauge,
    cuts: Counter,
    records: Counter,
    unrecorded: Counter,
    failures: Family<Failure, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exchange {
    dialect: &'static str,
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Guard {
    guard: String,
    provider: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    source: &'static str,
}

/// What is read where it is counted, at the moment when somebody asks.
#[derive(Debug, Clone, Copy)]
pub struct Now<'n> {
    /// Texts that wait for the guard.
    pub waiting: usize,
    /// Verdicts in the cache.
    pub cached: u64,
    /// The guard's identity.
    pub guard: &'n str,
    /// What runs its graph.
    pub provider: &'static str,
    /// Windows of growing texts scored on from what was kept of them.
    pub checks: u64,
    /// Tokens computed for these, and tokens not computed again.
    pub tokens: [u64; 2],
    /// Tokens whose keys and values are kept.
    pub kept: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("seawall");
        let all = &mut registry;
        Self {
            exchanges: counted(all, "exchanges", "Exchanges by dialect and decision"),
            seconds: {
                let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 18));
                let help = "Time from request to the end of its answer";
                all.register_with_unit("exchange", help, Unit::Seconds, seconds.clone());
                seconds
            },
            verdicts: counted(all, "verdicts", "Verdicts by source: the guard, the cache, or none because the guard failed"),
            windows: counted(all, "guard_windows", "Texts and windows of texts that the guard scored"),
            waiting: counted(all, "guard_waiting", "Texts that wait for the guard"),
            guards: counted(all, "guard_info", "The guard, and the execution provider that runs it"),
            checks: counted(
                all,
                "guard_incremental_checks",
                "Windows of growing texts that were scored on from what was kept of them",
            ),
            tokens: counted(
                all,
                "guard_incremental_tokens",
                "Tokens of these windows: computed, or kept and not computed again",
            ),
            kept: counted(all, "guard_kv_tokens", "Tokens whose keys and values are kept"),
            cached: counted(all, "cache_verdicts", "Verdicts in the cache"),
            cuts: counted(all, "stream_cuts", "Streams that were cut"),
            records: counted(all, "review_records", "Flagged exchanges recorded"),
            unrecorded: counted(all, "review_failures", "Flagged exchanges refused because they could not be recorded"),
            failures: counted(all, "failures", "Exchanges that ended in an error, by its code"),
            registry,
        }
    }
}

/// Begins to count something.
fn counted<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// An exchange has ended.
    pub fn exchange(&self, dialect: &'static str, decision: &'static str, time: Duration) {
        self.exchanges.get_or_create(&Exchange { dialect, decision }).inc();
        self.seconds.observe(time.as_secs_f64());
    }

    /// A verdict was asked for.
    pub fn verdict(&self, cached: bool, given: bool) {
        let source = match (given, cached) {
            (false, _) => "none",
            (true, true) => "cache",
            (true, false) => "guard",
        };
        self.verdicts.get_or_create(&Verdict { source }).inc();
    }

    /// A window went to the guard.
    pub fn window(&self) {
        self.windows.inc();
    }

    /// A stream was cut.
    pub fn cut(&self) {
        self.cuts.inc();
    }

    /// A record was written, or could not be.
    pub fn record(&self, written: bool) {
        if written { &self.records } else { &self.unrecorded }.inc();
    }

    /// An exchange ended in an error.
    pub fn failure(&self, code: &'static str) {
        self.failures.get_or_create(&Failure { code }).inc();
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn render(&self, now: &Now<'_>) -> String {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.waiting.set(gauge(now.waiting as u64));
        self.cached.set(gauge(now.cached));
        self.kept.set(gauge(now.kept));
        self.guards.get_or_create(&Guard { guard: now.guard.to_owned(), provider: now.provider }).set(1);
        self.checks.inner().store(now.checks, Relaxed);
        for (source, tokens) in ["computed", "kept"].into_iter().zip(now.tokens) {
            self.tokens.get_or_create(&Tokens { source }).inner().store(tokens, Relaxed);
        }
        let mut out = String::new();
        match encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => format!("# {error}\n"),
        }
    }
}
