//! Content at rest, sealed: who has the store and no key reads no text, and changes none without being noticed.
//!
//! AES-256-GCM. A key has a name that stands beside what it seals; the first key of the settings seals and all open. Nonces are
//! random, so a key should be followed by another before it has sealed 2³² times.

use std::fmt;

use data_encoding::BASE64;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use zeroize::Zeroizing;

use crate::{config::ReviewKey, identity::Secret};

/// Bytes of a key.
const KEY: usize = 32;

/// The keys that seal and open.
pub struct Seal {
    first: Key,
    older: Vec<Key>,
    random: SystemRandom,
}

/// A key. What it was read from is wiped; ring has its own copy for as long as this is there.
struct Key {
    id: String,
    key: LessSafeKey,
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The name of the key that opens it.
    pub key_id: String,
    /// The nonce, what was sealed, and the tag that proves it whole.
    pub bytes: Vec<u8>,
}

/// What cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A key that cannot be used.
    #[error("`review.keys`: the key `{id}`: {why}")]
    Key {
        /// Its name.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The settings do not have the key.
    #[error("it is sealed with the key `{id}`, which `review.keys` does not name: add it")]
    Missing {
        /// Its name.
        id: String,
    },
    /// The tag does not fit.
    #[error(
        "it does not open with the key `{id}`: it was changed or moved since it was sealed, or the name has another key now"
    )]
    Broken {
        /// The key's name.
        id: String,
    },
    /// No nonce.
    #[error("the system gives no random bytes")]
    Random,
}

/// A new key, as `review.keys` wants it.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_sealing_key() -> Result<Secret, SealError> {
    let mut bytes = Zeroizing::new([0; KEY]);
    SystemRandom::new().fill(bytes.as_mut()).map_err(|_| SealError::Random)?;
    Ok(Secret::new(BASE64.encode(bytes.as_ref())))
}

impl Seal {
    /// The seal of these keys; `None` if there are none.
    ///
    /// # Errors
    /// A key that is not where it is said to be, or is none.
    pub fn new(keys: &[ReviewKey]) -> Result<Option<Self>, SealError> {
        let mut keys = keys.iter().map(Key::read).collect::<Result<Vec<_>, _>>()?.into_iter();
        let Some(first) = keys.next() else { return Ok(None) };
        Ok(Some(Self { first, older: keys.collect(), random: SystemRandom::new() }))
    }

    /// Seals with the first key. `context` tells where it will stand, such as the case's id and the column: nowhere else does it
    /// open.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Sealed, SealError> {
        let Key { id, key } = &self.first;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut bytes = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(plain);
        let text = bytes.get_mut(NONCE_LEN..).unwrap_or_default();
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), text);
        // Refused only where a text is longer than the cipher's 64 GiB.
        let tag: Tag = tag.map_err(|_| SealError::Key { id: id.clone(), why: "the text is too long for it".to_owned() })?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(Sealed { key_id: id.clone(), bytes })
    }

    /// Opens what was sealed with the key of this name for this place.
    ///
    /// # Errors
    /// No such key, or it was changed or moved since.
    pub fn open(&self, key_id: &str, context: &str, bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut keys = std::iter::once(&self.first).chain(&self.older);
        let known = keys.find(|key| key.id == key_id).ok_or_else(|| SealError::Missing { id: key_id.to_owned() })?;
        let broken = || SealError::Broken { id: key_id.to_owned() };
        let (nonce, text) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
        let mut text = text.to_vec();
        let opened = known.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context), &mut text);
        let length = opened.map_err(|_| broken())?.len();
        text.truncate(length);
        Ok(text)
    }

    /// The name of the key that seals.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.first.id
    }
}

impl Key {
    fn read(settings: &ReviewKey) -> Result<Self, SealError> {
        let id = settings.id.clone();
        let wrong = |why: String| SealError::Key { id: id.clone(), why };
        let text = settings.value().map_err(wrong)?;
        let bytes = BASE64.decode(text.as_bytes()).map(Zeroizing::new).ok().filter(|bytes| bytes.len() == KEY);
        // What stands there is not told.
        let not_one = || wrong(format!("must be {KEY} bytes in base64, as `seawall key sealing` prints them"));
        let key = bytes.and_then(|bytes| UnboundKey::new(&AES_256_GCM, &bytes).ok()).ok_or_else(not_one)?;
        Ok(Self { id, key: LessSafeKey::new(key) })
    }
}

