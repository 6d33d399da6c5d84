//! The guard: a model, described by its manifest, that says how likely a text is unsafe.
//!
//! Knows no policy, and HTTP only in `remote`. A text is cut into windows and encoded off the reactor, waits in one queue, and
//! runs on the thread of an ONNX Runtime session, in a batch or, if it grows, by itself and from what was kept of it; or at a
//! server elsewhere.

mod batch;
mod classifier;
mod decoder;
mod engine;
mod here;
mod home;
mod kv;
pub mod manifest;
mod proof;
mod remote;
mod runtime;
mod share;
mod speakers;
mod tokenize;
mod tune;
mod worker;

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

pub use self::{
    batch::Turn,
    manifest::{Manifest, Unusable},
    proof::Proof,
    remote::Server,
    runtime::{NoRuntime, Runtime},
    share::{Meter, Scoring, Share},
    tokenize::Window,
    tune::{Calibration, Tuning, logit, tune},
    worker::Session,
};
use self::{
    batch::{Asker, Job, Room, Ticket},
    here::Here,
    manifest::{Kind, Needs},
    proof::golden,
    remote::Fleet,
    share::longest,
    tokenize::{Encoder, Unencodable},
};
use crate::{aside, config, segment::Task};

/// The directory of the embedded guard where the program was built …
const EMBEDDED: &str = "onnx/guards/seawall-mini";
/// … and where it was installed.
const INSTALLED: &str = "share/seawall/guards/seawall-mini";

/// Why there is no score. Never taken for a pass: the policy decides what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The queue is full.
    #[error("the guard is overloaded")]
    Overloaded,
    /// It took too long.
    #[error("the guard did not answer in time")]
    Deadline,
    /// The text is longer than the guard is given to read: how long, and what the limit is.
    #[error("{0}")]
    TooLong(String),
    /// The text cannot be encoded, or the graph cannot be run.
    #[error("the guard failed: {0}")]
    Engine(String),
    /// A server that was to score it failed, or none is ready; what and where.
    #[error("the guard failed: {0}")]
    Server(String),
}

impl Unavailable {
    /// As clients may be told it: they need not know the servers behind, nor what in this one failed.
    #[must_use]
    pub fn public(&self) -> String {
        match self {
            Self::Engine(_) | Self::Server(_) => "the guard failed".to_owned(),
            Self::Overloaded | Self::Deadline | Self::TooLong(_) => self.to_string(),
        }
    }
}

impl From<Unencodable> for Unavailable {
    fn from(error: Unencodable) -> Self {
        match error {
            Unencodable::TooLong { .. } => Self::TooLong(error.to_string()),
            Unencodable::Tokenizer(_) | Unencodable::NoRoom(_) => Self::Engine(error.to_string()),
        }
    }
}

/// A loaded guard.
#[derive(Debug)]
pub struct Guard {
    manifest: Manifest,
    identity: String,
    origin: String,
    dir: PathBuf,
    encoder: Arc<Encoder>,
    way: Way,
    queue_tokens: usize,
    deadline: Duration,
}

/// Where texts are scored.
#[derive(Debug)]
enum Way {
    /// On threads of this process.
    Here(Here),
    /// At servers.
    Elsewhere { fleet: Fleet, engine: config::Engine },
}

/// What a guard has done for texts that grow, since it was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    /// Windows scored on from what was kept of them.
    pub checks: u64,
    /// Tokens computed for them.
    pub fed: u64,
    /// Tokens not computed again.
    pub reused: u64,
    /// Tokens whose keys and values are kept now.
    pub kept: u64,
    /// Windows that could not be scored so, and were computed whole.
    pub failed: u64,
}

impl Guard {
    /// Loads a guard and proves each of its sessions on its golden texts.
    ///
    /// # Errors
    /// Whatever makes the guard unfit: a missing or altered file, a tokenizer or graph that does not fit the manifest, or a
    /// golden text whose ids or score come out differently.
    pub fn load(runtime: &Runtime, settings: &config::Guard) -> Result<Self, Unusable> {
        let dir = directory(settings.dir.as_deref())?;
        let manifest = Manifest::load(&dir, Needs::All)?;
        let encoder = Encoder::load(&dir, &manifest, config::Engine::Onnx, longest(settings))?;
        let way = Way::Here(Here::load(runtime, &dir, &manifest, &encoder, settings)?);
        let identity = manifest.identity();
        let origin = format!("{identity} on {}", settings.provider.name());
        let (encoder, queue_tokens, deadline) = (Arc::new(encoder), settings.queue_tokens, deadline(settings));
        Ok(Self { manifest, identity, origin, dir, encoder, way, queue_tokens, deadline })
    }

