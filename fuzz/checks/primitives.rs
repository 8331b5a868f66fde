//! Reads of primitives in the order that the input says: none panics, none reads beyond the end, and a failed one is the
//! last.

use bytes::BytesMut;
use chronik_server::kafka::wire::{Reader, RequestHeader, ResponseHeader, WireError, varint};

/// One read; `op` says of what.
fn read(r: &mut Reader, op: u8) -> Result<(), WireError> {
    let compact = op & 1 == 1;
    match op >> 1 {
        0 => r.nullable_str(compact).map(drop),
        1 => r.nullable_bytes(compact).map(drop),
        2 => match r.nullable_count(compact, 3, 40)? {
            Some(count) => (0..count).try_for_each(|_| r.skip(3)),
            None => Ok(()),
        },
        3 => r.tagged_fields(|r, tag| match tag {
            0 => r.i64().map(|_| true),
            1 => r.nullable_str(true).map(|_| true),
            _ => Ok(false),
        }),
        4 => r.uvarint().map(drop),
        5 => r.array::<16>().map(drop),
        6 => RequestHeader::read(r, i16::from(op & 1) + 1).map(drop),
        7 => ResponseHeader::read(r, i16::from(op & 1)).map(drop),
        _ => r.i16().map(drop),
    }
}

pub(crate) fn check(data: &[u8]) {
    for (value, len) in varint::read_i64(data)
        .into_iter()
        .chain(varint::read_u32(data).map(widen))
    {
        assert!(len <= data.len(), "{value} took {len} bytes");
    }
    let Some((ops, frame)) = data.split_at_checked(8) else {
        return;
    };
    let mut r = Reader::new(BytesMut::from(frame));
    for op in ops {
        let before = r.remaining();
        let read = read(&mut r, op % 18);
        assert!(r.remaining() <= before);
        if read.is_err() {
            return;
        }
    }
}

fn widen((value, len): (u32, usize)) -> (i64, usize) {
    (i64::from(value), len)
}
