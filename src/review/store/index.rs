//! The index of texts. PostgreSQL keeps its own; SQLite's is kept by the writer, a little later than the cases are written: to
//! cut texts into stretches takes longer than to write them. Searches look through what is not in it yet.

use sqlx::Row as _;

use super::Store;
use crate::review::{Case, Error};

/// Characters of a case that can be found.
const TEXTS: usize = 256 << 10;
/// Cases, and characters, that come into the index at once: those who write meanwhile wait as long.
const CASES: i64 = 512;
const CHARACTERS: i64 = 256 << 10;

/// The texts of a case as they are searched.
pub(super) fn searchable(case: &Case) -> String {
    let mut texts = String::new();
    for text in case.request.iter().chain(&case.response) {
        // What a reader takes for one word does not go on in another text.
        texts.push_str(if texts.is_empty() { "" } else { "\n" });
        let room = TEXTS.saturating_sub(texts.len());
        let part = text.text.get(..text.text.floor_char_boundary(room)).unwrap_or_default();
        texts.push_str(&folded(part));
    }
    texts
}

/// A text as it is searched for.
pub(super) fn folded(text: &str) -> String {
    text.to_lowercase().replace('\0', "\u{fffd}")
}

impl Store {
    /// Takes some of the cases that are not in the index yet into it. Returns how many.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn index(&self) -> Result<usize, Error> {
        let Some(indexing) = self.backend.index() else { return Ok(0) };
        let fail = |e: sqlx::Error| self.fail(&e);
        let mut transaction = self.writer.begin_with(self.backend.begin()).await.map_err(fail)?;
        let rows = sqlx::query(indexing.waiting).bind(CASES).fetch_all(&mut *transaction).await.map_err(fail)?;
        let (mut last, mut count, mut size) = (None, 0, 0);
        for row in &rows {
            size += row.try_get::<i64, _>("size").map_err(fail)?;
            if count > 0 && size > CHARACTERS {
                break;
            }
            last = Some(row.try_get::<i64, _>("seq").map_err(fail)?);
            count += 1;
        }
        let Some(last) = last else { return Ok(0) };
        for statement in [indexing.add, indexing.note] {
            sqlx::query(statement).bind(last).execute(&mut *transaction).await.map_err(fail)?;
        }
        transaction.commit().await.map_err(fail)?;
        Ok(count)
    }
}
