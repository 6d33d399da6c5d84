//! The files that a set of policies is made of.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::own::beside;

/// How the names of policies' tests end, which stand beside them.
const TESTS: &str = ".test.toml";

/// A policy file, as far as it names others.
#[derive(Deserialize)]
struct Naming {
    #[serde(default)]
    detectors: BTreeMap<String, Words>,
}

#[derive(Deserialize)]
struct Words {
    words_file: Option<PathBuf>,
}

/// Whether a file is a policy, by its name.
#[must_use]
pub fn is_policy(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".toml") && !name.ends_with(TESTS)
}

/// A policy file itself, or those of a directory in the order of their names.
pub(super) fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    // An entry that cannot be read may be a policy: without it the set is not whole.
    let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| is_policy(path)).collect();
    files.sort();
    Ok(files)
}

/// The policy files at a path and the lists of words that they name, whether these are there or not; of files that cannot be
/// read only themselves.
#[must_use]
pub fn watched(path: &Path) -> Vec<PathBuf> {
    let mut sources = files(path).unwrap_or_default();
    let lists: Vec<PathBuf> = sources.iter().flat_map(|policy| lists(policy)).collect();
    sources.extend(lists);
    sources
}

fn lists(policy: &Path) -> Vec<PathBuf> {
    let naming = fs::read_to_string(policy).ok().and_then(|text| toml::from_str::<Naming>(&text).ok());
    let detectors = naming.into_iter().flat_map(|naming| naming.detectors.into_values());
    detectors.filter_map(|words| Some(beside(policy, &words.words_file?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_words_are_sources_even_of_a_policy_with_mistakes() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a.toml"), "nme = \"a\"\n[detectors.x]\nwords_file = \"none.txt\"").unwrap();
        fs::write(path("b.toml"), "name = ").unwrap();
        fs::write(path("b.test.toml"), "").unwrap();
        assert_eq!(watched(dir.path()), ["a.toml", "b.toml", "none.txt"].map(path));
        assert_eq!(watched(&path("a.toml")), ["a.toml", "none.txt"].map(path));
        assert_eq!(watched(&path("gone.toml")), [path("gone.toml")]);
    }
}
