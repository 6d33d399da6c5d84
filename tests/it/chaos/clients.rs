//! Clients that are too many, too slow to speak, or too slow to listen.

use std::{
    fs,
    net::SocketAddr,
    num::NonZero,
    path::Path,
    time::{Duration, Instant},
};

use http::StatusCode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seawall::config::Config;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::harness::{
    Proxy, RULES, ask, ask_stream, chunk, completion,
    program::{PATIENCE, Program, call, llm, request},
};

/// Silent connections at once, if the limits on files allow so many: each is a file here and one there.
const HALF_OPEN: u64 = 50_000;
/// Files that others have in this process, and connections that the program keeps for those who speak.
const OTHERS: u64 = 1_000;
/// Connections from one address.
const PORTS: u64 = 20_000;
/// Bytes of memory that a connection may cost which has brought half a head.
const EACH: u64 = 32 << 10;

/// More than may be read for a client that does not read, with all that the system takes in on the way.
const MUCH: usize = 32 << 20;

/// Memory of a process, in bytes.
fn memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Whether the program answers.
fn answers(program: &Program, text: &str) -> bool {
    call(program.address, "POST", "/v1/chat/completions", &ask(text)).is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
}

/// As many files as this process may ever have open.
fn files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    limit.maximum.unwrap_or(u64::MAX)
}

/// A client that says nothing, or half a head.
async fn silent(to: SocketAddr, number: u64) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // No address has ports for all of them.
    let from = [127, 0, 0, u8::try_from(2 + number / PORTS).unwrap()];
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut client = socket.connect(to).await.unwrap();
    if number % 2 == 1 {
        client.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: ").await.unwrap();
    }
    client
}

