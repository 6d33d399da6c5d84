//! What policies may ask of a call.

use std::collections::BTreeMap;

use http::HeaderMap;
use jiff::{Timestamp, tz::TimeZone};

use super::route::Route;
use crate::{
    dialect::{Dialect, Request},
    identity::Caller,
    policy::{Call, Policies},
};

/// The call as policies see it, but for its headers and who makes it; `language` is its last prompt's.
pub(super) fn asked(dialect: &dyn Dialect, route: &Route, request: &Request, language: Option<&'static str>) -> Call {
    Call {
        route: route.name.to_string(),
        upstream: route.upstream_name.to_string(),
        dialect: dialect.name(),
        model: request.model.clone(),
        others: request.others.clone(),
        stream: request.stream.is_some(),
        headers: BTreeMap::new(),
        caller: Caller::default(),
        language,
        draw: fastrand::u64(..),
        today: TimeZone::UTC.to_datetime(Timestamp::now()).date(),
    }
}

/// The headers that the policies ask for.
pub(super) fn headers(policies: &Policies, headers: &HeaderMap) -> BTreeMap<String, String> {
    let all = || headers.keys().map(|name| name.as_str().to_owned()).collect();
    let names: Vec<String> = policies.headers().map_or_else(all, <[String]>::to_vec);
    let header = |name: String| {
        let values: Vec<_> = headers.get_all(&name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (!values.is_empty()).then(|| (name, values.join(", ")))
    };
    names.into_iter().filter_map(header).collect()
}
