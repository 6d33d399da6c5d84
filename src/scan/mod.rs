//! Judging text: what the detectors find in it, and what the guard, through the verdict cache, thinks of it.
//!
//! Text is judged as written and with hiding undone; every part of a message by itself and the message whole; and the last
//! turns of a conversation once more together, so that an attack split over parts or turns is seen. Several guards can be
//! asked, each for a verdict of its own. In a cascade a second guard judges what the first is unsure of; the score and threshold
//! of the guard that decided stand.

mod cache;
mod cascade;
pub mod detect;
mod evidence;
mod judge;
mod known;
mod language;
mod memo;
pub mod normalise;
mod question;
mod search;
mod shared;
mod window;

use std::{borrow::Cow, panic::resume_unwind, sync::Arc};

use futures_util::future::join_all;

use self::{
    cache::{Cache, Digest, digest},
    cascade::{Cascade, Shares},
    detect::Detectors,
    memo::{Memo, Spoken},
    question::{Context, Question, questions},
    search::{grown, search},
};
use crate::{
    aside, config,
    guard::{Guard, Meter, Scoring},
    segment::{Check, Content, Direction, Segment, Target, Task},
    telemetry::Metrics,
    wire::json::Document,
};

pub use self::{
    cascade::{Band, Pair, Which},
    evidence::{Assessed, Evidence, Passage, Verdict},
    known::known,
    language::{detect as detect_language, known as known_language},
    search::findings,
    shared::Shared,
    window::{MOST as MOST_WINDOWS, Piece, Placed, Spot, Spots},
};

/// The place of `[guard]` among the guards: the first.
pub const DEFAULT: usize = 0;

tokio::task_local! {
    /// Counts what guards read for the exchange that the task works on. No verdict rests on it, so it goes with the task and not
    /// through every call; work that outlives its asker, since others wait for it too, is still counted for the asker.
    pub static METER: Meter;
}

/// Judges text. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scanner {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    default: Cascade,
    named: Vec<(String, Cascade)>,
    cache: Cache,
    shared: Option<Shared>,
    memo: Memo,
}

/// What is wanted of a scan.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The guards that judge, by their place in [`Scanner::guard_names`], each named once. The others do no work; a place where
    /// no guard is gives no verdict.
    pub guards: Vec<usize>,
    /// What is looked for.
    pub detectors: Arc<Detectors>,
}

impl Ask {
    /// One guard, by its place, and what is looked for without a policy's word.
    #[must_use]
    pub fn only(guard: usize) -> Self {
        Self { guards: vec![guard], detectors: Arc::default() }
    }
}

impl Scanner {
    /// A scanner of this guard, the default, and others by their names. What it does not know it asks `shared`, if there is one.
    #[must_use]
    pub fn new(
        default: Pair,
        named: Vec<(String, Pair)>,
        (cache, shared): (&config::Cache, Option<Shared>),
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (cache, memo) = (Cache::new(cache), Memo::new(cache));
        let cascade = |pair| Cascade::new(pair, &cache, shared.as_ref(), metrics);
        let (default, named) = (cascade(default), named.into_iter().map(|(name, pair)| (name, cascade(pair))).collect());
        Self { inner: Arc::new(Inner { default, named, cache, shared, memo }) }
    }

