//! No text goes to the model unscored, wherever in a body it stands.

mod places;

use std::{collections::BTreeSet, sync::OnceLock};

use http::Method;
use proptest::{prelude::*, sample::Index, test_runner::FileFailurePersistence};
use seawall::{
    dialect::{DIALECTS, Dialect, Request},
    wire::json::{Document, Malformed},
};
use serde_json::Value;
use tokio::runtime::Runtime;

use self::places::{How, Marked, WAYS, names, places, put, silent, without};
use crate::harness::{Answer, Proxy, RULES, fixture};

/// A request with all that an API knows: its dialect, which is also the file's name, and its path.
const REQUESTS: &[(&str, &str)] = &[
    ("openai_chat", "/v1/chat/completions"),
    ("openai_completions", "/v1/completions"),
    ("openai_responses", "/v1/responses"),
    ("anthropic", "/v1/messages"),
    ("gemini", "/v1beta/models/m:generateContent"),
    ("ollama_chat", "/api/chat"),
    ("ollama_generate", "/api/generate"),
    ("cohere", "/v2/chat"),
    ("bedrock", "/model/m/converse"),
];

const UNSAFE: &str = "much danger here";

/// An API with its full request.
struct Api {
    dialect: &'static dyn Dialect,
    path: &'static str,
    body: Value,
}

impl Api {
    fn all() -> Vec<Self> {
        let api = |(name, path): &(&'static str, &'static str)| {
            let dialect = *DIALECTS.iter().find(|dialect| dialect.name() == *name).unwrap();
            let body = serde_json::from_slice(&std::fs::read(fixture(&format!("requests/{name}.json"))).unwrap()).unwrap();
            Self { dialect, path, body }
        };
        REQUESTS.iter().map(api).collect()
    }

    fn read(&self, body: &Value) -> Result<Request, Malformed> {
        self.dialect.request(&self.path.parse().unwrap(), &Document::read(body.to_string().as_bytes()).unwrap())
    }
}

#[test]
fn all_apis_have_a_full_request_and_no_word_of_theirs_is_taken_for_text() {
    assert_eq!(REQUESTS.len(), DIALECTS.len());
    for Api { dialect, path, body } in Api::all() {
        let (uri, document) = (path.parse().unwrap(), Document::read(body.to_string().as_bytes()).unwrap());
        let [found, all] =
            [dialect.read(&uri, &document), dialect.request(&uri, &document)].map(|read| read.unwrap().content.segments);
        let unread: Vec<&str> = all[found.len()..].iter().map(|segment| segment.text.as_str()).collect();
        assert!(unread.is_empty(), "{}: {unread:?}", dialect.name());
    }
}

/// A text at each place of each full request is read, or the body refused, unless the dialect says that no model is told what
/// stands there; and each place of which it says so is there.
#[test]
fn a_text_is_read_wherever_it_stands() {
    for api in Api::all() {
        let (name, patterns) = (api.dialect.name(), api.dialect.silent());
        let mut met = BTreeSet::new();
        for place in places(&api.body) {
            met.extend(silent(patterns, &names(&place)));
            for how in [How::Instead, How::Added, How::Named] {
                let Some(Marked { body, names }) = put(&api.body, &place, how, UNSAFE) else { continue };
                let Ok(request) = api.read(&body) else { continue };
                let read = request.content.segments.iter().any(|segment| segment.text == UNSAFE);
                assert!(read || silent(patterns, &names).is_some(), "{name}: {how:?} {} is not read", names.join("/"));
            }
        }
        assert_eq!(met, patterns.iter().copied().collect(), "{name}");
    }
}

/// A change to a full request.
#[derive(Debug, Clone)]
enum Change {
    /// What stands at a place is left out.
    Drop(Index),
    /// This is put there.
    Put(Index, How, String),
}

fn change() -> impl Strategy<Value = Change> {
    let put = (any::<Index>(), prop::sample::select(&WAYS[..]), "[a-zก \"\\\\.]{0,12}");
    prop_oneof![any::<Index>().prop_map(Change::Drop), put.prop_map(|(at, how, text)| Change::Put(at, how, text))]
}

/// A proxy for all cases: one that lets pictures and the like pass, so that they hide nothing from the test.
fn proxy() -> &'static (Runtime, Proxy) {
    static PROXY: OnceLock<(Runtime, Proxy)> = OnceLock::new();
    PROXY.get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::with(&format!("on_unscorable = \"allow\"\n{RULES}"), |_| {}));
        (runtime, proxy)
    })
}

/// What becomes of a body: forwarded as it is written, or the proxy's own answer.
enum Fate {
    Forwarded,
    Answered(Answer),
}

fn fate(path: &str, body: &str) -> Fate {
    let (runtime, proxy) = proxy();
    let (fate, idle) = runtime.block_on(async {
        let send = async { Answer::read(proxy.send(proxy.request(Method::POST, path, body.to_owned())).await).await };
        let fate = tokio::select! {
            answer = send => Fate::Answered(answer),
            call = proxy.upstream.call() => {
                assert_eq!(call.text(), body, "what is forwarded is what came");
                Fate::Forwarded
            }
        };
        (fate, proxy.upstream.is_idle().await)
    });
    assert!(idle, "one call at most");
    fate
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/it/unscored/regressions.txt"))),
        ..ProptestConfig::default()
    })]

    /// Whatever a body is made of: with an unsafe text in it, it does not reach the upstream, unless that stands in a silent
    /// place; without one it reaches it byte for byte, or is refused as malformed.
    #[test]
    fn no_unscored_text_reaches_the_upstream(
        which in 0..REQUESTS.len(),
        changes in prop::collection::vec(change(), 0..6),
        mark in prop::option::weighted(0.7, (any::<Index>(), prop::sample::select(&WAYS[..]), "[a-z ]{0,4}", "[a-z. ]{0,4}")),
        spaced in any::<bool>(),
    ) {
        let api = &Api::all()[which];
        let mut body = api.body.clone();
        for change in &changes {
            let places = places(&body);
            let changed = match change {
                Change::Drop(at) => without(&body, at.get(&places)),
                Change::Put(at, how, text) => put(&body, at.get(&places), *how, text).map(|marked| marked.body),
            };
            body = changed.unwrap_or(body);
        }
        let mut stands = None;
        if let Some((at, how, before, after)) = &mark {
            let marked = put(&body, at.get(&places(&body)), *how, &format!("{before} {UNSAFE} {after}"));
            if let Some(Marked { body: marked, names }) = marked {
                (body, stands) = (marked, Some(names));
            }
        }
        let text = if spaced { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        match (fate(api.path, &text), stands) {
            (Fate::Forwarded, None) => {}
            (Fate::Forwarded, Some(names)) => {
                let pattern = silent(api.dialect.silent(), &names);
                prop_assert!(pattern.is_some(), "{}: {} was forwarded", api.dialect.name(), names.join("/"));
            }
            (Fate::Answered(answer), stands) => {
                let refused = answer.status == 400 && String::from_utf8_lossy(&answer.body).contains("malformed_request");
                let blocked = answer.status == 200 && String::from_utf8_lossy(&answer.body).contains("no such");
                prop_assert!(refused || (blocked && stands.is_some()), "{}: {:?}", api.dialect.name(), answer);
                prop_assert!(!changes.is_empty() || stands.is_some(), "a full request was refused");
            }
        }
    }
}