/// A program, and so many clients of it that say nothing.
async fn besieged(dir: &Path, count: u64, patience_ms: u64) -> (Program, Vec<TcpStream>) {
    let program = Program::start(dir, llm(&completion("hello")), |command| {
        command.env("SEAWALL_LISTEN__MAX_CONNECTIONS", (HALF_OPEN + OTHERS).to_string());
        command.env("SEAWALL_LISTEN__HEADER_TIMEOUT_MS", patience_ms.to_string());
    });
    assert!(answers(&program, "before"));
    let mut clients = Vec::new();
    for number in 0..count {
        clients.push(silent(program.address, number).await);
    }
    (program, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_take_little_and_hold_up_nobody() {
    // The program keeps a file for the upstream for each client.
    let count = HALF_OPEN.min(files().saturating_sub(2 * OTHERS) / 2);
    assert!(count > 0, "no files are left to open connections with: raise the limit (`ulimit -Hn`)");
    let dir = tempfile::tempdir().unwrap();
    // None of them is closed before all are there.
    let (program, clients) = besieged(dir.path(), count, 600_000).await;
    assert!(answers(&program, "meanwhile"), "{count} connections say nothing");
    let (all, none) = (memory(program.id()), Program::start(dir.path(), llm(""), |_| {}));
    let each = all.saturating_sub(memory(none.id())) / count;
    assert!(each < EACH, "{each} bytes for each of {count}");
    drop(clients);
    assert!(answers(&program, "after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (program, clients) = besieged(dir.path(), 500, 1_000).await;
    let all = async {
        for mut client in clients {
            // Closed or reset: what matters is that it is over.
            drop(client.read_to_end(&mut Vec::new()).await);
        }
    };
    assert!(timeout(PATIENCE, all).await.is_ok(), "some are still open");
    assert!(answers(&program, "after"));
}

/// A proxy all of whose clients are on one thread.
async fn proxy(change: impl FnOnce(&mut Config)) -> Proxy {
    Proxy::with(RULES, |config| {
        config.listen.threads = NonZero::new(1);
        config.listen.header_timeout_ms = 200;
        change(config);
    })
    .await
}

/// A client that has asked, and takes in little before it reads.
async fn asked(proxy: &Proxy, body: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(256 << 10).unwrap();
    let mut client = socket.connect(proxy.address).await.unwrap();
    client.write_all(request("POST", "/v1/chat/completions", body).as_bytes()).await.unwrap();
    client
}

async fn serves(proxy: &Proxy) {
    let upstream = async { proxy.upstream.call().await.answer(200, completion("hello")) };
    let (told, ()) = tokio::join!(proxy.post(ask("another")), upstream);
    assert_eq!(told.content(), "hello");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_stream_holds_little_and_is_cut() {
    let proxy = proxy(|config| config.listen.write_timeout_ms = 1_000).await;
    let client = asked(&proxy, &ask_stream("hi")).await;
    let pieces = proxy.upstream.call().await.stream();
    let mut fed = 0;
    let feed = async {
        let text = "so it goes on. ".repeat(1_000);
        while fed < MUCH {
            tokio::select! {
                biased;
                () = pieces.abandoned() => return,
                () = pieces.send(chunk(0, &text)) => fed += text.len(),
            }
        }
    };
    let others = async {
        for _ in 0..20 {
            serves(&proxy).await;
        }
    };
    let both = async { tokio::join!(feed, others) };
    assert!(timeout(PATIENCE, both).await.is_ok(), "it holds its call for ever");
    assert!(fed < MUCH, "{fed} bytes were read for nobody");
    drop(client);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut() {
    let proxy = proxy(|config| {
        config.listen.write_timeout_ms = 500;
        config.listen.max_calls = 1;
    })
    .await;
    let mut client = asked(&proxy, &ask("hi")).await;
    proxy.upstream.call().await.answer(200, completion("hello") + &" ".repeat(12 << 20));
    // It holds the only place until it is cut.
    let free = async {
        loop {
            let answers = async { proxy.upstream.call().await.answer(200, completion("hello")) };
            tokio::select! {
                told = proxy.post(ask("another")) => assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE),
                () = answers => return,
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, free).await.is_ok(), "it holds its place for ever");
    let mut told = Vec::new();
    drop(client.read_to_end(&mut told).await);
    assert!(told.len() < 12 << 20, "it got all of it");
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_its_answer() {
    let proxy = proxy(|config| config.listen.write_timeout_ms = 1_000).await;
    let mut client = asked(&proxy, &ask("hi")).await;
    let answer = completion("hello") + &" ".repeat(12 << 20);
    proxy.upstream.call().await.answer(200, answer.clone());
    let (mut told, mut buffer, begun) = (Vec::new(), vec![0; 256 << 10], Instant::now());
    while let count @ 1.. = client.read(&mut buffer).await.unwrap() {
        told.extend_from_slice(&buffer[..count]);
        // Of 256 KiB a piece at most: it takes several times as long as a client may take nothing.
        sleep(Duration::from_millis(50)).await;
    }
    assert!(told.ends_with(answer.as_bytes()));
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_writes_slowly_is_cut_and_holds_up_nobody() {
    let proxy = proxy(|config| config.listen.body_timeout_ms = 500).await;
    let whole = request("POST", "/v1/chat/completions", &ask("hi"));
    let end = whole.find("\r\n\r\n").unwrap() + 4;
    // A head that comes byte by byte, and a body that does.
    for (at_once, told) in [(0, ""), (end, "HTTP/1.1 408 ")] {
        let (mut reader, mut writer) = TcpStream::connect(proxy.address).await.unwrap().into_split();
        let drip = async {
            writer.write_all(&whole.as_bytes()[..at_once]).await.unwrap();
            for byte in &whole.as_bytes()[at_once..] {
                if writer.write_all(&[*byte]).await.is_err() {
                    return true;
                }
                sleep(Duration::from_millis(50)).await;
            }
            false
        };
        let mut answer = Vec::new();
        let others = async {
            serves(&proxy).await;
            drop(reader.read_to_end(&mut answer).await);
        };
        let (is_cut, ()) = timeout(PATIENCE, async { tokio::join!(drip, others) }).await.unwrap();
        assert!(is_cut);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(told) && answer.is_empty() == told.is_empty(), "{answer}");
    }
}
