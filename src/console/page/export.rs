//! What the queue holds, to take along.

use std::pin::pin;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    query::Asked,
    visit::{Failed, Visit},
};
use crate::{
    console::Rooms,
    review::{Action, Error, Filter, Store, export},
};

/// Lines that wait for a slow reader.
const WAITING: usize = 64;

/// `GET /review/export.jsonl`: labelled texts, those that are yet to be decided without a label.
pub(super) async fn jsonl(State(rooms): State<Rooms>, visit: Visit, RawQuery(query): RawQuery) -> Result<Response, Failed> {
    let (store, filter) = asked(rooms, &visit, query, "jsonl").await?;
    let body = body(async move |send| {
        let lines = export::labelled(&store, filter, true);
        pass(lines.map_ok(|line| line + "\n"), &send).await;
    });
    Ok(file("jsonl", "application/jsonl", body))
}

/// `GET /review/export.csv`: a table of the cases.
pub(super) async fn csv(State(rooms): State<Rooms>, visit: Visit, RawQuery(query): RawQuery) -> Result<Response, Failed> {
    let (store, filter) = asked(rooms, &visit, query, "csv").await?;
    let body = body(async move |send| pass(export::csv(&store, filter), &send).await);
    Ok(file("csv", "text/csv; charset=utf-8", body))
}

/// What is taken out of which record, told in the trail before anything is.
async fn asked(rooms: Rooms, visit: &Visit, query: Option<String>, format: &str) -> Result<(Store, Filter), Failed> {
    let filter = Asked::new(&query.unwrap_or_default()).filter().map_err(|_| Failed::Missing)?;
    let detail = json!({ "format": format, "filter": filter.told() });
    rooms.store.audit(visit.name(), Action::Export, None, &detail).await?;
    Ok((rooms.store, filter))
}

/// A body of lines that come from a task of its own, which has the store for as long as it reads.
fn body<F>(lines: impl FnOnce(mpsc::Sender<Result<String, Error>>) -> F) -> Body
where
    F: Future<Output = ()> + Send + 'static,
{
    let (send, receive) = mpsc::channel(WAITING);
    tokio::spawn(lines(send));
    Body::from_stream(stream::unfold(receive, async |mut receive| Some((receive.recv().await?, receive))))
}

/// Hands on lines until nobody reads any more.
async fn pass(lines: impl Stream<Item = Result<String, Error>>, send: &mpsc::Sender<Result<String, Error>>) {
    let mut lines = pin!(lines);
    while let Some(line) = lines.next().await {
        if let Err(error) = &line {
            tracing::warn!(%error, "an export has broken off");
        }
        if send.send(line).await.is_err() {
            return;
        }
    }
}

fn file(end: &str, kind: &str, body: Body) -> Response {
    let name = format!("attachment; filename=\"seawall-cases.{end}\"");
    ([(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, name)], body).into_response()
}
