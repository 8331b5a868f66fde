//! Blocks from the disk cache or from the store, checked.

use super::blocks::Claim;
use super::object::{FOOTER, Object};
use super::{BLOCK_BYTES, ColdReader};
use crate::bucket::{StoreErrorKind, body_bytes, reply};
use crate::error::TierError;
use crate::format::{CHUNK_BYTES, Footer, TRAILER_BYTES, Trailer, TrailerError};
use bytes::Bytes;
use chronik_core::env::DiskLane;
use futures_lite::FutureExt;
use futures_lite::future;
use std::ops::Range;
use std::sync::Arc;

/// How often wrong bytes are fetched again.
const TRIES: u32 = 3;
/// Of this many requests, one may have a second one beside it.
const HEDGE_SHARE: u64 = 20;

impl ColdReader {
    /// The block with this number; where it has to be asked for, asks for the ones up to `ahead` with it.
    pub(super) async fn block(
        self: &Arc<Self>,
        object: &Object,
        number: u32,
        ahead: u32,
    ) -> Result<Bytes, TierError> {
        let (block, claim) = self.blocks.need(&object.key, number, ahead);
        match claim.is_empty() {
            true => self.metrics.cache_hits.one(),
            false => self.load(object, claim),
        }
        block.get().await
    }

    /// Asks for blocks that nobody waits for yet.
    pub(super) fn start(self: &Arc<Self>, object: &Object, numbers: Range<u32>) {
        let end = numbers.end.min(object.blocks());
        if numbers.start < end {
            let claim = self.blocks.claim(&object.key, numbers.start..end);
            self.load(object, claim);
        }
    }

    /// The footer, decoded.
    pub(crate) async fn footer(self: &Arc<Self>, object: &Object) -> Result<Arc<Footer>, TierError> {
        if let Some(footer) = self.objects.get(&object.key) {
            return Ok(footer);
        }
        let bytes = self.block(object, FOOTER, FOOTER).await?;
        let footer = Arc::new(decode_footer(object, &bytes)?);
        self.objects.put(&object.key, &footer);
        Ok(footer)
    }

    /// Lands what was claimed, in the background: a reader that goes away takes nothing from others.
    fn load(self: &Arc<Self>, object: &Object, mut claim: Claim) {
        for run in claim.runs(self.streams.request_blocks()) {
            let part = claim.split(&run);
            let (this, object) = (Arc::clone(self), object.clone());
            let task = async move { this.land(object, part, run).await };
            self.env.spawn.spawn("tier-read", Box::pin(task));
        }
    }

    async fn land(self: Arc<Self>, object: Object, mut claim: Claim, run: Range<u32>) {
        for (number, bytes) in self.cached(&object, &run).await {
            self.metrics.cache_hits.one();
            claim.land(number, Ok(bytes));
        }
        for run in claim.runs(u32::MAX) {
            self.metrics
                .cache_misses
                .add(u64::from(run.end.saturating_sub(run.start)));
            // Data waits for its footer while it holds a slot, so that footers must not need one.
            let _slot = match run.start {
                FOOTER => None,
                _ => Some(self.requests.acquire().await),
            };
            match self.fetch(&object, &run).await {
                Ok(blocks) => {
                    for (number, bytes) in blocks {
                        claim.land(number, Ok(bytes));
                    }
                }
                Err(error) => {
                    for number in run {
                        claim.land(number, Err(error.clone()));
                    }
                }
            }
        }
    }

    /// What the disk cache has of a run, checked.
    async fn cached(self: &Arc<Self>, object: &Object, run: &Range<u32>) -> Vec<(u32, Bytes)> {
        if !self.disk.is_enabled() {
            return Vec::new();
        }
        let (disk, key, run) = (Arc::clone(&self.disk), Arc::clone(&object.key), run.clone());
        let (sender, answer) = reply();
        let job = move || {
            let found = run.filter_map(|number| Some((number, disk.get(&key, number)?)));
            sender.send(Ok(found.collect()));
        };
        self.env.disk.submit(DiskLane::Read, Box::new(job));
        answer.await.unwrap_or_default()
    }

    /// Fetches a run, and fetches it again where its bytes are wrong.
    async fn fetch(
        self: &Arc<Self>,
        object: &Object,
        run: &Range<u32>,
    ) -> Result<Vec<(u32, Bytes)>, TierError> {
        let mut tries = 0;
        loop {
            let range = object.range(run);
            let (data, footer) = if run.start == FOOTER {
                (self.hedged(object, range, usize::MAX).await?, None)
            } else {
                let footer: chronik_core::BoxFuture<'_, _> = Box::pin(self.footer(object));
                let (data, footer) =
                    future::try_zip(self.hedged(object, range, BLOCK_BYTES as usize), footer).await?;
                (data, Some(footer))
            };
            let error = match self.checked(object, run, data, footer).await {
                Ok(blocks) => return Ok(blocks),
                Err(error) => error,
            };
            self.metrics.damaged_blocks.one();
            tries += 1;
            if tries == TRIES {
                log::error!("event=object_damaged key={} error=\"{error}\"", object.key);
                return Err(error);
            }
        }
    }

