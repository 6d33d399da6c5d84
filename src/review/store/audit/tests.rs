use super::*;
use crate::review::store::stand::Stand;

async fn five(store: &Store) -> Vec<Line> {
    for (number, action) in
        [Action::SignIn, Action::Look, Action::Decide, Action::Look, Action::SignOut].into_iter().enumerate()
    {
        let case = (action == Action::Look).then(|| format!("c{number}"));
        store.audit("ana", action, case.as_deref(), &serde_json::json!({ "number": number })).await.unwrap();
    }
    let mut lines = store.trail(&Trail::default(), None, 10).await.unwrap();
    lines.reverse();
    lines
}

/// What somebody does who can write to the database.
async fn rewrite(store: &Store, lines: &[Line]) {
    sqlx::query("DELETE FROM audit").execute(&store.pool).await.unwrap();
    for line in lines {
        sqlx::query("INSERT INTO audit (seq, at_ms, actor, action, case_id, detail, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(line.seq)
            .bind(line.at_ms)
            .bind(&line.actor)
            .bind(&line.action)
            .bind(line.case.as_deref())
            .bind(&line.detail)
            .bind(&line.hash)
            .execute(&store.pool)
            .await
            .unwrap();
    }
}

type Tamper = fn(&mut Vec<Line>);

#[tokio::test]
async fn what_is_done_to_the_trail_is_found() {
    let changes: [(&str, Tamper, i64); 9] = [
        ("another actor", |lines| lines[2].actor = "bob".into(), 3),
        ("another action", |lines| lines[2].action = "undo".into(), 3),
        ("another detail", |lines| lines[2].detail = "{}".into(), 3),
        ("another time", |lines| lines[2].at_ms += 1, 3),
        ("another case", |lines| lines[1].case = None, 2),
        ("a field's end moved into the next", |lines| (lines[2].actor, lines[2].action) = ("an".into(), "adecide".into()), 3),
        ("a line gone", |lines| drop(lines.remove(1)), 2),
        (
            "a line gone, and the rest counted anew",
            |lines| {
                lines.remove(1);
                lines.iter_mut().zip(1..).for_each(|(line, seq)| line.seq = seq);
            },
            2,
        ),
        ("two in another order", |lines| (lines[1].seq, lines[2].seq) = (3, 2), 2),
    ];
    let stand = Stand::new();
    for store in stand.stores().await {
        assert_eq!(store.verify(None).await.unwrap(), Verified::default());
        let lines = five(&store).await;
        let head = lines[4].hash.clone();
        let fine = Verified { lines: 5, head: head.clone(), broken: None, contains: false };
        assert_eq!(store.verify(None).await.unwrap(), fine);
        for (what, tamper, at) in changes {
            let mut changed = lines.clone();
            tamper(&mut changed);
            rewrite(&store, &changed).await;
            let found = store.verify(None).await.unwrap();
            assert_eq!(found.broken.map(|(line, _)| line), Some(at), "{what}");
        }
        rewrite(&store, &lines[..4]).await;
        let cut = store.verify(Some(&head)).await.unwrap();
        assert_eq!((cut.lines, cut.broken, cut.contains), (4, None, false), "only who knows its head can tell that it was cut");
        rewrite(&store, &lines).await;
        store.audit("ana", Action::SignIn, None, &Value::Null).await.unwrap();
        assert!(store.verify(Some(&head)).await.unwrap().contains);
    }
}

#[tokio::test]
async fn nodes_that_write_at_once_keep_one_chain() {
    const EACH: usize = 25;
    let stand = Stand::new();
    for url in &stand.urls {
        let mut nodes = Vec::new();
        for node in 0..4 {
            let store = Store::open(url).await.unwrap();
            nodes.push(tokio::spawn(async move {
                for _ in 0..EACH {
                    store.audit(&format!("node {node}"), Action::SignIn, None, &Value::Null).await.unwrap();
                }
            }));
        }
        for node in nodes {
            node.await.unwrap();
        }
        let verified = Store::open(url).await.unwrap().verify(None).await.unwrap();
        assert_eq!((verified.lines, verified.broken), (4 * EACH as u64, None));
    }
}

#[tokio::test]
async fn the_trail_is_read_page_by_page_and_by_what_is_sought() {
    let stand = Stand::new();
    for store in stand.stores().await {
        let lines = five(&store).await;
        let read = async |trail: Trail, before, limit| {
            let lines = store.trail(&trail, before, limit).await.unwrap();
            lines.into_iter().map(|line| line.seq).collect::<Vec<_>>()
        };
        assert_eq!(read(Trail::default(), None, 2).await, [5, 4]);
        assert_eq!(read(Trail::default(), Some(4), 2).await, [3, 2]);
        let (case, actor, action) = (Some("c3".to_owned()), Some("ana".to_owned()), Some("look".to_owned()));
        assert_eq!(read(Trail { case, ..Trail::default() }, None, 9).await, [4]);
        assert_eq!(read(Trail { actor: actor.clone(), action, case: None }, None, 9).await, [4, 2]);
        assert_eq!(read(Trail { actor, action: Some("purge".into()), case: None }, None, 9).await, [0; 0]);
        assert_eq!((lines[1].case.as_deref(), lines[1].detail.as_str()), (Some("c1"), "{\"number\":1}"));
    }
}
