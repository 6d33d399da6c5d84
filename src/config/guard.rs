//! `[guard.remote]` and `[guard.cascade]`: guards on servers elsewhere, and a second guard behind the first; and what must hold
//! of all guards.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Guard, Key, Provider, Wrong};

/// The name of `[guard]` among the guards.
pub const DEFAULT_GUARD: &str = "default";

/// What runs a guard's model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// ONNX Runtime in this process.
    Onnx,
    /// vLLM's OpenAI server: the guard's own token ids, and the probabilities of its labels.
    Vllm,
    /// KServe's version 2 (the Open Inference Protocol), as Triton serves it: the tensors of the guard's graph.
    Kserve,
    /// Chat completions of a hosted guard, such as AI Singapore's SEA-Guard: the bare text, and the word that it answers.
    Openai,
}

impl Engine {
    /// As settings have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Vllm => "vllm",
            Self::Kserve => "kserve",
            Self::Openai => "openai",
        }
    }
}

/// How KServe's version 2 is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// JSON over HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

/// `[guard.remote]`: the servers of a guard that runs elsewhere. They must all serve the same model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Remote {
    /// `http://` or `https://`, host, port, and a path if need be, of each server; the least busy one is asked.
    pub urls: Vec<String>,
    /// The model's name there.
    pub model: String,
    /// How `kserve` is spoken.
    pub protocol: Protocol,
    /// The key that calls are made with.
    pub key: Option<Key>,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of a certificate (with its chain) that the servers ask for.
    pub client_cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub client_key_file: Option<PathBuf>,
    /// Time to connect.
    pub connect_timeout_ms: u64,
    /// Time for a call; a text waits `guard.deadline_ms` in all.
    pub timeout_ms: u64,
    /// Calls under way at each server; more wait.
    pub concurrency: usize,
    /// Most calls within any minute, to all servers together. More are refused at once. If none is named: 10 for `openai`,
    /// what SEA-Guard's API allows; no bound for others.
    pub per_minute: Option<usize>,
    /// Likeliest tokens whose probabilities are asked for. If none is named: 20 for `vllm`, which is all that its servers give
    /// by default (`--max-logprobs`); none for `openai`, where the word then decides.
    pub top_logprobs: Option<u32>,
    /// Time between two looks at the servers' health.
    pub health_ms: u64,
    /// Calls in a row that must fail for a server to rest.
    pub failures: u32,
    /// How long it rests before one call tries it again.
    pub rest_ms: u64,
}

/// `[guard.cascade]`: a second guard, asked only where the first is unsure.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cascade {
    /// The second is asked from this score of the first on …
    pub low: f32,
    /// … up to this one, which is the first's to decide again.
    pub high: f32,
    /// The second guard's settings, as in `[guard]`.
    pub second: Guard,
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            model: String::new(),
            protocol: Protocol::Http,
            key: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            connect_timeout_ms: 1_000,
            timeout_ms: 5_000,
            concurrency: 32,
            per_minute: None,
            top_logprobs: None,
            health_ms: 5_000,
            failures: 5,
            rest_ms: 10_000,
        }
    }
}

impl Guard {
    /// Most tokens of a batch, padding included.
    #[must_use]
    pub fn batch_tokens(&self) -> usize {
        let is_processor = self.engine == Engine::Onnx && self.provider == Provider::Cpu;
        self.batch_tokens.unwrap_or(if is_processor { 256 } else { 2_048 })
    }

    /// What types alone cannot tell of the guard in `section`.
    pub(super) fn check(&self, section: &str) -> Result<(), Wrong> {
        let remote = &self.remote;
        let wrong = |key: &str, why: &str| Err((format!("{section}.{key}"), why.to_owned()));
        let some = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let positive = [
            ("sessions", self.sessions.unwrap_or(1)),
            ("threads", self.threads.unwrap_or(1)),
            ("batch_tokens", self.batch_tokens()),
            ("queue_tokens", self.queue_tokens),
            ("queue_ms", some(self.queue_ms)),
            ("memory_mb", self.memory_mb.unwrap_or(1)),
            ("remote.timeout_ms", some(remote.timeout_ms)),
            ("remote.concurrency", remote.concurrency),
            ("remote.per_minute", remote.per_minute.unwrap_or(1)),
            ("remote.health_ms", some(remote.health_ms)),
            ("remote.failures", some(remote.failures.into())),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return wrong(key, "must be more than 0");
        }
        if self.devices.is_empty() {
            return wrong("devices", "must name a GPU, such as `[0]`");
        }
        if self.provider == Provider::Cpu && self.devices != [0] {
            return wrong("devices", "names GPUs, but `provider` is \"cpu\"; set it to \"cuda\" or \"tensorrt\"");
        }
        if self.devices.iter().collect::<BTreeSet<_>>().len() < self.devices.len() {
            return wrong("devices", "names a GPU twice; for several sessions on each set `sessions`");
        }
        if self.engine == Engine::Onnx {
            if !remote.urls.is_empty() {
                return wrong("remote.urls", "has servers, but `engine` says that the guard runs here; name its engine");
            }
        } else if remote.urls.is_empty() {
            return wrong("remote.urls", "must name a server, such as `http://127.0.0.1:8000`");
        } else if remote.model.is_empty() {
            return wrong("remote.model", "must be the model's name at the servers");
        }
        let Some(cascade) = &self.cascade else { return Ok(()) };
        if !(0.0 <= cascade.low && cascade.low < cascade.high && cascade.high <= 1.0) {
            return wrong("cascade.low", "and `high` must hold to 0 <= low < high <= 1");
        }
        if cascade.second.cascade.is_some() {
            return wrong("cascade.second.cascade", "cannot be: a cascade has two guards");
        }
        cascade.second.check(&format!("{section}.cascade.second"))
    }
}

