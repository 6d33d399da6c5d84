//! A text of the record with all that is known of its places: what was found in it, and the stretches that scores point at.
//!
//! A long one is folded, but for its opening and its worst stretch; a very long one is cut, but for the stretches that are
//! pointed at, and offered as a file.

use std::{iter::once, ops::Range};

use maud::{Markup, html};

use super::text::{plain, thousands};
use crate::review::Found;

/// Characters of a text that are shown at once; of a longer one its opening is, and the rest is folded.
const WHOLE: usize = 20_000;
const OPENING: usize = 4_000;
/// Characters that are on the page at all, folded or not, beside what is pointed at.
const MOST: usize = 200_000;

/// The stretches of a text that the page points at.
#[derive(Debug, Default)]
pub(super) struct Pointed {
    /// Each with the id by which links find it.
    pub(super) stretches: Vec<(Range<usize>, String)>,
    /// The worst, and what is said of it.
    pub(super) worst: Option<(Range<usize>, String)>,
}

/// A text with its marks. `file` is where all of it can be had.
pub(super) fn whole(text: &str, found: &[Found], pointed: &Pointed, file: &str) -> Markup {
    let marked = Marked::new(text, found, pointed);
    let at = |characters: usize| text.char_indices().nth(characters).map(|(at, _)| at);
    if at(WHOLE).is_none() {
        return marked.part(0..text.len());
    }
    let end = at(MOST).unwrap_or(text.len());
    let open = marked.open(at(OPENING).unwrap_or(text.len()), end);
    let gaps = open.iter().zip(open.iter().skip(1)).map(|(before, after)| before.end..after.start);
    let count = |range: Range<usize>| text.get(range).map_or(0, |part| part.chars().count());
    let rest = open.last().map_or(0, |last| last.end)..text.len();
    let gap = |gap: Range<usize>, is_last: bool| {
        let folded = gap.start..gap.end.min(end).max(gap.start);
        let left_out = count(folded.end..gap.end);
        html! {
            @if !folded.is_empty() {
                details.fold {
                    summary { (if is_last { "Show the rest: " } else { "Show " }) (thousands(count(folded.clone()))) " more characters" }
                    (marked.part(folded))
                }
            }
            @if left_out > 0 { p.cut { (thousands(left_out)) " characters are not on this page. " } }
        }
    };
    html! {
        @for (part, before) in open.iter().zip(once(None).chain(gaps.map(Some))) {
            @if let Some(before) = before { (gap(before, false)) }
            (marked.part(part.clone()))
        }
        (gap(rest, true))
        p.cut { a href=(file) download { "Download this text" } }
    }
}

/// A piece of a text that detectors found, with their names.
struct Span<'t> {
    range: Range<usize>,
    names: Vec<&'t str>,
}

/// What was found, in order; what overlaps is one.
fn spans(found: &[Found]) -> Vec<Span<'_>> {
    let mut sorted: Vec<&Found> = found.iter().filter(|found| found.start < found.end).collect();
    sorted.sort_by_key(|found| (found.start, found.end));
    let mut spans: Vec<Span<'_>> = Vec::new();
    for found in sorted {
        match spans.last_mut() {
            Some(last) if found.start < last.range.end => {
                last.range.end = last.range.end.max(found.end);
                if !last.names.contains(&found.detector.as_str()) {
                    last.names.push(&found.detector);
                }
            }
            _ => spans.push(Span { range: found.start..found.end, names: vec![&found.detector] }),
        }
    }
    spans
}

