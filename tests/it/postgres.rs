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

/// What a statement answers there.
fn told(url: &str, statement: &str) -> String {
    let output = Command::new("psql").args([url, "-Atqc", statement]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn every_test_has_a_database_of_its_own() {
    let (one, other) = (postgres::database().unwrap(), postgres::database().unwrap());
    told(&one, "CREATE TABLE cases ()");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!((told(&one, tables).as_str(), told(&other, tables).as_str()), ("1", "0"));
    let server = "SELECT pg_postmaster_start_time(), current_setting('server_encoding'), current_setting('fsync')";
    assert_eq!(told(&one, server), told(&other, server), "in one server");
    assert!(told(&one, server).ends_with("|UTF8|on"));
}

#[test]
fn a_server_is_stopped_and_killed_and_comes_back_with_what_it_held() {
    let cluster = Cluster::start().unwrap();
    let url = cluster.database().unwrap();
    told(&url, "CREATE TABLE ends (number int)");
    for (number, end) in [Cluster::stop, Cluster::kill].into_iter().enumerate() {
        told(&url, &format!("INSERT INTO ends VALUES ({number})"));
        end(&cluster).unwrap();
        assert!(!answers(cluster.port));
        cluster.start_again().unwrap();
        assert_eq!(told(&url, "SELECT count(*) FROM ends"), (number + 1).to_string());
    }
    assert!(cluster.start_again().is_err(), "it runs");
    let port = cluster.port;
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
