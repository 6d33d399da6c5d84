//! Judging text: what the detectors find in it, and what the guard, through the verdict cache, thinks of it.
//!
//! Text is judged as written and with hiding undone; every part of a message by itself and the message whole; and the last
//! turns of a conversation once more together, so that an attack split over parts or turns is seen. In a cascade a second
//! guard judges what the first is unsure of; the score and threshold of the guard that decided stand.

mod cache;
mod cascade;
pub mod detect;
mod language;
pub mod normalise;

use std::{collections::BTreeMap, panic::resume_unwind, sync::Arc};

use futures_util::{
    future::{join_all, ready},
    stream::{FuturesUnordered, TryStreamExt as _},
};
use tokio::task::spawn_blocking;

use self::{
    cache::{Cache, key, window_key},
    cascade::Guards,
};
use crate::{
    config,
    guard::{Guard, Meter, Share, Unavailable, Window},
    segment::{Check, Content, Direction, Finding, Place, Score, Segment, Target, Task},
    telemetry::Metrics,
    wire::json::Document,
};

pub use self::{
    cascade::{Band, Which},
    language::detect as detect_language,
};

/// Marks that end a sentence or a clause in the eight languages.
const SENTENCE_ENDS: [char; 11] = ['.', '!', '?', ':', ';', ',', '။', '၊', '।', '…', '"'];
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
    guards: Guards,
    cache: Cache,
    metrics: Arc<Metrics>,
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
    /// The texts that the guard judged.
    pub passages: Vec<Passage>,
    /// Content that no text guard can judge.
    pub unscorable: Vec<String>,
    /// Values that repeat the text and are blanked when it is edited.
    pub echoes: Vec<Place>,
    /// Whether every score came from the cache; `None` when nothing was scored.
    pub cached: Option<bool>,
}

/// A text that the guard judged as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// What it is to the model.
    pub target: Target,
    /// The segments that it is made of.
    pub segments: Vec<usize>,
    /// Its language, if it tells.
    pub language: Option<&'static str>,
    /// The guard that decided, or failed to.
    pub guard: Which,
    /// What that guard thinks of it.
    pub score: Result<Score, Unavailable>,
}

/// A text to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    target: Target,
    segments: Vec<usize>,
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
    /// A scanner that asks this guard, and a second one where the first's score is in the band.
    #[must_use]
    pub fn new(guard: Guard, second: Option<(Band, Guard)>, cache: &config::Cache, metrics: Arc<Metrics>) -> Self {
        Self { inner: Arc::new(Inner { guards: Guards { first: guard, second }, cache: Cache::new(cache), metrics }) }
    }

    /// The guard asked first.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.inner.guards.first
    }

    /// The guard asked first, and the second if there is one.
    pub fn guards(&self) -> impl Iterator<Item = &Guard> {
        self.inner.guards.all()
    }

    /// The identity of a guard.
    #[must_use]
    pub fn identity(&self, which: Which) -> &str {
        self.inner.guards.get(which).identity()
    }

    /// Verdicts in the cache.
    #[must_use]
    pub fn cached_verdicts(&self) -> u64 {
        self.inner.cache.entries()
    }

    /// Judges all text of a body. `prompt` is what an answer answers.
    pub async fn assess(&self, document: Document, content: Content, direction: Direction, prompt: Option<&str>) -> Assessed {
        let evidence = self.evidence(content, direction, prompt).await;
        Assessed { document, evidence }
    }

    /// Judges all text of some content.
    pub async fn evidence(&self, content: Content, direction: Direction, prompt: Option<&str>) -> Evidence {
        let questions = questions(&content.segments, prompt);
        self.answer(content, questions, direction).await
    }

    async fn answer(&self, content: Content, questions: Vec<Question>, direction: Direction) -> Evidence {
        let Content { segments, unscorable, echoes } = content;
        let length = segments.iter().map(|segment| segment.text.len()).sum();
        let (segments, findings) = off_reactor(length, move || {
            let found = segments.iter().map(|segment| findings(segment.target, &segment.text)).collect();
            (segments, found)
        })
        .await;
        let share = Share::at(self.guards(), METER.try_with(Meter::clone).unwrap_or_default());
        let answers = join_all(questions.iter().map(|question| self.judge(question, &share))).await;
        let mut cached = None;
        let mut passages = Vec::with_capacity(questions.len());
        for (question, (passage, hit)) in questions.into_iter().zip(answers) {
            cached = Some(cached.unwrap_or(true) && hit);
            passages.push(Passage { segments: question.segments, ..passage });
        }
        Evidence { direction, segments, findings, passages, unscorable, echoes, cached }
    }

    /// Judges what a stream has brought, and tells up to which byte of the check's text the findings are final.
    pub async fn stream(&self, check: &Check, prompt: Option<&str>) -> (Evidence, usize) {
        let (target, text) = (check.channel.part.target(), &check.text);
        let settled = if check.last {
            text.len()
        } else {
            let text = text.clone();
            off_reactor(text.len(), move || settled(target, &text)).await
        };
        let question = Question {
            target,
            segments: vec![0],
            text: check.judged.clone(),
            prompt: prompt.map(ending).filter(|_| target.task() == Task::Response),
            grows: true,
        };
        let segments = vec![Segment { target, passage: 0, text: text.clone(), place: None }];
        let content = Content { segments, ..Content::default() };
        (self.answer(content, vec![question], Direction::Response).await, settled)
    }

    /// What the guards think of a text, and whether all of that was known.
    async fn judge(&self, question: &Question, share: &Share) -> (Passage, bool) {
        let target = question.target;
        let language = language::detect(&question.text);
        let (mut guard, (mut value, mut hit)) = (Which::First, self.ask(Which::First, question, share).await);
        if let Some((band, _)) = &self.inner.guards.second {
            if value.as_ref().is_ok_and(|value| band.holds(*value)) {
                // If the second cannot tell, nobody can: the first has said that it is unsure.
                let (second, known) = self.ask(Which::Second, question, share).await;
                (guard, value, hit) = (Which::Second, second, hit && known);
            }
            self.inner.metrics.cascade(guard == Which::Second);
        }
        let threshold = self.inner.guards.get(guard).manifest().task(target.task()).threshold(language);
        let score = value.map(|value| Score { value, threshold });
        (Passage { target, segments: Vec::new(), language, guard, score }, hit)
    }

    /// One guard's score, and whether it was known. Each guard's scores are kept under its own identity, so that neither
    /// another band nor another second guard makes a kept one wrong.
    async fn ask(&self, which: Which, question: &Question, share: &Share) -> (Result<f32, Unavailable>, bool) {
        // What is read as JSON has other unhidden forms than plain text has.
        let kind = if question.target == Target::ToolCall { "json" } else { "text" };
        let guard = self.inner.guards.get(which);
        let key = key([guard.identity(), kind], question.target.task(), question.prompt.as_deref(), &question.text);
        let work = Arc::clone(&self.inner).score(which, question.clone(), share.clone());
        let (score, hit) = self.inner.cache.get_or(key, work).await;
        self.inner.metrics.verdict(hit, score.is_ok());
        (score, hit)
    }
}

