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
use moka::future::Cache as Moka;

use super::window::Scored;
use crate::{
    config,
    guard::{Unavailable, Window},
    segment::Task,
};

/// A key: `HighwayHash` (J. Alakuijala, B. Cox, J. Wassenberg: Fast keyed hash/pseudo-random function using SIMD multiply and
/// permute, 2016) of what the score depends on. Who does not know the [`SECRET`] finds no two texts of one key.
pub(super) type Key = u128;

/// What keys are made with: drawn by each process, and told to nobody.
static SECRET: LazyLock<highway::Key> = LazyLock::new(|| highway::Key([(); 4].map(|()| RandomState::new().hash_one(()))));

/// Hashes keys for tables: a part of one is as good.
pub(super) type Part = BuildHasherDefault<FirstHalf>;

/// The first half of a key.
#[derive(Debug, Default)]
pub(super) struct FirstHalf(u64);

impl Hasher for FirstHalf {
    fn write(&mut self, bytes: &[u8]) {
        // Keys come by `write_u128`; anything else is mixed in as well as it goes.
        self.0 = bytes.iter().fold(self.0, |mixed, byte| mixed.rotate_left(8) ^ u64::from(*byte));
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of it is meant")]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
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
    scores: Moka<Key, Scored, Part>,
    flights: Flights,
}

/// A scoring under way. It ends when it is done, or when nobody waits for it any more.
type Flight = BoxFuture<'static, Result<Scored, Unavailable>>;

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
    flights: HashMap<Key, (u64, WeakShared<Flight>), Part>,
}

impl Flights {
    /// The scoring under way for a key, else `work` as one.
    fn join<F>(&self, key: Key, work: F) -> Joined<F>
    where
        F: Future<Output = Result<Scored, Unavailable>> + Send + 'static,
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
                .build_with_hasher(Part::default()),
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

    /// The score kept under `key`, or that of `work`, and whether it was kept or under way. A caller that goes away does not
    /// take the score from others who wait for it; when all have gone, the work ends too. Failures are not kept, and those that
    /// hang on who asked are nobody else's: who waited in vain then works for itself.
    pub(super) async fn get_or<F>(&self, key: Key, work: impl FnOnce() -> F) -> (Result<Scored, Unavailable>, bool)
    where
        F: Future<Output = Result<Scored, Unavailable>> + Send + 'static,
    {
        let Some(Kept { scores, flights }) = &self.kept else { return (work().await, false) };
        if let Some(score) = scores.get(&key).await {
            return (Ok(score), true);
        }
        let (kept, work) = (scores.clone(), work());
        let work = async move {
            let score = work.await;
            if let Ok(score) = &score {
                kept.insert(key, score.clone()).await;
            }
            score
        };
        match flights.join(key, work) {
            Joined::New(flight) => (flight.await, false),
            Joined::Another(flight, work) => match flight.await {
                // Another's time and its share of the queue, which a long request of its own may have used up.
                Err(Unavailable::Deadline | Unavailable::Overloaded) => (work.await, false),
                score => (score, true),
            },
        }
    }

    /// Verdicts kept.
    pub(super) fn entries(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.scores.entry_count())
    }
}

/// The key of a text of some kind: every part is preceded by its length, so that no two questions run together to one key.
pub(super) fn key([guard, kind]: [&str; 2], task: Task, prompt: Option<&str>, text: &str) -> Key {
    let prompt = prompt.filter(|_| task == Task::Response).unwrap_or_default();
    digest([guard.as_bytes(), kind.as_bytes(), name(task), prompt.as_bytes(), text.as_bytes()])
}

/// The key of a window: its ids hold the text, its context and the pass. What a hosted guard is sent may differ where they do
/// not.
pub(super) fn window_key(guard: &str, window: &Window) -> Key {
    let ids: Vec<u8> = window.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let words = window.words.as_deref().unwrap_or_default();
    digest([guard.as_bytes(), b"window", name(window.task), words.as_bytes(), &ids])
}

