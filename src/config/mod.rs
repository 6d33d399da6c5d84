//! Every setting: its type, default and unit, of which the reference is made.
//!
//! Later sources win: defaults, `seawall.toml`, `SEAWALL_SECTION__KEY`, flags. No other room reads files or the environment
//! for settings; each is handed its own section.

mod admin;
mod cache;
mod check;
mod explain;
mod guard;
mod identity;
mod load;
mod policies;
mod reference;
mod review;
mod telemetry;

use std::{collections::BTreeMap, fmt, net::SocketAddr, num::NonZero, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use self::{
    admin::{Admin, AdminToken, OIDC_DONE, Oidc, Role, Roles, User},
    cache::{Cache, Place, SharedCache},
    explain::{explain, locate, nearest, position},
    guard::{Cascade, DEFAULT_GUARD, Engine, Protocol, Remote},
    identity::{ClientAuth, Identity, Jwt, KeyHash, Limits, Subject, Tls},
    load::{Error, load},
    policies::{Policies, Secret, Uncovered},
    reference::{reference, schema},
    review::{Content, Review, ReviewKey, Webhook},
    telemetry::{LogFormat, Otlp, OtlpProtocol, Telemetry},
};

/// All settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients connect.
    pub listen: Listen,
    /// Where operators and reviewers connect.
    pub admin: Admin,
    /// The LLM behind the proxy, for calls that no route takes elsewhere.
    pub upstream: Upstream,
    /// Further upstreams, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Which calls go to which of them; the first route that fits holds.
    pub routes: Vec<Route>,
    /// Who may call.
    pub identity: Identity,
    /// How much each tenant may ask for.
    pub limits: Limits,
    /// What single tenants have in place of these limits, by name.
    pub tenants: BTreeMap<String, Limits>,
    /// The guard model that rules ask, unless they name another.
    pub guard: Guard,
    /// Further guards, by the names that rules have for them.
    pub guards: BTreeMap<String, Guard>,
    /// The policies in force.
    pub policies: Policies,
    /// How streams are held back.
    pub stream: Stream,
    /// The verdict cache.
    pub cache: Cache,
    /// The record of flagged traffic.
    pub review: Review,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// `[listen]`: where clients connect.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// Threads that serve clients; one for each processor if it is left out. Guards, database and console have their own.
    pub threads: Option<NonZero<usize>>,
    /// Largest request body, before and after decompression.
    pub max_body_bytes: usize,
    /// Largest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// Time for a request's head to arrive. A connection that brings none for so long, at its beginning or after its last
    /// answer, is closed.
    pub header_timeout_ms: u64,
    /// Time for a request's body to arrive.
    pub body_timeout_ms: u64,
    /// Longest time that a client may take nothing of an answer that waits for it; its connection is then closed.
    pub write_timeout_ms: u64,
    /// Connections served at once; more wait to be accepted. The limit on open files may allow fewer, half of them at most: a
    /// call needs one more connection to its upstream.
    pub max_connections: usize,
    /// Calls in flight at once, from their heads to their answers' ends; more are answered with status 503. A connection with
    /// HTTP/2 carries up to 100 of them. Each may hold a body of `max_body_bytes` in memory, and an answer of the upstream's
    /// `max_body_bytes`.
    pub max_calls: usize,
    /// Time that exchanges in flight get to finish after SIGTERM.
    pub drain_ms: u64,
    /// Which `seawall-…` headers answers carry.
    pub headers: Headers,
    /// TLS towards clients; plain HTTP if it is left out.
    pub tls: Option<Tls>,
}

/// Which of Seawall's own headers answers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Headers {
    /// Id, decision and cache.
    All,
    /// The id only.
    None,
}

/// `[upstream]` and `[upstreams.NAME]`: an LLM behind the proxy.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
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
    /// PEM file of a certificate (with its chain) that the upstream asks for, and of its key.
    pub client_cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub client_key_file: Option<PathBuf>,
    /// Headers of the client that are not passed on.
    pub remove_headers: Vec<String>,
    /// Headers that are added to each call, in place of the client's of that name.
    pub set_headers: BTreeMap<String, String>,
    /// The key that calls are made with; the client's own if none is named.
    pub key: Option<Key>,
    /// Whether a call starts while its prompt is still being judged. Nothing of the answer is passed on before the verdict,
    /// and a refused prompt cancels the call; but the upstream has then seen it.
    pub race: bool,
    /// Whether HTTP/2 is spoken where the upstream offers it in TLS. One connection of each thread then carries all calls, and no
    /// more at once than the upstream allows on one (often 100): the rest wait. It spares connections where there are few calls;
    /// with HTTP/1.1, each call has a connection of its own, which others use after it.
    pub http2: bool,
}

