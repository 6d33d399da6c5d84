//! Tools and schemas: what the model is told of them, and what only the upstream is told.

use super::item::word;
use crate::{
    dialect::{schema, text::Collector},
    segment::Target,
    wire::json::Node,
};

/// Tools that the upstream has itself: their fields are known, and none is a schema of the client's.
const HOSTED: &[&str] = &[
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "file_search",
    "mcp",
    "code_interpreter",
    "image_generation",
    "shell",
];
/// Their settings, and credentials, which a detector of secrets must not mask: the model is told none of these.
const SETTINGS: &[&str] = &[
    "type",
    "authorization",
    "headers",
    "server_url",
    "connector_id",
    "tunnel_id",
    "require_approval",
    "allowed_callers",
    "defer_loading",
    "vector_store_ids",
    "max_num_results",
    "ranking_options",
    "search_context_size",
    "search_content_types",
    "external_web_access",
    "action",
    "background",
    "input_fidelity",
    "model",
    "moderation",
    "output_format",
    "output_compression",
    "partial_images",
    "quality",
    "size",
];
/// Types of other tools, and of what tools hold.
const TYPES: &[&str] = &[
    "namespace",
    "computer",
    "computer_use_preview",
    "local_shell",
    "apply_patch",
    "tool_search",
    "programmatic_tool_calling",
    "grammar",
    "approximate",
];
/// Keys of tools, beside those of all APIs.
const KEYS: &[&str] = &[
    "tools",
    "output_schema",
    "defer_loading",
    "allowed_callers",
    "execution",
    "environment",
    "display_width",
    "display_height",
    "city",
    "country",
    "region",
    "timezone",
    "allowed_domains",
    "tool_names",
    "read_only",
    "filters",
    "value",
    "annotations",
];

/// Reads a list of tools, each a passage.
pub(super) fn read(text: &mut Collector, tools: &Node<'_>) {
    for tool in tools.array().unwrap_or_else(|| vec![*tools]) {
        text.passage();
        let members = tool.object().unwrap_or_default();
        if !word(&members, "type").is_some_and(|kind| HOSTED.contains(&kind.as_ref())) {
            text.strings(Target::ToolDefinition, &tool, &tool_word);
            continue;
        }
        for (key, value) in &members {
            match key.as_ref() {
                key if SETTINGS.contains(&key) => {}
                "container" | "environment" => environment(text, value),
                "input_image_mask" if !value.is_null() => text.unscorable.push("input_image_mask".to_owned()),
                key => {
                    text.name(Target::ToolDefinition, key);
                    text.strings(Target::ToolDefinition, value, &tool_word);
                }
            }
        }
    }
}

/// The form that an answer's text is to have.
pub(super) fn format(text: &mut Collector, format: &Node<'_>) {
    text.passage();
    text.strings(Target::ToolDefinition, format, &|key, value| {
        schema::word(key, value) || (key == "verbosity" && matches!(value, "" | "low" | "medium" | "high"))
    });
}

/// Where a tool runs: of this the model is told the skills.
fn environment(text: &mut Collector, environment: &Node<'_>) {
    for (key, value) in environment.object().unwrap_or_default() {
        match key.as_ref() {
            "type" | "container_id" | "file_ids" | "memory_limit" | "network_policy" => {}
            "skills" => {
                for skill in value.array().unwrap_or_else(|| vec![value]) {
                    self::skill(text, &skill);
                }
            }
            _ => text.strings(Target::ToolDefinition, &value, &tool_word),
        }
    }
}

/// A skill: a folder of instructions, as an archive or by its id.
fn skill(text: &mut Collector, skill: &Node<'_>) {
    for (key, value) in skill.object().unwrap_or_default() {
        match key.as_ref() {
            "type" | "version" => {}
            "source" | "skill_id" => text.unscorable.push("skill".to_owned()),
            _ => text.strings(Target::ToolDefinition, &value, &tool_word),
        }
    }
}

/// Words of a tool that are only form.
fn tool_word(key: &str, value: &str) -> bool {
    let known = match key {
        "type" => HOSTED.contains(&value) || TYPES.contains(&value),
        "allowed_callers" => matches!(value, "direct" | "programmatic"),
        "execution" => matches!(value, "server" | "client"),
        "syntax" => matches!(value, "lark" | "regex"),
        "environment" => matches!(value, "windows" | "mac" | "linux" | "ubuntu" | "browser"),
        _ => false,
    };
    known || schema::word(key, value) || (value.is_empty() && KEYS.contains(&key))
}
