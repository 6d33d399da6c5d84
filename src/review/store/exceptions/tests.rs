use super::*;
use crate::{
    policy::text_hash,
    review::{
        Trail,
        store::stand::{Stand, case},
    },
};

fn new() -> NewException {
    NewException {
        hash: text_hash("harmless").to_string(),
        policies: vec!["p".into(), "q".into()],
        case: Some("a".into()),
        owner: " ana ".into(),
        note: "from a play".into(),
        expires: today().saturating_add(30.days()),
    }
}

#[tokio::test]
async fn an_exception_holds_until_its_day_or_its_end() {
    let stand = Stand::new();
    for store in stand.stores().await {
        store.record(&[case("a", "2026-01-01T00:00:00Z", 0.75)]).await.unwrap();
        let made = store.add_exception(&new(), "bob").await.unwrap();
        let named: Vec<_> = made.iter().map(|own| (own.policy.as_str(), own.owner.as_str(), own.created_by.as_str())).collect();
        assert_eq!(named, [("p", "ana", "bob"), ("q", "ana", "bob")]);
        let holds = |names: &[&str]| -> Exceptions {
            names.iter().map(|policy| ((*policy).to_owned(), text_hash("harmless"), new().expires)).collect()
        };
        assert_eq!(store.active(today()).await.unwrap(), holds(&["p", "q"]));
        assert_eq!(store.active(new().expires).await.unwrap(), holds(&["p", "q"]), "on its last day");
        assert_eq!(store.active(new().expires.saturating_add(1.day())).await.unwrap(), holds(&[]));
        store.excepted().await;

        store.remove_exception(&made[0].id, "eve").await.unwrap();
        assert!(matches!(store.remove_exception(&made[0].id, "eve").await, Err(Error::Gone(_))));
        assert_eq!(store.active(today()).await.unwrap(), holds(&["q"]));
        store.excepted().await;
        let removed = store.exception(&made[0].id).await.unwrap().unwrap();
        assert_eq!(removed.removed.map(|(by, _)| by).as_deref(), Some("eve"), "that it was there stays on record");
        assert_eq!(store.exceptions(10).await.unwrap().len(), 2);
        assert_eq!(store.exceptions_of("a").await.unwrap().len(), 2);
        assert!(store.exceptions_of("b").await.unwrap().is_empty());
        let lines = store.trail(&Trail { case: Some("a".into()), ..Trail::default() }, None, 9).await.unwrap();
        let told: Vec<_> = lines.iter().map(|line| (line.action.as_str(), line.actor.as_str())).collect();
        assert_eq!(told, [("exception_remove", "eve"), ("exception_add", "bob"), ("exception_add", "bob")]);
    }
}

#[tokio::test]
async fn an_exception_has_an_owner_an_end_and_a_text() {
    let stand = Stand::new();
    for store in stand.stores().await {
        let refused = async |new: NewException| store.add_exception(&new, "bob").await.unwrap_err().to_string();
        assert!(refused(NewException { owner: " ".into(), ..new() }).await.starts_with("`owner` must say who"));
        assert!(refused(NewException { hash: "12".into(), ..new() }).await.starts_with("`hash` must be the hash"));
        assert!(refused(NewException { policies: vec![], ..new() }).await.starts_with("`policies` must name"));
        let ahead = |days: i32| NewException { expires: today().saturating_add(days.days()), ..new() };
        assert_eq!(refused(ahead(367)).await, "`expires` must be a day from today to 365 days ahead");
        assert!(refused(ahead(-1)).await.starts_with("`expires`"));
        store.add_exception(&ahead(0), "bob").await.unwrap();
        store.add_exception(&ahead(365), "bob").await.unwrap();
        assert_eq!(store.trail(&Trail::default(), None, 9).await.unwrap().len(), 4, "what was refused left nothing");
    }
}
