//! What the admin listener serves to people who sign in, and to tools.

mod access;
mod api;
mod oidc;
mod windows;

use std::net::Ipv4Addr;

use argon2::{Argon2, Params, PasswordHasher as _, password_hash::SaltString};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use seawall::config::{Config, Role, User};

use crate::harness::{Answer, Proxy, RULES};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Somebody whose password is their name, and its hash quickly made.
fn user(name: &str, role: Role) -> User {
    let argon = Argon2::from(Params::new(8, 1, 1, None).unwrap());
    let password = argon.hash_password(name.as_bytes(), &SaltString::encode_b64(b"0123456789").unwrap()).unwrap().to_string();
    User { name: name.to_owned(), password, role }
}

/// One of each role.
fn people(config: &mut Config) {
    config.admin.users = Role::ALL.map(|role| user(role.name(), role)).into();
}

async fn proxy() -> Proxy {
    Proxy::with(RULES, people).await
}

/// A proxy whose admin listener is reached from other machines too.
async fn public() -> Proxy {
    let mut proxy = Proxy::with(RULES, |config| {
        people(config);
        config.admin.address = (Ipv4Addr::UNSPECIFIED, 0).into();
    })
    .await;
    proxy.admin.set_ip(Ipv4Addr::LOCALHOST.into());
    proxy
}

fn request(proxy: &Proxy, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("http://{}{path}", proxy.admin));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::from(body.to_owned())).unwrap()
}

async fn call(proxy: &Proxy, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    Answer::read(proxy.send(request(proxy, method, path, headers, body)).await).await
}

async fn sign_in(proxy: &Proxy, name: &str, password: &str) -> Answer {
    call(proxy, Method::POST, "/review/sign-in", &[FORM], &format!("name={name}&password={password}")).await
}

/// A browser in which somebody has signed in.
struct Browser<'p> {
    proxy: &'p Proxy,
    cookie: String,
    csrf: String,
}

impl<'p> Browser<'p> {
    async fn of(proxy: &'p Proxy, name: &str) -> Self {
        let answer = sign_in(proxy, name, name).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/review"));
        Self::with(proxy, answer.header("set-cookie")).await
    }

    /// One that has been told to keep this cookie.
    async fn with(proxy: &'p Proxy, set: &str) -> Self {
        let cookie = set.split(';').next().unwrap().to_owned();
        let csrf = call(proxy, Method::GET, "/api/v1/me", &[("cookie", &cookie)], "").await.json()["csrf"].clone();
        Self { proxy, cookie, csrf: csrf.as_str().unwrap().to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        call(self.proxy, Method::GET, path, &[("cookie", &self.cookie)], "").await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = [&[("cookie", self.cookie.as_str())], headers].concat();
        call(self.proxy, Method::POST, path, &headers, body).await
    }

    async fn is_signed_in(&self) -> bool {
        self.get("/api/v1/me").await.status == StatusCode::OK
    }
}
