//! What every kind of guard is to the queue, and what all graphs share: rows of ids, padded on the right.

use ort::{session::SessionOutputs, value::Tensor};

use super::{Unavailable, kv::Store, manifest::Manifest, tokenize::Window};

/// Something that scores windows.
pub(super) trait Engine: Send {
    /// P(unsafe) for each window, in order.
    fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable>;

    /// The same for one window of a text that grows, whose beginning is not computed again where it could be kept. Where this
    /// fails, [`Self::run`] may still do.
    fn grow(&mut self, window: &Window) -> Result<Vec<f32>, Unavailable> {
        self.run(&[window])
    }

    /// Of which beginnings it keeps something; `None` if it never does.
    fn kept(&self) -> Option<Store<()>> {
        None
    }
}

impl From<ort::Error> for Unavailable {
    fn from(error: ort::Error) -> Self {
        Self::Engine(error.to_string())
    }
}

/// Tokens of the longest window.
pub(super) fn longest(windows: &[&Window]) -> usize {
    windows.iter().map(|window| window.ids.len()).max().unwrap_or(0)
}

/// Token ids `[rows, width]`, rows filled up with `pad`.
pub(super) fn rows(windows: &[&Window], width: usize, pad: i64) -> ort::Result<Tensor<i64>> {
    let mut ids = Vec::with_capacity(windows.len() * width);
    for window in windows {
        ids.extend(window.ids.iter().map(|&id| i64::from(id)));
        ids.extend(std::iter::repeat_n(pad, width - window.ids.len()));
    }
    Tensor::from_array(([windows.len(), width], ids))
}

/// Reads the scores of windows from the output that the manifest names.
pub(super) fn scores(manifest: &Manifest, windows: &[&Window], outputs: &SessionOutputs<'_>) -> Result<Vec<f32>, Unavailable> {
    let output = outputs.get(&manifest.output.name).ok_or_else(|| Unavailable::Engine("no output".to_owned()))?;
    let (_, logits) = output.try_extract_tensor::<f32>()?;
    let columns = (logits.len() / windows.len().max(1)).max(1);
    let rows = windows.iter().zip(logits.chunks(columns));
    Ok(rows.map(|(window, row)| manifest.task(window.task).probability(manifest.output.activation, row)).collect())
}
