use super::*;
use crate::review::{
    Filter, Trail,
    store::stand::{Stand, case},
};

const AT: &str = "2026-01-01T00:00:00Z";

fn says<'a>(reviewer: &'a str, opinion: Opinion, note: &'a str) -> NewDecision<'a> {
    NewDecision { reviewer, opinion, note }
}

async fn with_cases(stand: &Stand, ids: &[&str]) -> Vec<Store> {
    let stores = stand.stores().await;
    for store in &stores {
        let cases: Vec<_> = ids.iter().map(|id| case(id, AT, 0.75)).collect();
        store.record(&cases).await.unwrap();
    }
    stores
}

#[tokio::test]
async fn a_case_is_what_its_reviewers_say() {
    let stand = Stand::new();
    for store in with_cases(&stand, &["a", "b"]).await {
        assert_eq!(store.state("a").await.unwrap(), State::Open);
        assert_eq!(store.decide("a", says("ana", Opinion::Wrong, "a joke\0"), "ana").await.unwrap(), State::Wrong);
        assert_eq!(store.decide("a", says("bob", Opinion::Right, ""), "bob").await.unwrap(), State::Disputed);
        assert_eq!(store.decide("a", says("ana", Opinion::Right, "no joke"), "ana").await.unwrap(), State::Right);
        let said: Vec<_> =
            store.decisions("a").await.unwrap().into_iter().map(|own| (own.reviewer, own.opinion, own.note)).collect();
        let expected = [("bob", ""), ("ana", "no joke")].map(|(who, note)| (who.to_owned(), Opinion::Right, note.to_owned()));
        assert!(expected.iter().all(|own| said.contains(own)) && said.len() == 2, "{said:?}");
        assert_eq!(store.undo("a", "bob", "bob").await.unwrap(), State::Right);
        assert_eq!(store.undo("a", "ana", "ana").await.unwrap(), State::Open);
        assert!(matches!(store.undo("a", "ana", "ana").await, Err(Error::Gone(_))));
        assert_eq!(store.state("b").await.unwrap(), State::Open, "another case is untouched");
        let told: Vec<_> =
            store.trail(&Trail::default(), None, 10).await.unwrap().into_iter().map(|line| line.action).collect();
        assert_eq!(told, ["undo", "undo", "decide", "decide", "decide"], "and all of it is on record");
    }
}

#[tokio::test]
async fn a_later_writing_of_a_case_leaves_what_reviewers_say() {
    let stand = Stand::new();
    for store in with_cases(&stand, &["a"]).await {
        store.decide("a", says("ana", Opinion::Wrong, ""), "ana").await.unwrap();
        store.record(&[crate::review::Case { version: 2, ..case("a", AT, 0.875) }]).await.unwrap();
        assert_eq!(store.state("a").await.unwrap(), State::Wrong);
        assert_eq!(store.decisions("a").await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn who_decides_a_case_that_is_gone_is_told_and_nothing_is_kept() {
    let stand = Stand::new();
    for store in with_cases(&stand, &["a"]).await {
        let gone = store.decide("b", says("ana", Opinion::Right, ""), "ana").await.unwrap_err();
        assert_eq!(gone.to_string(), "there is no case b");
        let both = Chosen::Ids(vec!["a".into(), "b".into()]);
        assert!(store.decide_all(&both, says("ana", Opinion::Right, ""), "ana").await.is_err());
        assert_eq!(store.state("a").await.unwrap(), State::Open, "all or none");
        assert!(matches!(store.state("b").await, Err(Error::Gone(_))));
        assert!(store.trail(&Trail::default(), None, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn many_are_decided_at_once() {
    let stand = Stand::new();
    for store in with_cases(&stand, &["a", "b", "c", "d"]).await {
        let some = Chosen::Ids(vec!["a".into(), "b".into()]);
        assert_eq!(store.decide_all(&some, says("ana", Opinion::Right, "a book"), "ana").await.unwrap(), 2);
        let open = Chosen::All(Filter { state: Some(State::Open), ..Filter::default() });
        assert_eq!(store.decide_all(&open, says("ana", Opinion::Wrong, ""), "ana").await.unwrap(), 2);
        assert_eq!(store.decide_all(&open, says("ana", Opinion::Wrong, ""), "ana").await.unwrap(), 0);
        let all = Chosen::All(Filter::default());
        assert_eq!(store.decide_all(&all, says("bob", Opinion::Wrong, ""), "bob").await.unwrap(), 4);
        let mut states = Vec::new();
        for id in ["a", "b", "c", "d"] {
            states.push(store.state(id).await.unwrap());
        }
        assert_eq!(states, [State::Disputed, State::Disputed, State::Wrong, State::Wrong]);
        assert_eq!(store.undo_all(&["a".into(), "c".into()], "bob", "bob").await.unwrap(), 2);
        assert!(store.undo_all(&["b".into(), "c".into()], "bob", "bob").await.is_err(), "that of c is taken back already");
        assert_eq!([store.state("a").await.unwrap(), store.state("b").await.unwrap()], [State::Right, State::Disputed]);
        let lines = store.trail(&Trail { action: Some("decide".into()), ..Trail::default() }, None, 10).await.unwrap();
        let told: Vec<_> = lines.iter().map(|line| line.case.as_deref().unwrap_or("-")).collect();
        assert_eq!(told, ["-", "-", "-", "b", "a"]);
        assert!(
            lines[2].detail.contains("\"state\":\"open\"") && lines[2].detail.contains("\"cases\":2"),
            "{}",
            lines[2].detail
        );
    }
}
