//! What `deploy/` says of metrics, held against a real scrape: the dashboard, the alerts, and the page that lists them all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::{Value, json};

use super::{
    promtool::promtool,
    scrape::{Described, all, base},
};

fn deployed(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(deployed(file)).unwrap()
}

/// The samples that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("seawall_")).map(str::to_owned).collect()
}

/// The dashboard's queries, with Grafana's variables filled in.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("grafana/seawall.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let targets = panels.iter().filter_map(|panel| panel.get("targets")?.as_array()).flatten();
    let query = |target: &Value| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$instance", ".*");
    targets.map(query).collect()
}

#[tokio::test]
async fn every_metric_that_they_name_is_there() {
    let families = all().await;
    let alerts = text("prometheus/alerts.yaml");
    assert!(!named(&alerts).is_empty());
    for sample in named(&(queries().join("\n") + &alerts)) {
        assert!(families.contains_key(&base(&sample, &families)), "{sample} is in no scrape");
    }
}

#[test]
fn the_rules_do_what_they_are_for() {
    promtool(&["check", "rules", deployed("prometheus/alerts.yaml").to_str().unwrap()], "");
    promtool(&["test", "rules", deployed("prometheus/alerts_test.yaml").to_str().unwrap()], "");
    let (alerts, tests) = (text("prometheus/alerts.yaml"), text("prometheus/alerts_test.yaml"));
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("{alert} fires")) && tests.contains(&format!("{alert} is silent")), "{alert}");
    }
}

#[test]
fn prometheus_can_read_the_dashboards_queries() {
    let rules: Vec<Value> = queries()
        .into_iter()
        .enumerate()
        .map(|(number, query)| json!({"record": format!("query:{number}"), "expr": query}))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queries.json");
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], "");
}

/// The table of metrics in the page: name, type and labels.
fn documented() -> BTreeMap<String, Described> {
    let page = text("docs/observability.md");
    let rows = page.lines().filter(|line| line.starts_with("| `seawall_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels))
    })
    .collect()
}

#[tokio::test]
async fn the_page_lists_what_a_scrape_has() {
    let (told, page) = (all().await, documented());
    for (name, described) in &told {
        assert_eq!(page.get(name), Some(described), "{name}: what the page says, and what is there");
    }
    let gone: Vec<&String> = page.keys().filter(|name| !told.contains_key(*name)).collect();
    assert!(gone.is_empty(), "the page lists what no scrape has: {gone:?}");
}
