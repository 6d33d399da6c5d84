//! The verdict cache: what a guard said of a text, under a key that nothing else can share.
//!
//! The key covers guard, kind of text, task, context and the text as written. Scores depend on both the text's written and its unhidden
//! form, so two spellings that fold to one form must not share a verdict. Values are scores, never decisions: a change of
//! policy needs no flush.

use std::{sync::Arc, time::Duration};

use moka::future::Cache as Moka;

use crate::{
    config,
    guard::{Unavailable, Window},
    segment::Task,
};

/// A key: BLAKE3 of what the score depends on.
pub(super) type Key = [u8; 32];

/// Scores by key. Concurrent equals wait for one scoring.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    scores: Option<Moka<Key, f32>>,
}

impl Cache {
    pub(super) fn new(settings: &config::Cache) -> Self {
        let scores = (settings.entries > 0)
            .then(|| Moka::builder().max_capacity(settings.entries).time_to_live(Duration::from_secs(settings.ttl_s)).build());
        Self { scores }
    }

    /// The score kept under `key`, or that of `work`, and whether it was kept. `work` runs in a task of its own: a caller
    /// that goes away cannot take the score from others who wait for it. Failures are not kept.
    pub(super) async fn get_or<F>(&self, key: Key, work: F) -> (Result<f32, Unavailable>, bool)
    where
        F: Future<Output = Result<f32, Unavailable>> + Send + 'static,
    {
        let Some(scores) = &self.scores else { return (work.await, false) };
        if let Some(score) = scores.get(&key).await {
            return (Ok(score), true);
        }
        let mut fresh = false;
        let init = async {
            fresh = true;
            tokio::spawn(work).await.unwrap_or_else(|e| Err(Unavailable::Engine(e.to_string())))
        };
        let score = scores.try_get_with(key, init).await.map_err(|error: Arc<Unavailable>| error.as_ref().clone());
        (score, !fresh)
    }

    /// Verdicts kept.
    pub(super) fn entries(&self) -> u64 {
        self.scores.as_ref().map_or(0, Moka::entry_count)
    }
}

/// The key of a text of some kind: every part is preceded by its length, so that no two questions run together to one key.
pub(super) fn key([guard, kind]: [&str; 2], task: Task, prompt: Option<&str>, text: &str) -> Key {
    let prompt = prompt.filter(|_| task == Task::Response).unwrap_or_default();
    digest([guard.as_bytes(), kind.as_bytes(), name(task), prompt.as_bytes(), text.as_bytes()])
}

/// The key of a window: its ids hold the text, its context and the pass.
pub(super) fn window_key(guard: &str, window: &Window) -> Key {
    let ids: Vec<u8> = window.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    digest([guard.as_bytes(), b"window", name(window.task), b"", &ids])
}

fn name(task: Task) -> &'static [u8] {
    match task {
        Task::Prompt => b"prompt",
        Task::Response => b"response",
    }
}

fn digest(parts: [&[u8]; 5]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
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
            window_key("g", &Window { range: 0..2, ids: vec![1, 2], task: Task::Prompt }),
            window_key("g", &Window { range: 0..2, ids: vec![1, 3], task: Task::Prompt }),
            window_key("g", &Window { range: 0..2, ids: vec![1, 2], task: Task::Response }),
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
                outcome
            }
        };
        let failed = cache.get_or([0; 32], work(Err(Unavailable::Deadline))).await;
        assert_eq!(failed, (Err(Unavailable::Deadline), false));
        let answers = futures_util::future::join_all((0..10).map(|_| cache.get_or([0; 32], work(Ok(0.5))))).await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert!(answers.iter().all(|(score, _)| *score == Ok(0.5)));
        assert_eq!(answers.iter().filter(|(_, cached)| !cached).count(), 1);
    }
}
