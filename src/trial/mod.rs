//! Policies tried: what they make of a text or a whole exchange, with no client and no LLM. It goes the way of a real exchange:
//! the same decoding, detectors, passages and decision; only the scores may be given.

mod diff;
mod explained;
mod facts;
mod file;
mod scores;
mod test;

use std::sync::Arc;

use http::{Method, Uri};

pub use self::{
    explained::{Changed, Explanation, Found, Judged, Scored, Side},
    facts::Facts,
    file::{Expect, Message, Role, Test, Tests, Word, schema},
    scores::{Fails, Given, Guards, Scores},
    test::{Failure, language, run},
};
use crate::{
    dialect::{self, DIALECTS, Dialect},
    guard::Unavailable,
    policy::{Action, Decision, Placeholders, Policies, Refused, Selected},
    scan::{self, Evidence, Scanner, known},
    segment::{Content, Direction, Edit, Segment, Target, apply, last_prompt},
    wire::json::{Document, Malformed},
};

/// What policies are tried on.
pub struct Subject {
    facts: Facts,
    dialect: &'static dyn Dialect,
    request: Body,
    answer: Option<Body>,
}

/// Text, and the body that it stands in, if it is in one.
struct Body {
    content: Content,
    document: Option<Document>,
}

/// Where scores come from.
#[derive(Debug, Clone, Copy)]
pub enum Judge<'j> {
    /// The guards are asked.
    Asked(&'j Scanner),
    /// They are given.
    Given(&'j Scores, &'j Guards),
}

/// What came of it.
#[derive(Debug)]
pub struct Tried {
    /// The policies that were asked.
    pub selected: Selected,
    /// What was made of the request.
    pub request: Step,
    /// What was made of the answer, or would be if the request were not refused.
    pub answer: Option<Step>,
}

/// What was made of one side of an exchange.
#[derive(Debug)]
pub struct Step {
    /// What was learned about its text.
    pub evidence: Evidence,
    /// What was decided.
    pub decision: Decision,
    /// What is changed, by segment: what the rules change, and values put back where placeholders stood.
    pub edits: Vec<(usize, Vec<Edit>)>,
    /// The body that goes on, if there is one and it does.
    pub body: Option<String>,
}

impl Subject {
    /// Texts: what is said in turn, and an answer to it.
    ///
    /// # Errors
    /// Facts that name an unknown API.
    pub fn texts(facts: Facts, said: Vec<(Target, String)>, answer: Option<String>) -> Result<Self, String> {
        let dialect = facts.dialect()?;
        let body = |texts: Vec<(Target, String)>| {
            let segment = |(passage, (target, text))| Segment { target, passage, text, place: None };
            let segments = texts.into_iter().enumerate().map(segment).collect();
            Body { content: Content { segments, ..Content::default() }, document: None }
        };
        let answer = answer.map(|text| body(vec![(Target::Completion, text)]));
        Ok(Self { facts, dialect, request: body(said), answer })
    }

    /// A request as a client sends it to a path, and the upstream's answer.
    ///
    /// # Errors
    /// A path of no API, or a body that is not the API's.
    pub fn exchange(mut facts: Facts, path: &str, request: &str, answer: Option<&str>) -> Result<Self, String> {
        let uri: Uri = path.parse().map_err(|e| format!("path: {e}"))?;
        let of = DIALECTS.iter().find(|dialect| dialect.matches(&Method::POST, uri.path()));
        let dialect = *of.ok_or_else(|| format!("path: there is no chat API at `{path}`"))?;
        let document = Document::read(request.as_bytes()).map_err(|e| format!("request: {e}"))?;
        let read = dialect.request(&uri, &document).map_err(|e| format!("request: {e}"))?;
        if !read.model.is_empty() {
            facts.model = read.model;
        }
        facts.stream |= read.stream.is_some();
        let answered = |text: &str| -> Result<Body, Malformed> {
            let document = Document::read(text.as_bytes())?;
            Ok(Body { content: dialect.response(&document)?, document: Some(document) })
        };
        let answer = answer.map(answered).transpose().map_err(|e| format!("answer: {e}"))?;
        Ok(Self { facts, dialect, request: Body { content: read.content, document: Some(document) }, answer })
    }

