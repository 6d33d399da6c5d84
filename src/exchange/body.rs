//! Answers' bodies: what they hold on to, and how whole ones leave.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::body::{self, Frame, SizeHint};

/// Largest piece in which a whole answer leaves. The connection takes the next one when it has room, so that an answer is not
/// done long before its client has read it.
const PIECE: usize = 64 << 10;

/// An answer's body: whole, or a stream that can break off.
pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// The answer cannot be finished; the connection closes so that the client does not take it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct Broken;

/// A whole body.
#[must_use]
pub fn full(body: impl Into<Bytes>) -> Body {
    Whole(body.into()).boxed_unsync()
}

/// A body that keeps something until its last piece has left, or its client has.
#[must_use]
pub fn holding(body: Body, held: impl Send + Unpin + 'static) -> Body {
    Holding { body, _held: held }.boxed_unsync()
}

struct Whole(Bytes);

impl body::Body for Whole {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self(left) = self.get_mut();
        let piece = left.split_to(left.len().min(PIECE));
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }
}

struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> body::Body for Holding<T> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
