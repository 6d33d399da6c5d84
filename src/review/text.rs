//! A text as a case keeps it: whole, with masks in place of what detectors found, or as a hash.

use std::{collections::BTreeSet, ops::Range};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::Content,
    policy::text_hash,
    scan::{detect::Detectors, findings},
    segment::{Edit, Finding, Segment, Target, merge},
};

/// Findings kept of one text, and one of each detector beside. More of a detector that is named already changes no decision.
const FINDINGS: usize = 256;

/// How texts are kept.
#[derive(Debug, Clone, Copy)]
pub struct Care<'d> {
    /// What of them.
    pub content: Content,
    /// What is masked, and with what.
    pub detectors: &'d Detectors,
}

/// A piece of text in a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Text {
    /// What it was to the model.
    pub target: Target,
    /// The text as it is kept; empty where only its hash is.
    pub text: String,
    /// The hash of the text, findings masked, where that is all that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashed: Option<String>,
    /// Nothing of it is masked. Older cases do not say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// The parts of one message share a number.
    #[serde(default)]
    pub message: usize,
    /// What detectors found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Found>,
}

/// Where the stretches of a text as written stand in what is kept of it.
#[derive(Debug)]
pub struct Moves {
    /// Ranges that gave way to masks, and where these stand.
    masks: Vec<(Range<usize>, Range<usize>)>,
    /// No more than a hash is kept.
    is_hashed: bool,
}

/// What a detector found in a text, in bytes of the text as it is kept: of a hash, nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// The detector's name.
    pub detector: String,
    /// Where it, or its mask, begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

impl Care<'_> {
    /// What a client wrote outside of its texts, such as the model's name, as it may be kept.
    #[must_use]
    pub fn words(self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let segment = Segment { target: Target::System, passage: 0, text: text.to_owned(), place: None };
        let kept = Text::searched(&segment, self);
        kept.hashed.unwrap_or(kept.text)
    }

    /// What is masked of a text.
    fn masks(self, text: &str, findings: &[Finding]) -> Vec<Edit> {
        if self.content == Content::Full {
            return Vec::new();
        }
        let edit = |finding: &Finding| {
            let mask = self.detectors.mask(&finding.detector);
            let whole = finding.range.clone();
            let parts = if &*finding.detector == "url" { private(text, whole) } else { vec![whole] };
            parts.into_iter().map(move |range| Edit { range, with: mask.to_owned() })
        };
        let mut edits: Vec<Edit> = findings.iter().flat_map(edit).collect();
        merge(&mut edits);
        edits
    }
}

impl Text {
    /// The text of a segment as it may be kept, with what was found in it; and where its stretches stand there.
    #[must_use]
    pub fn of(segment: &Segment, findings: &[Finding], care: Care<'_>) -> (Self, Moves) {
        let (mut text, mut done, mut masks) = (String::new(), 0, Vec::new());
        for Edit { range, with } in care.masks(&segment.text, findings) {
            let Some(before) = segment.text.get(done..range.start) else { continue };
            text.push_str(before);
            let start = text.len();
            text.push_str(&with);
            done = range.end;
            masks.push((range, start..text.len()));
        }
        text.push_str(segment.text.get(done..).unwrap_or_default());
        let hashed = (care.content == Content::Hash).then(|| text_hash(&text).to_string());
        if hashed.is_some() {
            text.clear();
        }
        let moves = Moves { masks, is_hashed: hashed.is_some() };
        let mut known = BTreeSet::new();
        let mut kept = Vec::new();
        for finding in findings {
            if known.insert(&finding.detector) || kept.len() < FINDINGS {
                let Range { start, end } = moves.of(&finding.range).unwrap_or_default();
                kept.push(Found { detector: finding.detector.to_string(), start, end });
            }
        }
        let (target, message, whole) = (segment.target, segment.passage, moves.masks.is_empty());
        (Self { target, text, hashed, whole, message, findings: kept }, moves)
    }

