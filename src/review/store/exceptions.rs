//! Exceptions: texts that people found harmless, which a policy lets pass until a day is over.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sqlx::{Row as _, any::AnyRow};
use uuid::Uuid;

use super::{Store, audit::Action, write::plain};
use crate::{policy::Exceptions, review::Error};

/// The longest that an exception may hold, in days.
const DAYS: i32 = 365;

/// An exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Exception {
    /// Its id.
    pub id: String,
    /// The text's hash ([`crate::policy::text_hash`]).
    pub hash: String,
    /// The policy that lets it pass.
    pub policy: String,
    /// The case that it was made for.
    pub case: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why it was made.
    pub note: String,
    /// The last day (UTC) on which it holds.
    #[serde(serialize_with = "super::as_text")]
    #[schemars(with = "String", extend("format" = "date"))]
    pub expires: Date,
    /// Who made it.
    pub created_by: String,
    /// When, in milliseconds since 1970.
    pub created_ms: i64,
    /// Who ended it early, and when.
    pub removed: Option<(String, i64)>,
}

/// An exception that is to be made, in each of these policies.
#[derive(Debug, Clone)]
pub struct NewException {
    /// The text's hash.
    pub hash: String,
    /// The policies that let it pass.
    pub policies: Vec<String>,
    /// The case that it is made for.
    pub case: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is made.
    pub note: String,
    /// The last day (UTC) on which it is to hold.
    pub expires: Date,
}

impl NewException {
    fn check(&self, today: Date) -> Result<(), Error> {
        let wrong = |field, why: &str| Err(Error::Wrong { field, why: why.to_owned() });
        if blake3::Hash::from_hex(&self.hash).is_err() {
            return wrong("hash", "must be the hash of a text, 64 hexadecimal digits");
        }
        if self.policies.is_empty() || self.policies.iter().any(String::is_empty) {
            return wrong("policies", "must name the policies that let the text pass");
        }
        if self.owner.trim().is_empty() {
            return wrong("owner", "must say who answers for the exception");
        }
        if self.expires < today || self.expires > today.saturating_add(DAYS.days()) {
            return Err(Error::Wrong { field: "expires", why: format!("must be a day from today to {DAYS} days ahead") });
        }
        Ok(())
    }
}

/// Today, in UTC.
fn today() -> Date {
    TimeZone::UTC.to_datetime(Timestamp::now()).date()
}

const COLUMNS: &str = "id, hash, policy, case_id, owner, note, expires, created_by, created_ms, removed_by, removed_ms";

