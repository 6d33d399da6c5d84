//! The real program is killed at random points, again and again, with its store in order or not: what a client saw answered is
//! on record.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use seawall::review::{Case, Filter, Order, Store};

use crate::{
    chaos::store::{BREAK, MEND, execute},
    harness::{
        completion,
        program::{PATIENCE, Program, call, llm, store},
    },
};

const ROUNDS: usize = 200;
/// Stores, each with its program.
const LANES: usize = 2;
const CALLERS: usize = 4;
/// Answers and milliseconds within which a round ends.
const ANSWERS: u32 = 12;
const PAUSE_MS: u64 = 40;
/// Each exchange is written twice: when it is asked and when it is answered.
const POLICY: &str = r#"
name = "cards"
on_store_error = "spool"
[[rule]]
name = "asked"
where = ["prompt"]
detectors = ["payment_card"]
action = "flag"
[[rule]]
name = "answered"
where = ["completion"]
detectors = ["payment_card"]
action = "flag"
"#;

fn start(dir: &Path, upstream: SocketAddr) -> Program {
    Program::start(dir, upstream, |command| {
        command.arg("--policies").arg(dir.join("policy.toml"));
    })
}

/// Asks for a completion; the exchange's id if the answer came whole.
fn flagged(address: SocketAddr, text: &str) -> Option<String> {
    let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
    let (head, _) = call(address, "POST", "/v1/chat/completions", &body)?;
    assert!(head.starts_with("HTTP/1.1 200"), "while it lives it answers: {head}");
    head.lines().find_map(|line| line.strip_prefix("seawall-request-id: ")).map(str::to_owned)
}

/// Answers that a client saw: ids and texts.
type Answered = BTreeMap<String, String>;

/// Lets callers ask until the program is killed, at a random point. What they saw answered.
fn round(program: &mut Program, name: &str) -> Answered {
    let (over, answered) = (AtomicBool::new(false), Mutex::new(Answered::new()));
    let (told, heard) = channel();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (over, answered, told, address) = (&over, &answered, told.clone(), program.address);
            scope.spawn(move || {
                let texts = (0..).map(|number| format!("{name}/{caller}/{number}: 4111 1111 1111 1111"));
                for text in texts.take_while(|_| !over.load(Relaxed)) {
                    let Some(id) = flagged(address, &text) else { continue };
                    answered.lock().unwrap().insert(id, text);
                    if told.send(()).is_err() {
                        return;
                    }
                }
            });
        }
        // Its first answer takes a while: some rounds see more, the others end while it begins and empties the journal.
        for _ in 0..fastrand::u32(1..ANSWERS) * u32::from(fastrand::u8(0..5) > 2) {
            heard.recv_timeout(PATIENCE).unwrap();
        }
        thread::sleep(Duration::from_millis(fastrand::u64(0..PAUSE_MS)));
        program.kill();
        over.store(true, Relaxed);
    });
    answered.into_inner().unwrap()
}

/// A store and a journal of its own, and a program that is killed over and over. In how many rounds the journal was in use.
fn lane(upstream: SocketAddr) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
    let change = |statement| runtime.block_on(execute(&store(dir.path()), statement));
    let spool = dir.path().join("spool");
    let (mut answered, mut spooled) = (Answered::new(), 0);
    for number in 0..ROUNDS / LANES {
        // Two rounds in order, two not, so that both meet what those before have left.
        let broken = number / 2 % 2 == 1;
        let mut program = start(dir.path(), upstream);
        if broken && number % 2 == 0 {
            change(BREAK);
        }
        answered.extend(round(&mut program, &number.to_string()));
        spooled += usize::from(broken && fs::read_dir(&spool).is_ok_and(|files| files.count() > 1));
        if broken && number % 2 == 1 {
            change(MEND);
        }
    }
    assert!(answered.len() > ROUNDS / LANES, "only {} were answered", answered.len());
    let program = start(dir.path(), upstream);
    let end = Instant::now() + PATIENCE;
    while call(program.admin, "GET", "/readyz", "").unwrap().1["review"]["spooled"] != 0 {
        assert!(Instant::now() < end, "the journal is not emptied");
        thread::sleep(Duration::from_millis(20));
    }
    drop(program);
    let store = runtime.block_on(Store::open_existing(&store(dir.path()))).unwrap();
    let cases = runtime.block_on(store.cases(Filter::default(), Order::OldestFirst).try_collect::<Vec<Case>>()).unwrap();
    let count = cases.len();
    let cases: BTreeMap<&str, &Case> = cases.iter().map(|case| (case.id.as_str(), case)).collect();
    assert_eq!(cases.len(), count, "nothing is there twice");
    for (id, text) in &answered {
        let case = cases.get(id.as_str());
        assert!(case.is_some(), "{id} ({text}) was answered and is not on record");
        assert_eq!((case.unwrap().version, case.unwrap().rules()), (2, vec!["asked", "answered"]), "{id}");
        assert_eq!(case.unwrap().prompt(), text.replace("4111 1111 1111 1111", "[payment card]"));
    }
    assert!(fs::read_dir(spool).unwrap().all(|file| file.unwrap().file_name() == "lock"), "all of it was taken");
    spooled
}

#[test]
fn what_was_answered_is_on_record_however_often_it_is_killed() {
    let upstream = llm(&completion("yours is 4111 1111 1111 1111"));
    let lanes: Vec<_> = (0..LANES).map(|_| thread::spawn(move || lane(upstream))).collect();
    let spooled: usize = lanes.into_iter().map(|lane| lane.join().unwrap()).sum();
    assert!(spooled > ROUNDS / 10, "the journal was in use in {spooled} rounds only");
}
