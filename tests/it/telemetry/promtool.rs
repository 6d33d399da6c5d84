//! Prometheus' own judge of metrics and rules.

use std::{
    ffi::OsStr,
    io::Write as _,
    process::{Command, Stdio},
};

/// Runs it; what it says is wrong fails the test.
pub(super) fn promtool<A: AsRef<OsStr>>(arguments: &[A], input: &str) {
    let started =
        Command::new("promtool").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child =
        started.expect("promtool is missing: `make promtool` installs it, or on Debian `apt-get install prometheus`");
    // One that reads no input may have ended already.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
