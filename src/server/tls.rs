//! TLS towards clients, and operators.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio_rustls::server::TlsStream;

use crate::{
    config::{ClientAuth, Tls},
    connect::{Misconfigured, certificates},
    identity::Certificate,
};

/// How TLS is spoken, as these settings say; `section` is where they stand.
pub(super) fn config(settings: &Tls, section: &str) -> Result<Arc<ServerConfig>, Misconfigured> {
    let wrong = |key: &str, file: &Path, why: String| Misconfigured(format!("`{section}.{key}` {}: {why}", file.display()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| Misconfigured(e.to_string()))?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let wrong = |why: String| wrong("client_ca_file", file, why);
            let mut roots = RootCertStore::empty();
            for authority in certificates(file).map_err(wrong)? {
                roots.add(authority).map_err(|e| wrong(e.to_string()))?;
            }
            let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let is_optional = settings.client_auth == Some(ClientAuth::Optional);
            let clients = if is_optional { clients.allow_unauthenticated() } else { clients };
            builder.with_client_cert_verifier(clients.build().map_err(|e| wrong(e.to_string()))?)
        }
    };
    let chain = certificates(&settings.cert_file).map_err(|why| wrong("cert_file", &settings.cert_file, why))?;
    let key =
        PrivateKeyDer::from_pem_file(&settings.key_file).map_err(|e| wrong("key_file", &settings.key_file, e.to_string()))?;
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|e| wrong("cert_file", &settings.cert_file, e.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificate that the client has shown, if it has.
pub(super) fn certificate<S>(stream: &TlsStream<S>) -> Option<Certificate> {
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().map(|certificate| Certificate::read(certificate))
}
