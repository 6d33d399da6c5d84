//! What is asked for to look at. Who reads a case's text is told in the audit trail before it is shown.

use axum::{
    extract::{Path, RawQuery, State},
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use form_urlencoded::parse;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use serde_json::json;

use super::{
    audit, case, charts, exceptions,
    layout::Room,
    offer::offer,
    query::{Asked, place, told},
    queue::Queue,
    visit::{Failed, Visit},
};
use crate::{
    console::Rooms,
    review::{Action, Case, Entry, Error, Filter, Moment, Place, Store, Trail},
};

/// Cases, and lines of the trail, on one page.
const PAGE: u32 = 50;
/// Other cases of the caller beside a case.
const NEIGHBOURS: u32 = 5;
/// Exceptions on their page.
const EXCEPTIONS: u32 = 500;
/// Days that charts look back, if the address does not say.
const DAYS: u16 = 30;

/// `GET /review`
pub(super) async fn queue(
    State(Rooms { store, .. }): State<Rooms>,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    let query = query.unwrap_or_default();
    let asked = Asked::new(&query);
    let after = place(&query, "after");
    let (mut rows, mistake) = match asked.filter() {
        Err(mistake) => (Vec::new(), Some(mistake)),
        Ok(filter) => match store.queue(&filter, after.as_ref(), PAGE + 1).await {
            Ok(rows) => (rows, None),
            Err(Error::Search(why)) => (Vec::new(), Some(format!("Search: {why}."))),
            Err(other) => return Err(other.into()),
        },
    };
    let more = rows.len() > PAGE as usize;
    rows.truncate(PAGE as usize);
    let older = rows.last().filter(|_| more).map(|last| told(&last.place()));
    let newest = rows.first().map_or(Place { at_ms: visit.now.as_millisecond(), id: String::new() }, Entry::place);
    let live = (after.is_none() && mistake.is_none()).then(|| asked.href("/review/live", &[("after", &told(&newest))]));
    let main = Queue {
        asked: &asked,
        rows: &rows,
        choices: &store.choices().await?,
        older: older.as_deref(),
        paged: after.is_some(),
        mistake: mistake.as_deref(),
        live: live.as_deref(),
        decides: visit.decides(),
        csrf: visit.csrf(),
        now: visit.now,
    };
    let main = main.view();
    Ok(visit.page(Room::Queue, "Queue", &main))
}

/// The case of this id, with a line in the trail that it was looked at.
async fn seen(store: &Store, visit: &Visit, id: &str) -> Result<Case, Failed> {
    let case = store.case(id).await?.ok_or(Failed::Missing)?;
    store.audit(visit.name(), Action::Look, Some(&case.id), &json!({})).await?;
    Ok(case)
}

/// Where a case stands in the queue.
pub(super) fn stands(case: &Case) -> Place {
    let at_ms = case.at.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond);
    Place { at_ms, id: case.id.clone() }
}

/// `GET /review/cases/{id}`
pub(super) async fn case(
    State(Rooms { store, .. }): State<Rooms>,
    visit: Visit,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    let case = seen(&store, &visit, &id).await?;
    let asked = Asked::new(&query.unwrap_or_default());
    let filter = asked.filter().unwrap_or_default();
    let here = stands(&case);
    // What the queue cannot be asked has no case before or after this one.
    let older = store.queue(&filter, Some(&here), 1).await.unwrap_or_default();
    let newer = store.newer(&filter, &here, 1).await.unwrap_or_default();
    let offer = offer(&case, day(visit.now));
    let main = case::View {
        case: &case,
        state: store.state(&case.id).await?,
        decisions: &store.decisions(&case.id).await?,
        newer: newer.first().map(|entry| entry.id.as_str()),
        older: older.first().map(|entry| entry.id.as_str()),
        asked: &asked,
        neighbours: &neighbours(&store, &case).await?,
        offer: offer.as_ref().map_err(|why| *why),
        name: visit.name(),
        decides: visit.decides(),
        csrf: visit.csrf(),
        now: visit.now,
    };
    let main = main.view();
    Ok(visit.page(Room::Queue, "Case", &main))
}

