//! What webhooks are still to be told: written down in the transaction that writes the case, and sent afterwards by whichever
//! node comes first.
//!
//! A delivery is told at least once. A node that ends while it sends leaves its lease to run out, and another then sends the
//! same delivery again, under the same id.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use tokio::sync::watch;
use uuid::{NoContext, Uuid};

use super::Store;
use crate::review::{Case, Error, Hook, hook::Before};

/// Something to be told, on lease to who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id, the same each time that it is sent. It begins with the time that it was written at.
    pub id: String,
    /// The case.
    pub case: String,
    /// What is told, in JSON.
    pub event: String,
    /// How often it was tried, this time with it.
    pub tries: u32,
}

impl Store {
    /// The same store, which remembers for these hooks what they are to be told.
    #[must_use]
    pub fn telling(mut self, hooks: Vec<Hook>) -> Self {
        self.hooks = hooks.into();
        self
    }

    /// Changes when this node has written down something to be told.
    #[must_use]
    pub fn outbox(&self) -> watch::Receiver<()> {
        self.outbox.subscribe()
    }

    /// What hooks may have been told of a case.
    pub(super) async fn before(&self, connection: &mut AnyConnection, id: &str) -> Result<Option<Before>, Error> {
        if self.hooks.is_empty() {
            return Ok(None);
        }
        let known = sqlx::query("SELECT decision, reasons FROM cases WHERE id = $1").bind(id).fetch_optional(connection).await;
        let read = |row: AnyRow| -> Result<Before, sqlx::Error> {
            let reasons = serde_json::from_str(&row.try_get::<String, _>("reasons")?).unwrap_or_default();
            Ok(Before { decision: row.try_get("decision")?, reasons })
        };
        known.and_then(|row| row.map(read).transpose()).map_err(|e| self.fail(&e))
    }

    /// Writes down what hooks are to be told of a case that has been written.
    pub(super) async fn enqueue(
        &self,
        connection: &mut AnyConnection,
        case: &Case,
        before: Option<&Before>,
    ) -> Result<(), Error> {
        for hook in self.hooks.iter().filter(|hook| hook.is_told(case, before)) {
            sqlx::query(
                "INSERT INTO deliveries (id, hook, case_id, payload, tries, next_ms, lease_ms) VALUES ($1, $2, $3, $4, 0, $5, 0)",
            )
            .bind(Uuid::now_v7().to_string())
            .bind(&hook.id)
            .bind(&case.id)
            .bind(hook.event(case))
            .bind(Timestamp::now().as_millisecond())
            .execute(&mut *connection)
            .await
            .map_err(|e| self.fail(&e))?;
        }
        Ok(())
    }

