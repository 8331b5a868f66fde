//! The format against itself: what is written is read, and no bit can change unseen.

use super::*;
use crate::key::PartitionKey;
use bytes::Bytes;
use chronik_core::log_store::Checkpoint;
use chronik_core::{Entry, EntryKind, LogId, Offset, Term};

const PARTITION: PartitionKey = PartitionKey {
    topic_id: 77,
    partition: 3,
};

fn entry(index: u64, term: u64, base: i64, records: u32, payload: Bytes) -> Entry {
    Entry {
        id: LogId::new(term, index),
        kind: if records > 0 {
            EntryKind::Data
        } else {
            EntryKind::Command
        },
        base_offset: Offset(base),
        record_count: records,
        max_timestamp_ms: if records > 0 { 1000 + base } else { -1 },
        payload,
    }
}

/// `count` entries of `bytes` each, terms of seven entries, every fifth a command.
fn entries(count: u64, bytes: usize) -> Vec<Entry> {
    let mut base = 100;
    (0..count)
        .map(|n| {
            let records = if n % 5 == 4 { 0 } else { 3 };
            let payload = Bytes::from(vec![n as u8; bytes]);
            let entry = entry(50 + n, 1 + n / 7, base, records, payload);
            base += i64::from(records);
            entry
        })
        .collect()
}

fn encode(entries: &[Entry]) -> (Bytes, Finished) {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(PARTITION, &mut out);
    for entry in entries {
        encoder.entry(entry, &mut out).unwrap();
    }
    let last = entries.last().unwrap();
    let checkpoint = Checkpoint {
        at: last.id,
        next_offset: last.end_offset(),
        data: Bytes::from_static(b"state"),
        consensus: Bytes::from_static(b"members"),
    };
    let finished = encoder.finish(Some(checkpoint), Vec::new(), &mut out).unwrap();
    (out.concat().into(), finished)
}

/// All that a reader can learn of an object, or what is wrong with it.
fn decode(object: &Bytes) -> Result<(Footer, Vec<Entry>), String> {
    let size = object.len() as u64;
    let at = object.len().checked_sub(TRAILER_BYTES as usize).ok_or("short")?;
    let trailer = Trailer::decode(&object.slice(at..), size).map_err(|e| format!("{e:?}"))?;
    let body_end = trailer.footer_position as usize;
    let footer = Footer::decode(&object.slice(body_end..at), &trailer).map_err(|error| error.to_string())?;
    let body = object.slice(..body_end);
    for (chunk, crc) in body.chunks(trailer.chunk_bytes as usize).zip(&footer.chunk_crcs) {
        if crc32c::crc32c(chunk) != *crc {
            return Err("chunk".into());
        }
    }
    let mut frames = Frames::new(body.slice(OBJECT_HEADER.len()..));
    let mut entries = Vec::new();
    while let Some(entry) = frames.next_entry().map_err(|error| format!("{error:?}"))? {
        entries.push(entry);
    }
    Ok((footer, entries))
}

#[test]
fn what_is_written_is_read() {
    for (count, bytes) in [(1, 0), (40, 100), (300, 9_000)] {
        let written = entries(count, bytes);
        let (object, finished) = encode(&written);
        let (footer, read) = decode(&object).unwrap();
        assert_eq!(read, written);
        assert_eq!(footer, finished.footer);
        assert_eq!(
            finished.crc,
            crc32c::crc32c(&object),
            "the name's checksum is the object's"
        );
        assert_eq!(finished.trailer.object_bytes(), object.len() as u64);
        assert_eq!(footer.entries, count);
    }
}

#[test]
fn equal_entries_give_equal_bytes() {
    assert_eq!(encode(&entries(40, 5_000)).0, encode(&entries(40, 5_000)).0);
}

#[test]
fn large_payloads_are_not_copied() {
    let written = entries(1, 10_000);
    let mut out = Vec::new();
    let mut encoder = Encoder::new(PARTITION, &mut out);
    encoder.entry(&written[0], &mut out).unwrap();
    assert!(
        out.iter()
            .any(|part| part.as_ptr() == written[0].payload.as_ptr())
    );
}

