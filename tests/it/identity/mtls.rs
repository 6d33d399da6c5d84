//! Clients that are known by their certificates.

use std::{fs, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use seawall::config::{ClientAuth, Config, Limits, Subject, Tls};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::harness::{Proxy, RULES, ask, completion};

pub(crate) type Shown = Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>;

/// An authority, and the files of a server that it vouches for.
pub(crate) struct Authority {
    own: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        fs::write(dir.path().join("cert.pem"), params.signed_by(&key, &own).unwrap().pem()).unwrap();
        fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(dir.path().join("ca.pem"), own.pem()).unwrap();
        Self { own, dir }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes its files over those of another.
    pub(crate) fn takes_the_place_of(&self, other: &Self) {
        for name in ["cert.pem", "key.pem", "ca.pem"] {
            fs::copy(self.file(name), other.file(name)).unwrap();
        }
    }

    pub(crate) fn tls(&self, client_auth: Option<ClientAuth>) -> Tls {
        let (cert_file, key_file) = (self.file("cert.pem"), self.file("key.pem"));
        Tls { cert_file, key_file, client_ca_file: Some(self.file("ca.pem")), client_auth }
    }

    /// A client's certificate of this name.
    pub(crate) fn client(&self, name: &str) -> Shown {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a client");
        params.subject_alt_names.push(SanType::URI(name.try_into().unwrap()));
        let certificate = params.signed_by(&key, &self.own).unwrap();
        Some((certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap()))
    }

    pub(crate) async fn connect(&self, to: SocketAddr, shown: Shown, protocol: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match shown {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(to).await?;
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
    }

    /// The status that a chat call gets.
    async fn status(&self, proxy: &Proxy, shown: Shown) -> StatusCode {
        let stream = self.connect(proxy.address, shown, b"h2").await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let running = tokio::spawn(connection);
        let request = Request::post("https://localhost/v1/chat/completions").header("content-type", "application/json");
        let answer = sender.send_request(request.body(Full::new(Bytes::from(ask("hi")))).unwrap());
        let upstream = async {
            proxy.upstream.call().await.answer(200, completion("hello"));
            std::future::pending::<()>().await;
        };
        let answer = tokio::select! { answer = answer => answer.unwrap(), () = upstream => return StatusCode::OK };
        let status = answer.status();
        answer.into_body().collect().await.unwrap();
        running.abort();
        status
    }
}

fn known(config: &mut Config) {
    let subject = |subject: &str, tenant: &str| Subject { subject: subject.to_owned(), tenant: Some(tenant.to_owned()) };
    config.identity.subjects = vec![subject("spiffe://org/ns/*/sa/app", "apps"), subject("other", "others")];
    config.tenants.insert("apps".to_owned(), Limits { requests_per_minute: Some(1), ..Limits::default() });
}

#[tokio::test]
async fn a_certificate_names_its_tenant() {
    let authority = Authority::new();
    let proxy = Proxy::with(RULES, |config| {
        known(config);
        config.listen.tls = Some(authority.tls(Some(ClientAuth::Optional)));
    })
    .await;
    let app = || authority.client("spiffe://org/ns/a/sa/app");
    assert_eq!(authority.status(&proxy, app()).await, StatusCode::OK);
    assert_eq!(authority.status(&proxy, app()).await, StatusCode::TOO_MANY_REQUESTS, "it is the tenant's limit");
    assert_eq!(authority.status(&proxy, authority.client("spiffe://org/ns/a/sa/else")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(authority.status(&proxy, None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(proxy.metric("seawall_limited_total{limit=\"requests\",tenant=\"apps\"}").await, 1);
    // Another authority can vouch for no one here.
    let stranger = Authority::new().client("spiffe://org/ns/a/sa/app");
    assert!(is_closed(authority.connect(proxy.address, stranger, b"http/1.1").await).await);
}

#[tokio::test]
async fn where_certificates_are_required_nobody_connects_without() {
    let authority = Authority::new();
    let proxy = Proxy::with(RULES, |config| {
        known(config);
        config.listen.tls = Some(authority.tls(None));
    })
    .await;
    assert!(is_closed(authority.connect(proxy.address, None, b"http/1.1").await).await);
    let app = authority.client("spiffe://org/ns/a/sa/app");
    assert_eq!(authority.status(&proxy, app).await, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_is_slow_to_greet_holds_up_nobody_and_is_let_go() {
    let authority = Authority::new();
    let proxy = Proxy::with(RULES, |config| {
        config.listen.header_timeout_ms = 500;
        config.listen.tls = Some(authority.tls(Some(ClientAuth::Optional)));
    })
    .await;
    let mut silent = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(authority.status(&proxy, None).await, StatusCode::OK, "nobody must be known here");
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut byte)).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "it is closed");
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut greeted = authority.connect(proxy.address, None, protocol).await.unwrap();
        // A server of HTTP/2 begins by itself.
        let mut told = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), greeted.read_to_end(&mut told)).await;
        assert!(read.is_ok(), "nor may it be silent after its greeting: {told:?}");
    }
}

/// Whether the server lets go of a client; with TLS 1.3 the client learns of it only after its own handshake.
pub(crate) async fn is_closed(connected: io::Result<TlsStream<TcpStream>>) -> bool {
    let Ok(mut stream) = connected else { return true };
    let mut byte = [0];
    matches!(tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
}
