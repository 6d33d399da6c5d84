//! Cases as an organisation's record has them after a season, made up by number, so that every run has the same.

use std::{collections::BTreeMap, ops::RangeInclusive};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use seawall::{
    identity::Method,
    policy::{Action, Mode, Reason},
    review::{Case, Facts, Found, Judge, Kept, Passage, Said, Text, Told, Verdict, reasons},
    segment::{Direction, Target},
};
use uuid::Builder;

/// Days that the record covers.
const DAYS: i64 = 90;
/// Bytes of a text, but for the mask of what was found in it.
const TEXT: RangeInclusive<usize> = 200..=780;
/// Each text has a ticket, to be searched for: low numbers are in many, high ones in few.
const TICKETS: usize = 1_000;
const TENANTS: usize = 40;
const KEYS: usize = 400;
const THRESHOLD: f32 = 0.5;
const GUARD: &str = "seawall-mini@1";
const REVISION: &str = "5f0c2d81";
const MODELS: [&str; 5] = ["gpt-5-mini", "sea-lion-v4-27b", "claude-haiku-5", "gemini-3-flash", "qwen4-32b"];
const DIALECTS: [&str; 4] = ["openai_chat", "openai_responses", "anthropic_messages", "ollama_chat"];

/// A policy's rule, and the detector that it asks with that one's mask; a guard where there is none.
type Rule = (&'static str, &'static str, Action, Mode, Target, Option<(&'static str, &'static str)>);

/// What matches often comes first, as all that is taken with [`skewed`].
const RULES: [Rule; 12] = {
    use Action::{Block, Flag, Redact};
    use Mode::{Enforce, Shadow};
    use Target::{Completion, Prompt, System, ToolResult};
    [
        ("baseline", "unsafe-prompt", Block, Enforce, Prompt, None),
        ("pii", "contact", Redact, Enforce, Prompt, Some(("email", "[email]"))),
        ("baseline", "unsafe-completion", Block, Enforce, Completion, None),
        ("sea-regional", "scams", Flag, Enforce, Prompt, None),
        ("secrets", "keys-asked", Redact, Enforce, Prompt, Some(("secret.openai", "[secret]"))),
        ("trial", "stricter", Flag, Shadow, Prompt, None),
        ("pii", "contact-told", Redact, Enforce, Completion, Some(("phone", "[phone]"))),
        ("agents", "tool-injection", Block, Enforce, ToolResult, None),
        ("baseline", "private-data", Redact, Enforce, Prompt, Some(("payment_card", "[payment card]"))),
        ("trial", "gambling", Flag, Shadow, Completion, None),
        ("secrets", "keys-in-system", Flag, Enforce, System, Some(("secret.aws", "[secret]"))),
        ("strict", "national-ids", Block, Enforce, Prompt, Some(("national_id", "[national id]"))),
    ]
};

/// A record that is yet to be written.
#[derive(Debug)]
pub(crate) struct Made {
    count: u32,
    end: Timestamp,
    /// Sentences by language.
    prose: Vec<(String, Vec<String>)>,
}

impl Made {
    /// So many cases over the days before `end`, told in sentences of this prose, which has one a line.
    pub(crate) fn new(count: u32, end: Timestamp, prose: BTreeMap<String, Vec<String>>) -> Self {
        let sentences = |texts: Vec<String>| texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        let prose = prose.into_iter().map(|(language, texts)| (language, sentences(texts))).collect();
        Self { count, end, prose }
    }

    /// How many they are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The case of this number. It needs no other to be made before.
    pub(crate) fn case(&self, number: u32) -> Case {
        let mut rng = Rng::with_seed(number.into());
        let at = self.at(number);
        let (language, sentences) = skewed(&mut rng, &self.prose);
        let rule @ (_, _, action, mode, target, asks) = *skewed(&mut rng, &RULES);
        let mut request = vec![text(&mut rng, sentences, Target::Prompt)];
        let mut response = Vec::new();
        match target {
            Target::Prompt => {}
            Target::Completion => response.push(text(&mut rng, sentences, target)),
            Target::System => request.insert(0, text(&mut rng, sentences, target)),
            _ => request.push(text(&mut rng, sentences, target)),
        }
        let (direction, texts) = match target {
            Target::Completion => (Direction::Response, &mut response),
            _ => (Direction::Request, &mut request),
        };
        let place = texts.iter().position(|text| text.target == target).unwrap_or_default();
        if let (Some((detector, mask)), Some(text)) = (asks, texts.get_mut(place)) {
            find(text, detector, mask);
        }
        // Who asks for detectors only may have no guard at all.
        let score = if asks.is_none() { Some(unsafe_score(&mut rng)) } else { rng.bool().then(|| rng.f32() * THRESHOLD) };
        Case {
            id: id(&mut rng, at),
            version: 1,
            at: at.to_string(),
            decision: decision(action, mode).to_owned(),
            dialect: (*skewed(&mut rng, &DIALECTS)).to_owned(),
            model: (*skewed(&mut rng, &MODELS)).to_owned(),
            stream: rng.bool(),
            language: Some(language.clone()),
            score,
            guard: GUARD.to_owned(),
            policy: REVISION.to_owned(),
            reasons: reasons(&[told(rule, direction, score)]),
            request,
            response,
            call: Some(facts(&mut rng, language)),
            evidence: Some(evidence(language, direction, target, place, score)),
        }
    }

