//! Whole answers: what passes, what is rewritten, what is refused.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Proxy, RULES, ask, completion};

#[tokio::test]
async fn safe_traffic_passes_byte_for_byte() {
    let proxy = Proxy::start().await;
    let asked = "{ \"model\":\"m\", \"temperature\": 1.0e0,\n \"x_vendor\": {\"deep\": [1.50, \"\\u0061\"]}, \"messages\": [ {\"role\":\"user\",\"content\":\"caf\\u00e9\"} ] }";
    let told = "{\"choices\": [{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"h\\u0069\"},\"finish_reason\":\"stop\",\"new\":1e2}],  \"id\":\"1\"}\n";
    let (answer, ()) = tokio::join!(proxy.post(asked), async {
        let call = proxy.upstream.call().await;
        assert_eq!(call.text(), asked);
        assert_eq!(call.uri.path(), "/v1/chat/completions");
        assert_eq!(call.headers["accept-encoding"], "identity");
        call.answer_as(200, &[("content-type", "application/json"), ("x-own", "1")], told);
    });
    assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::OK, told.as_bytes()));
    assert_eq!(
        (answer.header("x-own"), answer.header("seawall-decision"), answer.header("seawall-cache")),
        ("1", "allow", "miss")
    );
    assert_eq!(answer.header("seawall-request-id").len(), 36);
}

#[tokio::test]
async fn an_unsafe_prompt_never_reaches_the_model() {
    let proxy = Proxy::start().await;
    let message = |role: &str, content: Value| json!({"messages": [{"role": role, "content": content}, {"role": "user", "content": "hi"}]});
    let tool =
        json!([{"type": "function", "function": {"name": "f", "description": "danger", "parameters": {"type": "object"}}}]);
    let call = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":\"d\\u0061nger\"}"}}]);
    let bodies = [
        message("user", json!("some danger here")),
        message("system", json!("danger")),
        message("developer", json!("danger")),
        message("tool", json!("danger")),
        message("assistant", json!("danger")),
        message("user", json!([{"type": "text", "text": "a"}, {"type": "text", "text": "danger"}])),
        message("user", json!("d\u{200b}anger")),
        message("user", json!("ｄａｎｇｅｒ")),
        message("user", json!("d a n g e r")),
        message("user", json!(format!("{}danger {}", "word ".repeat(200), "word ".repeat(200)))),
        json!({"messages": [{"role": "user", "content": "hi"}], "tools": tool}),
        json!({"messages": [{"role": "assistant", "content": null, "tool_calls": call}]}),
        json!({"messages": [{"role": "user", "content": "hi", "name": "danger"}]}),
        json!({"messages": [{"role": "user", "content": "hi"}], "documents": [{"text": "danger"}]}),
        json!({"messages": [{"role": "user", "content": "hi"}], "prediction": {"type": "content", "content": "danger"}}),
    ];
    for body in bodies {
        let answer = proxy.post(body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}");
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "content_filter", "{body}");
        assert!(answer.content().starts_with("no such"), "{body}");
        assert_eq!(answer.header("seawall-decision"), "block");
    }
    assert!(proxy.upstream.is_idle().await);
}

#[tokio::test]
async fn an_unsafe_answer_never_reaches_the_user() {
    let proxy = Proxy::start().await;
    let message = |message: Value| json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string();
    let call = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":\"danger\"}"}}]);
    let bodies = [
        completion("there is menace in it"),
        message(json!({"role": "assistant", "content": "fine", "reasoning_content": "danger"})),
        message(json!({"role": "assistant", "content": null, "tool_calls": call})),
        message(json!({"role": "assistant", "content": "fine", "content_blocks": [{"text": "danger"}]})),
        json!({"choices": [{"index": 0, "message": {"content": "fine"}}, {"index": 1, "message": {"content": "danger"}}]})
            .to_string(),
    ];
    for body in bodies {
        let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async { proxy.upstream.call().await.answer(200, body.clone()) });
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "content_filter", "{body}");
        assert_eq!(answer.content(), "no such answers", "{body}");
    }
}

#[tokio::test]
async fn edits_land_in_their_places_and_nowhere_else() {
    let proxy = Proxy::start().await;
    let asked = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"ok"},{"type":"text","text":"card\u0020４１１１-1111-1111-1111."}]},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"pay","arguments":"{\"n\":4111111111111111, \"s\":\"4111 1111 1111 1111\"}"}}]}],"n":1.0e0}"#;
    let asked = asked.replace(",\"n\":1.0e0", ",\"t\":1.0e0");
    let told = r#"{"choices":[{"index":0,"message":{"content":"yours is 5555-5555-5555-4444"},"logprobs":{"content":[{"token":"5555"}]},"token_ids":[5]}],"prompt_token_ids":[4],"u":1.10}"#;
    let (answer, ()) = tokio::join!(proxy.post(asked), async {
        let call = proxy.upstream.call().await;
        assert_eq!(
            call.text(),
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"ok"},{"type":"text","text":"card [payment card]."}]},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"pay","arguments":"{\"n\":\"[payment card]\", \"s\":\"[payment card]\"}"}}]}],"t":1.0e0}"#
        );
        call.answer(200, told);
    });
    assert_eq!(
        answer.body,
        r#"{"choices":[{"index":0,"message":{"content":"yours is [payment card]"},"logprobs":null,"token_ids":null}],"prompt_token_ids":null,"u":1.10}"#
    );
    assert_eq!(answer.header("seawall-decision"), "rewrite");
}

