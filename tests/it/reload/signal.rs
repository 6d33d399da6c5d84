//! SIGHUP, to the real program.

use std::{fs, net::SocketAddr, path::Path};

use crate::{harness::program::Program, policy::policy};

fn start(dir: &Path, arguments: &[&str]) -> Program {
    // Nobody is asked.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    Program::start(dir, nobody, |command| {
        command.args(arguments);
    })
}

#[test]
fn it_reads_the_files_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, policy("one", "")).unwrap();
    let program = start(dir.path(), &["--policies", file.to_str().unwrap()]);
    program.signal("-HUP");
    let before = program.told("SIGHUP");
    assert_eq!(before["outcome"], "unchanged");
    fs::write(&file, policy("two", "")).unwrap();
    program.signal("-HUP");
    assert_eq!(program.told("other policies are in force")["policies"], "two");
    assert_ne!(program.told("SIGHUP")["revision"], before["revision"]);
    program.signal("-TERM");
    assert!(program.end().0.success());
}

#[test]
fn it_says_that_there_is_no_file_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path(), &[]);
    program.signal("-HUP");
    assert!(program.told("SIGHUP")["message"].as_str().unwrap().contains("there is no file to read"));
}
