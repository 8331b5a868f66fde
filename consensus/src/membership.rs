//! A membership as bytes: the payload of a membership entry, and the engine's part of a checkpoint.
//!
//! The format is written down in `docs/format/consensus-messages.md`.

use chronik_core::consensus::{Member, Membership};
use chronik_core::{NodeId, ReplicaId};

/// The version of the format.
const VERSION: u8 = 1;
/// Bytes of a member.
const MEMBER_BYTES: usize = 16;
/// More members than a group ever has; a count beyond it is damage.
const MEMBERS_MAX: usize = 1024;

/// The bytes of a membership: the engine's part of a checkpoint of a group that has it.
///
/// # Panics
/// Beyond 1024 members, which no engine accepts.
#[must_use]
pub fn encode_membership(membership: &Membership) -> Vec<u8> {
    let mut out = vec![VERSION];
    for members in [
        &membership.voters,
        &membership.outgoing_voters,
        &membership.learners,
    ] {
        let count = u16::try_from(members.len()).expect("the engine refuses memberships beyond MEMBERS_MAX");
        out.extend_from_slice(&count.to_le_bytes());
        for member in members {
            out.extend_from_slice(&member.replica.0.to_le_bytes());
            out.extend_from_slice(&member.node.0.to_le_bytes());
        }
    }
    out
}

/// Reads a membership; `None` for bytes that are not one.
pub(crate) fn decode_membership(bytes: &[u8]) -> Option<Membership> {
    let (&version, mut rest) = bytes.split_first()?;
    if version != VERSION {
        return None;
    }
    let membership = Membership {
        voters: take_members(&mut rest)?,
        outgoing_voters: take_members(&mut rest)?,
        learners: take_members(&mut rest)?,
    };
    rest.is_empty().then_some(membership)
}

fn take_members(rest: &mut &[u8]) -> Option<Vec<Member>> {
    let (count, after) = rest.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_le_bytes(*count));
    if count > MEMBERS_MAX || after.len() < count * MEMBER_BYTES {
        return None;
    }
    let (members, after) = after.split_at(count * MEMBER_BYTES);
    *rest = after;
    members.chunks_exact(MEMBER_BYTES).map(read_member).collect()
}

fn read_member(bytes: &[u8]) -> Option<Member> {
    let (replica, rest) = bytes.split_first_chunk::<8>()?;
    let (node, _) = rest.split_first_chunk::<8>()?;
    Some(Member {
        replica: ReplicaId(u64::from_le_bytes(*replica)),
        node: NodeId(u64::from_le_bytes(*node)),
    })
}

/// Why `membership` cannot be one, or `None` where it can: replicas and nodes occur once, none is zero, and there are
/// voters.
pub(crate) fn why_invalid(membership: &Membership) -> Option<String> {
    let current = || membership.voters.iter().chain(&membership.learners);
    if membership.voters.is_empty() {
        return Some("a group needs a voter".into());
    }
    if current().count() + membership.outgoing_voters.len() > MEMBERS_MAX {
        return Some(format!("more than {MEMBERS_MAX} members"));
    }
    let mut seen = Vec::new();
    for member in current() {
        if member.replica.0 == 0 {
            return Some("replica 0 cannot be a member".into());
        }
        if seen.contains(&member.replica) {
            return Some(format!("replica {} occurs twice", member.replica));
        }
        seen.push(member.replica);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        Member {
            replica: ReplicaId(id),
            node: NodeId(id + 100),
        }
    }

    #[test]
    fn a_membership_survives_its_bytes_and_every_cut_is_refused() {
        let membership = Membership {
            voters: vec![member(1), member(2)],
            outgoing_voters: vec![member(2)],
            learners: vec![member(9)],
        };
        let bytes = encode_membership(&membership);
        assert_eq!(decode_membership(&bytes), Some(membership));
        for len in 0..bytes.len() {
            assert_eq!(decode_membership(&bytes[..len]), None);
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused() {
        let bytes = [VERSION, 255, 255, 0, 0, 0, 0];
        assert_eq!(decode_membership(&bytes), None);
    }

    #[test]
    fn a_membership_without_voters_or_with_a_replica_twice_is_invalid() {
        let twice = Membership {
            voters: vec![member(1)],
            learners: vec![member(1)],
            ..Membership::default()
        };
        assert!(why_invalid(&twice).is_some());
        assert!(why_invalid(&Membership::default()).is_some());
    }
}
