//! `seawall review decide` and `undo`

use clap::Args;

use super::{StoreArgs, actor, find, user};
use crate::{
    cli::{Failed, failed, say},
    review::{NewDecision, Opinion},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Decide {
    #[command(flatten)]
    store: StoreArgs,
    /// The case's id, or as much of it as is needed
    id: String,
    /// `right`: it was rightly flagged; `wrong`: it was not
    #[arg(value_parser = opinion)]
    opinion: Opinion,
    /// Why
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    reviewer: Reviewer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Undo {
    #[command(flatten)]
    store: StoreArgs,
    /// The case's id, or as much of it as is needed
    id: String,
    #[command(flatten)]
    reviewer: Reviewer,
}

#[derive(Debug, Args)]
struct Reviewer {
    /// Whose decision it is; yours if left out
    #[arg(long, value_name = "NAME")]
    reviewer: Option<String>,
}

fn opinion(name: &str) -> Result<Opinion, String> {
    Opinion::named(name).ok_or_else(|| "must be `right` or `wrong`".to_owned())
}

impl Decide {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let store = self.store.open().await?;
        let (case, reviewer) = (find(&store, &self.id).await?, self.reviewer.reviewer.unwrap_or_else(user));
        let new = NewDecision { reviewer: &reviewer, opinion: self.opinion, note: &self.note };
        let state = store.decide(&case.id, new, &actor()).await.map_err(failed)?;
        say(format!("{}: {reviewer} says {}; the case is {}", case.id, self.opinion.name(), state.name()))
    }
}

impl Undo {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let store = self.store.open().await?;
        let (case, reviewer) = (find(&store, &self.id).await?, self.reviewer.reviewer.unwrap_or_else(user));
        let state = store.undo(&case.id, &reviewer, &actor()).await.map_err(failed)?;
        say(format!("{}: {reviewer} says nothing any more; the case is {}", case.id, state.name()))
    }
}
