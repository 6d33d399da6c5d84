//! The facts of an exchange and of a passage as CEL sees them: borrowed where they can be, made once where they cannot.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    slice,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer, Iterable, Iterator as Items, Sizer},
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, MAP_TYPE, Type},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use regex::Regex;
use serde_json::Value as Json;

use crate::policy::Call;

/// What a condition may ask of an exchange, the same for all its passages and rules.
#[derive(Debug)]
pub struct CallFacts {
    call: Arc<Call>,
    headers: OnceLock<Headers>,
    claims: OnceLock<Box<dyn Val>>,
}

impl CallFacts {
    /// The facts of `call`. Costs nothing: what is to be made is made when the first condition asks for it.
    #[must_use]
    pub fn new(call: Arc<Call>) -> Self {
        Self { call, headers: OnceLock::new(), claims: OnceLock::new() }
    }

    fn headers(&self) -> &Headers {
        self.headers.get_or_init(|| {
            let text = |text: &String| CelString::from(text.clone());
            Headers(self.call.headers.iter().map(|(name, value)| (text(name), text(value))).collect())
        })
    }

    fn claims(&self) -> &dyn Val {
        &**self.claims.get_or_init(|| object(&self.call.caller.claims))
    }
}

/// What a condition may ask.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// P(unsafe) of the passage by the rule's guard, if it was asked.
    pub score: Option<f64>,
    /// That guard's own threshold.
    pub threshold: Option<f64>,
    /// P(unsafe) by guard.
    pub scores: &'a [(Arc<str>, f64)],
    /// The detectors that found something in the passage.
    pub findings: &'a [&'a str],
    /// The passage's language; empty if it does not tell.
    pub language: &'a str,
    /// The kind of text, as policy files name it.
    pub target: &'a str,
    /// `request` or `response`.
    pub direction: &'a str,
    /// The exchange.
    pub call: &'a CallFacts,
}

/// The variables of one condition, asked once.
pub(super) struct Scope<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) constants: &'a [Box<dyn Val>],
    pub(super) findings: OnceLock<CelList<'a>>,
}

impl Scope<'_> {
    fn named<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(guard) = name.strip_prefix("scores.") {
            return self.facts.scores.iter().find(|(known, _)| **known == *guard).map(|(_, score)| double(*score));
        }
        if let Some(header) = name.strip_prefix("request.headers.") {
            return Some(text(self.facts.call.call.headers.get(header).map_or("", String::as_str)));
        }
        let number: usize = name.strip_prefix('@')?.parse().ok()?;
        self.constants.get(number).map(|value| CowVal::Borrowed(&**value))
    }
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let facts = self.facts;
        let call = &facts.call.call;
        let optional = |value: &'b Option<String>| text(value.as_deref().unwrap_or_default());
        Some(match variable {
            "score" => double(facts.score?),
            "threshold" => double(facts.threshold?),
            "findings" => CowVal::Borrowed(self.findings.get_or_init(|| {
                let names = facts.findings.iter();
                CelList::from(names.map(|name| Box::new(CelString::from(*name)) as Box<dyn Val + '_>).collect::<Vec<_>>())
            })),
            "language" => text(facts.language),
            "target" => text(facts.target),
            "direction" => text(facts.direction),
            "request.dialect" => text(call.dialect),
            "request.model" => text(&call.model),
            "request.route" => text(&call.route),
            "request.upstream" => text(&call.upstream),
            "request.stream" => CowVal::owned(CelBool::from(call.stream)),
            "request.headers" => CowVal::Borrowed(facts.call.headers()),
            "identity.tenant" => optional(&call.caller.tenant),
            "identity.key" => optional(&call.caller.key),
            "identity.subject" => optional(&call.caller.subject),
            "identity.claims" => CowVal::Borrowed(facts.call.claims()),
            name => return self.named(name),
        })
    }
}

/// The same variables, and which of them were read.
pub(super) struct Watch<'a> {
    scope: Scope<'a>,
    read: Mutex<BTreeSet<String>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(scope: Scope<'a>) -> Self {
        Self { scope, read: Mutex::default() }
    }

    /// The variables that were read, with their values.
    pub(super) fn read(self) -> BTreeMap<String, Json> {
        let names = self.read.into_inner().unwrap_or_else(PoisonError::into_inner);
        names.into_iter().filter_map(|name| self.scope.facts.value(&name).map(|value| (name, value))).collect()
    }
}

