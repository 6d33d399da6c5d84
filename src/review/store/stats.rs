//! What was flagged and what reviewers make of it, counted for charts.
//!
//! Only a span of time is ever counted: a record of a million cases is not read for one page.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize as _, Serialize};
use sqlx::Row as _;

use super::{
    Store,
    selection::{Order, Selection},
};
use crate::review::{Case, Error, Filter, Said, State};

/// The span that is counted where the filter names no beginning.
const SPAN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;
/// Parts that scores are counted in, from 0 to 1.
const BINS: usize = 20;
/// Rules that have cases, at most.
const RULES: usize = 100;

/// All charts of a filter's cases.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Charts {
    /// By day (UTC), the oldest first; days without a case are left out.
    pub days: Vec<Day>,
    /// By rule, the most often matched first. A case counts for each way and kind of text in which a rule matched.
    pub rules: Vec<Group>,
    /// By language, the most frequent first; an empty name for cases whose language is not known.
    pub languages: Vec<Group>,
    /// How the scores are spread that rules matched at.
    pub spreads: Vec<Spread>,
    /// By reviewer, who decided most first.
    pub people: Vec<Person>,
    /// Cases that several people decided, and those of them on which all say the same.
    pub shared: u64,
    /// Of the shared ones, those on which all say the same.
    pub agreed: u64,
}

/// Cases of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Day {
    /// The day.
    #[serde(serialize_with = "super::as_text")]
    #[schemars(with = "String", extend("format" = "date"))]
    pub day: Date,
    /// Cases by what was decided: `allow` (a shadow rule matched), `flag`, `rewrite`, `block`.
    pub decisions: BTreeMap<String, u64>,
}

/// Cases that have something in common, by what reviewers say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Group {
    /// What they have in common; `policy/rule` for a rule.
    pub name: String,
    /// Not yet decided.
    pub open: u64,
    /// Rightly flagged.
    pub right: u64,
    /// Not rightly flagged.
    pub wrong: u64,
    /// On which reviewers do not agree.
    pub disputed: u64,
}

/// The scores at which a rule matched.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Spread {
    /// The policy.
    pub policy: String,
    /// Its rule.
    pub rule: String,
    /// Counts in equal parts from 0 to 1.
    pub bins: Vec<u64>,
    /// The threshold that the rule matched by in the newest of these cases; the guard's own, if the rule asked in its condition.
    pub threshold: Option<f32>,
}

/// A reviewer's decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Person {
    /// Who.
    pub name: String,
    /// How often they say that the flag was right.
    pub right: u64,
    /// How often that it was wrong.
    pub wrong: u64,
    /// Cases of theirs that others decided too.
    pub shared: u64,
    /// Of the shared ones, those on which all say the same.
    pub agreed: u64,
}

impl Group {
    fn all(&self) -> u64 {
        self.open + self.right + self.wrong + self.disputed
    }

    fn count(&mut self, state: State) -> &mut u64 {
        match state {
            State::Open => &mut self.open,
            State::Right => &mut self.right,
            State::Wrong => &mut self.wrong,
            State::Disputed => &mut self.disputed,
        }
    }
}

/// Groups by name, the largest first.
fn ranked(groups: BTreeMap<String, Group>) -> Vec<Group> {
    let named = groups.into_iter().map(|(name, group)| Group { name, ..group });
    let mut groups: Vec<Group> = named.filter(|group| group.all() > 0).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.all()));
    groups
}

/// A count, which is never negative.
fn count(row: &sqlx::any::AnyRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}

