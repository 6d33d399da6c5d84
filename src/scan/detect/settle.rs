//! How much of a growing text is judged for good.
//!
//! Text to come can complete, extend or undo only what reaches into the tail: an unfinished run of the characters that tokens
//! and addresses are made of, an unfinished number, a number whose next words are not yet known, and an open private key. All
//! but the key have a greatest length, so the tail has one too, whatever the text.

use super::{context, iban, jwt, nrc, number, private_key, secret, spans, url};

/// No address or key is longer, but for web tokens and web addresses; with the characters beside it that are looked at.
const TOKEN: usize = 512;
const _: () = assert!(TOKEN > secret::MOST + 64);
/// No span but a private key is longer.
const REACH: usize = jwt::MOST + TOKEN;
const _: () = assert!(jwt::MOST > url::MOST);
/// The longest beginning of a web address.
const START: usize = 8;
/// Steps back along a chain of spans, each of up to [`REACH`] bytes.
pub(super) const ROUNDS: usize = 8;
/// Bytes before a span that can have a say in it.
const LEAD: usize = 256;

/// The offset before which the findings of a growing text are final: none could still begin before it and be completed,
/// extended or undone by text to come.
pub(super) fn settled(text: &str) -> usize {
    clear(text, tail(text))
}

/// Where what text to come can complete, extend or undo begins at the earliest.
pub(super) fn tail(text: &str) -> usize {
    let key = private_key::open(text).unwrap_or(text.len());
    let grouped = [iban::open(text), nrc::open(text)].into_iter().flatten().min().unwrap_or(text.len());
    key.min(token_tail(text)).min(number_tail(text)).min(grouped).min(unexplained_number(text))
}

/// The nearest offset, at or before the given one, at which no span is cut in two.
pub(super) fn clear(text: &str, at: usize) -> usize {
    let mut at = before_spans(text, at);
    // A key's block can be of any length, so blocks are looked for in the whole text.
    let blocks: Vec<_> = private_key::find(text).collect();
    for block in blocks.iter().rev() {
        if block.start < at && at < block.end {
            at = before_spans(text, block.start);
        }
    }
    at
}

/// The start of the run of token characters at the end of the text, or of what it can still hold.
fn token_tail(text: &str) -> usize {
    let is_token = |b: &u8| b.is_ascii_graphic() && !b"\"<>`{}|\\".contains(b);
    let run = text.len() - text.bytes().rev().take(REACH).take_while(is_token).count();
    let near = text.len().saturating_sub(TOKEN).max(run);
    let begins = text.get(run..text.len().min(near + START)).unwrap_or_default();
    let token = begins.find(jwt::START);
    let address = url::STARTS.find(begins).map(|start| start.start());
    [token, address].into_iter().flatten().map(|at| run + at).min().unwrap_or(near).min(near)
}

/// The start of the unfinished number at the end of the text.
fn number_tail(text: &str) -> usize {
    let tail = text.char_indices().rev().take(number::REACH).take_while(|(_, c)| number::belongs(*c));
    tail.filter(|(_, c)| matches!(c, '+' | '(') || number::value(*c).is_some()).last().map_or(text.len(), |(at, _)| at)
}

/// The start of the first number that a word may still name.
fn unexplained_number(text: &str) -> usize {
    let named_by = context::known(text);
    let from = text.floor_char_boundary(named_by.saturating_sub(TOKEN));
    spans(text.get(from..).unwrap_or_default(), true)
        .iter()
        .filter(|span| span.detector.starts_with("national_id") && from + span.range.end > named_by)
        .map(|span| from + span.range.start)
        .min()
        .unwrap_or(text.len())
}

