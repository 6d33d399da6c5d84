//! The pages as a reviewer's browser has them, over a record of their own.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    http::{Request, header, request::Builder},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::json;

use crate::{
    config::{self, Role},
    console::{Auth, Console, Rooms},
    identity::hash,
    policy::text_hash,
    review::{Action, Case, Opinion, State, Store, Text, Trail},
    segment::Target,
};

const ID: &str = "01937a2e-7c1f-7d3a-9f00-00000000000";

/// A console with three cases, and nobody but a tool of each role to look at it.
async fn console() -> (Console, Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}", dir.path().join("r.db").display())).await.unwrap();
    let token = |name: &str, role| config::AdminToken { name: name.into(), hash: hash(name), role };
    let tokens = vec![token("vera", Role::Viewer), token("ravi", Role::Reviewer), token("ana", Role::Admin)];
    let settings = config::Admin { tokens, ..config::Admin::default() };
    let auth = Arc::new(Auth::new(&settings, true, store.clone()).await.unwrap());
    store.record(&[case(1), case(2), case(3)]).await.unwrap();
    (Console::new(Rooms { auth, store: store.clone() }, []), store, dir)
}

fn case(number: usize) -> Case {
    let text = format!("there is danger {number} <b>");
    Case {
        id: format!("{ID}{number}"),
        version: 1,
        at: format!("2026-01-0{number}T00:00:00Z"),
        decision: "block".into(),
        dialect: "openai_chat".into(),
        model: "m".into(),
        stream: false,
        language: Some("en".into()),
        score: Some(0.9),
        guard: "g".into(),
        policy: "p".into(),
        reasons: json!([{"direction": "request", "policy": "p", "rule": "r", "action": "block", "target": "prompt", "score": 0.9}]),
        request: vec![Text { target: Target::Prompt, text, hashed: None, whole: true, message: 0, findings: vec![] }],
        response: vec![],
        call: None,
        evidence: None,
    }
}

/// What is answered: the status, where it leads, the cookie, and the page.
struct Answer {
    status: u16,
    to: String,
    cookie: String,
    page: String,
}

async fn ask(console: &Console, who: &str, request: Builder, body: &str) -> Answer {
    let request = request.header("host", "localhost").header("authorization", format!("Bearer {who}"));
    let request =
        request.header("content-type", "application/x-www-form-urlencoded").body(Body::from(body.to_owned())).unwrap();
    let Ok(answer) = TowerToHyperService::new(console.clone().router()).call(request).await;
    let (head, body) = answer.into_parts();
    let named = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let page = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    Answer { status: head.status.as_u16(), to: named(header::LOCATION), cookie: named(header::SET_COOKIE), page }
}

async fn get(console: &Console, who: &str, path: &str) -> Answer {
    ask(console, who, Request::get(path), "").await
}

#[tokio::test]
async fn the_queue_leads_to_cases_and_from_one_to_the_next() {
    let (console, store, _dir) = console().await;
    let queue = get(&console, "vera", "/review?q=danger&rule=r").await;
    assert_eq!(queue.status, 200);
    let place = |number| queue.page.find(&format!("danger {number} &lt;b&gt;"));
    assert!(place(3) < place(2) && place(2) < place(1) && place(3).is_some(), "the newest is first");
    assert!(!queue.page.contains("Select case"), "who only looks has nothing to select");
    let page = get(&console, "vera", &format!("/review/cases/{ID}2?state=all&rule=r")).await.page;
    for (id, name) in [("newer", 3), ("older", 1)] {
        let link = format!(
            "id=\"{id}\" rel=\"{}\" href=\"/review/cases/{ID}{name}?state=all&amp;rule=r\"",
            if id == "newer" { "prev" } else { "next" }
        );
        assert!(page.contains(&link), "{id}: {page}");
    }
    assert!(!page.contains("aria-label=\"Your decision\""), "nor anything to decide");
    let looks = store.trail(&Trail { action: Some("look".into()), ..Trail::default() }, None, 9).await.unwrap();
    assert_eq!((looks.len(), looks[0].actor.as_str(), looks[0].case.as_deref()), (1, "vera", Some(&*format!("{ID}2"))));
    assert_eq!(get(&console, "vera", "/review/cases/nothing").await.status, 404);
    let text = get(&console, "vera", &format!("/review/cases/{ID}2/texts/request/0")).await;
    assert_eq!(text.page, "there is danger 2 <b>");
    assert_eq!(get(&console, "vera", &format!("/review/cases/{ID}2/texts/request/1")).await.status, 404);
    let wrong = get(&console, "vera", "/review?since=whenever").await;
    assert!(wrong.status == 200 && wrong.page.contains("role=\"alert\""), "{}", wrong.page);
}

