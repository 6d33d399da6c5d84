//! Counters, gauges and histograms for Prometheus.

mod classic;
mod labels;
mod now;
mod upstream;

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry, Unit},
};

pub use self::now::{Format, Now, Records, Session};
use self::{
    labels::{
        Decider, Exchange, Failure, Guard, Limited, Listener, Outcome, Place, Reading, Revision, Server, Source, Version,
    },
    upstream::Upstreams,
};
use super::SharedCache;

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    exchanges: Family<Exchange, Counter>,
    seconds: Histogram,
    added: Histogram,
    calls: Gauge,
    calls_limit: Gauge,
    upstreams: Upstreams,
    verdicts: Family<Source, Counter>,
    /// The cache's of them. Most are, and to look it up among them costs more than to count.
    known: Counter,
    windows: Counter,
    batches: Counter,
    waiting: Gauge,
    wait: Histogram,
    batch: Histogram,
    cached: Gauge,
    guards: Family<Guard, Gauge>,
    sessions: Family<Place, Gauge>,
    session_failures: Family<Place, Counter>,
    checks: Counter,
    check_failures: Counter,
    tokens: Family<Source, Counter>,
    kept: Gauge,
    servers: Family<Server, Gauge>,
    cascade: Family<Decider, Counter>,
    cuts: Counter,
    records: Counter,
    spooled: Counter,
    unrecorded: Counter,
    record: Histogram,
    webhooks: Family<Outcome, Counter>,
    spool: Gauge,
    store: Gauge,
    failures: Family<Failure, Counter>,
    limited: Family<Limited, Counter>,
    policy: Family<Revision, Gauge>,
    policy_loaded: Gauge,
    policy_reloads: Family<Outcome, Counter>,
    policy_stale: Gauge,
    certificates: Family<Listener, Gauge>,
    certificate_reloads: Family<Reading, Counter>,
    certificate_stale: Family<Listener, Gauge>,
    panics: Counter,
    spans: Family<Outcome, Counter>,
    shared_cache: SharedCache,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut all = All(Registry::with_prefix("seawall"));
        let build: Family<Version, Gauge> = all.metric("build_info", "The version that runs");
        build.get_or_create(&Version { version: env!("CARGO_PKG_VERSION") }).set(1);
        Self {
            exchanges: all.metric("exchanges", "Exchanges by dialect, route and decision"),
            seconds: all.seconds("exchange", "Time from request to the end of its answer", times()),
            added: all.seconds(
                "added",
                "Time from request to the end of its answer, less the time from the upstream's call to its last byte",
                short_times(),
            ),
            calls: all.metric("calls", "Calls in flight"),
            calls_limit: all.metric("calls_limit", "Most calls in flight"),
            upstreams: Upstreams::new(&mut all),
            verdicts: all.metric("verdicts", "Verdicts by source: the guard, the cache, or none because the guard failed"),
            known: Counter::default(),
            windows: all.metric("guard_windows", "Texts and windows of texts that the guard scored"),
            batches: all.metric("guard_batches", "Batches of them that guards began"),
            waiting: all.metric("guard_waiting", "Texts that wait for the guard"),
            wait: all.seconds("guard_wait", "Time that scored texts waited for their batch", short_times()),
            batch: all.histogram("guard_batch_texts", "Texts of a batch", exponential_buckets(1.0, 2.0, 9)),
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
            record: all.seconds("review_write", "Time until a flagged exchange is recorded, or refused", times()),
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
            certificates: all
                .metric("certificate_expires_timestamp_seconds", "Until when a listener's certificate holds, and all of its chain"),
            certificate_reloads: all
                .metric("certificate_reloads", "Readings of a listener's TLS files by outcome: changed, unchanged, refused"),
            certificate_stale: all.metric(
                "certificate_stale",
                "1 while a listener's TLS files are refused and an earlier certificate stays in force",
            ),
            panics: all.metric("panics", "Mistakes in Seawall, each of which ended no more than one exchange or one batch"),
            spans: all.metric("trace_spans", "Spans of traces by outcome: sent, failed by the collector, dropped for want of room"),
            shared_cache: SharedCache::new(&mut all.0),
            registry: all.0,
        }
        .begin()
    }
}

/// For times from a millisecond to two minutes.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

/// For times from a tenth of a millisecond to thirteen seconds.
fn short_times() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

/// Where metrics are made, each known to the registry from the start.
struct All(Registry);

impl All {
    fn metric<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn seconds<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: impl IntoIterator<Item = f64>) -> Histogram {
        let histogram = Histogram::new(buckets);
        self.0.register(name, help, histogram.clone());
        histogram
    }
}

impl Metrics {
    /// Has all that can be named beforehand begin at 0: a rate does not see the step from nothing to 1.
    fn begin(mut self) -> Self {
        self.known = self.verdicts.get_or_create(&Source { source: "cache" }).clone();
        for source in ["guard", "cache", "none"] {
            self.verdicts.get_or_create(&Source { source }).inc_by(0);
        }
        for decided in ["first", "second"] {
            self.cascade.get_or_create(&Decider { decided }).inc_by(0);
        }
        for outcome in ["delivered", "failed", "given_up"] {
            self.webhooks.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        for outcome in ["changed", "unchanged", "refused"] {
            self.policy_reloads.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        self
    }

    /// An exchange has ended, after so much time, of which so much is Seawall's own.
    pub fn exchange(&self, dialect: &'static str, route: &Arc<str>, decision: &'static str, [time, own]: [Duration; 2]) {
        self.exchanges.get_or_create(&Exchange { dialect, route: Arc::clone(route), decision }).inc();
        self.seconds.observe(time.as_secs_f64());
        self.added.observe(own.as_secs_f64());
    }

    /// A verdict was asked for.
    pub fn verdict(&self, cached: bool, given: bool) {
        match (given, cached) {
            (true, true) => self.known.inc(),
            (true, false) => self.verdicts.get_or_create(&Source { source: "guard" }).inc(),
            (false, _) => self.verdicts.get_or_create(&Source { source: "none" }).inc(),
        };
    }

    /// The guard scored a window that had waited so long for its batch; how many texts that had is told by the first of them.
    pub fn window(&self, wait: Duration, batch: Option<u32>) {
        self.windows.inc();
        self.wait.observe(wait.as_secs_f64());
        if let Some(texts) = batch {
            self.batch.observe(texts.into());
        }
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

    /// A flagged exchange was recorded, or could not be, after so much time.
    pub fn record(&self, time: Duration) {
        self.record.observe(time.as_secs_f64());
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

    /// The certificate of a listener holds until a time (Unix seconds).
    pub fn certificate(&self, listener: &'static str, until: i64) {
        self.certificates.get_or_create(&Listener { listener }).set(until);
        for outcome in ["changed", "unchanged", "refused"] {
            self.certificate_reloads.get_or_create(&Reading { listener, outcome }).inc_by(0);
        }
        self.certificate_stale.get_or_create(&Listener { listener }).inc_by(0);
    }

    /// A listener's TLS files were read again; whether they are refused.
    pub fn certificate_reload(&self, listener: &'static str, outcome: &'static str, refused: bool) {
        self.certificate_reloads.get_or_create(&Reading { listener, outcome }).inc();
        self.certificate_stale.get_or_create(&Listener { listener }).set(i64::from(refused));
    }

    /// What is counted of the shared cache.
    #[must_use]
    pub fn shared_cache(&self) -> &SharedCache {
        &self.shared_cache
    }
}
