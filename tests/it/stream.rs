//! Streamed answers: nothing unjudged leaves, and every end is a proper one.

use seawall::config::StreamMode;
use serde_json::{Value, json};

use crate::harness::{Proxy, RULES, ask_stream, chunk, finish, told};

#[tokio::test]
async fn a_safe_stream_passes_byte_for_byte_however_it_is_cut() {
    let proxy = Proxy::start().await;
    let events = [
        ": ping\r\n\r\n",
        &chunk(0, "Hello, ").replace('\n', "\r\n"),
        &chunk(0, "สวัสดีครับ. "),
        "event: x\nid: 1\n",
        &chunk(0, "and more"),
        &finish(0),
        "data: [DONE]\n\n",
    ]
    .concat();
    for size in [1, 7, 4096] {
        let told = async {
            let mut stream = proxy.stream(ask_stream("hi")).await;
            assert_eq!(stream.status, 200);
            stream.rest().await
        };
        let (bytes, ()) = tokio::join!(told, async {
            let pieces = proxy.upstream.call().await.stream();
            for piece in events.as_bytes().chunks(size) {
                pieces.send(piece.to_vec()).await;
            }
        });
        assert_eq!(String::from_utf8(bytes).unwrap(), events);
    }
}

#[tokio::test]
async fn text_waits_for_its_verdict_and_a_bad_one_cuts() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    assert_eq!(stream.headers["seawall-decision"], "allow");
    pieces.send(chunk(0, "This is a harmless sentence. ")).await;
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first.raw, chunk(0, "This is a harmless sentence. "));
    pieces.send(chunk(0, "But here comes ")).await;
    pieces.send(chunk(0, "dan")).await;
    pieces.send(chunk(0, "ger, and all that follows")).await;
    let chunks = stream.chunks().await;
    let (text, finish) = told(&chunks, 0);
    assert_eq!(finish.as_deref(), Some("content_filter"));
    assert!(text.ends_with("no such answers") && !text.contains("dan"), "{text}");
    pieces.abandoned().await;
    assert_eq!(proxy.metric("seawall_stream_cuts_total").await, 1);
}

#[tokio::test]
async fn an_end_that_was_read_but_not_passed_on_does_not_hide_the_cut() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send([chunk(0, "dan"), chunk(0, "ger"), finish(0), "data: [DONE]\n\n".to_owned()].concat()).await;
    drop(pieces);
    let (text, finish) = told(&stream.chunks().await, 0);
    assert_eq!((text.as_str(), finish.as_deref()), ("no such answers", Some("content_filter")));
}

#[tokio::test]
async fn every_choice_is_judged_and_closed() {
    let proxy = Proxy::start().await;
    let body = json!({"model": "m", "stream": true, "n": 2, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let (mut stream, pieces) = tokio::join!(proxy.stream(body), async { proxy.upstream.call().await.stream() });
    pieces.send([chunk(0, "quite harmless."), finish(0), chunk(1, "this is danger"), finish(1)].concat()).await;
    drop(pieces);
    let chunks = stream.chunks().await;
    assert_eq!(told(&chunks, 1), ("no such answers".to_owned(), Some("content_filter".to_owned())));
    let (text, finish) = told(&chunks, 0);
    assert!(!text.contains("danger") && finish.is_some(), "{text} {finish:?}");
}

#[tokio::test]
async fn reasoning_tool_arguments_and_unknown_fields_are_judged() {
    let proxy = Proxy::start().await;
    let call = json!([{"index": 0, "function": {"arguments": "{\"a\": \"dan"}}]);
    let rest = json!([{"index": 0, "function": {"arguments": "ger\"}"}}]);
    for deltas in [
        [json!({"reasoning_content": "dan"}), json!({"reasoning_content": "ger"})],
        [json!({"tool_calls": call}), json!({"tool_calls": rest})],
        [json!({"thoughts": "dan"}), json!({"thoughts": "ger"})],
        [json!({"refusal": "dan"}), json!({"refusal": "ger"})],
    ] {
        let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
        for delta in &deltas {
            pieces.send(format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta}]}))).await;
        }
        drop(pieces);
        let bytes = String::from_utf8(stream.rest().await).unwrap();
        assert!(!bytes.contains("dan") && bytes.contains("content_filter"), "{bytes}");
    }
}

#[tokio::test]
async fn a_card_in_many_deltas_is_masked_in_all_of_them() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    let text = "Your number is 4111 1111 1111 1111, keep it. Bye.";
    for letter in text.chars() {
        pieces.send(chunk(0, &letter.to_string())).await;
    }
    pieces.send(finish(0)).await;
    drop(pieces);
    let chunks = stream.chunks().await;
    let (told, finish) = told(&chunks, 0);
    assert_eq!((told.as_str(), finish.as_deref()), ("Your number is [payment card], keep it. Bye.", Some("stop")));
    assert_eq!(chunks.len(), text.chars().count() + 1, "every event keeps its place");
}

