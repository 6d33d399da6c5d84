//! `guard.toml`: all that is particular to one guard model, so that a new guard is a directory and no code.

mod check;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::tune::Calibration;
use crate::{
    config::{Engine, explain},
    segment::Task,
};

/// Why a guard cannot be used: one line that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("guard {}: {why}", dir.display())]
pub struct Unusable {
    dir: PathBuf,
    why: String,
}

impl Unusable {
    pub(super) fn new(dir: &Path, why: impl Into<String>) -> Self {
        Self { dir: dir.to_owned(), why: why.into() }
    }
}

/// A guard's description.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: 1.
    pub format: u32,
    /// The guard's name.
    pub name: String,
    /// The guard's own version.
    pub version: String,
    /// How the graph is run.
    pub kind: Kind,
    /// Licence of the weights.
    pub licence: String,
    /// Languages it was made for (ISO 639-1, `tl` for Tagalog).
    pub languages: Vec<String>,
    /// The files beside the manifest.
    pub files: Files,
    /// Names of the graph's inputs.
    pub inputs: Inputs,
    /// The graph's output.
    pub output: Output,
    /// Lengths, in tokens.
    pub tokens: Tokens,
    /// How each task is asked and read.
    pub tasks: Tasks,
    /// The reference scores checked at load.
    pub golden: Golden,
    /// SHA-256 of the manifest's text, and so of all that scores depend on: it names the other files' checksums.
    #[serde(skip)]
    digest: String,
}

/// How a guard's graph is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One row of class logits for each text.
    SequenceClassification,
    /// A generative model, of whose first answered token only the logits of a few labels are read.
    DecoderLabel,
}

impl Kind {
    /// As the manifest has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SequenceClassification => "sequence-classification",
            Self::DecoderLabel => "decoder-label",
        }
    }
}

/// The files of a guard.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The graph that scores whole texts; a guard that only runs elsewhere has none.
    pub graph: Option<File>,
    /// The graph that goes on from keys and values computed before; without it, texts that grow are scored whole each time.
    pub incremental: Option<File>,
    /// Weights that the graphs keep outside themselves.
    pub weights: Option<File>,
    /// The tokenizer, as the `tokenizers` library writes it.
    pub tokenizer: File,
    /// Reference texts with their ids and scores, a JSON object a line.
    pub golden: File,
}

/// A file and its checksum.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Path relative to the manifest.
    pub path: PathBuf,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

impl Files {
    /// Those that a process needs.
    pub fn needed(&self, needs: Needs) -> impl Iterator<Item = &File> {
        let graphs = [&self.graph, &self.incremental, &self.weights].into_iter().flatten();
        graphs.filter(move |_| needs == Needs::All).chain([&self.tokenizer, &self.golden])
    }
}

/// Names of the graph's inputs, each of int64 `[batch, sequence]`, but `lengths`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Token ids.
    pub ids: String,
    /// 1 for a token, 0 for padding: `sequence-classification`.
    pub mask: Option<String>,
    /// Token types, all 0, for graphs that want them.
    pub types: Option<String>,
    /// Tokens of each row that count, int64 `[batch]`: `decoder-label`.
    pub lengths: Option<String>,
}

/// The graph's output: float32 `[batch, columns]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// What turns logits into probabilities.
    pub activation: Activation,
    /// The tokens that the columns stand for: `decoder-label`.
    #[serde(default)]
    pub labels: Vec<Label>,
}

/// A token that a generative guard answers with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// As the tokenizer writes it.
    pub text: String,
    /// Its id.
    pub id: u32,
}

/// What turns logits into probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Each column by itself.
    Sigmoid,
    /// All columns together.
    Softmax,
}

/// Lengths, in tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Longest sequence that the graph takes, template included.
    pub max: usize,
    /// Tokens of text scored at once; a longer text is cut into windows.
    pub window: usize,
    /// Distance between the beginnings of two windows; less than `window`, so that they overlap.
    pub stride: usize,
    /// Id that pads shorter sequences of a batch.
    pub pad: i64,
}

