//! Telling letters that somebody wrote from letters that chance drew, where no spaces can stand.

use std::{array, sync::LazyLock};

/// Bits by which a text must speak against chance, besides those for all the places in which it could begin. The fewer, the
/// more ciphertext is taken for text: of ten thousand values, three or so.
const SURE: u32 = 11;

/// Whether some stretch of letters, digits and signs is written as people write rather than as chance does (a sequential test
/// of likelihoods): chance draws each of base64's signs as often, people write some letters more than others, vowels after
/// consonants, and capitals where they belong.
pub(super) fn reads(value: &str) -> bool {
    let enough = f64::from(SURE + value.len().max(1).ilog2());
    STYLES.iter().any(|style| {
        let (mut bits, mut before) = (0.0, 0);
        value.bytes().any(|byte| {
            let known = style.get(before).and_then(|row| row.get(usize::from(byte)));
            let (more, next) = known.copied().unwrap_or((f64::MIN, 0));
            bits = f64::max(bits + more, 0.0);
            before = next;
            bits >= enough
        })
    })
}

/// For each [`Before`] and each byte: the bits by which it speaks for a text of this style, and the number of what it is
/// before the next.
type Style = [[(f64, usize); 128]; BEFORE.len()];

/// The styles in which words are written where no spaces can stand.
static STYLES: LazyLock<[Style; 5]> = LazyLock::new(|| {
    [
        // `likeThis`, `like_this`, `LikeThis`
        Writing { capital: [0.5, 0.15, 0.10], leet: 0.0, sign: 0.08, digit: 0.03 },
        // `LIKE_THIS`
        Writing { capital: [0.95, 0.90, 0.95], leet: 0.0, sign: 0.08, digit: 0.03 },
        // `l1k3_th15`, `L1k3Th15`
        Writing { capital: [0.4, 0.15, 0.10], leet: 0.5, sign: 0.10, digit: 0.02 },
        // `lIkE_tHiS`
        Writing { capital: [0.5, 0.5, 0.5], leet: 0.0, sign: 0.06, digit: 0.02 },
        // `lIk3_tH15`
        Writing { capital: [0.45, 0.45, 0.45], leet: 0.25, sign: 0.06, digit: 0.02 },
    ]
    .map(|writing| BEFORE.map(|before| array::from_fn(|byte| writing.judge(before, u8::try_from(byte).unwrap_or_default()))))
});

/// The letter before, if there is one.
type Before = Option<Letter>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Letter {
    vowel: bool,
    capital: bool,
}

const BEFORE: [Before; 5] = [
    None,
    Some(Letter { vowel: true, capital: false }),
    Some(Letter { vowel: true, capital: true }),
    Some(Letter { vowel: false, capital: false }),
    Some(Letter { vowel: false, capital: true }),
];

/// How often each letter from `a` on stands in a thousand, about, in English, Malay, Indonesian, Filipino and unaccented
/// Vietnamese.
const FREQUENCY: [f64; 26] = [
    120.0, 22.0, 25.0, 38.0, 95.0, 12.0, 30.0, 42.0, 78.0, 6.0, 30.0, 40.0, 36.0, 85.0, 58.0, 26.0, 2.0, 52.0, 52.0, 65.0,
    40.0, 8.0, 13.0, 3.0, 19.0, 3.0,
];

/// How often what is written in a style.
struct Writing {
    /// Capitals among letters: the first ones, those after small letters, those after capitals.
    capital: [f64; 3],
    /// Digits that stand for letters, among all that could.
    leet: f64,
    sign: f64,
    digit: f64,
}

impl Writing {
    fn judge(&self, before: Before, byte: u8) -> (f64, usize) {
        let stands_for = leet(byte).filter(|_| self.leet > 0.0);
        let letter = if byte.is_ascii_alphabetic() { Some(byte.to_ascii_lowercase()) } else { stands_for };
        let next = letter.map(|letter| Letter { vowel: is_vowel(letter), capital: byte.is_ascii_uppercase() });
        let [first, after_small, after_capital] = self.capital;
        let capital = before.map_or(first, |before| if before.capital { after_capital } else { after_small });
        let letters = 1.0 - self.sign - self.digit;
        let likely = if byte.is_ascii_digit() {
            self.digit / 10.0 + letter.map_or(0.0, |letter| letters * self.leet * frequency(before, letter))
        } else if let Some(letter) = letter {
            let case = if byte.is_ascii_uppercase() { capital } else { 1.0 - capital };
            let plain = if (b'0'..=b'9').any(|digit| leet(digit) == Some(letter)) { 1.0 - self.leet } else { 1.0 };
            letters * frequency(before, letter) * case * plain
        } else {
            // Two signs in a row are rare.
            self.sign / if before.is_some() { 2.0 } else { 4.0 }
        };
        ((likely * 64.0).log2(), BEFORE.iter().position(|before| *before == next).unwrap_or_default())
    }
}

/// How often a letter stands after another.
fn frequency(before: Before, letter: u8) -> f64 {
    // So that no language's rare letters speak too much against it.
    let even = |frequency: f64| 0.85 * frequency / FREQUENCY.iter().sum::<f64>() + 0.15 / 26.0;
    let alone = |letter: u8| FREQUENCY.get(usize::from(letter.wrapping_sub(b'a'))).copied().map_or(0.0, even);
    let vowels: f64 = (b'a'..=b'z').filter(|letter| is_vowel(*letter)).map(alone).sum();
    let vowel = before.map_or(vowels, |before| if before.vowel { 0.15 } else { 0.58 });
    alone(letter) * if is_vowel(letter) { vowel / vowels } else { (1.0 - vowel) / (1.0 - vowels) }
}

pub(super) fn is_vowel(letter: u8) -> bool {
    b"aeiouy".contains(&letter)
}

/// The letter that a digit may stand for.
pub(super) fn leet(digit: u8) -> Option<u8> {
    Some(match digit {
        b'0' => b'o',
        b'1' => b'i',
        b'3' => b'e',
        b'4' => b'a',
        b'5' => b's',
        b'7' => b't',
        _ => return None,
    })
}
