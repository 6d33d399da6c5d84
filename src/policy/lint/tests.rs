use jiff::civil::date;

use super::*;
use crate::policy::tests::TERMS;

fn surroundings() -> Surroundings<'static> {
    Surroundings {
        routes: vec!["", "/a", "/b"],
        upstreams: vec!["default"],
        dialects: TERMS.dialects.to_vec(),
        keys: Some(vec!["", "ci"]),
        tenants: None,
        uncovered_pass: false,
        today: date(2027, 1, 31),
    }
}

fn linted(policies: &[&str]) -> Vec<String> {
    let name = |at: usize, text: &&str| (format!("{at}.toml").into(), format!("name = \"p{at}\"\n{text}"));
    let sources: Vec<Source> = policies.iter().enumerate().map(|(at, text)| name(at, text)).collect();
    Policies::parse(&sources, &TERMS).unwrap().lint(&sources, &surroundings())
}

/// What is said of two rules for prompts.
fn of_rules(one: &str, other: &str) -> Vec<String> {
    let rule = |name: &str, lines: &str| format!("[[rule]]\nname = \"{name}\"\nwhere = [\"prompt\"]\n{lines}\n");
    linted(&[&[rule("one", one), rule("other", other)].concat()])
}

#[test]
fn a_rule_that_another_outdoes_is_told() {
    let block = "threshold = 0.5\naction = \"block\"";
    for (one, other, idle) in [
        (block, "threshold = 0.7\naction = \"flag\"", "1.name"),
        (block, "threshold = 0.7\naction = \"block\"\nmessage = \"x\"", "1.name"),
        ("threshold = 0.7\nsample = 0.1\naction = \"block\"", block, "0.name"),
        ("threshold = 0.7\nsample = 0.1\naction = \"block\"\nmessage = \"x\"", block, ""),
        ("threshold = 0.7\nsample = 0.1\naction = \"flag\"", block, "0.name"),
        (block, "threshold = { default = 0.7, th = 0.4 }\naction = \"flag\"", ""),
        (block, "threshold = \"guard\"\naction = \"flag\"", ""),
        (block, "guard = \"large\"\nthreshold = 0.7\naction = \"flag\"", ""),
        (block, "threshold = 0.7\nwhen = 'language == \"th\"'\naction = \"flag\"", "1.name"),
        (block, block, "1.name"),
        ("when = 'language == \"th\"'\naction = \"block\"", "threshold = 0.5\naction = \"flag\"", ""),
        ("detectors = [\"email\"]\naction = \"redact\"", "detectors = [\"email\", \"secret\"]\naction = \"redact\"", "0.name"),
        ("detectors = [\"email\"]\naction = \"redact\"", "detectors = [\"email\"]\nredact = \"hash\"\naction = \"redact\"", ""),
        ("threshold = 0.5\nmode = \"shadow\"\naction = \"block\"", "threshold = 0.7\naction = \"flag\"", ""),
        ("action = \"flag\"", "threshold = 0.7\naction = \"flag\"", ""),
        ("action = \"flag\"", "threshold = 0.7\naction = \"flag\"\non_guard_error = \"flag\"", "1.name"),
    ] {
        let told = of_rules(one, other);
        let right =
            if idle.is_empty() { told.is_empty() } else { told.len() == 1 && told[0].contains(&format!("`rule.{idle}`")) };
        assert!(right, "{one}\n{other}\n{told:?}");
    }
    assert_eq!(
        of_rules(block, "threshold = 0.7\naction = \"flag\""),
        ["0.toml:8:1: `rule.1.name`: it never matters: whenever it matches, so does `one`, which does at least as much"]
    );
}

