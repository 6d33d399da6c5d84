//! The proof at load: a guard must score its golden texts as its makers saw it do.

use std::path::Path;

use super::{
    Unavailable,
    engine::Engine,
    manifest::{Manifest, Unusable},
    tokenize::{Encoder, Window},
};
use crate::segment::Task;

/// What was seen when the guard's golden texts were scored at load.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proof {
    /// Golden texts.
    pub texts: usize,
    /// The largest difference of a score from what the manifest's makers saw.
    pub gap: f32,
    /// The same for the scores computed on from kept beginnings, if the guard can.
    pub grown_gap: Option<f32>,
}

impl Proof {
    /// Of two proofs on the same texts, what was farthest off.
    pub(super) fn worst(self, other: Self) -> Self {
        let grown_gap = [self.grown_gap, other.grown_gap].into_iter().flatten().reduce(f32::max);
        Self { texts: self.texts.max(other.texts), gap: self.gap.max(other.gap), grown_gap }
    }
}

/// A golden text as it is fed.
#[derive(Debug)]
pub(super) struct Golden {
    pub(super) windows: Vec<Window>,
    /// What the manifest's makers saw: the graph's own score, before calibration.
    score: f32,
}

impl Golden {
    /// How far the worst of the windows' scores is from the golden one; in words if that is too far.
    pub(super) fn gap(&self, scores: &[f32], tolerance: f32) -> Result<f32, String> {
        // The maximum of floats passes over what is no number.
        let is_sound = scores.iter().all(|score| score.is_finite());
        let score = if is_sound { scores.iter().copied().fold(0.0, f32::max) } else { f32::NAN };
        let gap = (score - self.score).abs();
        if gap <= tolerance { Ok(gap) } else { Err(format!("{score:.4} instead of {:.4}", self.score)) }
    }
}

/// The golden texts, if there are some for each task and they come out as the ids that the manifest's makers saw.
pub(super) fn golden(dir: &Path, manifest: &Manifest, encoder: &Encoder) -> Result<Vec<Golden>, Unusable> {
    let cases = manifest.golden_cases(dir)?;
    let tasks = [Some(Task::Prompt), manifest.tasks.response.as_ref().map(|_| Task::Response)];
    if let Some(task) = tasks.into_iter().flatten().find(|task| cases.iter().all(|case| case.task != *task)) {
        return Err(Unusable::new(
            dir,
            format!("no golden text proves the task {task:?}: the guard cannot be trusted unproven"),
        ));
    }
    let mut golden = Vec::with_capacity(cases.len());
    for (line, case) in cases.into_iter().enumerate() {
        let fail = |why: String| unproven(dir, line, &why);
        let windows = encoder.windows(case.task, &case.text, case.prompt.as_deref()).map_err(|e| fail(e.to_string()))?;
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

/// Scores the golden texts and compares.
pub(super) fn prove(
    dir: &Path,
    manifest: &Manifest,
    golden: &[Golden],
    engine: &mut dyn Engine,
    grows: bool,
) -> Result<Proof, Unusable> {
    let mut proof = Proof { grown_gap: grows.then_some(0.0), ..Proof::default() };
    for (line, golden) in golden.iter().enumerate() {
        let fail = |why: String| unproven(dir, line, &why);
        let gap = |scores: Vec<f32>| {
            let gap = golden.gap(&scores, manifest.golden.tolerance);
            gap.map_err(|off| fail(format!("scores {off}: the graph or ONNX Runtime differs")))
        };
        let all: Vec<&Window> = golden.windows.iter().collect();
        proof.gap = proof.gap.max(gap(engine.run(&all).map_err(|e| fail(e.to_string()))?)?);
        if let Some(grown_gap) = &mut proof.grown_gap {
            let scores = golden.windows.iter().map(|window| engine.grow(window)).collect::<Result<Vec<_>, _>>();
            let scores = scores.map_err(|e| fail(format!("with the incremental graph: {e}")))?;
            *grown_gap = grown_gap.max(gap(scores.concat())?);
        }
        proof.texts += 1;
    }
    Ok(proof)
}

fn unproven(dir: &Path, line: usize, why: &str) -> Unusable {
    Unusable::new(dir, format!("golden text {}: {why}", line + 1))
}

/// Runs the longest sequence there is, so that memory that does not suffice is told now, and the first caller does not wait.
pub(super) fn warm(engine: &mut dyn Engine, manifest: &Manifest) -> Result<(), Unavailable> {
    let pad = u32::try_from(manifest.tokens.pad).unwrap_or_default();
    let longest = Window { range: 0..0, ids: vec![pad; manifest.tokens.max], task: Task::Prompt, words: None };
    engine.run(&[&longest]).map(drop)
}
