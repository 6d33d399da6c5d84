//! Items, which input and output are made of: the same ones in requests, whole answers and streams.

use std::borrow::Cow;

use super::{request::setting, tool};
use crate::{
    dialect::{
        strict,
        text::{Collector, UNSCORABLE, is_id, is_sealed},
    },
    segment::{Direction, Place, Target},
    wire::json::{Malformed, Node},
};

/// A member of an object.
type Member<'a> = (Cow<'a, str>, Node<'a>);

/// Keys of items that hold no text: names, states and numbers.
const FORM: &[&str] = &[
    "type",
    "id",
    "status",
    "role",
    "phase",
    "call_id",
    "caller",
    "created_by",
    "execution",
    "container_id",
    "approval_request_id",
    "fingerprint",
    "output_format",
    "quality",
    "size",
    "background",
];
/// Keys of items that hold text.
const TEXT: &[&str] = &[
    "content",
    "summary",
    "encrypted_content",
    "name",
    "namespace",
    "arguments",
    "input",
    "action",
    "actions",
    "operation",
    "code",
    "queries",
    "tools",
    "server_label",
    "reason",
    "text",
    "reasoning",
    "revised_prompt",
    "output",
    "outputs",
    "result",
    "results",
    "error",
];
/// Keys of a call under which its tool's answer stands.
const ANSWER: &[&str] = &["output", "outputs", "result", "results", "error"];

const CALLS: &[&str] = &[
    "function_call",
    "custom_tool_call",
    "computer_call",
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "local_shell_call",
    "shell_call",
    "apply_patch_call",
    "mcp_call",
    "mcp_approval_request",
    "tool_search_call",
    "program",
];
const OUTPUTS: &[&str] = &[
    "function_call_output",
    "custom_tool_call_output",
    "computer_call_output",
    "local_shell_call_output",
    "shell_call_output",
    "apply_patch_call_output",
    "mcp_approval_response",
    "program_output",
];
/// Items that tell which tools there are.
const LISTS: &[&str] = &["mcp_list_tools", "tool_search_output", "additional_tools"];

const PART: &[&str] = &["type", "text", "refusal", "annotations", "logprobs", "filename", "transcript"];
/// Content parts whose `text` is text.
const TEXTS: &[&str] = &["input_text", "output_text", "text", "summary_text", "reasoning_text"];
/// Content parts that no text guard can judge, beside those of all APIs.
const MEDIA: &[&str] = &["computer_screenshot", "input_video"];
/// Where such a part keeps its bytes, or says where they are.
const PAYLOAD: &[&str] =
    &["image_url", "file_id", "file_url", "file_data", "input_audio", "video_url", "data", "url", "format", "detail"];

const ANNOTATION: &[&str] =
    &["type", "file_id", "container_id", "filename", "title", "url", "index", "start_index", "end_index"];
const CITATIONS: &[&str] = &["url_citation", "file_citation", "container_file_citation", "file_path"];

/// Keys within a call.
const CALL: &[&str] = &[
    "type",
    "action",
    "query",
    "queries",
    "sources",
    "url",
    "pattern",
    "button",
    "x",
    "y",
    "scroll_x",
    "scroll_y",
    "path",
    "text",
    "id",
    "container_id",
    "message",
    "code",
    "command",
    "commands",
    "env",
    "user",
    "working_directory",
    "timeout_ms",
    "max_output_length",
    "diff",
];
const ACTIONS: &[&str] = &[
    "search",
    "open_page",
    "find_in_page",
    "url",
    "click",
    "double_click",
    "drag",
    "keypress",
    "move",
    "screenshot",
    "scroll",
    "type",
    "wait",
    "exec",
    "create_file",
    "update_file",
    "delete_file",
    "local",
    "container_reference",
];

/// Keys within what a tool answered.
const ANSWERED: &[&str] = &[
    "type",
    "text",
    "logs",
    "stdout",
    "stderr",
    "outcome",
    "exit_code",
    "file_id",
    "filename",
    "score",
    "attributes",
    "content",
    "code",
    "message",
];
const ANSWERS: &[&str] = &[
    "logs",
    "exit",
    "timeout",
    "text",
    "input_text",
    "output_text",
    "http_error",
    "mcp_protocol_error",
    "mcp_tool_execution_error",
];

