//! What a case keeps of the evidence that its decision rests on, so that other policies can be asked of it later.
//!
//! It is bounded by what was judged: no more findings a text than [`FINDINGS`] and one of each detector, and of a stream only
//! the checks that mattered. Claims of tokens are not kept, nor are credentials.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use serde::{Deserialize, Serialize};

use crate::{
    identity::Method,
    policy::Call,
    scan::{self, Scanner, detect::Detectors, findings},
    segment::{Direction, Edit, Finding, Segment, Target, merge},
};

/// Findings kept of one text. More of a detector that is named already changes no decision.
const FINDINGS: usize = 256;
/// Headers whose values are never kept, whatever a policy names.
const CREDENTIALS: [&str; 7] =
    ["authorization", "proxy-authorization", "cookie", "seawall-key", "x-api-key", "api-key", "x-goog-api-key"];

/// A piece of text in a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// What it was to the model.
    pub target: Target,
    /// The text, findings masked.
    pub text: String,
    /// The parts of one message share a number.
    #[serde(default)]
    pub message: usize,
    /// What detectors found: where in this text it is masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Found>,
}

/// What a detector found in a text, in bytes of the text as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The detector's name.
    pub detector: String,
    /// Where its mask begins.
    pub start: usize,
    /// Where its mask ends.
    pub end: usize,
}

/// What policies could ask of the call. Dialect, model and stream are the case's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Other models that it named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// How the caller was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Name of the route; empty where none took it.
    pub route: String,
    /// Name of the upstream.
    pub upstream: String,
    /// Whose traffic it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The name of the caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The caller's name in its token or certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Language of the last prompt, if it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The headers that policies name, findings masked; without a value where it is a credential, or where a policy reads all
    /// headers, whatever they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The exchange's random number, by which rules that ask a share of exchanges choose.
    pub draw: u64,
}

/// What was learned about the texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The guards that were asked.
    pub guards: Vec<Judge>,
    /// The texts that were judged as one.
    pub passages: Vec<Passage>,
    /// Content that no text guard can judge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unscorable: Vec<Unscorable>,
}

/// A guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judge {
    /// Its name in the settings.
    pub name: String,
    /// What it was then; the two of a cascade are two.
    pub identity: String,
}

/// A text that was judged as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// Which way it travelled.
    pub direction: Direction,
    /// What it was to the model.
    pub target: Target,
    /// The texts that it is made of, by their places in the case's request or response.
    pub texts: Vec<usize>,
    /// Its language, if it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Languages of other stretches of it; the empty one for stretches that did not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// What the guards thought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// If it is what a check of a stream saw of its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<Piece>,
}

/// What a guard thought of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which of [`Kept::guards`].
    pub guard: usize,
    /// What it said.
    #[serde(flatten)]
    pub said: Said,
}

/// What a guard said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Said {
    /// How unsafe the text is.
    Score {
        /// P(unsafe).
        score: f32,
        /// From which score on the guard itself finds such text unsafe.
        threshold: f32,
    },
    /// Nothing.
    Failed {
        /// Why.
        failed: String,
    },
}

/// What a check of a stream saw of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The detectors that had found something there.
    pub found: Vec<String>,
    /// It saw all of the text.
    pub all: bool,
}

/// Content that no text guard can judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unscorable {
    /// Which way it travelled.
    pub direction: Direction,
    /// What it was, such as `image_url`.
    pub kind: String,
}

impl Text {
    /// The text of a segment as it may be kept, with what was found in it.
    #[must_use]
    pub fn of(segment: &Segment, findings: &[Finding], detectors: &Detectors) -> Self {
        let edit = |finding: &Finding| {
            let mask = detectors.mask(&finding.detector);
            let whole = finding.range.clone();
            let parts = if &*finding.detector == "url" { private(&segment.text, whole) } else { vec![whole] };
            parts.into_iter().map(move |range| Edit { range, with: mask.to_owned() })
        };
        let mut edits: Vec<Edit> = findings.iter().flat_map(edit).collect();
        merge(&mut edits);
        let (mut text, mut done, mut masks) = (String::new(), 0, Vec::with_capacity(edits.len()));
        for Edit { range, with } in edits {
            let Some(before) = segment.text.get(done..range.start) else { continue };
            text.push_str(before);
            let start = text.len();
            text.push_str(&with);
            done = range.end;
            masks.push((range, start..text.len()));
        }
        text.push_str(segment.text.get(done..).unwrap_or_default());
        let mut known = BTreeSet::new();
        let mut kept = Vec::new();
        for finding in findings {
            if known.insert(&finding.detector) || kept.len() < FINDINGS {
                let Range { start, end } = moved(&masks, &finding.range);
                kept.push(Found { detector: finding.detector.to_string(), start, end });
            }
        }
        Self { target: segment.target, text, message: segment.passage, findings: kept }
    }

    /// The same of a segment that has yet to be searched.
    #[must_use]
    pub fn searched(segment: &Segment, detectors: &Detectors) -> Self {
        Self::of(segment, &findings(detectors, segment.target, &segment.text), detectors)
    }
}

/// Where a span of a text stands once these ranges gave way to those; what is masked of it counts whole.
fn moved(masks: &[(Range<usize>, Range<usize>)], span: &Range<usize>) -> Range<usize> {
    let shifted = |at: usize| {
        let before = masks.iter().rev().find(|(written, _)| written.end <= at);
        before.map_or(at, |(written, mask)| mask.end + (at - written.end))
    };
    let begins = masks.iter().find(|(written, _)| written.contains(&span.start));
    let ends = masks.iter().find(|(written, _)| written.start < span.end && span.end <= written.end);
    let start = begins.map_or_else(|| shifted(span.start), |(_, mask)| mask.start);
    start..ends.map_or_else(|| shifted(span.end), |(_, mask)| mask.end)
}

