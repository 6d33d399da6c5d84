//! Flagged exchanges as a file, sent as it is read.

use std::{io, pin::pin};

use axum::{
    body::{Body, Bytes},
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Asked, Output, Schemas};
use crate::{
    console::Failure,
    review::{Action, Case, Filter, Order, Store},
};

/// Lines that are read before somebody takes them.
const AHEAD: usize = 16;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    #[serde(flatten)]
    filter: Filter,
}

/// A file that is sent while it is written.
pub(super) struct File(Body);

impl Output for File {
    fn answer(self) -> Response {
        let headers = [(CONTENT_TYPE, "application/jsonl"), (CONTENT_DISPOSITION, "attachment; filename=\"cases.jsonl\"")];
        (headers, self.0).into_response()
    }

    fn content(_: &mut Schemas) -> Value {
        json!({"application/jsonl": {"schema": {"type": "string"}}})
    }
}

pub(super) async fn export(Asked { rooms, reviewer, query, .. }: Asked<Wanted>) -> Result<File, Failure> {
    let Wanted { filter } = query;
    // Nothing leaves that is not on record.
    rooms.store.audit(&reviewer.name, Action::Export, None, &json!({"filter": filter.told()})).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(write(rooms.store, filter, sender));
    let lines = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|line| (line, receiver)));
    Ok(File(Body::from_stream(lines)))
}

/// Writes until all is written or nobody reads on. What fails breaks the answer off, so that it does not look whole.
async fn write(store: Store, filter: Filter, to: mpsc::Sender<io::Result<Bytes>>) {
    let mut cases = pin!(store.cases(filter, Order::OldestFirst));
    while let Some(case) = cases.next().await {
        let line = case.map_err(|error| {
            tracing::warn!(%error, "an export breaks off");
            io::Error::other(error)
        });
        let is_broken = line.is_err();
        if to.send(line.and_then(|case| line_of(&case))).await.is_err() || is_broken {
            return;
        }
    }
}

fn line_of(case: &Case) -> io::Result<Bytes> {
    let mut line = serde_json::to_vec(case)?;
    line.push(b'\n');
    Ok(line.into())
}