fn name(task: Task) -> &'static [u8] {
    match task {
        Task::Prompt => b"prompt",
        Task::Response => b"response",
    }
}

/// The key of parts, each preceded by its length.
pub(super) fn digest<const N: usize>(parts: [&[u8]; N]) -> Key {
    let mut hasher = HighwayHasher::new(*SECRET);
    for part in parts {
        hasher.append(&(part.len() as u64).to_le_bytes());
        hasher.append(part);
    }
    let [low, high] = hasher.finalize128();
    u128::from(low) | u128::from(high) << 64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn keys_tell_questions_apart() {
        let keys = [
            key(["g", "text"], Task::Prompt, None, "ab"),
            key(["ga", "text"], Task::Prompt, None, "b"),
            key(["g", "text"], Task::Response, None, "ab"),
            key(["g", "text"], Task::Response, Some("a"), "b"),
            key(["g", "text"], Task::Response, Some("ab"), ""),
            key(["g", "text"], Task::Prompt, None, "a\u{200b}b"),
            key(["g", "json"], Task::Prompt, None, "ab"),
            key(["gt", "ext"], Task::Prompt, None, "ab"),
            window_key("g", &Window { range: 0..2, ids: vec![1, 2], task: Task::Prompt, words: None }),
            window_key("g", &Window { range: 0..2, ids: vec![1, 3], task: Task::Prompt, words: None }),
            window_key("g", &Window { range: 0..2, ids: vec![1, 2], task: Task::Response, words: None }),
            window_key("g", &Window { range: 0..2, ids: vec![1, 2], task: Task::Prompt, words: Some("ab".to_owned()) }),
        ];
        let apart: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(apart.len(), keys.len());
        assert_eq!(key(["g", "text"], Task::Prompt, Some("x"), "ab"), keys[0], "a prompt is judged without context");
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
                outcome.map(Scored::from)
            }
        };
        let failed = cache.get_or(0, || work(Err(Unavailable::Deadline))).await;
        assert_eq!(failed, (Err(Unavailable::Deadline), false));
        let answers = futures_util::future::join_all((0..10).map(|_| cache.get_or(0, || work(Ok(0.5))))).await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert!(answers.iter().all(|(score, _)| *score == Ok(0.5.into())));
        assert_eq!(answers.iter().filter(|(_, cached)| !cached).count(), 1);
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
            let key = u128::try_from(number).unwrap();
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
        let mut slow = Box::pin(cache.get_or(4, std::future::pending));
        assert!((&mut slow).now_or_never().is_none());
        assert_eq!(other.get_or(4, || async { Ok(0.25.into()) }).await, (Ok(0.25.into()), false));
        drop(slow);
        assert_eq!(cache.get_or(4, || async { Ok(0.75.into()) }).await, (Ok(0.25.into()), true));
    }

    #[tokio::test]
    async fn work_goes_on_while_anybody_waits_and_no_longer() {
        let cache = Cache::new(&config::Cache::default());
        let board = || cache.kept.as_ref().unwrap().flights.lock().flights.len();
        let (done, answer) = tokio::sync::oneshot::channel();
        let mut first =
            Box::pin(cache.get_or(1, || async move { answer.await.map(Scored::from).map_err(|_| Unavailable::Deadline) }));
        let mut second = Box::pin(cache.get_or(1, || async { Ok(0.1.into()) }));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(first);
        assert!(!done.is_closed(), "the second still waits for it");
        done.send(0.7).unwrap();
        assert_eq!((second.await, board()), ((Ok(0.7.into()), true), 0));

        let (done, answer) = tokio::sync::oneshot::channel::<f32>();
        let mut only =
            Box::pin(cache.get_or(2, || async move { answer.await.map(Scored::from).map_err(|_| Unavailable::Deadline) }));
        assert!((&mut only).now_or_never().is_none());
        drop(only);
        assert!(done.is_closed());
        assert_eq!(board(), 0);

        let panics = cache.get_or(3, || async { panic!("as if by a bug") }).await;
        assert!(matches!(panics, (Err(Unavailable::Engine(_)), false)));
    }
}
