//! Files that change in all the ways in which editors, scripts and Kubernetes change them.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, thread, time::Duration};

use http::StatusCode;
use tokio::task::spawn_blocking;

use super::{JSON, in_force, proxy, reload, until};
use crate::{
    harness::{Proxy, RULES, ask},
    policy::policy,
};

#[tokio::test]
async fn files_that_are_written_renamed_over_added_and_removed() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("policies");
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    fs::create_dir(&dir).unwrap();
    put("a.toml", &policy("one", ""));
    let proxy = proxy(&dir).await;
    put("a.toml", &policy("two", ""));
    in_force(&proxy, &["two"]).await;
    assert_eq!(proxy.post(ask("danger")).await.content(), "stopped by two");
    put("a.toml.swp", &policy("three", ""));
    fs::rename(dir.join("a.toml.swp"), dir.join("a.toml")).unwrap();
    in_force(&proxy, &["three"]).await;
    put("b.toml", &policy("more", ""));
    in_force(&proxy, &["three", "more"]).await;
    fs::remove_file(dir.join("a.toml")).unwrap();
    in_force(&proxy, &["more"]).await;
    // The whole directory gives way to another.
    let other = top.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("x.toml"), policy("other", "")).unwrap();
    fs::rename(&dir, top.path().join("old")).unwrap();
    fs::rename(&other, &dir).unwrap();
    in_force(&proxy, &["other"]).await;
    put("x.toml", &policy("last", ""));
    in_force(&proxy, &["last"]).await;
}

#[tokio::test]
async fn a_link_that_is_turned_as_kubernetes_does() {
    let top = tempfile::tempdir().unwrap();
    let mount = top.path().join("mount");
    let turn = |version: &str, name: &str| {
        fs::create_dir_all(mount.join(version)).unwrap();
        fs::write(mount.join(version).join("a.toml"), policy(name, "")).unwrap();
        symlink(version, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    turn("..1", "one");
    symlink("..data/a.toml", mount.join("a.toml")).unwrap();
    let (of_dir, of_file) = (proxy(&mount).await, proxy(&mount.join("a.toml")).await);
    for (version, name) in [("..2", "two"), ("..3", "three")] {
        turn(version, name);
        in_force(&of_dir, &[name]).await;
        in_force(&of_file, &[name]).await;
    }
}

#[tokio::test]
async fn lists_of_words_are_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let rule = "where = [\"prompt\"]\ndetectors = [\"words\"]\naction = \"block\"\nmessage = \"a secret word\"";
    let secret =
        |list: &str| format!("name = \"p\"\n[[rule]]\nname = \"r\"\n{rule}\n[detectors.words]\nwords_file = \"../{list}\"\n");
    fs::create_dir(dir.path().join("policies")).unwrap();
    put("words.txt", "blue");
    put("policies/p.toml", &secret("words.txt"));
    let proxy = proxy(&dir.path().join("policies")).await;
    let blue = proxy.inner.policies();
    put("words.txt", "green");
    until("the list is read", async || proxy.inner.policies().revision() != blue.revision()).await;
    assert_eq!(proxy.post(ask("a green thing")).await.content(), "a secret word");
    // A list that is not there is a mistake until it comes.
    put("policies/p.toml", &secret("more.txt"));
    until("it is missed", async || proxy.metric("seawall_policy_stale").await == 1).await;
    assert_eq!(proxy.post(ask("a green thing")).await.content(), "a secret word");
    put("more.txt", "red");
    until("it is read", async || proxy.metric("seawall_policy_stale").await == 0).await;
    assert_eq!(proxy.post(ask("a red thing")).await.content(), "a secret word");
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_set_and_says_so_until_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    put("a.toml", &policy("one", ""));
    put("b.toml", &policy("two", ""));
    let proxy = proxy(dir.path()).await;
    let revision = proxy.inner.policies().revision().to_owned();
    // What is right of the change waits with what is wrong.
    put("a.toml", &policy("other", ""));
    put("b.toml", "name = \"two\"\nmode = \"shadw\"\n");
    until("it is refused", async || proxy.metric("seawall_policy_stale").await == 1).await;
    assert_eq!(proxy.post(ask("danger")).await.content(), "stopped by one");
    assert!(proxy.metric("seawall_policy_reloads_total{outcome=\"refused\"}").await >= 1);
    assert_eq!(proxy.metric(&format!("seawall_policy_info{{revision=\"{revision}\"}}")).await, 1);
    let ready = proxy.admin("/readyz").await;
    assert_eq!((ready.status, ready.json()["revision"].as_str()), (StatusCode::OK, Some(revision.as_str())));
    let told = ready.json()["policies_error"].as_str().unwrap().to_owned();
    assert!(told.contains("b.toml:2:8: `mode`: ") && told.ends_with("did you mean `shadow`?"), "{told}");
    put("b.toml", &policy("two", ""));
    in_force(&proxy, &["other", "two"]).await;
    until("nothing is stale", async || proxy.metric("seawall_policy_stale").await == 0).await;
    assert!(proxy.admin("/readyz").await.json().get("policies_error").is_none());
    assert_eq!(proxy.metric(&format!("seawall_policy_info{{revision=\"{revision}\"}}")).await, 0, "only one is in force");
}

#[tokio::test]
async fn a_file_system_that_tells_nobody_is_looked_at() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (own, other) = (dir.path().join("a.toml"), elsewhere.path().join("a.toml"));
    fs::write(&own, policy("one", "")).unwrap();
    // Of what is written under a file's other name, watchers of this one's directory are not told.
    fs::hard_link(&own, &other).unwrap();
    let proxy = Proxy::with(RULES, |config| {
        config.policies.dir = Some(own);
        config.policies.poll_ms = Some(50);
    })
    .await;
    fs::write(&other, policy("two", "")).unwrap();
    in_force(&proxy, &["two"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_exchanged_while_they_are_read_make_no_mixed_set() {
    const FILES: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().to_owned();
    for letter in ["A", "B"] {
        fs::create_dir(top.join(letter)).unwrap();
        for number in 0..FILES {
            let name = format!("{letter}{number}");
            fs::write(top.join(letter).join(format!("{number}.toml")), policy(&name, "")).unwrap();
        }
    }
    symlink("A", top.join("current")).unwrap();
    let proxy = proxy(&top.join("current")).await;
    // The moment of the exchange goes through the time that a reload takes.
    for turn in 0..200 {
        let (top, letter) = (top.clone(), if turn % 2 == 0 { "B" } else { "A" });
        let exchange = spawn_blocking(move || {
            thread::sleep(Duration::from_micros(turn * 25));
            symlink(letter, top.join("next")).unwrap();
            fs::rename(top.join("next"), top.join("current")).unwrap();
        });
        let (done, exchanged) = tokio::join!(reload(&proxy, &[JSON]), exchange);
        exchanged.unwrap();
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
        let policies = proxy.inner.policies();
        let letters: BTreeSet<&str> = policies.names().map(|name| &name[..1]).collect();
        assert_eq!((policies.names().count(), letters.len()), (FILES, 1), "{letters:?}");
    }
}
