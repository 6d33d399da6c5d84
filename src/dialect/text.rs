//! Taking text out of JSON values, and putting edited text back: what all JSON dialects share.

pub(super) use super::code::{base64, is_id, is_sealed};
use crate::{
    segment::{Content, Edit, Place, Segment, Target, apply, begins_json},
    wire::json::{Malformed, Node, Patch, quote},
};

/// Types of content parts that no text guard can judge, wherever they stand.
pub(super) const UNSCORABLE: &[&str] = &[
    "image_url",
    "input_image",
    "output_image",
    "image",
    "input_audio",
    "output_audio",
    "audio",
    "video_url",
    "input_file",
    "file",
];

/// Digits of the shortest numbers that detectors look for.
const LONG_NUMBER: usize = 9;

/// The words of an error object, in any of the APIs, that are names and codes; only its message is text.
pub(super) fn error_word(key: &str, value: &str) -> bool {
    matches!(key, "type" | "code" | "param" | "status") || (value.is_empty() && matches!(key, "error" | "message"))
}

/// Collects the text of one body, passage by passage.
#[derive(Debug, Default)]
pub(super) struct Collector {
    pub(super) segments: Vec<Segment>,
    pub(super) unscorable: Vec<String>,
    pub(super) echoes: Vec<Place>,
    passage: usize,
}

impl From<Collector> for Content {
    fn from(Collector { segments, unscorable, echoes, .. }: Collector) -> Self {
        Self { segments, unscorable, echoes }
    }
}

impl Collector {
    /// Begins a new passage: what is collected from here on is read together.
    pub(super) fn passage(&mut self) {
        self.passage += 1;
    }

    /// One string.
    ///
    /// # Errors
    /// `node` is not a string.
    pub(super) fn string(&mut self, target: Target, what: &str, node: &Node<'_>) -> Result<(), Malformed> {
        let text = node.string().ok_or_else(|| Malformed::new(format!("`{what}` must be a string")))?;
        self.push(target, text.into_owned(), Some(Place(node.range())));
        Ok(())
    }

    /// An id or a setting, if it says more than these do; a number is a seed or the like.
    pub(super) fn id(&mut self, target: Target, node: &Node<'_>) {
        if node.raw().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return;
        }
        self.strings(target, node, &|key, value| is_id(if value.is_empty() { key } else { value }));
    }

    /// The name of a field that is not known, which some servers tell the model too.
    pub(super) fn name(&mut self, target: Target, key: &str) {
        if !is_id(key) {
            self.push(target, key.to_owned(), None);
        }
    }

    /// Every string under `node`, keys included, but for those that `skip` knows to be no text.
    pub(super) fn strings(&mut self, target: Target, node: &Node<'_>, skip: &dyn Fn(&str, &str) -> bool) {
        let Walk { said, unscorable, .. } = Walk::through(node, path(&[]), skip);
        self.unscorable.extend(unscorable);
        said.into_iter().for_each(|said| self.push(target, said.text, said.place));
    }

    /// Every string in fields that the dialect does not know, each a passage of its own.
    pub(super) fn unknown(&mut self, fields: &[Node<'_>]) {
        for field in fields {
            self.passage();
            self.strings(Target::System, field, &|_, _| false);
        }
    }

    /// A text, and where it can be edited.
    pub(super) fn push(&mut self, target: Target, text: String, place: Option<Place>) {
        if !text.is_empty() {
            self.segments.push(Segment { target, passage: self.passage, text, place });
        }
    }
}

/// A string within a value.
pub(super) struct Said {
    pub(super) text: String,
    /// Where it stands; `None` for a name.
    pub(super) place: Option<Place>,
    /// Number of the path of names that leads to it.
    pub(super) path: u64,
    /// All these names are known to be no text.
    pub(super) known: bool,
    /// No event of a stream brings it in pieces.
    pub(super) whole: bool,
}

/// A walk through all strings of a value, names included, but for those that `skip` knows to be no text.
pub(super) struct Walk<'s> {
    skip: &'s dyn Fn(&str, &str) -> bool,
    pub(super) said: Vec<Said>,
    pub(super) unscorable: Vec<String>,
}

impl<'s> Walk<'s> {
    /// The walk through `node`, to which the path of this number leads.
    pub(super) fn through(node: &Node<'_>, path: u64, skip: &'s dyn Fn(&str, &str) -> bool) -> Self {
        let mut walk = Self { skip, said: Vec::new(), unscorable: Vec::new() };
        walk.member("", node, path, true);
        walk
    }

    fn member(&mut self, key: &str, node: &Node<'_>, path: u64, known: bool) {
        let place = Some(Place(node.range()));
        if let Some(text) = node.string() {
            if !(self.skip)(key, &text) {
                self.said.push(Said { text: text.into_owned(), place, path, known, whole: key == "name" });
            }
        } else if is_long_number(node.raw()) {
            // A card or an account may stand as a number; what is edited becomes a string.
            self.said.push(Said { text: node.raw().to_owned(), place, path, known, whole: true });
        } else if let Some(members) = node.object() {
            let kind = members.iter().find(|(name, _)| name == "type").and_then(|(_, value)| value.string());
            self.unscorable.extend(kind.filter(|kind| UNSCORABLE.contains(&kind.as_ref())).map(String::from));
            for (name, value) in members {
                let known = known && (self.skip)(&name, "");
                if !(self.skip)(&name, "") {
                    self.said.push(Said { text: name.clone().into_owned(), place: None, path: NAMES, known, whole: true });
                }
                self.member(&name, &value, step(path, &name), known);
            }
        } else if let Some(items) = node.array() {
            for item in items {
                self.member(key, &item, path, known);
            }
        }
    }
}

