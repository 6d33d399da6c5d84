//! What knows bytes and nothing of LLMs: strict JSON, server-sent events, content encodings, header hygiene.
//! Knows no other room.

pub mod body;
pub mod encoding;
pub mod header;
pub mod json;
pub mod sse;
