//! What SQLite and PostgreSQL do not have in common.

use std::fmt;

use sqlx::{
    SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::super::Error;

/// A database that can hold the record. Statements are written so that each takes them; what cannot be is here.
pub(super) trait Backend: fmt::Debug + Send + Sync {
    /// The address to connect to. `create` says that a store may be made where there is none.
    fn address(&self, url: &str, create: bool) -> Result<String, Error>;
    /// What each connection begins with.
    fn greeting(&self) -> &'static [&'static str];
    /// Connections at once.
    fn connections(&self) -> u32;
    /// The schema's steps in their order; a step that was released is never changed.
    fn steps(&self) -> &'static [(i64, &'static str, &'static str)];
    /// Begins a transaction that writes.
    fn begin(&self) -> &'static str;
    /// Holds of a case (`c`) whose texts have what the argument of this number is.
    fn search(&self, argument: usize) -> String;
    /// The argument for a text that is looked for.
    fn sought(&self, text: &str) -> String;
}

/// The database of an address.
pub(super) fn of(url: &str) -> Result<&'static dyn Backend, Error> {
    match url.split(':').next() {
        Some("sqlite") => Ok(&Sqlite),
        Some("postgres" | "postgresql") => Ok(&Postgres),
        _ => {
            Err(Error::Store { url: public(url), why: "must be `sqlite://FILE` or `postgres://USER@HOST/DATABASE`".to_owned() })
        }
    }
}

/// An address without what may be secret in it.
pub(super) fn public(url: &str) -> String {
    let (address, _) = url.split_once('?').unwrap_or((url, ""));
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => address.to_owned(),
    }
}

/// The schema's steps, built here: sqlx's own macro would bring its whole compile-time half.
pub(super) fn migrator(steps: &[(i64, &'static str, &'static str)]) -> Migrator {
    let step = |(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(steps.iter().map(step).collect())
}

#[derive(Debug)]
struct Sqlite;

impl Backend for Sqlite {
    fn address(&self, url: &str, create: bool) -> Result<String, Error> {
        // A store in memory would be another one for each connection.
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(Error::Store { url: url.to_owned(), why: "a record in memory is none: name a file".to_owned() });
        }
        let joint = if url.contains('?') { '&' } else { '?' };
        Ok(format!("{url}{joint}mode={}", if create { "rwc" } else { "rw" }))
    }

    fn greeting(&self) -> &'static [&'static str] {
        &[
            "PRAGMA journal_mode = WAL",
            // A case must outlive a power cut, not only a crash of this process.
            "PRAGMA synchronous = FULL",
            "PRAGMA busy_timeout = 5000",
            // What is purged is to be gone from the file.
            "PRAGMA secure_delete = ON",
            "PRAGMA foreign_keys = ON",
        ]
    }

    fn connections(&self) -> u32 {
        // One writes at a time; the others serve readers.
        4
    }

    fn steps(&self) -> &'static [(i64, &'static str, &'static str)] {
        &[
            (1, "cases", include_str!("migrations/sqlite/0001_cases.sql")),
            (2, "evidence", include_str!("migrations/sqlite/0002_evidence.sql")),
            (3, "review", include_str!("migrations/sqlite/0003_review.sql")),
        ]
    }

    fn begin(&self) -> &'static str {
        // A transaction that reads first and then writes fails if another wrote in between.
        "BEGIN IMMEDIATE"
    }

    fn search(&self, argument: usize) -> String {
        format!("c.seq IN (SELECT rowid FROM case_texts WHERE case_texts MATCH ${argument})")
    }

    fn sought(&self, text: &str) -> String {
        format!("\"{}\"", text.replace('\0', "\u{fffd}").replace('"', "\"\""))
    }
}

#[derive(Debug)]
struct Postgres;

impl Backend for Postgres {
    fn address(&self, url: &str, _create: bool) -> Result<String, Error> {
        Ok(url.to_owned())
    }

    fn greeting(&self) -> &'static [&'static str] {
        &[]
    }

    fn connections(&self) -> u32 {
        8
    }

    fn steps(&self) -> &'static [(i64, &'static str, &'static str)] {
        &[(3, "review", include_str!("migrations/postgres/0003_review.sql"))]
    }

    fn begin(&self) -> &'static str {
        "BEGIN"
    }

    fn search(&self, argument: usize) -> String {
        format!("c.texts LIKE ${argument}")
    }

    fn sought(&self, text: &str) -> String {
        let text = text.to_lowercase().replace('\0', "\u{fffd}");
        format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_told() {
        assert_eq!(public("postgres://ana:secret@db.example/seawall?password=x"), "postgres://db.example/seawall");
        assert_eq!(public("sqlite://seawall.db"), "sqlite://seawall.db");
    }
}
