//! The record in a database: SQLite's file, or PostgreSQL for several nodes. Each concern has its file here, and one way for both.

mod audit;
mod backend;
mod cases;
mod choices;
mod decisions;
mod deliveries;
mod exceptions;
mod index;
mod page;
mod reseal;
mod retain;
mod selection;
mod sessions;
#[cfg(test)]
mod stand;
mod stats;
#[cfg(test)]
mod tests;
mod write;

use std::{
    future::ready,
    sync::{Arc, Once},
    time::Duration,
};

use jiff::civil::Date;
use serde::Serializer;
use sqlx::{
    AnyConnection, AnyPool, Connection as _,
    any::{AnyPoolOptions, install_default_drivers},
    migrate::MigrateError,
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use self::backend::Backend;
pub(super) use self::write::Prepared;
pub use self::{
    audit::{Action, Line, Trail, Verified},
    cases::Entry,
    choices::Choices,
    decisions::{Decision, NewDecision},
    deliveries::Delivery,
    exceptions::{Exception, NewException},
    retain::{Keep, Purged},
    selection::Order,
    sessions::Session,
    stats::{Charts, Day, Group, Person, Spread},
};
use super::{Error, Hook, Seal};

/// Longest wait for a connection. Who cannot wait so long, such as an exchange, sets a time of its own.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to bring the schema up to date.
const PAUSE: Duration = Duration::from_millis(100);

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    /// What all is written through.
    writer: AnyPool,
    backend: &'static dyn Backend,
    /// What texts are sealed with.
    seal: Option<Arc<Seal>>,
    /// Its address as it may be told.
    url: String,
    /// Told when exceptions change here.
    excepted: Arc<Notify>,
    /// Who is told of cases.
    hooks: Arc<[Hook]>,
    outbox: watch::Sender<()>,
}

impl Store {
    /// Opens the store, making it if it is not there.
    ///
    /// # Errors
    /// A place that cannot be written or reached, or what is there is no store.
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::connect(url, true).await
    }

    /// Opens a store that is there, to look at.
    ///
    /// # Errors
    /// No store there.
    pub async fn open_existing(url: &str) -> Result<Self, Error> {
        Self::connect(url, false).await
    }

    async fn connect(url: &str, create: bool) -> Result<Self, Error> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(install_default_drivers);
        let backend = backend::of(url)?;
        let told = backend::public(url);
        let fail = |why: String| Error::Store { url: told.clone(), why };
        let address = backend.address(url, create)?;
        let connected = async |connections, greeting: &'static [&'static str]| {
            let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
            let greetings = [backend.greeting(), greeting];
            let options = options.after_connect(move |connection, _| Box::pin(greet(connection, greetings)));
            // SQLite undoes a transaction by itself where the disk fails or is full. The driver goes on to count it, and begins
            // none on that connection ever again.
            let options = options.before_acquire(|connection, _| Box::pin(ready(Ok(!connection.is_in_transaction()))));
            options.connect(&address).await.map_err(|e| fail(reason(&e)))
        };
        let pool = connected(backend.connections(), &[]).await?;
        migrate(&pool, backend).await.map_err(|e| fail(e.to_string()))?;
        let writer = match backend.writer() {
            Some(greeting) => connected(1, greeting).await?,
            None => pool.clone(),
        };
        let outbox = watch::Sender::default();
        Ok(Self { pool, writer, backend, seal: None, url: told, excepted: Arc::default(), hooks: Arc::default(), outbox })
    }

    /// The same store, which seals texts and opens those that are sealed.
    #[must_use]
    pub fn sealing(self, seal: Option<Seal>) -> Self {
        Self { seal: seal.map(Arc::new), ..self }
    }

    /// What it seals with.
    #[must_use]
    pub fn seal(&self) -> Option<&Arc<Seal>> {
        self.seal.as_ref()
    }

    /// Waits for what is being written and closes.
    pub async fn close(&self) {
        self.writer.close().await;
        self.pool.close().await;
    }

    /// It does not answer in time.
    pub(super) fn slow(&self, time: Duration) -> Error {
        Error::Store { url: self.url.clone(), why: format!("does not answer within {} s", time.as_secs()) }
    }

    fn fail(&self, error: &sqlx::Error) -> Error {
        if let sqlx::Error::Database(inner) = error
            && self.backend.is_of_values(inner.as_ref())
        {
            return Error::Values { url: self.url.clone(), why: reason(error) };
        }
        Error::Store { url: self.url.clone(), why: reason(error) }
    }
}

/// Brings the schema up to date. Of several who do it at once all but one fail in SQLite, and then find it done.
async fn migrate(pool: &AnyPool, backend: &dyn Backend) -> Result<(), MigrateError> {
    let migrator = backend::migrator(backend.steps());
    for _ in 1..backend.tries() {
        match migrator.run(pool).await {
            Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)) => sleep(PAUSE).await,
            done => return done,
        }
    }
    migrator.run(pool).await
}

async fn greet(connection: &mut AnyConnection, greetings: [&'static [&'static str]; 2]) -> Result<(), sqlx::Error> {
    for statement in greetings.into_iter().flatten() {
        sqlx::query(*statement).execute(&mut *connection).await?;
    }
    Ok(())
}

fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(inner) => inner.message().to_owned(),
        other => other.to_string(),
    }
}

/// A day as it is told.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn as_text<S: Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}
