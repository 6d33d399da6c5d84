//! What goes: cases that are too old, those that there is no room for, and what somebody has a right to see deleted.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::Row as _;

use super::{
    Store,
    audit::Action,
    backend::Tidy,
    selection::{Order, Selection},
};
use crate::review::{Chosen, Error, Filter};

/// Cases that go at once, so that those who write wait for a moment only.
const BATCH: usize = 500;
/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// How long cases are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Days; 0 keeps all.
    pub days: u32,
    /// Size of the store, in MiB; 0 sets no limit.
    pub mb: u64,
}

/// How many cases went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Because they were too old.
    pub by_age: u64,
    /// Because there was no room for them.
    pub by_size: u64,
}

/// Who the trail says did it where nobody asked.
const ACTOR: &str = "seawall";

impl Store {
    /// Deletes the cases that are too old, and then the oldest until the store has its size.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn retain(&self, keep: Keep, now: Timestamp) -> Result<Purged, Error> {
        let mut purged = Purged::default();
        let oldest = now.checked_sub(SignedDuration::from_hours(24 * i64::from(keep.days))).ok().filter(|_| keep.days > 0);
        if let Some(oldest) = oldest {
            let old = Filter { until: Some(oldest.into()), ..Filter::default() };
            loop {
                let gone = self.forget_oldest(&old, BATCH, (ACTOR, Action::Retain), &json!({ "days": keep.days })).await?;
                purged.by_age += gone;
                if gone < BATCH as u64 {
                    break;
                }
            }
        }
        if keep.mb > 0 {
            purged.by_size = self.make_room(keep.mb).await?;
        }
        Ok(purged)
    }

    async fn make_room(&self, mb: u64) -> Result<u64, Error> {
        let (room, mut count) = (mb.saturating_mul(MIB), 0);
        loop {
            let (bytes, cases) = (self.size().await?, self.count(&Chosen::All(Filter::default())).await?);
            if bytes <= room || cases == 0 {
                return Ok(count);
            }
            // No more than there is to be rid of, if all are as large.
            let surplus = (bytes - room).div_ceil(bytes.div_ceil(cases));
            let most = usize::try_from(surplus).unwrap_or(BATCH).clamp(1, BATCH);
            count += self.forget_oldest(&Filter::default(), most, (ACTOR, Action::Retain), &json!({ "mb": mb })).await?;
        }
    }

    /// Deletes all cases that are chosen, with what hangs on them, and sees to it that nothing of their texts is left in the
    /// store's files. Returns how many they were.
    ///
    /// # Errors
    /// The store cannot be written. What was deleted until then stays so, and on record.
    pub async fn purge(&self, chosen: &Chosen, actor: &str) -> Result<u64, Error> {
        let mut count = 0;
        match chosen {
            Chosen::Ids(ids) => {
                for ids in ids.chunks(BATCH) {
                    let detail = json!({ "ids": ids });
                    count += self.forget(ids, (actor, Action::Purge), &detail).await?;
                }
            }
            Chosen::All(filter) => loop {
                let gone = self.forget_oldest(filter, BATCH, (actor, Action::Purge), &chosen.told()).await?;
                count += gone;
                if gone < BATCH as u64 {
                    break;
                }
            },
        }
        self.tidy().await.map_err(|e| self.fail(&e))?;
        Ok(count)
    }

    /// Sees to it that nothing is left of what was deleted.
    pub(super) async fn tidy(&self) -> Result<(), sqlx::Error> {
        let Tidy { merge, last } = self.backend.tidy();
        let mut connection = self.writer.acquire().await?;
        if let Some([first, next, told]) = merge {
            sqlx::query(first).execute(&mut *connection).await?;
            let mut before = i64::MIN;
            loop {
                let done: i64 = sqlx::query(told).fetch_one(&mut *connection).await?.try_get(0)?;
                if done.saturating_sub(before) < 2 {
                    break;
                }
                before = done;
                sqlx::query(next).execute(&mut *connection).await?;
            }
        }
        sqlx::query(last).fetch_all(&mut *connection).await.map(drop)
    }

    /// Deletes the oldest cases of a filter, at most so many. Returns how many.
    async fn forget_oldest(&self, filter: &Filter, most: usize, by: (&str, Action), detail: &Value) -> Result<u64, Error> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let rows = self.page("c.id, c.at_ms", filter, None, (Order::OldestFirst, most)).await?;
        let ids: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get("id")).collect();
        self.forget(&ids.map_err(|e| self.fail(&e))?, by, detail).await
    }

    /// Deletes these cases and says so, all at once. What goes by itself is not worth a line if it was nothing.
    async fn forget(&self, ids: &[String], (actor, action): (&str, Action), detail: &Value) -> Result<u64, Error> {
        if ids.is_empty() && action == Action::Retain {
            return Ok(0);
        }
        let mut change = self.change(actor).await?;
        let mut count = 0;
        // Rules and decisions go with their case.
        let statements = self
            .backend
            .forget()
            .into_iter()
            .chain(["DELETE FROM deliveries WHERE case_id = $1", "DELETE FROM cases WHERE id = $1"]);
        let statements: Vec<&str> = statements.collect();
        for id in ids {
            let mut gone = 0;
            for statement in &statements {
                let done = sqlx::query(sqlx::AssertSqlSafe(*statement)).bind(id).execute(change.connection()).await;
                gone = done.map_err(|e| self.fail(&e))?.rows_affected();
            }
            count += gone;
        }
        let mut detail = detail.clone();
        if let Some(detail) = detail.as_object_mut() {
            detail.insert("cases".to_owned(), json!(count));
        }
        change.tell(action, None, &detail).await?;
        change.commit().await?;
        Ok(count)
    }

    /// Bytes that the record takes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn size(&self) -> Result<u64, Error> {
        let row = sqlx::query(self.backend.size()).fetch_one(&self.pool).await.map_err(|e| self.fail(&e))?;
        Ok(row.try_get::<i64, _>(0).map_err(|e| self.fail(&e))?.unsigned_abs())
    }

    /// How many cases are chosen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn count(&self, chosen: &Chosen) -> Result<u64, Error> {
        let filter = match chosen {
            Chosen::Ids(ids) => return Ok(ids.len() as u64),
            Chosen::All(filter) => filter,
        };
        self.searches(filter)?;
        let selection = Selection::new(self, filter, None, Order::OldestFirst);
        let rows = selection.fetch(self, "SELECT count(*) FROM cases c", "").await?;
        rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(0)).map(i64::unsigned_abs).map_err(|e| self.fail(&e))
    }
}

#[cfg(test)]
mod tests;
