//! A page of the queue, fast however the cases are chosen.
//!
//! Every filter has an index in the order of time, so that a page is read off it. Where several are asked for at once, the one
//! that fewest cases have leads. A text that many cases have is found among the newest; a text that few of these have is in so
//! few of all that the index of texts leads to them.

use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    Store,
    selection::{Lead, Order, Search, Selection, columns, rules},
};
use crate::review::{Error, Filter, Place};

/// Cases that are looked through before the index of texts is asked; few in tests, which have few cases.
const WINDOW: u32 = if cfg!(test) { 20 } else { 5_000 };
/// As often as many are looked through if these promise to be all that it takes.
const WINDOWS: u32 = 8;
/// As many cases are many, where the one that fewest cases have is looked for.
const MANY: u32 = 2_000;
/// Characters that the index of texts needs.
const LEAST: usize = 3;

impl Store {
    /// The cases of a filter in this order, from a place on, at most `limit`; `id` and `at_ms` are among the columns.
    pub(super) async fn page(
        &self,
        columns: &str,
        filter: &Filter,
        from: Option<&Place>,
        (order, limit): (Order, u32),
    ) -> Result<Vec<AnyRow>, Error> {
        let lead = self.lead(filter).await?;
        if !self.searches(filter)? {
            let selection = |from: Option<&Place>| Selection::led(self, filter, (lead, Search::Not), order).after(from);
            return self.rows(columns, selection, from, limit).await;
        }
        let mut rows: Vec<AnyRow> = Vec::new();
        let (mut from, mut left) = (from.cloned(), limit);
        loop {
            let until = self.window(filter, lead, from.as_ref(), order).await?;
            let near = |from: Option<&Place>| {
                Selection::led(self, filter, (lead, Search::Scan), order).after(from).up_to(until.as_ref())
            };
            rows.extend(self.rows(columns, near, from.as_ref(), left).await?);
            let found = left;
            left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
            if until.is_none() || left == 0 {
                return Ok(rows);
            }
            from = until;
            // The index has so many to tell of what is in many texts that to look on is faster.
            if (found - left).saturating_mul(WINDOWS) < limit {
                break;
            }
        }
        let far = |from: Option<&Place>| Selection::led(self, filter, (Lead::Texts, Search::Index), order).after(from);
        rows.extend(self.rows(columns, far, from.as_ref(), left).await?);
        Ok(rows)
    }

    /// How many cases a filter has, counted up to `most`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn count_up_to(&self, filter: &Filter, most: u32) -> Result<u32, Error> {
        let lead = self.lead(filter).await?;
        let count = async |selection: &Selection, most: u32| {
            let select = format!("SELECT count(*) AS count FROM (SELECT DISTINCT c.id FROM {}", selection.from);
            let rows = selection.fetch(self, &select, &format!("LIMIT {most}) counted")).await?;
            let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get("count")).map_err(|e| self.fail(&e))?;
            Ok(u32::try_from(count).unwrap_or(most))
        };
        let order = Order::NewestFirst;
        if !self.searches(filter)? {
            return count(&Selection::led(self, filter, (lead, Search::Not), order), most).await;
        }
        let until = self.window(filter, lead, None, order).await?;
        let near = count(&Selection::led(self, filter, (lead, Search::Scan), order).up_to(until.as_ref()), most).await?;
        if until.is_none() || near >= most {
            return Ok(near);
        }
        let far = Selection::led(self, filter, (Lead::Texts, Search::Index), order).after(until.as_ref());
        Ok(near + count(&far, most - near).await?)
    }

    /// Whether a filter asks for a text, if it can.
    pub(super) fn searches(&self, filter: &Filter) -> Result<bool, Error> {
        let Some(sought) = &filter.search else { return Ok(false) };
        if self.seal.is_some() {
            return Err(Error::Search("texts are sealed (`review.keys`), so that nothing can be found in them"));
        }
        if sought.chars().count() < LEAST {
            return Err(Error::Search("needs at least 3 characters"));
        }
        Ok(true)
    }

    /// The last case that is looked through; `None` if all are.
    async fn window(&self, filter: &Filter, lead: Lead, from: Option<&Place>, order: Order) -> Result<Option<Place>, Error> {
        let selection = Selection::led(self, filter, (lead, Search::Not), order).after(from);
        let select = format!("SELECT c.id, c.at_ms FROM {}", selection.from);
        let rest = format!("{} LIMIT 1 OFFSET {}", selection.order(), WINDOW - 1);
        let rows = selection.fetch(self, &select, &rest).await?;
        rows.first().map(|row| self.place(row)).transpose()
    }

    /// What of a filter leads to fewest cases.
    pub(super) async fn lead(&self, filter: &Filter) -> Result<Lead, Error> {
        let of_rules = rules(filter).into_iter().next();
        let of_rules = of_rules.map(|(column, value)| (Lead::Rules, "case_rules", column, value));
        let own = columns(filter).map(|(column, value)| (Lead::Column(column), "cases", column, value));
        let leads: Vec<_> = of_rules.into_iter().chain(own).collect();
        if leads.len() < 2 {
            return Ok(leads.first().map_or(Lead::Time, |(lead, ..)| *lead));
        }
        let mut best = (i64::MAX, Lead::Time);
        for (lead, table, column, value) in leads {
            let query =
                format!("SELECT count(*) AS count FROM (SELECT 1 FROM {table} WHERE {column} = $1 LIMIT {MANY}) counted");
            let row = sqlx::query(AssertSqlSafe(query)).bind(value).fetch_one(&self.pool).await;
            let count = row.and_then(|row| row.try_get("count")).map_err(|e| self.fail(&e))?;
            if count < best.0 {
                best = (count, lead);
            }
        }
        Ok(best.1)
    }

    /// The rows of what is selected from a place on. Of a case in which several rules matched there may be several.
    async fn rows(
        &self,
        columns: &str,
        selection: impl Fn(Option<&Place>) -> Selection,
        from: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<AnyRow>, Error> {
        let mut rows: Vec<AnyRow> = Vec::new();
        let mut last = from.cloned();
        let limit = limit as usize;
        while rows.len() < limit {
            let selection = selection(last.as_ref());
            let select = format!("SELECT {columns} FROM {}", selection.from);
            let more = selection.fetch(self, &select, &format!("{} LIMIT {limit}", selection.order())).await?;
            let all = more.len() < limit;
            for row in more {
                let place = self.place(&row)?;
                if last.as_ref() != Some(&place) {
                    rows.push(row);
                    last = Some(place);
                }
            }
            if all {
                break;
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    fn place(&self, row: &AnyRow) -> Result<Place, Error> {
        let place = || Ok(Place { at_ms: row.try_get("at_ms")?, id: row.try_get("id")? });
        place().map_err(|e| self.fail(&e))
    }
}
