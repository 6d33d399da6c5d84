//! Takes the text out of the API's values as the tables of `fields` tell what each field is.

use std::borrow::Cow;

use super::fields::{self, BYTES_SOURCE, Field, Kind, MESSAGE, RESULT, SKILL, TEXT_SOURCE, Voice};
use crate::{
    dialect::{
        schema, strict,
        text::{Collector, error_word, is_id, is_sealed},
    },
    segment::Target,
    wire::json::{Malformed, Node},
};

/// Reads one body.
#[derive(Debug, Default)]
pub(super) struct Reader<'a> {
    text: Collector,
    /// What stands alone, for passages after the one that is being read.
    apart: Vec<(Target, &'static str, Node<'a>, Kind)>,
    /// The body is an answer: what is not known is the user's to see, and no reason to refuse.
    answer: bool,
}

impl<'a> Reader<'a> {
    /// A reader of requests.
    pub(super) fn request() -> Self {
        Self::default()
    }

    /// A reader of answers.
    pub(super) fn answer() -> Self {
        Self { answer: true, ..Self::default() }
    }

    /// What was read.
    pub(super) fn finish(self) -> Collector {
        self.text
    }

    /// A message of a request: its own words are one passage, its calls, results and thoughts are others.
    ///
    /// # Errors
    /// A role or a type of block that is not known, or a field of the wrong type.
    pub(super) fn message(&mut self, message: Node<'a>) -> Result<(), Malformed> {
        let members = message.known("message", &fields::keys(MESSAGE))?;
        let target = strict::role(&members, |role| match role {
            "user" => Some(Target::Prompt),
            "assistant" => Some(Target::Completion),
            "system" => Some(Target::System),
            _ => None,
        })?;
        self.alone(target, "message", message, Kind::Object(MESSAGE))
    }

