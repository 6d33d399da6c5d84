//! TLS towards clients, and operators, with files that may change while it runs.
//!
//! A connection is greeted with what is in force when it comes, and keeps it to its end. Files that cannot be used leave in force
//! what is. Sessions are kept with the certificate: none outlives the authorities that vouched for it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use blake3::Hash;
use jiff::{SignedDuration, Timestamp};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{sync::Mutex, task, time::interval};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::parse_x509_certificate;

use super::reload::Outcome;
use crate::{
    config::{self, ClientAuth},
    connect::{Misconfigured, certificates},
    identity::Certificate,
    telemetry::Metrics,
};

/// How often it is looked whether a certificate ends soon.
const LOOK: Duration = Duration::from_secs(6 * 3_600);
/// Before its end a certificate is warned of for this long …
const AHEAD: SignedDuration = SignedDuration::from_hours(14 * 24);
/// … or, where it holds for less than a few months, for this part of its time.
const PART: i32 = 6;

/// TLS of one listener.
#[derive(Debug)]
pub struct Tls {
    settings: config::Tls,
    listener: &'static str,
    metrics: Arc<Metrics>,
    current: ArcSwap<Current>,
    /// Whoever holds this reads.
    turn: Arc<Mutex<()>>,
}

/// What is in force.
#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// A mark of all that the files held.
    mark: Hash,
    holds: Holds,
    /// Why the files are not what is in force.
    mistake: Option<String>,
}

/// When a certificate and those of its chain hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holds {
    from: Timestamp,
    until: Timestamp,
}

impl Tls {
    /// TLS as these settings say; `listener` is the section that has `tls` in it.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(super) fn new(
        settings: &config::Tls,
        listener: &'static str,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, Misconfigured> {
        let current = read(settings, listener).map_err(Misconfigured)?;
        metrics.certificate(listener, current.holds.until.as_second());
        let (settings, metrics) = (settings.clone(), Arc::clone(metrics));
        Ok(Arc::new(Self { settings, listener, metrics, current: ArcSwap::from_pointee(current), turn: Arc::default() }))
    }

    /// What greets the next client.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }

    /// The section that has `tls` in it.
    #[must_use]
    pub fn listener(&self) -> &'static str {
        self.listener
    }

    /// Until when the certificate in force holds, and why the files are not what is in force.
    pub(super) fn status(&self) -> (Timestamp, Option<String>) {
        let current = self.current.load();
        (current.holds.until, current.mistake.clone())
    }

    /// The files that it depends on.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let config::Tls { cert_file, key_file, client_ca_file, .. } = &self.settings;
        [cert_file, key_file].into_iter().chain(client_ca_file).cloned().collect()
    }

    /// Reads the files again, and greets clients with what they hold if it can be used.
    pub async fn reload(self: &Arc<Self>) -> Outcome {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let own = Arc::clone(self);
        let reading = task::spawn_blocking(move || {
            let _held = turn;
            own.settle(read(&own.settings, own.listener).and_then(|new| own.fresh(new)))
        });
        // Whatever panics there is a mistake in the files as much as in the program, and stops no traffic.
        reading.await.unwrap_or_else(|error| self.settle(Err(format!("`{}.tls` cannot be read: {error}", self.listener))))
    }

    /// A certificate that has ended takes no other's place, nor one whose time is to come.
    fn fresh(&self, new: Current) -> Result<Current, String> {
        let (now, Holds { from, until }) = (Timestamp::now(), new.holds);
        let wrong = |why: String| wrong(self.listener, "cert_file", &self.settings.cert_file, &why);
        if now >= until {
            return Err(wrong(format!("has ended on {until}")));
        }
        if now < from { Err(wrong(format!("holds from {from} on, which is not yet"))) } else { Ok(new) }
    }

    fn settle(&self, read: Result<Current, String>) -> Outcome {
        let (before, listener) = (self.current.load_full(), self.listener);
        let outcome = match read {
            Ok(new) if new.mark == before.mark => {
                // What was refused has been put back as it was.
                if before.mistake.is_some() {
                    self.current.store(Arc::new(new));
                }
                Outcome::Unchanged
            }
            Ok(new) => {
                let until = new.holds.until;
                self.current.store(Arc::new(new));
                self.metrics.certificate(listener, until.as_second());
                tracing::info!(listener, %until, "another certificate is in force");
                Outcome::Changed
            }
            Err(mistake) => {
                // A watcher may read the same files again and again.
                if before.mistake.as_ref() != Some(&mistake) {
                    let until = before.holds.until;
                    tracing::error!(listener, %until, "the certificate's files are refused and it stays as it was: {mistake}");
                    self.current.store(Arc::new(Current { mistake: Some(mistake.clone()), ..Current::clone(&before) }));
                }
                Outcome::Refused(mistake)
            }
        };
        self.metrics.certificate_reload(listener, outcome.word(), matches!(outcome, Outcome::Refused(_)));
        outcome
    }
}

/// Says so, now and from time to time, when a certificate ends soon.
pub(super) async fn heed(all: Vec<Arc<Tls>>) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        for tls in &all {
            let (holds, listener) = (tls.current.load().holds, tls.listener);
            let (now, until) = (Timestamp::now(), holds.until);
            if now >= until {
                tracing::error!(listener, %until, "the certificate has ended: clients that check it do not connect");
            } else if holds.ends_soon(now) {
                tracing::warn!(listener, %until, "the certificate ends soon: put a newer one in its place, which needs no restart");
            }
        }
    }
}

impl Holds {
    fn ends_soon(self, now: Timestamp) -> bool {
        let life = self.until.duration_since(self.from);
        self.until.duration_since(now) < AHEAD.min(life / PART)
    }
}

