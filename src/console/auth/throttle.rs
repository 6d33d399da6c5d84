//! Guessing is slowed, by the name that is guessed at and by the address that guesses do come from.
//!
//! What counts is kept in memory, each node for itself. A name can be kept waiting by others who guess at it: for a few minutes,
//! and without any harm to who has signed in already.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Tries in a row that a name has before it waits, and an address, behind which there may be many people.
const FREE: [u32; 2] = [5, 20];
/// The first wait; each further try that fails doubles it.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(300);
/// Time after which what failed is forgotten.
const FORGET: Duration = Duration::from_secs(3_600);
/// Names and addresses beyond which those that need not wait are forgotten.
const MANY: usize = 10_000;

/// What is guessed at, or where guesses come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    Address(IpAddr),
}

impl Key {
    fn free(&self) -> u32 {
        let [name, address] = FREE;
        if matches!(self, Self::Name(_)) { name } else { address }
    }
}

/// Tries that failed, or that are not over.
#[derive(Debug, Clone, Copy)]
struct Tries {
    count: u32,
    last: Instant,
}

impl Tries {
    /// When the next one may come.
    fn next(self, free: u32) -> Instant {
        let Some(over) = self.count.checked_sub(free) else { return self.last };
        let wait = 2_u32.checked_pow(over).and_then(|times| FIRST.checked_mul(times)).unwrap_or(LONGEST);
        self.last + wait.min(LONGEST)
    }
}

/// Counts tries.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<Key, Tries>>);

/// A try that may be made. It counts as failed unless it is said to have succeeded.
#[derive(Debug)]
pub(super) struct Try<'t> {
    throttle: &'t Throttle,
    name: Option<Key>,
    address: Key,
}

impl Throttle {
    /// Begins a try at this name, if one is guessed at, from this address.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn begin(&self, name: Option<&str>, address: IpAddr) -> Result<Try<'_>, Duration> {
        self.begin_at(Instant::now(), name, address)
    }

    fn begin_at(&self, now: Instant, name: Option<&str>, address: IpAddr) -> Result<Try<'_>, Duration> {
        let mut tries = self.lock();
        let attempt =
            Try { throttle: self, name: name.map(|name| Key::Name(name.to_owned())), address: Key::Address(network(address)) };
        let next = attempt.keys().filter_map(|key| Some(tries.get(key)?.next(key.free()))).max();
        if let Some(wait) = next.and_then(|next| next.checked_duration_since(now)).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if tries.len() > MANY {
            tries.retain(|key, tries| tries.next(key.free()) > now);
        }
        for key in attempt.keys() {
            let known = tries.entry(key.clone()).or_insert(Tries { count: 0, last: now });
            let count = if now.duration_since(known.last) > FORGET { 0 } else { known.count };
            *known = Tries { count: count + 1, last: now };
        }
        drop(tries);
        Ok(attempt)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Tries>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Try<'_> {
    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.name.iter().chain([&self.address])
    }

    /// It has. The name's earlier tries are forgiven, but not the address's: who has a name of their own guesses no more at
    /// others' for that.
    pub(super) fn succeeded(self) {
        let mut tries = self.throttle.lock();
        if let Some(name) = &self.name {
            tries.remove(name);
        }
        if let Some(known) = tries.get_mut(&self.address) {
            known.count = known.count.saturating_sub(1);
        }
    }
}

/// The address, or of IPv6 the network that one customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn other(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    /// How many tries are let through of so many at once.
    fn let_through(throttle: &Throttle, now: Instant, name: impl Fn(u8) -> String, address: impl Fn(u8) -> IpAddr) -> usize {
        (0..50).filter(|number| throttle.begin_at(now, Some(&name(*number)), address(*number)).is_ok()).count()
    }

    #[test]
    fn a_name_is_not_guessed_at_from_many_places_nor_many_from_one() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        assert_eq!(let_through(&throttle, now, |_| "ana".into(), other), 5);
        assert_eq!(throttle.begin_at(now, Some("ana"), HERE).unwrap_err(), FIRST);
        assert_eq!(let_through(&throttle, now, |number| number.to_string(), |_| HERE), 20);
        assert_eq!(throttle.begin_at(now, None, HERE).unwrap_err(), FIRST);
        assert!(throttle.begin_at(now, None, other(0)).is_ok() && throttle.begin_at(now, Some("bo"), other(1)).is_ok());
    }

    #[test]
    fn waits_double_end_and_are_forgotten() {
        let (throttle, mut now) = (Throttle::default(), Instant::now());
        assert_eq!(let_through(&throttle, now, |_| "ana".into(), |_| HERE), 5);
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            let told = throttle.begin_at(now, Some("ana"), HERE).unwrap_err();
            assert_eq!(told, Duration::from_secs(wait));
            now += told;
            assert!(throttle.begin_at(now, Some("ana"), other(9)).is_ok());
        }
        now += FORGET + Duration::from_secs(1);
        assert_eq!(let_through(&throttle, now, |_| "ana".into(), |_| HERE), 5);
    }

    #[test]
    fn who_signs_in_waits_for_nothing() {
        let throttle = Throttle::default();
        for _ in 0..100 {
            throttle.begin(Some("ana"), HERE).unwrap().succeeded();
        }
        // One's own name does not pay for guesses at another's.
        let guesses = (0..100).filter(|guess| {
            if let Ok(own) = throttle.begin(Some("eve"), HERE) {
                own.succeeded();
            }
            throttle.begin(Some(&format!("name {guess}")), HERE).is_ok()
        });
        assert_eq!(guesses.count(), 20);
    }

    #[test]
    fn what_is_kept_is_bounded_but_for_who_must_wait() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        assert_eq!(let_through(&throttle, now, |_| "ana".into(), other), 5);
        for number in 0..2 * MANY {
            let [.., a, b] = number.to_be_bytes();
            throttle.begin_at(now, Some(&number.to_string()), IpAddr::from([11, 0, a, b])).unwrap();
        }
        assert!(throttle.lock().len() <= MANY + 2);
        assert!(throttle.begin_at(now, Some("ana"), HERE).is_err());
    }

    #[test]
    fn one_customer_is_one() {
        let same = |one: &str, other: &str| network(one.parse().unwrap()) == network(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:10.0.0.1", "10.0.0.1") && !same("10.0.0.1", "10.0.0.2"));
    }
}
