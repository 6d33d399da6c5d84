//! The listeners: where clients connect and where operators do.

mod admin;
mod api;
mod flights;
mod listener;
mod reload;
mod tls;
mod upkeep;
mod watch;
mod webhook;
mod workers;

use std::{
    io, iter,
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread::available_parallelism,
    time::Duration,
};

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use self::{
    reload::{Outcome, Reload, Reloader, Status},
    tls::Tls,
};
use self::{watch::Places, workers::Workers};
use crate::{
    config::{self, Config, DEFAULT_GUARD},
    console::{self, Auth, Console},
    exchange::{Proxy, Rooms, Routes},
    guard::{Guard, NoRuntime, Runtime, Unusable},
    identity::Identity,
    policy::{HashKey, LoadError, Policies, Terms},
    review::{self, Recorder, Seal, SealError, Store},
    scan::{Band, Pair, Scanner, Shared},
    telemetry::{Exporter, Metrics, Traces},
    upstream::Misconfigured,
};

pub use crate::exchange::dialects;

/// How often files of certificates are looked at besides, for file systems that tell nobody of changes. They are few and small.
const CERTIFICATES: Duration = Duration::from_secs(60);
/// Time for what is left to do once all connections have ended: to write down what was flagged, and to end a guard's batch.
const LAST: Duration = Duration::from_secs(5);
/// How long the collector is waited for at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why the server cannot start: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] NoRuntime),
    /// No guard, and the section of its settings.
    #[error("`{0}`: {1}")]
    Guard(String, Unusable),
    /// No policies.
    #[error("policy: {0}")]
    Policies(#[from] LoadError),
    /// No key to hash redacted values with.
    #[error("policies.hash_key: {0}")]
    HashKey(String),
    /// No upstream, no certificate, or no way to know callers.
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
    /// No record.
    #[error(transparent)]
    Review(#[from] review::Error),
    /// No key for the record.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No thread to serve clients.
    #[error("cannot start a thread: {0}; `listen.threads` says how many there are")]
    Thread(io::Error),
    /// No address.
    #[error("cannot listen on {address}: {why}; choose another address with `{flag}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        why: io::Error,
        /// The flag that changes it.
        flag: &'static str,
    },
}

/// A server that is bound and has not begun to accept.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    workers: Workers,
    tls: Option<Arc<Tls>>,
    admin: TcpListener,
    admin_tls: Option<Arc<Tls>>,
    console: Console,
    proxy: Arc<Proxy>,
    reloader: Arc<Reloader>,
    webhooks: (webhook::Sender, Vec<webhook::Target>),
    exporter: Option<Exporter>,
    store: Store,
    config: Config,
}

impl Server {
    /// Loads and checks everything and takes the addresses.
    ///
    /// # Errors
    /// Whatever is missing or wrong.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let routes = Routes::new(&config)?;
        let metrics = Arc::new(Metrics::default());
        let tls = config.listen.tls.as_ref().map(|tls| Tls::new(tls, "listen", &metrics)).transpose()?;
        let admin_tls = config.admin.tls.as_ref().map(|tls| Tls::new(tls, "admin", &metrics)).transpose()?;
        let identity = Identity::new(&config.identity).await?;
        let policies = policies(&config)?;
        let (traces, exporter) = Traces::new(&config.telemetry.otlp)?.unzip();
        let shared = config.cache.shared.as_ref().map(|shared| Shared::start(shared, &metrics)).transpose()?;
        let scanner = Box::pin(sharing(&config, shared, &metrics)).await?;
        let listener = take(config.listen.address, "--listen").await?;
        let admin = take(config.admin.address, "--admin").await?;
        let targets = webhook::Target::all(&config.review.webhooks)?;
        let public = config.admin.public_url.as_deref();
        let hooks = targets.iter().zip(&config.review.webhooks).map(|(target, settings)| target.hook(settings, public));
        let store = Store::open(&config.review.store).await?.telling(hooks.collect());
        let store = store.sealing(Seal::new(&config.review.keys)?);
        let recorder = Recorder::start(store.clone(), config.review.spool.clone())?;
        let local = admin.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let auth = Box::pin(Auth::new(&config.admin, local, store.clone())).await?;
        let proxy = Arc::new(Proxy::new(&config, Rooms { scanner, policies, routes, recorder, metrics, traces, identity }));
        upkeep::except(&proxy, &store).await?;
        let webhooks = (webhook::Sender::new(store.clone(), Arc::clone(&proxy)), targets);
        let reloader = Arc::new(Reloader::new(Arc::clone(&proxy), config.clone()));
        let rooms = console::Rooms { auth: Arc::new(auth), store: store.clone() };
        let console = Console::new(rooms, api::routes(&reloader));
        let threads = config.listen.threads.or_else(|| available_parallelism().ok());
        let workers = Workers::start(threads.map_or(1, NonZero::get)).map_err(StartError::Thread)?;
        Ok(Self { listener, workers, tls, admin, admin_tls, console, proxy, reloader, webhooks, exporter, store, config })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// The system has lost the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where operators connect.
    ///
    /// # Errors
    /// The system has lost the socket.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// What the admin listener serves to people who have signed in, and to tools.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The proxy behind the listener.
    #[must_use]
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// Puts other policies in force while it runs.
    #[must_use]
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// TLS of the listeners that have it.
    #[must_use]
    pub fn tls(&self) -> Vec<Arc<Tls>> {
        [&self.tls, &self.admin_tls].into_iter().flatten().cloned().collect()
    }

