//! `seawall config`

use clap::Subcommand;
use toml::{Table, Value};

use super::{Failed, Settings, failed, say};
use crate::config::{reference, schema};

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Read the settings from all places, as `serve` does, and tell mistakes
    Check(Settings),
    /// Print the settings in force, those left as they come included, without secrets
    Show(Settings),
    /// Print the reference of all settings, in Markdown
    Reference,
    /// The JSON Schema of settings' files, for editors: name it in a first line `#:schema PATH`
    Schema,
}

/// What may hold a secret: the sections in which it stands, and its name; `*` is any.
const SECRET: [&[&str]; 8] = [
    &["admin", "users", "*", "password"],
    &["admin", "tokens", "*", "hash"],
    &["identity", "keys", "*", "hash"],
    &["upstream", "set_headers", "*"],
    &["upstreams", "*", "set_headers", "*"],
    &["review", "store"],
    &["review", "webhooks", "*", "url"],
    &["cache", "shared", "url"],
];
const HIDDEN: &str = "(hidden)";

impl Config {
    pub(super) fn run(&self) -> Result<(), Failed> {
        match self {
            Self::Check(settings) => settings.load(&[]).and_then(|_| say("the settings are in order")),
            Self::Show(settings) => {
                let mut table = Table::try_from(settings.load(&[])?).map(Value::Table).map_err(failed)?;
                SECRET.iter().for_each(|way| hide(&mut table, way));
                say(toml::to_string(&table).map_err(failed)?.trim_end())
            }
            Self::Reference => say(reference().trim_end()),
            Self::Schema => say(format!("{:#}", schema())),
        }
    }
}

/// Hides what stands there. Of an address only a user's password is one.
fn hide(value: &mut Value, way: &[&str]) {
    let Some((first, rest)) = way.split_first() else {
        let told = value.as_str().and_then(without_password);
        *value = Value::String(told.unwrap_or_else(|| HIDDEN.to_owned()));
        return;
    };
    match value {
        Value::Table(table) => {
            table.iter_mut().filter(|(name, _)| *first == "*" || name == first).for_each(|(_, inner)| hide(inner, rest));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| hide(inner, rest)),
        _ => {}
    }
}

/// An address without its password; `None` if it is none.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // A query may hold anything.
    let path = path.split_once('?').map_or_else(|| path.to_owned(), |(path, _)| format!("{path}?{HIDDEN}"));
    let host = match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            format!("{}:{HIDDEN}@{host}", user.split(':').next().unwrap_or_default())
        }
        _ => authority.to_owned(),
    };
    Some(format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let text = r#"
            [review]
            store = "postgres://me:s3cret@db/x?password=s3cret"
            webhooks = [{ url = "https://hooks.example/T?key=s3cret" }]
            [upstream]
            url = "http://llm:1/v1"
            set_headers = { x-key = "s3cret" }
            [upstreams.a]
            set_headers = { x-key = "s3cret" }
            [[admin.users]]
            name = "ana"
            password = "s3cret"
        "#;
        let mut value = Value::Table(text.parse().unwrap());
        SECRET.iter().for_each(|way| hide(&mut value, way));
        let told = toml::to_string(&value).unwrap();
        assert!(!told.contains("s3cret"), "{told}");
        for kept in ["postgres://me:(hidden)@db/x?(hidden)", "https://hooks.example/T?(hidden)", "http://llm:1/v1", "ana"] {
            assert!(told.contains(kept), "{told}");
        }
    }
}
