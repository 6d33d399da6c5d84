//! Webhooks: what is told of flagged exchanges, sent as Standard Webhooks has it.
//!
//! Each hook has a task, on each node. What cannot be sent is tried again, less and less often, and given up after some days. A
//! hook that fails altogether is left alone for a while, so that a long list of deliveries does not become a storm of calls.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::future::join_all;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use zeroize::Zeroizing;

use crate::{
    config,
    connect::{self, Connector, Misconfigured, Version, connector, root},
    exchange::Proxy,
    review::{self, Delivery, Hook, Store},
};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for which a node has a delivery for itself: longer than a try can take.
const LEASE: Duration = Duration::from_secs(30);
/// Deliveries to one hook that are sent at once.
const AT_ONCE: u32 = 8;
/// How often the store is asked for what other nodes have written down, or is to be tried again.
const POLL: Duration = Duration::from_secs(1);
/// The wait after the first try that failed; each further one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait of one delivery.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The longest wait of a hook that fails altogether.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Time after which a delivery is given up.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(72);
/// How often those are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// Most of an answer that is read, so that its connection can be used again.
const ANSWER: usize = 64 << 10;
/// Bytes of a secret.
const SECRET: RangeInclusive<usize> = 24..=64;

/// Where calls go, and what they are signed with.
#[derive(Debug)]
pub(super) struct Target {
    id: String,
    url: Uri,
    client: Client<Connector, Full<Bytes>>,
    key: hmac::Key,
    text: bool,
}

impl Target {
    /// The webhooks of these settings.
    ///
    /// # Errors
    /// An address, a secret or a file that cannot be used.
    pub(super) fn all(settings: &[config::Webhook]) -> Result<Vec<Self>, Misconfigured> {
        settings.iter().enumerate().map(|(number, hook)| Self::new(hook, &format!("review.webhooks.{number}"))).collect()
    }

    fn new(settings: &config::Webhook, section: &str) -> Result<Self, Misconfigured> {
        // What stands there is not told: an address can carry a secret too.
        let wrong = |key: &str, why: &str| Misconfigured(format!("`{section}.{key}` {why}"));
        let url: Uri = settings.url.parse().map_err(|_| wrong("url", "is no address"))?;
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("url", "must hold no user name or password: calls are signed"));
        }
        let secret = settings.secret.value().map_err(|why| wrong("secret", &why))?;
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap_or(&secret).as_bytes()).map(Zeroizing::new);
        let key = key.ok().filter(|key| SECRET.contains(&key.len())).ok_or_else(|| {
            wrong(
                "secret",
                "must be 24 to 64 bytes in base64, after `whsec_` or alone, as `openssl rand -base64 32` makes them",
            )
        })?;
        let reached = connect::Settings {
            section,
            secure: url.scheme_str() == Some("https"),
            ca_file: settings.ca_file.as_deref(),
            client: [None, None],
            timeout: PATIENCE,
        };
        let client = Client::builder(TokioExecutor::new()).build(connector(reached, Version::Http1)?);
        let id = blake3::hash(settings.url.as_bytes()).to_hex().chars().take(16).collect();
        Ok(Self { id, url, client, key: hmac::Key::new(hmac::HMAC_SHA256, &key), text: settings.text })
    }

    /// What the store has to know of it; `public` is the admin listener's address as browsers have it.
    pub(super) fn hook(&self, settings: &config::Webhook, public: Option<&str>) -> Hook {
        let page = public.map(|public| format!("{}/review/cases/", public.trim_end_matches('/')));
        Hook { id: self.id.clone(), decisions: settings.decisions.clone(), rules: settings.rules.clone(), page }
    }

    /// Where it is, for logs.
    fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }
}

/// What says that a body comes from who has the key.
fn signature(key: &hmac::Key, id: &str, seconds: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(tag.as_ref()))
}

/// What came of a look at what there is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// There is nothing.
    Idle,
    /// Something was told.
    Sent,
    /// Nothing could be told, or read.
    Failed,
}

/// Sends what there is to be told.
#[derive(Debug)]
pub(super) struct Sender {
    store: Store,
    proxy: Arc<Proxy>,
}

impl Sender {
    /// A sender of what is in this store.
    pub(super) fn new(store: Store, proxy: Arc<Proxy>) -> Self {
        Self { store, proxy }
    }

    /// Sends to these targets for as long as it is polled.
    pub(super) async fn run(self, targets: Vec<Target>) {
        tokio::join!(join_all(targets.iter().map(|target| self.tell(target))), self.sweep());
    }