/// What of a web address may tell of somebody: who logs in, and what is asked of the host. A reviewer needs to know the host.
fn private(text: &str, address: Range<usize>) -> Vec<Range<usize>> {
    let Some(written) = text.get(address.clone()) else { return vec![address] };
    let start = written.find("://").map_or(0, |at| at + 3);
    let end = written.get(start..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(written.len(), |at| start + at);
    let user = written.get(start..end).and_then(|host| host.rfind('@')).map(|at| start..start + at);
    let asked = (end + 1 < written.len()).then_some(end..written.len());
    let parts = [user, asked].into_iter().flatten();
    parts.map(|part| address.start + part.start..address.start + part.end).collect()
}

/// What a client wrote outside of its texts, such as the model's name, as it may be kept.
#[must_use]
pub fn masked(text: &str, detectors: &Detectors) -> String {
    let segment = Segment { target: Target::System, passage: 0, text: text.to_owned(), place: None };
    Text::searched(&segment, detectors).text
}

impl Facts {
    /// The facts of a call. `named` says that its headers are those that policies name, and not all.
    #[must_use]
    pub fn of(call: &Call, named: bool, detectors: &Detectors) -> Self {
        let value = |name: &str, value: &str| {
            if !named || CREDENTIALS.contains(&name) {
                return String::new();
            }
            masked(value, detectors)
        };
        Self {
            models: call.others.iter().map(|model| masked(model, detectors)).collect(),
            method: call.caller.method,
            route: call.route.clone(),
            upstream: call.upstream.clone(),
            tenant: call.caller.tenant.clone(),
            key: call.caller.key.clone(),
            subject: call.caller.subject.clone(),
            language: call.language.map(str::to_owned),
            headers: call.headers.iter().map(|(name, own)| (name.clone(), value(name, own))).collect(),
            draw: call.draw,
        }
    }
}

impl Kept {
    /// Adds what `scanner` made of a text, which is made of these texts of the case's request or response.
    pub fn add(
        &mut self,
        scanner: &Scanner,
        passage: &scan::Passage,
        (direction, texts): (Direction, Vec<usize>),
        piece: Option<Piece>,
    ) {
        let verdicts = passage.verdicts.iter().map(|verdict| {
            let name = scanner.guard_names().nth(verdict.guard).unwrap_or_default();
            let said = match &verdict.score {
                Ok(score) => Said::Score { score: score.value, threshold: score.threshold },
                Err(unavailable) => Said::Failed { failed: unavailable.public() },
            };
            Verdict { guard: self.judge(name, scanner.identity(verdict.guard, verdict.by)), said }
        });
        let verdicts = verdicts.collect();
        let language = passage.language.map(str::to_owned);
        let others = passage.others.iter().map(|other| other.unwrap_or_default().to_owned()).collect();
        self.passages.push(Passage { direction, target: passage.target, texts, language, others, verdicts, piece });
    }

    fn judge(&mut self, name: &str, identity: &str) -> usize {
        let known = self.guards.iter().position(|own| own.name == name && own.identity == identity);
        known.unwrap_or_else(|| {
            self.guards.push(Judge { name: name.to_owned(), identity: identity.to_owned() });
            self.guards.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        let segment = Segment { target: Target::Prompt, passage: 3, text: text.into(), place: None };
        Text::searched(&segment, &Detectors::default())
    }

    #[test]
    fn findings_are_told_where_their_masks_stand() {
        let kept = text("ก 4111 1111 1111 1111, a@b.co.");
        assert_eq!((kept.text.as_str(), kept.message), ("ก [payment card], [email].", 3));
        let told: Vec<_> =
            kept.findings.iter().map(|found| (found.detector.as_str(), &kept.text[found.start..found.end])).collect();
        assert_eq!(told, [("payment_card", "[payment card]"), ("email", "[email]")]);
    }

    #[test]
    fn what_overlaps_shares_a_mask() {
        let segment = Segment { target: Target::Prompt, passage: 0, text: "abcdef".into(), place: None };
        let finding = |name: &str, range| Finding { detector: name.into(), range };
        let kept = Text::of(
            &segment,
            &[finding("email", 1..4), finding("team/x", 2..5), finding("ip_address", 5..6)],
            &Detectors::default(),
        );
        let ranges: Vec<_> = kept.findings.iter().map(|found| &kept.text[found.start..found.end]).collect();
        assert_eq!((kept.text.as_str(), ranges), ("a[email][ip address]", vec!["[email]", "[email]", "[ip address]"]));
    }

    #[test]
    fn no_text_fills_the_record_with_findings() {
        let kept = text(&("a@b.co ".repeat(2_000) + "4111 1111 1111 1111"));
        assert_eq!(kept.findings.len(), FINDINGS + 1);
        assert_eq!(kept.findings.last().unwrap().detector, "payment_card");
    }

    #[test]
    fn credentials_are_not_kept() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = [header("authorization", "Bearer x"), header("x-team", "a@b.co"), header("x-app", "web")];
        let call = Call { headers: headers.into(), draw: 7, ..Call::default() };
        let values = |named| Facts::of(&call, named, &Detectors::default()).headers.into_values().collect::<Vec<_>>();
        assert_eq!(values(true), ["", "web", "[email]"]);
        assert_eq!(values(false), ["", "", ""]);
    }
}