impl Store {
    /// All charts of the cases that a filter lets through. Without a beginning, it is that of the 30 days before its end.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn charts(&self, filter: &Filter) -> Result<Charts, Error> {
        self.searches(filter)?;
        let until = filter.until.map_or_else(Timestamp::now, crate::review::Moment::timestamp);
        let since = filter.since.or_else(|| Some(until.checked_sub(SPAN).ok()?.into()));
        let filter = Filter { since, ..filter.clone() };
        let mut charts = Charts::default();
        self.count_cases(&filter, &mut charts).await?;
        self.count_rules(&filter, &mut charts).await?;
        self.count_people(&filter, &mut charts).await?;
        Ok(charts)
    }

    /// Days and languages: what one look at each case tells.
    async fn count_cases(&self, filter: &Filter, charts: &mut Charts) -> Result<(), Error> {
        let selection = Selection::new(self, filter, None, Order::OldestFirst);
        let select = format!("SELECT c.at_ms / {DAY} AS day, c.decision, c.language, c.state, count(*) AS count FROM cases c");
        let rows = selection.fetch(self, &select, "GROUP BY 1, 2, 3, 4").await?;
        let mut days: BTreeMap<i64, BTreeMap<String, u64>> = BTreeMap::new();
        let mut languages: BTreeMap<String, Group> = BTreeMap::new();
        let mut read = |row: &sqlx::any::AnyRow| -> Result<(), sqlx::Error> {
            let count = count(row, "count")?;
            let language: Option<String> = row.try_get("language")?;
            let state = State::named(&row.try_get::<String, _>("state")?).unwrap_or_default();
            *days.entry(row.try_get("day")?).or_default().entry(row.try_get("decision")?).or_default() += count;
            *languages.entry(language.unwrap_or_default()).or_default().count(state) += count;
            Ok(())
        };
        rows.iter().try_for_each(&mut read).map_err(|e| self.fail(&e))?;
        let date = |day: i64| Timestamp::from_millisecond(day * DAY).ok().map(|at| TimeZone::UTC.to_datetime(at).date());
        let days = days.into_iter().filter_map(|(day, decisions)| Some(Day { day: date(day)?, decisions }));
        charts.days = days.collect();
        charts.languages = ranked(languages);
        Ok(())
    }

    /// Rules: how often each matched and at which scores. Cases are looked up only where they are decided, which few are.
    async fn count_rules(&self, filter: &Filter, charts: &mut Charts) -> Result<(), Error> {
        let bin = self.backend.whole(&format!("r.score * {BINS}"));
        let select = format!("SELECT r.policy, r.rule, {bin} AS bin, count(*) AS count FROM case_rules r");
        let rows = self.of_rules(filter, false).fetch(self, &select, "GROUP BY 1, 2, 3").await?;
        let mut groups: BTreeMap<(String, String), (Group, Vec<u64>)> = BTreeMap::new();
        let mut read = |row: &sqlx::any::AnyRow| -> Result<(), sqlx::Error> {
            let count = count(row, "count")?;
            let (group, bins) = groups.entry((row.try_get("policy")?, row.try_get("rule")?)).or_default();
            group.open += count;
            if let Some(bin) = row.try_get::<Option<i64>, _>("bin")? {
                bins.resize(BINS, 0);
                // A score of 1 is in the last.
                let at = usize::try_from(bin).unwrap_or_default().min(BINS - 1);
                if let Some(bin) = bins.get_mut(at) {
                    *bin += count;
                }
            }
            Ok(())
        };
        rows.iter().try_for_each(&mut read).map_err(|e| self.fail(&e))?;
        let select = "SELECT r.policy, r.rule, c.state, count(*) AS count FROM cases c JOIN case_rules r ON r.case_id = c.id";
        let rows = self.of_rules(filter, true).fetch(self, select, "GROUP BY 1, 2, 3").await?;
        let mut read = |row: &sqlx::any::AnyRow| -> Result<(), sqlx::Error> {
            let count = count(row, "count")?;
            let state = State::named(&row.try_get::<String, _>("state")?).unwrap_or_default();
            if let Some((group, _)) = groups.get_mut(&(row.try_get("policy")?, row.try_get("rule")?)) {
                group.open = group.open.saturating_sub(count);
                *group.count(state) += count;
            }
            Ok(())
        };
        rows.iter().try_for_each(&mut read).map_err(|e| self.fail(&e))?;
        let mut spreads = Vec::new();
        let mut named = BTreeMap::new();
        for ((policy, rule), (group, bins)) in groups {
            let name = format!("{policy}/{rule}");
            if !bins.is_empty() {
                let threshold = self.threshold(filter, &policy, &rule).await?;
                spreads.push((group.all(), Spread { policy, rule, bins, threshold }));
            }
            named.insert(name, group);
        }
        spreads.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        charts.spreads = spreads.into_iter().map(|(_, spread)| spread).take(RULES).collect();
        charts.rules = ranked(named);
        charts.rules.truncate(RULES);
        Ok(())
    }

    /// A filter as conditions on rules (`r`). `decided` says that only cases count that are, which then stand beside them (`c`).
    fn of_rules(&self, filter: &Filter, decided: bool) -> Selection {
        let Filter { since, until, policy, rule, direction, .. } = filter;
        let of_cases = Filter { since: None, until: None, policy: None, rule: None, direction: None, ..filter.clone() };
        let mut own = if decided || !of_cases.is_all() {
            let mut own = Selection::new(self, &of_cases, None, Order::OldestFirst);
            own.conditions = if decided {
                format!("c.state IN ('right', 'wrong', 'disputed') AND {}", own.conditions)
            } else {
                format!("r.case_id IN (SELECT c.id FROM cases c WHERE {})", own.conditions)
            };
            own
        } else {
            Selection::none()
        };
        own.and_whole("r.at_ms >= ", since.map(crate::review::Moment::ms));
        own.and_whole("r.at_ms < ", until.map(crate::review::Moment::ms));
        own.and_text("r.policy = ", policy.as_deref());
        own.and_text("r.rule = ", rule.as_deref());
        own.and_text("r.direction = ", direction.map(crate::segment::Direction::name));
        own
    }

    /// The threshold for the text at which a rule matched last.
    async fn threshold(&self, filter: &Filter, policy: &str, rule: &str) -> Result<Option<f32>, Error> {
        let mut selection = Selection::none();
        selection.and_text("r.rule = ", Some(rule));
        selection.and_text("r.policy = ", Some(policy));
        selection.and_whole("r.at_ms < ", filter.until.map(crate::review::Moment::ms));
        selection.add(" AND r.score IS NOT NULL");
        let select = "SELECT r.case_id, r.score FROM case_rules r";
        let rows = selection.fetch(self, select, "ORDER BY r.at_ms DESC LIMIT 1").await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (id, score): (String, f64) =
            (row.try_get("case_id").map_err(|e| self.fail(&e))?, row.try_get("score").map_err(|e| self.fail(&e))?);
        Ok(self.case(&id).await?.as_ref().and_then(|case| threshold(case, (policy, rule), score)))
    }

    /// Who decided, and how far reviewers agree.
    async fn count_people(&self, filter: &Filter, charts: &mut Charts) -> Result<(), Error> {
        let selection = Selection::new(self, filter, None, Order::OldestFirst);
        // Most cases have no decision, so one begins with those that have.
        let select = "SELECT d.reviewer, count(CASE WHEN d.verdict = 'right' THEN 1 END) AS as_right, \
                      count(CASE WHEN d.verdict = 'wrong' THEN 1 END) AS as_wrong, count(CASE WHEN n.said > 1 THEN 1 END) AS shared, \
                      count(CASE WHEN n.said > 1 AND c.state <> 'disputed' THEN 1 END) AS agreed \
                      FROM decisions d JOIN (SELECT case_id, count(*) AS said FROM decisions GROUP BY case_id) n \
                      ON n.case_id = d.case_id JOIN cases c ON c.id = d.case_id";
        let rows = selection.fetch(self, select, "GROUP BY d.reviewer").await?;
        let read = |row: &sqlx::any::AnyRow| -> Result<Person, sqlx::Error> {
            Ok(Person {
                name: row.try_get("reviewer")?,
                right: count(row, "as_right")?,
                wrong: count(row, "as_wrong")?,
                shared: count(row, "shared")?,
                agreed: count(row, "agreed")?,
            })
        };
        let people: Result<Vec<_>, _> = rows.iter().map(read).collect();
        charts.people = people.map_err(|e| self.fail(&e))?;
        charts.people.sort_by(|a, b| (b.right + b.wrong, &a.name).cmp(&(a.right + a.wrong, &b.name)));
        let select = "SELECT count(*) AS shared, count(CASE WHEN c.state <> 'disputed' THEN 1 END) AS agreed \
                      FROM (SELECT case_id FROM decisions GROUP BY case_id HAVING count(*) > 1) n JOIN cases c ON c.id = n.case_id";
        let rows = selection.fetch(self, select, "").await?;
        if let Some(row) = rows.first() {
            charts.shared = count(row, "shared").map_err(|e| self.fail(&e))?;
            charts.agreed = count(row, "agreed").map_err(|e| self.fail(&e))?;
        }
        Ok(())
    }
}

