//! A real Redis for tests, which each has for itself.

use std::{io, process::Command};

use super::shell::Shell;

/// A Redis server. It ends with this.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) port: u16,
    shell: Shell,
    /// What `redis-cli` signs in with.
    login: Vec<String>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// With arguments of its own, parted by spaces; none holds any.
    pub(crate) fn with(arguments: &str) -> Self {
        let shell = Shell::new(&format!("arguments='{arguments}'\n{}", include_str!("redis.sh"))).unwrap();
        Self { port: shell.start().unwrap(), shell, login: Vec::new() }
    }

    /// Has [`Self::ask`] sign in.
    pub(crate) fn knowing(self, password: &str) -> Self {
        Self { login: ["--pass", password].map(str::to_owned).to_vec(), ..self }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string(), "--no-auth-warning"]).args(&self.login).args(command);
        let output = cli.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// What it holds.
    pub(crate) fn names(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"]).lines().filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Kills the server; nothing that it holds stays.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.shell.run("kill")
    }

    /// Starts a server that was killed, at the same port.
    pub(crate) fn start_again(&self) -> io::Result<()> {
        self.shell.run(&format!("start {}", self.port))
    }

    /// Has it do nothing: its connections stay, and take what is sent.
    pub(crate) fn pause(&self) -> io::Result<()> {
        self.shell.run("pause")
    }

    /// Has it go on.
    pub(crate) fn resume(&self) -> io::Result<()> {
        self.shell.run("resume")
    }
}