    /// A value that begins a passage.
    ///
    /// # Errors
    /// As [`Reader::message`].
    pub(super) fn alone(&mut self, target: Target, what: &str, node: Node<'a>, kind: Kind) -> Result<(), Malformed> {
        self.text.passage();
        self.read(target, what, node, kind)?;
        while !self.apart.is_empty() {
            for (target, what, node, kind) in std::mem::take(&mut self.apart) {
                self.text.passage();
                self.read(target, what, node, kind)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, target: Target, what: &str, node: Node<'a>, kind: Kind) -> Result<(), Malformed> {
        let nested = node.raw().starts_with(['{', '[']);
        match kind {
            _ if node.is_null() => {}
            Kind::Unread if !nested => {}
            // The kind of a block is told to nobody; its name can be long.
            Kind::Word if what == "type" && node.string().is_some_and(|name| is_name(&name)) => {}
            Kind::Word => self.words(target, node),
            Kind::Words => self.text.strings(target, &node, &|key, value| is_id(if value.is_empty() { key } else { value })),
            Kind::Sealed if node.string().is_some_and(|text| is_sealed(&text)) => {}
            Kind::Text => self.text.string(target, what, &node)?,
            Kind::Any | Kind::Unread | Kind::Sealed => self.text.strings(target, &node, &|_, _| false),
            Kind::Schema => self.text.strings(target, &node, &schema::word),
            Kind::Error => self.text.strings(target, &node, &error_form),
            Kind::Blocks => self.blocks(target, what, node)?,
            Kind::Result => self.result(target, node)?,
            Kind::Source => self.source(target, node)?,
            Kind::Skills => self.skills(target, node)?,
            Kind::Object(fields) => match node.array() {
                Some(items) => items.into_iter().try_for_each(|item| self.object(target, what, item, fields))?,
                None => self.object(target, what, node, fields)?,
            },
            Kind::Apart(fields) => self.apart.push((target, "citations", node, Kind::Object(fields))),
            Kind::Either(fields) => match (node.string(), fields.first()) {
                (Some(_), Some((name, kind))) => self.read(target, name, node, *kind)?,
                _ => self.read(target, what, node, Kind::Object(fields))?,
            },
        }
        Ok(())
    }

    fn object(&mut self, target: Target, what: &str, node: Node<'a>, table: &[Field]) -> Result<(), Malformed> {
        for (key, value) in node.known(what, &fields::keys(table))? {
            match fields::kind(table, &key) {
                Some(kind) => self.read(target, &key, value, kind)?,
                // The many strings of a tool's definition say something only together.
                None if target == Target::ToolDefinition => self.text.strings(target, &value, &|_, _| false),
                None => {
                    self.text.name(target, &key);
                    self.apart.push((self.unknown(), "field", value, Kind::Any));
                }
            }
        }
        Ok(())
    }

    fn blocks(&mut self, target: Target, what: &str, node: Node<'a>) -> Result<(), Malformed> {
        match node.array() {
            Some(blocks) => blocks.into_iter().try_for_each(|block| self.block(target, block)),
            None => self
                .text
                .string(target, what, &node)
                .map_err(|_| Malformed::new(format!("`{what}` must be a string or an array of blocks"))),
        }
    }

    fn block(&mut self, target: Target, block: Node<'a>) -> Result<(), Malformed> {
        let name = type_of(&block);
        let Some(shape) = name.as_deref().and_then(fields::shape) else {
            if self.answer {
                self.apart.push((self.unknown(), "block", block, Kind::Any));
                return Ok(());
            }
            return Err(Malformed::new(name.map_or_else(
                || "a content block has no `type`".to_owned(),
                |name| format!("content blocks of type `{name}` are not supported"),
            )));
        };
        // Servers that take it there all the same would read it as words of the assistant's, or of nobody's.
        if shape.name == "tool_result" && target == Target::Completion && !self.answer {
            return Err(Malformed::new("a `tool_result` must stand in a message with the `role` `user`"));
        }
        let target = match shape.voice {
            Voice::Own => return self.object(target, shape.name, block, shape.fields),
            Voice::File => {
                self.text.unscorable.push(shape.name.to_owned());
                return self.object(target, shape.name, block, shape.fields);
            }
            Voice::Thought => target,
            Voice::Call => Target::ToolCall,
            // In an answer it is the user who reads it.
            Voice::Result if self.answer => Target::Completion,
            Voice::Result => Target::ToolResult,
            Voice::Definition => Target::ToolDefinition,
        };
        self.apart.push((target, shape.name, block, Kind::Object(shape.fields)));
        Ok(())
    }

    fn result(&mut self, target: Target, node: Node<'a>) -> Result<(), Malformed> {
        if let Some(items) = node.array() {
            return items.into_iter().try_for_each(|item| self.result(target, item));
        }
        if type_of(&node).is_some_and(|name| fields::shape(&name).is_some()) {
            return self.block(target, node);
        }
        if node.raw().starts_with('{') {
            return self.object(target, "tool result", node, RESULT);
        }
        self.text.strings(target, &node, &|_, _| false);
        Ok(())
    }

    fn source(&mut self, target: Target, node: Node<'a>) -> Result<(), Malformed> {
        match type_of(&node).as_deref() {
            Some("text" | "content") => self.object(target, "source", node, TEXT_SOURCE),
            Some("base64" | "url" | "file") => {
                self.text.unscorable.push("document".to_owned());
                self.object(target, "source", node, BYTES_SOURCE)
            }
            _ if self.answer => {
                self.text.strings(target, &node, &|_, _| false);
                Ok(())
            }
            Some(other) => Err(Malformed::new(format!("documents from a `source` of type `{other}` are not supported"))),
            None => Err(Malformed::new("the `source` of a document has no `type`")),
        }
    }

    fn skills(&mut self, target: Target, node: Node<'a>) -> Result<(), Malformed> {
        for skill in node.array().unwrap_or_else(|| vec![node]) {
            if type_of(&skill).as_deref() != Some("anthropic") {
                self.text.unscorable.push("skill".to_owned());
            }
            self.object(target, "skill", skill, SKILL)?;
        }
        Ok(())
    }

    /// A word or a list of them.
    fn words(&mut self, target: Target, node: Node<'a>) {
        if let Some(items) = node.array() {
            items.into_iter().for_each(|item| self.words(target, item));
        } else if !node.string().is_some_and(|text| is_id(&text)) {
            self.text.strings(target, &node, &|_, _| false);
        }
    }

    /// What the text of fields that are not known is.
    fn unknown(&self) -> Target {
        if self.answer { Target::Completion } else { Target::System }
    }
}

/// Whether a string is a name as the API gives them.
fn is_name(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The `type` of an object.
pub(super) fn type_of<'a>(node: &Node<'a>) -> Option<Cow<'a, str>> {
    node.object()?.into_iter().find(|(key, _)| key == "type").and_then(|(_, value)| value.string())
}

/// An error's codes.
fn error_form(key: &str, value: &str) -> bool {
    let form = match key {
        "details" => value.is_empty(),
        "error_code" => value.is_empty() || is_id(value),
        _ => false,
    };
    form || error_word(key, value)
}
