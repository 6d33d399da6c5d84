//! News of new cases, for as long as a page is open.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;

use super::query::{Asked, place};
use crate::console::Rooms;

/// How often the record is asked. It is one look into an index, and other nodes write there too.
const EVERY: Duration = Duration::from_secs(2);
/// How often it is asked until the browser has to come again, with a sign-in that still holds.
const ROUNDS: u32 = 150;
/// More are not counted.
const MOST: u32 = 99;

/// `GET /review/live`: how many cases have come since the newest that the page shows.
pub(super) async fn live(State(Rooms { store, .. }): State<Rooms>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let (Ok(filter), Some(newest)) = (Asked::new(&query).filter(), place(&query, "after")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let news = stream::unfold((0, ROUNDS), move |(known, mut rounds)| {
        let (store, filter, newest) = (store.clone(), filter.clone(), newest.clone());
        async move {
            while rounds > 0 {
                tokio::time::sleep(EVERY).await;
                rounds -= 1;
                let count = store.newer(&filter, &newest, MOST).await.map_or(known, |new| new.len());
                if count != known {
                    let event = Event::default().event("new").data(count.to_string());
                    return Some((Ok::<_, Infallible>(event), (count, rounds)));
                }
            }
            None
        }
    });
    Sse::new(news).keep_alive(KeepAlive::default()).into_response()
}
