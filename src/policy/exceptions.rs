//! Exceptions: texts that people found harmless and that a policy lets pass, beside those that its file names.
//!
//! They are made and ended while a policy is in force, so they are no part of its set and change no revision.

use std::collections::HashMap;

use blake3::Hash;
use jiff::civil::Date;

/// The exceptions of all policies: each names a text by its hash ([`super::text_hash`]), and the last day (UTC) on which it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions(HashMap<String, HashMap<Hash, Date>>);

impl Exceptions {
    /// Those of a policy, if it has any.
    pub(super) fn of(&self, policy: &str) -> Option<&HashMap<Hash, Date>> {
        self.0.get(policy)
    }
}

/// Policies' names, hashes and last days. Of several for one text, the one that holds longest counts.
impl FromIterator<(String, Hash, Date)> for Exceptions {
    fn from_iter<T: IntoIterator<Item = (String, Hash, Date)>>(exceptions: T) -> Self {
        let mut all = Self::default();
        for (policy, hash, last) in exceptions {
            let own = all.0.entry(policy).or_default().entry(hash).or_insert(last);
            *own = last.max(*own);
        }
        all
    }
}
