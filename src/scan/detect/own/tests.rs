use proptest::prelude::*;

use super::super::{Detectors, tests::READ};
use super::*;

fn own(name: &str, regexes: &[&str], words: &[&str], context: &[&str]) -> Own {
    let owned = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect();
    Own { name: name.into(), regexes: owned(regexes), words: owned(words), context: owned(context), mask: format!("[{name}]") }
}

fn detectors(own: &[Own]) -> Detectors {
    Detectors::new(own).unwrap()
}

/// What one detector finds.
fn found<'t>(detectors: &Detectors, name: &str, text: &'t str) -> Vec<&'t str> {
    let found = detectors.find(text, 0).into_iter().filter(|finding| &*finding.detector == name);
    found.map(|finding| text.get(finding.range).unwrap()).collect()
}

fn with_regexes(regexes: &[&str]) -> Detectors {
    detectors(&[own("p/x", regexes, &[], &[])])
}

fn with_words(words: &[&str]) -> Detectors {
    detectors(&[own("p/x", &[], words, &[])])
}

#[test]
fn every_expression_finds() {
    let set = with_regexes(&[r"PRJ-\d{4}", r"\bJ-\d", "(?i)code name"]);
    assert_eq!(found(&set, "p/x", "PRJ-1234 and J-5, CODE NAME PRJ-12"), ["PRJ-1234", "J-5", "CODE NAME"]);
    assert_eq!(found(&set, "p/x", "โครงการPRJ-1234ครับ"), ["PRJ-1234"]);
}

#[test]
fn expressions_are_in_the_composed_form_of_the_text() {
    assert_eq!(found(&with_regexes(&["Vie\u{323}\u{302}t-\\d"]), "p/x", "Việt-1"), ["Việt-1"]);
}

#[test]
fn own_detectors_hide_nothing_from_others() {
    let set = detectors(&[own("p/all", &[r"card [0-9 ]+"], &[], &[]), own("q/four", &["4111"], &[], &[])]);
    let names: Vec<_> =
        set.find("card 4111 1111 1111 1111", 0).into_iter().map(|finding| finding.detector.to_string()).collect();
    assert_eq!(names, ["p/all", "payment_card", "q/four", "q/four"][..3], "each sees its own");
    assert_eq!((set.mask("p/all"), set.mask("payment_card"), set.mask("r/all")), ("[p/all]", "[payment card]", "[redacted]"));
    assert!(set.names().any(|(name, _)| &*name == "q/four"));
}

#[test]
fn long_matches_are_found_in_pieces_and_far_ends_not_at_all() {
    let run = "a".repeat(2500);
    let lengths: Vec<usize> = found(&with_regexes(&[r"a+"]), "p/x", &run).iter().map(|piece| piece.len()).collect();
    assert_eq!(lengths, [1024, 1024, 452]);
    let set = with_regexes(&["(?s)<.*?>"]);
    let text = format!("<{}> <{}> <b>", "x".repeat(1500), "y".repeat(1000));
    assert_eq!(found(&set, "p/x", &text).iter().map(|piece| piece.len()).collect::<Vec<_>>(), [1002, 3]);
}

#[test]
fn words_are_whole_where_there_are_spaces() {
    let set = with_words(&["project blue", "Müller", "k9", "c++", "Straße"]);
    for (text, word) in [
        ("the PROJECT \n Blue.", "PROJECT \n Blue"),
        ("Herr müller, bitte", "müller"),
        ("MÜLLER's", "MÜLLER"),
        ("บริษัทMüllerจำกัด", "Müller"),
        ("a k9 unit", "k9"),
        ("in C++, of course", "C++"),
        ("STRASSE 5", "STRASSE"),
        ("project_blue/project blue_x", "project blue"),
    ] {
        assert_eq!(found(&set, "p/x", text), [word], "{text}");
    }
    for text in ["project bluebird", "subproject blue", "Müllers", "k92", "projectblue", "strassen"] {
        assert_eq!(found(&set, "p/x", text), [""; 0], "{text}");
    }
}

#[test]
fn the_longest_words_stand() {
    let set = with_words(&["new york", "new york c", "york city hall", "new york city"]);
    assert_eq!(found(&set, "p/x", "new york city"), ["new york city"], "not the shorter ones within");
    assert_eq!(found(&set, "p/x", "new york cheese"), ["new york"], "the longer one is no whole word");
    assert_eq!(found(&set, "p/x", "new york city hall"), ["new york city", "york city hall"]);
}

