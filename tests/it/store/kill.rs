//! The real program is killed at random points, again and again, with its store in order or not: what a client saw answered is
//! on record.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use futures_util::TryStreamExt as _;
use seawall::review::{Case, Filter, Order, Store};
use serde_json::Value;

use super::{BREAK, MEND, execute};
use crate::harness::{completion, fixture};

const ROUNDS: usize = 200;
const CALLERS: usize = 4;
/// Milliseconds within which a round ends.
const LIFE: u64 = 120;
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

struct Program {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Program {
    fn start(dir: &Path, upstream: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream"])
            .arg(format!("http://{upstream}"));
        command
            .arg("--store")
            .arg(store(dir))
            .arg("--policies")
            .arg(dir.join("policy.toml"))
            .arg("--guard")
            .arg(fixture("guard"));
        command.env("SEAWALL_REVIEW__SPOOL", dir.join("spool"));
        command.envs([("SEAWALL_GUARD__THREADS", "1"), ("SEAWALL_TELEMETRY__FORMAT", "json")]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listening = lines.find(|line| line.contains("seawall is listening")).unwrap();
        // Nobody else reads what it says.
        thread::spawn(move || lines.for_each(drop));
        let told: Value = serde_json::from_str(&listening).unwrap();
        let address = |name: &str| told[name].as_str().unwrap().parse().unwrap();
        Self { address: address("address"), admin: address("admin"), child }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn store(dir: &Path) -> String {
    format!("sqlite://{}", dir.join("review.db").display())
}

/// Reads a request to its end.
fn request(stream: &mut TcpStream) -> Option<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(());
            }
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
}

/// An LLM that always answers the same.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = completion("yours is 4111 1111 1111 1111");
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(
                move || while request(&mut stream).and_then(|()| stream.write_all(answer.as_bytes()).ok()).is_some() {},
            );
        }
    });
    address
}

/// Asks once; the status and the head's end where the answer came whole.
fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(String, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), serde_json::from_str(body).ok()?))
}

/// Asks for a completion; the exchange's id if the answer came whole.
fn flagged(address: SocketAddr, text: &str) -> Option<String> {
    let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
    let (head, _) = call(address, "POST", "/v1/chat/completions", &body)?;
    assert!(head.starts_with("HTTP/1.1 200"), "while it lives it answers: {head}");
    head.lines().find_map(|line| line.strip_prefix("seawall-request-id: ")).map(str::to_owned)
}

#[test]
fn what_was_answered_is_on_record_however_often_it_is_killed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
    let upstream = upstream();
    let answered: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let change = |statement| runtime.block_on(execute(&store(dir.path()), statement));
    let mut spooled = 0;
    for round in 0..ROUNDS {
        // Two rounds in order, two not, so that a journal is met by both.
        let broken = round / 2 % 2 == 1;
        let mut program = Program::start(dir.path(), upstream);
        if broken && round % 2 == 0 {
            change(BREAK);
        }
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (over, answered, address) = (&over, &answered, program.address);
                scope.spawn(move || {
                    let texts = (0..).map(|number| format!("{round}/{caller}/{number}: 4111 1111 1111 1111"));
                    for text in texts.take_while(|_| !over.load(Relaxed)) {
                        let id = flagged(address, &text);
                        answered.lock().unwrap().extend(id.map(|id| (id, text)));
                    }
                });
            }
            thread::sleep(Duration::from_millis(fastrand::u64(1..LIFE)));
            program.child.kill().unwrap();
            over.store(true, Relaxed);
            program.child.wait().unwrap();
        });
        spooled += usize::from(broken && fs::read_dir(dir.path().join("spool")).is_ok_and(|files| files.count() > 1));
        if broken && round % 2 == 1 {
            change(MEND);
        }
    }
    let answered = Arc::into_inner(answered).unwrap().into_inner().unwrap();
    assert!(answered.len() > ROUNDS, "only {} were answered", answered.len());
    assert!(spooled > ROUNDS / 4, "the journal was in use in {spooled} rounds only");
    let program = Program::start(dir.path(), upstream);
    while call(program.admin, "GET", "/readyz", "").unwrap().1["review"]["spooled"] != 0 {
        thread::sleep(Duration::from_millis(20));
    }
    drop(program);
    let store = runtime.block_on(Store::open_existing(&store(dir.path()))).unwrap();
    let cases = runtime.block_on(store.cases(Filter::default(), Order::OldestFirst).try_collect::<Vec<Case>>()).unwrap();
    let count = cases.len();
    let cases: BTreeMap<&str, &Case> = cases.iter().map(|case| (case.id.as_str(), case)).collect();
    assert_eq!(cases.len(), count, "nothing is there twice");
    for (id, text) in &answered {
        let case = cases.get(id.as_str()).unwrap_or_else(|| panic!("{id} ({text}) was answered and is not on record"));
        assert_eq!((case.version, case.rules()), (2, vec!["asked", "answered"]), "{id}");
        assert_eq!(case.prompt(), text.replace("4111 1111 1111 1111", "[payment card]"));
    }
    assert!(fs::read_dir(dir.path().join("spool")).unwrap().all(|file| file.unwrap().file_name() == "lock"));
}
