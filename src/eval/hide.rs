//! Does a guard see an unsafe sentence in a long harmless text? Makes such texts out of labelled ones.

use std::collections::BTreeMap;

use super::Labelled;
use crate::{scan::detect_language, segment::Task};

/// Characters of harmless text around what is hidden: several windows of most guards.
const AROUND: usize = 3_000;

/// For each language up to `count` unsafe prompts, by themselves and at the start, in the middle and at the end of a long
/// harmless text, each beside that harmless text without it, which is safe. `source` says where the unsafe prompt stands.
/// Languages without both kinds of prompt are left out.
#[must_use]
pub fn hidden(texts: &[Labelled], count: usize) -> Vec<Labelled> {
    let mut languages = BTreeMap::<&str, (Vec<&Labelled>, Vec<&Labelled>)>::new();
    for text in texts.iter().filter(|text| text.task == Task::Prompt) {
        let (bad, good) =
            languages.entry(text.lang.as_deref().or_else(|| detect_language(&text.text)).unwrap_or("?")).or_default();
        if text.is_unsafe { bad.push(text) } else { good.push(text) }
    }
    let mut random = fastrand::Rng::with_seed(2026);
    let mut made = Vec::new();
    for (bad, good) in languages.into_values().filter(|(bad, good)| !bad.is_empty() && !good.is_empty()) {
        for unsafe_text in random.choose_multiple(bad, count) {
            let around = harmless(&good, &mut random);
            let hide = |at: usize| {
                let mut lines = around.clone();
                lines.insert(at, &unsafe_text.text);
                lines.join("\n")
            };
            let places = [
                ("by itself", unsafe_text.text.clone()),
                ("hidden at the start", hide(0)),
                ("hidden in the middle", hide(around.len() / 2)),
                ("hidden at the end", hide(around.len())),
            ];
            for (source, text) in places {
                for (text, is_unsafe) in [(text, true), (around.join("\n"), false)] {
                    made.push(Labelled { text, is_unsafe, source: source.to_owned(), ..(*unsafe_text).clone() });
                }
            }
        }
    }
    made
}

/// Harmless prompts, one after another, until they are long enough; the same one again where there are few.
fn harmless<'a>(good: &[&'a Labelled], random: &mut fastrand::Rng) -> Vec<&'a str> {
    let mut lines = Vec::new();
    let mut length = 0;
    while length < AROUND {
        let Some(next) = random.choice(good) else { break };
        length += next.text.chars().count().max(1);
        lines.push(next.text.as_str());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_prompts_stand_where_the_source_says() {
        let text = |lang: &str, text: &str, is_unsafe| Labelled {
            task: Task::Prompt,
            text: text.into(),
            prompt: None,
            lang: Some(lang.into()),
            source: "s".into(),
            is_unsafe,
        };
        let texts =
            [text("en", "bad", true), text("en", "good one", false), text("en", "good two", false), text("th", "ร้าย", true)];
        let made = hidden(&texts, 5);
        let bad: Vec<&str> = made.iter().filter(|text| text.is_unsafe).map(|text| text.text.as_str()).collect();
        assert_eq!(bad.len(), 4, "no Thai: there is nothing harmless to hide it in");
        assert_eq!(bad[0], "bad");
        assert!(bad[1].starts_with("bad\n") && bad[2].contains("\nbad\n") && bad[3].ends_with("\nbad"));
        let mut good = made.iter().filter(|text| !text.is_unsafe);
        assert!(good.all(|text| text.text.chars().count() > AROUND && !text.text.contains("bad")));
    }
}
