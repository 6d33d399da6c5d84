//! Every setting: its type, default and unit. This file is the reference.
//!
//! Later sources win: defaults, `seawall.toml`, `SEAWALL_SECTION__KEY`, flags. No other room reads files or the environment
//! for settings; each is handed its own section.

mod explain;
mod load;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{
    explain::explain,
    load::{Error, load},
};

/// All settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients connect.
    pub listen: Listen,
    /// Where operators connect.
    pub admin: Admin,
    /// The LLM behind the proxy.
    pub upstream: Upstream,
    /// The guard model.
    pub guard: Guard,
    /// The policies in force.
    pub policies: Policies,
    /// How streams are held back.
    pub stream: Stream,
    /// The verdict cache.
    pub cache: Cache,
    /// The record of flagged traffic.
    pub review: Review,
    /// Logs.
    pub telemetry: Telemetry,
}

/// `[listen]`: where clients connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// Largest request body, before and after decompression.
    pub max_body_bytes: usize,
    /// Largest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// Time for a request's head to arrive.
    pub header_timeout_ms: u64,
    /// Time for a request's body to arrive.
    pub body_timeout_ms: u64,
    /// Connections served at once; more wait to be accepted.
    pub max_connections: usize,
    /// Time that exchanges in flight get to finish after SIGTERM.
    pub drain_ms: u64,
    /// Which `seawall-…` headers answers carry.
    pub headers: Headers,
}

/// Which of Seawall's own headers answers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Headers {
    /// Id, decision and cache.
    All,
    /// The id only.
    None,
}

/// `[admin]`: where operators connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address and port; keep it off public networks.
    pub address: SocketAddr,
}

/// `[upstream]`: the LLM behind the proxy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `http://` or `https://`, host, port, and a path that all calls are put under.
    pub url: String,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Time to connect.
    pub connect_timeout_ms: u64,
    /// Time until the head of the answer.
    pub response_timeout_ms: u64,
    /// Longest silence within an answer.
    pub idle_timeout_ms: u64,
    /// Largest whole answer, and largest text of a stream, in bytes.
    pub max_body_bytes: usize,
    /// Calls that carry no chat and pass unread: a method and a path, `*` for any one segment.
    pub pass: Vec<String>,
}

/// `[guard]`: the guard model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Directory with a `guard.toml`; the embedded guard if none is named.
    pub dir: Option<PathBuf>,
    /// ONNX Runtime's shared library; looked for if none is named.
    pub ort_lib: Option<PathBuf>,
    /// What runs the graph. One that is missing is an error; operators that a GPU's provider lacks run on the CPU.
    pub provider: Provider,
    /// Threads that a batch runs on; all cores if none is named.
    pub threads: Option<usize>,
    /// Most tokens of a batch, padding included.
    pub batch_tokens: usize,
    /// Most tokens that may wait; more are refused at once.
    pub queue_tokens: usize,
    /// Longest wait for a score.
    pub deadline_ms: u64,
}

/// ONNX Runtime's execution providers; the ones for GPUs need its GPU build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// The processor.
    Cpu,
    /// NVIDIA's CUDA.
    Cuda,
    /// NVIDIA's TensorRT.
    Tensorrt,
}

impl Provider {
    /// Its name as ONNX Runtime has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::Tensorrt => "TensorrtExecutionProvider",
        }
    }
}

/// `[policies]`: the policies in force.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// A policy file, or a directory whose `.toml` files are all in force; the embedded `baseline` if none is named.
    pub dir: Option<PathBuf>,
}

/// `[stream]`: how streamed text is held back until it is judged.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    /// Characters before the first check.
    pub first_chars: usize,
    /// Characters between checks.
    pub step_chars: usize,
    /// Characters that a sentence needs to be checked at its end.
    pub sentence_chars: usize,
    /// Silence of the upstream after which the text held is checked as it is.
    pub idle_ms: u64,
    /// Characters before the unchecked ones that a check also reads.
    pub lookback_chars: usize,
}

/// `[cache]`: the verdict cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Verdicts kept; 0 turns the cache off.
    pub entries: u64,
    /// Time after which a verdict is forgotten.
    pub ttl_s: u64,
}

/// `[review]`: the record of flagged traffic.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Review {
    /// `sqlite://FILE`.
    pub store: String,
}

/// `[telemetry]`: logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `seawall=debug,info`.
    pub log: String,
    /// How it is written.
    pub format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// An object a line.
    Json,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body_bytes: 16 << 20,
            max_header_bytes: 64 << 10,
            header_timeout_ms: 10_000,
            body_timeout_ms: 60_000,
            max_connections: 16_384,
            drain_ms: 30_000,
            headers: Headers::All,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 8081)) }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: String::new(),
            ca_file: None,
            connect_timeout_ms: 5_000,
            response_timeout_ms: 300_000,
            idle_timeout_ms: 120_000,
            max_body_bytes: 16 << 20,
            pass: ["GET /v1/models", "GET /v1/models/*", "GET /health"].map(str::to_owned).to_vec(),
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            dir: None,
            ort_lib: None,
            provider: Provider::Cpu,
            threads: None,
            batch_tokens: 2_048,
            queue_tokens: 65_536,
            deadline_ms: 10_000,
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self { first_chars: 80, step_chars: 240, sentence_chars: 40, idle_ms: 150, lookback_chars: 600 }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: 100_000, ttl_s: 86_400 }
    }
}

impl Default for Review {
    fn default() -> Self {
        Self { store: "sqlite://seawall.db".to_owned() }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// The setting that says otherwise than it can be, and what to write instead.
type Wrong = (&'static str, String);

impl Config {
    /// What types alone cannot tell.
    fn check(&self) -> Result<(), Wrong> {
        let positive = [
            ("listen.max_body_bytes", self.listen.max_body_bytes),
            ("listen.max_connections", self.listen.max_connections),
            ("upstream.max_body_bytes", self.upstream.max_body_bytes),
            ("guard.threads", self.guard.threads.unwrap_or(1)),
            ("guard.batch_tokens", self.guard.batch_tokens),
            ("guard.queue_tokens", self.guard.queue_tokens),
            ("stream.first_chars", self.stream.first_chars),
            ("stream.step_chars", self.stream.step_chars),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err((key, "must be more than 0".to_owned()));
        }
        if self.listen.max_header_bytes < 8192 {
            return Err(("listen.max_header_bytes", "must be at least 8192".to_owned()));
        }
        if !self.review.store.starts_with("sqlite:") {
            return Err(("review.store", "must be `sqlite://FILE`".to_owned()));
        }
        let pass = self.upstream.pass.iter();
        if let Some(line) = pass.into_iter().find(|line| line.split_once(" /").is_none_or(|(method, _)| method.is_empty())) {
            return Err(("upstream.pass", format!("`{line}` is not a method and a path, such as `GET /v1/models`")));
        }
        Ok(())
    }
}
