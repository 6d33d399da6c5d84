//! The words that all rooms share: pieces of text, where they came from, and what was learned about them.
//!
//! A leaf: it knows no other room, so that policy and gate need no dialect and the guard needs no HTTP.

use std::{ops::Range, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which way the text travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client to the model.
    Request,
    /// From the model to the client.
    Response,
}

impl Direction {
    /// Its name, as in policy files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// What a piece of text is to the model; rules name these in `where`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Words of the user.
    Prompt,
    /// System and developer instructions, and any text of a request that has no better name.
    System,
    /// Names, descriptions and schemas of the tools that the model may call.
    ToolDefinition,
    /// The name and arguments of a call that the model made.
    ToolCall,
    /// What a tool answered.
    ToolResult,
    /// Words of the assistant: content, reasoning and refusals, also those that a request carries as history.
    Completion,
}

impl Target {
    /// Its name, as in policy files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::System => "system",
            Self::ToolDefinition => "tool_definition",
            Self::ToolCall => "tool_call",
            Self::ToolResult => "tool_result",
            Self::Completion => "completion",
        }
    }

    /// The guard's task for this text: words of the assistant are judged as answers, all others as prompts.
    #[must_use]
    pub fn task(self) -> Task {
        match self {
            Self::Completion => Task::Response,
            Self::Prompt | Self::System | Self::ToolDefinition | Self::ToolCall | Self::ToolResult => Task::Prompt,
        }
    }
}

/// What a guard is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Is this text, sent to a model, unsafe?
    Prompt,
    /// Is this answer of a model, given the prompt, unsafe?
    Response,
}

/// A string literal in a JSON body: the bytes from its opening to its closing quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub Range<usize>);

/// A piece of text taken out of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What it is to the model.
    pub target: Target,
    /// Number of the passage it belongs to: the parts of one message share a number and are also read as one text.
    pub passage: usize,
    /// The text, with the body's escapes undone.
    pub text: String,
    /// Where it stands; `None` for what can be scored but not edited (an object's key, a text in base64).
    pub place: Option<Place>,
}

/// The text of a body, and what else it holds for the model or the user.
#[derive(Debug, Default)]
pub struct Content {
    /// All text.
    pub segments: Vec<Segment>,
    /// Parts that no text guard can judge, such as `image_url`.
    pub unscorable: Vec<String>,
    /// Values that repeat the text in another form (token lists) and are blanked when the text is edited.
    pub echoes: Vec<Place>,
}

/// The user's last turn, as the scanner reads it when it comes back as history.
#[must_use]
pub fn last_prompt(segments: &[Segment]) -> Option<String> {
    let last = segments.iter().rev().find(|segment| segment.target == Target::Prompt)?.passage;
    let parts = segments.iter().filter(|segment| segment.passage == last);
    Some(parts.map(|segment| segment.text.as_str()).collect::<Vec<_>>().join("\n"))
}

/// A span of text that a detector recognised; the range is in bytes of the text as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The detector's name, such as `payment_card` or `national_id.sg`; of an operator's own, `policy/detector`.
    pub detector: Arc<str>,
    /// The bytes of the text that it covers.
    pub range: Range<usize>,
}

/// A guard's judgement of one text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// P(unsafe), 0 to 1: the worst over the text's forms and windows.
    pub value: f32,
    /// The guard's own threshold for this task and language: unsafe at or above it.
    pub threshold: f32,
}

/// A change to a text: these bytes become that string, or what is yet to be made a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit<W = String> {
    /// Bytes of the text as written.
    pub range: Range<usize>,
    /// What stands there instead.
    pub with: W,
}

/// One of the independent texts that a stream carries at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel {
    /// Index of the choice (`n` > 1 makes several).
    pub choice: u64,
    /// Which text of that choice.
    pub part: Part,
}

/// The texts that one choice of a stream can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The answer itself.
    Content,
    /// Thinking that the model shows.
    Reasoning,
    /// A refusal in the API's own field.
    Refusal,
    /// A tool call, by its index: name, then arguments.
    ToolCall(u64),
    /// Text in a field that the dialect does not know, by a number for the field.
    Other(u64),
}

