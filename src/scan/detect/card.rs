//! Payment cards: the issuers' ranges and lengths, the groups that cards are printed in, and the Luhn check.

use std::sync::LazyLock;

use regex::Regex;

use super::number::{Number, OTHER};
use super::{context, pattern};

/// Digits of a group as printed on most cards, and of most cards.
const GROUP: usize = 4;
const CARD: usize = 16;

static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?-u:\b)(?:cards?|kartu|kad|visa|master ?card|maestro|amex|rupay|mir|napas|credit|debit|debet|kredit|cc|ccn)(?-u:\b)",
        r"|thẻ|บัตร|ကတ်|அட்டை|कार्ड",
    ))
});
/// What a number may be written on to.
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern("(?i)(?:^|[^0-9a-z_])(?:card|visa|master ?card|amex|cc)(?:no)?$"));
/// A security code or the last month, written on to a number.
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    pattern("^[-\u{2010}-\u{2015}\u{2212}](?:[0-9]{3,4}|[0-9]{2}/[0-9]{2}(?:[0-9]{2})?)(?:$|[^0-9A-Za-z_/-])")
});

/// What it takes for a number of an issuer's to be a card.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    None,
    /// To be written in groups, or named by a word before it.
    Groups,
    /// To be named by a word.
    Word,
}

/// Whether the candidate is a card number that stands apart.
pub(super) fn stands(number: &Number<'_>) -> bool {
    let before = || NAME.is_match(context::before(number.text, number.range.start));
    let after = || CODE.is_match(number.text.get(number.range.end..).unwrap_or_default());
    (!number.joined_before() || before()) && (!number.joined_after() || after()) && is_card(number)
}

/// Whether the candidate is a card number.
pub(super) fn is_card(number: &Number<'_>) -> bool {
    let Some(proof) = issued(number.digits).filter(|_| !number.plus && luhn(number.digits) && varied(number.digits)) else {
        return false;
    };
    let said = || WORDS.is_match(context::before(number.text, number.range.start));
    let proven = match proof {
        Proof::None => true,
        Proof::Groups => !number.bare() || said(),
        Proof::Word => said(),
    };
    proven && grouped(number, &said) && (is_apart(number) || said())
}

/// One group, or groups as printed, or some of those run together.
fn grouped(number: &Number<'_>, said: &impl Fn() -> bool) -> bool {
    let groups: Vec<usize> = number.shape.split(|c: char| !c.is_ascii_digit()).map(str::len).collect();
    let marks: Vec<char> = number.shape.chars().filter(|c| !c.is_ascii_digit()).collect();
    let alike = marks.iter().all(|mark| marks.first() == Some(mark));
    match groups.as_slice() {
        [_] => true,
        [4, 4, 4, 4] => alike || (!marks.contains(&OTHER) && !number.in_a_row()),
        [4, 4, 4, 4, 1..=3] | [4, 6, 4 | 5] | [4, 3, 3, 3] | [6, 13] | [4, 8, 4] => alike,
        // Two telephone numbers look like that too, but none begins so.
        [8, 8] => alike && (number.digits.starts_with(['4', '5']) || said()),
        _ => false,
    }
}

/// Whether the candidate is not one of many in a row of small numbers: at most one of its size is beside it, or else cards are,
/// of which the last may have its last month.
fn is_apart(number: &Number<'_>) -> bool {
    let [before, after] = number.row();
    let cards = |row: &str| {
        let card = |at: usize| row.get(at..at + CARD).is_some_and(|digits| issued(digits).is_some() && luhn(digits));
        row.len().is_multiple_of(CARD) && (0..row.len()).step_by(CARD).all(card)
    };
    // What is farthest off may be cut.
    let whole = |row: &str| if row.len() % CARD == GROUP { row.len() - GROUP } else { row.len() };
    before.len() + after.len() <= GROUP
        || (cards(before.get(before.len() - whole(&before)..).unwrap_or_default())
            && cards(after.get(..whole(&after)).unwrap_or_default()))
}

fn issued(digits: &str) -> Option<Proof> {
    let head = |n: usize| digits.get(..n).and_then(|head| head.parse::<u32>().ok()).unwrap_or(0);
    let length = digits.len();
    let (lengths, proof): (&[usize], Proof) = match (head(2), head(3), head(4)) {
        (34 | 37, ..) => (&[15], Proof::None), // American Express
        (36 | 38 | 39, ..) | (_, 300..=305, _) | (.., 3095) => (&[14, 16], Proof::None), // Diners Club
        (40..=49, ..) if length == 13 => (&[13], Proof::Word), // Visa of old: so long are the numbers of goods
        (40..=49, ..) => (&[16, 19], Proof::None), // Visa
        (51..=55, ..) | (.., 2221..=2720) => (&[16], Proof::None), // Mastercard
        // JCB, UnionPay, Discover, Mir, NAPAS
        (62 | 65, ..) | (_, 644..=649, _) | (.., 3528..=3589 | 6011 | 8100..=8171 | 2200..=2204 | 9704) => {
            (&[16, 17, 18, 19], Proof::None)
        }
        (50 | 56..=61 | 63 | 66..=69 | 81 | 82, ..) => (&[16, 17, 18, 19], Proof::Groups), // RuPay, Maestro
        _ => return None,
    };
    lengths.contains(&length).then_some(proof)
}

