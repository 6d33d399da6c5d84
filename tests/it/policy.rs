//! Policies in the proxy: which of them cover a call, in whose language they refuse, and what becomes of a call that none
//! covers.

use http::{Method, StatusCode};
use seawall::{
    config::{self, Config, DEFAULT_GUARD, Uncovered},
    policy::{HashKey, Policies, Terms},
};
use serde_json::json;

use crate::harness::{Answer, Proxy, RULES, ask, ask_stream, chunk, completion, finish, told};

/// A policy that blocks unsafe text with its name.
pub(crate) fn policy(name: &str, lines: &str) -> String {
    format!(
        "name = \"{name}\"\n{lines}\n[[rule]]\nname = \"stop\"\nwhere = [\"prompt\", \"completion\"]\nthreshold = \"guard\"\n\
         action = \"block\"\nmessage = \"stopped by {name}\"\n"
    )
}

/// A proxy with these policies, a route `/team` that has a name, and one that has none.
async fn proxy(policies: &[String], change: impl FnOnce(&mut Config)) -> Proxy {
    let dir = tempfile::tempdir().unwrap();
    for (number, text) in policies.iter().enumerate() {
        std::fs::write(dir.path().join(format!("{number}.toml")), text).unwrap();
    }
    Proxy::with(RULES, |config| {
        config.policies.dir = Some(dir.path().to_owned());
        config.upstreams.insert("other".into(), config.upstream.clone());
        let route = |name: Option<&str>, prefix: &str| config::Route {
            name: name.map(str::to_owned),
            prefix: prefix.into(),
            host: None,
            upstream: "other".into(),
        };
        config.routes = vec![route(Some("team-a"), "/team"), route(None, "/bare")];
        change(config);
    })
    .await
}

async fn post(proxy: &Proxy, path: &str, model: &str, team: Option<&'static str>) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "danger"}]}).to_string();
    let mut request = proxy.request(Method::POST, path, body);
    for team in team.into_iter().flat_map(|teams| teams.split('|')) {
        request.headers_mut().append("x-team", team.parse().unwrap());
    }
    Answer::read(proxy.send(request).await).await
}

#[tokio::test]
async fn a_call_is_decided_by_the_policies_that_cover_it() {
    let policies = [
        policy("by-route", "[scope]\nroutes = [\"team-a\"]"),
        policy("by-prefix", "[scope]\nroutes = [\"/bare\"]\nupstreams = [\"other\"]\ndialects = [\"openai_chat\"]"),
        policy("by-model", "[scope]\nroutes = [\"\"]\nmodels = [\"gpt-4*\"]\nupstreams = [\"default\"]"),
        policy("by-header", "[scope]\nheaders = { X-Team = [\"red*\"] }"),
    ];
    let proxy = proxy(&policies, |_| {}).await;
    for (path, model, team, policy) in [
        ("/team/v1/chat/completions", "m", None, "by-route"),
        ("/bare/v1/chat/completions", "m", None, "by-prefix"),
        ("/v1/chat/completions", "gpt-4o", None, "by-model"),
        ("/v1/chat/completions", "m", Some("blue|reddish"), "by-header"),
    ] {
        let answer = post(&proxy, path, model, team).await;
        assert_eq!(answer.content(), format!("stopped by {policy}"), "{path} {model} {team:?}");
    }
    let both = post(&proxy, "/team/v1/chat/completions", "m", Some("red")).await;
    let case = proxy.review().await.find(both.header("seawall-request-id")).await.unwrap().unwrap();
    let policies: Vec<&str> = case.reasons.as_array().unwrap().iter().map(|own| own["policy"].as_str().unwrap()).collect();
    assert_eq!(policies, ["by-route", "by-header"]);
}

