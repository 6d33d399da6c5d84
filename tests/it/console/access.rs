//! Who gets in, how far, and until when.

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use seawall::{
    config::{ClientAuth, Role},
    console::{Access, Route},
    identity::hash,
    review::Session,
};

use super::{Browser, FORM, JSON, call, people, proxy, public, request, sign_in, user};
use crate::{
    harness::{Proxy, RULES, TOKEN},
    identity::mtls::Authority,
};

const POLICY: &str = "/api/v1/policy";
const RELOAD: &str = "/api/v1/policy/reload";

/// A call of a route, with nothing in it that it would do something with.
fn empty(Route { method, path, .. }: &Route) -> (Method, String, (&'static str, &'static str)) {
    let path = path.replace(['{', '}'], "");
    let kind = if path.starts_with("/api/") { JSON } else { FORM };
    (method.clone(), path, kind)
}

#[tokio::test]
async fn nothing_is_served_to_who_has_not_signed_in() {
    let proxy = proxy().await;
    assert!(proxy.routes.iter().any(|route| route.path == RELOAD && route.access == Access::Least(Role::Admin)));
    for route in &proxy.routes {
        let (method, path, kind) = empty(route);
        if route.access == Access::Open {
            assert!(path.starts_with("/review/sign-in") || path.starts_with("/review/assets/"), "{path}");
            continue;
        }
        for (name, value) in [
            ("x", "y"),
            ("authorization", "Bearer sk-seawall-unknown"),
            ("authorization", "Basic dGVzdHM6dGVzdHM="),
            ("cookie", "seawall_session="),
            ("cookie", "seawall_session=unknown"),
            ("cookie", "seawall_session=sk-seawall-tests"),
        ] {
            let answer = call(&proxy, method.clone(), &path, &[kind, (name, value)], "").await;
            if path.starts_with("/api/") {
                assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"), "{path}");
                assert!(answer.json()["error"]["message"].as_str().unwrap().contains("sign in"));
            } else {
                assert_eq!(answer.status, StatusCode::SEE_OTHER, "{method} {path} {value}");
                assert!(answer.header("location").starts_with("/review/sign-in?next=%2Freview"), "{answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn roles_hold() {
    let proxy = proxy().await;
    for role in Role::ALL {
        let browser = Browser::of(&proxy, role.name()).await;
        for route in &proxy.routes {
            let Access::Least(least) = route.access else { continue };
            if route.path == "/review/sign-out" {
                continue;
            }
            let (method, path, kind) = empty(route);
            let headers = [kind, ("cookie", &browser.cookie), ("seawall-csrf", &browser.csrf)];
            let status = proxy.send(request(&proxy, method, &path, &headers, "")).await.status();
            assert_eq!(status == StatusCode::FORBIDDEN, role < least, "{role:?} {path} {status}");
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    let viewer = Browser::of(&proxy, "viewer").await;
    let told = viewer.post(RELOAD, &[JSON, ("seawall-csrf", &viewer.csrf)], "").await.json();
    assert_eq!(told["error"]["message"], "this takes the role `admin`, and yours is `viewer`");
}

#[tokio::test]
async fn what_the_pages_do_not_send_themselves_is_refused() {
    let proxy = proxy().await;
    let (browser, other) = (Browser::of(&proxy, "admin").await, Browser::of(&proxy, "admin").await);
    let own = format!("http://{}", proxy.admin);
    let csrf = ("seawall-csrf", browser.csrf.as_str());
    for (headers, status) in [
        (vec![JSON], StatusCode::FORBIDDEN),
        (vec![JSON, ("seawall-csrf", "")], StatusCode::FORBIDDEN),
        (vec![JSON, ("seawall-csrf", &other.csrf)], StatusCode::FORBIDDEN),
        (vec![JSON, csrf, ("origin", "https://evil.example")], StatusCode::FORBIDDEN),
        (vec![JSON, csrf, ("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN),
        (vec![FORM, csrf], StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![JSON, csrf, ("origin", &own), ("sec-fetch-site", "same-origin")], StatusCode::OK),
    ] {
        assert_eq!(browser.post(RELOAD, &headers, "").await.status, status, "{headers:?}");
    }
    let token = format!("Bearer {TOKEN}");
    let tool = call(&proxy, Method::POST, RELOAD, &[JSON, ("authorization", &token)], "").await;
    assert_eq!(tool.status, StatusCode::OK, "no browser sends a token unasked");
    // Forms carry it in a field; nobody signs others out, or in under a name that is not theirs.
    for body in ["", "csrf=", &format!("csrf={}", other.csrf)] {
        assert_eq!(browser.post("/review/sign-out", &[FORM], body).await.status, StatusCode::FORBIDDEN, "{body}");
    }
    let foreign = [FORM, ("origin", "https://evil.example")];
    let answer = call(&proxy, Method::POST, "/review/sign-in", &foreign, "name=admin&password=admin").await;
    assert_eq!((answer.status, answer.headers.get("set-cookie")), (StatusCode::FORBIDDEN, None));
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn guessing_is_slowed() {
    let proxy = proxy().await;
    for _ in 0..5 {
        let answer = sign_in(&proxy, "admin", "guess").await;
        assert_eq!((answer.status, answer.headers.get("set-cookie")), (StatusCode::FORBIDDEN, None));
    }
    let slowed = sign_in(&proxy, "admin", "admin").await;
    assert_eq!(slowed.status, StatusCode::TOO_MANY_REQUESTS, "even the right one waits");
    assert!((1..=11).contains(&slowed.header("retry-after").parse::<u32>().unwrap()));
    assert_eq!(sign_in(&proxy, "viewer", "viewer").await.status, StatusCode::SEE_OTHER, "others do not");
    // Of names that nobody has it tells no more.
    let answers: Vec<StatusCode> = futures_util::future::join_all((0..7).map(|_| sign_in(&proxy, "nobody", "guess")))
        .await
        .iter()
        .map(|a| a.status)
        .collect();
    assert_eq!(answers.iter().filter(|status| **status == StatusCode::FORBIDDEN).count(), 5, "nor do many at once get further");
    for number in 0..30 {
        sign_in(&proxy, &format!("name{number}"), "guess").await;
    }
    assert_eq!(sign_in(&proxy, "reviewer", "reviewer").await.status, StatusCode::TOO_MANY_REQUESTS, "nor many names");
}

#[tokio::test]
async fn a_session_is_a_cookie_that_nobody_else_gets_and_ends_with_the_sign_out() {
    let proxy = proxy().await;
    let answer = sign_in(&proxy, "reviewer", "reviewer").await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("seawall_session=") && cookie.split(';').next().unwrap().len() == 16 + 43, "256 bits: {cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict"), "{cookie}");
    let browser = Browser::with(&proxy, cookie).await;
    let me = browser.get("/api/v1/me").await.json();
    assert_eq!((me["name"].as_str(), me["role"].as_str()), (Some("reviewer"), Some("reviewer")));
    // The store cannot open what it keeps.
    let dump = std::fs::read(proxy.store.trim_start_matches("sqlite://").to_owned() + "-wal").unwrap();
    let token = browser.cookie.split_once('=').unwrap().1;
    assert!(!dump.windows(token.len()).any(|part| part == token.as_bytes()));
    assert!(dump.windows(64).any(|part| part == &hash(token).as_bytes()[7..]));

    let other = Browser::of(&proxy, "reviewer").await;
    let out = browser.post("/review/sign-out", &[FORM], &format!("csrf={}", browser.csrf)).await;
    assert_eq!((out.status, out.header("location")), (StatusCode::SEE_OTHER, "/review/sign-in"));
    assert!(out.header("set-cookie").starts_with("seawall_session=; Path=/; Max-Age=0;"));
    assert!(!browser.is_signed_in().await && other.is_signed_in().await);
    // Who signs in anew in a browser leaves no session behind.
    let form = "name=reviewer&password=reviewer&next=%2Freview%2Fcase%2F1";
    let again = other.post("/review/sign-in", &[FORM], form).await;
    assert_eq!((again.status, again.header("location")), (StatusCode::SEE_OTHER, "/review/case/1"));
    assert!(!other.is_signed_in().await && Browser::with(&proxy, again.header("set-cookie")).await.is_signed_in().await);
    let astray =
        call(&proxy, Method::POST, "/review/sign-in", &[FORM], "name=viewer&password=viewer&next=//evil.example").await;
    assert_eq!(astray.header("location"), "/review");
}

#[tokio::test]
async fn sessions_end_by_age_and_idleness() {
    let proxy = proxy().await;
    let browser = Browser::of(&proxy, "viewer").await;
    let store = proxy.review().await;
    let now = jiff::Timestamp::now().as_millisecond();
    let (hour, token) = (3_600_000, browser.cookie.split_once('=').unwrap().1);
    let own = store.session_find(&hash(token), now, hour).await.unwrap().unwrap();
    for (created_ms, expires_ms, holds) in [
        (now, now + hour, true),
        (now - 2 * hour, now - 1, false),
        (now - 61 * 60_000, now + hour, false),
        (now - 59 * 60_000, now + hour, true),
    ] {
        let token = format!("{created_ms}-{expires_ms}");
        store.session_new(&hash(&token), &Session { created_ms, expires_ms, ..own.clone() }).await.unwrap();
        let cookie = format!("seawall_session={token}");
        let status = call(&proxy, Method::GET, POLICY, &[("cookie", &cookie)], "").await.status;
        assert_eq!(status, if holds { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, "{token}");
    }
}

#[tokio::test]
async fn sessions_end_with_what_they_rest_on() {
    let proxy = proxy().await;
    let (cookie, store) = (Browser::of(&proxy, "reviewer").await.cookie, proxy.store.clone());
    let after = async |change: &dyn Fn(&mut Vec<seawall::config::User>)| {
        let node = Proxy::with(RULES, |config| {
            people(config);
            change(&mut config.admin.users);
            config.review.store.clone_from(&store);
        });
        let node = node.await;
        let me = call(&node, Method::GET, "/api/v1/me", &[("cookie", &cookie)], "").await;
        (me.status.as_u16(), me.json()["role"].as_str().map(str::to_owned))
    };
    assert_eq!(after(&|_| {}).await, (200, Some("reviewer".to_owned())), "any node knows it");
    assert_eq!(after(&|users| users[1].role = Role::Viewer).await, (200, Some("viewer".to_owned())));
    assert_eq!(after(&|users| drop(users.remove(1))).await, (401, None), "nobody any more");
    let password = user("another", Role::Viewer).password;
    assert_eq!(after(&|users| users[1].password.clone_from(&password)).await, (401, None), "another password");
}

#[tokio::test]
async fn every_answer_tells_browsers_to_run_and_keep_nothing() {
    let proxy = proxy().await;
    let page = call(&proxy, Method::GET, "/review/sign-in", &[], "").await;
    for answer in [&page, &proxy.admin(POLICY).await, &call(&proxy, Method::GET, POLICY, &[], "").await] {
        assert!(
            answer.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'; style-src 'self';")
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "same-origin");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    // A script is a file of this server's own.
    let html = html.replace("<script src=\"/review/assets/theme.js\"></script>", "");
    assert!(
        html.contains("autocomplete=\"current-password\"") && !html.contains("<script") && !html.contains("style="),
        "{html}"
    );
    let hostile = "/review/sign-in?next=/review/%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let html = String::from_utf8(call(&proxy, Method::GET, hostile, &[], "").await.body.to_vec()).unwrap();
    assert!(!html.contains("<script>"), "{html}");
}

#[tokio::test]
async fn passwords_are_not_asked_for_where_others_can_read_them() {
    let proxy = public().await;
    let form = "name=viewer&password=viewer";
    let host = ("host", "seawall.internal:8081");
    for (headers, status) in [
        (vec![host], StatusCode::FORBIDDEN),
        (vec![host, ("x-forwarded-proto", "https")], StatusCode::OK),
        (vec![("host", "127.0.0.1")], StatusCode::OK),
    ] {
        let page = call(&proxy, Method::GET, "/review/sign-in", &headers, "").await;
        assert_eq!(page.status, status, "{headers:?}");
        let sent = call(&proxy, Method::POST, "/review/sign-in", &[&headers[..], &[FORM]].concat(), form).await;
        assert_eq!(sent.headers.contains_key("set-cookie"), status == StatusCode::OK, "{headers:?}");
    }
    let told = call(&proxy, Method::GET, "/review/sign-in", &[host], "").await;
    assert!(String::from_utf8_lossy(&told.body).contains("[admin.tls]"));
}

#[tokio::test]
async fn it_is_served_over_tls() {
    let authority = Authority::new();
    let proxy = Proxy::with(RULES, |config| {
        people(config);
        config.admin.tls = Some(authority.tls(Some(ClientAuth::Optional)));
    })
    .await;
    let stream = authority.connect(proxy.admin, None, b"h2").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let bearer = format!("Bearer {TOKEN}");
    for (path, token, status) in [(POLICY, bearer.as_str(), StatusCode::OK), (POLICY, "", StatusCode::UNAUTHORIZED)] {
        let request = Request::get(format!("https://localhost{path}")).header("authorization", token);
        let answer = sender.send_request(request.body(Full::<bytes::Bytes>::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status);
    }
    let form = Request::post("https://localhost/review/sign-in").header(FORM.0, FORM.1).header("origin", "https://localhost");
    let answer = sender.send_request(form.body(Full::from("name=viewer&password=viewer")).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_proxys_clients_are_served_none_of_it() {
    let proxy = proxy().await;
    let cookie = Browser::of(&proxy, "admin").await.cookie;
    for route in &proxy.routes {
        let (method, path, kind) = empty(route);
        let mut request = request(&proxy, method, &path, &[kind, ("cookie", &cookie)], "");
        *request.uri_mut() = format!("http://{}{path}", proxy.address).parse().unwrap();
        assert_eq!(proxy.send(request).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert!(proxy.upstream.is_idle().await);
}
