//! How much of a guard's queue one request may take, so that a long one keeps nobody else out.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Guard, Turn, Window, batch::Asker};
use crate::{config, segment::Direction};

/// Requests that it takes to fill a queue.
const REQUESTS: usize = 16;
/// Queues that a text may fill, one after another.
const QUEUES: usize = 4;

/// Most tokens of a text, counted for each pass.
pub(super) fn longest(settings: &config::Guard) -> usize {
    settings.queue_tokens.saturating_mul(QUEUES)
}

/// One request's share of a guard's queue. Windows for which it has no room wait for those before them; those in the queue take
/// turns with other requests'.
#[derive(Debug, Clone)]
pub struct Share {
    room: Arc<Taken>,
    tokens: u32,
    asker: Asker,
    meter: Meter,
}

/// What is left of a share, and what was done with it.
#[derive(Debug)]
struct Taken {
    left: Semaphore,
    scoring: Mutex<Scoring>,
}

/// What scoring it took to judge something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scoring {
    /// Windows that were scored.
    pub windows: u64,
    /// The longest time that one of them waited for its batch.
    pub wait: Duration,
    /// Windows of the largest batch that one of them was in, others' included.
    pub batch: u32,
}

impl Scoring {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { windows: self.windows + other.windows, wait: self.wait.max(other.wait), batch: self.batch.max(other.batch) }
    }
}

/// Is told how many tokens guards are given to read for somebody, as it happens.
#[derive(Clone, Default)]
pub struct Meter(Option<Arc<dyn Fn(usize) + Send + Sync>>);

impl Meter {
    /// A meter that tells `told`.
    pub fn new(told: impl Fn(usize) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

impl Share {
    /// A share of a guard's queue for what is judged of an exchange in one direction. The meter is told of each window that takes
    /// room. A guard that has too much to do refuses requests, not answers to those that it let in: they would have been
    /// judged, and answered, in vain.
    #[must_use]
    pub fn at(guard: &Guard, direction: Direction, meter: Meter) -> Self {
        let asker = match direction {
            Direction::Request => Asker::default(),
            Direction::Response => Asker::begun(),
        };
        Self { asker, meter, ..Self::of(guard.queue_tokens) }
    }

    pub(super) fn asker(&self) -> &Asker {
        &self.asker
    }

    fn of(queue: usize) -> Self {
        let tokens = u32::try_from(queue / REQUESTS).unwrap_or(u32::MAX).max(1);
        Self {
            room: Arc::new(Taken {
                left: Semaphore::new(usize::try_from(tokens).unwrap_or(Semaphore::MAX_PERMITS)),
                scoring: Mutex::default(),
            }),
            tokens,
            asker: Asker::default(),
            meter: Meter::default(),
        }
    }

    /// Room for a window, given back when it is dropped. A window that is larger than the share takes all of it.
    pub async fn take(&self, window: &Window) -> Option<SemaphorePermit<'_>> {
        let tokens = u32::try_from(window.ids.len()).unwrap_or(u32::MAX).min(self.tokens);
        let room = self.room.left.acquire_many(tokens).await.ok();
        if let Meter(Some(told)) = &self.meter {
            told(window.ids.len());
        }
        room
    }

    /// Takes note of a window that was scored.
    pub fn scored(&self, turn: Turn) {
        let mut scoring = self.room.scoring.lock().unwrap_or_else(PoisonError::into_inner);
        *scoring = scoring.and(Scoring { windows: 1, wait: turn.wait, batch: turn.texts });
    }

    /// What was scored so far.
    #[must_use]
    pub fn scoring(&self) -> Scoring {
        *self.room.scoring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::segment::Task;

    #[test]
    fn windows_wait_for_room() {
        let share = Share::of(1_600);
        let window = |length: usize| Window { range: 0..0, ids: vec![7; length], task: Task::Prompt, words: None };
        let [half, large] = [50, 1_000].map(window);
        let (first, second) = (share.take(&half).now_or_never(), share.take(&half).now_or_never());
        assert!(first.flatten().is_some_and(|first| {
            assert!(second.flatten().is_some(), "a sixteenth of the queue holds both");
            assert!(share.take(&large).now_or_never().is_none(), "there is no room while the first is there");
            drop(first);
            true
        }));
        assert!(share.take(&large).now_or_never().flatten().is_some(), "one that is too large runs by itself");
    }
}
