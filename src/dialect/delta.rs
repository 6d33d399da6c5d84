//! The text that an event of a stream brings, and the event with other text in its place: what the dialects' streams share.
//!
//! Text that a dialect knows goes on from event to event in its channel. So may text in fields that it does not know: each of
//! them, by the names that lead to it, has a channel of its own, so that two of them never run together.

use std::collections::BTreeMap;

use super::{
    Brought,
    text::{Collector, NAMES, Said, Walk, is_id, path},
};
use crate::{
    segment::{Channel, Delta, Part, Segment},
    wire::json::{Document, Malformed, Node, Patch, quote},
};

/// Names of fields, and fields that come whole with one event: each of their strings is a line of its own.
pub(super) const APART: Part = Part::Other(NAMES);

/// Adds every string under `node` to what an event brought, but for those that `skip` knows to be no text.
///
/// Those under names that `skip` does not know are fields of their own, unless they are a tool call's: its arguments are one
/// text, whatever their names.
pub(super) fn bring(choice: u64, part: Part, node: &Node<'_>, skip: &dyn Fn(&str, &str) -> bool, brought: &mut Brought) {
    let root = if let Part::Other(field) = part { field } else { path(&[]) };
    let Walk { said, unscorable, .. } = Walk::through(node, root, skip);
    brought.unscorable.extend(unscorable);
    let part_of = |said: &Said| match part {
        Part::ToolCall(_) => part,
        Part::Content | Part::Reasoning | Part::Refusal if said.known => part,
        _ => Part::Other(said.path),
    };
    let mut counts = BTreeMap::<Part, usize>::new();
    said.iter().for_each(|said| *counts.entry(part_of(said)).or_default() += 1);
    for said in said.into_iter().filter(|said| !said.text.is_empty()) {
        let channel = Channel { choice, part: part_of(&said) };
        // Several strings of one field are a list, and no pieces of a text.
        let is_list = matches!(channel.part, Part::Other(_)) && counts.get(&channel.part).is_some_and(|count| *count > 1);
        brought.deltas.push(Delta { channel, text: said.text, place: said.place });
        brought.deltas.extend((is_list || (said.whole && !is_running(channel.part))).then(|| line_end(channel)));
    }
}

/// Adds a field that the dialect does not know: every string of it, but for those that `skip` knows to be no text, and its
/// name if that says more than names do.
pub(super) fn unknown(choice: u64, name: &str, node: &Node<'_>, skip: &dyn Fn(&str, &str) -> bool, brought: &mut Brought) {
    if !is_id(name) {
        let channel = Channel { choice, part: APART };
        brought.deltas.extend([Delta { channel, text: name.to_owned(), place: None }, line_end(channel)]);
    }
    bring(choice, Part::Other(path(&[name])), node, skip, brought);
}

/// Whether a part is words that a person reads as one text.
fn is_running(part: Part) -> bool {
    matches!(part, Part::Content | Part::Reasoning | Part::Refusal)
}

/// Adds texts that come whole, a line each: side by side they would run into one another.
pub(super) fn lines(channel: Channel, text: Collector, brought: &mut Brought) {
    brought.unscorable.extend(text.unscorable);
    for Segment { text, place, .. } in text.segments {
        brought.deltas.extend([Delta { channel, text, place }, line_end(channel)]);
    }
}

/// A line's end, which parts two texts of a channel for those who judge it.
pub(super) fn line_end(channel: Channel) -> Delta {
    Delta { channel, text: "\n".to_owned(), place: None }
}

pub(super) fn is_line_end(delta: &Delta) -> bool {
    delta.place.is_none() && delta.text == "\n"
}

/// Data that is no JSON event: OpenAI's end marker, which servers of other APIs send too.
pub(super) fn is_marker(data: &str) -> bool {
    matches!(data.trim(), "[DONE]" | "")
}

/// What a stream's event becomes when some of its deltas say something else, and its `echoes` are patched.
///
/// # Errors
/// A text that was changed in a place that cannot be edited.
pub(super) fn edited(
    document: Document,
    mut echoes: Vec<Patch>,
    deltas: &[Delta],
    texts: &[String],
) -> Result<String, Malformed> {
    for (delta, text) in deltas.iter().zip(texts).filter(|(delta, text)| delta.text != **text) {
        let place = delta.place.as_ref().ok_or_else(|| Malformed::new("a field's name cannot be rewritten"))?;
        echoes.push(Patch { range: place.0.clone(), with: quote(text) });
    }
    document.splice(echoes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of each channel after events that bring these fields.
    fn texts(events: &[&str]) -> BTreeMap<Part, String> {
        let mut texts = BTreeMap::<Part, String>::new();
        for event in events {
            let document = Document::read(event.as_bytes()).unwrap();
            let mut brought = Brought::default();
            for (name, value) in document.root().object().unwrap() {
                unknown(0, &name, &value, &|_, _| false, &mut brought);
            }
            for delta in brought.deltas {
                texts.entry(delta.channel.part).or_default().push_str(&delta.text);
            }
        }
        texts
    }

    #[test]
    fn a_text_of_an_unknown_field_goes_on_and_runs_into_no_other() {
        let texts = texts(&[
            r#"{"details":[{"type":"t1","text":"card 4111 11"}],"note":"4111"}"#,
            r#"{"details":[{"type":"t1","text":"11 1111 1111"}],"other":"1111"}"#,
            r#"{"list":["4111 1111","1111 1111"],"how to do what we must not":1234567890123456}"#,
        ]);
        let told = |names: &[&str]| texts[&Part::Other(path(names))].as_str();
        assert_eq!(told(&["details", "text"]), "card 4111 1111 1111 1111");
        assert_eq!(told(&["details", "type"]), "t1t1");
        assert_eq!((told(&["note"]), told(&["other"])), ("4111", "1111"));
        assert_eq!(told(&["list"]), "4111 1111\n1111 1111\n");
        assert_eq!(told(&["how to do what we must not"]), "1234567890123456\n");
        assert_eq!(texts[&APART], "type\ntext\ntype\ntext\nhow to do what we must not\n");
        assert_eq!(texts.len(), 7);
    }

    #[test]
    fn what_stands_beside_known_text_is_not_that_text() {
        let parts = r#"[{"type":"text","text":"say 4111"},{"type":"text","text":" 1111","note":"x"}]"#;
        let call = r#"{"name":"run","input":"4111 1111"}"#;
        let word = |key: &str, value: &str| key == "type" || (value.is_empty() && matches!(key, "text" | "name" | "input"));
        let mut brought = Brought::default();
        for (part, json) in [(Part::Content, parts), (Part::ToolCall(0), call)] {
            bring(0, part, &Document::read(json.as_bytes()).unwrap().root(), &word, &mut brought);
        }
        let told = |part: Part| {
            let deltas = brought.deltas.iter().filter(|delta| delta.channel.part == part);
            deltas.map(|delta| delta.text.as_str()).collect::<String>()
        };
        assert_eq!(told(Part::Content), "say 4111 1111");
        assert_eq!(told(Part::Other(path(&["note"]))), "x");
        assert_eq!(told(Part::ToolCall(0)), "run\n4111 1111");
    }
}
