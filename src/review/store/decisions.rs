//! What reviewers say of cases.

use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;

use super::{
    Store,
    audit::{Action, Change},
    selection::{Order, Selection},
    write::plain,
};
use crate::review::{Chosen, Error, Filter, Opinion, State};

/// What one reviewer says of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Who.
    pub reviewer: String,
    /// What.
    pub opinion: Opinion,
    /// Why, in their words.
    pub note: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What a reviewer is about to say.
#[derive(Debug, Clone, Copy)]
pub struct NewDecision<'a> {
    /// Who.
    pub reviewer: &'a str,
    /// What.
    pub opinion: Opinion,
    /// Why; may be empty.
    pub note: &'a str,
}

/// The state that decisions come to; goes into an `UPDATE` of `cases`.
const STATE: &str = "state = (SELECT CASE WHEN min(d.verdict) IS NULL THEN 'open' WHEN min(d.verdict) = max(d.verdict) \
                     THEN min(d.verdict) ELSE 'disputed' END FROM decisions d WHERE d.case_id = cases.id)";
const AGAIN: &str = "ON CONFLICT (case_id, reviewer) DO UPDATE SET verdict = excluded.verdict, note = excluded.note, \
                     at_ms = excluded.at_ms";

impl Store {
    /// Keeps what a reviewer says of a case, in place of what they said before. Returns what all say now.
    ///
    /// # Errors
    /// The case is gone, or the store cannot be written.
    pub async fn decide(&self, id: &str, new: NewDecision<'_>, actor: &str) -> Result<State, Error> {
        let mut change = self.change(actor).await?;
        let state = self.decide_one(&mut change, id, new).await?;
        change.commit().await?;
        Ok(state)
    }

    /// The same of many cases: all, or none if one of those that are named is gone. Returns how many.
    ///
    /// # Errors
    /// A case is gone, or the store cannot be written.
    pub async fn decide_all(&self, chosen: &Chosen, new: NewDecision<'_>, actor: &str) -> Result<u64, Error> {
        let mut change = self.change(actor).await?;
        let count = match chosen {
            Chosen::Ids(ids) => {
                for id in ids {
                    self.decide_one(&mut change, id, new).await?;
                }
                ids.len() as u64
            }
            Chosen::All(filter) => self.decide_found(&mut change, filter, new).await?,
        };
        change.commit().await?;
        Ok(count)
    }

