//! The verdict cache: what a guard said of a text, under a key that nothing else can share.
//!
//! The key covers guard, kind of text, task, context and the text as written. Scores depend on both the text's written and its unhidden
//! form, so two spellings that fold to one form must not share a verdict. Values are scores, a long text's with those of its
//! windows, never decisions: a change of policy needs no flush.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState},
    panic::AssertUnwindSafe,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use highway::{HighwayHash as _, HighwayHasher};
use moka::sync::Cache as Moka;

use super::window::Scored;
use crate::{
    config,
    guard::{Unavailable, Window},
    segment::Task,
};

/// What stands for a text: `HighwayHash` of it (J. Alakuijala, B. Cox, J. Wassenberg: Fast keyed hash/pseudo-random function using
/// SIMD multiply and permute, 2016). Who does not know the [`SECRET`] finds no two texts with one digest.
pub(super) type Digest = u128;

/// What digests are made with: drawn by each process, and told to nobody.
static SECRET: LazyLock<highway::Key> = LazyLock::new(|| highway::Key([(); 4].map(|()| RandomState::new().hash_one(()))));

/// The digest of a text.
pub(super) fn digest(text: impl AsRef<[u8]>) -> Digest {
    let [low, high] = HighwayHasher::new(*SECRET).hash128(text.as_ref());
    u128::from(low) | u128::from(high) << 64
}

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// As prose.
    Text,
    /// As JSON: it has other unhidden forms than prose has.
    Json,
    /// As a guard's window: by its ids, which hold the text, its context and the pass.
    Window,
}

/// What a score depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Of the guard's identity.
    pub(super) guard: Digest,
    pub(super) kind: Kind,
    pub(super) task: Task,
    /// Of what an answer answers, or of what a hosted guard is sent: that may differ where ids do not.
    pub(super) context: Option<Digest>,
    pub(super) text: Digest,
}

impl Key {
    /// The key of a window.
    pub(super) fn window(guard: Digest, window: &Window) -> Self {
        let ids: Vec<u8> = window.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let context = window.words.as_deref().map(digest);
        Self { guard, kind: Kind::Window, task: window.task, context, text: digest(ids) }
    }
}

/// Hashes keys for tables: digests are as good as random.
pub(super) type Mix = BuildHasherDefault<Mixed>;

/// Digests and whatever stands beside them, mixed.
#[derive(Debug, Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |mixed, byte| mixed.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_isize(&mut self, number: isize) {
        self.0 = self.0.rotate_left(8) ^ number.cast_unsigned() as u64;
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of it is meant")]
    fn write_u128(&mut self, digest: u128) {
        self.0 = self.0.rotate_left(8) ^ digest as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Scores by key. Concurrent equals wait for one scoring.
#[derive(Debug)]
pub(super) struct Cache {
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    scores: Moka<Key, Scored, Mix>,
    flights: Flights,
}

/// A score, and whether another node has told it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) scored: Scored,
    pub(super) told: bool,
}

impl<S: Into<Scored>> From<S> for Found {
    fn from(scored: S) -> Self {
        Self { scored: scored.into(), told: false }
    }
}

/// A scoring under way. It ends when it is done, or when nobody waits for it any more.
type Flight = BoxFuture<'static, Result<Found, Unavailable>>;

/// What one who asks waits for.
enum Joined<F> {
    /// Its own work.
    New(Shared<Flight>),
    /// A scoring that another began, and its own work, not begun.
    Another(Shared<Flight>, F),
}

/// The scorings under way.
#[derive(Debug, Clone, Default)]
struct Flights(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    /// Flights begun so far: the number of each.
    begun: u64,
    flights: HashMap<Key, (u64, WeakShared<Flight>), Mix>,
}

