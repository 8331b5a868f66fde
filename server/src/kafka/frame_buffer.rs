//! The bytes of a connection that arrived and are not a whole frame yet.

use super::wire::frame::FRAME_PREFIX_LEN;
use bytes::{Buf, BytesMut};

/// How much is read at once while the length of the frame is not known, or the frame is small.
const SMALL_READ_LEN: usize = 16 * 1024;
/// How much is read at once of a large frame; also the most that a frame's length claims before bytes arrive.
const LARGE_READ_LEN: usize = 256 * 1024;
/// How many times what arrived of a frame may be claimed for the rest of it.
const GROWTH: usize = 3;

/// Memory that follows the bytes that arrived, not the length that a client claims. Each byte of it is set to zero
/// once, however many reads it takes to fill it.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    /// What arrived, and room that is zero or was read over.
    memory: BytesMut,
    /// Bytes that arrived.
    filled: usize,
}

impl FrameBuffer {
    /// What arrived.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.memory.get(..self.filled).unwrap_or_default()
    }

    /// Where the next bytes go, of a frame that lacks `missing`; `None` where its length is not known yet.
    pub fn room(&mut self, missing: Option<usize>) -> &mut [u8] {
        let wanted = match missing {
            Some(missing) if missing > SMALL_READ_LEN => {
                missing.min(LARGE_READ_LEN.max(self.filled.saturating_mul(GROWTH)))
            }
            _ => SMALL_READ_LEN,
        };
        let end = self.filled + wanted;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        self.memory.get_mut(self.filled..end).unwrap_or_default()
    }

    /// The first `count` bytes of the room have arrived.
    ///
    /// # Panics
    /// If there is less room.
    pub fn arrived(&mut self, count: usize) {
        assert!(
            count <= self.memory.len() - self.filled,
            "bytes arrive in the room"
        );
        self.filled += count;
    }

    /// Takes out a frame of `len` bytes that arrived, without its length in front.
    ///
    /// # Panics
    /// If it did not arrive whole.
    pub fn take(&mut self, len: usize) -> BytesMut {
        let whole = FRAME_PREFIX_LEN + len;
        assert!(whole <= self.filled, "the frame arrived whole");
        self.filled -= whole;
        self.memory.advance(FRAME_PREFIX_LEN);
        self.memory.split_to(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_arrived_in_whatever_pieces() {
        for piece in [1, 7, 1000, usize::MAX] {
            let frames: Vec<Vec<u8>> = (1..30u8)
                .map(|number| vec![number; usize::from(number) * 3001 % 50_000])
                .collect();
            let mut stream = Vec::new();
            for frame in &frames {
                stream.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
                stream.extend_from_slice(frame);
            }
            let (mut buffer, mut sent) = (FrameBuffer::default(), 0);
            for frame in &frames {
                while buffer.filled().len() < FRAME_PREFIX_LEN + frame.len() {
                    let missing = FRAME_PREFIX_LEN + frame.len() - buffer.filled().len();
                    let room = buffer.room((buffer.filled().len() >= FRAME_PREFIX_LEN).then_some(missing));
                    let count = room.len().min(piece).min(stream.len() - sent);
                    room[..count].copy_from_slice(&stream[sent..sent + count]);
                    buffer.arrived(count);
                    sent += count;
                }
                assert_eq!(&buffer.take(frame.len())[..], &frame[..]);
            }
            assert_eq!((sent, buffer.filled().len()), (stream.len(), 0));
        }
    }

    #[test]
    fn a_claim_gets_memory_as_its_bytes_arrive() {
        let mut buffer = FrameBuffer::default();
        let claim = 100 << 20;
        for _ in 0..100 {
            let arrived = buffer.filled().len();
            let room = buffer.room(Some(claim - arrived)).len();
            assert!(
                room <= LARGE_READ_LEN.max(GROWTH * arrived),
                "{room} after {arrived}"
            );
            buffer.arrived(room.min(10_000));
        }
        assert!(buffer.memory.capacity() <= LARGE_READ_LEN + (GROWTH + 1) * 1_000_000);
    }
}
