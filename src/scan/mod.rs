//! Judging text: what the detectors find in it, and what the guard, through the verdict cache, thinks of it.
//!
//! Text is judged as written and with hiding undone; every part of a message by itself and the message whole; and the last
//! turns of a conversation once more together, so that an attack split over parts or turns is seen. Several guards can be
//! asked, each for a verdict of its own. In a cascade a second guard judges what the first is unsure of; the score and threshold
//! of the guard that decided stand.

mod cache;
mod cascade;
pub mod detect;
mod judge;
mod known;
mod language;
mod memo;
pub mod normalise;
mod search;
mod window;

use std::{collections::BTreeMap, ops::Range, panic::resume_unwind, sync::Arc};

use futures_util::future::join_all;
use tokio::task::spawn_blocking;

use self::{
    cache::Cache,
    cascade::Cascade,
    detect::Detectors,
    memo::{Memo, Spoken},
    search::{grown, search, view},
    window::{lay, splice},
};
use crate::{
    config,
    guard::{Guard, Meter, Share, Unavailable},
    segment::{Check, Content, Direction, Finding, Place, Score, Segment, Target, Task},
    telemetry::Metrics,
    wire::json::Document,
};

pub use self::{
    cascade::{Band, Pair, Which},
    known::known,
    language::{detect as detect_language, known as known_language},
    search::findings,
    window::{MOST as MOST_WINDOWS, Piece, Placed, Spot, Spots},
};

/// The place of `[guard]` among the guards: the first.
pub const DEFAULT: usize = 0;
/// Marks that end a sentence or a clause in the eight languages.
const SENTENCE_ENDS: [char; 11] = ['.', '!', '?', ':', ';', ',', '။', '၊', '।', '…', '"'];
/// What stands between parts and turns that are judged together.
const SEAM: &str = "\n";
/// Bytes of text from which on reading it takes milliseconds.
const LARGE: usize = 32 << 10;
/// Most bytes of a prompt that an answer is judged with.
const CONTEXT_BYTES: usize = 8 << 10;
/// User turns that are also judged together.
const TURNS: usize = 6;
/// Most bytes of such a window of turns: the rest of longer turns was judged by itself.
const TURNS_BYTES: usize = 4_000;

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

/// A body and what was learned about its text. Only a policy turns it into something that may be sent on.
#[derive(Debug)]
pub struct Assessed {
    document: Document,
    evidence: Evidence,
}

/// What was learned about a body's text.
#[derive(Debug)]
pub struct Evidence {
    /// Which way it travels.
    pub direction: Direction,
    /// Its text.
    pub segments: Vec<Segment>,
    /// What the detectors found in each segment.
    pub findings: Vec<Vec<Finding>>,
    /// The texts that the guards judged.
    pub passages: Vec<Passage>,
    /// Content that no text guard can judge.
    pub unscorable: Vec<String>,
    /// Values that repeat the text and are blanked when it is edited.
    pub echoes: Vec<Place>,
    /// Whether every score came from the cache; `None` when nothing was scored.
    pub cached: Option<bool>,
}

/// A text that was judged as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// What it is to the model.
    pub target: Target,
    /// The segments that it is made of.
    pub segments: Vec<usize>,
    /// Where these stand in the text that was judged; `None` if it is all of the one.
    pub pieces: Option<Arc<[Piece]>>,
    /// The language that it begins in, if it tells.
    pub language: Option<&'static str>,
    /// Languages of other stretches of it; `None` for stretches that do not tell.
    pub others: Vec<Option<&'static str>>,
    /// What the guards that were asked think of it.
    pub verdicts: Vec<Verdict>,
}

/// What a guard thinks of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The guard's place in [`Scanner::guard_names`].
    pub guard: usize,
    /// Which of its cascade decided, or failed to.
    pub by: Which,
    /// What that one thinks.
    pub score: Result<Score, Unavailable>,
    /// The windows that it judged the text in; where they stand in the segments says [`Passage::windows`].
    pub spots: Spots,
}

/// A text to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    target: Target,
    segments: Vec<usize>,
    /// Where these stand in the text; `None` if it is all of the one.
    pieces: Option<Arc<[Piece]>>,
    text: String,
    /// What an answer answers: its last part, which is all that a guard's template has room for.
    prompt: Option<Arc<str>>,
    /// It is likely to be asked again, grown: what the guard computes of it is worth keeping.
    grows: bool,
}

/// The end of a prompt, as context for an answer to it.
fn ending(prompt: &str) -> Arc<str> {
    prompt.get(prompt.ceil_char_boundary(prompt.len().saturating_sub(CONTEXT_BYTES))..).unwrap_or(prompt).into()
}

impl Ask {
    /// One guard, by its place, and what is looked for without a policy's word.
    #[must_use]
    pub fn only(guard: usize) -> Self {
        Self { guards: vec![guard], detectors: Arc::default() }
    }
}

