//! The cases: listed, found, read.

use futures_util::{Stream, StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Row as _, any::AnyRow};

use super::{
    Store,
    selection::Order,
    write::{place, plain},
};
use crate::review::{Case, Error, Facts, Filter, Kept, Place, SealError, State, Text, Told, rules};

/// Cases that are read at once where all are read.
const BATCH: u32 = 256;

/// A case as lists have it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// When it began (RFC 3339).
    pub at: String,
    /// The same in milliseconds since 1970.
    pub at_ms: i64,
    /// What was decided.
    pub decision: String,
    /// What reviewers say.
    pub state: State,
    /// The API spoken.
    pub dialect: String,
    /// The model asked for.
    pub model: String,
    /// Language of the text that mattered.
    pub language: Option<String>,
    /// The highest P(unsafe) of any text.
    pub score: Option<f32>,
    /// The rules that matched.
    #[schemars(with = "Vec<Told>")]
    pub reasons: Value,
    /// Whose traffic it was.
    pub tenant: Option<String>,
    /// Name of the caller's key.
    pub key: Option<String>,
    /// How the prompt begins.
    pub excerpt: String,
}

impl Entry {
    /// The rules that matched.
    #[must_use]
    pub fn rules(&self) -> Vec<&str> {
        rules(&self.reasons)
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { at_ms: self.at_ms, id: self.id.clone() }
    }
}

/// What is stored of a case as one.
#[derive(Deserialize)]
struct Body {
    request: Vec<Text>,
    response: Vec<Text>,
    #[serde(default)]
    call: Option<Facts>,
    #[serde(default)]
    evidence: Option<Kept>,
}

const ENTRY: &str = "c.id, c.at, c.at_ms, c.decision, c.state, c.dialect, c.model, c.language, c.score, c.reasons, c.tenant, \
                     c.caller, c.excerpt, c.seal";
const CASE: &str = "c.id, c.version, c.at, c.decision, c.dialect, c.model, c.stream, c.language, c.score, c.guard, c.policy, c.reasons, \
                    c.body, c.seal";

impl Store {
    /// The newest cases first, from `before` on, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn queue(&self, filter: &Filter, before: Option<&Place>, limit: u32) -> Result<Vec<Entry>, Error> {
        let rows = self.page(ENTRY, filter, before, (Order::NewestFirst, limit)).await?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    /// The cases that follow on one, the next first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn newer(&self, filter: &Filter, than: &Place, limit: u32) -> Result<Vec<Entry>, Error> {
        let rows = self.page(ENTRY, filter, Some(than), (Order::OldestFirst, limit)).await?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    /// The case of this id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn case(&self, id: &str) -> Result<Option<Case>, Error> {
        let query = format!("SELECT {CASE} FROM cases c WHERE c.id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).fetch_optional(&self.pool).await;
        row.map_err(|e| self.fail(&e))?.as_ref().map(|row| self.read(row)).transpose()
    }

    /// The case whose id begins so, if there is just one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn find(&self, id: &str) -> Result<Option<Case>, Error> {
        let query = format!("SELECT {CASE} FROM cases c WHERE c.id >= $1 AND c.id < $2 LIMIT 2");
        let (first, last) = (plain(id), format!("{}{}", plain(id), char::MAX));
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(first).bind(last);
        let rows = query.fetch_all(&self.pool).await.map_err(|e| self.fail(&e))?;
        match rows.as_slice() {
            [row] => self.read(row).map(Some),
            _ => Ok(None),
        }
    }

    /// The cases whole, in this order, read in batches so that nobody who writes waits for a slow reader.
    pub fn cases(&self, filter: Filter, order: Order) -> impl Stream<Item = Result<Case, Error>> + '_ {
        let batches = stream::try_unfold((filter, Some(None)), move |(filter, next)| async move {
            let Some(from) = next else { return Ok(None) };
            let rows = self.page(&format!("{CASE}, c.at_ms"), &filter, from.as_ref(), (order, BATCH)).await?;
            let cases = rows.iter().map(|row| Ok((self.read(row)?, row.try_get("at_ms").map_err(|e| self.fail(&e))?)));
            let cases: Vec<(Case, i64)> = cases.collect::<Result<_, Error>>()?;
            let next = cases.last().map(|(case, at_ms)| Some(Place { at_ms: *at_ms, id: case.id.clone() }));
            Ok(Some((cases, (filter, next))))
        });
        batches.flat_map(|batch: Result<Vec<(Case, i64)>, Error>| {
            let (cases, error) = match batch {
                Ok(cases) => (cases, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            stream::iter(cases.into_iter().map(|(case, _)| Ok(case)).chain(error))
        })
    }

    fn entry(&self, row: &AnyRow) -> Result<Entry, Error> {
        let id: String = row.try_get("id").unwrap_or_default();
        let fields = || -> Result<Entry, Box<dyn std::error::Error>> {
            Ok(Entry {
                id: id.clone(),
                at: row.try_get("at")?,
                at_ms: row.try_get("at_ms")?,
                decision: row.try_get("decision")?,
                state: State::named(&row.try_get::<String, _>("state")?).unwrap_or_default(),
                dialect: row.try_get("dialect")?,
                model: row.try_get("model")?,
                language: row.try_get("language")?,
                score: score(row)?,
                reasons: serde_json::from_str(&row.try_get::<String, _>("reasons")?)?,
                tenant: row.try_get("tenant")?,
                key: row.try_get("caller")?,
                excerpt: String::from_utf8(self.opened(row, &id, "excerpt")?)?,
            })
        };
        fields().map_err(|e| unread(&id, &*e))
    }

    fn read(&self, row: &AnyRow) -> Result<Case, Error> {
        let id: String = row.try_get("id").unwrap_or_default();
        let fields = || -> Result<Case, Box<dyn std::error::Error>> {
            let Body { request, response, call, evidence } = serde_json::from_slice(&self.opened(row, &id, "body")?)?;
            Ok(Case {
                id: id.clone(),
                version: row.try_get::<i64, _>("version")?.try_into()?,
                at: row.try_get("at")?,
                decision: row.try_get("decision")?,
                dialect: row.try_get("dialect")?,
                model: row.try_get("model")?,
                stream: row.try_get::<i64, _>("stream")? != 0,
                language: row.try_get("language")?,
                score: score(row)?,
                guard: row.try_get("guard")?,
                policy: row.try_get("policy")?,
                reasons: serde_json::from_str(&row.try_get::<String, _>("reasons")?)?,
                request,
                response,
                call,
                evidence,
            })
        };
        fields().map_err(|e| unread(&id, &*e))
    }

    /// A column that may be sealed.
    pub(super) fn opened(&self, row: &AnyRow, id: &str, column: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let bytes: Vec<u8> = row.try_get(column)?;
        let Some(key) = row.try_get::<Option<String>, _>("seal")? else { return Ok(bytes) };
        let seal = self.seal.as_ref().ok_or_else(|| SealError::Missing { id: key.clone() })?;
        Ok(seal.open(&key, &place(id, column), &bytes)?)
    }
}

fn unread(id: &str, why: &dyn std::error::Error) -> Error {
    Error::Row { id: id.to_owned(), why: format!("cannot be read: {why}") }
}

#[expect(clippy::cast_possible_truncation, reason = "it was one of fewer digits when it was written")]
fn score(row: &AnyRow) -> Result<Option<f32>, sqlx::Error> {
    Ok(row.try_get::<Option<f64>, _>("score")?.map(|score| score as f32))
}
