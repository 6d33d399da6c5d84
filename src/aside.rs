//! Work that takes the processor for long, aside of the threads that serve connections.
//!
//! No more of it runs at once than there are cores to run it: more threads would only take the cores from each other and from the
//! guard's, and each holds memory of its own. What is short need not wait for what is long: each has as many places.

use std::{sync::LazyLock, thread::available_parallelism};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::{JoinError, spawn_blocking},
};

/// Bytes of text from which on reading it takes milliseconds.
pub const LONG: usize = 32 << 10;

static PLACES: LazyLock<[Semaphore; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Semaphore::new(available_parallelism().map_or(1, usize::from))));

/// A place to work at. The semaphores are never closed, so there always is a permit in the end.
pub struct Place {
    _permit: Option<SemaphorePermit<'static>>,
}

/// A place for work on so many bytes of text, once one is free.
pub async fn place(length: usize) -> Place {
    let [short, long] = &*PLACES;
    Place { _permit: if length < LONG { short } else { long }.acquire().await.ok() }
}

impl Place {
    /// Does the work, even if nobody waits for it any more.
    ///
    /// # Errors
    /// The work's panic.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        let done = spawn_blocking(move || {
            let _place = self;
            work()
        });
        done.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    };

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn no_more_runs_at_once_than_there_are_cores_and_long_work_holds_up_none_that_is_short() {
        let cores = available_parallelism().unwrap().get();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let works = (0..4 * cores).map(|_| {
            let (running, most, wait) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&wait));
            let work = move || {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                wait.lock().unwrap().recv().unwrap_err();
                running.fetch_sub(1, SeqCst);
            };
            tokio::spawn(async { place(LONG).await.run(work).await.unwrap() })
        });
        let works: Vec<_> = works.collect();
        while most.load(SeqCst) < cores {
            tokio::task::yield_now().await;
        }
        assert_eq!(place(LONG - 1).await.run(|| 5).await.unwrap(), 5);
        drop(go_on);
        join_all(works).await;
        assert_eq!(most.load(SeqCst), cores);
    }
}
