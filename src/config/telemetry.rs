//! `[telemetry]`: logs, and where traces go.

use std::{collections::BTreeMap, env, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Wrong};

/// What other programs of a fleet are told the collector's address by.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// `[telemetry]`: logs and traces.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `seawall=debug,info`.
    pub log: String,
    /// How it is written.
    pub format: LogFormat,
    /// Where traces go.
    pub otlp: Otlp,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// `[telemetry.otlp]`: the OpenTelemetry collector that is sent traces.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Its address, such as `http://collector:4318`; that of `OTEL_EXPORTER_OTLP_ENDPOINT` if it is left out. Without either
    /// there are no traces.
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// Headers of each call to it, their values in the environment or in files.
    pub headers: BTreeMap<String, Secret>,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The share of exchanges that are traced, 0 to 1, where the client does not say whether its own trace is.
    pub ratio: f64,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.1, at `/v1/traces` under the address; collectors take it on port 4318.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// gRPC; collectors take it on port 4317.
    #[serde(rename = "grpc")]
    Grpc,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Auto, otlp: Otlp::default() }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        let protocol = OtlpProtocol::HttpProtobuf;
        Self { endpoint: None, protocol, headers: BTreeMap::new(), ca_file: None, ratio: 1.0 }
    }
}

impl Otlp {
    /// The collector's address, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        let stated = |address: &String| !address.is_empty();
        self.endpoint.clone().or_else(|| env::var(ENDPOINT).ok()).filter(stated)
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        if (0.0..=1.0).contains(&self.ratio) {
            return Ok(());
        }
        Err(("telemetry.otlp.ratio".to_owned(), "must be from 0 to 1".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::told;

    #[test]
    fn mistakes_are_told_with_their_place() {
        assert_eq!(told("[telemetry.otlp]\nratio = 1.5\n"), "s.toml:2: `telemetry.otlp.ratio` must be from 0 to 1");
        assert_eq!(
            told("[telemetry.otlp]\nprotocol = \"http\"\n"),
            "s.toml:2: `telemetry.otlp.protocol` must be one of http/protobuf, grpc"
        );
    }
}
