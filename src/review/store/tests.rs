//! What the store promises, on each database.

use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all};
use serde_json::json;
use tempfile::TempDir;

use super::{
    selection::{Search, Selection},
    *,
};
use crate::{
    config::{Content, ReviewKey},
    policy::Unstored,
    review::{
        Care, Case, Facts, Filter, Judge, Kept, Passage, Place, Recorder, Said, State, Text, Verdict, new_sealing_key, postgres,
    },
    scan::detect::Detectors,
    segment::{Direction, Segment, Target},
};

/// Addresses of a new store in each database, and what to keep as long.
fn urls() -> ([String; 2], TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", dir.path().join("review.db").display());
    ([file, postgres::database().unwrap()], dir)
}

async fn stores() -> (Vec<Store>, TempDir) {
    let (urls, dir) = urls();
    let stores = join_all(urls.iter().map(|url| Store::open(url))).await;
    (stores.into_iter().map(Result::unwrap).collect(), dir)
}

fn text(target: Target, text: &str) -> Text {
    let care = Care { content: Content::Redacted, detectors: &Detectors::default() };
    Text::searched(&Segment { target, passage: 0, text: text.into(), place: None }, care)
}

fn evidence() -> Kept {
    let verdict = |guard, said| Verdict { guard, said, windows: vec![] };
    let passage = Passage {
        direction: Direction::Request,
        target: Target::Prompt,
        texts: vec![0],
        language: Some("th".into()),
        others: vec!["en".into()],
        verdicts: vec![
            verdict(0, Said::Score { score: 0.1, threshold: 0.7 }),
            verdict(1, Said::Failed { failed: "gone".into() }),
        ],
        piece: None,
    };
    let guards = ["default", "large"].map(|name| Judge { name: name.into(), identity: "g".into() });
    Kept { guards: guards.into(), passages: vec![passage], unscorable: vec![] }
}

fn case(id: &str, prompt: &str) -> Case {
    Case {
        id: id.into(),
        version: 1,
        at: if id.starts_with('a') { "2026-01-01T00:00:00Z" } else { "2026-01-01T00:00:00.5Z" }.into(),
        decision: "block".into(),
        dialect: "openai_chat".into(),
        model: "m".into(),
        stream: true,
        language: Some("th".into()),
        score: Some(0.75),
        guard: "g".into(),
        policy: "p".into(),
        reasons: json!([{"policy": "p", "rule": "r", "direction": "request", "score": 0.75}]),
        request: vec![text(Target::Prompt, prompt)],
        response: vec![],
        call: Some(Facts {
            models: vec![],
            method: None,
            route: "r".into(),
            upstream: "u".into(),
            tenant: Some("t".into()),
            key: None,
            subject: None,
            language: None,
            headers: [("x-team".to_owned(), "a".to_owned())].into(),
            draw: u64::MAX,
        }),
        evidence: Some(evidence()),
    }
}

async fn index(store: &Store) {
    while store.index().await.unwrap() > 0 {}
}

/// Ids of a filter's cases, the newest first, told in pages of three.
async fn told(store: &Store, filter: &Filter) -> String {
    let (mut ids, mut last): (Vec<String>, Option<Place>) = (Vec::new(), None);
    loop {
        let page = store.queue(filter, last.as_ref(), 3).await.unwrap();
        ids.extend(page.iter().map(|entry| entry.id.clone()));
        match page.last() {
            Some(entry) => last = Some(entry.place()),
            None => return ids.join(" "),
        }
    }
}

fn searching(sought: &str) -> Filter {
    Filter { search: Some(sought.to_owned()), ..Filter::default() }
}

