//! Reading a whole body, bounded in size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// More bytes than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The sender was too slow.
    #[error("the body did not arrive within {0} ms")]
    TooSlow(u128),
    /// The connection broke off.
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
}

/// The whole body.
///
/// # Errors
/// Over `limit` bytes, not here within `time`, or broken off.
pub async fn read(body: Incoming, limit: usize, time: Duration) -> Result<Bytes, Unread> {
    // A length that is announced too large is refused before a byte is read.
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Unread::TooLarge(limit));
    }
    tokio::time::timeout(time, bounded(body, limit)).await.map_err(|_| Unread::TooSlow(time.as_millis()))?
}

async fn bounded(mut body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if content.len() + data.len() > limit {
                return Err(Unread::TooLarge(limit));
            }
            content.extend_from_slice(&data);
        }
    }
    Ok(content.freeze())
}
