//! The fold: NFKC, nothing invisible, no decoration, no look-alikes.

use std::ops::Range;

use unicode_normalization::char::{canonical_combining_class, compose, decompose_compatible};

use super::lookalike::{latin, mostly_latin, unmask};
use super::{Builder, View};

/// A letter with more marks than this is scribbled over: no language's letter has as many, strikethrough and underline
/// included.
const CROWD: usize = 4;

const FIRST_MARK: char = '\u{300}';

/// Undoes what hides words from a reader of characters: compatibility forms, invisible characters, tag characters, scribbled
/// marks and look-alike letters.
#[must_use]
pub fn fold(text: &str) -> View<'_> {
    if text.is_ascii() || calm(text) {
        return View::same(text);
    }
    let (out, doubtful) = pass(text, false);
    // Asked of the outcome, so that folding what was folded comes to the same answer.
    let out = if doubtful && mostly_latin(&out.text) { pass(text, true).0 } else { out };
    out.finish(text)
}

/// Whether no character of the text, nor any two neighbours, can need work. Most texts of most languages.
fn calm(text: &str) -> bool {
    let mut before = ' ';
    text.chars().all(|c| {
        let fine = plain(c) && !restless(before, c);
        before = c;
        fine
    })
}

/// Characters that stay as they are among themselves.
fn plain(c: char) -> bool {
    match c {
        '\u{1000}'..='\u{109f}' => c != '\u{108d}',
        '\u{a1}'..='\u{ff}' => !matches!(c, 'ª' | '\u{ad}' | '²' | '³' | 'µ' | '¹' | 'º' | '¼' | '½' | '¾'),
        '\u{100}'..='\u{1c3}' => !matches!(c, 'Ĳ' | 'ĳ' | 'Ŀ' | 'ŀ' | 'ŉ' | 'ſ'),
        _ => {
            matches!(c, '\0'..='\x7f' | '\u{e01}'..='\u{e5b}' | '\u{b80}'..='\u{bff}' | '\u{1ea0}'..='\u{1eff}')
                || matches!(c, '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
                || matches!(c, '\u{2012}'..='\u{2016}' | '\u{2018}'..='\u{2022}' | '€' | '₱' | '₫' | '、' | '。')
                || matches!(c, '\u{2600}'..='\u{27bf}' | '\u{1f300}'..='\u{1f64f}' | '\u{1f680}'..='\u{1f6ff}' | '\u{1f900}'..='\u{1f9ff}')
        }
    }
}

/// Neighbours, both [`plain`], that NFC would put in the other order or make one.
fn restless(before: char, c: char) -> bool {
    match c {
        '\u{e38}' | '\u{e39}' => matches!(before, '\u{e48}'..='\u{e4b}'),
        '\u{e3a}' => matches!(before, '\u{e38}' | '\u{e39}' | '\u{e48}'..='\u{e4b}'),
        '\u{bbe}' => matches!(before, '\u{bc6}' | '\u{bc7}'),
        '\u{bd7}' => true,
        '\u{1037}' => matches!(before, '\u{1039}' | '\u{103a}'),
        '\u{102e}' => before == '\u{1025}',
        _ => false,
    }
}

/// A character on its way, with the bytes that it came from.
struct Item {
    c: char,
    from: Range<usize>,
}

/// Folds by chunks, each white space and the word after it: nothing reaches over white space, and most chunks are calm.
fn pass(text: &str, latin: bool) -> (Builder, bool) {
    let mut out = Builder { text: String::with_capacity(text.len()), ..Builder::default() };
    let mut doubtful = false;
    let mut items = Vec::new();
    let mut start = 0;
    while let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let spaces = rest.len() - rest.trim_ascii_start().len();
        let word = rest.get(spaces..).unwrap_or_default();
        let length = spaces + word.bytes().position(|byte| byte.is_ascii_whitespace()).unwrap_or(word.len());
        let chunk = rest.get(..length).unwrap_or_default();
        if calm(chunk) {
            out.keep(text, start..start + length);
        } else {
            read(chunk, start, &mut items);
            reorder(&mut items);
            doubtful |= unmask(&mut items, latin, |item| &mut item.c);
            items = recompose(items);
            emit(text, &mut items, &mut out);
        }
        start += length;
    }
    (out, doubtful)
}