#[tokio::test]
async fn cases_outlive_the_process_and_are_updated_in_place() {
    let (urls, _dir) = urls();
    assert!(Store::open_existing(&urls[0]).await.is_err());
    for url in urls {
        let store = Store::open(&url).await.unwrap();
        store.record(&[case("a1", "card 4111 1111 1111 1111")]).await.unwrap();
        store.record(&[case("b1", "hi")]).await.unwrap();
        let later = Case {
            version: 2,
            decision: "rewrite".into(),
            response: vec![text(Target::Completion, "x")],
            evidence: Some(Kept { unscorable: vec![], passages: vec![], ..evidence() }),
            ..case("a1", "card 4111 1111 1111 1111")
        };
        store.record(std::slice::from_ref(&later)).await.unwrap();
        store.close().await;
        let store = Store::open_existing(&url).await.unwrap();
        assert_eq!(told(&store, &Filter::default()).await, "b1 a1");
        assert_eq!(store.find("a").await.unwrap(), Some(later.clone()));
        assert_eq!(store.case("b1").await.unwrap(), Some(case("b1", "hi")));
        assert_eq!((store.find("").await.unwrap(), store.find("c").await.unwrap()), (None, None));
        assert_eq!(later.prompt(), "card [payment card]");
        let cases: Vec<Case> = store.cases(Filter::default(), Order::OldestFirst).try_collect().await.unwrap();
        assert_eq!(cases, [later, case("b1", "hi")]);
    }
}

#[tokio::test]
async fn the_newest_are_told_from_a_second_on() {
    for store in stores().await.0 {
        for (id, at) in [("a", "2026-01-01T00:00:00Z"), ("b", "2026-01-01T00:00:00.5Z"), ("c", "2026-01-02T00:00:00Z")] {
            store.record(&[Case { at: at.into(), ..case(id, "") }]).await.unwrap();
        }
        let since = async |since: &str| told(&store, &Filter { since: since.parse().ok(), ..Filter::default() }).await;
        assert_eq!(told(&store, &Filter::default()).await, "c b a");
        assert_eq!(since("2026-01-01").await, "c b a");
        assert_eq!(since("2026-01-01T00:00:00.2Z").await, "c b");
        assert_eq!(since("2026-01-01T00:00:01Z").await, "c");
    }
}

#[tokio::test]
async fn the_last_writing_counts_whatever_comes_first() {
    for store in stores().await.0 {
        let of = |version, rules: &[&str]| Case {
            version,
            reasons: rules.iter().map(|rule| json!({"rule": rule})).collect(),
            ..case("a", &format!("writing {version}"))
        };
        store.record(&[of(2, &["two"]), case("b", "hi"), of(1, &["one"])]).await.unwrap();
        index(&store).await;
        store.record(&[of(1, &["one"])]).await.unwrap();
        assert_eq!(store.case("a").await.unwrap().unwrap().prompt(), "writing 2");
        store.record(&[of(3, &["two", "three"]), of(3, &["two", "three"])]).await.unwrap();
        let by = async |rule: &str| told(&store, &Filter { rule: Some(rule.into()), ..Filter::default() }).await;
        assert_eq!([by("one").await, by("two").await, by("three").await, by("r").await], ["", "a", "a", "b"]);
        assert_eq!(told(&store, &searching("Writing 3")).await, "a");
        assert_eq!(told(&store, &searching("writing 2")).await, "", "the index forgets what was");
    }
}