/// Reads an item.
pub(super) fn read(text: &mut Collector, item: &Node<'_>, direction: Direction) -> Result<(), Malformed> {
    let known: Vec<&str> = FORM.iter().chain(TEXT).copied().collect();
    let members = item.known("item", &known)?;
    let other = if direction == Direction::Request { Target::System } else { Target::Completion };
    text.passage();
    members.iter().for_each(|(key, _)| text.name(other, key));
    match word(&members, "type").as_deref() {
        Some("message") => message(text, &members, direction),
        None if direction == Direction::Response || word(&members, "role").is_some() => message(text, &members, direction),
        Some("reasoning") => reasoning(text, &members, direction),
        Some(kind) if CALLS.contains(&kind) => call(text, kind, &members, direction),
        Some(kind) if OUTPUTS.contains(&kind) => output(text, kind, &members, direction),
        Some(kind) if LISTS.contains(&kind) => {
            list(text, &members);
            Ok(())
        }
        None | Some("item_reference" | "compaction" | "compaction_trigger" | "configuration_update") => {
            rest(text, &members, other);
            Ok(())
        }
        Some(_) => {
            text.passage();
            text.strings(other, item, &|_, _| false);
            Ok(())
        }
    }
}

/// The string of a member.
pub(super) fn word<'a>(members: &[Member<'a>], key: &str) -> Option<Cow<'a, str>> {
    members.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.string())
}

/// The members of an item that may hold text.
fn present<'m, 'a>(members: &'m [Member<'a>]) -> impl Iterator<Item = (&'m str, &'m Node<'a>)> {
    let form = |key: &str, value: &Node<'_>| {
        FORM.contains(&key) && (key == "type" || value.string().is_none_or(|value| is_id(&value)))
    };
    let members = members.iter().map(|(key, value)| (key.as_ref(), value));
    members.filter(move |(key, value)| !value.is_null() && !form(key, value))
}