    fn at(&self, number: u32) -> Timestamp {
        let milliseconds = DAYS * 24 * 60 * 60 * 1_000;
        let left = milliseconds * i64::from(self.count - number) / i64::from(self.count);
        self.end - SignedDuration::from_millis(left)
    }
}

/// A number below this one; low ones come often, the highest of a thousand once in a million times.
fn low(rng: &mut Rng, below: usize) -> usize {
    let most = rng.usize(..below);
    rng.usize(..=most)
}

/// One of these; the first ones come often.
#[expect(clippy::indexing_slicing, reason = "it is below the length")]
fn skewed<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[low(rng, all.len())]
}

fn text(rng: &mut Rng, sentences: &[String], target: Target) -> Text {
    let bytes = rng.usize(TEXT);
    let mut text = format!("ticket-{}", low(rng, TICKETS));
    while text.len() < bytes {
        text.push(' ');
        text += rng.choice(sentences).map_or("-", String::as_str);
    }
    text.truncate(text.floor_char_boundary(bytes));
    let message = usize::from(target != Target::System);
    Text { target, text, hashed: None, whole: true, message, findings: Vec::new() }
}

fn find(text: &mut Text, detector: &str, mask: &str) {
    text.text.push(' ');
    let start = text.text.len();
    text.text += mask;
    text.whole = false;
    text.findings.push(Found { detector: detector.to_owned(), start, end: text.text.len() });
}

/// From the threshold on, and the higher the more often.
fn unsafe_score(rng: &mut Rng) -> f32 {
    1.0 - rng.f32().powi(2) * (1.0 - THRESHOLD)
}

fn id(rng: &mut Rng, at: Timestamp) -> String {
    let mut random = [0; 10];
    rng.fill(&mut random);
    Builder::from_unix_timestamp_millis(at.as_millisecond().unsigned_abs(), &random).into_uuid().to_string()
}

fn decision(action: Action, mode: Mode) -> &'static str {
    match (mode, action) {
        (Mode::Shadow, _) | (_, Action::Allow) => "allow",
        (_, Action::Flag) => "flag",
        (_, Action::Redact | Action::Replace) => "rewrite",
        (_, Action::Block) => "block",
    }
}

fn told((policy, rule, action, mode, target, asks): Rule, direction: Direction, score: Option<f32>) -> Told {
    let reason = Reason {
        policy: policy.to_owned(),
        rule: rule.to_owned(),
        action,
        mode,
        target: Some(target),
        score: score.filter(|_| asks.is_none()),
        threshold: score.filter(|_| asks.is_none()).map(|_| THRESHOLD),
        detectors: asks.map(|(detector, _)| detector.to_owned()).into_iter().collect(),
        note: None,
    };
    Told { direction, reason }
}

fn facts(rng: &mut Rng, language: &str) -> Facts {
    Facts {
        models: Vec::new(),
        method: Some(Method::Key),
        route: "/".to_owned(),
        upstream: "default".to_owned(),
        tenant: Some(format!("team-{}", low(rng, TENANTS))),
        key: Some(format!("key-{}", low(rng, KEYS))),
        subject: None,
        language: Some(language.to_owned()),
        headers: BTreeMap::new(),
        draw: rng.u64(..),
    }
}

fn evidence(language: &str, direction: Direction, target: Target, place: usize, score: Option<f32>) -> Kept {
    let verdict = |score| Verdict { guard: 0, said: Said::Score { score, threshold: THRESHOLD }, windows: Vec::new() };
    let passage = Passage {
        direction,
        target,
        texts: vec![place],
        language: Some(language.to_owned()),
        others: Vec::new(),
        verdicts: score.map(verdict).into_iter().collect(),
        piece: None,
    };
    let judge = Judge { name: "default".to_owned(), identity: GUARD.to_owned() };
    Kept { guards: vec![judge], passages: vec![passage], unscorable: Vec::new() }
}
