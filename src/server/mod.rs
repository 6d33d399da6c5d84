//! The listeners: where clients connect and where operators do.

mod admin;
mod listener;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config},
    exchange::{Proxy, Rooms, Routes},
    guard::{Guard, NoRuntime, Runtime, Unusable},
    identity::Identity,
    policy::{LoadError, Policies},
    review::{self, Store},
    scan::{Band, Scanner},
    telemetry::Metrics,
    upstream::Misconfigured,
};

/// Why the server cannot start: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] NoRuntime),
    /// No guard.
    #[error(transparent)]
    Guard(#[from] Unusable),
    /// No policies.
    #[error("policy: {0}")]
    Policies(#[from] LoadError),
    /// No upstream, no certificate, or no way to know callers.
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
    /// No record.
    #[error(transparent)]
    Review(#[from] review::Error),
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
    tls: Option<Arc<ServerConfig>>,
    admin: TcpListener,
    proxy: Arc<Proxy>,
    config: Config,
}

impl Server {
    /// Loads and checks everything and takes the addresses.
    ///
    /// # Errors
    /// Whatever is missing or wrong.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let routes = Routes::new(&config)?;
        let tls = config.listen.tls.as_ref().map(tls::config).transpose()?;
        let identity = Identity::new(&config.identity).await?;
        let policies = Policies::load(config.policies.dir.as_deref())?;
        let metrics = Arc::new(Metrics::default());
        let scanner = scanner(&config, Arc::clone(&metrics)).await?;
        let listener = take(config.listen.address, "--listen").await?;
        let admin = take(config.admin.address, "--admin").await?;
        let store = Store::open(&config.review.store).await?;
        let proxy = Arc::new(Proxy::new(&config, Rooms { scanner, policies, routes, store, metrics, identity }));
        Ok(Self { listener, tls, admin, proxy, config })
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

    /// The proxy behind the listener.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Serves until `stop`, then lets exchanges in flight finish.
    pub async fn run(self, stop: CancellationToken) {
        let drain = Duration::from_millis(self.config.listen.drain_ms);
        let admin = tokio::spawn(admin::serve(self.admin, Arc::clone(&self.proxy), stop.clone()));
        let tls = self.tls.map(TlsAcceptor::from);
        listener::serve(self.listener, tls, Arc::clone(&self.proxy), &self.config.listen, &stop).await;
        if tokio::time::timeout(drain, self.proxy.drain()).await.is_err() {
            tracing::warn!("exchanges were still in flight after the drain time");
        }
        admin.abort();
    }
}

/// A scanner with the guard of these settings, and the second one if they name it.
///
/// # Errors
/// No ONNX Runtime where it is needed, or no usable guard.
pub async fn scanner(config: &Config, metrics: Arc<Metrics>) -> Result<Scanner, StartError> {
    let first = guard(&config.guard, "guard").await?;
    let second = match &config.guard.cascade {
        Some(cascade) => {
            let second = guard(&cascade.second, "guard.cascade.second").await?;
            Some((Band { low: cascade.low, high: cascade.high }, second))
        }
        None => None,
    };
    Ok(Scanner::new(first, second, &config.cache, metrics))
}

async fn guard(settings: &config::Guard, section: &str) -> Result<Guard, StartError> {
    if settings.engine == config::Engine::Onnx {
        let runtime = Runtime::load(settings.ort_lib.as_deref())?;
        return Ok(Guard::load(&runtime, settings)?);
    }
    Ok(Guard::connect(settings, section).await?)
}

async fn take(address: SocketAddr, flag: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|why| StartError::Bind { address, why, flag })
}
