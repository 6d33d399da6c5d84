//! Payment cards: the issuers' ranges and lengths, the groups that cards are printed in, and the Luhn check.

use super::number::Number;

/// Whether the candidate is a card number.
pub(super) fn is_card(number: &Number<'_>) -> bool {
    !number.plus && issued(number.digits) && luhn(number.digits) && varied(number.digits) && grouped(number.shape)
}

/// One group, or groups as printed, with one kind of separator throughout.
fn grouped(shape: &str) -> bool {
    let parted = |by: char| {
        let groups: Vec<usize> =
            shape.split(by).map(|group| if group.contains([' ', '-', '.']) { 0 } else { group.len() }).collect();
        matches!(groups.as_slice(), [_] | [4, 4, 4, 4] | [4, 4, 4, 4, 1..=3] | [4, 6, 4 | 5] | [4, 3, 3, 3] | [6, 13])
            && !groups.contains(&0)
    };
    parted(' ') || parted('-')
}

fn issued(digits: &str) -> bool {
    let head = |n: usize| digits.get(..n).and_then(|head| head.parse::<u32>().ok()).unwrap_or(0);
    let length = digits.len();
    match (head(2), head(3), head(4)) {
        (34 | 37, ..) => length == 15, // American Express
        (36 | 38 | 39, ..) | (_, 300..=305, _) | (.., 3095) => matches!(length, 14 | 16), // Diners Club
        (40..=49, ..) => matches!(length, 13 | 16 | 19), // Visa
        (51..=55, ..) | (.., 2221..=2720) => length == 16, // Mastercard
        // JCB, UnionPay, Discover
        (62 | 65, ..) | (_, 644..=649, _) | (.., 3528..=3589 | 6011 | 8100..=8171) => (16..=19).contains(&length),
        _ => false,
    }
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
                "4111  1111  1111  1111",
                "4111 1111-1111 1111",
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
}
