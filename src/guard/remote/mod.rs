//! Guards that run elsewhere: texts are encoded here and scored by servers.
//!
//! One queue feeds all servers of a guard. A text goes to the least busy server that has scored the golden texts rightly since
//! it was last lost: at the start, and whenever its health comes back, since it may have come back with another model. Until a
//! server is proven there is no score, and no caller is told otherwise. A call whose callers have all gone is given up with
//! its connection. A call that found no connection, or lost it, is made once more at another server.

mod chat;
mod failure;
mod grpc;
mod http;
mod kserve;
mod label;
mod limit;
mod pool;
mod protocol;
mod vllm;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ::http::Uri;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::{sync::Notify, time::timeout};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::chat::Hosted;
use self::{
    failure::Failure,
    limit::Limit,
    pool::{Outcome, Pool, Refused, Rules, Standing},
    protocol::Protocol,
};
use super::{
    Proof, Unavailable, Window,
    batch::{Asker, Job, Queue},
    manifest::{Manifest, Unusable},
    proof::Golden,
};
use crate::{
    config::{self, Engine},
    connect::address,
};

/// Calls a minute that SEA-Guard's hosted API allows.
const HOSTED_PER_MINUTE: usize = 10;
/// How far off a hosted guard's golden scores may be: it says a word, so it can only be on the right side.
const HOSTED_TOLERANCE: f32 = 0.5;

/// A server and how it stands, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Where it is.
    pub url: String,
    /// Whether it takes calls.
    #[serde(rename = "ready")]
    pub is_ready: bool,
    /// Why not; empty if it does.
    pub why: String,
}

/// The servers of a guard. Dropping it ends its work.
#[derive(Debug)]
pub(super) struct Fleet {
    shared: Arc<Shared>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

#[derive(Debug)]
struct Shared {
    servers: Vec<Uri>,
    protocol: Protocol,
    queue: Mutex<Queue>,
    pool: Mutex<Pool>,
    limit: Option<Mutex<Limit>>,
    /// A text has come, or a place at a server has become free.
    work: Notify,
    golden: Vec<Golden>,
    tolerance: f32,
    /// Most tokens of a call.
    budget: usize,
    timeout: Duration,
    health: Duration,
}

/// A place at a server, given back when it is dropped.
struct Place<'s> {
    shared: &'s Shared,
    server: usize,
    outcome: Outcome,
}

/// The lists hold no invariant that a panic elsewhere could break, so a poisoned lock is taken as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    /// The servers of these settings, which stand in `section`, each asked once for its health and, if it is up, proven.
    ///
    /// # Errors
    /// Settings that no server can be reached with, or a server that scores otherwise than the guard. Servers that cannot be
    /// reached are none: they may come up later.
    pub(super) async fn connect(
        dir: &Path,
        manifest: &Manifest,
        golden: Vec<Golden>,
        settings: &config::Guard,
        section: &str,
    ) -> Result<Self, Unusable> {
        let remote = &settings.remote;
        let fail = |why: String| Unusable::new(dir, why);
        let section = format!("{section}.remote");
        let servers = remote.urls.iter().map(|url| address(url, &section, "urls")).collect::<Result<Vec<_>, _>>();
        let servers: Vec<Uri> = servers.map_err(|e| fail(e.to_string()))?.into_iter().map(base).collect();
        let protocol = Protocol::new(manifest, settings, &section).map_err(fail)?;
        let rest = Duration::from_millis(remote.rest_ms);
        let rules = Rules { concurrency: remote.concurrency, failures: remote.failures, rest };
        let per_minute = remote.per_minute.or((settings.engine == Engine::Openai).then_some(HOSTED_PER_MINUTE));
        let shared = Arc::new(Shared {
            pool: Mutex::new(Pool::new(servers.len(), rules)),
            queue: Mutex::new(Queue::new(super::room(settings))),
            limit: per_minute.map(|most| Mutex::new(Limit::new(most))),
            work: Notify::new(),
            golden: if protocol.is_hosted() { first_of_each_task(golden) } else { golden },
            tolerance: if protocol.is_hosted() { HOSTED_TOLERANCE } else { manifest.golden.tolerance },
            budget: if protocol.takes_batches() { settings.batch_tokens() } else { 1 },
            timeout: Duration::from_millis(remote.timeout_ms),
            health: Duration::from_millis(remote.health_ms),
            servers,
            protocol,
        });
        join_all((0..shared.servers.len()).map(|server| shared.look_after(server))).await;
        for (server, standing) in shared.servers.iter().zip(lock(&shared.pool).standings()) {
            if let Standing::Unfit(why) = standing {
                return Err(fail(format!("{server} {why}")));
            }
        }
        if shared.stand().iter().all(|server| !server.is_ready) {
            tracing::warn!("{}; until one is, every text is a guard failure", shared.why_down());
        }
        let watch = tokio::spawn(Arc::clone(&shared).watch());
        let dispatch = tokio::spawn(Arc::clone(&shared).dispatch());
        Ok(Self { shared, _tasks: [watch, dispatch].map(AbortOnDropHandle::new) })
    }

    pub(super) fn push(&self, job: Job) {
        lock(&self.shared.queue).push(job);
        self.shared.work.notify_one();
    }

    /// Whether there is no room for a text of this request's.
    pub(super) fn refuses(&self, asker: &Asker) -> bool {
        lock(&self.shared.queue).refuses(asker)
    }

    /// Texts that wait.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.shared.queue).len()
    }

    /// Batches begun so far.
    pub(super) fn batches(&self) -> u64 {
        lock(&self.shared.queue).batches()
    }

    /// How the golden texts came out at the servers, the farthest off; `None` while none is proven.
    pub(super) fn proof(&self) -> Option<Proof> {
        let pool = lock(&self.shared.pool);
        let proofs = pool.standings().filter_map(|standing| match standing {
            Standing::Proven(proof) => Some(*proof),
            Standing::Down(_) | Standing::Unfit(_) => None,
        });
        proofs.max_by(|a, b| a.gap.total_cmp(&b.gap))
    }

    /// How each server stands.
    pub(super) fn servers(&self) -> Vec<Server> {
        self.shared.stand()
    }
}

