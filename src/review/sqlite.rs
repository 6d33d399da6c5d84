//! The record in SQLite.

use std::{str::FromStr as _, time::Duration};

use futures_util::{Stream, StreamExt as _};
use sqlx::{
    Row as _, SqlStr, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use super::{Case, Error};

/// The schema's steps in their order; a step that was released is never changed.
const MIGRATIONS: [(i64, &str, &str); 2] =
    [(1, "cases", include_str!("migrations/0001_cases.sql")), (2, "evidence", include_str!("migrations/0002_evidence.sql"))];

const COLUMNS: &str =
    "id, at, decision, dialect, model, stream, language, score, guard, policy, reasons, request, response, call, evidence";

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    url: String,
}

impl Store {
    /// Opens the store, making it if it is not there.
    ///
    /// # Errors
    /// A place that cannot be written, or a file that is no store.
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::connect(url, true).await
    }

    /// Opens a store that is there, to look at.
    ///
    /// # Errors
    /// No store there.
    pub async fn open_existing(url: &str) -> Result<Self, Error> {
        Self::connect(url, false).await
    }

    async fn connect(url: &str, create: bool) -> Result<Self, Error> {
        let fail = |e: sqlx::Error| Error::Store { url: url.to_owned(), why: reason(&e) };
        let options = SqliteConnectOptions::from_str(url)
            .map_err(fail)?
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            // A case must outlive a power cut, not only a crash of this process.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        // SQLite has one writer at a time; a second connection serves readers.
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await.map_err(fail)?;
        migrator().run(&pool).await.map_err(|e| Error::Store { url: url.to_owned(), why: e.to_string() })?;
        Ok(Self { pool, url: url.to_owned() })
    }

    /// Writes a case, or what has become of it since; on return it is durable.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn record(&self, case: &Case) -> Result<(), Error> {
        let json = |value: Result<String, serde_json::Error>| {
            value.map_err(|e| Error::Row { id: case.id.clone(), why: e.to_string() })
        };
        sqlx::query(
            "INSERT INTO cases (id, at, decision, dialect, model, stream, language, score, guard, policy, reasons, request, \
             response, call, evidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (id) DO UPDATE SET decision = excluded.decision, language = excluded.language, \
             score = excluded.score, reasons = excluded.reasons, response = excluded.response, evidence = excluded.evidence",
        )
        .bind(&case.id)
        .bind(&case.at)
        .bind(&case.decision)
        .bind(&case.dialect)
        .bind(&case.model)
        .bind(case.stream)
        .bind(&case.language)
        .bind(case.score)
        .bind(&case.guard)
        .bind(&case.policy)
        .bind(case.reasons.to_string())
        .bind(json(serde_json::to_string(&case.request))?)
        .bind(json(serde_json::to_string(&case.response))?)
        .bind(case.call.as_ref().map(|call| json(serde_json::to_string(call))).transpose()?)
        .bind(case.evidence.as_ref().map(|evidence| json(serde_json::to_string(evidence))).transpose()?)
        .execute(&self.pool)
        .await
        .map_err(|e| self.fail(&e))?;
        Ok(())
    }

    /// The newest cases first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self, limit: u32) -> Result<Vec<Case>, Error> {
        let query = format!("SELECT {COLUMNS} FROM cases ORDER BY at DESC, id DESC LIMIT ?");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(query)).bind(limit).fetch_all(&self.pool).await.map_err(|e| self.fail(&e))?;
        rows.iter().map(read).collect()
    }

    /// The case whose id begins so, if there is just one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn find(&self, id: &str) -> Result<Option<Case>, Error> {
        let query = format!("SELECT {COLUMNS} FROM cases WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).fetch_all(&self.pool).await.map_err(|e| self.fail(&e))?;
        match rows.as_slice() {
            [row] => read(row).map(Some),
            _ => Ok(None),
        }
    }

    /// All cases, oldest first.
    pub fn all(&self) -> impl Stream<Item = Result<Case, Error>> + '_ {
        let query = format!("SELECT {COLUMNS} FROM cases ORDER BY at, id");
        sqlx::query(sqlx::AssertSqlSafe(query))
            .fetch(&self.pool)
            .map(|row| row.map_err(|e| self.fail(&e)).and_then(|row| read(&row)))
    }

    /// The cases that began at this second (`2026-01-31T12:00:00`) or after it, newest first, at most `limit`.
    pub fn newest<'s>(&'s self, since: Option<&'s str>, limit: Option<u32>) -> impl Stream<Item = Result<Case, Error>> + 's {
        let query = format!("SELECT {COLUMNS} FROM cases WHERE at >= ? ORDER BY at DESC, id DESC LIMIT ?");
        // SQLite takes a limit below zero for none.
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(since.unwrap_or_default()).bind(limit.map_or(-1, i64::from));
        rows.fetch(&self.pool).map(|row| row.map_err(|e| self.fail(&e)).and_then(|row| read(&row)))
    }

    /// Waits for what is being written and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn fail(&self, error: &sqlx::Error) -> Error {
        Error::Store { url: self.url.clone(), why: reason(error) }
    }
}

/// Built here: sqlx's own macro would bring its whole compile-time half.
fn migrator() -> Migrator {
    let steps = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    });
    Migrator::with_migrations(steps.to_vec())
}