fn message(text: &mut Collector, members: &[Member<'_>], direction: Direction) -> Result<(), Malformed> {
    let role = |role: &str| match role {
        "assistant" => Some(Target::Completion),
        "user" => Some(Target::Prompt),
        "system" | "developer" => Some(Target::System),
        _ => None,
    };
    let target = match direction {
        Direction::Response => Target::Completion,
        Direction::Request => strict::role(members, role)?,
    };
    for (key, value) in present(members) {
        text.passage();
        if key == "content" {
            content(text, target, value, direction)?;
        } else {
            text.strings(target, value, &|_, _| false);
        }
    }
    Ok(())
}

fn reasoning(text: &mut Collector, members: &[Member<'_>], direction: Direction) -> Result<(), Malformed> {
    for (key, value) in present(members) {
        text.passage();
        match key {
            "summary" | "content" => content(text, Target::Completion, value, direction)?,
            "encrypted_content" => sealed(text, Target::Completion, value),
            _ => text.strings(Target::Completion, value, &|_, _| false),
        }
    }
    Ok(())
}

/// A call of a tool, and what the tool answered where the upstream itself has asked it.
fn call(text: &mut Collector, kind: &str, members: &[Member<'_>], direction: Direction) -> Result<(), Malformed> {
    text.passage();
    for (key, value) in present(members).filter(|(key, _)| !ANSWER.contains(key)) {
        // What is free of form has no words that are only form.
        let free = matches!(key, "arguments" | "input" | "code");
        text.strings(Target::ToolCall, value, &|key, value| !free && call_word(key, value));
    }
    for (key, value) in present(members).filter(|(key, _)| ANSWER.contains(key)) {
        text.passage();
        if (kind, key) == ("image_generation_call", "result") {
            text.unscorable.push(kind.to_owned());
        } else {
            answer(text, value, direction)?;
        }
    }
    Ok(())
}

/// What a tool answered, as an item of its own.
fn output(text: &mut Collector, kind: &str, members: &[Member<'_>], direction: Direction) -> Result<(), Malformed> {
    let parts = matches!(kind, "function_call_output" | "custom_tool_call_output");
    for (key, value) in present(members) {
        text.passage();
        if parts && key == "output" && value.array().is_some() {
            content(text, result(direction), value, direction)?;
        } else {
            answer(text, value, direction)?;
        }
    }
    Ok(())
}

/// In an answer a tool's words are what the user is told.
fn result(direction: Direction) -> Target {
    if direction == Direction::Request { Target::ToolResult } else { Target::Completion }
}

fn answer(text: &mut Collector, value: &Node<'_>, direction: Direction) -> Result<(), Malformed> {
    for item in value.array().unwrap_or_else(|| vec![*value]) {
        let kind = item.object().and_then(|members| word(&members, "type"));
        if kind.is_some_and(|kind| is_media(&kind)) {
            part(text, result(direction), &item, direction)?;
        } else {
            text.strings(result(direction), &item, &answer_word);
        }
    }
    Ok(())
}

fn list(text: &mut Collector, members: &[Member<'_>]) {
    for (key, value) in present(members) {
        text.passage();
        if key == "tools" {
            tool::read(text, value);
        } else {
            text.strings(Target::ToolDefinition, value, &|_, _| false);
        }
    }
}

fn rest(text: &mut Collector, members: &[Member<'_>], target: Target) {
    for (key, value) in present(members) {
        text.passage();
        match key {
            "encrypted_content" => sealed(text, target, value),
            "text" => tool::format(text, value),
            "reasoning" => setting(text, value),
            _ => text.strings(target, value, &|_, _| false),
        }
    }
}

/// What only the upstream can read, unless it does not look so.
fn sealed(text: &mut Collector, target: Target, value: &Node<'_>) {
    if !value.string().is_some_and(|value| is_sealed(&value)) {
        text.strings(target, value, &|_, _| false);
    }
}

/// A text, or the parts that it is made of.
fn content(text: &mut Collector, target: Target, content: &Node<'_>, direction: Direction) -> Result<(), Malformed> {
    let Some(parts) = content.array() else {
        return text
            .string(target, "content", content)
            .map_err(|_| Malformed::new("`content` must be a string or an array of parts"));
    };
    for node in parts {
        part(text, target, &node, direction)?;
    }
    Ok(())
}

/// A content part. One of an unknown type may hold what no text guard can judge: in a request it is refused.
pub(super) fn part(text: &mut Collector, target: Target, part: &Node<'_>, direction: Direction) -> Result<(), Malformed> {
    let members = part.known("content part", PART)?;
    let own = match word(&members, "type").as_deref() {
        Some("refusal") => Some("refusal"),
        Some(kind) if TEXTS.contains(&kind) => Some("text"),
        Some(kind) if is_media(kind) => {
            text.unscorable.push(kind.to_owned());
            None
        }
        Some(kind) if direction == Direction::Request => {
            return Err(Malformed::new(format!("content parts of type `{kind}` are not supported")));
        }
        None if direction == Direction::Request => return Err(Malformed::new("a content part has no `type`")),
        Some(_) | None => {
            text.strings(target, part, &|_, _| false);
            return Ok(());
        }
    };
    for (key, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "type" => {}
            key if Some(key) == own => text.string(target, key, value)?,
            key if own.is_none() && PAYLOAD.contains(&key) => {}
            // Token lists spell the text once more.
            "logprobs" => text.echoes.extend(Some(Place(value.range())).filter(|_| value.raw() != "[]")),
            "annotations" => text.strings(target, value, &annotation_word),
            "prompt_cache_breakpoint" => text.strings(target, value, &|key, _| matches!(key, "mode" | "ttl")),
            key => {
                text.name(target, key);
                text.strings(target, value, &|_, _| false);
            }
        }
    }
    Ok(())
}

fn is_media(kind: &str) -> bool {
    UNSCORABLE.contains(&kind) || MEDIA.contains(&kind)
}

/// Words of an annotation that are only form.
pub(super) fn annotation_word(key: &str, value: &str) -> bool {
    is_form(key, value, ANNOTATION, CITATIONS)
}

/// Words of a call that are only form.
fn call_word(key: &str, value: &str) -> bool {
    is_form(key, value, CALL, ACTIONS)
}

/// Words of a tool's answer that are only form.
pub(super) fn answer_word(key: &str, value: &str) -> bool {
    is_form(key, value, ANSWERED, ANSWERS)
}

/// Whether a key (`value` empty) is one of `keys`, or a value under `type` one of `types`.
fn is_form(key: &str, value: &str, keys: &[&str], types: &[&str]) -> bool {
    if value.is_empty() { keys.contains(&key) } else { key == "type" && types.contains(&value) }
}