/// A text and its marks, in its order.
struct Marked<'t> {
    text: &'t str,
    spans: Vec<Span<'t>>,
    stretches: Vec<(Range<usize>, &'t str)>,
    worst: Option<(Range<usize>, &'t str)>,
}

impl<'t> Marked<'t> {
    fn new(text: &'t str, found: &'t [Found], pointed: &'t Pointed) -> Self {
        // What the record says of a place is believed only as far as the text goes.
        let within = |(range, said): &'t (Range<usize>, String)| {
            let (start, end) = (text.floor_char_boundary(range.start), text.ceil_char_boundary(range.end));
            (start < end).then_some((start..end, said.as_str()))
        };
        let mut stretches: Vec<_> = pointed.stretches.iter().filter_map(within).collect();
        stretches.sort_by_key(|(range, _)| range.start);
        Self { text, spans: spans(found), stretches, worst: pointed.worst.as_ref().and_then(within) }
    }

    /// The parts of a long text that are not folded, in order and apart: its opening, its worst stretch, and what is pointed at
    /// beyond the end of what the page holds.
    fn open(&self, opening: usize, end: usize) -> Vec<Range<usize>> {
        let beyond = self.stretches.iter().map(|(range, _)| range.clone()).filter(|range| range.end > end);
        let worst = self.worst.iter().map(|(range, _)| range.clone());
        let mut parts: Vec<Range<usize>> = once(0..opening).chain(worst).chain(beyond).collect();
        parts.sort_by_key(|part| part.start);
        parts.dedup_by(|next, kept| {
            let meets = next.start <= kept.end;
            if meets {
                kept.end = kept.end.max(next.end);
            }
            meets
        });
        parts
    }

    /// A part of the text with its marks.
    fn part(&self, part: Range<usize>) -> Markup {
        let worst = self.worst.as_ref().map(|(range, said)| (range.start.max(part.start)..range.end.min(part.end), *said));
        let Some((worst, said)) = worst.filter(|(range, _)| !range.is_empty()) else { return self.found(part) };
        html! {
            (self.found(part.start..worst.start))
            mark.worst { (self.found(worst.clone())) span.by { (said) } }
            (self.found(worst.end..part.end))
        }
    }

    /// A part of the text, what was found there marked.
    fn found(&self, part: Range<usize>) -> Markup {
        let mut pieces = Vec::new();
        let mut done = part.start;
        for Span { range, names } in &self.spans {
            let (start, end) = (range.start.max(part.start), range.end.min(part.end));
            if start < end {
                pieces.extend([(done..start, None), (start..end, Some(names))]);
                done = end;
            }
        }
        pieces.push((done..part.end, None));
        html! {
            @for (range, names) in pieces {
                @if let Some(names) = names {
                    mark { (self.led_to(range)) span.by { span.vh { " found by " } (plain(&names.join(", "))) } }
                } @else {
                    (self.led_to(range))
                }
            }
        }
    }

    /// A part of the text, with the places in it that links lead to.
    fn led_to(&self, part: Range<usize>) -> Markup {
        let first = self.stretches.partition_point(|(range, _)| range.start < part.start);
        let stretches = self.stretches.iter().skip(first).take_while(|(range, _)| range.start < part.end);
        let mut done = part.start;
        let before = stretches.map(|(range, id)| {
            let before = done..range.start;
            done = range.start;
            (before, *id)
        });
        let before: Vec<_> = before.collect();
        let text = |range: Range<usize>| plain(self.text.get(range).unwrap_or_default());
        html! {
            @for (range, id) in before { (text(range)) span.at id=(id) {} }
            (text(done..part.end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(detector: &str, start: usize, end: usize) -> Found {
        Found { detector: detector.into(), start, end }
    }

    fn page(text: &str, found: &[Found], pointed: &Pointed) -> String {
        whole(text, found, pointed, "/file").into_string()
    }

    #[test]
    fn markup_in_a_text_stays_text() {
        let text = "<script>alert(1)</script><img src=x onerror=\"y\">&amp;";
        let page = page(text, &[found("<b>", 0, 8)], &Pointed::default());
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;<span class=\"by\">") && page.contains("&amp;amp;"), "{page}");
    }

    #[test]
    fn what_overlaps_is_one_mark() {
        let found = [found("b", 2, 4), found("a", 1, 3), found("c", 4, 5), found("d", 9, 12)];
        let page = page("abcdef", &found, &Pointed::default()).replace("<span class=\"vh\"> found by </span>", "");
        assert_eq!(page, "a<mark>bcd<span class=\"by\">a, b</span></mark><mark>e<span class=\"by\">c</span></mark>f");
    }

    #[test]
    fn a_long_text_is_folded_and_a_longer_one_cut() {
        assert!(!page(&"ü".repeat(WHOLE), &[], &Pointed::default()).contains("<details"), "all of it is there");
        let long = "ü".repeat(MOST) + "END";
        let page = page(&long, &[found("x", long.len() - 3, long.len())], &Pointed::default());
        assert!(page.contains("196,000 more characters") && page.contains("3 characters are not"), "{}", page.len());
        assert!(!page.contains("END") && page.contains("href=\"/file\""));
    }

    #[test]
    fn the_worst_stretch_is_marked_and_others_are_led_to() {
        let stretches = vec![(0..4, "a".to_owned()), (3..6, "b".to_owned()), (6..99, "c".to_owned()), (98..99, "d".to_owned())];
        let pointed = Pointed { stretches, worst: Some((3..6, "score 0.97".to_owned())) };
        let page = page("012\u{fc}567", &[found("x", 1, 2)], &pointed).replace("<span class=\"vh\"> found by </span>", "");
        let at = |id: &str| format!("<span class=\"at\" id=\"{id}\"></span>");
        let mark = "<mark>1<span class=\"by\">x</span></mark>";
        let worst = format!("<mark class=\"worst\">{}\u{fc}5<span class=\"by\">score 0.97</span></mark>", at("b"));
        assert_eq!(page, format!("{}0{mark}2{worst}{}67", at("a"), at("c")));
    }

    #[test]
    fn of_a_very_long_text_all_that_is_pointed_at_is_there() {
        let text = ["a".repeat(100_000), "WORST".to_owned(), "b".repeat(200_000), "AFAR".to_owned(), "c".repeat(9)].concat();
        let stretches = vec![(100_000..100_005, "near".to_owned()), (300_005..300_009, "far".to_owned())];
        let pointed = Pointed { stretches, worst: Some((100_000..100_005, "score 0.97".to_owned())) };
        let page = page(&text, &[], &pointed);
        let order = [
            "aaa<",
            "Show 96,000 more",
            "aaa<",
            "WORST<",
            "Show 99,995 more",
            "100,005 characters are not",
            "AFAR",
            "9 characters",
        ];
        let mut rest = page.as_str();
        for sought in order {
            let at = rest.find(sought).unwrap_or_else(|| panic!("{sought}"));
            rest = &rest[at + sought.len()..];
        }
        assert!(page.contains("</details><mark class=\"worst\"><span class=\"at\" id=\"near\">"), "it is not folded");
        assert!(page.contains("<span class=\"at\" id=\"far\"></span>AFAR"));
    }
}
