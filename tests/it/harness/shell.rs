//! A shell that holds a server for tests. The server is its child, so that it ends the server, and removes what that kept, once
//! this process is gone, however it went.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Ports that no system hands out by itself, so that a server which starts again finds its own free.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
const TRIES: usize = 10;

/// The shell. It ends with this.
#[derive(Debug)]
pub(super) struct Shell(Mutex<Open>);

#[derive(Debug)]
struct Open {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Shell {
    /// A shell that runs a script, which answers each line of its input with `done` or `failed`.
    pub(super) fn new(script: &str) -> io::Result<Self> {
        let mut process = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What interrupts the tests at a terminal would interrupt the cleaning up too.
            .process_group(0)
            .spawn()?;
        let piped = || io::Error::other("a pipe is missing");
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().ok_or_else(piped)?);
        Ok(Self(Mutex::new(Open { process, commands, answers })))
    }

    pub(super) fn run(&self, command: &str) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).run(command)
    }

    /// Has the server start at a free port.
    pub(super) fn start(&self) -> io::Result<u16> {
        let mut free = Err(io::Error::other("no port tried"));
        for _ in 0..TRIES {
            let port = fastrand::u16(PORTS);
            free = self.run(&format!("start {port}")).map(|()| port);
            if free.is_ok() {
                break;
            }
        }
        free
    }
}

impl Open {
    fn run(&mut self, command: &str) -> io::Result<()> {
        let commands = self.commands.as_mut().ok_or_else(|| io::Error::other("the server has ended"))?;
        writeln!(commands, "{command}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim_end() {
            "done" => Ok(()),
            _ => Err(io::Error::other(format!("`{command}` has failed, the server's words are above"))),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.commands = None;
        // Its end is the server's; there is nobody to tell of a failure.
        drop(self.process.wait());
    }
}