    /// A guard that servers elsewhere run; `section` is where its settings stand. Each server that can be reached is proven on
    /// the golden texts. One that cannot is asked again; until one is proven there are no scores.
    ///
    /// # Errors
    /// A missing or altered file, settings that no server can be reached with, or a server whose scores come out differently.
    pub async fn connect(settings: &config::Guard, section: &str) -> Result<Self, Unusable> {
        let engine = settings.engine;
        let dir = directory(settings.dir.as_deref())?;
        let manifest = Manifest::load(&dir, Needs::Words)?;
        let encoder = Encoder::load(&dir, &manifest, engine, longest(settings))?;
        let golden = golden(&dir, &manifest, &encoder)?;
        let fleet = Fleet::connect(&dir, &manifest, golden, settings, section).await?;
        // The same weights elsewhere may round otherwise, and a hosted guard gives words.
        let identity = format!("{} by {} {}", manifest.identity(), engine.name(), settings.remote.model);
        let origin = format!("{identity} of {:?}", settings.remote.top_logprobs);
        let way = Way::Elsewhere { fleet, engine };
        let (encoder, queue_tokens, deadline) = (Arc::new(encoder), settings.queue_tokens, deadline(settings));
        Ok(Self { manifest, identity, origin, dir, encoder, way, queue_tokens, deadline })
    }

    /// Where it was loaded from.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What runs its model: ONNX Runtime's provider, or the engine elsewhere.
    #[must_use]
    pub fn runs_on(&self) -> &'static str {
        match &self.way {
            Way::Here(here) => here.provider().name(),
            Way::Elsewhere { engine, .. } => engine.name(),
        }
    }

    /// Its sessions and how they stand; none if it runs elsewhere.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        match &self.way {
            Way::Here(here) => here.sessions(),
            Way::Elsewhere { .. } => Vec::new(),
        }
    }

    /// Takes no more texts, and waits until nothing of it runs in this process: a library that ends under a batch fails it.
    pub async fn close(&self) {
        if let Way::Here(here) = &self.way {
            here.close().await;
        }
    }

    /// Its servers and how they stand; none if it runs here.
    #[must_use]
    pub fn servers(&self) -> Vec<Server> {
        match &self.way {
            Way::Here(_) => Vec::new(),
            Way::Elsewhere { fleet, .. } => fleet.servers(),
        }
    }

    /// Whether it can score now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.way {
            Way::Here(here) => here.sessions().iter().any(|session| session.is_ready),
            Way::Elsewhere { fleet, .. } => fleet.servers().iter().any(|server| server.is_ready),
        }
    }

    /// How its golden texts came out; `None` while no server of it could be asked.
    #[must_use]
    pub fn proof(&self) -> Option<Proof> {
        match &self.way {
            Way::Here(here) => Some(here.proof()),
            Way::Elsewhere { fleet, .. } => fleet.proof(),
        }
    }

    /// Name, version and checksum: what scores depend on.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Its identity, and what else its scores depend on where nodes may differ.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The guard's description.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Texts that wait to be scored.
    #[must_use]
    pub fn waiting(&self) -> usize {
        match &self.way {
            Way::Here(here) => here.waiting(),
            Way::Elsewhere { fleet, .. } => fleet.waiting(),
        }
    }

    /// Batches that it has begun, since it was loaded: with the windows scored they tell how full batches are.
    #[must_use]
    pub fn batches(&self) -> u64 {
        match &self.way {
            Way::Here(here) => here.batches(),
            Way::Elsewhere { fleet, .. } => fleet.batches(),
        }
    }

    /// Whether it is to read an answer from its beginning each time that it has grown, rather than what is new of it.
    #[must_use]
    pub fn reads_whole_answers(&self) -> bool {
        self.manifest.kind == Kind::DecoderLabel
    }

    /// What it has done for texts that grow; `None` if it keeps nothing of them.
    #[must_use]
    pub fn growth(&self) -> Option<Growth> {
        match &self.way {
            Way::Here(here) => here.growth(),
            Way::Elsewhere { .. } => None,
        }
    }

    /// The windows that together cover a text.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode, or one that is too long to be scored.
    pub async fn windows(&self, task: Task, text: &str, prompt: Option<&str>) -> Result<Vec<Window>, Unavailable> {
        self.encode(aside::place(text.len()).await, task, text, prompt).await
    }

    /// The same for a request's text. One that would be refused anyway is so before it is encoded: where too many come, this
    /// would take the processor from those that are judged.
    ///
    /// # Errors
    /// No room too.
    pub async fn windows_in_turn(
        &self,
        task: Task,
        text: &str,
        prompt: Option<&str>,
        share: &Share,
    ) -> Result<Vec<Window>, Unavailable> {
        let place = aside::place(text.len()).await;
        self.admit(share)?;
        self.encode(place, task, text, prompt).await
    }

    /// Refuses a request whose texts would be refused anyway, before any work on them.
    ///
    /// # Errors
    /// No room.
    pub fn admit(&self, share: &Share) -> Result<(), Unavailable> {
        let is_refused = match &self.way {
            Way::Here(here) => here.refuses(share.asker()),
            Way::Elsewhere { fleet, .. } => fleet.refuses(share.asker()),
        };
        if is_refused { Err(Unavailable::Overloaded) } else { Ok(()) }
    }

    async fn encode(
        &self,
        place: aside::Place,
        task: Task,
        text: &str,
        prompt: Option<&str>,
    ) -> Result<Vec<Window>, Unavailable> {
        let encoder = Arc::clone(&self.encoder);
        let (text, prompt) = (text.to_owned(), prompt.map(str::to_owned));
        let encoded = place.run(move || encoder.windows(task, &text, prompt.as_deref())).await;
        encoded.map_err(|e| Unavailable::Engine(e.to_string()))?.map_err(Unavailable::from)
    }

    /// All work for a text's score, encoding it included, in the time that the score may take.
    ///
    /// # Errors
    /// What the work fails with, or no time.
    pub async fn in_time<T>(&self, work: impl Future<Output = Result<T, Unavailable>>) -> Result<T, Unavailable> {
        tokio::time::timeout(self.deadline, work).await.unwrap_or(Err(Unavailable::Deadline))
    }

    /// P(unsafe) of one window, calibrated as the manifest says.
    ///
    /// # Errors
    /// No room, no time, a failing graph, or no server.
    pub async fn score(&self, window: Window) -> Result<f32, Unavailable> {
        self.ask(window, false, Asker::default()).await.map(|(score, _)| score)
    }

    /// The same for one of a request's windows, which take turns with those of others, and how it came to its turn. A text that
    /// `grows` is scored as [`Self::score_growing`] does.
    ///
    /// # Errors
    /// No room, no time, a failing graph, or no server.
    pub async fn score_in_turn(&self, window: Window, grows: bool, share: &Share) -> Result<(f32, Turn), Unavailable> {
        self.ask(window, grows, share.asker().clone()).await
    }

    /// The same for a window of a text that grows: where the guard can, what is kept of its beginning is not computed again,
    /// and it is kept for the next time.
    ///
    /// # Errors
    /// No room, no time, a failing graph, or no server.
    pub async fn score_growing(&self, window: Window) -> Result<f32, Unavailable> {
        self.ask(window, true, Asker::default()).await.map(|(score, _)| score)
    }

    async fn ask(&self, window: Window, grows: bool, asker: Asker) -> Result<(f32, Turn), Unavailable> {
        let grows = grows && matches!(&self.way, Way::Here(here) if here.keeps());
        let (reply, answer) = oneshot::channel();
        let now = Instant::now();
        let (deadline, ticket) = (now + self.deadline, Ticket::at(now));
        let calibration = self.manifest.task(window.task).calibration;
        let job = Job { window, asker, grows, home: None, deadline, ticket: ticket.clone(), reply };
        match &self.way {
            Way::Here(here) => here.push(job),
            Way::Elsewhere { fleet, .. } => fleet.push(job),
        }
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(score)) => {
                let score = score.map(|score| calibration.map_or(score, |calibration| calibration.apply(score)));
                score.map(|score| (score, ticket.turn().unwrap_or_default()))
            }
            Ok(Err(_)) => Err(Unavailable::Engine("the guard has ended".to_owned())),
            Err(_) => Err(Unavailable::Deadline),
        }
    }
}

