//! Which server takes the next call: the least busy of those that are proven and not at rest.
//!
//! Pure: it is told the time. A server is asked only once it has scored the golden texts rightly. One that fails several
//! times in a row rests; after that a single call tries it, and decides whether it rests again.

use std::time::{Duration, Instant};

use crate::guard::Proof;

/// When servers are spared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Calls under way at each.
    pub(super) concurrency: usize,
    /// Failures in a row that make it rest.
    pub(super) failures: u32,
    /// How long it rests.
    pub(super) rest: Duration,
}

/// What is known of a server.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    /// It has not been reached, or not since it was lost; why.
    Down(String),
    /// It scores the golden texts otherwise; how.
    Unfit(String),
    /// It scores the golden texts rightly.
    Proven(Proof),
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server answered.
    Answered,
    /// It did not.
    Failed,
    /// The call was given up.
    Untold,
}

/// Why no server takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// All that could have their hands full.
    Busy,
    /// None could.
    Down,
}

#[derive(Debug)]
struct Slot {
    standing: Standing,
    calls: usize,
    failures: u32,
    rests_until: Option<Instant>,
}

/// The servers, by number.
#[derive(Debug)]
pub(super) struct Pool {
    slots: Vec<Slot>,
    rules: Rules,
}

impl Pool {
    pub(super) fn new(servers: usize, rules: Rules) -> Self {
        let slot = || Slot { standing: Standing::Down("not asked yet".to_owned()), calls: 0, failures: 0, rests_until: None };
        Self { slots: std::iter::repeat_with(slot).take(servers).collect(), rules }
    }

    /// Takes a place at the least busy server, but not at `except`. It must be given back.
    pub(super) fn take(&mut self, now: Instant, except: Option<usize>) -> Result<usize, Refused> {
        let asked = |(number, slot): &(usize, &mut Slot)| Some(*number) != except && slot.is_open(now);
        let least = self.slots.iter_mut().enumerate().filter(asked).min_by_key(|(_, slot)| slot.calls);
        let (number, slot) = least.ok_or(Refused::Down)?;
        if slot.calls >= self.rules.concurrency {
            return Err(Refused::Busy);
        }
        slot.calls += 1;
        Ok(number)
    }

    /// Gives a place back.
    pub(super) fn give_back(&mut self, server: usize, outcome: Outcome, now: Instant) {
        let Some(slot) = self.slots.get_mut(server) else { return };
        slot.calls = slot.calls.saturating_sub(1);
        match outcome {
            Outcome::Answered => (slot.failures, slot.rests_until) = (0, None),
            Outcome::Failed => {
                slot.failures = slot.failures.saturating_add(1);
                if slot.failures >= self.rules.failures {
                    slot.rests_until = Some(now + self.rules.rest);
                }
            }
            Outcome::Untold => {}
        }
    }

    /// Notes what was learned of a server; tells whether that is news.
    pub(super) fn stands(&mut self, server: usize, standing: Standing) -> bool {
        let Some(slot) = self.slots.get_mut(server) else { return false };
        let is_news = std::mem::discriminant(&slot.standing) != std::mem::discriminant(&standing);
        if is_news {
            (slot.failures, slot.rests_until) = (0, None);
        }
        slot.standing = standing;
        is_news
    }

    /// What is known of each server.
    pub(super) fn standings(&self) -> impl Iterator<Item = &Standing> {
        self.slots.iter().map(|slot| &slot.standing)
    }

    /// Whether each server would take a call.
    pub(super) fn open(&self, now: Instant) -> impl Iterator<Item = bool> {
        self.slots.iter().map(move |slot| slot.is_open(now))
    }
}

impl Slot {
    fn is_open(&self, now: Instant) -> bool {
        // After its rest a server gets one call at a time until one is answered.
        let rested = self.rests_until.is_none_or(|until| now >= until && self.calls == 0);
        matches!(self.standing, Standing::Proven(_)) && rested
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { concurrency: 2, failures: 3, rest: Duration::from_secs(10) };

    fn pool(servers: usize) -> Pool {
        let mut pool = Pool::new(servers, RULES);
        for server in 0..servers {
            assert!(pool.stands(server, Standing::Proven(Proof::default())));
        }
        pool
    }

    #[test]
    fn the_least_busy_server_is_asked_and_none_beyond_its_places() {
        let now = Instant::now();
        let mut pool = pool(2);
        let taken: Vec<_> = (0..5).map(|_| pool.take(now, None)).collect();
        assert_eq!(taken, [Ok(0), Ok(1), Ok(0), Ok(1), Err(Refused::Busy)]);
        pool.give_back(1, Outcome::Untold, now);
        assert_eq!(pool.take(now, None), Ok(1));
        pool.give_back(0, Outcome::Answered, now);
        assert_eq!(pool.take(now, Some(0)), Err(Refused::Busy), "the other is full, and this one was just tried");
        assert_eq!(pool.take(now, Some(1)), Ok(0));
    }

    #[test]
    fn a_server_that_fails_rests_and_is_tried_by_one_call() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pool = pool(1);
        for outcome in [Outcome::Failed, Outcome::Failed, Outcome::Answered, Outcome::Failed, Outcome::Failed] {
            assert_eq!(pool.take(start, None), Ok(0), "an answer in between starts the count again");
            pool.give_back(0, outcome, start);
        }
        assert_eq!(pool.take(start, None), Ok(0));
        pool.give_back(0, Outcome::Failed, start);
        assert_eq!(pool.take(at(9), None), Err(Refused::Down));
        assert_eq!((pool.take(at(10), None), pool.take(at(10), None)), (Ok(0), Err(Refused::Down)));
        pool.give_back(0, Outcome::Failed, at(11));
        assert_eq!((pool.take(at(20), None), pool.take(at(21), None)), (Err(Refused::Down), Ok(0)));
        pool.give_back(0, Outcome::Answered, at(22));
        assert_eq!((pool.take(at(22), None), pool.take(at(22), None)), (Ok(0), Ok(0)));
    }

    #[test]
    fn only_proven_servers_are_asked() {
        let now = Instant::now();
        let mut pool = Pool::new(2, RULES);
        assert_eq!(pool.take(now, None), Err(Refused::Down));
        assert!(pool.stands(1, Standing::Unfit("other scores".to_owned())));
        assert_eq!(pool.take(now, None), Err(Refused::Down));
        assert!(pool.stands(1, Standing::Proven(Proof::default())));
        assert_eq!((pool.take(now, None), pool.open(now).collect()), (Ok(1), vec![false, true]));
        assert!(!pool.stands(0, Standing::Down("refused".to_owned())), "it was down before");
    }
}
