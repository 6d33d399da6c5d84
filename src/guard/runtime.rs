//! ONNX Runtime: finding its library, and opening a graph on the provider that is wanted.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    ep::{self, ArenaExtendStrategy, ExecutionProvider as _, ExecutionProviderDispatch},
    session::{Session, builder::GraphOptimizationLevel},
    value::Outlet,
};

use super::manifest::{File, Manifest, Unusable};
use crate::config::{self, Provider};

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
    /// Loads the library: the one that is named, else one beside the executable, in `onnx/runtime/` or `lib/seawall/` there,
    /// above or here, else the system's. Once it is loaded, later calls get the same.
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
        .chain(super::near_executable("lib/seawall"))
        .find_map(|dir| fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).find(|path| is_runtime(path)))
}

fn is_runtime(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(DLL_PREFIX)
        .and_then(|name| name.strip_prefix("onnxruntime"))
        .is_some_and(|rest| rest == DLL_SUFFIX || rest.starts_with(&format!("{DLL_SUFFIX}.")))
}

/// Where and how graphs are opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opener<'o> {
    pub(super) runtime: &'o Runtime,
    pub(super) dir: &'o Path,
    pub(super) settings: &'o config::Guard,
    /// The device's number.
    pub(super) device: u16,
    /// Sessions on each device.
    pub(super) sessions: usize,
    /// Graphs that share the memory which the settings allow on a device.
    pub(super) graphs: usize,
    /// The session's tensors grow from run to run.
    pub(super) grows: bool,
}

impl Opener<'_> {
    /// The graph that scores whole texts.
    pub(super) fn graph(self, manifest: &Manifest) -> Result<&File, Unusable> {
        manifest.files.graph.as_ref().ok_or_else(|| {
            Unusable::new(self.dir, "the manifest names no graph: the guard runs elsewhere only; set `guard.engine`")
        })
    }

    /// A session for one of the guard's graphs.
    pub(super) fn open(self, graph: &File) -> Result<Session, Unusable> {
        let provider = self.provider().map_err(|why| Unusable::new(self.dir, why))?;
        let build = || -> ort::Result<Session> {
            let builder = Session::builder(&self.runtime.0)?
                .with_execution_providers(provider)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(self.threads())?
                // Threads that spin while they wait for each other take the cores from those that serve calls, and from each
                // other where cores are few.
                .with_intra_op_spinning(false)?
                // Shapes change with every batch, so remembered memory plans would only pile up.
                .with_memory_pattern(false)?;
            { builder }.commit_from_file(self.dir.join(&graph.path))
        };
        build().map_err(|e| self.misfit(graph, &e.to_string()))
    }

    /// Sessions run at once, so those that are told no number share the cores.
    fn threads(self) -> usize {
        let sessions = self.settings.devices.len() * self.sessions;
        self.settings.threads.unwrap_or_else(|| (cores() / sessions.max(1)).max(1))
    }

    /// What a session is told of the provider; nothing for the CPU, which every session has.
    fn provider(self) -> Result<Vec<ExecutionProviderDispatch>, String> {
        let wanted = self.settings.provider;
        let device = i32::from(self.device);
        let (is_built_in, dispatch) = match wanted {
            Provider::Cpu => return Ok(Vec::new()),
            Provider::Cuda => {
                // Doubling soon reserves far more than whole texts use. But tensors that are a little larger each time fit in
                // no region that was made for those before them: made as requested, regions would pile up.
                let strategy =
                    if self.grows { ArenaExtendStrategy::NextPowerOfTwo } else { ArenaExtendStrategy::SameAsRequested };
                let cuda = ep::CUDA::default().with_device_id(device).with_arena_extend_strategy(strategy);
                let share = self.settings.memory_mb.map(|memory| (memory << 20) / self.graphs.max(1));
                let cuda = share.into_iter().fold(cuda, ep::CUDA::with_memory_limit);
                (ep::CUDA::is_available(), cuda.build())
            }
            Provider::Tensorrt => (ep::TensorRT::is_available(), ep::TensorRT::default().with_device_id(device).build()),
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

    /// An error that tells which graph.
    pub(super) fn misfit(self, graph: &File, why: &str) -> Unusable {
        Unusable::new(self.dir, format!("{}: {why}", graph.path.display()))
    }

    /// The input of this name.
    pub(super) fn input<'s>(self, graph: &File, session: &'s Session, name: &str) -> Result<&'s Outlet, Unusable> {
        let found = session.inputs().iter().find(|input| input.name() == name);
        found.ok_or_else(|| self.misfit(graph, &format!("the graph has no input `{name}`; it has {}", names(session.inputs()))))
    }

    /// The output of this name.
    pub(super) fn output<'s>(self, graph: &File, session: &'s Session, name: &str) -> Result<&'s Outlet, Unusable> {
        let found = session.outputs().iter().find(|output| output.name() == name);
        found.ok_or_else(|| {
            self.misfit(graph, &format!("the graph has no output `{name}`; it has {}", names(session.outputs())))
        })
    }
}

/// Cores of the processor that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The last dimension of an input or output, if the graph fixes it.
pub(super) fn columns(outlet: &Outlet) -> Option<usize> {
    outlet.dtype().tensor_shape().and_then(|shape| shape.last()).and_then(|columns| usize::try_from(*columns).ok())
}

fn names(outlets: &[Outlet]) -> String {
    outlets.iter().map(|outlet| format!("`{}`", outlet.name())).collect::<Vec<_>>().join(", ")
}
