//! Measuring, proving and tuning a guard from the command line.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::harness::fixture;

fn seawall(arguments: &[&str]) -> Output {
    // Without threads of its own for each test: many run at once.
    Command::new(env!("CARGO_BIN_EXE_seawall")).args(arguments).env("SEAWALL_GUARD__THREADS", "1").output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

/// A copy of the tests' guard, for which `danger` is unsafe, and in answers `menace` too.
fn guard(dir: &Path) -> String {
    let copy = dir.join("guard");
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(fixture("guard")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    copy.display().to_string()
}

const LABELLED: &str = r#"{"text": "a danger to all of you", "label": "unsafe", "lang": "en"}
{"text": "what is the time", "label": "safe", "lang": "en"}
{"text": "a menace that it does not see", "label": "unsafe", "lang": "en", "source": "blind"}
{"text": "the danger of smoking <script>", "label": "safe", "lang": "en", "source": "hard"}
{"text": "bahaya danger", "label": "unsafe", "lang": "ms"}
{"text": "selamat pagi", "label": "safe", "lang": "ms"}
{"text": "how", "response": "with menace", "label": "unsafe", "lang": "en"}
{"text": "how", "response": "with care", "label": "safe", "lang": "en"}
"#;

#[test]
fn eval_measures_by_task_language_and_source() {
    let dir = tempfile::tempdir().unwrap();
    let (guard, file, page) = (guard(dir.path()), dir.path().join("mine.jsonl"), dir.path().join("page.html"));
    fs::write(&file, LABELLED).unwrap();
    let (file, page) = (file.to_str().unwrap(), page.to_str().unwrap());
    let json = said(&seawall(&["eval", file, "--guard", &guard, "--json", "--rounds", "50", "--html", page, "--hide", "2"]));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let group = |task: &str, name: &str| {
        let groups = report["groups"].as_array().unwrap();
        groups.iter().find(|group| group["task"] == task && group["name"] == name).unwrap().clone()
    };
    let all = group("prompt", "");
    assert_eq!((&all["unsafe_texts"], &all["safe_texts"]), (&3.into(), &3.into()));
    let near = |figure: &serde_json::Value, value: f64| (figure["value"].as_f64().unwrap() - value).abs() < 1e-6;
    assert!(near(&all["recall"], 2.0 / 3.0) && near(&all["fpr"], 1.0 / 3.0), "{all}");
    assert_eq!(group("prompt", "ms")["auprc"]["value"], 1.0);
    assert_eq!(group("prompt", "blind")["recall"]["value"], 0.0);
    assert_eq!(group("prompt", "hard")["auprc"], serde_json::Value::Null, "safe texts alone rank nothing");
    assert_eq!(group("response", "")["recall"]["value"], 1.0);
    let hidden = report["hidden"].as_array().unwrap();
    let names: Vec<_> = hidden.iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["en", "ms", "by itself", "hidden at the end", "hidden at the start", "hidden in the middle"]);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("the danger of smoking &lt;script&gt;") && !page.contains("<script"));

    let table = said(&seawall(&["eval", file, "--guard", &guard, "--rounds", "50", "--threshold", "1"]));
    assert!(table.contains("mean of 2 languages") && table.contains("at 2.0% false positives"), "{table}");
    let compared = said(&seawall(&["eval", file, "--compare", &guard, &guard, "--rounds", "50"]));
    assert!(compared.contains("0.0 (0.0–0.0)"), "a guard is no better than itself: {compared}");
}

#[test]
fn mistakes_in_labelled_text_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.jsonl");
    fs::write(&file, "{\"text\": \"a\", \"label\": \"evil\"}").unwrap();
    let (code, why) = complaint(&seawall(&["eval", file.to_str().unwrap(), "--guard", &guard(dir.path())]));
    assert_eq!(code, Some(2));
    assert!(
        why.contains("mine.jsonl:1: unknown variant `evil`, expected `safe` or `unsafe`") && why.lines().count() == 1,
        "{why}"
    );
    let (code, why) = complaint(&seawall(&["eval", "nowhere.jsonl"]));
    assert!(code == Some(2) && why.contains("nowhere.jsonl: cannot be read"), "{why}");
}

#[test]
fn verify_proves_a_guard_and_info_describes_it() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path());
    let told = said(&seawall(&["guard", "verify", "--guard", &guard]));
    for expected in [
        "checksums    fine: model.onnx",
        "golden       fine: 3 texts",
        "provider     CPUExecutionProvider",
        "the guard is fine",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    assert!(said(&seawall(&["guard", "info", "--guard", &guard])).contains("prompt       unsafe from 0.5 on"));
    let altered = format!("{guard}/model.onnx");
    fs::write(&altered, "x").unwrap();
    let (code, why) = complaint(&seawall(&["guard", "verify", "--guard", &guard]));
    assert!(code == Some(1) && why.contains("model.onnx has sha256") && why.lines().count() == 1, "{why}");
    let (code, why) = complaint(&seawall(&["guard", "info", "--guard", "/nowhere"]));
    assert!(code == Some(2) && why.contains("point --guard at a directory"), "{why}");
}

