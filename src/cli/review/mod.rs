//! `seawall review`

mod decide;
mod exception;
mod export;
mod filter;
mod list;
mod purge;
mod reseal;
mod show;
mod verify;

use std::{env, path::PathBuf};

use clap::{Args, Subcommand};

use super::{Failed, failed, usage};
use crate::{
    config,
    review::{Case, Seal, Store},
};

#[derive(Debug, Subcommand)]
pub(super) enum Review {
    /// The newest cases
    List(list::List),
    /// One case in full
    Show(show::Show),
    /// Say what a case is: rightly flagged or not
    Decide(decide::Decide),
    /// Take a decision back
    Undo(decide::Undo),
    /// All cases, oldest first: to scan and replay, to calibrate guards with, or for a spreadsheet
    Export(export::Export),
    /// Delete cases for good, with all that hangs on them
    Purge(purge::Purge),
    /// Seal the whole record with the first key of the settings
    Reseal(reseal::Reseal),
    /// Check the audit trail
    Verify(verify::Verify),
    /// Texts that a policy lets pass until a day
    #[command(subcommand)]
    Exception(exception::Exception),
}

#[derive(Debug, Args)]
struct StoreArgs {
    /// Settings' file; `seawall.toml` here if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where flagged traffic is recorded [default: sqlite://seawall.db]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl StoreArgs {
    async fn open(self) -> Result<Store, Failed> {
        let flags: Vec<_> = self.store.into_iter().map(|url| ("review.store", url)).collect();
        let config = config::load(self.config.as_deref(), &flags).map_err(usage)?;
        let seal = Seal::new(&config.review.keys).map_err(usage)?;
        Ok(Store::open_existing(&config.review.store).await.map_err(failed)?.sealing(seal))
    }
}

impl Review {
    pub(super) async fn run(self) -> Result<(), Failed> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Decide(decide) => decide.run().await,
            Self::Undo(undo) => undo.run().await,
            Self::Export(export) => export.run().await,
            Self::Purge(purge) => purge.run().await,
            Self::Reseal(reseal) => reseal.run().await,
            Self::Verify(verify) => verify.run().await,
            Self::Exception(exception) => exception.run().await,
        }
    }
}

/// Who the system says is at the terminal.
fn user() -> String {
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| "unknown".to_owned())
}

/// The same, as the audit trail names them.
fn actor() -> String {
    format!("cli:{}", user())
}

async fn find(store: &Store, id: &str) -> Result<Case, Failed> {
    let case = store.find(id).await.map_err(failed)?;
    case.ok_or_else(|| failed(format!("no case, or several, with an id that begins `{id}`; see `seawall review list`")))
}
