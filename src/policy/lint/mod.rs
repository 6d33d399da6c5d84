//! What is no mistake in a policy and still seldom meant: rules that can do nothing, thresholds that change nothing, calls that
//! no policy covers.

mod cover;
mod rule;

use std::path::Path;

use jiff::civil::Date;

use super::{Policies, Source, compile::Mistake, load::tell, rule::File, scope::matches};

/// What the settings know, for scopes to name. A list holds the empty string if calls may be without; one that is `None` is
/// open: any name may come, or none.
#[derive(Debug, Default)]
pub struct Surroundings<'s> {
    /// Names of the routes.
    pub routes: Vec<&'s str>,
    /// Names of the upstreams.
    pub upstreams: Vec<&'s str>,
    /// Names of the APIs.
    pub dialects: Vec<&'static str>,
    /// Names of the keys.
    pub keys: Option<Vec<&'s str>>,
    /// The tenants.
    pub tenants: Option<Vec<&'s str>>,
    /// Whether a call that no policy covers passes.
    pub uncovered_pass: bool,
    /// The day (UTC).
    pub today: Date,
}

impl Surroundings<'_> {
    /// The names that a list of a scope may mean, if the settings know them all.
    fn names(&self, key: &str) -> Option<&[&str]> {
        match key {
            "routes" => Some(self.routes.as_slice()),
            "upstreams" => Some(self.upstreams.as_slice()),
            "dialects" => Some(self.dialects.as_slice()),
            "keys" => self.keys.as_deref(),
            "tenants" => self.tenants.as_deref(),
            _ => None,
        }
    }
}

impl Policies {
    /// What is odd about these policies, one line each, with its place; `sources` are the texts that they were made of.
    #[must_use]
    pub fn lint(&self, sources: &[Source], surroundings: &Surroundings<'_>) -> Vec<String> {
        let mut told = Vec::new();
        for (policy, (path, text)) in self.policies.iter().zip(sources) {
            let (Ok(file), Ok(raw)) = (toml::from_str::<File>(text), toml::from_str::<toml::Table>(text)) else { continue };
            let mut odd = scope(&file, surroundings);
            odd.extend(exempt(&file, surroundings.today));
            odd.extend(rule::odd_rules(policy, &file, &raw));
            told.extend(odd.iter().map(|odd| tell(path, text, odd)));
        }
        let scopes: Vec<_> = self.policies.iter().map(|policy| &policy.scope).collect();
        let gap = cover::gap(&scopes, surroundings);
        let place = || sources.first().map(|(path, _)| if sources.len() == 1 { path.as_path() } else { above(path) });
        told.extend(gap.map(|gap| format!("{}: {gap}", place().unwrap_or(Path::new("")).display())));
        told
    }
}

fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn odd(key: &[&str], why: impl Into<String>) -> Mistake {
    Mistake { key: key.iter().map(|part| (*part).to_owned()).collect(), why: why.into() }
}

/// Names that the settings do not have.
fn scope(file: &File, surroundings: &Surroundings<'_>) -> Vec<Mistake> {
    let mut all = Vec::new();
    for (key, list) in file.scope.lists() {
        let Some(names) = key.first().filter(|_| key.len() == 1).and_then(|key| surroundings.names(key)) else { continue };
        for (number, pattern) in list.iter().enumerate() {
            if !pattern.is_empty() && !names.iter().any(|name| matches(pattern, name)) {
                let number = number.to_string();
                let key: Vec<&str> = ["scope"].into_iter().chain(key.iter().copied()).chain([number.as_str()]).collect();
                all.push(odd(&key, format!("the settings have none that fits `{pattern}`")));
            }
        }
    }
    all
}

fn exempt(file: &File, today: Date) -> Vec<Mistake> {
    let ended = file.exempt.iter().enumerate().filter_map(|(number, exempt)| {
        let last = exempt.expires.as_ref()?;
        let over = last.parse::<Date>().is_ok_and(|last| last < today);
        over.then(|| odd(&["exempt", &number.to_string(), "expires"], "the day is over: the text is no longer let pass"))
    });
    ended.collect()
}

#[cfg(test)]
mod tests;
