//! The verdict cache that nodes share, in a real Redis: what one node knows the other knows, and whatever goes wrong there costs
//! speed only.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use seawall::config::{Secret, SharedCache};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    harness::{Proxy, RULES, redis::Redis},
    identity::mtls::Authority,
    remote::{ok, ready, said},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than this machine is ever busy with something else.
const LONG_MS: u64 = 30_000;

fn settings(redis: &Redis) -> SharedCache {
    let url = redis.url();
    SharedCache { url, timeout_ms: LONG_MS, connect_timeout_ms: LONG_MS, rest_ms: 20, ..SharedCache::default() }
}

/// A node that has not looked for the cache yet.
async fn lonely(settings: SharedCache) -> Proxy {
    Proxy::with(RULES, |config| config.cache.shared = Some(settings)).await
}

/// A node that has found the cache.
async fn node(settings: SharedCache) -> Proxy {
    let proxy = lonely(settings).await;
    until(async || is_there(&proxy).await).await;
    proxy
}

async fn is_there(proxy: &Proxy) -> bool {
    ready(proxy).await.1["shared_cache"]["ready"] == true
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}

async fn looked_up(proxy: &Proxy, outcome: &str) -> u64 {
    proxy.metric(&format!("seawall_shared_cache_lookups_total{{outcome=\"{outcome}\"}}")).await
}

async fn wrote(proxy: &Proxy, outcome: &str) -> u64 {
    proxy.metric(&format!("seawall_shared_cache_writes_total{{outcome=\"{outcome}\"}}")).await
}

/// Texts that the node's own guard scored.
async fn scored(proxy: &Proxy) -> u64 {
    proxy.metric("seawall_guard_windows_total").await
}

/// What the proxy says to a prompt that is refused.
fn refused() -> (StatusCode, String) {
    ok("no such prompts")
}

/// Has a node score such a prompt and tell of it; where it stands in the cache.
async fn told(proxy: &Proxy, redis: &Redis, prompt: &str) -> String {
    let (before, count) = (redis.names(), wrote(proxy, "written").await);
    said(proxy, prompt).await;
    until(async || wrote(proxy, "written").await > count).await;
    redis.names().into_iter().find(|name| !before.contains(name)).unwrap()
}

/// A chat of so many messages, all unsafe.
fn many(count: usize) -> String {
    let messages: Vec<_> = (0..count).map(|number| json!({"role": "user", "content": format!("danger {number}")})).collect();
    json!({"model": "m", "messages": messages}).to_string()
}

