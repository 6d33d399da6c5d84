//! Several upstreams: which call goes where, with whose key; and calls that race their own verdict.

use http::Method;
use seawall::config::{self, Config};
use serde_json::json;

use crate::harness::{Answer, Proxy, RULES, Upstream, ask, ask_stream, chunk, completion, finish, told};

fn card(text: &str) -> String {
    ask(&format!("{text} 4111 1111 1111 1111"))
}

#[tokio::test]
async fn routes_lead_to_upstreams_with_their_own_keys() {
    let other = Upstream::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "the-real-key\n").unwrap();
    let proxy = Proxy::with(RULES, |config: &mut Config| {
        let key = config::Key { env: None, file: Some(file), header: "authorization".into(), prefix: None };
        let url = format!("http://{}/base", other.address);
        config.upstreams.insert("other".into(), config::Upstream { url, key: Some(key), ..config::Upstream::default() });
        config.routes = vec![config::Route { name: None, prefix: "/team".into(), host: None, upstream: "other".into() }];
    })
    .await;
    let mut request = proxy.request(Method::POST, "/team/v1/chat/completions?api-version=2", ask("hi"));
    request.headers_mut().insert("authorization", "Bearer client".parse().unwrap());
    let (answer, ()) = tokio::join!(async { Answer::read(proxy.send(request).await).await }, async {
        let call = other.call().await;
        assert_eq!(call.uri.to_string(), "/base/v1/chat/completions?api-version=2");
        assert_eq!(call.headers["authorization"], "Bearer the-real-key");
        call.answer(200, completion("from the other"));
    });
    assert_eq!(answer.content(), "from the other");
    let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async {
        proxy.upstream.call().await.answer(200, completion("from the first"));
    });
    assert_eq!(answer.content(), "from the first");
}

#[tokio::test]
async fn a_call_that_races_waits_for_its_verdict() {
    let proxy = Proxy::with(RULES, |config| config.upstream.race = true).await;
    let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async {
        proxy.upstream.call().await.answer(200, completion("fast"));
    });
    assert_eq!(answer.content(), "fast");
    let answer = proxy.post(ask("danger")).await;
    assert_eq!(answer.content(), "no such prompts");
    // The call that was begun before the verdict, if any, has been let go of; what is edited goes out anew.
    let (answer, ()) = tokio::join!(proxy.post(card("my card")), async {
        loop {
            let call = proxy.upstream.call().await;
            if call.text().contains("[payment card]") {
                return call.answer(200, completion("edited"));
            }
        }
    });
    assert_eq!(answer.content(), "edited");
    assert_eq!(answer.header("seawall-decision"), "rewrite");
}

#[tokio::test]
async fn lag_lets_text_through_and_cuts_when_the_verdict_turns() {
    let proxy = Proxy::with(RULES, |config| config.stream.mode = config::StreamMode::Lag).await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "a")).await;
    assert_eq!(stream.next().await.unwrap().unwrap().raw, chunk(0, "a"), "it leaves though no check was due");
    pieces.send([chunk(0, " danger to all"), finish(0)].concat()).await;
    drop(pieces);
    let (text, finish) = told(&stream.chunks().await, 0);
    assert_eq!((text.ends_with("no such answers"), finish.as_deref()), (true, Some("content_filter")), "{text}");
}

#[tokio::test]
async fn lag_cannot_redact_what_has_left_so_it_cuts() {
    let proxy = Proxy::with(RULES, |config| config.stream.mode = config::StreamMode::Lag).await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send([chunk(0, "it is 4111 1111 1111 1111."), finish(0)].concat()).await;
    drop(pieces);
    let (_, finish) = told(&stream.chunks().await, 0);
    assert_eq!(finish.as_deref(), Some("content_filter"));
}

#[tokio::test]
async fn buffer_shows_nothing_of_an_answer_that_turns_bad_at_its_end() {
    let proxy = Proxy::with(RULES, |config| config.stream.mode = config::StreamMode::Buffer).await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "A harmless sentence, and another one. ")).await;
    pieces.send([chunk(0, "Then danger."), finish(0)].concat()).await;
    drop(pieces);
    let (text, finish) = told(&stream.chunks().await, 0);
    assert_eq!((text.as_str(), finish.as_deref()), ("no such answers", Some("content_filter")));
}

#[tokio::test]
async fn moderations_are_answered_by_the_guard_itself() {
    let proxy = Proxy::start().await;
    let ask = async |input: serde_json::Value| {
        let body = json!({"model": "omni-moderation-latest", "input": input}).to_string();
        Answer::read(proxy.send(proxy.request(Method::POST, "/v1/moderations", body)).await).await
    };
    let answer = ask(json!(["a quiet day", "much danger"])).await.json();
    let flagged: Vec<_> = answer["results"].as_array().unwrap().iter().map(|result| &result["flagged"]).collect();
    assert_eq!(flagged, [false, true]);
    assert!(answer["results"][1]["category_scores"]["unsafe"].as_f64().unwrap() > 0.9);
    assert_eq!(ask(json!([{"type": "text", "text": "danger"}])).await.json()["results"][0]["flagged"], true);
    let image = ask(json!([{"type": "image_url", "image_url": {"url": "http://x"}}])).await;
    assert_eq!((image.status.as_u16(), image.json()["error"]["code"].clone()), (400, json!("unscorable_content")));
    assert_eq!(ask(json!([])).await.status, 400);
    assert_eq!(ask(json!([1])).await.status, 400);
    assert!(proxy.upstream.is_idle().await, "nothing of it leaves");
}
