//! The way into the record: cases wait in a queue, a writer takes all that wait and writes them in one transaction, and each
//! caller is told once its case is durable.
//!
//! While the store fails, cases are refused, or go to the journal beside it ([`super::spool`]) where the policies say so; the
//! writer empties the journal when the store is back. So that a store that hangs does not hold up every caller, it is left alone
//! for a while after it has failed.

use std::{
    mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Case, Error, Store,
    spool::{Batch, Spool},
    store::Prepared,
};
use crate::policy::Unstored;

/// Cases that wait, and cases that are written at once. Who finds the queue full waits.
const QUEUE: usize = 1_024;
const BATCH: usize = 256;
/// Longest time that the store has for a batch.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest time that a caller waits.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a store that fails is left alone: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// Cases that may be outside of the index of texts while there is more to write.
const UNINDEXED: usize = 10_000;

/// Takes cases into the record. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    store: Store,
    queue: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

/// What became of the cases, and how the store is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Cases that were written into the store, those of the journal too.
    pub written: u64,
    /// Cases that went to the journal.
    pub spooled: u64,
    /// Cases that were refused.
    pub refused: u64,
    /// Cases in the journal.
    pub waiting: u64,
    /// Why the store was not written when it was tried last.
    pub away: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    spooled: AtomicU64,
    refused: AtomicU64,
    waiting: AtomicU64,
    away: Mutex<Option<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A case that waits.
#[derive(Debug)]
struct Job {
    case: Prepared,
    unstored: Unstored,
    done: oneshot::Sender<Result<(), Error>>,
}

impl Recorder {
    /// Begins to take cases into a store, with a journal in this folder.
    ///
    /// # Errors
    /// There is a journal that cannot be used.
    pub fn start(store: Store, spool: PathBuf) -> Result<Self, Error> {
        let spool = Spool::open(spool, store.seal().cloned())?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let shared = Arc::<Shared>::default();
        let writer = Writer {
            store: store.clone(),
            shared: Arc::clone(&shared),
            spool: Some(spool),
            unindexed: 1,
            rest: None,
            pause: PAUSES[0],
            work: Instant::now(),
        };
        writer.count();
        shared.tasks.spawn(writer.run(jobs));
        shared.tasks.close();
        Ok(Self { store, queue, shared })
    }

    /// Makes a case durable. `unstored` says what is done with it if the store cannot take it.
    ///
    /// # Errors
    /// It is not durable, so the exchange must not go on.
    pub async fn record(&self, case: Case, unstored: Unstored) -> Result<(), Error> {
        let recorded = match self.store.prepare(case) {
            Ok(case) => timeout(PATIENCE, self.wait(case, unstored)).await.unwrap_or_else(|_| Err(self.store.slow(PATIENCE))),
            Err(error) => Err(error),
        };
        if recorded.is_err() {
            self.shared.refused.fetch_add(1, Relaxed);
        }
        recorded
    }

    async fn wait(&self, case: Prepared, unstored: Unstored) -> Result<(), Error> {
        let (done, told) = oneshot::channel();
        self.queue.send(Job { case, unstored, done }).await.map_err(|_| Error::Ended)?;
        told.await.map_err(|_| Error::Ended)?
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What became of the cases so far.
    #[must_use]
    pub fn status(&self) -> Status {
        let Shared { written, spooled, refused, waiting, away, .. } = &*self.shared;
        let [written, spooled, refused, waiting] = [written, spooled, refused, waiting].map(|count| count.load(Relaxed));
        let away = away.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status { written, spooled, refused, waiting, away }
    }

    /// Writes what waits, takes no more, and closes the store. What is in the journal stays there for the next start.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
        self.store.close().await;
    }
}

