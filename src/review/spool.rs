//! The journal beside the store: cases that it could not take, one a line, in files that are only added to. What was added is
//! durable; what is in the store is removed, file by file.
//!
//! A process that ends while it writes leaves a line without an end, which nobody was told was kept: it is cut. One that ends
//! while it empties the journal does so again, and the store knows what it has. One process has a journal at a time.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{Case, Error, Seal, SealError};

/// Bytes of a file beyond which another is begun.
const FILE: u64 = 16 << 20;
/// Bytes that are read at once.
const READ: usize = 8 << 20;
const ENDING: &str = ".jsonl";
/// Where lines go that the store does not take.
const ASIDE: &str = "rejected.jsonl";

/// The journal of one process.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    seal: Option<Arc<Seal>>,
    /// Held as long as the journal is in use; none where nothing was ever written.
    lock: Option<File>,
    files: VecDeque<Segment>,
    /// The last one, while lines are added to it, and its size.
    open: Option<(File, u64)>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Cases in it that are not in the store.
    waiting: u64,
    /// Bytes of it that are.
    read: u64,
}

/// The journal's first cases.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) cases: Vec<Case>,
    /// Their lines with their ids, and lines that cannot be read.
    lines: Vec<(Option<String>, Vec<u8>)>,
    end: u64,
}

/// A line of sealed text.
#[derive(Serialize, Deserialize)]
struct Sealed {
    seal: String,
    id: String,
    data: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Sealed(Sealed),
    Plain(Box<Case>),
}

impl Spool {
    /// The journal in a folder, which need not be there until it is written to.
    ///
    /// # Errors
    /// Another process has it, or it cannot be read.
    pub(super) fn open(folder: PathBuf, seal: Option<Arc<Seal>>) -> Result<Self, Error> {
        let mut own = Self { folder, seal, lock: None, files: VecDeque::new(), open: None };
        if own.folder.exists() {
            own.claim()?;
        }
        Ok(own)
    }

    /// Cases in it.
    pub(super) fn waiting(&self) -> u64 {
        self.files.iter().map(|file| file.waiting).sum()
    }

    /// Adds cases. On return they are durable.
    pub(super) fn append(&mut self, cases: &[Case]) -> Result<(), Error> {
        let mut lines = Vec::new();
        for case in cases {
            lines.extend(self.line(case)?);
        }
        self.claim()?;
        self.add(&lines, cases.len() as u64).map_err(|e| self.fail(&e))
    }

    fn add(&mut self, lines: &[u8], count: u64) -> io::Result<()> {
        let (mut file, size) = match self.open.take() {
            Some((file, size)) if size < FILE => (file, size),
            _ => (self.begin()?, 0),
        };
        if let Err(error) = file.write_all(lines).and_then(|()| file.sync_data()) {
            // Nobody is told that these lines are kept. If they cannot be removed, no others follow them in this file.
            if file.set_len(size).and_then(|()| file.sync_data()).is_ok() {
                self.open = Some((file, size));
            }
            return Err(error);
        }
        if let Some(last) = self.files.back_mut() {
            last.waiting += count;
        }
        self.open = Some((file, size + lines.len() as u64));
        Ok(())
    }

