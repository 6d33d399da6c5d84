//! A generative guard: the logits of a few labels for the first token that it would answer. Whole texts run in batches; texts
//! that grow run one by one, on from the keys and values that were computed of them before.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use ort::{
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::Session,
    value::{DynTensor, DynValue, Tensor, TensorElementType},
};

use super::{
    Unavailable,
    engine::{Engine, longest, rows, scores},
    kv::Store,
    manifest::{File, Manifest, Unusable},
    runtime::{Opener, columns},
    tokenize::{Encoder, Window},
};
use crate::{config::Provider, segment::Task};

/// The incremental graph's input that tells how much of the past counts.
const PAST_LENGTH: &str = "past_length";
/// Tokens at the end of a text that may come out otherwise when text is appended.
const UNSETTLED: usize = 8;
/// Batches on a GPU are as wide as a multiple of so many tokens. ONNX Runtime's CUDA provider takes tens of milliseconds longer for
/// a shape that it has not run before, and lengths of texts as they are would make most batches new.
const STEP: usize = 16;

/// What scoring texts that grow has come to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) checks: AtomicU64,
    pub(super) fed: AtomicU64,
    pub(super) reused: AtomicU64,
    pub(super) kept: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Counts {
    /// Counts from nothing again; what is kept stays.
    pub(super) fn restart(&self) {
        [&self.checks, &self.fed, &self.reused, &self.failed].into_iter().for_each(|count| count.store(0, Relaxed));
    }
}

/// A generative guard on ONNX Runtime.
#[derive(Debug)]
pub(super) struct Decoder {
    prefill: Session,
    /// Batches are as wide as a multiple of this.
    step: usize,
    growing: Option<Growing>,
    manifest: Manifest,
}

/// The incremental graph and what it goes on from.
#[derive(Debug)]
struct Growing {
    session: Session,
    pasts: Vec<Past>,
    /// Where keys and values stay.
    device: MemoryInfo<'static>,
    store: Store<Vec<DynValue>>,
    counts: Arc<Counts>,
}

/// What running the rest of a sequence yields.
struct Step {
    score: f32,
    /// Tokens that were kept.
    reused: usize,
    /// All keys and values.
    values: Vec<DynValue>,
    /// Tokens that they have room for.
    size: usize,
}

/// Keys, or values, of one layer.
#[derive(Debug)]
struct Past {
    input: String,
    output: String,
    element: TensorElementType,
    heads: i64,
    width: i64,
}

impl Decoder {
    pub(super) fn load(opener: Opener<'_>, manifest: &Manifest, encoder: &Encoder) -> Result<Self, Unusable> {
        let graph = opener.graph(manifest)?;
        let fail = |why: &str| opener.misfit(graph, why);
        if opener.settings.provider == Provider::Tensorrt {
            return Err(fail("TensorRT cannot run a decoder's attention; set `guard.provider` to \"cuda\" or \"cpu\""));
        }
        let incremental = manifest.files.incremental.as_ref().filter(|_| opener.settings.kv_tokens > 0);
        let opener = Opener { graphs: opener.graphs * (1 + usize::from(incremental.is_some())), ..opener };
        let prefill = opener.open(graph)?;
        for name in [Some(&manifest.inputs.ids), manifest.inputs.lengths.as_ref()].into_iter().flatten() {
            opener.input(graph, &prefill, name)?;
        }
        check_labels(opener, manifest, graph, &prefill)?;
        let growing =
            incremental.map(|graph| Growing::load(Opener { grows: true, ..opener }, manifest, graph, encoder)).transpose()?;
        // Only where the graph is told lengths does it pass over what fills rows up.
        let widens = opener.settings.provider == Provider::Cuda && manifest.inputs.lengths.is_some();
        Ok(Self { prefill, step: if widens { STEP } else { 1 }, growing, manifest: manifest.clone() })
    }

    /// What is counted, if texts that grow are scored from what was kept of them.
    pub(super) fn counts(&self) -> Option<Arc<Counts>> {
        self.growing.as_ref().map(|growing| Arc::clone(&growing.counts))
    }
}

