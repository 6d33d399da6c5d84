use std::{fs, path::Path};

use super::*;
use crate::review::{
    Case, NewDecision, Opinion, Place, Trail,
    store::stand::{Stand, case, of},
};

async fn ids(store: &Store) -> String {
    let listed = store.queue(&Filter::default(), None, 2_000).await.unwrap();
    listed.into_iter().rev().map(|case| case.id).collect::<Vec<_>>().join(" ")
}

fn at(day: u8) -> String {
    format!("2026-01-{day:02}T00:00:00Z")
}

#[tokio::test]
async fn cases_go_when_they_are_too_old() {
    let stand = Stand::new();
    for store in stand.stores().await {
        store.record(&[case("a", &at(1), 0.75), case("b", &at(9), 0.75), case("c", &at(10), 0.75)]).await.unwrap();
        let now = at(11).parse().unwrap();
        assert_eq!(store.retain(Keep::default(), now).await.unwrap(), Purged::default());
        assert_eq!(store.retain(Keep { days: 2, mb: 0 }, now).await.unwrap(), Purged { by_age: 1, by_size: 0 });
        assert_eq!(ids(&store).await, "b c");
        assert_eq!(store.retain(Keep { days: 2, mb: 0 }, now).await.unwrap(), Purged::default());
        let lines = store.trail(&Trail::default(), None, 9).await.unwrap();
        assert_eq!(lines.len(), 1, "nothing is told where nothing went");
        assert_eq!((lines[0].action.as_str(), lines[0].detail.as_str()), ("retain", "{\"cases\":1,\"days\":2}"));
    }
}

#[tokio::test]
async fn the_oldest_go_when_there_is_no_room() {
    let stand = Stand::new();
    for store in stand.stores().await {
        let large = |number: u8| {
            let mut case = case(&format!("c{number:02}"), &at(number), 0.75);
            case.request[0].text = "x".repeat(200_000);
            case
        };
        store.record(&(1..=20).map(large).collect::<Vec<_>>()).await.unwrap();
        let before = store.size().await.unwrap();
        assert!(before > 3 * MIB, "{before}");
        let purged = store.retain(Keep { days: 0, mb: 2 }, Timestamp::now()).await.unwrap();
        let (after, left) = (store.size().await.unwrap(), ids(&store).await);
        assert!(after <= 2 * MIB && after > MIB, "no more than is needed: {after}");
        assert!(purged.by_size > 5 && purged.by_age == 0, "{purged:?}");
        assert!(left.ends_with("c19 c20") && !left.contains("c01"), "{left}");
    }
}

#[tokio::test]
async fn a_person_is_purged_with_all_that_hangs_on_their_cases() {
    let stand = Stand::new();
    for store in stand.stores().await {
        let many = (0..BATCH + 10).map(|number| Case { call: Some(of("eve")), ..case(&format!("e{number}"), &at(2), 0.75) });
        store.record(&many.collect::<Vec<_>>()).await.unwrap();
        store.record(&[case("a", &at(1), 0.75), case("b", &at(3), 0.75)]).await.unwrap();
        store.decide("e1", NewDecision { reviewer: "ana", opinion: Opinion::Right, note: "about eve" }, "ana").await.unwrap();
        let delivery = "INSERT INTO deliveries VALUES ('d', 'h', 'e1', 'of eve', 0, 0, 0, NULL)";
        sqlx::query(delivery).execute(&store.pool).await.unwrap();

        let eve = Chosen::All(Filter { subject: Some("eve".into()), ..Filter::default() });
        assert_eq!(store.count(&eve).await.unwrap(), BATCH as u64 + 10);
        assert_eq!(store.purge(&eve, "ana").await.unwrap(), BATCH as u64 + 10);
        assert_eq!(ids(&store).await, "a b");
        for table in ["decisions", "deliveries"] {
            let query = format!("SELECT count(*) FROM {table}");
            let left: i64 = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_one(&store.pool).await.unwrap().get(0);
            assert_eq!(left, 0, "{table}");
        }
        let left: i64 = sqlx::query("SELECT count(*) FROM case_rules").fetch_one(&store.pool).await.unwrap().get(0);
        assert_eq!(left, 2);
        let lines = store.trail(&Trail { action: Some("purge".into()), ..Trail::default() }, None, 9).await.unwrap();
        let name = blake3::hash(b"eve").to_string();
        assert_eq!(lines.len(), 2, "one a batch");
        assert!(lines.iter().all(|line| line.detail.contains(&name) && !line.detail.contains("eve")), "{lines:?}");
        assert_eq!(store.purge(&Chosen::Ids(vec!["a".into(), "gone".into()]), "ana").await.unwrap(), 1);
        assert_eq!(ids(&store).await, "b");
        assert_eq!(
            store.queue(&Filter::default(), Some(&Place { at_ms: i64::MAX, id: String::new() }), 9).await.unwrap().len(),
            1
        );
        assert!(store.verify(None).await.unwrap().broken.is_none());
    }
}

/// Whether one of the store's files has these bytes.
fn holds(file: &str, sought: &str) -> bool {
    let found = |path: &Path| fs::read(path).unwrap_or_default().windows(sought.len()).any(|bytes| bytes == sought.as_bytes());
    ["", "-wal", "-shm", "-journal"].iter().any(|end| found(Path::new(&format!("{file}{end}"))))
}

#[tokio::test]
async fn nothing_of_a_purged_text_is_left_in_the_file() {
    let stand = Stand::new();
    let file = stand.urls[0].strip_prefix("sqlite://").unwrap();
    let store = Store::open(&stand.urls[0]).await.unwrap();
    let mut secret = case("s", &at(1), 0.75);
    // Longer than a page, so that it lies on several.
    secret.request[0].text = "xylophone quartz ".repeat(1_000);
    secret.call = Some(of("zebedee"));
    store.record(&[case("a", &at(1), 0.75), secret.clone(), case("b", &at(1), 0.75)]).await.unwrap();
    store.decide("s", NewDecision { reviewer: "ana", opinion: Opinion::Right, note: "xylophones again" }, "ana").await.unwrap();
    store.record(&[Case { version: 2, ..secret }]).await.unwrap();
    while store.index().await.unwrap() > 0 {}
    for word in ["xylophone", "zebedee", "xyl"] {
        assert!(holds(file, word), "{word}");
    }
    store.purge(&Chosen::All(Filter { subject: Some("zebedee".into()), ..Filter::default() }), "ana").await.unwrap();
    // Not even the stretches of it by which it was found, which no other text has.
    for word in ["xylophone", "zebedee", "xyl", "rtz"] {
        assert!(!holds(file, word), "{word}");
    }
    assert!(holds(file, "the words of a"));
}
