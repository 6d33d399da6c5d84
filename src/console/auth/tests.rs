//! Pages of another room behind the sign-in.

use axum::{Form, http::header, response::Redirect};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::{users::tests::quick, *};
use crate::console::{Console, Rooms, Route};

/// A console with a page and a form, and the token of somebody who has signed in.
async fn console() -> (Console, Arc<Auth>, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}", dir.path().join("r.db").display())).await.unwrap();
    let user = config::User { name: "ana".to_owned(), password: quick("one"), role: Role::Viewer };
    let settings = config::Admin { users: vec![user], ..config::Admin::default() };
    let auth = Arc::new(Auth::new(&settings, true, store.clone()).await.unwrap());
    let proof = auth.users.get("ana").unwrap().proof();
    let cookie = auth.begin(&HeaderMap::new(), "ana", None, proof).await.unwrap();
    let token = cookie.to_str().unwrap().split([';', '=']).nth(1).unwrap().to_owned();
    let echo = async |Reviewer { name, .. }: Reviewer, Form(fields): Form<Vec<(String, String)>>| {
        Redirect::to(&format!("/{name}?{}", fields.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("&")))
    };
    let more = [Route::post("/review/x", Role::Viewer, echo)];
    (Console::new(Rooms { auth: Arc::clone(&auth), store }, more), auth, token, dir)
}

async fn asked(console: &Console, request: http::request::Builder, body: &str) -> (u16, String, String) {
    let request = request.header("host", "localhost").body(Body::from(body.to_owned())).unwrap();
    let Ok(answer) = TowerToHyperService::new(console.clone().router()).call(request).await;
    let (head, body) = answer.into_parts();
    let to = head.headers.get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    (head.status.as_u16(), to, String::from_utf8(to_bytes(body, FORM).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn pages_lead_to_the_sign_in_and_back() {
    let (console, _, token, _dir) = console().await;
    let get = |path: &str| http::Request::get(path);
    let cookie = format!("seawall_session={token}");
    assert!(asked(&console, get("/review").header("cookie", &cookie), "").await.2.contains("<title>Queue"));
    let (status, to, _) = asked(&console, get("/review?state=open&page=2"), "").await;
    assert_eq!((status, to.as_str()), (303, "/review/sign-in?next=%2Freview%3Fstate%3Dopen%26page%3D2"));
    // A link in somebody's mail: the browser has the cookie, but does not send it.
    let (status, _, page) = asked(&console, get("/review?a=%22%3E&b").header("sec-fetch-site", "cross-site"), "").await;
    assert!(status == 200 && page.contains("content=\"0; url=/review?a=%22%3E&amp;b\""), "{page}");
    let (status, to, _) = asked(&console, get("/review?a").header("sec-fetch-site", "same-origin"), "").await;
    assert_eq!((status, to.as_str()), (303, "/review/sign-in?next=%2Freview%3Fa"), "once only");
}

#[tokio::test]
async fn forms_arrive_whole_if_they_are_the_pages_own() {
    let (console, _, token, _dir) = console().await;
    let post = || {
        let post = http::Request::post("/review/x").header("cookie", format!("seawall_session={token}"));
        post.header("content-type", "application/x-www-form-urlencoded")
    };
    let csrf = csrf(&crate::identity::Secret::new(token.clone()));
    let (status, to, _) = asked(&console, post(), &format!("a=1&csrf={csrf}&b=2")).await;
    assert_eq!((status, to), (303, format!("/ana?1&{csrf}&2")));
    let (status, to, _) = asked(&console, post().header("seawall-csrf", &csrf), "a=1").await;
    assert_eq!((status, to.as_str()), (303, "/ana?1"));
    for body in ["a=1", "csrf=", &format!("csrf={csrf}x"), &format!("csrf={token}")] {
        let (status, _, page) = asked(&console, post(), body).await;
        assert!(status == 403 && page.contains("load it anew"), "{body}");
    }
    let (status, ..) = asked(&console, post(), &"a".repeat(FORM + 1)).await;
    assert_eq!(status, 413);
    let (status, to, _) = asked(&console, http::Request::post("/review/x").header("content-type", origin::FORM), "").await;
    assert_eq!((status, to.as_str()), (303, "/review/sign-in?next=%2Freview"), "what cannot be got is no way back");
}

#[tokio::test]
async fn names_of_the_settings_are_nobody_elses() {
    let (_, auth, ..) = console().await;
    let session = |name: &str, role: Option<&str>, proof: &str| Session {
        name: name.to_owned(),
        role: role.map(str::to_owned),
        proof: proof.to_owned(),
        created_ms: 0,
        expires_ms: 0,
    };
    let own = auth.users.get("ana").unwrap().proof();
    assert_eq!(auth.role(&session("ana", None, &own)), Some(Role::Viewer));
    for (name, role, proof) in
        [("ana", None, "user:0"), ("bo", None, &own), ("ana", Some("admin"), &own), ("bo", Some("admin"), "oidc:0")]
    {
        assert_eq!(auth.role(&session(name, role, proof)), None, "{name} {role:?} {proof}");
    }
}
