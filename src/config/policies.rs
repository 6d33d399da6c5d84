//! `[policies]`: which policies are in force, and secrets that are kept out of the settings.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// `[policies]`: the policies in force.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// A policy file, a directory whose `.toml` files are all in force, or the name of a policy that comes with Seawall;
    /// `baseline` if none is named.
    pub dir: Option<PathBuf>,
    /// What happens to a call that no policy covers.
    pub uncovered: Uncovered,
    /// The secret that `redact = "hash"` hashes with, so that a value has the same hash on every node and after a restart;
    /// one that lasts as long as the process if none is named.
    pub hash_key: Option<Secret>,
    /// How often the files are looked at besides, in ms, for file systems that tell nobody of changes (NFS). Elsewhere changes are
    /// noticed without it.
    pub poll_ms: Option<u64>,
}

/// What happens to a call that no policy covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Uncovered {
    /// It is refused.
    #[default]
    Block,
    /// It passes, and no rule is asked.
    Allow,
}

/// A secret, and where it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The environment variable that holds it.
    #[serde(default)]
    pub env: Option<String>,
    /// The file that holds it; spaces and line ends around it do not count.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

impl Secret {
    /// The secret.
    ///
    /// # Errors
    /// None where it is said to be.
    pub fn value(&self) -> Result<Zeroizing<String>, String> {
        secret(self.env.as_deref(), self.file.as_deref())
    }
}

pub(super) fn secret(env: Option<&str>, file: Option<&Path>) -> Result<Zeroizing<String>, String> {
    let secret = Zeroizing::new(match (env, file) {
        (Some(name), None) => env::var(name).map_err(|_| format!("the environment variable `{name}` is not set"))?,
        (None, Some(file)) => fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?,
        _ => return Err("name one of `env` and `file`".to_owned()),
    });
    let secret = secret.trim();
    if secret.is_empty() { Err("the secret is empty".to_owned()) } else { Ok(Zeroizing::new(secret.to_owned())) }
}
