//! The facts of a call that is tried, as a test or a command line gives them.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::nearest,
    dialect::{DIALECTS, Dialect},
    identity::Caller,
    policy::Call,
};

/// Facts of the call; what is left out is as in a plain call without a key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// Whose call it is.
    pub tenant: Option<String>,
    /// The name of the caller's key.
    pub key: Option<String>,
    /// The caller's subject.
    pub subject: Option<String>,
    /// What the caller's token claims.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// The model asked for; what a request says itself counts more.
    pub model: String,
    /// The route; `""` if none took the call.
    pub route: String,
    /// The upstream.
    pub upstream: String,
    /// The API spoken; where a request is given, its path tells.
    pub dialect: String,
    /// Whether the answer is asked for as a stream.
    pub stream: bool,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The random number by which rules with a `sample` are asked or not.
    pub draw: u64,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            tenant: None,
            key: None,
            subject: None,
            claims: serde_json::Map::new(),
            model: String::new(),
            route: String::new(),
            upstream: "default".to_owned(),
            dialect: DIALECTS.first().map_or("", |dialect| dialect.name()).to_owned(),
            stream: false,
            headers: BTreeMap::new(),
            draw: 0,
        }
    }
}

impl Facts {
    /// The API that is named.
    ///
    /// # Errors
    /// There is none of this name.
    pub(super) fn dialect(&self) -> Result<&'static dyn Dialect, String> {
        let known = DIALECTS.iter().find(|dialect| dialect.name() == self.dialect);
        known.copied().ok_or_else(|| {
            let near = nearest(&self.dialect, DIALECTS.iter().map(|dialect| dialect.name())).unwrap_or_default();
            format!("dialect: there is no API `{}`; did you mean `{near}`?", self.dialect)
        })
    }

    /// The call, today.
    pub(super) fn call(&self, dialect: &'static str, language: Option<&'static str>) -> Call {
        let Self { tenant, key, subject, claims, model, route, upstream, dialect: _, stream, headers, draw } = self.clone();
        Call {
            route,
            upstream,
            dialect,
            model,
            others: Vec::new(),
            stream,
            headers: headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
            caller: Caller { tenant, key, subject, claims, method: None },
            language,
            draw,
            today: TimeZone::UTC.to_datetime(Timestamp::now()).date(),
        }
    }
}
