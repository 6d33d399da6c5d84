//! Flagged exchanges: listed and opened.

use data_encoding::BASE64URL_NOPAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Asked, Tell};
use crate::{
    console::Failure,
    review::{Action, Case, Decision, Entry, Exception, Filter, Place, State},
};

/// Cases of a page unless it says otherwise, and the most.
const LIMIT: [u32; 2] = [50, 500];

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    #[serde(flatten)]
    filter: Filter,
    /// Cases that are told at once; 50 if left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// Where to go on: what the page before told as `next`.
    before: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page {
    /// The cases.
    items: Vec<Entry>,
    /// Where the next page goes on; none after the last.
    next: Option<String>,
}

pub(super) async fn list(Asked { rooms, query, .. }: Asked<Wanted>) -> Result<Tell<Page>, Failure> {
    let Wanted { filter, limit, before } = query;
    let [usual, most] = LIMIT;
    let limit = limit.unwrap_or(usual);
    if !(1..=most).contains(&limit) {
        return Err(Failure::unread(format!("`limit` must be 1 to {most}")));
    }
    let before =
        before.map(|before| place(&before).ok_or_else(|| Failure::unread("`before` must be what a page told as `next`")));
    let before = before.transpose()?;
    // One more than is told says whether there are more.
    let mut items = rooms.store.queue(&filter, before.as_ref(), limit + 1).await?;
    let is_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| is_more).map(|last| cursor(&last.place()));
    Ok(Tell(Page { items, next }))
}

fn cursor(Place { at_ms, id }: &Place) -> String {
    BASE64URL_NOPAD.encode(format!("{at_ms} {id}").as_bytes())
}

fn place(cursor: &str) -> Option<Place> {
    let text = String::from_utf8(BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?).ok()?;
    let (at_ms, id) = text.split_once(' ')?;
    Some(Place { at_ms: at_ms.parse().ok()?, id: id.to_owned() })
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Opened {
    /// The case.
    case: Case,
    /// What reviewers say of it, all together.
    state: State,
    /// What each of them says.
    decisions: Vec<Decision>,
    /// The exceptions that were made of its texts.
    exceptions: Vec<Exception>,
}

pub(super) async fn open(Asked { rooms, reviewer, id, .. }: Asked) -> Result<Tell<Opened>, Failure> {
    let store = &rooms.store;
    let case = store.case(&id).await?.ok_or_else(|| Failure::missing("case of this id"))?;
    // No look that is not on record.
    store.audit(&reviewer.name, Action::Look, Some(&id), &json!({})).await?;
    let (state, decisions, exceptions) =
        (store.state(&id).await?, store.decisions(&id).await?, store.exceptions_of(&id).await?);
    Ok(Tell(Opened { case, state, decisions, exceptions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let there = Place { at_ms: -5, id: "a b".into() };
        assert_eq!(place(&cursor(&there)), Some(there));
        for wrong in ["", "x", "MTIz", "ICA"] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
