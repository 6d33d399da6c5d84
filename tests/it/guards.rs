//! Several guards beside each other: who is asked, and what each has to itself.

use std::{fs, process::Command, sync::Arc};

use seawall::{
    config::{Config, Engine, Guard},
    guard::Unavailable,
    scan::{self, Ask, Evidence, Scanner, Which},
    segment::{Content, Direction, Segment, Target},
    server,
    telemetry::Metrics,
};
use serde_json::{Value, json};

use crate::{
    harness::{Proxy, RULES, fixture},
    remote::{Server, ok, ready, remote, said, speaking, unsafe_ids, vllm},
};

fn here() -> Guard {
    Guard { dir: Some(fixture("guard")), threads: Some(1), ..Guard::default() }
}

async fn scanner(default: Guard, name: &str, guard: Guard) -> Scanner {
    let config = Config { guard: default, guards: [(name.to_owned(), guard)].into(), ..Config::default() };
    server::scanner(&config, &Arc::new(Metrics::default())).await.unwrap()
}

async fn evidence(scanner: &Scanner, guards: &[usize], text: &str) -> Evidence {
    let segments = vec![Segment { target: Target::Prompt, passage: 0, text: text.to_owned(), place: None }];
    let content = Content { segments, ..Content::default() };
    scanner.evidence(&Ask { guards: guards.to_vec(), ..Ask::only(scan::DEFAULT) }, content, Direction::Request, None).await
}

#[tokio::test]
async fn a_guard_that_no_rule_asks_for_is_not_asked() {
    let (server, dir) = (Server::start(|body| vllm(unsafe_ids(body, None))).await, speaking());
    let large = remote(Engine::Vllm, &dir, vec![server.url()]);
    let proxy = Proxy::with(RULES, |config| config.guards = [("large".to_owned(), large)].into()).await;
    let golden = server.calls();
    assert!(golden > 0, "it is proven at the start as the default is");
    assert_eq!(said(&proxy, "hello").await, ok("hi"));
    assert_eq!(said(&proxy, "danger").await, ok("no such prompts"));
    assert_eq!(server.calls(), golden);

    let (_, body) = ready(&proxy).await;
    let [default, large] = ["default", "large"].map(|name| body["guards"][name].clone());
    assert_eq!((&default["provider"], &default["servers"]), (&json!("CPUExecutionProvider"), &Value::Null));
    assert_eq!((&large["provider"], &large["servers"][0]["ready"]), (&json!("vllm"), &json!(true)));
    for (name, guard) in [("default", default), ("large", large)] {
        let (guard, provider) = (guard["guard"].as_str().unwrap(), guard["provider"].as_str().unwrap());
        let info = format!("seawall_guard_info{{name=\"{name}\",guard=\"{guard}\",provider=\"{provider}\"}}");
        assert_eq!(proxy.metric(&info).await, 1, "{info}");
    }
    let server = format!("seawall_guard_server_ready{{name=\"large\",url=\"{}/\"}}", server.url());
    assert_eq!(proxy.metric(&server).await, 1);
}

#[tokio::test]
async fn each_guard_asked_gives_a_verdict_of_its_own() {
    let query = Some(4);
    let (server, dir) = (Server::start(move |body| vllm(unsafe_ids(body, query))).await, speaking());
    let scanner = scanner(here(), "large", remote(Engine::Vllm, &dir, vec![server.url()])).await;
    assert_eq!(scanner.guard_names().collect::<Vec<_>>(), ["default", "large"]);
    let golden = server.calls();
    let text = "danger query";

    let only = evidence(&scanner, &[1], text).await;
    assert_eq!((only.cached, server.calls() - golden), (Some(false), 1));
    assert!(only.passages[0].verdict(scan::DEFAULT).is_none());
    assert!(matches!(only.passages[0].score(scan::DEFAULT), Err(Unavailable::Engine(_))));
    assert_eq!(evidence(&scanner, &[1], text).await.cached, Some(true), "only guards that are asked count");

    let both = evidence(&scanner, &[0, 1], text).await;
    assert_eq!((both.cached, server.calls() - golden), (Some(false), 1), "one of them was known");
    let passage = &both.passages[0];
    let is_unsafe = |guard| passage.score(guard).map(|score| score.value >= score.threshold);
    assert_eq!((is_unsafe(0), is_unsafe(1)), (Ok(true), Ok(false)));
    let verdict = passage.verdict(1).unwrap();
    assert_eq!(verdict.by, Which::First);
    assert!(scanner.identity(verdict.guard, verdict.by).ends_with("by vllm m"));

    let none = evidence(&scanner, &[], "danger 4111111111111111").await;
    assert_eq!((none.cached, none.passages[0].verdicts.len(), none.findings[0].len()), (None, 0, 1));
    assert!(evidence(&scanner, &[2], text).await.passages[0].verdicts.is_empty(), "there is no third");

    let whole = |guards: &[usize]| scanner.reads_whole_answers(&Ask { guards: guards.to_vec(), ..Ask::only(scan::DEFAULT) });
    assert_eq!((whole(&[]), whole(&[0]), whole(&[0, 1])), (false, false, true));
}

