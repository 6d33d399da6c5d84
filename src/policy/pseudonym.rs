//! Hashes in place of values, so that one value can be followed through texts and records by those who cannot read it.

use std::fmt;

/// Hexadecimal digits of a hash: two of a million values share one with a chance of a fifth of a percent.
const DIGITS: usize = 12;

/// The key that values are hashed with. Without it, whoever can guess a value can check the guess.
#[derive(Clone, Copy)]
pub struct HashKey([u8; 32]);

impl HashKey {
    #[cfg(test)]
    pub(super) const TESTS: Self = Self([7; 32]);

    /// A key made of a secret of any length.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(blake3::derive_key("seawall 2026 hashes of redacted values", secret))
    }

    /// What stands for the value: the same for the same value, as written.
    pub(super) fn pseudonym(&self, value: &str) -> String {
        blake3::keyed_hash(&self.0, value.as_bytes()).to_hex().chars().take(DIGITS).collect()
    }
}

/// The key is told nowhere.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_stable_and_needs_the_key() {
        let [one, same, other] = [b"one", b"one", b"two"].map(|secret| HashKey::new(secret).pseudonym("a@b.co"));
        assert_eq!((one.len(), &one), (DIGITS, &same));
        assert_ne!(one, other);
        assert_ne!(one, HashKey::new(b"one").pseudonym("a@b.com"));
    }
}
