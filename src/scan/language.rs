//! Which of the guard's languages a text is in, for thresholds and reports.

use std::sync::LazyLock;

use whatlang::{Detector, Lang};

/// Characters looked at: enough to tell, cheap for long texts.
const SAMPLE: usize = 400;

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| {
    Detector::with_allowlist(vec![Lang::Eng, Lang::Ind, Lang::Tgl, Lang::Vie, Lang::Tam, Lang::Tha, Lang::Mya])
});
/// Vietnamese cannot be written without its marks, so a short text without any is one of the others.
static PLAIN: LazyLock<Detector> = LazyLock::new(|| Detector::with_allowlist(vec![Lang::Eng, Lang::Ind, Lang::Tgl]));

/// The language's two-letter code, if the text tells. Malay is taken for Indonesian, its nearest relative: the library knows
/// no Malay.
#[must_use]
pub fn detect(text: &str) -> Option<&'static str> {
    let end = text.char_indices().nth(SAMPLE).map_or(text.len(), |(at, _)| at);
    let sample = text.get(..end)?;
    let detector = if sample.is_ascii() { &PLAIN } else { &DETECTOR };
    match detector.detect_lang(sample)? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eight_languages() {
        for (language, text) in [
            ("en", "How do I cook rice?"),
            ("en", "What is the best way to cook rice for the family?"),
            ("id", "Bagaimana cara memasak nasi yang enak untuk keluarga?"),
            ("id", "Bagaimanakah cara memasak nasi yang sedap untuk keluarga awak?"),
            ("tl", "Ano ang pinakamagandang paraan para magluto ng kanin?"),
            ("vi", "Cách nấu cơm ngon nhất cho gia đình là gì?"),
            ("ta", "குடும்பத்திற்கு சாதம் சமைக்க சிறந்த வழி என்ன?"),
            ("th", "วิธีหุงข้าวที่ดีที่สุดสำหรับครอบครัวคืออะไร"),
            ("my", "မိသားစုအတွက် ထမင်းချက်နည်း အကောင်းဆုံးက ဘာလဲ။"),
        ] {
            assert_eq!(detect(text), Some(language), "{text}");
        }
        assert_eq!(detect("12345"), None);
    }
}
