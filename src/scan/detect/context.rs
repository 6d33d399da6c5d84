//! The words around a number that tell what it is, where its digits alone do not.
//!
//! The windows are short and end at whole words, so that a stream need only wait for a few characters.

/// Characters looked at before a number.
const BEFORE: usize = 40;
/// Characters looked at after a number.
pub(super) const AFTER: usize = 24;

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
