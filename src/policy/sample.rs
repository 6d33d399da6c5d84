//! Which exchanges a rule that asks a share of them is asked in.

/// Bits of a float's fraction.
const BITS: u32 = 53;

/// A share of the exchanges. Each rule has its own, so that those of several rules do not fall together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    salt: u64,
    share: f64,
}

impl Sample {
    pub(super) fn new(policy: &str, rule: &str, share: f64) -> Self {
        let hash = blake3::hash(format!("{policy}\0{rule}").as_bytes());
        let salt = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { salt, share }
    }

    pub(super) fn share(self) -> f64 {
        self.share
    }

    /// Whether the exchange of this draw is in it.
    pub(super) fn holds(self, draw: u64) -> bool {
        // The finaliser of SplitMix64: every bit of the draw tells on every bit of the result.
        let mut mixed = draw ^ self.salt;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((mixed >> (u64::BITS - BITS)) as f64) < self.share * (1_u64 << BITS) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_draws_is_in_it() {
        let (one, other) = (Sample::new("p", "one", 0.05), Sample::new("p", "other", 0.05));
        let count = |holds: &dyn Fn(u64) -> bool| (0..100_000).filter(|draw| holds(*draw)).count();
        let share = count(&|draw| one.holds(draw));
        assert!((4_700..5_300).contains(&share), "{share}");
        let both = count(&|draw| one.holds(draw) && other.holds(draw));
        assert!((170..330).contains(&both), "rules choose apart from each other: {both}");
        assert_eq!(count(&|draw| Sample::new("p", "all", 1.0).holds(draw)), 100_000);
    }
}
