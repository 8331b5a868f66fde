//! Zig-zag variable length integers, as the records inside a batch use them (Kafka protocol guide, "Record").

use super::error::RecordError;
use super::input::Input;

/// The most bytes that a 32 bit variable length integer takes.
pub const MAX_VARINT_LEN: usize = 5;
/// The most bytes that a 64 bit variable length integer takes.
pub const MAX_VARLONG_LEN: usize = 10;

/// Reads a 32 bit integer. Refuses more than five bytes, and bits beyond the thirty-second.
#[inline]
pub fn read_i32(input: &mut impl Input) -> Result<i32, RecordError> {
    let first = input.byte()?;
    if first < 0x80 {
        return Ok(zigzag_i32(u32::from(first)));
    }
    let mut raw = u32::from(first & 0x7f);
    for shift in [7, 14, 21] {
        let byte = input.byte()?;
        raw |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(zigzag_i32(raw));
        }
    }
    let last = input.byte()?;
    if last > 0x0f {
        return Err(RecordError::invalid(
            "a variable length integer is longer than 32 bits",
        ));
    }
    Ok(zigzag_i32(raw | u32::from(last) << 28))
}

/// Reads a 64 bit integer. Refuses more than ten bytes, and bits beyond the sixty-fourth.
#[inline]
pub fn read_i64(input: &mut impl Input) -> Result<i64, RecordError> {
    let mut raw = 0_u64;
    for shift in (0..63).step_by(7) {
        let byte = input.byte()?;
        raw |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(zigzag_i64(raw));
        }
    }
    let last = input.byte()?;
    if last > 0x01 {
        return Err(RecordError::invalid(
            "a variable length integer is longer than 64 bits",
        ));
    }
    Ok(zigzag_i64(raw | u64::from(last) << 63))
}

/// Appends `value` to `out`.
pub fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_i64(out, i64::from(value));
}

/// Appends `value` to `out`.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    // The cast keeps the bits: zig-zag maps the sign to the lowest bit.
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push((raw as u8 & 0x7f) | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// How many bytes [`write_i64`] appends for `value`.
pub fn len_i64(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

/// Undoes the zig-zag mapping.
const fn zigzag_i32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

/// Undoes the zig-zag mapping.
const fn zigzag_i64(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}
