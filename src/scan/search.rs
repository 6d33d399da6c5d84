//! What detectors find in texts: hiding undone, whole and as they grow, and over the seams between parts.

use std::{ops::Range, sync::Arc};

use super::{
    cache::{Digest, digest},
    detect::Detectors,
    memo::Memo,
    normalise,
};
use crate::segment::{Finding, Segment, Target, begins_json};

/// What the detectors find in a text, hiding undone; ranges are in the text as written.
#[must_use]
pub fn findings(detectors: &Detectors, target: Target, text: &str) -> Vec<Finding> {
    let json = matches!(target, Target::ToolCall | Target::ToolResult) || begins_json(text);
    let view = view(json, text);
    as_written(&view, detectors.find(view.text(), 0))
}

/// The same of a text that grows and was final up to the byte `since`, and up to where that is final now.
pub(super) fn grown(detectors: &Detectors, json: bool, text: &str, since: usize) -> (Vec<Finding>, usize) {
    let text = if json { normalise::whole_escapes(text) } else { text };
    let view = view(json, text);
    let since = view.at(since);
    let found = as_written(&view, detectors.find(view.text(), since));
    // Letters that look like others may turn out to be those with the rest of their word.
    let steady = view.text().get(..view.at(normalise::steady(text).len())).unwrap_or_default();
    let settled = detectors.settled(steady, since.min(steady.len()));
    (found, if settled == view.text().len() { text.len() } else { view.origin(settled..view.text().len()).start })
}

/// What they find in each text of a body, given with its digest, and over the seams between the parts of a passage.
pub(super) fn search(memo: &Memo, detectors: &Detectors, segments: &[Segment], digests: &[Digest]) -> Vec<Vec<Finding>> {
    let alone =
        |(segment, digest): (&Segment, &Digest)| memo.findings(detectors, segment.target, &segment.text, *digest).to_vec();
    let mut found: Vec<Vec<Finding>> = segments.iter().zip(digests).map(alone).collect();
    across(memo, detectors, segments, &mut found);
    found
}

/// Adds what is found over the seams between a passage's parts, by what it covers of each. The parts of a tool's definition or
/// call are values of their own.
fn across(memo: &Memo, detectors: &Detectors, segments: &[Segment], found: &mut [Vec<Finding>]) {
    let joins = |(_, segment): &(usize, &Segment)| !matches!(segment.target, Target::ToolDefinition | Target::ToolCall);
    let mut order: Vec<(usize, &Segment)> = segments.iter().enumerate().filter(joins).collect();
    order.sort_by_key(|(_, segment)| segment.passage);
    for parts in order.chunk_by(|(_, a), (_, b)| a.passage == b.passage).filter(|parts| parts.len() > 1) {
        let Some(target) = parts.first().map(|(_, part)| part.target) else { continue };
        let (mut whole, mut places) = (String::new(), Vec::new());
        for (index, part) in parts {
            let start = whole.len();
            whole.push_str(&part.text);
            places.push((*index, start..whole.len()));
        }
        for Finding { detector, range } in memo.findings(detectors, target, &whole, digest(&whole)).iter() {
            let first = places.partition_point(|(_, place)| place.end <= range.start);
            let reached = places.iter().skip(first).take_while(|(_, place)| place.start < range.end);
            let cut = |(index, place): &(usize, Range<usize>)| {
                let (start, end) = (range.start.max(place.start) - place.start, range.end.min(place.end) - place.start);
                (start < end).then_some((*index, start..end))
            };
            let pieces: Vec<(usize, Range<usize>)> = reached.filter_map(cut).collect();
            // What a part holds by itself ends with that part.
            let known = |(index, piece): &(usize, Range<usize>)| {
                let same =
                    |own: &Finding| own.detector == *detector && own.range.start < piece.end && piece.start < own.range.end;
                found.get(*index).is_some_and(|found| found.iter().any(same))
            };
            if pieces.len() < 2 || pieces.iter().any(known) {
                continue;
            }
            for (index, range) in pieces {
                let Some(found) = found.get_mut(index) else { continue };
                let at = found.partition_point(|own| own.range.start <= range.start);
                found.insert(at, Finding { detector: Arc::clone(detector), range });
            }
        }
    }
}

