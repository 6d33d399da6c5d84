//! The ways in which servers are asked.

use std::time::Duration;

use http::Uri;

use super::{
    chat::Chat,
    failure::Failure,
    grpc::Grpc,
    http::Http,
    kserve::{Kserve, Way},
    vllm::Vllm,
};
use crate::{
    config::{self, Engine, Protocol as KserveProtocol},
    connect::{self, Version, connector},
    guard::{
        Window,
        manifest::{Kind, Manifest},
    },
};

/// Tokens that vLLM tells at most, unless it was started with another `--max-logprobs`.
const VLLM_TOP: u32 = 20;

/// How servers are asked.
#[derive(Debug)]
pub(super) enum Protocol {
    Vllm(Vllm),
    Kserve(Kserve),
    Chat(Chat),
}

impl Protocol {
    /// The way of the engine in these settings, which stand in `section`.
    pub(super) fn new(manifest: &Manifest, settings: &config::Guard, section: &str) -> Result<Self, String> {
        let remote = &settings.remote;
        let grpc = settings.engine == Engine::Kserve && remote.protocol == KserveProtocol::Grpc;
        let reached = connect::Settings {
            section,
            secure: remote.urls.iter().any(|url| url.starts_with("https:")),
            ca_file: remote.ca_file.as_deref(),
            client: [remote.client_cert_file.as_deref(), remote.client_key_file.as_deref()],
            timeout: Duration::from_millis(remote.connect_timeout_ms),
        };
        let connector = connector(reached, if grpc { Version::Http2 } else { Version::Http1 });
        let connector = connector.map_err(|e| e.to_string())?;
        let wrong = |why: String| format!("`{section}.key` {why}");
        let key = remote.key.as_ref().map(|key| connect::header(&key.header, &key.value()?)).transpose().map_err(wrong)?;
        let (manifest, model) = (manifest.clone(), remote.model.clone());
        if matches!(settings.engine, Engine::Vllm | Engine::Openai) {
            speaks(&manifest, settings.engine)?;
        }
        Ok(match settings.engine {
            Engine::Onnx => return Err("the engine `onnx` has no servers".to_owned()),
            Engine::Kserve if grpc => Self::Kserve(Kserve { way: Way::Grpc(Grpc::new(connector, key)), manifest, model }),
            Engine::Kserve => Self::Kserve(Kserve { way: Way::Http(Http::new(connector, key)), manifest, model }),
            Engine::Vllm => {
                let labels = manifest.output.labels.iter().map(|label| label.id).collect();
                let top = remote.top_logprobs.unwrap_or(VLLM_TOP);
                Self::Vllm(Vllm { http: Http::new(connector, key), manifest, labels, model, top })
            }
            Engine::Openai => {
                let top = remote.top_logprobs.filter(|top| *top > 0);
                Self::Chat(Chat { http: Http::new(connector, key), manifest, model, top })
            }
        })
    }

    /// Whether a server is there for calls. A hosted guard has no such question; it is asked for texts only.
    pub(super) async fn ready(&self, server: &Uri) -> Result<(), Failure> {
        match self {
            Self::Vllm(vllm) => vllm.ready(server).await,
            Self::Kserve(kserve) => kserve.ready(server).await,
            Self::Chat(_) => Ok(()),
        }
    }

    /// P(unsafe) of each window.
    pub(super) async fn score(&self, server: &Uri, windows: &[Window]) -> Result<Vec<f32>, Failure> {
        match self {
            Self::Vllm(vllm) => vllm.score(server, windows).await,
            Self::Kserve(kserve) => kserve.score(server, windows).await,
            Self::Chat(chat) => chat.score(server, windows).await,
        }
    }

    /// Whether a call carries several texts; other servers make batches themselves.
    pub(super) fn takes_batches(&self) -> bool {
        matches!(self, Self::Kserve(_))
    }

    /// Whether it is a service of others, which answers words and counts calls.
    pub(super) fn is_hosted(&self) -> bool {
        matches!(self, Self::Chat(_))
    }
}

/// Whether the engine can ask the guard for its labels.
fn speaks(manifest: &Manifest, engine: Engine) -> Result<(), String> {
    let name = engine.name();
    if manifest.kind != Kind::DecoderLabel {
        return Err(format!("the engine `{name}` runs guards of the kind `decoder-label` only"));
    }
    let mut tasks = [Some(&manifest.tasks.prompt), manifest.tasks.response.as_ref()].into_iter().flatten();
    if engine == Engine::Openai && tasks.any(|task| !task.passes.is_empty()) {
        return Err(format!("the engine `{name}` sends bare texts, so the guard's `passes` would be left out"));
    }
    Ok(())
}
