//! Recognises personal data and secrets by their form, and what operators have names for: what a rule can mask or refuse
//! without asking a model.
//!
//! A candidate's verdict depends only on the candidate and a few characters around it, so that a stream can be judged while it
//! grows: see [`Detectors::settled`]. Positions are bytes of the given text, which the caller has folded (NFKC, nothing invisible).

mod card;
#[cfg(test)]
mod cases;
mod context;
mod crypto;
mod detectors;
mod email;
mod iban;
mod ip;
mod jwt;
mod keccak;
mod named;
mod national_id;
mod nrc;
mod nric;
mod number;
mod own;
mod pan;
mod phone;
mod private_key;
mod secret;
mod settle;
mod url;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, LazyLock},
};

use regex::Regex;

pub use self::{
    detectors::{Detectors, is_builtin},
    own::{Own, Unfit},
};

/// The detectors: name, description, and what stands in place of a redacted span. Of two that claim the same span, the first
/// has it in a family; of two families', the first says what stands in its place.
const TABLE: [(&str, &str, &str); 58] = [
    ("secret.private_key", "Private key in PEM form", "[secret]"),
    ("secret.jwt", "JSON Web Token", "[secret]"),
    ("secret.anthropic", "Anthropic API key", "[secret]"),
    ("secret.openai", "OpenAI API key", "[secret]"),
    ("secret.aws", "AWS access key or secret access key", "[secret]"),
    ("secret.github", "GitHub token", "[secret]"),
    ("secret.google", "Google API key, client secret or access token", "[secret]"),
    ("secret.slack", "Slack token or webhook", "[secret]"),
    ("secret.stripe", "Stripe secret key or webhook secret", "[secret]"),
    ("secret.huggingface", "Hugging Face token", "[secret]"),
    ("secret.gitlab", "GitLab token", "[secret]"),
    ("secret.npm", "npm token", "[secret]"),
    ("secret.pypi", "PyPI token", "[secret]"),
    ("secret.sendgrid", "SendGrid API key", "[secret]"),
    ("secret.twilio", "Twilio auth token", "[secret]"),
    ("secret.telegram", "Telegram bot token", "[secret]"),
    ("secret.discord", "Discord bot token or webhook", "[secret]"),
    ("secret.digitalocean", "DigitalOcean token", "[secret]"),
    ("secret.databricks", "Databricks token", "[secret]"),
    ("secret.mailgun", "Mailgun API key", "[secret]"),
    ("secret.shopify", "Shopify token", "[secret]"),
    ("secret.azure", "Azure account key or shared access signature", "[secret]"),
    ("secret.openrouter", "OpenRouter API key", "[secret]"),
    ("secret.groq", "Groq API key", "[secret]"),
    ("secret.xai", "xAI API key", "[secret]"),
    ("secret.perplexity", "Perplexity API key", "[secret]"),
    ("secret.replicate", "Replicate token", "[secret]"),
    ("secret.cohere", "Cohere API key", "[secret]"),
    ("secret.password", "Password or key that is given a name", "[secret]"),
    ("crypto_address.bitcoin", "Bitcoin address", "[crypto address]"),
    ("crypto_address.ethereum", "Ethereum address", "[crypto address]"),
    ("crypto_address.tron", "Tron address", "[crypto address]"),
    ("crypto_address.litecoin", "Litecoin address", "[crypto address]"),
    ("crypto_address.dogecoin", "Dogecoin address", "[crypto address]"),
    ("crypto_address.ripple", "XRP Ledger address", "[crypto address]"),
    ("iban", "Bank account number (IBAN)", "[iban]"),
    ("national_id.sg", "Singapore NRIC or FIN", "[national id]"),
    ("national_id.th", "Thai citizen number", "[national id]"),
    ("national_id.id", "Indonesian NIK", "[national id]"),
    ("national_id.my", "Malaysian MyKad number", "[national id]"),
    ("national_id.ph", "Philippine PhilSys, TIN, SSS, GSIS, PhilHealth or Pag-IBIG number", "[national id]"),
    ("national_id.vn", "Vietnamese CCCD or CMND number", "[national id]"),
    ("national_id.mm", "Myanmar NRC number", "[national id]"),
    ("national_id.in.aadhaar", "Indian Aadhaar number", "[national id]"),
    ("national_id.in.pan", "Indian PAN", "[national id]"),
    ("payment_card", "Payment card number", "[payment card]"),
    ("email", "Email address", "[email]"),
    ("ip_address", "Internet address of a host, IPv4 or IPv6", "[ip address]"),
    ("phone.sg", "Telephone number of Singapore", "[phone]"),
    ("phone.my", "Telephone number of Malaysia", "[phone]"),
    ("phone.id", "Telephone number of Indonesia", "[phone]"),
    ("phone.th", "Telephone number of Thailand", "[phone]"),
    ("phone.ph", "Telephone number of the Philippines", "[phone]"),
    ("phone.vn", "Telephone number of Viet Nam", "[phone]"),
    ("phone.mm", "Telephone number of Myanmar", "[phone]"),
    ("phone.in", "Telephone number of India", "[phone]"),
    ("phone.intl", "Telephone number of another country", "[phone]"),
    ("url", "Web address", "[url]"),
];