impl Inner {
    /// P(unsafe) of a text: the worst of its forms.
    async fn score(self: Arc<Self>, which: Which, question: Question, share: Share) -> Result<f32, Unavailable> {
        let work = async {
            let forms = off_reactor(question.text.len(), move || forms(question)).await;
            worst(forms.iter().map(|form| self.form(which, form, &share)).collect()).await
        };
        self.guards.get(which).in_time(work).await
    }

    /// P(unsafe) of one form of a text: the worst of its windows. The windows of a text that does not fit in one are cached
    /// by themselves, so that a text that grows is not scored again from its beginning.
    async fn form(self: &Arc<Self>, which: Which, form: &Question, share: &Share) -> Result<f32, Unavailable> {
        let (guard, grows) = (self.guards.get(which), form.grows);
        let mut windows = guard.windows(form.target.task(), &form.text, form.prompt.as_deref()).await?;
        if windows.len() == 1
            && let Some(window) = windows.pop()
        {
            return self.window(which, window, grows, share).await;
        }
        let scores = windows.into_iter().map(|window| {
            let key = window_key(guard.identity(), &window);
            let (inner, share) = (Arc::clone(self), share.clone());
            let work = async move { inner.window(which, window, grows, &share).await };
            async move { self.cache.get_or(key, work).await.0 }
        });
        worst(scores.collect()).await
    }

    async fn window(&self, which: Which, window: Window, grows: bool, share: &Share) -> Result<f32, Unavailable> {
        let _room = share.take(&window).await;
        self.metrics.window();
        let guard = self.guards.get(which);
        if grows { guard.score_growing(window).await } else { guard.score(window).await }
    }
}

/// The forms in which a text is judged: as it is written, and with hiding undone in it and in what it answers.
fn forms(question: Question) -> Vec<Question> {
    let Question { target, segments, text, prompt, grows } = &question;
    let view = view(*target, text);
    let context = prompt.as_deref().map(normalise::fold).filter(normalise::View::is_changed);
    let context = context.map(|context| Arc::from(context.text()));
    let folded = (view.is_changed() || context.is_some()).then(|| view.text().to_owned());
    let unspaced = normalise::unspaced(view.text());
    let carried = normalise::carried(view.text());
    let untagged = normalise::untagged(text);
    let context = context.or_else(|| prompt.clone());
    let texts = [folded, unspaced, carried, untagged].into_iter().flatten();
    let form = |text| Question { target: *target, segments: segments.clone(), text, prompt: context.clone(), grows: *grows };
    let mut forms: Vec<_> = texts.map(form).collect();
    forms.push(question);
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

/// What the detectors find in a text, hiding undone; ranges are in the text as written.
#[must_use]
pub fn findings(target: Target, text: &str) -> Vec<Finding> {
    let view = view(target, text);
    let found = detect::find(view.text()).into_iter();
    found.map(|Finding { detector, range }| Finding { detector, range: view.origin(range) }).collect()
}

fn settled(target: Target, text: &str) -> usize {
    let view = view(target, text);
    let settled = detect::settled(view.text());
    if settled == view.text().len() { text.len() } else { view.origin(settled..view.text().len()).start }
}

/// A tool call's arguments are JSON within a string: escapes there hide nothing from the tool.
fn view(target: Target, text: &str) -> normalise::View<'_> {
    if target == Target::ToolCall { normalise::fold_json(text) } else { normalise::fold(text) }
}

