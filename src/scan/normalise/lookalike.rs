//! Letters that look like an ASCII letter, and the words in which they are there to deceive.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

use super::fold::decorative;

/// The ASCII letter that another letter looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Alike {
    plain: char,
    /// The same shape (UTS 39), not only one that is read for it among ASCII letters.
    strict: bool,
}

/// What a character is to the word that it stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Latin,
    Alike(Alike),
    /// A small capital: Latin, but no language's.
    Ornament(char),
    /// A letter of a script with look-alikes that is none.
    Foreign,
    /// Goes with its neighbours: a mark, an ASCII digit.
    Neutral,
    /// Ends the word: no letter, or one of a script that is left alone.
    Break,
}

/// The small capitals, and two letters of the phonetic alphabet with the shape of an ASCII one.
fn ornament(c: char) -> Option<char> {
    const FANCY: &str = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢɑɡ";
    const PLAIN: &str = "abcdefghijklmnopqrstuvwyzag";
    if !matches!(c, '\u{250}'..='\u{2af}' | '\u{1d00}'..='\u{1d22}' | '\u{a730}' | '\u{a731}' | '\u{a7af}') {
        return None;
    }
    FANCY.chars().zip(PLAIN.chars()).find(|(fancy, _)| *fancy == c).map(|(_, plain)| plain)
}

/// Shapes that are read for an ASCII letter when they stand among ASCII letters, beyond those of UTS 39.
fn loose(c: char) -> Option<char> {
    Some(match c {
        'Λ' => 'A',
        'β' | 'ß' | 'б' | 'ь' | 'ƅ' => 'b',
        'Σ' | 'Є' | 'Ꞓ' | 'Ԑ' => 'E',
        'ε' | 'є' | 'ꞓ' | 'ԑ' => 'e',
        'ĸ' => 'k',
        'ʍ' => 'm',
        'И' => 'N',
        'η' | 'π' | 'п' | 'и' => 'n',
        'ө' | 'ѳ' => 'o',
        'Я' => 'R',
        'я' => 'r',
        'Ш' => 'W',
        'ω' => 'w',
        _ => return ornament(c),
    })
}

/// Latin letters beyond ASCII, those of phonetic alphabets included.
pub(super) fn latin(c: char) -> bool {
    let block = matches!(
        c,
        'ª' | 'º'
            | '\u{c0}'..='\u{2af}'
            | '\u{1d00}'..='\u{1d25}'
            | '\u{1d6b}'..='\u{1dbf}'
            | '\u{1e00}'..='\u{1eff}'
            | '\u{2c60}'..='\u{2c7f}'
            | '\u{a722}'..='\u{a7ff}'
            | '\u{ab30}'..='\u{ab64}'
    );
    block && c.is_alphabetic()
}

/// Scripts with letters shaped like Latin ones that are written left to right, by their blocks. Hebrew and Arabic have some
/// by the tables, but nobody reads them so.
fn deceptive(c: char) -> bool {
    let block = matches!(
        c,
        // Greek, Cyrillic, Armenian.
        '\u{370}'..='\u{58f}' | '\u{1c80}'..='\u{1c8f}' | '\u{1f00}'..='\u{1fff}' | '\u{a640}'..='\u{a69f}'
            // Georgian, Cherokee, Canadian syllabics, runes, Coptic, Tifinagh, Lisu.
            | '\u{10a0}'..='\u{10ff}' | '\u{1c90}'..='\u{1cbf}' | '\u{2d00}'..='\u{2d2f}'
            | '\u{13a0}'..='\u{13ff}' | '\u{ab70}'..='\u{abbf}'
            | '\u{1400}'..='\u{16ff}' | '\u{18b0}'..='\u{18ff}'
            | '\u{2c80}'..='\u{2cff}' | '\u{2d30}'..='\u{2d7f}' | '\u{a4d0}'..='\u{a4ff}'
            // Letter-like and mathematical signs, Old Italic, Deseret.
            | '\u{2100}'..='\u{214f}' | '\u{1d400}'..='\u{1d7ff}' | '\u{10300}'..='\u{1032f}' | '\u{10400}'..='\u{1044f}'
    );
    block && c.is_alphabetic()
}

/// No word of look-alikes is waited for longer, in bytes.
const WORD: usize = 512;

/// A growing text without its last word, if that has letters that look like others: what they are taken for may change with
/// what is to come of the word.
#[must_use]
pub fn steady(text: &str) -> &str {
    let near = text.ceil_char_boundary(text.len().saturating_sub(WORD));
    let Some((before, last)) = text.split_at_checked(near) else { return text };
    let word = last.rfind(|c: char| c.is_ascii_whitespace()).map_or(0, |at| at + 1);
    let whole = word > 0 || before.is_empty();
    let doubtful = last.get(word..).is_some_and(|word| word.contains(deceptive));
    if whole && doubtful { text.get(..near + word).unwrap_or(text) } else { text }
}

