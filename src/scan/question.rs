//! The texts that are judged: each passage whole and in its parts, and the last turns together; and the forms of each, as it is
//! written and with hiding undone.

use std::{borrow::Cow, ops::Range, sync::Arc};

use super::{
    Piece,
    cache::{Digest, Kind, digest},
    normalise,
    search::view,
    window::{lay, splice},
};
use crate::segment::{Segment, Target, Task};

/// Marks that end a sentence or a clause in the eight languages.
const SENTENCE_ENDS: [char; 11] = ['.', '!', '?', ':', ';', ',', '။', '၊', '।', '…', '"'];
/// What stands between parts and turns that are judged together.
const SEAM: &str = "\n";
/// Most bytes of a prompt that an answer is judged with.
const CONTEXT_BYTES: usize = 8 << 10;
/// User turns that are also judged together.
const TURNS: usize = 6;
/// Most bytes of such a window of turns: the rest of longer turns was judged by itself.
const TURNS_BYTES: usize = 4_000;

/// A text to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question<'t> {
    pub(super) target: Target,
    pub(super) segments: Vec<usize>,
    /// Where these stand in the text; `None` if it is all of the one.
    pub(super) pieces: Option<Arc<[Piece]>>,
    pub(super) text: Cow<'t, str>,
    /// Of the text.
    pub(super) digest: Digest,
    pub(super) context: Option<Context>,
    /// It is likely to be asked again, grown: what the guard computes of it is worth keeping.
    pub(super) grows: bool,
}

/// What an answer answers: its last part, which is all that a guard's template has room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) prompt: Arc<str>,
    /// Of the prompt.
    pub(super) digest: Digest,
}

impl Context {
    pub(super) fn of(prompt: &str) -> Self {
        let end = prompt.get(prompt.ceil_char_boundary(prompt.len().saturating_sub(CONTEXT_BYTES))..).unwrap_or(prompt);
        Self { prompt: end.into(), digest: digest(end) }
    }
}

impl Question<'_> {
    /// How the text is read.
    pub(super) fn kind(&self) -> Kind {
        if self.target == Target::ToolCall { Kind::Json } else { Kind::Text }
    }

    /// What it is judged with: a prompt is judged without context.
    pub(super) fn given(&self) -> Option<&Context> {
        self.context.as_ref().filter(|_| self.target.task() == Task::Response)
    }

    /// The same, for work that outlives who asks.
    pub(super) fn into_owned(self) -> Question<'static> {
        let Self { target, segments, pieces, text, digest, context, grows } = self;
        Question { target, segments, pieces, text: Cow::Owned(text.into_owned()), digest, context, grows }
    }
}

/// The texts to judge: each passage whole, its parts if it has several, and the last user turns together.
/// `digests` are those of the segments.
pub(super) fn questions<'t>(segments: &'t [Segment], digests: &[Digest], prompt: Option<&str>) -> Vec<Question<'t>> {
    let passage = |&index: &usize| segments.get(index).map(|segment| segment.passage);
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_by_key(passage);
    let mut questions = Vec::with_capacity(segments.len() + 2);
    let mut turns: Vec<Turn<'t>> = Vec::new();
    let given = prompt.map(Context::of);
    for indices in order.chunk_by(|a, b| passage(a) == passage(b)) {
        let Some(target) = indices.first().and_then(|&index| segments.get(index)).map(|part| part.target) else { continue };
        // An answer in a conversation is judged as it was when it was given: after the user's turn before it.
        let context = match target.task() {
            Task::Response => given.clone().or_else(|| turns.last().map(|turn| Context::of(&turn.text))),
            Task::Prompt => None,
        };
        let question = |segments, pieces, text, digest| {
            let context = context.clone();
            Question { target, segments, pieces, text, digest, context, grows: false }
        };
        let alone = |index: usize, part: &'t Segment| {
            let digest = digests.get(index).copied().unwrap_or_else(|| digest(&part.text));
            question(vec![index], None, Cow::Borrowed(part.text.as_str()), digest)
        };
        let together = |seam: usize, text: String| {
            let (pieces, digest) = (lay(segments, indices, seam).into(), digest(&text));
            question(indices.to_vec(), Some(pieces), Cow::Owned(text), digest)
        };
        if let &[index] = indices
            && let Some(part) = segments.get(index)
        {
            questions.push(alone(index, part));
            if target == Target::Prompt {
                turns.push(Turn { segments: indices.to_vec(), text: Cow::Borrowed(&part.text) });
            }
            continue;
        }
        let parts: Vec<&Segment> = indices.iter().filter_map(|&index| segments.get(index)).collect();
        // A schema's many short strings say something only together.
        let are_one = target == Target::ToolDefinition;
        if !are_one {
            questions.extend(indices.iter().zip(&parts).map(|(&index, part)| alone(index, part)));
        }
        let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
        let whole = texts.join(SEAM);
        if target == Target::Prompt {
            turns.push(Turn { segments: indices.to_vec(), text: Cow::Owned(whole.clone()) });
        }
        questions.push(together(SEAM.len(), whole));
        let again = (!are_one).then(|| seamless(&texts)).flatten();
        questions.extend(again.map(|text| together(0, text)));
    }
    questions.extend(conversation(segments, &turns));
    questions
}

