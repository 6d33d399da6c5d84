//! What is made of the definition of the commands: completions of shells, and manual pages.

use std::{
    fs,
    process::{Command, Stdio},
};

fn seawall(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_seawall")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> String {
    let script = format!(
        "{}\nCOMP_WORDS=({}) COMP_CWORD={}\n_seawall seawall \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\necho \"${{COMPREPLY[@]}}\"",
        seawall(&["completions", "bash"]),
        words.join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_commands_and_options() {
    assert_eq!(offered(&["seawall", "pol"]), "policy");
    assert_eq!(offered(&["seawall", "policy", "rep"]), "replay");
    assert_eq!(offered(&["seawall", "serve", "--ups"]), "--upstream");
}

#[test]
fn every_shell_knows_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = seawall(&["completions", shell]);
        for command in
            ["serve", "demo", "scan", "eval", "config", "guard", "policy", "key", "user", "review", "completions", "man"]
        {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn who_reads_no_more_ends_a_command_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_seawall")).args(["config", "schema"]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn every_command_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    seawall(&["man", dir.path().to_str().unwrap()]);
    let page = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(page("seawall.1").trim_end(), seawall(&["man"]).trim_end());
    assert!(page("seawall.1").contains("seawall\\-serve(1)"), "commands are named with their pages");
    assert!(page("seawall-serve.1").contains("\\-\\-upstream"));
    assert!(page("seawall-review-exception-add.1").contains("\\-\\-expires"));

    let nowhere = dir.path().join("nowhere");
    let output = Command::new(env!("CARGO_BIN_EXE_seawall")).arg("man").arg(&nowhere).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains(nowhere.to_str().unwrap()), "{complaint}");
}
