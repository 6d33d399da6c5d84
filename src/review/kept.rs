//! What a case keeps of the evidence that its decision rests on, so that other policies can be asked of it later.
//!
//! It is bounded by what was judged: of a stream only the checks that mattered. Claims of tokens are not kept, nor are
//! credentials.

use std::{collections::BTreeMap, ops::Range};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Care, text::Moves};
use crate::{
    identity::Method,
    policy::Call,
    scan::{self, Scanner},
    segment::{Direction, Target},
};

/// Headers whose values are never kept, whatever a policy names.
const CREDENTIALS: [&str; 7] =
    ["authorization", "proxy-authorization", "cookie", "seawall-key", "x-api-key", "api-key", "x-goog-api-key"];

/// What policies could ask of the call. Dialect, model and stream are the case's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The headers that policies name, kept as texts are; without a value where it is a credential, or where a policy reads
    /// all headers, whatever they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The exchange's random number, by which rules that ask a share of exchanges choose.
    pub draw: u64,
}

/// What was learned about the texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judge {
    /// Its name in the settings.
    pub name: String,
    /// What it was then; the two of a cascade are two.
    pub identity: String,
}

/// A text that was judged as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Which of [`Kept::guards`].
    pub guard: usize,
    /// What it said.
    #[serde(flatten)]
    pub said: Said,
    /// The stretches that it judged by themselves, at most 256 of them, the worst, by text and place. None if it judged all at
    /// once, and of texts of which only a hash is kept; older cases have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
}

/// A stretch of a text that a guard judged by itself, in bytes of the text as it is kept. It overlaps with the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// The text, by its place in the case's request or response. A stretch that goes over from one text to the next is told of
    /// both.
    pub text: usize,
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// P(unsafe). None of a text has to reach the score of all of it: that is the highest over its forms too, hiding undone.
    pub score: f32,
}

/// What a guard said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Piece {
    /// The detectors that had found something there.
    pub found: Vec<String>,
    /// It saw all of the text.
    pub all: bool,
}

/// Content that no text guard can judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unscorable {
    /// Which way it travelled.
    pub direction: Direction,
    /// What it was, such as `image_url`.
    pub kind: String,
}

impl Facts {
    /// The facts of a call. `named` says that its headers are those that policies name, and not all.
    #[must_use]
    pub fn of(call: &Call, named: bool, care: Care<'_>) -> Self {
        let value = |name: &str, value: &str| {
            if !named || CREDENTIALS.contains(&name) {
                return String::new();
            }
            care.words(value)
        };
        Self {
            models: call.others.iter().map(|model| care.words(model)).collect(),
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
    /// Adds what `scanner` made of a text, which is made of these texts of the case's request or response; `moves` are those of
    /// all of the request's or the response's texts.
    pub fn add(
        &mut self,
        scanner: &Scanner,
        passage: &scan::Passage,
        (direction, texts, moves): (Direction, Vec<usize>, &[Moves]),
        piece: Option<Piece>,
    ) {
        let window = |scan::Placed { segment, range, score }: scan::Placed| {
            let at = passage.segments.iter().position(|own| *own == segment)?;
            let text = *texts.get(at)?;
            let Range { start, end } = moves.get(text)?.of(&range)?;
            Some(Window { text, start, end, score })
        };
        let verdicts = passage.verdicts.iter().map(|verdict| {
            let name = scanner.guard_names().nth(verdict.guard).unwrap_or_default();
            let said = match &verdict.score {
                Ok(score) => Said::Score { score: score.value, threshold: score.threshold },
                Err(unavailable) => Said::Failed { failed: unavailable.public() },
            };
            let windows = passage.windows(verdict).into_iter().filter_map(window).collect();
            Verdict { guard: self.judge(name, scanner.identity(verdict.guard, verdict.by)), said, windows }
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
    use crate::{config::Content, scan::detect::Detectors};

    #[test]
    fn verdicts_of_older_cases_are_read() {
        let older = r#"{"guard": 0, "score": 0.5, "threshold": 0.7}"#;
        let read: Verdict = serde_json::from_str(older).unwrap();
        assert_eq!(read, Verdict { guard: 0, said: Said::Score { score: 0.5, threshold: 0.7 }, windows: vec![] });
        let window = Window { text: 0, start: 2, end: 9, score: 0.5 };
        let newer = Verdict { windows: vec![window], ..read };
        assert_eq!(serde_json::from_value::<Verdict>(serde_json::to_value(&newer).unwrap()).unwrap(), newer);
    }

    #[test]
    fn credentials_are_not_kept() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = [header("authorization", "Bearer x"), header("x-team", "a@b.co"), header("x-app", "web")];
        let call = Call { headers: headers.into(), draw: 7, ..Call::default() };
        let detectors = Detectors::default();
        let values = |named, content| {
            let facts = Facts::of(&call, named, Care { content, detectors: &detectors });
            facts.headers.into_values().collect::<Vec<_>>()
        };
        assert_eq!(values(true, Content::Redacted), ["", "web", "[email]"]);
        assert_eq!(values(true, Content::Full), ["", "web", "a@b.co"]);
        assert_eq!(values(false, Content::Full), ["", "", ""]);
    }
}
