//! Which cases a command is about, as flags.

use clap::Args;

use crate::{
    cli::eval::score,
    review::{Filter, Moment, State},
    segment::Direction,
};

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// That began then or later: a day (`2026-01-31`), a time, or how long ago (`12h`, `7d`)
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// That began before
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// In which a rule of this policy matched
    #[arg(long)]
    policy: Option<String>,
    /// In which a rule of this name matched
    #[arg(long)]
    rule: Option<String>,
    /// In which a rule matched text that travelled this way: `request` or `response`
    #[arg(long, value_parser = direction)]
    direction: Option<Direction>,
    /// Whose text is in this language (ISO 639-1)
    #[arg(long)]
    language: Option<String>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Of the caller's key of this name
    #[arg(long)]
    key: Option<String>,
    /// Of the caller of this name in its token or certificate
    #[arg(long)]
    subject: Option<String>,
    /// That were decided so: `allow` (a shadow rule matched), `flag`, `rewrite` or `block`
    #[arg(long)]
    decision: Option<String>,
    /// Of which reviewers say so: `open` (nothing yet), `right`, `wrong` or `disputed`
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// Whose highest score is at least this
    #[arg(long, value_name = "SCORE", value_parser = score)]
    min_score: Option<f32>,
    /// Whose highest score is at most this
    #[arg(long, value_name = "SCORE", value_parser = score)]
    max_score: Option<f32>,
    /// Whose texts hold this somewhere, in capitals or not
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

fn direction(name: &str) -> Result<Direction, String> {
    let known = [Direction::Request, Direction::Response].into_iter().find(|way| way.name() == name);
    known.ok_or_else(|| "must be `request` or `response`".to_owned())
}

fn state(name: &str) -> Result<State, String> {
    State::named(name).ok_or_else(|| "must be `open`, `right`, `wrong` or `disputed`".to_owned())
}

impl From<FilterArgs> for Filter {
    fn from(flags: FilterArgs) -> Self {
        let FilterArgs { since, until, policy, rule, direction, language, tenant, key, subject, decision, state, .. } = flags;
        let FilterArgs { min_score, max_score, search, .. } = flags;
        Self {
            since,
            until,
            policy,
            rule,
            direction,
            language,
            tenant,
            key,
            subject,
            decision,
            state,
            min_score,
            max_score,
            search,
        }
    }
}
