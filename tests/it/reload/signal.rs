//! SIGHUP, to the real program.

use std::{fs, net::SocketAddr, path::Path};

use crate::{harness::program::Program, identity::mtls::Authority, policy::policy};

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

#[test]
fn it_reads_the_certificates_again() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, file) = (Authority::new(), dir.path().join("seawall.toml"));
    let path = |name: &str| authority.file(name).display().to_string();
    let tls = format!("cert_file = {:?}\nkey_file = {:?}\n", path("cert.pem"), path("key.pem"));
    fs::write(&file, format!("[listen.tls]\n{tls}[admin.tls]\n{tls}")).unwrap();
    let program = start(dir.path(), &["--config", file.to_str().unwrap()]);
    program.signal("-HUP");
    for listener in ["listen", "admin"] {
        let told = program.told("SIGHUP: the certificate was read");
        assert!(told["listener"] == listener && told["outcome"] == "unchanged", "{told}");
    }
}