#[tokio::test]
async fn every_model_that_may_answer_counts() {
    let policies = [policy("four", "[scope]\nmodels = [\"gpt-4*\"]"), policy("small", "[scope]\nmodels = [\"mini\"]")];
    let proxy = proxy(&policies, |_| {}).await;
    let chat = "/v1/chat/completions";
    for (path, body, deciding) in [
        (chat, json!({"model": "mini"}), Some(&["small"][..])),
        (chat, json!({"model": "GPT-4o"}), Some(&["four"][..])),
        ("/openai/deployments/gpt-4o/chat/completions", json!({}), Some(&["four"][..])),
        ("/openai/deployments/gpt-4o/chat/completions", json!({"model": "mini"}), Some(&["four", "small"][..])),
        (chat, json!({"model": "mini", "models": ["gpt-4o"]}), Some(&["four", "small"][..])),
        (chat, json!({"model": "mini", "fallbacks": [{"model": "gpt-4o"}]}), Some(&["four", "small"][..])),
        // No policy covers one of them.
        (chat, json!({"model": "mini", "fallbacks": ["other"]}), None),
        ("/openai/deployments/other/chat/completions", json!({"model": "mini"}), None),
    ] {
        let mut body = body;
        body["messages"] = json!([{"role": "user", "content": "danger"}]);
        let answer = Answer::read(proxy.send(proxy.request(Method::POST, path, body.to_string())).await).await;
        let Some(deciding) = deciding else {
            assert_eq!(answer.json()["error"]["code"], "no_policy", "{path} {body}");
            continue;
        };
        let case = proxy.review().await.find(answer.header("seawall-request-id")).await.unwrap().unwrap();
        let policies = case.reasons.as_array().unwrap().iter().map(|own| own["policy"].as_str().unwrap());
        assert_eq!(policies.collect::<Vec<_>>(), deciding, "{path} {body}");
    }
}

#[tokio::test]
async fn a_call_that_no_policy_covers_is_refused_unless_the_operator_lets_it_pass() {
    let policies = [policy("one", "[scope]\nmodels = [\"gpt-4*\"]"), policy("thai", "[scope]\nlanguages = [\"th\"]")];
    let strict = proxy(&policies, |_| {}).await;
    let answer = post(&strict, "/v1/chat/completions", "m", None).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (StatusCode::FORBIDDEN, Some("no_policy")));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("policies.uncovered"), "{answer:?}");
    assert_eq!(answer.header("seawall-decision"), "block");
    assert!(strict.upstream.is_idle().await, "nothing was passed on");
    let open = proxy(&policies, |config| config.policies.uncovered = Uncovered::Allow).await;
    let (answer, ()) = tokio::join!(post(&open, "/v1/chat/completions", "m", None), async {
        open.upstream.call().await.answer(200, completion("as you wish"));
    });
    assert_eq!(answer.content(), "as you wish");
}

#[tokio::test]
async fn a_refusal_is_in_the_language_of_the_last_prompt() {
    let words = "messages = { th = \"หยุดแล้ว\", vi = \"đã dừng\" }\n";
    let proxy = proxy(&[policy("words", "") + words], |_| {}).await;
    let thai = "ช่วยเล่าเรื่องที่น่าสนใจเกี่ยวกับประเทศไทยหน่อย";
    for (text, message) in [
        (format!("{thai} danger"), "หยุดแล้ว"),
        ("Hãy kể cho tôi nghe về danger ở Việt Nam".to_owned(), "đã dừng"),
        ("What is the danger of this?".to_owned(), "stopped by words"),
    ] {
        assert_eq!(proxy.post(ask(&text)).await.content(), message, "{text}");
    }
    // The answer's own language does not count, whole or streamed.
    let (answer, ()) = tokio::join!(proxy.post(ask(thai)), async {
        proxy.upstream.call().await.answer(200, completion("That is a menace to all of you."));
    });
    assert_eq!(answer.content(), "หยุดแล้ว");
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream(thai)), async { proxy.upstream.call().await.stream() });
    pieces.send([chunk(0, "That is a menace to all of you. "), finish(0)].concat()).await;
    drop(pieces);
    assert_eq!(told(&stream.chunks().await, 0).0, "หยุดแล้ว");
}

#[tokio::test]
async fn an_exchange_ends_under_the_policies_that_it_began_with() {
    let proxy = proxy(&[policy("old", "")], |_| {}).await;
    let (mut stream, pieces) = tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
    let terms = Terms { guards: &[DEFAULT_GUARD], dialects: &[], hash_key: HashKey::new(b"key") };
    proxy.inner.replace_policies(Policies::parse(&[("new.toml".into(), policy("new", ""))], &terms).unwrap());
    let began = proxy.post(ask("danger")).await;
    assert_eq!(began.content(), "stopped by new");
    pieces.send([chunk(0, "That is a menace to all of you. "), finish(0)].concat()).await;
    drop(pieces);
    assert_eq!(told(&stream.chunks().await, 0).0, "stopped by old");
    let revision = async |id: &str| proxy.review().await.find(id).await.unwrap().unwrap().policy;
    let (old, new) = (
        revision(stream.headers["seawall-request-id"].to_str().unwrap()).await,
        revision(began.header("seawall-request-id")).await,
    );
    assert_eq!(new, proxy.inner.policies().revision());
    assert_ne!(old, new);
}