/// The threshold that belongs to a score at which a rule matched in this case: its own, or else that of the guard.
fn threshold(case: &Case, (policy, rule): (&str, &str), sought: f64) -> Option<f32> {
    let gap = |score: f64| (score - sought).abs();
    let own = case.reasons.as_array().into_iter().flatten().filter_map(|reason| {
        let is_of = reason.get("policy")?.as_str() == Some(policy) && reason.get("rule")?.as_str() == Some(rule);
        let threshold = Option::<f32>::deserialize(reason.get("threshold")?).ok()??;
        is_of.then_some((gap(reason.get("score")?.as_f64()?), threshold))
    });
    if let Some((_, threshold)) = own.min_by(|(a, _), (b, _)| a.total_cmp(b)) {
        return Some(threshold);
    }
    let verdicts = case.evidence.iter().flat_map(|kept| &kept.passages).flat_map(|passage| &passage.verdicts);
    let scores = verdicts.filter_map(|verdict| match verdict.said {
        Said::Score { score, threshold } => Some((score, threshold)),
        Said::Failed { .. } => None,
    });
    let nearest = scores.min_by(|(a, _), (b, _)| gap((*a).into()).total_cmp(&gap((*b).into())));
    nearest.map(|(_, threshold)| threshold)
}

#[cfg(test)]
mod tests;
