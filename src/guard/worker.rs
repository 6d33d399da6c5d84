//! The thread that owns an engine and runs batches on it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use super::{
    Unavailable,
    batch::{Job, Queue},
    engine::Engine,
};

/// The way in to a worker. Dropping the last one ends the thread.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    closed: bool,
}

impl Shared {
    /// The queue holds no invariant that a panic elsewhere could break, so a poisoned lock is taken as it is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(engine: Box<dyn Engine>, room: usize, budget: usize) -> std::io::Result<Self> {
        let state = Mutex::new(State { queue: Queue::new(room), closed: false });
        let shared = Arc::new(Shared { state, work: Condvar::new() });
        let own = Arc::clone(&shared);
        thread::Builder::new().name("guard".to_owned()).spawn(move || work(&own, engine, budget))?;
        Ok(Self { shared })
    }

    pub(super) fn push(&self, job: Job) {
        self.shared.lock().queue.push(job);
        self.shared.work.notify_one();
    }

    /// Texts that wait.
    pub(super) fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

fn work(shared: &Shared, mut engine: Box<dyn Engine>, budget: usize) {
    loop {
        let batch = {
            let state = shared.lock();
            let waits = |state: &mut State| state.queue.is_empty() && !state.closed;
            let mut state = shared.work.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return;
            }
            state.queue.take(budget, Instant::now())
        };
        if !batch.is_empty() {
            run(engine.as_mut(), batch);
        }
    }
}

fn run(engine: &mut dyn Engine, batch: Vec<Job>) {
    // A batch that panics costs its own callers an error, not everybody the guard.
    let scores = catch_unwind(AssertUnwindSafe(|| match batch.as_slice() {
        [job] if job.grows => engine.grow(&job.window).or_else(|error| {
            tracing::warn!(%error, "a text that grows cannot be scored from what was kept; it is scored whole");
            engine.run(&[&job.window])
        }),
        jobs => engine.run(&jobs.iter().map(|job| &job.window).collect::<Vec<_>>()),
    }));
    let scores = scores.unwrap_or_else(|_| Err(Unavailable::Engine("the guard panicked".to_owned())));
    match scores {
        Ok(scores) => {
            for (job, score) in batch.into_iter().zip(scores) {
                let score = if (0.0..=1.0).contains(&score) {
                    Ok(score)
                } else {
                    Err(Unavailable::Engine(format!("the graph yields {score}, no probability")))
                };
                drop(job.reply.send(score));
            }
        }
        Err(error) => {
            tracing::error!(%error, texts = batch.len(), "the guard failed");
            for job in batch {
                drop(job.reply.send(Err(error.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::{guard::tokenize::Window, segment::Task};

    /// Scores whole texts only.
    struct Whole(Result<f32, Unavailable>);

    impl Engine for Whole {
        fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable> {
            self.0.clone().map(|score| vec![score; windows.len()])
        }

        fn grow(&mut self, _: &Window) -> Result<Vec<f32>, Unavailable> {
            Err(Unavailable::Engine("no memory".to_owned()))
        }
    }

    #[test]
    fn what_cannot_grow_is_scored_whole() {
        for whole in [Ok(0.25), Err(Unavailable::Engine("nor this".to_owned()))] {
            let (reply, mut answer) = oneshot::channel();
            let window = Window { range: 0..1, ids: vec![7], task: Task::Response, words: None };
            run(&mut Whole(whole.clone()), vec![Job { window, grows: true, deadline: Instant::now(), reply }]);
            assert_eq!(answer.try_recv().unwrap(), whole);
        }
    }
}
