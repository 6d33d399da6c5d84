//! Reads written numbers: digits of any script in groups, with the separators that people put between them.
//!
//! Every detector of numbers looks at the same candidates: each start of a digit group, with each following group end. So the
//! verdict on a candidate depends only on itself and its surroundings, never on what was found before it, and a stream may
//! judge a tail as it would judge the whole.

use std::ops::Range;

/// The most digits in a candidate: a payment card's.
const MOST_DIGITS: usize = 19;
/// The fewest digits in a candidate: a local phone number's.
const FEWEST_DIGITS: usize = 7;
const MOST_GROUPS: usize = 8;
/// No candidate has more characters: an opening `+(`, the digits, and up to three characters between groups.
const MOST_CHARS: usize = 2 + MOST_DIGITS + 3 * (MOST_GROUPS - 1);
/// Digits beside a candidate that tell that it stands in a row.
const ROW: usize = 36;
/// Up to three characters stand before each group beside it.
pub(super) const REACH: usize = MOST_CHARS + 4 * ROW;
/// The mark for what stands between groups in lists, and seldom in one number: lines, tabs, wide spaces, slashes.
pub(super) const OTHER: char = '_';

/// A candidate.
pub(super) struct Number<'a> {
    /// The whole text.
    pub text: &'a str,
    /// The bytes of the candidate in it.
    pub range: Range<usize>,
    /// Its digits, in ASCII.
    pub digits: &'a str,
    /// Its digits in ASCII, with one ` `, `-`, `.` or [`OTHER`] between groups.
    pub shape: &'a str,
    /// Whether a plus sign leads it.
    pub plus: bool,
}

impl Number<'_> {
    /// The two characters before it, nearest first.
    pub(super) fn before(&self) -> [Option<char>; 2] {
        let mut chars = self.text.get(..self.range.start).unwrap_or_default().chars().rev();
        [chars.next(), chars.next()]
    }

    fn after(&self) -> [Option<char>; 2] {
        let mut chars = self.text.get(self.range.end..).unwrap_or_default().chars();
        [chars.next(), chars.next()]
    }

    /// Whether it is only a part of something longer: an identifier, a decimal, a dashed serial number.
    pub(super) fn joined(&self) -> bool {
        self.joined_before() || self.joined_after()
    }

    pub(super) fn joined_before(&self) -> bool {
        joins(self.before())
    }

    pub(super) fn joined_after(&self) -> bool {
        joins(self.after())
    }

    /// Whether all its digits stand in one group.
    pub(super) fn bare(&self) -> bool {
        self.digits.len() == self.shape.len()
    }

    /// The digits before and after it of groups like its own, where all of its own have the same size: of a row of numbers in
    /// which it stands.
    pub(super) fn row(&self) -> [String; 2] {
        let mut sizes = self.shape.split(|c: char| !c.is_ascii_digit()).map(str::len);
        let size = sizes.next().filter(|size| !self.bare() && sizes.all(|other| other == *size));
        let Some(size) = size else { return [String::new(), String::new()] };
        let spaced = self.shape.contains(' ');
        let before = self.text.get(..self.range.start).unwrap_or_default().chars().rev();
        let after = self.text.get(self.range.end..).unwrap_or_default().chars();
        [groups(before, size, spaced).chars().rev().collect(), groups(after, size, spaced)]
    }

    /// Whether a space and then another digit stand before or after it.
    pub(super) fn in_a_row(&self) -> bool {
        let beside = |[near, far]: [Option<char>; 2]| near == Some(' ') && far.and_then(value).is_some();
        beside(self.before()) || beside(self.after())
    }
}

fn joins([near, far]: [Option<char>; 2]) -> bool {
    near.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || value(c).is_some())
        || (near.is_some_and(|c| c == '.' || is_dash(c)) && far.and_then(value).is_some())
}

/// The digits of the groups of this size that come next, each after what parts them: a space, or what stands in lists.
fn groups(chars: impl Iterator<Item = char>, size: usize, spaced: bool) -> String {
    let mut chars = chars.peekable();
    let mut row = String::new();
    while row.len() < ROW {
        let parts = |c: &char| if spaced { *c == ' ' } else { c.is_whitespace() || matches!(c, '/' | '_') };
        let gap = std::iter::from_fn(|| chars.next_if(parts)).take(3).count();
        if gap == 0 || (spaced && gap > 1) {
            break;
        }
        let digits = std::iter::from_fn(|| chars.next_if(|c| value(*c).is_some()).and_then(value));
        let group: String = digits.take(size + 1).map(char::from).collect();
        if group.len() != size {
            break;
        }
        row.push_str(&group);
    }
    row
}

