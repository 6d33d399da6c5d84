//! Policies, lists and texts for `policy.rs`, made up by number, so that every run has the same.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use seawall::{
    identity::Caller,
    policy::{Call, text_hash},
    scan::{DEFAULT, Evidence, Passage, Verdict, Which},
    segment::{Direction, Finding, Score, Segment, Target},
};
use serde_json::{Map, Value};

/// What a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Threshold,
    Detectors,
    Simple,
    Complex,
}

/// The mix of an organisation: a fifth of the rules has a condition.
const MIX: [Kind; 20] = {
    use Kind::{Complex as C, Detectors as D, Simple as S, Threshold as T};
    [T, D, T, S, T, D, T, D, T, C, T, D, T, S, T, D, T, D, T, C]
};
/// Pieces that words are made of, by script.
const SYLLABLES: [&[&str]; 4] = [
    &["ba", "ko", "tri", "mun", "sel", "da", "ray", "ong", "pi", "ven", "lu", "stra", "he", "ni", "gar", "zo"],
    &["กา", "โน", "ตรี", "มุน", "เสร", "ดา", "ราย", "อง", "ปิ", "เว็น", "ลู", "สตา", "เฮ", "นี", "กร", "โซ"],
    &["ba", "cô", "trì", "mừng", "sê", "đà", "rày", "ông", "pì", "vện", "lụ", "đường", "hề", "nỉ", "gà", "phố"],
    &["கா", "நோ", "தி", "மு", "சே", "டா", "ரை", "வோ", "பி", "வெ", "லு", "ஸ்தா", "ஹே", "நீ", "கர்", "சோ"],
];

/// A set of policies, each with so many rules, as their files. `apart`: each covers calls of its own, or all cover every call.
/// `only`: every rule asks for this.
pub(crate) fn policies(count: usize, rules: usize, apart: bool, only: Option<Kind>) -> Vec<String> {
    (0..count).map(|number| policy(number, rules, apart, only)).collect()
}

fn policy(number: usize, rules: usize, apart: bool, only: Option<Kind>) -> String {
    let scope = match number % 5 {
        _ if !apart => "tenants = [\"guest\", \"team-*\"]\nroutes = [\"*\"]".to_owned(),
        0 => format!("tenants = [\"team-{number}\"]"),
        1 => format!("tenants = [\"team-{number}\", \"team-{number}-*\"]\nroutes = [\"/team-{number}\"]"),
        2 => format!("models = [\"team-{number}-*\", \"gpt-{number}\"]\ndialects = [\"openai_*\"]"),
        3 => format!("headers = {{ x-team = [\"team-{number}*\"] }}"),
        _ => format!("tenants = [\"team-{number}\"]\nlanguages = [\"th\", \"vi\"]"),
    };
    let mut text = format!("name = \"team-{number}\"\ndescription = \"What team {number} may ask.\"\n[scope]\n{scope}\n");
    for at in 0..rules {
        let kind = only.or_else(|| MIX.get(at % MIX.len()).copied()).unwrap_or(Kind::Threshold);
        text += &rule(kind, number, at);
    }
    let words: Vec<String> = (0..10).map(|at| format!("\"{}\"", word(number * 10 + at))).collect();
    let patterns = format!(r"['T{number}-\d{{4,8}}', '(?i)\bteam{number}[- ]confidential\b']");
    text += &format!("[detectors.own]\nwords = [{}]\nregex = {patterns}\n", words.join(", "));
    for at in 0..5 {
        let hash = text_hash(&format!("known text {at} of team {number}"));
        text += &format!("[[exempt]]\nhash = \"{hash}\"\nowner = \"team-{number}\"\nexpires = \"2027-01-31\"\n");
    }
    text
}

fn rule(kind: Kind, policy: usize, number: usize) -> String {
    let turn = number / MIX.len() + policy;
    let percent = 50 + (number * 7 + policy) % 45;
    let asks = match (kind, turn % 3) {
        (Kind::Threshold, 0) => "threshold = \"guard\"".to_owned(),
        (Kind::Threshold, 1) => format!("threshold = 0.{percent}"),
        (Kind::Threshold, _) => format!("threshold = {{ default = 0.{percent}, th = 0.6, \"response.vi\" = 0.65 }}"),
        (Kind::Detectors, 0) => "detectors = [\"payment_card\", \"national_id\"]".to_owned(),
        (Kind::Detectors, 1) => "detectors = [\"secret\", \"own\"]".to_owned(),
        (Kind::Detectors, _) => "detectors = [\"iban\", \"crypto_address\", \"email\"]\nthreshold = 0.4".to_owned(),
        (Kind::Simple, 0) => format!("when = 'score > 0.{percent} && language != \"en\"'"),
        (Kind::Simple, 1) => format!("when = 'identity.tenant == \"team-{turn}\" && score > 0.{percent}'"),
        (Kind::Simple, _) => "when = 'size(findings) > 0 && request.stream'".to_owned(),
        (Kind::Complex, 0) => format!(
            "when = 'findings.exists(name, name.startsWith(\"secret.\")) && score > threshold && \
             request.headers[\"x-team\"] in [\"team-{turn}\", \"support\", \"sales\"]'"
        ),
        (Kind::Complex, 1) => format!(
            "when = 'request.model.matches(\"^team-{turn}-(small|large|[0-9]+b)$\") && !(identity.key in [\"ci\", \"night\"]) || \
             (scores.default + scores.large) / 2.0 > 0.{percent}'"
        ),
        (Kind::Complex, _) => format!(
            "when = 'has(identity.claims.role) && identity.claims.role == \"nurse-{turn}\" || \
             request.headers[\"user-agent\"].matches(\"(?i)(curl|bot-{turn}|python-requests/[0-9.]+)\")'"
        ),
    };
    let place = match number % 6 {
        0 | 3 => "[\"prompt\"]",
        1 | 4 => "[\"prompt\", \"system\"]",
        2 => "[\"prompt\", \"completion\"]",
        _ => "[\"tool_call\", \"tool_result\"]",
    };
    let mut text = format!("[[rule]]\nname = \"rule-{number}\"\nwhere = {place}\n{asks}\n");
    text += match (kind, number % 4) {
        (Kind::Detectors, 0 | 1) => "action = \"redact\"\n",
        (_, 0) => {
            "action = \"block\"\nmessage = \"This is not allowed here.\"\nmessages = { th = \"ไม่อนุญาต\", vi = \"Không được phép.\" }\n"
        }
        (_, 1) => "action = \"block\"\nrespond = \"error\"\non_guard_error = \"flag\"\n",
        _ => "action = \"flag\"\n",
    };
    match number % 10 {
        3 => text += "sample = 0.5\n",
        6 => text += "mode = \"shadow\"\n",
        8 => text += "direction = \"request\"\n",
        _ => {}
    }
    text
}

