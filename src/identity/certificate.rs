//! Client certificates: TLS has verified them, here they are only read.

use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::Caller;
use crate::config;

/// The names in a verified client certificate: URIs, then DNS names, then the subject's common name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Vec<String>);

impl Certificate {
    /// The names in a certificate in DER; none in one that cannot be read.
    #[must_use]
    pub fn read(der: &[u8]) -> Self {
        let Ok((_, certificate)) = parse_x509_certificate(der) else { return Self(Vec::new()) };
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let general: &[GeneralName<'_>] = alternative.as_ref().map_or(&[], |names| &names.value.general_names);
        let uris = general.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
        let hosts = general.iter().filter_map(|name| if let GeneralName::DNSName(host) = name { Some(*host) } else { None });
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        Self(uris.chain(hosts).chain(common).map(str::to_owned).collect())
    }
}

/// The subjects that are known.
#[derive(Debug)]
pub(super) struct Subjects(Vec<config::Subject>);

impl Subjects {
    pub(super) fn new(settings: &[config::Subject]) -> Self {
        Self(settings.to_vec())
    }

    /// Whom a certificate names.
    pub(super) fn caller(&self, certificate: &Certificate) -> Option<Caller> {
        let known = |subject: &config::Subject| {
            let name = certificate.0.iter().find(|name| fits(&subject.subject, name))?;
            Some(Caller { tenant: subject.tenant.clone(), subject: Some(name.clone()), ..Caller::default() })
        };
        self.0.iter().find_map(known)
    }
}

/// Whether a name fits a pattern, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or((None, rest), |(middle, last)| (Some(middle), last));
    // The first place that fits leaves the most for what follows.
    for piece in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some((_, after)) = left.split_once(piece) else { return false };
        left = after;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fit) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("spiffe://x/*", "spiffe://x/ns/y", true),
            ("spiffe://x/*/sa/*", "spiffe://x/ns/y/sa/z", true),
            ("spiffe://x/*/sa/*", "spiffe://x/sa/z", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.example.com.evil", false),
            ("a*a", "a", false),
            ("a**b", "ab", true),
            ("*b*b", "ab", false),
        ] {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }

    #[test]
    fn the_names_of_a_certificate_and_whom_they_name() {
        let mut params = CertificateParams::new(vec!["svc.example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a service");
        params.subject_alt_names.push(SanType::URI("spiffe://x/ns/a".try_into().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = Certificate::read(certificate.der());
        assert_eq!(certificate.0, ["spiffe://x/ns/a", "svc.example.com", "a service"]);
        let subject = |subject: &str, tenant: &str| config::Subject { subject: subject.into(), tenant: Some(tenant.into()) };
        let subjects = Subjects::new(&[subject("other", "no"), subject("*.example.com", "one"), subject("a *", "two")]);
        let caller = subjects.caller(&certificate).unwrap();
        assert_eq!((caller.tenant.as_deref(), caller.subject.as_deref()), (Some("one"), Some("svc.example.com")));
        assert_eq!(Subjects::new(&[subject("other", "no")]).caller(&certificate), None);
        assert_eq!(Certificate::read(b"none"), Certificate(Vec::new()));
    }
}