/// The one task that writes.
struct Writer {
    store: Store,
    shared: Arc<Shared>,
    /// Missing while a thread that may wait for the disk has it.
    spool: Option<Spool>,
    /// About how many cases are not in the index of texts.
    unindexed: usize,
    /// Until when the store is left alone, and why.
    rest: Option<(Instant, Error)>,
    /// How long it is left alone if it fails once more.
    pause: Duration,
    /// When there is time again for what is done beside writing what comes.
    work: Instant,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let stop = self.shared.stop.clone();
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            let work = self.work_at();
            tokio::select! {
                biased;
                () = stop.cancelled(), if !queue.is_closed() => queue.close(),
                count = queue.recv_many(&mut jobs, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.write(mem::take(&mut jobs)).await;
                    if self.unindexed > UNINDEXED {
                        self.index().await;
                    }
                }
                () = sleep_until(work.unwrap_or_else(Instant::now)), if work.is_some() => self.work().await,
            }
        }
    }

    /// When there is something to do beside writing what comes.
    fn work_at(&self) -> Option<Instant> {
        let works = self.unindexed > 0 || self.spool.as_ref().is_some_and(|spool| spool.waiting() > 0);
        works.then(|| self.rest.as_ref().map_or(self.work, |(until, _)| self.work.max(*until)))
    }

    async fn work(&mut self) {
        if self.spool.as_ref().is_some_and(|spool| spool.waiting() > 0) {
            self.empty().await;
        } else {
            self.index().await;
        }
    }

    /// Writes a batch, or does what is to be done with it if the store fails.
    async fn write(&mut self, jobs: Vec<Job>) {
        let cases: Vec<&Prepared> = jobs.iter().map(|job| &job.case).collect();
        let told = match &self.rest {
            Some((until, error)) if Instant::now() < *until => vec![Err(error.clone()); cases.len()],
            _ => self.store(&cases).await,
        };
        let (mut spooled, mut lines) = (Vec::new(), Vec::new());
        for (job, told) in jobs.into_iter().zip(told) {
            // What the store will never take would stay in the journal for ever.
            let is_away = matches!(told, Err(Error::Store { .. }));
            if is_away && job.unstored == Unstored::Spool {
                lines.push(job.case.case);
                spooled.push(job.done);
            } else {
                // Who no longer waits was told that it failed.
                drop(job.done.send(told));
            }
        }
        if spooled.is_empty() {
            return;
        }
        let told = self.with_spool(move |spool| spool.append(&lines)).await;
        if told.is_ok() {
            self.shared.spooled.fetch_add(spooled.len() as u64, Relaxed);
        }
        for done in spooled {
            drop(done.send(told.clone()));
        }
    }

    /// Writes cases into the store: together or, if it does not take the values of one, each by itself.
    async fn store(&mut self, cases: &[&Prepared]) -> Vec<Result<(), Error>> {
        let end = Instant::now() + DEADLINE;
        let together = self.try_store(cases, end).await;
        let mut told = match together {
            Err(Error::Values { .. }) if cases.len() > 1 => Vec::with_capacity(cases.len()),
            one_for_all => vec![one_for_all; cases.len()],
        };
        while let Some(case) = cases.get(told.len()) {
            let one = match told.last() {
                Some(Err(error @ Error::Store { .. })) => Err(error.clone()),
                _ => self.try_store(&[*case], end).await,
            };
            told.push(one);
        }
        let written = told.iter().filter(|told| told.is_ok()).count();
        self.shared.written.fetch_add(written as u64, Relaxed);
        self.unindexed += written;
        match told.last() {
            Some(Err(error @ Error::Store { .. })) => self.fails(error),
            _ => self.is_back(),
        }
        told
    }

    async fn try_store(&self, cases: &[&Prepared], end: Instant) -> Result<(), Error> {
        tokio::time::timeout_at(end, self.store.write(cases)).await.unwrap_or_else(|_| Err(self.store.slow(DEADLINE)))
    }

    fn fails(&mut self, error: &Error) {
        if self.rest.is_none() {
            tracing::error!(%error, "the review store cannot be written");
        }
        self.rest = Some((Instant::now() + self.pause, error.clone()));
        self.pause = (self.pause * 2).min(PAUSES[1]);
        self.say(Some(error.to_string()));
    }

    fn is_back(&mut self) {
        if self.rest.take().is_some() {
            tracing::info!("the review store is back");
            self.say(None);
        }
        self.pause = PAUSES[0];
    }

    fn say(&self, away: Option<String>) {
        *self.shared.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
    }

    /// Moves some of the journal into the store.
    async fn empty(&mut self) {
        let batch = match self.with_spool(|spool| spool.first(BATCH)).await {
            Ok(batch) => batch,
            Err(error) => return self.puts_off(&error),
        };
        let Batch { cases, .. } = &batch;
        let mut prepared = Vec::with_capacity(cases.len());
        let mut refused = Vec::new();
        for case in cases {
            match self.store.prepare(case.clone()) {
                Ok(case) => prepared.push(case),
                Err(error) => refused.push((case.id.clone(), error)),
            }
        }
        let told = self.store(&prepared.iter().collect::<Vec<_>>()).await;
        for (case, told) in prepared.iter().zip(told) {
            match told {
                Err(Error::Store { .. }) => return,
                Err(error) => refused.push((case.case.id.clone(), error)),
                Ok(()) => {}
            }
        }
        for (id, error) in &refused {
            tracing::error!(id, %error, "a case of the journal is set aside: the store does not take it");
        }
        let refused: Vec<String> = refused.into_iter().map(|(id, _)| id).collect();
        if let Err(error) = self.with_spool(move |spool| spool.done(&batch, &refused)).await {
            self.puts_off(&error);
        }
    }

    async fn index(&mut self) {
        match timeout(DEADLINE, self.store.index()).await.unwrap_or_else(|_| Err(self.store.slow(DEADLINE))) {
            Ok(0) => self.unindexed = 0,
            // Until there are none: others may write too.
            Ok(count) => self.unindexed = self.unindexed.saturating_sub(count).max(1),
            Err(error) => self.puts_off(&error),
        }
    }

    /// What is done beside writing has failed, and has time.
    fn puts_off(&mut self, error: &Error) {
        tracing::error!(%error, "the review store is behind");
        self.work = Instant::now() + PAUSES[1];
    }

    /// Has a thread that may wait for the disk do something with the journal.
    async fn with_spool<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(mut spool) = self.spool.take() else { return Err(Error::Ended) };
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut spool);
            (spool, done)
        });
        let (spool, done) = done.await.map_err(|_| Error::Ended)?;
        self.spool = Some(spool);
        self.count();
        done
    }

    fn count(&self) {
        let waiting = self.spool.as_ref().map_or(0, Spool::waiting);
        self.shared.waiting.store(waiting, Relaxed);
    }
}
