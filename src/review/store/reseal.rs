//! The record sealed with another key.

use serde_json::json;
use sqlx::{Row as _, any::AnyRow};

use super::{
    Store,
    audit::{Action, Change},
    write::place,
};
use crate::review::{Error, Seal};

/// Cases that are sealed at once.
const BATCH: i64 = 200;

impl Store {
    /// Seals all cases that are not sealed with the first key, and sees to it that nothing of what was in the clear is left in the
    /// store's files. Returns how many they were.
    ///
    /// # Errors
    /// There is no key, or not the one that a case is sealed with, or the store cannot be written. What was sealed until then stays
    /// so.
    pub async fn reseal(&self, actor: &str) -> Result<u64, Error> {
        let none = || Error::Wrong { field: "review.keys", why: "names no key to seal with".to_owned() };
        let seal = self.seal().ok_or_else(none)?;
        let mut count = 0;
        loop {
            let mut change = self.change(actor).await?;
            let query = "SELECT id, version, excerpt, body, seal FROM cases WHERE seal IS NULL OR seal <> $1 LIMIT $2";
            let query = sqlx::query(query).bind(seal.key_id()).bind(BATCH);
            let rows = query.fetch_all(change.connection()).await.map_err(|e| self.fail(&e))?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                self.reseal_one(&mut change, seal, row).await?;
            }
            count += rows.len() as u64;
            change.tell(Action::Rotate, None, &json!({ "key": seal.key_id(), "cases": rows.len() })).await?;
            change.commit().await?;
        }
        self.tidy().await.map_err(|e| self.fail(&e))?;
        Ok(count)
    }

    async fn reseal_one(&self, change: &mut Change<'_>, seal: &Seal, row: &AnyRow) -> Result<(), Error> {
        let id: String = row.try_get("id").map_err(|e| self.fail(&e))?;
        let wrong = |why: String| Error::Row { id: id.clone(), why };
        let sealed = |column| {
            let plain = self.opened(row, &id, column).map_err(|e| wrong(e.to_string()))?;
            seal.seal(&place(&id, column), &plain).map_err(|e| wrong(e.to_string()))
        };
        let (excerpt, body) = (sealed("excerpt")?, sealed("body")?);
        let version: i64 = row.try_get("version").map_err(|e| self.fail(&e))?;
        if let Some(statement) = self.backend.forget() {
            sqlx::query(statement).bind(&id).execute(change.connection()).await.map_err(|e| self.fail(&e))?;
        }
        // A later writing that came in between is sealed already, or found the next time.
        let query = "UPDATE cases SET excerpt = $1, body = $2, seal = $3, texts = NULL WHERE id = $4 AND version = $5";
        let query = sqlx::query(query).bind(excerpt.bytes).bind(body.bytes).bind(body.key_id).bind(&id).bind(version);
        query.execute(change.connection()).await.map(drop).map_err(|e| self.fail(&e))
    }
}

#[cfg(test)]
mod tests;