    /// The same of a segment that has yet to be searched.
    #[must_use]
    pub fn searched(segment: &Segment, care: Care<'_>) -> Self {
        Self::moved(segment, care).0
    }

    /// The same, and where its stretches stand.
    #[must_use]
    pub fn moved(segment: &Segment, care: Care<'_>) -> (Self, Moves) {
        Self::of(segment, &findings(care.detectors, segment.target, &segment.text), care)
    }

    /// The hash by which policies' exemptions and exceptions name the text as it was written ([`text_hash`]); `None` if some of
    /// it is masked, so that nobody can tell.
    #[must_use]
    pub fn hash(&self) -> Option<String> {
        let whole = self.whole || self.findings.is_empty();
        whole.then(|| self.hashed.clone().unwrap_or_else(|| text_hash(&self.text).to_string()))
    }
}

impl Moves {
    /// Where a span of the text stands; what is masked of it counts whole. `None` of a text of which only a hash is kept.
    #[must_use]
    pub fn of(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let shifted = |at: usize| {
            let before = self.masks.iter().rev().find(|(written, _)| written.end <= at);
            before.map_or(at, |(written, mask)| mask.end + (at - written.end))
        };
        let begins = self.masks.iter().find(|(written, _)| written.contains(&span.start));
        let ends = self.masks.iter().find(|(written, _)| written.start < span.end && span.end <= written.end);
        let start = begins.map_or_else(|| shifted(span.start), |(_, mask)| mask.start);
        let end = ends.map_or_else(|| shifted(span.end), |(_, mask)| mask.end);
        (!self.is_hashed).then_some(start..end)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str, content: Content) -> Text {
        let segment = Segment { target: Target::Prompt, passage: 3, text: text.into(), place: None };
        Text::searched(&segment, Care { content, detectors: &Detectors::default() })
    }

    fn text(text: &str) -> Text {
        kept(text, Content::Redacted)
    }

    fn found(text: &Text) -> Vec<(&str, &str)> {
        text.findings.iter().map(|found| (found.detector.as_str(), &text.text[found.start..found.end])).collect()
    }

    const WRITTEN: &str = "ก 4111 1111 1111 1111, a@b.co.";

    #[test]
    fn findings_are_told_where_their_masks_stand() {
        let kept = text(WRITTEN);
        assert_eq!((kept.text.as_str(), kept.message), ("ก [payment card], [email].", 3));
        assert_eq!(found(&kept), [("payment_card", "[payment card]"), ("email", "[email]")]);
        assert_eq!(kept.hash(), None, "nobody can tell what was there");
    }

    #[test]
    fn what_is_kept_in_full_is_as_it_was_written() {
        let kept = kept(WRITTEN, Content::Full);
        assert_eq!(kept.text, WRITTEN);
        assert_eq!(found(&kept), [("payment_card", "4111 1111 1111 1111"), ("email", "a@b.co")]);
        assert_eq!(kept.hash(), Some(text_hash(WRITTEN).to_string()));
    }

    #[test]
    fn of_a_hash_nothing_can_be_read() {
        let card = kept(WRITTEN, Content::Hash);
        assert_eq!(found(&card), [("payment_card", ""), ("email", "")]);
        assert_eq!(card.hashed, Some(text_hash("ก [payment card], [email].").to_string()), "no card is guessed by its hash");
        assert_eq!(card.hash(), None);
        let plain = kept("e\u{301}", Content::Hash);
        assert_eq!((plain.text.as_str(), plain.hash()), ("", Some(text_hash("é").to_string())));
        let stored = serde_json::to_string(&[card, plain]).unwrap();
        assert!(!stored.contains("payment card") && !stored.contains('\u{301}'), "{stored}");
    }