impl Shared {
    fn stand(&self) -> Vec<Server> {
        let pool = lock(&self.pool);
        let stands = self.servers.iter().zip(pool.standings()).zip(pool.open(Instant::now()));
        let server = |((url, standing), is_ready): ((&Uri, &Standing), bool)| {
            let why = match standing {
                Standing::Down(why) | Standing::Unfit(why) => why.clone(),
                Standing::Proven(_) if is_ready => String::new(),
                Standing::Proven(_) => "rests after failures".to_owned(),
            };
            Server { url: url.to_string(), is_ready, why }
        };
        stands.map(server).collect()
    }

    /// Looks after all servers, again and again.
    async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.health).await;
            join_all((0..self.servers.len()).map(|server| self.look_after(server))).await;
        }
    }

    /// Asks a server for its health, and for the golden texts' scores if it has not told them since it was last lost.
    async fn look_after(&self, server: usize) {
        let Some(uri) = self.servers.get(server) else { return };
        let is = |standing: Option<&Standing>| {
            let proven = matches!(standing, Some(Standing::Proven(_)));
            // To prove a hosted guard again and again would spend the calls that it allows.
            proven || (self.protocol.is_hosted() && matches!(standing, Some(Standing::Unfit(_))))
        };
        let is_known = is(lock(&self.pool).standings().nth(server));
        let standing = match self.in_time(self.protocol.ready(uri)).await {
            Err(failure) => Standing::Down(failure.to_string()),
            Ok(()) if is_known => return,
            Ok(()) => self.prove(uri).await,
        };
        let told = match &standing {
            Standing::Proven(_) => "scores the golden texts rightly and takes calls".to_owned(),
            Standing::Down(why) | Standing::Unfit(why) => why.clone(),
        };
        if lock(&self.pool).stands(server, standing) {
            tracing::info!(server = %uri, "a guard's server {told}");
        }
        self.work.notify_one();
    }

    async fn prove(&self, uri: &Uri) -> Standing {
        let mut proof = Proof::default();
        for (number, golden) in self.golden.iter().enumerate() {
            let mut scores = Vec::with_capacity(golden.windows.len());
            // Each by itself, since the bound on calls counts them.
            for window in golden.windows.chunks(1) {
                match self.ask(uri, window).await {
                    Ok(score) => scores.extend(score),
                    Err(failure) if failure.blames_the_server() || failure == Failure::Overloaded => {
                        return Standing::Down(failure.to_string());
                    }
                    Err(failure) => return Standing::Unfit(failure.to_string()),
                }
            }
            match golden.gap(&scores, self.tolerance) {
                Ok(gap) => proof = Proof { texts: proof.texts + 1, gap: proof.gap.max(gap), ..proof },
                Err(off) => {
                    return Standing::Unfit(format!(
                        "scores golden text {} {off}: it serves another model, or loaded it otherwise",
                        number + 1
                    ));
                }
            }
        }
        Standing::Proven(proof)
    }

    /// Sends what waits to servers that have room.
    async fn dispatch(self: Arc<Self>) {
        loop {
            self.work.notified().await;
            while let Some((server, batch)) = self.next() {
                tokio::spawn(Arc::clone(&self).run(server, batch));
            }
        }
    }

    /// The next batch and the place that was taken for it. What waits when no server could take it is answered at once.
    fn next(&self) -> Option<(usize, Vec<Job>)> {
        let now = Instant::now();
        let mut queue = lock(&self.queue);
        if queue.is_empty() {
            return None;
        }
        // In a statement of its own, so that the pool is free again.
        let taken = lock(&self.pool).take(now, None);
        match taken {
            Ok(server) => {
                let batch = queue.take(server, self.budget, now);
                if batch.is_empty() {
                    lock(&self.pool).give_back(server, Outcome::Untold, now);
                    return None;
                }
                Some((server, batch))
            }
            Err(Refused::Busy) => None,
            Err(Refused::Down) => {
                let why = Unavailable::Server(self.why_down());
                for job in queue.drain() {
                    // The caller may have gone; then nobody needs the answer.
                    drop(job.reply.send(Err(why.clone())));
                }
                None
            }
        }
    }

    fn why_down(&self) -> String {
        let servers = self.stand().into_iter().map(|server| format!("{} {}", server.url, server.why));
        format!("no server is ready: {}", servers.collect::<Vec<_>>().join("; "))
    }

    async fn run(self: Arc<Self>, server: usize, batch: Vec<Job>) {
        let place = Place { shared: &self, server, outcome: Outcome::Untold };
        let (windows, mut replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|job| (job.window, job.reply)).unzip();
        let scores = {
            let gone = join_all(replies.iter_mut().map(|reply| Box::pin(reply.closed())));
            tokio::select! {
                scores = self.score(place, &windows) => scores,
                // Nobody waits any more.
                _ = gone => return,
            }
        };
        match scores {
            Ok(scores) => {
                for (reply, score) in replies.into_iter().zip(scores) {
                    drop(reply.send(Ok(score)));
                }
            }
            Err(error) => {
                tracing::warn!(%error, texts = replies.len(), "a guard's server gave no scores");
                for reply in replies {
                    drop(reply.send(Err(error.clone())));
                }
            }
        }
    }

    async fn score(&self, place: Place<'_>, windows: &[Window]) -> Result<Vec<f32>, Unavailable> {
        let (first, failure) = match self.call(place, windows).await {
            Ok(scores) => return Ok(scores),
            Err(told) => told,
        };
        let told =
            |server: usize, failure: Failure| failure.at(&self.servers.get(server).map(Uri::to_string).unwrap_or_default());
        if !matches!(failure, Failure::Unreachable(_)) {
            return Err(told(first, failure));
        }
        let other = lock(&self.pool).take(Instant::now(), Some(first));
        let Ok(server) = other else { return Err(told(first, failure)) };
        let place = Place { shared: self, server, outcome: Outcome::Untold };
        self.call(place, windows).await.map_err(|(server, failure)| told(server, failure))
    }

    /// One call at the server where there is a place.
    async fn call(&self, mut place: Place<'_>, windows: &[Window]) -> Result<Vec<f32>, (usize, Failure)> {
        let server = place.server;
        let uri = self.servers.get(server).ok_or_else(|| (server, Failure::Unfit("is unknown".to_owned())))?;
        let scores = self.ask(uri, windows).await;
        place.outcome = match &scores {
            Err(failure) if failure.blames_the_server() => Outcome::Failed,
            _ => Outcome::Answered,
        };
        scores.map_err(|failure| (server, failure))
    }

    /// The scores that a server gives, within the time and number of calls allowed.
    async fn ask(&self, uri: &Uri, windows: &[Window]) -> Result<Vec<f32>, Failure> {
        if self.limit.as_ref().is_some_and(|limit| !lock(limit).allows(Instant::now())) {
            return Err(Failure::Overloaded);
        }
        let scores = self.in_time(self.protocol.score(uri, windows)).await?;
        if scores.len() != windows.len() || scores.iter().any(|score| !(0.0..=1.0).contains(score)) {
            return Err(Failure::Unfit(format!("gave {} texts the scores {scores:?}", windows.len())));
        }
        Ok(scores)
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        timeout(self.timeout, call).await.unwrap_or_else(|_| Err(Failure::Slow(self.timeout.as_millis())))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.shared.pool).give_back(self.server, self.outcome, Instant::now());
        self.shared.work.notify_one();
    }
}

/// A server's address without the `/v1` that many write after it.
fn base(uri: Uri) -> Uri {
    let text = uri.to_string();
    let short = text.trim_end_matches('/').trim_end_matches("/v1");
    short.parse().unwrap_or(uri)
}

/// Enough to prove a hosted guard, which counts every call.
fn first_of_each_task(golden: Vec<Golden>) -> Vec<Golden> {
    let mut tasks = Vec::new();
    let mut first = |golden: &Golden| {
        let task = golden.windows.first().map(|window| window.task);
        let is_new = !tasks.contains(&task);
        tasks.push(task);
        is_new
    };
    golden.into_iter().filter(|golden| first(golden)).collect()
}
