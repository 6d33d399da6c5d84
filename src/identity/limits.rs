//! How much each caller may ask for: calls a minute, tokens that guards read a minute, calls in flight.
//!
//! Buckets are counted exactly, and may be overdrawn: how many tokens a call takes is known only as guards read them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Caller;
use crate::config;

/// Accounts kept at once; those that are as good as new are dropped for others. Beyond that callers share one.
const ACCOUNTS: usize = 10_000;
/// Time between two looks for accounts to drop: while there are none, each new caller would cause one.
const SWEEP: Duration = Duration::from_secs(1);
/// What those are counted under who have no configured tenant.
const OTHERS: &str = "other";
/// What adding up small parts may lose of one.
const ROUNDING: f64 = 1e-6;

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Calls a minute.
    Requests,
    /// Tokens a minute that guards read.
    Tokens,
    /// Calls in flight.
    Concurrency,
}

impl Limit {
    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrency => "concurrency",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Requests => "calls a minute",
            Self::Tokens => "tokens a minute",
            Self::Concurrency => "calls at once",
        }
    }
}

/// A call is one too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {most} {} is reached; try again in {wait_s} s", .limit.words())]
pub struct Exceeded {
    /// What there is too much of.
    pub limit: Limit,
    /// What the limit is.
    pub most: u32,
    /// When a call can go through, in whole seconds.
    pub wait_s: u64,
    /// Who is limited, for metrics: a configured tenant, or `other`.
    pub tenant: String,
}

/// The limits of all callers.
#[derive(Debug)]
pub struct Limits {
    defaults: config::Limits,
    tenants: BTreeMap<String, config::Limits>,
    accounts: Mutex<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    of: HashMap<Who, Arc<Account>>,
    swept: Option<Instant>,
}

/// Who shares an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Tenant(String),
    Key(String),
    Subject(String),
    Nobody,
    /// Those for whom there is no room any more.
    Rest,
}

impl Limits {
    /// As these settings say.
    #[must_use]
    pub fn new(defaults: config::Limits, tenants: &BTreeMap<String, config::Limits>) -> Self {
        let tenants = tenants.iter().map(|(name, own)| (name.clone(), own.or(defaults))).collect();
        Self { defaults, tenants, accounts: Mutex::default() }
    }

    /// Lets a call of this caller in, and holds its place until the permit is dropped.
    ///
    /// # Errors
    /// It is one too many.
    pub fn admit(&self, caller: &Caller) -> Result<Permit, Exceeded> {
        self.admit_at(caller, Instant::now())
    }

    fn admit_at(&self, caller: &Caller, now: Instant) -> Result<Permit, Exceeded> {
        let own = caller.tenant.as_ref().and_then(|tenant| self.tenants.get(tenant));
        if *own.unwrap_or(&self.defaults) == config::Limits::default() {
            return Ok(Permit(None));
        }
        let account = self.account(Who::of(caller), own, now);
        account.enter(now).map_err(|(limit, most, wait)| {
            let tenant = caller.tenant.as_deref().filter(|_| own.is_some()).unwrap_or(OTHERS).to_owned();
            Exceeded { limit, most, wait_s: whole_seconds(wait), tenant }
        })?;
        Ok(Permit(Some(account)))
    }

    fn account(&self, who: Who, own: Option<&config::Limits>, now: Instant) -> Arc<Account> {
        let mut accounts = lock(&self.accounts);
        let Accounts { of, swept } = &mut *accounts;
        if let Some(account) = of.get(&who) {
            return Arc::clone(account);
        }
        let is_due = swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP);
        if of.len() >= ACCOUNTS && is_due {
            *swept = Some(now);
            // One that is in somebody's hands may be about to be charged.
            of.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_new(now));
        }
        // Configured tenants are few, and never crowded out.
        let has_room = own.is_some() || of.len() < ACCOUNTS;
        let account = || Arc::new(Account::new(*own.unwrap_or(&self.defaults), now));
        Arc::clone(of.entry(if has_room { who } else { Who::Rest }).or_insert_with(account))
    }
}

impl Who {
    fn of(caller: &Caller) -> Self {
        let Caller { tenant, key, subject, .. } = caller;
        match (tenant, key, subject) {
            (Some(tenant), _, _) => Self::Tenant(tenant.clone()),
            (None, Some(key), _) => Self::Key(key.clone()),
            (None, None, Some(subject)) => Self::Subject(subject.clone()),
            (None, None, None) => Self::Nobody,
        }
    }
}

/// What one caller has used.
#[derive(Debug)]
pub struct Account(Mutex<Used>);

