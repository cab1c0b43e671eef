//! A hash for small numbers that come by the million.

use std::hash::{BuildHasher, Hasher, RandomState};

/// An odd number without pattern: the golden ratio's fraction in 64 bits.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// Makes hashers that fold numbers by multiplication. Seeded at random, so that nobody can
/// write WAL whose blocks all fall into one place.
#[derive(Clone, Debug)]
pub(super) struct QuickHash {
    seed: u64,
}

impl Default for QuickHash {
    fn default() -> Self {
        Self {
            seed: RandomState::new().hash_one(FACTOR),
        }
    }
}

impl BuildHasher for QuickHash {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding(self.seed)
    }
}

/// See [`QuickHash`].
#[derive(Debug)]
pub(super) struct Folding(u64);

impl Folding {
    fn fold(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * u128::from(FACTOR);
        let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
        self.0 = u64::try_from(low ^ high)
            .unwrap_or_default()
            .wrapping_add(FACTOR);
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.fold(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.fold(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.fold(self.0.rotate_left(32));
        last.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn neighbours_are_far_apart_and_low_bits_are_even() {
        let hash = QuickHash::default();
        let hashes: HashSet<u64> = (0..100_000_u32)
            .map(|number| hash.hash_one((1663_u32, number)))
            .collect();
        // A few may meet: it is quick, not perfect.
        assert!(hashes.len() > 99_900, "{}", hashes.len());
        for bits in 1..6 {
            let kept = hashes
                .iter()
                .filter(|hash| hash.trailing_zeros() >= bits)
                .count();
            let expected = 100_000 >> bits;
            assert!(kept.abs_diff(expected) < expected / 5, "{bits}: {kept}");
        }
        assert_ne!(hash.hash_one(7_u64), QuickHash::default().hash_one(7_u64));
    }
}