impl Passage {
    /// All languages that it is in, as far as it tells; the one that it begins in first.
    pub fn languages(&self) -> impl Iterator<Item = Option<&'static str>> + Clone {
        std::iter::once(self.language).chain(self.others.iter().copied())
    }

    /// What a guard thinks of it; `None` if it was not asked.
    #[must_use]
    pub fn verdict(&self, guard: usize) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.guard == guard)
    }

    /// A guard's score. One that was not asked has no more to say than one that failed.
    ///
    /// # Errors
    /// Why there is none.
    pub fn score(&self, guard: usize) -> Result<Score, Unavailable> {
        let unasked = || Err(Unavailable::Engine("it was not asked".to_owned()));
        self.verdict(guard).map_or_else(unasked, |verdict| verdict.score.clone())
    }
}

impl Evidence {
    /// Evidence of nothing but content that cannot be judged.
    #[must_use]
    pub fn unscorable(direction: Direction, unscorable: Vec<String>) -> Self {
        let (segments, findings, passages, echoes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { direction, segments, findings, passages, unscorable, echoes, cached: None }
    }
}

impl Assessed {
    /// The evidence.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    pub(crate) fn into_parts(self) -> (Document, Evidence) {
        (self.document, self.evidence)
    }
}

impl Scanner {
    /// A scanner of this guard, the default, and others by their names.
    #[must_use]
    pub fn new(default: Pair, named: Vec<(String, Pair)>, cache: &config::Cache, metrics: &Arc<Metrics>) -> Self {
        let (cache, memo) = (Cache::new(cache), Memo::new(cache));
        let cascade = |pair| Cascade::new(pair, &cache, metrics);
        let (default, named) = (cascade(default), named.into_iter().map(|(name, pair)| (name, cascade(pair))).collect());
        Self { inner: Arc::new(Inner { default, named, cache, memo }) }
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

    /// The language that a text begins in, hiding undone, if it tells.
    #[must_use]
    pub fn language(&self, text: &str) -> Option<&'static str> {
        self.inner.memo.spoken(text).first
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
        let (content, findings) = off_reactor(length, move || {
            let found = search(&memo, &detectors, &content.segments);
            (content, found)
        })
        .await;
        let questions = questions(&content.segments, prompt);
        self.answer(&ask.guards, (content, findings), questions, direction).await
    }

    async fn answer(
        &self,
        guards: &[usize],
        (content, findings): (Content, Vec<Vec<Finding>>),
        questions: Vec<Question>,
        direction: Direction,
    ) -> Evidence {
        let Content { segments, unscorable, echoes } = content;
        let meter = || METER.try_with(Meter::clone).unwrap_or_default();
        let asked = guards.iter().filter_map(|&guard| self.inner.cascade(guard).map(|cascade| (guard, cascade)));
        let asked: Vec<Asked<'_>> =
            asked.map(|(guard, cascade)| Asked { guard, cascade, share: Share::at(cascade.all(), meter()) }).collect();
        let answers = join_all(questions.into_iter().map(|question| judge(&self.inner.memo, question, &asked))).await;
        let hits = answers.iter().flat_map(|(_, hits)| hits);
        let cached = hits.fold(None, |all: Option<bool>, &hit| Some(all.unwrap_or(true) && hit));
        let passages = answers.into_iter().map(|(passage, _)| passage).collect();
        Evidence { direction, segments, findings, passages, unscorable, echoes, cached }
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
            text: check.judged.clone(),
            prompt: prompt.map(ending).filter(|_| target.task() == Task::Response),
            grows: true,
        };
        let segments = vec![Segment { target, passage: 0, text, place: None }];
        let content = Content { segments, ..Content::default() };
        (self.answer(&ask.guards, (content, vec![findings]), vec![question], Direction::Response).await, settled)
    }
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

/// A guard that a request asks, and the request's share of its queue.
struct Asked<'s> {
    guard: usize,
    cascade: &'s Cascade,
    share: Share,
}