impl Part {
    /// What this text is to a policy.
    #[must_use]
    pub fn target(self) -> Target {
        match self {
            Self::ToolCall(_) => Target::ToolCall,
            Self::Content | Self::Reasoning | Self::Refusal | Self::Other(_) => Target::Completion,
        }
    }
}

/// A piece of a stream's text, as one event brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The text it continues.
    pub channel: Channel,
    /// The characters it adds.
    pub text: String,
    /// Where they stand in the event's data; `None` for an object's key.
    pub place: Option<Place>,
}

/// A check of a stream that is due: text to be judged, and where it stands in its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The channel.
    pub channel: Channel,
    /// The text for detectors: the unjudged part, and enough before it to tell where their findings begin.
    pub text: String,
    /// Where the text begins in the channel, in bytes.
    pub from: usize,
    /// Bytes of the text whose findings an earlier check found to be final.
    pub settled: usize,
    /// The channel's text is JSON, as its beginning has it.
    pub json: bool,
    /// The text for the guard: the unjudged part and a little before it, or all of the channel so far.
    pub judged: String,
    /// No more text follows in this channel.
    pub last: bool,
}

/// Whether a text is an object or a list in JSON, as far as its beginning tells: so it is the same of a text that grows.
#[must_use]
pub fn begins_json(text: &str) -> bool {
    let mut marks = text.chars().filter(|c| !c.is_whitespace());
    matches!((marks.next(), marks.next()), (Some('{'), Some('"' | '}')) | (Some('['), Some('"' | '{')))
}

/// Sorts edits and makes them one where they overlap: what begins first, or else was given first, says what stands there.
pub fn merge<W>(edits: &mut Vec<Edit<W>>) {
    edits.sort_by_key(|edit| edit.range.start);
    edits.dedup_by(|next, kept| {
        let overlap = next.range.start < kept.range.end || next.range == kept.range;
        if overlap {
            kept.range.end = kept.range.end.max(next.range.end);
        }
        overlap
    });
}

/// Adds to edits, which are in order and apart, those others that change none of the same bytes.
pub fn fill(edits: &mut Vec<Edit>, mut others: Vec<Edit>) {
    others.retain(|other| {
        let next = edits.partition_point(|own| own.range.end <= other.range.start);
        edits.get(next).is_none_or(|own| own.range.start >= other.range.end)
    });
    edits.append(&mut others);
    edits.sort_by_key(|edit| edit.range.start);
}

/// `text` with `edits` made; edits must be sorted and apart, and any that does not fit the text is left out.
#[must_use]
pub fn apply(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        if let Some(before) = text.get(done..edit.range.start) {
            out.push_str(before);
            out.push_str(&edit.with);
            done = edit.range.end;
        }
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_beginning() {
        assert!(["{\"a\": 1", " {\n \"a", "{}", "[{", "[ \"a\""].into_iter().all(begins_json));
        assert!(!["", "{", "[1] says", "[text](http://a.co)", "{name}", "a {\"b\"", "\"a\""].into_iter().any(begins_json));
    }

    #[test]
    fn edits_land_on_their_bytes() {
        let edits = [Edit { range: 0..1, with: "X".into() }, Edit { range: 2..5, with: String::new() }];
        assert_eq!(apply("abcdef", &edits), "Xbf");
        let edit = |range: Range<usize>, with: &str| Edit { range, with: with.into() };
        let mut edits = vec![edit(7..9, "d"), edit(4..7, "c"), edit(2..5, "a"), edit(2..6, "b"), edit(9..9, "e")];
        merge(&mut edits);
        assert_eq!(edits, [edit(2..7, "a"), edit(7..9, "d"), edit(9..9, "e")]);
        fill(&mut edits, vec![edit(0..2, "f"), edit(6..8, "g"), edit(8..9, "h"), edit(10..12, "i")]);
        assert_eq!(edits, [edit(0..2, "f"), edit(2..7, "a"), edit(7..9, "d"), edit(9..9, "e"), edit(10..12, "i")]);
        assert_eq!(apply("añb", &[Edit { range: 1..3, with: "n".into() }]), "anb");
    }
}
