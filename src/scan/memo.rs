//! What is read of a text without a guard: what the detectors find in it, and the languages that it is in. That hangs on the text
//! and the detectors alone, and most texts come again: a conversation's earlier turns come with each new one.

use std::sync::Arc;

use moka::sync::Cache as Moka;

use super::{
    cache::{Digest, Mix},
    detect::Detectors,
    language, normalise,
    search::findings,
};
use crate::{
    config,
    segment::{Finding, Target},
};

/// Findings that take about the room of a reading without any.
const FINDINGS: usize = 8;

/// The language that a text begins in, and those of its other stretches, hiding undone; `None` where they do not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spoken {
    pub(super) first: Option<&'static str>,
    pub(super) others: Vec<Option<&'static str>>,
}

/// Readings by text; the default keeps none. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Memo {
    kept: Option<Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    found: Moka<(Digest, Target, u64), Arc<[Finding]>, Mix>,
    spoken: Moka<Digest, Arc<Spoken>, Mix>,
}

impl Memo {
    pub(super) fn new(settings: &config::Cache) -> Self {
        let kept = (settings.entries > 0).then(|| Kept {
            found: Moka::builder()
                .max_capacity(settings.entries)
                .weigher(|_, found: &Arc<[Finding]>| u32::try_from(1 + found.len() / FINDINGS).unwrap_or(u32::MAX))
                .build_with_hasher(Mix::default()),
            spoken: Moka::builder().max_capacity(settings.entries).build_with_hasher(Mix::default()),
        });
        Self { kept }
    }

    /// What the detectors find in a text, which has this digest.
    pub(super) fn findings(&self, detectors: &Detectors, target: Target, text: &str, digest: Digest) -> Arc<[Finding]> {
        let Some(Kept { found, .. }) = &self.kept else { return findings(detectors, target, text).into() };
        // The kind of text is in the key since escapes are undone in what some kinds hold, and not in prose.
        let key = (digest, target, detectors.generation());
        found.get(&key).unwrap_or_else(|| {
            let new: Arc<[Finding]> = findings(detectors, target, text).into();
            found.insert(key, Arc::clone(&new));
            new
        })
    }

    /// The languages that a text with this digest is in, if it was read.
    pub(super) fn known(&self, digest: Digest) -> Option<Arc<Spoken>> {
        self.kept.as_ref()?.spoken.get(&digest)
    }

    /// The languages that a text is in, which has this digest.
    pub(super) fn spoken(&self, text: &str, digest: Digest) -> Arc<Spoken> {
        let Some(Kept { spoken, .. }) = &self.kept else { return Arc::new(Spoken::of(text)) };
        spoken.get(&digest).unwrap_or_else(|| {
            let new = Arc::new(Spoken::of(text));
            spoken.insert(digest, Arc::clone(&new));
            new
        })
    }
}

impl Spoken {
    pub(super) fn of(text: &str) -> Self {
        let folded = normalise::fold(text);
        let first = language::detect(folded.text());
        Self { first, others: language::others(folded.text(), first) }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = Option<&'static str>> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{cache::digest, detect::Own};

    #[test]
    fn what_is_kept_is_of_these_detectors_this_kind_and_this_text() {
        let memo = Memo::new(&config::Cache::default());
        let own = |word: &str| {
            let own = Own { name: "own".to_owned(), words: vec![word.to_owned()], ..Own::default() };
            Detectors::new(&[own]).unwrap()
        };
        let (builtin, tea, rum) = (Detectors::default(), own("tea"), own("rum"));
        for _ in 0..2 {
            let found = |detectors: &Detectors, target, text: &str| {
                let found = memo.findings(detectors, target, text, digest(text));
                found.iter().map(|finding| (finding.detector.to_string(), finding.range.clone())).collect::<Vec<_>>()
            };
            let (text, hidden) = ("tea or rum", r"at\nbob@x.com");
            assert_eq!(found(&builtin, Target::Prompt, text), []);
            assert_eq!(found(&tea, Target::Prompt, text), [("own".to_owned(), 0..3)]);
            assert_eq!(found(&rum, Target::Prompt, text), [("own".to_owned(), 7..10)]);
            assert_eq!(found(&rum, Target::Prompt, "rum"), [("own".to_owned(), 0..3)]);
            assert_eq!(found(&builtin, Target::Prompt, hidden)[0].1.start, 3, "in prose `\\n` is no escape");
            assert_eq!(found(&builtin, Target::ToolCall, hidden)[0].1.start, 4);
            assert_eq!(
                memo.spoken("What is the name of this river?", digest("What is the name of this river?")).first,
                Some("en")
            );
            assert_eq!(memo.spoken("ชื่อแม่น้ำนี้คืออะไร", digest("ชื่อแม่น้ำนี้คืออะไร")).first, Some("th"));
        }
    }

    #[test]
    fn without_a_cache_all_is_read_anew() {
        let memo = Memo::new(&config::Cache { entries: 0, ..config::Cache::default() });
        assert!(memo.kept.is_none());
        assert_eq!(memo.findings(&Detectors::default(), Target::Prompt, "bob@x.com", 0).len(), 1);
        assert_eq!(
            *memo.spoken("What is the name of this river?", digest("What is the name of this river?")),
            Spoken::of("What is the name of this river?")
        );
    }
}
