//! What is wrong with a TOML text, in one line: place, mistake, and the nearest right name.

use std::path::Path;

/// The error as `FILE:LINE:COLUMN: mistake; did you mean …?`.
#[must_use]
pub fn explain(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let message = error.message().trim().replace('\n', " ");
    let hint = nearest(&message).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("{}:{line}:{column}: {message}{hint}", path.display())
}

/// Of the names that serde says it expected, the one nearest to the name that it found.
fn nearest(message: &str) -> Option<&str> {
    let (found, expected) = message.split_once("expected")?;
    let found = found.strip_prefix("unknown ")?.split('`').nth(1)?;
    let names = expected.split('`').skip(1).step_by(2);
    names.min_by_key(|name| strsim::damerau_levenshtein(name, found))
}
