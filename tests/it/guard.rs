//! Guards that do not fit are refused at load, with one line that says why; those that do answer in time.

use std::{
    fs,
    path::Path,
    sync::{Arc, mpsc},
};

use seawall::{
    config,
    guard::{Guard, Runtime, Unavailable},
    scan::{self, Ask, Pair, Scanner},
    segment::{Content, Direction, Segment, Target, Task},
};

use crate::harness::fixture;

/// What the loader says of the tests' guard after a change.
fn told(change: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture("guard")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    change(dir.path());
    let settings = config::Guard { dir: Some(dir.path().to_owned()), ..config::Guard::default() };
    let error = Guard::load(&Runtime::load(None).unwrap(), &settings).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn edit(from: &'static str, to: &'static str) -> impl FnOnce(&Path) {
    move |dir| {
        let path = dir.join("guard.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replace(from, to)).unwrap();
    }
}

#[test]
fn misfits_are_told() {
    let cases: Vec<(String, &str)> = vec![
        (told(|dir| fs::remove_file(dir.join("guard.toml")).unwrap()), "point --guard at a directory"),
        (told(|dir| fs::remove_file(dir.join("model.onnx")).unwrap()), "cannot read model.onnx"),
        (told(|dir| fs::write(dir.join("model.onnx"), "x").unwrap()), "model.onnx has sha256"),
        (told(edit("kind = \"sequence-classification\"", "kind = \"oracle\"")), "unknown variant `oracle`"),
        (told(edit("threshold = 0.5", "treshold = 0.5")), "did you mean `threshold`?"),
        (told(edit("ids = \"input_ids\"", "ids = \"tokens\"")), "the graph has no input `tokens`; it has `input_ids`"),
        (told(edit("name = \"logits\"", "name = \"scores\"")), "the graph has no output `scores`"),
        (told(edit("unsafe = [1]", "unsafe = [2]")), "names column 2 of `logits`, which has 2"),
        (told(edit("{ ids = [0] }, { slot = \"text\" }", "{ ids = [99] }, { slot = \"text\" }")), "the tokenizer ends at 6"),
        (
            told(edit("{ ids = [0] }, { slot = \"text\" }", "{ ids = [4] }, { slot = \"text\" }")),
            "comes out as other token ids",
        ),
        (told(edit("stride = 16", "stride = 32")), "0 < stride (32) < window (24)"),
        (told(edit("activation = \"sigmoid\"", "activation = \"softmax\"")), "scores"),
        (told(edit("tolerance = 0.001", "tolerance = nan")), "any graph would pass"),
        (told(edit("format = 1", "format = 2")), "reads format 1"),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// The one thread that encodes is taken until the test lets it go, so that nothing but the deadline can end the wait.
#[test]
fn the_deadline_covers_the_encoding() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let settings = config::Guard { dir: Some(fixture("guard")), deadline_ms: 20, ..config::Guard::default() };
        let guard = Guard::load(&Runtime::load(None).unwrap(), &settings).unwrap();
        let scanner =
            Scanner::new(Pair { first: guard, second: None }, Vec::new(), (&config::Cache::default(), None), &Arc::default());
        let (open, gate) = mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || gate.recv());
        let segment = Segment { target: Target::Prompt, passage: 0, text: "hi".into(), place: None };
        let content = Content { segments: vec![segment], ..Content::default() };
        let evidence = scanner.evidence(&Ask::only(scan::DEFAULT), content, Direction::Request, None).await;
        let scores: Vec<_> = evidence.passages.iter().map(|passage| passage.score(scan::DEFAULT)).collect();
        assert_eq!(scores, [Err(Unavailable::Deadline)]);
        drop(open);
        taken.await.unwrap().unwrap_err();
        assert_eq!(scanner.guard().windows(Task::Prompt, "hi", None).await.unwrap().len(), 1);
    });
}

fn scanner() -> Scanner {
    let settings = config::Guard { dir: Some(fixture("guard")), ..config::Guard::default() };
    let guard = Guard::load(&Runtime::load(None).unwrap(), &settings).unwrap();
    Scanner::new(Pair { first: guard, second: None }, Vec::new(), (&config::Cache::default(), None), &Arc::default())
}

