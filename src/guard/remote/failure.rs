//! What can go wrong with a call, and what follows from it.

use crate::guard::Unavailable;

/// Why a call brought no scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection, or one that broke before the answer: nothing was scored, so another server may be asked.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("did not answer within {0} ms")]
    Slow(u128),
    /// The server says that it failed.
    #[error("{0}")]
    Broken(String),
    /// The server, or the bound on calls to it, takes no more for now.
    #[error("takes no more calls for now")]
    Overloaded,
    /// It refused the call, or answered what is no score. That may be due to the text, so it says nothing about the server:
    /// otherwise whoever finds such a text could shut the guard off.
    #[error("{0}")]
    Unfit(String),
}

impl Failure {
    /// Whether it counts towards the server's rest.
    pub(super) fn blames_the_server(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Slow(_) | Self::Broken(_))
    }

    /// What the caller is told; `server` is where it happened.
    pub(super) fn at(self, server: &str) -> Unavailable {
        match self {
            Self::Overloaded => Unavailable::Overloaded,
            other => Unavailable::Server(format!("{server} {other}")),
        }
    }
}