    /// Serves until `stop`, then lets exchanges in flight finish: for the drain time at most, and seconds more for what they leave.
    pub async fn run(self, stop: CancellationToken) {
        let (proxy, reloader) = (Arc::clone(&self.proxy), Arc::clone(&self.reloader));
        let _certificates = follow_certificates(&self.tls());
        let rooms = admin::Rooms {
            proxy: Arc::clone(&proxy),
            reloader,
            tls: self.tls().into(),
            spans: self.exporter.as_ref().map(Exporter::counts),
            pulse: self.workers.pulse(),
            needs_store: self.config.admin.ready_needs_store,
            stop: stop.clone(),
        };
        let app = admin::app(rooms, self.console);
        // Operators are answered until the last exchange has ended.
        let over = CancellationToken::new();
        let (tls, settings, closed) = (self.admin_tls, self.config.listen.clone(), over.clone());
        let admin = tokio::spawn(async move {
            let answer = move |request, peer| admin::answer(app.clone(), request, peer);
            listener::serve((self.admin, tls), &Workers::here(), answer, &settings, &closed).await;
        });
        let traces = self.exporter.map(|exporter| tokio::spawn(exporter.run(over.clone())));
        let poll = self.config.policies.poll_ms.map(Duration::from_millis);
        let _watch = self.reloader.root().map(|root| follow_policies(&self.reloader, root.to_owned(), poll));
        let (sender, targets) = self.webhooks;
        let webhooks = AbortOnDropHandle::new(tokio::spawn(sender.run(targets)));
        let (store, settings) = (&self.store, &self.config.review);
        let follow = upkeep::follow(Arc::clone(&self.proxy), store.clone(), settings.clone());
        let _follow = AbortOnDropHandle::new(tokio::spawn(follow));
        let _retain = AbortOnDropHandle::new(tokio::spawn(upkeep::retain(store.clone(), settings.clone())));
        let answer = move |request, _| Arc::clone(&proxy).handle(request);
        listener::serve((self.listener, self.tls), &self.workers, answer, &self.config.listen, &stop).await;
        // What is not told yet is on record, for another node or a later start.
        drop(webhooks);
        if tokio::time::timeout(LAST, self.proxy.drain()).await.is_err() {
            tracing::warn!(
                "what exchanges had left to do was not done in time: what the review store has not taken may be lost"
            );
        }
        if tokio::time::timeout(LAST, self.proxy.scanner().close()).await.is_err() {
            tracing::warn!("the guard was still in the midst of a batch, which may now fail");
        }
        over.cancel();
        admin.abort();
        if let Some(traces) = traces {
            // The last spans are worth waiting for, for as long as a collector is: a moment.
            drop(tokio::time::timeout(FAREWELL, traces).await);
        }
        // What exchanges have left to do they did on these.
        drop(self.workers);
    }
}

/// Puts other policies in force whenever their files change.
fn follow_policies(reloader: &Arc<Reloader>, root: PathBuf, poll: Option<Duration>) -> AbortOnDropHandle<()> {
    let reloader = Arc::clone(reloader);
    let read = move || {
        let reloader = Arc::clone(&reloader);
        async move { drop(reloader.reload().await) }
    };
    let find = move || Places::of_policies(&root);
    AbortOnDropHandle::new(tokio::spawn(watch::follow("policy files", find, read, poll)))
}