    async fn sweep(&self) {
        let mut tick = interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.store.give_up(Timestamp::now() - GIVE_UP).await {
                Ok(0) => {}
                Ok(count) => {
                    tracing::error!(count, "webhooks could not be told for days, and are not told any more");
                    self.proxy.metrics().webhook("given_up", count);
                }
                Err(error) => tracing::warn!(%error, "what webhooks are to be told cannot be swept"),
            }
        }
    }

    async fn tell(&self, target: &Target) {
        let mut outbox = self.store.outbox();
        let mut failures = 0;
        loop {
            outbox.mark_unchanged();
            let sent = self.round(target).await;
            failures = if sent == Round::Failed { failures + 1 } else { 0 };
            match sent {
                Round::Sent => {}
                Round::Failed => sleep(backoff(failures, LONGEST_REST)).await,
                // Another node may write something down too, and time comes for another try.
                Round::Idle => drop(timeout(POLL, outbox.changed()).await),
            }
        }
    }

    async fn round(&self, target: &Target) -> Round {
        let now = Timestamp::now().as_millisecond();
        let claimed = match self.store.claim(&target.id, now, later(now, LEASE), AT_ONCE).await {
            Ok(claimed) if claimed.is_empty() => return Round::Idle,
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "what webhooks are to be told cannot be read");
                return Round::Failed;
            }
        };
        let sent = join_all(claimed.into_iter().map(|delivery| self.deliver(target, delivery))).await;
        if sent.contains(&true) { Round::Sent } else { Round::Failed }
    }

    /// Whether it was told.
    async fn deliver(&self, target: &Target, delivery: Delivery) -> bool {
        let sent = timeout(PATIENCE, self.send(target, &delivery)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let Delivery { id, tries, .. } = delivery;
        let kept = match &sent {
            Ok(()) => self.store.delivered(&id).await,
            Err(why) => {
                tracing::warn!(id, tries, host = target.host(), why, "a webhook could not be told and is tried again");
                let next = later(Timestamp::now().as_millisecond(), backoff(tries, LONGEST));
                self.store.undelivered(&id, next, why).await
            }
        };
        if let Err(error) = kept {
            // The lease runs out, and it is sent again.
            tracing::warn!(id, %error, "what became of a webhook cannot be written down");
        }
        self.proxy.metrics().webhook(if sent.is_ok() { "delivered" } else { "failed" }, 1);
        sent.is_ok()
    }

    async fn send(&self, target: &Target, Delivery { id, case, event, .. }: &Delivery) -> Result<(), String> {
        let body = if target.text { self.with_text(case, event).await.map_err(|e| e.to_string())? } else { event.clone() };
        let seconds = Timestamp::now().as_second();
        let request = Request::post(target.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("seawall/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature(&target.key, id, seconds, &body))
            .body(Full::from(body))
            .map_err(|e| e.to_string())?;
        let answer = target.client.request(request).await.map_err(|e| root(&e))?;
        let status = answer.status();
        // Whatever it says besides is not wanted.
        drop(Limited::new(answer.into_body(), ANSWER).collect().await);
        if status.is_success() { Ok(()) } else { Err(format!("status {status}")) }
    }

    /// What is told, with the texts as they are kept by now.
    async fn with_text(&self, case: &str, event: &str) -> Result<String, review::Error> {
        let Some(case) = self.store.case(case).await? else { return Ok(event.to_owned()) };
        let mut event: Value = serde_json::from_str(event).unwrap_or_default();
        if let Some(data) = event.get_mut("data").and_then(Value::as_object_mut) {
            data.insert("prompt".to_owned(), case.prompt().into());
            data.insert("answer".to_owned(), case.answer().into());
        }
        Ok(event.to_string())
    }
}

/// The wait after so many failures: doubled each time, and by chance up to half of it more or less, so that not all come at once.
fn backoff(failures: u32, longest: Duration) -> Duration {
    let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).and_then(|times| FIRST.checked_mul(times));
    doubled.unwrap_or(longest).min(longest).mul_f64(0.5 + fastrand::f64())
}

fn later(now: i64, wait: Duration) -> i64 {
    now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Standard Webhooks' own tests.
    #[test]
    fn calls_are_signed_as_others_sign_them() {
        let key = BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_and_addresses_that_cannot_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let target = |url: &str, secret: &str| {
            std::fs::write(&file, secret).unwrap();
            let secret = config::Secret { env: None, file: Some(file.clone()) };
            let hook =
                config::Webhook { url: url.into(), secret, ca_file: None, decisions: vec![], rules: vec![], text: false };
            Target::new(&hook, "review.webhooks.0").map(|target| target.id).map_err(|error| error.to_string())
        };
        let good = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(target("https://h/a", good), target("https://h/a", &format!("whsec_{good}\n")));
        assert_ne!(target("https://h/a", good), target("https://h/b", good));
        for secret in ["hunter2", "aGk=", &good.repeat(3)] {
            let told = target("https://h", secret).unwrap_err();
            assert!(told.starts_with("`review.webhooks.0.secret` must be 24 to 64 bytes") && !told.contains(secret), "{told}");
        }
        let told = target("https://ana:hunter2@h", good).unwrap_err();
        assert!(told.starts_with("`review.webhooks.0.url` must hold no user") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn waits_double_up_to_an_end() {
        for (failures, least) in [(1, 500), (2, 1_000), (5, 8_000), (13, 1_800_000), (u32::MAX, 1_800_000)] {
            let wait = backoff(failures, LONGEST).as_millis();
            assert!((least..=3 * least).contains(&wait), "{failures}: {wait}");
        }
    }
}
