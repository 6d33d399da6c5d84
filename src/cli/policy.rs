//! `seawall policy`

use clap::Subcommand;

use super::{Failed, say};
use crate::policy;

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// The JSON Schema of policy files, for editors: name it in a first line `#:schema PATH`
    Schema,
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::Schema => say(policy::schema().trim_end()),
        }
    }
}