/// Puts other certificates in force whenever their files change, and says when they end.
fn follow_certificates(all: &[Arc<Tls>]) -> Vec<AbortOnDropHandle<()>> {
    let heed = (!all.is_empty()).then(|| AbortOnDropHandle::new(tokio::spawn(tls::heed(all.to_vec()))));
    let follow = |tls: &Arc<Tls>| {
        let (files, tls) = (tls.files(), Arc::clone(tls));
        let read = move || {
            let tls = Arc::clone(&tls);
            async move { drop(tls.reload().await) }
        };
        let find = move || Places::of_files(&files);
        AbortOnDropHandle::new(tokio::spawn(watch::follow("files of certificates", find, read, Some(CERTIFICATES))))
    };
    all.iter().map(follow).chain(heed).collect()
}

/// The policies of these settings.
///
/// # Errors
/// A mistake in one of them, or no key to hash with.
pub fn policies(config: &Config) -> Result<Policies, StartError> {
    Ok(with_terms(config, |terms| Policies::load(config.policies.dir.as_deref(), terms))??)
}

/// Hands on what policies may name under these settings.
///
/// # Errors
/// No key to hash with.
pub fn with_terms<T>(config: &Config, work: impl FnOnce(&Terms<'_>) -> T) -> Result<T, StartError> {
    let hash_key = hash_key(config.policies.hash_key.as_ref()).map_err(StartError::HashKey)?;
    let guards: Vec<&str> = iter::once(DEFAULT_GUARD).chain(config.guards.keys().map(String::as_str)).collect();
    let dialects: Vec<&str> = dialects().collect();
    Ok(work(&Terms { guards: &guards, dialects: &dialects, hash_key }))
}

/// The operator's key, or one that this process keeps until it ends.
fn hash_key(secret: Option<&config::Secret>) -> Result<HashKey, String> {
    static OWN: OnceLock<HashKey> = OnceLock::new();
    if let Some(secret) = secret {
        return Ok(HashKey::new(secret.value()?.as_bytes()));
    }
    let mut random = [0; 32];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(&mut random).map_err(|_| "the system gives no random bytes; name a secret".to_owned())?;
    Ok(*OWN.get_or_init(|| HashKey::new(&random)))
}

/// A scanner with the guard of these settings, and the second one if they name it. It knows what it scored itself, and shares that
/// with nobody.
///
/// # Errors
/// No ONNX Runtime where it is needed, or no usable guard.
pub async fn scanner(config: &Config, metrics: &Arc<Metrics>) -> Result<Scanner, StartError> {
    sharing(config, None, metrics).await
}

/// The same with a shared cache.
async fn sharing(config: &Config, shared: Option<Shared>, metrics: &Arc<Metrics>) -> Result<Scanner, StartError> {
    let library = config.guard.ort_lib.as_deref();
    let default = pair(&config.guard, "guard", library).await?;
    let mut named = Vec::with_capacity(config.guards.len());
    for (name, settings) in &config.guards {
        named.push((name.clone(), pair(settings, &format!("guards.{name}"), library).await?));
    }
    Ok(Scanner::new(default, named, (&config.cache, shared), metrics))
}

/// A guard, and the second one of its cascade if it has one. `library` is ONNX Runtime's where they name none.
async fn pair(settings: &config::Guard, section: &str, library: Option<&Path>) -> Result<Pair, StartError> {
    let first = guard(settings, section, library).await?;
    let second = match &settings.cascade {
        Some(cascade) => {
            let second = guard(&cascade.second, &format!("{section}.cascade.second"), library).await?;
            Some((Band { low: cascade.low, high: cascade.high }, second))
        }
        None => None,
    };
    Ok(Pair { first, second })
}

async fn guard(settings: &config::Guard, section: &str, library: Option<&Path>) -> Result<Guard, StartError> {
    let unusable = |why| StartError::Guard(section.to_owned(), why);
    if settings.engine == config::Engine::Onnx {
        let runtime = Runtime::load(settings.ort_lib.as_deref().or(library))?;
        return Guard::load(&runtime, settings).map_err(unusable);
    }
    Guard::connect(settings, section).await.map_err(unusable)
}

async fn take(address: SocketAddr, flag: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|why| StartError::Bind { address, why, flag })
}
