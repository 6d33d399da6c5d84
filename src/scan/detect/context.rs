//! The words around a number, or around what an operator looks for, that tell what it is where it alone does not.
//!
//! The windows are short and end at whole words, so that a stream need only wait for a few characters.

use std::ops::Range;

/// Characters looked at before a number.
const BEFORE: usize = 40;
/// Characters looked at after a number.
pub(super) const AFTER: usize = 24;

/// The surroundings of a span, before and after it, in which a word may tell what it is.
pub(super) fn around(text: &str, span: &Range<usize>) -> [Range<usize>; 2] {
    let (head, tail) = (text.get(..span.start).unwrap_or_default(), text.get(span.end..).unwrap_or_default());
    let start = head.char_indices().rev().take(BEFORE).last().map_or(span.start, |(start, _)| start);
    let end = tail.char_indices().nth(AFTER).map_or(text.len(), |(end, _)| span.end + end);
    [start..span.start, span.end..end]
}

/// Words after a span that ends beyond this offset are not all known yet, while the text grows.
pub(super) fn known(text: &str) -> usize {
    text.char_indices().rev().nth(AFTER + 1).map_or(0, |(at, _)| at)
}

/// The words before the offset.
pub(super) fn before(text: &str, at: usize) -> &str {
    let head = text.get(..at).unwrap_or_default();
    let start = head.char_indices().rev().take(BEFORE).last().map_or(at, |(start, _)| start);
    let (left, window) = head.split_at_checked(start).unwrap_or_default();
    // A word cut in two is no word: the end of "magic" is not "ic".
    if left.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        window.trim_start_matches(|c: char| c.is_ascii_alphanumeric())
    } else {
        window
    }
}

/// The words after the offset.
pub(super) fn after(text: &str, at: usize) -> &str {
    let tail = text.get(at..).unwrap_or_default();
    let end = tail.char_indices().nth(AFTER).map_or(tail.len(), |(end, _)| end);
    let (window, right) = tail.split_at_checked(end).unwrap_or_default();
    if right.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        window.trim_end_matches(|c: char| c.is_ascii_alphanumeric())
    } else {
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_whole_words() {
        let (cut, whole) = (format!("magic{}5", " ".repeat(38)), format!("magic{}5", " ".repeat(35)));
        assert_eq!(before(&cut, cut.len() - 1), " ".repeat(38));
        assert_eq!(before(&whole, whole.len() - 1), whole.trim_end_matches('5'));
        assert_eq!(after("1 is the number of the great magician", 1), " is the number of the ");
        assert_eq!(after("๑ ไทย", 3), " ไทย");
        assert_eq!(before("ไทย", 9), "ไทย");
    }
}
