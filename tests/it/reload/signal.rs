//! SIGHUP, to the real program.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{harness::fixture, identity::mtls::Authority, policy::policy};

struct Program {
    child: Child,
    log: Receiver<String>,
}

impl Program {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let store = format!("sqlite://{}", dir.join("review.db").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1"]);
        command.args(["--store", &store, "--guard"]).arg(fixture("guard")).args(arguments);
        command.envs([("SEAWALL_GUARD__THREADS", "1"), ("SEAWALL_TELEMETRY__FORMAT", "json")]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let program = Self { child, log };
        program.told("seawall is listening");
        program
    }

    /// The next line of the log with this in its message.
    fn told(&self, part: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(Duration::from_secs(60));
            assert!(line.is_ok(), "no line says {part:?}");
            let line = line.unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"].as_str().unwrap().contains(part) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn it_reads_the_files_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, policy("one", "")).unwrap();
    let mut program = Program::start(dir.path(), &["--policies", file.to_str().unwrap()]);
    program.signal("-HUP");
    let before = program.told("SIGHUP");
    assert_eq!(before["outcome"], "unchanged");
    fs::write(&file, policy("two", "")).unwrap();
    program.signal("-HUP");
    assert_eq!(program.told("other policies are in force")["policies"], "two");
    assert_ne!(program.told("SIGHUP")["revision"], before["revision"]);
    program.signal("-TERM");
    assert!(program.child.wait().unwrap().success());
}

#[test]
fn it_says_that_there_is_no_file_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), &[]);
    program.signal("-HUP");
    assert!(program.told("SIGHUP")["message"].as_str().unwrap().contains("there is no file to read"));
}

#[test]
fn it_reads_the_certificates_again() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, file) = (Authority::new(), dir.path().join("seawall.toml"));
    let path = |name: &str| authority.file(name).display().to_string();
    let tls = format!("cert_file = {:?}\nkey_file = {:?}\n", path("cert.pem"), path("key.pem"));
    fs::write(&file, format!("[listen.tls]\n{tls}[admin.tls]\n{tls}")).unwrap();
    let program = Program::start(dir.path(), &["--config", file.to_str().unwrap()]);
    program.signal("-HUP");
    for listener in ["listen", "admin"] {
        let told = program.told("SIGHUP: the certificate was read");
        assert!(told["listener"] == listener && told["outcome"] == "unchanged", "{told}");
    }
}