/// The tasks that a guard can do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tasks {
    /// A text sent to a model.
    pub prompt: TaskSpec,
    /// A model's answer, given the prompt. A guard without it judges answers as prompts.
    pub response: Option<TaskSpec>,
}

/// How a task is asked and read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Columns that say unsafe. P(unsafe) is the sum of their probabilities with softmax, the greatest with sigmoid.
    #[serde(rename = "unsafe")]
    pub unsafe_columns: Vec<usize>,
    /// How much of each such column's probability counts, 0 to 1; all of it if none are named.
    #[serde(default)]
    pub weights: Vec<f32>,
    /// What stands at the template's `pass`, one after the other: the text is scored with each, and the worst counts.
    #[serde(default)]
    pub passes: Vec<String>,
    /// Openings of lines that only the template may write, such as `AI assistant:` or `<END CONVERSATION>`. In the texts of
    /// slots they are broken by a space before their last character: those in `<…>` or `[…]` anywhere, others where a line
    /// begins.
    #[serde(default)]
    pub speakers: Vec<String>,
    /// The sequence, piece by piece.
    pub template: Vec<Piece>,
    /// Unsafe at or above this probability.
    pub threshold: f32,
    /// Thresholds of single languages.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f32>,
    /// What makes probabilities of the graph's scores; thresholds are on the scores that it gives.
    pub calibration: Option<Calibration>,
}

/// A piece of a template. Neighbouring texts and slots are joined before they are encoded.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Piece {
    /// Control tokens, which no text can forge.
    Ids {
        /// Token ids.
        ids: Vec<u32>,
    },
    /// Words of the template.
    Text {
        /// As they are.
        text: String,
    },
    /// Text to be judged, or its context.
    Slot {
        /// Which.
        slot: Slot,
        /// Most tokens it may take; the last ones are kept.
        max: Option<usize>,
        /// Where the white space that the text begins or ends with is left out, as many chat templates do.
        trim: Option<Trim>,
    },
}

/// Where a slot's text is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trim {
    /// At its beginning.
    Start,
    /// At its end.
    End,
    /// At both.
    Both,
}

impl Trim {
    /// The text without the white space at these ends. It is Python's: chat templates are written for that.
    pub(super) fn of(self, text: &str) -> &str {
        let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
        match self {
            Self::Start => text.trim_start_matches(is_space),
            Self::End => text.trim_end_matches(is_space),
            Self::Both => text.trim_matches(is_space),
        }
    }
}

/// What a template's slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The text to be judged.
    Text,
    /// The prompt that it answers.
    Prompt,
    /// One of the task's `passes`.
    Pass,
}

/// How closely the golden scores must be met.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Greatest difference of a score (machines round int8 differently).
    pub tolerance: f32,
}

/// One line of the golden file.
#[derive(Debug, Clone, Deserialize)]
pub struct GoldenCase {
    /// The task.
    pub task: Task,
    /// The prompt, for the response task.
    #[serde(default)]
    pub prompt: Option<String>,
    /// The text judged.
    pub text: String,
    /// Exactly the ids that the graph is fed, in the first pass if there are several.
    pub ids: Vec<u32>,
    /// P(unsafe), the worst of the passes.
    pub score: f32,
}

/// Which of a guard's files a process needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// All: the guard runs in it.
    All,
    /// Those that encode texts: the guard runs elsewhere.
    Words,
}

impl From<Engine> for Needs {
    fn from(engine: Engine) -> Self {
        if engine == Engine::Onnx { Self::All } else { Self::Words }
    }
}