fn alike(c: char) -> Option<Alike> {
    let mut shape = [0; 4];
    let mut prototype = skeleton(c.encode_utf8(&mut shape));
    let first = prototype.next()?;
    if prototype.next().is_none() && first.is_ascii_alphabetic() {
        // The tables have one prototype for I, l, 1 and |.
        return Some(Alike { plain: if first == 'l' && c.is_uppercase() { 'I' } else { first }, strict: true });
    }
    loose(c).or_else(|| loose(first)).map(|plain| Alike { plain, strict: false })
}

const CACHED: u32 = 0x370;

/// [`part`] for Greek, Cyrillic and Armenian, which are most of what is asked for.
static PARTS: LazyLock<Vec<Part>> =
    LazyLock::new(|| (CACHED..0x590).map(|code| char::from_u32(code).map_or(Part::Break, work_out)).collect());

fn part(c: char) -> Part {
    if c.is_ascii() {
        return match c {
            _ if c.is_ascii_alphabetic() => Part::Latin,
            _ if c.is_ascii_digit() => Part::Neutral,
            _ => Part::Break,
        };
    }
    let cached = (c as u32).checked_sub(CACHED).and_then(|at| PARTS.get(at as usize));
    cached.copied().unwrap_or_else(|| work_out(c))
}

fn work_out(c: char) -> Part {
    // Hebrew to Burmese, the kana and Han, Hangul: nothing to look up for most texts with something to fold.
    if matches!(c, '\u{590}'..='\u{109f}' | '\u{3000}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}') {
        return Part::Break;
    }
    if let Some(plain) = ornament(c) {
        return Part::Ornament(plain);
    }
    match c {
        _ if decorative(c) => Part::Neutral,
        _ if latin(c) => Part::Latin,
        _ if deceptive(c) => alike(c).map_or(Part::Foreign, Part::Alike),
        _ => Part::Break,
    }
}

/// What a word's letters say about it.
#[derive(Clone, Copy, Default)]
struct Word {
    latin: usize,
    ornaments: usize,
    strict: usize,
    loose: usize,
    foreign: usize,
    /// A small Greek letter other than omicron, which alone is a symbol: α, ρ, ν.
    symbol: bool,
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Honest,
    /// Deceives in a text whose letters are mostly Latin.
    Doubtful,
    Deceives,
}

impl Word {
    fn add(&mut self, c: char, part: Part) {
        match part {
            Part::Latin => self.latin += 1,
            Part::Ornament(_) => self.ornaments += 1,
            Part::Alike(alike) if alike.strict => self.strict += 1,
            Part::Alike(_) => self.loose += 1,
            Part::Foreign => self.foreign += 1,
            Part::Neutral | Part::Break => {}
        }
        self.symbol |= matches!(c, 'α'..='ξ' | 'π'..='ω' | '\u{3d0}'..='\u{3ff}');
    }

    fn verdict(self) -> Verdict {
        let alike = self.strict + self.loose + self.ornaments;
        if self.latin > 0 && alike > 0 {
            return Verdict::Deceives;
        }
        let all = self.latin + self.foreign + self.loose == 0 && alike > 0;
        if all && !(alike == 1 && self.symbol) { Verdict::Doubtful } else { Verdict::Honest }
    }
}

/// Folds the look-alikes among the characters of a text, which are decomposed, in the words where they deceive. Tells whether
/// it left a word because `latin`, that the text is mostly Latin, is not said.
pub(super) fn unmask<T>(items: &mut [T], latin: bool, letter: impl Fn(&mut T) -> &mut char) -> bool {
    let mut doubtful = false;
    let mut rest = items;
    while !rest.is_empty() {
        let mut word = Word::default();
        let length = rest
            .iter_mut()
            .position(|item| {
                let c = *letter(item);
                let part = part(c);
                word.add(c, part);
                part == Part::Break
            })
            .map_or(rest.len(), |at| at + 1);
        let (head, tail) = rest.split_at_mut(length);
        rest = tail;
        match word.verdict() {
            Verdict::Honest => continue,
            Verdict::Doubtful if !latin => {
                doubtful = true;
                continue;
            }
            _ => {}
        }
        for item in head {
            let c = letter(item);
            if let Part::Alike(Alike { plain, .. }) | Part::Ornament(plain) = part(*c) {
                *c = plain;
            }
        }
    }
    doubtful
}

/// Whether the letters of a text, but for the words in doubt, are more often Latin than of a script with look-alikes. Thai
/// and the like say nothing about what a Cyrillic word is doing there.
pub(super) fn mostly_latin(text: &str) -> bool {
    let (mut latin, mut foreign) = (0, 0);
    let mut word = Word::default();
    for c in text.nfd().chain(['\n']) {
        let part = part(c);
        word.add(c, part);
        if part == Part::Break {
            latin += word.latin + word.ornaments;
            foreign += word.foreign;
            if word.verdict() != Verdict::Doubtful {
                foreign += word.strict + word.loose;
            }
            word = Word::default();
        }
    }
    latin > foreign
}
