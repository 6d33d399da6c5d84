//! A sequence classifier: one graph, one row of class logits for each sequence.

use ort::{session::Session, value::Tensor};

use super::{
    Unavailable,
    engine::{Engine, longest, rows, scores},
    manifest::{Manifest, Unusable},
    runtime::{Opener, columns},
    tokenize::Window,
};

/// A sequence classifier on ONNX Runtime.
#[derive(Debug)]
pub(super) struct Classifier {
    session: Session,
    manifest: Manifest,
}

impl Classifier {
    pub(super) fn load(opener: Opener<'_>, manifest: &Manifest) -> Result<Self, Unusable> {
        let graph = opener.graph(manifest)?;
        let session = opener.open(graph)?;
        let inputs = &manifest.inputs;
        for name in [Some(&inputs.ids), inputs.mask.as_ref(), inputs.types.as_ref()].into_iter().flatten() {
            opener.input(graph, &session, name)?;
        }
        let wanted = &manifest.output.name;
        if let Some(columns) = columns(opener.output(graph, &session, wanted)?) {
            let tasks = [Some(&manifest.tasks.prompt), manifest.tasks.response.as_ref()];
            let named = tasks.into_iter().flatten().flat_map(|task| &task.unsafe_columns).max().copied().unwrap_or(0);
            if named >= columns {
                let why = format!("the manifest names column {named} of `{wanted}`, which has {columns}");
                return Err(opener.misfit(graph, &why));
            }
        }
        Ok(Self { session, manifest: manifest.clone() })
    }
}

impl Engine for Classifier {
    fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable> {
        let inputs = &self.manifest.inputs;
        let width = windows.iter().map(|window| window.ids.len()).max().unwrap_or(0);
        let shape = [windows.len(), width];
        let ids = rows(windows, longest(windows), self.manifest.tokens.pad)?;
        let mut feed = ort::inputs![inputs.ids.as_str() => ids];
        if let Some(name) = &inputs.mask {
            let mask = windows.iter().flat_map(|window| (0..width).map(|at| i64::from(at < window.ids.len())));
            let mask = Tensor::from_array((shape, mask.collect::<Vec<i64>>()))?;
            feed.push((name.as_str().into(), mask.into()));
        }
        if let Some(name) = &inputs.types {
            let zeros = Tensor::from_array((shape, vec![0_i64; windows.len() * width]))?;
            feed.push((name.as_str().into(), zeros.into()));
        }
        let outputs = self.session.run(feed)?;
        scores(&self.manifest, windows, &outputs)
    }
}
