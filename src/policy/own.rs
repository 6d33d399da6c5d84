//! A policy's own detectors: what its `[detectors.NAME]` tables say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::scan::detect::{Own, is_builtin};

/// What an own detector looks for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OwnDetector {
    /// Regular expressions in Rust's syntax, which has no look-around and no back-references.
    pub(super) regex: Vec<String>,
    /// Words and phrases, in whatever case.
    pub(super) words: Vec<String>,
    /// A file of more of them, one a line, beside the policy file.
    pub(super) words_file: Option<PathBuf>,
    /// If there are any, one of these words must stand near what is found.
    pub(super) context: Vec<String>,
    /// What stands in place of what is found; the detector's name in brackets if left out.
    pub(super) mask: Option<String>,
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
            let file = beside(path, file);
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

/// The path of a list of words, as a policy names it.
pub(super) fn beside(policy: &Path, list: &Path) -> PathBuf {
    policy.parent().unwrap_or(Path::new("")).join(list)
}

/// A detector's name among all policies'.
pub(super) fn full(policy: &str, name: &str) -> String {
    format!("{policy}/{name}")
}