/// A secret, and the header that carries it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The environment variable that holds the secret.
    #[serde(default)]
    pub env: Option<String>,
    /// The file that holds the secret; spaces and line ends around it do not count.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The header.
    #[serde(default = "authorization")]
    pub header: String,
    /// What stands before the secret; `Bearer ` for `authorization`, else nothing.
    #[serde(default)]
    pub prefix: Option<String>,
}

fn authorization() -> String {
    "authorization".to_owned()
}

impl Key {
    /// The header's value.
    ///
    /// # Errors
    /// No secret where it is said to be.
    pub fn value(&self) -> Result<Zeroizing<String>, String> {
        let secret = policies::secret(self.env.as_deref(), self.file.as_deref())?;
        let usual = if self.header.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
        Ok(Zeroizing::new(format!("{}{}", self.prefix.as_deref().unwrap_or(usual), secret.as_str())))
    }
}

/// `[[routes]]`: calls that go to an upstream of their own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What policies call it; its prefix if left out, or its host in lower case if it has none.
    #[serde(default)]
    pub name: Option<String>,
    /// The path's beginning, in whole segments; it is taken off before the call is passed on.
    #[serde(default)]
    pub prefix: String,
    /// The host that the client asked for, without port; any if none is named.
    #[serde(default)]
    pub host: Option<String>,
    /// Name of the upstream.
    pub upstream: String,
}

impl Route {
    /// What policies and records call it.
    #[must_use]
    pub fn called(&self) -> &str {
        let place = Some(self.prefix.as_str()).filter(|prefix| !prefix.is_empty()).or(self.host.as_deref());
        self.name.as_deref().or(place).unwrap_or_default()
    }
}

/// `[guard]` and `[guards.NAME]`: a guard model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Directory with a `guard.toml`; the embedded guard if none is named.
    pub dir: Option<PathBuf>,
    /// What scores: ONNX Runtime in this process, or servers elsewhere.
    pub engine: Engine,
    /// The servers, for an engine elsewhere.
    pub remote: Remote,
    /// A second guard for the texts that this one is unsure of.
    pub cascade: Option<Box<Cascade>>,
    /// ONNX Runtime's shared library; looked for if none is named.
    pub ort_lib: Option<PathBuf>,
    /// What runs the graph. One that is missing is an error; operators that a GPU's provider lacks run on the CPU.
    pub provider: Provider,
    /// The GPUs that it runs on, by number, each with all of the model; only with `cuda` and `tensorrt`.
    pub devices: Vec<u16>,
    /// Sessions on each GPU, or on the processor. Each holds the model's weights and runs one batch at a time; all take their
    /// work from one queue. If none is named: one, but two for a classifier on a processor of several cores, where two on a core
    /// each judge more texts than one on both.
    pub sessions: Option<usize>,
    /// Threads of the processor that a batch runs on. If none is named, all sessions share the cores evenly.
    pub threads: Option<usize>,
    /// Most tokens of a batch, padding included. If none is named: 256 on the processor, where larger ones take longer by as
    /// much as they hold; 2,048 on GPUs and servers elsewhere.
    pub batch_tokens: Option<usize>,
    /// Most tokens that may wait; more are refused at once. One request takes a sixteenth of it at most and waits for itself
    /// beyond that. A text of more than four times as many tokens, counted for each of the guard's passes, is refused;
    /// one of many bytes is counted in parts, each rather too low, and refused as soon as these show it.
    pub queue_tokens: usize,
    /// Longest time that a request may be expected to wait for its turn, going by how fast texts were scored lately; one that
    /// would wait longer is refused at once.
    pub queue_ms: u64,
    /// Longest wait for a text's score, encoding it included; up to twice that where another request's scoring of the same text
    /// was waited for in vain.
    pub deadline_ms: u64,
    /// Most tokens of growing answers whose keys and values a decoder guard keeps on each device, where its sessions share
    /// them evenly, so that a check computes only what is new; 0 scores them whole each time, with one graph fewer in memory.
    pub kv_tokens: usize,
    /// Most memory that the guard takes on each GPU with CUDA, in MiB, weights included; all there is if none is named.
    /// Its sessions there share it evenly. Where `kv_tokens` are kept a session has two graphs, each with its weights, and each
    /// gets half; the one that keeps them reserves in doubling steps, up to twice what it uses.
    pub memory_mb: Option<usize>,
}

