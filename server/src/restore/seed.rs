//! The data directory of the first node of a restored cluster.

use super::source::REQUESTS;
use super::{RecoveredPartition, RestoreError, Source};
use crate::broker::partitions::METADATA_GROUP;
use crate::cluster::state::{OFFSETS_TOPIC, Partition, State};
use crate::kafka::record::Batches;
use crate::partition::{self, ProducerTable};
use bytes::{Bytes, BytesMut};
use chronik_consensus::encode_membership;
use chronik_core::consensus::{Member, Membership};
use chronik_core::log_store::{Checkpoint, GroupLog, HardState, Purge, SegmentPolicy};
use chronik_core::{Entry, EntryKind, GroupId, LogId, LogIndex, LogStore, NodeId, Offset, Term, Ticket};
use chronik_storage_object::offline::LastState;
use chronik_storage_object::{ColdReader, TierError};
use futures_util::stream::{self, StreamExt};
use std::sync::Arc;

/// The segments of logs that are written here; the server sets its own when it opens them.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Where the new cluster begins.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The cluster's id.
    pub cluster_id: &'a str,
    /// This node's replica of the metadata group.
    pub member: Member,
    /// All nodes of the new cluster; this one is among them.
    pub nodes: &'a [NodeId],
}

/// Builds the logs of the first node in an empty store; returns the metadata that the cluster begins with. The other nodes
/// start empty, and get everything from this one.
///
/// # Errors
/// [`RestoreError`]; the directory is then to be removed.
pub async fn seed(
    store: &dyn LogStore,
    source: &Source,
    cold: &Arc<ColdReader>,
    place: &Place<'_>,
) -> Result<State, RestoreError> {
    if !store.groups().is_empty() {
        let what =
            "the data directory holds logs already: restore into an empty one (node.data_dir, --data-dir)";
        return Err(RestoreError::Refused(what.to_owned()));
    }
    let state = source
        .state
        .moved_to(place.cluster_id, place.member.node, place.nodes);
    let term = source.term;
    let read = |recovered| async move { (recovered, state_at_end(recovered, term, cold).await) };
    let mut reads = stream::iter(&source.partitions).map(read).buffered(REQUESTS);
    while let Some((recovered, read)) = reads.next().await {
        let Some(placed) = placed(&state, &recovered.topic, recovered.index) else {
            continue;
        };
        let checkpoint = read?.map(|checkpoint| Checkpoint {
            consensus: alone(founder(placed)),
            ..checkpoint
        });
        begin(store, placed.group(), term, checkpoint).await?;
    }
    drop(reads);
    // Where the copy cannot be read, the log begins empty in the same term: only so does its leader replace that copy.
    let none = Bytes::new();
    let unknown = source.damage.copies.iter().map(|copy| (&copy.index, &none));
    for (index, records) in source.offsets.iter().chain(unknown) {
        if let Some(placed) = placed(&state, OFFSETS_TOPIC, *index) {
            write_offsets(store, placed.group(), term, records).await?;
        }
    }
    let metadata = Checkpoint {
        at: LogId {
            term,
            index: source.applied,
        },
        next_offset: Offset(0),
        data: state.to_bytes().into(),
        consensus: alone(place.member),
    };
    // The metadata comes last: without it, nothing of a directory that was half restored is served.
    begin(store, METADATA_GROUP, term, Some(metadata)).await?;
    Ok(state)
}

/// What a partition's log begins with: nothing where nothing of it is in the tier. Records come first: where the tier does
/// not say which producers wrote them, they are restored all the same.
async fn state_at_end(
    recovered: &RecoveredPartition,
    term: Term,
    cold: &Arc<ColdReader>,
) -> Result<Option<Checkpoint>, RestoreError> {
    let at = LogId {
        term,
        index: recovered.tier.end().last.index,
    };
    if at.index == LogIndex(0) {
        return Ok(None);
    }
    let producers = match LastState::read(cold, recovered.key, &recovered.tier).await {
        Ok(last) => partition::producers_at_end(last).await,
        Err(error) => Err(error),
    };
    let producers = match producers {
        Ok(producers) => producers,
        Err(error @ (TierError::Damaged { .. } | TierError::Missing { .. })) => {
            log::warn!(
                "event=restore_without_producers partition={}-{} error=\"{error}\"",
                recovered.topic,
                recovered.index
            );
            ProducerTable::default()
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(partition::restored(at, &recovered.tier, producers)))
}

fn placed<'a>(state: &'a State, topic: &str, index: u32) -> Option<&'a Partition> {
    state.topic(topic)?.partitions.get(index as usize)
}

fn founder(placed: &Partition) -> Member {
    let first = placed.founders().first();
    first
        .expect("a partition that was moved has one founder")
        .member()
}

/// The membership of a group whose one voter is this replica, as a checkpoint carries it.
fn alone(member: Member) -> Bytes {
    let membership = Membership {
        voters: vec![member],
        ..Membership::default()
    };
    encode_membership(&membership).into()
}

/// Begins a log in `term`, after a checkpoint where there is one.
async fn begin(
    store: &dyn LogStore,
    group: GroupId,
    term: Term,
    checkpoint: Option<Checkpoint>,
) -> Result<(), RestoreError> {
    let GroupLog { mut writer, .. } = open(store, group)?;
    let mut done: Ticket = writer.save_hard_state(HardState { term, vote: None })?;
    if let Some(checkpoint) = checkpoint {
        let purge = Purge {
            through: checkpoint.at,
            offset_start: checkpoint.next_offset,
        };
        writer.save_checkpoint(checkpoint)?.await?;
        done = writer.purge(purge)?;
    }
    done.await?;
    Ok(())
}

fn open(store: &dyn LogStore, group: GroupId) -> Result<GroupLog, RestoreError> {
    let policy = SegmentPolicy {
        segment_bytes: SEGMENT_BYTES,
    };
    Ok(store.open_group(group, policy)?)
}

/// Writes the records of a partition of `__consumer_offsets` as the first entries of its log.
async fn write_offsets(
    store: &dyn LogStore,
    group: GroupId,
    term: Term,
    records: &Bytes,
) -> Result<(), RestoreError> {
    let GroupLog { mut writer, .. } = open(store, group)?;
    writer.save_hard_state(HardState { term, vote: None })?.await?;
    let broken =
        |error: &dyn std::fmt::Display| RestoreError::Refused(format!("the copy of offsets: {error}"));
    let (mut index, mut offset) = (LogIndex(1), Offset(0));
    for batch in Batches::new(records) {
        let batch = batch.map_err(|error| broken(&error))?;
        let record_count = u32::try_from(batch.record_count()).map_err(|error| broken(&error))?;
        let mut payload = BytesMut::from(batch.bytes());
        partition::stamp(&mut payload, offset, term);
        let entry = Entry {
            id: LogId { term, index },
            kind: EntryKind::Data,
            base_offset: offset,
            record_count,
            max_timestamp_ms: batch.max_timestamp_ms(),
            payload: payload.freeze(),
        };
        offset = entry.end_offset();
        writer.append(std::slice::from_ref(&entry))?.await?;
        index = index.next();
    }
    Ok(())
}
