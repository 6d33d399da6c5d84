//! What people read in place of a prompt or an answer that was stopped, in their language.

use std::collections::BTreeMap;

/// The languages that Seawall speaks, with what it says where a rule has no words of its own; the first is for all others.
pub(super) const BUILT_IN: [(&str, &str); 8] = [
    ("en", "Sorry, I can't help with that: this message was stopped by a safety policy."),
    ("id", "Maaf, saya tidak dapat membantu dengan hal itu: pesan ini dihentikan oleh kebijakan keamanan."),
    ("ms", "Maaf, saya tak boleh membantu dalam hal itu kerana mesej ini dihentikan oleh dasar keselamatan."),
    ("tl", "Paumanhin, hindi ako makakatulong diyan: pinigil ang mensaheng ito ng isang patakaran sa kaligtasan."),
    ("vi", "Xin lỗi, tôi không thể giúp việc đó: tin nhắn này đã bị chặn bởi một chính sách an toàn."),
    ("ta", "மன்னிக்கவும், இதற்கு என்னால் உதவ முடியாது: இந்தச் செய்தி ஒரு பாதுகாப்புக் கொள்கையால் நிறுத்தப்பட்டது."),
    ("th", "ขออภัย ไม่สามารถช่วยเรื่องนี้ได้ เนื่องจากข้อความนี้ถูกระงับตามนโยบายความปลอดภัย"),
    ("my", "တောင်းပန်ပါသည်။ ဤကိစ္စကို ကူညီ၍ မရပါ။ ဤစာကို ဘေးကင်းရေး မူဝါဒအရ ရပ်တန့်ထားပါသည်။"),
];

/// A rule's own words.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages {
    pub(super) by_language: BTreeMap<String, String>,
    pub(super) otherwise: Option<String>,
}

impl Messages {
    /// The words for this language: its own, those of the language that a tag such as `zh-Hant` begins with, the rule's for
    /// all, or the built-in ones.
    pub(super) fn said(&self, language: Option<&str>) -> &str {
        let own = language.and_then(|tag| self.by_language.get(tag).or_else(|| self.by_language.get(base(tag))));
        own.or(self.otherwise.as_ref()).map_or_else(|| built_in(language), String::as_str)
    }
}

/// What a user reads whose prompt or answer was blocked, where no rule has words for it.
#[must_use]
pub fn built_in(language: Option<&str>) -> &'static str {
    let [(_, english), others @ ..] = BUILT_IN;
    let own = language.and_then(|tag| others.into_iter().find(|(name, _)| *name == base(tag)));
    own.map_or(english, |(_, text)| text)
}

/// The languages that texts are told to be in.
pub fn languages() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(tag, _)| *tag)
}

/// Whether texts are ever told to be in this language, whatever region or script the tag adds.
pub(super) fn is_language(tag: &str) -> bool {
    BUILT_IN.iter().any(|(known, _)| *known == base(tag))
        && tag
            .split('-')
            .skip(1)
            .all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The language of a tag, without region or script.
fn base(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::detect_language;

    #[test]
    fn the_closest_words_are_said() {
        let own = |tag: &str, text: &str| (tag.to_owned(), text.to_owned());
        let messages =
            Messages { by_language: [own("th", "ไม่"), own("zh-Hant", "不")].into(), otherwise: Some("no".to_owned()) };
        for (tag, said) in
            [(Some("th"), "ไม่"), (Some("th-TH"), "ไม่"), (Some("zh"), "no"), (Some("zh-Hant"), "不"), (None, "no")]
        {
            assert_eq!(messages.said(tag), said, "{tag:?}");
        }
        let none = Messages::default();
        assert_eq!(none.said(Some("vi-VN")), built_in(Some("vi")));
        assert_eq!(none.said(Some("xx")), built_in(None));
    }

    #[test]
    fn the_built_in_words_are_in_their_languages() {
        for (tag, text) in BUILT_IN {
            assert_eq!(detect_language(text), Some(tag), "{text}");
        }
    }
}
