//! The threads that own a guard's sessions and run batches on them, all from one queue.
//!
//! A session that fails a batch is checked. If it fails that too it rests, so that it does not draw texts only to fail them
//! fast, and is checked again until it passes; where all rest, all go on trying.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio_util::task::TaskTracker;

use super::{
    Unavailable,
    batch::{Asker, Home, Job, Queue, Room},
    engine::Engine,
    home::{Candidate, home},
    kv::Store,
};

/// A session and how it stands, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Where it runs: `cpu`, or `cuda:` and the GPU's number.
    pub device: String,
    /// Whether it takes texts.
    #[serde(rename = "ready")]
    pub is_ready: bool,
    /// Batches that it failed.
    pub failures: u64,
}

/// How sessions are fed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// How much may wait.
    pub(super) room: Room,
    /// Most tokens of a batch.
    pub(super) budget: usize,
    /// Time between two checks of a session that fails them.
    pub(super) rest: Duration,
}

/// Whether an engine still scores as it should; if not, why.
pub(super) type Check = dyn Fn(&mut dyn Engine) -> Result<(), String> + Send + Sync;

/// The way in to the sessions. Dropping it ends their threads.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    /// One token for each thread.
    threads: TaskTracker,
}

struct Shared {
    state: Mutex<State>,
    /// There is work, a session stands otherwise than before, or this is the end.
    news: Condvar,
    rules: Rules,
    check: Box<Check>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    slots: Vec<Slot>,
    closed: bool,
}

#[derive(Debug)]
struct Slot {
    device: String,
    /// Of which texts the session keeps the beginnings, as far as can be told from here. To be mistaken costs time only.
    kept: Option<Store<()>>,
    failures: u64,
    /// When it is checked next; `None` if it passed.
    rests_until: Option<Instant>,
}

/// What a session does next.
enum Turn {
    Run(Vec<Job>),
    Check,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts a thread for each engine, which comes with the name of its device.
    pub(super) fn start(engines: Vec<(String, Box<dyn Engine>)>, rules: Rules, check: Box<Check>) -> std::io::Result<Self> {
        // All that a lone session's texts can wait for is itself.
        let chooses = engines.len() > 1;
        let slot = |(device, engine): &(String, Box<dyn Engine>)| Slot {
            device: device.clone(),
            kept: engine.kept().filter(|_| chooses),
            failures: 0,
            rests_until: None,
        };
        let state = State { queue: Queue::new(rules.room), slots: engines.iter().map(slot).collect(), closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new(), rules, check });
        let workers = Self { shared, threads: TaskTracker::new() };
        for (session, (_, mut engine)) in engines.into_iter().enumerate() {
            let (shared, token) = (Arc::clone(&workers.shared), workers.threads.token());
            thread::Builder::new().name(format!("guard-{session}")).spawn(move || {
                // Whatever panics in it, beside the batches that it contains anyway, a session goes on.
                while catch_unwind(AssertUnwindSafe(|| work(&shared, session, engine.as_mut()))).is_err() {
                    shared.count_failure(session);
                }
                drop((engine, token));
            })?;
        }
        workers.threads.close();
        Ok(workers)
    }

    pub(super) fn push(&self, mut job: Job) {
        let mut state = self.shared.lock();
        if job.grows {
            job.home = state.home(&job.window.ids);
        }
        state.queue.push(job);
        drop(state);
        self.shared.news.notify_all();
    }

    /// Whether there is no room for a text of this request's.
    pub(super) fn refuses(&self, asker: &Asker) -> bool {
        self.shared.lock().queue.refuses(asker)
    }

    /// Texts that wait.
    pub(super) fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Batches begun so far.
    pub(super) fn batches(&self) -> u64 {
        self.shared.lock().queue.batches()
    }

    /// Begins no more batches, and waits until those under way are done and all threads have let go of their sessions.
    pub(super) async fn close(&self) {
        self.shared.close();
        self.threads.wait().await;
    }

    /// How each session stands.
    pub(super) fn sessions(&self) -> Vec<Session> {
        let session = |slot: &Slot| Session { device: slot.device.clone(), is_ready: slot.is_up(), failures: slot.failures };
        self.shared.lock().slots.iter().map(session).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Slot {
    fn is_up(&self) -> bool {
        self.rests_until.is_none()
    }
}

impl State {
    fn home(&self, ids: &[u32]) -> Option<Home> {
        let up = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_up());
        let candidates = up.filter_map(|(session, slot)| {
            Some(Candidate { session, kept: slot.kept.as_ref()?, lane: self.queue.lane(session) })
        });
        home(candidates, ids)
    }

    /// The next batch for a session, if it may work: no more than its share of what waits, so that others need not stand by
    /// while it is at all of it.
    fn take(&mut self, session: usize, budget: usize, now: Instant) -> Vec<Job> {
        let up = self.slots.iter().filter(|slot| slot.is_up()).count();
        let may_work = self.slots.get(session).is_some_and(Slot::is_up) || up == 0;
        let share = self.queue.tokens().div_ceil(up.max(1));
        let batch = if may_work { self.queue.take(session, budget.min(share), now) } else { Vec::new() };
        if let ([Job { grows: true, window, .. }], Some(slot)) = (batch.as_slice(), self.slots.get_mut(session))
            && let Some(kept) = &mut slot.kept
        {
            kept.longest(&window.ids);
            kept.keep(window.ids.clone(), (), window.ids.len());
        }
        batch
    }
}

