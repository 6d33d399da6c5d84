//! What SQLite and PostgreSQL do not have in common.

use std::fmt;

use sqlx::{
    SqlStr,
    error::DatabaseError,
    migrate::{Migration, MigrationType, Migrator},
};

use super::super::Error;

/// A database that can hold the record. Statements are written so that each takes them; what cannot be is here.
pub(super) trait Backend: fmt::Debug + Send + Sync {
    /// The address to connect to. `create` says that a store may be made where there is none.
    fn address(&self, url: &str, create: bool) -> Result<String, Error>;
    /// What each connection begins with.
    fn greeting(&self) -> &'static [&'static str];
    /// Connections at once, beside one that only writes.
    fn connections(&self) -> u32;
    /// What else the one connection begins with that all is written through, where only one can write at a time.
    fn writer(&self) -> Option<&'static [&'static str]>;
    /// The schema's steps in their order; a step that was released is never changed.
    fn steps(&self) -> &'static [(i64, &'static str, &'static str)];
    /// How often it is tried to take the steps, where those who take them at once do not wait for each other.
    fn tries(&self) -> u32;
    /// Begins a transaction that writes.
    fn begin(&self) -> &'static str;
    /// How a column is named whose own index is not to be used, where another is known to be better.
    fn unindexed(&self, column: &str) -> String;
    /// Holds of a case (`c`) whose texts have the text that is the argument of this number.
    fn contains(&self, argument: usize) -> String;
    /// What the index is asked for to find a text.
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
    /// Cases (`c`) that the index finds, and the rest of the condition; the argument is what the index is asked for.
    fn found(&self, argument: usize) -> (String, String);
    /// Holds of a case (`c`) that the index finds, whatever else is asked.
    fn search(&self, argument: usize) -> String;
    /// How texts come into the index, if not by themselves.
    fn index(&self) -> Option<&'static Indexing>;
    /// Whether a statement fails because of the values in it, and not because of the state that the store is in.
    fn is_of_values(&self, error: &dyn DatabaseError) -> bool;
}

