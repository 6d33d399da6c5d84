//! Reading a whole body, bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// More bytes than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The sender was too slow.
    #[error("the body, or its next piece, did not arrive within {0} ms")]
    TooSlow(u128),
    /// The connection broke off.
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
}

/// Most room that is taken before any of a body is here: what it announces is only said.
const AHEAD: usize = 256 << 10;

/// How long to wait for a body.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// For all of it.
    Whole(Duration),
    /// For each next piece: one that is long in the making may keep its connection open with white space.
    Silence(Duration),
}

/// The whole body.
///
/// # Errors
/// Over `limit` bytes, not here in time, or broken off.
pub async fn read(mut body: Incoming, limit: usize, patience: Patience) -> Result<Bytes, Unread> {
    // A length that is announced too large is refused before a byte is read.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Unread::TooLarge(limit));
    }
    let (Patience::Whole(time) | Patience::Silence(time)) = patience;
    let mut deadline = Instant::now() + time;
    let mut content = Vec::with_capacity(announced.min(AHEAD));
    while let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(|_| Unread::TooSlow(time.as_millis()))? {
        if let Ok(data) = frame?.into_data() {
            if content.len() + data.len() > limit {
                return Err(Unread::TooLarge(limit));
            }
            content.extend_from_slice(&data);
        }
        if matches!(patience, Patience::Silence(_)) {
            deadline = Instant::now() + time;
        }
    }
    Ok(content.into())
}
