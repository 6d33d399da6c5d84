//! The guard: a model, described by its manifest, that says how likely a text is unsafe.
//!
//! Knows no policy, and HTTP only in `remote`. A text is cut into windows and encoded off the reactor, waits in one queue, and
//! runs in a batch: on the thread that owns the ONNX Runtime session, or at a server elsewhere.

mod batch;
pub mod manifest;
mod remote;
mod session;
mod tokenize;
mod tune;
mod worker;

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::spawn_blocking};

use self::{
    manifest::{Kind, Needs},
    remote::Fleet,
    session::{Classifier, Engine},
    tokenize::{Encoder, Unencodable},
    worker::Worker,
};
pub use self::{
    manifest::{Manifest, Unusable},
    remote::Server,
    session::{NoRuntime, Runtime},
    tokenize::Window,
    tune::{Calibration, Tuning, logit, tune},
};
use crate::{config, segment::Task};

/// The directory of the embedded guard.
const EMBEDDED: &str = "onnx/guards/seawall-mini";

/// Why there is no score. Never taken for a pass: the policy decides what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The queue is full.
    #[error("the guard is overloaded")]
    Overloaded,
    /// It took too long.
    #[error("the guard did not answer in time")]
    Deadline,
    /// The text cannot be encoded, or the graph cannot be run.
    #[error("the guard failed: {0}")]
    Engine(String),
    /// A server that was to score it failed, or none is ready; what and where.
    #[error("the guard failed: {0}")]
    Server(String),
}

impl Unavailable {
    /// As clients may be told it: they need not know the servers behind.
    #[must_use]
    pub fn public(&self) -> String {
        match self {
            Self::Server(_) => "the guard failed".to_owned(),
            Self::Overloaded | Self::Deadline | Self::Engine(_) => self.to_string(),
        }
    }
}

/// A loaded guard.
#[derive(Debug)]
pub struct Guard {
    manifest: Manifest,
    identity: String,
    dir: PathBuf,
    encoder: Arc<Encoder>,
    way: Way,
    deadline: Duration,
}

/// Where texts are scored.
#[derive(Debug)]
enum Way {
    /// On a thread of this process.
    Here { worker: Worker, provider: config::Provider, proof: Proof },
    /// At servers; a hosted one is sent words in place of ids.
    Elsewhere { fleet: Fleet, engine: config::Engine },
}

/// A golden text as it is fed, and its score.
#[derive(Debug, Clone)]
struct Golden {
    windows: Vec<Window>,
    score: f32,
}

/// What was seen when the guard's golden texts were scored at load.
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// Golden texts.
    pub texts: usize,
    /// The largest difference of a score from what the manifest's makers saw.
    pub gap: f32,
}

impl Guard {
    /// Loads a guard and proves it on its golden texts.
    ///
    /// # Errors
    /// Whatever makes the guard unfit: a missing or altered file, a tokenizer or graph that does not fit the manifest, or a
    /// golden text whose ids or score come out differently.
    pub fn load(runtime: &Runtime, settings: &config::Guard) -> Result<Self, Unusable> {
        let dir = directory(settings.dir.as_deref())?;
        let manifest = Manifest::load(&dir, Needs::All)?;
        let encoder = Encoder::load(&dir, &manifest)?;
        let mut engine = match manifest.kind {
            Kind::SequenceClassification => Classifier::load(runtime, &dir, &manifest, settings)?,
            Kind::DecoderLabel => {
                return Err(Unusable::new(&dir, "a guard of the kind `decoder-label` runs elsewhere only; set `guard.engine`"));
            }
        };
        let golden = golden(&dir, &manifest, &encoder, config::Engine::Onnx)?;
        let proof = prove(&dir, &manifest, &golden, &mut engine)?;
        let worker = Worker::start(Box::new(engine), settings.queue_tokens, settings.batch_tokens)
            .map_err(|e| Unusable::new(&dir, format!("cannot start its thread: {e}")))?;
        let way = Way::Here { worker, provider: settings.provider, proof };
        Ok(Self { identity: manifest.identity(), manifest, dir, encoder: Arc::new(encoder), way, deadline: deadline(settings) })
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
        let encoder = Encoder::load(&dir, &manifest)?;
        let golden = golden(&dir, &manifest, &encoder, engine)?;
        let fleet = Fleet::connect(&dir, &manifest, golden, settings, section).await?;
        // The same weights elsewhere may round otherwise, and a hosted guard gives words.
        let identity = format!("{} by {} {}", manifest.identity(), engine.name(), settings.remote.model);
        let way = Way::Elsewhere { fleet, engine };
        Ok(Self { identity, manifest, dir, encoder: Arc::new(encoder), way, deadline: deadline(settings) })
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
            Way::Here { provider, .. } => provider.name(),
            Way::Elsewhere { engine, .. } => engine.name(),
        }
    }

    /// Its servers and how they stand; none if it runs here.
    #[must_use]
    pub fn servers(&self) -> Vec<Server> {
        match &self.way {
            Way::Here { .. } => Vec::new(),
            Way::Elsewhere { fleet, .. } => fleet.servers(),
        }
    }

    /// Whether it can score now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.way, Way::Here { .. }) || self.servers().iter().any(|server| server.is_ready)
    }

    /// How its golden texts came out; `None` while no server of it could be asked.
    #[must_use]
    pub fn proof(&self) -> Option<Proof> {
        match &self.way {
            Way::Here { proof, .. } => Some(*proof),
            Way::Elsewhere { fleet, .. } => fleet.proof(),
        }
    }

    /// Name, version and checksum: what scores depend on.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
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
            Way::Here { worker, .. } => worker.waiting(),
            Way::Elsewhere { fleet, .. } => fleet.waiting(),
        }
    }

    /// The windows that together cover a text.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode.
    pub async fn windows(&self, task: Task, text: &str, prompt: Option<&str>) -> Result<Vec<Window>, Unavailable> {
        let encoder = Arc::clone(&self.encoder);
        let (text, prompt) = (text.to_owned(), prompt.map(str::to_owned));
        let engine = match &self.way {
            Way::Here { .. } => config::Engine::Onnx,
            Way::Elsewhere { engine, .. } => *engine,
        };
        let encoded = spawn_blocking(move || windows(&encoder, engine, task, &text, prompt.as_deref())).await;
        encoded.map_err(|e| Unavailable::Engine(e.to_string()))?.map_err(|e| Unavailable::Engine(e.to_string()))
    }

    /// P(unsafe) of one window, calibrated as the manifest says.
    ///
    /// # Errors
    /// No room, no time, a failing graph, or no server.
    pub async fn score(&self, window: Window) -> Result<f32, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.deadline;
        let calibration = self.manifest.task(window.task).calibration;
        let job = batch::Job { window, deadline, reply };
        match &self.way {
            Way::Here { worker, .. } => worker.push(job),
            Way::Elsewhere { fleet, .. } => fleet.push(job),
        }
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(score)) => score.map(|score| calibration.map_or(score, |calibration| calibration.apply(score))),
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
    near_executable(EMBEDDED).find(|dir| dir.join("guard.toml").is_file()).ok_or_else(|| {
        Unusable::new(
            Path::new(EMBEDDED),
            "the embedded guard is neither beside the program nor here; name one with --guard DIR",
        )
    })
}

