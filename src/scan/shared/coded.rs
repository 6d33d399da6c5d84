//! Verdicts as the shared cache has them: under a name that tells nothing of the text, in bytes that only who has the key can make.

use blake3::{Hash, Hasher, OUT_LEN, derive_key, keyed_hash};
use zeroize::Zeroizing;

use super::{Kind, Scored};
use crate::segment::Task;

/// What stands for a question, of a guard and all that its verdict depends on.
pub(super) type Name = [u8; OUT_LEN];

/// How verdicts are written. Another number for another way: who does not know it takes the verdict for unknown.
const FORMAT: u8 = 1;

/// What names and verdicts are made with.
pub(super) struct Keys {
    names: Zeroizing<[u8; OUT_LEN]>,
    verdicts: Zeroizing<[u8; OUT_LEN]>,
}

/// The names of one guard's verdicts, begun.
#[derive(Clone)]
pub(super) struct Names(Hasher);

impl Keys {
    /// Of the operator's secret. Without any they are known to all, and prove no more than that a verdict is whole.
    pub(super) fn new(secret: &str) -> Self {
        let key = |purpose| Zeroizing::new(derive_key(purpose, secret.as_bytes()));
        Self {
            names: key("seawall 2026-11-26 shared cache, names"),
            verdicts: key("seawall 2026-11-26 shared cache, verdicts"),
        }
    }

    /// For the guard of this origin. How texts are read is this program's own, and may change with its version.
    pub(super) fn names(&self, origin: &str) -> Names {
        let mut hasher = Hasher::new_keyed(&self.names);
        add(&mut hasher, env!("CARGO_PKG_VERSION"));
        add(&mut hasher, origin);
        Names(hasher)
    }

    /// A verdict under its name.
    pub(super) fn write(&self, name: &Name, scored: &Scored) -> Vec<u8> {
        let body = scored.bytes();
        let proof = self.proof(name, &body);
        [&[FORMAT], proof.as_bytes().as_slice(), &body].concat()
    }

    /// The verdict that was written under this name; `None` if what stands there was not.
    pub(super) fn read(&self, name: &Name, bytes: &[u8]) -> Option<Scored> {
        let (proof, body) = bytes.strip_prefix(&[FORMAT])?.split_first_chunk::<OUT_LEN>()?;
        // Hashes are compared in constant time.
        if self.proof(name, body) != Hash::from_bytes(*proof) {
            return None;
        }
        Scored::parse(body)
    }

    fn proof(&self, name: &Name, body: &[u8]) -> Hash {
        keyed_hash(&self.verdicts, &[&[FORMAT], name.as_slice(), body].concat())
    }
}

impl Names {
    /// The name of what the guard thinks of a text, given what it answers if it is judged as an answer.
    pub(super) fn name(&self, kind: Kind, task: Task, context: Option<&str>, text: &str) -> Name {
        let mut hasher = self.0.clone();
        let kind = match kind {
            Kind::Text => "text",
            Kind::Json => "json",
            Kind::Window => "window",
        };
        let task = match task {
            Task::Prompt => "prompt",
            Task::Response => "response",
        };
        for part in [kind, task].into_iter().chain(context).chain([text]) {
            add(&mut hasher, part);
        }
        *hasher.finalize().as_bytes()
    }
}

/// Adds a part, so that no two rows of parts hash alike.
fn add(hasher: &mut Hasher, part: &str) {
    hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_tell_questions_apart() {
        let (keys, others) = (Keys::new("one"), Keys::new("two"));
        let guard = keys.names("guard");
        let names = [
            guard.name(Kind::Text, Task::Prompt, None, "ab"),
            guard.name(Kind::Json, Task::Prompt, None, "ab"),
            guard.name(Kind::Text, Task::Response, None, "ab"),
            guard.name(Kind::Text, Task::Response, Some(""), "ab"),
            guard.name(Kind::Text, Task::Response, Some("a"), "b"),
            guard.name(Kind::Text, Task::Response, Some("ab"), ""),
            guard.name(Kind::Text, Task::Prompt, None, "a\u{200b}b"),
            keys.names("guard 2").name(Kind::Text, Task::Prompt, None, "ab"),
            others.names("guard").name(Kind::Text, Task::Prompt, None, "ab"),
        ];
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert_eq!(keys.names("guard").name(Kind::Text, Task::Prompt, None, "ab"), names[0], "on every node");
    }

    #[test]
    fn only_what_was_written_under_a_name_is_read() {
        let (keys, others) = (Keys::new("one"), Keys::new(""));
        let (name, other) = ([1; OUT_LEN], [2; OUT_LEN]);
        let bytes = keys.write(&name, &0.25.into());
        assert_eq!(keys.read(&name, &bytes), Some(0.25.into()));
        assert_eq!(keys.read(&other, &bytes), None, "it was moved");
        assert_eq!(others.read(&name, &bytes), None);
        assert_eq!(keys.read(&name, &others.write(&name, &0.25.into())), None, "it was planted");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!((keys.read(&name, &changed), keys.read(&name, &bytes[..at])), (None, None), "{at}");
        }
    }
}
