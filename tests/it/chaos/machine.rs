//! What the machine gives runs out, or changes under the program: files, room on the disk, the time.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use seawall::review::{Case, Filter, Order, Store};

use crate::harness::{
    ask, completion,
    program::{PATIENCE, Program, call, llm, request, store},
};

/// Asks once: the status and the exchange's id, where there is an answer.
fn asked(address: SocketAddr, text: &str) -> Option<(u16, String)> {
    let (head, _) = call(address, "POST", "/v1/chat/completions", &ask(text))?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.lines().find_map(|line| line.strip_prefix("seawall-request-id: "))?.to_owned()))
}

/// Does so again until it is so.
fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = is_so() {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// All that is on record, in its order.
fn recorded(dir: &Path) -> Vec<Case> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::open_existing(&store(dir)).await.unwrap();
        store.cases(Filter::default(), Order::OldestFirst).try_collect().await.unwrap()
    })
}

#[test]
fn clients_take_no_files_that_calls_need() {
    let dir = tempfile::tempdir().unwrap();
    let wrapper = ["prlimit", "--nofile=256:256"];
    let program = Program::start_under(&wrapper, dir.path(), llm(&completion("hello")), |command| {
        command.env("SEAWALL_LISTEN__HEADER_TIMEOUT_MS", "500");
    });
    // More than there are files for. Those who say nothing are let in one after the other, and go.
    let silent: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(program.address).unwrap()).collect();
    assert_eq!(asked(program.address, "hi").map(|(status, _)| status), Some(200));
    assert_eq!(asked(program.address, "danger").map(|(status, _)| status), Some(200), "the record has a file, too");
    drop(silent);
    assert_eq!(recorded(dir.path()).len(), 1);
}

#[test]
fn without_files_it_waits_and_goes_on_when_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), llm(&completion("hello")), |_| {});
    assert_eq!(asked(program.address, "before").map(|(status, _)| status), Some(200));
    // Fewer than it has open.
    program.limit("--nofile=16:");
    let mut client = TcpStream::connect(program.address).unwrap();
    client.write_all(request("POST", "/v1/chat/completions", &ask("danger")).as_bytes()).unwrap();
    let at = || program.told("cannot accept a connection")["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let (first, last) = (at(), [(); 4].map(|()| at())[3]);
    assert!(last.duration_since(first).as_millis() > 100, "it takes its time between two tries");
    program.limit("--nofile=1024:");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("seawall-decision: block"), "{answer}");
    assert_eq!(recorded(dir.path()).len(), 1);
}

#[test]
fn a_full_disk_stops_what_is_flagged_and_nothing_else_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.toml");
    fs::write(&policy, super::store::spooling()).unwrap();
    // No file grows beyond 1 MiB: a write fails as it does on a full disk, in the store's log and then in the journal.
    let wrapper = ["sh", "-c", "trap '' XFSZ; ulimit -S -f 2048; exec \"$@\"", "sh"];
    let program = Program::start_under(&wrapper, dir.path(), llm(&completion("hello")), |command| {
        command.arg("--policies").arg(&policy);
    });
    let large = |number: usize| format!("danger {number} {}", "x".repeat(50_000));
    let (mut answered, mut refused) = (Vec::new(), 0);
    for number in 0.. {
        match asked(program.address, &large(number)) {
            Some((200, id)) => answered.push(id),
            told => {
                assert_eq!(told.map(|(status, _)| status), Some(503));
                refused += 1;
            }
        }
        if refused == 5 {
            break;
        }
    }
    let (_, ready) = call(program.admin, "GET", "/readyz", "").unwrap();
    assert!(ready["review"]["spooled"].as_u64().unwrap() > 0 && ready["ready"] == true, "{ready}");
    assert_eq!(asked(program.address, "hi").map(|(status, _)| status), Some(200), "what is not flagged goes on");
    program.limit("--fsize=unlimited:");
    answered.push(
        until("it is written again", || asked(program.address, &large(1_000_000)).filter(|(status, _)| *status == 200)).1,
    );
    until("the journal is emptied", || {
        let (_, ready) = call(program.admin, "GET", "/readyz", "").unwrap();
        (ready["review"]["spooled"] == 0).then_some(())
    });
    drop(program);
    let mut recorded: Vec<String> = recorded(dir.path()).into_iter().map(|case| case.id).collect();
    answered.sort();
    recorded.sort();
    assert_eq!(recorded, answered, "what was answered is on record, once, and what was refused is not");
}

/// The library that gives a program another time.
fn faketime() -> String {
    let mut libraries = fs::read_dir("/usr/lib").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path().join("faketime/libfaketime.so.1");
        path.exists().then(|| path.display().to_string())
    });
    libraries.next().unwrap_or_else(|| panic!("this test needs libfaketime: `make clock` installs Debian's"))
}

#[test]
fn a_clock_that_jumps_changes_dates_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    // Renamed, so that none is read that is half written.
    let set = |offset: &str| {
        fs::write(dir.path().join("next"), format!("{offset}\n")).unwrap();
        fs::rename(dir.path().join("next"), &clock).unwrap();
    };
    set("+0");
    let program = Program::start(dir.path(), llm(&completion("hello")), |command| {
        command.env("LD_PRELOAD", faketime()).env("FAKETIME_TIMESTAMP_FILE", &clock);
        command.envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
        command.envs([("SEAWALL_REVIEW__KEEP_DAYS", "90"), ("SEAWALL_CACHE__TTL_S", "3600")]);
    });
    let mut ids = Vec::new();
    for offset in ["+0", "+400d", "-400d", "+0"] {
        set(offset);
        for number in 0..3 {
            assert_eq!(asked(program.address, &format!("hi {number}")).map(|(status, _)| status), Some(200), "{offset}");
            let (status, id) = asked(program.address, &format!("danger {number}")).unwrap();
            assert_eq!(status, 200, "{offset}");
            ids.push(id);
        }
        let (_, ready) = call(program.admin, "GET", "/readyz", "").unwrap();
        assert_eq!(ready["ready"], true, "{offset}: {ready}");
    }
    program.signal("-TERM");
    let (status, lines) = program.end();
    assert!(status.success(), "{lines:?}");
    let from_now = |case: &Case| case.at.parse::<Timestamp>().unwrap().duration_since(Timestamp::now()).as_hours() / 24;
    let days: BTreeMap<String, i64> = recorded(dir.path()).into_iter().map(|case| (case.id.clone(), from_now(&case))).collect();
    assert_eq!(days.len(), ids.len(), "all are on record, and no two have the same id");
    let days: Vec<i64> = ids.iter().map(|id| days[id]).collect();
    assert!(days[3] > 390 && days[6] < -390 && days[9] == 0, "each has the time that the clock had: {days:?}");
}
