//! Which of a stream's checks its record keeps: those that mattered, few however long the stream is.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    review::{Kept, Moves, Piece},
    scan::{Evidence, Passage, Scanner, Verdict},
    segment::{Channel, Check, Direction},
};

/// Most checks kept of a channel, beside those in which a rule first matched.
const MOST: usize = 16;

/// The checks of a stream that are kept.
#[derive(Debug, Default)]
pub(super) struct Heard {
    checks: BTreeMap<Channel, Vec<Heed>>,
}

/// A check that is kept.
#[derive(Debug, Clone)]
struct Heed {
    passage: Passage,
    /// The detectors that had found something in it.
    found: Vec<Arc<str>>,
    /// How much of the channel it saw, if it saw it from the beginning.
    whole: Option<usize>,
    /// A rule matched that had not matched before.
    told: bool,
}

impl Heard {
    /// Takes note of a check; `told` says that a rule matched in it that had not matched before. A check gives way to a later
    /// one that has all its findings and, of every guard, no lower score.
    pub(super) fn add(&mut self, check: &Check, evidence: &Evidence, told: bool) {
        let mut found: Vec<Arc<str>> =
            evidence.findings.iter().flatten().map(|finding| Arc::clone(&finding.detector)).collect();
        found.sort_unstable();
        found.dedup();
        let whole = (check.from == 0).then_some(check.text.len());
        let kept = self.checks.entry(check.channel).or_default();
        for passage in &evidence.passages {
            let heed = Heed { passage: passage.clone(), found: found.clone(), whole, told };
            if !told && kept.iter().any(|own| own.covers(&heed)) {
                continue;
            }
            kept.retain(|own| own.told || !heed.covers(own));
            kept.push(heed);
            let weakest = kept.iter().enumerate().filter(|(_, own)| !own.told);
            if weakest.clone().count() > MOST
                && let Some((at, _)) = weakest.min_by(|(_, a), (_, b)| a.worst().total_cmp(&b.worst()))
            {
                kept.remove(at);
            }
        }
    }

    /// Adds them to what is kept of an exchange whose answer has these texts, by their channels, whose stretches moved so.
    pub(super) fn tell(&self, kept: &mut Kept, scanner: &Scanner, texts: &[(Channel, usize)], moves: &[Moves]) {
        for (place, (channel, length)) in texts.iter().enumerate() {
            for heed in self.checks.get(channel).into_iter().flatten() {
                let found = heed.found.iter().map(|name| name.to_string()).collect();
                let piece = Piece { found, all: heed.whole == Some(*length) };
                kept.add(scanner, &heed.passage, (Direction::Response, vec![place], moves), Some(piece));
            }
        }
    }
}

impl Heed {
    /// Whether all that a rule may find too much in the other is in this one too.
    fn covers(&self, other: &Self) -> bool {
        let covers = |verdict: &Verdict| {
            let own = self.passage.verdict(verdict.guard);
            own.is_some_and(|own| match (&own.score, &verdict.score) {
                (Ok(own_score), Ok(score)) => own.by == verdict.by && own_score.value >= score.value,
                (Err(_), Err(_)) => true,
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
            })
        };
        self.passage.languages().eq(other.passage.languages())
            && other.found.iter().all(|name| self.found.contains(name))
            && other.passage.verdicts.iter().all(covers)
    }

    fn worst(&self) -> f32 {
        let scores = self.passage.verdicts.iter().map(|verdict| verdict.score.as_ref().map_or(1.0, |score| score.value));
        scores.fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guard::Unavailable,
        scan::Which,
        segment::{Finding, Part, Score, Target},
    };

    const ANSWER: Channel = Channel { choice: 0, part: Part::Content };

    /// Scores, detectors, language, and whether a rule matched first.
    type Seen<'c> = (&'c [Result<f32, Unavailable>], &'c [&'c str], Option<&'static str>, bool);

    fn heard(checks: &[Seen<'_>]) -> Vec<(Vec<f32>, usize)> {
        let mut heard = Heard::default();
        for (scores, found, language, told) in checks {
            let verdicts = scores.iter().enumerate().map(|(guard, score)| {
                let score = score.clone().map(|value| Score { value, threshold: 0.5 });
                Verdict { guard, by: Which::First, score, spots: None }
            });
            let passage = Passage {
                target: Target::Completion,
                segments: vec![0],
                pieces: None,
                language: *language,
                others: Vec::new(),
                verdicts: verdicts.collect(),
            };
            let findings = found.iter().map(|name| Finding { detector: (*name).into(), range: 0..1 }).collect();
            let evidence = Evidence {
                findings: vec![findings],
                passages: vec![passage],
                ..Evidence::unscorable(Direction::Response, vec![])
            };
            let (text, judged) = ("x".to_owned(), "x".to_owned());
            let check = Check { channel: ANSWER, text, from: 0, settled: 0, json: false, judged, last: false };
            heard.add(&check, &evidence, *told);
        }
        let kept = heard.checks.into_values().flatten();
        let score = |verdict: &Verdict| verdict.score.as_ref().map_or(-1.0, |score| score.value);
        kept.map(|heed| (heed.passage.verdicts.iter().map(score).collect(), heed.found.len())).collect()
    }

    #[test]
    fn a_check_gives_way_to_one_that_has_all_it_had() {
        let (low, high) = ([Ok(0.1)], [Ok(0.2)]);
        assert_eq!(heard(&[(&low, &[], None, false), (&high, &[], None, false), (&low, &[], None, false)]).len(), 1);
        let differ = [
            (&high[..], &[][..], None, false),
            (&low, &["email"], None, false),
            (&low, &[], Some("th"), false),
            (&[Err(Unavailable::Deadline)], &[], None, false),
        ];
        assert_eq!(heard(&differ).len(), 4);
        let both = [(&low[..], &["email"][..], None, false), (&high, &[], None, false), (&high, &["email"], None, false)];
        assert_eq!(heard(&both), [(vec![0.2], 1)]);
        let two = [(&[Ok(0.1), Ok(0.9)][..], &[][..], None, false), (&[Ok(0.2), Ok(0.8)], &[], None, false)];
        assert_eq!(heard(&two).len(), 2, "neither has both of the other's scores");
    }

    #[test]
    fn where_a_rule_first_matched_is_kept_and_the_rest_is_bounded() {
        let told = [(&[Ok(0.1)][..], &[][..], None, true), (&[Ok(0.9)], &[], None, false)];
        assert_eq!(heard(&told).len(), 2, "the rule may have asked for a low score");
        let scores: Vec<[Result<f32, Unavailable>; 2]> =
            (1..=100_u8).map(|step| [Ok(f32::from(step) / 200.0), Ok(1.0 - f32::from(step) / 200.0)]).collect();
        let many: Vec<_> = scores.iter().map(|scores| (&scores[..], &[][..], None, false)).collect();
        let kept = heard(&many);
        assert_eq!(kept.len(), MOST);
        assert!(kept.iter().all(|(scores, _)| scores[1] > 0.9), "the highest stay: {kept:?}");
    }
}
