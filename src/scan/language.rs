//! Which of the guard's languages a text is in, for thresholds and reports.

use std::{collections::HashMap, ops::RangeInclusive, sync::LazyLock};

use whatlang::{Detector, Lang};

/// Characters looked at: enough to tell, cheap for long texts.
const SAMPLE: usize = 400;
/// Most stretches of a long text that are looked at, evenly spread.
const STRETCHES: usize = 64;
/// Letters of a sentence that says something of its own.
const SENTENCE: usize = 24;
/// Scripts that one language has for itself.
const SCRIPTS: [(RangeInclusive<char>, &str); 3] =
    [('\u{e00}'..='\u{e7f}', "th"), ('\u{b80}'..='\u{bff}', "ta"), ('\u{1000}'..='\u{109f}', "my")];
/// Small words that show a language beside the one that a stretch is mostly in.
const FEW: usize = 4;

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| {
    Detector::with_allowlist(vec![Lang::Eng, Lang::Ind, Lang::Tgl, Lang::Vie, Lang::Tam, Lang::Tha, Lang::Mya])
});

/// Small words of the languages that are written in plain letters. A chat's short lines hold too few letter groups for the
/// library to tell them apart, and it knows no Malay; these words tell most of them. Words that two of them share are left out.
static SMALL_WORDS: [(&str, &[&str]); 4] = [
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

/// The place in [`SMALL_WORDS`] of a small word's language: looked up, since each word of each new text is.
static LANGUAGE_OF: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
    let places = SMALL_WORDS.iter().enumerate();
    places.flat_map(|(place, (_, words))| words.iter().map(move |word| (*word, place))).collect()
});

/// The codes of the languages that texts are told to be in.
const LANGUAGES: [&str; 8] = ["en", "id", "ms", "tl", "vi", "ta", "th", "my"];

/// The same code as [`detect`] tells it, if it ever does.
#[must_use]
pub fn known(code: &str) -> Option<&'static str> {
    LANGUAGES.into_iter().find(|known| *known == code)
}

/// The language's two-letter code, if the text tells: that of its beginning.
#[must_use]
pub fn detect(text: &str) -> Option<&'static str> {
    let end = text.char_indices().nth(SAMPLE).map_or(text.len(), |(at, _)| at);
    of_sample(text.get(..end)?)
}

/// The languages of all stretches of a text but the first's, `None` for a stretch that does not tell: so that a text cannot
/// choose, by how it begins, what is asked of the rest of it.
#[must_use]
pub(super) fn others(text: &str, main: Option<&'static str>) -> Vec<Option<&'static str>> {
    let mut seen = Vec::new();
    let mut add = |language: Option<&'static str>| {
        if language != main && !seen.contains(&language) {
            seen.push(language);
        }
    };
    let bounds: Vec<usize> = text.char_indices().step_by(SAMPLE).map(|(at, _)| at).chain([text.len()]).collect();
    let every = bounds.len().div_ceil(STRETCHES).max(1);
    for stretch in bounds.windows(2).step_by(every) {
        let Some(sample) = stretch.first().zip(stretch.last()).and_then(|(from, to)| text.get(*from..*to)) else { continue };
        let told = of_sample(sample);
        // The end of a text is often too short to tell anything.
        if told.is_some() || sample.len() >= SAMPLE {
            add(told);
        }
        by_small_words(sample, FEW).into_iter().for_each(|language| add(Some(language)));
        for (script, language) in SCRIPTS {
            if sample.chars().filter(|c| script.contains(c)).count() >= SENTENCE {
                add(Some(language));
            }
        }
        // A sentence in plain letters within a text of another script.
        let plain: String = sample.chars().filter(|c| c.is_ascii()).collect();
        if plain.len() < sample.len() && plain.chars().filter(char::is_ascii_alphabetic).count() >= SENTENCE {
            let told = of_sample(&plain);
            told.into_iter().for_each(|language| add(Some(language)));
        }
    }
    seen
}

fn of_sample(sample: &str) -> Option<&'static str> {
    let letters = sample.chars().filter(|c| c.is_alphabetic());
    let (plain, all) = letters.fold((0, 0), |(plain, all), c| (plain + usize::from(c.is_ascii()), all + 1));
    // A sign or a name in other letters does not make it another language; Vietnamese has far more of them.
    if plain * 10 >= all * 9
        && let [language] = *by_small_words(sample, 1)
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

/// The languages with at least so many small words, if `least` is 1 only those with most of them.
fn by_small_words(sample: &str, least: usize) -> Vec<&'static str> {
    let lower = sample.to_ascii_lowercase();
    let mut counts = [0_usize; SMALL_WORDS.len()];
    for word in lower.split(|c: char| !c.is_ascii_alphabetic()) {
        if let Some(count) = LANGUAGE_OF.get(word).and_then(|place| counts.get_mut(*place)) {
            *count += 1;
        }
    }
    let most = counts.into_iter().max().unwrap_or_default();
    let enough = |count: usize| count >= least && (least > 1 || count == most);
    counts.into_iter().zip(SMALL_WORDS).filter(|(count, _)| enough(*count)).map(|(_, (language, _))| language).collect()
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
        assert_eq!(detect("awak boleh buat macam mana esok 😀"), Some("ms"), "a sign does not hide it");
    }

    #[test]
    fn a_text_cannot_choose_its_language_by_how_it_begins() {
        let tamil = "குடும்பத்திற்கு சாதம் சமைக்க சிறந்த வழி என்ன? ".repeat(10);
        let english = "Tell me how to do this to the people of the town and what they can do. ";
        let seen = |text: &str| (detect(text), others(text, detect(text)));
        assert_eq!(seen(&format!("{tamil}{}", english.repeat(6))), (Some("ta"), vec![Some("en")]));
        assert_eq!(
            seen(&format!("{english}ang ng mga sa ko mo ako ano paano ba po naman kung hindi siya nang para")).0,
            Some("tl")
        );
        assert!(
            seen(&format!("{english}ang ng mga sa ko mo ako ano paano ba po naman kung hindi siya nang para"))
                .1
                .contains(&Some("en"))
        );
        let (main, others) = seen("วิธีหุงข้าวที่ดีที่สุดคืออะไร please tell me how to do it in the kitchen");
        assert!([main, others[0]].contains(&Some("en")) && [main, others[0]].contains(&Some("th")), "{main:?} {others:?}");
        assert_eq!(seen("How do I make tea?"), (Some("en"), vec![]));
        assert_eq!(seen("วิธีหุงข้าวที่ดีที่สุดสำหรับครอบครัวด้วย iPhone Pro คืออะไร").1, []);
    }
}
