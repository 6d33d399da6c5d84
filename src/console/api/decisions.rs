//! What reviewers say of flagged exchanges.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Asked, Nothing, Tell, chosen::Several};
use crate::{
    console::Failure,
    review::{Filter, Opinion, State},
};

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Said {
    /// Whether it was rightly flagged.
    verdict: Opinion,
    /// Why.
    #[serde(default)]
    note: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct SaidOfMany {
    /// Cases by their ids.
    ids: Option<Vec<String>>,
    /// Or all that a filter lets through.
    filter: Option<Filter>,
    /// Whether they were rightly flagged.
    verdict: Opinion,
    /// Why.
    #[serde(default)]
    note: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Settled {
    /// The case.
    id: String,
    /// What all reviewers say of it now.
    state: State,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Count {
    /// How many cases.
    pub(super) cases: u64,
}

pub(super) async fn decide(asked: Asked<Nothing, Said>) -> Result<Tell<Settled>, Failure> {
    let Asked { rooms, reviewer, id, body: Said { verdict, note }, .. } = asked;
    let state = rooms.store.decide(&id, &reviewer.name, verdict, &note, &reviewer.name).await?;
    Ok(Tell(Settled { id, state }))
}

pub(super) async fn decide_many(asked: Asked<Nothing, SaidOfMany>) -> Result<Tell<Count>, Failure> {
    let Asked { rooms, reviewer, body: SaidOfMany { ids, filter, verdict, note }, .. } = asked;
    let chosen = Several { ids, filter }.chosen()?;
    let cases = rooms.store.decide_all(&chosen, &reviewer.name, verdict, &note, &reviewer.name).await?;
    Ok(Tell(Count { cases }))
}

pub(super) async fn undo(Asked { rooms, reviewer, id, .. }: Asked) -> Result<Tell<Settled>, Failure> {
    let state = rooms.store.undo(&id, &reviewer.name, &reviewer.name).await?;
    Ok(Tell(Settled { id, state }))
}
