//! Which expressions a text can match at all: those of which it holds a literal part. A thousand expressions in one automaton
//! have more states than a text has characters; a thousand literals are found in one quick pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
};

use aho_corasick::{
    BuildError, Input,
    automaton::Automaton as _,
    nfa::contiguous::{Builder, NFA},
};
use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition, literal::Extractor};

/// Parts of an expression that are looked at together, and at which a literal is taken to begin.
const PARTS: usize = 64;

/// Literal parts of expressions.
pub(super) struct Needles {
    /// Without regard to ASCII's case, so that `(?i)` does not make hundreds of one.
    automaton: NFA,
    /// The expressions that each needle is of.
    owners: Vec<Vec<usize>>,
    /// Expressions of which no part is literal.
    always: Vec<usize>,
}

impl Needles {
    /// The needles of expressions, which are named by their places.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn new(expressions: &[Hir]) -> Result<Self, BuildError> {
        let (mut owners, mut always) = (BTreeMap::<Vec<u8>, Vec<usize>>::new(), Vec::new());
        for (expression, hir) in expressions.iter().enumerate() {
            let Some(needles) = needles(hir) else {
                always.push(expression);
                continue;
            };
            for needle in needles {
                owners.entry(needle).or_default().push(expression);
            }
        }
        let automaton = Builder::new().ascii_case_insensitive(true).build(owners.keys())?;
        Ok(Self { automaton, owners: owners.into_values().collect(), always })
    }

    /// The expressions that may match in the text, in order.
    pub(super) fn candidates(&self, text: &str) -> Vec<usize> {
        let mut candidates = self.always.clone();
        let mut seen = vec![false; self.owners.len()];
        for found in self.automaton.try_find_overlapping_iter(Input::new(text)).into_iter().flatten() {
            let needle = found.pattern().as_usize();
            if seen.get_mut(needle).is_some_and(|seen| !std::mem::replace(seen, true)) {
                candidates.extend(self.owners.get(needle).into_iter().flatten());
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }
}

/// Literals, one of which is in every match: of all places where some can begin, those whose shortest is the longest.
fn needles(hir: &Hir) -> Option<BTreeSet<Vec<u8>>> {
    let hir = small(hir);
    let parts = if let HirKind::Concat(parts) = hir.kind() { parts } else { slice::from_ref(&hir) };
    let from = |start: usize| {
        let together = parts.get(start..parts.len().min(start + PARTS))?;
        let literals = Extractor::new().extract(&Hir::concat(together.to_vec()));
        let literals: BTreeSet<Vec<u8>> =
            literals.literals()?.iter().map(|literal| literal.as_bytes().to_ascii_lowercase()).collect();
        let shortest = literals.iter().map(Vec::len).min()?;
        (shortest > 0).then_some((shortest, literals))
    };
    let best = (0..parts.len().min(PARTS)).filter_map(from).max_by_key(|(shortest, _)| *shortest);
    best.map(|(_, literals)| literals)
}

/// The expression without groups, and with small letters where ASCII's capitals may stand too.
fn small(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let mut capitals = ClassUnicode::new([ClassUnicodeRange::new('A', 'Z')]);
            capitals.intersect(class);
            let mut class = class.clone();
            class.difference(&capitals);
            let lower = |c: char| c.to_ascii_lowercase();
            class.union(&ClassUnicode::new(
                capitals.iter().map(|range| ClassUnicodeRange::new(lower(range.start()), lower(range.end()))),
            ));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Capture(Capture { sub, .. }) => small(sub),
        HirKind::Repetition(repeated) => {
            Hir::repetition(Repetition { sub: Box::new(small(&repeated.sub)), ..repeated.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(small).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(small).collect()),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => hir.clone(),
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::util::syntax;

    use super::*;

    fn read(pattern: &str) -> Hir {
        syntax::parse(pattern).unwrap()
    }

    #[test]
    fn the_longest_literals_are_the_needles() {
        for (pattern, expected) in [
            (r"PRJ-17-\d{4}", &["prj-17-"][..]),
            (r"\b[A-Z]{2}17\d{3}\b", &["17"]),
            (r"(?i)\bproject[- ]blue\b", &["project blue", "project-blue"]),
            (r"(?i)(x\d+)?mark", &["mar\u{212a}", "mark"]),
            (r"(?:cat|horse)-\w+", &["cat-", "horse-"]),
            (r"\d{3}-\d{2}", &["-"]),
            (r"(ab)+\d", &["ab"]),
            (r"โครงการ\s+ลับ", &["โครงการ"]),
        ] {
            let expected = expected.iter().map(|needle| needle.as_bytes().to_vec()).collect();
            assert_eq!(needles(&read(pattern)), Some(expected), "{pattern}");
        }
        for pattern in [r"\d+", r"\w{3,}\s\w", r"a|\d", r"[^a]b?"] {
            assert_eq!(needles(&read(pattern)), None, "{pattern}");
        }
    }

    #[test]
    fn an_expression_is_a_candidate_where_its_literals_are() {
        let needles = Needles::new(&["foo-\\d", "(?i)straße", "\\d+", "oo|ar"].map(read)).unwrap();
        for (text, expected) in
            [("", &[2][..]), ("FOO-1", &[0, 2, 3]), ("STRAßE", &[1, 2]), ("a foo", &[2, 3]), ("bar foo-", &[0, 2, 3])]
        {
            assert_eq!(needles.candidates(text), expected, "{text}");
        }
    }
}
