//! Telephone numbers: international ones, and the national forms of the guard's countries and the United States.
//!
//! An international number counts by its country's lengths. A national one counts by a form that prices, dates and ranges do
//! not have; forms that they share count only after a word such as "call". A form of several countries is taken for the one
//! whose language stands before it.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::number::{self, Number};
use super::{context, pattern};

/// The most digits of a number without a plus sign: `00` and an Indonesian one.
const MOST_NATIONAL: usize = 15;

/// Digits after the plus sign, by region; the last takes all other countries, whose shorter numbers are too often plain
/// quantities.
static INTERNATIONAL: LazyLock<Forms> = LazyLock::new(|| {
    Forms::new(&[
        ("phone.sg", r"65[3689]\d{7}"),
        ("phone.my", r"60[13-9]\d{7,9}"),
        ("phone.id", r"62[2-9]\d{7,11}"),
        ("phone.th", r"66[2-9]\d{7,8}"),
        ("phone.ph", r"63[2-9]\d{7,9}"),
        ("phone.vn", r"84[2-9]\d{8,9}"),
        ("phone.mm", r"95[1-9]\d{6,9}"),
        ("phone.in", r"91[1-9]\d{9}"),
        ("phone.intl", r"1[2-9]\d\d[2-9]\d{6}|(?:2|3|4|5|7|8[0-35-9]|9[02-46-9]|6[147-9])\d{8,13}"),
    ])
});

/// Forms that count by themselves.
static STRONG: LazyLock<Forms> = LazyLock::new(|| {
    Forms::new(&[
        ("phone.sg", r"65[ -][3689]\d{3}[ -]?\d{4}"),
        ("phone.sg", r"[689]\d{3} \d{4}"),
        ("phone.my", r"01\d[ .-]?\d{3,4}[ .-]?\d{4}"),
        ("phone.my", r"0[3-9][ -]\d{3,4}[ -]?\d{4}"),
        ("phone.my", r"08\d[ -]\d{3}[ -]?\d{3}"),
        ("phone.id", r"08\d\d[ .-]?\d{3,4}[ .-]?\d{3,5}"),
        ("phone.th", r"0[689]\d[ .-]?\d{3}[ .-]?\d{4}"),
        ("phone.th", r"0[689][ -]\d{4}[ -]\d{4}"),
        ("phone.th", r"02[ -]\d{3}[ -]?\d{4}"),
        ("phone.th", r"0[3457]\d[ -]\d{3}[ -]?\d{3}"),
        ("phone.ph", r"09\d\d[ .-]?\d{3}[ .-]?\d{4}"),
        ("phone.ph", r"02[ -]\d{3,4}[ -]?\d{4}"),
        ("phone.vn", r"0[35789]\d[ .-]?\d{3}[ .-]?\d{4}"),
        ("phone.vn", r"0[35789]\d\d[ .-]?\d{3}[ .-]?\d{3}"),
        ("phone.vn", r"0[35789]\d[ .]\d{3}[ .]\d\d[ .]\d\d"),
        ("phone.vn", r"0[35789]\d\d[ .]\d\d[ .]\d\d[ .]\d\d"),
        ("phone.vn", r"02[48][ .-]\d{4}[ .-]?\d{4}|02\d\d[ .-]\d{3}[ .-]?\d{4}"),
        ("phone.mm", r"09[ -]?\d{7,9}"),
        ("phone.mm", r"09[ -]?\d{1,3}[ -]\d{3}[ -]?\d{3,4}"),
        ("phone.id", r"0[2-9]\d{1,2}[ -]\d{3,4}[ -]?\d{3,4}"),
        ("phone.vn", r"02\d{1,2}[ .-]\d{3,4}[ .-]?\d{3,4}"),
        ("phone.intl", r"(?:1[ .-])?[2-9]\d\d[ .-][2-9]\d\d[ .-]\d{4}"), // the United States
    ])
});

/// Forms that other numbers have too.
static WEAK: LazyLock<Forms> = LazyLock::new(|| {
    Forms::new(&[
        ("phone.sg", r"[3689]\d{3}[ -]?\d{4}|65[3689]\d{7}"),
        ("phone.my", r"601\d{8,9}"),
        ("phone.id", r"628\d{8,11}"),
        ("phone.th", r"66[689]\d{8}"),
        ("phone.ph", r"639\d{9}"),
        ("phone.vn", r"84[35789]\d{8}"),
        ("phone.mm", r"959\d{7,9}"),
        ("phone.in", r"(?:91[ -]?|0)?[6-9]\d{4}[ -]?\d{5}"),
        ("phone.in", r"0[1-9]\d{1,3}[ -]\d{6,8}"),
        ("phone.intl", r"0\d{8,10}|0\d[ -]?\d{5,7}|[2-9]\d\d-\d{4}|1?[2-9]\d\d[2-9]\d{6}"),
    ])
});

