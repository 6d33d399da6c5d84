//! The connection to the shared cache: made, watched, given up when it does not answer, and made again after a rest.
//!
//! One connection serves all threads, whose commands go out as they come, without waiting for answers to those before. It is driven
//! by a task of its own, on the runtime that began it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::future::{BoxFuture, FutureExt as _};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
};
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    config::{Place, SharedCache},
    connect::{self, Misconfigured},
    telemetry::Metrics,
};

/// The section of the settings.
pub(super) const SECTION: &str = "cache.shared";

/// Why a look-up has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no connection.
    Away,
    /// It took too long.
    Slow,
    /// The server refused it, or the connection broke.
    Broken,
}

/// The line to the server.
pub(super) struct Line {
    server: Server,
    /// Look-ups in a row that must fail for the line to be given up.
    failures: u32,
    rest: Duration,
    open: ArcSwapOption<Open>,
    /// Why there is no connection.
    away: ArcSwapOption<String>,
    metrics: Arc<Metrics>,
}

/// A connection.
pub(super) struct Open {
    connection: MultiplexedConnection,
    /// Look-ups in a row that failed.
    failed: AtomicU32,
    given_up: CancellationToken,
}

/// How the server is reached.
struct Server {
    place: Place,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    login: RedisConnectionInfo,
    /// What is looked up to see that the server lets us.
    proof: Vec<u8>,
    timeout: Duration,
}

impl Line {
    /// A line that is not open yet: [`Self::keep`] opens it.
    pub(super) fn new(settings: &SharedCache, metrics: &Arc<Metrics>) -> Result<Self, Misconfigured> {
        Ok(Self {
            server: Server::new(settings)?,
            failures: settings.failures,
            rest: Duration::from_millis(settings.rest_ms),
            open: ArcSwapOption::empty(),
            away: ArcSwapOption::from_pointee("it was not reached yet".to_owned()),
            metrics: Arc::clone(metrics),
        })
    }

    /// The connection, if there is one.
    pub(super) fn open(&self) -> Option<Arc<Open>> {
        self.open.load_full()
    }

    /// Why there is none.
    pub(super) fn away(&self) -> Option<Arc<String>> {
        self.away.load_full()
    }

    /// Looks up what stands under these names. A line that fails so several times in a row is given up.
    pub(super) async fn look_up(
        &self,
        open: &Open,
        names: &[Vec<u8>],
        longest: Duration,
    ) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let mut connection = open.connection.clone();
        let asked = look_up(names);
        let answer = timeout(longest, asked.query_async(&mut connection)).await;
        let answer = answer.map_err(|_| Failure::Slow).and_then(|answer| answer.map_err(|_: RedisError| Failure::Broken));
        if answer.is_ok() {
            open.failed.store(0, Relaxed);
        } else if open.failed.fetch_add(1, Relaxed) + 1 >= self.failures {
            open.given_up.cancel();
        }
        answer
    }

    /// Writes, and tells of each command whether it was done.
    pub(super) async fn write(&self, open: &Open, commands: &mut Pipeline) -> Result<Vec<bool>, Failure> {
        let mut connection = open.connection.clone();
        let done = commands.ignore_errors().query_async::<Vec<RedisResult<Value>>>(&mut connection);
        let done = timeout(self.server.timeout, done).await.map_err(|_| Failure::Slow)?;
        Ok(done.map_err(|_| Failure::Broken)?.iter().map(Result::is_ok).collect())
    }

    /// Keeps the line open, as far as the server lets it, for as long as this is awaited.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut told = None;
        loop {
            let why = match timeout(self.server.timeout, self.server.connect()).await {
                Err(_) => format!("no answer within {} ms", self.server.timeout.as_millis()),
                Ok(Err(error)) => error.to_string(),
                Ok(Ok((connection, driver))) => {
                    told = None;
                    self.serve(connection, driver).await
                }
            };
            self.metrics.shared_cache().ready(&self.server.place.to_string(), false);
            if told.as_ref() != Some(&why) {
                tracing::warn!(server = %self.server.place, error = why, "the shared cache is away: nodes go by what they know themselves");
                told = Some(why.clone());
            }
            self.away.store(Some(Arc::new(why)));
            sleep(self.rest).await;
        }
    }

    /// Lends a connection out until it is lost or given up; why it ended.
    async fn serve(&self, connection: MultiplexedConnection, driver: BoxFuture<'static, ()>) -> String {
        let given_up = CancellationToken::new();
        let open = Open { connection, failed: AtomicU32::new(0), given_up: given_up.clone() };
        self.away.store(None);
        self.open.store(Some(Arc::new(open)));
        self.metrics.shared_cache().ready(&self.server.place.to_string(), true);
        tracing::info!(server = %self.server.place, "the shared cache is there");
        let why = tokio::select! {
            () = driver => "the connection was lost".to_owned(),
            () = given_up.cancelled() => format!("{} look-ups in a row failed or were too slow", self.failures),
        };
        self.open.store(None);
        why
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("place", &self.server.place).field("away", &self.away).finish_non_exhaustive()
    }
}

impl Server {
    fn new(settings: &SharedCache) -> Result<Self, Misconfigured> {
        let place = settings.place().map_err(|why| Misconfigured(format!("`{SECTION}.url` {why}")))?;
        let timeout = Duration::from_millis(settings.connect_timeout_ms);
        let (ca_file, client) = (settings.ca_file.as_deref(), [None, None]);
        let tls = place.secure.then(|| {
            let settings = connect::Settings { section: SECTION, secure: true, ca_file, client, timeout };
            let name = ServerName::try_from(place.host.clone()).map_err(|e| Misconfigured(format!("`{SECTION}.url`: {e}")))?;
            Ok((TlsConnector::from(Arc::new(connect::tls(settings)?)), name))
        });
        let mut login = RedisConnectionInfo::default().set_db(place.database.into());
        if let Some(secret) = &settings.password {
            let secret = secret.value().map_err(|why| Misconfigured(format!("`{SECTION}.password`: {why}")))?;
            login = login.set_password(Zeroizing::new(secret).as_str());
        }
        if let Some(user) = &settings.user {
            login = login.set_username(user);
        }
        Ok(Self { tls: tls.transpose()?, place, login, proof: settings.prefix.clone().into_bytes(), timeout })
    }

    /// A connection on which look-ups have an answer, and what drives it.
    async fn connect(&self) -> RedisResult<(MultiplexedConnection, BoxFuture<'static, ()>)> {
        let stream = TcpStream::connect((self.place.host.as_str(), self.place.port)).await?;
        stream.set_nodelay(true)?;
        // Its own time-outs are not needed: all that is asked here has one.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (mut connection, mut driver) = match &self.tls {
            None => {
                let (connection, driver) = MultiplexedConnection::new_with_config(&self.login, stream, config).await?;
                (connection, driver.boxed())
            }
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), stream).await?;
                let (connection, driver) = MultiplexedConnection::new_with_config(&self.login, stream, config).await?;
                (connection, driver.boxed())
            }
        };
        let asked = look_up(std::slice::from_ref(&self.proof));
        tokio::select! {
            answer = asked.query_async::<Value>(&mut connection) => drop(answer?),
            () = &mut driver => return Err((ErrorKind::Io, "the connection was lost").into()),
        }
        Ok((connection, driver))
    }
}

/// What stands under other than plain values is told as if nothing did.
fn look_up(names: &[Vec<u8>]) -> Cmd {
    let mut command = redis::cmd("MGET");
    command.arg(names);
    command
}
