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

use super::SharedCache;

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    exchanges: Family<Exchange, Counter>,
    seconds: Histogram,
    verdicts: Family<Verdict, Counter>,
    windows: Counter,
    batches: Counter,
    waiting: Gauge,
    cached: Gauge,
    guards: Family<Guard, Gauge>,
    sessions: Family<Place, Gauge>,
    session_failures: Family<Place, Counter>,
    checks: Counter,
    check_failures: Counter,
    tokens: Family<Tokens, Counter>,
    kept: Gauge,
    servers: Family<Server, Gauge>,
    cascade: Family<Decider, Counter>,
    cuts: Counter,
    records: Counter,
    spooled: Counter,
    unrecorded: Counter,
    webhooks: Family<Outcome, Counter>,
    spool: Gauge,
    store: Gauge,
    failures: Family<Failure, Counter>,
    limited: Family<Limited, Counter>,
    policy: Family<Revision, Gauge>,
    policy_loaded: Gauge,
    policy_reloads: Family<Outcome, Counter>,
    policy_stale: Gauge,
    shared_cache: SharedCache,
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
    name: String,
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
    name: String,
    guard: String,
    provider: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    name: String,
    session: usize,
    device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Revision {
    revision: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

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

/// What is read where it is counted, at the moment when somebody asks; of all guards together.
#[derive(Debug, Clone)]
pub struct Now<'n> {
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

impl Default for Metrics {
    fn default() -> Self {
        let mut all = All(Registry::with_prefix("seawall"));
        Self {
            exchanges: all.metric("exchanges", "Exchanges by dialect and decision"),
            seconds: all.seconds("exchange", "Time from request to the end of its answer"),
            verdicts: all.metric("verdicts", "Verdicts by source: the guard, the cache, or none because the guard failed"),
            windows: all.metric("guard_windows", "Texts and windows of texts that the guard scored"),
            batches: all.metric("guard_batches", "Batches of them that guards began"),
            waiting: all.metric("guard_waiting", "Texts that wait for the guard"),
            guards: all.metric(
                "guard_info",
                "The guards by name (`NAME.second` behind NAME in a cascade), and the execution provider or engine that runs each",
            ),
            sessions: all.metric("guard_session_ready", "Sessions of guards that run here: 1 if it takes texts, else 0"),
            session_failures: all.metric("guard_session_failures", "Batches that a session failed"),
            checks: all
                .metric("guard_incremental_checks", "Windows of growing texts that were scored on from what was kept of them"),
            tokens: all.metric("guard_incremental_tokens", "Tokens of these windows: computed, or kept and not computed again"),
            check_failures: all.metric(
                "guard_incremental_failures",
                "Windows of growing texts that could not be scored so, and were computed whole",
            ),
            kept: all.metric("guard_kv_tokens", "Tokens whose keys and values are kept"),
            cached: all.metric("cache_verdicts", "Verdicts in the cache"),
            servers: all.metric("guard_server_ready", "Servers of guards that run elsewhere: 1 if it takes calls, else 0"),
            cascade: all.metric(
                "guard_cascade",
                "Texts of a cascade by the guard that decided: those of the first are saved the second",
            ),
            cuts: all.metric("stream_cuts", "Streams that were cut"),
            records: all.metric("review_records", "Records of flagged exchanges written into the store"),
            spooled: all.metric("review_spooled", "Records of flagged exchanges that went to the journal beside the store"),
            unrecorded: all.metric("review_failures", "Flagged exchanges refused because they could not be recorded"),
            webhooks: all.metric("webhook_deliveries", "Tries to tell a webhook by outcome: delivered, failed; given_up after the last"),
            spool: all.metric("review_spool_records", "Records that wait in the journal for the store"),
            store: all.metric("review_store_ready", "1 if the store took what was written to it last, else 0"),
            failures: all.metric("failures", "Exchanges that ended in an error, by its code"),
            limited: all.metric(
                "limited",
                "Calls refused by a limit, by tenant: the configured ones, and all others together",
            ),
            policy: all.metric("policy_info", "The revision of the policies in force"),
            policy_loaded: all.metric("policy_loaded_timestamp_seconds", "When the revision in force was put in force"),
            policy_reloads: all.metric("policy_reloads", "Readings of the policy files by outcome: changed, unchanged, refused"),
            policy_stale: all.metric("policy_stale", "1 while the policy files are refused and earlier policies stay in force"),
            shared_cache: SharedCache::new(&mut all.0),
            registry: all.0,
        }
    }
}

/// Where metrics are made, each known to the registry from the start.
struct All(Registry);

impl All {
    fn metric<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// From a millisecond to two minutes.
    fn seconds(&mut self, name: &str, help: &str) -> Histogram {
        let histogram = Histogram::new(exponential_buckets(0.001, 2.0, 18));
        self.0.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        histogram
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

    /// The guard scored a window.
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

    /// A webhook was told, or could not be.
    pub fn webhook(&self, outcome: &'static str, count: u64) {
        self.webhooks.get_or_create(&Outcome { outcome }).inc_by(count);
    }

    /// An exchange ended in an error.
    pub fn failure(&self, code: &'static str) {
        self.failures.get_or_create(&Failure { code }).inc();
    }

    /// A call was refused by a limit. `tenant` is one of few: what callers could make up as they like must not grow the list.
    pub fn limited(&self, limit: &'static str, tenant: &str) {
        self.limited.get_or_create(&Limited { limit, tenant: tenant.to_owned() }).inc();
    }

    /// Policies are in force since a time (Unix seconds), in place of those of another revision.
    pub fn policies(&self, revision: &str, since: i64, before: Option<&str>) {
        self.policy.get_or_create(&Revision { revision: revision.to_owned() }).set(1);
        if let Some(before) = before {
            self.policy.remove(&Revision { revision: before.to_owned() });
        }
        self.policy_loaded.set(since);
    }

    /// The policy files were read again; whether they are refused.
    pub fn reload(&self, outcome: &'static str, refused: bool) {
        self.policy_reloads.get_or_create(&Outcome { outcome }).inc();
        self.policy_stale.set(i64::from(refused));
    }

    /// What is counted of the shared cache.
    #[must_use]
    pub fn shared_cache(&self) -> &SharedCache {
        &self.shared_cache
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn render(&self, now: &Now<'_>) -> String {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
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
            self.tokens.get_or_create(&Tokens { source }).inner().store(tokens, Relaxed);
        }
        let Records { written, spooled, refused, waiting, is_ready } = now.records;
        for (counter, count) in [(&self.records, written), (&self.spooled, spooled), (&self.unrecorded, refused)] {
            counter.inner().store(count, Relaxed);
        }
        self.spool.set(gauge(waiting));
        self.store.set(i64::from(is_ready));
        let mut out = String::new();
        match encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => format!("# {error}\n"),
        }
    }
}
