//! The record's store fails and comes back.

use std::time::Duration;

use http::StatusCode;
use sqlx::{Connection as _, SqliteConnection};

use crate::harness::{Proxy, RULES, ask, postgres::Cluster};

/// Rules of a policy that would rather spool.
pub(super) fn spooling() -> String {
    format!("on_store_error = \"spool\"\n{RULES}")
}

/// A trigger that has a store of SQLite take nothing, as on a disk that is full.
pub(crate) const BREAK: &str = "CREATE TRIGGER broken BEFORE INSERT ON cases BEGIN SELECT RAISE(FAIL, 'it is full'); END";
pub(crate) const MEND: &str = "DROP TRIGGER broken";

pub(crate) async fn execute(url: &str, statement: &'static str) {
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    sqlx::query("PRAGMA busy_timeout = 30000").execute(&mut connection).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Waits until the journal is empty.
async fn emptied(proxy: &Proxy) {
    let waits = async {
        while proxy.metric("seawall_review_spool_records").await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits).await.unwrap();
}

#[tokio::test]
async fn flagged_traffic_goes_on_while_the_store_is_away_where_the_policy_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let proxy = Proxy::with(&spooling(), |config| config.review.spool.clone_from(&spool)).await;
    execute(&proxy.store, BREAK).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let answer = proxy.post(ask(&format!("danger {number}"))).await;
        assert_eq!((answer.status, answer.header("seawall-decision")), (StatusCode::OK, "block"), "it is refused by the rule");
        ids.push(answer.header("seawall-request-id").to_owned());
    }
    let ready = proxy.admin("/readyz").await;
    let told = ready.json();
    assert_eq!(
        (ready.status, told["ready"].as_bool(), told["review"]["spooled"].as_u64()),
        (StatusCode::OK, Some(true), Some(20))
    );
    assert!(told["review"]["store_error"].as_str().unwrap().contains("it is full"), "{told}");
    assert_eq!(proxy.metric("seawall_review_spooled_total").await, 20);
    assert_eq!(proxy.metric("seawall_review_store_ready").await, 0);
    assert!(proxy.cases().await.is_empty());
    execute(&proxy.store, MEND).await;
    emptied(&proxy).await;
    let mut recorded: Vec<String> = proxy.cases().await.into_iter().map(|case| case.id).collect();
    recorded.reverse();
    assert_eq!(recorded, ids);
    assert_eq!(proxy.metric("seawall_review_records_total").await, 20);
    assert_eq!(proxy.metric("seawall_review_store_ready").await, 1);
    assert_eq!(proxy.admin("/readyz").await.json()["review"], serde_json::json!({"records": true, "spooled": 0}));
}

#[tokio::test]
async fn a_proxy_that_cannot_record_is_unready_where_the_settings_say_so() {
    for (rules, settings, records, status) in [
        (RULES.to_owned(), true, false, StatusCode::SERVICE_UNAVAILABLE),
        (RULES.to_owned(), false, false, StatusCode::OK),
        (spooling(), true, true, StatusCode::OK),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let proxy = Proxy::with(&rules, |config| {
            config.admin.ready_needs_store = settings;
            config.review.spool = dir.path().join("spool");
        })
        .await;
        assert_eq!(proxy.admin("/readyz").await.status, StatusCode::OK);
        execute(&proxy.store, BREAK).await;
        proxy.post(ask("danger")).await;
        let ready = proxy.admin("/readyz").await;
        assert_eq!((ready.status, ready.json()["review"]["records"].as_bool()), (status, Some(records)), "{rules}");
    }
}

#[tokio::test]
async fn flagged_traffic_is_refused_while_the_store_is_away_and_no_longer() {
    let proxy = Proxy::start().await;
    execute(&proxy.store, BREAK).await;
    for _ in 0..5 {
        assert_eq!(proxy.post(ask("danger")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    execute(&proxy.store, MEND).await;
    let back = async {
        while proxy.post(ask("danger")).await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.unwrap();
    assert_eq!(proxy.cases().await.len(), 1, "what was refused is not on record");
}

#[tokio::test]
async fn a_journal_waits_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, store) = (dir.path().join("spool"), format!("sqlite://{}", dir.path().join("r.db").display()));
    let start = async || {
        let rules = spooling();
        let proxy = Proxy::with(&rules, |config| {
            config.review.spool.clone_from(&spool);
            config.review.store.clone_from(&store);
        });
        proxy.await
    };
    let proxy = start().await;
    execute(&store, BREAK).await;
    let id = proxy.post(ask("danger")).await.header("seawall-request-id").to_owned();
    proxy.shut_down().await;
    execute(&store, MEND).await;
    let mut proxy = start().await;
    proxy.store.clone_from(&store);
    emptied(&proxy).await;
    assert_eq!(proxy.cases().await.into_iter().map(|case| case.id).collect::<Vec<_>>(), [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_goes_and_comes_back() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap();
    let url = cluster.database().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let mut proxy = Proxy::with(&spooling(), |config| {
        config.review.spool.clone_from(&spool);
        config.review.store.clone_from(&url);
    })
    .await;
    proxy.store.clone_from(&url);
    let mut ids = Vec::new();
    let flag = async |ids: &mut Vec<String>| {
        for number in 0..5 {
            let answer = proxy.post(ask(&format!("danger {number}"))).await;
            assert_eq!(answer.status, StatusCode::OK);
            ids.push(answer.header("seawall-request-id").to_owned());
        }
    };
    for end in [Cluster::stop, Cluster::kill] {
        flag(&mut ids).await;
        end(&cluster).unwrap();
        flag(&mut ids).await;
        assert_eq!(proxy.metric("seawall_review_spool_records").await, 5);
        cluster.start_again().unwrap();
        emptied(&proxy).await;
    }
    let recorded: Vec<String> = proxy.cases().await.into_iter().rev().map(|case| case.id).collect();
    assert_eq!(recorded, ids, "all of them, once, in their order");
}