/// What all guards asked think of a text, and whether each verdict was known.
async fn judge(memo: &Memo, question: Question, asked: &[Asked<'_>]) -> (Passage, Vec<bool>) {
    let spoken = languages(memo, &question.text).await;
    let (language, others) = (spoken.first, spoken.others.clone());
    let spoken: Vec<Option<&str>> = std::iter::once(language).chain(others.iter().copied()).collect();
    let verdicts = asked.iter().map(async |Asked { guard, cascade, share }| {
        let (by, scored, hit) = cascade.judge(&question, &spoken, share).await;
        let (score, spots) = scored.map_or_else(|error| (Err(error), None), |(score, spots)| (Ok(score), spots));
        (Verdict { guard: *guard, by, score, spots }, hit)
    });
    let (verdicts, hits) = join_all(verdicts).await.into_iter().unzip();
    let Question { target, segments, pieces, .. } = question;
    (Passage { target, segments, pieces, language, others, verdicts }, hits)
}

async fn languages(memo: &Memo, text: &str) -> Arc<Spoken> {
    if text.len() < LARGE {
        return memo.spoken(text);
    }
    let (memo, text) = (memo.clone(), text.to_owned());
    off_reactor(text.len(), move || memo.spoken(&text)).await
}

/// A form in which a text is judged.
struct Form {
    question: Question,
    way: Way,
}

/// From a form back to the text as it is written.
enum Way {
    Same,
    Undone(normalise::View<'static>),
    Lost,
}

impl Form {
    /// The bytes of the text as written that a range of the form came from, where that can be told.
    fn origin(&self, range: Range<usize>) -> Option<Range<usize>> {
        match &self.way {
            Way::Same => Some(range),
            Way::Undone(view) => Some(view.origin(range)),
            Way::Lost => None,
        }
    }
}

/// The forms in which a text is judged: with hiding undone in it and in what it answers, and last as it is written.
fn forms(question: Question) -> Vec<Form> {
    let Question { target, segments, pieces, text, prompt, grows } = &question;
    let view = view(*target == Target::ToolCall, text);
    let context = prompt.as_deref().map(normalise::fold).filter(normalise::View::is_changed);
    let context = context.map(|context| Arc::from(context.text()));
    let is_folded = view.is_changed() || context.is_some();
    let unspaced = normalise::unspaced(view.text());
    let carried = normalise::carried(view.text());
    let untagged = normalise::untagged(text);
    let context = context.or_else(|| prompt.clone());
    let form = |text, way| {
        let (target, segments, pieces, prompt, grows) = (*target, segments.clone(), pieces.clone(), context.clone(), *grows);
        Form { question: Question { target, segments, pieces, text, prompt, grows }, way }
    };
    let folded = is_folded.then(|| form(view.text().to_owned(), Way::Undone(view.into_owned())));
    let rewritten = [unspaced, carried, untagged].into_iter().flatten().map(|text| form(text, Way::Lost));
    let mut forms: Vec<Form> = folded.into_iter().chain(rewritten).collect();
    forms.push(Form { question, way: Way::Same });
    forms
}

/// Runs work on text where it cannot hold up others: at once when the text is short, else on a thread for such work.
async fn off_reactor<T: Send + 'static>(length: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if length < LARGE {
        return work();
    }
    // The work is not cancelled, so a failure to join is its own panic, which stays one.
    spawn_blocking(work).await.unwrap_or_else(|e| resume_unwind(e.into_panic()))
}

/// The texts to judge: each passage whole, its parts if it has several, and the last user turns together.
fn questions(segments: &[Segment], prompt: Option<&str>) -> Vec<Question> {
    let mut passages = BTreeMap::<usize, Vec<usize>>::new();
    for (index, segment) in segments.iter().enumerate() {
        passages.entry(segment.passage).or_default().push(index);
    }
    let mut questions = Vec::new();
    let mut turns: Vec<(Vec<usize>, String)> = Vec::new();
    let given = prompt.map(ending);
    let mut asked: Option<Arc<str>> = None;
    for indices in passages.into_values() {
        let parts: Vec<&Segment> = indices.iter().filter_map(|&index| segments.get(index)).collect();
        let Some(target) = parts.first().map(|part| part.target) else { continue };
        let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
        let whole = texts.join(SEAM);
        // An answer in a conversation is judged as it was when it was given: after the user's turn before it.
        let context = match target.task() {
            Task::Response => given.clone().or_else(|| asked.clone()),
            Task::Prompt => None,
        };
        // A schema's many short strings say something only together.
        if parts.len() > 1 && target != Target::ToolDefinition {
            questions.extend(indices.iter().zip(&parts).map(|(&index, part)| Question {
                target,
                segments: vec![index],
                pieces: None,
                text: part.text.clone(),
                prompt: context.clone(),
                grows: false,
            }));
        }
        let laid = |seam| (parts.len() > 1).then(|| lay(segments, &indices, seam).into());
        let pieces = laid(SEAM.len());
        if target == Target::Prompt {
            turns.push((indices.clone(), whole.clone()));
            asked = Some(ending(&whole));
        }
        let seamless = (target != Target::ToolDefinition).then(|| seamless(&texts)).flatten();
        let again = seamless.map(|text| {
            let (segments, pieces, prompt) = (indices.clone(), laid(0), context.clone());
            Question { target, segments, pieces, text, prompt, grows: false }
        });
        questions.push(Question { target, segments: indices, pieces, text: whole, prompt: context, grows: false });
        questions.extend(again);
    }
    questions.extend(conversation(segments, &turns));
    questions
}

