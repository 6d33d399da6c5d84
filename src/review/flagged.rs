//! The texts of a case that are the reason why it was flagged.

use serde_json::Value;

use super::{Case, Passage, Said, Text};
use crate::segment::Direction;

/// A text that a guard judged, at which a rule matched.
#[derive(Debug, Clone, Copy)]
pub struct Flagged<'c> {
    /// What was judged.
    pub passage: &'c Passage,
    /// P(unsafe), for which the rule matched.
    pub score: f64,
}

impl Case {
    /// The texts that guards judged and for whose scores rules matched, each once.
    #[must_use]
    pub fn flagged(&self) -> Vec<Flagged<'_>> {
        let mut flagged: Vec<Flagged<'_>> = Vec::new();
        for reason in self.reasons.as_array().into_iter().flatten() {
            let Some(score) = reason.get("score").and_then(Value::as_f64) else { continue };
            let passages = self.evidence.iter().flat_map(|kept| &kept.passages);
            let nearest = passages
                .filter(|passage| is_of(reason, passage.direction, passage.target.name()))
                .filter_map(|passage| Some((passage, gap(passage, score)?)))
                .min_by(|(_, a), (_, b)| a.total_cmp(b));
            if let Some((passage, _)) = nearest
                && !flagged.iter().any(|own| own.passage.direction == passage.direction && own.passage.texts == passage.texts)
            {
                flagged.push(Flagged { passage, score });
            }
        }
        flagged
    }

    /// The texts that rules matched, so far as exceptions can be made of them: those that a guard's score flagged, or else all of
    /// the kind that a rule names.
    #[must_use]
    pub fn excepted(&self) -> Vec<&Text> {
        let flagged = self.flagged();
        if !flagged.is_empty() {
            return flagged.iter().flat_map(|own| self.texts_of(own.passage)).collect();
        }
        let reasons = || self.reasons.as_array().into_iter().flatten();
        let named = |direction, text: &Text| reasons().any(|reason| is_of(reason, direction, text.target.name()));
        let request = self.request.iter().filter(|text| named(Direction::Request, text));
        request.chain(self.response.iter().filter(|text| named(Direction::Response, text))).collect()
    }

    /// The texts that a passage is made of.
    pub fn texts_of(&self, passage: &Passage) -> impl Iterator<Item = &Text> {
        let texts = match passage.direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        };
        passage.texts.iter().filter_map(|at| texts.get(*at))
    }
}

fn is_of(reason: &Value, direction: Direction, target: &str) -> bool {
    let field = |name| reason.get(name).and_then(Value::as_str);
    field("direction") == Some(direction.name()) && field("target") == Some(target)
}

/// How far a passage's nearest score is from this one.
fn gap(passage: &Passage, sought: f64) -> Option<f64> {
    let gaps = passage.verdicts.iter().filter_map(|verdict| match verdict.said {
        Said::Score { score, .. } => Some((f64::from(score) - sought).abs()),
        Said::Failed { .. } => None,
    });
    gaps.min_by(f64::total_cmp)
}
