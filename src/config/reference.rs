//! The settings told to people and editors: a reference in Markdown and a JSON Schema, both made of the types.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;

/// The JSON Schema of settings' files.
#[must_use]
pub fn schema() -> Value {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<Config>().to_value()
}

/// The reference in Markdown: every section and setting, with its type, default and meaning.
#[must_use]
pub fn reference() -> String {
    let root = schema();
    let mut page = Page { root: &root, text: HEAD.to_owned() };
    page.section("", &root, &mut Vec::new());
    page.text
}

const HEAD: &str = "# Settings

Made of the types by `seawall config reference`. Defaults, then `seawall.toml` here (or `--config FILE`), then the environment,
then flags. The environment has every setting as `SEAWALL_SECTION__KEY`: `SEAWALL_LISTEN__ADDRESS`, `SEAWALL_GUARD__QUEUE_MS`.
A setting's unit stands at the end of its name. `seawall config check` tells mistakes with their place, `seawall config show`
what is in force; `seawall config schema` is for editors.
";

struct Page<'r> {
    root: &'r Value,
    text: String,
}

/// What a setting holds.
enum Holds<'r> {
    /// A section of its own.
    Section(&'r Value),
    /// Sections of its own, each with a name.
    Named(&'r Value),
    /// A list of sections.
    List(&'r Value),
    /// A value, and what may stand there.
    Value(String),
}

impl<'r> Page<'r> {
    /// A section's settings in a table, and then the sections in it. `way` leads to it.
    fn section(&mut self, name: &str, section: &'r Value, way: &mut Vec<&'r Value>) {
        way.push(section);
        let (mut rows, mut inner) = (String::new(), Vec::new());
        for (key, property) in members(section) {
            let is_default = |it: &&Value| !it.is_null() && it.as_str() != Some("");
            let default = property.get("default").filter(is_default).map(|it| format!("`{it}`")).unwrap_or_default();
            let full = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let told = about(property);
            match self.holds(property) {
                Holds::Value(kind) => {
                    let told = [told, self.choices(property)].concat();
                    let told = told.replace('|', "\\|");
                    writeln!(rows, "| `{key}` | {kind} | {default} | {told} |").ok();
                }
                Holds::Section(it) => inner.push((full.clone(), format!("[{full}]"), it, told)),
                Holds::Named(it) => inner.push((format!("{full}.NAME"), format!("[{full}.NAME]"), it, told)),
                Holds::List(it) => inner.push((full.clone(), format!("[[{full}]]"), it, told)),
            }
        }
        if !rows.is_empty() {
            write!(self.text, "\n| setting | type | default | |\n|---|---|---|---|\n{rows}").ok();
        }
        for (full, heading, it, told) in inner {
            let level = "#".repeat(if name.is_empty() { 2 } else { 3 });
            write!(self.text, "\n{level} `{heading}`\n\n{told}\n").ok();
            let same = way.iter().find(|above| std::ptr::eq(**above, it));
            if same.is_some() {
                writeln!(self.text, "\nThe same settings as in the section around it.").ok();
            } else {
                self.section(&full, it, way);
            }
        }
        way.pop();
    }

    fn holds(&self, property: &'r Value) -> Holds<'r> {
        let property = self.resolved(property);
        if property.get("properties").is_some() {
            return Holds::Section(property);
        }
        let element = |key: &str| property.get(key).map(|it| self.resolved(it)).filter(|it| it.is_object());
        match (element("items"), element("additionalProperties")) {
            (Some(item), _) if item.get("properties").is_some() => Holds::List(item),
            (Some(item), _) => Holds::Value(format!("list of {}", kind(item))),
            (_, Some(entry)) if entry.get("properties").is_some() => Holds::Named(entry),
            (_, Some(entry)) => Holds::Value(format!("table of {}", kind(entry))),
            _ => Holds::Value(kind(property)),
        }
    }

    /// What may stand where only some words may.
    fn choices(&self, property: &'r Value) -> String {
        let choices = self.resolved(property).get("oneOf").and_then(Value::as_array);
        let told = |choice: &Value| Some(format!(" `{}`: {}", choice.get("const")?, about(choice)));
        choices.into_iter().flatten().filter_map(told).collect()
    }

    /// The schema behind references, and of what may be left out.
    fn resolved(&self, schema: &'r Value) -> &'r Value {
        let alone = |key: &str| schema.get(key).and_then(Value::as_array).and_then(|parts| parts.first());
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let pointer = reference.trim_start_matches('#');
            return self.root.pointer(pointer).map_or(schema, |it| self.resolved(it));
        }
        alone("allOf").or_else(|| alone("anyOf")).map_or(schema, |it| self.resolved(it))
    }
}

fn members(section: &Value) -> impl Iterator<Item = (&String, &Value)> {
    section.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The doc comment, in one line.
fn about(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn kind(schema: &Value) -> String {
    if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
        return "one of".to_owned();
    }
    let name = match schema.get("type") {
        Some(Value::Array(names)) => names.iter().find(|name| *name != "null"),
        other => other,
    };
    match name.and_then(Value::as_str) {
        Some("string") => "text",
        Some("boolean") => "`true` or `false`",
        Some("integer") => "whole number",
        Some("number") => "number",
        Some("array") => "list",
        _ => "table",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_have_the_reference_of_these_types() {
        let kept = include_str!("../../deploy/docs/configuration.md");
        let why = "deploy/docs/configuration.md is stale: run `seawall config reference > deploy/docs/configuration.md`";
        assert!(kept == reference(), "{why}");
    }

    #[test]
    fn every_section_and_choice_is_told() {
        let told = reference();
        for part in ["## `[listen]`", "### `[listen.tls]`", "## `[upstreams.NAME]`", "## `[[routes]]`", "### `[guard.cascade]`"]
        {
            assert!(told.contains(&format!("\n{part}\n")), "{part}");
        }
        for row in [
            "| `header_timeout_ms` | whole number | `10000` | Time for a request's head to arrive.",
            "| `mode` | one of | `\"hold\"` | When text leaves. `\"hold\"`: No character",
            "| `set_headers` | table of text | `{}` |",
        ] {
            assert!(told.contains(row), "{row}");
        }
        let undocumented = told.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |"));
        assert_eq!(undocumented.collect::<Vec<_>>(), [""; 0]);
    }
}
