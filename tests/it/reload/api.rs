//! `/api/v1/policy`.

use std::fs;

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::{JSON, proxy, reload};
use crate::{harness::TOKEN, policy::policy};

#[tokio::test]
async fn it_tells_what_is_in_force_and_reloads() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, policy("one", "description = \"for all\"\nmode = \"shadow\"")).unwrap();
    let proxy = proxy(&file).await;
    let told = proxy.admin("/api/v1/policy").await.json();
    let revision = proxy.inner.policies().revision().to_owned();
    assert_eq!(told["revision"], revision.as_str());
    let expected = json!([{"name": "one", "description": "for all", "file": file, "mode": "shadow",
        "rules": [{"name": "stop", "action": "block", "mode": "shadow"}]}]);
    assert_eq!(told["policies"], expected);
    let since = told["since"].as_str().unwrap().to_owned();

    let same = reload(&proxy, &[JSON]).await;
    assert_eq!((same.status, same.json()), (StatusCode::OK, json!({"revision": revision, "changed": false})));
    // The directory is watched too; who comes first is told of the change, and both of the revision.
    fs::write(&file, policy("two", "")).unwrap();
    let other = reload(&proxy, &[JSON]).await;
    assert_eq!(other.status, StatusCode::OK);
    assert_eq!(other.json()["revision"], proxy.inner.policies().revision());
    assert!(proxy.inner.policies().names().eq(["two"]));
    assert_eq!(proxy.metric("seawall_policy_reloads_total{outcome=\"changed\"}").await, 1);
    let told = proxy.admin("/api/v1/policy").await.json();
    assert_ne!(told["since"], since.as_str());

    fs::write(&file, policy("three", "mod = \"shadow\"")).unwrap();
    let refused = reload(&proxy, &[JSON]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let mistake = format!("{}:2:1: `mod`: ", file.display());
    assert!(refused.json()["error"]["mistakes"][0].as_str().unwrap().starts_with(&mistake), "{refused:?}");
    let now = proxy.admin("/api/v1/policy").await.json();
    let last = &now["last_reload"];
    assert_eq!((&last["outcome"], &last["mistakes"]), (&json!("refused"), &refused.json()["error"]["mistakes"]));
    assert_eq!(now["revision"], told["revision"]);
}

#[tokio::test]
async fn no_page_in_an_operators_browser_can_call_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, policy("one", "")).unwrap();
    let proxy = proxy(&file).await;
    let own = format!("http://{}", proxy.admin);
    for (headers, status) in [
        (vec![], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![("content-type", "text/plain")], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![JSON, ("origin", "https://evil.example")], StatusCode::FORBIDDEN),
        (vec![JSON, ("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        (vec![JSON, ("host", "evil.example")], StatusCode::FORBIDDEN),
        (vec![JSON, ("origin", &own), ("sec-fetch-site", "same-origin")], StatusCode::OK),
    ] {
        assert_eq!(reload(&proxy, &headers).await.status, status, "{headers:?}");
    }
    let request = Request::get(format!("{own}/api/v1/policy")).header("host", "evil.example");
    let request = request.header("authorization", format!("Bearer {TOKEN}"));
    let foreign = proxy.send(request.body(Full::default()).unwrap()).await;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN, "nor read it under a name of its own");
    let public = proxy.request(http::Method::GET, "/api/v1/policy", "");
    assert_eq!(proxy.send(public).await.status(), StatusCode::NOT_FOUND, "clients are served none of it");
}
