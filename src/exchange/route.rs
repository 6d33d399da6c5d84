//! Where a call goes: to which upstream, and there to a dialect, through unread because it carries no chat, or nowhere.

use std::{cell::LazyCell, sync::Arc};

use http::{HeaderMap, HeaderName, Method, Uri, header, uri::PathAndQuery};

use super::answer::Failure;
use crate::{
    config::{self, Config, DEFAULT_UPSTREAM},
    dialect::{DIALECTS, Dialect},
    upstream::{Misconfigured, Upstream},
};

/// Headers by which a client would have the upstream do something else than what was judged. A gateway's configuration says
/// which server is asked and can put text of its own into the body (Portkey's `override_params`, Helicone's fallbacks); the
/// rest have some web frameworks take another path or method than the request's.
/// Sources: Portkey-AI/gateway `src/globals.ts`; docs.helicone.ai/helicone-headers.
const STEERING: [&str; 10] = [
    "x-portkey-config",
    "x-portkey-custom-host",
    "helicone-target-url",
    "helicone-openai-api-base",
    "helicone-fallbacks",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// What a call is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A chat call of this API.
    Chat(&'static dyn Dialect),
    /// A question to the guard itself.
    Moderation,
    /// One that carries no chat and passes.
    Pass,
}

/// A call's way.
pub(super) struct Route {
    pub(super) kind: Kind,
    /// Its name; empty where no route took the call.
    pub(super) name: Arc<str>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) upstream_name: Arc<str>,
    /// The path as the upstream is asked for it.
    pub(super) path: PathAndQuery,
}

/// All ways.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Way>,
    fallback: Option<Way>,
}

#[derive(Debug)]
struct Way {
    name: Arc<str>,
    prefix: String,
    host: Option<String>,
    upstream: Arc<Upstream>,
    upstream_name: Arc<str>,
    /// Methods and paths that pass unread.
    pass: Vec<(String, Vec<String>)>,
}

impl Routes {
    /// The routes of these settings, with their upstreams.
    ///
    /// # Errors
    /// An upstream that cannot be used, or none at all.
    pub fn new(settings: &Config) -> Result<Self, Misconfigured> {
        let mut routes = Vec::new();
        for route in &settings.routes {
            if let Some(upstream) = settings.upstreams.get(&route.upstream) {
                routes.push(Way::new(route, upstream, &format!("upstreams.{}", route.upstream))?);
            }
        }
        // With routes to go, calls that fit none may go nowhere.
        let alone = routes.is_empty() || !settings.upstream.url.is_empty();
        let rest = config::Route { name: None, prefix: String::new(), host: None, upstream: DEFAULT_UPSTREAM.to_owned() };
        let fallback = alone.then(|| Way::new(&rest, &settings.upstream, "upstream")).transpose()?;
        Ok(Self { routes, fallback })
    }

    pub(super) fn find(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Route, Failure> {
        let path = uri.path();
        if is_ambiguous(path) {
            return Err(Failure::AmbiguousPath);
        }
        if headers.get_all(header::HOST).iter().nth(1).is_some() {
            return Err(Failure::AmbiguousHost);
        }
        let unknown = || Failure::UnknownPath { method: method.to_string(), path: path.to_owned() };
        let host = LazyCell::new(|| host(uri, headers));
        let routed = self.routes.iter().find(|way| way.fits(path, || host.as_deref()));
        let way = routed.or(self.fallback.as_ref()).ok_or_else(unknown)?;
        if let Some(name) = steering(headers).find(|name| !way.upstream.replaces(name)) {
            return Err(Failure::Steering(name.to_owned()));
        }
        let inner = path.strip_prefix(way.prefix.as_str()).unwrap_or(path);
        let kind = way.kind(method, inner).ok_or_else(unknown)?;
        let path = match uri.path_and_query() {
            Some(asked) if inner == path => asked.clone(),
            asked => {
                let query = asked.and_then(PathAndQuery::query).map(|query| format!("?{query}")).unwrap_or_default();
                format!("{inner}{query}").parse().map_err(|_| Failure::AmbiguousPath)?
            }
        };
        let (name, upstream, upstream_name) =
            (Arc::clone(&way.name), Arc::clone(&way.upstream), Arc::clone(&way.upstream_name));
        Ok(Route { kind, name, upstream, upstream_name, path })
    }
}

impl Way {
    fn new(route: &config::Route, settings: &config::Upstream, section: &str) -> Result<Self, Misconfigured> {
        let host = route.host.as_deref().map(str::to_ascii_lowercase);
        Ok(Self {
            name: route.called().into(),
            prefix: route.prefix.clone(),
            host,
            upstream: Arc::new(Upstream::new(settings, section)?),
            upstream_name: route.upstream.as_str().into(),
            pass: settings.pass.iter().map(|line| split(line)).collect(),
        })
    }