impl Shared {
    /// The lists hold no invariant that a panic elsewhere could break, so a poisoned lock is taken as it is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    /// Waits until there is something to do for a session; `None` at the end.
    fn next(&self, session: usize) -> Option<Turn> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            let batch = state.take(session, self.rules.budget, now);
            if !batch.is_empty() {
                return Some(Turn::Run(batch));
            }
            state = match state.slots.get(session)?.rests_until {
                None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) if until <= now => return Some(Turn::Check),
                Some(until) => self.news.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn count_failure(&self, session: usize) {
        if let Some(slot) = self.lock().slots.get_mut(session) {
            slot.failures += 1;
        }
    }

    fn check(&self, engine: &mut dyn Engine) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| (self.check)(engine))).unwrap_or_else(|_| Err("the guard panicked".to_owned()))
    }

    /// Notes how a check came out; tells whether the session is up.
    fn stands(&self, session: usize, checked: Result<(), String>) -> bool {
        let mut state = self.lock();
        let others = state.slots.iter().enumerate().filter(|(number, slot)| *number != session && slot.is_up()).count();
        let Some(slot) = state.slots.get_mut(session) else { return false };
        let was_up = slot.is_up();
        let is_up = checked.is_ok();
        slot.rests_until = (!is_up).then(|| Instant::now() + self.rules.rest);
        match checked {
            Ok(()) if !was_up => tracing::info!(session, device = slot.device, "a session of the guard scores rightly again"),
            Err(why) if was_up => {
                tracing::error!(session, device = slot.device, why, others, "a session of the guard rests: it fails its check");
                slot.kept.iter_mut().for_each(Store::clear);
                state.queue.release(session);
            }
            Ok(()) | Err(_) => {}
        }
        drop(state);
        self.news.notify_all();
        is_up
    }
}

fn work(shared: &Shared, session: usize, engine: &mut dyn Engine) {
    let mut is_up = true;
    while let Some(turn) = shared.next(session) {
        let is_sound = match turn {
            Turn::Run(batch) => {
                let is_sound = run(engine, batch);
                if !is_sound {
                    shared.count_failure(session);
                }
                is_sound
            }
            Turn::Check => false,
        };
        if !(is_sound && is_up) {
            is_up = shared.stands(session, if is_sound { Ok(()) } else { shared.check(engine) });
        }
    }
}

/// Runs a batch and answers its callers; tells whether all have a score.
fn run(engine: &mut dyn Engine, batch: Vec<Job>) -> bool {
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
            let mut is_sound = true;
            for (job, score) in batch.into_iter().zip(scores) {
                let score = if (0.0..=1.0).contains(&score) {
                    Ok(score)
                } else {
                    is_sound = false;
                    Err(Unavailable::Engine(format!("the graph yields {score}, no probability")))
                };
                drop(job.reply.send(score));
            }
            is_sound
        }
        Err(error) => {
            tracing::error!(%error, texts = batch.len(), "the guard failed");
            for job in batch {
                drop(job.reply.send(Err(error.clone())));
            }
            false
        }
    }
}

#[cfg(test)]
mod tests;
