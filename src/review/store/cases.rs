//! The cases: written, listed, found.

use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{
    Any, AnyConnection, Row as _,
    any::{AnyArguments, AnyRow},
    query::Query,
};

use super::Store;
use crate::review::{Case, Error, Facts, Filter, Kept, Place, State, Text, Told};

/// Characters of a prompt that lists show.
const EXCERPT: usize = 200;
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

#[derive(Serialize)]
struct BodyOf<'c> {
    request: &'c [Text],
    response: &'c [Text],
    call: Option<&'c Facts>,
    evidence: Option<&'c Kept>,
}

const ENTRY: &str = "c.id, c.at, c.at_ms, c.decision, c.state, c.dialect, c.model, c.language, c.score, c.reasons, c.tenant, \
                     c.caller, c.excerpt, c.seal";
const CASE: &str = "c.id, c.version, c.at, c.decision, c.dialect, c.model, c.stream, c.language, c.score, c.guard, c.policy, c.reasons, \
                    c.body, c.seal";

impl Store {
    /// Writes cases, or what has become of them since, all or none; on return they are durable.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn record(&self, cases: &[Case]) -> Result<(), Error> {
        let mut transaction = self.pool.begin_with(self.backend.begin()).await.map_err(|e| self.fail(&e))?;
        for case in cases {
            self.write(&mut transaction, case).await?;
        }
        transaction.commit().await.map_err(|e| self.fail(&e))?;
        self.outbox.send_replace(());
        Ok(())
    }

    async fn write(&self, connection: &mut AnyConnection, case: &Case) -> Result<(), Error> {
        let unwritten = |e: String| Error::Row { id: case.id.clone(), why: e };
        let at_ms = case.at.parse::<Timestamp>().map_err(|e| unwritten(e.to_string()))?.as_millisecond();
        let body = BodyOf {
            request: &case.request,
            response: &case.response,
            call: case.call.as_ref(),
            evidence: case.evidence.as_ref(),
        };
        let body = serde_json::to_vec(&body).map_err(|e| unwritten(e.to_string()))?;
        let before = self.before(connection, &case.id).await?;
        let excerpt: String = case.prompt().chars().take(EXCERPT).collect();
        let call = case.call.as_ref();
        let written = sqlx::query(
            "INSERT INTO cases (id, version, at, at_ms, decision, dialect, model, stream, language, score, guard, policy, \
             reasons, tenant, caller, subject, excerpt, body, bytes) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
             ON CONFLICT (id) DO UPDATE SET version = excluded.version, decision = excluded.decision, \
             language = excluded.language, score = excluded.score, guard = excluded.guard, reasons = excluded.reasons, \
             excerpt = excluded.excerpt, body = excluded.body, bytes = excluded.bytes \
             WHERE cases.version < excluded.version",
        )
        .bind(&case.id)
        .bind(i64::from(case.version))
        .bind(&case.at)
        .bind(at_ms)
        .bind(&case.decision)
        .bind(&case.dialect)
        .bind(plain(&case.model))
        .bind(i64::from(case.stream))
        .bind(case.language.as_deref())
        .bind(case.score.map(f64::from))
        .bind(&case.guard)
        .bind(&case.policy)
        .bind(case.reasons.to_string())
        .bind(call.and_then(|call| call.tenant.as_deref()).map(plain))
        .bind(call.and_then(|call| call.key.as_deref()).map(plain))
        .bind(call.and_then(|call| call.subject.as_deref()).map(plain))
        .bind(excerpt.into_bytes())
        .bind(&body)
        .bind(i64::try_from(body.len()).unwrap_or(i64::MAX))
        .execute(&mut *connection)
        .await
        .map_err(|e| self.fail(&e))?;
        if written.rows_affected() == 0 {
            // What is there is newer.
            return Ok(());
        }
        self.write_rules(connection, case, at_ms).await?;
        self.enqueue(connection, case, before.as_ref()).await
    }

    async fn write_rules(&self, connection: &mut AnyConnection, case: &Case, at_ms: i64) -> Result<(), Error> {
        let fail = |e: sqlx::Error| self.fail(&e);
        sqlx::query("DELETE FROM case_rules WHERE case_id = $1")
            .bind(&case.id)
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        for reason in case.reasons.as_array().into_iter().flatten() {
            let text = |name: &str| reason.get(name).and_then(Value::as_str);
            sqlx::query(
                "INSERT INTO case_rules (case_id, at_ms, policy, rule, action, mode, direction, target, score) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(&case.id)
            .bind(at_ms)
            .bind(text("policy").unwrap_or_default())
            .bind(text("rule").unwrap_or_default())
            .bind(text("action").unwrap_or_default())
            .bind(text("mode").unwrap_or_default())
            .bind(text("direction").unwrap_or_default())
            .bind(text("target"))
            .bind(reason.get("score").and_then(Value::as_f64))
            .execute(&mut *connection)
            .await
            .map_err(fail)?;
        }
        Ok(())
    }

    /// The newest cases first, from `before` on, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn queue(&self, filter: &Filter, before: Option<&Place>, limit: u32) -> Result<Vec<Entry>, Error> {
        let selection = Selection::new(self, filter, before, Order::NewestFirst);
        let rows = self.select(ENTRY, &selection, limit).await?;
        rows.iter().map(entry).collect()
    }

    /// The cases that follow on one, the next first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn newer(&self, filter: &Filter, than: &Place, limit: u32) -> Result<Vec<Entry>, Error> {
        let selection = Selection::new(self, filter, Some(than), Order::OldestFirst);
        let rows = self.select(ENTRY, &selection, limit).await?;
        rows.iter().map(entry).collect()
    }

    /// The case of this id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn case(&self, id: &str) -> Result<Option<Case>, Error> {
        let query = format!("SELECT {CASE} FROM cases c WHERE c.id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).fetch_optional(&self.pool).await;
        row.map_err(|e| self.fail(&e))?.as_ref().map(read).transpose()
    }

    /// The case whose id begins so, if there is just one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn find(&self, id: &str) -> Result<Option<Case>, Error> {
        let query = format!("SELECT {CASE} FROM cases c WHERE substr(c.id, 1, length($1)) = $1 LIMIT 2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id).fetch_all(&self.pool).await.map_err(|e| self.fail(&e))?;
        match rows.as_slice() {
            [row] => read(row).map(Some),
            _ => Ok(None),
        }
    }

    /// The cases whole, in this order, read in batches so that nobody who writes waits for a slow reader.
    pub fn cases(&self, filter: Filter, order: Order) -> impl Stream<Item = Result<Case, Error>> + '_ {
        let batches = stream::try_unfold((filter, Some(None)), move |(filter, next)| async move {
            let Some(from) = next else { return Ok(None) };
            let selection = Selection::new(self, &filter, from.as_ref(), order);
            let rows = self.select(&format!("{CASE}, c.at_ms"), &selection, BATCH).await?;
            let cases = rows.iter().map(|row| Ok((read(row)?, row.try_get("at_ms").map_err(|e| self.fail(&e))?)));
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

    async fn select(&self, columns: &str, selection: &Selection, limit: u32) -> Result<Vec<AnyRow>, Error> {
        let rest = format!("ORDER BY {} LIMIT {limit}", selection.order.sql());
        selection.fetch(self, &format!("SELECT {columns} FROM cases c"), &rest).await
    }
}

/// By when they began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

impl Order {
    fn sql(self) -> &'static str {
        match self {
            Self::NewestFirst => "c.at_ms DESC, c.id DESC",
            Self::OldestFirst => "c.at_ms, c.id",
        }
    }
}