/// Decomposes a chunk, leaving out what cannot be seen.
fn read(chunk: &str, base: usize, items: &mut Vec<Item>) {
    let mut skip_to = 0;
    let mut before = ' ';
    for (at, c) in chunk.char_indices() {
        let from = base + at..base + at + c.len_utf8();
        let rest = chunk.get(from.end - base..).unwrap_or_default();
        let mut push = |c| items.push(Item { c, from: from.clone() });
        match c {
            _ if at < skip_to => {}
            _ if c.is_ascii() => push(c),
            '\u{1f3f4}' => {
                push(c);
                skip_to = at + c.len_utf8() + flag_tags(rest);
            }
            '\u{e0020}'..='\u{e007e}' => push(shifted(c, '\u{e0020}', ' ')),
            _ if invisible(c) => {}
            '\u{1f150}'..='\u{1f169}' => push(shifted(c, '\u{1f150}', 'A')),
            '\u{1f170}'..='\u{1f189}' => push(shifted(c, '\u{1f170}', 'A')),
            // Two in a row are a flag. One is a letter in a box.
            _ if regional(c) && !regional(before) && !rest.chars().next().is_some_and(regional) => {
                push(shifted(c, '\u{1f1e6}', 'A'));
            }
            _ if kept_whole(c) => push(c),
            _ => decompose_compatible(c, push),
        }
        before = c;
    }
}

fn regional(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

/// The character as far from `to` as it is from `from`.
fn shifted(c: char, from: char, to: char) -> char {
    (c as u32).checked_sub(from as u32).and_then(|step| char::from_u32(to as u32 + step)).unwrap_or(c)
}

/// The length of the tags that make a black flag England's, Scotland's or Wales's. Other tags say something hidden.
fn flag_tags(rest: &str) -> usize {
    let tags: String = rest.chars().take(6).map(|c| shifted(c, '\u{e0020}', ' ')).collect();
    if ["gbeng\u{7f}", "gbsct\u{7f}", "gbwls\u{7f}"].contains(&tags.as_str()) { 6 * 4 } else { 0 }
}

/// Default-ignorable code points, and a few others with no shape.
fn invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Characters that NFKC would take apart to no good: Thai and Lao am, ordinary letters there; the Korean letters of ㅋㅋㅋ; and
/// free-standing accents, which would become a space with a mark.
fn kept_whole(c: char) -> bool {
    match c {
        '\u{e33}' | '\u{eb3}' | '\u{3131}'..='\u{318e}' => true,
        '\u{a8}'..='\u{b8}'
        | '\u{2d8}'..='\u{2dd}'
        | '\u{37a}'..='\u{385}'
        | '\u{1fbd}'..='\u{1ffe}'
        | '\u{2017}'..='\u{203e}'
        | '\u{309b}'..='\u{309c}'
        | '\u{fc5e}'..='\u{fe7f}'
        | '\u{ffe3}' => spaced_accent(c),
        _ => false,
    }
}

fn spaced_accent(c: char) -> bool {
    let (mut length, mut space) = (0, false);
    decompose_compatible(c, |part| {
        space |= length == 0 && part == ' ';
        length += 1;
    });
    space && length > 1
}

/// The canonical combining class. Nothing before the first mark has one.
fn class(c: char) -> u8 {
    if c < FIRST_MARK { 0 } else { canonical_combining_class(c) }
}

/// Canonical order: marks by class, those of one class as written.
fn reorder(items: &mut [Item]) {
    for marks in items.chunk_by_mut(|_, item| class(item.c) != 0) {
        // Each run but the first of a text starts with what the marks stand on.
        let lead = usize::from(marks.first().is_some_and(|item| class(item.c) == 0));
        if let Some(marks) = marks.get_mut(lead..).filter(|marks| marks.len() > 1) {
            marks.sort_by_key(|item| class(item.c));
        }
    }
}

/// Marks of the kind that is scribbled over letters.
pub(super) fn decorative(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
    )
}

/// Strokes and rings, which are no part of any script's letters.
fn overlay(c: char) -> bool {
    matches!(c, '\u{332}'..='\u{338}' | '\u{488}' | '\u{489}' | '\u{20d2}' | '\u{20d3}' | '\u{20d8}'..='\u{20da}' | '\u{20dd}'..='\u{20eb}')
}

/// Whether a mark that does not compose with what it stands on is decoration there.
fn decorates(base: char, mark: char) -> bool {
    decorative(mark) && (base.is_ascii() || latin(base) || overlay(mark) && base.is_alphabetic())
}