#[derive(Debug)]
struct Used {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    most_flying: Option<u32>,
    flying: u32,
}

impl Account {
    fn new(limits: config::Limits, now: Instant) -> Self {
        // 0 lifts a limit.
        let bucket = |most: Option<u32>| most.filter(|most| *most > 0).map(|most| Bucket::new(most, now));
        Self(Mutex::new(Used {
            requests: bucket(limits.requests_per_minute),
            tokens: bucket(limits.tokens_per_minute),
            most_flying: limits.concurrency.filter(|most| *most > 0),
            flying: 0,
        }))
    }

    /// Counts a call, unless that is one too many: which limit it meets, and when there is room again.
    fn enter(&self, now: Instant) -> Result<(), (Limit, u32, Duration)> {
        let mut used = lock(&self.0);
        if let Some(most) = used.most_flying.filter(|most| used.flying >= *most) {
            // When one of them ends cannot be known.
            return Err((Limit::Concurrency, most, Duration::ZERO));
        }
        let Used { requests, tokens, flying, .. } = &mut *used;
        for (limit, bucket) in [(Limit::Tokens, tokens), (Limit::Requests, &mut *requests)] {
            if let Some(bucket) = bucket {
                bucket.wait(now).map_or(Ok(()), |wait| Err((limit, bucket.most, wait)))?;
            }
        }
        if let Some(requests) = requests {
            requests.spend(1, now);
        }
        *flying += 1;
        Ok(())
    }

    /// Counts tokens that a guard read.
    pub fn read(&self, tokens: usize) {
        if let Some(bucket) = &mut lock(&self.0).tokens {
            bucket.spend(tokens, Instant::now());
        }
    }

    /// Whether a new account in its place would allow no more.
    fn is_new(&self, now: Instant) -> bool {
        let mut used = lock(&self.0);
        let Used { requests, tokens, flying, .. } = &mut *used;
        *flying == 0 && [requests, tokens].into_iter().flatten().all(|bucket| bucket.is_full(now))
    }
}

/// A call's place among those in flight, given back when it is dropped.
#[derive(Debug, Default)]
pub struct Permit(Option<Arc<Account>>);

impl Permit {
    /// The account that the call is charged to, if it is limited at all.
    #[must_use]
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.0.as_ref()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(account) = &self.0 {
            let mut used = lock(&account.0);
            used.flying = used.flying.saturating_sub(1);
        }
    }
}

/// A minute's worth, which comes back evenly.
#[derive(Debug)]
struct Bucket {
    most: u32,
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(most: u32, now: Instant) -> Self {
        Self { most, left: f64::from(most), at: now }
    }

    fn refill(&mut self, now: Instant) {
        let rate = f64::from(self.most) / 60.0;
        let time = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + rate * time).min(f64::from(self.most));
        self.at = self.at.max(now);
    }

    /// How long until there is one; nothing if there is.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.refill(now);
        let short = 1.0 - self.left - ROUNDING;
        (short > 0.0).then(|| Duration::from_secs_f64(short * 60.0 / f64::from(self.most)))
    }

    fn spend(&mut self, count: usize, now: Instant) {
        self.refill(now);
        self.left -= f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left + ROUNDING >= f64::from(self.most)
    }
}

fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is counted holds no invariant that a panic could break.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(tenant: &str) -> Caller {
        Caller { tenant: Some(tenant.to_owned()), ..Caller::default() }
    }

    fn limits(requests: Option<u32>, tokens: Option<u32>, concurrency: Option<u32>) -> config::Limits {
        config::Limits { requests_per_minute: requests, tokens_per_minute: tokens, concurrency }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn calls_come_back_evenly() {
        let limits = Limits::new(limits(Some(2), None, None), &BTreeMap::new());
        let start = Instant::now();
        let ask = |at: u64| limits.admit_at(&caller("a"), start + seconds(at)).map(drop).map_err(|e| (e.limit, e.wait_s));
        assert_eq!((ask(0), ask(0)), (Ok(()), Ok(())));
        assert_eq!(ask(1), Err((Limit::Requests, 29)));
        assert_eq!(ask(29), Err((Limit::Requests, 1)));
        assert_eq!((ask(30), ask(31)), (Ok(()), Err((Limit::Requests, 29))));
        assert_eq!(limits.admit_at(&caller("b"), start).map(drop), Ok(()), "another has an account of its own");
        assert_eq!(
            (ask(1000), ask(1000), ask(1000)),
            (Ok(()), Ok(()), Err((Limit::Requests, 30))),
            "no more than a minute's worth"
        );
    }

    #[test]
    fn tokens_may_be_overdrawn_and_are_made_up_for() {
        let limits = Limits::new(limits(None, Some(60), None), &BTreeMap::new());
        let permit = limits.admit(&caller("a")).unwrap();
        permit.account().unwrap().read(180);
        let told = limits.admit(&caller("a")).unwrap_err();
        assert_eq!((told.limit, told.most), (Limit::Tokens, 60));
        assert!((120..=121).contains(&told.wait_s), "{told}");
        let later = Instant::now() + seconds(told.wait_s);
        assert!(limits.admit_at(&caller("a"), later).is_ok());
    }

    #[test]
    fn places_are_given_back() {
        let limits = Limits::new(limits(None, None, Some(1)), &BTreeMap::new());
        let permit = limits.admit(&Caller::default()).unwrap();
        let told = limits.admit(&Caller::default()).unwrap_err();
        assert_eq!(told.to_string(), "the limit of 1 calls at once is reached; try again in 1 s");
        drop(permit);
        assert!(limits.admit(&Caller::default()).is_ok());
    }

    #[test]
    fn a_call_that_is_refused_costs_nothing() {
        let limits = Limits::new(limits(Some(1), None, Some(1)), &BTreeMap::new());
        let start = Instant::now();
        let first = limits.admit_at(&caller("a"), start).unwrap();
        for _ in 0..5 {
            assert_eq!(limits.admit_at(&caller("a"), start + seconds(60)).unwrap_err().limit, Limit::Concurrency);
        }
        drop(first);
        assert!(limits.admit_at(&caller("a"), start + seconds(60)).is_ok());
    }

    #[test]
    fn tenants_have_their_own_and_metrics_know_only_these() {
        let own =
            BTreeMap::from([("a".to_owned(), limits(Some(0), None, Some(2))), ("b".to_owned(), limits(Some(1), None, None))]);
        let limits = Limits::new(limits(Some(1), None, None), &own);
        let a: Vec<_> = (0..2).map(|_| limits.admit(&caller("a")).unwrap()).collect();
        assert_eq!(limits.admit(&caller("a")).unwrap_err().limit, Limit::Concurrency, "0 lifts a limit, not the others");
        drop(a);
        for tenant in ["b", "c"] {
            assert!(limits.admit(&caller(tenant)).is_ok());
        }
        assert_eq!(limits.admit(&caller("b")).unwrap_err().tenant, "b");
        assert_eq!(limits.admit(&caller("c")).unwrap_err().tenant, OTHERS);
        let key = |name: &str| Caller { key: Some(name.to_owned()), ..Caller::default() };
        assert!(limits.admit(&key("x")).is_ok() && limits.admit(&key("y")).is_ok(), "who has no tenant goes by the key");
    }

    #[test]
    fn memory_is_bounded_and_no_debt_forgotten() {
        let limits = Limits::new(limits(Some(1), None, None), &BTreeMap::new());
        let start = Instant::now();
        for number in 0..ACCOUNTS {
            assert!(limits.admit_at(&caller(&number.to_string()), start).is_ok());
        }
        assert!(limits.admit_at(&caller("one more"), start).is_ok());
        assert!(limits.admit_at(&caller("and another"), start).is_err(), "these share an account");
        assert!(limits.admit_at(&caller("0"), start).is_err(), "those who were there keep theirs");
        let kept = || lock(&limits.accounts).of.len();
        assert_eq!(kept(), ACCOUNTS + 1);
        let held = limits.account(Who::of(&caller("0")), None, start);
        let later = start + seconds(60);
        assert!(limits.admit_at(&caller("one more"), later).is_ok());
        assert_eq!(kept(), 2, "who has made up for all is dropped");
        assert!(Arc::ptr_eq(&held, &limits.account(Who::of(&caller("0")), None, later)), "but nobody at the door");
    }

    #[test]
    fn accounts_are_looked_through_once_a_second() {
        let limits = Limits::new(limits(Some(600), None, None), &BTreeMap::new());
        let start = Instant::now();
        for number in 0..=ACCOUNTS {
            assert!(limits.admit_at(&caller(&number.to_string()), start).is_ok());
        }
        let kept = |name: &str, at: Duration| {
            assert!(limits.admit_at(&caller(name), start + at).is_ok());
            lock(&limits.accounts).of.len()
        };
        assert_eq!(kept("a", Duration::from_millis(500)), ACCOUNTS + 1, "all are as good as new, and not yet looked at");
        assert_eq!(kept("b", seconds(1)), 1);
    }
}