/// What types alone cannot tell of `[guards]`.
pub(super) fn check(guards: &BTreeMap<String, Guard>) -> Result<(), Wrong> {
    for (name, guard) in guards {
        let section = format!("guards.{name}");
        if name == DEFAULT_GUARD {
            return Err((section, "is `[guard]` itself: set it there, or choose another name".to_owned()));
        }
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        // An underscore alone, since two end a name in environment variables.
        if !name.split(['-', '_']).all(is_word) {
            return Err((section, "must be named in lower-case words, such as `large` or `sea-guard`".to_owned()));
        }
        guard.check(&section)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{Config, load};

    fn settings(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.toml");
        fs::write(&path, text).unwrap();
        load(Some(&path), &[]).map_err(|e| e.to_string().replace(&path.display().to_string(), "s.toml"))
    }

    #[test]
    fn engines_elsewhere_need_servers() {
        let told = |text: &str| settings(text).unwrap_err();
        assert!(told("[guard]\nengine = \"vllm\"\n").contains("`guard.remote.urls` must name a server"));
        assert!(told("[guard.remote]\nurls = [\"http://h\"]\n").starts_with("s.toml:2: `guard.remote.urls` has servers"));
        let named = "[guard]\nengine = \"kserve\"\n[guard.remote]\nurls = [\"http://h\"]\n";
        assert!(told(named).contains("`guard.remote.model` must be"));
        assert!(told(&format!("{named}modle = \"x\"\n")).contains("did you mean `model`?"));
        assert!(told(&format!("{named}model = \"x\"\nconcurrency = 0\n")).starts_with("s.toml:6: `guard.remote.concurrency`"));
        assert!(settings(&format!("{named}model = \"x\"\nprotocol = \"grpc\"\n")).is_ok());
    }

    #[test]
    fn guards_have_names_and_are_checked_as_the_default_is() {
        let told = |text: &str| settings(text).unwrap_err();
        let config = settings("[guards.large]\ndir = \"a\"\n[guards.sea-guard_12b]\nthreads = 2\n").unwrap();
        assert_eq!(config.guards.keys().collect::<Vec<_>>(), ["large", "sea-guard_12b"]);
        assert!(told("[guards.default]\n").starts_with("s.toml:1: `guards.default` is `[guard]` itself"));
        for name in ["Large", "l__m", "-l", "\"\"", "\"a b\"", "\"ก\""] {
            assert!(told(&format!("[guards.{name}]\n")).contains("must be named in lower-case words"), "{name}");
        }
        assert_eq!(
            told("[guards.large]\nbatch_token = 3\n"),
            "s.toml:2: `guards.large.batch_token` is no setting; did you mean `batch_tokens`?"
        );
        assert_eq!(told("[guards.large]\nthreads = \"x\"\n"), "s.toml:2: `guards.large.threads` must be usize");
        let cascade = "[guards.large.cascade]\nlow = 0.1\nhigh = 0.9\n[guards.large.cascade.second]\nthreads = 0\n";
        assert_eq!(told(cascade), "s.toml:5: `guards.large.cascade.second.threads` must be more than 0");
    }

    #[test]
    fn devices_are_gpus_each_named_once() {
        let told = |text: &str| settings(&format!("[guard]\n{text}\n")).unwrap_err();
        assert!(told("devices = [0, 1]").starts_with("s.toml:2: `guard.devices` names GPUs, but `provider` is \"cpu\""));
        assert!(told("provider = \"cuda\"\ndevices = [1, 0, 1]").starts_with("s.toml:3: `guard.devices` names a GPU twice"));
        assert!(told("provider = \"cuda\"\ndevices = []").contains("`guard.devices` must name a GPU"));
        assert!(told("sessions = 0").contains("`guard.sessions` must be more than 0"));
        let guard = settings("[guard]\nprovider = \"cuda\"\ndevices = [2, 5]\nsessions = 3").unwrap().guard;
        assert_eq!((guard.devices, guard.sessions), (vec![2, 5], Some(3)));
    }

    #[test]
    fn a_cascade_has_two_guards_and_a_band() {
        let second = "[guard.cascade.second]\nengine = \"vllm\"\n[guard.cascade.second.remote]\nurls = [\"http://h\"]\n";
        let cascade = |band: &str, more: &str| settings(&format!("[guard.cascade]\n{band}\n{second}{more}"));
        let config = cascade("low = 0.1\nhigh = 0.9", "model = \"m\"").unwrap();
        assert_eq!(config.guard.cascade.unwrap().second.remote.model, "m");
        assert!(cascade("low = 0.1\nhigh = 0.9", "").unwrap_err().contains("`guard.cascade.second.remote.model`"));
        assert!(cascade("low = 0.9\nhigh = 0.1", "model = \"m\"").unwrap_err().contains("`guard.cascade.low` and `high`"));
        let nested =
            "model = \"m\"\n[guard.cascade.second.cascade]\nlow = 0.1\nhigh = 0.9\n[guard.cascade.second.cascade.second]";
        assert!(cascade("low = 0.1\nhigh = 0.9", nested).unwrap_err().contains("a cascade has two guards"));
    }
}
