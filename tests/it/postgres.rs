//! The PostgreSQL of other tests: it does what they rely on.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::postgres::{self, Cluster};

const PATIENCE: Duration = Duration::from_secs(60);

fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[test]
fn every_test_has_a_database_of_its_own() {
    let (one, other) = (postgres::database().unwrap(), postgres::database().unwrap());
    assert_ne!(one, other);
    assert_eq!(one.rsplit_once('/').unwrap().0, other.rsplit_once('/').unwrap().0, "in one server");
}

#[test]
fn a_server_is_stopped_and_killed_and_comes_back_with_what_it_held() {
    let cluster = Cluster::start().unwrap();
    cluster.database().unwrap();
    for end in [Cluster::stop, Cluster::kill] {
        end(&cluster).unwrap();
        assert!(!answers(cluster.port));
        cluster.start_again().unwrap();
        assert!(answers(cluster.port));
    }
    let port = cluster.port;
    let held = cluster.database().unwrap();
    assert!(held.ends_with("/test_1"), "the first is still there, so this is another: {held}");
    drop(cluster);
    assert!(!answers(port), "it ends with its test");
}

/// What the next test kills.
#[test]
#[ignore = "it waits to be killed"]
#[expect(clippy::print_stderr, reason = "this is how it answers")]
fn a_test_that_hangs() {
    let cluster = Cluster::start().unwrap();
    eprintln!("port {}", cluster.port);
    std::thread::sleep(PATIENCE);
}

#[test]
fn a_killed_test_leaves_no_server() {
    let mut hanging = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::a_test_that_hangs", "--ignored", "--nocapture"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(hanging.stderr.take().unwrap()).lines();
    let port = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("port ")?.parse().ok()).unwrap();
    assert!(answers(port));
    hanging.kill().unwrap();
    hanging.wait().unwrap();
    let end = Instant::now() + PATIENCE;
    while answers(port) {
        assert!(Instant::now() < end, "the server outlives its test");
        std::thread::sleep(Duration::from_millis(20));
    }
}
