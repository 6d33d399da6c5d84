//! The audit trail: who did what. Lines are only ever added, each in the transaction of what it tells of, and each carries a hash
//! of all before it, so that none can be changed, left out or moved without being noticed.

use blake3::Hasher;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Any, AnyConnection, Row as _, Transaction, any::AnyRow};

use super::{Store, selection::Selection, write::plain};
use crate::review::Error;

/// Lines that are read at once.
const BATCH: i64 = 1_000;

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read a case.
    Look,
    /// Said what a case is.
    Decide,
    /// Took that back.
    Undo,
    /// Took cases out.
    Export,
    /// Had cases deleted.
    Purge,
    /// Deleted what was too old, or more than there is room for.
    Retain,
    /// Let a text pass a policy.
    ExceptionAdd,
    /// Ended that.
    ExceptionRemove,
    /// Signed in.
    SignIn,
    /// Tried to.
    SignInFailed,
    /// Signed out.
    SignOut,
    /// Sealed the record with another key.
    Rotate,
}

impl Action {
    /// Its name, as it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Decide => "decide",
            Self::Undo => "undo",
            Self::Export => "export",
            Self::Purge => "purge",
            Self::Retain => "retain",
            Self::ExceptionAdd => "exception_add",
            Self::ExceptionRemove => "exception_remove",
            Self::SignIn => "sign_in",
            Self::SignInFailed => "sign_in_failed",
            Self::SignOut => "sign_out",
            Self::Rotate => "rotate",
        }
    }
}

/// A line of the trail.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Line {
    /// Its number, from 1 on.
    pub seq: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// The case that it is about.
    pub case: Option<String>,
    /// JSON.
    pub detail: String,
    /// Of this line and of the hash before, in hexadecimal digits.
    pub hash: String,
}

/// Which lines are meant; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail {
    /// About this case.
    pub case: Option<String>,
    /// Of this actor.
    pub actor: Option<String>,
    /// That tell of this.
    pub action: Option<String>,
}

/// What a check of the trail found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Verified {
    /// Lines that fit.
    pub lines: u64,
    /// The hash of the last of them; empty if there is none. Whoever keeps it elsewhere can tell later that nothing up to there
    /// was changed or cut off.
    pub head: String,
    /// The first line that does not fit, and why.
    pub broken: Option<(i64, String)>,
    /// Whether a line that fits has the hash that was looked for.
    pub contains: bool,
}

/// A change that the trail tells of: both last, or neither. There is one at a time, over all nodes.
pub(super) struct Change<'s> {
    store: &'s Store,
    transaction: Transaction<'static, Any>,
    actor: &'s str,
    head: (i64, String),
    pub(super) at_ms: i64,
}

impl Change<'_> {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// Adds a line.
    pub(super) async fn tell(&mut self, action: Action, case: Option<&str>, detail: &Value) -> Result<(), Error> {
        let (seq, before) = &self.head;
        let mut line = Line {
            seq: seq + 1,
            at_ms: self.at_ms,
            actor: plain(self.actor),
            action: action.name().to_owned(),
            case: case.map(plain),
            detail: detail.to_string(),
            hash: String::new(),
        };
        line.hash = line.hashed(before);
        sqlx::query("INSERT INTO audit (seq, at_ms, actor, action, case_id, detail, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(line.seq)
            .bind(line.at_ms)
            .bind(&line.actor)
            .bind(&line.action)
            .bind(line.case.as_deref())
            .bind(&line.detail)
            .bind(&line.hash)
            .execute(&mut *self.transaction)
            .await
            .map_err(|e| self.store.fail(&e))?;
        self.head = (line.seq, line.hash);
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        let store = self.store;
        self.transaction.commit().await.map_err(|e| store.fail(&e))
    }
}