    /// A new file, the last of all.
    fn begin(&mut self) -> io::Result<File> {
        let number = self.files.back().map_or(0, |last| last.number + 1);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.path(number))?;
        self.sync()?;
        self.files.push_back(Segment { number, waiting: 0, read: 0 });
        Ok(file)
    }

    /// The first cases, at most so many. They stay until they are [`Self::done`].
    pub(super) fn first(&mut self, most: usize) -> Result<Batch, Error> {
        loop {
            let Some(first) = self.files.front() else { return Ok(Batch::default()) };
            if self.files.len() == 1 {
                // What comes from now on goes to another.
                self.open = None;
            }
            let lines = read(&self.path(first.number), first.read, most).map_err(|e| self.fail(&e))?;
            if lines.is_empty() {
                self.remove_first().map_err(|e| self.fail(&e))?;
                continue;
            }
            let mut batch = Batch { end: first.read, ..Batch::default() };
            for line in lines {
                batch.end += line.len() as u64;
                let case = self.case(&line)?;
                batch.lines.push((case.as_ref().map(|case| case.id.clone()), line));
                batch.cases.extend(case);
            }
            return Ok(batch);
        }
    }

    /// Forgets the first cases, which the store has now, but for these, which are set aside.
    pub(super) fn done(&mut self, batch: &Batch, refused: &[String]) -> Result<(), Error> {
        let aside = |id: &Option<String>| id.as_ref().is_none_or(|id| refused.contains(id));
        let lines: Vec<&[u8]> = batch.lines.iter().filter(|(id, _)| aside(id)).map(|(_, line)| line.as_slice()).collect();
        let forget = || -> io::Result<()> {
            if !lines.is_empty() {
                let path = self.folder.join(ASIDE);
                let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
                file.write_all(&lines.concat())?;
                file.sync_data()?;
            }
            Ok(())
        };
        forget().map_err(|e| self.fail(&e))?;
        if let Some(first) = self.files.front_mut() {
            first.waiting = first.waiting.saturating_sub(batch.lines.len() as u64);
            first.read = batch.end;
            if first.waiting == 0 {
                self.remove_first().map_err(|e| self.fail(&e))?;
            }
        }
        Ok(())
    }

    fn remove_first(&mut self) -> io::Result<()> {
        if let Some(first) = self.files.front() {
            fs::remove_file(self.path(first.number))?;
            self.files.pop_front();
            self.sync()?;
        }
        Ok(())
    }

    fn line(&self, case: &Case) -> Result<Vec<u8>, Error> {
        let wrong = |why: String| Error::Row { id: case.id.clone(), why };
        let mut line = serde_json::to_vec(case).map_err(|e| wrong(e.to_string()))?;
        if let Some(seal) = &self.seal {
            let sealed = seal.seal(&place(&case.id), &line).map_err(|e| wrong(e.to_string()))?;
            let sealed = Sealed { seal: sealed.key_id, id: case.id.clone(), data: BASE64.encode(&sealed.bytes) };
            line = serde_json::to_vec(&sealed).map_err(|e| wrong(e.to_string()))?;
        }
        line.push(b'\n');
        Ok(line)
    }

    /// The case of a line; `None` if it holds none. A key that is missing may yet be given back.
    fn case(&self, line: &[u8]) -> Result<Option<Case>, Error> {
        let Sealed { seal, id, data } = match serde_json::from_slice(line) {
            Ok(Line::Plain(case)) => return Ok(Some(*case)),
            Ok(Line::Sealed(sealed)) => sealed,
            Err(_) => return Ok(None),
        };
        let missing = || SealError::Missing { id: seal.clone() };
        let Ok(data) = BASE64.decode(data.as_bytes()) else { return Ok(None) };
        let opened = self.seal.as_ref().ok_or_else(missing).and_then(|own| own.open(&seal, &place(&id), &data));
        match opened {
            Ok(line) => Ok(serde_json::from_slice(&line).ok()),
            Err(error @ SealError::Missing { .. }) => Err(Error::Spool { folder: self.folder.clone(), why: error.to_string() }),
            Err(_) => Ok(None),
        }
    }

    /// Makes the folder this process's, and looks at what is in it.
    fn claim(&mut self) -> Result<(), Error> {
        if self.lock.is_none() {
            let lock = self.lock().map_err(|e| self.fail(&e))?;
            self.files = self.look().map_err(|e| self.fail(&e))?;
            self.lock = Some(lock);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.folder.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::other("is in use by another Seawall; give each a folder of its own"))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The files that are there, each without a line that has no end. One that a process began and did not come to write goes:
    /// nothing is waiting in it, so nobody would come to empty it.
    fn look(&self) -> io::Result<VecDeque<Segment>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ENDING)?.parse::<u64>().ok());
            let Some(number) = number else { continue };
            match lines(&self.path(number))? {
                0 => fs::remove_file(self.path(number))?,
                waiting => files.push(Segment { number, waiting, read: 0 }),
            }
        }
        files.sort_by_key(|file| file.number);
        Ok(files.into())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}{ENDING}"))
    }

    /// Makes the folder's list of files durable.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn fail(&self, error: &io::Error) -> Error {
        Error::Spool { folder: self.folder.clone(), why: error.to_string() }
    }
}

/// Where a sealed line stands.
fn place(id: &str) -> String {
    format!("{id}/spool")
}

/// Counts the lines of a file and cuts what has no end.
fn lines(path: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut reader = BufReader::new(&mut file);
    let (mut count, mut whole, mut line) = (0, 0, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.last() == Some(&b'\n') {
            count += 1;
            whole += line.len() as u64;
        }
        line.clear();
    }
    if whole < file.metadata()?.len() {
        tracing::warn!(file = %path.display(), "the journal's last line has no end, and nobody was told that it is kept: it is cut");
        file.set_len(whole)?;
        file.sync_data()?;
    }
    Ok(count)
}

