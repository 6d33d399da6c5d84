//! Calls that no policy covers.

use std::collections::BTreeSet;

use super::Surroundings;
use crate::policy::{Call, scope::Scope};

/// Calls tried before the search is given up: more than real sets of policies need.
const MOST: usize = 100_000;
/// Stands for a name that no policy names. No name holds it.
const OTHER: &str = "\u{1}";

/// A part of scopes, and the values that may tell policies apart there.
struct Part<'s> {
    /// The key in `[scope]`; a header's has its name.
    key: Vec<&'s str>,
    /// `None` is a call that does not have the header.
    values: Vec<Option<String>>,
}

/// What calls no policy covers, and what becomes of them; `None` if there are none.
pub(super) fn gap(scopes: &[&Scope], surroundings: &Surroundings<'_>) -> Option<String> {
    // Policies that are for some languages leave the rest to others.
    let scopes: Vec<&Scope> = scopes.iter().copied().filter(|scope| scope.languages.is_none()).collect();
    let fate = if surroundings.uncovered_pass {
        "they pass, and no rule is asked (`policies.uncovered`)"
    } else {
        "they are refused (`policies.uncovered`)"
    };
    if scopes.is_empty() {
        return Some(format!("no policy covers texts in all languages, so no call is covered: {fate}"));
    }
    let keys: BTreeSet<Vec<&str>> = scopes.iter().flat_map(|scope| scope.lists().map(|(key, _)| key)).collect();
    let parts: Vec<Part<'_>> = keys.into_iter().map(|key| Part::new(key, &scopes, surroundings)).collect();
    let is_covered = |choice: &[usize]| {
        let call = call(&parts, choice, surroundings);
        scopes.iter().any(|scope| scope.misfit(&call).is_none())
    };
    let mut choice = vec![0; parts.len()];
    let mut tries = 0;
    while is_covered(&choice) {
        tries += 1;
        if tries == MOST || !step(&parts, &mut choice) {
            return None;
        }
    }
    // What matters: parts where another value would be covered.
    let matters = |at: usize| {
        let values = parts.get(at).map_or(0, |part| part.values.len());
        (0..values).any(|value| {
            let mut other = choice.clone();
            if let Some(place) = other.get_mut(at) {
                *place = value;
            }
            is_covered(&other)
        })
    };
    let told = (0..parts.len()).filter(|at| matters(*at)).filter_map(|at| tell(parts.get(at)?, *choice.get(at)?));
    let told: Vec<String> = told.collect();
    let told = if told.is_empty() { "with some combinations of what their scopes name".to_owned() } else { told.join(" and ") };
    Some(format!("no policy covers calls {told}: {fate}"))
}

impl<'s> Part<'s> {
    fn new(key: Vec<&'s str>, scopes: &[&'s Scope], surroundings: &Surroundings<'_>) -> Self {
        let known = key.first().filter(|_| key.len() == 1).and_then(|key| surroundings.names(key));
        let mut values: BTreeSet<Option<String>> = BTreeSet::new();
        match known {
            Some(names) => values.extend(names.iter().map(|name| Some((*name).to_owned()))),
            None => {
                let lists = scopes.iter().flat_map(|scope| scope.lists()).filter(|(own, _)| *own == key);
                values.extend(lists.flat_map(|(_, list)| list).map(|pattern| Some(pattern.replace('*', ""))));
                values.insert(Some(OTHER.to_owned()));
            }
        }
        if key.len() > 1 {
            values.insert(None);
        } else if known.is_none() {
            values.insert(Some(String::new()));
        }
        Self { key, values: values.into_iter().collect() }
    }
}

/// The next combination; false after the last.
fn step(parts: &[Part<'_>], choice: &mut [usize]) -> bool {
    for (part, at) in parts.iter().zip(choice) {
        *at += 1;
        if *at < part.values.len() {
            return true;
        }
        *at = 0;
    }
    false
}

fn call(parts: &[Part<'_>], choice: &[usize], surroundings: &Surroundings<'_>) -> Call {
    let mut call = Call::default();
    for (part, at) in parts.iter().zip(choice) {
        let Some(Some(value)) = part.values.get(*at) else { continue };
        let value = value.clone();
        match part.key.as_slice() {
            ["routes"] => call.route = value,
            ["upstreams"] => call.upstream = value,
            ["models"] => call.model = value,
            ["dialects"] => {
                call.dialect = surroundings.dialects.iter().find(|name| **name == value).copied().unwrap_or_default();
            }
            ["keys"] => call.caller.key = Some(value),
            ["tenants"] => call.caller.tenant = Some(value),
            [_, name] => call.headers.extend([((*name).to_owned(), value)]),
            _ => {}
        }
    }
    call
}

fn tell(part: &Part<'_>, at: usize) -> Option<String> {
    let value = part.values.get(at)?;
    let what = match part.key.as_slice() {
        [_, name] => format!("header `{name}`"),
        [key] => key.trim_end_matches('s').to_owned(),
        _ => return None,
    };
    Some(match value.as_deref() {
        None | Some("") => format!("without a {what}"),
        Some(OTHER) => format!("with a {what} that no policy names"),
        Some(value) => format!("with the {what} `{value}`"),
    })
}
