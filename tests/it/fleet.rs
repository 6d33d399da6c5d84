//! A fleet of two: real programs that share a record in PostgreSQL and verdicts in Redis, and one that is killed under load.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{TryStreamExt as _, future::join_all};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use seawall::review::{Case, Filter, Order, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Upstream, chunk, completion, finish, postgres, program::Program, redis::Redis};

const PATIENCE: Duration = Duration::from_secs(120);
const CALLERS: usize = 6;
/// Whole answers before the one is killed, and of the other after that.
const ANSWERS: usize = 90;
/// Texts that are asked again and again.
const TEXTS: usize = 30;
const CARD: &str = "4111 1111 1111 1111";

/// Each prompt is flagged, and two answers of three must not leave as they are.
const POLICY: &str = r#"
name = "fleet"
[[rule]]
name = "asked"
where = ["prompt"]
detectors = ["payment_card"]
action = "flag"
[[rule]]
name = "card"
where = ["completion"]
detectors = ["payment_card"]
action = "redact"
[[rule]]
name = "unsafe"
where = ["completion"]
threshold = "guard"
action = "block"
message = "no such answers"
"#;

/// What the LLM says to the prompt of a number, and what users may see of it.
fn spoken(number: usize) -> (&'static str, &'static str) {
    match number % 3 {
        0 => ("first some words, and then danger comes", "no such answers"),
        1 => ("of your cards it is 4111 1111 1111 1111 that is lost", "of your cards it is [payment card] that is lost"),
        _ => ("all of it is well", "all of it is well"),
    }
}

/// The rules that must be on record for it.
fn rules(number: usize) -> Vec<&'static str> {
    match number % 3 {
        0 => vec!["asked", "unsafe"],
        1 => vec!["asked", "card"],
        _ => vec!["asked"],
    }
}

/// Answers whoever calls, whole or in pieces.
async fn answer_all(upstream: Upstream) {
    loop {
        let call = upstream.call().await;
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        let prompt = body["messages"][0]["content"].as_str().unwrap();
        let (words, _) = spoken(prompt.split(':').next().unwrap().parse().unwrap());
        if body["stream"] != true {
            call.answer(200, completion(words));
            continue;
        }
        tokio::spawn(async move {
            let pieces = call.stream();
            for word in words.split_inclusive(' ') {
                pieces.send(chunk(0, word)).await;
            }
            pieces.send(finish(0) + "data: [DONE]\n\n").await;
        });
    }
}

/// A node with a folder of its own.
struct Node {
    program: Program,
    _dir: TempDir,
}

impl Node {
    fn start(store: &str, redis: &str, upstream: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
        let timeout = PATIENCE.as_millis().to_string();
        let settings = [
            ("SEAWALL_CACHE__SHARED__URL", redis),
            ("SEAWALL_CACHE__SHARED__TIMEOUT_MS", &timeout),
            ("SEAWALL_CACHE__SHARED__CONNECT_TIMEOUT_MS", &timeout),
            // Small steps, so that short streams have several checks.
            ("SEAWALL_STREAM__FIRST_CHARS", "8"),
            ("SEAWALL_STREAM__STEP_CHARS", "8"),
        ];
        let program = Program::start_with(store, dir.path(), upstream, |command| {
            command.arg("--policies").arg(dir.path().join("policy.toml")).envs(settings);
        });
        Self { program, _dir: dir }
    }
}

type Http = Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

/// What a client saw of an answer.
#[derive(Debug)]
struct Seen {
    id: String,
    text: String,
    /// It came to its end.
    whole: bool,
}

/// Asks for an answer; `None` if not even its head came.
async fn ask(client: &Http, node: SocketAddr, number: usize, stream: bool) -> Option<Seen> {
    let prompt = format!("{number}: {CARD}");
    let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]}).to_string();
    let request = Request::post(format!("http://{node}/v1/chat/completions")).header("content-type", "application/json");
    let response = client.request(request.body(Full::from(body)).unwrap()).await.ok()?;
    assert_eq!(response.status(), 200, "who answers at all answers well");
    let id = response.headers()["seawall-request-id"].to_str().unwrap().to_owned();
    let (mut body, mut bytes, mut whole) = (response.into_body(), Vec::new(), true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    Some(Seen { id, text, whole })
}