/// Cases of all kinds, made up by number.
fn various(number: usize) -> Case {
    let pick = |all: &[&'static str], step: usize| all[number / step % all.len()];
    let rules = [&["often"][..], &["often", "now-and-then"], &["often", "often"], &["seldom"]]
        [usize::from(number.is_multiple_of(7)) + number / 5 % 3];
    let reason = |rule: &&str| {
        let (policy, direction) = (pick(&["p", "q"], 4), pick(&["request", "response"], 3));
        json!({"policy": policy, "rule": rule, "direction": direction})
    };
    let call = Facts {
        tenant: (!number.is_multiple_of(3)).then(|| pick(&["t", "u", "v"], 2).to_owned()),
        key: Some(pick(&["k", "l"], 6).to_owned()),
        subject: number.is_multiple_of(11).then(|| "s".to_owned()),
        ..case("", "").call.unwrap()
    };
    Case {
        at: format!("2026-01-01T00:{:02}:00Z", number / 4),
        decision: pick(&["block", "flag"], 5).to_owned(),
        language: Some(pick(&["en", "th"], 1).to_owned()),
        score: (!number.is_multiple_of(4)).then(|| number as f32 / 100.0),
        reasons: rules.iter().map(reason).collect(),
        call: Some(call),
        ..case(&format!("{number:03}"), &format!("{} number {number}", pick(&["Well,", "ดีมาก", "It's 100%_sure"], 3)))
    }
}

/// What a filter means, said the simple way.
fn meant(filter: &Filter, case: &Case) -> bool {
    fn is<T: PartialEq + Copy>(asked: Option<T>, own: Option<T>) -> bool {
        asked.is_none() || asked == own
    }
    let call = case.call.as_ref().unwrap();
    let rule = |reason: &serde_json::Value| {
        let own = |name: &str| reason[name].as_str();
        is(filter.rule.as_deref(), own("rule"))
            && is(filter.policy.as_deref(), own("policy"))
            && is(filter.direction.map(Direction::name), own("direction"))
    };
    is(filter.language.as_deref(), case.language.as_deref())
        && is(filter.decision.as_deref(), Some(case.decision.as_str()))
        && is(filter.tenant.as_deref(), call.tenant.as_deref())
        && is(filter.key.as_deref(), call.key.as_deref())
        && is(filter.subject.as_deref(), call.subject.as_deref())
        && is(filter.state, Some(State::Open))
        && filter.min_score.is_none_or(|least| case.score.is_some_and(|score| score >= least))
        && filter.max_score.is_none_or(|most| case.score.is_some_and(|score| score <= most))
        && filter.since.is_none_or(|since| case.at.parse::<jiff::Timestamp>().unwrap() >= since.timestamp())
        && filter.until.is_none_or(|until| case.at.parse::<jiff::Timestamp>().unwrap() < until.timestamp())
        && case.reasons.as_array().unwrap().iter().any(rule)
        && filter.search.as_ref().is_none_or(|sought| case.prompt().to_lowercase().contains(&sought.to_lowercase()))
}

#[tokio::test]
async fn filters_alone_and_together_find_what_they_mean() {
    let cases: Vec<Case> = (0..120).map(various).collect();
    let (stores, _dir) = stores().await;
    let text = |text: &str| Some(text.to_owned());
    let one: Vec<Filter> = vec![
        Filter::default(),
        Filter { rule: text("often"), ..Filter::default() },
        Filter { rule: text("seldom"), ..Filter::default() },
        Filter { policy: text("q"), ..Filter::default() },
        Filter { direction: Some(Direction::Response), ..Filter::default() },
        Filter { language: text("th"), ..Filter::default() },
        Filter { tenant: text("u"), ..Filter::default() },
        Filter { key: text("l"), ..Filter::default() },
        Filter { subject: text("s"), ..Filter::default() },
        Filter { decision: text("flag"), ..Filter::default() },
        Filter { state: Some(State::Open), ..Filter::default() },
        Filter { state: Some(State::Wrong), ..Filter::default() },
        Filter { min_score: Some(0.3), ..Filter::default() },
        Filter { max_score: Some(0.9), ..Filter::default() },
        Filter { since: "2026-01-01T00:05".parse().ok(), ..Filter::default() },
        Filter { until: "2026-01-01T00:20".parse().ok(), ..Filter::default() },
        searching("WELL"),
        searching("number 7"),
        searching("มาก"),
        searching("100%_s"),
        searching("0%s"),
        searching("it's"),
        searching("\"quoted\" OR well"),
        searching("Nowhere"),
    ];
    let both = |one: &Filter, other: &Filter| {
        let mut all = serde_json::to_value(one).unwrap();
        all.as_object_mut().unwrap().extend(serde_json::to_value(other).unwrap().as_object().unwrap().clone());
        serde_json::from_value::<Filter>(all).unwrap()
    };
    for store in stores {
        store.record(&cases[..70]).await.unwrap();
        index(&store).await;
        // The rest is not in the index yet.
        store.record(&cases[70..]).await.unwrap();
        let pairs = one.iter().enumerate().flat_map(|(at, filter)| one.iter().skip(at).map(move |other| both(filter, other)));
        for filter in pairs {
            let mut meant: Vec<&Case> = cases.iter().filter(|case| meant(&filter, case)).collect();
            meant.sort_by_key(|case| (case.at.clone(), case.id.clone()));
            let oldest: Vec<Case> = store.cases(filter.clone(), Order::OldestFirst).try_collect().await.unwrap();
            assert_eq!(oldest.iter().collect::<Vec<_>>(), meant, "{filter:?}");
            let newest: Vec<&str> = meant.iter().rev().map(|case| case.id.as_str()).take(30).collect();
            let page = store.queue(&filter, None, 30).await.unwrap();
            assert_eq!(page.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), newest, "{filter:?}");
            if let Some(middle) = page.get(page.len() / 2) {
                let rest = store.queue(&filter, Some(&middle.place()), 2).await.unwrap();
                let rest: Vec<&str> = rest.iter().map(|entry| entry.id.as_str()).collect();
                assert_eq!(rest, newest.iter().copied().skip(page.len() / 2 + 1).take(2).collect::<Vec<_>>(), "{filter:?}");
            }
            assert_eq!(store.count_up_to(&filter, 40).await.unwrap() as usize, meant.len().min(40), "{filter:?}");
        }
    }
}

