//! A real PostgreSQL for tests: one cluster for all tests of a process, each with a database of its own, and clusters of their
//! own for those that stop it or kill it.

#![allow(dead_code, reason = "each suite takes what it needs of it")]

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::shell::Shell;

/// A PostgreSQL server with data of its own. It ends with this.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) port: u16,
    shell: Shell,
    databases: AtomicUsize,
}

/// The URL of a new and empty database in the cluster that the tests of this process share.
pub(crate) fn database() -> io::Result<String> {
    static SHARED: OnceLock<io::Result<Cluster>> = OnceLock::new();
    let cluster = SHARED.get_or_init(Cluster::start);
    cluster.as_ref().map_err(|error| io::Error::other(error.to_string()))?.database()
}

impl Cluster {
    pub(crate) fn start() -> io::Result<Self> {
        let shell = Shell::new(include_str!("postgres.sh"))?;
        Ok(Self { port: shell.start()?, shell, databases: AtomicUsize::default() })
    }

    /// The URL of a new and empty database.
    pub(crate) fn database(&self) -> io::Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run(&format!("create {name}"))?;
        Ok(format!("postgres://seawall@127.0.0.1:{}/{name}", self.port))
    }

    /// Stops the server as an operator does; what it holds stays.
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.run("stop")
    }

    /// Kills the server in the midst of what it does; what it has made durable stays.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.run("kill")
    }

    /// Starts a server that was stopped or killed, at the same port.
    pub(crate) fn start_again(&self) -> io::Result<()> {
        self.run(&format!("start {}", self.port))
    }

    fn run(&self, command: &str) -> io::Result<()> {
        self.shell.run(command)
    }
}
