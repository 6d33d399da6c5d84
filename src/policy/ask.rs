//! A rule asked of a passage: whether it matches, or why not. Quick for rules that do not match.

use std::{cell::OnceCell, sync::Arc};

use blake3::Hash;
use unicode_normalization::UnicodeNormalization as _;

use super::{
    Reason, Selected,
    compile::{Compiled, Condition, Kinds, Policy},
    expression::Facts,
};
use crate::{
    guard::Unavailable,
    scan::{Evidence, Passage, detect::Detectors},
    segment::Finding,
};

/// What came of asking a rule of a passage.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It matches.
    Matched(Reason),
    /// It looks at other kinds of text.
    Elsewhere,
    /// Its policy is for other languages.
    OtherLanguage,
    /// It is asked in a share of the exchanges, and this one is not among them.
    NotDrawn,
    /// None of its detectors found anything.
    NothingFound,
    /// The score does not reach its threshold.
    Below {
        /// P(unsafe).
        score: f32,
        /// From which P(unsafe) on it matches.
        threshold: f32,
    },
    /// Its condition does not hold.
    Unmet,
    /// It would match, but its policy or an exception of it knows the text and lets it pass.
    Exempt,
    /// The guard whose score it needs could not judge the passage.
    Unjudged(Unavailable),
}

impl Outcome {
    /// A word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Matched(_) => "matched",
            Self::Elsewhere => "elsewhere",
            Self::OtherLanguage => "other_language",
            Self::NotDrawn => "not_drawn",
            Self::NothingFound => "nothing_found",
            Self::Below { .. } => "below",
            Self::Unmet => "unmet",
            Self::Exempt => "exempt",
            Self::Unjudged(_) => "unjudged",
        }
    }
}

/// The hash by which a policy names a text that it lets pass: of the text as written, but for how accents are composed. With
/// hiding undone, what is hidden within a known text would pass with it.
#[must_use]
pub fn text_hash(text: &str) -> Hash {
    blake3::hash(text.nfc().collect::<String>().as_bytes())
}

/// A passage, and what rules ask of it worked out once for all of them.
pub(super) struct Seen<'e> {
    pub(super) evidence: &'e Evidence,
    pub(super) passage: &'e Passage,
    pub(super) kind: Kinds,
    /// What the detectors found in it, with their numbers and the segments.
    found: Vec<(usize, usize, &'e Finding)>,
    /// The hashes of all of it and, if it has several, of its parts; most texts are never asked for them.
    hashes: OnceCell<(Hash, Vec<Hash>)>,
    /// What conditions may ask of it.
    facts: OnceCell<Known<'e>>,
}

/// What conditions may ask of a passage.
struct Known<'e> {
    findings: Vec<&'e str>,
    scores: Vec<(Arc<str>, f64)>,
}