#[tokio::test]
async fn each_filter_reads_its_page_off_an_index() {
    let (stores, _dir) = stores().await;
    let store = &stores[0];
    let text = |text: &str| Some(text.to_owned());
    for (filter, index) in [
        (Filter::default(), "cases_by_time"),
        (Filter { since: "1d".parse().ok(), ..Filter::default() }, "cases_by_time"),
        (Filter { min_score: Some(0.9), max_score: Some(0.99), ..Filter::default() }, "cases_by_time"),
        (Filter { rule: text("r"), direction: Some(Direction::Request), ..Filter::default() }, "case_rules_by_rule"),
        (Filter { policy: text("p"), ..Filter::default() }, "case_rules_by_policy"),
        (Filter { direction: Some(Direction::Request), ..Filter::default() }, "case_rules_by_direction"),
        (Filter { language: text("th"), ..Filter::default() }, "cases_by_language"),
        (Filter { tenant: text("t"), ..Filter::default() }, "cases_by_tenant"),
        (Filter { key: text("k"), ..Filter::default() }, "cases_by_caller"),
        (Filter { subject: text("s"), ..Filter::default() }, "cases_by_subject"),
        (Filter { decision: text("flag"), ..Filter::default() }, "cases_by_decision"),
        (Filter { state: Some(State::Open), until: "1d".parse().ok(), ..Filter::default() }, "cases_by_state"),
    ] {
        let lead = store.lead(&filter).await.unwrap();
        let place = Place { at_ms: 1, id: "a".into() };
        for from in [None, Some(&place)] {
            let selection = Selection::led(store, &filter, (lead, Search::Not), Order::NewestFirst).after(from);
            let explain = format!("EXPLAIN QUERY PLAN SELECT c.body FROM {}", selection.from);
            let plan = selection.fetch(store, &explain, &selection.order()).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
            let plan = plan.join("; ");
            assert!(plan.contains(&format!("INDEX {index}")) && !plan.contains("TEMP"), "{filter:?}: {plan}");
        }
    }
}

