//! Own regular expressions, in linear time and with matches of bounded length.
//!
//! From each place the text is matched as far as [`MOST`] bytes on. What comes next is looked for after what was found, so the
//! matches of one expression are apart; those of several may overlap.

use std::{
    fmt,
    ops::Range,
    panic::{RefUnwindSafe, UnwindSafe},
};

use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::dfa::{self, Cache, DFA},
    meta,
    nfa::thompson::{self, WhichCaptures},
    util::{pool::Pool, syntax},
};
use regex_syntax::hir::{Hir, HirKind, Repetition};
use unicode_normalization::UnicodeNormalization as _;

use super::needles::Needles;
use crate::scan::detect::costs;

/// Most bytes of a match: a stream waits for so many. It must stay well below what the gate lets detectors read again.
pub(super) const MOST: usize = 1024;
/// Most bytes of one compiled expression, and of all of them together.
const SIZE: usize = 4 << 20;
const SIZE_OF_ALL: usize = 64 << 20;
/// Bytes of a character, of which an assertion at a match's end can see the next one.
const AHEAD: usize = 4;

/// All own expressions.
pub(super) struct Regexes {
    all: Vec<Expression>,
    /// Tell in one pass which of them can match at all.
    needles: Needles,
    /// All of them without their assertions: whether text to come can still be part of a match.
    ahead: DFA,
    caches: Caches,
    /// Most bytes of any match.
    reach: usize,
}

type Caches = Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>>;

#[derive(Debug)]
struct Expression {
    owner: usize,
    regex: meta::Regex,
    /// By its form, no match is longer than [`MOST`].
    bounded: bool,
}

impl Regexes {
    /// The expressions, each with its owner; `None` if there are none.
    ///
    /// # Errors
    /// The owner of one that cannot be used, and why.
    pub(super) fn new(patterns: &[(usize, &str)]) -> Result<Option<Self>, (usize, String)> {
        let (mut all, mut hirs, mut reach) = (Vec::new(), Vec::new(), 0);
        for &(owner, pattern) in patterns {
            let (hir, longest) = read(pattern).map_err(|why| (owner, format!("regex `{pattern}`: {why}")))?;
            let config = meta::Config::new().nfa_size_limit(Some(SIZE)).which_captures(WhichCaptures::Implicit);
            let regex = meta::Builder::new().configure(config).build_from_hir(&hir);
            let regex = regex.map_err(|_| (owner, format!("regex `{pattern}`: compiled it is larger than {SIZE} bytes")))?;
            let bounded = longest.filter(|&longest| longest <= MOST);
            reach = reach.max(bounded.unwrap_or(MOST));
            all.push(Expression { owner, regex, bounded: bounded.is_some() });
            hirs.push(hir);
        }
        let Some(last) = all.last().map(|last| last.owner) else { return Ok(None) };
        let too_large = || (last, format!("with it, all regexes compiled are larger than {SIZE_OF_ALL} bytes"));
        let needles = Needles::new(&hirs).map_err(|_| too_large())?;
        let config = thompson::Config::new().nfa_size_limit(Some(SIZE_OF_ALL)).which_captures(WhichCaptures::None);
        let bare: Vec<Hir> = hirs.iter().map(without_assertions).collect();
        let nfa = thompson::Compiler::new().configure(config).build_many_from_hir(&bare).map_err(|_| too_large())?;
        let config = DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true);
        let ahead = dfa::Builder::new().configure(config).build_from_nfa(nfa).map_err(|_| too_large())?;
        let maker = ahead.clone();
        let caches: Caches = Pool::new(Box::new(move || maker.create_cache()));
        Ok(Some(Self { all, needles, ahead, caches, reach }))
    }

    /// Shows each match that begins at the byte `since` or after it to `visit`.
    pub(super) fn each(&self, text: &str, since: usize, visit: &mut impl FnMut(usize, Range<usize>)) {
        let since = since.min(text.len());
        costs(text.len() - since);
        let candidates = self.needles.candidates(text.get(since..).unwrap_or(text));
        for expression in candidates.into_iter().filter_map(|candidate| self.all.get(candidate)) {
            let mut at = since;
            while let Some(found) = expression.next(text, at) {
                at = found.end;
                visit(expression.owner, found);
            }
        }
    }

    /// The first place near the end from which a match may reach into text to come.
    pub(super) fn tail(&self, text: &str) -> usize {
        let from = text.floor_char_boundary(text.len().saturating_sub(self.reach + AHEAD));
        let mut cache = self.caches.get();
        let mut starts = text.get(from..).unwrap_or_default().char_indices().map(|(at, _)| from + at);
        starts.find(|&at| self.reaches(text, at, &mut cache)).unwrap_or(text.len())
    }

    /// Whether something may begin here that the text's end does not end.
    fn reaches(&self, text: &str, at: usize, cache: &mut Cache) -> bool {
        let input = Input::new(text).range(at..).anchored(Anchored::Yes);
        let Ok(mut state) = self.ahead.start_state_forward(cache, &input) else { return true };
        for &byte in text.as_bytes().get(at..).unwrap_or_default() {
            costs(1);
            let Ok(next) = self.ahead.next_state(cache, state, byte) else { return true };
            if next.is_dead() {
                return false;
            }
            state = next;
        }
        true
    }
}

impl fmt::Debug for Regexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}

impl Expression {
    /// The first match from here on.
    fn next(&self, text: &str, mut at: usize) -> Option<Range<usize>> {
        let search = |span: Range<usize>, anchored| {
            let found = self.regex.search(&Input::new(text).range(span.clone()).anchored(anchored));
            costs(found.map_or(span.end, |found| found.end()) - span.start);
            found.map(|found| found.range())
        };
        if self.bounded {
            return search(at..text.len(), Anchored::No);
        }
        while at < text.len() {
            // Whatever begins in the first half of this window is seen in all its greatest length.
            let window = at..text.len().min(at + 2 * MOST);
            let found = search(window, Anchored::No);
            let Some(found) = found.filter(|found| found.start < at + MOST) else {
                at = text.floor_char_boundary(at + MOST);
                continue;
            };
            if found.len() <= MOST {
                return Some(found);
            }
            let near = search(found.start..found.start + MOST, Anchored::Yes);
            if near.is_some() {
                return near;
            }
            at = text.ceil_char_boundary(found.start + 1);
        }
        None
    }
}

/// A pattern and the most bytes that it matches, if there is a most. Text is searched in its composed form, so patterns are too.
fn read(pattern: &str) -> Result<(Hir, Option<usize>), String> {
    let hir = syntax::parse(&pattern.nfc().collect::<String>()).map_err(|e| {
        let told = e.to_string();
        told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    let (least, most) = (hir.properties().minimum_len(), hir.properties().maximum_len());
    match least {
        None => Err("nothing can match it".to_owned()),
        Some(0) => Err("it matches the empty text: make a part of it mandatory".to_owned()),
        Some(_) => Ok((hir, most)),
    }
}

fn without_assertions(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(_) => Hir::empty(),
        HirKind::Capture(capture) => without_assertions(&capture.sub),
        HirKind::Repetition(repeated) => {
            Hir::repetition(Repetition { sub: Box::new(without_assertions(&repeated.sub)), ..repeated.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_assertions).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(without_assertions).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
    }
}