#[test]
fn words_stand_anywhere_where_there_are_no_spaces() {
    let set = with_words(&["โครงการ", "ฟ้า", "蓝天", "あお", "မြန်", "ខ្មែ", "นา"]);
    for (text, word) in [
        ("นี่คือโครงการลับ", "โครงการ"),
        ("ท้องฟ้าใส", "ฟ้า"),
        ("我们的蓝天计划", "蓝天"),
        ("まあおい", "あお"),
        ("abcโครงการ1", "โครงการ"),
    ] {
        assert_eq!(found(&set, "p/x", text), [word], "{text}");
    }
    // A mark, or a letter written below, belongs to the letter before it.
    for text in ["ခမြန်း", "ខ្មែ្រ", "นำ", "นาำ", "က္မြန်"] {
        assert_eq!(found(&set, "p/x", text), [""; 0], "{text}");
    }
    assert_eq!(found(&with_words(&["ก"]), "p/x", "กิ ก กํ กา"), ["ก", "ก"]);
}

#[test]
fn words_near_decide() {
    let set = detectors(&[own("p/x", &[r"\d{5}"], &[], &["badge", "พนักงาน"])]);
    assert_eq!(found(&set, "p/x", "Badge no 12345, and then a long way off from it 54321 it is"), ["12345"]);
    assert_eq!(found(&set, "p/x", "12345 is my badge; รหัสพนักงาน 67890"), ["12345", "67890"]);
    assert_eq!(found(&set, "p/x", "12345, badges"), [""; 0]);
    let far = format!("badge{}12345{}badge", " ".repeat(36), " ".repeat(20));
    assert_eq!(found(&set, "p/x", &far), [""; 0], "a word cut in two is none");
}

#[test]
fn what_cannot_be_used_is_told() {
    let told = |own: Own| Detectors::new(&[own]).unwrap_err().to_string();
    let regex = |pattern: &str| told(own("p/x", &["ok", pattern], &[], &[]));
    assert_eq!(regex("(a"), "detector `p/x`: regex `(a`: unclosed group");
    assert_eq!(regex("a*"), "detector `p/x`: regex `a*`: it matches the empty text: make a part of it mandatory");
    assert!(regex(r"\b").contains("empty text") && regex("(?=a)").contains("look-around"), "{}", regex("(?=a)"));
    assert!(regex(r"(\w{100}){100}").contains("is larger than"), "{}", regex(r"(\w{100}){100}"));
    assert!(told(own("p/x", &[], &[], &["a"])).contains("names nothing to look for"));
    assert!(told(own("p/x", &[], &["a", " \u{200b}"], &[])).contains("is empty"));
    assert!(told(own("p/x", &[], &[&"a".repeat(600)], &[])).contains("longer than 512 bytes"));
    assert!(told(Own { mask: "\"".into(), ..own("p/x", &["a"], &[], &[]) }).contains("`mask`"));
}

#[test]
fn a_hundred_thousand_words_take_little_room() {
    let syllables = ["ka", "ro", "min", "tes", "vel", "pon", "su", "lar", "dik", "ne"];
    let word = |n: usize| (0..5).map(|place| syllables[n / 10_usize.pow(place) % 10]).collect::<String>() + " gmbh";
    let words: Vec<String> = (0..100_000).map(word).collect();
    let set = Words::new(&words.iter().map(|word| (0, word.as_str())).collect::<Vec<_>>()).unwrap().unwrap();
    assert!(set.size() < 32 << 20, "{}", set.size());
    let mut seen = 0;
    let text = format!("{} and {}s", words[4711], words[815]);
    set.each(&text, 0..text.len(), &mut |_, _| seen += 1);
    assert_eq!(seen, 1);
}

/// Detectors whose matches touch, overlap, nest, need context or see around themselves.
fn tricky() -> Detectors {
    detectors(&[
        own("p/touch", &["aa", r"a{3}"], &[], &[]),
        own("p/word", &[r"\b[a-z]{2,5}\b", r"x\b|xyz+"], &[], &[]),
        own("p/run", &[r"z+", r"<[^>]*>", r"(?m)^q.*$"], &[], &[]),
        own("q/words", &[], &["new york", "new york city", "york city hall", "ab", "b", "ก", "กข", "ขคง", "字典"], &[]),
        own("q/near", &[r"\d{3}", "[ก-ฮ]\\d"], &["kk"], &["badge", "รหัส"]),
    ])
}

