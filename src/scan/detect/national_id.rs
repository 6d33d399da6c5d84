//! National identity numbers of Thailand, Indonesia and Malaysia; Singapore's, with its letters, is in `nric`.
//!
//! Where a number has a check digit, that decides; where it has only plausible parts, or many innocent numbers look like it, a
//! word nearby must say what it is.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::number::Number;
use super::{card, context, pattern};

static CITIZEN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:\d{13}|\d[ -]\d{4}[ -]\d{5}[ -]\d{2}[ -]\d)$"));
static NIK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:\d{16}|\d{6}[ .-]\d{6}[ .-]\d{4}|\d{4} \d{4} \d{4} \d{4}|\d{4}-\d{4}-\d{4}-\d{4}|\d\d\.\d\d\.\d\d\.\d{6}\.\d{4})$",
    )
});
static MYKAD: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:\d{12}|\d{6}-\d\d-\d{4}|\d{6} \d\d \d{4})$"));

static CITIZEN_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)ประชาชน|ประจำตัว|เลขบัตร|(?-u:\b)(?:thai id|citizen id|national id|id card|id no|id number)(?-u:\b)")
});
static NIK_WORDS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?-u:\b)(?:nik|e?-?ktp|nomor induk|kependudukan|identitas)(?:ku|mu|nya)?(?-u:\b)"));
static MYKAD_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)(?-u:\b)(?:ic|i/c|nric|my ?kad|kad pengenalan|identity card|no\.? ?kp|national id)(?-u:\b)")
});

/// The identity number that the candidate is. `assume` takes any word that could be needed as said: what may still become one.
pub(super) fn recognise(number: &Number<'_>, assume: bool) -> Option<&'static str> {
    if number.plus {
        return None;
    }
    let said = |words: &Regex| {
        assume
            || words.is_match(context::before(number.text, number.range.start))
            || words.is_match(context::after(number.text, number.range.end))
    };
    match number.digits.len() {
        12 if MYKAD.is_match(number.shape) && mykad(number.digits) => {
            (!number.bare() || said(&MYKAD_WORDS)).then_some("national_id.my")
        }
        13 if CITIZEN.is_match(number.shape) && citizen(number.digits) => {
            (!(number.bare() && instant(number.digits)) || said(&CITIZEN_WORDS)).then_some("national_id.th")
        }
        16 if NIK.is_match(number.shape) && nik(number.digits) => {
            (!card::is_card(number) || said(&NIK_WORDS)).then_some("national_id.id")
        }
        _ => None,
    }
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
