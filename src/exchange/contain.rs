//! A mistake in this program ends the exchange that meets it, and no other.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::sync::mpsc::Sender;

use super::body::Broken;

/// What some work comes to; none if it panics. Only work that shares nothing which a panic could leave half done may be run so.
pub async fn contained<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

/// Has an answer break off if the work that writes it panics, which would else end it as if it were whole.
pub(super) async fn or_break<T>(work: impl Future<Output = ()>, client: Sender<Result<T, Broken>>) {
    if contained(work).await.is_none() {
        // A client that has gone needs no ending.
        drop(client.send(Err(Broken)).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_only_the_work_that_it_is_in() {
        let (work, told) = tokio::sync::oneshot::channel::<()>();
        let panics = async {
            let _held = work;
            tokio::task::yield_now().await;
            panic!("as if by a bug")
        };
        assert_eq!(contained::<()>(panics).await, None);
        assert!(told.await.is_err(), "what it held is let go of");
        assert_eq!(contained(async { 1 }).await, Some(1));
    }

    #[tokio::test]
    async fn an_answer_whose_writing_panics_is_not_taken_for_whole() {
        let (client, mut answer) = tokio::sync::mpsc::channel(2);
        let own = client.clone();
        let writes = async move {
            own.send(Ok(1)).await.unwrap();
            panic!("as if by a bug")
        };
        or_break(writes, client).await;
        assert!(matches!(answer.recv().await, Some(Ok(1))));
        assert!(matches!(answer.recv().await, Some(Err(Broken))));
        assert!(answer.recv().await.is_none());
    }
}
