//! What the gate promises, for the streams of every API and in every mode: nothing unjudged leaves, every end is a proper one,
//! and nobody is left waiting.

pub(crate) mod parts;

use std::time::Duration;

use seawall::{
    config::StreamMode,
    dialect::{DIALECTS, Request},
    wire::frame::{Framing, Message},
};
use tokio::time::timeout;

use self::parts::Part;
use crate::{
    dialects::{Api, CARD, MASKED, apis},
    harness::{Events, Pieces, Proxy, RULES},
};

const SAFE: &str = "A harmless sentence to begin. ";
const SOON: Duration = Duration::from_secs(10);

async fn proxy(mode: StreamMode) -> Proxy {
    Proxy::with(RULES, |config| config.stream.mode = mode).await
}

/// A stream that has begun, from the client's side and the upstream's.
async fn begin(proxy: &Proxy, api: &Api) -> (Events, Pieces) {
    let ask = (api.ask)("hi", true).to_string();
    tokio::join!(proxy.stream_of(api.stream_path, api.framing, ask), async {
        proxy.upstream.call().await.stream_as(api.framing.content_type())
    })
}

/// What a client sees of a stream whose upstream sends these pieces and then ends.
async fn seen(proxy: &Proxy, api: &Api, pieces: &[Vec<u8>]) -> String {
    let (mut stream, upstream) = begin(proxy, api).await;
    let (bytes, ()) = tokio::join!(stream.rest(), async {
        for piece in pieces {
            upstream.send(piece.clone()).await;
        }
        drop(upstream);
    });
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The bytes of each event.
fn frames(api: &Api, messages: &[Message]) -> Vec<Vec<u8>> {
    match api.framing {
        // The brackets and commas of an array belong to its events.
        Framing::Array => {
            let mut decoder = api.framing.decoder(1 << 20);
            decoder.feed(&api.framing.ending(messages, false));
            let mut events: Vec<_> = std::iter::from_fn(|| decoder.event().unwrap()).collect();
            events.extend(decoder.rest().unwrap());
            events.into_iter().map(|event| event.raw.to_vec()).collect()
        }
        framing => messages.iter().map(|message| framing.ending(std::slice::from_ref(message), true).to_vec()).collect(),
    }
}

/// All events up to the one that brings the last text of such a stream.
fn begun(api: &Api, texts: &[&str]) -> Vec<Vec<u8>> {
    let all = frames(api, &(api.stream)(texts));
    let first = all.iter().position(|frame| contains(frame, texts[0])).unwrap();
    all[..first + texts.len()].to_vec()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

/// Whether all that a client saw begun it saw ended.
fn is_closed(api: &Api, bytes: &str) -> bool {
    let dialect = DIALECTS.iter().find(|dialect| dialect.name() == api.name).unwrap();
    let (mut reader, mut decoder) =
        (dialect.stream(&Request { choices: 1, ..Request::default() }), api.framing.decoder(1 << 20));
    decoder.feed(bytes.as_bytes());
    let (mut begun, mut ended) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    while let Some(event) = decoder.event().unwrap() {
        let progress = reader.read(&event).unwrap().progress;
        begun.extend(progress.begun);
        ended.extend(progress.ended);
    }
    begun.is_subset(&ended) && decoder.rest().unwrap().is_none_or(|event| event.data.is_none())
}

const MODES: [StreamMode; 3] = [StreamMode::Hold, StreamMode::Lag, StreamMode::Buffer];

#[tokio::test]
async fn every_mode_lets_good_text_pass_and_cuts_bad() {
    for mode in MODES {
        let proxy = proxy(mode).await;
        for api in apis() {
            let told = format!("{} {mode:?}", api.name);
            let good = frames(&api, &(api.stream)(&["Hello, ", "สวัสดีครับ. ", "and \"more\"."]));
            assert_eq!(
                seen(&proxy, &api, &good).await.as_bytes(),
                String::from_utf8_lossy(&good.concat()).as_bytes(),
                "{told}"
            );
            let bad = frames(&api, &(api.stream)(&[SAFE, "But then a me", "nace comes. ", "And it stays."]));
            let text = seen(&proxy, &api, &bad).await;
            assert!(text.contains("no such answers"), "{told}: {text}");
            match mode {
                StreamMode::Hold => assert!(text.contains(SAFE.trim_end()) && !text.contains("nace"), "{told}: {text}"),
                // The end waits for the verdict, so that the client is told.
                StreamMode::Lag => assert!(text.contains(SAFE.trim_end()), "{told}: {text}"),
                StreamMode::Buffer => assert!(!text.contains(SAFE.trim_end()) && !text.contains("nace"), "{told}: {text}"),
            }
            if api.framing != Framing::EventStream {
                assert!(is_closed(&api, &text), "{told}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn reasoning_and_arguments_are_judged_as_they_come() {
    let mut streams = 0;
    for mode in MODES {
        let proxy = proxy(mode).await;
        for (api, part) in apis().iter().flat_map(|api| [(api, Part::Reasoning), (api, Part::Arguments)]) {
            let Some(good) = parts::stream(api, part, &["{\"a\": \"a qui", "et day", "\"}"]) else { continue };
            let told = format!("{} {part:?} {mode:?}", api.name);
            streams += 1;
            let good = frames(api, &good);
            assert_eq!(seen(&proxy, api, &good).await.as_bytes(), String::from_utf8_lossy(&good.concat()).as_bytes(), "{told}");
            let bad = parts::stream(api, part, &["{\"a\": \"much dan", "ger here", "\"}"]).unwrap();
            let text = seen(&proxy, api, &frames(api, &bad)).await;
            assert!(text.contains("no such answers"), "{told}: {text}");
            assert!(mode == StreamMode::Lag || !text.contains("ger here"), "{told}: {text}");
            let card = parts::stream(api, part, &["{\"a\": \"4111 1", "111 1111", " 1111.\"}"]).unwrap();
            let text = seen(&proxy, api, &frames(api, &card)).await;
            match mode {
                // What was to be masked has left; so the stream is cut there.
                StreamMode::Lag => assert!(text.contains("stopped by a safety policy"), "{told}: {text}"),
                StreamMode::Hold | StreamMode::Buffer => {
                    assert!(text.contains(MASKED) && !text.contains("111 1111"), "{told}: {text}");
                }
            }
        }
    }
    assert_eq!(streams, 3 * 14);
}

#[tokio::test]
async fn each_choice_is_judged_and_all_are_closed() {
    let proxy = proxy(StreamMode::Hold).await;
    let mut streams = 0;
    for api in apis() {
        let Some(good) = parts::choices(&api, [&["One quiet", " day."], &["Another", " one."]]) else { continue };
        streams += 1;
        let good = frames(&api, &good);
        assert_eq!(seen(&proxy, &api, &good).await, String::from_utf8_lossy(&good.concat()), "{}", api.name);
        let bad = parts::choices(&api, [&["One quiet", " day."], &["A me", "nace"]]).unwrap();
        let text = seen(&proxy, &api, &frames(&api, &bad)).await;
        assert!(text.contains("no such answers") && !text.contains("nace") && is_closed(&api, &text), "{}: {text}", api.name);
        // Text of two choices is not one text.
        let apart = frames(&api, &parts::choices(&api, [&["A me", " x."], &["nace", " y."]]).unwrap());
        assert_eq!(seen(&proxy, &api, &apart).await, String::from_utf8_lossy(&apart.concat()), "{}", api.name);
    }
    assert_eq!(streams, 4);
}

#[tokio::test]
async fn pings_pass() {
    for mode in [StreamMode::Hold, StreamMode::Lag] {
        let proxy = proxy(mode).await;
        for api in apis() {
            let ping: &[u8] = match api.framing {
                Framing::Sse => b": ping\n\n",
                Framing::Ndjson => b"\n",
                Framing::Array => b" ",
                // Its connections are kept by other means.
                Framing::EventStream => continue,
            };
            let mut pieces: Vec<Vec<u8>> = vec![ping.to_vec()];
            for frame in frames(&api, &(api.stream)(&["Hello, ", "you. "])) {
                pieces.extend([frame, ping.to_vec()]);
            }
            assert_eq!(seen(&proxy, &api, &pieces).await, String::from_utf8_lossy(&pieces.concat()), "{} {mode:?}", api.name);
            if api.framing == Framing::Array {
                continue;
            }
            // One that comes first is not held for what follows it.
            let (mut stream, upstream) = begin(&proxy, &api).await;
            upstream.send(ping).await;
            let first = timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(first.raw, ping, "{}", api.name);
        }
    }
}

#[tokio::test]
async fn an_error_of_the_upstreams_passes_after_what_was_judged_and_is_judged_too() {
    for mode in MODES {
        let proxy = proxy(mode).await;
        for api in apis() {
            let dialect = DIALECTS.iter().find(|dialect| dialect.name() == api.name).unwrap();
            let failing = |message: &str| {
                let error = dialect.stream(&Request::default()).fail("overloaded", message);
                let mut pieces = begun(&api, &[SAFE, "half a sent"]);
                // An array goes on with a comma, and ends.
                pieces.push(api.framing.ending(&error, true).to_vec());
                pieces
            };
            let pieces = failing("try again later");
            let text = seen(&proxy, &api, &pieces).await;
            assert_eq!(text, String::from_utf8_lossy(&pieces.concat()), "{} {mode:?}", api.name);
            let text = seen(&proxy, &api, &failing("a menace of an error")).await;
            assert!(text.contains("no such answers"), "{} {mode:?}: {text}", api.name);
            assert!(mode == StreamMode::Lag || !text.contains("menace"), "{} {mode:?}: {text}", api.name);
        }
    }
}

#[tokio::test]
async fn an_early_end_lets_nothing_unjudged_leave() {
    for mode in MODES {
        let proxy = proxy(mode).await;
        for api in apis() {
            let told = format!("{} {mode:?}", api.name);
            // Between events: what was sent is judged and passed, as it came.
            let pieces = begun(&api, &[SAFE, "half a sent"]);
            let text = seen(&proxy, &api, &pieces).await;
            if api.framing != Framing::Array {
                assert_eq!(text, String::from_utf8_lossy(&pieces.concat()), "{told}");
            }
            let text = seen(&proxy, &api, &begun(&api, &[SAFE, "half a me", "nace"])).await;
            assert!(text.contains("no such answers"), "{told}: {text}");
            assert!(mode == StreamMode::Lag || !text.contains("nace"), "{told}: {text}");
            // Within an event, at any of its bytes: it is not passed on, and the client is told.
            let pieces = begun(&api, &[SAFE, "half a sent"]);
            let (last, before) = pieces.split_last().unwrap();
            let middle = last.len() / 2;
            for cut in [middle - 20, middle, last.len() - 4] {
                let text = seen(&proxy, &api, &[before, &[last[..cut].to_vec()]].concat()).await;
                assert!(!text.contains("half a sent"), "{told} at {cut}: {text}");
                assert!(text.contains("upstream_unreadable") && text.contains("upstream"), "{told} at {cut}: {text}");
                assert!(mode == StreamMode::Buffer || text.contains(SAFE.trim_end()), "{told} at {cut}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn an_upstream_that_dies_breaks_the_answer_off() {
    for mode in MODES {
        let proxy = proxy(mode).await;
        for api in apis() {
            let (mut stream, upstream) = begin(&proxy, &api).await;
            for piece in begun(&api, &[SAFE, "half a me"]) {
                upstream.send(piece).await;
            }
            upstream.break_off().await;
            let broken = loop {
                match timeout(SOON, stream.next()).await.unwrap() {
                    Ok(Some(_)) => {}
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            assert!(broken, "{} {mode:?}", api.name);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    for mode in MODES {
        let proxy = proxy(mode).await;
        for api in apis() {
            let (mut stream, upstream) = begin(&proxy, &api).await;
            for piece in begun(&api, &[SAFE, "half a sent"]) {
                upstream.send(piece).await;
            }
            if mode != StreamMode::Buffer {
                timeout(SOON, stream.next()).await.unwrap().unwrap();
            }
            drop(stream);
            timeout(SOON, upstream.abandoned()).await.unwrap_or_else(|_| panic!("{} {mode:?}", api.name));
        }
    }
}

#[tokio::test]
async fn a_slow_client_slows_the_upstream() {
    /// More than sockets and queues hold.
    const MOST: usize = 32 << 20;
    let proxy = proxy(StreamMode::Hold).await;
    // One API of each framing.
    for name in ["openai_chat", "ollama_chat", "gemini", "bedrock"] {
        let api = apis().into_iter().rfind(|api| api.name == name).unwrap();
        let (mut stream, upstream) = begin(&proxy, &api).await;
        let frames = begun(&api, &["A quiet day. "]);
        let (piece, before) = frames.split_last().unwrap();
        upstream.send(before.concat()).await;
        upstream.send(piece.clone()).await;
        // Text in much white space, so that there is little to judge and much to carry.
        let wide = wide(&api, 1 << 17);
        let pieces = std::iter::repeat_n(&wide, MOST / wide.len());
        let mut sent = 0;
        for piece in pieces.clone() {
            if timeout(Duration::from_millis(500), upstream.send(piece.clone())).await.is_err() {
                break;
            }
            sent += 1;
        }
        assert!((sent + 1) * wide.len() < MOST, "{name}: the upstream was never held up");
        // A client that reads again lets it go on.
        let read = async {
            for _ in 0..sent {
                stream.next().await.unwrap().unwrap();
            }
        };
        let (read, more) = tokio::join!(timeout(SOON * 2, read), timeout(SOON * 2, upstream.send(wide.clone())));
        assert!(read.is_ok() && more.is_ok(), "{name}");
    }
}

/// An event with a little text in this much white space.
fn wide(api: &Api, space: usize) -> Vec<u8> {
    let spaced = |text: &str| text.replacen('{', &format!("{{{}", " ".repeat(space)), 1);
    if api.framing != Framing::EventStream {
        let pieces = begun(api, &["A quiet day. ", "Another. "]);
        return spaced(str::from_utf8(pieces.last().unwrap()).unwrap()).into_bytes();
    }
    let message = (api.stream)(&["Another. "]).into_iter().find(|message| message.data.contains("Another")).unwrap();
    api.framing.ending(&[Message { data: spaced(&message.data), ..message }], true).to_vec()
}

#[tokio::test]
async fn a_split_anywhere_hides_nothing() {
    let proxy = proxy(StreamMode::Hold).await;
    for api in apis() {
        for at in 1..CARD.len() {
            let (head, tail) = CARD.split_at(at);
            let bytes = api.bytes(&[head, tail]);
            // Once byte by byte.
            let pieces: Vec<Vec<u8>> = bytes.chunks(if at == 17 { 1 } else { 4096 }).map(<[u8]>::to_vec).collect();
            let text = seen(&proxy, &api, &pieces).await;
            assert!(text.contains(MASKED) && !text.contains("1111"), "{} at {at}: {text}", api.name);
        }
        for at in 1..6 {
            let (head, tail) = "danger".split_at(at);
            let text = seen(&proxy, &api, &[api.bytes(&["A ", head, tail, " to all."])]).await;
            assert!(text.contains("no such answers") && !text.contains("to all"), "{} at {at}: {text}", api.name);
        }
    }
}

#[tokio::test]
async fn escapes_and_characters_split_between_chunks_are_read() {
    let proxy = proxy(StreamMode::Hold).await;
    let escaped = |text: &str| -> String { text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect() };
    for api in apis().into_iter().filter(|api| api.framing != Framing::EventStream) {
        let plain = String::from_utf8(api.bytes(&["TEXT"])).unwrap();
        let stream = |text: &str| plain.replace("TEXT", text);
        let good = stream(&format!("\u{1f642}ก{} ", escaped("\u{1f642}ส")));
        let bad = stream(&escaped("much danger"));
        let card = stream(&escaped("4111 1111 1111 1111."));
        // Every byte at which the transport can split within the first characters of the text.
        let start = plain.find("TEXT").unwrap();
        for at in start..start + 26 {
            let split = |text: &str| {
                let (head, tail) = text.as_bytes().split_at(at);
                [head.to_vec(), tail.to_vec()]
            };
            assert_eq!(seen(&proxy, &api, &split(&good)).await, good, "{} at {at}", api.name);
            if at < start + 13 {
                let text = seen(&proxy, &api, &split(&bad)).await;
                assert!(text.contains("no such answers") && !text.contains(&escaped("danger")), "{} at {at}: {text}", api.name);
                let text = seen(&proxy, &api, &split(&card)).await;
                assert!(text.contains(MASKED) && !text.contains(&escaped("1111")), "{} at {at}: {text}", api.name);
            }
        }
    }
}
