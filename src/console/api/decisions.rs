//! What reviewers say of flagged exchanges.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Asked, Nothing, Tell, chosen::Several};
use crate::{
    console::Failure,
    review::{Opinion, State},
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
    #[serde(flatten)]
    which: Several,
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
    let Asked { rooms, reviewer, body: SaidOfMany { which, verdict, note }, .. } = asked;
    let cases = rooms.store.decide_all(&which.chosen()?, &reviewer.name, verdict, &note, &reviewer.name).await?;
    Ok(Tell(Count { cases }))
}

pub(super) async fn undo(Asked { rooms, reviewer, id, .. }: Asked) -> Result<Tell<Settled>, Failure> {
    let state = rooms.store.undo(&id, &reviewer.name, &reviewer.name).await?;
    Ok(Tell(Settled { id, state }))
}
