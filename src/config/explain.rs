//! What is wrong with a TOML text, in one line: place, key, mistake, and the nearest right name.

use std::{ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The error as ``FILE:LINE:COLUMN: `key`: mistake; did you mean …?``.
#[must_use]
pub fn explain(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let span = error.span().unwrap_or_default();
    let (line, column) = position(text, span.start);
    let message = error.message().trim().replace('\n', " ");
    let key = DeTable::parse(text).ok().and_then(|table| key_of(table.get_ref(), &span));
    let key = key.map(|key| format!("`{}`: ", key.join("."))).unwrap_or_default();
    let hint = meant(&message).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("{}:{line}:{column}: {key}{message}{hint}", path.display())
}

/// Of these names, the one most like the given one.
#[must_use]
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    names.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, name))
}

/// Line and column of a byte, both from 1; a column is a character.
#[must_use]
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

/// The byte at which a text sets a key, given by the names and numbers that lead to it; of a key that is not there, the
/// deepest on the way to it that is.
#[must_use]
pub fn locate(text: &str, key: &[&str]) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let (first, rest) = key.split_first()?;
    let (mut found, mut value) = member(table.get_ref(), first)?;
    for name in rest {
        let next = match value.get_ref() {
            DeValue::Table(inner) => member(inner, name),
            DeValue::Array(items) => {
                name.parse::<usize>().ok().and_then(|at| items.get(at)).map(|item| (item.span().start, item))
            }
            _ => None,
        };
        let Some(next) = next else { break };
        (found, value) = next;
    }
    Some(found)
}

type Member<'t, 'i> = (usize, &'t Spanned<DeValue<'i>>);

fn member<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<Member<'t, 'i>> {
    table.iter().find(|(own, _)| own.get_ref() == name).map(|(own, value)| (own.span().start, value))
}

/// The key that a span of the text belongs to.
fn key_of(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    table.iter().find_map(|(name, value)| {
        let here = || (holds(&name.span(), span) || holds(&value.span(), span)).then(Vec::new);
        let below = key_within(value, span).or_else(here)?;
        Some([vec![name.get_ref().to_string()], below].concat())
    })
}

fn key_within(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<String>> {
    match value.get_ref() {
        DeValue::Table(table) => key_of(table, span),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(number, item)| {
            let here = || holds(&item.span(), span).then(Vec::new);
            let below = key_within(item, span).or_else(here)?;
            Some([vec![number.to_string()], below].concat())
        }),
        _ => None,
    }
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Of the names that serde says it expected, the one nearest to the name that it found.
fn meant(message: &str) -> Option<&str> {
    let (found, expected) = message.split_once("expected")?;
    let found = found.strip_prefix("unknown ")?.split('`').nth(1)?;
    nearest(found, expected.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[b]\n\"c.d\" = { e = [1, 2] }\n[[f]]\n[[f]]\ng = 3\n";

    #[test]
    fn keys_are_found() {
        let at = |key: &[&str]| locate(TEXT, key).map(|at| position(TEXT, at));
        assert_eq!(at(&["a"]), Some((1, 1)));
        assert_eq!(at(&["b", "c.d", "e", "1"]), Some((3, 19)));
        assert_eq!(at(&["f", "1", "g"]), Some((6, 1)));
        assert_eq!(at(&["f", "1", "h"]).map(|(line, _)| line), Some(5), "the deepest that is there");
        assert_eq!(at(&["x"]), None);
    }

    #[test]
    fn a_span_tells_its_key() {
        let table = DeTable::parse(TEXT).unwrap();
        let key = |line: usize, column: usize| {
            let at = TEXT.split('\n').take(line - 1).map(|line| line.len() + 1).sum::<usize>() + column - 1;
            key_of(table.get_ref(), &(at..at + 1))
        };
        assert_eq!(key(3, 19).unwrap(), ["b", "c.d", "e", "1"]);
        assert_eq!(key(6, 5).unwrap(), ["f", "1", "g"]);
        assert_eq!(key_of(table.get_ref(), &(0..TEXT.len())), None);
    }
}
