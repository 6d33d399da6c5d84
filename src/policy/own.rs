//! A policy's own detectors: what its `[detectors.NAME]` tables say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::Policy;
use crate::scan::detect::{Own, is_builtin};

/// What an own detector looks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnDetector {
    /// Regular expressions in Rust's syntax, which has no look-around and no back-references.
    pub regex: Vec<String>,
    /// Words and phrases, in whatever case.
    pub words: Vec<String>,
    /// A file of more of them, one a line, beside the policy file.
    pub words_file: Option<PathBuf>,
    /// If there are any, one of these words must stand near what is found.
    pub context: Vec<String>,
    /// What stands in place of what is found; the detector's name in brackets if left out.
    pub mask: Option<String>,
}

impl OwnDetector {
    /// The detector, its words read from their file; `path` is the policy's.
    pub(super) fn read(&self, path: &Path, [policy, name]: [&str; 2]) -> Result<Own, String> {
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_')) {
            return Err("its name must be of letters, digits, `-` and `_`".to_owned());
        }
        if is_builtin(name) {
            return Err("a built-in detector has this name: choose another".to_owned());
        }
        let mut words = self.words.clone();
        if let Some(file) = &self.words_file {
            let file = path.parent().unwrap_or(Path::new("")).join(file);
            let text = fs::read_to_string(&file).map_err(|e| format!("words_file: {}: cannot be read: {e}", file.display()))?;
            words.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
            if words.is_empty() {
                return Err(format!("words_file: {} holds no words: put one on each line", file.display()));
            }
        }
        let (regexes, context) = (self.regex.clone(), self.context.clone());
        let mask = self.mask.clone().unwrap_or_else(|| format!("[{name}]"));
        Ok(Own { name: full(policy, name), regexes, words, context, mask })
    }
}

impl Policy {
    /// Names its own detectors in its rules as their findings are named.
    pub(super) fn qualify(&mut self) {
        for wanted in self.rules.iter_mut().flat_map(|rule| &mut rule.detectors) {
            if self.detectors.contains_key(wanted) {
                *wanted = full(&self.name, wanted);
            }
        }
    }

    /// Whether its rules may name the detector: other policies' own ones are theirs.
    pub(super) fn knows(&self, detector: &str) -> bool {
        is_builtin(detector) || self.detectors.keys().any(|name| full(&self.name, name) == detector)
    }
}

/// A detector's name among all policies'.
fn full(policy: &str, name: &str) -> String {
    format!("{policy}/{name}")
}
