//! TLS to servers elsewhere: upstreams with HTTP/1.1 and HTTP/2, and webhooks with an authority of their own.

use std::{
    convert::Infallible,
    net::SocketAddr,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use seawall::config::{Config, Secret, Webhook};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use crate::{
    harness::{Answer, Proxy, RULES, ask, completion},
    identity::mtls::Authority,
};

/// What a call came with.
struct Got {
    version: Version,
    path: String,
    headers: HeaderMap,
}

/// A server with TLS that answers every call with a completion, two at a time where it speaks HTTP/2.
struct Server {
    address: SocketAddr,
    authority: Authority,
    connections: Arc<AtomicUsize>,
    calls: mpsc::UnboundedReceiver<Got>,
}

impl Server {
    async fn start(protocols: &[&str]) -> Self {
        let authority = Authority::new();
        let chain = vec![CertificateDer::from_pem_file(authority.file("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(authority.file("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sender, count) = (acceptor.clone(), sender.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    count.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(move |request: Request<Incoming>| answer(request, sender.clone()));
                    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, authority, connections, calls }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// A proxy in front of it, with one thread and so one pool of connections.
    async fn proxy(&self, change: impl FnOnce(&mut Config)) -> Proxy {
        Proxy::with(RULES, |config| {
            config.listen.threads = NonZero::new(1);
            config.upstream.url = self.url();
            config.upstream.ca_file = Some(self.authority.file("ca.pem"));
            change(config);
        })
        .await
    }
}

async fn answer(
    request: Request<Incoming>,
    calls: mpsc::UnboundedSender<Got>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    body.collect().await.unwrap();
    calls.send(Got { version: head.version, path: head.uri.path().to_owned(), headers: head.headers }).ok().unwrap();
    let answer = Response::builder().header("content-type", "application/json").body(Full::from(completion("hello")));
    Ok(answer.unwrap())
}

async fn spoken(offered: &[&str], http2: bool) -> Got {
    let mut server = Server::start(offered).await;
    let proxy = server.proxy(|config| config.upstream.http2 = http2).await;
    assert_eq!(proxy.post(ask("hi")).await.content(), "hello");
    server.calls.recv().await.unwrap()
}

#[tokio::test]
async fn an_upstream_is_spoken_to_as_it_offers_and_as_settings_say() {
    let both: &[&str] = &["h2", "http/1.1"];
    assert_eq!(spoken(both, false).await.version, Version::HTTP_11, "a connection a call is the default");
    assert_eq!(spoken(&["http/1.1"], true).await.version, Version::HTTP_11);
    assert_eq!(spoken(&[], true).await.version, Version::HTTP_11, "a server that chooses none");
    let got = spoken(both, true).await;
    assert_eq!((got.version, got.path.as_str()), (Version::HTTP_2, "/v1/chat/completions"));
    assert_eq!(got.headers["content-length"], ask("hi").len().to_string());
    assert!(!got.headers.contains_key("host") && !got.headers.contains_key("connection"));
}

#[tokio::test]
async fn one_connection_with_http2_carries_all_calls_of_a_thread() {
    let server = Server::start(&["h2"]).await;
    let proxy = server.proxy(|config| config.upstream.http2 = true).await;
    assert_eq!(proxy.post(ask("first")).await.content(), "hello");
    let many = futures_util::future::join_all((0..20).map(|number| proxy.post(ask(&format!("call {number}")))));
    assert!(many.await.iter().all(|answer: &Answer| answer.content() == "hello"));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_no_authority_vouches_for_is_not_called() {
    let (server, other) = (Server::start(&["http/1.1"]).await, Authority::new());
    let proxy = server.proxy(|config| config.upstream.ca_file = Some(other.file("ca.pem"))).await;
    let answer = proxy.post(ask("hi")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_str()), (502, Some("upstream_unreachable")));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_webhook_may_have_an_authority_of_its_own() {
    let mut server = Server::start(&["http/1.1"]).await;
    let secret = server.authority.file("secret");
    std::fs::write(&secret, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let hook = Webhook {
        url: format!("{}/hook", server.url()),
        secret: Secret { env: None, file: Some(secret) },
        ca_file: Some(server.authority.file("ca.pem")),
        decisions: Vec::new(),
        rules: Vec::new(),
        text: false,
    };
    let proxy = Proxy::with(RULES, |config| config.review.webhooks = vec![hook]).await;
    assert_eq!(proxy.post(ask("danger")).await.header("seawall-decision"), "block");
    let got = server.calls.recv().await.unwrap();
    assert!(got.path == "/hook" && got.headers.contains_key("webhook-signature"));
}
