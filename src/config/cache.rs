//! `[cache]` and `[cache.shared]`: the verdict cache, and the one behind it that the nodes of a fleet share.

use std::{fmt, path::PathBuf};

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Wrong};

/// `[cache]`: the verdict cache.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Verdicts kept; 0 turns the cache off. One of a long text counts for as many as it takes the room of.
    pub entries: u64,
    /// Time after which a verdict is forgotten.
    pub ttl_s: u64,
    /// The cache behind it; none if it is left out.
    pub shared: Option<SharedCache>,
}

/// `[cache.shared]`: verdicts in Redis, Valkey or what else speaks their protocol (one server, or a service that looks like
/// one; no cluster whose clients must know its nodes), which all nodes read and write. Whatever goes wrong there costs speed only.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SharedCache {
    /// `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS. Without port and database: 6379 and 0.
    pub url: String,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The user to sign in as; with a password and no user, the server's default one.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A key that all nodes have, as `seawall key sealing` prints one. Without it, whoever reads the server can check guesses of
    /// texts, and whoever writes to it decides verdicts.
    pub key: Option<Secret>,
    /// What all names there begin with.
    pub prefix: String,
    /// Time after which a verdict is forgotten there.
    pub ttl_s: u64,
    /// Longest time that a text waits for what is known there.
    pub timeout_ms: u64,
    /// Time to connect and sign in, and for a write.
    pub connect_timeout_ms: u64,
    /// Look-ups in a row that must fail for the server to rest.
    pub failures: u32,
    /// How long it rests, or is left alone after its connection was lost, before it is tried again.
    pub rest_ms: u64,
}

/// Where a shared cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Number of the database.
    pub database: u16,
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: 100_000, ttl_s: 86_400, shared: None }
    }
}

impl Default for SharedCache {
    fn default() -> Self {
        Self {
            url: String::new(),
            ca_file: None,
            user: None,
            password: None,
            key: None,
            prefix: "seawall:".to_owned(),
            ttl_s: 86_400,
            timeout_ms: 20,
            connect_timeout_ms: 1_000,
            failures: 3,
            rest_ms: 1_000,
        }
    }
}

impl Cache {
    /// What types alone cannot tell.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        self.shared.as_ref().map_or(Ok(()), SharedCache::check)
    }
}

impl SharedCache {
    fn check(&self) -> Result<(), Wrong> {
        let wrong = |key: &str, why: &str| Err((format!("cache.shared.{key}"), why.to_owned()));
        if let Err(why) = self.place() {
            return wrong("url", why);
        }
        let times = [("ttl_s", self.ttl_s), ("timeout_ms", self.timeout_ms), ("connect_timeout_ms", self.connect_timeout_ms)];
        let positive = times.into_iter().chain([("rest_ms", self.rest_ms), ("failures", self.failures.into())]);
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return wrong(key, "must be more than 0");
        }
        if self.user.is_some() && self.password.is_none() {
            return wrong("user", "needs a `password`");
        }
        Ok(())
    }

    /// Where the server is.
    ///
    /// # Errors
    /// What the address must be. The address itself is not told: it can carry a secret.
    pub fn place(&self) -> Result<Place, &'static str> {
        const FORM: &str = "must be `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS";
        let address: Uri = self.url.parse().map_err(|_| FORM)?;
        if address.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must hold no user name or password: set `cache.shared.user` and `cache.shared.password`");
        }
        let secure = match address.scheme_str() {
            Some("redis") => false,
            Some("rediss") => true,
            _ => return Err(FORM),
        };
        let host = address.host().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
        let host = host.filter(|host| !host.is_empty()).ok_or(FORM)?.to_owned();
        if address.query().is_some() {
            return Err("must have no query");
        }
        let database = match address.path() {
            "" | "/" => 0,
            path => {
                path.trim_start_matches('/').parse().map_err(|_| "must end with the number of a database, if with any path")?
            }
        };
        Ok(Place { secure, host, port: address.port_u16().unwrap_or(6379), database })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secure, host, port, database } = self;
        let (scheme, host) =
            (if *secure { "rediss" } else { "redis" }, if host.contains(':') { format!("[{host}]") } else { host.clone() });
        write!(f, "{scheme}://{host}:{port}/{database}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::tests::told;

    #[test]
    fn addresses_are_read() {
        let place =
            |url: &str| SharedCache { url: url.to_owned(), ..SharedCache::default() }.place().map(|place| place.to_string());
        for (url, read) in [
            ("redis://cache", "redis://cache:6379/0"),
            ("rediss://cache.example.com:6380/", "rediss://cache.example.com:6380/0"),
            ("redis://127.0.0.1:1/3", "redis://127.0.0.1:1/3"),
            ("redis://[::1]:7", "redis://[::1]:7/0"),
        ] {
            assert_eq!(place(url).unwrap(), read);
        }
        for (url, wrong) in [
            ("", "must be `redis://"),
            ("cache:6379", "must be `redis://"),
            ("http://cache", "must be `redis://"),
            ("redis://cache/a", "number of a database"),
            ("redis://cache?db=1", "no query"),
            ("redis://:secret@cache", "no user name or password"),
        ] {
            assert!(place(url).unwrap_err().contains(wrong), "{url}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let told = |lines: &str| told(&format!("[cache.shared]\n{lines}\n"));
        assert!(told("").contains("`cache.shared.url` must be"));
        assert!(!told("url = \"redis://ana:s3cret@h\"").contains("s3cret"));
        assert_eq!(told("url = \"redis://h\"\ntimeout_ms = 0"), "s.toml:3: `cache.shared.timeout_ms` must be more than 0");
        assert_eq!(told("url = \"redis://h\"\nuser = \"a\""), "s.toml:3: `cache.shared.user` needs a `password`");
        assert!(told("url = \"redis://h\"\npasword = { env = \"A\" }").contains("did you mean `password`?"));
    }
}