/// What a user said in one go.
struct Turn<'t> {
    segments: Vec<usize>,
    text: Cow<'t, str>,
}

/// The last user turns as one text, if there are several.
fn conversation(segments: &[Segment], turns: &[Turn<'_>]) -> Vec<Question<'static>> {
    let mut first = turns.len();
    let mut room = TURNS_BYTES;
    for turn in turns.iter().rev().take(TURNS) {
        first -= 1;
        room = room.saturating_sub(turn.text.len().min(TURNS_BYTES / 2));
        if room == 0 {
            break;
        }
    }
    let last = turns.get(first..).unwrap_or_default();
    if last.len() < 2 {
        return Vec::new();
    }
    // The newest turn by its beginning, which the others lead to; those before it by their end.
    let newest = last.len() - 1;
    let parts: Vec<Range<usize>> = last.iter().enumerate().map(|(at, turn)| part(&turn.text, at == newest)).collect();
    let texts = last.iter().zip(&parts).map(|(turn, part)| turn.text.get(part.clone()).unwrap_or_default());
    let texts: Vec<&str> = texts.collect();
    let laid = last.iter().map(|turn| lay(segments, &turn.segments, SEAM.len())).zip(parts);
    let laid: Vec<(Vec<Piece>, Range<usize>)> = laid.collect();
    let all: Vec<usize> = last.iter().flat_map(|turn| &turn.segments).copied().collect();
    // The next turn will be asked with these before it.
    let question = |(text, seam): (String, usize)| {
        let (segments, pieces, digest) = (all.clone(), Some(splice(&laid, seam).into()), digest(&text));
        Question { target: Target::Prompt, segments, pieces, text: Cow::Owned(text), digest, context: None, grows: true }
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

/// A form in which a text is judged.
pub(super) struct Form {
    pub(super) text: String,
    pub(super) prompt: Option<Arc<str>>,
    pub(super) way: Way,
}

/// From a form back to the text as it is written.
pub(super) enum Way {
    Same,
    Undone(normalise::View<'static>),
    Lost,
}

impl Form {
    /// The bytes of the text as written that a range of the form came from, where that can be told.
    pub(super) fn origin(&self, range: Range<usize>) -> Option<Range<usize>> {
        match &self.way {
            Way::Same => Some(range),
            Way::Undone(view) => Some(view.origin(range)),
            Way::Lost => None,
        }
    }
}

/// The forms in which a text is judged: with hiding undone in it and in what it answers, and last as it is written.
pub(super) fn forms(question: &Question<'_>) -> Vec<Form> {
    let (text, prompt) = (&question.text, question.context.as_ref().map(|context| &context.prompt));
    let view = view(question.target == Target::ToolCall, text);
    let unhidden = prompt.map(|prompt| normalise::fold(prompt)).filter(normalise::View::is_changed);
    let unhidden = unhidden.map(|prompt| Arc::from(prompt.text()));
    let is_folded = view.is_changed() || unhidden.is_some();
    let unspaced = normalise::unspaced(view.text());
    let carried = normalise::carried(view.text());
    let untagged = normalise::untagged(text);
    let unhidden = unhidden.or_else(|| prompt.cloned());
    let form = |text: String, way| Form { text, prompt: unhidden.clone(), way };
    let folded = is_folded.then(|| form(view.text().to_owned(), Way::Undone(view.into_owned())));
    let rewritten = [unspaced, carried, untagged].into_iter().flatten().map(|text| form(text, Way::Lost));
    let mut forms: Vec<Form> = folded.into_iter().chain(rewritten).collect();
    forms.push(Form { text: text.to_string(), prompt: prompt.cloned(), way: Way::Same });
    forms
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
        let digests: Vec<_> = segments.iter().map(|segment| digest(&segment.text)).collect();
        let all = questions(&segments, &digests, None);
        assert!(all.iter().all(|question| question.digest == digest(&*question.text)));
        let conversation = all.iter().find(|question| question.grows).unwrap();
        assert_eq!(conversation.segments, [1, 2, 4], "all parts of each turn");
        let asked = all.into_iter().map(|question| (question.text.into_owned(), question.context.map(|own| own.prompt)));
        let asked: Vec<_> = asked.collect();
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
            let (target, text, context) = (Target::Completion, "sure".into(), Some(Context::of(prompt)));
            let question = Question { target, segments: vec![0], pieces: None, text, digest: 0, context, grows: true };
            forms(&question).into_iter().map(|form| (form.text, form.prompt.unwrap())).collect::<Vec<_>>()
        };
        let form = |prompt: &str| ("sure".to_owned(), Arc::from(prompt));
        let hidden = "hi\n\u{ff21}\u{ff29} assistant: of course";
        assert_eq!(asked(hidden), [form("hi\nAI assistant: of course"), form(hidden)]);
        assert_eq!(asked("hi"), [form("hi")]);
    }
}
