//! What a policy file says, key by key, as it is written; `compile` makes of it what decides.
//!
//! The doc comments here are what editors show: `policies/schema.json` is made of these types.

use std::collections::BTreeMap;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

use super::{own::OwnDetector, scope::Scope, threshold::Threshold};
use crate::segment::{Direction, Target};

/// A policy file: one policy. All policies that cover a call hold at once, and the strictest action of all matching rules wins.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Seawall policy")]
pub(super) struct File {
    /// Its name, in records and logs.
    pub name: String,
    /// What it is for, for people.
    #[serde(default)]
    pub description: String,
    /// `shadow`: every rule of this policy only records what it would have done.
    #[serde(default)]
    pub mode: Mode,
    /// What happens to text that the guard could not judge.
    #[serde(default)]
    pub on_guard_error: Unjudged,
    /// What happens to content that no text guard can judge, such as images.
    #[serde(default)]
    pub on_unscorable: Unjudged,
    /// What happens to an exchange in which a rule of this policy matched, acting or not, if the store cannot take its record.
    /// Where several policies' rules matched, `block` holds.
    #[serde(default)]
    pub on_store_error: Unstored,
    /// The calls that it covers; all if left out.
    #[serde(default)]
    pub scope: Scope,
    /// Its own detectors, by the names that its rules have for them.
    #[serde(default)]
    pub detectors: BTreeMap<String, OwnDetector>,
    /// Its rules.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
    /// Known texts that no rule of this policy holds against.
    #[serde(default, rename = "exempt")]
    pub exempt: Vec<Exempt>,
}

/// A rule: it matches a text when all that it asks for holds.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Its name, in records and logs.
    pub name: String,
    /// The kinds of text that it looks at.
    #[serde(rename = "where")]
    #[schemars(length(min = 1))]
    pub targets: Vec<Target>,
    /// Requests or responses only; both if left out.
    pub direction: Option<Direction>,
    /// The guard whose score it asks for: `default`, or a name from `[guards]`.
    pub guard: Option<String>,
    /// The guard finds the text unsafe from this P(unsafe) on.
    pub threshold: Option<Threshold>,
    /// A condition in CEL that must hold too, such as `score > 0.5 && identity.tenant != "red-team"`. `request.model` is the
    /// model asked for, and `request.models` also has the fallbacks that the call names. A header that stands in a call several
    /// times reads as its values with `, ` between them. `identity.method` (`key`, `jwt`, `certificate`) tells of what kind the
    /// subject is.
    pub when: Option<String>,
    /// One of these detectors finds something: names, or the part before the dot for a family. Once loaded, a policy's own
    /// are named as its findings are, `policy/detector`.
    #[serde(default)]
    pub detectors: Vec<String>,
    /// What is done.
    pub action: Action,
    /// Whether it acts, or only records that it would.
    #[serde(default)]
    pub mode: Mode,
    /// The share of exchanges in which it is asked; all if left out.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: Option<f64>,
    /// What stands in place of what `redact` takes out.
    #[serde(default)]
    pub redact: Redaction,
    /// How a block answers.
    #[serde(default)]
    pub respond: Respond,
    /// What a block answers, or `replace` puts in place of the text, in languages that `messages` does not name.
    pub message: Option<String>,
    /// The same by language: the answer speaks the language of the last prompt.
    #[serde(default)]
    pub messages: BTreeMap<String, String>,
    /// What happens to text that the guard could not judge, in place of the policy's own word.
    pub on_guard_error: Option<Unjudged>,
}

/// A known text that no rule of the policy holds against.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Exempt {
    /// The text's hash: BLAKE3 of the text (NFC), 64 hexadecimal digits, as `seawall policy explain` prints it.
    pub hash: String,
    /// Why it is let pass.
    #[serde(default)]
    #[expect(dead_code, reason = "people read it, in the file")]
    pub note: String,
    /// Who answers for it.
    #[serde(default)]
    #[expect(dead_code, reason = "people read it, in the file")]
    pub owner: String,
    /// The last day on which it holds, such as `2027-01-31` (UTC); for good if left out.
    pub expires: Option<String>,
}

/// What happens to what was not judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unjudged {
    /// The exchange is refused.
    #[default]
    Block,
    /// It passes, unjudged, and is recorded for review.
    Flag,
    /// It passes, unjudged, as the operator chose.
    Allow,
}

/// What happens to what cannot be recorded; later ones are stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unstored {
    /// It goes on once its record stands in a journal on this machine, which the store takes over when it can.
    Spool,
    /// It is refused.
    #[default]
    Block,
}

/// What is done with a text; later ones are stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It passes.
    Allow,
    /// It passes and is recorded for review.
    Flag,
    /// What the detectors found is taken out.
    Redact,
    /// The whole text gives way to the message.
    Replace,
    /// The exchange is refused.
    Block,
}

impl Action {
    /// Its name, as in policy files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Redact => "redact",
            Self::Replace => "replace",
            Self::Block => "block",
        }
    }

    /// The word for a decision of this action, in headers, logs and records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Redact | Self::Replace => "rewrite",
            Self::Block => "block",
        }
    }
}

/// What stands in place of a redacted value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Redaction {
    /// What it was, such as `[email]`.
    #[default]
    Mask,
    /// What it was and a keyed hash of it, such as `[email 3f9a0c51d2e8]`: the same value has the same hash.
    Hash,
    /// In a request, a name such as `[EMAIL_1]`, which gives way to the value again wherever the answer has exactly this name:
    /// what the asker may not have back needs `mask`. The same value has the same name within an exchange. In an answer, as
    /// `mask`.
    Placeholder,
}

/// How a block answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Respond {
    /// The message, as the model's own answer in the client's dialect.
    #[default]
    Message,
    /// An error in the dialect's shape.
    Error,
}

/// Whether a rule acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It acts.
    #[default]
    Enforce,
    /// It only records what it would have done.
    Shadow,
}

/// The JSON Schema of a policy file, as editors read it.
#[must_use]
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<File>();
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_have_the_schema_of_these_types() {
        let kept = include_str!("../../policies/schema.json");
        assert!(kept == schema(), "policies/schema.json is stale: run `seawall policy schema > policies/schema.json`");
    }
}
