//! Looks for what should not be: orphans, missing and damaged objects, gaps and overlaps.

use super::list_all;
use crate::bucket::{Bucket, ObjectMeta, StoreErrorKind, Want};
use crate::error::TierError;
use crate::format::{CHUNK_BYTES, Footer, Frames, OBJECT_HEADER, TRAILER_BYTES, Trailer};
use crate::key::{PartitionKey, SegmentKey};
use crate::manifest::{pages_folder, read_segments};
use crate::state::SegmentMeta;
use bytes::Bytes;
use chronik_core::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Something that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// An object that nothing refers to: what an upload left that did not come to its end, or a page that a manifest does not
    /// name any more.
    Orphan {
        /// Its key.
        key: Arc<str>,
        /// Its length.
        size_bytes: u64,
        /// When it was written, by the store's clock.
        modified_ms: i64,
    },
    /// An object that the manifest refers to, and that is not there.
    Missing {
        /// Its key.
        key: Arc<str>,
        /// The offsets that cannot be read.
        offsets: Range<Offset>,
    },
    /// An object that is not what was written.
    Damaged {
        /// Its key.
        key: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
    /// Offsets between two segments that no segment holds.
    Gap(Range<Offset>),
    /// Offsets that two segments hold.
    Overlap(Range<Offset>),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orphan { key, size_bytes, .. } => {
                write!(f, "orphan: {key}, {size_bytes} bytes")?;
                match key.parse::<SegmentKey>() {
                    Ok(_) => Ok(()),
                    Err(_) => f.write_str(", no segment: it is named, and never deleted"),
                }
            }
            Self::Missing { key, offsets } => {
                write!(f, "missing: {key}, offsets {}..{}", offsets.start, offsets.end)
            }
            Self::Damaged { key, reason } => write!(f, "damaged: {key}: {reason}"),
            Self::Gap(offsets) => write!(f, "gap: offsets {}..{}", offsets.start, offsets.end),
            Self::Overlap(offsets) => write!(f, "overlap: offsets {}..{}", offsets.start, offsets.end),
        }
    }
}

/// What a look at one partition came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Segments that the manifest refers to.
    pub segments: usize,
    /// Bytes of their objects.
    pub bytes: u64,
    /// The offsets that the manifest covers.
    pub offsets: Range<Offset>,
    /// What should not be.
    pub findings: Vec<Finding>,
}

impl ScrubReport {
    /// Whether anything can not be read that should be. Orphans cost money and nothing else.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| matches!(finding, Finding::Orphan { .. }))
    }
}

