//! The guard's graph fails, or has no number for a text.

use http::StatusCode;

use crate::harness::{Proxy, RULES, ask, ask_stream, chunk, completion, fixture};

async fn failing(rules: &str) -> Proxy {
    Proxy::with(rules, |config| config.guard.dir = Some(fixture("failing"))).await
}

#[tokio::test]
async fn a_text_without_a_score_is_no_safe_one_and_costs_nobody_else() {
    let proxy = failing(RULES).await;
    for (word, later) in [("nothing", "one day"), ("crash", "one more day")] {
        // As often as it takes for a session to be looked at, and its sound self to be found.
        for number in 0..5 {
            let told = proxy.post(ask(&format!("{word} {number}"))).await;
            assert_eq!((told.status, told.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"), "{word}");
            assert_eq!(told.json()["error"]["code"], "guard_unavailable");
        }
        assert!(proxy.upstream.is_idle().await, "nothing was passed on");
        assert_eq!(proxy.post(ask(&format!("danger {later}"))).await.content(), "no such prompts");
        let (told, ()) = tokio::join!(proxy.post(ask(later)), async {
            proxy.upstream.call().await.answer(200, completion("hello"));
        });
        assert_eq!(told.content(), "hello");
    }
    let ready = proxy.admin("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "{:?}", ready.json());
    assert!(proxy.metric("seawall_guard_session_failures_total{name=\"default\",session=\"0\",device=\"cpu\"}").await > 0);
}

#[tokio::test]
async fn an_answer_without_a_score_does_not_leave() {
    let proxy = failing(RULES).await;
    for word in ["nothing", "crash"] {
        let (told, ()) = tokio::join!(proxy.post(ask("hi")), async {
            proxy.upstream.call().await.answer(200, completion(&format!("{word} at all")));
        });
        assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE);
        let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
        pieces.send(chunk(0, "A first sentence. ")).await;
        assert_eq!(stream.next().await.unwrap().unwrap().raw, chunk(0, "A first sentence. "));
        pieces.send(chunk(0, &format!("And {word} at all. "))).await;
        let rest = String::from_utf8(stream.rest().await).unwrap();
        assert!(rest.contains("guard_unavailable") && !rest.contains("at all"), "{rest}");
    }
}