/// `path` beside the executable, in each folder above it, and in the working directory.
fn near_executable(path: &str) -> impl Iterator<Item = PathBuf> {
    let executable = env::current_exe().and_then(std::fs::canonicalize).unwrap_or_default();
    let above: Vec<PathBuf> = executable.ancestors().skip(1).take(4).map(|dir| dir.join(path)).collect();
    above.into_iter().chain([PathBuf::from(".").join(path)])
}

fn deadline(settings: &config::Guard) -> Duration {
    Duration::from_millis(settings.deadline_ms)
}

/// The windows of a text as an engine is fed them.
fn windows(
    encoder: &Encoder,
    engine: config::Engine,
    task: Task,
    text: &str,
    prompt: Option<&str>,
) -> Result<Vec<Window>, Unencodable> {
    let mut windows = encoder.windows(task, text, prompt)?;
    if engine == config::Engine::Openai {
        for window in &mut windows {
            window.words = Some(remote::words(task, text.get(window.range.clone()).unwrap_or(text), prompt));
        }
    }
    Ok(windows)
}

/// The golden texts as they are fed, if they come out as the ids that the manifest's makers saw.
fn golden(dir: &Path, manifest: &Manifest, encoder: &Encoder, engine: config::Engine) -> Result<Vec<Golden>, Unusable> {
    let cases = manifest.golden_cases(dir)?;
    let tasks = [Some(Task::Prompt), manifest.tasks.response.as_ref().map(|_| Task::Response)];
    if let Some(task) = tasks.into_iter().flatten().find(|task| cases.iter().all(|case| case.task != *task)) {
        return Err(Unusable::new(
            dir,
            format!("no golden text proves the task {task:?}: the guard cannot be trusted unproven"),
        ));
    }
    let mut golden = Vec::new();
    for (line, case) in cases.iter().enumerate() {
        let fail = |why: String| Unusable::new(dir, format!("golden text {}: {why}", line + 1));
        let windows = windows(encoder, engine, case.task, &case.text, case.prompt.as_deref());
        let windows = windows.map_err(|e| fail(e.to_string()))?;
        if windows.iter().any(|window| window.range != (0..case.text.len())) {
            return Err(fail("is cut into windows, it must fit in one".to_owned()));
        }
        if windows.first().is_none_or(|window| window.ids != case.ids) {
            return Err(fail("comes out as other token ids: the tokenizer or template does not fit the graph".to_owned()));
        }
        golden.push(Golden { windows, score: case.score });
    }
    Ok(golden)
}

/// Scores the golden texts and compares; golden scores are the graph's own, before calibration.
fn prove(dir: &Path, manifest: &Manifest, golden: &[Golden], engine: &mut dyn Engine) -> Result<Proof, Unusable> {
    let mut proof = Proof { texts: 0, gap: 0.0 };
    for (line, Golden { windows, score: wanted }) in golden.iter().enumerate() {
        let fail = |why: String| Unusable::new(dir, format!("golden text {}: {why}", line + 1));
        let scores = engine.run(&windows.iter().collect::<Vec<_>>()).map_err(|e| fail(e.to_string()))?;
        // A score that is no number must not be passed over, as the maximum of floats would.
        let score = scores.into_iter().fold(0.0, |worst: f32, score| if score < worst { worst } else { score });
        let gap = (score - wanted).abs();
        if gap.is_nan() || gap > manifest.golden.tolerance {
            return Err(fail(format!("scores {score:.4} instead of {wanted:.4}: the graph or ONNX Runtime differs")));
        }
        proof = Proof { texts: proof.texts + 1, gap: proof.gap.max(gap) };
    }
    Ok(proof)
}
