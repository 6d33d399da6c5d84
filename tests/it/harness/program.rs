//! The program itself, as a process that tests can kill.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

use super::fixture;

/// A running program. It is killed when this is dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Program {
    /// Begins to serve with the tests' guard. The folder has `policy.toml`, and takes the journal.
    pub(crate) fn start(dir: &Path, store: &str, upstream: SocketAddr, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream"])
            .arg(format!("http://{upstream}"));
        command.args(["--store", store, "--policies"]).arg(dir.join("policy.toml")).arg("--guard").arg(fixture("guard"));
        command.env("SEAWALL_REVIEW__SPOOL", dir.join("spool"));
        command.envs([("SEAWALL_GUARD__THREADS", "1"), ("SEAWALL_TELEMETRY__FORMAT", "json")]);
        command.envs(settings.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listening = lines.find(|line| line.contains("seawall is listening")).unwrap();
        // Nobody else reads what it says.
        thread::spawn(move || lines.for_each(drop));
        let told: Value = serde_json::from_str(&listening).unwrap();
        let address = |name: &str| told[name].as_str().unwrap().parse().unwrap();
        Self { address: address("address"), admin: address("admin"), child }
    }

    /// Kills it in the midst of what it does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