/// Tokens of a batch's rows: a multiple of `step`, but no more than the graph takes.
fn width(longest: usize, step: usize, max: usize) -> usize {
    longest.next_multiple_of(step).min(max).max(longest)
}

fn check_labels(opener: Opener<'_>, manifest: &Manifest, graph: &File, session: &Session) -> Result<(), Unusable> {
    let (wanted, labels) = (&manifest.output.name, manifest.output.labels.len());
    match columns(opener.output(graph, session, wanted)?) {
        Some(columns) if columns != labels => {
            Err(opener.misfit(graph, &format!("`{wanted}` has {columns} columns for the manifest's {labels} labels")))
        }
        Some(_) | None => Ok(()),
    }
}

impl Engine for Decoder {
    fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable> {
        let inputs = &self.manifest.inputs;
        let tokens = &self.manifest.tokens;
        let width = width(longest(windows), self.step, tokens.max);
        let mut feed = ort::inputs![inputs.ids.as_str() => rows(windows, width, tokens.pad)?];
        if let Some(name) = &inputs.lengths {
            let lengths = windows.iter().map(|window| i64::try_from(window.ids.len()).unwrap_or(i64::MAX));
            let lengths = Tensor::from_array(([windows.len()], lengths.collect::<Vec<i64>>()))?;
            feed.push((name.as_str().into(), lengths.into()));
        }
        let outputs = self.prefill.run(feed)?;
        scores(&self.manifest, windows, &outputs)
    }

    fn kept(&self) -> Option<Store<()>> {
        self.growing.as_ref().map(|growing| growing.store.outline())
    }

    fn grow(&mut self, window: &Window) -> Result<Vec<f32>, Unavailable> {
        let Some(growing) = &mut self.growing else { return self.run(&[window]) };
        let score = growing.score(&self.manifest, window).inspect_err(|_| growing.let_go())?;
        Ok(vec![score])
    }
}

impl Growing {
    fn load(opener: Opener<'_>, manifest: &Manifest, graph: &File, encoder: &Encoder) -> Result<Self, Unusable> {
        let session = opener.open(graph)?;
        for name in [manifest.inputs.ids.as_str(), PAST_LENGTH] {
            opener.input(graph, &session, name)?;
        }
        check_labels(opener, manifest, graph, &session)?;
        let pasts = pasts(&session).map_err(|why| opener.misfit(graph, &why))?;
        for past in &pasts {
            opener.output(graph, &session, &past.output)?;
        }
        let fail = |why: String| opener.misfit(graph, &why);
        let (device, number) = match opener.settings.provider {
            Provider::Cpu => (AllocationDevice::CPU, 0),
            Provider::Cuda | Provider::Tensorrt => (AllocationDevice::CUDA, opener.device.into()),
        };
        let device = MemoryInfo::new(device, number, AllocatorType::Device, MemoryType::Default);
        let device = device.map_err(|e| fail(e.to_string()))?;
        let slack = UNSETTLED + encoder.closing().map_err(|e| fail(e.to_string()))?;
        let store = Store::new(opener.settings.kv_tokens / opener.sessions, slack);
        let mut growing = Self { session, pasts, device, store, counts: Arc::default() };
        let openings = encoder.openings().map_err(|e| fail(e.to_string()))?;
        for ids in openings.into_iter().filter(|ids| !ids.is_empty()) {
            // As any text, so that the tasks' openings share what they begin with.
            let window = Window { range: 0..0, ids, task: Task::Prompt, words: None };
            let Step { values, size, .. } = growing.step(manifest, &window).map_err(|e| fail(e.to_string()))?;
            growing.store.pin(window.ids, values, size);
        }
        Ok(growing)
    }

    fn score(&mut self, manifest: &Manifest, window: &Window) -> Result<f32, Unavailable> {
        let Step { score, reused, values, size } = self.step(manifest, window)?;
        if !score.is_finite() {
            return Err(Unavailable::Engine(format!("the incremental graph yields {score}, no probability")));
        }
        self.store.keep(window.ids.clone(), values, size);
        self.counts.checks.fetch_add(1, Relaxed);
        self.counts.fed.fetch_add((window.ids.len() - reused) as u64, Relaxed);
        self.counts.reused.fetch_add(reused as u64, Relaxed);
        self.counts.kept.store(self.store.size() as u64, Relaxed);
        Ok(score)
    }