impl Line {
    /// The hash that belongs to it after a line with this one.
    fn hashed(&self, before: &str) -> String {
        let mut hasher = Hasher::new();
        // With its length before each, no field can pass for a part of another.
        let mut add = |field: &[u8]| {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        };
        let case = self.case.as_deref().map_or_else(Vec::new, |case| [b"=", case.as_bytes()].concat());
        let numbers = [self.seq, self.at_ms].map(i64::to_le_bytes);
        let texts = [before, &self.actor, &self.action, &self.detail].map(str::as_bytes);
        numbers.iter().map(<[u8; 8]>::as_slice).chain(texts).chain([case.as_slice()]).for_each(&mut add);
        hasher.finalize().to_string()
    }

    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            seq: row.try_get("seq")?,
            at_ms: row.try_get("at_ms")?,
            actor: row.try_get("actor")?,
            action: row.try_get("action")?,
            case: row.try_get("case_id")?,
            detail: row.try_get("detail")?,
            hash: row.try_get("hash")?,
        })
    }
}

impl Verified {
    /// Adds the next line of the trail, if it fits.
    fn add(&mut self, line: &Line, sought: Option<&str>) {
        let next = i64::try_from(self.lines).unwrap_or(i64::MAX).saturating_add(1);
        if line.seq != next {
            self.broken = Some((next, format!("it is missing: line {} comes next", line.seq)));
        } else if line.hashed(&self.head) != line.hash {
            self.broken = Some((next, "its hash does not fit: it, or the one before, was changed".to_owned()));
        } else {
            self.lines += 1;
            self.head.clone_from(&line.hash);
            self.contains |= sought == Some(&line.hash);
        }
    }
}

impl Store {
    /// Begins a change.
    pub(super) async fn change<'s>(&'s self, actor: &'s str) -> Result<Change<'s>, Error> {
        let fail = |e: sqlx::Error| self.fail(&e);
        let mut transaction = self.writer.begin_with(self.backend.begin()).await.map_err(fail)?;
        if let Some(statement) = self.backend.alone() {
            sqlx::query(statement).execute(&mut *transaction).await.map_err(fail)?;
        }
        let last = sqlx::query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetch_optional(&mut *transaction).await;
        let head = last.map_err(fail)?.map(|row| Ok((row.try_get("seq")?, row.try_get("hash")?))).transpose().map_err(fail)?;
        let at_ms = Timestamp::now().as_millisecond();
        Ok(Change { store: self, transaction, actor, head: head.unwrap_or_default(), at_ms })
    }

    /// Adds a line of something that changes nothing else in the store.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn audit(&self, actor: &str, action: Action, case: Option<&str>, detail: &Value) -> Result<(), Error> {
        let mut change = self.change(actor).await?;
        change.tell(action, case, detail).await?;
        change.commit().await
    }

    /// The newest lines first, from before this number on, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn trail(&self, trail: &Trail, before: Option<i64>, limit: u32) -> Result<Vec<Line>, Error> {
        let mut conditions = Selection::none();
        for (column, value) in [("case_id", &trail.case), ("actor", &trail.actor), ("action", &trail.action)] {
            conditions.and_text(&format!("{column} = "), value.as_deref());
        }
        conditions.and_whole("seq < ", before);
        let columns = "SELECT seq, at_ms, actor, action, case_id, detail, hash FROM audit";
        let rows = conditions.fetch(self, columns, &format!("ORDER BY seq DESC LIMIT {limit}")).await?;
        rows.iter().map(|row| Line::read(row).map_err(|e| self.fail(&e))).collect()
    }

    /// Checks the whole trail, from its first line on. A line with the hash `sought` is looked for on the way: where one that
    /// was the last once is not there any more, the trail was cut off or written anew.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn verify(&self, sought: Option<&str>) -> Result<Verified, Error> {
        let mut verified = Verified::default();
        let mut last = i64::MIN;
        loop {
            let query =
                "SELECT seq, at_ms, actor, action, case_id, detail, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
            let rows = sqlx::query(query).bind(last).bind(BATCH).fetch_all(&self.pool).await.map_err(|e| self.fail(&e))?;
            if rows.is_empty() {
                return Ok(verified);
            }
            for row in &rows {
                let line = Line::read(row).map_err(|e| self.fail(&e))?;
                last = line.seq;
                verified.add(&line, sought);
                if verified.broken.is_some() {
                    return Ok(verified);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
