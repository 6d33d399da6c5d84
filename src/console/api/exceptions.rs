//! Texts that policies let pass until a day is over.

use axum::http::StatusCode;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Asked, Nothing, Tell, call::Made};
use crate::{
    config::Role,
    console::Failure,
    review::{Case, Exception, NewException},
    segment::{Direction, Target},
};

/// Exceptions that are told, unless the call says otherwise.
const LIMIT: u32 = 500;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// The most that are told; 500 if left out.
    limit: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Items {
    /// The exceptions, the newest first.
    items: Vec<Exception>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wish {
    /// The case whose text is to pass.
    case: String,
    /// Which way the text travelled; a request if left out.
    direction: Option<Direction>,
    /// Its place among the case's texts of that direction, from 0; the last prompt, or answer, if left out.
    text: Option<usize>,
    /// The policies that are to let it pass; those whose rules matched in the case if left out.
    policies: Option<Vec<String>>,
    /// Who answers for it; whoever makes this call if left out.
    owner: Option<String>,
    /// Why.
    #[serde(default)]
    note: String,
    /// The last day (UTC) on which it passes, such as `2026-12-31`: at most a year ahead.
    #[schemars(with = "String", extend("format" = "date"))]
    expires: Date,
}

pub(super) async fn list(Asked { rooms, query, .. }: Asked<Wanted>) -> Result<Tell<Items>, Failure> {
    Ok(Tell(Items { items: rooms.store.exceptions(query.limit.unwrap_or(LIMIT)).await? }))
}

pub(super) async fn add(asked: Asked<Nothing, Wish>) -> Result<Made<Items>, Failure> {
    let Asked { rooms, reviewer, body, .. } = asked;
    let case = rooms.store.case(&body.case).await?.ok_or_else(|| Failure::missing("case of this id"))?;
    let hash = hash(&case, body.direction.unwrap_or(Direction::Request), body.text)?;
    let new = NewException {
        hash,
        policies: body.policies.unwrap_or_else(|| policies(&case)),
        case: Some(case.id),
        owner: body.owner.unwrap_or_else(|| reviewer.name.clone()),
        note: body.note,
        expires: body.expires,
    };
    Ok(Made(Items { items: rooms.store.add_exception(&new, &reviewer.name).await? }))
}

/// The hash of a case's text as it was written.
fn hash(case: &Case, direction: Direction, at: Option<usize>) -> Result<String, Failure> {
    let (texts, usual) = match direction {
        Direction::Request => (&case.request, Target::Prompt),
        Direction::Response => (&case.response, Target::Completion),
    };
    let at = at.or_else(|| texts.iter().rposition(|text| text.target == usual));
    let text = at.and_then(|at| texts.get(at)).ok_or_else(|| Failure::missing("such text in the case"))?;
    let masked = "something in the text is masked, so nobody can tell which text is to pass";
    text.hash().ok_or_else(|| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, masked))
}

/// The policies whose rules matched.
fn policies(case: &Case) -> Vec<String> {
    let reasons = case.reasons.as_array().into_iter().flatten();
    let mut policies: Vec<String> = reasons.filter_map(|reason| reason.get("policy")?.as_str()).map(str::to_owned).collect();
    policies.sort();
    policies.dedup();
    policies
}

pub(super) async fn remove(Asked { rooms, reviewer, id, .. }: Asked) -> Result<(), Failure> {
    let exception = rooms.store.exception(&id).await?.ok_or_else(|| Failure::missing("exception of this id"))?;
    let is_own = [&exception.owner, &exception.created_by].contains(&&reviewer.name);
    if !is_own && reviewer.role < Role::Admin {
        return Err(Failure::new(StatusCode::FORBIDDEN, "others' exceptions are ended by who has the role `admin`"));
    }
    Ok(rooms.store.remove_exception(&id, &reviewer.name).await?)
}
