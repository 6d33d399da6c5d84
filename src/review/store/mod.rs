//! The record in a database: SQLite's file, or PostgreSQL for several nodes. Each concern has its file here, and one way for both.

mod audit;
mod backend;
mod cases;
mod choices;
mod decisions;
mod deliveries;
mod exceptions;
mod retain;
mod sessions;
mod stats;

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use sqlx::{
    AnyConnection, AnyPool,
    any::{AnyPoolOptions, install_default_drivers},
};
use tokio::sync::{Notify, watch};

use self::backend::Backend;
pub use self::{
    audit::{Action, Line, Trail, Verified},
    cases::{Entry, Order},
    choices::Choices,
    decisions::Decision,
    deliveries::Delivery,
    exceptions::{Exception, NewException},
    retain::{Keep, Purged},
    sessions::Session,
    stats::{Charts, Day, Group, Person, Spread},
};
use super::{Error, Hook};

/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    backend: &'static dyn Backend,
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
        let options = AnyPoolOptions::new()
            .max_connections(backend.connections())
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| Box::pin(greet(connection, backend)));
        let pool = options.connect(&backend.address(url, create)?).await.map_err(|e| fail(reason(&e)))?;
        backend::migrator(backend.steps()).run(&pool).await.map_err(|e| fail(e.to_string()))?;
        let outbox = watch::Sender::default();
        Ok(Self { pool, backend, url: told, excepted: Arc::default(), hooks: Arc::default(), outbox })
    }

    /// Waits for what is being written and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn fail(&self, error: &sqlx::Error) -> Error {
        Error::Store { url: self.url.clone(), why: reason(error) }
    }
}

async fn greet(connection: &mut AnyConnection, backend: &dyn Backend) -> Result<(), sqlx::Error> {
    for statement in backend.greeting() {
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