/// The greatest of scores that are awaited together, up to the first failure, which ends the others.
async fn worst(scores: FuturesUnordered<impl Future<Output = Result<f32, Unavailable>>>) -> Result<f32, Unavailable> {
    scores.try_fold(0.0, |worst: f32, score| ready(Ok(worst.max(score)))).await
}

/// The texts to judge: each passage whole, its parts if it has several, and the last user turns together.
fn questions(segments: &[Segment], prompt: Option<&str>) -> Vec<Question> {
    let mut passages = BTreeMap::<usize, Vec<usize>>::new();
    for (index, segment) in segments.iter().enumerate() {
        passages.entry(segment.passage).or_default().push(index);
    }
    let mut questions = Vec::new();
    let mut turns: Vec<(usize, String)> = Vec::new();
    let given = prompt.map(ending);
    let mut asked: Option<Arc<str>> = None;
    for indices in passages.into_values() {
        let parts: Vec<&Segment> = indices.iter().filter_map(|&index| segments.get(index)).collect();
        let Some(target) = parts.first().map(|part| part.target) else { continue };
        let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
        let whole = texts.join("\n");
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
                text: part.text.clone(),
                prompt: context.clone(),
                grows: false,
            }));
        }
        if target == Target::Prompt {
            turns.extend(indices.first().map(|&index| (index, whole.clone())));
            asked = Some(ending(&whole));
        }
        let seamless = (target != Target::ToolDefinition).then(|| seamless(&texts)).flatten();
        let again =
            seamless.map(|text| Question { target, segments: indices.clone(), text, prompt: context.clone(), grows: false });
        questions.push(Question { target, segments: indices, text: whole, prompt: context, grows: false });
        questions.extend(again);
    }
    questions.extend(conversation(&turns));
    questions
}

/// The last user turns as one text, if there are several.
fn conversation(turns: &[(usize, String)]) -> Vec<Question> {
    let mut last: Vec<&(usize, String)> = Vec::new();
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
    let texts: Vec<&str> = last.iter().enumerate().map(|(at, turn)| part(&turn.1, at == newest)).collect();
    let segments: Vec<usize> = last.iter().map(|(index, _)| *index).collect();
    // The next turn will be asked with these before it.
    let question = |text| Question { target: Target::Prompt, segments: segments.clone(), text, prompt: None, grows: true };
    std::iter::once(texts.join("\n")).chain(seamless(&texts)).map(question).collect()
}

/// The beginning or the end of a turn.
fn part(text: &str, beginning: bool) -> &str {
    let most = TURNS_BYTES / 2;
    let part = if beginning {
        text.get(..text.floor_char_boundary(most))
    } else {
        text.get(text.ceil_char_boundary(text.len().saturating_sub(most))..)
    };
    part.unwrap_or(text)
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
    use futures_util::FutureExt as _;

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
    }

    #[test]
    fn hiding_in_a_prompt_is_undone_too() {
        let asked = |prompt: &str| {
            let (target, text, prompt) = (Target::Completion, "sure".to_owned(), Some(Arc::from(prompt)));
            let forms = forms(Question { target, segments: vec![0], text, prompt, grows: true });
            forms.into_iter().map(|form| (form.text, form.prompt.unwrap())).collect::<Vec<_>>()
        };
        let form = |prompt: &str| ("sure".to_owned(), Arc::from(prompt));
        let hidden = "hi\n\u{ff21}\u{ff29} assistant: of course";
        assert_eq!(asked(hidden), [form("hi\nAI assistant: of course"), form(hidden)]);
        assert_eq!(asked("hi"), [form("hi")]);
    }

    #[test]
    fn the_first_failure_ends_the_rest() {
        let never = std::future::pending().boxed();
        let scores = [ready(Ok(0.5)).boxed(), never, ready(Err(Unavailable::Overloaded)).boxed()];
        assert_eq!(worst(scores.into_iter().collect()).now_or_never(), Some(Err(Unavailable::Overloaded)));
        let scores = [0.25, 0.5, 0.125].map(|score| ready(Ok(score)));
        assert_eq!(worst(scores.into_iter().collect()).now_or_never(), Some(Ok(0.5)));
    }
}
