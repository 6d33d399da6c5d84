//! What a call whose verdicts are known takes from the allocator: how often, and how many bytes in all. The LLM server and the
//! client are in this process too, and take nothing meanwhile.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
};

use dhat::{HeapStats, Profiler};
use seawall::{config::Config, server::Server};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const CALLS: u64 = 200;
const PROSE: &str = "The ferry leaves at nine, the market opens at ten, and lunch is by the river. ";

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _profiler = Profiler::builder().testing().build();
    let dir = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let upstream = listener.local_addr()?;
    thread::spawn(move || answer(&listener));
    let mut config = Config::default();
    config.listen.address = "127.0.0.1:0".parse()?;
    config.admin.address = "127.0.0.1:0".parse()?;
    config.upstream.url = format!("http://{upstream}");
    config.review.store = format!("sqlite://{}", dir.path().join("allocations.db").display());
    config.guard.dir = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/guard"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = runtime.block_on(Server::bind(config))?;
    let address = server.address()?;
    let stop = CancellationToken::new();
    let served = runtime.spawn(server.run(stop.clone()));
    println!("{:>8} {:>12} {:>12}", "body", "allocations", "bytes");
    for kilobytes in [1, 10, 100] {
        let [blocks, bytes] = measure(address, &request(kilobytes * 1_000))?;
        println!("{kilobytes:>5} KB {blocks:>12} {bytes:>12}");
    }
    stop.cancel();
    runtime.block_on(served)?;
    Ok(())
}

/// Allocations a call, and bytes.
fn measure(address: SocketAddr, request: &[u8]) -> io::Result<[u64; 2]> {
    let mut stream = TcpStream::connect(address)?;
    let mut answer = vec![0; 64 << 10];
    let mut call = || {
        stream.write_all(request)?;
        exchanged(&mut stream, &mut answer)
    };
    (0..CALLS).try_for_each(|_| call())?;
    let before = HeapStats::get();
    (0..CALLS).try_for_each(|_| call())?;
    let after = HeapStats::get();
    let each = |after: u64, before: u64| (after - before) / CALLS;
    Ok([each(after.total_blocks, before.total_blocks), each(after.total_bytes, before.total_bytes)])
}

/// A conversation of so many bytes, with the head of its call.
fn request(bytes: usize) -> Vec<u8> {
    let turn = |(number, role): (usize, &str)| json!({"role": role, "content": format!("{number}. {}", PROSE.repeat(10))});
    let turns = ["user", "assistant"].into_iter().cycle().enumerate().map(turn).take((bytes / 850).max(1));
    let body = json!({"model": "m", "messages": turns.collect::<Vec<_>>()}).to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: seawall\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An LLM server for one connection after another.
fn answer(listener: &TcpListener) {
    let message = json!({"role": "assistant", "content": PROSE.repeat(9)});
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
    .to_string();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    while let Ok((mut stream, _)) = listener.accept() {
        let answer = answer.clone();
        thread::spawn(move || {
            let mut request = vec![0; 1 << 20];
            while exchanged(&mut stream, &mut request).is_ok() && stream.write_all(answer.as_bytes()).is_ok() {}
        });
    }
}

/// Reads one whole message into a buffer that has room for it.
fn exchanged(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let read = stream.read(room)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let message = buffer.get(..filled).unwrap_or_default();
        let head = message.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if head.is_some_and(|head| filled >= head + length(message.get(..head).unwrap_or_default())) {
            return Ok(());
        }
    }
}

/// What the head of a message says of its body's length.
fn length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    let lines = head.split(|byte| *byte == b'\n');
    let named = lines
        .filter(|line| line.len() > NAME.len() && line.get(..NAME.len()).is_some_and(|own| own.eq_ignore_ascii_case(NAME)));
    let digits = named.flat_map(|line| line.iter().filter(|byte| byte.is_ascii_digit()));
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}
