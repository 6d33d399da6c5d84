//! Placeholders: names that stand for values on their way to the model, and give way to them in its answer.
//!
//! A name says what its value is, `[EMAIL_1]`, and is the value's wherever that stands in the request. Names are numbered in
//! the order of the request's text: a conversation that comes back a turn longer, the values in it again, has the names that it
//! had. Only a name as it was given is put back: what a model makes of it otherwise, `[email_1]` or `EMAIL_1`, stays.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    ops::{Bound, Range},
    sync::Arc,
};

use crate::{
    scan::normalise,
    segment::{Edit, Segment, Target, fill},
};

/// What is put in place of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum With {
    /// This.
    Text(String),
    /// A placeholder for it, named after this mask.
    Placeholder(String),
}

/// The placeholders of an exchange, and the values that they stand for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Placeholders {
    values: Arc<BTreeMap<String, String>>,
}

/// The names that a request's values are given.
struct Names<'s> {
    segments: &'s [Segment],
    /// What the request has in brackets already: were a name among it, an answer that repeats it would be taken for the value.
    taken: OnceCell<HashSet<&'s str>>,
    /// The last number, by the kind of value.
    last: HashMap<String, usize>,
    /// The names by kind and value. Two ways to write a value are one where the detectors, hiding undone, read the same.
    known: HashMap<(String, String), String>,
    values: BTreeMap<String, String>,
}

/// Gives each value that is to have a placeholder its name; the changes come segment by segment, in order and apart.
pub(super) fn name(segments: &[Segment], changes: Vec<(usize, Vec<Edit<With>>)>) -> (Vec<(usize, Vec<Edit>)>, Placeholders) {
    let (taken, last, known, values) = Default::default();
    let mut names = Names { segments, taken, last, known, values };
    let mut edits = Vec::with_capacity(changes.len());
    for (index, changes) in changes {
        let named = changes.into_iter().map(|Edit { range, with }| {
            let with = match with {
                With::Text(text) => text,
                With::Placeholder(mask) => names.name(&mask, &value(segments.get(index), &range)),
            };
            Edit { range, with }
        });
        edits.push((index, named.collect()));
    }
    (edits, Placeholders { values: Arc::new(names.values) })
}

impl Names<'_> {
    fn name(&mut self, mask: &str, value: &str) -> String {
        let kind = kind(mask);
        let key = (kind, normalise::fold(value).text().to_owned());
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let segments = self.segments;
        let taken = self.taken.get_or_init(|| {
            segments
                .iter()
                .flat_map(|segment| bracketed(&segment.text, 0).filter_map(|range| segment.text.get(range)))
                .collect()
        });
        let last = self.last.entry(key.0.clone()).or_default();
        let name = loop {
            *last += 1;
            let name = format!("[{}_{last}]", key.0);
            if !taken.contains(name.as_str()) {
                break name;
            }
        };
        self.values.insert(name.clone(), value.to_owned());
        self.known.insert(key, name.clone());
        name
    }
}

impl Placeholders {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The names, each with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The edits that put the values back into a text from the byte `from` on, and the byte up to which text that follows
    /// cannot complete another. A text that grows goes on from there.
    #[must_use]
    pub fn put_back(&self, text: &str, from: usize) -> (Vec<Edit>, usize) {
        let edit = |range: Range<usize>| {
            let with = self.values.get(text.get(range.clone())?)?.clone();
            Some(Edit { range, with })
        };
        let edits = bracketed(text, from).filter_map(edit).collect();
        let open = text.get(from..).and_then(|rest| rest.rfind('[')).map(|at| from + at);
        (edits, open.filter(|at| text.get(*at..).is_some_and(|begun| self.goes_on(begun))).unwrap_or(text.len()))
    }

    /// The edits of an answer's texts, and those that put values back where none of them is.
    #[must_use]
    pub fn put_back_in(&self, segments: &[Segment], edits: &[(usize, Vec<Edit>)]) -> Vec<(usize, Vec<Edit>)> {
        let mut all: BTreeMap<usize, Vec<Edit>> = edits.iter().cloned().collect();
        for (index, segment) in segments.iter().enumerate().filter(|(_, segment)| !self.is_empty() && segment.place.is_some()) {
            let (back, _) = self.put_back(&segment.text, 0);
            if !back.is_empty() {
                fill(all.entry(index).or_default(), back);
            }
        }
        all.into_iter().collect()
    }

