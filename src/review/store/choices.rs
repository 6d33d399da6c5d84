//! What the record holds to choose from.

use sqlx::Row as _;

use super::Store;
use crate::review::Error;

/// Values of one kind that are told.
const MOST: u32 = 200;

/// What the record holds to choose from, in the order of their letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// Rules that matched.
    pub rules: Vec<String>,
    /// Languages of the texts that mattered.
    pub languages: Vec<String>,
    /// Whose traffic it was.
    pub tenants: Vec<String>,
}

impl Store {
    /// What cases can be narrowed by.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn choices(&self) -> Result<Choices, Error> {
        let (rules, languages, tenants) = tokio::try_join!(
            self.distinct("case_rules", "rule"),
            self.distinct("cases", "language"),
            self.distinct("cases", "tenant")
        )?;
        Ok(Choices { rules, languages, tenants })
    }

    /// The values of a column that an index begins with. It jumps from each to the next: neither database does so of itself for
    /// `DISTINCT`, which would read a whole index.
    async fn distinct(&self, table: &str, column: &str) -> Result<Vec<String>, Error> {
        let query = format!(
            "WITH RECURSIVE known(value) AS (SELECT (SELECT min({column}) FROM {table}) UNION ALL \
             SELECT (SELECT min({column}) FROM {table} WHERE {column} > known.value) FROM known WHERE known.value IS NOT NULL) \
             SELECT value FROM known WHERE value IS NOT NULL LIMIT {MOST}"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&self.pool).await.map_err(|e| self.fail(&e))?;
        rows.iter().map(|row| row.try_get(0).map_err(|e| self.fail(&e))).collect()
    }
}
