//! What is counted of the cache that nodes share.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Look-ups, writes, and how the server is.
#[derive(Debug)]
pub struct SharedCache {
    lookups: Family<Outcome, Counter>,
    seconds: Histogram,
    writes: Family<Outcome, Counter>,
    ready: Family<Server, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    url: String,
}

impl SharedCache {
    pub(super) fn new(registry: &mut Registry) -> Self {
        // From a tenth of a millisecond to a second.
        let seconds = Histogram::new(exponential_buckets(0.0001, 2.0, 14));
        let all = Self { lookups: Family::default(), seconds, writes: Family::default(), ready: Family::default() };
        registry.register(
            "shared_cache_lookups",
            "Texts looked up in the shared cache by outcome: hit, miss; rejected (no verdict of ours stood there); timeout, error; away (it was not asked)",
            all.lookups.clone(),
        );
        registry.register_with_unit("shared_cache_lookup", "Time of those that were asked", Unit::Seconds, all.seconds.clone());
        registry.register(
            "shared_cache_writes",
            "Verdicts for the shared cache by outcome: written; error; away or full (not tried)",
            all.writes.clone(),
        );
        registry.register("shared_cache_ready", "1 if the shared cache is asked, else 0", all.ready.clone());
        all
    }

    /// A text was looked up.
    pub fn looked_up(&self, outcome: &'static str, time: Duration) {
        self.lookups.get_or_create(&Outcome { outcome }).inc();
        if outcome != "away" {
            self.seconds.observe(time.as_secs_f64());
        }
    }

    /// Verdicts were written, or not.
    pub fn written(&self, outcome: &'static str, count: usize) {
        if count > 0 {
            self.writes.get_or_create(&Outcome { outcome }).inc_by(count as u64);
        }
    }

    /// Whether the server there is asked.
    pub fn ready(&self, url: &str, ready: bool) {
        for outcome in ["hit", "miss", "rejected", "timeout", "error", "away"] {
            self.lookups.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        for outcome in ["written", "error", "away", "full"] {
            self.writes.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        self.ready.get_or_create(&Server { url: url.to_owned() }).set(i64::from(ready));
    }
}
