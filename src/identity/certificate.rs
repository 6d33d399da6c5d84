//! Client certificates: TLS has verified them, here they are only read.

use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::{Caller, Method};
use crate::config;

/// The names in a verified client certificate: URIs, then DNS names. The subject's common name, which says not of what kind it
/// is, counts only where there are none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Vec<Name>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Uri(String),
    Other(String),
}

impl Certificate {
    /// The names in a certificate in DER; none in one that cannot be read.
    #[must_use]
    pub fn read(der: &[u8]) -> Self {
        let Ok((_, certificate)) = parse_x509_certificate(der) else { return Self(Vec::new()) };
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let general: &[GeneralName<'_>] = alternative.as_ref().map_or(&[], |names| &names.value.general_names);
        let uris = general.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
        let hosts = general.iter().filter_map(|name| if let GeneralName::DNSName(host) = name { Some(*host) } else { None });
        let uris = uris.map(|uri| Name::Uri(uri.to_owned()));
        let mut names: Vec<Name> = uris.chain(hosts.map(|host| Name::Other(host.to_owned()))).collect();
        if names.is_empty() {
            let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
            names.extend(common.map(|name| Name::Other(name.to_owned())));
        }
        Self(names)
    }
}

impl Name {
    /// The name, if it is of the kind that the pattern is for, and fits it.
    fn fitting(&self, pattern: &str) -> Option<&str> {
        let is_for_uris = pattern.contains("://") || pattern.starts_with("urn:");
        let (name, is_uri) = match self {
            Self::Uri(name) => (name.as_str(), true),
            Self::Other(name) => (name.as_str(), false),
        };
        (pattern == "*" || (is_uri == is_for_uris && fits(pattern, name))).then_some(name)
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
            let name = certificate.0.iter().find_map(|name| name.fitting(&subject.subject))?;
            let (tenant, subject) = (subject.tenant.clone(), Some(name.to_owned()));
            Some(Caller { method: Some(Method::Certificate), tenant, subject, ..Caller::default() })
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
        let read = |common: &str, hosts: &[&str], uris: &[&str]| {
            let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
            params.distinguished_name.push(DnType::CommonName, common);
            params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
            Certificate::read(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
        };
        let certificate = read("a service", &["svc.example.com"], &["spiffe://x/ns/a.example.com"]);
        let (uri, host) = ("spiffe://x/ns/a.example.com".to_owned(), "svc.example.com".to_owned());
        assert_eq!(certificate.0, [Name::Uri(uri), Name::Other(host)]);
        let subject = |subject: &str, tenant: &str| config::Subject { subject: subject.into(), tenant: Some(tenant.into()) };
        let subjects = Subjects::new(&[subject("other", "no"), subject("*.example.com", "one"), subject("a *", "two")]);
        let caller = subjects.caller(&certificate).unwrap();
        assert_eq!((caller.tenant.as_deref(), caller.subject.as_deref()), (Some("one"), Some("svc.example.com")));
        assert_eq!(Subjects::new(&[subject("other", "no")]).caller(&certificate), None);
        // Names of one kind are none of another's: whoever may choose the one may not choose the other.
        let tenant = |certificate: &Certificate, pattern: &str| {
            Subjects::new(&[subject(pattern, "t")]).caller(certificate).and_then(|caller| caller.tenant).is_some()
        };
        assert!(!tenant(&certificate, "a service") && tenant(&read("a service", &[], &[]), "a service"));
        assert!(!tenant(&read("spiffe://x/ns/b", &[], &[]), "spiffe://x/*"));
        assert!(!tenant(&read("c", &[], &["https://a.example.com"]), "*.example.com"));
        assert!(tenant(&read("c", &[], &["urn:x:1"]), "urn:x:*") && tenant(&read("c", &[], &["urn:x:1"]), "*"));
        assert_eq!(Certificate::read(b"none"), Certificate(Vec::new()));
    }
}