fn as_written(view: &normalise::View<'_>, found: Vec<Finding>) -> Vec<Finding> {
    found.into_iter().map(|Finding { detector, range }| Finding { detector, range: view.origin(range) }).collect()
}

/// JSON within a string, such as a tool call's arguments, has escapes of its own: they hide nothing from who reads it.
pub(super) fn view(json: bool, text: &str) -> normalise::View<'_> {
    if json { normalise::fold_json(text) } else { normalise::fold(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(target: Target, passage: usize, text: &str) -> Segment {
        Segment { target, passage, text: text.into(), place: None }
    }

    fn found(target: Target, text: &str) -> Vec<(&str, String)> {
        let found = findings(&Detectors::default(), target, text).into_iter();
        found.map(|finding| (text.get(finding.range).unwrap(), finding.detector.to_string())).collect()
    }

    #[test]
    fn escapes_are_undone_wherever_there_is_json() {
        let (text, email) = (r#"{"t":"Contact:\nbob@x.com\t4111111111111111"}"#, ("bob@x.com", "email".to_owned()));
        for target in [Target::Completion, Target::Prompt, Target::ToolResult, Target::ToolCall] {
            assert_eq!(found(target, text), [email.clone(), ("4111111111111111", "payment_card".to_owned())]);
        }
        assert_eq!(found(Target::ToolResult, r"INFO Contact:\nbob@x.com"), [email]);
        assert_eq!(found(Target::Prompt, r"C:\nbob@x.com")[0].0, "nbob@x.com", "but in prose they are none");
    }

    #[test]
    fn a_growing_text_in_json_is_final_only_up_to_whole_escapes() {
        let detectors = Detectors::default();
        let text = r#"{"a":"mail bob\u0040x.com, and \ud835\udfd2111111111111111 is it"}"#;
        let whole = grown(&detectors, true, text, 0).0;
        assert_eq!(whole.len(), 2, "{whole:?}");
        for cut in 0..text.len() {
            let (found, settled) = grown(&detectors, true, &text[..cut], 0);
            let early = |found: &[Finding]| found.iter().filter(|f| f.range.start < settled).cloned().collect::<Vec<_>>();
            assert_eq!(early(&found), early(&whole), "{}", &text[..cut]);
        }
    }

    #[test]
    fn a_word_of_look_alikes_is_not_final() {
        let (detectors, text) = (Detectors::default(), "write to jоhn.d\u{43e}e@example.com now, всем привет");
        let whole = grown(&detectors, false, text, 0).0;
        assert_eq!(whole.len(), 1, "{whole:?}");
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let (found, settled) = grown(&detectors, false, &text[..cut], 0);
            let early = |found: &[Finding]| found.iter().filter(|f| f.range.start < settled).cloned().collect::<Vec<_>>();
            assert_eq!(early(&found), early(&whole), "{}", &text[..cut]);
        }
        assert_eq!(grown(&detectors, false, "Привет, м", 0).1, "Привет, ".len());
        assert_eq!(grown(&detectors, false, &"п".repeat(2000), 0).1, 4000, "but nothing waits for ever");
    }

    #[test]
    fn what_is_split_over_parts_is_found_in_each() {
        let over = |target, texts: &[&str]| {
            let segments: Vec<Segment> = texts.iter().map(|text| segment(target, 1, text)).collect();
            let mut found: Vec<_> = texts.iter().map(|text| findings(&Detectors::default(), target, text)).collect();
            across(&Memo::default(), &Detectors::default(), &segments, &mut found);
            let parts = texts
                .iter()
                .zip(found)
                .map(|(text, found)| found.into_iter().map(|f| text.get(f.range).unwrap().to_owned()).collect::<Vec<_>>());
            parts.collect::<Vec<_>>()
        };
        assert_eq!(over(Target::Prompt, &["it is 4111 1111 ", "1111 1111, ok"]), [["4111 1111 "], ["1111 1111"]]);
        assert_eq!(
            over(Target::ToolResult, &["4111 ", "", "1111 1111", " 1111"]),
            [vec!["4111 "], vec![], vec!["1111 1111"], vec![" 1111"]]
        );
        assert_eq!(over(Target::Prompt, &["write to", "bob@x.com"]), [vec![], vec!["bob@x.com"]], "found in its part alone");
        assert_eq!(over(Target::ToolCall, &["4111 1111 ", "1111 1111"]), [[""; 0]; 2], "these are values of their own");
    }
}
