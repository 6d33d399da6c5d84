//! `seawall key`

use std::io::{self, Read as _};

use clap::Subcommand;

use super::{Failed, failed, say, usage};
use crate::{
    identity::{Secret, hash, new_key},
    review::new_sealing_key,
};

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make a key: prints it, once, and the lines for `seawall.toml` that let it in
    New {
        /// Its name in policies, limits and logs
        name: String,
        /// Whose it is
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Print the hash of a key that standard input holds; it should be as long and as random as those of `seawall key new`
    Hash,
    /// Print a new key for `review.keys`, with which the record's texts are sealed; it is kept nowhere else
    Sealing,
}

impl Key {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::New { name, tenant } => {
                let key = new_key().map_err(failed)?;
                let quoted = |text: String| toml::Value::String(text).to_string();
                let tenant = tenant.map(|tenant| format!("tenant = {}\n", quoted(tenant))).unwrap_or_default();
                say(key.expose())?;
                say("\n# The key is shown this once. For `seawall.toml`, or for the file that `identity.keys_file` names:")?;
                say(format!("[[identity.keys]]\nname = {}\nhash = \"{}\"\n{tenant}", quoted(name), hash(key.expose()))
                    .trim_end())
            }
            Self::Hash => {
                let mut text = zeroize::Zeroizing::new(String::new());
                io::stdin().read_to_string(&mut text).map_err(failed)?;
                let key = Secret::new(text.trim());
                if key.expose().is_empty() {
                    return Err(usage("standard input holds no key"));
                }
                say(hash(key.expose()))
            }
            Self::Sealing => say(new_sealing_key().map_err(failed)?.expose()),
        }
    }
}
