//! Variable-length integers: unsigned (KIP-482), and the zigzag forms of the record format.
//!
//! Padded encodings (a zero last group) are accepted, as Kafka does; a value that has more groups or bits than its
//! type is refused.

use super::error::WireErrorKind;
use bytes::{BufMut, BytesMut};

/// The longest encoding of a 32-bit value, in bytes.
pub const MAX_LEN_U32: usize = 5;
/// The longest encoding of a 64-bit value, in bytes.
pub const MAX_LEN_U64: usize = 10;

/// Reads an unsigned 32-bit integer from the start of `src`; returns it and the bytes it took.
pub fn read_u32(src: &[u8]) -> Result<(u32, usize), WireErrorKind> {
    let (value, len) = read_groups(src, MAX_LEN_U32)?;
    let value = u32::try_from(value).map_err(|_| WireErrorKind::OverlongVarint)?;
    Ok((value, len))
}

/// Reads an unsigned 64-bit integer from the start of `src`; returns it and the bytes it took.
pub fn read_u64(src: &[u8]) -> Result<(u64, usize), WireErrorKind> {
    read_groups(src, MAX_LEN_U64)
}

/// Reads a zigzag 32-bit integer from the start of `src`; returns it and the bytes it took.
pub fn read_i32(src: &[u8]) -> Result<(i32, usize), WireErrorKind> {
    let (raw, len) = read_u32(src)?;
    Ok(((raw >> 1) as i32 ^ -((raw & 1) as i32), len))
}

/// Reads a zigzag 64-bit integer from the start of `src`; returns it and the bytes it took.
pub fn read_i64(src: &[u8]) -> Result<(i64, usize), WireErrorKind> {
    let (raw, len) = read_u64(src)?;
    Ok(((raw >> 1) as i64 ^ -((raw & 1) as i64), len))
}

fn read_groups(src: &[u8], max_len: usize) -> Result<(u64, usize), WireErrorKind> {
    let mut value = 0u64;
    for (i, byte) in src.iter().take(max_len).enumerate() {
        let shift = 7 * i as u32;
        let group = u64::from(byte & 0x7f);
        let shifted = group << shift;
        if shifted >> shift != group {
            return Err(WireErrorKind::OverlongVarint);
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    if src.len() >= max_len {
        return Err(WireErrorKind::OverlongVarint);
    }
    Err(WireErrorKind::Truncated {
        needed: src.len() + 1,
        remaining: src.len(),
    })
}

/// Appends an unsigned 32-bit integer.
pub fn put_u32(dst: &mut BytesMut, value: u32) {
    put_u64(dst, u64::from(value));
}

/// Appends an unsigned 64-bit integer.
pub fn put_u64(dst: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        dst.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    dst.put_u8(value as u8);
}

/// Appends a zigzag 32-bit integer.
pub fn put_i32(dst: &mut BytesMut, value: i32) {
    put_u32(dst, ((value << 1) ^ (value >> 31)) as u32);
}

/// Appends a zigzag 64-bit integer.
pub fn put_i64(dst: &mut BytesMut, value: i64) {
    put_u64(dst, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_round_trips() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1u64 << bits) - 1, u64::MAX >> bits] {
                let mut buf = BytesMut::new();
                put_u64(&mut buf, value);
                assert_eq!(read_u64(&buf), Ok((value, buf.len())));
                for signed in [value as i64, (value as i64).wrapping_neg()] {
                    buf.clear();
                    put_i64(&mut buf, signed);
                    assert_eq!(read_i64(&buf), Ok((signed, buf.len())));
                }
                if let Ok(value) = i32::try_from(value) {
                    for signed in [value, -value, !value] {
                        buf.clear();
                        put_i32(&mut buf, signed);
                        assert_eq!(read_i32(&buf), Ok((signed, buf.len())));
                    }
                }
            }
        }
    }

    #[test]
    fn overlong_and_overflowing_values_are_refused() {
        assert_eq!(
            read_u32(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
            Err(WireErrorKind::OverlongVarint)
        );
        assert_eq!(
            read_u32(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
            Err(WireErrorKind::OverlongVarint)
        );
        assert_eq!(read_u32(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok((u32::MAX, 5)));
        assert_eq!(read_u64(&[0xff; 10]), Err(WireErrorKind::OverlongVarint));
        let mut max = [0xff; 10];
        max[9] = 1;
        assert_eq!(read_u64(&max), Ok((u64::MAX, 10)));
        max[9] = 2;
        assert_eq!(read_u64(&max), Err(WireErrorKind::OverlongVarint));
    }

    #[test]
    fn padding_is_accepted_and_truncation_is_not() {
        assert_eq!(read_u32(&[0x81, 0x00]), Ok((1, 2)));
        assert!(matches!(read_u32(&[]), Err(WireErrorKind::Truncated { .. })));
        assert!(matches!(
            read_u32(&[0x80, 0x80]),
            Err(WireErrorKind::Truncated { .. })
        ));
    }
}
