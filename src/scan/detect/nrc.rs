//! Myanmar's NRC numbers, such as `12/KaMaYa(N)123456`: state, township, class and six digits, in Latin or Burmese letters.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{number, pattern};

/// No number has more bytes.
const MOST: usize = 128;

const STATE: &str = "(?:1[0-4]|[1-9]|၁[၀-၄]|[၁-၉])";

/// The class: citizen, guest, naturalised, religious, temporary, and how each is abbreviated.
static NRC: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        &[
            STATE,
            " ?/ ?(?:[A-Za-z]{3,14}|[\u{1000}-\u{103F}]{3,10}) ?",
            r"\( ?(?i:N|E|P|T|R|S|Y|C|naing|naining|eh?|pyu|thar?|နိုင်|န|ဧည့်|ဧည့်|ဧ|ပြု|ပ|သာသနာ|သာ|သ|ယာယီ|ယ|စ) ?\) ?",
            "[0-9၀-၉]{6}",
        ]
        .concat(),
    )
});
/// What may still become a number.
static PARTIAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        &[STATE, r" ?(?:/ ?[A-Za-z", "\u{1000}-\u{103F}", r"]{0,14} ?(?:\( ?[^()]{0,12}(?:\) ?[0-9၀-၉]{0,6})?)?)?$"].concat(),
    )
});

/// The numbers in the text.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    NRC.find_iter(text).map(|found| found.range()).filter(|range| {
        let before = text.get(..range.start).and_then(|text| text.chars().next_back());
        let after = text.get(range.end..).and_then(|text| text.chars().next());
        let joins = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/') || number::value(c).is_some();
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

/// Where a number may begin that text to come continues.
pub(super) fn open(text: &str) -> Option<usize> {
    let tail = text.ceil_char_boundary(text.len().saturating_sub(MOST));
    PARTIAL.find(text.get(tail..)?).map(|partial| tail + partial.start())
}
