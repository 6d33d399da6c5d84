//! `[review]`: the record of flagged traffic, and what is kept of it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Wrong, nearest,
    policies::{Secret, secret},
};

/// `[review]`: the record of flagged traffic.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Review {
    /// `sqlite://FILE`, or `postgres://USER@HOST/DATABASE`; the password stands in the environment variable `PGPASSWORD`.
    pub store: String,
    /// What is kept of texts, and of what else clients write.
    pub content: Content,
    /// Keys that the texts are sealed with in the store. The first seals, all open, so that a new one put first takes over
    /// while the record's older part stays readable. In the clear if none is named.
    pub keys: Vec<ReviewKey>,
    /// Days after which a case is forgotten; 0 keeps all.
    pub keep_days: u32,
    /// Size of the store, in MiB, beyond which the oldest cases are forgotten; 0 sets no limit.
    pub keep_mb: u64,
    /// Folder of the journal that takes flagged exchanges while the store cannot, where policies say
    /// `on_store_error = "spool"`.
    pub spool: PathBuf,
    /// How often exceptions that were made elsewhere are read, in seconds.
    pub refresh_s: u64,
    /// Who is told of new cases.
    pub webhooks: Vec<Webhook>,
}

/// What is kept of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// All of it, as it was written.
    Full,
    /// All of it, with masks in place of what detectors found.
    #[default]
    Redacted,
    /// Its hash. Whoever guesses a text can check the guess.
    Hash,
}

/// `[[review.keys]]`: a key that texts are sealed with: 32 bytes in base64, as `seawall key sealing` prints one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewKey {
    /// Its name, which stands with all that it seals. Never give it to another key.
    pub id: String,
    /// The environment variable that holds the key.
    #[serde(default)]
    pub env: Option<String>,
    /// The file that holds the key; spaces and line ends around it do not count.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

impl ReviewKey {
    /// The key, as it is written.
    ///
    /// # Errors
    /// None where it is said to be.
    pub fn value(&self) -> Result<Zeroizing<String>, String> {
        secret(self.env.as_deref(), self.file.as_deref())
    }
}

/// `[[review.webhooks]]`: who is told of new cases, by a signed call. All that is named must fit.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where the call goes: `https://`, or `http://` within a network of yours.
    pub url: String,
    /// The secret that calls are signed with.
    pub secret: Secret,
    /// PEM file of authorities to trust besides the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Only cases that were decided so: `allow` (a shadow rule matched), `flag`, `rewrite`, `block`; all if left out.
    #[serde(default)]
    pub decisions: Vec<String>,
    /// Only cases in which one of these rules matched; all if left out.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Whether the call carries the prompt and the answer as they are kept.
    #[serde(default)]
    pub text: bool,
}

/// The words for decisions.
const DECISIONS: [&str; 4] = ["allow", "flag", "rewrite", "block"];

impl Default for Review {
    fn default() -> Self {
        Self {
            store: "sqlite://seawall.db".to_owned(),
            content: Content::default(),
            keys: Vec::new(),
            keep_days: 0,
            keep_mb: 0,
            spool: PathBuf::from("seawall-spool"),
            refresh_s: 5,
            webhooks: Vec::new(),
        }
    }
}

impl Review {
    /// What types alone cannot tell.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let wrong = |key: &str, why: &str| Err((format!("review.{key}"), why.to_owned()));
        if !["sqlite://", "postgres://", "postgresql://"].iter().any(|scheme| self.store.starts_with(scheme)) {
            return wrong("store", "must be `sqlite://FILE` or `postgres://USER@HOST/DATABASE`");
        }
        if self.spool.as_os_str().is_empty() {
            return wrong("spool", "must be a folder");
        }
        if self.refresh_s == 0 {
            return wrong("refresh_s", "must be more than 0");
        }
        let mut ids = BTreeSet::new();
        for (number, key) in self.keys.iter().enumerate() {
            if key.id.is_empty() {
                return wrong(&format!("keys.{number}.id"), "is empty: name the key, such as by the month that it is made in");
            }
            if !ids.insert(&key.id) {
                return wrong(&format!("keys.{number}.id"), &format!("`{}` is another key's name too", key.id));
            }
            if !names_one(key.env.as_deref(), key.file.as_deref()) {
                return wrong(&format!("keys.{number}"), "must name one of `env` and `file`");
            }
        }
        self.webhooks.iter().enumerate().try_for_each(|(number, webhook)| {
            webhook.check().map_err(|(key, why)| (format!("review.webhooks.{number}{key}"), why))
        })
    }
}

impl Webhook {
    /// What is wrong: the rest of the key, and why.
    fn check(&self) -> Result<(), Wrong> {
        // The address itself is not told: it can carry a secret.
        let is_address =
            |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
        if !self.url.parse::<Uri>().is_ok_and(|uri| is_address(&uri)) {
            return Err((".url".to_owned(), "must be an address, such as `https://hooks.example.com/seawall`".to_owned()));
        }
        if !names_one(self.secret.env.as_deref(), self.secret.file.as_deref()) {
            return Err((".secret".to_owned(), "must name one of `env` and `file`".to_owned()));
        }
        let unknown = self.decisions.iter().enumerate().find(|(_, word)| !DECISIONS.contains(&word.as_str()));
        unknown.map_or(Ok(()), |(at, word)| {
            let near = nearest(word, DECISIONS).unwrap_or_default();
            Err((format!(".decisions.{at}"), format!("`{word}` is no decision; did you mean `{near}`?")))
        })
    }
}

fn names_one(env: Option<&str>, file: Option<&Path>) -> bool {
    env.is_some() != file.is_some()
}

#[cfg(test)]
mod tests {
    use crate::config::load::tests::told;

    #[test]
    fn mistakes_are_told() {
        for (lines, mistake) in [
            ("store = \"mysql://h/d\"", "2: `review.store` must be `sqlite://FILE` or `postgres://USER@HOST/DATABASE`"),
            ("content = \"hashed\"", "2: `review.content` must be one of full, redacted, hash"),
            ("refresh_s = 0", "2: `review.refresh_s` must be more than 0"),
            ("spool = \"\"", "2: `review.spool` must be a folder"),
            ("keep_day = 3", "2: `review.keep_day` is no setting; did you mean `keep_days`?"),
            ("keys = [{ id = \"a\" }]", "2: `review.keys.0` must name one of `env` and `file`"),
            (
                "[[review.keys]]\nid = \"a\"\nenv = \"A\"\n[[review.keys]]\nid = \"a\"\nfile = \"f\"",
                "6: `review.keys.1.id` `a` is another key's name too",
            ),
            (
                "[[review.webhooks]]\nurl = \"hooks.example.com/secret\"\nsecret = { env = \"S\" }",
                "3: `review.webhooks.0.url` must be an address, such as `https://hooks.example.com/seawall`",
            ),
            (
                "[[review.webhooks]]\nurl = \"https://h\"\nsecret = { env = \"S\" }\ndecisions = [\"flag\", \"blocked\"]",
                "5: `review.webhooks.0.decisions.1` `blocked` is no decision; did you mean `block`?",
            ),
            (
                "[[review.webhooks]]\nurl = \"https://h\"\nsecret = { env = \"S\", file = \"f\" }",
                "4: `review.webhooks.0.secret` must name one of `env` and `file`",
            ),
        ] {
            assert_eq!(told(&format!("[review]\n{lines}\n")), format!("s.toml:{mistake}"), "{lines}");
        }
    }
}
