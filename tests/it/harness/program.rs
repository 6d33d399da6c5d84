//! The real program, as a process of its own, and what talks to it without a client that would try again.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{fixture, raw::is_whole};

/// Longer than anything that is waited for takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `seawall serve`, with the tests' guard, and a store and a journal in a folder. It is killed with this.
pub(crate) struct Program {
    child: Child,
    log: Receiver<Value>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// The store of a program with this folder.
pub(crate) fn store(dir: &Path) -> String {
    format!("sqlite://{}", dir.join("review.db").display())
}

impl Program {
    pub(crate) fn start(dir: &Path, upstream: SocketAddr, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_under(&[], dir, upstream, change)
    }

    /// The same with another store.
    pub(crate) fn start_with(store: &str, dir: &Path, upstream: SocketAddr, change: impl FnOnce(&mut Command)) -> Self {
        Self::begin(&[], store, dir, upstream, change)
    }

    /// The same, run by a command that becomes the one after it.
    pub(crate) fn start_under(wrapper: &[&str], dir: &Path, upstream: SocketAddr, change: impl FnOnce(&mut Command)) -> Self {
        Self::begin(wrapper, &store(dir), dir, upstream, change)
    }

    fn begin(wrapper: &[&str], store: &str, dir: &Path, upstream: SocketAddr, change: impl FnOnce(&mut Command)) -> Self {
        let words = [wrapper, &[env!("CARGO_BIN_EXE_seawall")]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream"]);
        command.arg(format!("http://{upstream}")).args(["--store", store]).arg("--guard").arg(fixture("guard"));
        command.env("SEAWALL_REVIEW__SPOOL", dir.join("spool"));
        command.envs([("SEAWALL_GUARD__THREADS", "1"), ("SEAWALL_TELEMETRY__FORMAT", "json")]);
        change(&mut command);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // It reads on when nobody listens any more: a full pipe would hold up the program.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line))));
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Self { child, log, address: nowhere, admin: nowhere };
        let listening = program.told("seawall is listening");
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        (program.address, program.admin) = (address("address"), address("admin"));
        program
    }

    /// The next line of the log with this in its message.
    pub(crate) fn told(&self, part: &str) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line says {part:?}"));
            if line["message"].as_str().unwrap_or_else(|| panic!("{line}")).contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        run("kill", &[name, &self.id().to_string()]);
    }

    /// Sets one of its limits, as `prlimit` has them.
    pub(crate) fn limit(&self, limit: &str) {
        run("prlimit", &["--pid", &self.id().to_string(), limit]);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end: how it ended, and what it said meanwhile.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<Value>) {
        // The log ends with the program.
        let mut lines = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            lines.push(line);
        }
        (self.child.wait().unwrap(), lines)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn run(command: &str, arguments: &[&str]) {
    assert!(Command::new(command).args(arguments).status().unwrap().success(), "{command} {arguments:?}");
}

/// Asks once; the head and the body where the answer came whole.
pub(crate) fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(String, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request(method, path, body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), serde_json::from_str(body).ok()?))
}

/// A request after whose answer the connection ends.
pub(crate) fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n");
    format!("{head}content-length: {length}\r\n\r\n{body}")
}

/// An LLM that always answers the same, at any number of connections.
pub(crate) fn llm(body: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || while read(&mut stream).and_then(|()| stream.write_all(answer.as_bytes()).ok()).is_some() {});
        }
    });
    address
}

/// Reads a request to its end.
fn read(stream: &mut TcpStream) -> Option<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    while !is_whole(&bytes) {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
    Some(())
}
