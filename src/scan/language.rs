//! Which of the guard's languages a text is in, for thresholds and reports.

use std::sync::LazyLock;

use whatlang::{Detector, Lang};

/// Characters looked at: enough to tell, cheap for long texts.
const SAMPLE: usize = 400;

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| {
    Detector::with_allowlist(vec![Lang::Eng, Lang::Ind, Lang::Tgl, Lang::Vie, Lang::Tam, Lang::Tha, Lang::Mya])
});

/// Small words of the languages that are written in plain letters. A chat's short lines hold too few letter groups for the
/// library to tell them apart, and it knows no Malay; these words tell most of them. Words that two of them share are left out.
const SMALL_WORDS: [(&str, &[&str]); 4] = [
    (
        "en",
        &[
            "the", "a", "an", "is", "are", "was", "what", "how", "why", "when", "where", "who", "do", "does", "to", "of", "in",
            "and", "for", "my", "me", "you", "your", "i", "can", "this", "that", "with", "it", "on", "be", "have", "not",
            "write",
        ],
    ),
    (
        "id",
        &[
            "bagaimana",
            "gimana",
            "yang",
            "tidak",
            "nggak",
            "gak",
            "bisa",
            "kamu",
            "aku",
            "dengan",
            "karena",
            "apa",
            "siapa",
            "kenapa",
            "mengapa",
            "tolong",
            "buatkan",
            "banget",
            "kalau",
            "uang",
            "polisi",
            "mobil",
            "saja",
            "jelaskan",
        ],
    ),
    (
        "ms",
        &[
            "macam",
            "mana",
            "awak",
            "boleh",
            "tak",
            "kerana",
            "apakah",
            "bagaimanakah",
            "siapakah",
            "nak",
            "sila",
            "tuliskan",
            "wang",
            "kereta",
            "esok",
            "dekat",
            "ialah",
            "sahaja",
            "warga",
            "camne",
            "korang",
            "polis",
            "beritahu",
            "cadangkan",
        ],
    ),
    (
        "tl",
        &[
            "ang", "ng", "mga", "sa", "ko", "mo", "ako", "ano", "paano", "pano", "ba", "po", "naman", "kung", "hindi", "gawan",
            "bakit", "siya", "nang", "para", "ni", "niya", "ito", "saan", "magkano",
        ],
    ),
];

/// The codes of the languages that texts are told to be in.
const LANGUAGES: [&str; 8] = ["en", "id", "ms", "tl", "vi", "ta", "th", "my"];

/// The same code as [`detect`] tells it, if it ever does.
#[must_use]
pub fn known(code: &str) -> Option<&'static str> {
    LANGUAGES.into_iter().find(|known| *known == code)
}

/// The language's two-letter code, if the text tells.
#[must_use]
pub fn detect(text: &str) -> Option<&'static str> {
    let end = text.char_indices().nth(SAMPLE).map_or(text.len(), |(at, _)| at);
    let sample = text.get(..end)?;
    if sample.is_ascii()
        && let Some(language) = by_small_words(sample)
    {
        return Some(language);
    }
    match DETECTOR.detect_lang(sample)? {
        Lang::Eng => Some("en"),
        Lang::Ind => Some("id"),
        Lang::Tgl => Some("tl"),
        Lang::Vie => Some("vi"),
        Lang::Tam => Some("ta"),
        Lang::Tha => Some("th"),
        Lang::Mya => Some("my"),
        _ => None,
    }
}

/// The language with most small words; `None` when there are none, or two languages have as many.
fn by_small_words(sample: &str) -> Option<&'static str> {
    let lower = sample.to_ascii_lowercase();
    let mut counts = [0_usize; SMALL_WORDS.len()];
    for word in lower.split(|c: char| !c.is_ascii_alphabetic()) {
        for (count, (_, words)) in counts.iter_mut().zip(SMALL_WORDS) {
            *count += usize::from(words.contains(&word));
        }
    }
    let most = counts.into_iter().max().filter(|most| *most > 0)?;
    let mut best = counts.into_iter().zip(SMALL_WORDS).filter(|(count, _)| *count == most);
    let (_, (language, _)) = best.next()?;
    best.next().is_none().then_some(language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eight_languages() {
        for (language, text) in [
            ("en", "How do I make tea?"),
            ("en", "What is the best way to cook rice for the family?"),
            ("id", "Bagaimana cara memasak nasi yang enak untuk keluarga?"),
            ("ms", "Bagaimanakah cara memasak nasi yang sedap untuk keluarga awak?"),
            ("tl", "Ano ang pinakamagandang paraan para magluto ng kanin?"),
            ("vi", "Cách nấu cơm ngon nhất cho gia đình là gì?"),
            ("ta", "குடும்பத்திற்கு சாதம் சமைக்க சிறந்த வழி என்ன?"),
            ("th", "วิธีหุงข้าวที่ดีที่สุดสำหรับครอบครัวคืออะไร"),
            ("my", "မိသားစုအတွက် ထမင်းချက်နည်း အကောင်းဆုံးက ဘာလဲ။"),
        ] {
            assert_eq!((detect(text), known(language)), (Some(language), Some(language)), "{text}");
        }
        assert_eq!(detect("12345"), None);
    }
}