impl Flights {
    /// The scoring under way for a key, else `work` as one.
    fn join<F>(&self, key: Key, work: F) -> Joined<F>
    where
        F: Future<Output = Result<Found, Unavailable>> + Send + 'static,
    {
        let mut board = self.lock();
        if let Some(flight) = board.flights.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return Joined::Another(flight, work);
        }
        board.begun += 1;
        let landing = Landing { flights: self.clone(), key, number: board.begun };
        let flight = async move {
            let score = AssertUnwindSafe(work).catch_unwind().await;
            drop(landing);
            score.unwrap_or_else(|_| Err(Unavailable::Engine("the scoring panicked".to_owned())))
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            let number = board.begun;
            board.flights.insert(key, (number, weak));
        }
        Joined::New(flight)
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // The board holds no invariant that a panic could break.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the board when it ends, in whatever way.
struct Landing {
    flights: Flights,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut board = self.flights.lock();
        // After a flight that all have left, another may have begun under its key.
        if board.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            board.flights.remove(&self.key);
        }
    }
}

impl Cache {
    pub(super) fn new(settings: &config::Cache) -> Self {
        let kept = (settings.entries > 0).then(|| Kept {
            scores: Moka::builder()
                .max_capacity(settings.entries)
                .weigher(|_, scored: &Scored| scored.weight())
                .time_to_live(Duration::from_secs(settings.ttl_s))
                .build_with_hasher(Mix::default()),
            flights: Flights::default(),
        });
        Self { kept }
    }

    /// The same scores for another guard. Guards of one identity share what is known; a scoring under way is one guard's own,
    /// with its queue and its deadline.
    pub(super) fn beside(&self) -> Self {
        let kept = self.kept.as_ref().map(|kept| Kept { scores: kept.scores.clone(), flights: Flights::default() });
        Self { kept }
    }

    /// The score kept under `key`.
    pub(super) fn known(&self, key: &Key) -> Option<Scored> {
        self.kept.as_ref()?.scores.get(key)
    }

    /// The score kept under `key`, or that of `work`, and whether it was kept, under way, or told by another node. A caller that goes away does not
    /// take the score from others who wait for it; when all have gone, the work ends too. Failures are not kept, and those that
    /// hang on who asked are nobody else's: who waited in vain then works for itself.
    pub(super) async fn get_or<F>(&self, key: Key, work: impl FnOnce() -> F) -> (Result<Scored, Unavailable>, bool)
    where
        F: Future<Output = Result<Found, Unavailable>> + Send + 'static,
    {
        let split = |found: Result<Found, Unavailable>| match found {
            Ok(Found { scored, told }) => (Ok(scored), told),
            Err(error) => (Err(error), false),
        };
        let Some(Kept { scores, flights }) = &self.kept else { return split(work().await) };
        if let Some(score) = scores.get(&key) {
            return (Ok(score), true);
        }
        let (kept, work) = (scores.clone(), work());
        let work = async move {
            let found = work.await;
            if let Ok(Found { scored, .. }) = &found {
                kept.insert(key, scored.clone());
            }
            found
        };
        match flights.join(key, work) {
            Joined::New(flight) => split(flight.await),
            Joined::Another(flight, work) => match flight.await {
                // Another's time and its share of the queue, which a long request of its own may have used up.
                Err(Unavailable::Deadline | Unavailable::Overloaded) => split(work.await),
                found => (found.map(|found| found.scored), true),
            },
        }
    }

    /// Verdicts kept.
    pub(super) fn entries(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.scores.entry_count())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A key of nothing but a number.
    fn numbered(text: Digest) -> Key {
        Key { guard: 0, kind: Kind::Text, task: Task::Prompt, context: None, text }
    }

    #[test]
    fn keys_tell_questions_apart() {
        let (plain, window) = (numbered(digest("ab")), |ids: &[u32], task, words: Option<&str>| {
            Key::window(0, &Window { range: 0..2, ids: ids.to_vec(), task, words: words.map(str::to_owned) })
        });
        let keys = [
            plain,
            Key { guard: 1, ..plain },
            Key { kind: Kind::Json, ..plain },
            Key { task: Task::Response, ..plain },
            Key { task: Task::Response, context: Some(digest("")), ..plain },
            Key { task: Task::Response, context: Some(digest("ab")), ..plain },
            numbered(digest("a\u{200b}b")),
            window(&[1, 2], Task::Prompt, None),
            window(&[1, 3], Task::Prompt, None),
            window(&[1, 2], Task::Response, None),
            window(&[1, 2], Task::Prompt, Some("ab")),
        ];
        let apart: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(apart.len(), keys.len());
        let hashes: std::collections::HashSet<_> = keys.iter().map(|key| Mix::default().hash_one(key)).collect();
        assert_eq!(hashes.len(), keys.len(), "their hashes tell them apart too");
    }

