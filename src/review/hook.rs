//! Who is told of flagged exchanges, of which, and what.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Case;

/// Decisions, the mildest first.
const DECISIONS: [&str; 4] = ["allow", "flag", "rewrite", "block"];

/// Somebody who is told of cases. All that is named must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hook {
    /// What its deliveries are kept under, which stays the same over restarts and on all nodes.
    pub id: String,
    /// Only cases that were decided so; all if empty.
    pub decisions: Vec<String>,
    /// Only cases in which one of these rules matched; all if empty.
    pub rules: Vec<String>,
    /// What comes before a case's id in the address of its page, if that is known.
    pub page: Option<String>,
}

/// What is known of a case's earlier writing.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) decision: String,
    pub(super) reasons: Value,
}

impl Hook {
    /// Whether it is to be told of a case that was written: once when it first fits, and again when the decision grows stricter.
    pub(super) fn is_told(&self, case: &Case, before: Option<&Before>) -> bool {
        let told = before.is_some_and(|before| {
            strictness(&case.decision) <= strictness(&before.decision) && self.fits(&before.decision, &before.reasons)
        });
        !told && self.fits(&case.decision, &case.reasons)
    }

    fn fits(&self, decision: &str, reasons: &Value) -> bool {
        let is_named = |names: &[String], name: &str| names.iter().any(|own| own == name);
        (self.decisions.is_empty() || is_named(&self.decisions, decision))
            && (self.rules.is_empty() || names(reasons, "rule").iter().any(|rule| is_named(&self.rules, rule)))
    }

    /// What it is told, in JSON. No text of the exchange is in it: it would outlive the case.
    pub(super) fn event(&self, case: &Case) -> String {
        let call = case.call.as_ref();
        let data = Flagged {
            id: &case.id,
            at: &case.at,
            decision: &case.decision,
            rules: names(&case.reasons, "rule"),
            policies: names(&case.reasons, "policy"),
            language: case.language.as_deref(),
            score: case.score,
            tenant: call.and_then(|call| call.tenant.as_deref()),
            key: call.and_then(|call| call.key.as_deref()),
            model: &case.model,
            dialect: &case.dialect,
            url: self.page.as_ref().map(|page| format!("{page}{}", case.id)),
        };
        serde_json::to_string(&Event { kind: "case.flagged", timestamp: Timestamp::now(), data }).unwrap_or_default()
    }
}

/// What is told, as Standard Webhooks has it.
#[derive(Serialize)]
struct Event<'c> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
    data: Flagged<'c>,
}

#[derive(Serialize)]
struct Flagged<'c> {
    id: &'c str,
    at: &'c str,
    decision: &'c str,
    rules: Vec<&'c str>,
    policies: Vec<&'c str>,
    language: Option<&'c str>,
    score: Option<f32>,
    tenant: Option<&'c str>,
    key: Option<&'c str>,
    model: &'c str,
    dialect: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

fn strictness(decision: &str) -> Option<usize> {
    DECISIONS.iter().position(|known| *known == decision)
}

/// What reasons say under this name, each once.
fn names<'r>(reasons: &'r Value, name: &str) -> Vec<&'r str> {
    let mut names: Vec<&str> = Vec::new();
    for told in reasons.as_array().into_iter().flatten().filter_map(|reason| reason.get(name)?.as_str()) {
        if !names.contains(&told) {
            names.push(told);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_told_of_what_is_news_to_it() {
        let reasons = |rules: &[&str]| rules.iter().map(|rule| json!({"rule": rule, "policy": "p"})).collect::<Value>();
        let told = |hook: &Hook, before: Option<(&str, &[&str])>, (decision, rules): (&str, &[&str])| {
            let case = Case { decision: decision.into(), reasons: reasons(rules), ..Case::default() };
            let before = before.map(|(decision, rules)| Before { decision: decision.into(), reasons: reasons(rules) });
            hook.is_told(&case, before.as_ref())
        };
        let all = Hook::default();
        assert!(told(&all, None, ("allow", &["a"])));
        assert!(told(&all, Some(("allow", &["a"])), ("flag", &["a"])));
        assert!(!told(&all, Some(("flag", &["a"])), ("flag", &["a", "b"])));
        assert!(!told(&all, Some(("block", &["a"])), ("flag", &["a"])));
        let some = Hook { decisions: vec!["flag".into(), "block".into()], rules: vec!["b".into()], ..Hook::default() };
        assert!(!told(&some, None, ("flag", &["a"])) && !told(&some, None, ("rewrite", &["b"])));
        assert!(told(&some, Some(("flag", &["a"])), ("flag", &["a", "b"])), "it fits only now");
        assert!(told(&some, Some(("rewrite", &["b"])), ("block", &["b"])));
        assert!(!told(&some, Some(("flag", &["b"])), ("flag", &["b"])));
    }
}
