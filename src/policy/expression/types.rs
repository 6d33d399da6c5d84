//! The types of a condition, and the variables that it may read.

use std::fmt;

/// What a part of a condition is before any exchange is seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Bool,
    Int,
    Double,
    Text,
    Null,
    List(Box<Self>),
    /// The headers: a map whose absent names read as `""`.
    Headers,
    /// Known only when it is asked: what a token claims.
    Dyn,
}

/// Lists of strings.
const LISTS: [&str; 2] = ["findings", "request.models"];

/// Every other variable but `scores`, with its field where it has some.
const VARIABLES: &[(&str, Type)] = &[
    ("score", Type::Double),
    ("threshold", Type::Double),
    ("language", Type::Text),
    ("target", Type::Text),
    ("direction", Type::Text),
    ("request.dialect", Type::Text),
    ("request.model", Type::Text),
    ("request.route", Type::Text),
    ("request.upstream", Type::Text),
    ("request.stream", Type::Bool),
    ("request.headers", Type::Headers),
    ("identity.method", Type::Text),
    ("identity.tenant", Type::Text),
    ("identity.key", Type::Text),
    ("identity.subject", Type::Text),
    ("identity.claims", Type::Dyn),
];

/// The variables that have fields, which are read one at a time.
pub(super) const RECORDS: [&str; 3] = ["scores", "request", "identity"];

/// The type of a variable, or of a record's field.
pub(super) fn variable(name: &str) -> Option<Type> {
    if LISTS.contains(&name) {
        return Some(Type::List(Box::new(Type::Text)));
    }
    VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, kind)| kind.clone())
}

/// The names that an expression can begin with.
pub(super) fn names<'a>() -> impl Iterator<Item = &'a str> {
    known().filter(|name| !name.contains('.')).chain(RECORDS)
}

/// The fields of a record.
pub(super) fn fields(record: &str) -> impl Iterator<Item = &str> {
    known().filter_map(move |name| name.strip_prefix(record)?.strip_prefix('.'))
}

fn known<'a>() -> impl Iterator<Item = &'a str> {
    VARIABLES.iter().map(|(name, _)| *name).chain(LISTS)
}

impl Type {
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// Whether it can stand where `wanted` is wanted.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        self == wanted || *self == Self::Dyn
    }

    /// Whether `==` between the two can ever be true.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::List(own), Self::List(other)) => own.equals(other),
            // The headers are compared one by one.
            (Self::Headers, Self::Headers) => false,
            _ => self == other || (self.is_number() && other.is_number()),
        }
    }

    /// Whether `<` between the two has an answer.
    pub(super) fn orders(&self, other: &Self) -> bool {
        let can = |kind: &Self| kind.is_number() || matches!(kind, Self::Text | Self::Dyn);
        can(self) && can(other) && self.equals(other)
    }

    /// What is either of the two.
    pub(super) fn join(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            (Self::Dyn, _) | (_, Self::Dyn) => Some(Self::Dyn),
            (Self::List(one), Self::List(other)) => Some(Self::List(Box::new(one.join(*other)?))),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Double => f.write_str("double"),
            Self::Text => f.write_str("string"),
            Self::Null => f.write_str("null"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Headers => f.write_str("map(string, string)"),
            Self::Dyn => f.write_str("dyn"),
        }
    }
}
