//! The exchanges on a connection, and who keeps whom waiting.
//!
//! Counting them wakes nobody: the connection looks when its patience could be over.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{self, Frame, SizeHint};
use tokio::time::{Instant, sleep};

use crate::exchange::body::{Body, Broken};

/// The exchanges on a connection.
pub(super) struct Flights {
    begun: Instant,
    under_way: AtomicUsize,
    /// When the last one ended, in milliseconds since the connection began.
    ended: AtomicU64,
    /// Exchanges of whose answer a piece is out, and nobody has asked for the next one: that is their client's turn.
    out: AtomicUsize,
    /// How often the next piece of an answer was asked for.
    asked: AtomicU64,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            under_way: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            out: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// Returns once there has been no exchange for so long.
    pub(super) async fn silent(&self, patience: Duration) {
        while let Some(left) = patience.checked_sub(self.silence()).filter(|left| !left.is_zero()) {
            sleep(left).await;
        }
    }

    /// Returns once all exchanges have waited for their client for so long, or up to twice as long.
    pub(super) async fn stuck(&self, patience: Duration) {
        let mut before = None;
        loop {
            let now = self.waits();
            if now.is_some() && now == before {
                return;
            }
            before = now;
            sleep(patience).await;
        }
    }

    /// If all exchanges wait for their client: a mark that stays the same while it takes nothing.
    fn waits(&self) -> Option<u64> {
        let (out, asked) = (self.out.load(Ordering::Acquire), self.asked.load(Ordering::Acquire));
        (out > 0 && out == self.under_way.load(Ordering::Acquire)).then_some(asked)
    }

    /// How long there has been none.
    fn silence(&self) -> Duration {
        let ended = Duration::from_millis(self.ended.load(Ordering::Acquire));
        if self.under_way.load(Ordering::Acquire) > 0 { Duration::ZERO } else { self.begun.elapsed().saturating_sub(ended) }
    }
}

/// An exchange on a connection, from its head to the last byte of its answer.
pub(super) struct Flight {
    all: Arc<Flights>,
    is_out: bool,
}

impl Flight {
    pub(super) fn begin(all: &Arc<Flights>) -> Self {
        all.under_way.fetch_add(1, Ordering::AcqRel);
        Self { all: Arc::clone(all), is_out: false }
    }

    /// The answer's body, with which this ends.
    pub(super) fn until(self, body: Body) -> Body {
        Answer { body, flight: self }.boxed_unsync()
    }

    fn set_out(&mut self, is_out: bool) {
        match (self.is_out, is_out) {
            (false, true) => _ = self.all.out.fetch_add(1, Ordering::AcqRel),
            (true, false) => _ = self.all.out.fetch_sub(1, Ordering::AcqRel),
            _ => {}
        }
        self.is_out = is_out;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.set_out(false);
        let since = u64::try_from(self.all.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.all.ended.store(since, Ordering::Release);
        self.all.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Answer {
    body: Body,
    flight: Flight,
}

impl body::Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self { body, flight } = self.get_mut();
        flight.all.asked.fetch_add(1, Ordering::AcqRel);
        let piece = Pin::new(body).poll_frame(context);
        flight.set_out(matches!(piece, Poll::Ready(Some(_))));
        piece
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use http_body_util::StreamBody;

    use super::*;
    use crate::exchange::body::full;

    #[tokio::test]
    async fn only_a_client_that_takes_nothing_is_not_waited_for() {
        let flights = Arc::new(Flights::new());
        assert_eq!(flights.waits(), None, "it asks for nothing");
        let flight = Flight::begin(&flights);
        assert_eq!(flights.waits(), None, "its answer is not there");
        assert_eq!(flights.silence(), Duration::ZERO);
        let mut answer = flight.until(full(vec![0; 200 << 10]));
        answer.frame().await.unwrap().unwrap();
        let first = flights.waits();
        assert!(first.is_some());
        flights.stuck(Duration::from_millis(1)).await;
        answer.frame().await.unwrap().unwrap();
        assert!(flights.waits().is_some_and(|second| first != Some(second)), "it has taken something");
        let silent = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Broken>>()).boxed_unsync();
        let mut other = Flight::begin(&flights).until(silent);
        assert!(other.frame().now_or_never().is_none());
        assert_eq!(flights.waits(), None, "another answer is still in the making");
        drop(other);
        assert!(flights.waits().is_some());
        drop(answer);
        assert_eq!(flights.waits(), None);
        flights.silent(Duration::from_millis(1)).await;
    }
}