#[tokio::test]
async fn tokens_leave_only_with_the_text_that_they_spell() {
    let event = |text: &str, token: &str, ids: Value| {
        let logprobs = json!({"content": [{"token": token, "logprob": -0.1, "bytes": token.as_bytes(), "top_logprobs": []}]});
        let choice = json!({"index": 0, "delta": {"content": text}, "logprobs": logprobs, "token_ids": ids});
        format!("data: {}\n\n", json!({"choices": [choice], "id": "c1"}))
    };
    let together = [event("A harmless", " harmless", Value::Null), event(" day.", " day.", Value::Null)].concat();
    let ahead =
        [event("", "4111", Value::Null), event(" And", " menace", Value::Null), event(" so on.", " so on.", json!([4111]))];
    for mode in [StreamMode::Hold, StreamMode::Lag, StreamMode::Buffer] {
        let proxy = Proxy::with(RULES, |config| config.stream.mode = mode).await;
        let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
        pieces.send([&together, ahead.concat().as_str(), &finish(0), "data: [DONE]\n\n"].concat()).await;
        drop(pieces);
        let bytes = String::from_utf8(stream.rest().await).unwrap();
        let rest = bytes.strip_prefix(&together).unwrap();
        assert!(["4111", "menace", "logprob\""].iter().all(|word| !rest.contains(word)), "{mode:?}: {rest}");
        assert!(rest.contains(" so on.") && rest.ends_with("data: [DONE]\n\n"), "{mode:?}: {rest}");
    }
}

#[tokio::test]
async fn audio_is_refused_and_its_transcript_judged() {
    let proxy = Proxy::start().await;
    for (audio, end) in [
        (json!({"id": "audio_1", "transcript": "A quiet day.", "expires_at": 1_700_000_000}), "\"stop\""),
        (json!({"id": "audio_1", "data": "AAAA"}), "`audio` cannot be judged"),
        (json!({"transcript": "much danger here"}), "content_filter"),
    ] {
        let event = format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"audio": audio}}]}));
        let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
        pieces.send(event.clone() + &finish(0)).await;
        drop(pieces);
        let bytes = String::from_utf8(stream.rest().await).unwrap();
        assert!(bytes.contains(end) && bytes.contains(&event) == (end == "\"stop\""), "{bytes}");
    }
}

#[tokio::test]
async fn a_bare_number_in_arguments_becomes_a_string() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    for piece in ["{\"n\": 41111111", "11111111", ", \"b\": 1}"] {
        let call = json!([{"index": 0, "function": {"arguments": piece}}]);
        pieces.send(format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"tool_calls": call}}]}))).await;
    }
    drop(pieces);
    let arguments =
        |chunk: &Value| chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap().to_owned();
    let arguments: String = stream.chunks().await.iter().map(arguments).collect();
    assert_eq!(arguments, "{\"n\": \"[payment card]\", \"b\": 1}");
}

#[tokio::test]
async fn a_blocked_prompt_is_answered_as_a_stream() {
    let proxy = Proxy::start().await;
    let body = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": "danger"}]});
    let mut stream = proxy.stream(body.to_string()).await;
    assert_eq!(stream.headers["seawall-decision"], "block");
    let bytes = String::from_utf8(stream.rest().await).unwrap();
    assert!(bytes.ends_with("data: [DONE]\n\n") && bytes.contains("\"total_tokens\":0"), "{bytes}");
    assert!(proxy.upstream.is_idle().await);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "A first sentence. ")).await;
    stream.next().await.unwrap();
    drop(stream);
    pieces.abandoned().await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_does_not_look_whole() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "half an answ")).await;
    pieces.break_off().await;
    let mut text = String::new();
    let broken = loop {
        match stream.next().await {
            Ok(Some(event)) => text.push_str(&String::from_utf8_lossy(&event.raw)),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken && text.contains("half an answ"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_read_ends_in_an_error() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send("data: {\"choices\":[],\"choices\":[{\"delta\":{\"content\":\"danger\"}}]}\n\n").await;
    let bytes = String::from_utf8(stream.rest().await).unwrap();
    assert!(bytes.contains("upstream_unreadable") && !bytes.contains("danger"), "{bytes}");
}

#[tokio::test]
async fn an_image_in_a_stream_ends_it() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    pieces.send(format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"images": image}}]}))).await;
    let bytes = String::from_utf8(stream.rest().await).unwrap();
    assert!(bytes.contains("unscorable_content") && !bytes.contains("AAAA"), "{bytes}");
}

#[tokio::test]
async fn what_never_ends_is_not_held_for_ever() {
    let proxy = Proxy::start().await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, &format!("-----BEGIN {} KEY-----\n", "PRIVATE"))).await;
    let feed = async {
        for _ in 0..80 {
            pieces.send(chunk(0, &"QUJD".repeat(256))).await;
        }
    };
    let (bytes, _) = tokio::join!(stream.rest(), async {
        tokio::select! { () = feed => {}, () = pieces.abandoned() => {} }
    });
    let bytes = String::from_utf8(bytes).unwrap();
    assert!(bytes.contains("upstream_unreadable") && !bytes.contains("QUJD"), "{bytes}");
}

#[tokio::test]
async fn replace_ends_the_stream_with_its_message() {
    let rules = RULES
        .replace("action = \"block\"\nmessage = \"no such answers\"", "action = \"replace\"\nmessage = \"something else\"");
    let rules = rules.replace("where = [\"completion\", \"tool_call\"]", "where = [\"completion\"]");
    let proxy = Proxy::with(&rules, |_| {}).await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "menace all over.")).await;
    let (text, finish) = told(&stream.chunks().await, 0);
    assert_eq!((text.as_str(), finish.as_deref()), ("something else", Some("stop")));
}