/// A file that cannot be used, named by its key.
fn wrong(listener: &str, key: &str, file: &Path, why: &str) -> String {
    format!("`{listener}.tls.{key}` {}: {why}", file.display())
}

/// What the files hold, or why it cannot be used.
fn read(settings: &config::Tls, listener: &str) -> Result<Current, String> {
    let wrong = |key: &str, file: &Path, why: &str| wrong(listener, key, file, why);
    let (cert_file, key_file) = (&settings.cert_file, &settings.key_file);
    let mut hasher = blake3::Hasher::new();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| wrong("cert_file", cert_file, &e.to_string()))?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let wrong = |why: String| wrong("client_ca_file", file, &why);
            let mut roots = RootCertStore::empty();
            for authority in certificates(file).map_err(wrong)? {
                hasher.update(&authority);
                roots.add(authority).map_err(|e| wrong(e.to_string()))?;
            }
            let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let is_optional = settings.client_auth == Some(ClientAuth::Optional);
            let clients = if is_optional { clients.allow_unauthenticated() } else { clients };
            builder.with_client_cert_verifier(clients.build().map_err(|e| wrong(e.to_string()))?)
        }
    };
    let chain = certificates(cert_file).map_err(|why| wrong("cert_file", cert_file, &why))?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|e| wrong("key_file", key_file, &e.to_string()))?;
    hasher.update(key.secret_der());
    for certificate in &chain {
        hasher.update(certificate);
    }
    let holds = holds(&chain).map_err(|why| wrong("cert_file", cert_file, &why))?;
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|e| wrong("cert_file", cert_file, &e.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Current { config: Arc::new(config), mark: hasher.finalize(), holds, mistake: None })
}

/// When all certificates of a chain hold.
fn holds(chain: &[CertificateDer<'_>]) -> Result<Holds, String> {
    let mut holds = Holds { from: Timestamp::MIN, until: Timestamp::MAX };
    for certificate in chain {
        let (_, certificate) = parse_x509_certificate(certificate).map_err(|e| e.to_string())?;
        let validity = certificate.validity();
        // One that never ends says the last second of the year 9999 (RFC 5280, 4.1.2.5), which is later than any time here.
        let time = |seconds: i64| Timestamp::from_second(seconds).ok();
        holds.from = holds.from.max(time(validity.not_before.timestamp()).unwrap_or(Timestamp::MIN));
        holds.until = holds.until.min(time(validity.not_after.timestamp()).unwrap_or(Timestamp::MAX));
    }
    Ok(holds)
}

/// The certificate that the client has shown, if it has.
pub(super) fn certificate<S>(stream: &TlsStream<S>) -> Option<Certificate> {
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().map(|certificate| Certificate::read(certificate))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Writes a certificate that holds from the first day of one year to that of another.
    fn write(dir: &Path, from: i32, until: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        fs::write(dir.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    }

    fn tls(dir: &Path) -> Arc<Tls> {
        let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| dir.join(name));
        let settings = config::Tls { cert_file, key_file, client_ca_file: None, client_auth: None };
        Tls::new(&settings, "listen", &Arc::default()).unwrap()
    }

    fn year(tls: &Tls) -> String {
        tls.status().0.to_string().split('-').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_cannot_be_used_changes_nothing_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 2020, 4000);
        let tls = tls(dir.path());
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        assert_eq!(tls.reload().await, Outcome::Unchanged);
        let good = [&cert, &key].map(|file| fs::read(file).unwrap());
        let refused = async |told: &str| {
            let Outcome::Refused(why) = tls.reload().await else { panic!("it is used") };
            assert!(why.contains(told), "{why} is not {told}");
            assert_eq!((year(&tls), tls.status().1), ("4000".to_owned(), Some(why)));
        };
        fs::write(&cert, "no certificate").unwrap();
        refused(&format!("`listen.tls.cert_file` {}: holds no certificate", cert.display())).await;
        fs::remove_file(&cert).unwrap();
        refused("cannot be read").await;
        write(dir.path(), 2020, 3000);
        fs::write(&key, &good[1]).unwrap();
        refused("`listen.tls.cert_file`").await;
        write(dir.path(), 2019, 2020);
        refused("has ended on 2020-01-01").await;
        write(dir.path(), 3999, 4001);
        refused("not yet").await;
        fs::write(&cert, &good[0]).unwrap();
        fs::write(&key, &good[1]).unwrap();
        assert_eq!((tls.reload().await, tls.status().1), (Outcome::Unchanged, None), "what it was is put back");
        write(dir.path(), 2020, 3000);
        assert_eq!((tls.reload().await, year(&tls)), (Outcome::Changed, "3000".to_owned()));
    }

    #[test]
    fn the_first_of_a_chain_to_end_counts_and_some_never_do() {
        let certificate = |year: i32, month: u8, day: u8| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.not_after = date_time_ymd(year, month, day);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let (never, early) = (certificate(9999, 12, 31), certificate(2030, 1, 1));
        assert_eq!(holds(std::slice::from_ref(&never)).unwrap().until, Timestamp::MAX);
        assert_eq!(holds(&[never, early]).unwrap().until.to_string(), "2030-01-01T00:00:00Z");
    }

    #[test]
    fn a_long_life_is_warned_of_for_two_weeks_and_a_short_one_for_its_last_part() {
        let day = |day: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day);
        for (life, warned) in [(365, 14), (90, 14), (47, 7), (6, 1)] {
            let holds = Holds { from: day(0), until: day(life) };
            assert!(
                !holds.ends_soon(day(life - warned - 1)) && holds.ends_soon(day(life) - SignedDuration::from_hours(23)),
                "{life}"
            );
        }
    }
}
