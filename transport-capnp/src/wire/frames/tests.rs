//! Frames split at every byte, and hostile tables.

use super::*;
use futures_lite::future::block_on;
use futures_util::io::Cursor;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Gives at most so many bytes at a time.
struct Dribble<'a> {
    bytes: &'a [u8],
    step: usize,
    asked: usize,
}

impl AsyncRead for Dribble<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        self.asked = self.asked.max(buffer.len());
        let len = self.step.min(buffer.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(len);
        buffer[..len].copy_from_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(len))
    }
}

fn frame(segments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((segments.len() as u32 - 1).to_le_bytes());
    for segment in segments {
        bytes.extend((segment.len() as u32 / 8).to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(segments.concat());
    bytes
}

fn read_all(bytes: &[u8], step: usize, limit_words: usize) -> capnp::Result<Vec<Vec<Vec<u8>>>> {
    let io = Dribble {
        bytes,
        step,
        asked: 0,
    };
    let mut reader = FrameReader::new(io, limit_words, Pool::default(), Live::default());
    let mut frames = Vec::new();
    while let Some(frame) = block_on(reader.next())? {
        let segment = |index| frame.get_segment(index).expect("the segment is there").to_vec();
        frames.push((0..frame.len() as u32).map(segment).collect());
    }
    Ok(frames)
}

#[test]
fn frames_are_read_whole_wherever_the_stream_is_cut() {
    let large = vec![9; BUFFER_BYTES * 2];
    let shared = vec![8; SHARED_BYTES * 3];
    let all: Vec<Vec<&[u8]>> = vec![
        vec![&[1; 8]],
        vec![&[2; 16], &[], &[3; 24]],
        vec![&[]],
        vec![&shared],
        vec![&[4; 8], &[5; 8]],
        vec![&large, &[6; 8]],
        vec![&[7; 64]],
    ];
    let bytes: Vec<u8> = all.iter().flat_map(|segments| frame(segments)).collect();
    for step in [1, 7, 1000, 65_536, 1 << 20, 1 << 24] {
        let read = read_all(&bytes, step, bytes.len()).expect("the frames are well-formed");
        assert!(read == all, "with {step} bytes at a time");
    }
    let ends: Vec<usize> = (1..=3)
        .map(|count| all[..count].iter().map(|frame_of| frame(frame_of).len()).sum())
        .collect();
    for cut in 1..200 {
        for step in [1, 2, 3, 5, 8, 64] {
            let whole = read_all(&bytes[..cut], step, bytes.len());
            assert_eq!(whole.is_ok(), ends.contains(&cut), "cut at {cut}");
        }
    }
}

#[test]
fn a_table_over_the_limit_is_refused_before_anything_is_allocated_for_it() {
    let limit = 1000;
    for (count, size) in [
        (0, 1001),
        (0, u32::MAX),
        (511, u32::MAX),
        (512, 1),
        (u32::MAX, 0),
        (9, 101),
    ] {
        let mut bytes = u32::to_le_bytes(count).to_vec();
        for _ in 0..=count.min(600) {
            bytes.extend(size.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        assert!(
            table(&bytes, limit).is_err(),
            "{count} + 1 segments of {size} words"
        );
        let mut reader = FrameReader::new(Cursor::new(bytes), limit, Pool::default(), Live::default());
        assert!(block_on(reader.next()).is_err());
        assert!(reader.buffer.len() <= BUFFER_BYTES);
    }
    assert!(table(&frame(&[&[0; 8000]]), limit).is_ok());
}

#[test]
fn large_bodies_are_shared_with_their_frame_and_small_ones_are_not() {
    let bytes = frame(&[&vec![1; BUFFER_BYTES * 3 / 4 / 8 * 8]]);
    let live = Live::default();
    let pool = Pool::default();
    let mut reader = FrameReader::new(Cursor::new(bytes), 1 << 20, pool.clone(), live.clone());
    let frame = block_on(reader.next())
        .expect("it is well-formed")
        .expect("it is there");
    let segment = frame.get_segment(0).expect("it has one");
    let (large, small) = (live.share(segment), live.share(&segment[..100]));
    let part = live.share(&segment[..BUFFER_BYTES / 5]);
    assert_eq!(large.as_ptr(), segment.as_ptr());
    assert_ne!(small.as_ptr(), segment.as_ptr());
    assert_ne!(
        part.as_ptr(),
        segment.as_ptr(),
        "it would keep five times its bytes"
    );
    drop(frame);
    assert!(live.0.borrow().is_empty());
    assert!(
        pool.free.lock().expect("nobody panicked").is_empty(),
        "a message keeps the buffer"
    );
    drop(large);
    assert_eq!(pool.free.lock().expect("nobody panicked").len(), 1);
}
