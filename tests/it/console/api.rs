//! `/api/v1`: what tools ask and do.

use http::{Method, StatusCode};
use seawall::{
    config::{AdminToken, Config, Role},
    console::Access,
    identity::hash,
};
use serde_json::{Value, json};

use super::{JSON, call};
use crate::harness::{Answer, Proxy, RULES, TOKEN, ask};

/// The token of a role.
fn token(role: Role) -> String {
    format!("{TOKEN}-{}", role.name())
}

/// A proxy with a tool of each role.
async fn proxy() -> Proxy {
    let tool = |role: Role| AdminToken { name: role.name().to_owned(), hash: hash(&token(role)), role };
    Proxy::with(RULES, |config: &mut Config| config.admin.tokens.extend(Role::ALL.map(tool))).await
}

async fn by(proxy: &Proxy, role: Role, method: Method, path: &str, body: &str) -> Answer {
    let token = format!("Bearer {}", token(role));
    call(proxy, method, path, &[("authorization", &token), JSON], body).await
}

async fn get(proxy: &Proxy, path: &str) -> Value {
    let answer = by(proxy, Role::Viewer, Method::GET, path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    answer.json()
}

/// So many flagged exchanges, the newest first.
async fn flagged(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.insert(0, proxy.post(ask("danger")).await.header("seawall-request-id").to_owned());
    }
    ids
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|case| case["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_follow_each_other() {
    let proxy = proxy().await;
    let all = flagged(&proxy, 5).await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/cases?limit=2".to_owned();
    let pages = loop {
        let page = get(&proxy, &path).await;
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break seen.len().div_ceil(2) };
        path = format!("/api/v1/cases?limit=2&before={next}");
    };
    assert_eq!((seen, pages), (all, 3));
}

#[tokio::test]
async fn cases_are_found_by_what_they_are() {
    let proxy = proxy().await;
    let card = proxy.post(ask("danger 4111 1111 1111 1111")).await.header("seawall-request-id").to_owned();
    flagged(&proxy, 1).await;
    for (query, count) in [
        ("", 2),
        ("?rule=cards", 1),
        ("?policy=tests&direction=request&decision=block&state=open&min_score=0.9&since=1h", 2),
        ("?max_score=0.1", 0),
        ("?until=1h", 0),
        ("?tenant=none", 0),
        ("?search=payment%20card", 1),
    ] {
        assert_eq!(ids(&get(&proxy, &format!("/api/v1/cases{query}")).await).len(), count, "{query}");
    }
    let opened = get(&proxy, &format!("/api/v1/cases/{card}")).await;
    assert_eq!(opened["case"]["request"][0]["text"], "danger [payment card]");
    assert_eq!((&opened["state"], &opened["decisions"]), (&json!("open"), &json!([])));
}

#[tokio::test]
async fn mistakes_are_told_in_one_shape() {
    let proxy = proxy().await;
    let id = &flagged(&proxy, 1).await[0];
    let decision = format!("/api/v1/cases/{id}/decision");
    let (decision, large) = (decision.as_str(), " ".repeat((1 << 20) + 1));
    for (method, path, body, status, told) in [
        (Method::GET, "/api/v1/cases?langage=th", "", 400, "`langage` is no field of this call; did you mean `language`?"),
        (Method::GET, "/api/v1/cases?limit=0", "", 400, "`limit` must be 1 to 500"),
        (Method::GET, "/api/v1/cases?before=x", "", 400, "`before` must be what a page told as `next`"),
        (Method::GET, "/api/v1/cases?state=new", "", 400, "`state`: unknown variant `new`, expected one of"),
        (Method::GET, "/api/v1/cases?since=soon", "", 400, "`since`: must be a day such as"),
        (Method::GET, "/api/v1/cases/export?format=csv&search=a", "", 422, "search: "),
        (Method::GET, "/api/v1/cases/none", "", 404, "there is no case of this id"),
        (Method::GET, "/api/v1/cases/%ff", "", 400, "Invalid UTF-8"),
        (Method::GET, "/api/v1/none", "", 404, "there is no such call"),
        (Method::PUT, "/api/v1/cases", "", 405, "there is another method to this path"),
        (Method::POST, decision, "{", 400, "the body is no JSON object"),
        (Method::POST, decision, "{\"verdict\": \"maybe\"}", 400, "`verdict`: unknown variant `maybe`"),
        (
            Method::POST,
            decision,
            "{\"verdicts\": \"right\"}",
            400,
            "`verdicts` is no field of this call; did you mean `verdict`?",
        ),
        (Method::POST, "/api/v1/cases/none/decision", "{\"verdict\": \"right\"}", 404, "there is no case none"),
        (Method::DELETE, decision, "", 404, "there is no decision of admin"),
        (Method::POST, "/api/v1/cases/decisions", "{\"verdict\": \"right\"}", 400, "name one of `ids` and `filter`"),
        (Method::POST, "/api/v1/purge", "{\"filter\": {}}", 400, "`filter` lets every case through"),
        (Method::POST, "/api/v1/purge", "{\"filter\": {\"subjects\": \"a\"}}", 400, "`filter`: unknown field `subjects`"),
        (Method::POST, "/api/v1/exceptions", large.as_str(), 413, "a body has at most 1048576 bytes"),
    ] {
        let answer = by(&proxy, Role::Admin, method.clone(), path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {answer:?}");
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().unwrap().starts_with(told) && error["code"].is_string(), "{path}: {error}");
    }
}