const PIECES: &[&str] = &[
    "a",
    "aa",
    "b",
    "x",
    "xy",
    "z",
    "zzz",
    "<",
    ">",
    "q",
    "\n",
    " ",
    " ",
    "  ",
    "new",
    "York",
    "city",
    "hall",
    "ก",
    "ข",
    "ค",
    "ง",
    "ิ",
    "ำ",
    "字",
    "典",
    "1",
    "12",
    "123",
    "badge",
    "Badges",
    "รหัส",
    "kk",
    "-",
    "é",
    "@b.com",
    "4111 1111 1111 1111",
    "NIK ",
    "AKIA",
    "the quick brown fox ",
    "สวัสดีครับ",
];

/// The findings of a text that comes in pieces, as a stream's checks put them together.
fn streamed(set: &Detectors, text: &str, cuts: &[usize]) -> Vec<Finding> {
    const LEAD: usize = 8 << 10;
    let (mut covered, mut all) = (0_usize, Vec::new());
    for (end, last) in cuts.iter().map(|&cut| (cut, false)).chain([(text.len(), true)]) {
        let from = text.floor_char_boundary(covered.saturating_sub(LEAD));
        let part = text.get(from..end).unwrap();
        let found = set.find(part, covered - from);
        let settled = if last { part.len() } else { set.settled(part, covered - from) } + from;
        let moved = |finding: Finding| Finding { range: finding.range.start + from..finding.range.end + from, ..finding };
        let ready = |finding: &Finding| finding.range.start >= covered && finding.range.start < settled;
        let found: Vec<Finding> = found.into_iter().map(moved).filter(ready).collect();
        assert!(found.iter().all(|finding| finding.range.end <= settled), "{part:?} is cut at {settled}");
        all.extend(found);
        covered = covered.max(settled);
    }
    all
}

fn check(set: &Detectors, text: &str, cuts: &[prop::sample::Index]) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
    cuts.sort_unstable();
    assert_eq!(streamed(set, text, &cuts), set.find(text, 0), "{text:?} cut at {cuts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_stream_has_the_findings_of_the_whole(
        parts in prop::collection::vec((prop::sample::select(PIECES), 1..4_usize), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let text: String = parts.into_iter().map(|(part, times)| part.repeat(times)).collect();
        check(&tricky(), &text, &cuts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_stream_has_the_findings_of_the_whole_in_long_runs(
        parts in prop::collection::vec((prop::sample::select(PIECES), 1..2000_usize), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let text: String = parts.into_iter().map(|(part, times)| part.repeat(times)).collect();
        check(&tricky(), &text, &cuts);
    }
}

#[test]
fn prose_is_held_by_what_may_still_match() {
    let held = |set: &Detectors, text: &str| text.len() - set.settled(text, 0);
    let set = with_regexes(&[r"PRJ-\d{4}", r"\bsecret\w*"]);
    assert_eq!((held(&set, "the plan is "), held(&set, "see P"), held(&set, "ครับ")), (0, 1, 0));
    assert_eq!((held(&set, "to PRJ-12"), held(&set, "to PRJ-1234"), held(&set, "to PRJ-1234 is ")), (6, 8, 0));
    let set = with_words(&["new york", "ไทย"]);
    assert_eq!((held(&set, "in new "), held(&set, "anew "), held(&set, "(new\n\nyork"), held(&set, "ประเทศไ")), (4, 0, 9, 3));
    let set = detectors(&[own("p/x", &[r"\d{5}"], &[], &["badge"])]);
    assert_eq!(held(&set, "it is 12345 and so "), 13);
    assert_eq!(held(&set, "it is 12345 and so on and on and on and on "), 0);
}

#[test]
fn searching_is_linear() {
    let cost = |work: &dyn Fn()| {
        READ.set(0);
        work();
        READ.get()
    };
    let (set, far) = (tricky(), with_regexes(&["(?s)a.*?b"]));
    // What begins and does not end in time is the worst: each place is read from for as long as a match may be.
    let late = "a".repeat(1100) + "b";
    for unit in ["a", "xyz ", "z", "<", "new york ", "กข", "12345 badge ", "4111 1111 1111 1111 ", "สวัสดี ", &late]
    {
        let set = if unit == late { &far } else { &set };
        let count = (4_usize << 10).div_ceil(unit.len());
        let [once, eight] = [count, 8 * count].map(|count| cost(&|| drop(set.find(&unit.repeat(count), 0))));
        assert!(eight <= once * 9, "{unit}: {once} bytes are read, and {eight} of a text eight times as long");
    }
}