/// The built-in detectors' names, in the order of the table.
static NAMES: LazyLock<[Arc<str>; TABLE.len()]> = LazyLock::new(|| TABLE.map(|(name, ..)| name.into()));

/// Their places in the table.
static RANKS: LazyLock<HashMap<&str, usize>> =
    LazyLock::new(|| TABLE.iter().enumerate().map(|(rank, (name, ..))| (*name, rank)).collect());

/// A span that a built-in detector recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    detector: &'static str,
    range: Range<usize>,
}

/// Every span in the text that a built-in detector recognises, in order. Of a family's spans that overlap, the longest
/// stands; those of several families may overlap, so that none hides something from a rule that does not name it.
fn find(text: &str) -> Vec<Span> {
    let mut spans = spans(text, false);
    spans.extend(private_key::find(text).map(|range| Span { detector: "secret.private_key", range }));
    spans.sort_by_key(|span| (Reverse(span.range.len()), rank(span.detector), span.range.start));
    // By family and where they begin.
    let mut kept = BTreeMap::<(&str, usize), Span>::new();
    for span in spans {
        let (family, Range { start, end }) = (family(span.detector), span.range.clone());
        let before = kept.range((family, 0)..(family, start)).next_back();
        let after = kept.range((family, start)..=(family, usize::MAX)).next();
        if before.is_none_or(|(_, other)| other.range.end <= start) && after.is_none_or(|((_, next), _)| end <= *next) {
            kept.insert((family, start), span);
        }
    }
    let mut found: Vec<Span> = kept.into_values().collect();
    found.sort_by_key(|span| (span.range.start, rank(span.detector)));
    found
}

/// All spans of bounded length, overlapping ones too: all but private keys. `assume` takes words that may follow a number as
/// said.
fn spans(text: &str, assume: bool) -> Vec<Span> {
    costs(text.len());
    let mut spans: Vec<Span> = secret::find(text).collect();
    let span = |(detector, range)| Span { detector, range };
    let named = |detector: &'static str| move |range| (detector, range);
    spans.extend(named::find(text).chain(crypto::find(text)).map(span));
    spans.extend(email::find(text).map(named("email")).map(span));
    spans.extend(nric::find(text).map(named("national_id.sg")).map(span));
    spans.extend(nrc::find(text).map(named("national_id.mm")).map(span));
    spans.extend(pan::find(text, assume).map(named("national_id.in.pan")).map(span));
    spans.extend(iban::find(text).map(named("iban")).map(span));
    spans.extend(ip::find(text).map(named("ip_address")).map(span));
    spans.extend(url::find(text).into_iter().map(named("url")).map(span));
    number::each(text, |number| {
        let apart = !number.joined();
        let id = if apart { national_id::recognise(number, assume) } else { None };
        let card = card::stands(number).then_some("payment_card");
        // Whatever has its own form is no telephone number.
        let phone = if apart && id.or(card).is_none() { phone::region(number) } else { None };
        let claims = [id, card, phone];
        spans.extend(claims.into_iter().flatten().map(|detector| span((detector, number.range.clone()))));
    });
    spans
}

/// Counts the bytes that are searched, in tests.
#[cfg_attr(not(test), expect(unused_variables, reason = "only tests count"))]
fn costs(bytes: usize) {
    #[cfg(test)]
    tests::READ.set(tests::READ.get() + bytes);
}

/// The name that a rule may use for all detectors of a kind.
fn family(detector: &str) -> &str {
    detector.split_once('.').map_or(detector, |(family, _)| family)
}

fn rank(detector: &str) -> usize {
    RANKS.get(detector).copied().unwrap_or(TABLE.len())
}

/// Whether neither neighbour of the span continues a word of ASCII.
fn stands_alone(text: &str, range: Range<usize>) -> bool {
    let joins = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let before = text.get(..range.start).and_then(|text| text.bytes().next_back());
    let after = text.get(range.end..).and_then(|text| text.bytes().next());
    !before.is_some_and(joins) && !after.is_some_and(joins)
}

