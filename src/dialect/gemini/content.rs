//! Contents and their parts, in requests and answers alike.

use super::fields::{camel, fields, items, setting};
use crate::{
    dialect::text::{Collector, base64},
    segment::Target,
    wire::json::{Malformed, Members, Node},
};

pub(super) const CONTENT: &[&str] = &["role", "parts"];
/// Fields of a part that carry what it says; without one of them its kind is not known.
const DATA: &[&str] = &[
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
    "audioTranscription",
];
/// Fields of a part that tell about it.
const ABOUT: &[&str] = &[
    "thought",
    "thoughtSignature",
    "videoMetadata",
    "audioMetadata",
    "documentMetadata",
    "spreadsheetMetadata",
    "speechMetadata",
    "partMetadata",
    "mediaResolution",
    "mediaProcessing",
];
pub(super) const CALL: &[&str] = &["id", "name", "args", "partialArgs", "willContinue", "toolType"];
pub(super) const PARTIAL: &[&str] = &["jsonPath", "stringValue", "numberValue", "boolValue", "nullValue", "willContinue"];
const RESULT: &[&str] = &["id", "name", "response", "parts", "willContinue", "scheduling", "toolType"];
const CODE: &[&str] = &["id", "language", "code"];
const OUTPUT: &[&str] = &["id", "outcome", "output"];
const BLOB: &[&str] = &["mimeType", "data", "fileUri", "displayName"];

/// Where a content stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// In a request's conversation.
    Turn,
    /// In a request's system instruction.
    Instruction,
    /// In an answer.
    Answer,
}

/// What the texts of a part are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Targets {
    /// Its own text.
    text: Target,
    /// What a tool answered: in an answer it is shown to the user like the rest.
    result: Target,
}

impl Targets {
    pub(super) const ANSWER: Self = Self { text: Target::Completion, result: Target::Completion };

    fn of(stands: Stands, content: &Members<'_>) -> Result<Self, Malformed> {
        let text = match stands {
            Stands::Answer => return Ok(Self::ANSWER),
            Stands::Instruction => Target::System,
            Stands::Turn => turn(content)?,
        };
        Ok(Self { text, result: Target::ToolResult })
    }
}

fn turn(content: &Members<'_>) -> Result<Target, Malformed> {
    let Some((_, role)) = content.iter().find(|(key, _)| key == "role") else { return Ok(Target::Prompt) };
    let role = role.string().ok_or_else(|| Malformed::new("`role` must be a string"))?;
    match role.as_ref() {
        "user" | "" => Ok(Target::Prompt),
        "model" => Ok(Target::Completion),
        "function" | "tool" => Ok(Target::ToolResult),
        "system" => Ok(Target::System),
        other => Err(Malformed::new(format!("`{other}` is not a role this proxy knows"))),
    }
}

/// The text of a content. Its texts are read as one and so are its thoughts; all else is read by itself.
pub(super) fn read(text: &mut Collector, content: &Node<'_>, stands: Stands) -> Result<(), Malformed> {
    let members = fields(content, "content", CONTENT)?;
    let targets = Targets::of(stands, &members)?;
    let lists = members.iter().filter(|(key, _)| key == "parts");
    let parts = lists.flat_map(|(_, value)| items(value)).map(|node| part(&node)).collect::<Result<Vec<_>, _>>()?;
    for thoughts in [false, true] {
        text.passage();
        for part in parts.iter().filter(|part| thoughts == (targets.text == Target::Completion && is_thought(part))) {
            for (key, value) in part.iter().filter(|(key, _)| key == "text") {
                text.string(targets.text, key, value)?;
            }
        }
    }
    for (key, value) in parts.iter().flatten().filter(|(key, _)| key != "text") {
        text.passage();
        member(text, key, value, targets)?;
    }
    for (key, value) in members.iter().filter(|(key, _)| key != "parts") {
        text.passage();
        match key.as_ref() {
            "role" => setting(text, targets.text, value),
            _ => {
                text.name(targets.text, key);
                text.strings(targets.text, value, &|_, _| false);
            }
        }
    }
    Ok(())
}