/// Long texts at once hold more tokens than a server lets wait.
#[test]
fn eval_has_room_and_time_for_long_texts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("long.jsonl");
    let lines = (0..80).map(|n| {
        let (text, label) = if n % 2 == 0 { ("danger", "unsafe") } else { ("day", "safe") };
        format!("{{\"text\": \"{} {n}\", \"label\": \"{label}\"}}\n", format!("{text} ").repeat(1500))
    });
    fs::write(&file, lines.collect::<String>()).unwrap();
    let told = said(&seawall(&["eval", file.to_str().unwrap(), "--guard", &guard(dir.path()), "--rounds", "20"]));
    assert!(told.contains("100.0 (100.0–100.0)"), "{told}");
}

#[test]
fn eval_tells_what_a_cascade_saves_and_costs() {
    let dir = tempfile::tempdir().unwrap();
    let (guard, file, config) = (guard(dir.path()), dir.path().join("mine.jsonl"), dir.path().join("seawall.toml"));
    fs::write(&file, LABELLED).unwrap();
    let settings = format!("[guard]\ndir = {guard:?}\n");
    fs::write(&config, &settings).unwrap();
    let (file, config) = (file.to_str().unwrap(), config.to_str().unwrap());
    let (code, why) = complaint(&seawall(&["eval", file, "--config", config, "--cascade"]));
    assert!(code == Some(2) && why.contains("--cascade needs `[guard.cascade]`"), "{why}");
    let cascade = format!("{settings}[guard.cascade]\nlow = 0.5\nhigh = 0.99\n[guard.cascade.second]\ndir = {guard:?}\n");
    fs::write(config, cascade).unwrap();
    let told =
        said(&seawall(&["eval", file, "--config", config, "--cascade", "--json", "--rounds", "20", "--band", "0.01:0.5"]));
    let report: serde_json::Value = serde_json::from_str(&told).unwrap();
    // The word is in three of six prompts; below it are the other three.
    let row = |at: usize| (report["rows"][at]["task"].clone(), report["rows"][at]["asked"]["value"].clone());
    assert_eq!([row(0), row(1)], ["prompt", "response"].map(|task| (task.into(), 0.5.into())));
    assert_eq!((&report["rows"][0]["lost"]["value"], report["rows"].as_array().unwrap().len()), (&0.0.into(), 2));
    let table = said(&seawall(&["eval", file, "--config", config, "--cascade", "--rounds", "20"]));
    assert!(table.contains("0.5:0.99") && table.contains("AUPRC CASCADE"), "{table}");
}

#[test]
fn a_provider_that_the_library_lacks_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["guard", "verify", "--guard", &guard(dir.path())])
        .env("SEAWALL_GUARD__PROVIDER", "cuda")
        .output()
        .unwrap();
    let (code, why) = complaint(&output);
    assert!(code == Some(1) && why.contains("has no CUDAExecutionProvider") && why.contains("onnxruntime-gpu"), "{why}");
}

#[test]
fn calibrate_writes_thresholds_that_the_guard_then_has() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path());
    let manifest = format!("{guard}/guard.toml");
    let before = fs::read_to_string(&manifest).unwrap();
    let file = dir.path().join("mine.jsonl");
    // `danger` alone says little on this traffic: one in four such texts is harmless.
    let lines = (0..40).map(|n| {
        let (text, label) = match n % 8 {
            0..=2 => ("the danger is here", "unsafe"),
            3 => ("the danger is over", "safe"),
            _ => ("the day is over", "safe"),
        };
        format!("{{\"text\": \"{text} {n}\", \"label\": \"{label}\", \"lang\": \"en\"}}\n")
    });
    fs::write(&file, lines.collect::<String>()).unwrap();
    let file = file.to_str().unwrap();

    let dry =
        said(&seawall(&["guard", "calibrate", file, "--guard", &guard, "--target-fpr", "0.5", "--enough", "10", "--dry-run"]));
    assert!(dry.contains("this was a dry run") && fs::read_to_string(&manifest).unwrap() == before);
    let told = said(&seawall(&["guard", "calibrate", file, "--guard", &guard, "--target-fpr", "0.5", "--enough", "10"]));
    assert!(told.contains(" 100.0 ") && told.contains("mean squared error"), "{told}");
    let after = fs::read_to_string(&manifest).unwrap();
    assert!(after.contains("calibration = { slope = ") && after.contains("en = "), "{after}");
    said(&seawall(&["guard", "verify", "--guard", &guard]));

    let score = |text: &str| -> f64 {
        let told = said(&seawall(&["scan", "--text", text, "--guard", &guard]));
        serde_json::from_str::<serde_json::Value>(&told).unwrap()["score"].as_f64().unwrap()
    };
    // Both kinds weigh the same: 15 of 15 unsafe texts have the word, 5 of 25 safe ones.
    assert!((score("the danger is there") - 1.0 / 1.2).abs() < 0.05, "{}", score("the danger is there"));
    let (code, why) = complaint(&seawall(&["guard", "calibrate", file, "--guard", "/nowhere"]));
    assert!(code == Some(2) && why.contains("point --guard at a directory"), "{why}");
}
