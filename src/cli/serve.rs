//! `seawall serve`

use std::sync::Arc;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failed, Settings, failed, say, usage};
use crate::{
    config::{Config, Listen},
    server::{Reloader, Server, Tls},
    telemetry,
};

/// Files that are neither a client's nor a call's: the store's and the journal's, and what else connects somewhere.
const OTHERS: u64 = 128;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Address that clients connect to [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of health, metrics and review [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// The LLM's address, such as <https://api.openai.com>
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where flagged traffic is recorded [default: sqlite://seawall.db]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Check settings, guard, policies and addresses, and exit
    #[arg(long)]
    check: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let mut config = self.settings.load(&[
            ("listen.address", self.listen),
            ("admin.address", self.admin),
            ("upstream.url", self.upstream),
            ("review.store", self.store),
        ])?;
        telemetry::start(&config.telemetry).map_err(usage)?;
        let crowded = fit(&mut config.listen, allow_files());
        let (upstream, lends) = (config.upstream.url.clone(), lends_a_key(&config));
        let scheme = if config.listen.tls.is_some() { "https" } else { "http" };
        let server = Server::bind(config).await.map_err(usage)?;
        let (address, admin) = (server.address().map_err(failed)?, server.admin_address().map_err(failed)?);
        let policies = server.proxy().policies().names().collect::<Vec<_>>().join(", ");
        let scanner = server.proxy().scanner();
        let guards = scanner.guards().map(|(name, guard, _)| format!("{name} = {}", guard.identity()));
        let guards = guards.collect::<Vec<_>>().join(", ");
        if self.check {
            return say(format!("fine: guards {guards}; policies {policies}; upstream {upstream}"));
        }
        if let Some(Crowded { files, room }) = crowded {
            tracing::warn!(
                files,
                room,
                "the limit on open files leaves room for fewer connections and calls than `listen.max_connections` and \
                 `max_calls` allow: raise it (`ulimit -n`, `LimitNOFILE=`), or lower them"
            );
        }
        let stop = CancellationToken::new();
        let signals = stop.clone();
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let hangup = signal(SignalKind::hangup()).map_err(failed)?;
        tokio::spawn(reload(Arc::clone(server.reloader()), server.tls(), hangup));
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("stopping: exchanges in flight finish first");
            signals.cancel();
        });
        tracing::info!(%address, %admin, upstream, guards, policies, "seawall is listening on {scheme}://{address}");
        if lends {
            tracing::warn!("whoever reaches {address} calls with the key of an upstream: `[identity]` says who may");
        }
        server.run(stop).await;
        Ok(())
    }
}

/// Whether callers whom nobody knows are given a key for an upstream.
fn lends_a_key(config: &Config) -> bool {
    !config.identity.is_required() && config.named_upstreams().any(|(_, upstream)| upstream.key.is_some())
}

/// Has the system let this process open as many files as it ever may: how many those are, if there is a limit. Each connection is
/// one, and of old the limit is 1,024 until a process asks for more: far fewer than the calls that settings allow.
fn allow_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, limit = limit.current, "the limit on open files stays as it is");
            limit.current
        }
    }
}

/// Open files that are allowed, and the clients that these leave room for.
struct Crowded {
    files: u64,
    room: usize,
}

/// Lets no more clients in than there can be files for: clients that took the last ones would leave none for the upstream and
/// the store. Whether these are fewer than the settings allow.
fn fit(listen: &mut Listen, files: Option<u64>) -> Option<Crowded> {
    let files = files?;
    let room = usize::try_from(files.saturating_sub(OTHERS) / 2).unwrap_or(usize::MAX).max(1);
    let is_crowded = room < listen.max_connections.max(listen.max_calls);
    listen.max_connections = listen.max_connections.min(room);
    listen.max_calls = listen.max_calls.min(room);
    is_crowded.then_some(Crowded { files, room })
}

/// Reloads the certificates and the policies on each SIGHUP.
async fn reload(reloader: Arc<Reloader>, tls: Vec<Arc<Tls>>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        for tls in &tls {
            let (listener, outcome) = (tls.listener(), tls.reload().await);
            tracing::info!(listener, outcome = outcome.word(), "SIGHUP: the certificate was read");
        }
        if reloader.root().is_none() {
            tracing::info!("SIGHUP: the policies are the program's own, so there is no file to read; `policies.dir` names one");
            continue;
        }
        let status = reloader.reload().await;
        let outcome = status.last.as_ref().map(|last| last.outcome.word());
        tracing::info!(revision = status.policies.revision(), outcome, "SIGHUP: the policy files were read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Key, Upstream};

    #[test]
    fn a_key_is_lent_where_nobody_must_be_known() {
        let mut config = Config::default();
        assert!(!lends_a_key(&config));
        let key = Key { env: Some("KEY".to_owned()), file: None, header: "authorization".to_owned(), prefix: None };
        config.upstreams.insert("a".to_owned(), Upstream { key: Some(key), ..Upstream::default() });
        assert!(lends_a_key(&config));
        config.identity.required = Some(true);
        assert!(!lends_a_key(&config));
    }

    #[test]
    fn half_of_the_files_are_for_clients_at_most() {
        let fitted = |files| {
            let mut listen = Listen { max_connections: 16_384, max_calls: 1_000, ..Listen::default() };
            let is_crowded = fit(&mut listen, files).is_some();
            (listen.max_connections, listen.max_calls, is_crowded)
        };
        assert_eq!((fitted(None), fitted(Some(1 << 20))), ((16_384, 1_000, false), (16_384, 1_000, false)));
        assert_eq!((fitted(Some(4_096)), fitted(Some(1_024))), ((1_984, 1_000, true), (448, 448, true)));
        assert_eq!(fitted(Some(100)), (1, 1, true));
    }
}
