//! Whether an upstream is worth a call: after several calls in a row that found no connection, further ones are refused at once
//! for a moment, so that they do not pile up, each waiting for a connection of its own.
//!
//! Only connections count. An upstream that answers, however badly, is there; and what it does with a call that it has had is
//! not known, so that no call is made twice.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Calls in a row that find no connection.
const MOST: u32 = 5;
/// Time between two calls that try whether it is back.
pub(super) const REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Breaker {
    begun: Instant,
    failures: AtomicU32,
    /// When a call may try again, in milliseconds since the beginning.
    next: AtomicU64,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), failures: AtomicU32::new(0), next: AtomicU64::new(0) }
    }

    /// Whether a call may go on.
    pub(super) fn allows(&self) -> bool {
        self.failures.load(Relaxed) < MOST || self.is_turn(self.begun.elapsed())
    }

    /// Whether it is time to try again; then the next time is later.
    fn is_turn(&self, now: Duration) -> bool {
        let next = self.next.load(Relaxed);
        // Of several at once, one tries.
        millis(now) >= next && self.next.compare_exchange(next, millis(now + REST), Relaxed, Relaxed).is_ok()
    }

    /// A call found a connection. Whether that is news: further calls had been refused.
    pub(super) fn found(&self) -> bool {
        self.failures.load(Relaxed) > 0 && self.failures.swap(0, Relaxed) >= MOST
    }

    /// A call found none. Whether that is news: further calls are refused from now on.
    pub(super) fn missed(&self) -> bool {
        let before = self.failures.fetch_update(Relaxed, Relaxed, |count| Some(count.saturating_add(1))).unwrap_or_default();
        if before + 1 >= MOST {
            self.next.store(millis(self.begun.elapsed() + REST), Relaxed);
        }
        before + 1 == MOST
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_refuses_after_several_misses_and_lets_one_call_at_a_time_try_again() {
        let breaker = Breaker::new();
        for _ in 1..MOST {
            assert!(!breaker.missed() && breaker.allows());
        }
        assert!(!breaker.found() && breaker.allows(), "one that finds a connection begins the count anew");
        let news: Vec<bool> = (0..=MOST).map(|_| breaker.missed()).collect();
        assert_eq!(news.iter().filter(|news| **news).count(), 1, "{news:?}");
        assert!(!breaker.allows());
        let later = breaker.begun.elapsed() + REST;
        assert!(breaker.is_turn(later));
        assert!(!breaker.is_turn(later), "one is enough");
        assert!(breaker.is_turn(later + REST));
        assert!(breaker.found() && breaker.allows());
    }
}
