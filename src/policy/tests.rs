use super::*;
use crate::{
    scan::Which,
    segment::{Direction, Finding, Score, Segment},
};

fn policies(rules: &str) -> Policies {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    std::fs::write(&path, format!("name = \"p\"\n{rules}")).unwrap();
    Policies::load(Some(&path)).unwrap()
}

fn rule(name: &str, lines: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nwhere = [\"prompt\"]\n{lines}\n")
}

fn evidence(score: Result<f32, Unavailable>) -> Evidence {
    let text = "card 4111111111111111 end".to_owned();
    Evidence {
        direction: Direction::Request,
        segments: vec![Segment { target: Target::Prompt, passage: 0, text, place: None }],
        findings: vec![vec![Finding { detector: "payment_card".into(), range: 5..21 }]],
        passages: vec![Passage {
            target: Target::Prompt,
            segments: vec![0],
            language: Some("en"),
            guard: Which::First,
            score: score.map(|value| Score { value, threshold: 0.5 }),
        }],
        unscorable: Vec::new(),
        echoes: Vec::new(),
        cached: None,
    }
}

#[test]
fn the_strictest_action_wins_and_every_match_is_a_reason() {
    let set = policies(
        &[
            rule("see", "action = \"flag\""),
            rule("mask", "detectors = [\"payment_card\"]\naction = \"redact\""),
            rule("stop", "threshold = \"guard\"\naction = \"block\"\nmessage = \"no\""),
        ]
        .concat(),
    );
    let mild = set.decide(&evidence(Ok(0.4)));
    assert_eq!((mild.action, mild.word(), mild.reasons.len()), (Action::Redact, "rewrite", 2));
    assert_eq!(mild.edits, [(0, vec![Edit { range: 5..21, with: "[payment card]".into() }])]);
    let strict = set.decide(&evidence(Ok(0.5)));
    assert_eq!((strict.action, strict.reasons.len()), (Action::Block, 3));
    assert_eq!(strict.refusal, Some(Refused::Blocked { message: "no".into(), respond: Respond::Message }));
}

#[test]
fn a_shadow_rule_records_and_does_nothing() {
    let set = policies(&rule("stop", "threshold = 0.1\naction = \"block\"\nmode = \"shadow\""));
    let decision = set.decide(&evidence(Ok(0.9)));
    assert_eq!((decision.action, decision.reasons.len(), &decision.refusal), (Action::Allow, 1, &None));
    assert_eq!(set.decide(&evidence(Err(Unavailable::Deadline))).refusal, None);
}

#[test]
fn what_was_not_judged_is_refused_unless_the_policy_says_otherwise() {
    let stop = rule("stop", "threshold = 0.1\naction = \"block\"");
    let failed = evidence(Err(Unavailable::Deadline));
    assert_eq!(policies(&stop).decide(&failed).refusal, Some(Refused::Unjudged(Unavailable::Deadline)));
    assert_eq!(policies(&format!("on_guard_error = \"allow\"\n{stop}")).decide(&failed).refusal, None);
    let image = Evidence { unscorable: vec!["image_url".into()], ..evidence(Ok(0.0)) };
    assert_eq!(policies(&stop).decide(&image).refusal, Some(Refused::Unscorable("image_url".into())));
    assert_eq!(policies(&format!("on_unscorable = \"allow\"\n{stop}")).decide(&image).refusal, None);
}

#[test]
fn replace_swallows_masks() {
    let set = policies(
        &[
            rule("mask", "detectors = [\"payment_card\"]\naction = \"redact\""),
            rule("swap", "threshold = 0.5\naction = \"replace\"\nmessage = \"gone\""),
        ]
        .concat(),
    );
    let decision = set.decide(&evidence(Ok(0.9)));
    assert_eq!(decision.edits, [(0, vec![Edit { range: 0..25, with: "gone".into() }])]);
}

#[test]
fn a_rule_may_look_one_way_only() {
    let set = policies(&rule("see", "direction = \"response\"\naction = \"flag\""));
    assert_eq!(set.decide(&evidence(Ok(0.0))).action, Action::Allow);
}
