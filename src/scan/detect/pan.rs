//! India's permanent account numbers: five letters, of which the fourth tells what the holder is, four digits and a letter.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{context, pattern, phone};

static PAN: LazyLock<Regex> = LazyLock::new(|| pattern("(?-u:\\b)(?i-u:[A-Z]{3}[ABCEFGHJKLPT][A-Z][0-9]{4}[A-Z])(?-u:\\b)"));
static WORDS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?-u:\b)(?:pan|permanent account|income tax)(?-u:\b)|पैन|आयकर|பான்"));

/// The numbers in the text. `assume` takes any word that could be needed as said.
pub(super) fn find(text: &str, assume: bool) -> impl Iterator<Item = Range<usize>> {
    PAN.find_iter(text).map(|found| found.range()).filter(move |range| {
        let id = text.get(range.clone()).unwrap_or_default();
        let before = context::before(text, range.start);
        let said = assume || WORDS.is_match(before) || WORDS.is_match(context::after(text, range.end));
        let plain = !id.bytes().any(|b| b.is_ascii_lowercase()) && !phone::otherwise(before) && !dashed(text, range);
        !id.contains("0000") && (said || plain)
    })
}

/// Whether it is a part of a serial number.
fn dashed(text: &str, range: &Range<usize>) -> bool {
    let (before, after) = (text.get(..range.start).unwrap_or_default(), text.get(range.end..).unwrap_or_default());
    before.ends_with(['-', '/', '.', '#']) || after.starts_with(['-', '/'])
}
