//! Who may know whom: every `use crate::` line of `src/` against the floors of the house.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Each room and the rooms it may know.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("aside", &[]),
    ("segment", &[]),
    ("wire", &[]),
    ("config", &[]),
    ("connect", &[]),
    ("identity", &["config", "connect"]),
    ("telemetry", &["config", "connect"]),
    ("guard", &["aside", "config", "connect", "segment"]),
    ("dialect", &["segment", "wire"]),
    ("scan", &["aside", "config", "connect", "guard", "segment", "telemetry", "wire"]),
    ("eval", &["guard", "scan", "segment"]),
    ("policy", &["config", "guard", "identity", "scan", "segment", "wire"]),
    ("trial", &["config", "dialect", "guard", "identity", "policy", "scan", "segment", "wire"]),
    ("gate", &["config", "segment"]),
    // `Scanned`, the only body that it sends.
    ("upstream", &["config", "connect", "policy", "wire"]),
    ("review", &["config", "identity", "policy", "scan", "segment"]),
    ("replay", &["config", "guard", "identity", "policy", "review", "scan", "segment"]),
    (
        "exchange",
        &[
            "config",
            "dialect",
            "gate",
            "guard",
            "identity",
            "policy",
            "review",
            "scan",
            "segment",
            "telemetry",
            "upstream",
            "wire",
        ],
    ),
    ("console", &["config", "connect", "identity", "policy", "review", "segment"]),
    (
        "server",
        &["config", "connect", "console", "exchange", "guard", "identity", "policy", "review", "scan", "telemetry", "upstream"],
    ),
    (
        "cli",
        &[
            "config",
            "console",
            "eval",
            "exchange",
            "guard",
            "identity",
            "policy",
            "replay",
            "review",
            "scan",
            "segment",
            "server",
            "telemetry",
            "trial",
            "wire",
        ],
    ),
];

pub(crate) fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a file's code names, its tests left out.
fn known(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().replace(['\n', ' '], "");
    let mut rooms = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        let name = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
        let Some(group) = part.strip_prefix('{') else {
            rooms.insert(name(part));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, c) in group.char_indices() {
            if start && depth == 0 && c.is_alphabetic() {
                rooms.insert(name(&group[at..]));
            }
            start = c == ',';
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    rooms
}

#[test]
fn no_arrow_runs_up() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 40);
    for file in files.iter().filter(|file| !file.ends_with("tests.rs") && !file.ends_with("conformance.rs")) {
        let inside = file.strip_prefix(&root).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if matches!(room.as_str(), "main" | "lib") {
            continue;
        }
        let (_, may) = MAY_KNOW.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("`{room}` is in no floor"));
        for other in known(&fs::read_to_string(file).unwrap()) {
            assert!(other == room || may.contains(&other.as_str()), "{} must not know `{other}`", inside.display());
        }
    }
}
