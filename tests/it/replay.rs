//! What the record keeps decides again as it was decided, and shows what other policies would change.

use std::{collections::BTreeSet, fs, path::Path, process::Command, sync::Arc};

use http::Method;
use seawall::{
    config::{DEFAULT_GUARD, Uncovered},
    exchange::dialects,
    policy::{HashKey, Policies, Terms},
    replay::{Decided, Exchange},
    review::Case,
    segment::Direction,
};
use serde_json::{Value, json};

use crate::harness::{Answer, Proxy, RULES, ask, ask_stream, chunk, completion, finish, fixture};

/// Rules of every action, some of which only record.
const MANY: &str = r#"
name = "many"
on_unscorable = "flag"

[[rule]]
name = "stop"
where = ["prompt", "completion", "tool_result"]
threshold = 0.9
action = "block"

[[rule]]
name = "cards"
where = ["prompt", "completion", "tool_call"]
detectors = ["payment_card"]
action = "redact"
redact = "hash"

[[rule]]
name = "codes"
where = ["prompt", "completion"]
detectors = ["codes"]
action = "replace"
message = "…"

[[rule]]
name = "mail"
where = ["prompt", "completion"]
when = 'findings.exists(name, name == "email") && request.headers["x-team"] == "a"'
action = "flag"

[[rule]]
name = "low"
where = ["completion"]
when = 'score < 0.5 && language != "th"'
action = "flag"
mode = "shadow"

[[rule]]
name = "some"
where = ["prompt"]
action = "flag"
mode = "shadow"
sample = 0.5

[detectors.codes]
regex = ['\bPRJ-\d{4}\b']
"#;

/// The texts of prompts and answers that the tests send, each to each.
const TEXTS: [&str; 7] = [
    "What is the best way to cook rice for the family?",
    "This is a danger and a menace to all of you, whoever you are. And some more.",
    "My card is 4111 1111 1111 1111, and that of the other is 5500 0000 0000 0004. Is it?",
    "The code of it is PRJ-1234, which you can tell to nobody at all.",
    "Write to a@b.co about this. I will write to you.",
    "A danger to 4111 1111 1111 1111, to a@b.co and to PRJ-1234.",
    "วิธีหุงข้าวที่ดีที่สุดสำหรับครอบครัวคืออะไร",
];

fn policies(text: &str) -> Arc<Policies> {
    let terms = Terms { guards: &[DEFAULT_GUARD], dialects: &["openai_chat"], hash_key: HashKey::new(b"key") };
    Arc::new(Policies::parse(&[("p.toml".into(), text.to_owned())], &terms).unwrap())
}

fn decided(case: &Case, policies: &Arc<Policies>) -> Decided {
    let exchange = Exchange::new(case, policies, &dialects().collect::<Vec<_>>()).unwrap();
    assert!(exchange.unasked().is_empty(), "{case:?}");
    exchange.decide(Uncovered::Block)
}

/// An exchange that reaches the upstream, streamed in pieces of so many characters or whole.
async fn exchange(proxy: &Proxy, prompt: &str, answer: &str, pieces: Option<usize>) {
    let body = if pieces.is_some() { ask_stream(prompt) } else { ask(prompt) };
    let mut request = proxy.request(Method::POST, "/v1/chat/completions", body);
    request.headers_mut().insert("x-team", "a".parse().unwrap());
    let upstream = async {
        let call = proxy.upstream.call().await;
        let Some(size) = pieces else { return call.answer(200, completion(answer)) };
        let upstream = call.stream();
        let chars: Vec<char> = answer.chars().collect();
        for piece in chars.chunks(size) {
            upstream.send(chunk(0, &piece.iter().collect::<String>())).await;
        }
        upstream.send(finish(0)).await;
    };
    let client = async { Answer::read(proxy.send(request).await).await };
    tokio::join!(client, upstream);
}

