//! Keys, of which only hashes are kept.

use std::{collections::HashMap, fmt, fs};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Caller, Method};
use crate::{
    config::{self, KeyHash},
    connect::Misconfigured,
};

/// What every key begins with, so that people and scanners for leaked secrets see what it is.
pub(super) const PREFIX: &str = "sk-seawall-";
/// Bytes of chance in a key.
const CHANCE: usize = 32;
/// What a hash begins with: the way it was made.
const WAY: &str = "sha256:";

/// A secret: no log tells it, and it is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes care of a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// The secret itself, for the one who is to have it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A new key.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_key() -> Result<Secret, String> {
    Ok(Secret::new(format!("{PREFIX}{}", chance()?.expose())))
}

/// A secret that nobody can guess: 256 bits of chance, in characters that need no escape anywhere.
///
/// # Errors
/// The system gives no random bytes.
pub fn chance() -> Result<Secret, String> {
    let mut bytes = Zeroizing::new([0; CHANCE]);
    SystemRandom::new().fill(bytes.as_mut()).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(Secret::new(BASE64URL_NOPAD.encode(bytes.as_ref())))
}

/// A key's hash, as settings have it. A slow, salted hash makes guessing dear where people choose their passwords; nobody
/// guesses 256 bits of chance, and a fast hash keeps calls fast.
#[must_use]
pub fn hash(key: &str) -> String {
    format!("{WAY}{}", HEXLOWER.encode(&digest(key)))
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// The keys that open.
#[derive(Debug)]
pub(super) struct Keys(HashMap<[u8; 32], Caller>);

/// `identity.keys_file`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    identity: Section,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    keys: Vec<KeyHash>,
}

impl Keys {
    pub(super) fn new(settings: &config::Identity) -> Result<Self, Misconfigured> {
        let mut known = Self(HashMap::new());
        for key in &settings.keys {
            known.add(key, "identity.keys")?;
        }
        if let Some(path) = &settings.keys_file {
            let unread =
                |e: std::io::Error| Misconfigured(format!("`identity.keys_file` {}: cannot be read: {e}", path.display()));
            let text = fs::read_to_string(path).map_err(unread)?;
            let file: File = toml::from_str(&text).map_err(|e| Misconfigured(config::explain(path, &text, &e)))?;
            for key in &file.identity.keys {
                known.add(key, &path.display().to_string())?;
            }
        }
        Ok(known)
    }

    fn add(&mut self, key: &KeyHash, place: &str) -> Result<(), Misconfigured> {
        let KeyHash { name, hash, tenant } = key;
        let wrong = |why: &str| Misconfigured(format!("{place}: key `{name}`: {why}"));
        let digits = hash.strip_prefix(WAY).and_then(|digits| HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok());
        let digest: [u8; 32] = digits.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
            // What stands there is not told: it may be the key itself.
            wrong("`hash` must be `sha256:` and 64 hexadecimal digits, as `seawall key new` prints it")
        })?;
        if self.0.values().any(|known| known.key.as_ref() == Some(name)) {
            return Err(wrong("another key has this name too"));
        }
        let caller = Caller { method: Some(Method::Key), key: Some(name.clone()), tenant: tenant.clone(), ..Caller::default() };
        if self.0.insert(digest, caller).is_some() {
            return Err(wrong("another name has this hash too"));
        }
        Ok(())
    }

    /// Whose key this is. What the look-up's time could tell is about the hash of what was sent, which says nothing of keys that
    /// were not: so no comparison in constant time is needed.
    pub(super) fn find(&self, key: &str) -> Option<Caller> {
        if self.0.is_empty() { None } else { self.0.get(&digest(key)).cloned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_new_each_time_and_told_by_no_log() {
        let (one, two) = (new_key().unwrap(), new_key().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.expose().len(), PREFIX.len() + 43, "256 bits");
        assert!(!format!("{one:?}").contains(&one.expose()[PREFIX.len()..]));
        assert_eq!(hash("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_file_of_keys_and_what_is_wrong_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let keys = |text: &str| {
            fs::write(&path, text).unwrap();
            let settings = config::Identity { keys_file: Some(path.clone()), ..config::Identity::default() };
            Keys::new(&settings).map_err(|e| e.to_string().replace(&path.display().to_string(), "k.toml"))
        };
        let key = |name: &str, key: &str| format!("[[identity.keys]]\nname = \"{name}\"\nhash = \"{}\"\n", hash(key));
        let known = keys(&(key("a", "one") + &key("b", "two"))).unwrap();
        assert_eq!(known.find("two").and_then(|caller| caller.key).as_deref(), Some("b"));
        assert_eq!(known.find("three"), None);
        let told = keys(&(key("a", "one") + &key("a", "two"))).unwrap_err();
        assert_eq!(told, "k.toml: key `a`: another key has this name too");
        let told = keys(&(key("a", "one") + &key("b", "one"))).unwrap_err();
        assert_eq!(told, "k.toml: key `b`: another name has this hash too");
        let told = keys("[[identity.keys]]\nname = \"a\"\nhash = \"sk-seawall-x\"\n").unwrap_err();
        assert!(told.contains("must be `sha256:`") && !told.contains("sk-seawall-x"), "{told}");
        assert!(keys("[[identity.keys]]\nnam = \"a\"\n").unwrap_err().contains("k.toml:2:1: "));
    }
}
