//! What the tests stand on: a proxy, an upstream that does as it is told, and a client.

pub(crate) mod issuer;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod redis;
mod shell;
mod upstream;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use seawall::{
    config::{AdminToken, Config, Role},
    console::Route,
    exchange,
    identity::hash,
    review::{Case, Filter, Order, Store},
    server::Server,
    wire::frame::{Decode, Event, Framing},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::upstream::{Call, Pieces, Upstream};

/// What opens all of the admin listener.
pub(crate) const TOKEN: &str = "sk-seawall-tests";

/// A rule set for the tests' guard.
pub(crate) const RULES: &str = r#"
name = "tests"

[[rule]]
name = "unsafe-prompt"
where = ["prompt", "system", "tool_definition", "tool_result"]
threshold = "guard"
action = "block"
message = "no such prompts"

[[rule]]
name = "unsafe-completion"
where = ["completion", "tool_call"]
threshold = "guard"
action = "block"
message = "no such answers"

[[rule]]
name = "cards"
where = ["prompt", "system", "tool_call", "tool_result", "completion"]
detectors = ["payment_card"]
action = "redact"
"#;

/// A running proxy with its upstream.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) upstream: Upstream,
    pub(crate) inner: Arc<exchange::Proxy>,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<()>,
    pub(crate) store: String,
    /// What the admin listener's console serves.
    pub(crate) routes: Vec<Route>,
    client: Client<HttpConnector, Full<Bytes>>,
    _dir: Arc<TempDir>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        Self::with(RULES, |_| {}).await
    }

    pub(crate) async fn with(rules: &str, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy.toml");
        std::fs::write(&policy, rules).unwrap();
        let upstream = Upstream::start().await;
        let store = format!("sqlite://{}", dir.path().join("review.db").display());
        let mut config = Config::default();
        config.review.spool = dir.path().join("spool");
        config.listen.address = SocketAddr::from(([127, 0, 0, 1], 0));
        config.admin.address = SocketAddr::from(([127, 0, 0, 1], 0));
        config.admin.tokens = vec![AdminToken { name: "tests".to_owned(), hash: hash(TOKEN), role: Role::Admin }];
        config.upstream.url = format!("http://{}", upstream.address);
        config.policies.dir = Some(policy);
        config.guard.dir = Some(fixture("guard"));
        config.guard.threads = Some(1);
        config.review.store = store;
        // Small steps, so that short streams have several checks.
        config.stream.first_chars = 8;
        config.stream.step_chars = 16;
        config.stream.sentence_chars = 8;
        change(&mut config);
        let store = config.review.store.clone();
        let server = Box::pin(Server::bind(config)).await.unwrap();
        let (address, admin) = (server.address().unwrap(), server.admin_address().unwrap());
        let inner = Arc::clone(server.proxy());
        let routes = server.console().routes().to_vec();
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { address, admin, upstream, inner, stop, running, store, routes, client, _dir: Arc::new(dir) }
    }

    /// Sends a request; the answer's body is yet to be read.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    pub(crate) fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let uri = format!("http://{}{path}", self.address);
        Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap()
    }

    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Answer {
        Answer::read(self.send(self.request(Method::POST, "/v1/chat/completions", body)).await).await
    }

    /// Asks for a stream and returns its events as they come.
    pub(crate) async fn stream(&self, body: impl Into<Bytes>) -> Events {
        self.stream_of("/v1/chat/completions", Framing::Sse, body).await
    }

    pub(crate) async fn stream_of(&self, path: &str, framing: Framing, body: impl Into<Bytes>) -> Events {
        let response = self.send(self.request(Method::POST, path, body)).await;
        Events {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.into_body(),
            decoder: framing.decoder(1 << 20),
        }
    }

    /// Sends bytes as they are and reads all that comes back until the proxy closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses may reset the connection once it has answered.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What operators are told there.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let request = Request::get(format!("http://{}{path}", self.admin)).header("authorization", format!("Bearer {TOKEN}"));
        Answer::read(self.send(request.body(Full::default()).unwrap()).await).await
    }

    /// Value of a counter.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.admin("/metrics").await.body.to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) async fn review(&self) -> Store {
        Store::open_existing(&self.store).await.unwrap()
    }

    /// What was flagged, the newest first.
    pub(crate) async fn cases(&self) -> Vec<Case> {
        self.review().await.cases(Filter::default(), Order::NewestFirst).map(Result::unwrap).collect().await
    }

    pub(crate) async fn shut_down(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

impl Answer {
    pub(crate) async fn read(response: http::Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: head.status, headers: head.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn content(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }
}

/// A stream of events as it comes.
pub(crate) struct Events {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    decoder: Box<dyn Decode>,
}

impl Events {
    /// The next event; `None` at the end, an error when the stream breaks off.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, hyper::Error> {
        loop {
            if let Some(event) = self.decoder.event().unwrap() {
                return Ok(Some(event));
            }
            match self.body.frame().await {
                None => return Ok(self.decoder.rest().unwrap()),
                Some(frame) => self.decoder.feed(&frame?.into_data().unwrap_or_default()),
            }
        }
    }

    /// All that is left, as bytes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(event) = self.next().await.unwrap() {
            bytes.extend_from_slice(&event.raw);
        }
        bytes
    }

    /// The chunks that are left.
    pub(crate) async fn chunks(&mut self) -> Vec<Value> {
        let mut chunks = Vec::new();
        while let Some(event) = self.next().await.unwrap() {
            chunks.extend(event.data.filter(|data| data != "[DONE]").map(|data| serde_json::from_str(&data).unwrap()));
        }
        chunks
    }
}

/// The text of a choice in chunks, and how it ended.
pub(crate) fn told(chunks: &[Value], choice: u64) -> (String, Option<String>) {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()).filter(|own| own["index"] == choice);
    let (mut text, mut finish) = (String::new(), None);
    for choice in choices {
        assert_eq!(finish, None, "nothing follows the end of a choice");
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        finish = choice["finish_reason"].as_str().map(str::to_owned);
    }
    (text, finish)
}

/// A chat request of one user message.
pub(crate) fn ask(text: &str) -> String {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string()
}

/// The same, streamed.
pub(crate) fn ask_stream(text: &str) -> String {
    json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": text}]}).to_string()
}

/// A whole answer of an LLM.
pub(crate) fn completion(text: &str) -> String {
    json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
    .to_string()
}

/// An event of a streamed answer.
pub(crate) fn chunk(choice: u64, text: &str) -> String {
    let chunk = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
        {"index": choice, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

/// The event that ends a choice.
pub(crate) fn finish(choice: u64) -> String {
    let chunk = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
        {"index": choice, "delta": {}, "finish_reason": "stop"}]});
    format!("data: {chunk}\n\n")
}
