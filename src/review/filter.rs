//! Which cases are meant.

use jiff::{Span, Timestamp, civil::DateTime, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::segment::Direction;

/// What cases must have in common; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// They began then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Moment>,
    /// They began before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// A rule of this policy matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// A rule of this name matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// A rule matched text that travelled this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Language of the text that mattered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Whose traffic it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Name of the caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The caller's name in its token or certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What reviewers say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The least of the highest P(unsafe).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f32>,
    /// The most of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_score: Option<f32>,
    /// What their texts hold somewhere, in capitals or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
}

/// Cases that something is done to at once.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Chosen {
    /// Those of these ids.
    Ids(Vec<String>),
    /// All that a filter lets through.
    All(Filter),
}

impl Filter {
    /// Whether it lets every case through.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// The filter as the audit trail tells it: names of people, and words of theirs, stand in it as hashes only, for what is
    /// told there stays.
    #[must_use]
    pub fn told(&self) -> Value {
        let mut told = json!(self);
        for name in ["tenant", "key", "subject", "search"] {
            if let Some(value) = told.get_mut(name)
                && let Some(text) = value.as_str()
            {
                *value = json!(format!("blake3:{}", blake3::hash(text.as_bytes())));
            }
        }
        told
    }
}

impl Chosen {
    /// The choice as the audit trail tells it.
    #[must_use]
    pub fn told(&self) -> Value {
        match self {
            Self::Ids(ids) => json!({ "ids": ids }),
            Self::All(filter) => json!({ "filter": filter.told() }),
        }
    }
}

/// What a reviewer says of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    /// It was rightly flagged: the text is unsafe, or what was found in it is real.
    Right,
    /// It was not.
    Wrong,
}

impl Opinion {
    /// Its name, as it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Right, Self::Wrong].into_iter().find(|opinion| opinion.name() == name)
    }
}

/// What reviewers say of a case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing yet.
    #[default]
    Open,
    /// That it was rightly flagged.
    Right,
    /// That it was not.
    Wrong,
    /// One this and another that.
    Disputed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Right, Self::Wrong, Self::Disputed];

    /// Its name, as it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Disputed => "disputed",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A moment: a day (`2026-01-31`) or a time (`2026-01-31T12:00`) in UTC, one with its offset (RFC 3339), or a time that has
/// passed since (`12h`, `7d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(Timestamp);

impl Moment {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn ms(self) -> i64 {
        self.0.as_millisecond()
    }

    /// As a timestamp.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self(at));
        }
        if let Ok(at) = text.parse::<DateTime>() {
            return TimeZone::UTC.to_timestamp(at).map(Self).map_err(|e| e.to_string());
        }
        let ago = text.parse::<Span>().map_err(|_| "must be a day such as `2026-01-31`, or a time such as `12h` or `7d`")?;
        let now = TimeZone::UTC.to_datetime(Timestamp::now());
        let at = now.checked_sub(ago.abs()).and_then(|at| TimeZone::UTC.to_timestamp(at));
        at.map(Self).map_err(|e| e.to_string())
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.0.to_string()
    }
}

/// A place in the cases' order, which is that of their beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// When the case there began, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its id.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    #[test]
    fn no_name_and_no_word_is_told() {
        let name = |text: &str| Some(text.to_owned());
        let filter = Filter { subject: name("ana"), search: name("bomb"), language: name("th"), ..Filter::default() };
        let told = Chosen::All(filter).told().to_string();
        assert!(!told.contains("ana") && !told.contains("bomb") && told.contains("\"language\":\"th\""), "{told}");
        assert!(told.contains(&blake3::hash(b"ana").to_string()), "who knows the name finds the line");
    }

    #[test]
    fn since_a_day_an_hour_or_a_while() {
        let at = |text: &str| text.parse::<Moment>().unwrap().timestamp();
        assert_eq!(at("2026-01-31").to_string(), "2026-01-31T00:00:00Z");
        assert_eq!(at("2026-01-31T12:00").to_string(), "2026-01-31T12:00:00Z");
        assert_eq!(at("2026-01-31T12:00:00+07:00").to_string(), "2026-01-31T05:00:00Z");
        let ago = |text: &str| at(text).duration_until(Timestamp::now()).as_secs();
        assert!((0..2).contains(&(ago("12h") - 12 * 3_600)) && (0..2).contains(&(ago("7d") - 7 * 86_400)));
        assert!(Moment::from_str("yesterday").is_err());
    }
}
