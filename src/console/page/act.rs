//! What reviewers do. Each form leads back to a page that tells what came of it.

use axum::{
    extract::{Path, State},
    response::Response,
};
use form_urlencoded::parse;
use jiff::{civil::Date, tz::TimeZone};

use super::{
    done::{Done, Why},
    look::stands,
    offer::offer,
    visit::{Visit, onward},
};
use crate::{
    console::Rooms,
    review::{Chosen, NewDecision, NewException, Opinion, Store},
};

/// Characters of a note, or a name, that are kept.
const LONGEST: usize = 2_000;

/// A form as it was sent.
struct Sent(Vec<(String, String)>);

impl Sent {
    fn new(body: &str) -> Self {
        Self(parse(body.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// What somebody wrote, cut where it is longer than anybody writes.
    fn words(&self, name: &str) -> String {
        self.get(name).trim().chars().take(LONGEST).collect()
    }

    fn cases(&self) -> Vec<String> {
        self.0.iter().filter(|(field, _)| field == "case").map(|(_, value)| value.clone()).collect()
    }
}

/// Says back where they come from what was done, or why nothing was.
fn tell(visit: &Visit, done: Result<Done, Why>) -> Response {
    visit.back(&done.unwrap_or_else(Done::Failed))
}

/// `POST /review/cases/{id}/decide`
pub(super) async fn decide(
    State(Rooms { store, .. }): State<Rooms>,
    visit: Visit,
    Path(id): Path<String>,
    body: String,
) -> Response {
    let sent = Sent::new(&body);
    let done = mark(&store, &visit, vec![id.clone()], &sent).await;
    if done.is_ok()
        && sent.get("onward") == "yes"
        && let Some(next) = next(&store, &visit, &id).await
    {
        return onward(&next, &done.unwrap_or_else(Done::Failed));
    }
    tell(&visit, done)
}

/// `POST /review/decide`
pub(super) async fn decide_many(State(Rooms { store, .. }): State<Rooms>, visit: Visit, body: String) -> Response {
    let sent = Sent::new(&body);
    let done = mark(&store, &visit, sent.cases(), &sent).await;
    tell(&visit, done)
}

async fn mark(store: &Store, visit: &Visit, cases: Vec<String>, sent: &Sent) -> Result<Done, Why> {
    let opinion = Opinion::named(sent.get("verdict")).ok_or(Why::Form)?;
    if cases.is_empty() {
        return Err(Why::None);
    }
    let chosen = Chosen::Ids(cases.clone());
    let new = NewDecision { reviewer: visit.name(), opinion, note: &sent.words("note") };
    store.decide_all(&chosen, new, visit.name()).await?;
    Ok(Done::Decided(opinion, cases.len(), cases))
}

/// The page of the next case in the queue that this one was opened from.
async fn next(store: &Store, visit: &Visit, id: &str) -> Option<String> {
    let asked = visit.asked();
    let case = store.case(id).await.ok()??;
    let older = store.queue(&asked.filter().ok()?, Some(&stands(&case)), 1).await.ok()?;
    Some(asked.href(&format!("/review/cases/{}", older.first()?.id), &[]))
}

/// `POST /review/undo`
pub(super) async fn undo(State(Rooms { store, .. }): State<Rooms>, visit: Visit, body: String) -> Response {
    let cases = Sent::new(&body).cases();
    let done = match store.undo_all(&cases, visit.name(), visit.name()).await {
        Ok(_) if cases.is_empty() => Err(Why::None),
        Ok(_) => Ok(Done::Undone(cases.len())),
        Err(error) => Err(error.into()),
    };
    tell(&visit, done)
}

/// `POST /review/cases/{id}/exceptions`
pub(super) async fn except(
    State(Rooms { store, .. }): State<Rooms>,
    visit: Visit,
    Path(id): Path<String>,
    body: String,
) -> Response {
    let done = make(&store, &visit, id, &Sent::new(&body)).await;
    tell(&visit, done)
}

async fn make(store: &Store, visit: &Visit, id: String, sent: &Sent) -> Result<Done, Why> {
    let case = store.case(&id).await?.ok_or(Why::Gone)?;
    let offer = offer(&case, TimeZone::UTC.to_datetime(visit.now).date()).map_err(|_| Why::Form)?;
    let pass = offer.texts.into_iter().find(|pass| pass.value == sent.get("text")).ok_or(Why::Form)?;
    let policy = offer.policies.into_iter().find(|policy| policy == sent.get("policy")).ok_or(Why::Form)?;
    let expires: Date = sent.get("expires").parse().map_err(|_| Why::Exception)?;
    let (owner, note) = (sent.words("owner"), sent.words("note"));
    let new = NewException { hash: pass.hash, policies: vec![policy], case: Some(id), owner, note, expires };
    store.add_exception(&new, visit.name()).await?;
    Ok(Done::Excepted)
}

/// `POST /review/exceptions/{id}/remove`
pub(super) async fn remove(State(Rooms { store, .. }): State<Rooms>, visit: Visit, Path(id): Path<String>) -> Response {
    let done = take(&store, &visit, &id).await;
    tell(&visit, done)
}

async fn take(store: &Store, visit: &Visit, id: &str) -> Result<Done, Why> {
    let exception = store.exception(id).await?.ok_or(Why::Gone)?;
    if !visit.removes(&exception) {
        return Err(Why::NotOwn);
    }
    store.remove_exception(id, visit.name()).await?;
    Ok(Done::Removed)
}
