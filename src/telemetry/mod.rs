//! What operators see: logs, metrics and traces. Never a prompt, an answer or a secret.

mod json;
mod lines;
mod metrics;
mod otlp;
mod panics;
mod shared;
mod trace;

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use self::{
    lines::flush,
    metrics::{Format, Metrics, Now, Records, Session},
    otlp::{Exporter, Sent},
    shared::SharedCache,
    trace::{Span, Trace, Traces, verb},
};
use crate::config::{LogFormat, Telemetry};

/// Starts the logs, which go to standard error.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(settings: &Telemetry) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|e| format!("`telemetry.log` is no filter: {e}"))?;
    let text = match settings.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let layer = if text {
        fmt::layer().with_writer(stderr).with_target(false).with_ansi(stderr().is_terminal()).boxed()
    } else {
        let lines = lines::lines().map_err(|e| format!("the log cannot begin: {e}"))?;
        fmt::layer().with_writer(lines).event_format(json::Json).boxed()
    };
    panics::heed();
    // A second start in one process (tests) keeps the first.
    drop(tracing_subscriber::registry().with(filter).with(layer).try_init());
    Ok(())
}