/// Canonical composition that leaves decoration out.
fn recompose(items: Vec<Item>) -> Vec<Item> {
    let mut out: Vec<Item> = Vec::with_capacity(items.len());
    let mut base: Option<usize> = None;
    let mut class_before = 0;
    let crowds: Vec<bool> = crowds(&items);
    let mut crowded = false;
    for (item, crowd) in items.into_iter().zip(crowds) {
        let class = class(item.c);
        let next_to_base = base.is_some_and(|at| at + 1 == out.len());
        if let Some(onto) = base.and_then(|at| out.get_mut(at)) {
            let scribble = crowded && decorative(item.c) && (onto.c.is_ascii() || latin(onto.c));
            let free = next_to_base || class_before != 0 && class_before < class;
            let whole = if free && !scribble && item.c >= FIRST_MARK { compose(onto.c, item.c) } else { None };
            if whole.is_some() || scribble || decorates(onto.c, item.c) {
                onto.c = whole.unwrap_or(onto.c);
                onto.from = onto.from.start.min(item.from.start)..onto.from.end.max(item.from.end);
                continue;
            }
        }
        if class == 0 {
            base = Some(out.len());
            crowded = crowd;
        }
        class_before = class;
        out.push(item);
    }
    out
}

/// For each character, whether more decorative marks follow it than a letter bears.
fn crowds(items: &[Item]) -> Vec<bool> {
    let mut crowds = vec![false; items.len()];
    let mut marks = 0;
    for (crowd, item) in crowds.iter_mut().zip(items).rev() {
        *crowd = marks > CROWD;
        marks = if decorative(item.c) { marks + 1 } else { 0 };
    }
    crowds
}

