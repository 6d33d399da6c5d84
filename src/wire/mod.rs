//! What knows bytes and nothing of LLMs: strict JSON, the framings of streams, content encodings, header hygiene.
//! Knows no other room.

pub mod array;
pub mod body;
pub mod encoding;
pub mod event_stream;
pub mod frame;
pub mod header;
pub mod json;
pub mod ndjson;
pub mod sse;
pub mod strings;