    #[tokio::test]
    async fn concurrent_equals_are_scored_once_and_failures_are_not_kept() {
        let cache = Cache::new(&config::Cache::default());
        let runs = Arc::new(AtomicUsize::new(0));
        let work = |outcome: Result<f32, Unavailable>| {
            let runs = Arc::clone(&runs);
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                outcome.map(Found::from)
            }
        };
        let failed = cache.get_or(numbered(0), || work(Err(Unavailable::Deadline))).await;
        assert_eq!(failed, (Err(Unavailable::Deadline), false));
        let answers = futures_util::future::join_all((0..10).map(|_| cache.get_or(numbered(0), || work(Ok(0.5))))).await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert!(answers.iter().all(|(score, _)| *score == Ok(0.5.into())));
        assert_eq!(answers.iter().filter(|(_, cached)| !cached).count(), 1);
        let told = async || Ok(Found { scored: 0.25.into(), told: true });
        assert_eq!(cache.get_or(numbered(1), told).await, (Ok(0.25.into()), true), "another node knew");
    }

    #[tokio::test]
    async fn nobody_fails_by_anothers_time_or_share() {
        let cache = Cache::new(&config::Cache::default());
        let broken = Unavailable::Engine("for anybody".to_owned());
        for (number, (failed, told)) in [
            (Unavailable::Deadline, (Ok(0.5.into()), false)),
            (Unavailable::Overloaded, (Ok(0.5.into()), false)),
            (broken.clone(), (Err(broken.clone()), true)),
        ]
        .into_iter()
        .enumerate()
        {
            let key = numbered(u128::try_from(number).unwrap());
            let error = failed.clone();
            let first = cache.get_or(key, || async {
                tokio::task::yield_now().await;
                Err(error)
            });
            let (first, second) = tokio::join!(first, cache.get_or(key, || async { Ok(0.5.into()) }));
            assert_eq!((first, &second), ((Err(failed), false), &told));
            assert_eq!(
                cache.get_or(key, || async { Ok(0.25.into()) }).await.1,
                second.0.is_ok(),
                "what it scored itself is kept"
            );
        }
    }

    #[tokio::test]
    async fn guards_share_scores_and_wait_for_no_other() {
        let cache = Cache::new(&config::Cache::default());
        let other = cache.beside();
        let mut slow = Box::pin(cache.get_or(numbered(4), std::future::pending));
        assert!((&mut slow).now_or_never().is_none());
        assert_eq!(other.get_or(numbered(4), || async { Ok(0.25.into()) }).await, (Ok(0.25.into()), false));
        drop(slow);
        assert_eq!(cache.get_or(numbered(4), || async { Ok(0.75.into()) }).await, (Ok(0.25.into()), true));
    }

    #[tokio::test]
    async fn work_goes_on_while_anybody_waits_and_no_longer() {
        let cache = Cache::new(&config::Cache::default());
        let board = || cache.kept.as_ref().unwrap().flights.lock().flights.len();
        let (done, answer) = tokio::sync::oneshot::channel();
        let mut first = Box::pin(
            cache.get_or(numbered(1), || async move { answer.await.map(Found::from).map_err(|_| Unavailable::Deadline) }),
        );
        let mut second = Box::pin(cache.get_or(numbered(1), || async { Ok(0.1.into()) }));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(first);
        assert!(!done.is_closed(), "the second still waits for it");
        done.send(0.7).unwrap();
        assert_eq!((second.await, board()), ((Ok(0.7.into()), true), 0));

        let (done, answer) = tokio::sync::oneshot::channel::<f32>();
        let mut only = Box::pin(
            cache.get_or(numbered(2), || async move { answer.await.map(Found::from).map_err(|_| Unavailable::Deadline) }),
        );
        assert!((&mut only).now_or_never().is_none());
        drop(only);
        assert!(done.is_closed());
        assert_eq!(board(), 0);

        let panics = cache.get_or(numbered(3), || async { panic!("as if by a bug") }).await;
        assert!(matches!(panics, (Err(Unavailable::Engine(_)), false)));
    }
}