    /// Whether a name begins so and goes on.
    fn goes_on(&self, begun: &str) -> bool {
        let mut names = self.values.range::<str, _>((Bound::Excluded(begun), Bound::Unbounded));
        names.next().is_some_and(|(name, _)| name.starts_with(begun))
    }
}

#[cfg(test)]
impl Placeholders {
    /// These names, each with its value.
    pub(crate) fn of(values: &[(&str, &str)]) -> Self {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { values: Arc::new(values.collect()) }
    }
}

/// The values are told to nobody but the asker.
impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// A mask as names begin: `[payment card]` becomes `PAYMENT_CARD`. Letters that some JSON writers escape are left out.
fn kind(mask: &str) -> String {
    let words = mask.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let kind = words.map(str::to_ascii_uppercase).collect::<Vec<_>>().join("_");
    if kind.is_empty() { "VALUE".to_owned() } else { kind }
}

/// A value as it is meant: in a tool call's arguments, which are JSON within a string, escapes are undone.
fn value<'s>(segment: Option<&'s Segment>, range: &Range<usize>) -> Cow<'s, str> {
    let Some((segment, written)) = segment.and_then(|segment| Some((segment, segment.text.get(range.clone())?))) else {
        return Cow::default();
    };
    let is_json = segment.target == Target::ToolCall && segment.text.trim_start().starts_with('{');
    let meant = is_json.then(|| serde_json::from_str(&format!("\"{written}\"")).ok()).flatten();
    meant.map_or(Cow::Borrowed(written), Cow::Owned)
}

