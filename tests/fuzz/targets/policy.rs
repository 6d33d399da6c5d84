//! No text makes reading it as a policy or as a condition panic, and a condition that loads has an answer.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use seawall::policy::{
    Call, HashKey, Policies, Terms,
    expression::{CallFacts, Expression, Facts},
};

fuzz_target!(|text: &str| {
    let terms = Terms { guards: &["default"], dialects: &["openai_chat"], hash_key: HashKey::new(b"fuzz") };
    // What stands in other files is not for a fuzzer to read.
    if !text.contains("words_file") {
        drop(Policies::parse(&[("policy.toml".into(), text.to_owned())], &terms));
    }
    let Ok(condition) = Expression::compile(text, terms.guards) else { return };
    let call = CallFacts::new(Arc::new(Call::default()));
    let answer = condition.holds(&Facts {
        score: Some(0.5),
        threshold: Some(0.5),
        scores: &[("default".into(), 0.5)],
        findings: &["email", "secret.jwt"],
        language: "th",
        target: "prompt",
        direction: "request",
        call: &call,
    });
    // Claims may not be there, and sums and products may be no number.
    assert!(answer.is_ok() || text.contains("claims") || text.contains(['+', '-', '*', '/']), "{answer:?}");
});