/// A group end at which a candidate may stop, as lengths of what was read up to there.
struct Stop {
    digits: usize,
    shape: usize,
    end: usize,
    /// Parentheses opened less those closed between the groups.
    balance: i32,
}

/// Shows each candidate in the text to `visit`.
pub(super) fn each(text: &str, mut visit: impl FnMut(&Number<'_>)) {
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let digit = value(c).is_some();
        if digit && !inside {
            read(text, at, &mut visit);
        }
        inside = digit;
    }
}

fn read(text: &str, at: usize, visit: &mut impl FnMut(&Number<'_>)) {
    let (mut digits, mut shape, mut stops) = (String::new(), String::new(), Vec::new());
    let (mut end, mut balance) = (at, 0);
    loop {
        for (c, digit) in text.get(end..).unwrap_or_default().chars().map_while(|c| Some((c, value(c)?))) {
            if digits.len() == MOST_DIGITS {
                return show(text, at, (&digits, &shape), &stops, visit);
            }
            digits.push(char::from(digit));
            shape.push(char::from(digit));
            end += c.len_utf8();
        }
        stops.push(Stop { digits: digits.len(), shape: shape.len(), end, balance });
        let Some((chars, mark, opened)) = separator(text.get(end..).unwrap_or_default()) else { break };
        if stops.len() == MOST_GROUPS {
            break;
        }
        end += text.get(end..).unwrap_or_default().chars().take(chars).map(char::len_utf8).sum::<usize>();
        shape.push(mark);
        balance += opened;
    }
    show(text, at, (&digits, &shape), &stops, visit);
}

fn show(text: &str, at: usize, read: (&str, &str), stops: &[Stop], visit: &mut impl FnMut(&Number<'_>)) {
    let mut lead = text.get(..at).unwrap_or_default().chars().rev();
    let (plus, before_plus, paren, inner_paren) = match (lead.next(), lead.next()) {
        (Some('+'), Some('(')) => (true, 1, true, false),
        (Some('+'), _) => (true, 1, false, false),
        (Some('('), Some('+')) => (true, 2, true, true),
        (Some('('), _) => (false, 0, true, false),
        _ => (false, 0, false, false),
    };
    for stop in stops.iter().filter(|stop| stop.digits >= FEWEST_DIGITS) {
        let start = match stop.balance {
            // `+(65` without its closing parenthesis is no number.
            0 if inner_paren => continue,
            0 => at - before_plus,
            -1 if inner_paren => at - before_plus,
            -1 if paren => at - before_plus - 1,
            _ => continue,
        };
        let (digits, shape) = (read.0.get(..stop.digits).unwrap_or_default(), read.1.get(..stop.shape).unwrap_or_default());
        visit(&Number { text, range: start..stop.end, digits, shape, plus });
    }
}

/// What stands between two groups: its characters, the mark that it counts as, and the parentheses it opens less those it
/// closes.
fn separator(rest: &str) -> Option<(usize, char, i32)> {
    let mut chars = rest.chars();
    let mut next = || {
        chars.next().map_or(b'x', |c| match c {
            ' ' => b' ',
            '.' => b'.',
            '(' => b'(',
            ')' => b')',
            '/' | '_' => b'_',
            c if c.is_whitespace() => b'w',
            c if is_dash(c) => b'-',
            c if value(c).is_some() => b'0',
            _ => b'x',
        })
    };
    match [next(), next(), next(), next()] {
        [b' ', b'0', ..] => Some((1, ' ', 0)),
        [b'-', b'0', ..] => Some((1, '-', 0)),
        [b'.', b'0', ..] => Some((1, '.', 0)),
        [b')', b'0', ..] => Some((1, ' ', -1)),
        [b'(', b'0', ..] => Some((1, ' ', 1)),
        [b')', b' ', b'0', _] => Some((2, ' ', -1)),
        [b')', b'-', b'0', _] => Some((2, '-', -1)),
        [b' ', b'(', b'0', _] => Some((2, ' ', 1)),
        [b'-', b'(', b'0', _] => Some((2, '-', 1)),
        [b' ', b'-', b' ', b'0'] => Some((3, '-', 0)),
        [b')', b' ', b'(', b'0'] => Some((3, ' ', 0)),
        [b'w' | b'_', b'0', ..] => Some((1, OTHER, 0)),
        [b' ' | b'w', b' ' | b'w', b'0', _] => Some((2, OTHER, 0)),
        [b' ' | b'w', b' ' | b'w', b' ' | b'w', b'0'] => Some((3, OTHER, 0)),
        _ => None,
    }
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Whether the character can stand in a candidate.
pub(super) fn belongs(c: char) -> bool {
    matches!(c, '.' | '(' | ')' | '+' | '/' | '_') || c.is_whitespace() || is_dash(c) || value(c).is_some()
}

/// The ASCII digit that a digit of the guard's scripts, or of their neighbours', stands for.
pub(super) fn value(c: char) -> Option<u8> {
    if c.is_ascii() {
        return u8::try_from(c).ok().filter(u8::is_ascii_digit);
    }
    let zero = match c {
        '\u{0660}'..='\u{0669}' => 0x0660, // Arabic
        '\u{06F0}'..='\u{06F9}' => 0x06F0, // Arabic, eastern
        '\u{0966}'..='\u{096F}' => 0x0966, // Devanagari
        '\u{09E6}'..='\u{09EF}' => 0x09E6, // Bengali
        '\u{0BE6}'..='\u{0BEF}' => 0x0BE6, // Tamil
        '\u{0E50}'..='\u{0E59}' => 0x0E50, // Thai
        '\u{0ED0}'..='\u{0ED9}' => 0x0ED0, // Lao
        '\u{1040}'..='\u{1049}' => 0x1040, // Burmese
        '\u{1090}'..='\u{1099}' => 0x1090, // Shan
        '\u{17E0}'..='\u{17E9}' => 0x17E0, // Khmer
        '\u{FF10}'..='\u{FF19}' => 0xFF10, // full width
        _ => return None,
    };
    u8::try_from(u32::from(c) - zero).ok().map(|digit| b'0' + digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(text: &str) -> Vec<(String, &str)> {
        let mut out = Vec::new();
        each(text, |n| out.push((n.shape.to_owned(), text.get(n.range.clone()).unwrap())));
        out
    }

    #[test]
    fn reads_groups_in_any_script_and_form() {
        assert_eq!(shapes("๐๘๑-๒๓๔๕"), [("081-2345".to_owned(), "๐๘๑-๒๓๔๕")]);
        assert_eq!(shapes("(021) 5551"), [("021 5551".to_owned(), "(021) 5551")]);
        assert_eq!(shapes("(+65) 91234"), [("65 91234".to_owned(), "(+65) 91234")]);
        assert_eq!(shapes("+(65) 91234"), [("65 91234".to_owned(), "+(65) 91234")]);
        assert_eq!(shapes("(1234567)"), [("1234567".to_owned(), "1234567")]);
        assert_eq!(shapes("1 – 234567"), [("1-234567".to_owned(), "1 – 234567")]);
        assert_eq!(shapes("+(65 91234"), []);
        assert_eq!(shapes("1234\n567"), [("1234_567".to_owned(), "1234\n567")]);
        assert_eq!(shapes("1234 \r\n567/8").first(), Some(&("1234_567".to_owned(), "1234 \r\n567")));
        assert_eq!(shapes("1234    567"), []);
    }

    #[test]
    fn offers_every_stop_from_every_start() {
        let all = shapes("1234 5678 9012");
        let all: Vec<&str> = all.iter().map(|(shape, _)| shape.as_str()).collect();
        assert_eq!(all, ["1234 5678", "1234 5678 9012", "5678 9012"]);
    }

    #[test]
    fn a_row_is_of_groups_alike() {
        let mut rows = Vec::new();
        each("12 3456 1111 2222 ๑๒๓๔ 5555\n6666", |n| {
            rows.extend((n.shape == "1111 2222").then(|| n.row()));
        });
        assert_eq!(rows, [["3456".to_owned(), "12345555".to_owned()]]);
    }

    #[test]
    fn long_runs_are_nothing() {
        assert_eq!(shapes(&"1".repeat(20)), []);
        assert_eq!(shapes(&format!("1234567 {}", "1".repeat(20))).len(), 1);
    }
}