    fn fits<'h>(&self, path: &str, host: impl FnOnce() -> Option<&'h str>) -> bool {
        let under = path.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.starts_with('/'));
        under && self.host.as_deref().is_none_or(|wanted| host() == Some(wanted))
    }

    fn kind(&self, method: &Method, path: &str) -> Option<Kind> {
        if let Some(dialect) = DIALECTS.iter().find(|dialect| dialect.matches(method, path)) {
            return Some(Kind::Chat(*dialect));
        }
        if method == Method::POST && path.ends_with("/moderations") {
            return Some(Kind::Moderation);
        }
        let segments: Vec<&str> = path.split('/').collect();
        let fits = |(verb, listed): &(String, Vec<String>)| {
            verb == method.as_str()
                && listed.len() == segments.len()
                && listed.iter().zip(&segments).all(|(listed, asked)| listed == asked || (listed == "*" && !asked.is_empty()))
        };
        self.pass.iter().any(fits).then_some(Kind::Pass)
    }
}

/// A method and a path's segments.
fn split(line: &str) -> (String, Vec<String>) {
    let (method, path) = line.split_once(' ').unwrap_or_default();
    (method.to_owned(), path.split('/').map(str::to_owned).collect())
}

/// Headers that would steer the upstream; many servers read an underscore in a name as a hyphen.
fn steering(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let steers = |name: &&str| {
        if name.contains('_') { STEERING.contains(&name.replace('_', "-").as_str()) } else { STEERING.contains(name) }
    };
    headers.keys().map(HeaderName::as_str).filter(steers)
}

/// The host that was asked for, without its port: of the address, if that has one, as it stands above the header.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(host) = uri.host() {
        return Some(host.to_ascii_lowercase());
    }
    let header = headers.get(header::HOST)?.to_str().ok()?;
    let authority: http::uri::Authority = header.parse().ok()?;
    Some(authority.host().to_ascii_lowercase())
}

/// Whether servers are known to read a path in different ways.
fn is_ambiguous(path: &str) -> bool {
    let mut lower = path.to_ascii_lowercase();
    // Bedrock's model ids are resource names with slashes, which its SDKs encode.
    if let Some((before, after)) = lower.split_once("/model/") {
        let (model, rest) = after.split_once('/').unwrap_or((after, ""));
        if model.split("%2f").any(|piece| matches!(piece, "" | "." | "..")) {
            return true;
        }
        lower = format!("{before}/model/{}/{rest}", model.replace("%2f", ""));
    }
    path.contains("//")
        || has_needless_code(path)
        || path.contains('\\')
        || path.contains(';')
        || path.split('/').any(|segment| matches!(segment, "." | ".."))
        || ["%2e", "%2f", "%5c", "%00", "%25"].iter().any(|code| lower.contains(code))
}

