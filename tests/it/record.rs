//! The record of flagged traffic.

use http::StatusCode;
use sqlx::SqlitePool;

use crate::harness::{Proxy, RULES, ask, ask_stream, chunk, completion, finish};

#[tokio::test]
async fn what_is_flagged_is_on_record_before_the_answer() {
    let proxy = Proxy::start().await;
    let asked = ask("danger, and my card is 4111 1111 1111 1111");
    let answer = proxy.post(asked.replacen("\"model\":\"", "\"model\":\"a@b.co ", 1)).await;
    let case = proxy.review().await.find(answer.header("seawall-request-id")).await.unwrap().unwrap();
    assert_eq!((case.decision.as_str(), case.rules()), ("block", vec!["unsafe-prompt", "cards"]));
    assert_eq!(case.prompt(), "danger, and my card is [payment card]", "the record does not keep what the rule masks");
    assert!(case.model.starts_with("[email] "), "what a client calls its model is a client's text too: {}", case.model);
    assert!(case.score.unwrap() > 0.9);
    tokio::join!(proxy.post(ask("hello")), async { proxy.upstream.call().await.answer(200, completion("hi")) });
    assert_eq!(proxy.cases().await.len(), 1, "harmless traffic leaves no trace");
}

#[tokio::test]
async fn a_flagged_answer_is_on_record_with_its_prompt() {
    let rules = RULES.replacen("action = \"redact\"", "action = \"redact\"\n[[rule]]\nname = \"see\"\nwhere = [\"completion\"]\nthreshold = 0.5\naction = \"flag\"\nmode = \"shadow\"", 1);
    let proxy =
        Proxy::with(&rules.replacen("action = \"block\"\nmessage = \"no such answers\"", "action = \"flag\"", 1), |_| {}).await;
    let (mut stream, pieces) =
        tokio::join!(proxy.stream(ask_stream("who goes")), async { proxy.upstream.call().await.stream() });
    pieces.send(chunk(0, "a menace of some kind. ")).await;
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first.raw, chunk(0, "a menace of some kind. "));
    let listed = proxy.cases().await;
    assert_eq!(listed.len(), 1, "on record before the text is with the client");
    pieces.send([chunk(0, "That is all."), finish(0)].concat()).await;
    drop(pieces);
    stream.rest().await;
    let store = proxy.store.clone();
    let id = stream.headers["seawall-request-id"].to_str().unwrap().to_owned();
    proxy.shut_down().await;
    let store = seawall::review::Store::open_existing(&store).await;
    assert!(store.is_err() || store.unwrap().find(&id).await.is_ok());
    assert_eq!((listed[0].prompt(), listed[0].decision.as_str()), ("who goes", "flag"));
    assert_eq!(listed[0].rules(), ["unsafe-completion", "see"]);
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_pass() {
    let proxy = Proxy::start().await;
    let pool = SqlitePool::connect(&proxy.store).await.unwrap();
    sqlx::query("DROP TABLE cases").execute(&pool).await.unwrap();
    let answer = proxy.post(ask("danger")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["error"]["code"], "review_unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(proxy.metric("seawall_review_failures_total").await, 1);
    let (answer, ()) =
        tokio::join!(proxy.post(ask("hello")), async { proxy.upstream.call().await.answer(200, completion("hi")) });
    assert_eq!(answer.status, StatusCode::OK, "harmless traffic needs no record");
}