    /// The default guard, or the first of its cascade.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        self.inner.default.first()
    }

    /// The guards in order: name, guard, and the second of its cascade if there is one.
    pub fn guards(&self) -> impl Iterator<Item = (&str, &Guard, Option<&Guard>)> {
        self.inner.cascades().map(|(name, cascade)| (name, cascade.first(), cascade.second()))
    }

    /// Has the guards take no more texts, and waits until nothing of them runs.
    pub async fn close(&self) {
        for guard in self.inner.cascades().flat_map(|(_, cascade)| cascade.all()) {
            guard.close().await;
        }
    }

    /// The guards' names in order; the place of each stands for it in an [`Ask`] and a [`Verdict`].
    pub fn guard_names(&self) -> impl Iterator<Item = &str> {
        self.inner.cascades().map(|(name, _)| name)
    }

    /// The identity of a guard of the cascade at this place; empty if there is none.
    #[must_use]
    pub fn identity(&self, guard: usize, which: Which) -> &str {
        self.inner.cascade(guard).map_or("", |cascade| cascade.get(which).identity())
    }

    /// Whether any of the guards asked is to read an answer from its beginning each time that it has grown.
    #[must_use]
    pub fn reads_whole_answers(&self, ask: &Ask) -> bool {
        let mut guards = ask.guards.iter().filter_map(|&guard| self.inner.cascade(guard)).flat_map(Cascade::all);
        guards.any(Guard::reads_whole_answers)
    }

    /// Verdicts in the cache.
    #[must_use]
    pub fn cached_verdicts(&self) -> u64 {
        self.inner.cache.entries()
    }

    /// The cache that it shares with other nodes.
    #[must_use]
    pub fn shared(&self) -> Option<&Shared> {
        self.inner.shared.as_ref()
    }

    /// The language that a text begins in, hiding undone, if it tells.
    #[must_use]
    pub fn language(&self, text: &str) -> Option<&'static str> {
        self.inner.memo.spoken(text, digest(text)).first
    }

    /// Judges all text of a body, which is read already. `prompt` is what an answer answers.
    pub async fn assess(
        &self,
        ask: &Ask,
        (document, content): (Document, Content),
        direction: Direction,
        prompt: Option<&str>,
    ) -> Assessed {
        let evidence = self.evidence(ask, content, direction, prompt).await;
        Assessed { document, evidence }
    }

    /// Judges all text of some content.
    pub async fn evidence(&self, ask: &Ask, content: Content, direction: Direction, prompt: Option<&str>) -> Evidence {
        let length = content.segments.iter().map(|segment| segment.text.len()).sum();
        let (memo, detectors) = (self.inner.memo.clone(), Arc::clone(&ask.detectors));
        let (content, digests, findings) = off_reactor(length, move || {
            let digests: Vec<Digest> = content.segments.iter().map(|segment| digest(&segment.text)).collect();
            let found = search(&memo, &detectors, &content.segments, &digests);
            (content, digests, found)
        })
        .await;
        let (passages, cached, scoring) =
            self.answer(&ask.guards, questions(&content.segments, &digests, prompt), direction).await;
        let Content { segments, unscorable, echoes } = content;
        Evidence { direction, segments, findings, passages, unscorable, echoes, cached, scoring }
    }

    /// What the guards asked think of each text, whether they were known to, and what they scored.
    async fn answer(
        &self,
        guards: &[usize],
        questions: Vec<Question<'_>>,
        direction: Direction,
    ) -> (Vec<Passage>, Option<bool>, Scoring) {
        let meter = METER.try_with(Meter::clone).unwrap_or_default();
        let asked = guards.iter().filter_map(|&guard| self.inner.cascade(guard).map(|cascade| (guard, cascade)));
        let asked: Vec<Asked<'_>> =
            asked.map(|(guard, cascade)| Asked { guard, cascade, shares: cascade.shares(direction, &meter) }).collect();
        let answers = judged(&self.inner.memo, questions, &asked).await;
        let cached = answers.iter().filter_map(|(_, known)| *known).reduce(|all, known| all && known);
        let scoring = asked.iter().map(|asked| asked.shares.scoring()).fold(Scoring::default(), Scoring::and);
        (answers.into_iter().map(|(passage, _)| passage).collect(), cached, scoring)
    }

    /// Judges what a stream has brought, and tells up to which byte of the check's text the findings are final.
    pub async fn stream(&self, ask: &Ask, check: &Check, prompt: Option<&str>) -> (Evidence, usize) {
        let (target, text) = (check.channel.part.target(), check.text.clone());
        let (detectors, since, last) = (Arc::clone(&ask.detectors), check.settled, check.last);
        let json = check.json || target == Target::ToolCall;
        let (text, findings, settled) = off_reactor(text.len(), move || {
            let (found, settled) = grown(&detectors, json, &text, since);
            let settled = if last { text.len() } else { settled };
            (text, found, settled)
        })
        .await;
        let question = Question {
            target,
            segments: vec![0],
            // It ends where the text for detectors does.
            pieces: Some(Arc::new([Piece::of_stream(
                (check.from + check.text.len()).saturating_sub(check.judged.len()),
                check.judged.len(),
            )])),
            text: Cow::Borrowed(&check.judged),
            digest: digest(&check.judged),
            context: prompt.map(Context::of).filter(|_| target.task() == Task::Response),
            grows: true,
        };
        let segments = vec![Segment { target, passage: 0, text, place: None }];
        let direction = Direction::Response;
        let (passages, cached, scoring) = self.answer(&ask.guards, vec![question], direction).await;
        let (findings, unscorable, echoes) = (vec![findings], Vec::new(), Vec::new());
        (Evidence { direction, segments, findings, passages, unscorable, echoes, cached, scoring }, settled)
    }
}

