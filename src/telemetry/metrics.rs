//! Counters in Prometheus' text format.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
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
    servers: Family<Server, Gauge>,
    cascade: Family<Decider, Counter>,
    cuts: Counter,
    records: Counter,
    unrecorded: Counter,
    failures: Family<Failure, Counter>,
    limited: Family<Limited, Counter>,
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
struct Server {
    url: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decider {
    decided: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    limit: &'static str,
    tenant: String,
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

/// What is read where it is counted, at the moment when somebody asks; of all guards together.
#[derive(Debug, Clone)]
pub struct Now<'n> {
    /// Texts that wait for the guard.
    pub waiting: usize,
    /// Verdicts in the cache.
    pub cached: u64,
    /// Each guard's identity, and what runs its model.
    pub guards: Vec<(&'n str, &'static str)>,
    /// Servers of guards that run elsewhere, and whether they take calls.
    pub servers: Vec<(String, bool)>,
    /// Windows of growing texts scored on from what was kept of them.
    pub checks: u64,
    /// Tokens computed for these, and tokens not computed again.
    pub tokens: [u64; 2],
    /// Tokens whose keys and values are kept.
    pub kept: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("seawall"),
            exchanges: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            verdicts: Family::default(),
            windows: Counter::<u64, AtomicU64>::default(),
            waiting: Gauge::default(),
            cached: Gauge::default(),
            guards: Family::default(),
            checks: Counter::default(),
            tokens: Family::default(),
            kept: Gauge::default(),
            servers: Family::default(),
            cascade: Family::default(),
            cuts: Counter::default(),
            records: Counter::default(),
            unrecorded: Counter::default(),
            failures: Family::default(),
            limited: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("exchanges", "Exchanges by dialect and decision", metrics.exchanges.clone());
        registry.register_with_unit(
            "exchange",
            "Time from request to the end of its answer",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "verdicts",
            "Verdicts by source: the guard, the cache, or none because the guard failed",
            metrics.verdicts.clone(),
        );
        registry.register("guard_windows", "Texts and windows of texts that the guard scored", metrics.windows.clone());
        registry.register("guard_waiting", "Texts that wait for the guard", metrics.waiting.clone());
        registry.register(
            "guard_info",
            "The guards, and the execution provider or engine that runs each",
            metrics.guards.clone(),
        );
        registry.register(
            "guard_incremental_checks",
            "Windows of growing texts that were scored on from what was kept of them",
            metrics.checks.clone(),
        );
        registry.register(
            "guard_incremental_tokens",
            "Tokens of these windows: computed, or kept and not computed again",
            metrics.tokens.clone(),
        );
        registry.register("guard_kv_tokens", "Tokens whose keys and values are kept", metrics.kept.clone());
        registry.register("cache_verdicts", "Verdicts in the cache", metrics.cached.clone());
        registry.register(
            "guard_server_ready",
            "Servers of guards that run elsewhere: 1 if it takes calls, else 0",
            metrics.servers.clone(),
        );
        registry.register(
            "guard_cascade",
            "Texts of a cascade by the guard that decided: those of the first are saved the second",
            metrics.cascade.clone(),
        );
        registry.register("stream_cuts", "Streams that were cut", metrics.cuts.clone());
        registry.register("review_records", "Flagged exchanges recorded", metrics.records.clone());
        registry.register(
            "review_failures",
            "Flagged exchanges refused because they could not be recorded",
            metrics.unrecorded.clone(),
        );
        registry.register("failures", "Exchanges that ended in an error, by its code", metrics.failures.clone());
        registry.register(
            "limited",
            "Calls refused by a limit, by tenant: the configured ones, and all others together",
            metrics.limited.clone(),
        );
        metrics
    }
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

    /// A cascade has judged a text; whether by its second guard.
    pub fn cascade(&self, second: bool) {
        let decided = if second { "second" } else { "first" };
        self.cascade.get_or_create(&Decider { decided }).inc();
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

    /// A call was refused by a limit. `tenant` is one of few: what callers could make up as they like must not grow the list.
    pub fn limited(&self, limit: &'static str, tenant: &str) {
        self.limited.get_or_create(&Limited { limit, tenant: tenant.to_owned() }).inc();
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn render(&self, now: &Now<'_>) -> String {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.waiting.set(gauge(now.waiting as u64));
        self.cached.set(gauge(now.cached));
        self.kept.set(gauge(now.kept));
        for &(guard, provider) in &now.guards {
            self.guards.get_or_create(&Guard { guard: guard.to_owned(), provider }).set(1);
        }
        for (url, is_ready) in &now.servers {
            self.servers.get_or_create(&Server { url: url.clone() }).set(i64::from(*is_ready));
        }
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
