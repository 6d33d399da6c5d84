//! Singapore's NRIC and FIN numbers: a letter, seven digits, and a letter that checks them.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

static NRIC: LazyLock<Regex> = LazyLock::new(|| pattern("[STFGMstfgm][0-9]{7}[A-Za-z]"));

/// The numbers in the text.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    // Neighbours must not be letters or digits, so no two that pass can overlap, and skipping over one that fails hides none.
    NRIC.find_iter(text)
        .filter(|found| super::stands_alone(text, found.range()) && checked(found.as_str()))
        .map(|found| found.range())
}

fn checked(id: &str) -> bool {
    let id = id.to_ascii_uppercase();
    let (Some(kind), Some(digits), Some(letter)) = (id.chars().next(), id.get(1..8), id.chars().last()) else { return false };
    let sum: u32 = digits.bytes().zip([2, 7, 6, 5, 4, 3, 2]).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    let (offset, letters) = match kind {
        'S' => (0, "JZIHGFEDCBA"),
        'T' => (4, "JZIHGFEDCBA"),
        'F' => (0, "XWUTRQPNMLK"),
        'G' => (4, "XWUTRQPNMLK"),
        _ => (3, "XWUTRQPNJLK"),
    };
    letters.chars().nth((sum + offset) as usize % 11) == Some(letter)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};

    #[test]
    fn singapore() {
        finds(
            "national_id.sg",
            &[
                ("S1234567D", "S1234567D"),
                ("s1234567d", "s1234567d"),
                ("My NRIC is T1234567J.", "T1234567J"),
                ("หมายเลขG1234567Xครับ", "G1234567X"),
                ("FIN: F1234567N", "F1234567N"),
                ("M1234567K is a new FIN", "M1234567K"),
                ("nric saya (S9812381D)", "S9812381D"),
                ("số của tôi: S0000001I", "S0000001I"),
                ("என் எண் S1234567D", "S1234567D"),
                ("ang NRIC ko ay S1234567D, salamat", "S1234567D"),
                ("ကျွန်တော့်S1234567Dပါ", "S1234567D"),
            ],
        );
        finds_none(
            "national_id.sg",
            &[
                "S1234567A",
                "A1234567D",
                "S123456D",
                "S12345678D",
                "XS1234567D",
                "S1234567DX",
                "S1234567",
                "S 1234567 D",
                "S1234567D2",
                "_S1234567D",
                "T1234567D",
                "รหัส G1234567A",
                "kod M1234567A",
                "SKU-S7654321A",
            ],
        );
    }
}