#[tokio::test]
async fn what_a_column_cannot_hold_is_replaced() {
    for store in stores().await.0 {
        let mut odd = case("a", "zero \0 one");
        odd.model = "m\0".into();
        odd.reasons = json!([{"policy": "p\0", "rule": "r", "note": "n\0"}]);
        odd.call.as_mut().unwrap().tenant = Some("t\0".into());
        store.record(std::slice::from_ref(&odd)).await.unwrap();
        let kept = store.case("a").await.unwrap().unwrap();
        assert_eq!(kept.prompt(), "zero \0 one", "what is kept as JSON loses nothing");
        assert_eq!(kept.model, "m\u{fffd}");
        let tenant = Filter { tenant: Some("t\0".into()), ..Filter::default() };
        assert_eq!(told(&store, &tenant).await, "a");
        assert_eq!(told(&store, &Filter { policy: Some("p\0".into()), ..Filter::default() }).await, "a");
        assert_eq!(told(&store, &searching("zero \0 one")).await, "a");
        index(&store).await;
        assert_eq!(told(&store, &searching("zero \0 one")).await, "a");
    }
}

#[tokio::test]
async fn long_texts_are_searched_as_far_as_the_index_reaches() {
    for store in stores().await.0 {
        let long = format!("BEGINNING{}ending", "ก".repeat(100_000));
        store.record(&[case("a", &long)]).await.unwrap();
        index(&store).await;
        assert_eq!(told(&store, &searching("beginningกกก")).await, "a");
        assert_eq!(told(&store, &searching("ending")).await, "");
        assert_eq!(store.case("a").await.unwrap().unwrap().prompt(), long);
        for short in ["", "ab"] {
            assert!(store.queue(&searching(short), None, 1).await.unwrap_err().to_string().contains("3 characters"));
        }
    }
}

fn seal(ids: &[&str], dir: &TempDir) -> Option<Seal> {
    let key = |id: &&str| {
        let file = dir.path().join(id);
        if !file.exists() {
            std::fs::write(&file, new_sealing_key().unwrap().expose()).unwrap();
        }
        ReviewKey { id: (*id).to_owned(), env: None, file: Some(file) }
    };
    Seal::new(&ids.iter().map(key).collect::<Vec<_>>()).unwrap()
}

#[tokio::test]
async fn sealed_texts_are_read_with_their_key_alone_and_where_they_stood() {
    let (stores, dir) = stores().await;
    for store in stores {
        let plain = store.clone();
        let store = store.sealing(seal(&["old"], &dir));
        store.record(&[case("a", "a secret"), case("b", "another")]).await.unwrap();
        let store = store.sealing(seal(&["new", "old"], &dir));
        store.record(&[case("c", "a secret")]).await.unwrap();
        assert_eq!(told(&store, &Filter::default()).await, "c b a");
        assert_eq!(store.case("a").await.unwrap().unwrap(), case("a", "a secret"));
        assert_eq!(store.queue(&Filter::default(), None, 1).await.unwrap()[0].excerpt, "a secret");
        let unread = plain.case("a").await.unwrap_err().to_string();
        assert!(unread.contains("sealed with the key `old`"), "{unread}");
        assert!(store.queue(&searching("secret"), None, 1).await.unwrap_err().to_string().contains("sealed"));
        index(&store).await;
        assert_eq!(
            told(&plain.clone(), &Filter { search: Some("secret".into()), rule: Some("none".into()), ..Filter::default() })
                .await,
            ""
        );
        sqlx::query("UPDATE cases SET body = (SELECT body FROM cases WHERE id = 'a') WHERE id = 'b'")
            .execute(&store.pool)
            .await
            .unwrap();
        assert!(store.case("b").await.unwrap_err().to_string().contains("changed or moved"));
        for column in ["body", "excerpt"] {
            let query = format!("SELECT {column} AS bytes FROM cases");
            for row in sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&store.pool).await.unwrap() {
                let bytes: Vec<u8> = sqlx::Row::try_get(&row, "bytes").unwrap();
                assert!(!bytes.windows(6).any(|part| part == b"secret"));
            }
        }
    }
}