/// Statements after which nothing is left of what was deleted.
pub(super) struct Tidy {
    /// The first of these once, then the second as long as it does something, which the third tells by a number that grows by
    /// more than one. Each is short, since those who write wait meanwhile.
    pub(super) merge: Option<[&'static str; 3]>,
    /// The last one.
    pub(super) last: &'static str,
}

/// The statements by which texts come into an index.
#[derive(Debug)]
pub(super) struct Indexing {
    /// The numbers and sizes of the cases that are not in it, at most `$1`.
    pub(super) waiting: &'static str,
    /// Adds those up to the number `$1`.
    pub(super) add: &'static str,
    /// Notes that those up to the number `$1` are in it.
    pub(super) note: &'static str,
    /// Brings the texts of the case `$1` up to date, if it is in the index.
    pub(super) again: &'static str,
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
            // As long as for a connection: another process may be writing, on a busy disk.
            "PRAGMA busy_timeout = 30000",
            "PRAGMA journal_mode = WAL",
            // A case must outlive a power cut, not only a crash of this process.
            "PRAGMA synchronous = FULL",
            // What is purged is to be gone from the file.
            "PRAGMA secure_delete = ON",
            "PRAGMA foreign_keys = ON",
            // KiB: what one search goes through of the index.
            "PRAGMA cache_size = -32768",
            // Pages of the log, after which they go to their places: those that each batch changes go there once.
            "PRAGMA wal_autocheckpoint = 8192",
        ]
    }

    fn connections(&self) -> u32 {
        3
    }

    fn writer(&self) -> Option<&'static [&'static str]> {
        // Always the same one, for what another writes empties its cache. What undoes a statement is kept in memory; readers put
        // too much in order for that.
        Some(&["PRAGMA temp_store = MEMORY"])
    }

    fn steps(&self) -> &'static [(i64, &'static str, &'static str)] {
        &[
            (1, "cases", include_str!("migrations/sqlite/0001_cases.sql")),
            (2, "evidence", include_str!("migrations/sqlite/0002_evidence.sql")),
            (3, "review", include_str!("migrations/sqlite/0003_review.sql")),
            (4, "scores", include_str!("migrations/sqlite/0004_scores.sql")),
        ]
    }

    fn tries(&self) -> u32 {
        5
    }

    fn begin(&self) -> &'static str {
        // A transaction that reads first and then writes fails if another wrote in between.
        "BEGIN IMMEDIATE"
    }

    fn unindexed(&self, column: &str) -> String {
        format!("+{column}")
    }

    fn contains(&self, argument: usize) -> String {
        format!("instr(c.texts, ${argument}) > 0")
    }

    fn sought(&self, text: &str) -> String {
        // The index knows stretches of three characters. More than a few do not narrow it down.
        let text: Vec<char> = text.chars().collect();
        let last = text.len().saturating_sub(3);
        let step = (last / STRETCHES).max(1);
        let stretches = (0..=last).step_by(step).chain((!last.is_multiple_of(step)).then_some(last));
        let stretch = |at: usize| {
            let stretch: String = text.iter().skip(at).take(3).collect();
            format!("\"{}\"", stretch.replace('"', "\"\""))
        };
        stretches.map(stretch).collect::<Vec<_>>().join(" AND ")
    }

    fn found(&self, argument: usize) -> (String, String) {
        // The order of a cross join is kept.
        (format!("({}) t CROSS JOIN cases c", found(argument)), "c.seq = t.seq".to_owned())
    }

    fn search(&self, argument: usize) -> String {
        format!("c.seq IN ({})", found(argument))
    }

    fn index(&self) -> Option<&'static Indexing> {
        Some(&Indexing {
            waiting: "SELECT seq, coalesce(length(texts), 0) AS size FROM cases WHERE seq > (SELECT seq FROM indexed) \
                      ORDER BY seq LIMIT $1",
            add: "INSERT INTO case_texts (rowid, text) SELECT seq, texts FROM cases \
                  WHERE seq > (SELECT seq FROM indexed) AND seq <= $1 AND texts IS NOT NULL ORDER BY seq",
            note: "UPDATE indexed SET seq = $1",
            again: "INSERT OR REPLACE INTO case_texts (rowid, text) SELECT seq, coalesce(texts, '') FROM cases \
                    WHERE id = $1 AND seq <= (SELECT seq FROM indexed)",
        })
    }

    fn is_of_values(&self, error: &dyn DatabaseError) -> bool {
        // SQLITE_TOOBIG, SQLITE_MISMATCH, and constraints, but for those that a trigger (1811) sets.
        let code = error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
        matches!(code & 0xff, 18..=20) && code != 1_811
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

/// Stretches of a text that the index is asked for.
const STRETCHES: usize = 24;

/// The cases that the index finds, and those that are not in it yet.
fn found(argument: usize) -> String {
    format!(
        "SELECT rowid AS seq FROM case_texts WHERE case_texts MATCH ${argument} \
         UNION ALL SELECT seq FROM cases WHERE seq > (SELECT seq FROM indexed)"
    )
}

#[derive(Debug)]
struct Postgres;

impl Backend for Postgres {
    fn address(&self, url: &str, _create: bool) -> Result<String, Error> {
        Ok(url.to_owned())
    }

    fn greeting(&self) -> &'static [&'static str] {
        &[
            // Costs more than it saves: nothing that is asked takes long enough.
            "SET jit = off",
        ]
    }

    fn connections(&self) -> u32 {
        8
    }

    fn writer(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn steps(&self) -> &'static [(i64, &'static str, &'static str)] {
        &[
            (3, "review", include_str!("migrations/postgres/0003_review.sql")),
            (4, "scores", include_str!("migrations/postgres/0004_scores.sql")),
        ]
    }

    fn tries(&self) -> u32 {
        1
    }

    fn begin(&self) -> &'static str {
        "BEGIN"
    }

    fn unindexed(&self, column: &str) -> String {
        // It knows better, by what it has learned of the values.
        column.to_owned()
    }

    fn contains(&self, argument: usize) -> String {
        format!("strpos(c.texts, ${argument}) > 0")
    }

    fn sought(&self, text: &str) -> String {
        format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
    }

    fn found(&self, argument: usize) -> (String, String) {
        ("cases c".to_owned(), self.search(argument))
    }

    fn search(&self, argument: usize) -> String {
        format!("c.texts LIKE ${argument}")
    }

    fn index(&self) -> Option<&'static Indexing> {
        None
    }

    fn is_of_values(&self, error: &dyn DatabaseError) -> bool {
        // Data exceptions, integrity constraints, and limits of a statement.
        error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
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
