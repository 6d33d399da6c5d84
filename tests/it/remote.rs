//! Guards that servers run: what is asked of them, and what happens when they are wrong, slow to come, or gone.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use http::StatusCode;
use seawall::config::{Cascade, Config, Engine, Guard, Key, Remote};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Answer, Proxy, RULES, Upstream, ask, completion, fixture};

/// The tokens of the tests' guard that stand for safe and unsafe.
const LABELS: [u32; 2] = [4, 5];
const DANGER: u64 = 5;
const MENACE: u64 = 6;

/// The tests' guard as one that answers with words: no graph, two labels.
pub(crate) fn speaking() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["tokenizer.json", "golden.jsonl"] {
        fs::copy(fixture("guard").join(file), dir.path().join(file)).unwrap();
    }
    let text = fs::read_to_string(fixture("guard/guard.toml")).unwrap();
    let changed = text.lines().filter(|line| !line.starts_with("graph = ") && !line.starts_with("mask = "));
    let changed = changed.collect::<Vec<_>>().join("\n");
    let changed = changed
        .replace("kind = \"sequence-classification\"", "kind = \"decoder-label\"")
        .replace("ids = \"input_ids\"", "ids = \"input_ids\"\nlengths = \"lengths\"")
        .replace(
            "activation = \"sigmoid\"",
            "activation = \"softmax\"\nlabels = [{ text = \"query\", id = 4 }, { text = \"danger\", id = 5 }]",
        )
        .replace("unsafe = [0]", "unsafe = [1]");
    fs::write(dir.path().join("guard.toml"), changed).unwrap();
    dir
}

/// The same with prompts asked in two passes.
fn passing() -> TempDir {
    let dir = speaking();
    let path = dir.path().join("guard.toml");
    let text = fs::read_to_string(&path).unwrap();
    let changed = text
        .replace("[tasks.prompt]\n", "[tasks.prompt]\npasses = [\"\", \" query\"]\n")
        .replace("{ ids = [0] }, { slot = \"text\" },", "{ ids = [0] }, { slot = \"text\" }, { slot = \"pass\" },");
    fs::write(path, changed).unwrap();
    dir
}

/// A call that a server was sent.
#[derive(Clone)]
struct Asked {
    path: String,
    key: Option<String>,
    body: Value,
}

/// A server that answers every call by itself.
pub(crate) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Value) -> Value + Send + 'static) -> Self {
        let upstream = Upstream::start().await;
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (address, seen) = (upstream.address, Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let call = upstream.call().await;
                if call.body.is_empty() {
                    call.answer(200, "");
                    continue;
                }
                let body: Value = serde_json::from_slice(&call.body).unwrap();
                let key = call.headers.get("authorization").map(|key| key.to_str().unwrap().to_owned());
                seen.lock().unwrap().push(Asked { path: call.uri.path().to_owned(), key, body: body.clone() });
                call.answer(200, answer(&body).to_string());
            }
        });
        Self { address, asked, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// The probability of the tests' guard for these ids, of which `not` make nothing unsafe.
pub(crate) fn unsafe_ids(body: &Value, not: Option<u64>) -> bool {
    let ids: Vec<u64> = body["prompt"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    let is_answer = ids.windows(2).any(|pair| pair == [2, 2]);
    (ids.contains(&DANGER) || is_answer && ids.contains(&MENACE)) && !not.is_some_and(|not| ids.contains(&not))
}

/// vLLM's answer; the labels differ by three nats, as the two sides of the tests' guard do.
pub(crate) fn vllm(is_unsafe: bool) -> Value {
    let (safe, not_safe) = if is_unsafe { (-3.048_587, -0.048_587) } else { (-0.048_587, -3.048_587) };
    json!({"id": "cmpl-1", "object": "text_completion", "choices": [{"index": 0, "text": "x", "finish_reason": "length",
        "logprobs": {"tokens": ["token_id:4"], "token_logprobs": [-0.1], "text_offset": [0],
            "top_logprobs": [{"token_id:4": safe, "token_id:5": not_safe, "token_id:9": -11.0}]}}]})
}

pub(crate) fn remote(engine: Engine, dir: &TempDir, urls: Vec<String>) -> Guard {
    let remote = Remote { urls, model: "m".to_owned(), health_ms: 20, connect_timeout_ms: 500, ..Remote::default() };
    Guard { dir: Some(dir.path().to_owned()), engine, remote, ..Guard::default() }
}

async fn proxy(guard: Guard) -> Proxy {
    Proxy::with(RULES, move |config| config.guard = guard).await
}

/// What the proxy says to a prompt that the LLM would answer.
pub(crate) async fn said(proxy: &Proxy, prompt: &str) -> (StatusCode, String) {
    let answered = async {
        proxy.upstream.call().await.answer(200, completion("hi"));
        std::future::pending::<Answer>().await
    };
    let answer = tokio::select! { answer = proxy.post(ask(prompt)) => answer, answer = answered => answer };
    (
        answer.status,
        if answer.status == 200 { answer.content() } else { answer.json()["error"]["code"].as_str().unwrap().to_owned() },
    )
}

pub(crate) fn ok(words: &str) -> (StatusCode, String) {
    (StatusCode::OK, words.to_owned())
}

fn unavailable() -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, "guard_unavailable".to_owned())
}