impl<'e> Seen<'e> {
    pub(super) fn new(passage: &'e Passage, evidence: &'e Evidence, detectors: &Detectors) -> Self {
        let numbered =
            |(segment, finding): (usize, &'e Finding)| Some((detectors.number(&finding.detector)?, segment, finding));
        let found = findings(evidence, passage).filter_map(numbered).collect();
        let kind = Kinds::of(evidence.direction, passage.target);
        Self { evidence, passage, kind, found, hashes: OnceCell::new(), facts: OnceCell::new() }
    }

    /// Asks a rule of a policy that covers the call. What costs the least is asked first.
    pub(super) fn ask(&self, policy: &Policy, rule: &Compiled, selected: &Selected) -> Outcome {
        if !rule.kinds.meets(self.kind) {
            return Outcome::Elsewhere;
        }
        if !self.passage.languages().any(|language| policy.scope.speaks(language)) {
            return Outcome::OtherLanguage;
        }
        if !rule.is_asked(selected.call.draw) {
            return Outcome::NotDrawn;
        }
        if !(rule.detectors.is_empty() || self.found.iter().any(|(found, ..)| rule.wants(*found))) {
            return Outcome::NothingFound;
        }
        let outcome = self.judged(policy, rule, selected);
        let stays = matches!(outcome, Outcome::Matched(_) | Outcome::Unjudged(_));
        if stays && self.is_exempt(policy, selected) { Outcome::Exempt } else { outcome }
    }

    fn judged(&self, policy: &Policy, rule: &Compiled, selected: &Selected) -> Outcome {
        let (mut told, mut against) = (None, None);
        if let Some(thresholds) = &rule.threshold {
            let score = match self.passage.score(thresholds.guard) {
                Ok(score) => score,
                Err(unavailable) => return Outcome::Unjudged(unavailable),
            };
            let threshold = thresholds.least(&score, self.passage.target.task(), self.passage.languages()).0;
            if score.value < threshold {
                return Outcome::Below { score: score.value, threshold };
            }
            (told, against) = (Some(score), Some(threshold));
        }
        let mut note = None;
        if let Some(when) = &rule.when {
            let own = self.passage.score(when.guard).ok();
            match self.with_facts(when, selected, |facts| when.expression.holds(facts)) {
                Ok(true) => told = told.or(own.filter(|_| when.expression.asks().score)),
                Ok(false) => return Outcome::Unmet,
                // What one guard says can be enough: only a condition that has no answer needs the one that failed.
                Err(failed) => match when.guards.iter().find_map(|guard| self.passage.score(*guard).err()) {
                    Some(unavailable) => return Outcome::Unjudged(unavailable),
                    // A rule only ever makes a decision stricter.
                    None => note = Some(format!("its condition has no answer: {failed}")),
                },
            }
        }
        let found = self.found_by(rule).map(|(_, finding)| finding.detector.to_string());
        let mut detectors: Vec<String> = found.collect();
        detectors.sort_unstable();
        detectors.dedup();
        let score = told.map(|score| score.value);
        Outcome::Matched(Reason { score, threshold: against, detectors, note, ..Reason::new(policy, rule, self.passage) })
    }

    /// What the rule's detectors found, by segment.
    pub(super) fn found_by(&self, rule: &Compiled) -> impl Iterator<Item = (usize, &'e Finding)> {
        self.found.iter().filter(|(number, ..)| rule.wants(*number)).map(|(_, segment, finding)| (*segment, *finding))
    }

    /// Whether all of it, or each of its parts, is a text that the policy lets pass. A stream is judged in pieces that are
    /// known only if they are all of the answer.
    fn is_exempt(&self, policy: &Policy, selected: &Selected) -> bool {
        let excepted = selected.exceptions.of(&policy.name);
        if policy.exempt.is_empty() && excepted.is_none() {
            return false;
        }
        let (all, parts) = self.hashes.get_or_init(|| {
            let texts = self.passage.segments.iter().filter_map(|at| self.evidence.segments.get(*at));
            let texts: Vec<&str> = texts.map(|segment| segment.text.as_str()).collect();
            (text_hash(&texts.join("\n")), texts.iter().map(|text| text_hash(text)).collect())
        });
        let today = selected.call.today;
        let holds = |hash| {
            policy.exempt.get(hash).is_some_and(|last| last.is_none_or(|last| today <= last))
                || excepted.and_then(|texts| texts.get(hash)).is_some_and(|last| today <= *last)
        };
        holds(all) || (!parts.is_empty() && parts.iter().all(holds))
    }

    /// Hands on what a condition may ask of the passage.
    pub(super) fn with_facts<T>(&self, when: &Condition, selected: &Selected, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let own = self.passage.score(when.guard).ok();
        let known = self.facts.get_or_init(|| Known::new(self.passage, self.evidence, selected));
        ask(&Facts {
            score: own.map(|score| decimal(score.value)),
            threshold: own.map(|score| decimal(score.threshold)),
            scores: &known.scores,
            findings: &known.findings,
            language: self.passage.language.unwrap_or_default(),
            target: self.passage.target.name(),
            direction: self.evidence.direction.name(),
            call: &selected.facts,
        })
    }
}

impl<'e> Known<'e> {
    fn new(passage: &'e Passage, evidence: &'e Evidence, selected: &Selected) -> Self {
        let mut findings: Vec<&str> = findings(evidence, passage).map(|(_, finding)| &*finding.detector).collect();
        findings.sort_unstable();
        findings.dedup();
        let scores = passage.verdicts.iter().filter_map(|verdict| {
            let name = Arc::clone(selected.set.guards.get(verdict.guard)?);
            Some((name, decimal(verdict.score.as_ref().ok()?.value)))
        });
        Self { findings, scores: scores.collect() }
    }
}

/// A probability as people write it: 0.7, where the nearest `f32` is 0.699999988.
fn decimal(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}

impl Compiled {
    pub(super) fn is_asked(&self, draw: u64) -> bool {
        self.sample.is_none_or(|sample| sample.holds(draw))
    }

    fn wants(&self, detector: usize) -> bool {
        self.detectors.binary_search(&detector).is_ok()
    }
}

fn findings<'e>(evidence: &'e Evidence, passage: &'e Passage) -> impl Iterator<Item = (usize, &'e Finding)> + use<'e> {
    let of = |segment: &usize| {
        let findings = evidence.findings.get(*segment).into_iter().flatten();
        let segment = *segment;
        findings.map(move |finding| (segment, finding))
    };
    passage.segments.iter().flat_map(of)
}
