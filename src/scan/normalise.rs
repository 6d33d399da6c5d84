//! Text as a reader would take it: hiding undone before detectors look, with the way back to the bytes as written.
//!
//! Invisible characters, look-alike letters, decorated letters and JSON escapes let a text say to a model what a pattern
//! does not see. A detector searches the [`View`]; what it finds is reported, and redacted, where [`View::origin`] says.
//! Patterns should go through [`fold`] too: it normalises, so Burmese or Tamil typed in another order comes out in one form.

mod carried;
mod fold;
mod lookalike;
mod unspaced;

use std::borrow::Cow;
use std::ops::Range;

pub use carried::carried;
pub use fold::fold;
pub use lookalike::steady;
pub use unspaced::unspaced;

/// A view of a text with hiding undone, and the way back to the text as written.
#[derive(Debug, Clone)]
pub struct View<'t> {
    text: Cow<'t, str>,
    /// One map per step that changed something, the first step first. None: the view is the text.
    maps: Vec<Map>,
}

impl<'t> View<'t> {
    /// A view in which nothing changed.
    fn same(text: &'t str) -> Self {
        Self { text: Cow::Borrowed(text), maps: Vec::new() }
    }
}

impl View<'_> {
    /// The same, its text its own.
    #[must_use]
    pub fn into_owned(self) -> View<'static> {
        View { text: Cow::Owned(self.text.into_owned()), maps: self.maps }
    }

    /// The text with hiding undone.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the view says anything else than the text as written.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.maps.is_empty()
    }

    /// The bytes of the original that a range of the view came from: whole characters, in both. What was removed between
    /// two characters of the range belongs to it; what was removed at its edges does not.
    #[must_use]
    pub fn origin(&self, range: Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(range.start);
        let end = if range.end <= range.start { start } else { self.text.ceil_char_boundary(range.end).max(start) };
        self.maps.iter().rev().fold(start..end, |range, map| map.origin(range))
    }

    /// Where in the view begins what came from this byte of the original, or from what follows it.
    #[must_use]
    pub fn at(&self, origin: usize) -> usize {
        let at = self.maps.iter().try_fold(origin, |at, map| map.view(at));
        at.map_or(self.text.len(), |at| self.text.floor_char_boundary(at))
    }
}

/// Which bytes of a step's input each stretch of its output came from.
#[derive(Debug, Clone, Default)]
struct Map {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
struct Piece {
    /// Where it starts in the output.
    view: usize,
    origin: Range<usize>,
    /// Copied byte for byte, so that positions inside it can be told apart.
    verbatim: bool,
}

impl Map {
    fn origin(&self, range: Range<usize>) -> Range<usize> {
        let Some(first) = self.holding(range.start) else { return 0..0 };
        let inside = |piece: &Piece, at: usize| (piece.origin.start + at.saturating_sub(piece.view)).min(piece.origin.end);
        let start = if first.verbatim { inside(first, range.start) } else { first.origin.start };
        if range.is_empty() {
            return start..start;
        }
        let Some(last) = self.holding(range.end - 1) else { return start..start };
        start..if last.verbatim { inside(last, range.end) } else { last.origin.end }
    }

    fn view(&self, at: usize) -> Option<usize> {
        let piece = self.pieces.get(self.pieces.partition_point(|piece| piece.origin.end <= at))?;
        Some(piece.view + if piece.verbatim { at.saturating_sub(piece.origin.start) } else { 0 })
    }

    fn holding(&self, at: usize) -> Option<&Piece> {
        self.pieces.get(self.pieces.partition_point(|piece| piece.view <= at).checked_sub(1)?)
    }
}

/// A step's output as it grows, with its map.
#[derive(Default)]
struct Builder {
    text: String,
    map: Map,
}

impl Builder {
    /// Adds a stretch of the input as it stands.
    fn keep(&mut self, input: &str, range: Range<usize>) {
        let Some(text) = input.get(range.clone()).filter(|text| !text.is_empty()) else { return };
        match self.map.pieces.last_mut() {
            Some(last) if last.verbatim && last.origin.end == range.start => last.origin.end = range.end,
            _ => self.map.pieces.push(Piece { view: self.text.len(), origin: range, verbatim: true }),
        }
        self.text.push_str(text);
    }

    /// Adds what a stretch of the input turned into.
    fn replace(&mut self, input: &str, range: Range<usize>, text: &str) {
        if input.get(range.clone()) == Some(text) {
            self.keep(input, range);
        } else if !text.is_empty() {
            self.map.pieces.push(Piece { view: self.text.len(), origin: range, verbatim: false });
            self.text.push_str(text);
        }
    }

    fn finish(self, input: &str) -> View<'_> {
        if self.text == input { View::same(input) } else { View { text: Cow::Owned(self.text), maps: vec![self.map] } }
    }
}

