//! Seawall: a guardrail in front of LLM APIs.
//!
//! Take the text out, score it, decide, and either pass on exactly what was scored or put something safe in its place, and
//! remember what was flagged. Every exchange takes this path once, top to bottom:
//!
//! ```text
//! accept      server     TCP, TLS, limits, drain
//! admit       identity   who calls, and how much they may ask for
//! decode      dialect    which API is this; strict JSON; text segments with their place in the body
//! scan        scan       normalise → detectors → verdict cache → guard (tokenise, batch, ONNX Runtime)
//! decide      policy     pure: evidence → decision and reasons
//! forward     upstream   the original bytes of exactly what was scanned, edits spliced in
//! decode      dialect    completion, whole or as a stream of deltas
//! gate        gate       holds streamed text back until a verdict covers it
//! decide      policy     the same function, the other direction
//! encode      dialect    the answer, refusal or edited text in the client's own dialect
//! record      review     what was flagged, durably, before the client sees the answer
//! ```
//!
//! Who may know whom, floor by floor: `cli → server → {exchange, console} → gate → {dialect, scan, policy, review} →
//! {wire, guard, upstream, telemetry, connect, config, identity, segment}`. Beside the line, `eval` measures a guard
//! through `scan`, `trial` tries policies on texts, `replay` asks them of the record, and `console` is where people look at that
//! record. `exchange` is the only room that knows all below it; a test reads every `use crate::` line and holds them to this.

#![cfg_attr(test, allow(clippy::string_slice, clippy::let_underscore_must_use, reason = "a test that panics has failed"))]

pub mod aside;
pub mod cli;
pub mod config;
pub mod connect;
pub mod console;
pub mod dialect;
pub mod eval;
pub mod exchange;
pub mod gate;
pub mod guard;
pub mod identity;
pub mod policy;
pub mod replay;
pub mod review;
pub mod scan;
pub mod segment;
pub mod server;
pub mod telemetry;
pub mod trial;
pub mod upstream;
pub mod wire;