    /// After a failure: it may be for want of memory, or for something wrong with what was kept.
    fn let_go(&mut self) {
        self.store.clear();
        self.counts.failed.fetch_add(1, Relaxed);
        self.counts.kept.store(self.store.size() as u64, Relaxed);
    }

    /// Runs the part of a sequence that is not kept.
    fn step(&mut self, manifest: &Manifest, window: &Window) -> Result<Step, Unavailable> {
        let (reused, values) = self.store.longest(&window.ids);
        let fresh: Vec<i64> = window.ids.iter().skip(reused).map(|&id| i64::from(id)).collect();
        let mut binding = self.session.create_binding()?;
        let ids = Tensor::from_array(([1, fresh.len()], fresh))?;
        binding.bind_input(&manifest.inputs.ids, &ids)?;
        let length = Tensor::from_array(([1], vec![i64::try_from(reused).unwrap_or(i64::MAX)]))?;
        binding.bind_input(PAST_LENGTH, &length)?;
        match values {
            Some(values) => {
                for (past, value) in self.pasts.iter().zip(values) {
                    binding.bind_input(&past.input, value)?;
                }
            }
            None => {
                for past in &self.pasts {
                    let shape = [1, past.heads, 0, past.width];
                    let nothing = DynTensor::new(&Allocator::default(), past.element, shape)?;
                    binding.bind_input(&past.input, &nothing)?;
                }
            }
        }
        binding.bind_output_to_device(&manifest.output.name, &MemoryInfo::default())?;
        for past in &self.pasts {
            binding.bind_output_to_device(&past.output, &self.device)?;
        }
        binding.synchronize_inputs()?;
        let mut outputs = self.session.run_binding(&binding)?;
        let score = scores(manifest, &[window], &outputs)?.first().copied().unwrap_or(f32::NAN);
        let values: Vec<DynValue> = self.pasts.iter().filter_map(|past| outputs.remove(&past.output)).collect();
        let size = values.first().and_then(|value| value.dtype().tensor_shape()).and_then(|shape| shape.get(2)).copied();
        match size.and_then(|size| usize::try_from(size).ok()) {
            Some(size) if values.len() == self.pasts.len() && size >= window.ids.len() => {
                Ok(Step { score, reused, values, size })
            }
            _ => Err(Unavailable::Engine("the incremental graph yields no keys and values for its tokens".to_owned())),
        }
    }
}

/// The graph's pasts, layer by layer.
fn pasts(session: &Session) -> Result<Vec<Past>, String> {
    let named = session.inputs().iter().filter_map(|input| Some((input, input.name().strip_prefix("past_key_values.")?)));
    let pasts = named.map(|(input, rest)| {
        let fixed =
            |dimension: usize| input.dtype().tensor_shape().and_then(|shape| shape.get(dimension)).filter(|size| **size > 0);
        match (input.dtype().tensor_type(), fixed(1), fixed(3)) {
            (Some(element), Some(&heads), Some(&width)) => {
                Ok(Past { input: input.name().to_owned(), output: format!("present.{rest}"), element, heads, width })
            }
            _ => Err(format!("the input `{}` is not [1, heads, buffer, width] of fixed heads and width", input.name())),
        }
    });
    let pasts: Vec<Past> = pasts.collect::<Result<_, _>>()?;
    if pasts.is_empty() {
        return Err("the graph has no inputs `past_key_values.…`: it cannot go on from anything".to_owned());
    }
    Ok(pasts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_few_widths() {
        assert_eq!([1, 16, 17, 500].map(|longest| width(longest, 16, 510)), [16, 16, 32, 510]);
        assert_eq!([17, 511].map(|longest| width(longest, 1, 510)), [17, 511], "as they are elsewhere");
    }
}