/// Whether a letter, a digit or the like is written as a percent code: servers decode it before they look at the path.
fn has_needless_code(path: &str) -> bool {
    path.split('%').skip(1).any(|piece| {
        let code = piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        code.is_none_or(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(routes: &Routes, method: &Method, host: &'static str, path: &str) -> String {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
        match routes.find(method, &path.parse().unwrap(), &headers) {
            Ok(route) => {
                let kind = match route.kind {
                    Kind::Chat(dialect) => dialect.name(),
                    Kind::Moderation => "moderation",
                    Kind::Pass => "pass",
                };
                format!("{kind} {}{}", route.upstream.base().host().unwrap(), route.path)
            }
            Err(Failure::AmbiguousPath) => "ambiguous".to_owned(),
            Err(_) => "unknown".to_owned(),
        }
    }

    fn upstream(url: &str) -> config::Upstream {
        let pass = vec!["GET /v1/models".into(), "GET /v1/models/*".into()];
        config::Upstream { url: url.into(), pass, ..config::Upstream::default() }
    }

    #[test]
    fn chat_listed_unknown_and_ambiguous() {
        let routes = Routes::new(&Config { upstream: upstream("http://h"), ..Config::default() }).unwrap();
        let find = |method: Method, path: &str| found(&routes, &method, "proxy:8080", path);
        assert_eq!(find(Method::POST, "/v1/chat/completions"), "openai_chat h/v1/chat/completions");
        assert_eq!(
            find(Method::POST, "/openai/deployments/x/chat/completions?api-version=1"),
            "openai_chat h/openai/deployments/x/chat/completions?api-version=1"
        );
        assert_eq!(find(Method::POST, "/v1/moderations"), "moderation h/v1/moderations");
        assert_eq!(find(Method::GET, "/v1/models"), "pass h/v1/models");
        assert_eq!(find(Method::GET, "/v1/models/gpt"), "pass h/v1/models/gpt");
        for (method, path) in
            [(Method::GET, "/v1/models/gpt/x"), (Method::POST, "/v1/models"), (Method::POST, "/v1/embeddings")]
        {
            assert_eq!(find(method, path), "unknown");
        }
        assert_eq!(
            find(Method::POST, "/model/arn%3Aaws%3Abedrock%3A%3Ainference-profile%2Fx/converse"),
            "bedrock h/model/arn%3Aaws%3Abedrock%3A%3Ainference-profile%2Fx/converse"
        );
        assert_eq!(find(Method::POST, "/model/x%2f..%2f%2e%2e/converse"), "ambiguous");
        for path in [
            "/v1/models/../chat/completions",
            "/v1//models",
            "/v1/%2e%2e/models",
            "/v1/models%2fx",
            "/v1/models;x",
            "/v1/%6dodels",
        ] {
            assert_eq!(find(Method::GET, path), "ambiguous");
        }
    }

    #[test]
    fn no_header_steers_the_upstream_but_the_operators_own() {
        let mut settings = upstream("http://h");
        let find = |settings: &config::Upstream, name: &'static str| {
            let routes = Routes::new(&Config { upstream: settings.clone(), ..Config::default() }).unwrap();
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("x"))]);
            routes.find(&Method::POST, &"/v1/chat/completions".parse().unwrap(), &headers).err().map(|e| e.to_string())
        };
        for name in STEERING.into_iter().chain(["x_original_url", "x-portkey_config"]) {
            assert!(find(&settings, name).is_some_and(|why| why.contains(name)), "{name}");
        }
        assert_eq!(find(&settings, "x-portkey-trace-id"), None);
        settings.set_headers = [("X-Portkey-Config".to_owned(), "pc-1".to_owned())].into();
        settings.remove_headers = vec!["x_original_url".to_owned()];
        assert_eq!(find(&settings, "x-portkey-config"), None);
        assert_eq!(find(&settings, "x_original_url"), None);
        assert!(find(&settings, "x-portkey_config").is_some());
    }

    #[test]
    fn prefixes_and_hosts_choose_the_upstream() {
        let route = |prefix: &str, host: Option<&str>, upstream: &str| config::Route {
            name: None,
            prefix: prefix.into(),
            host: host.map(str::to_owned),
            upstream: upstream.into(),
        };
        let mut settings = Config::default();
        settings.upstreams.insert("a".into(), upstream("http://a"));
        settings.upstreams.insert("b".into(), upstream("http://b"));
        settings.routes =
            vec![route("/x", Some("One.example"), "a"), route("/x", None, "b"), route("", Some("two.example"), "b")];
        let routes = Routes::new(&settings).unwrap();
        let find = |host, path| found(&routes, &Method::GET, host, path);
        assert_eq!(find("one.example:80", "/x/v1/models?a=/x"), "pass a/v1/models?a=/x");
        assert_eq!(find("other", "/x/v1/models"), "pass b/v1/models");
        assert_eq!(find("two.example", "/v1/models"), "pass b/v1/models");
        let name = |host: &'static str, path: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            routes.find(&Method::GET, &path.parse().unwrap(), &headers).map(|route| route.name.to_string()).ok()
        };
        assert_eq!(name("TWO.example", "/v1/models").as_deref(), Some("two.example"), "it has no prefix to go by");
        assert_eq!(name("two.example", "/x/v1/models").as_deref(), Some("/x"));
        assert_eq!(find("one.example", "/v1/models"), "unknown", "no upstream is the rest's");
        assert_eq!(find("other", "/xv1/models"), "unknown");
        assert_eq!(find("other", "http://two.example/v1/models"), "pass b/v1/models", "the address stands above the header");
        settings.upstream = upstream("http://c");
        let routes = Routes::new(&settings).unwrap();
        assert_eq!(found(&routes, &Method::GET, "one.example", "/v1/models"), "pass c/v1/models");
    }
}