/// The text without tag characters, which the fold reads as the letters that they stand for, if it has any: a model may read
/// them or not.
#[must_use]
pub fn untagged(text: &str) -> Option<String> {
    let tag = |c: char| matches!(c, '\u{e0000}'..='\u{e007f}');
    text.contains(tag).then(|| fold(&text.replace(tag, "")).text().to_owned())
}

/// Decodes the escapes of a text that is JSON source, such as a tool call's arguments. Malformed escapes stay, and so does
/// half a surrogate pair.
#[must_use]
pub fn unescape_json(text: &str) -> View<'_> {
    if !text.contains('\\') {
        return View::same(text);
    }
    let mut out = Builder::default();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let plain = rest.find('\\').unwrap_or(rest.len());
        out.keep(text, at..at + plain);
        at += plain;
        let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) else { break };
        if let Some((decoded, length)) = escape(rest) {
            out.replace(text, at..at + length, decoded.encode_utf8(&mut [0; 4]));
            at += length;
        } else {
            out.keep(text, at..at + 1);
            at += 1;
        }
    }
    out.finish(text)
}

/// The text without an escape at its end that text to come may complete: JSON source that grows.
#[must_use]
pub fn whole_escapes(text: &str) -> &str {
    // Two, for half a surrogate pair waits for the other half.
    let shorter = cut_escape(text);
    cut_escape(shorter)
}

fn cut_escape(text: &str) -> &str {
    let Some((before, rest)) = text.rfind('\\').and_then(|at| text.split_at_checked(at)) else { return text };
    let escapes = before.bytes().rev().take_while(|byte| *byte == b'\\').count().is_multiple_of(2);
    let digits = rest.strip_prefix("\\u").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let half = |digits: &str| u32::from_str_radix(digits, 16).is_ok_and(|unit| (0xD800..0xDC00).contains(&unit));
    let waits = rest.len() == 1 || digits.is_some_and(|digits| digits.len() < 4 || (digits.len() == 4 && half(digits)));
    if escapes && waits { before } else { text }
}

/// The character that the escape at the head of the text stands for, and the escape's length.
fn escape(text: &str) -> Option<(char, usize)> {
    let plain = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'u' => {
            let unit = unit(text, 0)?;
            if let Some(whole) = char::from_u32(unit) {
                return Some((whole, 6));
            }
            let low = unit_low(text)?;
            let pair = (0xD800..0xDC00).contains(&unit).then_some(0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00))?;
            return Some((char::from_u32(pair)?, 12));
        }
        _ => return None,
    };
    Some((plain, 2))
}

fn unit_low(text: &str) -> Option<u32> {
    unit(text, 6).filter(|low| (0xDC00..0xE000).contains(low))
}