/// Holds the partition's manifest against the objects that there are; with `deep`, reads every object and compares every
/// checksum. Changes nothing.
///
/// # Errors
/// [`TierError::Store`]; damage is a finding.
pub async fn scrub(
    bucket: &dyn Bucket,
    partition: PartitionKey,
    deep: bool,
) -> Result<ScrubReport, TierError> {
    let mut report = ScrubReport::default();
    let read = match read_segments(bucket, partition).await {
        Ok(read) => read,
        Err(TierError::Damaged { key, reason }) => {
            report.findings.push(Finding::Damaged { key, reason });
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let (segments, pages, end) = match read {
        Some((head, segments)) => (segments, head.pages, head.end.offset),
        None => (Vec::new(), Vec::new(), Offset(0)),
    };
    // Listed after the manifest was read: what is published meanwhile shows as an orphan of no age, and never as missing.
    let mut there: BTreeMap<Arc<str>, ObjectMeta> = BTreeMap::new();
    for folder in [partition.segments(), pages_folder(partition)] {
        let objects = list_all(bucket, &folder).await?;
        there.extend(
            objects
                .into_iter()
                .map(|object| (Arc::clone(&object.key), object)),
        );
    }
    report.segments = segments.len();
    report.bytes = segments.iter().map(|segment| segment.object_bytes).sum();
    report.offsets = match (segments.first(), segments.last()) {
        (Some(first), Some(last)) => first.offsets.start..last.offsets.end,
        _ => end..end,
    };
    report.findings.extend(breaks(&segments, end));
    let mut referenced: BTreeSet<Arc<str>> = pages.iter().map(|page| page.key(partition).into()).collect();
    for segment in &segments {
        let key: Arc<str> = segment.key(partition).to_string().into();
        let finding = match there.get(&key) {
            // A list may be older than the object.
            None => check_missing(bucket, &key, segment).await?,
            Some(object) if object.size_bytes != segment.object_bytes => Some(Finding::Damaged {
                key: Arc::clone(&key),
                reason: "it has another length than the manifest says".into(),
            }),
            Some(_) if deep => verify_object(bucket, &segment.key(partition), segment.object_bytes).await?,
            Some(_) => None,
        };
        report.findings.extend(finding);
        referenced.insert(key);
    }
    let orphans = there
        .into_values()
        .filter(|object| !referenced.contains(&object.key));
    report.findings.extend(orphans.map(|object| Finding::Orphan {
        key: object.key,
        size_bytes: object.size_bytes,
        modified_ms: object.modified_ms,
    }));
    Ok(report)
}

async fn check_missing(
    bucket: &dyn Bucket,
    key: &Arc<str>,
    segment: &SegmentMeta,
) -> Result<Option<Finding>, TierError> {
    match bucket.get(key, Want::Meta).await {
        Ok(_) => Ok(None),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Some(Finding::Missing {
            key: Arc::clone(key),
            offsets: segment.offsets.clone(),
        })),
        Err(error) => Err(error.into()),
    }
}

/// Where segments do not follow each other, or do not reach the end that the manifest names.
fn breaks(segments: &[Arc<SegmentMeta>], end: Offset) -> Vec<Finding> {
    let ends = segments.iter().map(|segment| segment.offsets.end);
    let starts = segments.iter().skip(1).map(|segment| segment.offsets.start);
    ends.zip(starts.chain(std::iter::once(end)))
        .filter_map(|(end, start)| match end.cmp(&start) {
            std::cmp::Ordering::Less => Some(Finding::Gap(end..start)),
            std::cmp::Ordering::Greater => Some(Finding::Overlap(start..end)),
            std::cmp::Ordering::Equal => None,
        })
        .collect()
}

/// Reads a whole object and compares every checksum in it, and the one in its name.
///
/// # Errors
/// [`TierError::Store`]; damage is a finding.
pub async fn verify_object(
    bucket: &dyn Bucket,
    key: &SegmentKey,
    object_bytes: u64,
) -> Result<Option<Finding>, TierError> {
    let name: Arc<str> = key.to_string().into();
    let want = Want::All {
        max_bytes: object_bytes,
    };
    let object = match bucket.get(&name, want).await {
        Ok(object) => object.data,
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            let offsets = key.offsets.clone();
            return Ok(Some(Finding::Missing { key: name, offsets }));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(whole(&object, key).err().map(|reason| Finding::Damaged {
        key: name,
        reason: reason.into(),
    }))
}

/// Whether an object is what its name says.
fn whole(object: &Bytes, key: &SegmentKey) -> Result<(), String> {
    if crc32c::crc32c(object) != key.crc {
        return Err("it does not match the checksum in its name".to_owned());
    }
    let at = object
        .len()
        .checked_sub(TRAILER_BYTES as usize)
        .ok_or("it is too short")?;
    let trailer =
        Trailer::decode(&object.slice(at..), object.len() as u64).map_err(|error| format!("{error:?}"))?;
    let body_end = trailer.footer_position as usize;
    let footer = Footer::decode(&object.slice(body_end..at), &trailer).map_err(|error| error.to_string())?;
    if footer.partition != key.partition || footer.offsets != key.offsets || footer.last != key.last {
        return Err("it holds another segment than its name says".to_owned());
    }
    let body = object.slice(..body_end);
    for (number, chunk) in (0..).zip(body.chunks(CHUNK_BYTES as usize)) {
        if footer.chunk_crc(number) != Some(crc32c::crc32c(chunk)) {
            return Err(format!("chunk {number} does not match its checksum"));
        }
    }
    if !body.starts_with(OBJECT_HEADER) {
        return Err("it does not start as a segment does".to_owned());
    }
    let mut frames = Frames::new(body.slice(OBJECT_HEADER.len()..));
    let mut entries = 0;
    while frames
        .next_entry()
        .map_err(|error| format!("entry {entries}: {error:?}"))?
        .is_some()
    {
        entries += 1;
    }
    match entries == footer.entries {
        true => Ok(()),
        false => Err(format!("it has {entries} entries and says {}", footer.entries)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_core::LogId;

    fn segment(offsets: Range<i64>) -> Arc<SegmentMeta> {
        Arc::new(SegmentMeta {
            first: LogId::new(1, 1),
            last: LogId::new(1, 1),
            offsets: Offset(offsets.start)..Offset(offsets.end),
            max_timestamp_ms: 1,
            object_bytes: 1000,
            footer_position: 800,
            crc: 7,
            salt: 0,
            terms: Vec::new(),
        })
    }

    #[test]
    fn gaps_and_overlaps_between_segments_and_before_the_end_are_named() {
        let segments = [segment(0..10), segment(10..20), segment(25..30), segment(28..40)];
        let found = breaks(&segments, Offset(45));
        let named: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                "gap: offsets 20..25",
                "overlap: offsets 28..30",
                "gap: offsets 40..45"
            ]
        );
        assert_eq!(breaks(&segments[..2], Offset(20)), []);
        assert_eq!(breaks(&[], Offset(20)), []);
    }
}
