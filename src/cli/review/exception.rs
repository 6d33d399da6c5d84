//! `seawall review exception`

use clap::{Args, Subcommand};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{StoreArgs, actor, find, user};
use crate::{
    cli::{
        Failed, failed, say,
        text::{short, visible},
        usage,
    },
    review::{self, Case, NewException},
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Exception {
    /// The exceptions that were made, the newest first
    List(List),
    /// Let the flagged text of a case pass from now on
    Add(Add),
    /// End an exception
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    store: StoreArgs,
    /// How many
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    #[command(flatten)]
    store: StoreArgs,
    /// The case's id, or as much of it as is needed
    case: String,
    /// The last day (UTC) on which it holds, such as `2026-12-31`; a year ahead at most
    #[arg(long, value_name = "DAY")]
    expires: Date,
    /// Who answers for it; you if left out
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// The policy that lets it pass, several if given again; all whose rules matched if left out
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
    /// The text's hash, where rules matched several texts of the case
    #[arg(long)]
    hash: Option<String>,
    /// Why
    #[arg(long, default_value = "")]
    note: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    #[command(flatten)]
    store: StoreArgs,
    /// The exception's id
    id: String,
}

impl Exception {
    pub(super) async fn run(self) -> Result<(), Failed> {
        match self {
            Self::List(list) => list.run().await,
            Self::Add(add) => add.run().await,
            Self::Remove(remove) => remove.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failed> {
        let exceptions = self.store.open().await?.exceptions(self.limit).await.map_err(failed)?;
        if self.json {
            return exceptions.iter().try_for_each(|own| say(serde_json::to_string(own).map_err(failed)?));
        }
        if exceptions.is_empty() {
            return say("no exceptions");
        }
        say(format!(
            "{:<36}  {:<10}  {:<8}  {:<16}  {:<16}  {:<12}  NOTE",
            "ID", "EXPIRES", "STATE", "POLICY", "OWNER", "HASH"
        ))?;
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        exceptions.iter().try_for_each(|own| say(row(own, today)))
    }
}

fn row(own: &review::Exception, today: Date) -> String {
    let state = match &own.removed {
        Some(_) => "removed",
        None if own.expires < today => "expired",
        None => "holds",
    };
    let (expires, hash) = (own.expires.to_string(), own.hash.get(..12).unwrap_or(&own.hash));
    let (policy, owner, note) = (visible(&own.policy), short(&own.owner, 16), short(&own.note, 40));
    format!("{:<36}  {expires:<10}  {state:<8}  {policy:<16}  {owner:<16}  {hash:<12}  {note}", own.id)
}

impl Add {
    async fn run(self) -> Result<(), Failed> {
        let store = self.store.open().await?;
        let case = find(&store, &self.case).await?;
        let hash = match self.hash {
            Some(hash) => hash,
            None => only_text(&case)?,
        };
        let policies = if self.policy.is_empty() { policies(&case) } else { self.policy };
        let owner = self.owner.unwrap_or_else(user);
        let new = NewException { hash, policies, case: Some(case.id), owner, note: self.note, expires: self.expires };
        for made in store.add_exception(&new, &actor()).await.map_err(usage)? {
            say(format!("{}: {} lets the text {} pass until {}", made.id, visible(&made.policy), made.hash, made.expires))?;
        }
        Ok(())
    }
}

/// The hash of the one text at which rules matched.
fn only_text(case: &Case) -> Result<String, Failed> {
    let mut hashes: Vec<String> = case.excepted().into_iter().filter_map(|text| text.hash()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    match hashes.as_slice() {
        [hash] => Ok(hash.clone()),
        [] => Err(usage("no text that a rule matched is known as it was written, since findings in it are masked")),
        several => Err(usage(format!("rules matched several texts; name one with --hash: {}", several.join(" ")))),
    }
}

/// The policies whose rules matched.
fn policies(case: &Case) -> Vec<String> {
    let reasons = case.reasons.as_array().into_iter().flatten();
    let mut policies: Vec<String> = reasons.filter_map(|reason| Some(reason.get("policy")?.as_str()?.to_owned())).collect();
    policies.sort_unstable();
    policies.dedup();
    policies
}

impl Remove {
    async fn run(self) -> Result<(), Failed> {
        let store = self.store.open().await?;
        store.remove_exception(&self.id, &actor()).await.map_err(failed)?;
        say(format!("{} holds no longer", self.id))
    }
}