    async fn decide_found(&self, change: &mut Change<'_>, filter: &Filter, new: NewDecision<'_>) -> Result<u64, Error> {
        let NewDecision { reviewer, opinion, note } = new;
        self.searches(filter)?;
        let selection = Selection::new(self, filter, None, Order::NewestFirst);
        let at = selection.arguments.len();
        let query = format!(
            "INSERT INTO decisions (case_id, reviewer, verdict, note, at_ms) SELECT c.id, CAST(${} AS TEXT), CAST(${} AS TEXT), \
             CAST(${} AS TEXT), CAST(${} AS BIGINT) FROM cases c WHERE {} {AGAIN}",
            at + 1,
            at + 2,
            at + 3,
            at + 4,
            selection.conditions
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query));
        let query = selection.arguments.iter().fold(query, |query, argument| argument.bind(query));
        let query = query.bind(reviewer).bind(opinion.name()).bind(plain(note)).bind(change.at_ms);
        let count = query.execute(change.connection()).await.map_err(|e| self.fail(&e))?.rows_affected();
        // The filter may ask for the state, so that it would not find them again.
        let query =
            format!("UPDATE cases SET {STATE} WHERE id IN (SELECT case_id FROM decisions WHERE reviewer = $1 AND at_ms = $2)");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(reviewer).bind(change.at_ms);
        query.execute(change.connection()).await.map_err(|e| self.fail(&e))?;
        let detail = json!({ "filter": filter.told(), "verdict": opinion, "reviewer": reviewer, "cases": count });
        change.tell(Action::Decide, None, &detail).await?;
        Ok(count)
    }

    async fn decide_one(&self, change: &mut Change<'_>, id: &str, new: NewDecision<'_>) -> Result<State, Error> {
        let NewDecision { reviewer, opinion, note } = new;
        let at_ms = change.at_ms;
        let query = format!(
            "INSERT INTO decisions (case_id, reviewer, verdict, note, at_ms) SELECT id, CAST($2 AS TEXT), CAST($3 AS TEXT), \
             CAST($4 AS TEXT), CAST($5 AS BIGINT) FROM cases WHERE id = $1 {AGAIN}"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).bind(reviewer).bind(opinion.name());
        let written = query.bind(plain(note)).bind(at_ms).execute(change.connection()).await.map_err(|e| self.fail(&e))?;
        if written.rows_affected() == 0 {
            return Err(Error::Gone(format!("case {id}")));
        }
        let state = self.settle(change, id).await?;
        let detail = json!({ "verdict": opinion, "reviewer": reviewer, "state": state });
        change.tell(Action::Decide, Some(id), &detail).await?;
        Ok(state)
    }

    /// Takes back what a reviewer said of a case. Returns what the others say.
    ///
    /// # Errors
    /// They said nothing, or the store cannot be written.
    pub async fn undo(&self, id: &str, reviewer: &str, actor: &str) -> Result<State, Error> {
        let mut change = self.change(actor).await?;
        let state = self.undo_one(&mut change, id, reviewer).await?;
        change.commit().await?;
        Ok(state)
    }

    /// The same of many cases: all, or none if the reviewer said nothing of one of them. Returns how many.
    ///
    /// # Errors
    /// They said nothing of one of them, or the store cannot be written.
    pub async fn undo_all(&self, ids: &[String], reviewer: &str, actor: &str) -> Result<u64, Error> {
        let mut change = self.change(actor).await?;
        for id in ids {
            self.undo_one(&mut change, id, reviewer).await?;
        }
        change.commit().await?;
        Ok(ids.len() as u64)
    }

    async fn undo_one(&self, change: &mut Change<'_>, id: &str, reviewer: &str) -> Result<State, Error> {
        let query = sqlx::query("DELETE FROM decisions WHERE case_id = $1 AND reviewer = $2").bind(id).bind(reviewer);
        let removed = query.execute(change.connection()).await.map_err(|e| self.fail(&e))?;
        if removed.rows_affected() == 0 {
            return Err(Error::Gone(format!("decision of {reviewer} on case {id}")));
        }
        let state = self.settle(change, id).await?;
        change.tell(Action::Undo, Some(id), &json!({ "reviewer": reviewer, "state": state })).await?;
        Ok(state)
    }

    /// What reviewers say of a case, the oldest decision first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn decisions(&self, id: &str) -> Result<Vec<Decision>, Error> {
        let query = "SELECT reviewer, verdict, note, at_ms FROM decisions WHERE case_id = $1 ORDER BY at_ms, reviewer";
        let rows = sqlx::query(query).bind(id).fetch_all(&self.pool).await.map_err(|e| self.fail(&e))?;
        let read = |row: &sqlx::any::AnyRow| -> Result<Decision, sqlx::Error> {
            let verdict: String = row.try_get("verdict")?;
            let opinion = Opinion::named(&verdict).ok_or_else(|| sqlx::Error::Protocol(format!("no verdict: {verdict}")))?;
            Ok(Decision {
                reviewer: row.try_get("reviewer")?,
                opinion,
                note: row.try_get("note")?,
                at_ms: row.try_get("at_ms")?,
            })
        };
        rows.iter().map(|row| read(row).map_err(|e| Error::Row { id: id.to_owned(), why: e.to_string() })).collect()
    }

    /// What reviewers say of a case, all together.
    ///
    /// # Errors
    /// The case is gone, or the store cannot be read.
    pub async fn state(&self, id: &str) -> Result<State, Error> {
        let row = sqlx::query("SELECT state FROM cases WHERE id = $1").bind(id).fetch_optional(&self.pool).await;
        let row = row.map_err(|e| self.fail(&e))?.ok_or_else(|| Error::Gone(format!("case {id}")))?;
        let state: String = row.try_get("state").map_err(|e| self.fail(&e))?;
        Ok(State::named(&state).unwrap_or_default())
    }

    /// Works out a case's state again.
    async fn settle(&self, change: &mut Change<'_>, id: &str) -> Result<State, Error> {
        let query = format!("UPDATE cases SET {STATE} WHERE id = $1 RETURNING state");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).fetch_one(change.connection()).await;
        let state: String = row.and_then(|row| row.try_get("state")).map_err(|e| self.fail(&e))?;
        Ok(State::named(&state).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
