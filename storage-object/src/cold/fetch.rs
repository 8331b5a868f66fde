//! Blocks from the disk cache or from the store, checked.

use super::blocks::Claim;
use super::object::{FOOTER, Object};
use super::{BLOCK_BYTES, ColdReader};
use crate::bucket::{Answer, StoreErrorKind, Want, reply};
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
            match run.start {
                FOOTER => claim.land(FOOTER, self.fetch_footer(&object).await),
                _ => self.fetch_data(&object, run, &mut claim).await,
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

    /// Fetches a footer, and fetches it again where its bytes are wrong.
    async fn fetch_footer(self: &Arc<Self>, object: &Object) -> Result<Bytes, TierError> {
        let mut tries = 0;
        loop {
            let range = object.range(&(FOOTER..FOOTER + 1));
            let request = || self.bucket.get(&object.key, Want::Range(range.clone()));
            let found = self.hedged(object, request).await?.data;
            match decode_footer(object, &found) {
                Ok(_) => return Ok(found),
                Err(error) => self.note_damage(object, &mut tries, error)?,
            }
        }
    }

    /// Fetches a run, lands each block as it comes, and fetches again what is missing where bytes are wrong.
    async fn fetch_data(self: &Arc<Self>, object: &Object, run: Range<u32>, claim: &mut Claim) {
        let (mut left, mut tries) = (vec![run], 0);
        while let Some(run) = left.pop() {
            let error = match self.fetch_run(object, &run, claim).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            let again = match &error {
                TierError::Damaged { .. } => self.note_damage(object, &mut tries, error),
                _ => Err(error),
            };
            left.extend(
                claim
                    .runs(u32::MAX)
                    .into_iter()
                    .filter(|one| run.contains(&one.start)),
            );
            if let Err(error) = again {
                for number in left.drain(..).flatten() {
                    claim.land(number, Err(error.clone()));
                }
            }
        }
    }

    /// Counts wrong bytes; after some tries they are what the object holds.
    fn note_damage(&self, object: &Object, tries: &mut u32, error: TierError) -> Result<(), TierError> {
        self.metrics.damaged_blocks.one();
        *tries += 1;
        if *tries < TRIES {
            return Ok(());
        }
        log::error!("event=object_damaged key={} error=\"{error}\"", object.key);
        Err(error)
    }

    /// One request for a run, whose blocks land as they come: a reader goes on while the rest is on its way.
    async fn fetch_run(
        self: &Arc<Self>,
        object: &Object,
        run: &Range<u32>,
        claim: &mut Claim,
    ) -> Result<(), TierError> {
        let (sender, pieces) = async_channel::unbounded();
        let range = object.range(run);
        let request = async {
            let get = || {
                let pieces = sender.clone();
                self.bucket
                    .get_pieces(&object.key, range.clone(), BLOCK_BYTES as usize, pieces)
            };
            let done = self.hedged(object, get).await;
            sender.close();
            done
        };
        let land = async {
            let footer: chronik_core::BoxFuture<'_, _> = Box::pin(self.footer(object));
            let footer = footer.await?;
            let mut wrong = None;
            while let Ok(first) = pieces.recv().await {
                let more = std::iter::from_fn(|| pieces.try_recv().ok());
                let blocks = std::iter::once(first).chain(more).filter_map(|(at, block)| {
                    let number = run.start.checked_add(u32::try_from(at).ok()?)?;
                    // A request that was repeated brings blocks that were landed.
                    (run.contains(&number) && claim.has(number)).then_some((number, block))
                });
                for (number, block) in self.checked(object, blocks.collect(), &footer).await? {
                    match block {
                        Ok(block) => claim.land(number, Ok(block)),
                        Err(error) => wrong = Some(error),
                    }
                }
            }
            wrong.map_or(Ok(()), Err)
        };
        future::try_zip(request, land).await?;
        match claim.runs(u32::MAX).iter().any(|one| run.contains(&one.start)) {
            true => Err(TierError::damaged(
                &object.key,
                "other bytes came than were asked for",
            )),
            false => Ok(()),
        }
    }

    /// One request, with a second one beside it if it is slow.
    async fn hedged<T>(&self, object: &Object, request: impl Fn() -> Answer<T>) -> Result<T, TierError> {
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
            Ok(answer) => Ok(answer),
            Err(error) if error.kind == StoreErrorKind::NotFound => Err(TierError::Missing {
                key: Arc::clone(&object.key),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Compares blocks with their checksums on a disk thread, and caches those that are right.
    async fn checked(
        self: &Arc<Self>,
        object: &Object,
        blocks: Vec<(u32, Bytes)>,
        footer: &Arc<Footer>,
    ) -> Result<Vec<(u32, Result<Bytes, TierError>)>, TierError> {
        let (sender, answer) = reply();
        let (this, object, footer) = (Arc::clone(self), object.clone(), Arc::clone(footer));
        let job = move || {
            let checked = blocks.into_iter().map(|(number, block)| {
                let right = check(&object, number, &block, &footer);
                (number, right.map(|()| block))
            });
            let checked: Vec<(u32, Result<Bytes, TierError>)> = checked.collect();
            let kept = match this.disk.is_enabled() {
                true => checked.clone(),
                false => Vec::new(),
            };
            sender.send(Ok(checked));
            for (number, block) in kept {
                if let Ok(block) = block {
                    this.disk.put(&object.key, number, &block);
                }
            }
        };
        self.env.disk.submit(DiskLane::Read, Box::new(job));
        answer.await.map_err(|_| TierError::Closed)
    }
}

/// Compares a block with its checksums.
fn check(object: &Object, number: u32, block: &[u8], footer: &Footer) -> Result<(), TierError> {
    let range = object.range(&(number..number.saturating_add(1)));
    if block.len() as u64 != range.end - range.start {
        return Err(TierError::damaged(
            &object.key,
            "other bytes came than were asked for",
        ));
    }
    let chunks_per_block = BLOCK_BYTES / u64::from(CHUNK_BYTES);
    let first = u64::from(number) * chunks_per_block;
    for (chunk, bytes) in (first..).zip(block.chunks(CHUNK_BYTES as usize)) {
        if footer.chunk_crc(chunk) != Some(crc32c::crc32c(bytes)) {
            return Err(TierError::damaged(
                &object.key,
                format!("chunk {chunk} does not match its checksum"),
            ));
        }
    }
    Ok(())
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