    /// One request, with a second one beside it if it is slow.
    async fn hedged(
        &self,
        object: &Object,
        range: Range<u64>,
        piece_bytes: usize,
    ) -> Result<Vec<Bytes>, TierError> {
        let request = || self.bucket.get_pieces(&object.key, range.clone(), piece_bytes);
        let second = async {
            self.env.clock.sleep(self.options.hedge_after).await;
            let allowed = self.metrics.hedges.get() * HEDGE_SHARE <= self.metrics.gets.get() + HEDGE_SHARE;
            if !allowed {
                return future::pending().await;
            }
            self.metrics.hedges.one();
            request().await
        };
        match request().or(second).await {
            Ok(pieces) => Ok(pieces),
            Err(error) if error.kind == StoreErrorKind::NotFound => Err(TierError::Missing {
                key: Arc::clone(&object.key),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Compares a run with its checksums on a disk thread, and caches its blocks.
    async fn checked(
        self: &Arc<Self>,
        object: &Object,
        run: &Range<u32>,
        data: Vec<Bytes>,
        footer: Option<Arc<Footer>>,
    ) -> Result<Vec<(u32, Bytes)>, TierError> {
        let (sender, answer) = reply();
        let (this, object, run) = (Arc::clone(self), object.clone(), run.clone());
        let job = move || {
            let blocks = cut(&object, &run, data, footer.as_deref());
            sender.send(Ok(blocks.clone()));
            for (number, bytes) in blocks.into_iter().flatten() {
                this.disk.put(&object.key, number, &bytes);
            }
        };
        self.env.disk.submit(DiskLane::Read, Box::new(job));
        answer.await.map_err(|_| TierError::Closed)?
    }
}

/// Compares the blocks of a run, or its footer, with their checksums.
fn cut(
    object: &Object,
    run: &Range<u32>,
    pieces: Vec<Bytes>,
    footer: Option<&Footer>,
) -> Result<Vec<(u32, Bytes)>, TierError> {
    let Some(footer) = footer else {
        let data = pieces.into_iter().next().unwrap_or_default();
        decode_footer(object, &data)?;
        return Ok(vec![(FOOTER, data)]);
    };
    let range = object.range(run);
    if body_bytes(&pieces) != range.end - range.start || pieces.len() != run.len() {
        return Err(TierError::damaged(
            &object.key,
            "other bytes came than were asked for",
        ));
    }
    let chunks_per_block = BLOCK_BYTES / u64::from(CHUNK_BYTES);
    for (number, block) in run.clone().zip(&pieces) {
        let first = u64::from(number) * chunks_per_block;
        for (chunk, bytes) in (first..).zip(block.chunks(CHUNK_BYTES as usize)) {
            if footer.chunk_crc(chunk) != Some(crc32c::crc32c(bytes)) {
                return Err(TierError::damaged(
                    &object.key,
                    format!("chunk {chunk} does not match its checksum"),
                ));
            }
        }
    }
    Ok(run.clone().zip(pieces).collect())
}

/// Reads footer and trailer, and holds them against what the tier's state says of the object.
pub(crate) fn decode_footer(object: &Object, bytes: &Bytes) -> Result<Footer, TierError> {
    let segment = &object.segment;
    let damaged = |what: &str| TierError::damaged(&object.key, what);
    let at = bytes
        .len()
        .checked_sub(TRAILER_BYTES as usize)
        .ok_or_else(|| damaged("the footer is too short"))?;
    let trailer = Trailer::decode(&bytes.slice(at..), segment.object_bytes).map_err(|error| match error {
        TrailerError::Malformed(error) => damaged(error.0),
        TrailerError::Version(version) => TierError::UnsupportedFormat {
            key: Arc::clone(&object.key),
            version,
        },
    })?;
    if trailer.footer_position != segment.footer_position {
        return Err(damaged("the footer is not where the manifest says"));
    }
    let footer = Footer::decode(&bytes.slice(..at), &trailer).map_err(|error| damaged(error.0))?;
    let same = footer.partition == object.partition
        && (footer.first, footer.last) == (segment.first, segment.last)
        && footer.offsets == segment.offsets;
    match same {
        true => Ok(footer),
        false => Err(damaged("the object holds another segment than the manifest says")),
    }
}