/// The word or phrase of this number, in one of several scripts.
pub(crate) fn word(number: usize) -> String {
    let syllables = SYLLABLES.get(number % SYLLABLES.len()).copied().unwrap_or_default();
    let mut rest = number / SYLLABLES.len() + syllables.len().pow(3);
    let mut word = String::new();
    while rest > 0 {
        word += syllables.get(rest % syllables.len()).copied().unwrap_or_default();
        rest /= syllables.len();
        if rest > 0 && rest < syllables.len() && number.is_multiple_of(3) {
            word.push(' ');
        }
    }
    word
}

/// The regular expression of this number.
pub(crate) fn pattern(number: usize) -> String {
    match number % 5 {
        0 => format!(r"PRJ-{number}-\d{{4,6}}"),
        1 => format!(r"(?i)\bproject[- ]{}\b", word(number * SYLLABLES.len())),
        2 => format!(r"\b[A-Z]{{2}}{number}\d{{3}}\b"),
        3 => format!(r"tok{number}_[a-z0-9]{{16,32}}"),
        _ => format!(r"\bstaff{number}@[a-z]+\.example\b"),
    }
}

/// The call of team 0.
pub(crate) fn call() -> Call {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let claims: Map<String, Value> = [("role".to_owned(), Value::from("clerk"))].into_iter().collect();
    Call {
        route: "/team-0".to_owned(),
        upstream: "default".to_owned(),
        dialect: "openai_chat",
        model: "team-0-large".to_owned(),
        headers: [header("user-agent", "OpenAI/Python 2.1.0"), header("x-team", "team-0")].into(),
        caller: Caller { tenant: Some("team-0".to_owned()), key: Some("desk".to_owned()), subject: None, claims, method: None },
        language: Some("en"),
        ..Call::default()
    }
}

/// A request of a system message and a prompt; an unsafe one has a high score and holds a card and an address.
pub(crate) fn evidence(is_unsafe: bool) -> Evidence {
    let prompt = if is_unsafe { "Pay with 4111111111111111, mail a@b.co" } else { "How do I plan a day in town?" };
    let segment = |target, passage, text: &str| Segment { target, passage, text: text.to_owned(), place: None };
    let finding = |detector: &str, range| Finding { detector: detector.into(), range };
    let score = |value| Ok(Score { value, threshold: 0.5 });
    let verdict = |guard, value| Verdict { guard, by: Which::First, score: score(value), spots: None };
    let passage = |target, segment, value| Passage {
        target,
        segments: vec![segment],
        pieces: None,
        language: Some("en"),
        others: Vec::new(),
        verdicts: vec![verdict(DEFAULT, value), verdict(1, value)],
    };
    let found = vec![finding("payment_card", 9..25), finding("email", 32..38)];
    Evidence {
        direction: Direction::Request,
        segments: vec![segment(Target::System, 0, "Be kind."), segment(Target::Prompt, 1, prompt)],
        findings: vec![Vec::new(), if is_unsafe { found } else { Vec::new() }],
        passages: vec![passage(Target::System, 0, 0.01), passage(Target::Prompt, 1, if is_unsafe { 0.97 } else { 0.02 })],
        ..Evidence::unscorable(Direction::Request, Vec::new())
    }
}

/// Prose by language: the text that the embedded guard learnt from, in messages of some kilobytes.
pub(crate) fn prose(root: &Path, bytes: usize) -> io::Result<BTreeMap<String, Vec<String>>> {
    let mut files: Vec<_> = fs::read_dir(root.join("onnx/train/text/prompts"))?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut prose: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        for line in fs::read_to_string(file)?.lines() {
            let group: Value = serde_json::from_str(line)?;
            for (language, text) in group.get("safe").and_then(Value::as_object).into_iter().flatten() {
                let messages = prose.entry(language.clone()).or_insert_with(|| vec![String::new()]);
                if messages.iter().map(String::len).sum::<usize>() > bytes {
                    continue;
                }
                if messages.last().is_none_or(|last| last.len() > 4 << 10) {
                    messages.push(String::new());
                }
                if let Some(last) = messages.last_mut() {
                    writeln!(last, "{}", text.as_str().unwrap_or_default()).map_err(io::Error::other)?;
                }
            }
        }
    }
    Ok(prose)
}

/// The policies' sources, named.
pub(crate) fn named(policies: Vec<String>) -> Vec<(PathBuf, String)> {
    policies.into_iter().enumerate().map(|(number, text)| (format!("{number:03}.toml").into(), text)).collect()
}
