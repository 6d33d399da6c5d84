//! A thousand changes while traffic runs: every exchange is answered, and wholly by one set.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::Path,
};

use futures_util::future::{join, join_all};
use seawall::review::Case;
use serde_json::Value;
use tokio::sync::watch::{Receiver, Sender, channel};

use super::{JSON, proxy, reload, until};
use crate::harness::{Call, Proxy, ask, ask_stream, chunk, completion, finish, told};

const CHANGES: usize = 1_000;
/// Each so many changes nobody asks for the reload, and the change of the files has to do.
const UNASKED: usize = 100;

/// A set is spread over files, and all that it does bears its letter.
fn files(letter: &str) -> [(&'static str, String); 3] {
    let codes = format!("[detectors.codes]\nregex = ['\\bcode-\\d+\\b']\nmask = \"[{letter}]\"\n");
    let rule =
        |name: &str, place: &str, does: &str| format!("[[rule]]\nname = \"{name}-{letter}\"\nwhere = [\"{place}\"]\n{does}\n");
    let stop = format!("threshold = \"guard\"\naction = \"block\"\nmessage = \"{letter} says no\"");
    let mask = "detectors = [\"codes\"]\naction = \"redact\"";
    let policy = |name: &str, rules: &[String]| format!("name = \"{name}-{letter}\"\n{}", rules.concat());
    [
        (
            "1.toml",
            policy("prompts", &[rule("stop-prompt", "prompt", &stop), rule("mask-prompt", "prompt", mask), codes.clone()]),
        ),
        ("2.toml", policy("answers", &[rule("stop-answer", "completion", &stop)])),
        ("3.toml", policy("codes", &[rule("mask-answer", "completion", mask), codes])),
    ]
}

/// Writes a set to a directory of its own, and turns the link to it.
fn put(top: &Path, number: usize, letter: &str) {
    let version = top.join(format!("v{number}"));
    fs::create_dir(&version).unwrap();
    for (name, text) in files(letter) {
        fs::write(version.join(name), text).unwrap();
    }
    symlink(&version, top.join("next")).unwrap();
    fs::rename(top.join("next"), top.join("current")).unwrap();
    if let Some(old) = number.checked_sub(1) {
        fs::remove_dir_all(top.join(format!("v{old}"))).unwrap();
    }
}

/// What is asked, the answer's end, and the rules that match.
const KINDS: [(&str, &str, &[&str]); 3] = [
    ("danger code-1", "", &["stop-prompt", "mask-prompt"]),
    ("tea code-1", "code-2 is fine.", &["mask-prompt", "mask-answer"]),
    ("harm code-1", "danger.", &["mask-prompt", "stop-answer"]),
];

/// An exchange that a client has had.
struct Had {
    id: String,
    text: String,
    kind: usize,
}

/// Asks one kind of thing after the other until there are no more changes.
async fn client(proxy: &Proxy, streams: bool, changes: Receiver<usize>) -> Vec<Had> {
    let mut had = Vec::new();
    while changes.has_changed().is_ok() {
        let kind = had.len() % KINDS.len();
        let (id, text) = if streams {
            let mut stream = proxy.stream(ask_stream(KINDS[kind].0)).await;
            assert_eq!(stream.status, 200);
            let id = stream.headers["seawall-request-id"].to_str().unwrap().to_owned();
            let (text, end) = told(&stream.chunks().await, 0);
            assert!(end.is_some(), "the stream ends as it should");
            (id, text)
        } else {
            let answer = proxy.post(ask(KINDS[kind].0)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            (answer.header("seawall-request-id").to_owned(), answer.content())
        };
        had.push(Had { id, text, kind });
    }
    had
}

/// Says back what it was asked, and in a stream goes on only once the policies have changed.
async fn answer(call: Call, mut changes: Receiver<usize>) {
    let asked: Value = serde_json::from_slice(&call.body).unwrap();
    let prompt = asked["messages"][0]["content"].as_str().unwrap().to_owned();
    let (begin, end) = (format!("you said {prompt}. "), if prompt.starts_with("harm") { KINDS[2].1 } else { KINDS[1].1 });
    if asked["stream"] != true {
        return call.answer(200, completion(&(begin + end)));
    }
    let pieces = call.stream();
    changes.borrow_and_update();
    pieces.send(chunk(0, &begin)).await;
    // An error says that there are no more.
    drop(changes.changed().await);
    pieces.send([chunk(0, end), finish(0), "data: [DONE]\n\n".to_owned()].concat()).await;
}

/// Changes the policies as fast as it goes; returns the revisions by their letters.
async fn change(proxy: &Proxy, top: &Path, changes: Sender<usize>) -> BTreeMap<&'static str, String> {
    let mut revisions = BTreeMap::from([("A", proxy.inner.policies().revision().to_owned())]);
    for number in 1..=CHANGES {
        let letter = if number % 2 == 0 { "A" } else { "B" };
        put(top, number, letter);
        if number % UNASKED == 0 {
            until("the change is noticed", async || proxy.inner.policies().revision() == revisions[letter]).await;
        } else {
            let done = reload(proxy, &[JSON]).await;
            assert_eq!(done.status, 200, "{done:?}");
            let revision = done.json()["revision"].as_str().unwrap().to_owned();
            assert_eq!(*revisions.entry(letter).or_insert_with(|| revision.clone()), revision);
        }
        changes.send_replace(number);
    }
    revisions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_changes_under_traffic_fail_no_exchange_and_mix_no_sets() {
    let top = tempfile::tempdir().unwrap();
    put(top.path(), 0, "A");
    let proxy = proxy(&top.path().join("current")).await;
    let (changes, seen) = channel(0);
    let clients = join_all([false, false, false, true, true, true].map(|streams| client(&proxy, streams, seen.clone())));
    let upstream = async {
        loop {
            tokio::spawn(answer(proxy.upstream.call().await, seen.clone()));
        }
    };
    let (had, revisions) = tokio::select! {
        all = join(clients, change(&proxy, top.path(), changes)) => all,
        () = upstream => return,
    };
    assert_eq!(proxy.metric("seawall_policy_reloads_total{outcome=\"changed\"}").await, CHANGES as u64);
    assert_eq!(proxy.metric("seawall_policy_reloads_total{outcome=\"refused\"}").await, 0);
    let cases = proxy.cases().await;
    let cases: BTreeMap<&str, &Case> = cases.iter().map(|case| (case.id.as_str(), case)).collect();
    let had: Vec<(bool, Had)> =
        had.into_iter().enumerate().flat_map(|(client, had)| had.into_iter().map(move |had| (client >= 3, had))).collect();
    let mut met = BTreeSet::new();
    for (streamed, Had { id, text, kind }) in &had {
        let letters: Vec<&str> = ["A", "B"].into_iter().filter(|letter| text.contains(*letter)).collect();
        let [letter] = letters[..] else { panic!("of both sets, or of none: {text}") };
        let case = cases[id.as_str()];
        let rules: BTreeSet<String> = KINDS[*kind].2.iter().map(|name| format!("{name}-{letter}")).collect();
        assert_eq!(case.rules().into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), rules, "{text}");
        assert_eq!(case.policy, revisions[letter], "{text}");
        assert!(!text.contains("code"), "{text}");
        met.insert((letter, streamed, kind));
    }
    assert_eq!(met.len(), 2 * 2 * KINDS.len(), "each kind was met under each set, among {} exchanges", had.len());
}
