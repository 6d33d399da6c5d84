//! Cases are written, many at once, in few statements.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _, any::AnyArguments, query::Query};

use super::{Store, index::searchable};
use crate::review::{Case, Error, Facts, Kept, Text};

/// Characters of a prompt that lists show.
const EXCERPT: usize = 200;
/// Rows that one statement writes at most. Statements write as many as a power of two, so that there are few to be prepared.
const ROWS: usize = 16;

const CASE: [&str; 21] = [
    "id", "version", "at", "at_ms", "decision", "dialect", "model", "stream", "language", "score", "guard", "policy",
    "reasons", "tenant", "caller", "subject", "texts", "excerpt", "body", "seal", "bytes",
];
/// What a later writing takes the place of.
const CHANGED: [&str; 11] =
    ["version", "decision", "language", "score", "guard", "reasons", "texts", "excerpt", "body", "seal", "bytes"];
const RULE: [&str; 9] = ["case_id", "at_ms", "policy", "rule", "action", "mode", "direction", "target", "score"];

/// A case that is ready to be written.
#[derive(Debug)]
pub(in crate::review) struct Prepared {
    /// What it was made of.
    pub(in crate::review) case: Case,
    at_ms: i64,
    reasons: String,
    texts: Option<String>,
    excerpt: Vec<u8>,
    body: Vec<u8>,
    seal: Option<String>,
    bytes: i64,
}

#[derive(Serialize)]
struct Body<'c> {
    request: &'c [Text],
    response: &'c [Text],
    call: Option<&'c Facts>,
    evidence: Option<&'c Kept>,
}

type Statement<'q> = Query<'q, Any, AnyArguments>;

impl Store {
    /// Makes a case ready to be written, which touches no store.
    ///
    /// # Errors
    /// It is none.
    pub(in crate::review) fn prepare(&self, case: Case) -> Result<Prepared, Error> {
        let wrong = |why: String| Error::Row { id: case.id.clone(), why };
        let at_ms = case.at.parse::<Timestamp>().map_err(|e| wrong(e.to_string()))?.as_millisecond();
        let Case { request, response, .. } = &case;
        let body = Body { request, response, call: case.call.as_ref(), evidence: case.evidence.as_ref() };
        let body = serde_json::to_vec(&body).map_err(|e| wrong(e.to_string()))?;
        let bytes = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let excerpt: String = case.prompt().chars().take(EXCERPT).collect();
        let reasons = plain(&case.reasons.to_string());
        let Some(seal) = &self.seal else {
            let (texts, excerpt) = (Some(searchable(&case)), excerpt.into_bytes());
            return Ok(Prepared { at_ms, reasons, texts, excerpt, body, seal: None, bytes, case });
        };
        let sealed = |column, plain: &[u8]| seal.seal(&place(&case.id, column), plain).map_err(|e| wrong(e.to_string()));
        let (excerpt, body) = (sealed("excerpt", excerpt.as_bytes())?.bytes, sealed("body", &body)?);
        Ok(Prepared { at_ms, reasons, texts: None, excerpt, body: body.bytes, seal: Some(body.key_id), bytes, case })
    }

    /// Writes cases, or what has become of them since, all or none; on return they are durable.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn record(&self, cases: &[Case]) -> Result<(), Error> {
        let cases: Vec<Prepared> = cases.iter().map(|case| self.prepare(case.clone())).collect::<Result<_, _>>()?;
        self.write(&cases.iter().collect::<Vec<_>>()).await
    }

    /// The same of cases that are ready.
    pub(in crate::review) async fn write(&self, cases: &[&Prepared]) -> Result<(), Error> {
        let mut transaction = self.writer.begin_with(self.backend.begin()).await.map_err(|e| self.fail(&e))?;
        // No statement can write a row twice.
        let mut newest = HashMap::with_capacity(cases.len());
        for own in cases {
            let version = newest.entry(own.case.id.as_str()).or_insert(own.case.version);
            *version = own.case.version.max(*version);
        }
        let mut cases: Vec<&Prepared> =
            cases.iter().copied().filter(|own| newest.get(own.case.id.as_str()) == Some(&own.case.version)).collect();
        // Nodes that write the same cases wait for each other's rows in one order.
        cases.sort_by_key(|own| (own.at_ms, own.case.id.as_str()));
        cases.dedup_by_key(|own| own.case.id.as_str());
        let mut before = HashMap::new();
        for own in cases.iter().filter(|own| own.is_again()) {
            let known = self.before(&mut transaction, &own.case.id).await?;
            before.extend(known.map(|known| (own.case.id.as_str(), known)));
        }
        let written = self.write_cases(&mut transaction, &cases).await?;
        self.write_rules(&mut transaction, &written).await?;
        for own in &written {
            self.enqueue(&mut transaction, &own.case, before.get(own.case.id.as_str())).await?;
        }
        if let Some(indexing) = self.backend.index() {
            for own in written.iter().filter(|own| own.is_again()) {
                let again = sqlx::query(indexing.again).bind(&own.case.id).execute(&mut *transaction).await;
                again.map_err(|e| self.fail(&e))?;
            }
        }
        transaction.commit().await.map_err(|e| self.fail(&e))?;
        self.outbox.send_replace(());
        Ok(())
    }

    /// Writes the cases that are newer than what is there, and tells which they are.
    async fn write_cases<'p>(
        &self,
        connection: &mut AnyConnection,
        cases: &[&'p Prepared],
    ) -> Result<Vec<&'p Prepared>, Error> {
        let changed: Vec<String> = CHANGED.iter().map(|column| format!("{column} = excluded.{column}")).collect();
        let conflict = format!(
            "ON CONFLICT (id) DO UPDATE SET {} WHERE cases.version < excluded.version RETURNING id",
            changed.join(", ")
        );
        let mut written = Vec::with_capacity(cases.len());
        for cases in powers(cases) {
            let query = insert("cases", &CASE, cases.len(), &conflict);
            let query = cases.iter().fold(sqlx::query(AssertSqlSafe(query)), |query, own| own.bind(query));
            let rows = query.fetch_all(&mut *connection).await.map_err(|e| self.fail(&e))?;
            let ids: Vec<String> =
                rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>().map_err(|e| self.fail(&e))?;
            if ids.len() == cases.len() {
                written.extend(cases);
            } else {
                written.extend(cases.iter().filter(|own| ids.contains(&own.case.id)));
            }
        }
        Ok(written)
    }

    async fn write_rules(&self, connection: &mut AnyConnection, cases: &[&Prepared]) -> Result<(), Error> {
        let known: Vec<&str> = cases.iter().filter(|own| own.is_again()).map(|own| own.case.id.as_str()).collect();
        for ids in powers(&known) {
            let places: Vec<String> = (1..=ids.len()).map(|place| format!("${place}")).collect();
            let query = format!("DELETE FROM case_rules WHERE case_id IN ({})", places.join(", "));
            let query = ids.iter().fold(sqlx::query(AssertSqlSafe(query)), |query, id| query.bind(*id));
            query.execute(&mut *connection).await.map_err(|e| self.fail(&e))?;
        }
        let reasons =
            cases.iter().flat_map(|own| own.case.reasons.as_array().into_iter().flatten().map(move |reason| (*own, reason)));
        let reasons: Vec<(&Prepared, &Value)> = reasons.collect();
        for reasons in powers(&reasons) {
            let mut query = sqlx::query(AssertSqlSafe(insert("case_rules", &RULE, reasons.len(), "")));
            for (own, reason) in reasons {
                query = bind_rule(query, own, reason);
            }
            query.execute(&mut *connection).await.map_err(|e| self.fail(&e))?;
        }
        Ok(())
    }
}

