//! What reviewers do from a command line, in both kinds of store: from flagged traffic to a guard's threshold.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;
use sqlx::SqlitePool;

use crate::harness::{Proxy, RULES, ask, completion, fixture, postgres};

/// Runs the program. The test's own thread waits for it, so the proxy, which may be writing to the store, needs another.
fn seawall(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.args(arguments).env("SEAWALL_GUARD__THREADS", "1").env("USER", "ana").output().unwrap()
}

fn said(arguments: &[&str]) -> String {
    let output = seawall(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(arguments: &[&str]) -> (Option<i32>, String) {
    let output = seawall(arguments);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// `seawall review` with this store.
fn review<'a>(store: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    ["review"].iter().chain(arguments).chain(&["--store", store]).copied().collect()
}

/// A proxy before an empty store of each kind.
async fn proxies(rules: &str) -> Vec<Proxy> {
    let database = postgres::database().unwrap();
    let quick = |config: &mut seawall::config::Config| config.review.refresh_s = 1;
    let sqlite = Proxy::with(rules, quick).await;
    let postgres = Proxy::with(rules, |config| {
        quick(config);
        config.review.store = database;
    });
    vec![sqlite, postgres.await]
}

async fn asked(proxy: &Proxy, prompt: &str, answer: Option<&str>) -> String {
    let (answered, ()) = tokio::join!(proxy.post(ask(prompt)), async {
        if let Some(text) = answer {
            proxy.upstream.call().await.answer(200, completion(text));
        }
    });
    answered.header("seawall-request-id").to_owned()
}

/// A copy of the tests' guard.
fn guard(dir: &Path) -> String {
    let copy = dir.join("guard");
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(fixture("guard")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    copy.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_become_a_guards_thresholds() {
    for proxy in proxies(RULES).await {
        let store = proxy.store.as_str();
        let decide = |id: &str, opinion: &str| said(&review(store, &["decide", id, opinion, "--note", "as told"]));
        for number in 0..8 {
            let id = asked(&proxy, &format!("the danger of number {number}"), None).await;
            let told = decide(&id, if number < 5 { "right" } else { "wrong" });
            assert!(told.starts_with(&format!("{id}: ana says ")), "{told}");
        }
        for number in 0..4 {
            let id = asked(&proxy, &format!("how is number {number}"), Some(&format!("with menace {number}"))).await;
            decide(&id, if number < 2 { "right" } else { "wrong" });
        }
        let open = asked(&proxy, "a danger that nobody looks at", None).await;
        let disputed = asked(&proxy, "a danger that two look at", None).await;
        decide(&disputed, "right");
        said(&review(store, &["decide", &disputed, "wrong", "--reviewer", "bob"]));
        let masked = asked(&proxy, "my card is 4111 1111 1111 1111", Some("thank you")).await;
        decide(&masked, "right");

        let labelled = said(&review(store, &["export", "--format", "labelled"]));
        let lines: Vec<Value> = labelled.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 12, "what no guard flagged, and what is not decided, is no label: {labelled}");
        assert_eq!((&lines[0]["text"], &lines[0]["label"]), (&"the danger of number 0".into(), &"unsafe".into()));
        assert_eq!(lines[7]["label"], "safe");
        assert_eq!((&lines[8]["text"], &lines[8]["response"]), (&"how is number 0".into(), &"with menace 0".into()));
        let with_open = said(&review(store, &["export", "--format", "labelled", "--undecided"]));
        let unlabelled: Vec<Value> = with_open.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<&Value> = unlabelled.iter().filter(|line| line.get("label").is_none()).map(|line| &line["id"]).collect();
        assert_eq!(ids, [open.as_str(), disputed.as_str()]);
        let wrong = said(&review(store, &["export", "--format", "labelled", "--state", "wrong"]));
        assert_eq!(wrong.lines().count(), 5);

        let dir = tempfile::tempdir().unwrap();
        let (file, guard) = (dir.path().join("labelled.jsonl"), guard(dir.path()));
        // Only what was flagged is on record; safe texts of ordinary traffic come from elsewhere.
        let ordinary =
            (0..6).map(|n| format!("{{\"text\": \"what is number {n}\", \"label\": \"safe\"}}\n")).chain((0..4).map(|n| {
                format!("{{\"text\": \"how is number {n}\", \"response\": \"with care {n}\", \"label\": \"safe\"}}\n")
            }));
        fs::write(&file, [labelled].into_iter().chain(ordinary).collect::<String>()).unwrap();
        let file = file.to_str().unwrap();
        let report: Value =
            serde_json::from_str(&said(&["eval", file, "--guard", &guard, "--json", "--rounds", "20"])).unwrap();
        let count = |task: &str| {
            let groups = report["groups"].as_array().unwrap();
            let all = groups.iter().find(|group| group["task"] == task && group["name"] == "").unwrap();
            (all["unsafe_texts"].as_u64().unwrap(), all["safe_texts"].as_u64().unwrap())
        };
        assert_eq!((count("prompt"), count("response")), ((5, 9), (2, 6)));
        let told = said(&["guard", "calibrate", file, "--guard", &guard, "--target-fpr", "0.5", "--enough", "2"]);
        assert!(told.contains("prompt") && told.contains("response") && told.contains("written to"), "{told}");
        let manifest = fs::read_to_string(format!("{guard}/guard.toml")).unwrap();
        assert!(manifest.contains("calibration = { slope = "), "{manifest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_is_looked_at_decided_and_taken_back_and_all_of_it_is_on_record() {
    for proxy in proxies(RULES).await {
        let store = proxy.store.as_str();
        let id = asked(&proxy, "=danger, and more of it", None).await;
        asked(&proxy, "another danger", None).await;
        let short = &id[..id.len() - 1];
        said(&review(store, &["decide", short, "wrong", "--note", "it is \u{1b}[2J a play"]));
        let shown = said(&review(store, &["show", &id]));
        assert!(shown.contains("state     wrong") && shown.contains("decision  ana says wrong"), "{shown}");
        assert!(shown.contains("it is \\u{1b}[2J a play"), "{shown}");
        let whole: Value = serde_json::from_str(&said(&review(store, &["show", &id, "--json"]))).unwrap();
        assert_eq!((&whole["state"], &whole["decisions"][0]["reviewer"]), (&"wrong".into(), &"ana".into()));

        let listed = |flags: &[&str]| said(&review(store, &[&["list", "--json"][..], flags].concat())).lines().count();
        assert_eq!([listed(&[]), listed(&["--state", "open"]), listed(&["--state", "wrong"])], [2, 1, 1]);
        assert_eq!([listed(&["--rule", "unsafe-prompt"]), listed(&["--rule", "cards"])], [2, 0]);
        assert_eq!([listed(&["--min-score", "0.1"]), listed(&["--max-score", "0.1"])], [2, 0]);
        assert_eq!([listed(&["--since", "1h"]), listed(&["--until", "1h"])], [2, 0]);
        let table = said(&review(store, &["list", "--state", "wrong"]));
        assert!(table.contains("STATE") && table.contains(&id) && table.lines().count() == 2, "{table}");
        assert!(complaint(&review(store, &["list", "--state", "closed"])).1.contains("must be `open`, `right`"));

        let csv = said(&review(store, &["export", "--format", "csv"]));
        assert!(csv.starts_with("id,at,decision,state,") && csv.contains("'=danger, and more of it"), "{csv}");
        assert_eq!(said(&review(store, &["export"])).lines().count(), 2);
        let back = said(&review(store, &["undo", &id]));
        assert!(back.contains("the case is open"), "{back}");
        assert!(complaint(&review(store, &["undo", &id])).1.contains(&format!("there is no decision of ana on case {id}")));

        let fine = said(&review(store, &["verify"]));
        let head = fine.trim().rsplit(' ').next().unwrap();
        assert!(fine.starts_with("6 lines fit, head "), "decide, two looks, two exports, undo: {fine}");
        said(&review(store, &["show", &id]));
        said(&review(store, &["verify", "--contains", head]));
        let (code, why) = complaint(&review(store, &["verify", "--contains", &"0".repeat(64)]));
        assert!(code == Some(1) && why.contains("cut off or written anew"), "{why}");
        if store.starts_with("sqlite") {
            let pool = SqlitePool::connect(store).await.unwrap();
            sqlx::query("UPDATE audit SET actor = 'cli:eve' WHERE seq = 2").execute(&pool).await.unwrap();
            let (code, why) = complaint(&review(store, &["verify"]));
            assert!(code == Some(1) && why.contains("broken at line 2"), "{why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_are_purged_only_by_who_says_which() {
    for proxy in proxies(RULES).await {
        let store = proxy.store.as_str();
        let id = asked(&proxy, "danger", None).await;
        asked(&proxy, "my card is 4111 1111 1111 1111", Some("thank you")).await;
        let (code, why) = complaint(&review(store, &["purge", "--yes"]));
        assert!(code == Some(2) && why.contains("say which cases"), "{why}");
        let (code, why) = complaint(&review(store, &["purge", "--rule", "cards"]));
        assert!(code == Some(2) && why.contains("1 cases would be deleted for good; add --yes"), "{why}");
        assert_eq!(said(&review(store, &["purge", "--rule", "cards", "--yes"])), "1 cases were deleted\n");
        assert_eq!(said(&review(store, &["list", "--json"])).lines().count(), 1);
        assert_eq!(said(&review(store, &["purge", "--id", &id, "--yes"])), "1 cases were deleted\n");
        assert_eq!(said(&review(store, &["list"])), "no flagged traffic\n");
        assert!(said(&review(store, &["verify"])).starts_with("2 lines fit"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_lets_a_text_pass_until_it_is_ended() {
    // The tests' guard reads the prompt beside its answer, and would find that unsafe in its place.
    let rules =
        "name = \"tests\"\n[[rule]]\nname = \"unsafe\"\nwhere = [\"prompt\"]\nthreshold = \"guard\"\naction = \"block\"\n";
    for proxy in proxies(rules).await {
        let store = proxy.store.as_str();
        let id = asked(&proxy, "the danger of smoking", None).await;
        let day = jiff::Timestamp::now().to_string();
        let add = review(store, &["exception", "add", &id, "--expires", &day[..10], "--owner", "bob"]);
        let made = said(&add);
        assert!(made.contains(": tests lets the text ") && made.contains(&day[..10]), "{made}");
        assert!(complaint(&review(store, &["exception", "add", &id, "--expires", "2020-01-01"])).1.contains("`expires`"));
        let decided = async |text: &str| {
            let answer = async { proxy.upstream.call().await.answer(200, completion("hi")) };
            tokio::select! {
                answered = proxy.post(ask(text)) => answered.header("seawall-decision").to_owned(),
                () = async { answer.await; std::future::pending().await } => String::new(),
            }
        };
        let until = async |holds: bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while (decided("the danger of smoking").await == "allow") != holds {
                assert!(Instant::now() < end, "the proxy does not learn of it");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        until(true).await;
        assert_eq!(decided("the danger of smoking cigars").await, "block", "another text");
        let listed = said(&review(store, &["exception", "list"]));
        assert!(listed.contains("holds") && listed.contains("bob"), "{listed}");
        let exception = made.split(':').next().unwrap();
        said(&review(store, &["exception", "remove", exception]));
        until(false).await;
        assert!(said(&review(store, &["exception", "list"])).contains("removed"));
    }
}