/// What tells the region where forms are shared: the script and the words before the number, or its own digits.
static SPOKEN: LazyLock<Forms> = LazyLock::new(|| {
    Forms::spoken(&[
        ("phone.th", "[\u{0E00}-\u{0E7F}]"),
        ("phone.mm", "[\u{1000}-\u{109F}]"),
        ("phone.in", "[\u{0900}-\u{097F}]|\\b(?:india|mumbai|delhi|karo)\\b"),
        ("phone.vn", "[đĐơƠưƯăĂ\u{1EA0}-\u{1EF9}]|\\b(?:số|sđt|zalo)\\b"),
        ("phone.ph", r"\b(?:ako|ko|ang|mo|niya|sa|tawag(?:an)?|tumawag|cp|numero|pilipinas|manila)\b"),
        ("phone.my", r"\b(?:telefon|bimbit|pejabat|nombor|encik|puan|awak|malaysia)\b"),
        ("phone.id", r"\b(?:tele?pon|telp|nomor|hp|wa|kantor|saya|aku|pak|bu|mas|hubungi|jakarta|indonesia)\b"),
        ("phone.sg", r"\b(?:singapore|sg)\b"),
    ])
});

/// Patterns, each of a region.
struct Forms {
    regions: Vec<&'static str>,
    set: RegexSet,
}

impl Forms {
    fn new(forms: &[(&'static str, &str)]) -> Self {
        Self::of(forms, |form| format!("^(?:{form})$"))
    }

    fn spoken(forms: &[(&'static str, &str)]) -> Self {
        Self::of(forms, |form| format!("(?i){form}"))
    }

    fn of(forms: &[(&'static str, &str)], whole: impl Fn(&str) -> String) -> Self {
        #[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
        let set = RegexSet::new(forms.iter().map(|(_, form)| whole(form))).expect("a constant pattern");
        Self { regions: forms.iter().map(|(region, _)| *region).collect(), set }
    }

    /// The regions whose forms fit.
    fn regions(&self, text: &str) -> Vec<&'static str> {
        self.set.matches(text).iter().filter_map(|at| self.regions.get(at).copied()).collect()
    }
}

/// Forms of two groups that a range of quantities has too.
static RANGE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d*00[ -]\d*00$"));
/// A date of a far year, which a plus sign leads.
static DATE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d+-\d\d-\d\d(?: \d\d)?$"));
/// A month and a year, then something.
static MONTH: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:0\d|1[0-2])[ .-](?:19|20)\d\d"));

static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?-u:\b)(?:tele?p?|tele(?:ph?on|f[oó]n)(?:e|nya|ku)?|phone|mobile|cell|hand ?phone|call|ring|dial|hp|h/p|whats ?app|wa|sms|fax|",
        r"contact|hotline|hubungi|(?:tel|fon|nombor|nomor) bimbit|panggil|tawag(?:an)?|tumawag|cp)(?-u:\b)",
        r"|โทร|เบอร์|มือถือ|ဖုန်း|điện thoại|đt|gọi|liên hệ|தொலைபேசி|அலைபேசி|கைபேசி|फोन|फ़ोन|मोबाइल|नंबर|कॉल|zalo|sđt",
    ))
});
static OTHERWISE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?-u:\b)(?:order|invoice|ref(?:erence)?|tracking|account|acct|a/c|receipt|ticket|serial|sku|isbn|imei|parcel|booking|",
        r"pesanan|faktur|resi|rekening|akaun|tempahan|resibo|version|id)(?-u:\b)",
        r"|đơn hàng|mã số|tài khoản|hóa đơn|คำสั่งซื้อ|ใบสั่ง|พัสดุ|บัญชี|ใบเสร็จ|အော်ဒါ|ஆர்டர்|[#$€£¥฿₫₱]\s?$",
    ))
});

/// Whether the words before a number or code say that it is something of a shop or a bank.
pub(super) fn otherwise(before: &str) -> bool {
    OTHERWISE.is_match(before)
}