fn commands(redis: &Redis, name: &str) -> u64 {
    let told = redis.ask(&["INFO", "commandstats"]);
    let line = told.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

struct Secrets(TempDir);

impl Secrets {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn keep(&self, secret: &str) -> Option<Secret> {
        let file: PathBuf = self.0.path().join(fastrand::u64(..).to_string());
        fs::write(&file, secret).unwrap();
        Some(Secret { env: None, file: Some(file) })
    }
}

#[tokio::test]
async fn what_one_node_knows_the_other_knows() {
    let redis = Redis::start();
    let (one, two) = (node(settings(&redis)).await, node(settings(&redis)).await);
    assert_eq!(said(&one, "danger here").await, refused());
    assert_eq!(said(&one, "tea").await, ok("hi"));
    // Two prompts and an answer.
    until(async || wrote(&one, "written").await == 3).await;
    assert_eq!((scored(&one).await, looked_up(&one, "miss").await), (3, 3));
    for (prompt, answer) in [("danger here", refused()), ("tea", ok("hi")), ("tea", ok("hi"))] {
        assert_eq!(said(&two, prompt).await, answer);
    }
    assert_eq!((scored(&two).await, looked_up(&two, "hit").await), (0, 3), "the guard was asked by one node only");
    assert_eq!(two.metric("seawall_verdicts_total{source=\"cache\"}").await, 5, "and the second time it knows by itself");
    for name in redis.names() {
        assert!(name.starts_with("seawall:") && name.len() < 60, "{name}");
        let (value, left) = (redis.ask(&["GET", &name]), redis.ask(&["TTL", &name]).parse::<u64>().unwrap());
        assert!(!["danger", "tea", "hi"].into_iter().any(|text| name.contains(text) || value.contains(text)), "{value:?}");
        assert!((86_000..=86_400).contains(&left), "{left}");
    }
}

#[tokio::test]
async fn what_another_node_knows_is_a_hit_to_clients() {
    let redis = Redis::start();
    let (one, two) = (node(settings(&redis)).await, node(settings(&redis)).await);
    told(&one, &redis, "danger").await;
    let answer = two.post(many(1).replace("danger 0", "danger")).await;
    assert_eq!((answer.header("seawall-cache"), answer.content().as_str()), ("hit", "no such prompts"));
}

#[tokio::test]
async fn all_texts_of_a_request_are_looked_up_at_once() {
    let redis = Redis::start();
    let (one, two) = (node(settings(&redis)).await, node(settings(&redis)).await);
    for (proxy, hits) in [(&one, 0), (&two, 42)] {
        let before = commands(&redis, "mget");
        assert_eq!(proxy.post(many(40)).await.content(), "no such prompts");
        assert_eq!(commands(&redis, "mget") - before, 1);
        // The messages, and the last turns together, with a seam and without.
        assert_eq!(looked_up(proxy, "hit").await, hits);
        until(async || redis.names().len() == 42).await;
    }
    assert!(commands(&redis, "set") == 42 && commands(&redis, "get") == 0);
}

#[tokio::test]
async fn it_goes_and_comes_back() {
    let redis = Redis::start();
    let (one, two) = (node(settings(&redis)).await, node(settings(&redis)).await);
    told(&one, &redis, "danger").await;
    redis.kill().unwrap();
    for proxy in [&one, &two] {
        until(async || !is_there(proxy).await).await;
        let (status, told) = ready(proxy).await;
        assert_eq!((status, &told["ready"]), (StatusCode::OK, &json!(true)), "a node is as ready without it");
        assert!(!told["shared_cache"]["error"].as_str().unwrap().is_empty());
        assert_eq!(said(proxy, "danger while it is away").await, refused());
        assert_eq!(looked_up(proxy, "away").await, 1);
        let gauge = format!("seawall_shared_cache_ready{{url=\"{}/0\"}}", redis.url());
        assert_eq!(proxy.metric(&gauge).await, 0);
    }
    redis.start_again().unwrap();
    for proxy in [&one, &two] {
        until(async || is_there(proxy).await).await;
    }
    told(&one, &redis, "danger again").await;
    assert_eq!(said(&two, "danger again").await, refused());
    assert_eq!((looked_up(&two, "hit").await, scored(&two).await), (1, 1));
}

/// Passes on what is said to the server at this port and what it answers, until it is to break off when anything is said.
async fn relay(server: u16, breaks: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (mut server, breaks) = (TcpStream::connect(("127.0.0.1", server)).await.unwrap(), Arc::clone(&breaks));
            tokio::spawn(async move {
                let (mut asked, mut answered) = ([0; 4_096], [0; 4_096]);
                loop {
                    let (length, bytes, to) = tokio::select! {
                        length = client.read(&mut asked) => (length.unwrap_or(0), &asked, &mut server),
                        length = server.read(&mut answered) => (length.unwrap_or(0), &answered, &mut client),
                    };
                    if length == 0 || breaks.load(Relaxed) || to.write_all(&bytes[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn it_is_lost_while_it_is_asked() {
    let (redis, breaks) = (Redis::start(), Arc::default());
    let url = format!("redis://127.0.0.1:{}", relay(redis.port, Arc::clone(&breaks)).await);
    let proxy = node(SharedCache { url, ..settings(&redis) }).await;
    breaks.store(true, Relaxed);
    assert_eq!(said(&proxy, "danger").await, refused());
    assert_eq!((looked_up(&proxy, "error").await, scored(&proxy).await), (1, 1));
    breaks.store(false, Relaxed);
    until(async || is_there(&proxy).await).await;
    told(&proxy, &redis, "danger again").await;
}

#[tokio::test]
async fn a_slow_one_is_waited_for_a_moment_and_then_left_alone() {
    let redis = Redis::start();
    let slow = SharedCache { timeout_ms: 50, failures: 2, connect_timeout_ms: 1_000, ..settings(&redis) };
    let proxy = node(slow).await;
    redis.pause().unwrap();
    for number in 0..10 {
        let answer = tokio::time::timeout(PATIENCE, said(&proxy, &format!("danger {number}"))).await;
        assert_eq!(answer.unwrap(), refused());
        if number == 1 {
            until(async || !is_there(&proxy).await).await;
        }
    }
    let outcomes = [looked_up(&proxy, "timeout").await, looked_up(&proxy, "away").await, looked_up(&proxy, "error").await];
    assert_eq!(outcomes, [2, 8, 0], "while it rests nobody waits for it");
    assert_eq!(scored(&proxy).await, 10);
    redis.resume().unwrap();
    until(async || is_there(&proxy).await).await;
    told(&proxy, &redis, "danger again").await;
}

#[tokio::test]
async fn what_is_no_verdict_of_ours_is_not_believed() {
    let redis = Redis::start();
    let one = node(settings(&redis)).await;
    let name = told(&one, &redis, "danger").await;
    for (change, outcome) in [
        (vec![vec!["DEL", &name], vec!["LPUSH", &name, "x"]], "miss"),
        (vec![vec!["SET", &name, "garbage"]], "rejected"),
        (vec![vec!["SET", &name, ""]], "rejected"),
        (vec![vec!["SETRANGE", &name, "0", "2"]], "rejected"),
        (vec![vec!["SETRANGE", &name, "33", "xxxx"]], "rejected"),
        (vec![vec!["APPEND", &name, "x"]], "rejected"),
        (vec![vec!["FLUSHALL"]], "miss"),
    ] {
        change.iter().for_each(|command| drop(redis.ask(command)));
        let other = node(settings(&redis)).await;
        assert_eq!(said(&other, "danger").await, refused());
        assert_eq!((looked_up(&other, outcome).await, scored(&other).await), (1, 1), "{change:?}");
        until(async || wrote(&other, "written").await == 1).await;
        let healed = node(settings(&redis)).await;
        assert_eq!(said(&healed, "danger").await, refused());
        assert_eq!(looked_up(&healed, "hit").await, 1, "{change:?}");
    }
}

#[tokio::test]
async fn a_verdict_that_was_moved_to_another_text_is_not_believed() {
    let (redis, secrets) = (Redis::start(), Secrets::new());
    let key = "a key that only these nodes and nobody else have";
    let keyed = || SharedCache { key: secrets.keep(key), ..settings(&redis) };
    let one = node(keyed()).await;
    let (bad, good) = (told(&one, &redis, "danger").await, told(&one, &redis, "tea").await);
    assert_eq!(redis.ask(&["COPY", &good, &bad, "REPLACE"]), "1");
    let two = node(keyed()).await;
    assert_eq!(said(&two, "danger").await, refused());
    assert_eq!((looked_up(&two, "rejected").await, scored(&two).await), (1, 1));

    // Who has another key, or none, knows nothing of what these nodes know.
    for key in [None, secrets.keep("a key that only other nodes and nobody else have")] {
        let other = node(SharedCache { key, ..settings(&redis) }).await;
        assert_eq!(said(&other, "danger").await, refused());
        assert_eq!((looked_up(&other, "miss").await, scored(&other).await), (1, 1));
    }
}

#[tokio::test]
async fn what_was_evicted_is_scored_again() {
    const TEXTS: u64 = 42;
    let redis = Redis::with("--maxmemory 2mb --maxmemory-policy allkeys-lru");
    let one = node(settings(&redis)).await;
    one.post(many(40)).await;
    until(async || wrote(&one, "written").await == TEXTS).await;
    // Other things push some of it out.
    let ours = || redis.names().iter().filter(|name| name.starts_with("seawall:")).count() as u64;
    let fill = "for i = 1, 500 do redis.call('SET', ARGV[1] .. i, string.rep('x', 500)) end";
    let mut round = 0;
    while ours() == TEXTS {
        round += 1;
        assert!(round < 100, "nothing was evicted");
        redis.ask(&["EVAL", fill, "0", &round.to_string()]);
    }
    let two = node(settings(&redis)).await;
    assert_eq!(two.post(many(40)).await.content(), "no such prompts");
    let (hits, misses) = (looked_up(&two, "hit").await, looked_up(&two, "miss").await);
    assert_eq!((hits + misses, scored(&two).await), (TEXTS, misses));
    assert!(misses > 0);
}

#[tokio::test]
async fn one_that_takes_no_writes_is_read() {
    let full = Redis::with("--maxmemory 1 --maxmemory-policy noeviction");
    let proxy = node(settings(&full)).await;
    assert_eq!(said(&proxy, "danger").await, refused());
    until(async || wrote(&proxy, "error").await == 1).await;

    let (primary, replica) = (Redis::start(), Redis::start());
    replica.ask(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    until(async || replica.ask(&["INFO", "replication"]).contains("master_link_status:up")).await;
    told(&node(settings(&primary)).await, &primary, "danger").await;
    until(async || replica.names().len() == 1).await;
    let reader = node(settings(&replica)).await;
    assert_eq!((said(&reader, "danger").await, said(&reader, "danger anew").await), (refused(), refused()));
    assert_eq!((looked_up(&reader, "hit").await, looked_up(&reader, "miss").await), (1, 1));
    until(async || wrote(&reader, "error").await == 1).await;
    assert!(is_there(&reader).await);
}

#[tokio::test]
async fn who_cannot_sign_in_goes_without() {
    let (redis, secrets) = (Redis::with("--requirepass s3cret").knowing("s3cret"), Secrets::new());
    redis.ask(&["ACL", "SETUSER", "ana", "on", ">pa55", "~seawall:*", "+mget", "+set"]);
    redis.ask(&["ACL", "SETUSER", "bob", "on", ">pa55", "~other:*", "+mget", "+set"]);
    let with = |user: Option<&str>, password: &str| SharedCache {
        user: user.map(str::to_owned),
        password: secrets.keep(password),
        ..settings(&redis)
    };
    for (settings, error) in [
        (settings(&redis), "Authentication required"),
        (with(None, "wr0ng"), "authentication failed"),
        (with(Some("bob"), "pa55"), "permissions"),
    ] {
        let proxy = lonely(settings).await;
        let told = async || ready(&proxy).await.1["shared_cache"]["error"].as_str().unwrap_or_default().to_owned();
        until(async || !told().await.contains("not reached yet")).await;
        let told = told().await;
        assert!(told.contains(error) && !told.contains("wr0ng"), "{told}");
        assert_eq!(said(&proxy, "danger").await, refused());
        assert_eq!(looked_up(&proxy, "away").await, 1);
    }
    let (all, few) = (node(with(None, "s3cret")).await, node(with(Some("ana"), "pa55")).await);
    told(&few, &redis, "danger").await;
    assert_eq!(said(&all, "danger").await, refused());
    assert_eq!(looked_up(&all, "hit").await, 1, "these rights are enough");
}

#[tokio::test]
async fn tls_is_spoken_to_who_can_prove_its_name() {
    let authority = Authority::new();
    let tls = authority.tls(None);
    let files = [&tls.cert_file, &tls.key_file].map(|file| file.display().to_string());
    let redis = Redis::with(&format!(
        "--port 0 --tls-port PORT --tls-auth-clients no --tls-cert-file {} --tls-key-file {}",
        files[0], files[1]
    ));
    let reached = |host: &str| {
        let url = format!("rediss://{host}:{}/2", redis.port);
        SharedCache { url, ca_file: tls.client_ca_file.clone(), ..settings(&redis) }
    };
    let (one, two) = (node(reached("localhost")).await, node(reached("localhost")).await);
    assert_eq!(said(&one, "danger").await, refused());
    until(async || wrote(&one, "written").await == 1).await;
    assert_eq!(said(&two, "danger").await, refused());
    assert_eq!(looked_up(&two, "hit").await, 1);

    let (other, another) = (Authority::new(), "127.0.0.1");
    for doubtful in [reached(another), SharedCache { ca_file: other.tls(None).client_ca_file, ..reached("localhost") }] {
        let proxy = lonely(doubtful).await;
        let told = async || ready(&proxy).await.1["shared_cache"]["error"].as_str().unwrap().to_owned();
        until(async || told().await.contains("certificate")).await;
        assert_eq!(said(&proxy, "danger").await, refused());
        assert_eq!(looked_up(&proxy, "away").await, 1);
    }
}
