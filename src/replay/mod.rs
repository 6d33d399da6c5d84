//! Recorded traffic under other policies: what they would decide, and what that changes.
//!
//! Policies are asked of what the record kept, so no guard is needed unless one is asked that was not asked then. What the
//! record masks stays masked: own detectors are searched in what is left, an exemption holds for the text as it is kept, and
//! a condition that reads a claim fails, since claims are not kept. Of a text that is kept as a hash there is nothing left to
//! search or to score, and no exemption knows it.

mod decided;
mod tally;

use std::sync::Arc;

use jiff::{Timestamp, tz::TimeZone};

pub use self::{
    decided::{Decided, Matched},
    tally::{Change, Counts, Example, Tally},
};
use crate::{
    config::Uncovered,
    guard::Unavailable,
    identity::Caller,
    policy::{Call, Policies, Selected},
    review::{self, Case, Facts, Found, Kept, Said, Text},
    scan::{self, Ask, Evidence, Scanner, Verdict, Which, detect::is_builtin, findings, known_language},
    segment::{Content, Direction, Finding, Score, Segment, Target},
};

/// A recorded exchange as a set of policies sees it.
#[derive(Debug)]
pub struct Exchange {
    selected: Selected,
    request: Side,
    response: Side,
}

/// One direction of it.
#[derive(Debug)]
struct Side {
    evidence: Evidence,
    /// Its texts in the record are the first of its segments.
    texts: usize,
    /// The texts that each passage is made of.
    made_of: Vec<Vec<usize>>,
}

