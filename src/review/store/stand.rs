//! What the stores' tests stand on: one of each kind, and cases to put there.

use serde_json::json;
use tempfile::TempDir;

use super::Store;
use crate::{
    review::{Case, Facts, Judge, Kept, Passage, Said, Text, Verdict, postgres},
    segment::{Direction, Target},
};

/// The addresses of new and empty stores, one of each kind, and where they are.
pub(super) struct Stand {
    pub(super) urls: [String; 2],
    _dir: TempDir,
}

impl Stand {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let urls = [format!("sqlite://{}", dir.path().join("r.db").display()), postgres::database().unwrap()];
        Self { urls, _dir: dir }
    }

    pub(super) async fn stores(&self) -> Vec<Store> {
        let mut stores = Vec::new();
        for url in &self.urls {
            stores.push(Store::open(url).await.unwrap());
        }
        stores
    }
}

/// A case of this id that began then, whose prompt a rule matched at this score.
pub(super) fn case(id: &str, at: &str, score: f32) -> Case {
    let passage = Passage {
        direction: Direction::Request,
        target: Target::Prompt,
        texts: vec![0],
        language: Some("th".into()),
        others: vec![],
        verdicts: vec![Verdict { guard: 0, said: Said::Score { score, threshold: 0.625 }, windows: vec![] }],
        piece: None,
    };
    let guards = vec![Judge { name: "default".into(), identity: "g".into() }];
    Case {
        id: id.into(),
        version: 1,
        at: at.into(),
        decision: "block".into(),
        dialect: "openai_chat".into(),
        model: "m".into(),
        stream: false,
        language: Some("th".into()),
        score: Some(score),
        guard: "g".into(),
        policy: "p".into(),
        reasons: json!([{"policy": "p", "rule": "r", "action": "block", "mode": "enforce", "direction": "request",
            "target": "prompt", "score": score}]),
        request: vec![Text {
            target: Target::Prompt,
            text: format!("the words of {id}"),
            hashed: None,
            whole: true,
            message: 0,
            findings: vec![],
        }],
        response: vec![],
        call: Some(of("ana")),
        evidence: Some(Kept { guards, passages: vec![passage], unscorable: vec![] }),
    }
}

/// The call of somebody.
pub(super) fn of(subject: &str) -> Facts {
    Facts {
        models: vec![],
        method: None,
        route: String::new(),
        upstream: "u".into(),
        tenant: Some("t".into()),
        key: None,
        subject: Some(subject.into()),
        language: None,
        headers: [].into(),
        draw: 0,
    }
}
