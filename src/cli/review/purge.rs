//! `seawall review purge`

use clap::Args;

use super::{StoreArgs, actor, filter::FilterArgs, find};
use crate::{
    cli::{Failed, failed, say, usage},
    review::{Chosen, Filter},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Purge {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Of this id, or as much of it as is needed; several if given again
    #[arg(long, value_name = "ID", conflicts_with_all = [
        "since", "until", "policy", "rule", "direction", "language", "tenant", "key", "subject", "decision", "state",
        "min_score", "max_score", "search",
    ])]
    id: Vec<String>,
    /// Delete them; without it, only their number is told
    #[arg(long)]
    yes: bool,
}

impl Purge {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let filter = Filter::from(self.filter);
        if filter.is_all() && self.id.is_empty() {
            return Err(usage("say which cases are to be deleted, such as with --subject, --until or --id"));
        }
        let store = self.store.open().await?;
        let chosen = if self.id.is_empty() {
            Chosen::All(filter)
        } else {
            let mut ids = Vec::with_capacity(self.id.len());
            for id in &self.id {
                ids.push(find(&store, id).await?.id);
            }
            Chosen::Ids(ids)
        };
        if !self.yes {
            let count = store.count(&chosen).await.map_err(failed)?;
            return Err(usage(format!("{count} cases would be deleted for good; add --yes")));
        }
        let count = store.purge(&chosen, &actor()).await.map_err(failed)?;
        say(format!("{count} cases were deleted"))
    }
}
