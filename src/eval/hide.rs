//! Does a guard see an unsafe sentence in a long harmless text? Makes such texts out of labelled ones.

use std::collections::BTreeMap;

use super::Labelled;
use crate::segment::Task;

/// Characters of harmless text around what is hidden: several windows of most guards.
const AROUND: usize = 3_000;

/// For each language up to `count` unsafe prompts, hidden at the start, in the middle and at the end of a long harmless
/// text, and the harmless texts by themselves. `source` says where the unsafe prompt stands. Languages without both
/// kinds of prompt are left out.
#[must_use]
pub fn hidden(texts: &[Labelled], count: usize) -> Vec<Labelled> {
    let mut languages = BTreeMap::<&str, (Vec<&Labelled>, Vec<&Labelled>)>::new();
    for text in texts.iter().filter(|text| text.task == Task::Prompt) {
        let (bad, good) = languages.entry(text.lang.as_deref().unwrap_or("?")).or_default();
        if text.is_unsafe { bad.push(text) } else { good.push(text) }
    }
    let mut random = fastrand::Rng::with_seed(2026);
    let mut made = Vec::new();
    for (bad, good) in languages.into_values().filter(|(bad, good)| !bad.is_empty() && !good.is_empty()) {
        for unsafe_text in random.choose_multiple(bad, count) {
            let around = harmless(&good, &mut random);
            let middle = around.len() / 2;
            for (source, at) in [
                ("long, nothing hidden", None),
                ("hidden at the start", Some(0)),
                ("hidden in the middle", Some(middle)),
                ("hidden at the end", Some(around.len())),
            ] {
                let mut lines = around.clone();
                if let Some(at) = at {
                    lines.insert(at, &unsafe_text.text);
                }
                let (text, is_unsafe) = (lines.join("\n"), at.is_some());
                made.push(Labelled { text, is_unsafe, source: source.to_owned(), ..unsafe_text.clone() });
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
        assert_eq!(made.len(), 4, "no Thai: there is nothing harmless to hide it in");
        assert!(made.iter().all(|text| text.text.chars().count() > AROUND));
        let told: Vec<_> = made.iter().map(|t| (t.text.starts_with("bad\n"), t.text.ends_with("\nbad"), t.is_unsafe)).collect();
        assert_eq!(told, [(false, false, false), (true, false, true), (false, false, true), (false, true, true)]);
        assert!(made[2].text.contains("\nbad\n") && !made[0].text.contains("bad"));
    }
}
