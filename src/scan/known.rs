//! Evidence of content whose scores are known beforehand, such as those that a policy's test gives.

use super::{
    Ask, Evidence, Passage, Verdict, Which,
    cache::digest,
    memo::{Memo, Spoken},
    question::{Question, questions},
    search::search,
};
use crate::{
    guard::{Scoring, Unavailable},
    segment::{Content, Direction, Score, Target},
};

/// What [`super::Scanner::evidence`] would be where each guard, given by its place, scored each text as `score` says.
pub fn known(
    ask: &Ask,
    content: Content,
    direction: Direction,
    prompt: Option<&str>,
    mut score: impl FnMut(usize, Target, Option<&'static str>) -> Result<Score, Unavailable>,
) -> Evidence {
    let Content { segments, unscorable, echoes } = content;
    let digests: Vec<_> = segments.iter().map(|segment| digest(&segment.text)).collect();
    let findings = search(&Memo::default(), &ask.detectors, &segments, &digests);
    let passage = |Question { target, segments, pieces, text, .. }: Question<'_>| {
        let Spoken { first: language, others } = Spoken::of(&text);
        let verdict = |&guard: &usize| {
            let score = score(guard, target, language);
            Verdict { guard, by: Which::First, score, spots: None }
        };
        let verdicts = ask.guards.iter().map(verdict).collect();
        Passage { target, segments, pieces, language, others, verdicts }
    };
    let passages = questions(&segments, &digests, prompt).into_iter().map(passage).collect();
    Evidence { direction, segments, findings, passages, unscorable, echoes, cached: None, scoring: Scoring::default() }
}
