use std::{path::PathBuf, sync::Arc};

use jiff::civil::date;

use super::*;
use crate::{
    guard::Unavailable,
    scan::{self, Evidence, Passage, Verdict, Which},
    segment::{Direction, Edit, Finding, Score, Segment, Target},
};

/// What the tests' policies may name.
pub(super) const TERMS: Terms<'_> =
    Terms { guards: &["default", "large"], dialects: &["openai_chat", "anthropic"], hash_key: HashKey::TESTS };

fn set(policies: &[&str]) -> Arc<Policies> {
    let sources: Vec<(PathBuf, String)> = policies
        .iter()
        .enumerate()
        .map(|(number, text)| (PathBuf::from(format!("{number}.toml")), format!("name = \"p{number}\"\n{text}")))
        .collect();
    Arc::new(Policies::parse(&sources, &TERMS).unwrap())
}

fn policies(rules: &str) -> Selected {
    set(&[rules]).select(Call::default())
}

fn rule(name: &str, lines: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nwhere = [\"prompt\"]\n{lines}\n")
}

const TEXT: &str = "card 4111111111111111 end";

fn evidence(score: Result<f32, Unavailable>) -> Evidence {
    Evidence {
        direction: Direction::Request,
        segments: vec![Segment { target: Target::Prompt, passage: 0, text: TEXT.to_owned(), place: None }],
        findings: vec![vec![Finding { detector: "payment_card".into(), range: 5..21 }]],
        passages: vec![Passage {
            target: Target::Prompt,
            segments: vec![0],
            pieces: None,
            language: Some("en"),
            others: Vec::new(),
            verdicts: vec![Verdict {
                guard: scan::DEFAULT,
                by: Which::First,
                score: score.map(|value| Score { value, threshold: 0.5 }),
                spots: None,
            }],
        }],
        ..Evidence::unscorable(Direction::Request, Vec::new())
    }
}