/// The nearest offset, at or before the given one, that no span straddles; the start of the text where spans overlap in too
/// long a chain, each of which could tip which of the others stand.
fn before_spans(text: &str, mut at: usize) -> usize {
    for _ in 0..ROUNDS {
        let from = text.floor_char_boundary(at.saturating_sub(REACH + LEAD));
        let to = text.ceil_char_boundary(at.saturating_add(REACH + LEAD).min(text.len()));
        let mut near = spans(text.get(from..to).unwrap_or_default(), true);
        // Spans near the start of a cut text may be none of the whole text: their surroundings are missing.
        let trusted = if from == 0 { 0 } else { from + LEAD };
        near.retain(|span| from + span.range.start >= trusted && from + span.range.start < at);
        near.sort_by_key(|span| std::cmp::Reverse(span.range.end));
        let found = at;
        for span in near {
            if from + span.range.end > at {
                at = at.min(from + span.range.start);
            }
        }
        if at == found {
            return at;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{find, tests::READ};
    use super::*;

    const SNIPPETS: &[&str] = &[
        "4111 1111 1111 1111",
        "4111111111111111",
        "4111\n1111\n1111\n1111",
        " 1234",
        " 4111 1111",
        "-123",
        "-12/27",
        "card",
        "9704000000131375",
        "3782 822463 10005",
        "3528010101900005",
        "3171010101900001",
        "900101145678",
        "900101-14-5678",
        "1101700230708",
        "1720000000002",
        "S1234567D",
        "+65 9123 4567",
        "(021) 555-1234",
        "0812-3456-7890",
        "๐๘๑๒๓๔๕๖๗๘",
        "91234567",
        "a.b@example.com",
        "x@y",
        "@",
        "sk-proj-aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vWaB3dE5fG",
        "aws_secret_access_key = \"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\"",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMiJ9.abcDEF-_x",
        "eyJ",
        "-----BEGIN ",
        "PRIVATE KEY-----",
        "-----END ",
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
        "CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq\n",
        "Version: 1",
        " is a header. And so it goes on and on, until nothing of it can be a key's any more. ",
        "-----",
        "NIK",
        " ic ",
        "KTP ",
        "kad pengenalan",
        "เลขบัตรประชาชน",
        "order ",
        "call ",
        "โทร",
        "đơn hàng ",
        "git",
        "hello ",
        "world",
        "สวัสดีครับ",
        "xin chào ",
        "apa khabar ",
        "မင်္ဂလာပါ",
        "வணக்கம் ",
        "kumusta ",
        "selamat ",
        " ",
        " ",
        "\n",
        ".",
        ",",
        "-",
        "–",
        "(",
        ")",
        "+",
        "/",
        ":",
        "=",
        "_",
        "'",
        "1",
        "12",
        "2024",
        "๑",
        "၂",
        "௩",
        "S",
        "D",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "https://",
        "http://example.com/a(b)?q=1&r=,",
        "www.example.org",
        "203.0.113.7",
        "1.2.3.4",
        "ip ",
        "version ",
        "2001:db8::1",
        ":",
        "GB82 WEST 1234 5698 7654 32",
        "GB82WEST12345698765432",
        "DE89",
        " 3704",
        "12/KaMaYa(N)123456",
        "၁၂/ကမယ(နိုင်)",
        "၁၂၃၄၅၆",
        "14 / ",
        "(N) 12",
        "ABCPD1234E",
        "pan ",
        "2345 6789 0124",
        "aadhaar ",
        "079203012345",
        " cccd ",
        "123456782",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "password=",
        "hunTer2!x",
        "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsawX",
        "#",
        "!",
        "[",
        "]",
    ];

    fn texts() -> impl Strategy<Value = String> {
        proptest::collection::vec((proptest::sample::select(SNIPPETS), 1..3_usize), 0..24)
            .prop_map(|parts| parts.into_iter().map(|(part, times)| part.repeat(times)).collect())
    }

    /// Long runs of one snippet or two: what the caps on the tail are for.
    fn runs() -> impl Strategy<Value = String> {
        proptest::collection::vec((texts(), 1..120_usize), 1..4)
            .prop_map(|parts| parts.into_iter().map(|(part, times)| part.repeat(times)).collect())
    }

    fn check(text: &str, at: usize) {
        let (head, _) = text.split_at(text.floor_char_boundary(at));
        let end = settled(head);
        assert!(end <= head.len() && head.is_char_boundary(end));
        let early = |text| find(text).into_iter().filter(|f| f.range.start < end).collect::<Vec<_>>();
        let (whole, part) = (early(text), early(head));
        assert_eq!(whole, part, "{head:?} is said to be settled up to {end} of {}", head.len());
        assert!(whole.iter().all(|f| f.range.end <= end), "{head:?}: {whole:?} reach over {end}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

        #[test]
        fn what_is_settled_stays(text in texts(), at in any::<prop::sample::Index>()) {
            check(&text, at.index(text.len() + 1));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

        #[test]
        fn what_is_settled_stays_in_long_runs(text in runs(), at in any::<prop::sample::Index>()) {
            check(&text, at.index(text.len() + 1));
        }
    }

    #[test]
    fn every_split_of_each_snippet_is_sound() {
        for first in SNIPPETS {
            for text in [format!("{first} and then some, NIK or ic or @b.com {first}"), format!("{first}{first}")] {
                (0..=text.len()).for_each(|at| check(&text, at));
            }
        }
    }

    #[test]
    fn prose_is_held_by_a_word_at_most() {
        assert_eq!(settled(""), 0);
        assert_eq!(settled("hello wor"), 6);
        assert_eq!(settled("hello world "), 12);
        assert_eq!(settled("ราคา 50 บาทครับ"), "ราคา 50 บาทครับ".len());
        assert_eq!(settled("call +65 9123"), 5);
        assert_eq!(settled("call +65 9123 4567 now "), 23);
        assert_eq!(settled("it is 900101145678 and "), 6);
        assert_eq!(settled("mail me: a.b@exam"), 9);
        assert_eq!(settled("in FY24 we "), 11);
        assert_eq!(settled("to DE89 3704 "), 3);
        assert_eq!(settled("key -----BEGIN PRIVATE KEY-----\nabc\ndef "), 4);
    }

    #[test]
    fn a_long_text_is_searched_once_and_its_end_settled_at_a_fixed_cost() {
        const LENGTH: usize = 1 << 20;
        let read = |work: &dyn Fn()| {
            READ.set(0);
            work();
            READ.get()
        };
        let few = TOKEN + 4 * (context::AFTER + 1) + ROUNDS * (2 * (REACH + LEAD) + 8);
        for snippet in [
            "4111 1111 1111 1111 ",
            "3171010101900001 is ",
            "a.b@example.com",
            "eyJ",
            "1",
            "xin chào ",
            "http://a.co",
            "DE89 3704 ",
            "1/a(",
        ] {
            let text = snippet.repeat(LENGTH / snippet.len());
            assert_eq!(read(&|| drop(find(&text))), text.len(), "{snippet}");
            let settling = read(&|| _ = settled(&text));
            assert!(settling <= few, "{snippet}: {settling} bytes are read to settle, more than {few}");
        }
    }

    #[test]
    fn nothing_but_an_open_key_is_held_for_ever() {
        for unit in [
            "4111 1111 1111 1111 ",
            "4123 5678 ",
            "123 ",
            "4111\n1111\n",
            "-----BEGIN PRIVATE KEY----- is a header. ",
            "a",
            "1 ",
            "12",
            "eyJ",
            "-",
            "ก",
            "@",
            "(",
            "a@b",
            "S1234567",
            "x.y",
            "๑",
            "http://",
            "https://a.co/b ",
            "DE89 ",
            "1/",
            "a:",
            "1.2.3.4",
            "password=",
        ] {
            let text = unit.repeat(20_000);
            assert!(text.len() - settled(&text) <= REACH, "{unit}");
        }
    }
}