#[tokio::test]
async fn reviewers_decide_and_take_it_back() {
    let proxy = proxy().await;
    let all = flagged(&proxy, 3).await;
    let decision = format!("/api/v1/cases/{}/decision", all[0]);
    let refused = by(&proxy, Role::Viewer, Method::POST, &decision, "{\"verdict\": \"wrong\"}").await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (StatusCode::FORBIDDEN, Some("forbidden")));
    let wrong = "{\"verdict\": \"wrong\", \"note\": \"a quote\"}";
    let settled = by(&proxy, Role::Reviewer, Method::POST, &decision, wrong).await.json();
    assert_eq!(settled, json!({"id": all[0], "state": "wrong"}));
    let many = json!({"ids": [all[0], all[1]], "verdict": "right"}).to_string();
    assert_eq!(by(&proxy, Role::Admin, Method::POST, "/api/v1/cases/decisions", &many).await.json(), json!({"cases": 2}));
    let opened = get(&proxy, &format!("/api/v1/cases/{}", all[0])).await;
    assert_eq!(opened["state"], "disputed");
    let said = |at: usize| (&opened["decisions"][at]["reviewer"], &opened["decisions"][at]["note"]);
    assert_eq!((said(0), said(1)), ((&json!("reviewer"), &json!("a quote")), (&json!("admin"), &json!(""))));
    assert_eq!(by(&proxy, Role::Reviewer, Method::DELETE, &decision, "").await.json()["state"], "right");
    let rest = json!({"filter": {"state": "open"}, "verdict": "wrong"}).to_string();
    assert_eq!(by(&proxy, Role::Reviewer, Method::POST, "/api/v1/cases/decisions", &rest).await.json(), json!({"cases": 1}));
    assert_eq!(ids(&get(&proxy, "/api/v1/cases?state=wrong").await), [&all[2]]);
    let stats = get(&proxy, "/api/v1/stats").await;
    let rule = json!({"name": "tests/unsafe-prompt", "open": 0, "right": 2, "wrong": 1, "disputed": 0});
    assert_eq!(stats["rules"], json!([rule]));
}