#[tokio::test]
async fn two_names_for_one_guard_share_verdicts_and_nothing_else() {
    // An answer from elsewhere cannot be there before all have asked.
    let (server, dir) = (Server::start(|body| vllm(unsafe_ids(body, None))).await, speaking());
    let far = || remote(Engine::Vllm, &dir, vec![server.url()]);
    let scanner = scanner(far(), "hasty", Guard { deadline_ms: 0, ..far() }).await;
    let both = evidence(&scanner, &[0, 1], "danger").await;
    let scores = [0, 1].map(|guard| both.passages[0].score(guard).map(|score| score.value > 0.5));
    assert_eq!(scores, [Ok(true), Err(Unavailable::Deadline)], "no guard waits for another's scoring");
    let later = evidence(&scanner, &[1], "danger").await;
    assert_eq!((later.cached, later.passages[0].score(1)), (Some(true), both.passages[0].score(0)));
}

fn seawall(arguments: &[&str], environment: &[(&str, &str)]) -> (String, String) {
    let dir = fixture("guard").display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.args(arguments).envs([("SEAWALL_GUARD__THREADS", "1"), ("SEAWALL_GUARDS__LARGE__DIR", &dir)]);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_command_line_picks_one_by_its_name() {
    let default = fixture("decoder").display().to_string();
    let scan = |name: &str| ["scan", "--text", "danger", "--guard-name", name].map(str::to_owned);
    let (verdict, _) = seawall(&scan("large").each_ref().map(String::as_str), &[("SEAWALL_GUARD__DIR", &default)]);
    let verdict: Value = serde_json::from_str(&verdict).unwrap();
    assert!(verdict["guard"].as_str().unwrap().starts_with("tests 1"), "{verdict}");
    let (_, complaint) = seawall(&scan("lage").each_ref().map(String::as_str), &[]);
    assert!(complaint.contains("there is no guard `lage` in the settings; did you mean `large`?"), "{complaint}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.jsonl");
    fs::write(&file, "{\"text\": \"danger\", \"label\": \"unsafe\"}\n{\"text\": \"tea\", \"label\": \"safe\"}\n").unwrap();
    let eval = ["eval", file.to_str().unwrap(), "--rounds", "20", "--json", "--guard-name", "large"];
    let (report, complaint) = seawall(&eval, &[("SEAWALL_GUARD__DIR", "/nowhere")]);
    assert!(report.starts_with("{\"guard\":\"tests 1"), "only this one is loaded: {report}{complaint}");
}

#[test]
fn each_is_checked_at_the_start_under_its_name() {
    let (_, complaint) = seawall(&["serve", "--check"], &[("SEAWALL_GUARDS__LARGE__THREADS", "0")]);
    assert_eq!(complaint, "seawall: SEAWALL_GUARDS__LARGE__THREADS: `guards.large.threads` must be more than 0\n");
    let nowhere = [("SEAWALL_GUARDS__LARGE__DIR", "/nowhere"), ("SEAWALL_UPSTREAM__URL", "http://127.0.0.1:1")];
    let small = fixture("guard").display().to_string();
    let (_, complaint) = seawall(&["serve", "--check", "--guard", &small], &nowhere);
    assert!(complaint.starts_with("seawall: `guards.large`: guard /nowhere: cannot read"), "{complaint}");
    let (proven, complaint) = seawall(&["guard", "verify", "--guard", &small], &nowhere);
    assert!(proven.ends_with("the guard is fine\n"), "commands for a guard load no other: {complaint}");
}
