//! A set of policies as operators see it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Action, Mode, Policies};

/// A policy in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed<'p> {
    /// Its name.
    pub name: &'p str,
    /// What it is for.
    pub description: &'p str,
    /// The file that it was read from.
    pub file: Cow<'p, str>,
    /// Whether it acts, or only records.
    pub mode: Mode,
    /// Its rules, as they stand in the file.
    pub rules: Vec<ListedRule<'p>>,
}

/// A rule in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedRule<'p> {
    /// Its name.
    pub name: &'p str,
    /// What it does.
    pub action: Action,
    /// Whether it acts, as its policy and it say together.
    pub mode: Mode,
}

impl Policies {
    /// The policies, in the order of their files.
    #[must_use]
    pub fn list(&self) -> Vec<Listed<'_>> {
        let policies = self.policies.iter().map(|policy| Listed {
            name: &policy.name,
            description: &policy.description,
            file: policy.file.to_string_lossy(),
            mode: policy.mode,
            rules: policy
                .rules
                .iter()
                .map(|rule| ListedRule { name: &rule.name, action: rule.action, mode: rule.mode })
                .collect(),
        });
        policies.collect()
    }
}