    #[test]
    fn a_texts_hash_is_known_only_if_nothing_of_it_is_masked() {
        for (written, whole) in [("hello", true), ("see www.example.org", true), ("see www.example.org/bob", false)] {
            for content in [Content::Redacted, Content::Hash] {
                let hash = kept(written, content).hash();
                assert_eq!(hash, whole.then(|| text_hash(written).to_string()), "{written}, {content:?}");
            }
        }
        let older = |findings: &str| {
            let text = format!("{{\"target\": \"prompt\", \"text\": \"x\", \"findings\": {findings}}}");
            serde_json::from_str::<Text>(&text).unwrap().hash()
        };
        assert_eq!(older("[]"), Some(text_hash("x").to_string()));
        assert_eq!(older("[{\"detector\": \"url\", \"start\": 0, \"end\": 1}]"), None);
    }

    #[test]
    fn what_clients_write_elsewhere_is_kept_with_the_same_care() {
        let detectors = Detectors::default();
        let words = |content, text: &str| Care { content, detectors: &detectors }.words(text);
        assert_eq!(words(Content::Full, "gpt a@b.co"), "gpt a@b.co");
        assert_eq!(words(Content::Redacted, "gpt a@b.co"), "gpt [email]");
        assert_eq!(words(Content::Hash, "gpt a@b.co"), text_hash("gpt [email]").to_string());
        assert_eq!(words(Content::Hash, ""), "");
    }

    #[test]
    fn what_overlaps_shares_a_mask() {
        let segment = Segment { target: Target::Prompt, passage: 0, text: "abcdef".into(), place: None };
        let finding = |name: &str, range| Finding { detector: name.into(), range };
        let findings = [finding("email", 1..4), finding("team/x", 2..5), finding("ip_address", 5..6)];
        let care = Care { content: Content::Redacted, detectors: &Detectors::default() };
        let kept = Text::of(&segment, &findings, care).0;
        let ranges: Vec<_> = found(&kept).into_iter().map(|(_, range)| range).collect();
        assert_eq!((kept.text.as_str(), ranges), ("a[email][ip address]", vec!["[email]", "[email]", "[ip address]"]));
    }

    #[test]
    fn stretches_are_told_where_they_stand() {
        let segment = Segment { target: Target::Prompt, passage: 0, text: WRITTEN.into(), place: None };
        let detectors = Detectors::default();
        let stretches = |content| {
            let (kept, moves) = Text::moved(&segment, Care { content, detectors: &detectors });
            let cuts = [0..WRITTEN.len(), 0..8, 8..WRITTEN.len(), 25..WRITTEN.len()];
            cuts.map(|cut| moves.of(&cut).map(|range| kept.text[range].to_owned()))
        };
        let told = ["ก [payment card], [email].", "ก [payment card]", "[payment card], [email].", "[email]."];
        assert_eq!(stretches(Content::Redacted), told.map(|text| Some(text.to_owned())));
        assert_eq!(stretches(Content::Full)[1].as_deref(), Some("ก 4111"));
        assert_eq!(stretches(Content::Hash), [const { None }; 4]);
    }

    #[test]
    fn no_text_fills_the_record_with_findings() {
        let kept = text(&("a@b.co ".repeat(2_000) + "4111 1111 1111 1111"));
        assert_eq!(kept.findings.len(), FINDINGS + 1);
        assert_eq!(kept.findings.last().unwrap().detector, "payment_card");
    }

    #[test]
    fn a_record_keeps_the_hosts_of_web_addresses() {
        let masked = |written: &str| text(written).text;
        assert_eq!(masked("see https://example.com/a?to=a@b.co#x now"), "see https://example.com[url] now");
        assert_eq!(
            masked("see https://bob:pw@localhost:8443/, www.example.org"),
            "see https://[url]@localhost:8443/, www.example.org"
        );
        assert_eq!(masked("www.example.org/bob"), "www.example.org[url]");
        let kept = text("at https://a.example/x, mail b@c.co, www.d.example");
        let found: Vec<&str> = found(&kept).into_iter().map(|(_, found)| found).collect();
        assert_eq!(found, ["https://a.example[url]", "[email]", "www.d.example"]);
    }
}