/// The words of an answer that came to its end.
fn words(answer: &str) -> String {
    let content = |value: &Value| value["choices"][0]["message"]["content"].as_str().map(str::to_owned);
    if let Some(whole) = serde_json::from_str::<Value>(answer).ok().as_ref().and_then(content) {
        return whole;
    }
    let chunks = answer.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let chunks = chunks.map(|data| serde_json::from_str::<Value>(data).unwrap());
    chunks.map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Value of a counter of a node.
async fn metric(client: &Http, node: &Node, name: &str) -> u64 {
    let request = Request::get(format!("http://{}/metrics", node.program.admin)).body(Full::default()).unwrap();
    let body = client.request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Waits until a counter has come so far.
async fn counted(client: &Http, node: &Node, name: &str, count: u64) {
    let waits = async {
        while metric(client, node, name).await < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}

/// What clients saw of which numbers.
type All = Mutex<Vec<(usize, Seen)>>;

/// Keeps asking, of one node and the other in turn, until enough was answered; a call that fails goes to the other at once, as a
/// balancer has it.
async fn calls(client: &Http, nodes: [SocketAddr; 2], next: &AtomicUsize, seen: &All, is_over: impl Fn() -> bool) {
    while !is_over() {
        let number = next.fetch_add(1, Relaxed);
        for node in [nodes[number % 2], nodes[(number + 1) % 2]] {
            let answer = ask(client, node, number % TEXTS, (number / 2).is_multiple_of(2)).await;
            let whole = answer.as_ref().is_some_and(|answer| answer.whole);
            seen.lock().unwrap().extend(answer.map(|answer| (number % TEXTS, answer)));
            if whole {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_nodes_is_killed_under_load() {
    let upstream = Upstream::start().await;
    let address = upstream.address;
    tokio::spawn(answer_all(upstream));
    let redis = Redis::start();
    let url = redis.url();
    let (store, mut one, two) = tokio::task::spawn_blocking(move || {
        let store = postgres::database().unwrap();
        let [one, two] = [(); 2].map(|()| Node::start(&store, &url, address));
        (store, one, two)
    })
    .await
    .unwrap();
    let client: Arc<Http> = Arc::new(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http());
    for node in [&one, &two] {
        counted(&client, node, &format!("seawall_shared_cache_ready{{url=\"{}/0\"}}", redis.url()), 1).await;
    }

    // What the one has scored the other knows: a prompt and its answer.
    let mut all = Vec::new();
    for node in [&one, &two] {
        all.push((TEXTS, ask(&client, node.program.address, TEXTS, false).await.unwrap()));
        counted(&client, &one, "seawall_shared_cache_writes_total{outcome=\"written\"}", 2).await;
    }
    assert_eq!(metric(&client, &two, "seawall_shared_cache_lookups_total{outcome=\"hit\"}").await, 2);
    assert_eq!(metric(&client, &two, "seawall_guard_windows_total").await, 0);

    let (seen, next) = (All::default(), AtomicUsize::new(0));
    let nodes = [one.program.address, two.program.address];
    let answered = || seen.lock().unwrap().iter().filter(|(_, seen)| seen.whole).count();
    let after = Mutex::new(None);
    let kill = async {
        while answered() < ANSWERS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        one.program.kill();
        *after.lock().unwrap() = Some(answered() + ANSWERS);
    };
    let is_over = || after.lock().unwrap().is_some_and(|after| answered() >= after);
    let load = join_all((0..CALLERS).map(|_| calls(&client, nodes, &next, &seen, is_over)));
    tokio::time::timeout(PATIENCE, async { tokio::join!(load, kill) }).await.unwrap();
    all.extend(seen.into_inner().unwrap());

    for (number, Seen { id, text, whole }) in &all {
        assert!(!text.contains("danger") && !text.contains("4111"), "{id}: a client saw {text}");
        if *whole {
            // A stream that is cut has said something before.
            assert!(words(text).ends_with(spoken(*number).1), "{id}: {text}");
        }
    }
    let store = Store::open_existing(&store).await.unwrap();
    let cases: Vec<Case> = store.cases(Filter::default(), Order::OldestFirst).try_collect().await.unwrap();
    let count = cases.len();
    let cases: BTreeMap<&str, &Case> = cases.iter().map(|case| (case.id.as_str(), case)).collect();
    assert_eq!(cases.len(), count, "nothing is there twice");
    for (number, Seen { id, whole, .. }) in &all {
        let case = cases.get(id.as_str());
        assert!(case.is_some(), "{id} ({number}) was answered and is not on record");
        if *whole {
            assert_eq!(case.unwrap().rules(), rules(*number), "{id}");
        }
    }
}
