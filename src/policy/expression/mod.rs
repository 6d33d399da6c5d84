//! Conditions: what a rule asks in its `when`, in [CEL](https://cel.dev), checked when its policy is loaded.
//!
//! ```text
//! score > 0.5 && language == "th" && identity.tenant != "red-team"
//! findings.exists(name, name.startsWith("secret.")) && request.headers["x-team"] in ["support", "sales"]
//! scores.large > threshold || (scores.default + scores.large) / 2.0 > 0.7
//! has(identity.claims.role) && identity.claims.role == "nurse"
//! ```
//!
//! | variable | type | what it is |
//! |---|---|---|
//! | `score` | double | P(unsafe) of this passage by the rule's guard |
//! | `threshold` | double | that guard's own threshold |
//! | `scores.NAME`, `scores["NAME"]` | double | P(unsafe) by another guard of the configuration |
//! | `findings` | list(string) | the detectors that found something in the passage |
//! | `language` | string | its language; `""` if it does not tell |
//! | `target` | string | the kind of text, as in `where` |
//! | `direction` | string | `"request"` or `"response"` |
//! | `request.dialect`, `.model`, `.route`, `.upstream` | string | where the exchange goes; `""` if it does not say |
//! | `request.stream` | bool | whether the answer is asked for as a stream |
//! | `request.headers` | map(string, string) | by name in lower case; a header that is not there is `""` |
//! | `identity.tenant`, `.key`, `.subject` | string | who calls; `""` if that is not known |
//! | `identity.claims` | dyn | what the caller's token claims, known only when it is asked |
//!
//! | | |
//! |---|---|
//! | `&&` `\|\|` `!` `? :` | of bools |
//! | `==` `!=` | of values of one type; numbers of any type |
//! | `<` `<=` `>` `>=` | of two numbers or two strings |
//! | `+` `-` `*` `/` | of doubles (`1.0`, not `1`); `/` by a number that is written out |
//! | `in` | in a list, or among the names of the headers |
//! | `has(…)` | whether there is this header or claim |
//! | `.contains` `.startsWith` `.endsWith` | of strings |
//! | `.matches("…")` | whether the pattern, of Rust's `regex`, is found in the string |
//! | `size(…)` | of a string in characters, of a list or map in items |
//! | `int` `double` `string` `bool` | conversions that cannot fail, and any of a claim |
//! | `.exists` `.all` `.exists_one` `.filter` `.map` | of a list, or of the names of the headers: `findings.all(name, …)` |
//!
//! A condition that loads has an answer for every exchange, unless it asks for a claim that is not there or is of another
//! type, or calculates with numbers so large that no number is left. Then it fails, and its rule counts as matching: ask
//! `has(…)` first. What could fail otherwise is not offered: an item of a list by its place, text read as a number, whole
//! numbers that overflow. What could take long is not either: a condition has a size, a depth and a number of steps.

mod check;
mod place;
mod types;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, LazyLock, OnceLock},
};

use cel::{
    Context, Env, ExecutionError, Value,
    common::{ast::IdedExpr, types::CelBool, value::Val},
    context::VariableResolver,
    parser::PrattParser,
};

pub use self::values::{CallFacts, Facts};

/// Bytes of a condition. A chain of operators is a tree as deep as it is long until it is checked, and trees are freed
/// recursively; this keeps that far from the end of a thread's stack.
const MAX_SOURCE: usize = 4 << 10;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A condition that was checked.
#[derive(Debug, Clone)]
pub struct Expression {
    tree: IdedExpr,
    constants: Vec<Box<dyn Val>>,
    asks: Asks,
}

/// What a condition asks for; what it does not ask for need not be found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asks {
    /// `score` or `threshold`: the rule's guard.
    pub score: bool,
    /// Guards by name, of `scores`.
    pub guards: BTreeSet<String>,
    /// What the detectors found.
    pub findings: bool,
    /// Headers by name.
    pub headers: BTreeSet<String>,
    /// All headers.
    pub every_header: bool,
}

/// Why a condition cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Mistake {
    /// What is wrong and what to do.
    pub message: String,
    /// Where, in bytes of the source.
    pub at: Option<Range<usize>>,
}

/// Why a condition has no answer for an exchange.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failed {
    /// A claim that is not there, or is of a type that the condition does not expect.
    #[error("it asks for a claim that is not there, or is of another type")]
    Evaluation(#[from] ExecutionError),
    /// A claim stands for the answer and is no bool.
    #[error("its value is a `{0}`, not a `bool`")]
    NotBool(String),
}

impl Expression {
    /// Reads and checks a condition. `guards` are the names that `scores` may be asked for.
    ///
    /// # Errors
    /// What is no CEL, does not fit the types above, or is too large.
    pub fn compile(source: &str, guards: &[&str]) -> Result<Self, Mistake> {
        if source.len() > MAX_SOURCE {
            let message = format!("the condition has {} bytes; {MAX_SOURCE} are allowed", source.len());
            return Err(Mistake { message, at: None });
        }
        let parser = PrattParser::new().max_recursion_depth(check::MAX_DEPTH);
        let mut tree = parser.parse(source).map_err(|errors| place::syntax(source, &errors))?;
        match check::check(&mut tree, guards) {
            Ok((asks, constants)) => Ok(Self { tree, constants, asks }),
            Err(wrong) => Err(Mistake { message: wrong.message, at: place::node(source, wrong.id) }),
        }
    }

    /// What it asks for.
    #[must_use]
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// It asks for a claim that is not there or is of another type, or for a score that `facts` does not have.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Failed> {
        self.answer(&values::Scope { facts, constants: &self.constants, findings: OnceLock::new() })
    }

    /// Whether it holds, and the variables that were read to tell, with their values.
    pub fn watched(&self, facts: &Facts<'_>) -> (Result<bool, Failed>, BTreeMap<String, serde_json::Value>) {
        let scope = values::Scope { facts, constants: &self.constants, findings: OnceLock::new() };
        let watch = values::Watch::new(scope);
        let answer = self.answer(&watch);
        (answer, watch.read())
    }

    fn answer(&self, scope: &dyn VariableResolver) -> Result<bool, Failed> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(scope);
        let value = Value::resolve_val(&self.tree, &context)?;
        let answer = value.downcast_ref::<CelBool>().map(|answer| *answer.inner());
        answer.ok_or_else(|| Failed::NotBool(value.get_type().name().to_owned()))
    }
}

#[cfg(test)]
mod tests;