    /// Takes what this hook is to be told by now, the oldest first and at most `limit`, for nobody else to send until `until`.
    /// What became of a case that is gone is told to nobody. Times are milliseconds since 1970.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn claim(&self, hook: &str, now: i64, until: i64, limit: u32) -> Result<Vec<Delivery>, Error> {
        // PostgreSQL asks the outer condition again of a row that another node has just taken, but not the inner one.
        let rows = sqlx::query(
            "UPDATE deliveries SET lease_ms = $1, tries = tries + 1 WHERE lease_ms <= $2 AND id IN (\
             SELECT id FROM deliveries d WHERE hook = $3 AND next_ms <= $2 AND lease_ms <= $2 \
             AND EXISTS (SELECT 1 FROM cases WHERE cases.id = d.case_id) ORDER BY next_ms, id LIMIT $4) \
             RETURNING id, case_id, payload, tries",
        )
        .bind(until)
        .bind(now)
        .bind(hook)
        .bind(i64::from(limit))
        .fetch_all(&self.writer)
        .await;
        let read = |row: &AnyRow| -> Result<Delivery, sqlx::Error> {
            Ok(Delivery {
                id: row.try_get("id")?,
                case: row.try_get("case_id")?,
                event: row.try_get("payload")?,
                tries: u32::try_from(row.try_get::<i64, _>("tries")?).unwrap_or(u32::MAX),
            })
        };
        let claimed = rows.and_then(|rows| rows.iter().map(read).collect::<Result<Vec<_>, _>>());
        let mut claimed = claimed.map_err(|e| self.fail(&e))?;
        claimed.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(claimed)
    }

    /// It was told.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn delivered(&self, id: &str) -> Result<(), Error> {
        let done = sqlx::query("DELETE FROM deliveries WHERE id = $1").bind(id).execute(&self.writer).await;
        done.map(drop).map_err(|e| self.fail(&e))
    }

    /// It could not be told, and is to be tried again at `next` (milliseconds since 1970).
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn undelivered(&self, id: &str, next: i64, why: &str) -> Result<(), Error> {
        let later = sqlx::query("UPDATE deliveries SET next_ms = $2, lease_ms = 0, error = $3 WHERE id = $1");
        let later = later.bind(id).bind(next).bind(why).execute(&self.writer).await;
        later.map(drop).map_err(|e| self.fail(&e))
    }

    /// Gives up what was written down before this time and could not be told since, and what was for hooks that are no more:
    /// how many.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn give_up(&self, before: Timestamp) -> Result<u64, Error> {
        let seconds = u64::try_from(before.as_second()).unwrap_or_default();
        // Ids that were made then begin as this one does.
        let id = Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, 0));
        let given_up = sqlx::query("DELETE FROM deliveries WHERE id < $1").bind(id.to_string()).execute(&self.writer).await;
        given_up.map(|done| done.rows_affected()).map_err(|e| self.fail(&e))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn case(id: &str, version: u32, decision: &str) -> Case {
        Case { id: id.into(), version, at: "2026-01-01T00:00:00Z".into(), decision: decision.into(), ..Case::default() }
    }

    async fn store() -> (Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}", dir.path().join("r.db").display())).await.unwrap();
        let hook = |id: &str, decisions: &[&str]| Hook {
            id: id.into(),
            decisions: decisions.iter().map(|&decision| decision.to_owned()).collect(),
            ..Hook::default()
        };
        (store.telling(vec![hook("all", &[]), hook("blocks", &["block"])]), dir)
    }

    #[tokio::test]
    async fn what_is_written_is_told_once_to_each() {
        let (store, _dir) = store().await;
        let mut outbox = store.outbox();
        let now = || Timestamp::now().as_millisecond();
        store.record(&[case("a", 1, "flag"), case("b", 1, "block")]).await.unwrap();
        assert!(outbox.has_changed().unwrap());
        outbox.mark_unchanged();
        let claim = async |hook: &str, now: i64| {
            let told = store.claim(hook, now, now + 1_000, 10).await.unwrap();
            told.iter().map(|one| format!("{} {}", one.case, one.tries)).collect::<Vec<_>>()
        };
        let start = now();
        assert_eq!(claim("all", start).await, ["a 1", "b 1"]);
        assert_eq!(claim("all", start).await, [""; 0], "they are on lease");
        assert_eq!(claim("blocks", start).await, ["b 1"]);
        assert_eq!(claim("all", start + 1_000).await, ["a 2", "b 2"], "whoever had them is gone");
        // The same again, something older, and something stricter.
        store.record(&[case("b", 2, "block"), case("a", 1, "block")]).await.unwrap();
        assert_eq!(claim("blocks", start + 500).await, [""; 0]);
        store.record(&[case("a", 2, "block")]).await.unwrap();
        assert_eq!(claim("blocks", now()).await, ["a 1"]);
    }

    #[tokio::test]
    async fn what_fails_is_tried_later_and_then_given_up() {
        let (store, _dir) = store().await;
        store.record(&[case("a", 1, "flag"), case("b", 1, "flag")]).await.unwrap();
        let now = Timestamp::now().as_millisecond();
        let claimed = store.claim("all", now, now + 1_000, 10).await.unwrap();
        let [a, b] = claimed.as_slice() else { panic!("{claimed:?}") };
        assert!(!a.event.contains("prompt") && a.event.contains("\"type\":\"case.flagged\""), "{}", a.event);
        store.delivered(&a.id).await.unwrap();
        store.undelivered(&b.id, now + 5_000, "gone").await.unwrap();
        assert_eq!(store.claim("all", now + 4_999, now + 9_000, 10).await.unwrap(), []);
        let again = store.claim("all", now + 5_000, now + 9_000, 10).await.unwrap();
        assert_eq!(again, [Delivery { tries: 2, ..b.clone() }]);
        let hour = SignedDuration::from_hours(1);
        assert_eq!(store.give_up(Timestamp::now() - hour).await.unwrap(), 0);
        assert_eq!(store.give_up(Timestamp::now() + hour).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn nobody_is_told_of_a_case_that_is_gone() {
        let (store, _dir) = store().await;
        store.record(&[case("a", 1, "flag")]).await.unwrap();
        sqlx::query("DELETE FROM cases").execute(&store.pool).await.unwrap();
        let now = Timestamp::now().as_millisecond();
        assert_eq!(store.claim("all", now, now, 10).await.unwrap(), []);
    }
}