/// The number of all names, which lead nowhere.
pub(super) const NAMES: u64 = 0;

/// The number of a path of names (FNV-1a): that of two paths is the same only by a rare chance, which runs their texts together.
pub(super) fn path(names: &[&str]) -> u64 {
    names.iter().fold(0xcbf2_9ce4_8422_2325, |path, name| step(path, name))
}

fn step(path: u64, name: &str) -> u64 {
    name.bytes().chain([0xff]).fold(path, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a JSON value is a number of so many digits that it may be more than a quantity.
fn is_long_number(raw: &str) -> bool {
    raw.len() >= LONG_NUMBER && raw.bytes().all(|byte| byte.is_ascii_digit())
}

/// The patch that makes `edits` in a text that stands at `place`.
pub(super) fn patch(place: &Place, target: Target, text: &str, edits: &[Edit]) -> Patch {
    let whole = edits.first().is_some_and(|edit| edit.range == (0..text.len()));
    let json = target == Target::ToolCall || (begins_json(text) && !whole);
    let edited = if json { apply(text, &Arguments::default().edits(text, 0, edits)) } else { apply(text, edits) };
    Patch { range: place.0.clone(), with: quote(&edited) }
}

/// A text that holds JSON (a tool call's arguments or an answer in JSON, perhaps only begun), read so far: whether what comes next is within a
/// string. Where there is no JSON, nothing is.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    at: usize,
    inside: bool,
    escaped: bool,
}

impl Arguments {
    /// The edits as they must be made in `text` so that it stays JSON: one that falls on a bare number takes the whole number
    /// and puts a string there. `edits` come in order and none of them, nor any of a later call, begins before `from`: so a
    /// text that grows is read once.
    pub fn edits(&mut self, text: &str, from: usize, edits: &[Edit]) -> Vec<Edit> {
        self.read(text, from);
        if !text.contains('{') && !begins_json(text) {
            return edits.to_vec();
        }
        let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
        let mut state = self.clone();
        let edit = |edit: &Edit| {
            state.read(text, edit.range.start);
            let with = quote(&edit.with);
            if state.inside {
                let inside = with.strip_prefix('"').and_then(|with| with.strip_suffix('"')).unwrap_or(&with);
                return Edit { range: edit.range.clone(), with: inside.to_owned() };
            }
            let before = text.get(..edit.range.start).unwrap_or_default().trim_end_matches(number);
            if !before.trim_end().ends_with([':', ',', '[']) {
                // No value of JSON stands here: it is a text with braces in it, such as code.
                return edit.clone();
            }
            let after = text.get(edit.range.end..).unwrap_or_default();
            let end = text.len() - after.trim_start_matches(number).len();
            Edit { range: before.len()..end, with }
        };
        edits.iter().map(edit).collect()
    }

    fn read(&mut self, text: &str, to: usize) {
        for c in text.get(self.at..to).unwrap_or_default().chars() {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' if self.inside => self.escaped = true,
                '"' => self.inside = !self.inside,
                _ => {}
            }
        }
        self.at = self.at.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edited_arguments_stay_json() {
        let text = r#"{"note":"card \"4111\" ok","card":4111,"n":[-1.5e3]}"#;
        let at = |needle: &str, from: usize| {
            let start = text.match_indices(needle).map(|(at, _)| at).find(|at| *at >= from).unwrap();
            Edit { range: start..start + needle.len(), with: "\"x\"".into() }
        };
        let edits = [at("4111", 0), at("4111", 25), at("1.5", 0)];
        let mut growing = Arguments::default();
        let pieces: Vec<Edit> =
            edits.iter().flat_map(|edit| growing.edits(text, edit.range.start, std::slice::from_ref(edit))).collect();
        assert_eq!(pieces, Arguments::default().edits(text, 0, &edits), "it may be read in stretches");
        let edited = apply(text, &pieces);
        assert_eq!(edited, r#"{"note":"card \"\"x\"\" ok","card":"\"x\"","n":["\"x\""]}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&edited).is_ok());
        let code = "if (x) { mail('4111') }";
        let edit = Edit { range: 15..19, with: "\"x\"".into() };
        assert_eq!(Arguments::default().edits(code, 0, std::slice::from_ref(&edit)), [edit], "what is no JSON stays none");
    }

    #[test]
    fn all_json_stays_json() {
        let patched = |target, text: &str, edits: &[Edit]| patch(&Place(0..0), target, text, edits).with;
        let masked = |range| [Edit { range, with: "[x]".into() }];
        for target in [Target::Completion, Target::ToolResult, Target::Prompt] {
            assert_eq!(patched(target, r#"{"id":4111}"#, &masked(6..10)), r#""{\"id\":\"[x]\"}""#);
            assert_eq!(patched(target, r#"["4111",4111]"#, &masked(8..12)), r#""[\"4111\",\"[x]\"]""#);
            assert_eq!(patched(target, "[1] says 4111", &masked(9..13)), r#""[1] says [x]""#);
            assert_eq!(patched(target, r#"{"id":1}"#, &masked(0..8)), r#""[x]""#, "nothing of it is left to be JSON");
        }
    }
}
