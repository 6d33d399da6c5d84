//! A filter as SQL.

use sqlx::{
    Any, AssertSqlSafe,
    any::{AnyArguments, AnyRow},
    query::Query,
};

use super::{Store, index::folded};
use crate::review::{Error, Filter, Place};

/// By when they began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// What leads to the cases, where a database would not find the best way by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// Their time.
    Time,
    /// The index of this column, which the filter asks for.
    Column(&'static str),
    /// The rules that matched, by what the filter asks of them.
    Rules,
    /// The index of texts.
    Texts,
}

/// How the text that is searched for is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// Not at all.
    Not,
    /// In the texts of each case.
    Scan,
    /// In the index.
    Index,
}

/// The cases (`c`) of a filter.
pub(super) struct Selection {
    /// Where they stand, and what leads to them.
    pub(super) from: String,
    pub(super) conditions: String,
    pub(super) arguments: Vec<Argument>,
    /// The columns that they are put in order by.
    by: [&'static str; 2],
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

/// What cases are put in order by once they are found: with the columns alone, a database would rather go through all of them in
/// their order than ask the index that leads to few.
const AT_LAST: [&str; 2] = ["c.at_ms + 0", "c.id"];

impl Selection {
    /// All there is, of whatever a query asks.
    pub(super) fn none() -> Self {
        let (from, conditions) = ("cases c".to_owned(), "1 = 1".to_owned());
        Self { from, conditions, arguments: Vec::new(), by: ["c.at_ms", "c.id"], order: Order::NewestFirst }
    }

    /// The cases of a filter from a place on, as conditions that hold however a query comes to them.
    pub(super) fn new(store: &Store, filter: &Filter, from: Option<&Place>, order: Order) -> Self {
        Self::led(store, filter, (Lead::Time, Search::Index), order).after(from)
    }

    /// The same in a certain way.
    pub(super) fn led(store: &Store, filter: &Filter, (lead, search): (Lead, Search), order: Order) -> Self {
        let mut own = Self { order, ..Self::none() };
        own.rules(store, filter, lead);
        own.texts(store, filter, lead, search);
        let [at, _] = own.by;
        own.and(&format!("{at} >= "), filter.since.map(|since| Argument::Whole(since.ms())));
        own.and(&format!("{at} < "), filter.until.map(|until| Argument::Whole(until.ms())));
        for (column, value) in columns(filter) {
            let name = format!("c.{column}");
            let name =
                if matches!(lead, Lead::Time) || lead == Lead::Column(column) { name } else { store.backend.unindexed(&name) };
            own.and(&format!("{name} = "), Some(text(value)));
        }
        own.and("c.score >= ", filter.min_score.map(|score| Argument::Real(score.into())));
        own.and("c.score <= ", filter.max_score.map(|score| Argument::Real(score.into())));
        own
    }

    fn rules(&mut self, store: &Store, filter: &Filter, lead: Lead) {
        let asked = rules(filter);
        if asked.is_empty() {
            return;
        }
        if lead == Lead::Rules {
            // The order of a cross join is kept.
            "case_rules r CROSS JOIN cases c".clone_into(&mut self.from);
            self.by = ["r.at_ms", "r.case_id"];
            self.add(" AND c.id = r.case_id");
        } else {
            self.add(" AND EXISTS (SELECT 1 FROM case_rules r WHERE r.case_id = c.id");
        }
        for (at, (column, value)) in asked.into_iter().enumerate() {
            let name = format!("r.{column}");
            let leads = lead == Lead::Rules && at == 0;
            let name = if leads { name } else { store.backend.unindexed(&name) };
            self.and(&format!("{name} = "), Some(text(value)));
        }
        if lead != Lead::Rules {
            self.add(")");
        }
    }

    fn texts(&mut self, store: &Store, filter: &Filter, lead: Lead, search: Search) {
        let Some(sought) = filter.search.as_deref().filter(|_| search != Search::Not) else { return };
        let (sought, backend) = (folded(sought), store.backend);
        if search == Search::Index {
            self.arguments.push(Argument::Text(backend.sought(&sought)));
            let number = self.arguments.len();
            let condition = if lead == Lead::Texts {
                let (from, condition) = backend.found(number);
                self.from = from;
                self.by = AT_LAST;
                condition
            } else {
                backend.search(number)
            };
            self.add(&format!(" AND {condition}"));
        }
        self.arguments.push(Argument::Text(sought));
        let condition = backend.contains(self.arguments.len());
        self.add(&format!(" AND {condition}"));
    }

    /// Only those after a place.
    pub(super) fn after(self, place: Option<&Place>) -> Self {
        let than = if self.order == Order::NewestFirst { "<" } else { ">" };
        self.compared(place, than)
    }

    /// Only those up to a place, with the case there.
    pub(super) fn up_to(self, place: Option<&Place>) -> Self {
        let than = if self.order == Order::NewestFirst { ">=" } else { "<=" };
        self.compared(place, than)
    }

    fn compared(mut self, place: Option<&Place>, than: &str) -> Self {
        if let Some(Place { at_ms, id }) = place {
            self.arguments.extend([Argument::Whole(*at_ms), text(id)]);
            let (last, [at, id]) = (self.arguments.len(), self.by);
            self.add(&format!(" AND ({at}, {id}) {than} (${}, ${last})", last - 1));
        }
        self
    }

    /// How it puts them in order.
    pub(super) fn order(&self) -> String {
        let ([at, id], way) = (self.by, if self.order == Order::NewestFirst { "DESC" } else { "ASC" });
        format!("ORDER BY {at} {way}, {id} {way}")
    }

    /// The rows of a query that these conditions stand in, between `select` and `rest`.
    pub(super) async fn fetch(&self, store: &Store, select: &str, rest: &str) -> Result<Vec<AnyRow>, Error> {
        let query = format!("{select} WHERE {} {rest}", self.conditions);
        let query = self.arguments.iter().fold(sqlx::query(AssertSqlSafe(query)), |query, argument| argument.bind(query));
        // PostgreSQL plans what it does not keep by the values that are asked for.
        query.persistent(false).fetch_all(&store.pool).await.map_err(|e| store.fail(&e))
    }

    pub(super) fn and_text(&mut self, condition: &str, value: Option<&str>) {
        self.and(condition, value.map(text));
    }

    pub(super) fn and_whole(&mut self, condition: &str, value: Option<i64>) {
        self.and(condition, value.map(Argument::Whole));
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

/// The columns of a case that have an index and that a filter asks for.
pub(super) fn columns(filter: &Filter) -> impl Iterator<Item = (&'static str, &str)> {
    let Filter { subject, key, tenant, language, decision, state, .. } = filter;
    [
        ("subject", subject.as_deref()),
        ("caller", key.as_deref()),
        ("tenant", tenant.as_deref()),
        ("language", language.as_deref()),
        ("decision", decision.as_deref()),
        ("state", state.map(|state| state.name())),
    ]
    .into_iter()
    .filter_map(|(column, value)| Some((column, value?)))
}

/// The same of the rules that matched.
pub(super) fn rules(filter: &Filter) -> Vec<(&'static str, &str)> {
    let Filter { rule, policy, direction, .. } = filter;
    let asked = [("rule", rule.as_deref()), ("policy", policy.as_deref()), ("direction", direction.map(|way| way.name()))];
    asked.into_iter().filter_map(|(column, value)| Some((column, value?))).collect()
}

fn text(value: &str) -> Argument {
    // As it is stored.
    Argument::Text(super::write::plain(value))
}
