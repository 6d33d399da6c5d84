//! The texts that are judged: each passage whole and in its parts, and the last turns together; and the forms of each, as it is
//! written and with hiding undone.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    Piece, normalise,
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
pub(super) struct Question {
    pub(super) target: Target,
    pub(super) segments: Vec<usize>,
    /// Where these stand in the text; `None` if it is all of the one.
    pub(super) pieces: Option<Arc<[Piece]>>,
    pub(super) text: String,
    /// What an answer answers: its last part, which is all that a guard's template has room for.
    pub(super) prompt: Option<Arc<str>>,
    /// It is likely to be asked again, grown: what the guard computes of it is worth keeping.
    pub(super) grows: bool,
}

/// The end of a prompt, as context for an answer to it.
pub(super) fn ending(prompt: &str) -> Arc<str> {
    prompt.get(prompt.ceil_char_boundary(prompt.len().saturating_sub(CONTEXT_BYTES))..).unwrap_or(prompt).into()
}

/// The texts to judge: each passage whole, its parts if it has several, and the last user turns together.
pub(super) fn questions(segments: &[Segment], prompt: Option<&str>) -> Vec<Question> {
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

/// A form in which a text is judged.
pub(super) struct Form {
    pub(super) question: Question,
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
pub(super) fn forms(question: Question) -> Vec<Form> {
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
