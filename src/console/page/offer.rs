//! For which texts of a case an exception can be made.

use jiff::{ToSpan as _, civil::Date};

use super::{
    case::{Offer, Pass},
    evidence::Why,
};
use crate::{
    policy::text_hash,
    review::{Case, Text},
    segment::Direction,
};

/// The longest that an exception may hold, and how long the form proposes, in days.
const LONGEST: i64 = 365;
const USUAL: i64 = 30;
/// Characters of a text's label.
const LABEL: usize = 80;
/// Texts of one case that are offered.
const MOST: usize = 20;

/// What can be offered, or why nothing.
pub(super) fn offer(case: &Case, today: Date) -> Result<Offer, &'static str> {
    let reasons = Why::of(case);
    let mut policies: Vec<String> = reasons.iter().map(|why| why.policy.clone()).filter(|policy| !policy.is_empty()).collect();
    policies.sort_unstable();
    policies.dedup();
    let matched = |direction: Direction, text: &Text| reasons.iter().any(|why| why.is_about(direction, text.target));
    let sides = [(Direction::Request, &case.request), (Direction::Response, &case.response)];
    let messages = sides.into_iter().flat_map(|(direction, texts)| {
        let same = |a: &Text, b: &Text| a.message == b.message && a.target == b.target;
        let messages = texts.chunk_by(same).filter(|parts| parts.first().is_some_and(|text| matched(direction, text)));
        messages.map(move |parts| (direction, parts)).collect::<Vec<_>>()
    });
    let messages: Vec<_> = messages.collect();
    if messages.is_empty() {
        return Err("no rule matched a text.");
    }
    let passes = messages.iter().rev().filter_map(|(direction, parts)| {
        let first = parts.first()?;
        Some(Pass {
            value: format!("{}/{}/{}", direction.name(), first.target.name(), first.message),
            label: label(parts),
            hash: hash(parts)?,
        })
    });
    let texts: Vec<Pass> = passes.take(MOST).collect();
    if texts.is_empty() {
        return Err("what was found in the text is masked, so that nobody knows the very text.");
    }
    let day = |days: i64| today.saturating_add(days.days());
    Ok(Offer { texts, policies, last: day(LONGEST), expires: day(USUAL) })
}

/// The hash that policies know a message by.
fn hash(parts: &[Text]) -> Option<String> {
    if let [text] = parts {
        return text.hash();
    }
    let known = parts.iter().all(|text| text.hashed.is_none() && text.hash().is_some());
    let texts: Vec<&str> = parts.iter().map(|text| text.text.as_str()).collect();
    known.then(|| text_hash(&texts.join("\n")).to_string())
}

fn label(parts: &[Text]) -> String {
    let Some(text) = parts.iter().find(|text| !text.text.trim().is_empty()) else {
        return "a text of which only the hash is kept".to_owned();
    };
    let cut = if text.text.chars().nth(LABEL).is_some() || parts.len() > 1 { "…" } else { "" };
    text.text.chars().take(LABEL).collect::<String>() + cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{review::Found, segment::Target};

    fn case(texts: Vec<Text>, reasons: serde_json::Value) -> Case {
        Case {
            id: "a".into(),
            version: 1,
            at: String::new(),
            decision: "block".into(),
            dialect: String::new(),
            model: String::new(),
            stream: false,
            language: None,
            score: None,
            guard: String::new(),
            policy: String::new(),
            reasons,
            request: texts,
            response: vec![],
            call: None,
            evidence: None,
        }
    }

    fn text(target: Target, message: usize, text: &str) -> Text {
        Text { target, text: text.into(), hashed: None, whole: true, message, findings: vec![] }
    }

    #[test]
    fn only_what_rules_matched_and_is_known_whole_can_be_excepted() {
        let today = "2026-01-31".parse().unwrap();
        let why = |target: &str| serde_json::json!([{"direction": "request", "policy": "p", "rule": "r", "target": target}]);
        let masked = Text {
            whole: false,
            findings: vec![Found { detector: "email".into(), start: 0, end: 7 }],
            ..text(Target::Prompt, 1, "[email]")
        };
        let texts =
            vec![text(Target::System, 0, "s"), masked.clone(), text(Target::Prompt, 2, "a"), text(Target::Prompt, 2, "b")];
        let made = offer(&case(texts, why("prompt")), today).unwrap();
        assert_eq!(made.policies, ["p"]);
        let [pass] = made.texts.as_slice() else { panic!("{made:?}") };
        assert_eq!((pass.value.as_str(), pass.label.as_str()), ("request/prompt/2", "a…"));
        assert_eq!(pass.hash, text_hash("a\nb").to_string());
        assert_eq!(made.last.to_string(), "2027-01-31");
        assert!(offer(&case(vec![masked.clone()], why("prompt")), today).unwrap_err().contains("masked"));
        assert!(offer(&case(vec![masked], why("completion")), today).unwrap_err().contains("no rule"));
    }
}
