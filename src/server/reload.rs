//! Other policies while it runs, all or nothing.
//!
//! Files are read off the reactor, by one reload at a time. What they say counts once two readings in a row agree, so that files
//! that are exchanged while they are read make no set of halves. What cannot be loaded leaves the set in force as it is.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::{sync::Mutex, task};

use super::{StartError, policies};
use crate::{config::Config, exchange::Proxy, policy::Policies};

/// Readings of files that change all the while, before they are refused.
const READINGS: usize = 10;

/// Reads the policy files again, and puts them in force if they are fine.
#[derive(Debug)]
pub struct Reloader {
    proxy: Arc<Proxy>,
    config: Config,
    root: Option<PathBuf>,
    /// Whoever holds this reads.
    turn: Arc<Mutex<()>>,
    status: ArcSwap<Status>,
}

/// The policies in force, and what came of the last reading.
#[derive(Debug, Clone)]
pub struct Status {
    /// The policies.
    pub policies: Arc<Policies>,
    /// When this revision was put in force.
    pub since: Timestamp,
    /// The last reading after the start's.
    pub last: Option<Reload>,
}

/// A reading of the policy files.
#[derive(Debug, Clone)]
pub struct Reload {
    /// When it was done.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Another set is in force.
    Changed,
    /// They say what is in force.
    Unchanged,
    /// The set from before stays in force; the mistakes, one a line.
    Refused(String),
}

impl Outcome {
    /// Its name, for metrics and tools.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
        }
    }
}

impl Status {
    /// Why the files are not what is in force, if they are not.
    #[must_use]
    pub fn mistakes(&self) -> Option<&str> {
        match &self.last.as_ref()?.outcome {
            Outcome::Refused(mistakes) => Some(mistakes),
            Outcome::Changed | Outcome::Unchanged => None,
        }
    }
}

impl Reloader {
    /// A reloader of the policies that this proxy has from these settings.
    pub(super) fn new(proxy: Arc<Proxy>, config: Config) -> Self {
        let root = config.policies.dir.clone().filter(|path| path.exists());
        let status = Status { policies: proxy.policies(), since: Timestamp::now(), last: None };
        proxy.metrics().policies(status.policies.revision(), status.since.as_second(), None);
        Self { proxy, config, root, turn: Arc::default(), status: ArcSwap::from_pointee(status) }
    }

    /// The policies in force, and what came of the last reading.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// The file or directory that policies are read from; none if they are the program's own.
    #[must_use]
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Reads the policy files. A reload that is dropped is still done.
    pub async fn reload(self: &Arc<Self>) -> Arc<Status> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let own = Arc::clone(self);
        let reading = task::spawn_blocking(move || {
            let _held = turn;
            own.settle(own.read())
        });
        // Whatever panics there is a mistake in the files as much as in the program, and stops no traffic.
        reading.await.unwrap_or_else(|error| self.settle(Err(format!("the policies cannot be read: {error}"))))
    }

    /// The set that the files hold, unless it is in force.
    fn read(&self) -> Result<Option<Policies>, String> {
        let status = self.status();
        let mut before = None;
        for _ in 0..READINGS {
            let read = policies(&self.config).map_err(|error| match error {
                StartError::Policies(mistakes) => mistakes.to_string(),
                other => other.to_string(),
            });
            let says = read.as_ref().map(|set| set.revision().to_owned()).map_err(Clone::clone);
            if says.as_deref() == Ok(status.policies.revision()) {
                return Ok(None);
            }
            if before.as_ref() == Some(&says) {
                return read.map(Some);
            }
            before = Some(says);
        }
        Err("the policy files change all the time: reload once they are as they should be".to_owned())
    }

    /// Puts a set in force, or says why not.
    fn settle(&self, read: Result<Option<Policies>, String>) -> Arc<Status> {
        let mut status = Status::clone(&self.status());
        let metrics = self.proxy.metrics();
        let outcome = match read {
            Ok(None) => Outcome::Unchanged,
            Ok(Some(policies)) => {
                let (policies, since) = (Arc::new(policies), Timestamp::now());
                let (revision, before) = (policies.revision(), status.policies.revision());
                self.proxy.replace_policies(Arc::clone(&policies));
                metrics.policies(revision, since.as_second(), Some(before));
                let names = policies.names().collect::<Vec<_>>().join(", ");
                tracing::info!(before, revision, policies = names, "other policies are in force");
                (status.policies, status.since) = (policies, since);
                Outcome::Changed
            }
            Err(mistakes) => {
                // A watcher may read the same files again and again.
                if status.mistakes() != Some(&mistakes) {
                    let revision = status.policies.revision();
                    tracing::error!(revision, "the policy files are refused and policies stay as they were:\n{mistakes}");
                }
                Outcome::Refused(mistakes)
            }
        };
        metrics.reload(outcome.word(), matches!(outcome, Outcome::Refused(_)));
        status.last = Some(Reload { at: Timestamp::now(), outcome });
        let status = Arc::new(status);
        self.status.store(Arc::clone(&status));
        status
    }
}
