//! A stop while there is work.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use seawall::review::{Case, Filter, Order, Store};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{
    Upstream, ask, ask_stream, chunk, completion, finish,
    program::{PATIENCE, Program, request, store},
    raw::is_whole,
};

/// Calls of each kind under way when the signal comes.
const CALLS: usize = 20;
const CALLERS: usize = 4;
/// What ends a stream.
const DONE: &str = "data: [DONE]\n\n";

/// Asks over and over until it is over; tells the id of each exchange that was answered, all of which are flagged. What was
/// answered was so to its end.
fn hammer(address: SocketAddr, over: &AtomicBool, ids: &Sender<String>) {
    while !over.load(Relaxed) {
        // One that was still on its way to a listener that closes gets nothing.
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        let mut answer = Vec::new();
        let asked = stream.write_all(request("POST", "/v1/chat/completions", &ask("danger")).as_bytes());
        if asked.and_then(|()| stream.read_to_end(&mut answer)).is_err() || answer.is_empty() {
            continue;
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(is_whole(answer.as_bytes()) && answer.starts_with("HTTP/1.1 200"), "{answer}");
        let id = answer.lines().find_map(|line| line.strip_prefix("seawall-request-id: ")).unwrap();
        ids.send(id.to_owned()).unwrap();
    }
}

async fn asked(address: SocketAddr, body: &str) -> tokio::net::TcpStream {
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(request("POST", "/v1/chat/completions", body).as_bytes()).await.unwrap();
    client
}

fn errors(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["level"] == "ERROR").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_answered_and_nothing_more_is_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let program = Program::start(dir.path(), upstream.address, |_| {});
    let address = program.address;
    let (mut clients, mut wholes, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..CALLS {
        clients.push(asked(address, &ask(&format!("hi {number}"))).await);
        wholes.push(upstream.call().await);
        clients.push(asked(address, &ask_stream(&format!("hi {number}"))).await);
        let pieces = upstream.call().await.stream();
        pieces.send(chunk(0, "A first sentence. ")).await;
        streams.push(pieces);
    }
    let over = Arc::new(AtomicBool::new(false));
    let (told, ids) = channel();
    let hammers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (over, told) = (Arc::clone(&over), told.clone());
            thread::spawn(move || hammer(address, &over, &told))
        })
        .collect();
    drop(told);
    let mut flagged: Vec<String> = (0..10 * CALLERS).map(|_| ids.recv_timeout(PATIENCE).unwrap()).collect();
    program.signal("-TERM");
    program.told("stopping");
    while TcpStream::connect(address).is_ok() {
        thread::yield_now();
    }
    over.store(true, Relaxed);
    hammers.into_iter().for_each(|hammer| hammer.join().unwrap());
    flagged.extend(ids);
    for whole in wholes {
        whole.answer(200, completion("a whole answer"));
    }
    for pieces in streams {
        pieces.send([chunk(0, "And a last one."), finish(0), DONE.to_owned()].concat()).await;
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let is_there = if number % 2 == 0 {
            is_whole(answer.as_bytes()) && answer.contains("a whole answer")
        } else {
            answer.contains("A first sentence. ") && answer.contains("And a last one.") && answer.ends_with("0\r\n\r\n")
        };
        assert!(answer.starts_with("HTTP/1.1 200") && is_there, "{number}: {answer}");
    }
    let (status, lines) = program.end();
    assert!(status.success() && errors(&lines).is_empty(), "{status} {:?}", errors(&lines));
    let store = Store::open_existing(&store(dir.path())).await.unwrap();
    let cases = store.cases(Filter::default(), Order::OldestFirst).try_collect::<Vec<Case>>().await.unwrap();
    assert!(flagged.iter().all(|id| cases.iter().any(|case| case.id == *id)), "what was answered is on record");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cut_after_the_drain_time() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let drain = Duration::from_millis(500);
    let program = Program::start(dir.path(), upstream.address, |command| {
        command.env("SEAWALL_LISTEN__DRAIN_MS", drain.as_millis().to_string());
    });
    let (mut whole, mut stream) = (asked(program.address, &ask("hi")).await, asked(program.address, &ask_stream("hi")).await);
    let _calls = [upstream.call().await, upstream.call().await];
    let begun = Instant::now();
    program.signal("-TERM");
    let (status, lines) = program.end();
    let took = begun.elapsed();
    assert!(status.success() && errors(&lines).is_empty(), "{status} {:?}", errors(&lines));
    assert!(took >= drain && took < 10 * drain, "{took:?}");
    for client in [&mut whole, &mut stream] {
        let mut answer = Vec::new();
        drop(client.read_to_end(&mut answer).await);
        assert!(answer.is_empty(), "no answer is made up");
    }
}
