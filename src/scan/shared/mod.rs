//! The verdict cache behind that of this process, which a fleet's nodes share: Redis, or what speaks its protocol.
//!
//! It holds scores, never text and never decisions. Nobody waits for it longer than the settings say, or for a write at all, and
//! whatever it fails at, the guard is asked as if it were not there.

mod coded;
mod line;

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use data_encoding::BASE64URL_NOPAD;
use tokio::{
    sync::{
        mpsc::{Receiver, Sender, channel},
        oneshot,
    },
    task::yield_now,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use self::{
    coded::{Keys, Name, Names},
    line::{Failure, Line, Open, SECTION},
};
use super::{cache::Kind, off_reactor, question::Question, window::Scored};
use crate::{
    config::SharedCache,
    connect::Misconfigured,
    telemetry::{Metrics, SharedCache as Counts},
};

/// Characters that a key has at least: those of `seawall key sealing` have 44.
const KEY: usize = 32;
/// Most verdicts that wait to be written; what is beyond that others have to score themselves.
const WRITES: usize = 4_096;
/// Most verdicts of one command, so that a large request does not hold up others.
const BATCH: usize = 256;

/// A cache that nodes share. Cheap to clone; it ends with the last clone.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    keys: Keys,
    prefix: String,
    timeout: Duration,
    waiting: Mutex<Vec<Wanted>>,
    writes: Sender<(Vec<u8>, Vec<u8>)>,
    metrics: Arc<Metrics>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// A look-up that waits for others to go with it.
struct Wanted {
    name: Vec<u8>,
    reply: oneshot::Sender<Result<Option<Vec<u8>>, Failure>>,
}

/// What of it is one guard's.
#[derive(Clone)]
pub(super) struct Shelf {
    shared: Shared,
    names: Names,
}

impl Shared {
    /// The cache of these settings. Whether it can be reached shows later, and then again and again.
    ///
    /// # Errors
    /// Settings that no server can be reached with, or secrets that are not where they are said to be.
    pub fn start(settings: &SharedCache, metrics: &Arc<Metrics>) -> Result<Self, Misconfigured> {
        let wrong = |why: String| Misconfigured(format!("`{SECTION}.key`: {why}"));
        let secret = settings.key.as_ref().map(|key| key.value().map(zeroize::Zeroizing::new)).transpose().map_err(wrong)?;
        if secret.as_ref().is_some_and(|secret| secret.len() < KEY) {
            return Err(wrong(format!(
                "it has fewer than {KEY} characters: `seawall key sealing` prints one that is long enough"
            )));
        }
        let line = Arc::new(Line::new(settings, metrics)?);
        let (writes, written) = channel(WRITES);
        let keep = tokio::spawn(Arc::clone(&line).keep());
        let write = tokio::spawn(write(Arc::clone(&line), written, settings.ttl_s, Arc::clone(metrics)));
        Ok(Self(Arc::new(Inner {
            line,
            keys: Keys::new(secret.as_ref().map_or("", |secret| secret)),
            prefix: settings.prefix.clone(),
            timeout: Duration::from_millis(settings.timeout_ms),
            waiting: Mutex::default(),
            writes,
            metrics: Arc::clone(metrics),
            _tasks: [keep, write].map(AbortOnDropHandle::new),
        })))
    }

    /// Why it cannot be asked now.
    #[must_use]
    pub fn away(&self) -> Option<String> {
        self.0.line.away().map(|why| why.to_string())
    }

    /// The verdicts of the guard of this origin.
    pub(super) fn shelf(&self, origin: &str) -> Shelf {
        Shelf { shared: self.clone(), names: self.0.keys.names(origin) }
    }
}

impl Shelf {
    /// The question, and its name.
    pub(super) async fn name(&self, question: Question<'static>) -> (Question<'static>, Name) {
        let names = self.names.clone();
        off_reactor(question.text.len(), move || {
            let context = question.given().map(|context| &*context.prompt);
            let name = names.name(question.kind(), question.target.task(), context, &question.text);
            (question, name)
        })
        .await
    }

    /// What another node thinks of a text.
    pub(super) async fn get(&self, name: &Name) -> Option<Scored> {
        let (inner, asked) = (&self.shared.0, Instant::now());
        let found = inner.ask(name).await;
        let scored = found.map(|bytes| bytes.map(|bytes| inner.keys.read(name, &bytes)));
        let (outcome, scored) = match scored {
            Ok(Some(Some(scored))) => ("hit", Some(scored)),
            Ok(Some(None)) => ("rejected", None),
            Ok(None) => ("miss", None),
            Err(Failure::Away) => ("away", None),
            Err(Failure::Slow) => ("timeout", None),
            Err(Failure::Broken) => ("error", None),
        };
        inner.counts().looked_up(outcome, asked.elapsed());
        scored
    }

    /// Tells other nodes of a verdict, later.
    pub(super) fn put(&self, name: &Name, scored: &Scored) {
        let inner = &self.shared.0;
        if inner.line.open().is_none() {
            return inner.counts().written("away", 1);
        }
        let verdict = (inner.place(name), inner.keys.write(name, scored));
        if inner.writes.try_send(verdict).is_err() {
            inner.counts().written("full", 1);
        }
    }
}

impl Inner {
    fn counts(&self) -> &Counts {
        self.metrics.shared_cache()
    }

    /// Where a verdict of this name stands.
    fn place(&self, name: &Name) -> Vec<u8> {
        format!("{}{}", self.prefix, BASE64URL_NOPAD.encode(name)).into_bytes()
    }

    /// Looks a name up, in one command with what else is asked at the moment: all texts of a request are.
    async fn ask(self: &Arc<Self>, name: &Name) -> Result<Option<Vec<u8>>, Failure> {
        let open = self.line.open().ok_or(Failure::Away)?;
        let (reply, answer) = oneshot::channel();
        self.waiting().push(Wanted { name: self.place(name), reply });
        // The request's other texts are put down meanwhile, and the first to come back takes all of them along.
        yield_now().await;
        let mut wanted = mem::take(&mut *self.waiting());
        while !wanted.is_empty() {
            let batch = wanted.split_off(wanted.len().saturating_sub(BATCH));
            tokio::spawn(Arc::clone(self).look_up(Arc::clone(&open), batch));
        }
        match timeout(self.timeout, answer).await {
            Ok(found) => found.unwrap_or(Err(Failure::Broken)),
            Err(_) => Err(Failure::Slow),
        }
    }

    async fn look_up(self: Arc<Self>, open: Arc<Open>, wanted: Vec<Wanted>) {
        let (names, replies): (Vec<_>, Vec<_>) = wanted.into_iter().map(|Wanted { name, reply }| (name, reply)).unzip();
        let found = match self.line.look_up(&open, &names, self.timeout).await {
            Ok(found) => found.into_iter().map(Ok).collect(),
            Err(failure) => vec![Err(failure); names.len()],
        };
        for (reply, found) in replies.into_iter().zip(found) {
            // Who asked may be gone.
            drop(reply.send(found));
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Wanted>> {
        // The list holds no invariant that a panic could break.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes verdicts under their names, many at once.
async fn write(line: Arc<Line>, mut writes: Receiver<(Vec<u8>, Vec<u8>)>, ttl_s: u64, metrics: Arc<Metrics>) {
    let (mut batch, counts) = (Vec::with_capacity(BATCH), metrics.shared_cache());
    while writes.recv_many(&mut batch, BATCH).await > 0 {
        let count = batch.len();
        let Some(open) = line.open() else {
            batch.clear();
            counts.written("away", count);
            continue;
        };
        let mut commands = redis::pipe();
        for (name, verdict) in batch.drain(..) {
            commands.cmd("SET").arg(name).arg(verdict).arg("EX").arg(ttl_s);
        }
        let done = line.write(&open, &mut commands).await;
        let done = done.map_or(0, |done| done.into_iter().filter(|done| *done).count());
        counts.written("written", done);
        counts.written("error", count.saturating_sub(done));
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("line", &self.line).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::Secret;

    #[tokio::test]
    async fn secrets_are_there_and_hard_to_guess() {
        let dir = tempfile::tempdir().unwrap();
        let kept = |name: &str, text: &str| {
            let file = dir.path().join(name);
            fs::write(&file, text).unwrap();
            Some(Secret { env: None, file: Some(file) })
        };
        let url = "redis://127.0.0.1:1".to_owned();
        let lost = Some(Secret { env: None, file: Some(Path::new("/nowhere/key").to_owned()) });
        let start = |key, password| {
            let settings = SharedCache { url: url.clone(), key, password, ..SharedCache::default() };
            Shared::start(&settings, &Arc::default())
        };
        let told = |key, password| start(key, password).unwrap_err().to_string();
        assert!(told(lost.clone(), None).starts_with("`cache.shared.key`: /nowhere/key: "));
        assert!(told(None, lost).starts_with("`cache.shared.password`: /nowhere/key: "));
        let short = told(kept("short", "s3cret"), None);
        assert!(short.contains("seawall key sealing") && !short.contains("s3cret"), "{short}");
        let shared = start(kept("long", &"s3cret".repeat(6)), kept("password", "pa55")).unwrap();
        assert!(shared.away().is_some());
        let debug = format!("{shared:?}");
        assert!(!debug.contains("s3cret") && !debug.contains("pa55"), "{debug}");
    }
}
