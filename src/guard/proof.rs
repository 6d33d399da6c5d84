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
#[derive(Debug, Clone, Copy)]
pub struct Proof {
    /// Golden texts.
    pub texts: usize,
    /// The largest difference of a score from what the manifest's makers saw.
    pub gap: f32,
    /// The same for the scores computed on from kept beginnings, if the guard can.
    pub grown_gap: Option<f32>,
}

/// Scores the golden texts and compares; golden scores are the graph's own, before calibration.
pub(super) fn prove(
    dir: &Path,
    manifest: &Manifest,
    encoder: &Encoder,
    engine: &mut dyn Engine,
    grows: bool,
) -> Result<Proof, Unusable> {
    let mut proof = Proof { texts: 0, gap: 0.0, grown_gap: grows.then_some(0.0) };
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
        if windows.iter().any(|window| window.range != (0..case.text.len())) {
            return Err(fail("is cut into windows, it must fit in one".to_owned()));
        }
        if windows.first().is_none_or(|window| window.ids != case.ids) {
            return Err(fail("comes out as other token ids: the tokenizer or template does not fit the graph".to_owned()));
        }
        let gap = |scores: Vec<f32>| {
            // The maximum of floats passes over what is no number.
            let is_sound = scores.iter().all(|score| score.is_finite());
            let score = if is_sound { scores.into_iter().fold(0.0, f32::max) } else { f32::NAN };
            let gap = (score - case.score).abs();
            if gap <= manifest.golden.tolerance {
                return Ok(gap);
            }
            Err(fail(format!("scores {score:.4} instead of {:.4}: the graph or ONNX Runtime differs", case.score)))
        };
        let all: Vec<&Window> = windows.iter().collect();
        proof.gap = proof.gap.max(gap(engine.run(&all).map_err(|e| fail(e.to_string()))?)?);
        if let Some(grown_gap) = &mut proof.grown_gap {
            let scores = windows.iter().map(|window| engine.grow(window)).collect::<Result<Vec<_>, _>>();
            let scores = scores.map_err(|e| fail(format!("with the incremental graph: {e}")))?;
            *grown_gap = grown_gap.max(gap(scores.concat())?);
        }
        proof.texts += 1;
    }
    Ok(proof)
}

/// Runs the longest sequence there is, so that memory that does not suffice is told now, and the first caller does not wait.
pub(super) fn warm(engine: &mut dyn Engine, manifest: &Manifest) -> Result<(), Unavailable> {
    let pad = u32::try_from(manifest.tokens.pad).unwrap_or_default();
    let longest = Window { range: 0..0, ids: vec![pad; manifest.tokens.max], task: Task::Prompt };
    engine.run(&[&longest]).map(drop)
}
