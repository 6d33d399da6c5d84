//! The verdict cache, as users meet it.

use serde_json::json;

use crate::harness::{Proxy, ask, completion};

#[tokio::test]
async fn the_same_text_is_scored_once() {
    let proxy = Proxy::start().await;
    for cache in ["miss", "hit"] {
        let (answer, ()) =
            tokio::join!(proxy.post(ask("hello")), async { proxy.upstream.call().await.answer(200, completion("hi")) });
        assert_eq!(answer.header("seawall-cache"), cache);
    }
    assert_eq!(proxy.metric("seawall_verdicts_total{source=\"guard\"}").await, 2);
    assert_eq!(proxy.metric("seawall_verdicts_total{source=\"cache\"}").await, 2);
}

#[tokio::test]
async fn a_chat_that_resends_its_history_scores_only_the_new_turn() {
    let proxy = Proxy::start().await;
    let mut messages = vec![json!({"role": "system", "content": "be kind"}), json!({"role": "user", "content": "one"})];
    let mut scored = Vec::new();
    for turn in ["two", "three", "four"] {
        let body = json!({"model": "m", "messages": messages}).to_string();
        let told = format!("answer before {turn}");
        let before = proxy.metric("seawall_guard_windows_total").await;
        tokio::join!(proxy.post(body), async { proxy.upstream.call().await.answer(200, completion(&told)) });
        scored.push(proxy.metric("seawall_guard_windows_total").await - before);
        messages.extend([json!({"role": "assistant", "content": told}), json!({"role": "user", "content": turn})]);
    }
    // First the system's and the user's text and the answer; from then on the new turn, the turns together (also without a
    // seam, since a word may go over one), and the answer.
    assert_eq!(scored, [3, 4, 4]);
}

#[tokio::test]
async fn concurrent_equals_are_scored_once() {
    let proxy = Proxy::start().await;
    let body = ask("asked by many");
    let answers = futures_util::future::join_all((0..16).map(|_| async {
        let (answer, ()) =
            tokio::join!(proxy.post(body.clone()), async { proxy.upstream.call().await.answer(200, completion("hi")) });
        answer.header("seawall-cache").to_owned()
    }));
    let answers = answers.await;
    assert_eq!(answers.iter().filter(|cache| *cache == "miss").count(), 1);
    assert_eq!(proxy.metric("seawall_guard_windows_total").await, 2);
}
