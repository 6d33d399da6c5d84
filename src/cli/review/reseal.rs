//! `seawall review reseal`

use clap::Args;

use super::{StoreArgs, actor};
use crate::cli::{Failed, failed, say};

/// Seals every case that is in the clear, or sealed with another key, with the first key of `review.keys`. All keys that the record
/// is sealed with must still be named; afterwards only the first is needed.
#[derive(Debug, Args)]
pub(in crate::cli) struct Reseal {
    #[command(flatten)]
    store: StoreArgs,
}

impl Reseal {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let store = self.store.open().await?;
        let count = store.reseal(&actor()).await.map_err(failed)?;
        say(format!("{count} cases were sealed anew"))
    }
}