#[tokio::test]
async fn a_rule_may_answer_with_an_error() {
    let proxy = Proxy::with(&RULES.replacen("action = \"block\"", "action = \"block\"\nrespond = \"error\"", 1), |_| {}).await;
    let answer = proxy.post(ask("danger")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let error = &answer.json()["error"];
    assert_eq!((&error["code"], &error["message"]), (&json!("content_filter"), &json!("no such prompts")));
    assert_eq!(answer.header("seawall-decision"), "block");
}

#[tokio::test]
async fn what_cannot_be_read_in_one_way_is_refused() {
    let proxy = Proxy::start().await;
    let image =
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}).to_string();
    let cases: [(&[u8], &str); 12] = [
        (br#"{"messages":[],"messages":[{"role":"user","content":"danger"}]}"#, "stands twice"),
        (br#"{"messages":[],"Messages":[{"role":"user","content":"danger"}]}"#, "only in case"),
        (b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", "not UTF-8"),
        (br#"{"messages":[{"role":"user","content":[{"type":"smell","smell":"x"}]}]}"#, "`smell` are not supported"),
        (br#"{"messages":[{"role":"wizard","content":"x"}]}"#, "`wizard` is not a role"),
        (br#"{"messages":[{"role":"user","content":7}]}"#, "`content` must be a string"),
        (br#"{"messages":{"role":"user"}}"#, "`messages` must be an array"),
        (br#"{"stream":"yes","messages":[]}"#, "`stream` must be true or false"),
        (br#"{"model":"m"}"#, "`messages` is missing"),
        (br#"[]"#, "`body` must be an object"),
        (b"", "EOF"),
        (image.as_bytes(), "image_url"),
    ];
    for (body, told) in cases {
        let answer = proxy.post(body.to_vec()).await;
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{error}");
        assert!(error["message"].as_str().unwrap().contains(told), "{told}: {error}");
    }
    assert!(proxy.upstream.is_idle().await);
}

#[tokio::test]
async fn an_answer_with_an_image_is_refused() {
    let proxy = Proxy::start().await;
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    let body = json!({"choices": [{"index": 0, "message": {"content": "x", "images": image}}]}).to_string();
    let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async { proxy.upstream.call().await.answer(200, body) });
    assert_eq!(answer.json()["error"]["code"], "unscorable_content");
    assert_eq!(answer.header("seawall-decision"), "block");
}

#[tokio::test]
async fn paths_pass_by_list_only() {
    let proxy = Proxy::start().await;
    let get = async |path: &str| Answer::read(proxy.send(proxy.request(Method::GET, path, "")).await).await;
    let (models, ()) = tokio::join!(get("/v1/models"), async { proxy.upstream.call().await.answer(200, "{\"data\":[]}") });
    assert_eq!(models.body, "{\"data\":[]}");
    let unknown = get("/v1/files").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.json()["error"]["message"].as_str().unwrap().contains("`upstream.pass`"));
    assert_eq!(get("/v1/models/..%2fchat").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_upstreams_errors_stay_its_errors() {
    let proxy = Proxy::start().await;
    let error = r#"{"error":{"message":"slow down","type":"rate_limit","code":"rate_limit_exceeded"}}"#;
    let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async { proxy.upstream.call().await.answer(429, error) });
    assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::TOO_MANY_REQUESTS, error.as_bytes()));
    let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async {
        proxy.upstream.call().await.answer_as(503, &[("content-type", "text/html")], "<h1>down</h1>");
    });
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("upstream_unreadable"))
    );
    let (answer, ()) = tokio::join!(proxy.post(ask("hi")), async {
        proxy.upstream.call().await.answer_as(200, &[("content-encoding", "gzip")], completion("not gzip"));
    });
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn no_upstream_is_a_bad_gateway() {
    let proxy = Proxy::with(RULES, |config| config.upstream.url = "http://127.0.0.1:1".to_owned()).await;
    let answer = proxy.post(ask("hi")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("cannot be reached"));
}

#[tokio::test]
async fn headers_can_be_hidden() {
    let proxy = Proxy::with(RULES, |config| config.listen.headers = seawall::config::Headers::None).await;
    let answer = proxy.post(ask("danger")).await;
    let own: Vec<_> = answer.headers.keys().filter(|name| name.as_str().starts_with("seawall-")).collect();
    assert_eq!(own, ["seawall-request-id"]);
}
