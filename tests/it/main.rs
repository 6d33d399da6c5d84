//! The product at its edges: a real proxy on a free port, real sockets, a scripted upstream, and a guard that is a real graph
//! on ONNX Runtime and finds the word `danger` unsafe.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod architecture;
mod bypass;
mod cache;
mod chaos;
mod chat;
mod command_line;
mod console;
mod decoder;
mod dialects;
mod eval;
mod fleet;
mod gate;
mod guard;
mod guards;
mod harness;
mod identity;
mod kill;
mod lifecycle;
mod limits;
mod own;
mod placeholders;
mod policy;
mod policy_commands;
mod postgres;
mod record;
mod reload;
mod remote;
mod replay;
mod review_commands;
mod security;
mod sessions;
mod shared_cache;
mod stream;
mod telemetry;
mod tls;
mod unscored;
mod upstreams;
mod webhook;
