//! Recorded text on a page.
//!
//! It is hostile by nature: it never becomes markup (maud escapes it), and what hides in it or turns its letters around is
//! shown as a mark instead of doing its work.

use std::iter::once;

use maud::{Markup, html};

/// Names of one run's hidden characters that are told.
const NAMED: usize = 4;

/// The beginning of a text on one line.
pub(super) fn line(text: &str, most: usize) -> Markup {
    // Blanks are few in any text worth reading, so four times the length holds enough to fill a line.
    let head: String = text.chars().take(most.saturating_mul(4)).collect();
    let words = head.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = words.char_indices().nth(most).map(|(at, _)| at);
    let cut = end.is_some() || text.len() > head.len();
    html! {
        (plain(words.get(..end.unwrap_or(words.len())).unwrap_or_default()))
        @if cut { "…" }
    }
}

/// A number for people.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A text as it is, what hides in it shown.
pub(super) fn plain(text: &str) -> Markup {
    html! {
        @for (hidden, run) in runs(text) {
            @if hidden {
                span.hid title=(format!("hidden in the text: {}", codes(run))) { (names(run)) }
            } @else {
                (run)
            }
        }
    }
}

/// A text cut where it turns from what can be seen to what cannot, and back.
fn runs(text: &str) -> Vec<(bool, &str)> {
    let mut cuts: Vec<(usize, bool)> = Vec::new();
    let mut before = ' ';
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map_or(' ', |(_, next)| *next);
        let hidden = hides(before, c, after);
        if cuts.last().is_none_or(|(_, last)| *last != hidden) {
            cuts.push((at, hidden));
        }
        before = c;
    }
    let ends = cuts.iter().skip(1).map(|(at, _)| *at).chain(once(text.len()));
    cuts.iter().zip(ends).map(|((start, hidden), end)| (*hidden, text.get(*start..end).unwrap_or_default())).collect()
}

/// Whether a reader would not see this character, or see others turned around by it.
fn hides(before: char, c: char, after: char) -> bool {
    let writes = |c: char| !c.is_ascii() && !c.is_whitespace() && !always(c);
    match c {
        '\n' | '\t' => false,
        '\r' => after != '\n',
        // What joins letters and pictures belongs to many scripts' spelling, and to emoji.
        '\u{200c}' | '\u{200d}' => !(writes(before) && writes(after)),
        '\u{fe00}'..='\u{fe0f}' => !writes(before) || selects(before),
        _ => always(c),
    }
}

fn selects(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Characters that hide wherever they stand.
fn always(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// What a run of hidden characters says, or is.
fn names(run: &str) -> String {
    // Tag characters are a copy of ASCII that nobody sees and models read.
    let tagged = |c: char| u32::from(c).checked_sub(0xe0000).and_then(char::from_u32).filter(|c| matches!(c, ' '..='~'));
    let said: String = run.chars().filter_map(tagged).collect();
    if said.len() > 1 { format!("hidden “{said}”") } else { listed(run, name) }
}

fn codes(run: &str) -> String {
    listed(run, |c| format!("U+{:04X}", u32::from(c)))
}

/// The characters of a run, repeated ones counted, the first few of them.
fn listed(run: &str, name: impl Fn(char) -> String) -> String {
    let mut groups: Vec<(char, usize)> = Vec::new();
    for c in run.chars() {
        match groups.last_mut() {
            Some((last, count)) if *last == c => *count += 1,
            _ => groups.push((c, 1)),
        }
    }
    let more = groups.len().saturating_sub(NAMED);
    let told = groups.into_iter().take(NAMED).map(|(c, count)| match count {
        1 => name(c),
        count => format!("{}×{count}", name(c)),
    });
    let more = (more > 0).then(|| format!("+{more}"));
    told.chain(more).collect::<Vec<_>>().join(" ")
}

/// The short name that Unicode's charts print.
fn name(c: char) -> String {
    let known = match c {
        '\0' => "NUL",
        '\u{7}' => "BEL",
        '\u{8}' => "BS",
        '\r' => "CR",
        '\u{1b}' => "ESC",
        '\u{7f}' => "DEL",
        '\u{ad}' => "SHY",
        '\u{61c}' => "ALM",
        '\u{200b}' => "ZWSP",
        '\u{200c}' => "ZWNJ",
        '\u{200d}' => "ZWJ",
        '\u{200e}' => "LRM",
        '\u{200f}' => "RLM",
        '\u{2028}' => "LSEP",
        '\u{2029}' => "PSEP",
        '\u{202a}' => "LRE",
        '\u{202b}' => "RLE",
        '\u{202c}' => "PDF",
        '\u{202d}' => "LRO",
        '\u{202e}' => "RLO",
        '\u{2060}' => "WJ",
        '\u{2066}' => "LRI",
        '\u{2067}' => "RLI",
        '\u{2068}' => "FSI",
        '\u{2069}' => "PDI",
        '\u{feff}' => "BOM",
        _ => return format!("U+{:04X}", u32::from(c)),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        plain(text).into_string()
    }

    #[test]
    fn what_hides_is_seen() {
        for (text, seen) in [
            ("a\u{202e}b", ">RLO<"),
            ("a\u{200b}\u{200b}\u{200b}b", ">ZWSP×3<"),
            ("a\u{200d}b", ">ZWJ<"),
            ("\u{1b}[2J", ">ESC<"),
            ("a\u{e0068}\u{e0069}", ">hidden “hi”<"),
            ("a\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}", ">LRI RLI FSI PDI +1<"),
            ("é\u{fe0f}\u{fe01}", ">U+FE01<"),
            ("lone\rcr", ">CR<"),
        ] {
            let page = shown(text);
            assert!(page.contains(seen), "{page}");
            assert!(!page.contains(always), "{page:?}");
        }
    }

    #[test]
    fn what_scripts_need_stays() {
        for text in ["می\u{200c}خواهم", "👩\u{200d}👩\u{200d}👧", "❤\u{fe0f} a", "two\r\nlines\ttab", "က\u{200d}ခ"]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("one  two\nthree", 8).into_string(), "one two …");
        assert_eq!(line("one\ttwo", 8).into_string(), "one two");
    }
}