fn unsafe_text() -> Evidence {
    evidence(Ok(0.9))
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
fn a_shadow_rule_or_policy_records_and_does_nothing() {
    let stop = |mode: &str| rule("stop", &format!("threshold = 0.1\naction = \"block\"\n{mode}"));
    for rules in [stop("mode = \"shadow\""), format!("mode = \"shadow\"\n{}", stop("mode = \"enforce\""))] {
        let set = policies(&rules);
        let decision = set.decide(&unsafe_text());
        assert_eq!((decision.action, decision.reasons.len(), &decision.refusal), (Action::Allow, 1, &None));
        assert_eq!(decision.reasons[0].mode, Mode::Shadow);
        assert_eq!(set.decide(&evidence(Err(Unavailable::Deadline))).refusal, None);
    }
    let image = Evidence { unscorable: vec!["image_url".into()], ..evidence(Ok(0.0)) };
    let decision = policies("mode = \"shadow\"").decide(&image);
    assert_eq!((decision.action, &decision.refusal), (Action::Allow, &None));
    assert_eq!((decision.reasons[0].action, decision.reasons[0].mode), (Action::Block, Mode::Shadow));
}

#[test]
fn what_was_not_judged_is_refused_unless_policy_or_rule_say_otherwise() {
    let stop = rule("stop", "threshold = 0.1\naction = \"block\"");
    let failed = evidence(Err(Unavailable::Deadline));
    let refused = policies(&stop).decide(&failed);
    assert_eq!(refused.refusal, Some(Refused::Unjudged(Unavailable::Deadline)));
    assert_eq!((refused.reasons[0].rule.as_str(), refused.reasons[0].action), ("stop", Action::Block));
    assert!(refused.reasons[0].note.is_some());
    let told = |rules: &str, evidence: &Evidence| {
        let decision = policies(rules).decide(evidence);
        (decision.refusal, decision.action, decision.reasons.len())
    };
    let allow = format!("on_guard_error = \"allow\"\n{stop}");
    assert_eq!(told(&allow, &failed), (None, Action::Allow, 0));
    assert_eq!(told(&format!("on_guard_error = \"flag\"\n{stop}"), &failed), (None, Action::Flag, 1));
    assert_eq!(told(&format!("{allow}on_guard_error = \"flag\""), &failed), (None, Action::Flag, 1), "the rule's own word");
    let image = Evidence { unscorable: vec!["image_url".into()], ..evidence(Ok(0.0)) };
    assert_eq!(told(&stop, &image), (Some(Refused::Unscorable("image_url".into())), Action::Block, 1));
    assert_eq!(told(&format!("on_unscorable = \"flag\"\n{stop}"), &image), (None, Action::Flag, 1));
    assert_eq!(told(&format!("on_unscorable = \"allow\"\n{stop}"), &image), (None, Action::Allow, 0));
}

#[test]
fn a_rule_that_needs_a_finding_needs_no_score_without_one() {
    let both = policies(&rule("both", "threshold = 0.1\ndetectors = [\"secret\"]\naction = \"block\""));
    assert_eq!(both.decide(&evidence(Err(Unavailable::Deadline))).refusal, None);
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
    let gone = [(0, vec![Edit { range: 0..25, with: "gone".into() }])];
    assert_eq!(set.decide(&unsafe_text()).edits, gone);
    let findings = vec![vec![Finding { detector: "payment_card".into(), range: 0..21 }]];
    assert_eq!(set.decide(&Evidence { findings, ..unsafe_text() }).edits, gone, "also one that begins with it");
}

#[test]
fn a_hash_stands_for_the_value() {
    let set = policies(&rule("mask", "detectors = [\"payment_card\"]\naction = \"redact\"\nredact = \"hash\""));
    let hash = HashKey::TESTS.pseudonym("4111111111111111");
    let with = format!("[payment card {hash}]");
    assert_eq!(set.decide(&unsafe_text()).edits, [(0, vec![Edit { range: 5..21, with }])]);
}

#[test]
fn a_rule_may_look_one_way_only() {
    let set = policies(&rule("see", "direction = \"response\"\naction = \"flag\""));
    assert_eq!(set.decide(&unsafe_text()).action, Action::Allow);
    let answer = Evidence { direction: Direction::Response, ..unsafe_text() };
    assert_eq!(set.decide(&answer).action, Action::Flag);
}

#[test]
fn only_the_policies_that_cover_a_call_decide() {
    let flag = rule("see", "threshold = 0.1\naction = \"flag\"");
    let block = rule("stop", "guard = \"large\"\nthreshold = 0.1\naction = \"block\"");
    let set = set(&[&format!("{flag}[scope]\nmodels = [\"a*\"]"), &format!("{block}[scope]\nheaders.X-Team = [\"red\"]")]);
    assert_eq!(set.headers(), Some(&["x-team".to_owned()][..]));
    let decided = |call: Call| {
        let selected = set.select(call);
        (selected.is_covered(), selected.ask().guards.clone(), selected.decide(&unsafe_text()).action)
    };
    let model = |model: &str| Call { model: model.to_owned(), ..Call::default() };
    let team = |call: Call| Call { headers: [("x-team".to_owned(), "red".to_owned())].into(), ..call };
    assert_eq!(decided(model("abc")), (true, vec![0], Action::Flag));
    assert_eq!(decided(team(model("abc"))), (true, vec![0, 1], Action::Block));
    assert_eq!(decided(team(model("x"))), (true, vec![1], Action::Block));
    assert_eq!(decided(model("x")), (false, vec![], Action::Allow));
}

#[test]
fn a_policy_for_a_language_is_asked_of_that_language() {
    let rules = format!("{}[scope]\nlanguages = [\"th\"]", rule("stop", "threshold = 0.1\naction = \"block\""));
    let set = policies(&rules);
    assert!(!set.is_covered(), "text in other languages is left to other policies");
    assert_eq!(set.decide(&unsafe_text()).action, Action::Allow);
    let mut thai = unsafe_text();
    thai.passages[0].language = Some("th");
    assert_eq!(set.decide(&thai).action, Action::Block);
    let image = Evidence { unscorable: vec!["image_url".into()], ..evidence(Ok(0.0)) };
    assert_eq!(set.decide(&image).refusal, None);
}

#[test]
fn a_sampled_rule_is_asked_in_its_share_of_exchanges() {
    let set = set(&[&rule("see", "threshold = 0.1\naction = \"flag\"\nsample = 0.25")]);
    let asked = (0..1000).filter(|draw| {
        let selected = set.select(Call { draw: *draw, ..Call::default() });
        let flagged = selected.decide(&unsafe_text()).action == Action::Flag;
        assert_eq!(selected.ask().guards.len(), usize::from(flagged), "a guard is asked only where the rule is");
        flagged
    });
    let asked = asked.count();
    assert!((200..300).contains(&asked), "{asked}");
}

#[test]
fn a_refusal_speaks_the_askers_language() {
    let rules = rule("stop", "threshold = 0.1\naction = \"block\"\nmessages = { th = \"ไม่\" }");
    let set = set(&[&rules]);
    let told = |language| {
        let selected = set.select(Call { language, ..Call::default() });
        match selected.decide(&unsafe_text()).refusal {
            Some(Refused::Blocked { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(Some("th")), "ไม่");
    assert_eq!(told(Some("vi")), built_in(Some("vi")));
    assert_eq!(told(None), built_in(None));
}

#[test]
fn a_known_text_is_exempt_until_its_day_is_over() {
    let hash = text_hash(TEXT);
    assert_ne!(hash, text_hash(&TEXT.replace("card", "c\u{200b}ard")), "what is hidden within it does not pass with it");
    let stop = rule("stop", "threshold = 0.1\naction = \"block\"");
    let rules = format!("{stop}[[exempt]]\nhash = \"{hash}\"\nexpires = \"2027-01-31\"\nowner = \"ops\"");
    let (exempt, strict) = (set(&[&rules]), set(&[&rules, &stop]));
    let on = |set: &Arc<Policies>, today| set.select(Call { today, ..Call::default() }).decide(&unsafe_text()).action;
    assert_eq!(on(&exempt, date(2027, 1, 31)), Action::Allow);
    assert_eq!(on(&exempt, date(2027, 2, 1)), Action::Block);
    assert_eq!(on(&strict, date(2027, 1, 31)), Action::Block, "other policies hold against it");
    let mut other = unsafe_text();
    other.segments[0].text.push('!');
    assert_eq!(exempt.select(Call::default()).decide(&other).action, Action::Block);
    // Two turns that are both known are known together.
    let mut turns = unsafe_text();
    turns.segments.push(turns.segments[0].clone());
    turns.passages[0].segments.push(1);
    assert_eq!(exempt.select(Call::default()).decide(&turns).action, Action::Allow);
}

#[test]
fn a_policy_lets_pass_what_an_exception_of_it_names() {
    let stop = rule("stop", "threshold = 0.1\naction = \"block\"");
    let hash = text_hash(TEXT);
    let except = |policy: &str, last| Arc::new([(policy.to_owned(), hash, last)].into_iter().collect::<Exceptions>());
    let today = date(2027, 1, 31);
    let on = |set: &Arc<Policies>, exceptions| {
        set.select(Call { today, ..Call::default() }).except(exceptions).decide(&unsafe_text()).action
    };
    let (one, two) = (set(&[&stop]), set(&[&stop, &stop]));
    assert_eq!(on(&one, Arc::default()), Action::Block);
    assert_eq!(on(&one, except("p0", today)), Action::Allow);
    assert_eq!(on(&one, except("p0", date(2027, 1, 30))), Action::Block, "its day is over");
    assert_eq!(on(&one, except("p1", today)), Action::Block, "it is another policy's");
    assert_eq!(on(&two, except("p0", today)), Action::Block, "the other policy holds against the text");
    let twice = [date(2027, 2, 1), date(2027, 1, 1)].map(|last| ("p0".to_owned(), hash, last));
    assert_eq!(on(&one, Arc::new(twice.into_iter().collect())), Action::Allow, "the longer one counts");
    let selected = one.select(Call { today, ..Call::default() }).except(except("p0", today));
    assert_eq!(selected.explain(&unsafe_text())[0].rules[0].passages[0].outcome, Outcome::Exempt);
}

#[test]
fn the_strictest_policy_that_matched_says_what_a_store_that_fails_means() {
    let (stop, miss) = ("threshold = 0.1\naction = \"flag\"", "threshold = 0.95\naction = \"flag\"");
    let policy = |word: &str, lines: &str| format!("on_store_error = \"{word}\"\n{}", rule("r", lines));
    let (plain, block, spool) = (rule("r", stop), policy("block", stop), policy("spool", stop));
    let (block_missed, shadow) = (policy("block", miss), format!("mode = \"shadow\"\n{spool}"));
    for (set, told) in [
        (set(&[&plain]), Some(Unstored::Block)),
        (set(&[&spool]), Some(Unstored::Spool)),
        (set(&[&spool, &block]), Some(Unstored::Block)),
        (set(&[&block, &spool]), Some(Unstored::Block)),
        (set(&[&spool, &block_missed]), Some(Unstored::Spool)),
        (set(&[&shadow]), Some(Unstored::Spool)),
        (set(&[&block_missed]), None),
    ] {
        assert_eq!(set.select(Call::default()).decide(&unsafe_text()).on_store_error, told);
    }
}

#[test]
fn a_placeholder_stands_for_the_value_in_a_request() {
    let mask = "detectors = [\"payment_card\"]\naction = \"redact\"";
    let swap = rule("swap", &format!("{mask}\nredact = \"placeholder\""));
    let with = |decision: &Decision| decision.edits[0].1[0].with.clone();
    let decision = policies(&swap).decide(&unsafe_text());
    assert_eq!(with(&decision), "[PAYMENT_CARD_1]");
    assert_eq!(decision.placeholders.iter().collect::<Vec<_>>(), [("[PAYMENT_CARD_1]", "4111111111111111")]);
    let answer = Evidence { direction: Direction::Response, ..unsafe_text() };
    for decision in [policies(&swap).decide(&answer), policies(&(rule("mask", mask) + &swap)).decide(&unsafe_text())] {
        assert_eq!((with(&decision).as_str(), decision.placeholders.is_empty()), ("[payment card]", true));
    }
}

#[test]
fn an_explanation_tells_what_each_rule_made_of_a_text() {
    let hash = text_hash(TEXT);
    let unsampled = (0..).find(|draw| !sample::Sample::new("p0", "r", 0.5).holds(*draw)).unwrap();
    for (lines, outcome) in [
        ("threshold = 0.7\naction = \"flag\"", "matched"),
        ("direction = \"response\"\naction = \"flag\"", "elsewhere"),
        ("action = \"flag\"\n[scope]\nlanguages = [\"th\"]", "other_language"),
        ("sample = 0.5\naction = \"flag\"", "not_drawn"),
        ("detectors = [\"secret\"]\naction = \"flag\"", "nothing_found"),
        ("threshold = 0.95\naction = \"flag\"", "below"),
        ("when = 'score > 0.95'\naction = \"flag\"", "unmet"),
        ("when = 'identity.claims.x == 1'\naction = \"flag\"", "matched"),
        (&format!("action = \"flag\"\n[[exempt]]\nhash = \"{hash}\""), "exempt"),
        ("guard = \"large\"\nthreshold = 0.5\naction = \"flag\"", "unjudged"),
    ] {
        let selected = set(&[&rule("r", lines)]).select(Call { draw: unsampled, ..Call::default() });
        let explained = selected.explain(&unsafe_text());
        assert_eq!(explained[0].rules[0].passages[0].outcome.word(), outcome, "{lines}");
        let recorded = !selected.decide(&unsafe_text()).reasons.is_empty();
        assert_eq!(recorded, ["matched", "unjudged"].contains(&outcome), "{lines}");
    }
}

#[test]
fn an_explanation_tells_what_an_outcome_rests_on() {
    let lines = "threshold = { default = 0.7, prompt = 0.8 }\ndetectors = [\"payment_card\", \"secret\"]\n\
                 when = 'score > 0.5 && (language == \"th\" || request.model == \"x\")'\naction = \"flag\"";
    let other = format!("{}[scope]\nmodels = [\"gpt-*\"]", rule("r", "action = \"flag\""));
    let selected = set(&[&rule("r", lines), &other]).select(Call { model: "x".into(), ..Call::default() });
    let explained = selected.explain(&unsafe_text());
    let asked = &explained[0].rules[0].passages[0];
    let compared = asked.threshold.as_ref().unwrap();
    assert_eq!((compared.guard.as_str(), compared.score, compared.threshold), ("default", Some(0.9), Some(0.8)));
    assert_eq!(
        (compared.from.as_str(), &asked.detectors.as_ref().unwrap().found[..]),
        ("prompt", &["payment_card".into()][..])
    );
    let condition = asked.condition.as_ref().unwrap();
    let read: Vec<_> = condition.read.iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert_eq!(
        (condition.holds, read.as_slice()),
        (Some(true), &["language \"en\"", "request.model \"x\"", "score 0.9"].map(str::to_owned)[..])
    );
    let misfit = explained[1].misfit.as_ref().unwrap();
    assert_eq!((misfit.key.as_str(), misfit.value.as_str(), explained[1].rules.len()), ("models", "x", 0));
}