#[tokio::test]
async fn a_false_positive_becomes_an_exception() {
    let proxy = proxy().await;
    let id = &flagged(&proxy, 1).await[0];
    let expires = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).strftime("%Y-%m-%d").to_string();
    let wish = json!({"case": id, "note": "a name", "expires": expires}).to_string();
    let made = by(&proxy, Role::Reviewer, Method::POST, "/api/v1/exceptions", &wish).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let item = made.json()["items"][0].clone();
    assert_eq!((&item["policy"], &item["owner"], &item["case"]), (&json!("tests"), &json!("reviewer"), &json!(id)));
    assert_eq!(get(&proxy, "/api/v1/exceptions").await["items"], json!([item]));
    let own = format!("/api/v1/exceptions/{}", item["id"].as_str().unwrap());
    assert_eq!(by(&proxy, Role::Reviewer, Method::DELETE, &own, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(by(&proxy, Role::Reviewer, Method::DELETE, &own, "").await.status, StatusCode::NOT_FOUND);
    let late = json!({"case": id, "expires": "2020-01-01"}).to_string();
    let refused = by(&proxy, Role::Reviewer, Method::POST, "/api/v1/exceptions", &late).await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some("invalid")));
    let masked = proxy.post(ask("danger 4111 1111 1111 1111")).await.header("seawall-request-id").to_owned();
    let wish = json!({"case": masked, "expires": expires}).to_string();
    let refused = by(&proxy, Role::Reviewer, Method::POST, "/api/v1/exceptions", &wish).await;
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("is masked"), "{refused:?}");
    let others = json!({"case": id, "owner": "ana", "expires": expires}).to_string();
    let made = by(&proxy, Role::Admin, Method::POST, "/api/v1/exceptions", &others).await.json();
    let theirs = format!("/api/v1/exceptions/{}", made["items"][0]["id"].as_str().unwrap());
    assert_eq!(by(&proxy, Role::Reviewer, Method::DELETE, &theirs, "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(by(&proxy, Role::Admin, Method::DELETE, &theirs, "").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_was_done_is_on_record_and_what_is_purged_is_gone() {
    let proxy = proxy().await;
    let all = flagged(&proxy, 2).await;
    get(&proxy, &format!("/api/v1/cases/{}", all[0])).await;
    let purge = json!({"ids": [all[0]]}).to_string();
    assert_eq!(by(&proxy, Role::Reviewer, Method::POST, "/api/v1/purge", &purge).await.status, StatusCode::FORBIDDEN);
    assert_eq!(by(&proxy, Role::Admin, Method::POST, "/api/v1/purge", &purge).await.json(), json!({"cases": 1}));
    assert_eq!(ids(&get(&proxy, "/api/v1/cases").await), [&all[1]]);
    let trail = by(&proxy, Role::Admin, Method::GET, "/api/v1/audit", "").await.json();
    let lines = trail["items"].as_array().unwrap().iter();
    let done: Vec<_> = lines.map(|line| (line["actor"].as_str().unwrap(), line["action"].as_str().unwrap())).collect();
    assert_eq!(done, [("admin", "purge"), ("viewer", "look")]);
    let looks = by(&proxy, Role::Admin, Method::GET, "/api/v1/audit?action=look&limit=1", "").await.json();
    assert_eq!((&looks["items"][0]["case"], &looks["next"]), (&json!(all[0]), &looks["items"][0]["seq"]));
}

#[tokio::test]
async fn cases_are_taken_out_as_files() {
    let proxy = proxy().await;
    // More than are read at once.
    let all = flagged(&proxy, 300).await;
    let wrong = "{\"verdict\": \"wrong\"}";
    by(&proxy, Role::Reviewer, Method::POST, &format!("/api/v1/cases/{}/decision", all[0]), wrong).await;
    let export = async |role, query: &str| by(&proxy, role, Method::GET, &format!("/api/v1/cases/export{query}"), "").await;
    let text = |answer: &Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(export(Role::Viewer, "").await.status, StatusCode::FORBIDDEN);
    let labelled = export(Role::Reviewer, "").await;
    let line: Value = serde_json::from_str(&text(&labelled)).unwrap();
    assert_eq!((&line["text"], &line["label"], &line["id"]), (&json!("danger"), &json!("safe"), &json!(all[0])));
    assert_eq!(labelled.header("content-type"), "application/jsonl");
    let csv = export(Role::Reviewer, "?format=csv").await;
    assert_eq!((text(&csv).lines().count(), csv.header("content-type")), (301, "text/csv; charset=utf-8"));
    assert_eq!(export(Role::Reviewer, "?format=cases").await.status, StatusCode::FORBIDDEN);
    let cases = text(&export(Role::Admin, "?format=cases&state=open").await);
    let lines = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned());
    assert!(lines.eq(all.iter().skip(1).rev().cloned()), "all, the oldest first");
    let trail = by(&proxy, Role::Admin, Method::GET, "/api/v1/audit?action=export", "").await.json();
    assert_eq!(trail["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_document_tells_of_every_call() {
    let proxy = proxy().await;
    let document = get(&proxy, "/api/v1/openapi.json").await;
    let served = proxy.routes.iter().filter(|route| route.path.starts_with("/api/"));
    let mut count = 0;
    for route in served {
        let Access::Least(least) = route.access else { panic!("{} is open to all", route.path) };
        let told = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        assert_eq!(told["security"][0]["token"], json!([least.name()]), "{} {}", route.method, route.path);
        count += 1;
    }
    let told = document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len());
    assert_eq!(told.sum::<usize>(), count, "and of no other");
    let parameters = document["paths"]["/api/v1/cases"]["get"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "search" && parameter["in"] == "query"));
}