/// Whole lines from there on, at most so many.
fn read(path: &Path, from: u64, most: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file);
    let (mut lines, mut size) = (Vec::new(), 0);
    while lines.len() < most && size < READ {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        size += line.len();
        lines.push(line);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::{config::ReviewKey, review::new_sealing_key};

    fn case(id: &str) -> Case {
        let case = serde_json::json!({
            "id": id, "version": 1, "at": "2026-01-01T00:00:00Z", "decision": "block", "dialect": "d", "model": "m",
            "stream": false, "language": null, "score": 0.1, "guard": "g", "policy": "p", "reasons": [], "response": [],
            "request": [{"target": "prompt", "text": "a secret"}],
        });
        serde_json::from_value(case).unwrap()
    }

    fn ids(batch: &Batch) -> String {
        batch.cases.iter().map(|case| case.id.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn files(dir: &TempDir) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(dir.path().join("spool")).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|file| !file.ends_with("lock"));
        files.sort();
        files
    }

    fn spool(dir: &TempDir) -> Spool {
        Spool::open(dir.path().join("spool"), None).unwrap()
    }

    #[test]
    fn cases_come_back_in_their_order_and_go_when_they_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let mut own = spool(&dir);
        assert!(!dir.path().join("spool").exists(), "there is no journal until it is needed");
        own.append(&[case("1"), case("2")]).unwrap();
        own.append(&[case("3")]).unwrap();
        assert_eq!(own.waiting(), 3);
        let batch = own.first(2).unwrap();
        assert_eq!(ids(&batch), "1 2");
        own.append(&[case("4")]).unwrap();
        assert_eq!(ids(&own.first(2).unwrap()), "1 2", "they stay until they are done");
        own.done(&batch, &[]).unwrap();
        let batch = own.first(9).unwrap();
        assert_eq!((ids(&batch), own.waiting()), ("3".to_owned(), 2), "a file at a time");
        own.done(&batch, &[]).unwrap();
        let batch = own.first(9).unwrap();
        assert_eq!(batch.cases, [case("4")]);
        own.done(&batch, &[]).unwrap();
        assert_eq!((own.waiting(), files(&dir).len()), (0, 0));
        assert!(own.first(9).unwrap().cases.is_empty());
    }

    #[test]
    fn a_journal_outlives_its_process_but_for_a_line_without_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut own = spool(&dir);
        own.append(&[case("1"), case("2")]).unwrap();
        drop(own);
        let file = files(&dir).remove(0);
        for path in [&file, &dir.path().join("spool/lock")] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let whole = fs::read(&file).unwrap();
        for torn in [&b"{"[..], &whole[..whole.len() / 3], &[0; 4_096]] {
            fs::write(&file, [&whole, torn].concat()).unwrap();
            let mut own = spool(&dir);
            assert_eq!((own.waiting(), ids(&own.first(9).unwrap())), (2, "1 2".to_owned()));
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
        fs::write(file.with_file_name("000000000001.jsonl"), "{").unwrap();
        let mut own = spool(&dir);
        assert_eq!(files(&dir), [file], "a file in which nothing was kept is gone");
        own.append(&[case("3")]).unwrap();
        assert_eq!((own.waiting(), files(&dir).len()), (3, 2));
    }

    #[test]
    fn a_line_that_cannot_be_taken_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let mut own = spool(&dir);
        own.append(&[case("1"), case("2"), case("3")]).unwrap();
        drop(own);
        let file = files(&dir).remove(0);
        let lines = fs::read_to_string(&file).unwrap().replacen("\"version\"", "version", 1);
        fs::write(&file, &lines).unwrap();
        let mut own = spool(&dir);
        let batch = own.first(9).unwrap();
        assert_eq!(ids(&batch), "2 3");
        own.done(&batch, &["3".into()]).unwrap();
        let aside: Vec<&str> = lines.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
        assert_eq!(fs::read_to_string(dir.path().join("spool").join(ASIDE)).unwrap().lines().collect::<Vec<_>>(), aside);
        assert_eq!(own.waiting(), 0);
        drop(own);
        assert_eq!(spool(&dir).waiting(), 0, "what is set aside does not come back");
    }

    #[test]
    fn no_two_processes_share_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = spool(&dir);
        let mut late = spool(&dir);
        one.append(&[case("1")]).unwrap();
        let told = late.append(&[case("2")]).unwrap_err().to_string();
        assert!(told.contains("spool: is in use by another Seawall; give each a folder of its own"), "{told}");
        assert!(Spool::open(dir.path().join("spool"), None).is_err());
        drop(one);
        assert_eq!(spool(&dir).waiting(), 1);
    }

    #[test]
    fn a_journal_that_cannot_be_written_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let mut own = Spool::open(dir.path().join("file/spool"), None).unwrap();
        assert!(own.append(&[case("1")]).unwrap_err().to_string().contains("file/spool"));
        assert_eq!(own.waiting(), 0);
    }

    #[test]
    fn texts_are_sealed_in_it_too() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        fs::write(&key, new_sealing_key().unwrap().expose()).unwrap();
        let seal = Seal::new(&[ReviewKey { id: "k".into(), env: None, file: Some(key) }]).unwrap().map(Arc::new);
        let mut own = Spool::open(dir.path().join("spool"), seal.clone()).unwrap();
        own.append(&[case("1")]).unwrap();
        drop(own);
        assert!(!fs::read_to_string(files(&dir).remove(0)).unwrap().contains("secret"));
        let without = spool(&dir).first(1).unwrap_err().to_string();
        assert!(without.contains("the key `k`"), "a key can be given back: {without}");
        let mut own = Spool::open(dir.path().join("spool"), seal).unwrap();
        assert_eq!(own.first(1).unwrap().cases, [case("1")]);
    }
}
