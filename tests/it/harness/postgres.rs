//! A real PostgreSQL for tests: one cluster for all tests of a process, each with a database of its own, and clusters of their
//! own for those that stop it or kill it.
//!
//! The server is a grandchild: the shell between ends it, and removes what it kept, once this process is gone.

#![allow(dead_code, reason = "each suite takes what it needs of it")]

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Ports that no system hands out by itself, so that a server which starts again finds its own free.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
const TRIES: usize = 10;

/// A PostgreSQL server with data of its own. It ends with this.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) port: u16,
    shell: Mutex<Shell>,
    databases: AtomicUsize,
}

/// The shell that holds the server.
#[derive(Debug)]
struct Shell {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The URL of a new and empty database in the cluster that the tests of this process share.
pub(crate) fn database() -> io::Result<String> {
    static SHARED: OnceLock<io::Result<Cluster>> = OnceLock::new();
    let cluster = SHARED.get_or_init(Cluster::start);
    cluster.as_ref().map_err(|error| io::Error::other(error.to_string()))?.database()
}

impl Cluster {
    pub(crate) fn start() -> io::Result<Self> {
        let mut shell = Shell::new()?;
        let mut free = Err(io::Error::other("no port tried"));
        for _ in 0..TRIES {
            let port = fastrand::u16(PORTS);
            free = shell.run(&format!("start {port}")).map(|()| port);
            if free.is_ok() {
                break;
            }
        }
        Ok(Self { port: free?, shell: Mutex::new(shell), databases: AtomicUsize::default() })
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
        self.shell.lock().unwrap_or_else(PoisonError::into_inner).run(command)
    }
}

impl Shell {
    fn new() -> io::Result<Self> {
        let mut process = Command::new("sh")
            .args(["-c", include_str!("postgres.sh")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What interrupts the tests at a terminal would interrupt the cleaning up too.
            .process_group(0)
            .spawn()?;
        let piped = || io::Error::other("a pipe is missing");
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().ok_or_else(piped)?);
        Ok(Self { process, commands, answers })
    }

    fn run(&mut self, command: &str) -> io::Result<()> {
        let commands = self.commands.as_mut().ok_or_else(|| io::Error::other("PostgreSQL has ended"))?;
        writeln!(commands, "{command}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim_end() {
            "done" => Ok(()),
            _ => Err(io::Error::other(format!("PostgreSQL: `{command}` has failed, its words are above"))),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.commands = None;
        // Its end is the server's; there is nobody to tell of a failure.
        drop(self.process.wait());
    }
}