impl Store {
    /// Makes an exception, one for each policy. Returns them.
    ///
    /// # Errors
    /// A wish that cannot be, or the store cannot be written.
    pub async fn add_exception(&self, new: &NewException, actor: &str) -> Result<Vec<Exception>, Error> {
        new.check(today())?;
        let mut change = self.change(actor).await?;
        let mut made = Vec::with_capacity(new.policies.len());
        for policy in &new.policies {
            let own = Exception {
                id: Uuid::now_v7().to_string(),
                hash: new.hash.to_lowercase(),
                policy: plain(policy),
                case: new.case.clone(),
                owner: plain(new.owner.trim()),
                note: plain(&new.note),
                expires: new.expires,
                created_by: plain(actor),
                created_ms: change.at_ms,
                removed: None,
            };
            sqlx::query(
                "INSERT INTO exceptions (id, hash, policy, case_id, owner, note, expires, created_by, created_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(&own.id)
            .bind(&own.hash)
            .bind(&own.policy)
            .bind(own.case.as_deref())
            .bind(&own.owner)
            .bind(&own.note)
            .bind(own.expires.to_string())
            .bind(&own.created_by)
            .bind(own.created_ms)
            .execute(change.connection())
            .await
            .map_err(|e| self.fail(&e))?;
            let Exception { id, hash, policy, owner, expires, .. } = &own;
            let detail =
                json!({ "exception": id, "hash": hash, "policy": policy, "owner": owner, "expires": expires.to_string() });
            change.tell(Action::ExceptionAdd, own.case.as_deref(), &detail).await?;
            made.push(own);
        }
        change.commit().await?;
        self.excepted.notify_one();
        Ok(made)
    }

    /// Ends an exception; that it was there stays on record.
    ///
    /// # Errors
    /// There is none of this id that holds, or the store cannot be written.
    pub async fn remove_exception(&self, id: &str, actor: &str) -> Result<(), Error> {
        let mut change = self.change(actor).await?;
        let query =
            "UPDATE exceptions SET removed_by = $1, removed_ms = $2 WHERE id = $3 AND removed_ms IS NULL RETURNING case_id";
        let query = sqlx::query(query).bind(actor).bind(change.at_ms).bind(id);
        let row = query.fetch_optional(change.connection()).await.map_err(|e| self.fail(&e))?;
        let row = row.ok_or_else(|| Error::Gone(format!("exception {id}")))?;
        let case: Option<String> = row.try_get("case_id").map_err(|e| self.fail(&e))?;
        change.tell(Action::ExceptionRemove, case.as_deref(), &json!({ "exception": id })).await?;
        change.commit().await?;
        self.excepted.notify_one();
        Ok(())
    }

    /// The exception of this id, whether it holds or not.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn exception(&self, id: &str) -> Result<Option<Exception>, Error> {
        Ok(self.read_exceptions("WHERE id = $1", &[id]).await?.into_iter().next())
    }

    /// All exceptions that were ever made, the newest first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn exceptions(&self, limit: u32) -> Result<Vec<Exception>, Error> {
        self.read_exceptions(&format!("ORDER BY created_ms DESC, id DESC LIMIT {limit}"), &[]).await
    }

    /// The exceptions of a case's text.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn exceptions_of(&self, case: &str) -> Result<Vec<Exception>, Error> {
        self.read_exceptions("WHERE case_id = $1 ORDER BY created_ms, id", &[case]).await
    }

    /// Those that hold on this day, as policies ask for them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn active(&self, today: Date) -> Result<Exceptions, Error> {
        let day = today.to_string();
        let active = self.read_exceptions("WHERE removed_ms IS NULL AND expires >= $1", &[&day]).await?;
        // One whose hash is none was not written by this program; it lets nothing pass.
        let known =
            active.into_iter().filter_map(|own| Some((own.policy, blake3::Hash::from_hex(own.hash).ok()?, own.expires)));
        Ok(known.collect())
    }

    /// Waits until exceptions were made or ended through this store.
    pub async fn excepted(&self) {
        self.excepted.notified().await;
    }

    async fn read_exceptions(&self, which: &str, arguments: &[&str]) -> Result<Vec<Exception>, Error> {
        let query = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM exceptions {which}")));
        let query = arguments.iter().fold(query, |query, argument| query.bind(*argument));
        let rows = query.fetch_all(&self.pool).await.map_err(|e| self.fail(&e))?;
        rows.iter().map(|row| read(row).map_err(|e| self.fail(&e))).collect()
    }
}

fn read(row: &AnyRow) -> Result<Exception, sqlx::Error> {
    let removed: (Option<String>, Option<i64>) = (row.try_get("removed_by")?, row.try_get("removed_ms")?);
    Ok(Exception {
        id: row.try_get("id")?,
        hash: row.try_get("hash")?,
        policy: row.try_get("policy")?,
        case: row.try_get("case_id")?,
        owner: row.try_get("owner")?,
        note: row.try_get("note")?,
        expires: row.try_get::<String, _>("expires")?.parse().map_err(|e: jiff::Error| sqlx::Error::Decode(e.into()))?,
        created_by: row.try_get("created_by")?,
        created_ms: row.try_get("created_ms")?,
        removed: removed.0.zip(removed.1),
    })
}

#[cfg(test)]
mod tests;
