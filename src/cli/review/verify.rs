//! `seawall review verify`

use clap::Args;

use super::StoreArgs;
use crate::cli::{Failed, failed, say};

/// Checks that no line of the audit trail was changed, left out or moved, and prints their number and the last one's hash.
///
/// Keep that hash elsewhere: with `--contains` it proves later that nothing up to that line was cut off or written anew.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    store: StoreArgs,
    /// A hash that this command printed before
    #[arg(long, value_name = "HASH")]
    contains: Option<String>,
}

impl Verify {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let verified = self.store.open().await?.verify(self.contains.as_deref()).await.map_err(failed)?;
        say(format!("{} lines fit, head {}", verified.lines, verified.head))?;
        if let Some((line, why)) = verified.broken {
            return Err(failed(format!("the audit trail is broken at line {line}: {why}")));
        }
        match self.contains {
            Some(hash) if !verified.contains => Err(failed(format!(
                "no line of the audit trail has the hash {hash}: it was cut off or written anew since, or is another store's"
            ))),
            _ => Ok(()),
        }
    }
}
