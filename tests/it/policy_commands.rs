//! Policies tested, checked and explained from the command line.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::harness::fixture;

fn seawall(arguments: &[&str]) -> Output {
    // Without threads of its own for each test: many run at once.
    Command::new(env!("CARGO_BIN_EXE_seawall")).args(arguments).env("SEAWALL_GUARD__THREADS", "1").output().unwrap()
}

/// What a command says, and how it ends.
fn told(arguments: &[&str]) -> (i32, String) {
    let output = seawall(arguments);
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap(), said)
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

const POLICY: &str = r#"
name = "mine"

[[rule]]
name = "unsafe"
where = ["prompt", "completion"]
threshold = { default = 0.9, th = 0.5 }
action = "block"
message = "no"

[[rule]]
name = "mail"
where = ["prompt", "completion"]
detectors = ["email"]
action = "redact"

[[rule]]
name = "red"
where = ["prompt"]
guard = "large"
when = 'score > 0.8 && identity.tenant == "red" && request.headers["x-a"] == "1"'
action = "flag"

[scope]
models = ["", "gpt-*"]
"#;

/// Settings with two guards, which are the tests'.
fn settings(dir: &Path) -> String {
    let guard = fixture("guard").display().to_string();
    write(dir, "seawall.toml", &format!("[guard]\ndir = \"{guard}\"\n[guards.large]\ndir = \"{guard}\"\n"))
}

#[test]
fn the_policies_that_come_with_seawall_pass_their_tests() {
    for name in seawall::policy::shipped().iter().map(|shipped| shipped.name) {
        let guard = fixture("guard").display().to_string();
        let (code, said) = told(&["policy", "test", name, "--guard", &guard]);
        assert!(code == 0 && said.ends_with(" passed, 0 failed\n") && !said.starts_with('0'), "{said}");
        let (code, said) = told(&["policy", "show", name]);
        assert!(code == 0 && said.contains(&format!("name = \"{name}\"")), "{said}");
    }
    let (code, said) = told(&["policy", "show", "bazeline"]);
    assert!(code == 2 && said.contains("did you mean `baseline`"), "{said}");
}

#[test]
fn tests_beside_a_policy_are_run() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, config) = (dir.path(), settings(dir.path()));
    let policy = write(dir, "mine.toml", POLICY);
    let run = || told(&["policy", "test", &policy, "--config", &config]);
    assert_eq!(run(), (0, format!("{policy}: has no tests\n0 passed, 0 failed\n")));
    let right = r#"
[[test]]
name = "texts"
prompt = "mail a@example.com"
response = "ask b@example.com"
score = 0.1
expect = { decision = "rewrite", rules = ["mail"], prompt = "mail [email]", response = "ask [email]" }

[[test]]
name = "the language counts"
prompt = "x"
language = "th"
score = { prompt = 0.6, large = 0.1 }
expect = { decision = "block", message = "no" }

[[test]]
name = "facts of the call"
messages = [{ role = "system", text = "be kind" }, { role = "user", text = "x" }]
score = { default = 0.1, "large.prompt" = 0.9 }
call = { tenant = "red", headers = { X-A = "1" } }
expect = { decision = "flag", rules = ["red"] }

[[test]]
name = "the scope"
prompt = "x"
score = 0.99
call = { model = "claude" }
expect = { decision = "uncovered", rules = [] }

[[test]]
name = "the real guard"
prompt = "a danger"
expect = { decision = "block" }

[[test]]
name = "an exchange"
path = "/v1/messages"
request = '{"model": "gpt-x", "max_tokens": 9, "messages": [{"role": "user", "content": "a@example.com"}]}'
answer = '{"type": "message", "role": "assistant", "content": [{"type": "text", "text": "b@example.com"}]}'
score = 0.1
[test.expect]
decision = "rewrite"
request = '{"max_tokens": 9, "model": "gpt-x", "messages": [{"role": "user", "content": "[email]"}]}'
answer = '{"type": "message", "role": "assistant", "content": [{"type": "text", "text": "[email]"}]}'
"#;
    let tests = write(dir, "mine.test.toml", right);
    assert_eq!(run(), (0, "6 passed, 0 failed\n".to_owned()));
    let wrong = right.replace("ask [email]", "ask\\n[mail]").replace("0.6, large = 0.1", "0.6");
    fs::write(&tests, wrong.replace("0.1, \"large.prompt\"", "0.1, \"larg\"")).unwrap();
    let (code, said) = run();
    assert_eq!(code, 1);
    for part in [
        format!("{tests}:2: texts (- expected, + came)\n  response\n    - ask\n    - [mail]\n    + ask [email]\n"),
        "score: there is no guard or task `larg`\n".to_owned(),
        "4 passed, 2 failed\n".to_owned(),
    ] {
        assert!(said.contains(&part), "{part}\n{said}");
    }
    fs::write(&tests, "[[test]]\nname = \"x\"\npromt = \"x\"\nexpect = { decision = \"allow\" }").unwrap();
    let (code, said) = run();
    assert!(code == 2 && said.contains("mine.test.toml:3:1: `test.0.promt`") && said.contains("`prompt`?"), "{said}");
}
