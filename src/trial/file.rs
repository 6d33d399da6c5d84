//! What a file of tests says, key by key.
//!
//! The doc comments here are what editors show: `policies/tests.schema.json` is made of these types.

use std::path::Path;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

use super::{Facts, Scores, Subject};
use crate::{config::explain, segment::Target};

/// Where a request is sent that does not say.
const USUAL_PATH: &str = "/v1/chat/completions";

/// The tests of a policy, in `NAME.test.toml` beside it. Each is run with that policy alone in force.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tests of a Seawall policy")]
pub struct Tests {
    /// The tests.
    #[serde(default, rename = "test")]
    pub tests: Vec<Test>,
}

/// A test: texts or a whole exchange, and what is to become of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// What the user says.
    pub prompt: Option<String>,
    /// What is said in turn, in place of `prompt`.
    #[serde(default)]
    pub messages: Vec<Message>,
    /// What the model answers.
    pub response: Option<String>,
    /// The body of a request, in place of texts.
    pub request: Option<String>,
    /// The path that it is sent to, which tells its API; `/v1/chat/completions` if left out.
    pub path: Option<String>,
    /// The body of the upstream's answer to it.
    pub answer: Option<String>,
    /// What guards are taken to say; the real ones are asked if left out.
    pub score: Option<Scores>,
    /// The language of all texts; each tells its own if left out.
    pub language: Option<String>,
    /// Facts of the call.
    #[serde(default)]
    pub call: Facts,
    /// What is to become of it. What is left out is not compared.
    pub expect: Expect,
}

/// A message.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The developer.
    System,
    /// The user.
    User,
    /// The model, earlier.
    Assistant,
    /// A tool.
    Tool,
}

/// What is to become of an exchange.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// What is decided on the whole of it.
    pub decision: Word,
    /// The rules that match, in any order, those in shadow mode too.
    pub rules: Option<Vec<String>>,
    /// The last prompt as it goes on.
    pub prompt: Option<String>,
    /// The answer as the client gets it.
    pub response: Option<String>,
    /// What is said in its place where it is stopped.
    pub message: Option<String>,
    /// The request's body as it goes on, compared as JSON.
    pub request: Option<String>,
    /// The answer's body as the client gets it, compared as JSON.
    pub answer: Option<String>,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It passes.
    Allow,
    /// It passes and is recorded.
    Flag,
    /// It passes with changes.
    Rewrite,
    /// It is stopped.
    Block,
    /// The policy does not cover the call.
    Uncovered,
}

impl Word {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Rewrite => "rewrite",
            Self::Block => "block",
            Self::Uncovered => "uncovered",
        }
    }
}

impl Tests {
    /// The tests that a text holds; mistakes are told with the path.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(path: &Path, text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| explain(path, text, &e))
    }

    /// Whether a test asks the real guards.
    #[must_use]
    pub fn ask_guards(&self) -> bool {
        self.tests.iter().any(|test| test.score.is_none())
    }
}

impl Test {
    pub(super) fn subject(&self) -> Result<Subject, String> {
        let facts = self.call.clone();
        let texts = self.prompt.is_some() || !self.messages.is_empty() || self.response.is_some();
        match &self.request {
            Some(_) if texts => Err("a test has texts or a `request`, not both".to_owned()),
            Some(request) => {
                Subject::exchange(facts, self.path.as_deref().unwrap_or(USUAL_PATH), request, self.answer.as_deref())
            }
            None if self.answer.is_some() || self.path.is_some() => Err("`answer` and `path` need a `request`".to_owned()),
            None if !texts => Err("a test needs a `prompt`, `messages`, a `response` or a `request`".to_owned()),
            None if self.prompt.is_some() && !self.messages.is_empty() => {
                Err("a test has a `prompt` or `messages`, not both".to_owned())
            }
            None => {
                let prompt = self.prompt.iter().map(|text| (Target::Prompt, text.clone()));
                let said = self.messages.iter().map(|message| (message.role.target(), message.text.clone()));
                Subject::texts(facts, prompt.chain(said).collect(), self.response.clone())
            }
        }
    }
}

impl Role {
    fn target(self) -> Target {
        match self {
            Self::System => Target::System,
            Self::User => Target::Prompt,
            Self::Assistant => Target::Completion,
            Self::Tool => Target::ToolResult,
        }
    }
}

/// The JSON Schema of a file of tests, as editors read it.
#[must_use]
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Tests>();
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_have_the_schema_of_these_types() {
        let kept = include_str!("../../policies/tests.schema.json");
        assert!(
            kept == schema(),
            "policies/tests.schema.json is stale: run `seawall policy schema --tests > policies/tests.schema.json`"
        );
    }
}
