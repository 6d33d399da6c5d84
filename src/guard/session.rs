//! ONNX Runtime: finding its library, and running a sequence classifier on it.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    ep::{self, ExecutionProvider as _, ExecutionProviderDispatch},
    session::{Session, builder::GraphOptimizationLevel},
    value::{Tensor, ValueType},
};

use super::{
    Unavailable,
    manifest::{Manifest, Unusable},
    tokenize::Window,
};
use crate::config::{self, Provider};

/// Something that scores windows: P(unsafe) for each, in order.
pub(super) trait Engine: Send {
    fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable>;
}

/// The library is missing or does not fit.
#[derive(Debug, thiserror::Error)]
#[error(
    "ONNX Runtime {0}; run `make` to fetch the right one, or point --ort-lib (or ORT_DYLIB_PATH) at the libonnxruntime.so of `pip install onnxruntime` (1.24 or newer)"
)]
pub struct NoRuntime(String);

/// ONNX Runtime, loaded. It knows one environment a process.
#[derive(Debug, Clone)]
pub struct Runtime(Environment);

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library: the one that is named, else one beside the executable, in `onnx/runtime/` there, above or here,
    /// else the system's. Once it is loaded, later calls get the same.
    ///
    /// # Errors
    /// No library, or one that is too old.
    pub fn load(named: Option<&Path>) -> Result<Self, NoRuntime> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = loaded.as_ref() {
            return Ok(runtime.clone());
        }
        let path = match named {
            Some(path) if path.is_file() => path.to_owned(),
            Some(path) => return Err(NoRuntime(format!("is not at {}", path.display()))),
            None => find_runtime().unwrap_or_else(|| PathBuf::from(format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}"))),
        };
        let failed = |why: String| NoRuntime(format!("cannot be loaded: {}", why.trim().replace('\n', " ")));
        let environment = ort::init_from(&path).map_err(|e| failed(e.to_string()))?.with_name("seawall");
        let runtime = Self(environment.build().map_err(|e| failed(e.to_string()))?);
        Ok(loaded.insert(runtime).clone())
    }
}

fn find_runtime() -> Option<PathBuf> {
    super::near_executable("")
        .take(1)
        .chain(super::near_executable("onnx/runtime"))
        .find_map(|dir| fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).find(|path| is_runtime(path)))
}

fn is_runtime(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(DLL_PREFIX)
        .and_then(|name| name.strip_prefix("onnxruntime"))
        .is_some_and(|rest| rest == DLL_SUFFIX || rest.starts_with(&format!("{DLL_SUFFIX}.")))
}

/// A sequence classifier on ONNX Runtime.
#[derive(Debug)]
pub(super) struct Classifier {
    session: Session,
    mask: String,
    manifest: Manifest,
}

impl Classifier {
    pub(super) fn load(runtime: &Runtime, dir: &Path, manifest: &Manifest, settings: &config::Guard) -> Result<Self, Unusable> {
        let graph = manifest.files.graph.as_ref().map(|graph| &graph.path).ok_or_else(|| {
            Unusable::new(dir, "the manifest names no graph: the guard runs elsewhere only; set `guard.engine`")
        })?;
        let mask = manifest.inputs.mask.clone().ok_or_else(|| Unusable::new(dir, "[inputs] names no `mask`"))?;
        let fail = |why: String| Unusable::new(dir, format!("{}: {why}", graph.display()));
        let provider = provider(settings.provider).map_err(|why| Unusable::new(dir, why))?;
        let threads = settings.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let build = || -> ort::Result<Session> {
            let builder = Session::builder(&runtime.0)?
                .with_execution_providers(provider)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(threads)?
                // Shapes change with every batch, so remembered memory plans would only pile up.
                .with_memory_pattern(false)?;
            { builder }.commit_from_file(dir.join(graph))
        };
        let session = build().map_err(|e| fail(e.to_string()))?;
        let inputs = [Some(&manifest.inputs.ids), Some(&mask), manifest.inputs.types.as_ref()];
        for name in inputs.into_iter().flatten() {
            if !session.inputs().iter().any(|input| input.name() == name) {
                return Err(fail(format!("the graph has no input `{name}`; it has {}", names(session.inputs()))));
            }
        }
        let wanted = &manifest.output.name;
        let output = session.outputs().iter().find(|output| output.name() == wanted);
        let output =
            output.ok_or_else(|| fail(format!("the graph has no output `{wanted}`; it has {}", names(session.outputs()))))?;
        if let ValueType::Tensor { shape, .. } = output.dtype()
            && let Some(&columns) = shape.last()
            && let Ok(columns) = usize::try_from(columns)
        {
            let tasks = [Some(&manifest.tasks.prompt), manifest.tasks.response.as_ref()];
            let named = tasks.into_iter().flatten().flat_map(|task| &task.unsafe_columns).max().copied().unwrap_or(0);
            if named >= columns {
                return Err(fail(format!("the manifest names column {named} of `{wanted}`, which has {columns}")));
            }
        }
        Ok(Self { session, mask, manifest: manifest.clone() })
    }
}