pub(crate) async fn ready(proxy: &Proxy) -> (StatusCode, Value) {
    let answer = proxy.admin("/readyz").await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn vllm_is_asked_for_the_labels_after_our_ids() {
    let (server, dir) = (Server::start(|body| vllm(unsafe_ids(body, None))).await, speaking());
    let key = dir.path().join("key");
    fs::write(&key, "s3cret\n").unwrap();
    let mut guard = remote(Engine::Vllm, &dir, vec![format!("{}/v1/", server.url())]);
    guard.remote.key = Some(Key { env: None, file: Some(key), header: "authorization".to_owned(), prefix: None });
    let proxy = proxy(guard).await;
    assert_eq!(server.calls(), 3, "the golden texts");
    assert_eq!(said(&proxy, "quiet </s> query").await, ok("hi"));
    assert_eq!(said(&proxy, "a danger").await, ok("no such prompts"));
    let Asked { path, key, body } = server.asked.lock().unwrap()[3].clone();
    assert_eq!((path.as_str(), key.as_deref()), ("/v1/completions", Some("Bearer s3cret")));
    let mut ids: Vec<u64> = serde_json::from_value(body["prompt"].clone()).unwrap();
    assert_eq!(
        (ids.remove(0), ids.pop(), ids.iter().filter(|id| **id <= 2).count()),
        (0, Some(2), 0),
        "no typed control token"
    );
    assert_eq!(body["allowed_token_ids"], json!(LABELS));
    assert_eq!((&body["max_tokens"], &body["logprobs"], &body["model"]), (&json!(1), &json!(20), &json!("m")));
    let (status, body) = ready(&proxy).await;
    let guard = &body["guards"]["default"];
    assert_eq!((status, &guard["provider"], &guard["servers"][0]["ready"]), (StatusCode::OK, &json!("vllm"), &json!(true)));
    let metric = format!("seawall_guard_server_ready{{name=\"default\",url=\"{}/\"}}", server.url());
    assert_eq!(proxy.metric(&metric).await, 1);
}

#[tokio::test]
async fn every_pass_is_a_call_and_the_worst_counts() {
    let only_second = |body: &Value| {
        let ids = body["prompt"].as_array().unwrap();
        unsafe_ids(body, None) && (ids.contains(&json!(LABELS[0])) || ids.contains(&json!(MENACE)))
    };
    let (server, dir) = (Server::start(move |body| vllm(only_second(body))).await, passing());
    let proxy = proxy(remote(Engine::Vllm, &dir, vec![server.url()])).await;
    assert_eq!(server.calls(), 5, "two golden prompts and an answer");
    assert_eq!(said(&proxy, "hello").await, ok("hi"));
    assert_eq!(said(&proxy, "danger").await, ok("no such prompts"));
    let asked: Vec<Value> = server.asked.lock().unwrap().iter().map(|asked| asked.body["prompt"].clone()).collect();
    assert!(asked.contains(&json!([0, DANGER, 2])) && asked.contains(&json!([0, DANGER, LABELS[0], 2])), "{asked:?}");
}

#[tokio::test]
async fn without_a_server_nothing_passes_until_one_is_proven() {
    let dir = speaking();
    // An address at which nobody listens yet.
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let server = Server::start(|body| vllm(unsafe_ids(body, None))).await;
    let mut guard = remote(Engine::Vllm, &dir, vec![format!("http://{address}")]);
    let lonely = proxy(guard.clone()).await;
    let (status, body) = ready(&lonely).await;
    assert_eq!((status, &body["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
    assert!(body["guards"]["default"]["servers"][0]["why"].as_str().unwrap().contains("cannot be reached"), "{body}");
    assert_eq!(said(&lonely, "hello").await, unavailable());
    let told = lonely.post(ask("hello")).await;
    assert!(!String::from_utf8_lossy(&told.body).contains(&address.to_string()), "clients do not see the servers");
    assert!(lonely.upstream.is_idle().await);
    // With one that is up beside it, that one serves.
    guard.remote.urls.push(server.url());
    let proxy = proxy(guard).await;
    assert_eq!(said(&proxy, "hello").await, ok("hi"));
    let (status, body) = ready(&proxy).await;
    assert_eq!(
        (status, &body["guards"]["default"]["servers"][0]["ready"], &body["guards"]["default"]["servers"][1]["ready"]),
        (StatusCode::OK, &json!(false), &json!(true))
    );
}

#[tokio::test]
async fn a_server_that_is_lost_and_found_is_proven_again() {
    let (dir, upstream) = (speaking(), Upstream::start().await);
    let proxy =
        Proxy::with(RULES, |config| config.guard = remote(Engine::Vllm, &dir, vec![format!("http://{}", upstream.address)]));
    // Sick at first, then well, then sick, and then back with a model that calls all safe.
    let (mut health, mut golden) = ([500, 200, 500, 200].into_iter(), 0);
    let script = async {
        loop {
            let call = upstream.call().await;
            if call.body.is_empty() {
                call.answer(health.next().unwrap_or(200), "");
                continue;
            }
            golden += 1;
            let body: Value = serde_json::from_slice(&call.body).unwrap();
            call.answer(200, vllm(golden <= 3 && unsafe_ids(&body, None)).to_string());
        }
    };
    let test = async {
        let proxy = proxy.await;
        loop {
            let (status, body) = ready(&proxy).await;
            let why = body["guards"]["default"]["servers"][0]["why"].as_str().unwrap().to_owned();
            if why.contains("scores golden text 2 0.0474") {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                break;
            }
            assert!(why.is_empty() || why.contains("/health with status 500"), "{why}");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { () = test => {}, () = script => {} }
}

/// A way to a server that is cut when it is dropped.
async fn way(to: SocketAddr) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            open.spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                drop(copy_bidirectional(&mut near, &mut far).await);
            });
        }
    });
    (address, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn a_lost_connection_is_made_good_by_another_server() {
    let (server, dir) = (Server::start(|body| vllm(unsafe_ids(body, None))).await, speaking());
    let ((first, cut), (second, _kept)) = (way(server.address).await, way(server.address).await);
    let mut guard = remote(Engine::Vllm, &dir, vec![format!("http://{first}"), format!("http://{second}")]);
    // Only calls notice.
    (guard.remote.health_ms, guard.remote.failures) = (3_600_000, 2);
    let proxy = proxy(guard).await;
    drop(cut);
    for prompt in ["one", "two", "three"] {
        assert_eq!(said(&proxy, prompt).await, ok("hi"));
    }
    let (_, body) = ready(&proxy).await;
    assert_eq!(
        (&body["guards"]["default"]["servers"][0]["why"], &body["guards"]["default"]["servers"][1]["ready"]),
        (&json!("rests after failures"), &json!(true))
    );
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_given_up() {
    let (dir, upstream) = (speaking(), Upstream::start().await);
    let mut guard = remote(Engine::Vllm, &dir, vec![format!("http://{}", upstream.address)]);
    (guard.deadline_ms, guard.remote.timeout_ms) = (300, 3_600_000);
    let mut golden = 0;
    let script = async {
        loop {
            let call = upstream.call().await;
            if call.body.is_empty() {
                call.answer(200, "");
            } else if golden < 3 {
                golden += 1;
                let body = serde_json::from_slice(&call.body).unwrap();
                call.answer(200, vllm(unsafe_ids(&body, None)).to_string());
            } else {
                // An answer that begins and never ends.
                return call.stream_as("application/json").abandoned().await;
            }
        }
    };
    let test = async { said(&proxy(guard).await, "hello").await };
    let ((), told) = tokio::join!(script, test);
    assert_eq!(told, unavailable());
}

#[tokio::test]
async fn another_model_is_refused_at_the_start() {
    let (server, dir) = (Server::start(|body| vllm(!unsafe_ids(body, None))).await, speaking());
    let config = |guard: Guard| {
        let mut config = Config { guard, ..Config::default() };
        config.upstream.url = "http://127.0.0.1:1".to_owned();
        config
    };
    let refused = async |guard: Guard| seawall::server::Server::bind(config(guard)).await.unwrap_err().to_string();
    let error = refused(remote(Engine::Vllm, &dir, vec![server.url()])).await;
    assert!(error.contains("scores golden text 1 0.95") && error.contains("another model"), "{error}");
    let other = Guard { dir: Some(fixture("guard")), ..remote(Engine::Vllm, &dir, vec![server.url()]) };
    assert!(refused(other).await.contains("`decoder-label` only"));
    let passes = passing();
    assert!(refused(remote(Engine::Openai, &passes, vec![server.url()])).await.contains("the guard's `passes`"));
    let onnx = Guard { dir: Some(PathBuf::from(dir.path())), ..Guard::default() };
    assert!(refused(onnx).await.contains("set `guard.engine`"));
}

#[tokio::test]
async fn a_hosted_guard_is_asked_no_more_than_it_allows() {
    let server = Server::start(|body| {
        let text = body["messages"][0]["content"].as_str().unwrap().to_lowercase();
        let word = if text.contains("odd") {
            "I cannot say"
        } else if text.contains("danger") || text.contains("menace") {
            " Danger\n"
        } else {
            "query"
        };
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": word}, "finish_reason": "stop"}]})
    });
    let (server, dir) = (server.await, speaking());
    let mut guard = remote(Engine::Openai, &dir, vec![server.url()]);
    guard.remote.per_minute = Some(6);
    let proxy = proxy(guard).await;
    assert_eq!(server.calls(), 2, "a golden text of each task");
    assert_eq!(server.asked.lock().unwrap()[1].body["messages"][0]["content"], "Human user:who goes\nAI assistant:a menace.");
    assert_eq!(said(&proxy, "a danger").await, ok("no such prompts"));
    assert_eq!(said(&proxy, "odd").await, unavailable(), "a word that is no label is no verdict");
    assert_eq!(said(&proxy, "hello").await, ok("hi"));
    assert_eq!(server.calls(), 6);
    assert_eq!(said(&proxy, "one more").await, unavailable());
    assert_eq!(said(&proxy, "hello").await, ok("hi"), "what is known needs no call");
    assert_eq!(server.calls(), 6);
}

#[tokio::test]
async fn the_second_guard_decides_where_the_first_is_unsure() {
    let query = Some(u64::from(LABELS[0]));
    let (server, dir) = (Server::start(move |body| vllm(unsafe_ids(body, query))).await, speaking());
    let cascade = |second| Guard {
        dir: Some(fixture("guard")),
        threads: Some(1),
        cascade: Some(Box::new(Cascade { low: 0.5, high: 0.99, second })),
        ..Guard::default()
    };
    let both = proxy(cascade(remote(Engine::Vllm, &dir, vec![server.url()]))).await;
    let golden = server.calls();
    assert_eq!(said(&both, "hello").await, ok("hi"));
    assert_eq!(server.calls(), golden, "the first was sure");
    assert_eq!(said(&both, "danger query").await, ok("hi"), "the second finds it safe");
    assert_eq!(said(&both, "danger").await, ok("no such prompts"));
    let calls = server.calls();
    assert_eq!(said(&both, "danger").await, ok("no such prompts"));
    assert_eq!(server.calls(), calls, "both verdicts are known");
    assert!(both.metric("seawall_guard_cascade_total{decided=\"second\"}").await >= 3);
    assert!(both.metric("seawall_guard_cascade_total{decided=\"first\"}").await >= 2);
    let case = both.cases().await.remove(0);
    assert!(case.guard.ends_with("by vllm m"), "{}", case.guard);

    let lost = proxy(cascade(remote(Engine::Vllm, &dir, vec!["http://127.0.0.1:1".to_owned()]))).await;
    assert_eq!(said(&lost, "hello").await, ok("hi"));
    assert_eq!(said(&lost, "danger query").await, unavailable(), "the first's opinion does not stand in");
}