#[test]
fn what_does_nothing_is_told() {
    let rule = |lines: &str| linted(&[&format!("[[rule]]\nname = \"r\"\nwhere = [\"prompt\"]\n{lines}")]);
    for (lines, place, part) in [
        ("action = \"allow\"", "5:1: `rule.0.action`", "does nothing"),
        ("action = \"flag\"\nwhen = 'target == \"prompt\"'", "6:1: `rule.0.when`", "always holds"),
        ("action = \"flag\"\nwhen = 'direction == \"request\" && target == \"system\"'", "6:1: `rule.0.when`", "never holds"),
        ("action = \"flag\"\nwhen = 'true || language == \"th\"'", "6:1: `rule.0.when`", "always holds"),
        (
            "action = \"flag\"\nthreshold = { default = 0.5, th = 0.5 }",
            "6:30: `rule.0.threshold.th`",
            "`default` says the same",
        ),
        ("action = \"flag\"\nthreshold = { response = 0.5, th = 0.4 }", "6:15: `rule.0.threshold.response`", "never used"),
        ("action = \"flag\"\nthreshold = { th = 0.5, \"prompt.th\" = 0.4 }", "6:15: `rule.0.threshold.th`", "never used"),
        (
            "action = \"flag\"\nthreshold = { default = 0.5, th = 0.4 }\n[scope]\nlanguages = [\"vi\", \"\"]",
            "6:30: `rule.0.threshold.th`",
            "never used",
        ),
        (
            "action = \"flag\"\n[[exempt]]\nhash = \"0000000000000000000000000000000000000000000000000000000000000000\"\n\
             expires = \"2027-01-30\"",
            "8:1: `exempt.0.expires`",
            "the day is over",
        ),
        ("action = \"flag\"\n[scope]\nroutes = [\"*\", \"/c\"]", "7:16: `scope.routes.1`", "none that fits `/c`"),
        ("action = \"flag\"\n[scope]\nkeys = [\"*\", \"cd\"]", "7:14: `scope.keys.1`", "none that fits `cd`"),
    ] {
        let told = rule(lines);
        assert!(told[0].starts_with(&format!("0.toml:{place}: ")) && told[0].contains(part), "{lines}\n{told:?}");
    }
    assert_eq!(rule("action = \"flag\"\nwhen = 'language == \"th\"'\nthreshold = { default = 0.5, th = 0.4 }"), [""; 0]);
    let shadow =
        linted(&["mode = \"shadow\"\n[[rule]]\nname = \"r\"\nwhere = [\"prompt\"]\naction = \"flag\"\nmode = \"enforce\""]);
    assert!(shadow[0].starts_with("0.toml:7:1: `rule.0.mode`: it does not act"), "{shadow:?}");
}

#[test]
fn calls_that_no_policy_covers_are_told() {
    for (policies, told) in [
        (&["[scope]\nroutes = [\"/a\"]", "[scope]\nroutes = [\"/b\", \"\"]"][..], ""),
        (&["[scope]\nroutes = [\"/a\", \"/b\"]"], "without a route: they are refused"),
        (&["[scope]\nroutes = [\"/a\", \"\"]"], "with the route `/b`: they are refused"),
        (&["[scope]\nmodels = [\"gpt-*\"]", "[scope]\nmodels = [\"\"]"], "with a model that no policy names"),
        (&["[scope]\nkeys = [\"ci\"]", "[scope]\nkeys = [\"\"]\ntenants = [\"*\"]"], ""),
        (&["[scope]\ndialects = [\"openai_chat\"]"], "with the dialect `anthropic`"),
        (&["[scope]\nheaders.X-A = [\"*\"]"], "without a header `x-a`"),
        (&["[scope]\nlanguages = [\"th\"]"], "no policy covers texts in all languages"),
        (&["[scope]\nlanguages = [\"th\"]", ""], ""),
        (&["[scope]\nroutes = [\"/a\"]", "[scope]\nkeys = [\"ci\"]"], "without a key and without a route"),
    ] {
        let all = linted(policies);
        let right = if told.is_empty() { all.is_empty() } else { all.len() == 1 && all[0].contains(told) };
        assert!(right, "{policies:?}\n{all:?}");
    }
}
