//! A bound on calls within any minute.
//!
//! Pure: it is told the time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);

/// The calls of the last minute.
#[derive(Debug)]
pub(super) struct Limit {
    most: usize,
    calls: VecDeque<Instant>,
}

impl Limit {
    pub(super) fn new(most: usize) -> Self {
        Self { most, calls: VecDeque::new() }
    }

    /// Whether a call may be made now; if so, it counts.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        while self.calls.front().is_some_and(|call| now.duration_since(*call) >= MINUTE) {
            self.calls.pop_front();
        }
        let allowed = self.calls.len() < self.most;
        if allowed {
            self.calls.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_holds_more_than_the_bound() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut limit = Limit::new(2);
        let allowed: Vec<bool> = [0, 50, 55, 59, 60, 61, 109, 110].map(|second| limit.allows(at(second))).to_vec();
        assert_eq!(allowed, [true, true, false, false, true, false, false, true]);
    }
}
