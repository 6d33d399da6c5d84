//! Webhooks: who is told of flagged exchanges.

use std::{collections::BTreeSet, time::Duration};

use data_encoding::BASE64;
use ring::hmac;
use seawall::config::{Config, Secret, Webhook};
use serde_json::{Value, json};
use sqlx::AnyPool;
use tempfile::TempDir;

use crate::harness::{Answer, Call, Proxy, RULES, Upstream, ask, postgres};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Somebody who is told, and the store of those who tell.
struct Receiver {
    calls: Upstream,
    store: String,
    dir: TempDir,
}

impl Receiver {
    async fn with(store: impl FnOnce(&TempDir) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), SECRET).unwrap();
        Self { calls: Upstream::start().await, store: store(&dir), dir }
    }

    async fn start() -> Self {
        Self::with(|dir| format!("sqlite://{}", dir.path().join("shared.db").display())).await
    }

    fn hook(&self, path: &str) -> Webhook {
        Webhook {
            url: format!("http://{}{path}", self.calls.address),
            secret: Secret { env: None, file: Some(self.dir.path().join("secret")) },
            ca_file: None,
            decisions: Vec::new(),
            rules: Vec::new(),
            text: false,
        }
    }

    /// A node that tells.
    async fn node(&self, change: impl FnOnce(&mut Config)) -> Proxy {
        Proxy::with(RULES, |config| {
            config.review.store.clone_from(&self.store);
            config.review.webhooks = vec![self.hook("/hook?team=1")];
            change(config);
        })
        .await
    }

    /// Waits until nothing is left to be told.
    async fn all_told(&self) {
        let pool = AnyPool::connect(&self.store).await.unwrap();
        let left = async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM deliveries").fetch_one(&pool).await.unwrap();
        while left().await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What a call tells, if it comes from who has the secret.
fn told(call: &Call) -> Value {
    let header = |name: &str| call.headers[name].to_str().unwrap();
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), call.text());
    let key = BASE64.decode(SECRET.trim_start_matches("whsec_").as_bytes()).unwrap();
    let tag = BASE64.decode(header("webhook-signature").strip_prefix("v1,").unwrap().as_bytes()).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes(), &tag).unwrap();
    let age = jiff::Timestamp::now().as_second() - header("webhook-timestamp").parse::<i64>().unwrap();
    assert!((0..60).contains(&age) && header("content-type") == "application/json");
    serde_json::from_str(&call.text()).unwrap()
}

fn id(answer: &Answer) -> &str {
    answer.header("seawall-request-id")
}

#[tokio::test]
async fn what_cannot_be_told_is_told_later_whoever_starts_then() {
    let receiver = Receiver::start().await;
    let first = receiver.node(|config| config.admin.public_url = Some("https://seawall.example/".into())).await;
    let flagged = first.post(ask("danger")).await;
    let call = receiver.calls.call().await;
    let (event, webhook) = (told(&call), call.headers["webhook-id"].clone());
    assert_eq!((call.uri.to_string().as_str(), &event["type"]), ("/hook?team=1", &json!("case.flagged")));
    let data = &event["data"];
    assert_eq!(
        (&data["id"], &data["decision"], &data["rules"]),
        (&id(&flagged).into(), &"block".into(), &json!(["unsafe-prompt"]))
    );
    assert_eq!(data["url"], format!("https://seawall.example/review/cases/{}", id(&flagged)));
    assert!(!call.text().contains("danger"), "no text unless it is asked for");
    // A call that is led elsewhere has not arrived.
    let elsewhere = format!("http://{}/elsewhere", receiver.calls.address);
    call.answer_as(307, &[("location", &elsewhere)], "");
    while first.metric("seawall_webhook_deliveries_total{outcome=\"failed\"}").await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.shut_down().await;
    let second = receiver.node(|_| {}).await;
    for status in [500, 204] {
        let again = receiver.calls.call().await;
        assert_eq!((again.uri.path(), told(&again), &again.headers["webhook-id"]), ("/hook", event.clone(), &webhook));
        again.answer(status, "");
    }
    receiver.all_told().await;
    let outcomes = ["delivered", "failed"].map(|outcome| format!("seawall_webhook_deliveries_total{{outcome=\"{outcome}\"}}"));
    assert_eq!((second.metric(&outcomes[0]).await, second.metric(&outcomes[1]).await), (1, 1));
}

#[tokio::test]
async fn hooks_are_told_what_they_ask_for() {
    let receiver = Receiver::start().await;
    let cards = Webhook { rules: vec!["cards".into()], text: true, ..receiver.hook("/cards") };
    let flags = Webhook { decisions: vec!["flag".into()], ..receiver.hook("/flags") };
    let node = receiver.node(|config| config.review.webhooks = vec![cards, flags]).await;
    node.post(ask("danger")).await;
    let both = node.post(ask("danger, my card is 4111 1111 1111 1111")).await;
    let call = receiver.calls.call().await;
    let data = told(&call)["data"].clone();
    assert_eq!((call.uri.path(), &data["id"]), ("/cards", &id(&both).into()));
    assert_eq!(data["prompt"], "danger, my card is [payment card]", "as it is kept");
    call.answer(200, "");
    receiver.all_told().await;
    assert!(receiver.calls.is_idle().await);
}

/// Two nodes on one store tell all that either writes, each once.
async fn told_once(receiver: &Receiver) {
    const EACH: usize = 12;
    let (one, other) = (receiver.node(|_| {}).await, receiver.node(|_| {}).await);
    let flag = async |node: &Proxy| {
        let mut flagged = BTreeSet::new();
        for _ in 0..EACH {
            flagged.insert(id(&node.post(ask("danger")).await).to_owned());
        }
        flagged
    };
    let hear = async {
        let mut calls = Vec::new();
        for _ in 0..2 * EACH {
            let call = receiver.calls.call().await;
            calls.push((told(&call)["data"]["id"].as_str().unwrap().to_owned(), call.headers["webhook-id"].clone()));
            call.answer(200, "");
        }
        calls
    };
    let (mut flagged, more, calls) = tokio::join!(flag(&one), flag(&other), hear);
    flagged.extend(more);
    receiver.all_told().await;
    assert_eq!(calls.iter().map(|(case, _)| case.clone()).collect::<BTreeSet<_>>(), flagged);
    assert_eq!(calls.iter().map(|(_, webhook)| webhook.as_bytes()).collect::<BTreeSet<_>>().len(), 2 * EACH);
    assert!(receiver.calls.is_idle().await);
}

#[tokio::test]
async fn two_nodes_tell_once_on_sqlite() {
    told_once(&Receiver::start().await).await;
}

#[tokio::test]
async fn two_nodes_tell_once_on_postgres() {
    told_once(&Receiver::with(|_| postgres::database().unwrap()).await).await;
}
