//! Content blocks, as requests and answers have them: objects whose one key tells what they are.

use crate::{
    dialect::text::{Collector, is_id, is_sealed},
    segment::Target,
    wire::json::{Malformed, Members, Node},
};

const MESSAGE: &[&str] = &["role", "content"];
const BLOCK: &[&str] = &[
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "guardContent",
    "cachePoint",
    "reasoningContent",
    "citationsContent",
    "searchResult",
    "json",
];
const CALL: &[&str] = &["toolUseId", "name", "input", "type"];
const RESULT: &[&str] = &["toolUseId", "content", "status", "type"];
const DOCUMENT: &[&str] = &["format", "name", "source", "context", "citations"];
const SOURCE: &[&str] = &["bytes", "s3Location", "text", "content"];

/// Names of fields that say nothing to a guard; what stands in them does.
const WORDS: &[&str] = &[
    "text",
    "content",
    "title",
    "source",
    "sourceContent",
    "citations",
    "citation",
    "enabled",
    "location",
    "web",
    "url",
    "domain",
    "documentChar",
    "documentPage",
    "documentChunk",
    "searchResultLocation",
    "documentIndex",
    "searchResultIndex",
    "start",
    "end",
    "qualifiers",
    "reasoningText",
    "signature",
    "s3Location",
    "error",
    "message",
    "type",
    "ttl",
];
/// Values that say nothing to a guard, each under its field's name.
const VALUES: &[(&str, &str)] = &[
    ("type", "default"),
    ("ttl", "5m"),
    ("ttl", "1h"),
    ("qualifiers", "grounding_source"),
    ("qualifiers", "query"),
    ("qualifiers", "guard_content"),
];

/// Whether a key (`value` empty), or a value under a key, is only form.
pub(super) fn word(key: &str, value: &str) -> bool {
    if value.is_empty() { WORDS.contains(&key) } else { VALUES.contains(&(key, value)) }
}

/// The words of an image or the like. Its bytes, and where they lie, are no text.
pub(super) fn media_word(key: &str, value: &str) -> bool {
    matches!(key, "bytes" | "format" | "uri" | "bucketOwner") || word(key, value)
}

/// What ids and settings are made of: names, and values of one short word. A longer value is a text that tries to hide there.
pub(super) fn id_word(key: &str, value: &str) -> bool {
    let word = if value.is_empty() { key } else { value };
    is_id(word)
}

/// A message of a request, or of an answer; `target` tells by its members what its text is.
pub(super) fn read_message(
    text: &mut Collector,
    message: &Node<'_>,
    target: impl FnOnce(&Members<'_>) -> Result<Target, Malformed>,
) -> Result<(), Malformed> {
    let members = message.known("message", MESSAGE)?;
    let target = target(&members)?;
    for (key, value) in members.iter().filter(|(key, value)| key != "role" && !value.is_null()) {
        text.passage();
        match key.as_ref() {
            "content" => read_blocks(text, "content", value, target)?,
            _ => text.strings(target, value, &|_, _| false),
        }
    }
    Ok(())
}

/// Blocks that are read together, but for calls of tools and their results: each of those stands alone.
pub(super) fn read_blocks(text: &mut Collector, what: &str, blocks: &Node<'_>, target: Target) -> Result<(), Malformed> {
    let blocks = blocks.array().ok_or_else(|| Malformed::new(format!("`{what}` must be an array of content blocks")))?;
    let mut alone = Vec::new();
    for block in blocks {
        for (key, value) in block.known("content block", BLOCK)?.into_iter().filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "toolUse" | "toolResult" => alone.push((key, value)),
                _ => read_block(text, &key, &value, target)?,
            }
        }
    }
    for (key, value) in alone {
        text.passage();
        if key == "toolUse" { read_call(text, &value)? } else { read_result(text, &value, target)? }
    }
    Ok(())
}

fn read_block(text: &mut Collector, kind: &str, block: &Node<'_>, target: Target) -> Result<(), Malformed> {
    match kind {
        "text" => text.string(target, kind, block)?,
        "json" => text.strings(target, block, &|_, _| false),
        "image" | "video" | "audio" => read_media(text, kind, block, target),
        "document" => read_document(text, block, target)?,
        "cachePoint" | "citationsContent" | "searchResult" => text.strings(target, block, &word),
        "guardContent" => {
            for (key, value) in present(block, kind, &["text", "image"])? {
                match key.as_ref() {
                    "image" => read_media(text, &key, &value, target),
                    _ => text.strings(target, &value, &word),
                }
            }
        }
        "reasoningContent" => {
            for (key, value) in present(block, kind, &["reasoningText", "redactedContent"])? {
                match key.as_ref() {
                    "redactedContent" if value.string().is_some_and(|value| is_sealed(&value)) => {}
                    _ => {
                        text.strings(target, &value, &|key, value| word(key, value) || (key == "signature" && is_sealed(value)))
                    }
                }
            }
        }
        other => return Err(Malformed::new(format!("content blocks of type `{other}` are not supported"))),
    }
    Ok(())
}

fn read_media(text: &mut Collector, kind: &str, media: &Node<'_>, target: Target) {
    text.unscorable.push(kind.to_owned());
    text.strings(target, media, &media_word);
}

/// A document: its name and context are told to the model too.
fn read_document(text: &mut Collector, document: &Node<'_>, target: Target) -> Result<(), Malformed> {
    for (key, value) in present(document, "document", DOCUMENT)? {
        match key.as_ref() {
            "format" => text.strings(target, &value, &id_word),
            "source" => {
                for (key, value) in present(&value, "source", SOURCE)? {
                    match key.as_ref() {
                        "text" | "content" => text.strings(target, &value, &word),
                        "bytes" => text.unscorable.push("document".to_owned()),
                        _ => read_media(text, "document", &value, target),
                    }
                }
            }
            _ => text.strings(target, &value, &word),
        }
    }
    Ok(())
}

/// A call of a tool; its input is JSON, whose fields may have any name.
fn read_call(text: &mut Collector, call: &Node<'_>) -> Result<(), Malformed> {
    for (key, value) in present(call, "toolUse", CALL)? {
        match key.as_ref() {
            "toolUseId" | "type" => text.strings(Target::ToolCall, &value, &id_word),
            _ => text.strings(Target::ToolCall, &value, &|_, _| false),
        }
    }
    Ok(())
}

/// What a tool answered. In words of the assistant (a tool that the service ran itself) it is read as the rest of them.
fn read_result(text: &mut Collector, result: &Node<'_>, target: Target) -> Result<(), Malformed> {
    let target = if target == Target::Completion { target } else { Target::ToolResult };
    for (key, value) in present(result, "toolResult", RESULT)? {
        match key.as_ref() {
            "toolUseId" | "status" | "type" => text.strings(target, &value, &id_word),
            "content" => read_blocks(text, "toolResult.content", &value, target)?,
            _ => text.strings(target, &value, &|_, _| false),
        }
    }
    Ok(())
}

/// The members of an object that are not null.
fn present<'a>(node: &Node<'a>, what: &str, known: &[&str]) -> Result<Members<'a>, Malformed> {
    let mut members = node.known(what, known)?;
    members.retain(|(_, value)| !value.is_null());
    Ok(members)
}