/// The named directory, or the embedded guard's, wherever the program was installed or built.
///
/// # Errors
/// None is named, and the embedded one is nowhere.
pub fn directory(named: Option<&Path>) -> Result<PathBuf, Unusable> {
    if let Some(dir) = named {
        return Ok(dir.to_owned());
    }
    let mut known = near_executable(EMBEDDED).chain(near_executable(INSTALLED));
    known.find(|dir| dir.join("guard.toml").is_file()).ok_or_else(|| {
        Unusable::new(
            Path::new(EMBEDDED),
            "the embedded guard is neither beside the program nor here; name one with --guard DIR",
        )
    })
}

/// The manifest of a guard, which is not started.
///
/// # Errors
/// It is nowhere, or its manifest is wrong.
pub fn manifest(settings: &config::Guard) -> Result<Manifest, Unusable> {
    Manifest::load(&directory(settings.dir.as_deref())?, Needs::Words)
}

/// `path` beside the executable, in each folder above it, and in the working directory.
fn near_executable(path: &str) -> impl Iterator<Item = PathBuf> {
    let executable = env::current_exe().and_then(std::fs::canonicalize).unwrap_or_default();
    let above: Vec<PathBuf> = executable.ancestors().skip(1).take(4).map(|dir| dir.join(path)).collect();
    above.into_iter().chain([PathBuf::from(".").join(path)])
}

/// How much may wait for a guard.
fn room(settings: &config::Guard) -> Room {
    Room {
        tokens: settings.queue_tokens,
        wait: match settings.queue_ms {
            u64::MAX => Duration::MAX,
            wait => Duration::from_millis(wait),
        },
    }
}

fn deadline(settings: &config::Guard) -> Duration {
    Duration::from_millis(settings.deadline_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_what_they_can_do_something_about() {
        let long = Unavailable::from(Unencodable::TooLong { tokens: 9, most: 4 });
        assert!(long.public().contains("at least 9 tokens"), "{long:?}");
        let inside = Unavailable::from(Unencodable::Tokenizer("/srv/guard/tokenizer.json: line 3".to_owned()));
        for hidden in [inside, Unavailable::Engine("CUDA error 700 on 10.0.0.7".to_owned())] {
            assert_eq!(hidden.public(), "the guard failed");
            assert_ne!(hidden.to_string(), hidden.public(), "operators are told more");
        }
    }
}