/// The newest other cases of who called.
async fn neighbours(store: &Store, case: &Case) -> Result<Vec<Entry>, Error> {
    let Some(call) = &case.call else { return Ok(Vec::new()) };
    let filter = match (&call.key, &call.subject) {
        (Some(key), _) => Filter { key: Some(key.clone()), ..Filter::default() },
        (None, Some(subject)) => Filter { subject: Some(subject.clone()), ..Filter::default() },
        (None, None) => return Ok(Vec::new()),
    };
    let mut beside = store.queue(&filter, None, NEIGHBOURS + 1).await?;
    beside.retain(|entry| entry.id != case.id);
    beside.truncate(NEIGHBOURS as usize);
    Ok(beside)
}

/// `GET /review/cases/{id}/texts/{direction}/{number}`: a file that no browser takes for a page.
pub(super) async fn text(
    State(Rooms { store, .. }): State<Rooms>,
    visit: Visit,
    Path((id, direction, number)): Path<(String, String, usize)>,
) -> Result<Response, Failed> {
    let case = seen(&store, &visit, &id).await?;
    let texts = match direction.as_str() {
        "request" => &case.request,
        "response" => &case.response,
        _ => return Err(Failed::Missing),
    };
    let text = texts.get(number).ok_or(Failed::Missing)?;
    let id: String = case.id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let name = format!("attachment; filename=\"{id}-{direction}-{number}.txt\"");
    let head = [(CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((StatusCode::OK, head, text.text.clone()).into_response())
}

/// `GET /review/charts`
pub(super) async fn charts(
    State(Rooms { store, .. }): State<Rooms>,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    let asked = number(&query.unwrap_or_default(), "days").and_then(|days| u16::try_from(days).ok());
    let days = asked.filter(|days| charts::RANGES.iter().any(|(known, _)| known == days)).unwrap_or(DAYS);
    let today = day(visit.now);
    let first = today.saturating_sub((i64::from(days) - 1).days());
    let since = TimeZone::UTC.to_timestamp(first.at(0, 0, 0, 0)).ok().map(Moment::from);
    let charts = store.charts(&Filter { since, ..Filter::default() }).await?;
    let main = charts::Page { days, today, charts: &charts }.view();
    Ok(visit.page(Room::Charts, "Charts", &main))
}

/// `GET /review/exceptions`
pub(super) async fn exceptions(State(Rooms { store, .. }): State<Rooms>, visit: Visit) -> Result<Response, Failed> {
    let made = store.exceptions(EXCEPTIONS).await?.into_iter().filter(|exception| exception.removed.is_none());
    let made: Vec<_> = made.map(|own| (visit.removes(&own), own)).map(|(removable, own)| (own, removable)).collect();
    let main = exceptions::view(&made, visit.csrf(), visit.now);
    Ok(visit.page(Room::Exceptions, "Exceptions", &main))
}

/// `GET /review/audit`
pub(super) async fn audit(
    State(Rooms { store, .. }): State<Rooms>,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    let before = number(&query.unwrap_or_default(), "before");
    let mut lines = store.trail(&Trail::default(), before, PAGE + 1).await?;
    let more = lines.len() > PAGE as usize;
    lines.truncate(PAGE as usize);
    let older = lines.last().filter(|_| more).map(|line| line.seq);
    let main = audit::view(&lines, older, visit.now);
    Ok(visit.page(Room::Audit, "Audit", &main))
}

fn number(query: &str, field: &str) -> Option<i64> {
    parse(query.as_bytes()).find(|(name, _)| name == field)?.1.parse().ok()
}

/// The day (UTC) of a moment.
fn day(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date()
}
