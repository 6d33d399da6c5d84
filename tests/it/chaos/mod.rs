//! Faults: of the upstream, of clients, of the guard, of the store, of the machine. What Seawall promises for each stands in
//! `deploy/docs/faults.md`; each promise has its test, and each test here its promise.

mod clients;
mod guard;
mod machine;
mod stop;
pub(crate) mod store;
mod upstream;

use std::{collections::BTreeSet, env, fs, path::PathBuf, process::Command};

/// The tests that a table's last column names.
fn promised(table: &str) -> BTreeSet<String> {
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The names of all tests in this program.
fn tests() -> BTreeSet<String> {
    let list = Command::new(env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let lines = String::from_utf8(list.stdout).unwrap();
    lines.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Whether a file of the program's own has this test: `src/FILE.rs NAME`.
fn is_of_a_unit(name: &str) -> bool {
    let Some((file, test)) = name.split_once(' ') else { return false };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).unwrap_or_default();
    let before = text.split_once(&format!("fn {test}()")).map(|(before, _)| before);
    before.is_some_and(|before| before.trim_end_matches("async ").trim_end().ends_with("test]"))
}

#[test]
fn each_promise_has_its_test_and_each_test_its_promise() {
    let table = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/docs/faults.md")).unwrap();
    let (promised, tests) = (promised(&table), tests());
    assert!(promised.len() > 30, "{promised:?}");
    let untested: Vec<_> = promised.iter().filter(|name| !tests.contains(*name) && !is_of_a_unit(name)).collect();
    assert!(untested.is_empty(), "the table names tests that there are not: {untested:?}");
    let own = tests
        .iter()
        .filter(|name| name.starts_with("chaos::") && !name.ends_with("::each_promise_has_its_test_and_each_test_its_promise"));
    let untold: Vec<_> = own.filter(|name| !promised.contains(*name)).collect();
    assert!(untold.is_empty(), "the table does not name {untold:?}");
}