impl Exchange {
    /// The exchange of a case; nothing if the case was recorded before evidence was kept. `dialects` are the APIs' names.
    #[must_use]
    pub fn new(case: &Case, policies: &Arc<Policies>, dialects: &[&'static str]) -> Option<Self> {
        let (facts, kept) = (case.call.as_ref()?, case.evidence.as_ref()?);
        let side = |direction, texts: &[Text]| Side::new(case, kept, policies, (direction, texts));
        Some(Self {
            selected: policies.select(call(case, facts, dialects)),
            request: side(Direction::Request, &case.request),
            response: side(Direction::Response, &case.response),
        })
    }

    /// The guards, by their places, without whose word the policies cannot decide. The answer counts only if the request
    /// passes.
    #[must_use]
    pub fn unasked(&self) -> Vec<usize> {
        let mut unasked = self.selected.unasked(&self.request.evidence);
        if unasked.is_empty() && self.passes() {
            unasked = self.selected.unasked(&self.response.evidence);
        }
        unasked
    }

    /// Asks the guards that were not asked then, of the text as it is kept.
    pub async fn rescore(&mut self, scanner: &Scanner) {
        let missing = self.selected.unasked(&self.request.evidence);
        self.request.rescore(scanner, missing, None).await;
        if self.passes() {
            let missing = self.selected.unasked(&self.response.evidence);
            let prompt = self.request.prompt();
            self.response.rescore(scanner, missing, prompt.as_deref()).await;
        }
    }

    /// What the policies decide.
    #[must_use]
    pub fn decide(&self, uncovered: Uncovered) -> Decided {
        if uncovered == Uncovered::Block && !self.selected.is_covered() {
            return Decided::uncovered();
        }
        let mut decided = Decided::default();
        for side in [&self.request, &self.response] {
            let decision = self.selected.decide(&side.evidence);
            decided.add(side.evidence.direction, &decision);
            if decision.refusal.is_some() {
                break;
            }
        }
        decided
    }

    fn passes(&self) -> bool {
        self.selected.decide(&self.request.evidence).refusal.is_none()
    }
}

fn call(case: &Case, facts: &Facts, dialects: &[&'static str]) -> Call {
    let began = case.at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let (tenant, key, subject) = (facts.tenant.clone(), facts.key.clone(), facts.subject.clone());
    Call {
        route: facts.route.clone(),
        upstream: facts.upstream.clone(),
        dialect: dialects.iter().find(|name| **name == case.dialect).copied().unwrap_or_default(),
        model: case.model.clone(),
        others: facts.models.clone(),
        stream: case.stream,
        headers: facts.headers.clone(),
        caller: Caller { tenant, key, subject, method: facts.method, ..Caller::default() },
        language: facts.language.as_deref().and_then(known_language),
        draw: facts.draw,
        today: TimeZone::UTC.to_datetime(began).date(),
    }
}

impl Side {
    fn new(case: &Case, kept: &Kept, policies: &Policies, (direction, texts): (Direction, &[Text])) -> Self {
        // Under the policies that it was recorded under, all that there is was found.
        let searches = case.policy != policies.revision();
        let own: Vec<Vec<Finding>> = texts.iter().map(|text| if searches { own(text, policies) } else { vec![] }).collect();
        let mut segments: Vec<Segment> = texts.iter().map(segment).collect();
        let mut findings: Vec<Vec<Finding>> =
            texts.iter().zip(&own).map(|(text, own)| recorded(text).chain(own.iter().cloned()).collect()).collect();
        let (mut passages, mut made_of) = (Vec::new(), Vec::new());
        for passage in kept.passages.iter().filter(|own| own.direction == direction) {
            let mut places = passage.texts.clone();
            if let Some(piece) = &passage.piece
                && let Some((at, text)) = places.first().and_then(|at| Some((*at, texts.get(*at)?)))
            {
                // A check of a stream is a text of its own: it had its own findings.
                let all = if piece.all { text.text.clone() } else { String::new() };
                places = vec![segments.len()];
                segments.push(Segment { text: all, ..segment(text) });
                let found = piece.found.iter().map(|name| Finding { detector: name.as_str().into(), range: 0..0 });
                findings.push(found.chain(own.get(at).into_iter().flatten().cloned()).collect());
            }
            made_of.push(passage.texts.clone());
            passages.push(scan::Passage {
                target: passage.target,
                segments: places,
                pieces: None,
                language: passage.language.as_deref().and_then(known_language),
                others: passage.others.iter().map(|other| known_language(other)).collect(),
                verdicts: passage.verdicts.iter().filter_map(|verdict| judged(verdict, kept, policies)).collect(),
            });
        }
        let unscorable = kept.unscorable.iter().filter(|own| own.direction == direction).map(|own| own.kind.clone());
        let evidence = Evidence { segments, findings, passages, ..Evidence::unscorable(direction, unscorable.collect()) };
        Self { evidence, texts: texts.len(), made_of }
    }

    /// The last prompt, which an answer answers.
    fn prompt(&self) -> Option<String> {
        let last = self.evidence.segments.iter().rev().find(|segment| segment.target == Target::Prompt)?.passage;
        let parts = self.evidence.segments.iter().filter(|segment| segment.passage == last);
        Some(parts.map(|segment| segment.text.as_str()).collect::<Vec<_>>().join("\n"))
    }

    async fn rescore(&mut self, scanner: &Scanner, missing: Vec<usize>, prompt: Option<&str>) {
        if missing.is_empty() {
            return;
        }
        let segments = self.evidence.segments.iter().take(self.texts).cloned().collect();
        let content = Content { segments, ..Content::default() };
        let ask = Ask { guards: missing, detectors: Arc::default() };
        let fresh = scanner.evidence(&ask, content, self.evidence.direction, prompt).await;
        for (passage, made_of) in self.evidence.passages.iter_mut().zip(&self.made_of) {
            for &guard in &ask.guards {
                if passage.verdict(guard).is_some() {
                    continue;
                }
                // With masks in it, a text may not be read together with the same others as then.
                let alike = |exact: bool| {
                    let alike = fresh.passages.iter().filter(|own| own.target == passage.target);
                    let alike = alike.filter(|own| !exact || own.segments == *made_of).filter_map(|own| own.verdict(guard));
                    alike.max_by(|a, b| worst(a).total_cmp(&worst(b))).cloned()
                };
                passage.verdicts.extend(alike(true).or_else(|| alike(false)));
            }
        }
    }
}

/// What cannot be judged counts as worst.
fn worst(verdict: &Verdict) -> f32 {
    verdict.score.as_ref().map_or(f32::INFINITY, |score| score.value)
}

fn segment(text: &Text) -> Segment {
    Segment { target: text.target, passage: text.message, text: text.text.clone(), place: None }
}

fn recorded(text: &Text) -> impl Iterator<Item = Finding> {
    text.findings.iter().map(|found| Finding { detector: found.detector.as_str().into(), range: found.start..found.end })
}

/// What the policies' own detectors find in a text beside what is masked or known.
fn own(text: &Text, policies: &Policies) -> Vec<Finding> {
    let known = |finding: &Finding| {
        let meets = |found: &Found| finding.range.start < found.end && finding.range.end > found.start;
        text.findings.iter().any(|found| meets(found) && (!text.whole || *found.detector == *finding.detector))
    };
    let mut found = findings(policies.detectors(), text.target, &text.text);
    found.retain(|finding| !is_builtin(&finding.detector) && !known(finding));
    found
}

/// A verdict, if its guard is one that the policies can ask.
fn judged(verdict: &review::Verdict, kept: &Kept, policies: &Policies) -> Option<Verdict> {
    let name = &kept.guards.get(verdict.guard)?.name;
    let guard = policies.guards().iter().position(|known| **known == **name)?;
    let score = match &verdict.said {
        Said::Score { score, threshold } => Ok(Score { value: *score, threshold: *threshold }),
        Said::Failed { failed } => Err(Unavailable::Engine(failed.clone())),
    };
    Some(Verdict { guard, by: Which::First, score, spots: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Content,
        policy::{HashKey, Terms},
        review::Care,
        scan::detect::Detectors,
    };

    #[test]
    fn own_detectors_are_searched_in_what_is_not_masked() {
        let rules = "name = \"p\"\n[detectors.team]\nregex = ['email|a@b']\n";
        let terms = Terms { guards: &["default"], dialects: &[], hash_key: HashKey::new(b"") };
        let policies = Policies::parse(&[("p.toml".into(), rules.to_owned())], &terms).unwrap();
        let segment = Segment { target: Target::Prompt, passage: 0, text: "to a@b.co".into(), place: None };
        let found = |content, detectors: &Detectors| {
            let text = Text::searched(&segment, Care { content, detectors });
            own(&text, &policies).into_iter().map(|finding| (finding.range.start, finding.range.end)).collect::<Vec<_>>()
        };
        let built_in = Detectors::default();
        assert_eq!(found(Content::Full, &built_in), [(3, 6)]);
        assert!(found(Content::Full, policies.detectors()).is_empty(), "it is known");
        assert!(found(Content::Redacted, &built_in).is_empty(), "a mask is no text");
        assert!(found(Content::Hash, &built_in).is_empty());
    }
}