impl VariableResolver for Watch<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(variable.to_owned());
        self.scope.resolve(variable)
    }
}

impl Facts<'_> {
    /// A variable's value for people; constants have none.
    fn value(&self, name: &str) -> Option<Json> {
        let call = &self.call.call;
        let optional = |value: &Option<String>| Json::from(value.as_deref().unwrap_or_default());
        Some(match name {
            "score" => self.score.into(),
            "threshold" => self.threshold.into(),
            "findings" => self.findings.into(),
            "language" => self.language.into(),
            "target" => self.target.into(),
            "direction" => self.direction.into(),
            "request.dialect" => call.dialect.into(),
            "request.model" => call.model.clone().into(),
            "request.route" => call.route.clone().into(),
            "request.upstream" => call.upstream.clone().into(),
            "request.stream" => call.stream.into(),
            "request.headers" => call.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            "identity.tenant" => optional(&call.caller.tenant),
            "identity.key" => optional(&call.caller.key),
            "identity.subject" => optional(&call.caller.subject),
            "identity.claims" => Json::Object(call.caller.claims.clone()),
            other => match (other.strip_prefix("scores."), other.strip_prefix("request.headers.")) {
                (Some(guard), _) => self.scores.iter().find(|(known, _)| **known == *guard).map(|(_, score)| *score).into(),
                (_, Some(header)) => call.headers.get(header).map_or("", String::as_str).into(),
                (None, None) => return None,
            },
        })
    }
}

fn double<'b>(value: f64) -> CowVal<'b, 'b> {
    CowVal::owned(CelDouble::from(value))
}

fn text(value: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(value))
}

fn object(claims: &serde_json::Map<String, Json>) -> Box<dyn Val> {
    let entries = claims.iter().map(|(name, value)| (CelMapKey::String(CelString::from(name.clone())), json(value)));
    Box::new(CelMap::from(entries.collect::<HashMap<_, _>>()))
}

fn json(value: &Json) -> Box<dyn Val> {
    match value {
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(*value)),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (_, Some(number)) => Box::new(CelUInt::from(number)),
            _ => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => Box::new(CelString::from(text.clone())),
        Json::Array(items) => Box::new(CelList::from(items.iter().map(json).collect::<Vec<_>>())),
        Json::Object(entries) => object(entries),
    }
}

static PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");

/// A compiled pattern: it holds the strings that it matches.
#[derive(Debug, Clone)]
pub(super) struct Pattern(pub(super) Regex);

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Container for Pattern {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        value.downcast_ref::<CelString<'_>>().map(|text| self.0.is_match(text.inner())).ok_or_else(|| unexpected(value))
    }
}

/// The headers, sorted by name. A header that is not there reads as `""`, so that a condition on it cannot fail.
#[derive(Debug, Clone)]
struct Headers(Vec<(CelString<'static>, CelString<'static>)>);

impl Headers {
    fn find(&self, name: &dyn Val) -> Result<Option<&CelString<'static>>, ExecutionError> {
        let name = name.downcast_ref::<CelString<'_>>().ok_or_else(|| unexpected(name))?;
        let found = self.0.binary_search_by(|(known, _)| known.inner().cmp(name.inner())).ok();
        Ok(found.and_then(|at| self.0.get(at)).map(|(_, value)| value))
    }
}

impl Val for Headers {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Container for Headers {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        self.find(name).map(|found| found.is_some())
    }
}

impl Indexer for Headers {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Ok(self.find(name)?.map_or_else(|| CowVal::owned(CelString::from("")), |value| CowVal::Borrowed(value)))
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

impl Iterable for Headers {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Items<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Names(self.0.iter()))
    }
}

impl Sizer for Headers {
    fn size(&self) -> CelInt {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX).into()
    }
}

struct Names<'b>(slice::Iter<'b, (CelString<'static>, CelString<'static>)>);

impl<'b, 'v> Items<'b, 'v> for Names<'b> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|(name, _)| name as &(dyn Val + 'v))
    }
}

fn unexpected(value: &dyn Val) -> ExecutionError {
    ExecutionError::UnexpectedType { got: value.get_type().name().to_owned(), want: "string".to_owned() }
}