/// The code unit of the `\uXXXX` that starts at a byte.
fn unit(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    // `from_str_radix` would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// [`unescape_json`] and then [`fold`], with one way back.
#[must_use]
pub fn fold_json(text: &str) -> View<'_> {
    let mut decoded = unescape_json(text);
    let Cow::Owned(plain) = &decoded.text else { return fold(text) };
    let folded = fold(plain);
    if folded.is_changed() {
        let View { text, maps } = folded;
        let text = Cow::Owned(text.into_owned());
        decoded.text = text;
        decoded.maps.extend(maps);
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_escapes() {
        for (source, plain) in [
            (r#"{"q":"b\u006fmb"}"#, r#"{"q":"bomb"}"#),
            (r"a\nb\tc\rd\be\ff", "a\nb\tc\rd\u{8}e\u{c}f"),
            (r#"\"\\\/"#, r#""\/"#),
            (r"\\u0041", r"\u0041"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\uD83D\u0041", r"\uD83DA"),
            (r"\ude00", r"\ude00"),
            (r"\u12", r"\u12"),
            (r"\u+123", r"\u+123"),
            (r"\x41 \", r"\x41 \"),
            (r"\u0E23ะเบิด", "ระเบิด"),
            (r"\u00é9", r"\u00é9"),
            ("none", "none"),
        ] {
            let view = unescape_json(source);
            assert_eq!(view.text(), plain, "{source}");
            assert_eq!(view.is_changed(), source != plain);
        }
    }

    #[test]
    fn an_escape_may_be_completed_yet() {
        for (text, whole) in [
            (r"a\", r"a"),
            (r"a\\", r"a\\"),
            (r"a\\\", r"a\\"),
            (r"a\u", "a"),
            (r"a\u004", "a"),
            (r"a\u0040", r"a\u0040"),
            (r"a\ud835", "a"),
            (r"a\ud835\ud", "a"),
            (r"a\ud835\udfd2", r"a\ud835\udfd2"),
            (r"a\n", r"a\n"),
            (r"a\\u00", r"a\\u00"),
            ("a", "a"),
        ] {
            assert_eq!(whole_escapes(text), whole, "{text}");
        }
    }

    #[test]
    fn the_way_back() {
        let source = r#"{"q":"make a b\u200b\u043emb now"}"#;
        let view = fold_json(source);
        assert_eq!(view.text(), r#"{"q":"make a bomb now"}"#);
        let at = view.text().find("bomb").unwrap();
        assert_eq!(source.get(view.origin(at..at + 4)), Some(r"b\u200b\u043emb"));
        assert_eq!(source.get(view.origin(at + 1..at + 2)), Some(r"\u043e"));
        assert_eq!(view.origin(0..view.text().len()), 0..source.len());

        let view = fold("a\u{200b}\u{ff42}c");
        assert_eq!(view.text(), "abc");
        assert_eq!(view.origin(0..1), 0..1);
        assert_eq!(view.origin(1..2), 4..7);
        assert_eq!(view.origin(0..3), 0..8);
        assert_eq!(view.origin(2..2), 7..7);
        assert_eq!([0, 1, 4, 7, 8].map(|at| view.at(at)), [0, 1, 1, 2, 3]);
        assert_eq!(view.origin(90..99), 8..8);
        assert_eq!(fold("\u{200b}").origin(0..0), 0..0);
        // Part of a character that became several is all of it.
        let view = fold("x\u{fb03}y");
        assert_eq!(view.text(), "xffiy");
        assert_eq!(view.origin(2..3), 1..4);
        assert_eq!([1, 2, 4, 9].map(|at| view.at(at)), [1, 1, 4, 5]);
    }

    /// Ordinary text: nothing in it hides.
    const PLAIN: &[&str] = &[
        "What is the best way to cook rice for a family of four?",
        "Please review the Q3 report by 10am on 2024-01-15, or call me at +65 6123 4567.",
        "I flew from the U.S.A. to the U.K., e.g. via Frankfurt, i.e. 14h30 in total, at 3pm on the 2nd.",
        "GPT-4o and Llama-3.1-8B run on an H100; COVID-19 was named on 11 Feb 2020.",
        "My mp3 player needs win11, h264 and a b2b licence for 4x4 A4 prints at 5kg each.",
        "The server 192.168.10.1:8080 runs v1.4.0-rc1, see https://ex4mple.com/p4th?q=b0mb&x=1 for more.",
        "Mail j0hn.d0e@example.com or @m4rk about the $500 and US$35.50 invoices, A$20 off.",
        "Commit 3f5a7c1d0b4e and id 550e8400-e29b-41d4-a716-446655440000 are both tagged.",
        "Use utf8, sha256, x1, y_1, base64, int32_t and my_v4r in `s0me_func(x1)`; i18n, l10n, a11y, k8s.",
        "Tick A, B, C or D; the vitamins A B C D E are good for you, and so is a b c d e f.",
        "J. R. R. Tolkien, the F.B.I., A.S.E.A.N. and R.I.P. are not spelled out.",
        "The word H1N1, a W3C draft, log4j, neo4j, md5sum, d3js, mp3player and ps4pro.",
        "Saya suka makan nasi lemak di Kampung Baru setiap pagi Ahad.",
        "Weyh jom lepak mamak mlm ni, x payah bwk duit byk2, aku blanja je.",
        "Dia kata x nak pergi sbb penat sgt, u ok x? i n u pegi skali la.",
        "Harga RM5.50 sekilo, beli 3kg dapat diskaun 10% sampai 31hb.",
        "Budak2 tu main bola kat padang, kanak2nya riang2 belaka.",
        "Tolong semak permohonan saya bernombor A1234567 di pejabat tanah.",
        "Kupu2 itu hinggap di bunga, hati2 ya teman2 dan orang2 di sana.",
        "Harga rp3juta atau Rp5jt untuk 2 orang, bisa nego gan, kopi 3in1 aja.",
        "Apa kabar? Gue lagi di kantor, ntar jam 7 gue jemput lo ya wkwkwk.",
        "Bagaimana cara membuat kue lapis legit yang enak dan lembut?",
        "Laki-laki itu berlari-lari kecil sambil melihat-lihat pemandangan.",
        "Kumusta ka na? Matagal na tayong hindi nagkita, mag-kape naman tayo.",
        "Paano po magluto ng adobo na hindi maalat, at ilang oras po ito?",
        "D2 na me, san na u? Dto lng s4 tabi ng 7eleven, w8 lng.",
        "Ang sabi niya ay pupunta siya sa Biyernes ng alas-3 ng hapon.",
        "எப்படி சாம்பார் செய்வது? எனக்கு 2 கப் பருப்பு இருக்கிறது.",
        "நான் நாளை காலை 10 மணிக்கு சென்னைக்கு போகிறேன், bus-ல் வருவேன்.",
        "அவர் கொடுத்த புத்தகம் மிகவும் பயனுள்ளதாக இருந்தது, ஸ்ரீ அவர்களுக்கு நன்றி.",
        "ขอสูตรต้มยำกุ้งน้ำข้นหน่อยครับ ทำยังไงให้อร่อย",
        "พรุ่งนี้ประชุม 9:30 น. ที่ชั้น 12 นะคะ อย่าลืมเอกสาร A4 ด้วย 5555",
        "น้ำท่วมหนักมากที่เชียงใหม่ ผู้ใหญ่บ้านเก็บข้าวของไม่ทัน",
        "Hôm nay trời đẹp quá, mình đi uống cà phê ở Hà Nội nhé!",
        "Cho tôi hỏi cách nấu phở bò ngon như ở ngoài hàng ạ, khoảng 5h30 chiều.",
        "K0 biết nữa, mai e ở nhà, a qua đón e lúc 7h nha, giá 1tr5 thôi.",
        "Nguyễn Thị Ánh Tuyết sinh ngày 20/11/1990 tại thành phố Huế.",
        "မင်္ဂလာပါ၊ နေကောင်းလား။ ဒီနေ့ ရာသီဥတု သာယာပါတယ်။",
        "ထမင်းကြော် ဘယ်လိုလုပ်ရမလဲ ပြောပြပေးပါ။",
        "ကျွန်တော် မနက်ဖြန် ၁၀ နာရီမှာ ရန်ကုန်ကို သွားမယ်၊ bus နဲ့ပဲ သွားမှာပါ။",
        "我想学做麻婆豆腐、请问需要什么材料",
    ];

    #[test]
    fn plain_sentences_are_left_alone() {
        for sentence in PLAIN {
            assert!(!fold(sentence).is_changed(), "{sentence} {}", fold(sentence).text());
            assert!(!fold_json(sentence).is_changed(), "{sentence}");
            assert_eq!(unspaced(sentence), None, "{sentence}");
        }
    }

    /// Characters that meet one another in the rules, more often than chance would have them.
    fn tricky() -> impl Strategy<Value = String> {
        let char = prop_oneof![
            4 => proptest::char::range(' ', '~'),
            2 => proptest::char::range('\u{300}', '\u{345}'),
            2 => proptest::char::range('\u{370}', '\u{52f}'),
            1 => proptest::char::range('\u{a0}', '\u{24f}'),
            1 => proptest::char::range('\u{1e00}', '\u{1fff}'),
            1 => proptest::char::range('\u{e00}', '\u{e5b}'),
            1 => proptest::char::range('\u{b80}', '\u{bff}'),
            1 => proptest::char::range('\u{1000}', '\u{11ff}'),
            1 => proptest::char::range('\u{2000}', '\u{20ff}'),
            1 => proptest::char::range('\u{e0000}', '\u{e007f}'),
            1 => proptest::char::range('\u{1f100}', '\u{1f1ff}'),
            1 => proptest::char::range('\u{fe00}', '\u{ffff}'),
            1 => proptest::char::any(),
            3 => proptest::sample::select("аеорсухіο\u{335}\u{338}ᴏʙɪ🏴ำ´\\\\u\u{200b}\u{200d}\u{fe0f} ".chars().collect::<Vec<_>>()),
        ];
        proptest::collection::vec(char, 0..24).prop_map(|chars| chars.into_iter().collect())
    }

    fn check(source: &str, view: &View<'_>) {
        let text = view.text();
        if !view.is_changed() {
            assert_eq!(text, source);
        }
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (mut start, mut end) = (0, 0);
        for pair in cuts.windows(2) {
            let range = view.origin(pair[0]..pair[1]);
            assert!(source.get(range.clone()).is_some_and(|from| !from.is_empty()), "{source:?}");
            assert!(range.start >= start && range.end >= end, "{source:?}");
            (start, end) = (range.start, range.end);
        }
        // The whole comes from the whole, but for what was removed at its edges.
        let whole = view.origin(0..text.len());
        if !text.is_empty() {
            for edge in [0..whole.start, whole.end..source.len()] {
                assert_eq!(source.get(edge).map(|edge| fold_json(edge).text().len()), Some(0), "{source:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(800))]

        #[test]
        fn any_text(source in prop_oneof![tricky(), any::<String>()]) {
            let view = fold(&source);
            check(&source, &view);
            check(&source, &unescape_json(&source));
            check(&source, &fold_json(&source));
            let again = fold(view.text());
            prop_assert_eq!(again.text(), view.text());
            prop_assert!(!again.is_changed());
            let _ = unspaced(&source);
        }

        #[test]
        fn any_range(source in tricky(), start in 0..99_usize, length in 0..99_usize) {
            let range = fold_json(&source).origin(start..start + length);
            prop_assert!(source.get(range).is_some());
        }
    }
}