#[tokio::test]
async fn decisions_are_told_and_taken_back() {
    let (console, store, _dir) = console().await;
    let (first, second) = (format!("{ID}1"), format!("{ID}2"));
    let post = |path: &str, from: &str| Request::post(path).header("referer", format!("http://localhost{from}"));
    let decide = format!("/review/cases/{second}/decide");
    let here = format!("/review/cases/{second}?state=all");
    let done = ask(&console, "ravi", post(&decide, &here), "verdict=wrong&note=quoted").await;
    assert_eq!((done.status, &done.to), (303, &here));
    let decisions = store.decisions(&second).await.unwrap();
    assert_eq!((decisions[0].opinion, decisions[0].note.as_str()), (Opinion::Wrong, "quoted"));
    let cookie = done.cookie.split(';').next().unwrap().to_owned();
    let told = ask(&console, "ravi", Request::get(&here).header("cookie", cookie), "").await;
    assert!(told.page.contains("Marked 1 case wrong.") && told.cookie.contains("Max-Age=0"), "{}", told.page);
    let on = ask(&console, "ravi", post(&decide, &here), "verdict=right&onward=yes").await;
    assert_eq!(on.to, format!("/review/cases/{first}?state=all"));
    let many =
        ask(&console, "ravi", post("/review/decide", "/review"), &format!("verdict=right&case={first}&case={second}")).await;
    assert_eq!(many.to, "/review");
    assert_eq!(store.state(&first).await.unwrap(), State::Right);
    let undone = ask(&console, "ravi", post("/review/undo", "/elsewhere"), &format!("case={first}&case={second}")).await;
    assert!(undone.to == "/review" && undone.cookie.contains("undone*2"), "{}", undone.cookie);
    assert_eq!(store.state(&second).await.unwrap(), State::Open);
    for (body, told) in
        [("verdict=right", "failed*none"), ("verdict=x&case=a", "failed*form"), ("verdict=right&case=a", "failed*gone")]
    {
        let failed = ask(&console, "ravi", post("/review/decide", "/review"), body).await;
        assert!(failed.cookie.contains(told), "{body}: {}", failed.cookie);
    }
    assert_eq!(ask(&console, "vera", post("/review/decide", "/review"), "verdict=right").await.status, 403);
}

#[tokio::test]
async fn an_exception_is_made_and_removed_by_who_may() {
    let (console, store, _dir) = console().await;
    let make = format!("/review/cases/{ID}1/exceptions");
    let day = TimeZone::UTC.to_datetime(Timestamp::now()).date().saturating_add(9.days()).to_string();
    let form = format!("text=request/prompt/0&policy=p&owner=Safety&note=a+quote&expires={day}");
    let made = ask(&console, "ana", Request::post(&make), &form).await;
    assert!(made.cookie.contains("excepted"), "{}", made.cookie);
    let exception = store.exceptions(9).await.unwrap().remove(0);
    assert_eq!(exception.hash, text_hash("there is danger 1 <b>").to_string());
    let late = form.replace(&day, "2999-01-01");
    assert!(ask(&console, "ana", Request::post(&make), &late).await.cookie.contains("failed*exception"));
    assert!(get(&console, "vera", "/review/exceptions").await.page.contains("Safety"));
    let remove = format!("/review/exceptions/{}/remove", exception.id);
    assert!(ask(&console, "ravi", Request::post(&remove), "").await.cookie.contains("failed*not-own"));
    assert!(ask(&console, "ana", Request::post(&remove), "").await.cookie.contains("removed"));
    assert!(!get(&console, "vera", "/review/exceptions").await.page.contains("Safety"));
}

#[tokio::test]
async fn charts_and_the_trail_are_shown_and_files_are_kept_by_browsers() {
    let (console, store, _dir) = console().await;
    store.audit("ana", Action::Look, Some("a"), &json!({})).await.unwrap();
    assert!(get(&console, "vera", "/review/charts?days=365").await.page.contains(" flags in 365 days"));
    assert!(get(&console, "ana", "/review/audit").await.page.contains("<td>ana</td>"));
    assert_eq!(get(&console, "ravi", "/review/audit").await.status, 403);
    assert_eq!(get(&console, "vera", "/review/live").await.status, 400, "it has to say since when");
    let page = get(&console, "vera", "/review").await.page;
    let at = page.find("/review/assets/review.css").unwrap();
    let style = &page[at..at + page[at..].find('"').unwrap()];
    let version = style.split("v=").nth(1).unwrap();
    assert!(get(&console, "vera", style).await.page.contains("prefers-reduced-motion"));
    let again = Request::get(style).header("if-none-match", format!("\"{version}\""));
    assert_eq!(ask(&console, "vera", again, "").await.status, 304);
    assert_eq!(get(&console, "vera", "/review/assets/../secret").await.status, 404);
}