#[tokio::test]
async fn nodes_that_start_together_make_one_store() {
    for url in urls().0 {
        let opened = join_all((0..6).map(|_| Store::open(&url))).await;
        for (number, store) in opened.into_iter().enumerate() {
            store.unwrap().record(&[case(&format!("a{number}"), "")]).await.unwrap();
        }
        assert_eq!(Store::open_existing(&url).await.unwrap().count_up_to(&Filter::default(), 10).await.unwrap(), 6);
    }
}

#[tokio::test]
async fn a_value_that_is_refused_costs_no_other_case() {
    let (stores, dir) = stores().await;
    for (number, store) in stores.into_iter().enumerate() {
        sqlx::query("CREATE UNIQUE INDEX one_model ON cases (model)").execute(&store.pool).await.unwrap();
        let recorder = Recorder::start(store, dir.path().join(number.to_string())).unwrap();
        let record = |id: &str, model: &str| {
            let (recorder, case) = (recorder.clone(), Case { model: model.to_owned(), ..case(id, "") });
            async move { recorder.record(case, Unstored::Spool).await }
        };
        let told = join_all([record("a", "m"), record("b", "n"), record("c", "m"), record("d", "o")]).await;
        assert_eq!(told.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true], "{told:?}");
        let status = recorder.status();
        assert_eq!((status.written, status.refused, status.waiting, status.away), (3, 1, 0, None));
        let none = record("e", "p").await;
        assert!(none.is_ok());
        recorder.close().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_refused_or_spooled_and_taken_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}", dir.path().join("r.db").display())).await.unwrap();
    let limit = async |pages: &str| {
        let query = format!("PRAGMA max_page_count = {pages}");
        sqlx::query(sqlx::AssertSqlSafe(query)).execute(&store.writer).await.unwrap();
    };
    let recorder = Recorder::start(store.clone(), dir.path().join("spool")).unwrap();
    recorder.record(case("a0", "first"), Unstored::Block).await.unwrap();
    limit("1").await;
    let large = |id: &str| case(id, &format!("{id} {}", "x ".repeat(20_000)));
    let refused = recorder.record(large("a1"), Unstored::Block).await.unwrap_err().to_string();
    assert!(refused.contains("full"), "{refused}");
    recorder.record(large("a2"), Unstored::Spool).await.unwrap();
    recorder.record(Case { version: 2, ..large("a2") }, Unstored::Spool).await.unwrap();
    let status = recorder.status();
    assert_eq!((status.written, status.spooled, status.refused, status.waiting), (1, 2, 1, 2));
    limit("1073741823").await;
    while recorder.status().waiting > 0 {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told(&store, &Filter::default()).await, "a2 a0");
    assert_eq!(store.case("a2").await.unwrap(), Some(Case { version: 2, ..large("a2") }));
    assert_eq!(recorder.status().away, None);
    recorder.close().await;
}

#[tokio::test]
async fn a_store_of_an_older_version_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("r.db").display());
    let pool = sqlx::SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap();
    let steps = backend::of(&url).unwrap().steps();
    backend::migrator(&steps[..1]).run(&pool).await.unwrap();
    sqlx::query(
        "INSERT INTO cases VALUES ('a', '2026-01-01T00:00:00Z', 'flag', 'd', 'm', 0, NULL, NULL, 'g', 'p', '[]', \
         '[{\"target\":\"prompt\",\"text\":\"Hi there\"}]', '[]')",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let store = Store::open_existing(&url).await.unwrap();
    let old = store.find("a").await.unwrap().unwrap();
    assert_eq!((old.prompt(), &old.call, &old.evidence), ("Hi there", &None, &None));
    index(&store).await;
    assert_eq!(told(&store, &searching("hi the")).await, "a");
    assert_eq!(store.cases(Filter::default(), Order::NewestFirst).count().await, 1);
}