/// The keys are told nowhere.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = std::iter::once(&self.first).chain(&self.older).map(|key| key.id.as_str()).collect();
        f.debug_tuple("Seal").field(&ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Settings that name these keys, each written to its file.
    fn settings(dir: &TempDir, keys: &[(&str, &str)]) -> Vec<ReviewKey> {
        let key = |(id, text): &(&str, &str)| {
            let file = dir.path().join(id);
            fs::write(&file, format!("{text}\n")).unwrap();
            ReviewKey { id: (*id).to_owned(), env: None, file: Some(file) }
        };
        keys.iter().map(key).collect()
    }

    fn seal(keys: &[(&str, &str)]) -> Result<Seal, SealError> {
        let dir = tempfile::tempdir().unwrap();
        Seal::new(&settings(&dir, keys)).map(Option::unwrap)
    }

    fn new_key() -> String {
        new_sealing_key().unwrap().expose().to_owned()
    }

    #[test]
    fn what_is_sealed_opens_where_it_stood_and_nowhere_else() {
        let seal = seal(&[("a", &new_key())]).unwrap();
        for text in ["", "ข้อความ", &"x".repeat(100_000)] {
            let sealed = seal.seal("1/body", text.as_bytes()).unwrap();
            assert_eq!(sealed.bytes.len(), NONCE_LEN + text.len() + AES_256_GCM.tag_len());
            assert_eq!(seal.open("a", "1/body", &sealed.bytes).unwrap(), text.as_bytes());
            for elsewhere in ["2/body", "1/excerpt", ""] {
                let broken = seal.open("a", elsewhere, &sealed.bytes);
                assert_eq!(broken, Err(SealError::Broken { id: "a".into() }), "{elsewhere}");
            }
        }
        let [one, two] = [(), ()].map(|()| seal.seal("1/body", b"same").unwrap());
        assert_ne!(one, two, "who reads the store does not see that two texts are the same");
    }

    #[test]
    fn no_bit_of_it_changes_unnoticed() {
        let seal = seal(&[("a", &new_key())]).unwrap();
        let Sealed { bytes, .. } = seal.seal("1/body", b"text").unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(seal.open("a", "1/body", &changed).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(seal.open("a", "1/body", &bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_new_key_takes_over_and_the_old_one_still_opens() {
        let (old, new) = (new_key(), new_key());
        let before = seal(&[("old", &old)]).unwrap().seal("c", b"text").unwrap();
        let both = seal(&[("new", &new), ("old", &old)]).unwrap();
        assert_eq!(both.open(&before.key_id, "c", &before.bytes).unwrap(), b"text");
        let after = both.seal("c", b"text").unwrap();
        assert_eq!((after.key_id.as_str(), both.key_id()), ("new", "new"));
        let without = seal(&[("new", &new)]).unwrap();
        assert_eq!(without.open("new", "c", &after.bytes).unwrap(), b"text");
        let missing = without.open("old", "c", &before.bytes).unwrap_err();
        assert_eq!(missing.to_string(), "it is sealed with the key `old`, which `review.keys` does not name: add it");
        let another = seal(&[("old", &new)]).unwrap();
        assert!(another.open("old", "c", &before.bytes).unwrap_err().to_string().contains("`old`"));
    }

    #[test]
    fn what_is_no_key_is_told_by_its_name_alone() {
        assert!(Seal::new(&[]).unwrap().is_none());
        let short = new_key()[..40].to_owned();
        for text in [short.as_str(), "not base64 at all, but a pass phrase"] {
            let told = seal(&[("a", text)]).unwrap_err().to_string();
            assert!(told.contains("the key `a`: must be 32 bytes in base64") && !told.contains(text), "{told}");
        }
        let nowhere = ReviewKey { id: "a".into(), env: None, file: Some("/nowhere/key".into()) };
        assert!(Seal::new(&[nowhere]).unwrap_err().to_string().contains("the key `a`: /nowhere/key: No such file"));
        let key = new_key();
        assert_eq!(format!("{:?}", seal(&[("a", &key)]).unwrap()), "Seal([\"a\"])");
    }
}