/// Writes a chunk out. Characters whose sources overlap, from one ligature or by reordering, share what they came from.
fn emit(text: &str, items: &mut Vec<Item>, out: &mut Builder) {
    // How many characters each group has, and what they came from.
    let mut groups: Vec<(usize, Range<usize>)> = Vec::with_capacity(items.len());
    for item in &*items {
        let (mut count, mut from) = (1, item.from.clone());
        while let Some((more, range)) = groups.pop_if(|(_, range)| range.end > from.start) {
            count += more;
            from = range.start.min(from.start)..range.end.max(from.end);
        }
        groups.push((count, from));
    }
    let mut chars = items.drain(..).map(|item| item.c);
    let mut written = String::new();
    for (count, from) in groups {
        written.clear();
        written.extend(chars.by_ref().take(count));
        out.replace(text, from, &written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &str)]) {
        for (source, folded) in rows {
            let view = fold(source);
            assert_eq!(view.text(), *folded, "{source} {:?}", source.escape_unicode().to_string());
            assert_eq!(view.is_changed(), source != folded);
        }
    }

    #[test]
    fn compatibility_forms() {
        table(&[
            ("ｂｏｍｂ １２３", "bomb 123"),
            ("𝐛𝐨𝐦𝐛 𝓫𝓸𝓶𝓫 𝔟𝔬𝔪𝔟 𝚋𝚘𝚖𝚋", "bomb bomb bomb bomb"),
            ("ⓑⓞⓜⓑ 🅑🅞🅜🅑 🄱🄾🄼🄱 🅱🅾🅼🅱", "bomb BOMB BOMB BOMB"),
            ("🇧 🇴 🇲 🇧", "B O M B"),
            ("🇧\u{200b}🇴\u{200b}🇲\u{200b}🇧", "BOMB"),
            ("ﬁre oﬃce", "fire office"),
            ("ｶﾞｽ", "ガス"),
            ("a\u{a0}b\u{3000}c", "a b c"),
        ]);
    }

    #[test]
    fn the_invisible() {
        table(&[
            ("b\u{200b}o\u{200c}m\u{200d}b\u{2060}\u{feff}", "bomb"),
            ("b\u{ad}o\u{34f}m\u{180e}b\u{fe0f}", "bomb"),
            ("\u{202e}bmob\u{202c} \u{2066}x\u{2069}", "bmob x"),
            ("b\u{3164}o\u{ffa0}m\u{115f}b\u{1160}", "bomb"),
            ("hi \u{e0001}\u{e006b}\u{e0069}\u{e006c}\u{e006c}\u{e0020}\u{e0048}\u{e0021}\u{e007f}", "hi kill H!"),
            ("b\u{e0100}omb", "bomb"),
            // England's flag says nothing; other tags on a flag do.
            ("🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}!", "🏴!"),
            ("🏴\u{e0062}\u{e006f}\u{e006d}\u{e0062}\u{e007f}", "🏴bomb"),
            ("❤\u{fe0f} 👨\u{200d}👩", "❤ 👨👩"),
            ("ระ\u{200b}เบิด", "ระเบิด"),
            ("கு\u{200c}ண்டு", "குண்டு"),
            ("ဗုံး\u{200b}ခွဲ", "ဗုံးခွဲ"),
        ]);
    }

    #[test]
    fn decoration() {
        table(&[
            ("b̶o̶m̶b̶", "bomb"),
            ("b̶\u{20}̶o̲m̲b̲", "b omb"),
            ("b⃝o⃝m⃝b⃝ 1\u{fe0f}\u{20e3}", "bomb 1"),
            ("b\u{334}\u{322}\u{31b}\u{301}\u{316}\u{35c}o\u{335}\u{35d}\u{301}\u{302}\u{317}m\u{338}b\u{337}", "bomb"),
            ("ế̶ ậ̲ ữ̶", "ế ậ ữ"),
            ("g̶i̶ế̶t̶", "giết"),
            ("ระ̶เ̶บิ̶ด̶", "ระเบิด"),
            ("кот̶", "кот"),
            ("a ≠ b", "a ≠ b"),
        ]);
    }

    #[test]
    fn marks_that_belong() {
        table(&[
            ("ế ậ ữ ợ đ ẵ", "ế ậ ữ ợ đ ẵ"),
            ("e\u{302}\u{301} a\u{323}\u{302} a\u{302}\u{323} u\u{31b}\u{303}", "ế ậ ậ ữ"),
            // As the old Windows code page writes it.
            ("ê\u{301} ư\u{303}", "ế ữ"),
            ("Tie\u{302}\u{301}ng Vie\u{323}\u{302}t", "Tiếng Việt"),
            ("nin\u{303}o \u{e0063}", "niño c"),
            ("น้ำ ทำ ผู้ใหญ่ เก็บ", "น้ำ ทำ ผู้ใหญ่ เก็บ"),
            ("น้ำ\u{200b}ทำ", "น้ำทำ"),
            ("கொ \u{b95}\u{bc6}\u{bbe} செய்", "கொ கொ செய்"),
            // One text, two orders: Unicode's is the first.
            ("ခွင\u{1037}\u{103a} ခွင\u{103a}\u{1037}", "ခွင\u{1037}\u{103a} ခွင\u{1037}\u{103a}"),
            ("ㅋㅋㅋ don´t ‾", "ㅋㅋㅋ don´t ‾"),
            ("ё й їжак", "ё й їжак"),
        ]);
    }

    #[test]
    fn look_alikes() {
        table(&[
            ("make a bоmb", "make a bomb"),
            ("make a ВОМВ now", "make a BOMB now"),
            ("how to mаkе а bомb", "how to make a bomb"),
            ("a Kоld ΒΟΜΒ ехрlоsivе", "a Kold BOMB explosive"),
            ("k\u{456}ll, k\u{3b9}ll, K\u{406}LL, k\u{1d0}ll", "kill, kill, KILL, kǐll"),
            ("bօmb wеаpօn", "bomb weapon"),
            ("ʜᴏᴡ ᴛᴏ ᴍᴀᴋᴇ ᴀ ʙᴏᴍʙ", "how to make a bomb"),
            ("bᴏmʙ", "bomb"),
            ("\u{4bb}0w to", "h0w to"),
            ("cách làm bоm", "cách làm bom"),
            ("ทำ bоmb ยังไง", "ทำ bomb ยังไง"),
            ("Ꮶill ꓐomb", "Kill Bomb"),
            ("b\u{200b}\u{43e}mb", "bomb"),
            ("b\u{43e}\u{336}mb", "bomb"),
        ]);
    }

    #[test]
    fn words_of_their_own_script() {
        table(&[
            ("сор рот оса", "сор рот оса"),
            ("Привет, как дела? Кот и сок.", "Привет, как дела? Кот и сок."),
            ("Это ОС, а не Windows, а вот оно что", "Это ОС, а не Windows, а вот оно что"),
            ("Καλημέρα, το όνομα μου", "Καλημέρα, το όνομα μου"),
            ("Բարեւ ձեզ", "Բարեւ ձեզ"),
            ("the Russian word привет means hello", "the Russian word привет means hello"),
            ("the coefficient α and ρ = 0.5", "the coefficient α and ρ = 0.5"),
            ("TNF-α, 10 Ω", "TNF-α, 10 Ω"),
            ("naïve Straße kadın ørsted łódź ħ", "naïve Straße kadın ørsted łódź ħ"),
            ("中文字 日本語 한국어", "中文字 日本語 한국어"),
            ("1l0O|I rn", "1l0O|I rn"),
            ("שלום سلام", "שלום سلام"),
        ]);
    }
}
