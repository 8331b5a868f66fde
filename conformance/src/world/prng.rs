//! Seeded random numbers: one seed, a tree of independent streams.

use std::fmt;
use std::str::FromStr;

/// A seed. Named children are independent of each other, so that a new consumer of random numbers does not change
/// what the others draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of the part called `name`.
    #[must_use]
    pub fn child(self, name: &str) -> Self {
        // FNV-1a over the name keeps the streams stable across builds and platforms.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(mix(self.0 ^ mix(hash)))
    }

    /// The seed of the `number`-th repetition.
    #[must_use]
    pub fn nth(self, number: u64) -> Self {
        Self(mix(self.0.wrapping_add(mix(number.wrapping_add(1)))))
    }

    /// The random numbers of this seed.
    #[must_use]
    pub fn prng(self) -> Prng {
        let mut state = [0; 4];
        let mut at = self.0;
        for word in &mut state {
            at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *word = mix(at);
        }
        Prng { state }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", self.0)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).map(Self),
            None => text.parse().map(Self),
        }
    }
}

/// The finaliser of splitmix64: a bijection that spreads every input bit over the whole word.
const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A xoshiro256** generator.
#[derive(Clone, Debug)]
pub struct Prng {
    state: [u64; 4],
}

impl Prng {
    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        result
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of a multiply-shift is below 2^-32 for the bounds that tests use.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A position below `bound`; 0 where `bound` is 0.
    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Fills `buffer` with random bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_do_not_depend_on_each_other_and_repeat() {
        let seed = Seed(7);
        assert_eq!(seed.child("disk"), Seed(7).child("disk"));
        assert_ne!(seed.child("disk"), seed.child("queue"));
        assert_ne!(seed.nth(0), seed.nth(1));
        let (mut one, mut two) = (seed.prng(), seed.prng());
        assert!((0..100).all(|_| one.next_u64() == two.next_u64()));
    }

    #[test]
    fn numbers_stay_in_their_bounds_and_reach_them() {
        let mut prng = Seed(1).prng();
        let drawn: Vec<u64> = (0..1000).map(|_| prng.between(3, 6)).collect();
        assert!((3..=6).all(|value| drawn.contains(&value)));
        assert!(drawn.iter().all(|value| (3..=6).contains(value)));
        assert_eq!(prng.below(0), 0);
    }

    #[test]
    fn a_seed_reads_back_what_it_prints() {
        assert_eq!(Seed(0xabc).to_string().parse(), Ok(Seed(0xabc)));
        assert_eq!("12".parse(), Ok(Seed(12)));
        assert!("0xzz".parse::<Seed>().is_err());
    }
}
