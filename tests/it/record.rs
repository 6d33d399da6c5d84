//! The record of flagged traffic.

use http::StatusCode;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use seawall::{
    config::Content,
    policy::{Exceptions, text_hash},
    review::{Case, Window},
};
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

/// The case of a dangerous prompt with a card in it, its text kept so.
async fn kept(content: Content) -> Case {
    let proxy = Proxy::with(RULES, |config| config.review.content = content).await;
    let answer = proxy.post(ask("danger, and my card is 4111 1111 1111 1111").replacen("\"m\"", "\"m a@b.co\"", 1)).await;
    proxy.review().await.find(answer.header("seawall-request-id")).await.unwrap().unwrap()
}

#[tokio::test]
async fn of_a_text_is_kept_what_the_settings_say() {
    let full = kept(Content::Full).await;
    assert_eq!(full.prompt(), "danger, and my card is 4111 1111 1111 1111");
    assert_eq!(full.model, "m a@b.co");
    let found = &full.request[0].findings[0];
    assert_eq!(&full.prompt()[found.start..found.end], "4111 1111 1111 1111");
    let hash = kept(Content::Hash).await;
    assert_eq!(hash.request[0].hashed, Some(text_hash("danger, and my card is [payment card]").to_string()));
    assert_eq!(hash.model, text_hash("m [email]").to_string());
    assert_eq!((hash.request[0].findings[0].detector.as_str(), hash.rules()), ("payment_card", full.rules()));
    let stored = serde_json::to_string(&hash).unwrap();
    assert!(!stored.contains("danger") && !stored.contains("4111"), "{stored}");
}

#[tokio::test]
async fn a_policy_lets_pass_what_reviewers_found_harmless() {
    // The answer is judged as an answer to its prompt, and an exception for the prompt is none for that.
    let (asked, _) = RULES.split_once("[[rule]]\nname = \"unsafe-completion\"").unwrap();
    let proxy = Proxy::with(asked, |_| {}).await;
    let id = proxy.post(ask("danger")).await.header("seawall-request-id").to_owned();
    let case = proxy.review().await.find(&id).await.unwrap().unwrap();
    let hash = case.request[0].hash().unwrap().parse().unwrap();
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let except = |policy: &str, last: Date| {
        proxy.inner.replace_exceptions([(policy.to_owned(), hash, last)].into_iter().collect::<Exceptions>());
    };
    let decision = async || proxy.post(ask("danger")).await.header("seawall-decision").to_owned();
    except("tests", today.checked_sub(1.day()).unwrap());
    assert_eq!(decision().await, "block", "its last day is over");
    except("others", today);
    assert_eq!(decision().await, "block", "it is another policy's");
    except("tests", today.checked_add(1.day()).unwrap());
    let (passed, ()) = tokio::join!(decision(), async { proxy.upstream.call().await.answer(200, completion("hi")) });
    assert_eq!(passed, "allow");
    assert_eq!(proxy.post(ask("danger!")).await.header("seawall-decision"), "block", "it is another text");
    proxy.inner.replace_exceptions(Exceptions::default());
    assert_eq!(decision().await, "block");
}

#[tokio::test]
async fn of_a_long_prompt_the_bad_stretch_is_on_record() {
    let harmless = "tea for two ".repeat(200);
    let prompt = format!("pay 4111 1111 1111 1111 {harmless} danger {harmless}");
    for content in [Content::Full, Content::Redacted, Content::Hash] {
        let proxy = Proxy::with(RULES, |config| config.review.content = content).await;
        let answer = proxy.post(ask(&prompt)).await;
        let case = proxy.review().await.find(answer.header("seawall-request-id")).await.unwrap().unwrap();
        assert_eq!(
            (case.reasons[0]["rule"].as_str(), case.reasons[0]["threshold"].as_f64()),
            (Some("unsafe-prompt"), Some(0.5))
        );
        assert_eq!(case.reasons[1].get("threshold"), None, "a rule that asks no guard has none");
        let windows = &case.evidence.as_ref().unwrap().passages[0].verdicts[0].windows;
        if content == Content::Hash {
            assert!(windows.is_empty(), "there is no text to show them in");
            continue;
        }
        assert!(windows.len() > 50 && windows.is_sorted_by_key(|window| window.start), "{}", windows.len());
        assert_eq!((windows[0].start, windows[windows.len() - 1].end), (0, case.prompt().len()));
        for window in windows {
            let stretch = &case.request[window.text].text[window.start..window.end];
            assert_eq!(window.score > 0.5, stretch.contains("danger"), "{window:?}");
        }
    }
}

#[tokio::test]
async fn a_streams_checks_are_on_record_with_their_places() {
    let rules = RULES.replacen("action = \"block\"\nmessage = \"no such answers\"", "action = \"flag\"", 1);
    let proxy = Proxy::with(&rules, |_| {}).await;
    let (mut stream, pieces) =
        tokio::join!(proxy.stream(ask_stream("who goes")), async { proxy.upstream.call().await.stream() });
    let harmless = "All is well here and there is tea for all of us. ";
    for _ in 0..20 {
        pieces.send(chunk(0, harmless)).await;
        stream.next().await.unwrap().unwrap();
    }
    pieces.send([chunk(0, "A menace of some kind. "), finish(0)].concat()).await;
    drop(pieces);
    stream.rest().await;
    let case = proxy.cases().await.remove(0);
    let passages = case.evidence.as_ref().unwrap().passages.iter().filter(|passage| passage.piece.is_some());
    let windows = passages.flat_map(|passage| &passage.verdicts[0].windows);
    let (over, under): (Vec<&Window>, Vec<&Window>) = windows.partition(|window| window.score > 0.5);
    let stretch = |window: &Window| &case.response[window.text].text[window.start..window.end];
    assert!(!over.is_empty() && over.iter().all(|window| stretch(window).contains("menace")), "{over:?}");
    assert!(under.iter().all(|window| !stretch(window).contains("menace")), "{under:?}");
    assert!(over.iter().all(|window| window.start > 10 * harmless.len()), "a check does not begin with the answer: {over:?}");
}
