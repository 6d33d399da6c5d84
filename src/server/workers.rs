//! The threads that serve clients. Each has a runtime of its own, so that an exchange stays on one thread from its first byte
//! to its last: to hand it from one to another costs more than all that is done on its way.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// Threads, or the runtime that this is made in.
#[derive(Debug)]
pub(super) struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Connections that it serves.
    busy: Arc<AtomicUsize>,
    /// The thread ends when this is dropped.
    _stay: Option<oneshot::Sender<()>>,
}

/// A connection's place with a worker, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) runtime: Handle,
    busy: Arc<AtomicUsize>,
}

/// Asks threads whether they still run.
#[derive(Debug, Clone)]
pub(super) struct Pulse(Vec<Handle>);

impl Pulse {
    /// Waits until each of them has done a piece of work that takes no time. One that something blocks never does.
    pub(super) async fn beat(&self) {
        for runtime in &self.0 {
            // A thread that has ended was told to: the server stops.
            drop(runtime.spawn(async {}).await);
        }
    }
}

impl Workers {
    /// So many threads.
    ///
    /// # Errors
    /// The system has none left.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        (0..count).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// The current runtime.
    pub(super) fn here() -> Self {
        Self(vec![Worker { runtime: Handle::current(), busy: Arc::default(), _stay: None }])
    }

    /// A way to ask whether all of them still run.
    pub(super) fn pulse(&self) -> Pulse {
        Pulse(self.0.iter().map(|worker| worker.runtime.clone()).collect())
    }

    /// A place with the least busy.
    pub(super) fn seat(&self) -> Option<Seat> {
        let Worker { runtime, busy, .. } = self.0.iter().min_by_key(|worker| worker.busy.load(Ordering::Relaxed))?;
        busy.fetch_add(1, Ordering::Relaxed);
        Some(Seat { runtime: runtime.clone(), busy: Arc::clone(busy) })
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stay, gone) = oneshot::channel();
        thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            // However the sender goes, the thread ends.
            drop(runtime.block_on(gone));
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, busy: Arc::default(), _stay: Some(stay) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_blocked_has_no_pulse() {
        let workers = Workers::start(2).unwrap();
        let pulse = workers.pulse();
        pulse.beat().await;
        let ((release, released), (begin, begun)) = (std::sync::mpsc::channel::<()>(), oneshot::channel());
        let seat = workers.seat().unwrap();
        seat.runtime.spawn(async move {
            begin.send(()).unwrap();
            released.recv().unwrap_err();
        });
        begun.await.unwrap();
        let mut beat = std::pin::pin!(pulse.beat());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), &mut beat).await.is_err());
        drop(release);
        beat.await;
    }

    #[tokio::test]
    async fn the_least_busy_thread_serves_and_all_end() {
        let workers = Workers::start(2).unwrap();
        let thread = |seat: &Seat| seat.runtime.spawn(async { thread::current().name().map(str::to_owned) });
        let [first, second] = [(); 2].map(|()| workers.seat().unwrap());
        let mut names = [thread(&first).await.unwrap(), thread(&second).await.unwrap()];
        names.sort();
        assert_eq!(names.map(Option::unwrap), ["serve-0", "serve-1"]);
        let left = second.runtime.id();
        drop(second);
        assert_eq!(workers.seat().unwrap().runtime.id(), left);
        let never = first.runtime.spawn(std::future::pending::<()>());
        drop(workers);
        assert!(never.await.unwrap_err().is_cancelled(), "what is still under way ends with its thread");
    }
}