#[tokio::test]
async fn known_texts_and_new_ones_keep_their_places() {
    let scanner = scanner();
    let told = async |texts: &[&str]| {
        let segment = |(passage, text): (usize, &&str)| Segment {
            target: Target::System,
            passage,
            text: (*text).to_owned(),
            place: None,
        };
        let content = Content { segments: texts.iter().enumerate().map(segment).collect(), ..Content::default() };
        let evidence = scanner.evidence(&Ask::only(scan::DEFAULT), content, Direction::Request, None).await;
        assert_eq!(evidence.passages.len(), texts.len());
        for (place, (passage, text)) in evidence.passages.iter().zip(texts).enumerate() {
            assert_eq!(passage.segments, [place]);
            assert_eq!(passage.score(scan::DEFAULT).unwrap().value > 0.5, text.contains("danger"), "{text}");
        }
        evidence.cached
    };
    assert_eq!(told(&["danger one", "tea"]).await, Some(false));
    let mixed = ["tea two", "danger one", "danger three", "tea", "danger four", "tea five"];
    assert_eq!([told(&mixed).await, told(&mixed).await], [Some(false), Some(true)]);
}

#[tokio::test]
async fn a_long_texts_windows_are_told_where_they_stand() {
    let scanner = scanner();
    let words = "ชา ｔｅａ é\u{301} ";
    // The second is read only with hiding undone, and still told where it is written.
    for bad in ["danger", "dan\u{200b}ger"] {
        let text = [&words.repeat(40), bad, " ", &words.repeat(20)].concat();
        for cached in [false, true] {
            let segment = Segment { target: Target::Prompt, passage: 0, text: text.clone(), place: None };
            let content = Content { segments: vec![segment], ..Content::default() };
            let evidence = scanner.evidence(&Ask::only(scan::DEFAULT), content, Direction::Request, None).await;
            assert_eq!(evidence.cached, Some(cached));
            let (passage, verdict) = (&evidence.passages[0], &evidence.passages[0].verdicts[0]);
            let windows = passage.windows(verdict);
            assert_eq!((windows[0].range.start, windows[windows.len() - 1].range.end), (0, text.len()), "{bad:?}");
            assert!(windows.windows(2).all(|pair| pair[0].range.start < pair[1].range.start), "they are in order");
            assert!(windows.windows(2).all(|pair| pair[1].range.start < pair[0].range.end), "and overlap");
            assert!(windows.iter().all(|window| window.segment == 0 && text.get(window.range.clone()).is_some()));
            let worst = windows.iter().map(|window| window.score).fold(0.0, f32::max);
            assert_eq!(verdict.score.as_ref().map(|score| score.value), Ok(worst));
            let mut unsafe_ones = 0;
            for window in &windows {
                assert_eq!(window.score > 0.5, text[window.range.clone()].contains(bad), "{bad:?} {window:?}");
                unsafe_ones += usize::from(window.score > 0.5);
            }
            assert!(windows.len() > 8 && (1..3).contains(&unsafe_ones), "{windows:?}");
        }
    }
}

#[tokio::test]
async fn a_window_over_parts_and_turns_is_told_of_each() {
    let scanner = scanner();
    let part = |passage, text: String| Segment { target: Target::Prompt, passage, text, place: None };
    let turn = |passage, text: &str| [part(passage, "tea ".repeat(20)), part(passage, text.to_owned())];
    let segments = [turn(1, "danger first"), turn(2, "and then tea")].concat();
    let content = Content { segments: segments.clone(), ..Content::default() };
    let evidence = scanner.evidence(&Ask::only(scan::DEFAULT), content, Direction::Request, None).await;
    let told = evidence
        .passages
        .iter()
        .flat_map(|passage| passage.windows(&passage.verdicts[0]).into_iter().zip([passage].repeat(99)));
    let mut over_parts = 0;
    for (window, passage) in told {
        assert!(passage.segments.contains(&window.segment), "{window:?}");
        let text = &segments[window.segment].text[window.range.clone()];
        over_parts += usize::from(window.score > 0.5 && text == "danger first" && passage.segments.len() > 1);
        assert!(window.score > 0.5 || !text.contains("danger"), "{window:?}");
    }
    assert!(over_parts > 1, "in its message and in the conversation");
}