/// The language that a text begins in, as a [`Scanner`] tells it.
#[must_use]
pub fn language(text: &str) -> Option<&'static str> {
    Spoken::of(text).first
}

impl Inner {
    fn cascade(&self, guard: usize) -> Option<&Cascade> {
        self.cascades().nth(guard).map(|(_, cascade)| cascade)
    }

    fn cascades(&self) -> impl Iterator<Item = (&str, &Cascade)> {
        let named = self.named.iter().map(|(name, cascade)| (name.as_str(), cascade));
        std::iter::once((config::DEFAULT_GUARD, &self.default)).chain(named)
    }
}

/// A guard that a request asks, or a cascade of two, and the request's share of their queues.
struct Asked<'s> {
    guard: usize,
    cascade: &'s Cascade,
    shares: Shares,
}

/// What all guards asked think of a text, and whether all verdicts were known, if there are any.
type Judged = (Passage, Option<bool>);

/// What all guards asked think of each text.
async fn judged(memo: &Memo, questions: Vec<Question<'_>>, asked: &[Asked<'_>]) -> Vec<Judged> {
    // Most texts are known, and need nobody to wait for.
    let mut all = Vec::with_capacity(questions.len());
    let mut new = Vec::new();
    for (place, question) in questions.into_iter().enumerate() {
        match recalled(memo, &question, asked) {
            Some((spoken, verdicts)) => {
                let is_known = (!asked.is_empty()).then_some(true);
                all.push((passage(question, &spoken, verdicts), is_known));
            }
            None => new.push(async move { (place, judge(memo, question, asked).await) }),
        }
    }
    // In their order, so that each finds those before it in their places.
    for (place, judged) in join_all(new).await {
        all.insert(place, judged);
    }
    all
}

/// The languages of a text, and what all guards asked think of it, if all of that is known.
fn recalled(memo: &Memo, question: &Question<'_>, asked: &[Asked<'_>]) -> Option<(Arc<Spoken>, Vec<Verdict>)> {
    let spoken = memo.known(question.digest)?;
    let mut verdicts = Vec::with_capacity(asked.len());
    for Asked { guard, cascade, .. } in asked {
        let (by, score, spots) = cascade.known(question, &spoken)?;
        verdicts.push(Verdict { guard: *guard, by, score: Ok(score), spots });
    }
    for (Asked { cascade, .. }, verdict) in asked.iter().zip(&verdicts) {
        cascade.count_known(verdict.by);
    }
    Some((spoken, verdicts))
}

/// The same of a text of which something is new.
async fn judge(memo: &Memo, question: Question<'_>, asked: &[Asked<'_>]) -> Judged {
    let spoken = languages(memo, &question.text, question.digest).await;
    let verdicts = asked.iter().map(async |Asked { guard, cascade, shares }| {
        let (by, scored, hit) = cascade.judge(&question, &spoken, shares).await;
        let (score, spots) = scored.map_or_else(|error| (Err(error), None), |(score, spots)| (Ok(score), spots));
        (Verdict { guard: *guard, by, score, spots }, hit)
    });
    let verdicts = join_all(verdicts).await;
    let is_known = verdicts.iter().map(|(_, hit)| *hit).reduce(|all, hit| all && hit);
    let verdicts = verdicts.into_iter().map(|(verdict, _)| verdict).collect();
    (passage(question, &spoken, verdicts), is_known)
}

fn passage(question: Question<'_>, spoken: &Spoken, verdicts: Vec<Verdict>) -> Passage {
    let Question { target, segments, pieces, .. } = question;
    Passage { target, segments, pieces, language: spoken.first, others: spoken.others.clone(), verdicts }
}

async fn languages(memo: &Memo, text: &str, digest: Digest) -> Arc<Spoken> {
    // A thread of its own would need a copy.
    if text.len() < aside::LONG {
        return memo.spoken(text, digest);
    }
    let (memo, text) = (memo.clone(), text.to_owned());
    off_reactor(text.len(), move || memo.spoken(&text, digest)).await
}

/// Runs work on text where it cannot hold up others: at once when the text is short, else on a thread for such work.
async fn off_reactor<T: Send + 'static>(length: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if length < aside::LONG {
        return work();
    }
    // The work is not cancelled, so a failure to join is its own panic, which stays one.
    aside::place(length).await.run(work).await.unwrap_or_else(|e| resume_unwind(e.into_panic()))
}
