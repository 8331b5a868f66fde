//! Random messages for tests.

use super::{ErrorCode, KafkaString, RecordSlices, Uuid, Version};
use bytes::{Bytes, BytesMut};

/// Makes random values; small ones, and the extremes of each type now and then.
pub(crate) struct Sampler {
    rng: fastrand::Rng,
    /// How deep in nested arrays the next value stands.
    depth: u32,
}

impl Sampler {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            depth: 0,
        }
    }

    /// The seed in `CHRONIK_TEST_SEED`, or a random one; it is printed, so that a failure can be repeated.
    pub(crate) fn seed() -> u64 {
        let seed = std::env::var("CHRONIK_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("CHRONIK_TEST_SEED={seed}");
        seed
    }

    fn len(&mut self) -> usize {
        match self.rng.u8(..16) {
            0 => 0,
            1 => self.rng.usize(120..300),
            _ => self.rng.usize(1..30),
        }
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let len = self.len();
        (0..len).map(|_| self.rng.u8(..)).collect()
    }
}

/// A type that has random values.
pub(crate) trait Sample: Sized {
    /// A value that the version can carry: fields that it lacks have their defaults, and null is where it may be.
    fn sample(s: &mut Sampler, v: Version) -> Self;
}

macro_rules! sample_int {
    ($($ty:ident)*) => {$(
        impl Sample for $ty {
            fn sample(s: &mut Sampler, _: Version) -> Self {
                match s.rng.u8(..8) {
                    0 => *s.rng.choice(&[0, 1, -1, $ty::MIN, $ty::MAX]).unwrap(),
                    1 => s.rng.$ty(..),
                    _ => s.rng.$ty(0..100),
                }
            }
        }
    )*};
}

sample_int!(i8 i16 i32 i64);

macro_rules! sample {
    ($($ty:ty: |$s:ident, $v:ident| $value:expr;)*) => {$(
        impl Sample for $ty {
            fn sample($s: &mut Sampler, $v: Version) -> Self {
                $value
            }
        }
    )*};
}

sample! {
    bool: |s, _v| s.rng.bool();
    Uuid: |s, _v| Uuid::from_u128(s.rng.u128(..));
    ErrorCode: |s, v| ErrorCode(Sample::sample(s, v));
    Bytes: |s, _v| s.bytes().into();
    BytesMut: |s, _v| BytesMut::from(&s.bytes()[..]);
    RecordSlices: |s, _v| (0..s.rng.u8(..4)).map(|_| Bytes::from(s.bytes())).collect();
    KafkaString: |s, _v| {
        let len = s.len();
        (0..len).map(|_| if s.rng.u8(..20) == 0 { '\u{20ac}' } else { s.rng.alphanumeric() }).collect()
    };
}

impl<T: Sample> Sample for Option<T> {
    fn sample(s: &mut Sampler, v: Version) -> Self {
        if s.rng.u8(..4) == 0 {
            None
        } else {
            Some(T::sample(s, v))
        }
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(s: &mut Sampler, v: Version) -> Self {
        s.depth += 1;
        let max = if s.depth == 1 && s.rng.u8(..16) == 0 {
            200
        } else {
            4
        };
        let elements = (0..s.rng.usize(..max)).map(|_| T::sample(s, v)).collect();
        s.depth -= 1;
        elements
    }
}
