use serde_json::json;

use super::*;
use crate::review::{
    NewDecision, Opinion,
    store::stand::{Stand, case},
};

fn group(name: &str, [open, right, wrong, disputed]: [u64; 4]) -> Group {
    Group { name: name.into(), open, right, wrong, disputed }
}

#[tokio::test]
async fn charts_count_what_a_filter_lets_through() {
    let stand = Stand::new();
    for store in stand.stores().await {
        let other = |mut case: Case| {
            case.language = None;
            case.decision = "flag".into();
            case.reasons = json!([
                {"policy": "p", "rule": "r", "action": "flag", "mode": "enforce", "direction": "request", "target": "prompt",
                    "score": case.score, "threshold": 0.5},
                {"policy": "q", "rule": "cards", "action": "redact", "mode": "enforce", "direction": "response",
                    "target": "completion", "detectors": ["payment_card"]},
            ]);
            case
        };
        let cases = [
            case("old", "2026-01-01T12:00:00Z", 0.75),
            case("a", "2026-03-01T23:59:59.999Z", 0.75),
            other(case("b", "2026-03-02T00:00:00Z", 1.0)),
            case("c", "2026-03-02T12:00:00Z", 0.625),
            other(case("d", "2026-03-03T12:00:00Z", 0.875)),
        ];
        store.record(&cases).await.unwrap();
        for (id, who, opinion) in [
            ("a", "ana", Opinion::Right),
            ("a", "bob", Opinion::Right),
            ("b", "ana", Opinion::Wrong),
            ("b", "bob", Opinion::Right),
            ("c", "ana", Opinion::Wrong),
            ("old", "eve", Opinion::Right),
        ] {
            store.decide(id, NewDecision { reviewer: who, opinion, note: "" }, who).await.unwrap();
        }
        let filter = Filter { until: Some("2026-03-04".parse().unwrap()), ..Filter::default() };
        let charts = store.charts(&filter).await.unwrap();
        let days: Vec<_> = charts.days.iter().map(|day| (day.day.to_string(), json!(day.decisions))).collect();
        let expected = [
            ("2026-03-01", json!({"block": 1})),
            ("2026-03-02", json!({"block": 1, "flag": 1})),
            ("2026-03-03", json!({"flag": 1})),
        ];
        assert_eq!(days, expected.map(|(day, counts)| (day.to_owned(), counts)), "no more than 30 days");
        assert_eq!(charts.languages, [group("", [1, 0, 0, 1]), group("th", [0, 1, 1, 0])]);
        assert_eq!(charts.rules, [group("p/r", [1, 1, 1, 1]), group("q/cards", [1, 0, 0, 1])]);
        let bins: Vec<_> =
            charts.spreads.iter().flat_map(|spread| spread.bins.iter().enumerate()).filter(|(_, n)| **n > 0).collect();
        assert_eq!(bins, [(12, &1), (15, &1), (17, &1), (19, &1)]);
        assert_eq!((charts.spreads[0].bins.len(), charts.spreads[0].threshold), (20, Some(0.5)), "the rule's own");
        let people: Vec<_> =
            charts.people.iter().map(|own| (own.name.as_str(), [own.right, own.wrong, own.shared, own.agreed])).collect();
        assert_eq!(people, [("ana", [1, 2, 2, 1]), ("bob", [2, 0, 2, 1])]);
        assert_eq!((charts.shared, charts.agreed), (2, 1));

        let cards = store.charts(&Filter { rule: Some("cards".into()), ..filter.clone() }).await.unwrap();
        assert_eq!(cards.rules, [group("q/cards", [1, 0, 0, 1])]);
        assert_eq!((cards.days.len(), cards.spreads.len()), (2, 0));
        let thai = store.charts(&Filter { language: Some("th".into()), ..filter.clone() }).await.unwrap();
        assert_eq!((thai.rules, thai.languages.len()), (vec![group("p/r", [0, 1, 1, 0])], 1));
        let early = store.charts(&Filter { until: Some("2026-03-02".parse().unwrap()), ..Filter::default() }).await.unwrap();
        assert_eq!(early.spreads[0].threshold, Some(0.625), "the guard's, of a case that does not tell the rule's");
        let since = Some("2025-12-31".parse().unwrap());
        let all = store.charts(&Filter { since, ..filter }).await.unwrap();
        assert_eq!((all.days.len(), all.people.len()), (4, 3));
    }
}