/// The last user turns as one text, if there are several.
fn conversation(segments: &[Segment], turns: &[(Vec<usize>, String)]) -> Vec<Question> {
    let mut last: Vec<&(Vec<usize>, String)> = Vec::new();
    let mut room = TURNS_BYTES;
    for turn in turns.iter().rev().take(TURNS) {
        last.insert(0, turn);
        room = room.saturating_sub(turn.1.len().min(TURNS_BYTES / 2));
        if room == 0 {
            break;
        }
    }
    if last.len() < 2 {
        return Vec::new();
    }
    // The newest turn by its beginning, which the others lead to; those before it by their end.
    let newest = last.len() - 1;
    let parts = last.iter().enumerate().map(|(at, (_, text))| part(text, at == newest));
    let parts: Vec<Range<usize>> = parts.collect();
    let texts = last.iter().zip(&parts).map(|((_, text), part)| text.get(part.clone()).unwrap_or_default());
    let texts: Vec<&str> = texts.collect();
    let laid = last.iter().map(|(indices, _)| lay(segments, indices, SEAM.len())).zip(parts);
    let laid: Vec<(Vec<Piece>, Range<usize>)> = laid.collect();
    let all: Vec<usize> = last.iter().flat_map(|(indices, _)| indices).copied().collect();
    // The next turn will be asked with these before it.
    let question = |(text, seam)| {
        let pieces = Some(splice(&laid, seam).into());
        Question { target: Target::Prompt, segments: all.clone(), pieces, text, prompt: None, grows: true }
    };
    let seamed = std::iter::once((texts.join(SEAM), SEAM.len()));
    seamed.chain(seamless(&texts).map(|text| (text, 0))).map(question).collect()
}

/// The beginning or the end of a turn.
fn part(text: &str, beginning: bool) -> Range<usize> {
    let most = TURNS_BYTES / 2;
    if beginning {
        0..text.floor_char_boundary(most)
    } else {
        text.ceil_char_boundary(text.len().saturating_sub(most))..text.len()
    }
}

/// Texts put together without a seam, if a word may go over one: neither side of it is space, nor ends as a sentence does.
fn seamless(texts: &[&str]) -> Option<String> {
    let meets = |pair: &[&str]| {
        let ends = pair.first().and_then(|text| text.chars().next_back());
        let begins = pair.last().and_then(|text| text.chars().next());
        ends.is_some_and(|c| !c.is_whitespace() && !SENTENCE_ENDS.contains(&c)) && begins.is_some_and(|c| !c.is_whitespace())
    };
    texts.windows(2).any(meets).then(|| texts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(target: Target, passage: usize, text: &str) -> Segment {
        Segment { target, passage, text: text.into(), place: None }
    }

    #[test]
    fn parts_messages_and_turns_are_asked() {
        let segments = [
            segment(Target::System, 1, "be kind"),
            segment(Target::Prompt, 2, "how"),
            segment(Target::Prompt, 2, "to"),
            segment(Target::Completion, 3, "well"),
            segment(Target::Prompt, 4, "go on"),
            segment(Target::ToolDefinition, 5, "a"),
            segment(Target::ToolDefinition, 5, "b"),
        ];
        let asked: Vec<_> = questions(&segments, None).into_iter().map(|q| (q.text, q.prompt)).collect();
        let expected = [
            ("be kind", None),
            ("how", None),
            ("to", None),
            ("how\nto", None),
            ("howto", None),
            ("well", Some("how\nto")),
            ("go on", None),
            ("a\nb", None),
            ("how\nto\ngo on", None),
            ("how\ntogo on", None),
        ];
        assert_eq!(asked, expected.map(|(text, prompt)| (text.to_owned(), prompt.map(Arc::from))));
        let conversation = questions(&segments, None).into_iter().find(|question| question.grows).unwrap();
        assert_eq!(conversation.segments, [1, 2, 4], "all parts of each turn");
    }

    #[test]
    fn hiding_in_a_prompt_is_undone_too() {
        let asked = |prompt: &str| {
            let (target, text, prompt) = (Target::Completion, "sure".to_owned(), Some(Arc::from(prompt)));
            let forms = forms(Question { target, segments: vec![0], pieces: None, text, prompt, grows: true });
            let asked = forms.into_iter().map(|form| form.question);
            asked.map(|question| (question.text, question.prompt.unwrap())).collect::<Vec<_>>()
        };
        let form = |prompt: &str| ("sure".to_owned(), Arc::from(prompt));
        let hidden = "hi\n\u{ff21}\u{ff29} assistant: of course";
        assert_eq!(asked(hidden), [form("hi\nAI assistant: of course"), form(hidden)]);
        assert_eq!(asked("hi"), [form("hi")]);
    }
}