/// The region of the telephone number that the candidate is.
pub(super) fn region(number: &Number<'_>) -> Option<&'static str> {
    let (digits, shape) = (number.digits, number.shape);
    // `INV-91234567` is a serial number.
    let serial = matches!(number.before(), [Some('-'), Some(c)] if c.is_ascii_alphanumeric());
    if serial || digits.ends_with("00000") || shape.contains(number::OTHER) {
        return None;
    }
    // Most of what comes here in rows of numbers.
    if !number.plus && !(7..=MOST_NATIONAL).contains(&digits.len()) {
        return None;
    }
    let international = |digits| INTERNATIONAL.regions(digits).first().copied();
    if number.plus {
        return international(digits).filter(|_| !DATE.is_match(shape));
    }
    if let Some(rest) = shape.strip_prefix("00") {
        let called = !number.bare() && !rest.starts_with([' ', '-', '.']);
        return digits.get(2..).filter(|_| called).and_then(international);
    }
    let local = !shape.starts_with('0');
    let shared = RANGE.is_match(shape) || MONTH.is_match(shape) || (local && number.in_a_row());
    let strong = if shared { Vec::new() } else { STRONG.regions(shape) };
    let regions = [strong.clone(), WEAK.regions(shape)].concat();
    let first = *regions.first().filter(|_| !shape.starts_with("01234567"))?;
    let before = context::before(number.text, number.range.start);
    if !WORDS.is_match(before) && (strong.is_empty() || otherwise(before)) {
        return None;
    }
    let own = number.text.get(number.range.clone()).unwrap_or_default();
    let spoken = [before, own].map(|text| SPOKEN.regions(text)).concat();
    Some(spoken.into_iter().find(|region| regions.contains(region)).unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};

    #[test]
    fn phones() {
        finds(
            "phone",
            &[
                ("+6591234567", "+6591234567"),
                ("call +65 9123 4567 now", "+65 9123 4567"),
                ("(+65) 9123 4567", "(+65) 9123 4567"),
                ("my number is 9123 4567.", "9123 4567"),
                ("whatsapp 91234567", "91234567"),
                ("telefon 012-345 6789 ya", "012-345 6789"),
                ("Pejabat: 03-2161 8888", "03-2161 8888"),
                ("hubungi 0812-3456-7890 segera", "0812-3456-7890"),
                ("WA saya 081234567890", "081234567890"),
                ("kantor (021) 555-1234", "(021) 555-1234"),
                ("โทร081-234-5678นะ", "081-234-5678"),
                ("เบอร์๐๘๑๒๓๔๕๖๗๘ค่ะ", "๐๘๑๒๓๔๕๖๗๘"),
                ("02-123-4567", "02-123-4567"),
                ("tawagan mo ako sa 0917 123 4567", "0917 123 4567"),
                ("(02) 8123-4567", "(02) 8123-4567"),
                ("gọi 0912.345.678 nhé", "0912.345.678"),
                ("số 091 234 5678", "091 234 5678"),
                ("+84 91 234 56 78", "+84 91 234 56 78"),
                ("ဖုန်း၀၉-၁၂၃၄၅၆၇၈၉ပါ", "၀၉-၁၂၃၄၅၆၇၈၉"),
                ("09 777 123 456", "09 777 123 456"),
                ("தொலைபேசி +65 6123 4567", "+65 6123 4567"),
                ("(415) 555-2671", "(415) 555-2671"),
                ("1-800-555-0199", "1-800-555-0199"),
                ("415.555.2671", "415.555.2671"),
                ("+44 (0)20 7946 0958", "+44 (0)20 7946 0958"),
                ("0065 9123 4567", "0065 9123 4567"),
                ("0812345678/0898765432", "0812345678"),
                ("order 12: please call 0812345678", "0812345678"),
            ],
        );
    }

    #[test]
    fn no_phones() {
        finds_none(
            "phone",
            &[
                "on 2024-05-01 and 01-05-2024",
                "05-2024 1530",
                "09-12-2024 10:30",
                "01.02.2024 10 30 00",
                "2019 2020 2021 2022",
                "Rp 12.345.678",
                "ราคา 1,234,567 บาท",
                "giá 91.234.567 đồng",
                "$91234567",
                "192.168.100.200",
                "10.0.0.1:8080",
                "order 91234567",
                "nomor pesanan 0812345678",
                "mã số 0912345678",
                "คำสั่งซื้อ 0812345678",
                "INV-0812345678",
                "+4420\n79460958",
                "#0812345678",
                "6000-8000 kcal",
                "from 6000 8000",
                "+1000000 downloads",
                "+2024-05-01",
                "+999999-12-31 23:59:59",
                "1e 08 00 55 00 73 00 65 00 72",
                "4111 1111 1111 1111",
                "S1234567D",
                "900101-14-5678",
                "1101700230708",
                "3171010101900001",
                "550e8400-e29b-41d4-a716-446655440000",
                "8123 4567 8901 2345",
                "3.14159265358979",
                "0x0812345678",
                "0812345678901234567",
                "1700000000",
                "12345678",
            ],
        );
    }
}
