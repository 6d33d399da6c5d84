//! The listeners: where clients connect and where operators do.

mod admin;
mod api;
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
    path::Path,
    sync::{Arc, OnceLock},
    thread::available_parallelism,
    time::Duration,
};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use self::reload::{Outcome, Reload, Reloader, Status};
use self::workers::Workers;
use crate::{
    config::{self, Config, DEFAULT_GUARD},
    console::{self, Auth, Console},
    exchange::{Proxy, Rooms, Routes},
    guard::{Guard, NoRuntime, Runtime, Unusable},
    identity::Identity,
    policy::{HashKey, LoadError, Policies, Terms},
    review::{self, Recorder, Seal, SealError, Store},
    scan::{Band, Pair, Scanner, Shared},
    telemetry::Metrics,
    upstream::Misconfigured,
};

pub use crate::exchange::dialects;

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
    tls: Option<Arc<ServerConfig>>,
    admin: TcpListener,
    admin_tls: Option<Arc<ServerConfig>>,
    console: Console,
    proxy: Arc<Proxy>,
    reloader: Arc<Reloader>,
    webhooks: (webhook::Sender, Vec<webhook::Target>),
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
        let tls = config.listen.tls.as_ref().map(|tls| tls::config(tls, "listen.tls")).transpose()?;
        let admin_tls = config.admin.tls.as_ref().map(|tls| tls::config(tls, "admin.tls")).transpose()?;
        let identity = Identity::new(&config.identity).await?;
        let policies = policies(&config)?;
        let metrics = Arc::new(Metrics::default());
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
        let proxy = Arc::new(Proxy::new(&config, Rooms { scanner, policies, routes, recorder, metrics, identity }));
        upkeep::except(&proxy, &store).await?;
        let webhooks = (webhook::Sender::new(&targets, store.clone(), Arc::clone(&proxy))?, targets);
        let reloader = Arc::new(Reloader::new(Arc::clone(&proxy), config.clone()));
        let rooms = console::Rooms { auth: Arc::new(auth), store: store.clone() };
        let console = Console::new(rooms, api::routes(&reloader));
        let threads = config.listen.threads.or_else(|| available_parallelism().ok());
        let workers = Workers::start(threads.map_or(1, NonZero::get)).map_err(StartError::Thread)?;
        Ok(Self { listener, workers, tls, admin, admin_tls, console, proxy, reloader, webhooks, store, config })
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

    /// Serves until `stop`, then lets exchanges in flight finish.
    pub async fn run(self, stop: CancellationToken) {
        let drain = Duration::from_millis(self.config.listen.drain_ms);
        let (proxy, reloader) = (Arc::clone(&self.proxy), Arc::clone(&self.reloader));
        let app = admin::app(Arc::clone(&proxy), reloader, self.console);
        let (tls, settings, over) = (self.admin_tls.map(TlsAcceptor::from), self.config.listen.clone(), stop.clone());
        let admin = tokio::spawn(async move {
            let answer = move |request, peer| admin::answer(app.clone(), request, peer);
            listener::serve((self.admin, tls), &Workers::here(), answer, &settings, &over).await;
        });
        let poll = self.config.policies.poll_ms.map(Duration::from_millis);
        let watch = self.reloader.root().map(|root| watch::follow(Arc::clone(&self.reloader), root.to_owned(), poll));
        let _watch = watch.map(|watch| AbortOnDropHandle::new(tokio::spawn(watch)));
        let (sender, targets) = self.webhooks;
        let webhooks = AbortOnDropHandle::new(tokio::spawn(sender.run(targets)));
        let (store, settings) = (&self.store, &self.config.review);
        let follow = upkeep::follow(Arc::clone(&self.proxy), store.clone(), settings.clone());
        let _follow = AbortOnDropHandle::new(tokio::spawn(follow));
        let _retain = AbortOnDropHandle::new(tokio::spawn(upkeep::retain(store.clone(), settings.clone())));
        let tls = self.tls.map(TlsAcceptor::from);
        let answer = move |request, _| Arc::clone(&proxy).handle(request);
        listener::serve((self.listener, tls), &self.workers, answer, &self.config.listen, &stop).await;
        // What is not told yet is on record, for another node or a later start.
        drop(webhooks);
        if tokio::time::timeout(drain, self.proxy.drain()).await.is_err() {
            tracing::warn!("exchanges were still in flight after the drain time");
        }
        admin.abort();
        // What exchanges have left to do they did on these.
        drop(self.workers);
    }
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