/// ONNX Runtime's execution providers; the ones for GPUs need its GPU build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// A device of it, as operators are told.
    #[must_use]
    pub fn device(self, number: u16) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Cuda | Self::Tensorrt => format!("cuda:{number}"),
        }
    }

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

/// When streamed text leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamMode {
    /// No character leaves before a verdict covers it.
    Hold,
    /// Text leaves at once; the stream is cut when a verdict turns against it, also where it asks for a redaction.
    Lag,
    /// Nothing leaves before the whole answer is judged.
    Buffer,
}

/// `[stream]`: how streamed text is held back until it is judged.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    /// When text leaves.
    pub mode: StreamMode,
    /// Characters before the first check.
    pub first_chars: usize,
    /// Characters between checks.
    pub step_chars: usize,
    /// Characters that a sentence needs to be checked at its end.
    pub sentence_chars: usize,
    /// Silence of the upstream after which the text held is checked as it is.
    pub idle_ms: u64,
    /// Characters before the unchecked ones that a check also reads; a decoder guard reads all of the answer so far.
    pub lookback_chars: usize,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            threads: None,
            max_body_bytes: 16 << 20,
            max_header_bytes: 64 << 10,
            header_timeout_ms: 10_000,
            body_timeout_ms: 60_000,
            write_timeout_ms: 60_000,
            max_connections: 16_384,
            max_calls: 16_384,
            drain_ms: 30_000,
            headers: Headers::All,
            tls: None,
        }
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
            pass: [
                "GET /v1/models",
                "GET /v1/models/*",
                "GET /v1beta/models",
                "GET /v1beta/models/*",
                "GET /api/tags",
                "GET /api/version",
                "GET /health",
            ]
            .map(str::to_owned)
            .to_vec(),
            client_cert_file: None,
            client_key_file: None,
            remove_headers: Vec::new(),
            set_headers: BTreeMap::new(),
            key: None,
            race: false,
            http2: false,
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            dir: None,
            engine: Engine::Onnx,
            remote: Remote::default(),
            cascade: None,
            ort_lib: None,
            provider: Provider::Cpu,
            devices: vec![0],
            sessions: None,
            threads: None,
            batch_tokens: None,
            queue_tokens: 65_536,
            queue_ms: 2_000,
            deadline_ms: 10_000,
            kv_tokens: 32_768,
            memory_mb: None,
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self { mode: StreamMode::Hold, first_chars: 80, step_chars: 240, sentence_chars: 40, idle_ms: 150, lookback_chars: 600 }
    }
}

/// Settings that can hold a secret, or what somebody took for the place of one: no log tells what they hold.
macro_rules! untold {
    ($($settings:ty),+) => {$(
        impl fmt::Debug for $settings {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($settings)).finish_non_exhaustive()
            }
        }
    )+};
}

untold!(Upstream, User, AdminToken, KeyHash, Review, Webhook);

/// What policies call the upstream of `[upstream]`.
pub const DEFAULT_UPSTREAM: &str = "default";

/// The setting that says otherwise than it can be, and what to write instead.
type Wrong = (String, String);

impl Config {
    /// The upstreams: the one without a name, then the others.
    pub fn named_upstreams(&self) -> impl Iterator<Item = (Option<&str>, &Upstream)> {
        let named = self.upstreams.iter().map(|(name, upstream)| (Some(name.as_str()), upstream));
        std::iter::once((None, &self.upstream)).chain(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_text_tells_what_may_be_secret() {
        let text = r#"
            [upstream]
            url = "https://ana:s3cret@h"
            set_headers = { x-key = "s3cret" }
            [[identity.keys]]
            name = "ci"
            hash = "s3cret"
            [[admin.users]]
            name = "ana"
            password = "s3cret"
            role = "viewer"
            [[admin.tokens]]
            name = "tool"
            hash = "s3cret"
            role = "viewer"
            [review]
            store = "postgres://ana:s3cret@h/d"
            [[review.webhooks]]
            url = "https://h/s3cret"
            secret = { env = "S" }
        "#;
        let config: Config = toml::from_str(text).unwrap();
        let told = format!("{config:#?}");
        assert!(told.contains("header_timeout_ms") && !told.contains("s3cret"), "{told}");
    }
}