/// A filter as SQL.
pub(super) struct Selection {
    pub(super) conditions: String,
    pub(super) arguments: Vec<Argument>,
    order: Order,
}

#[derive(Debug)]
pub(super) enum Argument {
    Text(String),
    Whole(i64),
    Real(f64),
}

impl Argument {
    pub(super) fn bind<'q>(&'q self, query: Query<'q, Any, AnyArguments>) -> Query<'q, Any, AnyArguments> {
        match self {
            Self::Text(text) => query.bind(text),
            Self::Whole(number) => query.bind(*number),
            Self::Real(number) => query.bind(*number),
        }
    }
}

impl Selection {
    /// All there is.
    pub(super) fn none() -> Self {
        Self { conditions: "1 = 1".to_owned(), arguments: Vec::new(), order: Order::NewestFirst }
    }

    pub(super) fn new(store: &Store, filter: &Filter, from: Option<&Place>, order: Order) -> Self {
        let mut own = Self { order, ..Self::none() };
        let Filter { since, until, policy, rule, direction, language, tenant, key, subject, .. } = filter;
        own.and("c.at_ms >= ", since.map(|since| Argument::Whole(since.ms())));
        own.and("c.at_ms < ", until.map(|until| Argument::Whole(until.ms())));
        for (column, value) in [("language", language), ("tenant", tenant), ("caller", key), ("subject", subject)] {
            own.and(&format!("c.{column} = "), value.as_deref().map(text));
        }
        own.and("c.decision = ", filter.decision.as_deref().map(text));
        own.and("c.state = ", filter.state.map(|state| text(state.name())));
        own.and("c.score >= ", filter.min_score.map(|score| Argument::Real(score.into())));
        own.and("c.score <= ", filter.max_score.map(|score| Argument::Real(score.into())));
        let of_rules =
            [("policy", policy.as_deref()), ("rule", rule.as_deref()), ("direction", direction.map(|way| way.name()))];
        if of_rules.iter().any(|(_, value)| value.is_some()) {
            own.conditions.push_str(" AND EXISTS (SELECT 1 FROM case_rules r WHERE r.case_id = c.id");
            for (column, value) in of_rules {
                own.and(&format!("r.{column} = "), value.map(text));
            }
            own.conditions.push(')');
        }
        if let Some(sought) = &filter.search {
            own.arguments.push(Argument::Text(store.backend.sought(sought)));
            let condition = store.backend.search(own.arguments.len());
            own.conditions.push_str(" AND ");
            own.conditions.push_str(&condition);
        }
        if let Some(Place { at_ms, id }) = from {
            let than = if order == Order::NewestFirst { '<' } else { '>' };
            own.arguments.extend([Argument::Whole(*at_ms), text(id)]);
            let last = own.arguments.len();
            own.add(&format!(" AND (c.at_ms, c.id) {than} (${}, ${last})", last - 1));
        }
        own
    }

