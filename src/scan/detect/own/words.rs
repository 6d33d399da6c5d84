//! Lists of words and phrases, of any length, searched at once.
//!
//! Where a script puts spaces between words, only whole words count: `cat` is not in `concatenate`. Thai, Lao, Khmer, Burmese,
//! Chinese and Japanese have no such spaces, so their words count anywhere, but never cut a written character in two.

use std::{fmt, ops::Range};

use aho_corasick::{
    Anchored, Input, MatchKind,
    automaton::Automaton as _,
    nfa::contiguous::{Builder, NFA},
};
use unicode_normalization::char::is_combining_mark;

use super::folded::Folded;
use crate::scan::{detect::costs, normalise};

/// Most bytes of a word or phrase.
const MOST: usize = 512;
/// Most bytes of what is found: white space between words can be more than the word has.
const REACH: usize = 2048;

/// Words of one or several owners.
pub(super) struct Words {
    automaton: NFA,
    /// The owner of each word.
    owners: Vec<usize>,
}

impl Words {
    /// The words, each with its owner; `None` if there are none.
    ///
    /// # Errors
    /// The owner of one that cannot be used, and why.
    pub(super) fn new(words: &[(usize, &str)]) -> Result<Option<Self>, (usize, String)> {
        let Some(&(last, _)) = words.last() else { return Ok(None) };
        let mut folded = Vec::with_capacity(words.len());
        for &(owner, word) in words {
            // What is searched went the same way.
            let text = Folded::new(normalise::fold(word.trim()).text()).into_text();
            if text.trim().is_empty() {
                return Err((owner, format!("the word `{word}` is empty")));
            }
            if text.len() > MOST {
                let begin: String = word.chars().take(40).collect();
                return Err((owner, format!("the word `{begin}…` is longer than {MOST} bytes")));
            }
            folded.push(text.trim().to_owned());
        }
        let automaton = Builder::new().match_kind(MatchKind::Standard).build(&folded);
        let automaton = automaton.map_err(|e| (last, format!("all words together are too many: {e}")))?;
        Ok(Some(Self { automaton, owners: words.iter().map(|(owner, _)| *owner).collect() }))
    }

    /// Shows each word within the span, overlapping ones too, to `visit`.
    pub(super) fn each(&self, text: &str, span: Range<usize>, visit: &mut impl FnMut(usize, Range<usize>)) {
        let Some(inside) = text.get(span.clone()) else { return };
        costs(inside.len());
        let folded = Folded::new(inside);
        let Ok(found) = self.automaton.try_find_overlapping_iter(Input::new(folded.text())) else { return };
        for found in found {
            let range = folded.origin(found.start()) + span.start..folded.origin(found.end()) + span.start;
            if range.len() <= REACH && is_whole(text, &range) {
                self.owners.get(found.pattern().as_usize()).into_iter().for_each(|owner| visit(*owner, range.clone()));
            }
        }
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.automaton.memory_usage()
    }

    /// The first place near the end from which a word may reach into text to come.
    pub(super) fn tail(&self, text: &str) -> usize {
        let from = text.ceil_char_boundary(text.len().saturating_sub(REACH));
        let folded = Folded::new(text.get(from..).unwrap_or_default());
        let starts = folded.text().char_indices().filter(|(at, _)| self.reaches(folded.text(), *at));
        let mut starts = starts.map(|(at, _)| from + folded.origin(at));
        starts.find(|&at| may_begin(text, at)).unwrap_or(text.len())
    }

    /// Whether something may begin here that the text's end does not end.
    fn reaches(&self, text: &str, at: usize) -> bool {
        let Ok(mut state) = self.automaton.start_state(Anchored::Yes) else { return true };
        for &byte in text.as_bytes().get(at..).unwrap_or_default() {
            state = self.automaton.next_state(Anchored::Yes, state, byte);
            if self.automaton.is_dead(state) {
                return false;
            }
        }
        true
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} words", self.owners.len())
    }
}

/// Whether a word stands by itself, as far as its script has it so.
fn is_whole(text: &str, range: &Range<usize>) -> bool {
    let ends = text.get(range.clone()).is_some_and(|word| {
        let (last, next) = (word.chars().next_back(), text.get(range.end..).and_then(|rest| rest.chars().next()));
        !next.is_some_and(clings) && !continues(last, next)
    });
    ends && may_begin(text, range.start)
}

fn may_begin(text: &str, at: usize) -> bool {
    let Some((before, rest)) = text.split_at_checked(at) else { return false };
    let (before, first) = (before.chars().next_back(), rest.chars().next());
    !before.is_some_and(stacks) && !continues(before, first)
}

/// Whether the second character goes on with the word that the first is of.
fn continues(first: Option<char>, second: Option<char>) -> bool {
    first.is_some_and(is_spaced) && second.is_some_and(is_spaced)
}

/// Whether it is part of the written character before it.
fn clings(c: char) -> bool {
    // Thai and Lao am are letters that stand on the one before.
    is_combining_mark(c) || matches!(c, '\u{e33}' | '\u{eb3}')
}

/// Burmese and Khmer signs that put the next letter below the one before.
fn stacks(c: char) -> bool {
    matches!(c, '\u{1039}' | '\u{17d2}')
}

/// Whether it is of a word in a script with spaces between words, or of a number.
fn is_spaced(c: char) -> bool {
    c.is_numeric() || (c.is_alphabetic() || is_combining_mark(c)) && !is_unspaced(c)
}

/// Letters and marks of scripts without spaces between words.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(
        c,
        '\u{e00}'..='\u{eff}' // Thai, Lao
            | '\u{1000}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}' // Burmese
            | '\u{1780}'..='\u{17ff}' // Khmer
            | '\u{1950}'..='\u{19df}' | '\u{1a20}'..='\u{1aaf}' // Tai Le, New Tai Lue, Tai Tham
            | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' // Han
            | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}'
            | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' // Kana
    )
}