impl Prepared {
    /// Whether it may have been written before.
    fn is_again(&self) -> bool {
        self.case.version > 1
    }

    fn bind<'q>(&'q self, query: Statement<'q>) -> Statement<'q> {
        let Self { case, .. } = self;
        let call = case.call.as_ref();
        let of_call = |fact: fn(&Facts) -> Option<&str>| call.and_then(fact).map(plain);
        query
            .bind(plain(&case.id))
            .bind(i64::from(case.version))
            .bind(&case.at)
            .bind(self.at_ms)
            .bind(&case.decision)
            .bind(&case.dialect)
            .bind(plain(&case.model))
            .bind(i64::from(case.stream))
            .bind(case.language.as_deref())
            .bind(case.score.map(|score| f64::from(score).to_string()))
            .bind(plain(&case.guard))
            .bind(plain(&case.policy))
            .bind(&self.reasons)
            .bind(of_call(|call| call.tenant.as_deref()))
            .bind(of_call(|call| call.key.as_deref()))
            .bind(of_call(|call| call.subject.as_deref()))
            .bind(self.texts.as_deref())
            .bind(self.excerpt.as_slice())
            .bind(self.body.as_slice())
            .bind(self.seal.as_deref())
            .bind(self.bytes)
    }
}

fn bind_rule<'q>(query: Statement<'q>, own: &'q Prepared, reason: &'q Value) -> Statement<'q> {
    let text = |name: &str| reason.get(name).and_then(Value::as_str).map(plain);
    let known = |name: &str| text(name).unwrap_or_default();
    query
        .bind(&own.case.id)
        .bind(own.at_ms)
        .bind(known("policy"))
        .bind(known("rule"))
        .bind(known("action"))
        .bind(known("mode"))
        .bind(known("direction"))
        .bind(text("target"))
        .bind(reason.get("score").and_then(Value::as_f64).map(|score| score.to_string()))
}

/// Where what is sealed stands.
pub(super) fn place(id: &str, column: &str) -> String {
    format!("{id}/{column}")
}

/// A text that both databases take: PostgreSQL has none with a zero in it.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// These in as few parts as may be written at once.
fn powers<T>(mut all: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let (part, rest) = all.split_at_checked(1 << all.len().min(ROWS).checked_ilog2()?)?;
        all = rest;
        Some(part)
    })
}

fn insert(table: &str, columns: &[&str], rows: usize, rest: &str) -> String {
    let mut query = format!("INSERT INTO {table} ({}) VALUES", columns.join(", "));
    let (mut next, mut at) = (" (", 1);
    for _ in 0..rows {
        for column in columns {
            // sqlx tells PostgreSQL that a number which is missing has four bytes, and then that the next one has too.
            let (cast, end) = if *column == "score" { ("CAST(", " AS DOUBLE PRECISION)") } else { ("", "") };
            for part in [next, cast, "$", &at.to_string(), end] {
                query.push_str(part);
            }
            (next, at) = (", ", at + 1);
        }
        next = "), (";
    }
    query + ") " + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_powers_of_two() {
        let all = [0; 43];
        let parts: Vec<usize> = powers(&all).map(<[_]>::len).collect();
        assert_eq!(parts, [16, 16, 8, 2, 1]);
        assert_eq!(powers::<u8>(&[]).count(), 0);
        let query = insert("t", &["a", "score"], 2, "x");
        let score = ["$2", "$4"].map(|place| format!("CAST({place} AS DOUBLE PRECISION)"));
        assert_eq!(query, format!("INSERT INTO t (a, score) VALUES ($1, {}), ($3, {}) x", score[0], score[1]));
    }
}
