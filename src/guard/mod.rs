//! The guard: a model, described by its manifest, that says how likely a text is unsafe.
//!
//! Knows no HTTP and no policy. A text is cut into windows and encoded off the reactor, waits in one queue, and runs in a
//! batch on the thread that owns the ONNX Runtime session.

mod batch;
pub mod manifest;
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
    manifest::Kind,
    session::{Classifier, Engine},
    tokenize::Encoder,
    worker::Worker,
};
pub use self::{
    manifest::{Manifest, Unusable},
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
}

/// A loaded guard.
#[derive(Debug)]
pub struct Guard {
    manifest: Manifest,
    identity: String,
    dir: PathBuf,
    provider: config::Provider,
    proof: Proof,
    encoder: Arc<Encoder>,
    worker: Worker,
    deadline: Duration,
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
        let manifest = Manifest::load(&dir)?;
        let encoder = Encoder::load(&dir, &manifest)?;
        let mut engine = match manifest.kind {
            Kind::SequenceClassification => Classifier::load(runtime, &dir, &manifest, settings)?,
        };
        let proof = prove(&dir, &manifest, &encoder, &mut engine)?;
        let worker = Worker::start(Box::new(engine), settings.queue_tokens, settings.batch_tokens)
            .map_err(|e| Unusable::new(&dir, format!("cannot start its thread: {e}")))?;
        let identity = manifest.identity();
        let provider = settings.provider;
        let deadline = Duration::from_millis(settings.deadline_ms);
        Ok(Self { manifest, identity, dir, provider, proof, encoder: Arc::new(encoder), worker, deadline })
    }

    /// Where it was loaded from.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What runs its graph.
    #[must_use]
    pub fn provider(&self) -> config::Provider {
        self.provider
    }

    /// How its golden texts came out.
    #[must_use]
    pub fn proof(&self) -> Proof {
        self.proof
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
        self.worker.waiting()
    }

    /// The windows that together cover a text.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode.
    pub async fn windows(&self, task: Task, text: &str, prompt: Option<&str>) -> Result<Vec<Window>, Unavailable> {
        let encoder = Arc::clone(&self.encoder);
        let (text, prompt) = (text.to_owned(), prompt.map(str::to_owned));
        let encoded = spawn_blocking(move || encoder.windows(task, &text, prompt.as_deref())).await;
        encoded.map_err(|e| Unavailable::Engine(e.to_string()))?.map_err(|e| Unavailable::Engine(e.to_string()))
    }

    /// P(unsafe) of one window, calibrated as the manifest says.
    ///
    /// # Errors
    /// No room, no time, or a failing graph.
    pub async fn score(&self, window: Window) -> Result<f32, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.deadline;
        let calibration = self.manifest.task(window.task).calibration;
        self.worker.push(batch::Job { window, deadline, reply });
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(score)) => score.map(|score| calibration.map_or(score, |calibration| calibration.apply(score))),
            Ok(Err(_)) => Err(Unavailable::Engine("the guard's thread has ended".to_owned())),
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

/// Scores the golden texts and compares; golden scores are the graph's own, before calibration.
fn prove(dir: &Path, manifest: &Manifest, encoder: &Encoder, engine: &mut dyn Engine) -> Result<Proof, Unusable> {
    let mut proof = Proof { texts: 0, gap: 0.0 };
    let cases = manifest.golden_cases(dir)?;
    let tasks = [Some(Task::Prompt), manifest.tasks.response.as_ref().map(|_| Task::Response)];
    if let Some(task) = tasks.into_iter().flatten().find(|task| cases.iter().all(|case| case.task != *task)) {
        return Err(Unusable::new(
            dir,
            format!("no golden text proves the task {task:?}: the guard cannot be trusted unproven"),
        ));
    }
    for (line, case) in cases.iter().enumerate() {
        let fail = |why: String| Unusable::new(dir, format!("golden text {}: {why}", line + 1));
        let windows = encoder.windows(case.task, &case.text, case.prompt.as_deref()).map_err(|e| fail(e.to_string()))?;
        let [window] = windows.as_slice() else {
            return Err(fail(format!("is cut into {} windows, it must fit in one", windows.len())));
        };
        if window.ids != case.ids {
            return Err(fail("comes out as other token ids: the tokenizer or template does not fit the graph".to_owned()));
        }
        let score = engine.run(&[window]).map_err(|e| fail(e.to_string()))?.first().copied().unwrap_or(f32::NAN);
        if (score - case.score).is_nan() || (score - case.score).abs() > manifest.golden.tolerance {
            return Err(fail(format!("scores {score:.4} instead of {:.4}: the graph or ONNX Runtime differs", case.score)));
        }
        proof = Proof { texts: proof.texts + 1, gap: proof.gap.max((score - case.score).abs()) };
    }
    Ok(proof)
}