/// What stands in brackets, without brackets in it, from the byte `from` on.
fn bracketed(text: &str, from: usize) -> impl Iterator<Item = Range<usize>> {
    let mut opened = None;
    let marks = text.get(from..).unwrap_or_default().match_indices(['[', ']']);
    marks.filter_map(move |(at, mark)| {
        let start = std::mem::replace(&mut opened, (mark == "[").then_some(from + at));
        start.filter(|_| mark == "]").map(|start| start..from + at + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Place, apply};

    fn segment(target: Target, text: &str) -> Segment {
        Segment { target, passage: 0, text: text.to_owned(), place: Some(Place(0..0)) }
    }

    /// The texts with each of the values, which have these masks, by name.
    fn named(texts: &[(Target, &str)], values: &[(&str, &str)]) -> (Vec<String>, Placeholders) {
        let segments: Vec<Segment> = texts.iter().map(|(target, text)| segment(*target, text)).collect();
        let change = |text: &str| {
            let found = values.iter().flat_map(|(value, mask)| {
                text.match_indices(value).map(move |(at, _)| (at..at + value.len(), With::Placeholder((*mask).to_owned())))
            });
            let mut changes: Vec<Edit<With>> = found.map(|(range, with)| Edit { range, with }).collect();
            changes.sort_by_key(|change| change.range.start);
            changes
        };
        let changes = texts.iter().enumerate().map(|(index, (_, text))| (index, change(text))).collect();
        let (edits, placeholders) = name(&segments, changes);
        (edits.iter().map(|(index, edits)| apply(texts[*index].1, edits)).collect(), placeholders)
    }

    const VALUES: [(&str, &str); 5] = [
        ("a@b.co", "[email]"),
        ("c@d.co", "[email]"),
        ("\u{ff41}@b.co", "[email]"),
        ("4111", "[payment card]"),
        ("ฟ้าใส", "«โครงการ»"),
    ];

    #[test]
    fn names_tell_what_the_value_is_and_go_by_first_appearance() {
        let (texts, placeholders) =
            named(&[(Target::System, "c@d.co and 4111"), (Target::Prompt, "a@b.co, c@d.co, \u{ff41}@b.co, ฟ้าใส")], &VALUES);
        assert_eq!(texts, ["[EMAIL_1] and [PAYMENT_CARD_1]", "[EMAIL_2], [EMAIL_1], [EMAIL_2], [VALUE_1]"]);
        let values: Vec<_> = placeholders.iter().collect();
        let expected = [("[EMAIL_1]", "c@d.co"), ("[EMAIL_2]", "a@b.co"), ("[PAYMENT_CARD_1]", "4111"), ("[VALUE_1]", "ฟ้าใส")];
        assert_eq!(values, expected, "a value that is written in two ways comes back as it was first");
        assert!(!format!("{placeholders:?}").contains("a@b.co"));
        assert_eq!(["[a-b  c]", "{Project 7}", "***"].map(kind), ["A_B_C", "PROJECT_7", "VALUE"]);
    }

    #[test]
    fn a_conversation_that_goes_on_keeps_its_names() {
        let turns = [(Target::Prompt, "c@d.co"), (Target::Completion, "a@b.co"), (Target::Prompt, "c@d.co 4111 a@b.co")];
        let (all, _) = named(&turns, &VALUES);
        for length in 1..turns.len() {
            assert_eq!(named(&turns[..length], &VALUES).0, all[..length]);
        }
    }

    #[test]
    fn a_name_that_the_request_has_is_not_given() {
        let (texts, placeholders) =
            named(&[(Target::Prompt, "a@b.co c@d.co"), (Target::ToolResult, "x [[EMAIL_1]] [EMAIL_3] [EMAIL_2 ] [")], &VALUES);
        assert_eq!(texts[0], "[EMAIL_2] [EMAIL_4]");
        assert!(placeholders.put_back(&texts[1], 0).0.is_empty());
    }

    #[test]
    fn only_names_that_were_given_are_put_back() {
        let (_, placeholders) = named(&[(Target::Prompt, "a@b.co ฟ้าใส")], &VALUES);
        let said = |text: &str| apply(text, &placeholders.put_back(text, 0).0);
        assert_eq!(said("To [EMAIL_1][VALUE_1], [[EMAIL_1]"), "To a@b.coฟ้าใส, [a@b.co");
        for text in ["[EMAIL_9]", "[email_1]", "EMAIL_1", "[EMAIL\\_1]", "[ EMAIL_1]", "[EMAIL_1", "[EMAIL_11]"] {
            assert_eq!(said(text), text);
        }
        assert!(Placeholders::default().put_back("[EMAIL_1] [", 0) == (vec![], 11));
    }

    #[test]
    fn what_may_become_a_name_is_told() {
        let (_, placeholders) = named(&[(Target::Prompt, "a@b.co ฟ้าใส")], &VALUES);
        for (text, open) in
            [("a [EMAIL_1", 2), ("a [", 2), ("[x] [VAL", 4), ("[[", 1), ("[E]", 3), ("[EMAIL_1]", 9), ("[EM x", 5)]
        {
            assert_eq!(placeholders.put_back(text, 0).1, open, "{text}");
        }
        assert_eq!(placeholders.put_back("[EMAIL_1] and [EMAIL_1]", 9).0.len(), 1, "a text that grows goes on");
    }

    #[test]
    fn a_value_in_arguments_is_kept_as_it_is_meant() {
        let escaped = "a\\n\\u0040\\\"b";
        for (target, text, value) in [
            (Target::ToolCall, format!("{{\"x\":\"{escaped}\"}}"), "a\n@\"b"),
            (Target::ToolCall, format!("say {escaped}"), escaped),
            (Target::Prompt, format!("{{{escaped}}}"), escaped),
        ] {
            let (_, placeholders) = named(&[(target, &text)], &[(escaped, "[x]")]);
            assert_eq!(placeholders.iter().collect::<Vec<_>>(), [("[X_1]", value)], "{text}");
        }
    }

    #[test]
    fn an_answers_own_edits_stand() {
        let (_, placeholders) = named(&[(Target::Prompt, "a@b.co")], &VALUES);
        let mut segments = vec![segment(Target::Completion, "[EMAIL_1] is [EMAIL_1]"); 3];
        segments[2].place = None;
        let own = Edit { range: 2..11, with: "x".to_owned() };
        let edits = placeholders.put_back_in(&segments, &[(0, vec![own])]);
        let texts: Vec<_> = edits.iter().map(|(index, edits)| (*index, apply(&segments[*index].text, edits))).collect();
        assert_eq!(texts, [(0, "[Exs a@b.co".to_owned()), (1, "a@b.co is a@b.co".to_owned())]);
    }
}
