//! National identity numbers that are written in digits alone; those with letters are in `nric`, `nrc` and `pan`.
//!
//! Where a number has a check digit, that decides; where it has only plausible parts, or many innocent numbers look like it, a
//! word nearby must say what it is.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::number::Number;
use super::{card, context, pattern, phone};

/// A kind of number.
struct Kind {
    detector: &'static str,
    /// The groups in which it is written.
    shape: Regex,
    /// Whether the digits can be one.
    holds: fn(&str) -> bool,
    /// What people call it.
    words: Regex,
    /// Whether it needs no word.
    alone: fn(&Number<'_>) -> bool,
}

impl Kind {
    fn new(detector: &'static str, shape: &str, holds: fn(&str) -> bool, words: &str, alone: fn(&Number<'_>) -> bool) -> Self {
        let shape = pattern(&format!("^(?:{shape})$"));
        let words = pattern(&format!("(?i)(?:^|[^a-z0-9_])(?:{words})(?:$|[^a-z0-9_])"));
        Self { detector, shape, holds, words, alone }
    }
}

static KINDS: LazyLock<[Kind; 12]> = LazyLock::new(|| {
    let never = |_: &Number<'_>| false;
    let philippine = |shape, words| Kind::new("national_id.ph", shape, card::varied, words, never);
    [
        Kind::new(
            "national_id.my",
            r"\d{12}|\d{6}-\d\d-\d{4}|\d{6} \d\d \d{4}",
            mykad,
            r"ic|i/c|nric|my ?kad|kad pengenalan|identity card|no\.? ?kp|national id|அடையாள அட்டை",
            |number| !number.bare(),
        ),
        Kind::new(
            "national_id.th",
            r"\d{13}|\d[ -]\d{4}[ -]\d{5}[ -]\d{2}[ -]\d",
            citizen,
            "thai id|citizen id|national id|id card|id no|id number|ประชาชน|ประจำตัว|เลขบัตร",
            |number| !(number.bare() && (instant(number.digits) || barcode(number.digits))),
        ),
        Kind::new(
            "national_id.id",
            r"\d{16}|\d{6}[ .-]\d{6}[ .-]\d{4}|\d{4} \d{4} \d{4} \d{4}|\d{4}-\d{4}-\d{4}-\d{4}|\d\d\.\d\d\.\d\d\.\d{6}\.\d{4}",
            nik,
            "(?:nik|e?-?ktp|nomor induk|kependudukan|identitas)(?:ku|mu|nya)?",
            |number| !card::is_card(number),
        ),
        Kind::new(
            "national_id.vn",
            r"\d{12}|\d{3}[ .]\d{3}[ .]\d{6}|\d{3}[ .]\d{3}[ .]\d{3}[ .]\d{3}|\d{4} \d{4} \d{4}",
            cccd,
            VIETNAMESE,
            never,
        ),
        Kind::new("national_id.vn", r"\d{9}|\d{3}[ .]\d{3}[ .]\d{3}", card::varied, VIETNAMESE, never),
        Kind::new(
            "national_id.in.aadhaar",
            r"\d{12}|\d{4}[ -]\d{4}[ -]\d{4}",
            aadhaar,
            "aadh?aar|adhar|uidai|uid|आधार|ஆதார்",
            // One in ten numbers passes the check.
            |number| {
                let before = context::before(number.text, number.range.start);
                number.shape.contains(' ') && !number.in_a_row() && !phone::otherwise(before)
            },
        ),
        philippine(r"\d{16}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4}", "phil ?sys|e?-?phil ?id|pcn|national id|pambansang id"),
        philippine(
            r"\d{9}|\d{12}|\d{14}|\d{3}[ -]\d{3}[ -]\d{3}(?:[ -]\d{3}|[ -]\d{5})?",
            r"(?-i:TIN)|t\.i\.n|tin (?:no|number|id|ko)|taxpayer|tax identification",
        ),
        philippine(r"\d{10}|\d\d[ -]\d{7}[ -]\d", "sss|social security"),
        philippine(r"\d{12}|\d{4}[ -]\d{7}[ -]\d", "crn|umid|gsis|common reference"),
        philippine(r"\d{12}|\d\d[ -]\d{9}[ -]\d", "phil ?health|phic"),
        philippine(r"\d{12}|\d{4}[ -]\d{4}[ -]\d{4}", "pag-?ibig|hdmf|mid (?:no|number)"),
    ]
});