impl Manifest {
    /// Reads and checks `guard.toml` and the checksums of the files that are needed.
    ///
    /// # Errors
    /// A file that is missing or altered, or a manifest that contradicts itself.
    pub fn load(dir: &Path, needs: Needs) -> Result<Self, Unusable> {
        let fail = |why: String| Unusable::new(dir, why);
        let path = dir.join("guard.toml");
        let text = fs::read_to_string(&path)
            .map_err(|e| fail(format!("cannot read guard.toml: {e}; point --guard at a directory that holds one")))?;
        let mut manifest: Self = toml::from_str(&text).map_err(|e| fail(explain(Path::new("guard.toml"), &text, &e)))?;
        manifest.digest = hex(&Sha256::digest(text.as_bytes()));
        manifest.check().map_err(fail)?;
        for file in manifest.files.needed(needs) {
            let name = file.path.display();
            let found =
                checksum(&dir.join(&file.path)).map_err(|e| fail(format!("cannot read {name}: {e}; fetch the guard again")))?;
            if found != file.sha256 {
                return Err(fail(format!(
                    "{name} has sha256 {found}, the manifest says {}: the file is damaged or was replaced; fetch the guard again",
                    file.sha256
                )));
            }
        }
        Ok(manifest)
    }

    /// The golden cases.
    ///
    /// # Errors
    /// A line that is no golden case.
    pub fn golden_cases(&self, dir: &Path) -> Result<Vec<GoldenCase>, Unusable> {
        let path = dir.join(&self.files.golden.path);
        let text = fs::read_to_string(&path).map_err(|e| Unusable::new(dir, e.to_string()))?;
        text.lines()
            .enumerate()
            .map(|(line, text)| {
                serde_json::from_str(text)
                    .map_err(|e| Unusable::new(dir, format!("{} line {}: {e}", self.files.golden.path.display(), line + 1)))
            })
            .collect()
    }

    /// How a task is done; a guard that knows prompts only judges answers as prompts.
    #[must_use]
    pub fn task(&self, task: Task) -> &TaskSpec {
        match (task, &self.tasks.response) {
            (Task::Response, Some(response)) => response,
            (Task::Prompt | Task::Response, _) => &self.tasks.prompt,
        }
    }

    /// Name, version and the beginning of the manifest's checksum: scores of two guards with the same identity are the same.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{} {} ({})", self.name, self.version, self.digest.get(..12).unwrap_or_default())
    }
}

impl TaskSpec {
    /// The threshold for a text in these languages: the lowest of theirs.
    #[must_use]
    pub fn threshold<'l>(&self, languages: impl IntoIterator<Item = Option<&'l str>>) -> f32 {
        let of = |language: Option<&str>| language.and_then(|language| self.thresholds.get(language)).copied();
        let thresholds = languages.into_iter().map(|language| of(language).unwrap_or(self.threshold));
        thresholds.reduce(f32::min).unwrap_or(self.threshold)
    }

    /// P(unsafe) for a row of logits.
    pub(super) fn probability(&self, activation: Activation, logits: &[f32]) -> f32 {
        let weights = self.weights.iter().copied().chain(std::iter::repeat(1.0));
        let chosen =
            self.unsafe_columns.iter().zip(weights).filter_map(|(&column, weight)| Some((*logits.get(column)?, weight)));
        match activation {
            Activation::Sigmoid => chosen.map(|(logit, weight)| weight / (1.0 + (-logit).exp())).fold(f32::NAN, f32::max),
            Activation::Softmax => {
                let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let all: f32 = logits.iter().map(|logit| (logit - top).exp()).sum();
                let sum: f32 = chosen.map(|(logit, weight)| weight * (logit - top).exp() / all).sum();
                // Rounding may carry it a little over 1.
                if sum > 1.0 { 1.0 } else { sum }
            }
        }
    }

    /// The pieces before the first slot.
    pub(super) fn opening(&self) -> &[Piece] {
        self.template.split(|piece| matches!(piece, Piece::Slot { .. })).next().unwrap_or_default()
    }

    /// The pieces after the text.
    pub(super) fn closing(&self) -> &[Piece] {
        self.template.rsplit(|piece| matches!(piece, Piece::Slot { slot: Slot::Text, .. })).next().unwrap_or_default()
    }

    /// Its passes; one without words if it names none.
    pub(super) fn each_pass(&self) -> impl Iterator<Item = &str> {
        let none = self.passes.is_empty().then_some("");
        self.passes.iter().map(String::as_str).chain(none)
    }
}

/// SHA-256 of a file, which may be larger than memory.
fn checksum(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut io::BufReader::with_capacity(1 << 20, fs::File::open(path)?), &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
