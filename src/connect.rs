//! Connections to servers elsewhere: TCP, and TLS by rustls with the system's authorities and those that are named.

use std::{error::Error as _, fs, path::Path, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Settings that no server can be reached with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub String);

/// What connects.
pub type Connector = HttpsConnector<HttpConnector>;

/// The protocol that servers are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, also without TLS.
    Http2,
    /// HTTP/2 with servers that offer it in TLS, else HTTP/1.1.
    Either,
}

/// How a server is reached; `section` is where its settings stand.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'s> {
    /// The section of the settings, for people.
    pub section: &'s str,
    /// Whether any address is one for TLS.
    pub secure: bool,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<&'s Path>,
    /// PEM files of a certificate that the server asks for, and of its key.
    pub client: [Option<&'s Path>; 2],
    /// Time to connect.
    pub timeout: Duration,
}

/// What connects to servers with these settings.
///
/// # Errors
/// Files that cannot be read, or no authorities where they are needed.
pub fn connector(settings: Settings<'_>, version: Version) -> Result<Connector, Misconfigured> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(settings.timeout));
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls(settings)?).https_or_http();
    Ok(match version {
        Version::Http1 => builder.enable_http1().wrap_connector(http),
        Version::Http2 => builder.enable_http2().wrap_connector(http),
        Version::Either => builder.enable_all_versions().wrap_connector(http),
    })
}

/// The address that stands in a section under `key`.
///
/// # Errors
/// One that cannot be used, and why.
pub fn address(url: &str, section: &str, key: &str) -> Result<Uri, Misconfigured> {
    // An address that may hold a secret is not told.
    let told = if url.contains(['@', '?']) { String::new() } else { format!(" {url}") };
    let wrong = |why: &str| Misconfigured(format!("`{section}.{key}`{told}: {why}"));
    let address: Uri = url.parse().map_err(|e| wrong(&format!("{e}")))?;
    if !matches!(address.scheme_str(), Some("http" | "https")) || address.authority().is_none() {
        return Err(wrong("must be http://HOST or https://HOST, with a port and a path if need be"));
    }
    if address.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Misconfigured(format!("`{section}.{key}` must hold no user name or password: set `{section}.key`")));
    }
    if address.query().is_some() {
        return Err(wrong("must have no query"));
    }
    Ok(address)
}

/// A header whose value is not told to logs.
///
/// # Errors
/// Not a header's name or value.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let known = name.parse::<HeaderName>().map_err(|_| format!("`{name}` is no name of a header"))?;
    // The value is not told: it may be a secret.
    let mut value = HeaderValue::from_str(value).map_err(|_| format!("what `{name}` is to hold is no header's value"))?;
    value.set_sensitive(true);
    Ok((known, value))
}

/// The innermost cause: what a person needs to read.
#[must_use]
pub fn root(error: &hyper_util::client::legacy::Error) -> String {
    let mut cause = error.source();
    let mut told = error.to_string();
    while let Some(inner) = cause {
        told = inner.to_string();
        cause = inner.source();
    }
    told
}

/// TLS with these settings.
///
/// # Errors
/// Files that cannot be read, or no authorities where they are needed.
pub fn tls(settings: Settings<'_>) -> Result<ClientConfig, Misconfigured> {
    let section = settings.section;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| Misconfigured(e.to_string()))?;
    let builder = builder.with_root_certificates(authorities(settings)?);
    let (cert, key) = match settings.client {
        [None, None] => return Ok(builder.with_no_client_auth()),
        [Some(cert), Some(key)] => (cert, key),
        _ => return Err(Misconfigured(format!("`{section}.client_cert_file` and `client_key_file` go together"))),
    };
    let wrong = |file: &Path, why: String| Misconfigured(format!("`{section}` client certificate {}: {why}", file.display()));
    let chain = certificates(cert).map_err(|why| wrong(cert, why))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, e.to_string()))?;
    builder.with_client_auth_cert(chain, key).map_err(|e| wrong(cert, e.to_string()))
}

/// The certificates of a PEM file.
///
/// # Errors
/// Why there are none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(file).map_err(|e| format!("cannot be read: {e}"))?;
    let named: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if named.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(named) }
}

/// The system's authorities, and those of the PEM file that is named.
fn authorities(settings: Settings<'_>) -> Result<RootCertStore, Misconfigured> {
    let section = settings.section;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = settings.ca_file {
        let wrong = |why: String| Misconfigured(format!("`{section}.ca_file` {}: {why}", file.display()));
        for certificate in certificates(file).map_err(wrong)? {
            roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        }
    }
    // A machine without any authorities can still reach an http:// server.
    if roots.is_empty() && settings.secure {
        return Err(Misconfigured(format!(
            "this machine has no certificate authorities: install ca-certificates, or set `{section}.ca_file`"
        )));
    }
    Ok(roots)
}