    /// Tries policies on it; `language` is that of all its texts, in place of what they tell.
    ///
    /// # Errors
    /// A score that is needed and not given, or an edit that has no place to go.
    pub async fn put(
        self,
        policies: &Arc<Policies>,
        judge: Judge<'_>,
        language: Option<&'static str>,
    ) -> Result<Tried, String> {
        let prompt = last_prompt(&self.request.content.segments);
        let spoken = language.or_else(|| prompt.as_deref().and_then(scan::language));
        let selected = policies.select(self.facts.call(self.dialect.name(), spoken));
        let request =
            self.request.step(&selected, judge, (Direction::Request, None, &Placeholders::default()), language).await?;
        let answer = match self.answer {
            Some(answer) => {
                let given = (Direction::Response, prompt.as_deref(), &request.decision.placeholders);
                Some(answer.step(&selected, judge, given, language).await?)
            }
            None => None,
        };
        Ok(Tried { selected, request, answer })
    }
}

impl Body {
    async fn step(
        self,
        selected: &Selected,
        judge: Judge<'_>,
        (direction, prompt, placeholders): (Direction, Option<&str>, &Placeholders),
        language: Option<&'static str>,
    ) -> Result<Step, String> {
        let ask = selected.ask();
        let mut evidence = match judge {
            Judge::Asked(scanner) => scanner.evidence(ask, self.content, direction, prompt).await,
            Judge::Given(scores, guards) => {
                let mut missing = None;
                let evidence = known(ask, self.content, direction, prompt, |guard, target, own| {
                    let given = scores.score(guards, guard, target.task(), language.or(own));
                    given.unwrap_or_else(|why| {
                        missing = Some(why);
                        Err(Unavailable::Engine("no score is given".to_owned()))
                    })
                });
                missing.map_or(Ok(evidence), Err)?
            }
        };
        if language.is_some() {
            for passage in &mut evidence.passages {
                (passage.language, passage.others) = (language, Vec::new());
            }
        }
        let decision = selected.decide(&evidence);
        let edits = placeholders.put_back_in(&evidence.segments, &decision.edits);
        let body = match self.document.filter(|_| decision.refusal.is_none()) {
            Some(document) => {
                let made = match edits.as_slice() {
                    [] => Ok(Vec::new()),
                    edits => dialect::patches(&evidence.segments, &evidence.echoes, edits),
                };
                Some(made.and_then(|patches| document.splice(patches)).map_err(|e| e.to_string())?)
            }
            None => None,
        };
        Ok(Step { evidence, decision, edits, body })
    }
}

impl Tried {
    /// Whether any policy was asked.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        self.selected.names().next().is_some()
    }

    /// The sides that a real exchange would come to: without the answer where the request is refused.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let answer = self.answer.as_ref().filter(|_| self.request.decision.refusal.is_none());
        std::iter::once(&self.request).chain(answer)
    }

    /// The word for the decision on the whole exchange, as in headers and records.
    #[must_use]
    pub fn word(&self) -> &'static str {
        let strictest = self.steps().map(|step| &step.decision).max_by_key(|decision| decision.action);
        strictest.map_or("allow", Decision::word)
    }

    /// What the client reads instead, if the exchange is refused.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        self.steps().find_map(|step| step.decision.refusal.as_ref()).map(|refused| match refused {
            Refused::Blocked { message, .. } => message.clone(),
            Refused::Unjudged(unavailable) => unavailable.public(),
            Refused::Unscorable(kind) => format!("content of type `{kind}` cannot be judged"),
        })
    }
}

impl Step {
    /// Its texts as they go on; `None` if they do not.
    #[must_use]
    pub fn texts(&self) -> Option<Vec<Segment>> {
        if self.decision.action == Action::Block {
            return None;
        }
        let mut segments = self.evidence.segments.clone();
        for (at, edits) in &self.edits {
            if let Some(segment) = segments.get_mut(*at) {
                segment.text = apply(&segment.text, edits);
            }
        }
        Some(segments)
    }
}
