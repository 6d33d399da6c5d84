//! The exchanges on a connection: how long there has been none, and whether the client takes what it is sent.
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
use tokio::time::Instant;

use crate::exchange::body::{Body, Broken};

/// The exchanges on a connection.
pub(super) struct Flights {
    begun: Instant,
    under_way: AtomicUsize,
    /// When the last one ended, in milliseconds since the connection began.
    ended: AtomicU64,
    /// Answers of which the connection holds a piece: it asks for the next one when it has room, which the client makes.
    held: AtomicUsize,
    /// How often it has asked.
    asked: AtomicU64,
}

/// An exchange on a connection, from its head to the last byte of its answer.
pub(super) struct Flight {
    flights: Arc<Flights>,
    /// The connection holds a piece of its answer.
    is_held: bool,
}

/// An answer on its way to the client.
struct Sent {
    body: Body,
    flight: Flight,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            under_way: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// How long there has been none.
    pub(super) fn silence(&self) -> Duration {
        let ended = Duration::from_millis(self.ended.load(Ordering::Acquire));
        if self.under_way.load(Ordering::Acquire) > 0 { Duration::ZERO } else { self.begun.elapsed().saturating_sub(ended) }
    }

    /// Where the client stands in what it takes, as long as all exchanges wait for it and none for an upstream: if this stays the
    /// same, it takes nothing.
    pub(super) fn stand(&self) -> Option<u64> {
        let held = self.held.load(Ordering::Relaxed);
        (held > 0 && held == self.under_way.load(Ordering::Relaxed)).then(|| self.asked.load(Ordering::Relaxed))
    }
}

impl Flight {
    pub(super) fn begin(flights: &Arc<Flights>) -> Self {
        flights.under_way.fetch_add(1, Ordering::AcqRel);
        Self { flights: Arc::clone(flights), is_held: false }
    }

    /// The answer, which ends the flight.
    pub(super) fn answer(self, body: Body) -> Body {
        Sent { body, flight: self }.boxed_unsync()
    }

    fn holds(&mut self, is_held: bool) {
        if is_held && !self.is_held {
            self.flights.held.fetch_add(1, Ordering::Relaxed);
        } else if self.is_held && !is_held {
            self.flights.held.fetch_sub(1, Ordering::Relaxed);
        }
        self.is_held = is_held;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.holds(false);
        let since = u64::try_from(self.flights.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.flights.ended.store(since, Ordering::Release);
        self.flights.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl body::Body for Sent {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self { body, flight } = self.get_mut();
        flight.flights.asked.fetch_add(1, Ordering::Relaxed);
        let piece = Pin::new(body).poll_frame(context);
        flight.holds(matches!(piece, Poll::Ready(Some(Ok(_)))));
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
    use std::task::Waker;

    use hyper::body::Body as _;

    use super::*;
    use crate::exchange::body::full;

    #[tokio::test]
    async fn a_client_stands_still_while_it_takes_nothing_of_what_waits() {
        let flights = Arc::new(Flights::new());
        let mut answer = Flight::begin(&flights).answer(full(vec![0; 1 << 20]));
        assert_eq!(flights.stand(), None, "nothing waits for it yet");
        let mut ask = || Pin::new(&mut answer).poll_frame(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(ask());
        let stand = flights.stand();
        assert!(stand.is_some() && stand == flights.stand());
        assert!(ask());
        assert_ne!(stand, flights.stand());
        let other = Flight::begin(&flights);
        assert_eq!(flights.stand(), None, "another waits for its upstream");
        drop((answer, other));
        assert_eq!(flights.stand(), None, "it is over");
    }
}