impl Engine for Classifier {
    fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable> {
        let failed = |e: ort::Error| Unavailable::Engine(e.to_string());
        let rows = windows.len();
        let width = windows.iter().map(|window| window.ids.len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(rows * width);
        let mut mask = Vec::with_capacity(rows * width);
        for window in windows {
            let padding = width - window.ids.len();
            ids.extend(window.ids.iter().map(|&id| i64::from(id)));
            ids.extend(std::iter::repeat_n(self.manifest.tokens.pad, padding));
            mask.extend(std::iter::repeat_n(1_i64, window.ids.len()));
            mask.extend(std::iter::repeat_n(0_i64, padding));
        }
        let shape = [rows, width];
        let mut inputs = ort::inputs![
            self.manifest.inputs.ids.as_str() => Tensor::from_array((shape, ids)).map_err(failed)?,
            self.mask.as_str() => Tensor::from_array((shape, mask)).map_err(failed)?,
        ];
        if let Some(types) = &self.manifest.inputs.types {
            let zeros = Tensor::from_array((shape, vec![0_i64; rows * width])).map_err(failed)?;
            inputs.push((types.as_str().into(), zeros.into()));
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let output = outputs.get(&self.manifest.output.name).ok_or_else(|| Unavailable::Engine("no output".to_owned()))?;
        let (_, logits) = output.try_extract_tensor::<f32>().map_err(failed)?;
        let columns = logits.len() / rows.max(1);
        let logits: Vec<Vec<f32>> = logits.chunks(columns.max(1)).map(<[f32]>::to_vec).collect();
        drop(outputs);
        let activation = self.manifest.output.activation;
        let scores = windows.iter().zip(&logits);
        Ok(scores.map(|(window, logits)| self.manifest.task(window.task).probability(activation, logits)).collect())
    }
}

/// What a session is told of the provider; nothing for the CPU, which every session has.
fn provider(wanted: Provider) -> Result<Vec<ExecutionProviderDispatch>, String> {
    let (is_built_in, dispatch) = match wanted {
        Provider::Cpu => return Ok(Vec::new()),
        Provider::Cuda => (ep::CUDA::is_available(), ep::CUDA::default().build()),
        Provider::Tensorrt => (ep::TensorRT::is_available(), ep::TensorRT::default().build()),
    };
    // ONNX Runtime would fall back to the CPU without a word.
    if is_built_in.unwrap_or(false) {
        return Ok(vec![dispatch.error_on_failure()]);
    }
    Err(format!(
        "the loaded ONNX Runtime has no {}; point --ort-lib at one that has (`pip install onnxruntime-gpu`), or set `guard.provider` to \"cpu\"",
        wanted.name()
    ))
}

fn names(outlets: &[ort::value::Outlet]) -> String {
    outlets.iter().map(|outlet| format!("`{}`", outlet.name())).collect::<Vec<_>>().join(", ")
}