fn read(row: &SqliteRow) -> Result<Case, Error> {
    let id: String = row.try_get("id").unwrap_or_default();
    let fields = || -> Result<Case, Box<dyn std::error::Error>> {
        Ok(Case {
            id: id.clone(),
            version: 0,
            at: row.try_get("at")?,
            decision: row.try_get("decision")?,
            dialect: row.try_get("dialect")?,
            model: row.try_get("model")?,
            stream: row.try_get("stream")?,
            language: row.try_get("language")?,
            score: row.try_get("score")?,
            guard: row.try_get("guard")?,
            policy: row.try_get("policy")?,
            reasons: serde_json::from_str(row.try_get("reasons")?)?,
            request: serde_json::from_str(row.try_get("request")?)?,
            response: serde_json::from_str(row.try_get("response")?)?,
            call: row.try_get::<Option<&str>, _>("call")?.map(serde_json::from_str).transpose()?,
            evidence: row.try_get::<Option<&str>, _>("evidence")?.map(serde_json::from_str).transpose()?,
        })
    };
    fields().map_err(|e| Error::Row { id: id.clone(), why: e.to_string() })
}

fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(inner) => inner.message().to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Content,
        review::{Care, Facts, Judge, Kept, Passage, Said, Text, Verdict},
        scan::detect::Detectors,
        segment::{Direction, Segment, Target},
    };

    fn text(target: Target, text: &str) -> Text {
        let care = Care { content: Content::Redacted, detectors: &Detectors::default() };
        Text::searched(&Segment { target, passage: 0, text: text.into(), place: None }, care)
    }

    fn evidence() -> Kept {
        let verdict = |guard, said| Verdict { guard, said };
        let passage = Passage {
            direction: Direction::Request,
            target: Target::Prompt,
            texts: vec![0],
            language: Some("th".into()),
            others: vec!["en".into()],
            verdicts: vec![
                verdict(0, Said::Score { score: 0.1, threshold: 0.7 }),
                verdict(1, Said::Failed { failed: "gone".into() }),
            ],
            piece: None,
        };
        let guards = ["default", "large"].map(|name| Judge { name: name.into(), identity: "g".into() });
        Kept { guards: guards.into(), passages: vec![passage], unscorable: vec![] }
    }

    fn case(id: &str) -> Case {
        Case {
            id: id.into(),
            version: 0,
            at: format!("2026-01-01T00:00:00Z{id}"),
            decision: "block".into(),
            dialect: "openai_chat".into(),
            model: "m".into(),
            stream: true,
            language: Some("th".into()),
            score: Some(0.75),
            guard: "g".into(),
            policy: "p".into(),
            reasons: serde_json::json!([{"rule": "r"}]),
            request: vec![text(Target::Prompt, "card 4111 1111 1111 1111")],
            response: vec![],
            call: Some(Facts {
                models: vec![],
                method: None,
                route: "r".into(),
                upstream: "u".into(),
                tenant: Some("t".into()),
                key: None,
                subject: None,
                language: None,
                headers: [("x-team".to_owned(), "a".to_owned())].into(),
                draw: u64::MAX,
            }),
            evidence: Some(evidence()),
        }
    }

    #[tokio::test]
    async fn cases_outlive_the_process_and_are_updated_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("r.db").display());
        assert!(Store::open_existing(&url).await.is_err());
        let store = Store::open(&url).await.unwrap();
        store.record(&case("a1")).await.unwrap();
        store.record(&case("b1")).await.unwrap();
        let later = Case {
            decision: "rewrite".into(),
            response: vec![text(Target::Completion, "x")],
            evidence: Some(Kept { unscorable: vec![], passages: vec![], ..evidence() }),
            ..case("a1")
        };
        store.record(&later).await.unwrap();
        drop(store);
        let store = Store::open_existing(&url).await.unwrap();
        let listed: Vec<_> = store.list(10).await.unwrap().into_iter().map(|case| case.id).collect();
        assert_eq!(listed, ["b1", "a1"]);
        assert_eq!(store.find("a").await.unwrap(), Some(later.clone()));
        assert_eq!(store.find("b").await.unwrap(), Some(case("b1")));
        assert_eq!(store.find("").await.unwrap(), None);
        assert_eq!(later.prompt(), "card [payment card]");
        assert_eq!(store.all().count().await, 2);
    }

    #[tokio::test]
    async fn the_newest_are_told_from_a_second_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}", dir.path().join("r.db").display())).await.unwrap();
        for (id, at) in [("a", "2026-01-01T00:00:00Z"), ("b", "2026-01-01T00:00:00.5Z"), ("c", "2026-01-02T00:00:00Z")] {
            store.record(&Case { at: at.into(), ..case(id) }).await.unwrap();
        }
        let told = async |since, limit| {
            let ids = store.newest(since, limit).map(|case| case.unwrap().id);
            ids.collect::<Vec<_>>().await.concat()
        };
        assert_eq!(told(None, None).await.len(), 3);
        assert_eq!(told(None, Some(1)).await, "c");
        assert_eq!(told(Some("2026-01-01T00:00:00"), None).await.len(), 3);
        assert_eq!(told(Some("2026-01-01T00:00:01"), None).await, "c");
    }

    #[tokio::test]
    async fn a_store_of_an_older_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("r.db").display());
        let pool = SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap();
        let steps = migrator().iter().filter(|step| step.version == 1).cloned().collect();
        Migrator::with_migrations(steps).run(&pool).await.unwrap();
        sqlx::query(
            "INSERT INTO cases VALUES ('a', '2026-01-01T00:00:00Z', 'flag', 'd', 'm', 0, NULL, NULL, 'g', 'p', '[]', \
             '[{\"target\":\"prompt\",\"text\":\"hi\"}]', '[]')",
        )
        .execute(&pool)
        .await
        .unwrap();
        pool.close().await;
        let store = Store::open_existing(&url).await.unwrap();
        let old = store.find("a").await.unwrap().unwrap();
        assert_eq!((old.prompt(), &old.call, &old.evidence), ("hi", &None, &None));
    }
}
