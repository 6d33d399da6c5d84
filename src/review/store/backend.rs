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
    /// What a transaction that adds to the audit trail does first, so that no other does at the same time.
    fn alone(&self) -> Option<&'static str>;
    /// What is done before the case of this id goes, if its texts are elsewhere too.
    fn forget(&self) -> Option<&'static str>;
    /// What is done, outside of any transaction, so that nothing is left of what was deleted.
    fn tidy(&self) -> Tidy;
    /// A query for the bytes that the cases take.
    fn size(&self) -> &'static str;
    /// The whole part of a number that is not negative.
    fn whole(&self, number: &str) -> String;
}

/// Statements after which nothing is left of what was deleted.
pub(super) struct Tidy {
    /// The first of these once, then the second as long as it does something, which the third tells by a number that grows by
    /// more than one. Each is short, since those who write wait meanwhile.
    pub(super) merge: Option<[&'static str; 3]>,
    /// The last one.
    pub(super) last: &'static str,
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

    fn alone(&self) -> Option<&'static str> {
        None
    }

    fn forget(&self) -> Option<&'static str> {
        Some("DELETE FROM case_texts WHERE rowid = (SELECT seq FROM cases WHERE id = $1)")
    }

    fn tidy(&self) -> Tidy {
        Tidy {
            // The index only notes that a text is gone until its parts are merged.
            merge: Some([
                "INSERT INTO case_texts (case_texts, rank) VALUES ('merge', -500)",
                "INSERT INTO case_texts (case_texts, rank) VALUES ('merge', 500)",
                "SELECT total_changes()",
            ]),
            // What was written before stands in the log until it is cut.
            last: "PRAGMA wal_checkpoint (TRUNCATE)",
        }
    }

    fn size(&self) -> &'static str {
        "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()"
    }

    fn whole(&self, number: &str) -> String {
        format!("CAST({number} AS INTEGER)")
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

    fn alone(&self) -> Option<&'static str> {
        // Others may read meanwhile.
        Some("LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE")
    }

    fn forget(&self) -> Option<&'static str> {
        None
    }

    fn tidy(&self) -> Tidy {
        Tidy { merge: None, last: "VACUUM cases, case_rules, decisions, deliveries" }
    }

    fn size(&self) -> &'static str {
        "SELECT CAST(coalesce(sum(octet_length(body) + coalesce(octet_length(texts), 0)), 0) AS BIGINT) FROM cases"
    }

    fn whole(&self, number: &str) -> String {
        format!("CAST(floor({number}) AS BIGINT)")
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
