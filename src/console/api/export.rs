//! Flagged exchanges as a file, sent as it is read.

use std::{io, pin::pin};

use axum::{
    body::{Body, Bytes},
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Asked, Output, Schemas};
use crate::{
    config::Role,
    console::Failure,
    review::{self, Action, Filter, Store, export},
};

/// Lines that are read before somebody takes them.
const AHEAD: usize = 16;
/// What files are.
const JSONL: &str = "application/jsonl";
const CSV: &str = "text/csv; charset=utf-8";

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    #[serde(flatten)]
    filter: Filter,
    /// What the file is; `labelled` if left out.
    #[serde(default)]
    format: Format,
    /// With `labelled`, also texts that reviewers do not agree on or have yet to decide; they carry no label.
    #[serde(default)]
    undecided: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// JSON Lines that `seawall eval` and `seawall guard calibrate` read: a text a line, labelled as reviewers decided.
    #[default]
    Labelled,
    /// JSON Lines that `seawall policy replay` reads: an exchange a line, whole. It takes the role `admin`.
    Cases,
    /// For spreadsheets: an exchange a row.
    Csv,
}

/// A file that is sent while it is written.
pub(super) struct File {
    format: Format,
    body: Body,
}

impl Output for File {
    fn answer(self) -> Response {
        let (kind, name) = match self.format {
            Format::Labelled => (JSONL, "labelled.jsonl"),
            Format::Cases => (JSONL, "cases.jsonl"),
            Format::Csv => (CSV, "cases.csv"),
        };
        let headers = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))];
        (headers, self.body).into_response()
    }

    fn content(_: &mut Schemas) -> Value {
        json!({JSONL: {"schema": {"type": "string"}}, "text/csv": {"schema": {"type": "string"}}})
    }
}

pub(super) async fn export(Asked { rooms, reviewer, query, .. }: Asked<Wanted>) -> Result<File, Failure> {
    let Wanted { filter, format, undecided } = query;
    if format == Format::Cases && reviewer.role < Role::Admin {
        return Err(Failure::new(StatusCode::FORBIDDEN, "whole exchanges are taken out by who has the role `admin`"));
    }
    // What is asked wrongly is told now: later it could only break the file off.
    rooms.store.queue(&filter, None, 1).await?;
    // Nothing leaves that is not on record.
    let detail = json!({"format": format, "filter": filter.told()});
    rooms.store.audit(&reviewer.name, Action::Export, None, &detail).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(write(rooms.store, filter, (format, undecided), sender));
    let lines = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|line| (line, receiver)));
    Ok(File { format, body: Body::from_stream(lines) })
}

async fn write(store: Store, filter: Filter, (format, undecided): (Format, bool), to: mpsc::Sender<io::Result<Bytes>>) {
    let ended = |line: String| line + "\n";
    match format {
        Format::Labelled => send(export::labelled(&store, filter, undecided).map_ok(ended), to).await,
        Format::Cases => send(export::cases(&store, filter).map_ok(ended), to).await,
        Format::Csv => send(export::csv(&store, filter), to).await,
    }
}

/// Sends until all is sent or nobody reads on. What fails breaks the answer off, so that it does not look whole.
async fn send(lines: impl Stream<Item = Result<String, review::Error>>, to: mpsc::Sender<io::Result<Bytes>>) {
    let mut lines = pin!(lines);
    while let Some(line) = lines.next().await {
        let line = line.map(Bytes::from).map_err(|error| {
            tracing::warn!(%error, "an export breaks off");
            io::Error::other(error)
        });
        let is_broken = line.is_err();
        if to.send(line).await.is_err() || is_broken {
            return;
        }
    }
}
