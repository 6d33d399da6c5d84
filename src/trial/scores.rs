//! Scores that are given in place of a guard's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{Config, DEFAULT_GUARD},
    guard::{self, Manifest, Unavailable},
    segment::{Score, Task},
};

/// A guard's own threshold where the guard is not on this machine.
const USUAL: f32 = 0.5;

/// What guards are taken to say of the texts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a number from 0 to 1, \"error\", or a table of these by guard and task")]
pub enum Scores {
    /// Of all texts.
    One(Given),
    /// By `"guard.task"`, guard, or task (`prompt`, `response`): the most exact one holds. `default` is `[guard]`.
    By(BTreeMap<String, Given>),
}

/// What a guard is taken to say of a text.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Given {
    /// This P(unsafe).
    Score(#[schemars(range(min = 0.0, max = 1.0))] f32),
    /// It fails.
    Fails(Fails),
}

/// The word for a guard that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fails {
    /// It cannot judge the text.
    Error,
}

impl Scores {
    /// What the guard at this place says of a text, or that nothing is given.
    pub(super) fn score(
        &self,
        guards: &Guards,
        guard: usize,
        task: Task,
        language: Option<&str>,
    ) -> Result<Result<Score, Unavailable>, String> {
        let name = guards.names().nth(guard).unwrap_or_default();
        match self.given(name, task) {
            Some(Given::Score(value)) => Ok(Ok(Score { value, threshold: guards.threshold(guard, task, language) })),
            Some(Given::Fails(_)) => Ok(Err(Unavailable::Engine("no score, as was asked for".to_owned()))),
            None => Err(format!("score: none is given for `{name}.{}`, which a rule asks for", task_name(task))),
        }
    }

    fn given(&self, guard: &str, task: Task) -> Option<Given> {
        match self {
            Self::One(given) => Some(*given),
            Self::By(table) => {
                let task = task_name(task);
                [format!("{guard}.{task}").as_str(), guard, task].into_iter().find_map(|key| table.get(key).copied())
            }
        }
    }

    /// What is wrong with it, if anything is.
    pub(super) fn mistake(&self, guards: &Guards) -> Option<String> {
        let all: Vec<(&str, Given)> = match self {
            Self::One(given) => vec![("", *given)],
            Self::By(table) => table.iter().map(|(key, given)| (key.as_str(), *given)).collect(),
        };
        let tasks = [Task::Prompt, Task::Response].map(task_name);
        let known = |key: &str| {
            let guard = tasks.iter().find_map(|task| key.strip_suffix(task)?.strip_suffix('.')).unwrap_or(key);
            key.is_empty() || tasks.contains(&key) || guards.names().any(|name| name == guard)
        };
        all.into_iter().find_map(|(key, given)| match given {
            Given::Score(value) if !(0.0..=1.0).contains(&value) => Some(format!("score: {value} is not from 0 to 1")),
            _ if !known(key) => Some(format!("score: there is no guard or task `{key}`")),
            _ => None,
        })
    }
}

fn task_name(task: Task) -> &'static str {
    match task {
        Task::Prompt => "prompt",
        Task::Response => "response",
    }
}

/// The guards of the settings, none of them started: their names and their own thresholds.
#[derive(Debug)]
pub struct Guards(Vec<(String, Option<Manifest>)>);

impl Guards {
    /// Those of these settings. A guard that is not on this machine has the threshold 0.5.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let named = config.guards.iter().map(|(name, settings)| (name.as_str(), settings));
        let all = std::iter::once((DEFAULT_GUARD, &config.guard)).chain(named);
        Self(all.map(|(name, settings)| (name.to_owned(), guard::manifest(settings).ok())).collect())
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    fn threshold(&self, guard: usize, task: Task, language: Option<&str>) -> f32 {
        let manifest = self.0.get(guard).and_then(|(_, manifest)| manifest.as_ref());
        manifest.map_or(USUAL, |manifest| manifest.task(task).threshold([language]))
    }
}
