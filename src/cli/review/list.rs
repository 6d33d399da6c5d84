//! `seawall review list`

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, future::ready};

use super::{StoreArgs, filter::FilterArgs};
use crate::{
    cli::{Failed, failed, say, text::short},
    review::{Filter, Order},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// How many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let (store, filter) = (self.store.open().await?, Filter::from(self.filter));
        if self.json {
            let cases = store.cases(filter, Order::NewestFirst).take(self.limit as usize).map_err(failed);
            return cases.try_for_each(|case| ready(serde_json::to_string(&case).map_err(failed).and_then(say))).await;
        }
        let cases = store.queue(&filter, None, self.limit).await.map_err(failed)?;
        if cases.is_empty() {
            return say("no flagged traffic");
        }
        say(format!(
            "{:<36}  {:<19}  {:<8}  {:<8}  {:>5}  {:<4}  {:<20}  PROMPT",
            "ID", "TIME (UTC)", "DECISION", "STATE", "SCORE", "LANG", "RULES"
        ))?;
        for case in &cases {
            let score = case.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"));
            let (time, language) = (case.at.get(..19).unwrap_or(&case.at), case.language.as_deref().unwrap_or("-"));
            let (rules, prompt) = (case.rules().join(","), short(&case.excerpt, 60));
            say(format!(
                "{:<36}  {time:<19}  {:<8}  {:<8}  {score:>5}  {language:<4}  {rules:<20}  {prompt}",
                case.id,
                case.decision,
                case.state.name()
            ))?;
        }
        Ok(())
    }
}
