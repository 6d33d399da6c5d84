//! Watching files of policies and of certificates, so that a change takes effect unasked.
//!
//! Files are exchanged in many ways: written in place, renamed over, or by a symbolic link that is turned to another directory,
//! as Kubernetes does. So directories are watched, those of every link on the way to a file too, and each change begins the watch
//! anew.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    future::pending,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::Notify,
    task,
    time::{Instant, sleep, timeout},
};

use crate::policy::{is_policy, watched};

/// Files that change together are read once nothing has changed for this long …
const QUIET: Duration = Duration::from_millis(200);
/// … or, where something always does, after this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often files are looked at that cannot be watched.
const POLL: Duration = Duration::from_secs(5);
/// Most symbolic links on the way to a file, as Linux has it.
const LINKS: usize = 40;

/// Does `read` whenever something changes at the places that `find` names, and every `poll` if that is given; `what` is there.
pub(super) async fn follow<R: Future<Output = ()>>(
    what: &str,
    find: impl Fn() -> Places + Clone + Send + 'static,
    read: impl Fn() -> R,
    poll: Option<Duration>,
) {
    let places = async || task::spawn_blocking(find.clone()).await.unwrap_or_default();
    let mut is_blind = false;
    loop {
        let watched = Arc::new(places().await);
        let changed = Arc::new(Notify::new());
        let watcher = watch(&watched, &changed);
        if let (Err(error), false) = (&watcher, is_blind) {
            tracing::warn!(%error, "{what} cannot be watched: they are read every {} seconds", POLL.as_secs());
        }
        is_blind = watcher.is_err();
        // What has changed before the watch began.
        read().await;
        // The files may name others by now, which nobody watches yet.
        if places().await == *watched {
            let pause = poll.or(is_blind.then_some(POLL));
            let tick = async || match pause {
                Some(pause) => sleep(pause).await,
                None => pending().await,
            };
            tokio::select! { () = changed.notified() => {}, () = tick() => continue }
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && timeout(QUIET, changed.notified()).await.is_ok() {}
    }
}

fn watch(places: &Arc<Places>, changed: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let (own, changed) = (Arc::clone(places), Arc::clone(changed));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error is news that was lost.
        if event.map_or(true, |event| own.concerns(&event)) {
            changed.notify_one();
        }
    })?;
    for dir in places.dirs() {
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// The places in the file system that something depends on; no path has a symbolic link in it but as its last part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The policies' directory, if it is one: any policy file that comes there counts.
    dir: Option<PathBuf>,
    /// Files, the directories that they are in, and the links on the way.
    paths: BTreeSet<PathBuf>,
}

impl Places {
    /// Those of the policies at `root`.
    pub(super) fn of_policies(root: &Path) -> Self {
        let mut places = Self::default();
        places.dir = Some(places.trace(root)).filter(|dir| dir.is_dir());
        for source in watched(root) {
            places.trace(&source);
        }
        places
    }

    /// Those of files.
    pub(super) fn of_files(files: &[PathBuf]) -> Self {
        let mut places = Self::default();
        for file in files {
            places.trace(file);
        }
        places
    }

    /// Adds a path and all the links on the way to where it leads; returns where that is.
    fn trace(&mut self, path: &Path) -> PathBuf {
        let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
        let mut ahead = parts(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let (mut at, mut links) = (PathBuf::new(), 0);
        while let Some(part) = ahead.pop() {
            if part == Component::ParentDir.as_os_str() {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            match fs::read_link(&next) {
                Ok(target) if links < LINKS => {
                    links += 1;
                    self.paths.insert(next);
                    ahead.extend(parts(&target));
                }
                _ => at = next,
            }
        }
        // Its directory may be exchanged as a whole; of what is not there yet, any part may come.
        let missing = at.ancestors().take_while(|place| !place.exists()).count();
        self.paths.extend(at.ancestors().take(missing.max(1) + 1).map(Path::to_owned));
        at
    }

    /// The directories to watch.
    fn dirs(&self) -> BTreeSet<&Path> {
        let parents = self.paths.iter().filter_map(|path| path.parent());
        parents.chain(self.dir.as_deref()).filter(|dir| dir.is_dir()).collect()
    }

    /// Whether an event may change what is read there. That somebody reads them does not; above all, it is this process that does.
    fn concerns(&self, event: &Event) -> bool {
        let concern = |path: &PathBuf| {
            self.paths.contains(path) || self.dir.is_some() && path.parent() == self.dir.as_deref() && is_policy(path)
        };
        !event.kind.is_access() && (event.need_rescan() || event.paths.iter().any(concern))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_counts() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("v1/lists")).unwrap();
        fs::create_dir(top.join("mounted")).unwrap();
        fs::write(top.join("v1/a.toml"), "name = \"a\"\n[detectors.x]\nwords_file = \"lists/../none/x.txt\"").unwrap();
        symlink("../v1", top.join("mounted/..data")).unwrap();
        symlink("..data/a.toml", top.join("mounted/a.toml")).unwrap();
        symlink(top.join("mounted"), top.join("policies")).unwrap();
        let places = Places::of_policies(&top.join("policies"));
        let here = |name: &str| top.join(name);
        assert_eq!(places.dir, Some(here("mounted")));
        let named = ["policies", "mounted", "mounted/a.toml", "mounted/..data", "v1", "v1/a.toml"];
        // The list stands beside the link, and nothing of the way to it is there.
        let missing = ["mounted/none", "mounted/none/x.txt"];
        let expected: BTreeSet<PathBuf> = named.into_iter().chain(missing).map(here).chain([top.clone()]).collect();
        assert_eq!(places.paths, expected);
        let dirs: Vec<PathBuf> = places.dirs().into_iter().map(Path::to_owned).collect();
        assert_eq!(dirs, [top.parent().unwrap().to_owned(), top.clone(), here("mounted"), here("v1")]);
    }

    #[test]
    fn what_else_happens_there_is_none_of_its_business() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::write(top.join("a.toml"), "name = \"a\"").unwrap();
        let event = |name: &str| Event::new(notify::EventKind::Any).add_path(top.join(name));
        let all = Places::of_policies(&top);
        let concerns = ["a.toml", "new.toml", "a.test.toml", "seawall.db"].map(|name| all.concerns(&event(name)));
        assert_eq!(concerns, [true, true, false, false]);
        let one = Places::of_policies(&top.join("a.toml"));
        assert_eq!(["a.toml", "new.toml"].map(|name| one.concerns(&event(name))), [true, false]);
    }
}