#[test]
fn the_index_leads_to_every_offset_and_time() {
    let written = entries(300, 9_000);
    let (object, finished) = encode(&written);
    let body = object.slice(..finished.trailer.footer_position as usize);
    assert!(finished.footer.index.len() > 20, "the index is sparse, not empty");
    for entry in written.iter().filter(|entry| entry.record_count > 0) {
        let point = finished.footer.point_of_offset(Offset(entry.base_offset.0 + 1));
        let mut frames = Frames::new(body.slice(point.position as usize..));
        let mut steps = 0;
        loop {
            let next = frames.next_entry().unwrap().unwrap();
            if next.end_offset() > entry.base_offset {
                assert_eq!(&next, entry);
                break;
            }
            steps += 1;
        }
        assert!(steps < 10, "a point is near what it leads to");
        let point = finished.footer.point_of_time(entry.max_timestamp_ms).unwrap();
        assert!(point.offset <= entry.base_offset);
    }
    assert_eq!(finished.footer.point_of_time(i64::MAX), None);
}

#[test]
fn terms_say_where_their_records_are() {
    let (_, finished) = encode(&entries(20, 1));
    let terms: Vec<_> = finished
        .footer
        .terms
        .iter()
        .map(|span| (span.term, span.offsets.clone()))
        .collect();
    assert_eq!(
        terms,
        [
            (Term(1), Offset(100)..Offset(118)),
            (Term(2), Offset(118)..Offset(136)),
            (Term(3), Offset(136)..Offset(148)),
        ]
    );
}

#[test]
fn entries_out_of_order_are_refused() {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(PARTITION, &mut out);
    encoder
        .entry(&entry(5, 2, 10, 1, Bytes::new()), &mut out)
        .unwrap();
    let position = encoder.position();
    for wrong in [
        entry(5, 2, 11, 1, Bytes::new()),
        entry(6, 1, 11, 1, Bytes::new()),
        entry(6, 2, 10, 1, Bytes::new()),
    ] {
        let refused = encoder.entry(&wrong, &mut out);
        assert_eq!(refused, Err(EncodeError::OutOfOrder(wrong.id)));
    }
    assert_eq!(encoder.position(), position);
    let mut none = Vec::new();
    let empty = Encoder::new(PARTITION, &mut none).finish(None, Vec::new(), &mut none);
    assert_eq!(empty, Err(EncodeError::Empty));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (object, _) = encode(&entries(12, 30));
    assert!(decode(&object).is_ok());
    let mut bytes = object.to_vec();
    for byte in 0..bytes.len() {
        for bit in 0..8 {
            bytes[byte] ^= 1 << bit;
            let read = decode(&Bytes::copy_from_slice(&bytes));
            assert!(read.is_err(), "bit {bit} of byte {byte}");
            bytes[byte] ^= 1 << bit;
        }
    }
}

#[test]
fn every_cut_and_every_tail_is_noticed() {
    let (object, _) = encode(&entries(12, 30));
    for end in 0..object.len() {
        assert!(decode(&object.slice(..end)).is_err(), "cut at {end}");
    }
    let mut longer = object.to_vec();
    longer.extend_from_slice(&object[object.len() - TRAILER_BYTES as usize..]);
    assert!(decode(&longer.into()).is_err());
}

/// Counts that lie are refused before anything is allocated, also where checksums were made to match.
#[test]
fn lengths_that_lie_are_refused() {
    let (object, finished) = encode(&entries(12, 30));
    let at = finished.trailer.footer_position as usize;
    let end = object.len() - TRAILER_BYTES as usize;
    for place in 0..end - at - 3 {
        let mut footer = object[at..end].to_vec();
        footer[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut trailer = finished.trailer;
        trailer.footer_crc = crc32c::crc32c(&footer);
        // Any answer will do but a panic, or memory without bounds.
        let _ = Footer::decode(&footer.into(), &trailer);
    }
}