/// A filler such as `4444 4444 4444 4444` is no card, whatever its check digit.
pub(super) fn varied(digits: &str) -> bool {
    digits.as_bytes().windows(2).any(|pair| pair.first() != pair.last())
}

fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .map(|digit| u32::from(digit - b'0'))
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};

    #[test]
    fn cards() {
        finds(
            "payment_card",
            &[
                ("4111 1111 1111 1111", "4111 1111 1111 1111"),
                ("visa 4111111111111111.", "4111111111111111"),
                ("หมายเลขบัตร4012-8888-8888-1881ค่ะ", "4012-8888-8888-1881"),
                ("nomor kartu saya 5555555555554444, berlaku 12/27", "5555555555554444"),
                ("ကတ်နံပါတ် ၄၁၁၁ ၁၁၁၁ ၁၁၁၁ ၁၁၁၁ ဖြစ်ပါတယ်", "၄၁၁၁ ၁၁၁၁ ၁၁၁၁ ၁၁၁၁"),
                ("Amex 3782 822463 10005 12/27 1234", "3782 822463 10005"),
                ("số thẻ 2223003122003222 nhé", "2223003122003222"),
                ("JCB: 3530-1113-3330-0000", "3530-1113-3330-0000"),
                ("என் அட்டை எண் 6011111111111117", "6011111111111117"),
                ("Diners 3056 930902 5904", "3056 930902 5904"),
                ("kad saya 6200 0000 0000 0005 ya", "6200 0000 0000 0005"),
                ("ang card ko ay (5105105105105100)", "5105105105105100"),
                ("4111111111111111,123", "4111111111111111"),
                ("4111111111111111/12/27", "4111111111111111"),
                ("row 7 4111 1111 1111 1111 12 27 123", "4111 1111 1111 1111"),
                ("4111 1111 1111 1111 1227", "4111 1111 1111 1111"),
                ("4111 1111 1111 1111 5500 0000 0000 0004", "5500 0000 0000 0004"),
                ("my card 4111 1111 1111 1111 1227 0123", "4111 1111 1111 1111"),
                ("4111  1111  1111  1111", "4111  1111  1111  1111"),
                ("4111\n1111\n1111\n1111", "4111\n1111\n1111\n1111"),
                ("4111\t1111\t1111\t1111", "4111\t1111\t1111\t1111"),
                ("4111.1111.1111.1111", "4111.1111.1111.1111"),
                ("4111_1111_1111_1111", "4111_1111_1111_1111"),
                ("4111/1111/1111/1111", "4111/1111/1111/1111"),
                ("4111 1111-1111 1111", "4111 1111-1111 1111"),
                ("41111111 11111111", "41111111 11111111"),
                ("4111 11111111 1111", "4111 11111111 1111"),
                ("card4111111111111111", "4111111111111111"),
                ("4111 1111 1111 1111-123", "4111 1111 1111 1111"),
                ("4111111111111111-12/27", "4111111111111111"),
                ("NAPAS: 9704000000131375", "9704000000131375"),
                ("9704000000000147213", "9704000000000147213"),
                ("2200000000234322", "2200000000234322"),
                ("5081 0000 0012 3456", "5081 0000 0012 3456"),
                ("rupay 6070000000313512", "6070000000313512"),
                ("Maestro 6759000000131375", "6759000000131375"),
                ("visa 4022200345684", "4022200345684"),
            ],
        );
    }

    #[test]
    fn no_cards() {
        finds_none(
            "payment_card",
            &[
                "4111 1111 1111 1112",
                "41111111111111110000000",
                "4111-1111-1111-1111-9",
                "x4111111111111111",
                "4111111111111111f",
                "0.4111111111111111",
                "4111    1111    1111    1111",
                "4999-5678 4111 1111 1111 1112",
                "62345678 91234562",
                "4022200345684",
                "6759000000131375",
                "number 6070000000313512",
                "discard4111111111111111",
                "4111111111111111-12345",
                "41 1111 1111 1111 11",
                "9111111111111113",
                "4444444444444444",
                "0000 0000 0000 0000",
                "411111111111111",
                "2024-05-01 12:30:00 4111",
                "ราคา 4,111,111,111,111,111 บาท",
                "mã đơn 550e8400-e29b-41d4-a716-446655440000",
                "+4111111111111111",
            ],
        );
    }

    #[test]
    fn a_row_of_small_numbers_holds_no_cards() {
        // One in ten of those that could be a card has the right last digit.
        let row = |by: &str| (0..200).map(|n| (4000 + n * 377 % 1000).to_string()).collect::<Vec<_>>().join(by);
        finds_none("payment_card", &[&row(" "), &row("\n"), &row("\t"), &row("/")]);
        let cards = vec!["4111 1111 1111 1111"; 40];
        for by in [" ", "\n", ", "] {
            let found = super::super::find(&cards.join(by));
            assert_eq!(found.iter().filter(|f| f.detector == "payment_card").count(), cards.len(), "but {by:?} parts cards");
        }
    }
}
