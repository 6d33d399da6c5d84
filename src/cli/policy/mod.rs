//! `seawall policy`

mod replay;

use clap::Subcommand;

use super::{Failed, say};
use crate::policy;

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// What a policy would change in recorded traffic, before it goes live
    Replay(Box<replay::Replay>),
    /// The JSON Schema of policy files, for editors: name it in a first line `#:schema PATH`
    Schema,
}

impl Policy {
    pub(super) async fn run(self) -> Result<(), Failed> {
        match self {
            Self::Replay(replay) => replay.run().await,
            Self::Schema => say(policy::schema().trim_end()),
        }
    }
}