/// A part's members.
///
/// # Errors
/// A part of a kind that is not known: what it carries may be no text.
pub(super) fn part<'a>(node: &Node<'a>) -> Result<Members<'a>, Malformed> {
    let members = fields(node, "part", &[DATA, ABOUT].concat())?;
    let unknown = members.iter().find(|(key, _)| !is_of_part(key));
    if let Some((key, _)) = unknown
        && !members.iter().any(|(key, _)| DATA.contains(&key.as_ref()))
    {
        return Err(Malformed::new(format!("parts with `{key}` are not supported")));
    }
    Ok(members)
}

/// Whether a field of a part is known.
pub(super) fn is_of_part(key: &str) -> bool {
    DATA.contains(&key) || ABOUT.contains(&key)
}

pub(super) fn is_thought(part: &Members<'_>) -> bool {
    part.iter().any(|(key, value)| key == "thought" && value.bool() == Some(true))
}

/// A member of a part, other than its text.
pub(super) fn member(text: &mut Collector, key: &str, value: &Node<'_>, targets: Targets) -> Result<(), Malformed> {
    let (known, target) = match key {
        "inlineData" | "fileData" => {
            match text_file(value)?.filter(|_| key == "inlineData") {
                Some(file) => text.push(targets.text, file, None),
                None => text.unscorable.push(key.to_owned()),
            }
            (BLOB, targets.text)
        }
        "functionCall" | "toolCall" => (CALL, Target::ToolCall),
        "executableCode" => (CODE, Target::ToolCall),
        "functionResponse" | "toolResponse" => (RESULT, targets.result),
        "codeExecutionResult" => (OUTPUT, targets.result),
        "thought" | "thoughtSignature" | "videoMetadata" | "audioMetadata" | "documentMetadata" | "mediaResolution"
        | "mediaProcessing" => {
            setting(text, targets.text, value);
            return Ok(());
        }
        _ => {
            text.name(targets.text, key);
            text.strings(targets.text, value, &|_, _| false);
            return Ok(());
        }
    };
    for (name, value) in fields(value, key, known)? {
        text.name(target, &name);
        let name = if known.contains(&name.as_ref()) { name.as_ref() } else { "" };
        field(text, name, &value, target)?;
    }
    Ok(())
}

/// What a file says whose type is text: in UTF-8, as others would be read otherwise by the model. One that also stands
/// elsewhere may say something else there.
fn text_file(blob: &Node<'_>) -> Result<Option<String>, Malformed> {
    let members = fields(blob, "inlineData", BLOB)?;
    if members.iter().any(|(key, _)| key == "fileUri") {
        return Ok(None);
    }
    let word = |name: &str| members.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.string());
    let kind = word("mimeType").unwrap_or_default().to_ascii_lowercase();
    let (kind, parameter) = kind.split_once(';').unwrap_or((&kind, ""));
    let is_text = kind.starts_with("text/") && matches!(parameter.trim(), "" | "charset=utf-8");
    let bytes = word("data").filter(|_| is_text).and_then(|data| base64(&data));
    // UTF-16 of plain letters is UTF-8 too, but for its zeros.
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.contains('\0')))
}

/// A field of what a part carries: a call, a result, code, its output, or bytes. The name is empty for one that is not known.
pub(super) fn field(text: &mut Collector, name: &str, value: &Node<'_>, target: Target) -> Result<(), Malformed> {
    match name {
        // Bytes in base64: judged as the text that they are, or by no text guard.
        "data" if value.string().is_some() => {}
        "id" | "willContinue" | "scheduling" | "toolType" | "language" | "outcome" | "mimeType" | "data" | "fileUri" => {
            setting(text, target, value);
        }
        "name" | "code" | "output" | "displayName" => text.string(target, name, value)?,
        "args" => {
            // An argument named `type` says nothing of what the call holds.
            let known = text.unscorable.len();
            text.strings(target, value, &|_, _| false);
            text.unscorable.truncate(known);
        }
        "partialArgs" => {
            text.strings(target, value, &|key, value| value.is_empty() && PARTIAL.contains(&camel(key).as_ref()));
        }
        "parts" => {
            for node in items(value) {
                for (key, value) in part(&node)? {
                    member(text, &key, &value, Targets { text: target, result: target })?;
                }
            }
        }
        _ => text.strings(target, value, &|_, _| false),
    }
    Ok(())
}
