//! `seawall policy check`

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};

use super::Which;
use crate::{
    cli::{Failed, failed, say, usage},
    config::{Config, Route, Uncovered},
    exchange::dialects,
    policy::{self, Policies, Surroundings},
    server,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    #[command(flatten)]
    which: Which,
    /// Exit with 1 if there are warnings
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failed> {
        let config = self.which.load()?;
        let sources = policy::sources(config.policies.dir.as_deref()).map_err(usage)?;
        let policies = server::with_terms(&config, |terms| Policies::parse(&sources, terms)).map_err(usage)?.map_err(usage)?;
        let warnings = policies.lint(&sources, &surroundings(&config));
        for warning in &warnings {
            say(format!("warning: {warning}"))?;
        }
        let names: Vec<&str> = policies.names().collect();
        say(format!("{} in order ({} warnings), revision {}", names.join(", "), warnings.len(), policies.revision()))?;
        if self.strict && !warnings.is_empty() { Err(failed("there are warnings")) } else { Ok(()) }
    }
}

/// What the settings know of calls.
fn surroundings(config: &Config) -> Surroundings<'_> {
    let identity = &config.identity;
    let mut routes: Vec<&str> = config.routes.iter().map(Route::called).collect();
    // Calls that no route takes go to `[upstream]`, if there is one.
    if routes.is_empty() || !config.upstream.url.is_empty() {
        routes.push("");
    }
    let upstreams = config.named_upstreams().map(|(name, _)| name.unwrap_or("default")).collect();
    // Keys in a file of their own can change while the proxy runs, and tokens can name any tenant.
    let keyless = !identity.is_required() || identity.jwt.is_some() || !identity.subjects.is_empty();
    let keys = identity.keys.iter().map(|key| key.name.as_str()).chain(keyless.then_some(""));
    let owners = identity.keys.iter().map(|key| &key.tenant).chain(identity.subjects.iter().map(|subject| &subject.tenant));
    let known = owners.map(|tenant| tenant.as_deref().unwrap_or_default());
    let nobody = (!identity.is_required()).then_some("");
    let tenants = known.chain(nobody);
    Surroundings {
        routes,
        upstreams,
        dialects: dialects().collect(),
        keys: identity.keys_file.is_none().then(|| keys.collect()),
        tenants: (identity.keys_file.is_none() && identity.jwt.is_none()).then(|| tenants.collect()),
        uncovered_pass: config.policies.uncovered == Uncovered::Allow,
        today: TimeZone::UTC.to_datetime(Timestamp::now()).date(),
    }
}
