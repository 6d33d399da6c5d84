//! What operators look for: own regular expressions and lists of words.
//!
//! A search goes on from where the one before it settled, so that a stream, however it is cut, has the findings of the whole
//! text; and every match has a greatest length, so that a stream never waits for ever.

mod folded;
mod needles;
mod regexes;
mod words;

use std::{cmp::Reverse, collections::HashMap, ops::Range, sync::Arc};

use self::{regexes::Regexes, words::Words};
use super::context;
use crate::segment::Finding;

/// An operator's own detector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Its name, as findings have it: that of its policy, `/`, and its own there.
    pub name: String,
    /// Regular expressions, each of which finds. Of a match longer than 1,024 bytes that much is found, and then the rest.
    pub regexes: Vec<String>,
    /// Words and phrases, in any case and with any white space between words; where a script puts spaces between words, only
    /// whole ones.
    pub words: Vec<String>,
    /// If there are any, one of these words must stand near what is found.
    pub context: Vec<String>,
    /// What stands in place of a redacted span.
    pub mask: String,
}

/// An own detector that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("detector `{name}`: {why}")]
pub struct Unfit {
    /// The detector.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// The own detectors, made ready to search.
#[derive(Debug, Default)]
pub(super) struct Recognisers {
    all: Vec<Recogniser>,
    /// Their indices by name.
    numbers: HashMap<Arc<str>, usize>,
    regexes: Option<Regexes>,
    words: Option<Words>,
}

#[derive(Debug)]
struct Recogniser {
    name: Arc<str>,
    context: Option<Words>,
    mask: String,
}

/// Something of the right form; whether it counts, the words around it may have to say.
#[derive(Debug)]
struct Candidate {
    /// Index of the recogniser.
    owner: usize,
    range: Range<usize>,
}

/// What cannot be let go of a growing text.
pub(super) struct Held {
    tail: usize,
    /// Stretches of overlapping candidates, in order and apart.
    stretches: Vec<Range<usize>>,
}

impl Recognisers {
    pub(super) fn new(own: &[Own]) -> Result<Self, Unfit> {
        let unfit = |name: &str, why: String| Unfit { name: name.to_owned(), why };
        let at = |owner: usize, why: String| unfit(own.get(owner).map_or("", |own| &own.name), why);
        for own in own {
            if own.regexes.is_empty() && own.words.is_empty() {
                return Err(unfit(
                    &own.name,
                    "it names nothing to look for: give it `regex`, `words` or `words_file`".to_owned(),
                ));
            }
            // In a tool call's arguments, the mask stands within a JSON string.
            if own.mask.contains(|c: char| c.is_control() || matches!(c, '"' | '\\')) {
                return Err(unfit(&own.name, "its `mask` must hold no quotes, backslashes or control characters".to_owned()));
            }
        }
        let owned = |of: fn(&Own) -> &Vec<String>| -> Vec<(usize, &str)> {
            own.iter().enumerate().flat_map(|(owner, own)| of(own).iter().map(move |item| (owner, item.as_str()))).collect()
        };
        let regexes = Regexes::new(&owned(|own| &own.regexes)).map_err(|(owner, why)| at(owner, why))?;
        let words = Words::new(&owned(|own| &own.words)).map_err(|(owner, why)| at(owner, why))?;
        let recogniser = |own: &Own| {
            let words: Vec<(usize, &str)> = own.context.iter().map(|word| (0, word.as_str())).collect();
            let context = Words::new(&words).map_err(|(_, why)| unfit(&own.name, format!("context: {why}")))?;
            Ok(Recogniser { name: own.name.as_str().into(), context, mask: own.mask.clone() })
        };
        let all: Vec<Recogniser> = own.iter().map(recogniser).collect::<Result<_, _>>()?;
        let numbers = all.iter().enumerate().map(|(number, own)| (Arc::clone(&own.name), number)).collect();
        Ok(Self { all, numbers, regexes, words })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.all.iter().map(|own| &own.name)
    }

    /// The place of a detector among the names.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    pub(super) fn mask(&self, detector: &str) -> Option<&str> {
        Some(self.all.get(self.number(detector)?)?.mask.as_str())
    }

    /// The findings that begin at the byte `since` or after it. Of one detector's, none lies within another.
    pub(super) fn find(&self, text: &str, since: usize) -> Vec<Finding> {
        let mut found = self.candidates(text, since);
        found.retain(|candidate| self.counts(text, candidate));
        found.sort_by_key(|Candidate { owner, range }| (*owner, range.start, Reverse(range.end)));
        let mut last = (0, 0);
        found.retain(|Candidate { owner, range }| {
            let apart = *owner != last.0 || range.end > last.1;
            if apart {
                last = (*owner, range.end);
            }
            apart
        });
        let named = |Candidate { owner, range }| Some(Finding { detector: Arc::clone(&self.all.get(owner)?.name), range });
        found.into_iter().filter_map(named).collect()
    }

    /// What of a growing text, searched from the byte `since` on, cannot be let go.
    pub(super) fn hold(&self, text: &str, since: usize) -> Held {
        let mut candidates = self.candidates(text, since);
        let named_by = context::known(text);
        let waits = |candidate: &&Candidate| candidate.range.end > named_by && self.context(candidate.owner).is_some();
        let waiting = candidates.iter().filter(waits).map(|candidate| candidate.range.start).min();
        let regexes = self.regexes.as_ref().map_or(text.len(), |regexes| regexes.tail(text));
        let words = self.words.as_ref().map_or(text.len(), |words| words.tail(text));
        let tail = waiting.unwrap_or(text.len()).min(regexes).min(words);
        candidates.sort_by_key(|candidate| candidate.range.start);
        let mut stretches: Vec<Range<usize>> = Vec::new();
        for Candidate { range, .. } in candidates {
            match stretches.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => stretches.push(range),
            }
        }
        Held { tail, stretches }
    }

    fn candidates(&self, text: &str, since: usize) -> Vec<Candidate> {
        let mut found = Vec::new();
        let mut take = |owner, range| found.push(Candidate { owner, range });
        if let Some(regexes) = &self.regexes {
            regexes.each(text, since, &mut take);
        }
        if let Some(words) = &self.words {
            words.each(text, since..text.len(), &mut take);
        }
        found
    }

    fn context(&self, owner: usize) -> Option<&Words> {
        self.all.get(owner)?.context.as_ref()
    }

    fn counts(&self, text: &str, candidate: &Candidate) -> bool {
        let Some(context) = self.context(candidate.owner) else { return true };
        let mut near = false;
        for side in context::around(text, &candidate.range) {
            context.each(text, side, &mut |_, _| near = true);
        }
        near
    }
}

impl Held {
    /// Where what text to come can complete, extend or undo begins at the earliest.
    pub(super) fn tail(&self) -> usize {
        self.tail
    }

    /// The nearest offset, at or before the given one, at which no candidate is cut in two.
    pub(super) fn clear(&self, at: usize) -> usize {
        let next = self.stretches.partition_point(|stretch| stretch.start < at);
        let over = next.checked_sub(1).and_then(|last| self.stretches.get(last)).filter(|stretch| stretch.end > at);
        over.map_or(at, |stretch| stretch.start)
    }
}

#[cfg(test)]
mod tests;