    pub(super) fn and_text(&mut self, condition: &str, value: Option<&str>) {
        self.and(condition, value.map(text));
    }

    pub(super) fn and_whole(&mut self, condition: &str, value: Option<i64>) {
        self.and(condition, value.map(Argument::Whole));
    }

    /// The rows of a query that these conditions stand in, between `select` and `rest`.
    pub(super) async fn fetch(&self, store: &Store, select: &str, rest: &str) -> Result<Vec<AnyRow>, Error> {
        let query = format!("{select} WHERE {} {rest}", self.conditions);
        let query = self.arguments.iter().fold(sqlx::query(sqlx::AssertSqlSafe(query)), |query, argument| argument.bind(query));
        query.fetch_all(&store.pool).await.map_err(|e| store.fail(&e))
    }

    fn and(&mut self, condition: &str, value: Option<Argument>) {
        if let Some(value) = value {
            self.arguments.push(value);
            let number = self.arguments.len();
            self.add(&format!(" AND {condition}${number}"));
        }
    }

    pub(super) fn add(&mut self, sql: &str) {
        self.conditions.push_str(sql);
    }
}

fn text(value: &str) -> Argument {
    Argument::Text(value.to_owned())
}

/// A text that both databases take: PostgreSQL has none with a zero in it.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn entry(row: &AnyRow) -> Result<Entry, Error> {
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
            excerpt: String::from_utf8(row.try_get("excerpt")?)?,
        })
    };
    fields().map_err(|e| Error::Row { id: id.clone(), why: e.to_string() })
}

fn read(row: &AnyRow) -> Result<Case, Error> {
    let id: String = row.try_get("id").unwrap_or_default();
    let fields = || -> Result<Case, Box<dyn std::error::Error>> {
        let Body { request, response, call, evidence } = serde_json::from_slice(&row.try_get::<Vec<u8>, _>("body")?)?;
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
    fields().map_err(|e| Error::Row { id: id.clone(), why: e.to_string() })
}

#[expect(clippy::cast_possible_truncation, reason = "it was one of fewer digits when it was written")]
fn score(row: &AnyRow) -> Result<Option<f32>, sqlx::Error> {
    Ok(row.try_get::<Option<f64>, _>("score")?.map(|score| score as f32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Content,
        review::{Care, Facts, Judge, Kept, Passage, Said, Text, Verdict, store::backend},
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
            version: 1,
            at: if id.starts_with('a') { "2026-01-01T00:00:00Z" } else { "2026-01-01T00:00:00.5Z" }.into(),
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
        store.record(&[case("a1")]).await.unwrap();
        store.record(&[case("b1")]).await.unwrap();
        let later = Case {
            version: 2,
            decision: "rewrite".into(),
            response: vec![text(Target::Completion, "x")],
            evidence: Some(Kept { unscorable: vec![], passages: vec![], ..evidence() }),
            ..case("a1")
        };
        store.record(std::slice::from_ref(&later)).await.unwrap();
        drop(store);
        let store = Store::open_existing(&url).await.unwrap();
        let listed: Vec<_> = store.queue(&Filter::default(), None, 10).await.unwrap().into_iter().map(|case| case.id).collect();
        assert_eq!(listed, ["b1", "a1"]);
        assert_eq!(store.find("a").await.unwrap(), Some(later.clone()));
        assert_eq!(store.find("b").await.unwrap(), Some(case("b1")));
        assert_eq!(store.find("").await.unwrap(), None);
        assert_eq!(later.prompt(), "card [payment card]");
        assert_eq!(store.cases(Filter::default(), Order::OldestFirst).count().await, 2);
    }

    #[tokio::test]
    async fn the_newest_are_told_from_a_second_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}", dir.path().join("r.db").display())).await.unwrap();
        for (id, at) in [("a", "2026-01-01T00:00:00Z"), ("b", "2026-01-01T00:00:00.5Z"), ("c", "2026-01-02T00:00:00Z")] {
            store.record(&[Case { at: at.into(), ..case(id) }]).await.unwrap();
        }
        let told = async |since: Option<&str>| {
            let filter = Filter { since: since.map(|since| since.parse().unwrap()), ..Filter::default() };
            let ids = store.cases(filter, Order::NewestFirst).map(|case| case.unwrap().id);
            ids.collect::<Vec<_>>().await.concat()
        };
        assert_eq!(told(None).await, "cba");
        assert_eq!(told(Some("2026-01-01")).await, "cba");
        assert_eq!(told(Some("2026-01-01T00:00:00.2Z")).await, "cb");
        assert_eq!(told(Some("2026-01-01T00:00:01Z")).await, "c");
    }

    #[tokio::test]
    async fn a_store_of_an_older_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("r.db").display());
        let pool = sqlx::SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap();
        let steps = backend::of(&url).unwrap().steps();
        backend::migrator(&steps[..1]).run(&pool).await.unwrap();
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