#[tokio::test]
async fn the_record_decides_as_the_proxy_did() {
    let proxy = Proxy::with(MANY, |_| {}).await;
    for prompt in TEXTS {
        for (at, answer) in TEXTS.iter().enumerate() {
            if prompt.contains("danger") {
                proxy.post(if at % 2 == 0 { ask(prompt) } else { ask_stream(prompt) }).await;
                continue;
            }
            for pieces in [None, Some(3), Some(9)] {
                exchange(&proxy, prompt, answer, pieces).await;
            }
        }
    }
    let image = json!([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
    let image = json!({"model": "m", "messages": [{"role": "user", "content": image}]}).to_string();
    tokio::join!(proxy.post(image), async { proxy.upstream.call().await.answer(200, completion("tea")) });

    let (policies, cases) = (proxy.inner.policies(), proxy.cases().await);
    let mut seen = BTreeSet::new();
    for case in &cases {
        let (then, now) = (Decided::recorded(case), decided(case, &policies));
        assert_eq!(now.action().word(), case.decision, "{case:#?}");
        assert_eq!(now.rules(), then.rules(), "{case:#?}");
        seen.insert((case.decision.clone(), case.stream, now.direction() == Direction::Request));
        let text = serde_json::to_string(case).unwrap();
        assert!(!["4111 1111 1111 1111", "PRJ-1234", "a@b.co"].iter().any(|found| text.contains(found)), "{text}");
        assert_eq!(serde_json::from_str::<Case>(&text).unwrap(), *case);
    }
    for decision in ["block", "rewrite", "flag"] {
        for stream in [false, true] {
            for request in [false, true] {
                assert!(seen.contains(&(decision.to_owned(), stream, request)), "{decision} {stream} {request}: {seen:?}");
            }
        }
    }
    assert!(seen.iter().any(|(decision, ..)| decision == "allow"), "a shadow rule only: {seen:?}");
}

/// The command's output and whether it ended well.
fn seawall(arguments: &[&str]) -> (String, bool) {
    let guard = fixture("guard").display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    let environment = [("SEAWALL_GUARD__DIR", guard.as_str()), ("SEAWALL_GUARD__THREADS", "1")];
    let output = command.args(arguments).envs(environment).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (String::from_utf8(told).unwrap(), output.status.success())
}

fn replayed(arguments: &[&str]) -> Value {
    let (told, good) = seawall(&[&["policy", "replay", "--json"], arguments].concat());
    assert!(good, "{told}");
    serde_json::from_str(&told).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_records_shows_what_the_baseline_would_do() {
    let watch = "[[rule]]\nname = \"ordinary\"\nwhere = [\"prompt\"]\naction = \"flag\"\nsample = 1.0\n";
    let watch = format!("{}{watch}", RULES.replacen("\"tests\"", "\"tests\"\nmode = \"shadow\"", 1));
    let proxy = Proxy::with(&watch, |_| {}).await;
    for (prompt, answer, pieces) in [
        ("What is the danger of it?", "That is all of it", None),
        ("Why is it a danger to me?", "That is all of it", Some(3)),
        ("My card is 4111 1111 1111 1111", "That is all of it", None),
        ("Who goes there?", "a menace of some kind, and more of it. And the rest of it.", Some(5)),
        ("What is the card of it?", "4111 1111 1111 1111", None),
        ("hello", "hi", None),
    ] {
        exchange(&proxy, prompt, answer, pieces).await;
    }
    let (store, baseline) = (proxy.store.clone(), Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/baseline.toml"));
    let baseline = baseline.to_str().unwrap();
    let tally = replayed(&["--policies", baseline, "--store", &store]);
    assert_eq!([&tally["exchanges"], &tally["changed"], &tally["unanswered"]], [6, 5, 0], "{tally:#}");
    let changes = tally["changes"].as_array().unwrap();
    let told = |change: &Value| {
        let count = |name: &str| change[name].as_u64().unwrap();
        let words = ["from", "to"].map(|name| change[name].as_str().unwrap().to_owned());
        (words.join(" "), count("exchanges"), count("requests"), count("responses"))
    };
    let mut changes: Vec<_> = changes.iter().map(told).collect();
    changes.sort();
    assert_eq!(changes, [("allow block".to_owned(), 3, 2, 1), ("allow rewrite".to_owned(), 2, 1, 1)]);
    for (rule, new, gone) in [
        ("baseline/unsafe-prompt", 2, 0),
        ("baseline/unsafe-completion", 1, 0),
        ("baseline/private-data", 2, 0),
        ("tests/unsafe-prompt", 0, 2),
        ("tests/unsafe-completion", 0, 3),
        ("tests/cards", 0, 2),
        ("tests/ordinary", 0, 6),
    ] {
        assert_eq!(tally["rules"][rule], json!({"new": new, "gone": gone, "still": 0}), "{rule}: {tally:#}");
    }
    assert_eq!(tally["languages"]["en"][1], 5, "{tally:#}");

    let (told, _) = seawall(&["policy", "replay", "--policies", baseline, "--store", &store, "--examples", "2"]);
    assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
    assert!(told.contains("5 of 6 decisions change"), "{told}");
    assert!(told.contains("prompt  Why is it a danger to me?") && told.contains("answer  [payment card]"), "{told}");
    assert!(told.contains("was     tests/unsafe-prompt (shadow), tests/ordinary (shadow)"), "{told}");
    assert!(told.contains("now     baseline/unsafe-prompt"), "{told}");
    assert!(!told.contains("What is the danger"), "two examples of each change, the newest: {told}");

    let (export, good) = seawall(&["review", "export", "--store", &store]);
    assert!(good, "{export}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("traffic.jsonl");
    fs::write(&file, export).unwrap();
    let file = file.to_str().unwrap();
    let again = replayed(&["--policies", baseline, file, "--examples", "0"]);
    assert_eq!([&again["exchanges"], &again["changed"], &again["rules"]], [&json!(6), &json!(5), &tally["rules"]]);
    let same = replayed(&["--policies", baseline, "--against", baseline, file]);
    assert_eq!([&same["exchanges"], &same["changed"]], [6, 0]);
    assert_eq!(replayed(&["--policies", baseline, "--store", &store, "--limit", "2"])["exchanges"], 2);
    assert_eq!(replayed(&["--policies", baseline, "--store", &store, "--since", "2100-01-01"])["exchanges"], 0);
    let fails = ["policy", "replay", "--policies", baseline, file, "--fail-on-change"];
    let (told, good) = seawall(&fails);
    assert!(!good && told.ends_with("seawall: 5 decisions change\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_guard_has_judged_is_left_out_or_scored_now() {
    let all = "name = \"all\"\n[[rule]]\nname = \"all\"\nwhere = [\"prompt\"]\naction = \"flag\"\n";
    let proxy = Proxy::with(all, |_| {}).await;
    for (prompt, answer, pieces) in [
        ("danger", "hi", None),
        ("hello", "a menace of some kind, and more of it. And the rest of it.", Some(5)),
        ("What is it?", "tea", None),
    ] {
        exchange(&proxy, prompt, answer, pieces).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, rules: &str| {
        fs::write(dir.path().join(name), rules).unwrap();
        dir.path().join(name).display().to_string()
    };
    let (rules, words) = (
        path("rules.toml", RULES),
        path(
            "words.toml",
            "name = \"words\"\n[[rule]]\nname = \"tea\"\nwhere = [\"completion\"]\ndetectors = [\"tea\"]\naction = \"block\"\n\
             [detectors.tea]\nwords = [\"tea\"]\n",
        ),
    );
    let tally = replayed(&["--policies", &rules, "--store", &proxy.store]);
    assert_eq!([&tally["exchanges"], &tally["not_rescored"], &tally["needs_rescoring"]["default"]], [0, 3, 3], "{tally:#}");
    let (told, _) = seawall(&["policy", "replay", "--policies", &rules, "--store", &proxy.store]);
    assert!(told.contains("left out  3 exchanges that need rescoring, by `default` 3"), "{told}");
    let tally = replayed(&["--policies", &rules, "--store", &proxy.store, "--rescore"]);
    assert_eq!([&tally["exchanges"], &tally["rescored"], &tally["changed"]], [3, 3, 3], "{tally:#}");
    assert_eq!(tally["rules"]["tests/unsafe-prompt"]["new"], 1);
    assert_eq!(tally["rules"]["tests/unsafe-completion"]["new"], 1);
    // Own detectors are searched in what is on record.
    let tally = replayed(&["--policies", &words, "--store", &proxy.store]);
    assert_eq!([&tally["exchanges"], &tally["rules"]["words/tea"]["new"]], [3, 1], "{tally:#}");
}

#[tokio::test]
async fn facts_of_the_call_choose_the_policies_again() {
    let proxy = Proxy::with(MANY, |_| {}).await;
    exchange(&proxy, "Write to a@b.co about this", "hi", None).await;
    let case = proxy.cases().await.remove(0);
    let rule = |scope: &str| {
        format!("name = \"p\"\n[scope]\n{scope}\n[[rule]]\nname = \"r\"\nwhere = [\"prompt\"]\naction = \"flag\"\n")
    };
    for (scope, rules) in [
        ("headers = { x-team = [\"a\"] }", "p/r"),
        ("headers = { x-team = [\"b\"] }", "no policy covers it"),
        ("upstreams = [\"default\"]\nmodels = [\"m\"]\ndialects = [\"openai_chat\"]\nroutes = [\"\"]", "p/r"),
        ("tenants = [\"support\"]", "no policy covers it"),
    ] {
        let now = decided(&case, &policies(&rule(scope)));
        assert_eq!(now.rules().into_iter().collect::<Vec<_>>(), [rules], "{scope}");
    }
}
