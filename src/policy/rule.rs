//! What a policy file says.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::OwnDetector;
use crate::segment::{Direction, Target};

/// A policy file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name, in records and logs.
    pub name: String,
    /// What it is for, for people.
    #[serde(default)]
    pub description: String,
    /// What happens to text that the guard could not judge.
    #[serde(default)]
    pub on_guard_error: Unjudged,
    /// What happens to content that no text guard can judge, such as images.
    #[serde(default)]
    pub on_unscorable: Unjudged,
    /// Its own detectors, by the names that its rules have for them.
    #[serde(default)]
    pub detectors: BTreeMap<String, OwnDetector>,
    /// Its rules; of all that match, the strictest action wins.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// What happens to what was not judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unjudged {
    /// The exchange is refused.
    #[default]
    Block,
    /// It passes, unjudged, as the operator chose.
    Allow,
}

/// A rule: it matches a passage when all that it asks for holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, in records and logs.
    pub name: String,
    /// The kinds of text that it looks at.
    #[serde(rename = "where")]
    pub targets: Vec<Target>,
    /// Requests or responses only; both if left out.
    pub direction: Option<Direction>,
    /// The guard finds the text unsafe.
    pub threshold: Option<Threshold>,
    /// One of these detectors finds something: names, or the part before the dot for a family. Once loaded, a policy's own
    /// are named as its findings are, `policy/detector`.
    #[serde(default)]
    pub detectors: Vec<String>,
    /// What is done.
    pub action: Action,
    /// How a block answers.
    #[serde(default)]
    pub respond: Respond,
    /// What a block answers, or `replace` puts in place of the text.
    pub message: Option<String>,
    /// Whether it acts, or only records that it would.
    #[serde(default)]
    pub mode: Mode,
}

/// At which P(unsafe) a text is unsafe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// `"guard"`: the guard's own threshold for task and language.
    Guard,
    /// At or above this probability.
    AtLeast(f32),
}

/// What is done with a text; later ones are stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It passes.
    Allow,
    /// It passes and is recorded for review.
    Flag,
    /// What the detectors found is masked.
    Redact,
    /// The whole text gives way to the message.
    Replace,
    /// The exchange is refused.
    Block,
}

/// How a block answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Respond {
    /// The message, as the model's own answer in the client's dialect.
    #[default]
    Message,
    /// An error in the dialect's shape.
    Error,
}

/// Whether a rule acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It acts.
    #[default]
    Enforce,
    /// It only records what it would have done.
    Shadow,
}

impl Rule {
    /// Whether it looks for what this detector finds.
    #[must_use]
    pub fn wants(&self, detector: &str) -> bool {
        let family = family(detector);
        self.detectors.iter().any(|wanted| wanted == detector || family == Some(wanted))
    }

    /// What types alone cannot tell.
    pub(super) fn check(&self, known: &[&str]) -> Result<(), String> {
        let unknown = |wanted: &&String| !known.iter().any(|name| name == wanted || family(name) == Some(wanted));
        if let Some(detector) = self.detectors.iter().find(unknown) {
            let short = known.iter().map(|name| name.rsplit('/').next().unwrap_or(name));
            let near = short.min_by_key(|name| strsim::damerau_levenshtein(name, detector)).unwrap_or_default();
            return Err(format!("there is no detector `{detector}`; did you mean `{near}`?"));
        }
        if self.targets.is_empty() {
            return Err("`where` names no kind of text".to_owned());
        }
        match self.action {
            Action::Redact if self.detectors.is_empty() => Err("`redact` needs `detectors` that say what to mask".to_owned()),
            Action::Replace if self.message.is_none() => {
                Err("`replace` needs a `message` to put in place of the text".to_owned())
            }
            Action::Replace if self.targets.contains(&Target::ToolCall) => {
                Err("`replace` cannot rewrite a `tool_call`, whose arguments must stay JSON: block it instead".to_owned())
            }
            Action::Allow | Action::Flag | Action::Redact | Action::Replace | Action::Block => Ok(()),
        }
    }
}

/// The family of a built-in detector; a policy's own have none, whatever the policy is called.
fn family(detector: &str) -> Option<&str> {
    detector.split('.').next().filter(|_| !detector.contains('/'))
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f32),
            Word(String),
        }
        match Written::deserialize(reader) {
            Ok(Written::Number(value)) if (0.0..=1.0).contains(&value) => Ok(Self::AtLeast(value)),
            Ok(Written::Word(word)) if word == "guard" => Ok(Self::Guard),
            _ => Err(de::Error::custom("`threshold` must be \"guard\" or a number from 0 to 1")),
        }
    }
}
