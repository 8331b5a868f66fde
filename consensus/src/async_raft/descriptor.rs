//! What the crate's entries carry in place of payloads, and what its entries are in the log.

use async_raft::raft::{EntryConfigChange, EntryNormal, EntryPayload, MembershipConfig};
use async_raft::{AppData, AppDataResponse};
use chronik_core::consensus::{Member, Membership};
use chronik_core::{LogId, ReplicaId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// Stands for a proposal on its way through the crate; 0 for an entry that is in the log already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Descriptor {
    pub(super) draft: u64,
}

impl AppData for Descriptor {}

/// The crate's state machine has no answers: applying is not its business.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Applied;

impl AppDataResponse for Applied {}

/// An entry as the crate sees it.
pub(super) type CrateEntry = async_raft::raft::Entry<Descriptor>;

/// An entry of the log as the crate sees it. Only memberships matter to it.
pub(super) fn crate_entry(id: LogId, membership: Option<&Membership>) -> CrateEntry {
    let payload = match membership {
        Some(membership) => EntryPayload::ConfigChange(EntryConfigChange {
            membership: crate_config(membership),
        }),
        None => EntryPayload::Normal(EntryNormal {
            data: Descriptor { draft: 0 },
        }),
    };
    CrateEntry {
        term: id.term.0,
        index: id.index.0,
        payload,
    }
}

fn ids(members: &[Member]) -> HashSet<u64> {
    members.iter().map(|member| member.replica.0).collect()
}

/// The voters in the crate's terms: while a change is under way, its `members` are those that go out.
pub(super) fn crate_config(membership: &Membership) -> MembershipConfig {
    if membership.outgoing_voters.is_empty() {
        MembershipConfig {
            members: ids(&membership.voters),
            members_after_consensus: None,
        }
    } else {
        MembershipConfig {
            members: ids(&membership.outgoing_voters),
            members_after_consensus: Some(ids(&membership.voters)),
        }
    }
}

/// The membership that a configuration of the crate means, with the learners of the one before that do not vote in it.
/// `None` where a replica is unknown.
pub(super) fn membership_of(
    config: &MembershipConfig,
    before: &Membership,
    book: &BTreeMap<ReplicaId, Member>,
) -> Option<Membership> {
    let members = |ids: &HashSet<u64>| -> Option<Vec<Member>> {
        let mut members: Vec<Member> = ids
            .iter()
            .map(|id| book.get(&ReplicaId(*id)).copied())
            .collect::<Option<_>>()?;
        members.sort();
        Some(members)
    };
    let (voters, outgoing_voters) = match &config.members_after_consensus {
        Some(after) => (members(after)?, members(&config.members)?),
        None => (members(&config.members)?, Vec::new()),
    };
    let mut learners = before.learners.clone();
    learners.retain(|learner| !voters.contains(learner));
    Some(Membership {
        voters,
        outgoing_voters,
        learners,
    })
}
