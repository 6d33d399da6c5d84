//! What traces tell of an exchange, in OpenTelemetry's words for HTTP and generative AI where it has any: never a text.
//!
//! Source: OpenTelemetry semantic conventions 1.38, `http` and `gen_ai`.

use std::time::SystemTime;

use http::{Method, Uri};
use opentelemetry::{Array, StringValue, Value};

use super::record::Record;
use crate::{
    dialect::Outcome,
    scan::Evidence,
    segment::Direction,
    telemetry::{Span, Trace, verb},
};

/// What a dialect's call does, and whose API it is; none for calls that carry no chat.
fn spoken(dialect: &str) -> Option<(&'static str, &'static str)> {
    Some(match dialect {
        "openai_chat" | "openai_responses" => ("chat", "openai"),
        "openai_completions" => ("text_completion", "openai"),
        "anthropic" => ("chat", "anthropic"),
        "gemini" => ("generate_content", "gcp.gemini"),
        "bedrock" => ("chat", "aws.bedrock"),
        "cohere" => ("chat", "cohere"),
        "ollama_chat" => ("chat", "ollama"),
        "ollama_generate" => ("text_completion", "ollama"),
        _ => return None,
    })
}

/// The name of a call's span.
pub(super) fn name(method: &Method, dialect: &str, model: &str) -> String {
    match spoken(dialect) {
        Some((operation, _)) if !model.is_empty() => format!("{operation} {model}"),
        Some((operation, _)) => operation.to_owned(),
        None => verb(method).to_owned(),
    }
}

/// The name of an exchange's span: few, however many paths there are.
pub(super) fn exchange(method: &Method, dialect: &str) -> String {
    match spoken(dialect) {
        Some(_) => format!("{} {dialect}", verb(method)),
        None => verb(method).to_owned(),
    }
}

/// Which call it is, to whom.
pub(super) fn asked(span: &mut Span, (dialect, model): (&str, &str), method: &Method, server: &Uri) {
    if let Some((operation, provider)) = spoken(dialect) {
        span.say("gen_ai.operation.name", operation);
        span.say("gen_ai.provider.name", provider);
        span.say("gen_ai.request.model", model.to_owned());
    }
    span.say("http.request.method", verb(method));
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    span.say("server.address", server.host().unwrap_or_default().to_owned());
    span.say("server.port", i64::from(port));
}

/// How the call was answered: with a status, or why not.
pub(super) fn answered(span: &mut Span, status: Option<u16>, failed: Option<&'static str>) {
    if let Some(status) = status {
        span.say("http.response.status_code", i64::from(status));
    }
    let wrong = status.filter(|status| *status >= 400).map(|status| status.to_string());
    if let Some(kind) = wrong.or_else(|| failed.map(str::to_owned)) {
        span.say("error.type", kind);
        span.fails();
    }
}

/// What the answer says of itself.
pub(super) fn told(span: &mut Span, outcome: &Outcome) {
    if let Some(model) = &outcome.model {
        span.say("gen_ai.response.model", model.clone());
    }
    if !outcome.ends.is_empty() {
        let ends = outcome.ends.iter().cloned().map(StringValue::from).collect();
        span.say("gen_ai.response.finish_reasons", Value::Array(Array::String(ends)));
    }
    for (key, tokens) in [("gen_ai.usage.input_tokens", outcome.input), ("gen_ai.usage.output_tokens", outcome.output)] {
        if let Some(tokens) = tokens {
            span.say(key, i64::try_from(tokens).unwrap_or(i64::MAX));
        }
    }
}

impl Record {
    /// The time, if there is to be a span of what begins now.
    pub(super) fn now(&self) -> Option<SystemTime> {
        self.trace.as_ref().and_then(|trace| trace.now())
    }

    /// Tells of a judgement that began then.
    pub(super) fn judged(&mut self, since: Option<SystemTime>, evidence: &Evidence) {
        let (Some(since), Some(trace)) = (since, &mut self.trace) else { return };
        let Some(mut span) = trace.did("guard", since) else { return };
        let direction = match evidence.direction {
            Direction::Request => "request",
            Direction::Response => "response",
        };
        let (texts, scoring) = (evidence.passages.len(), evidence.scoring);
        span.say("seawall.direction", direction);
        span.say("seawall.guard.texts", i64::try_from(texts).unwrap_or(i64::MAX));
        span.say("seawall.guard.windows", i64::try_from(scoring.windows).unwrap_or(i64::MAX));
        if scoring.windows > 0 {
            span.say("seawall.guard.wait", scoring.wait.as_secs_f64());
            span.say("seawall.guard.batch", i64::from(scoring.batch));
        }
        if let Some(cached) = evidence.cached {
            span.say("seawall.cached", cached);
        }
        if evidence.passages.iter().flat_map(|passage| &passage.verdicts).any(|verdict| verdict.score.is_err()) {
            span.say("error.type", "guard_unavailable");
            span.fails();
        }
    }

    /// Tells how the exchange ended.
    pub(super) fn tell(&self, trace: &Trace, status: u16) {
        if trace.now().is_none() {
            return;
        }
        trace.say("http.response.status_code", i64::from(status));
        trace.say("seawall.request_id", self.id.clone());
        trace.say("seawall.decision", self.word());
        trace.say("seawall.route", self.route.to_string());
        trace.say("seawall.policy.revision", self.policy.clone());
        if let Some((operation, provider)) = spoken(self.dialect) {
            trace.say("seawall.dialect", self.dialect);
            trace.say("gen_ai.operation.name", operation);
            trace.say("gen_ai.provider.name", provider);
            trace.say("gen_ai.request.model", self.model.clone());
        }
        if let Some(code) = self.failed {
            trace.say("error.type", code);
        }
        if status >= 500 {
            trace.fails();
        }
    }
}
