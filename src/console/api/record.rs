//! The record as a whole: counted, told who looked at it, and purged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Asked, Nothing, Tell, chosen::Several, decisions::Count};
use crate::{
    console::Failure,
    review::{Charts, Filter, Line, Trail},
};

/// Lines that are told at once unless the call says otherwise, and the most.
const LIMIT: [u32; 2] = [100, 1_000];

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Lines about this case.
    case: Option<String>,
    /// Lines of what this person or tool did.
    actor: Option<String>,
    /// Lines of this: `look`, `decide`, `undo`, `export`, `purge`, `retain`, `exception_add`, `exception_remove`, `sign_in`,
    /// `sign_in_failed`, `sign_out`, `rotate`.
    action: Option<String>,
    /// Lines that are told at once; 100 if left out.
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<u32>,
    /// Where to go on: what the answer before told as `next`.
    before: Option<i64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Lines {
    /// The lines, the newest first.
    items: Vec<Line>,
    /// Where the next call goes on; none after the last.
    next: Option<i64>,
}

pub(super) async fn stats(Asked { rooms, query, .. }: Asked<Filter>) -> Result<Tell<Charts>, Failure> {
    Ok(Tell(rooms.store.charts(&query).await?))
}

pub(super) async fn audit(Asked { rooms, query, .. }: Asked<Wanted>) -> Result<Tell<Lines>, Failure> {
    let Wanted { case, actor, action, limit, before } = query;
    let [usual, most] = LIMIT;
    let limit = limit.unwrap_or(usual);
    if !(1..=most).contains(&limit) {
        return Err(Failure::unread(format!("`limit` must be 1 to {most}")));
    }
    let items = rooms.store.trail(&Trail { case, actor, action }, before, limit).await?;
    let next = items.last().filter(|_| items.len() == limit as usize).map(|last| last.seq);
    Ok(Tell(Lines { items, next }))
}

pub(super) async fn purge(Asked { rooms, reviewer, body, .. }: Asked<Nothing, Several>) -> Result<Tell<Count>, Failure> {
    let cases = rooms.store.purge(&body.chosen()?, &reviewer.name).await?;
    Ok(Tell(Count { cases }))
}