const VIETNAMESE: &str = "cccd|cmnd|cmtnd|cmt|căn cước|chứng minh|định danh|can cuoc|chung minh";

/// The identity number that the candidate is; what a word says counts before what its digits tell. `assume` takes any word
/// that could be needed as said: what may still become one.
pub(super) fn recognise(number: &Number<'_>, assume: bool) -> Option<&'static str> {
    if number.plus || !matches!(number.digits.len(), 9 | 10 | 12..=14 | 16) {
        return None;
    }
    let fits: Vec<&Kind> =
        KINDS.iter().filter(|kind| kind.shape.is_match(number.shape) && (kind.holds)(number.digits)).collect();
    if fits.is_empty() {
        return None;
    }
    // In a row of numbers any few may look like one, and words after it would be waited for again and again.
    let in_row = number.row().iter().any(|side| !side.is_empty());
    let (before, after) = (context::before(number.text, number.range.start), context::after(number.text, number.range.end));
    let said = |kind: &&&Kind| kind.words.is_match(before) || (!in_row && (assume || kind.words.is_match(after)));
    let alone = |kind: &&&Kind| !in_row && (kind.alone)(number);
    fits.iter().find(said).or_else(|| fits.iter().find(alone)).map(|kind| kind.detector)
}

/// A number of the given digits, 0 if they are not there.
fn part(digits: &str, range: Range<usize>) -> u32 {
    digits.get(range).and_then(|part| part.parse().ok()).unwrap_or(0)
}

fn citizen(digits: &str) -> bool {
    let sum: u32 = digits.bytes().zip((2..=13).rev()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    (1..=8).contains(&part(digits, 0..1))
        && matches!(part(digits, 1..3), 10..=27 | 30..=49 | 50..=58 | 60..=67 | 70..=77 | 80..=86 | 90..=96)
        && (11 - sum % 11) % 10 == part(digits, 12..13)
}

/// Whether the digits may be milliseconds since 1970, from 2020 to 2030: one in ten passes for a Thai number.
fn instant(digits: &str) -> bool {
    ("1577".."1900").contains(&digits)
}

/// Whether the digits may be an article's number (EAN-13): one in ten passes for a Thai number.
fn barcode(digits: &str) -> bool {
    let sum: u32 = digits.bytes().zip([1, 3].into_iter().cycle()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    sum.is_multiple_of(10)
}

fn nik(digits: &str) -> bool {
    matches!(part(digits, 0..2), 11..=19 | 21 | 31..=36 | 51..=53 | 61..=65 | 71..=76 | 81 | 82 | 91..=97)
        && part(digits, 2..4) > 0
        && part(digits, 4..6) > 0
        && matches!(part(digits, 6..8), 1..=31 | 41..=71)
        && date(part(digits, 6..8) % 40, part(digits, 8..10))
        && part(digits, 12..16) > 0
}

fn mykad(digits: &str) -> bool {
    date(part(digits, 4..6), part(digits, 2..4))
        && matches!(part(digits, 6..8), 1..=16 | 21..=68 | 71 | 72 | 74..=79 | 82..=93 | 98 | 99)
}

/// Whether the day can stand in the month; a leap day in any year.
fn date(day: u32, month: u32) -> bool {
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// Province, century with gender, and a serial number that is not all one digit.
fn cccd(digits: &str) -> bool {
    const PROVINCES: [u32; 63] = [
        1, 2, 4, 6, 8, 10, 11, 12, 14, 15, 17, 19, 20, 22, 24, 25, 26, 27, 30, 31, 33, 34, 35, 36, 37, 38, 40, 42, 44, 45, 46,
        48, 49, 51, 52, 54, 56, 58, 60, 62, 64, 66, 67, 68, 70, 72, 74, 75, 77, 79, 80, 82, 83, 84, 86, 87, 89, 91, 92, 93, 94,
        95, 96,
    ];
    PROVINCES.contains(&part(digits, 0..3)) && part(digits, 3..4) < 4 && part(digits, 6..12) > 0
}

/// A first digit from 2 on, and Verhoeff's check digit.
fn aadhaar(digits: &str) -> bool {
    const MOVES: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |digit, times| (0..times).fold(digit, |d, _| MOVES.get(usize::from(d)).copied().unwrap_or(d));
    // Products in the group of the pentagon's symmetries.
    let product = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b) % 5,
        (false, true) => 5 + (a - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let places = digits.bytes().rev().enumerate().map(|(at, digit)| permuted(digit - b'0', at % 8));
    digits.starts_with(|c| c > '1') && card::varied(digits) && places.fold(0, product) == 0
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};

    #[test]
    fn thailand() {
        finds(
            "national_id.th",
            &[
                ("1101700230708", "1101700230708"),
                ("1-1017-00230-70-8", "1-1017-00230-70-8"),
                ("1 1017 00230 70 8", "1 1017 00230 70 8"),
                ("เลขบัตรประชาชน๑๑๐๑๗๐๐๒๓๐๗๐๘ค่ะ", "๑๑๐๑๗๐๐๒๓๐๗๐๘"),
                ("my Thai id: 3100600445635.", "3100600445635"),
                ("nomor 1101700230708, benar", "1101700230708"),
                ("số 1101700230708 nhé", "1101700230708"),
                ("(1101700230708)", "1101700230708"),
                ("เลขประจำตัว 1720000000002 ใช่ไหม", "1720000000002"),
                ("1720000000002 คือเลขบัตรของฉัน", "1720000000002"),
                ("เลขบัตร 8851000000000", "8851000000000"),
                ("அடையாள எண் 1101700230708", "1101700230708"),
            ],
        );
        finds_none(
            "national_id.th",
            &[
                "1101700230709",
                "11017002307080",
                "1-1017-00230-70-9",
                "1101-7002-3070-8",
                "ts 1720000000002 ms",
                "9781861972712",
                "8851000000000",
                "barcode 4800010000009",
                "0101700230700",
                "a1101700230708",
                "1101700230708b",
                "3.1101700230708",
                "1-1017-00230-70-8-2",
                "ราคา 1,101,700,230,708",
            ],
        );
    }

    #[test]
    fn indonesia() {
        finds(
            "national_id.id",
            &[
                ("NIK 3171010101900001", "3171010101900001"),
                ("3273015203850004", "3273015203850004"),
                ("nomor KTP saya: 3171-0101-0190-0001 ya", "3171-0101-0190-0001"),
                ("NIK-nya 3171 0101 0190 0001", "3171 0101 0190 0001"),
                ("ktp 317101-010190-0001", "317101-010190-0001"),
                ("31.71.01.010190.0001", "31.71.01.010190.0001"),
                ("NIK: 3528010101900005", "3528010101900005"),
                ("NIK 3171 0101 0190 0001 2024", "3171 0101 0190 0001"),
                ("3528010101900005 adalah NIK saya", "3528010101900005"),
                ("เลข3171010101900001ครับ", "3171010101900001"),
                ("e-KTP (1271016502800003)", "1271016502800003"),
                ("số 3171010101900001.", "3171010101900001"),
            ],
        );
        finds_none(
            "national_id.id",
            &[
                "3171013201900001",
                "3171017201900001",
                "3171010113900001",
                "3171013002900001",
                "0171010101900001",
                "9971010101900001",
                "3171010101900000",
                "31710101019000011",
                "3100010101900001",
                "id-x3171010101900001",
                "3528010101900005",
                "3171.0101.0190.0001.5",
                "3171 0101 0190 0001 2024",
            ],
        );
    }

    #[test]
    fn malaysia() {
        finds(
            "national_id.my",
            &[
                ("900101-14-5678", "900101-14-5678"),
                ("IC: 900101145678", "900101145678"),
                ("MyKad 900101 14 5678", "900101 14 5678"),
                ("no kad pengenalan saya 850229015555", "850229015555"),
                ("900101145678 (ic saya)", "900101145678"),
                ("nric 000229-10-1234.", "000229-10-1234"),
                ("บัตร900101-14-5678ครับ", "900101-14-5678"),
                ("my i/c is 710815086543", "710815086543"),
                ("No. KP: 020308-71-0011", "020308-71-0011"),
                ("ic 080101145678", "080101145678"),
                ("அடையாள அட்டை 900101-14-5678", "900101-14-5678"),
            ],
        );
        finds_none(
            "national_id.my",
            &[
                "900101145678",
                "901301-14-5678",
                "900132-14-5678",
                "900101-17-5678",
                "900101-00-5678",
                "900230-14-5678",
                "magic 900101145678",
                "topic: 900101145678",
                "900101-14-56789",
                "A900101-14-5678",
                "1-900101-14-5678",
                "900101.14.5678",
                "order 900101145678 tiba",
                "ic of the old and very very large town of Ipoh 900101145678",
            ],
        );
    }
}
