//! From which score on a text is unsafe: one number, or a table by task and language.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::message::is_language;
use crate::segment::{Score, Task};

/// The tasks, as tables name them.
pub(super) const TASKS: [&str; 2] = ["prompt", "response"];

/// From which P(unsafe) on a text is unsafe.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be \"guard\", a number from 0 to 1, or a table of these by task and language")]
pub(super) enum Threshold {
    /// For all texts.
    One(Level),
    /// By `"task.language"`, language, task (`prompt`, `response`) or `default`: the most exact one holds, and where none does
    /// the guard's own.
    By(BTreeMap<String, Level>),
}

/// A probability, or the guard's own.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Level {
    /// The guard's own threshold for task and language.
    Guard(Own),
    /// This P(unsafe).
    AtLeast(#[schemars(range(min = 0.0, max = 1.0))] f32),
}

/// The word that leaves it to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Own {
    /// The guard's own threshold.
    Guard,
}

/// When a guard's score is too high.
#[derive(Debug)]
pub(super) struct Thresholds {
    pub(super) guard: usize,
    prompt: ByLanguage,
    response: ByLanguage,
}

#[derive(Debug)]
struct ByLanguage {
    own: BTreeMap<String, Entry>,
    otherwise: Entry,
}

/// A threshold, and the key that it was written under; `guard` if under none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) level: Level,
}

impl Thresholds {
    pub(super) fn new(guard: usize, written: Threshold) -> Self {
        let table = match written {
            Threshold::One(level) => BTreeMap::from([("default".to_owned(), level)]),
            Threshold::By(table) => table,
        };
        let [prompt, response] = TASKS.map(|task| ByLanguage::new(task, &table));
        Self { guard, prompt, response }
    }

    /// From which P(unsafe) on a text in these languages is unsafe, the lowest of theirs, and where that is written.
    pub(super) fn least<'l>(
        &self,
        score: &Score,
        task: Task,
        languages: impl IntoIterator<Item = Option<&'l str>>,
    ) -> (f32, &Entry) {
        let level = |entry: &Entry| match entry.level {
            Level::Guard(_) => score.threshold,
            Level::AtLeast(value) => value,
        };
        let entries = languages.into_iter().map(|language| self.entry(task, language));
        let least = entries.map(|entry| (level(entry), entry)).min_by(|a, b| a.0.total_cmp(&b.0));
        least.unwrap_or_else(|| (level(self.entry(task, None)), self.entry(task, None)))
    }

    /// What holds for a task and language.
    pub(super) fn entry(&self, task: Task, language: Option<&str>) -> &Entry {
        let table = self.table(task);
        language.and_then(|tag| table.own.get(tag)).unwrap_or(&table.otherwise)
    }

    /// Whether it is reached wherever the other is.
    pub(super) fn is_at_most(&self, other: &Self) -> bool {
        let at_most = |own: Level, other: Level| match (own, other) {
            (Level::AtLeast(own), Level::AtLeast(other)) => own <= other,
            (Level::AtLeast(own), Level::Guard(_)) => own <= 0.0,
            (Level::Guard(_), other) => own == other,
        };
        [Task::Prompt, Task::Response].into_iter().all(|task| {
            let tags = self.languages(task).chain(other.languages(task)).map(Some).chain([None]);
            tags.into_iter().all(|tag| at_most(self.entry(task, tag).level, other.entry(task, tag).level))
        })
    }

    fn languages(&self, task: Task) -> impl Iterator<Item = &str> {
        self.table(task).own.keys().map(String::as_str)
    }

    fn table(&self, task: Task) -> &ByLanguage {
        if task == Task::Prompt { &self.prompt } else { &self.response }
    }
}

impl ByLanguage {
    fn new(task: &str, table: &BTreeMap<String, Level>) -> Self {
        let exact = |key: &str| key.strip_prefix(task)?.strip_prefix('.').map(str::to_owned);
        let entry = |key: &str, level: &Level| Entry { key: key.to_owned(), level: *level };
        let languages = table.iter().filter(|(key, _)| is_language(key)).map(|(key, level)| (key.clone(), entry(key, level)));
        let mut own: BTreeMap<String, Entry> = languages.collect();
        own.extend(table.iter().filter_map(|(key, level)| Some((exact(key)?, entry(key, level)))));
        let otherwise = [task, "default"].into_iter().find_map(|key| Some(entry(key, table.get(key)?)));
        Self { own, otherwise: otherwise.unwrap_or_else(|| entry("guard", &Level::Guard(Own::Guard))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Written {
        threshold: Threshold,
    }

    /// The least score of a hundred that is too high; the guard's own threshold is 0.5.
    fn least(threshold: &str, task: Task, language: Option<&str>) -> u8 {
        let written: Written = toml::from_str(&format!("threshold = {threshold}")).unwrap();
        let thresholds = Thresholds::new(0, written.threshold);
        let is_reached = |value: f32| value >= thresholds.least(&Score { value, threshold: 0.5 }, task, [language]).0;
        (0..=100).find(|percent| is_reached(f32::from(*percent) / 100.0)).unwrap()
    }

    #[test]
    fn the_most_exact_threshold_holds() {
        let table = "{ default = 0.9, response = 0.8, th = 0.6, \"response.th\" = 0.65, vi = \"guard\" }";
        for (task, language, expected) in [
            (Task::Prompt, None, 90),
            (Task::Prompt, Some("en"), 90),
            (Task::Prompt, Some("th"), 60),
            (Task::Prompt, Some("vi"), 50),
            (Task::Response, Some("en"), 80),
            (Task::Response, Some("th"), 65),
        ] {
            assert_eq!(least(table, task, language), expected, "{task:?} {language:?}");
        }
        let written: Written = toml::from_str("threshold = { default = 0.9, th = 0.6 }").unwrap();
        let mixed = Thresholds::new(0, written.threshold);
        let score = Score { value: 0.7, threshold: 0.5 };
        assert_eq!(mixed.least(&score, Task::Prompt, [Some("en"), Some("th")]).0, 0.6, "the lowest of its languages'");
        assert_eq!(least("{ th = 0.6 }", Task::Prompt, Some("en")), 50, "the rest is the guard's own");
        assert_eq!(least("\"guard\"", Task::Prompt, None), 50);
        assert_eq!(least("1", Task::Prompt, None), 100);
    }
}