fn pattern(pattern: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
    Regex::new(pattern).expect("a constant pattern")
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        /// Bytes that were searched for spans: what searching a text costs.
        pub(super) static READ: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    fn found<'t>(detector: &str, text: &'t str) -> Vec<&'t str> {
        find(text)
            .into_iter()
            .filter(|f| f.detector == detector || f.detector.starts_with(&format!("{detector}.")))
            .map(|f| text.get(f.range).unwrap())
            .collect()
    }

    /// Each text holds one span of the detector, the given one.
    pub(super) fn finds(detector: &str, cases: &[(&str, &str)]) {
        for (text, span) in cases {
            assert!(found(detector, text).contains(span), "{detector} in {text:?}: {:?}", find(text));
        }
    }

    pub(super) fn finds_none(detector: &str, texts: &[&str]) {
        for text in texts {
            assert_eq!(found(detector, text), [""; 0], "{detector} in {text:?}");
        }
    }

    #[test]
    fn spans_are_in_order() {
        let text = "a@b.co, 4111 1111 1111 1111, +65 9123 4567, S1234567D and AKIAIOSFODNN7EXAMPLE";
        let found = find(text);
        let names: Vec<&str> = found.iter().map(|f| f.detector).collect();
        assert_eq!(names, ["email", "payment_card", "phone.sg", "national_id.sg", "secret.aws"]);
        assert!(found.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
    }

    #[test]
    fn the_longest_stands() {
        let nested = "+65 9123 4567";
        assert_eq!(found("phone", nested), [nested]);
        assert_eq!(found("email", "sk-proj-x@example.com"), ["sk-proj-x@example.com"]);
    }

    #[test]
    fn no_family_hides_what_another_finds() {
        let key = format!("ghp_{}", "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW".repeat(2).get(..36).unwrap());
        let clone = format!("git clone https://x-access-token:{key}@github.com/o/r.git");
        assert_eq!(found("secret", &clone), [key.as_str()]);
        assert_eq!(found("url", &clone), [clone.get(10..).unwrap()]);
        assert_eq!(found("payment_card", "4111111111111111@a.co"), ["4111111111111111"]);
        assert_eq!(found("national_id", "S1234567D@moe.edu.sg"), ["S1234567D"]);
        assert_eq!(found("payment_card", "-----BEGIN PRIVATE KEY-----\n4111111111111111"), ["4111111111111111"]);
        assert_eq!(found("payment_card", "my national id 4111 1111 1111 1111"), ["4111 1111 1111 1111"]);
        // Of those that begin together, the one that is worth most stands first, and so says what is put in the place.
        let names: Vec<&str> = find(&format!("{key}@github.com")).iter().map(|f| f.detector).collect();
        assert_eq!(names, ["secret.github", "email"]);
    }

    #[test]
    fn a_word_decides_between_a_card_and_an_identity() {
        assert_eq!(find("bayar 3528010101900005")[0].detector, "payment_card");
        let names: Vec<&str> = find("NIK saya 3528010101900005").iter().map(|f| f.detector).collect();
        assert_eq!(names, ["national_id.id", "payment_card"], "what the word says and what the digits may be");
    }

    #[test]
    fn each_detector_has_a_mask() {
        let detectors = Detectors::default();
        let names: Vec<_> = detectors.names().collect();
        assert_eq!(names.len(), TABLE.len());
        assert!(names.iter().all(|(name, about)| detectors.mask(name) != "[redacted]" && !about.is_empty()));
        assert_eq!(
            ["payment_card", "national_id.th", "?"].map(|name| detectors.mask(name)),
            ["[payment card]", "[national id]", "[redacted]"]
        );
    }

    #[test]
    fn prose_holds_nothing() {
        for text in [
            "In 2024 the price rose by 3.5% to $1,234,567.89 (see pages 12-15, 2019-2023).",
            "ในปี พ.ศ. ๒๕๖๗ ราคาเพิ่มขึ้น ๓.๕% เป็น 1,234,567 บาท",
            "Pada 17-08-1945 pukul 10.00, Rp1.500.000, UUD 1945 pasal 28.",
            "Năm 2024, giá 91.234.567 đồng, 10/10/2024 lúc 10:30.",
            "Sa 2024, 1,500 piso, kabanata 3:16-18.",
        ] {
            assert_eq!(find(text), [], "{text}");
        }
    }
}
