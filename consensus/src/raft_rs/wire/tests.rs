//! Messages survive their bytes, and bytes that are no messages hurt nobody.

use super::*;
use crate::membership::encode_membership;
use crate::raft_rs::entry::{Draft, to_raft};
use ::bytes::Bytes;
use chronik_core::EntryKind;
use chronik_core::consensus::{Member, Membership};
use chronik_core::transport::Channel;
use chronik_core::{NodeId, Offset};
use raft::eraftpb::Message;

fn message(kind: MessageType) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    message.to = 7;
    message.from = 9;
    message.term = 5;
    message
}

fn membership() -> Membership {
    Membership {
        voters: vec![Member {
            replica: ReplicaId(7),
            node: NodeId(1),
        }],
        ..Membership::default()
    }
}

fn entries() -> Vec<eraftpb::Entry> {
    let drafts = [
        (EntryKind::Data, 3, Bytes::from_static(b"records")),
        (EntryKind::Membership, 0, encode_membership(&membership()).into()),
        (EntryKind::Command, 0, Bytes::new()),
    ];
    let blank = std::iter::once(eraftpb::Entry::default());
    let others = drafts.into_iter().map(|(kind, record_count, payload)| {
        to_raft(Draft {
            kind,
            base_offset: Offset(40),
            record_count,
            max_timestamp_ms: 77,
            payload,
        })
    });
    let numbered = blank.chain(others).enumerate().map(|(place, mut entry)| {
        entry.index = 21 + place as u64;
        entry.term = 4 + u64::from(place > 1);
        entry
    });
    numbered.collect()
}

/// A message of every type, with every field that its type carries.
fn samples() -> Vec<Message> {
    let mut append = message(MessageType::MsgAppend);
    (append.index, append.log_term, append.commit) = (20, 3, 19);
    append.set_entries(entries().into());
    let mut answer = message(MessageType::MsgAppendResponse);
    (answer.index, answer.commit, answer.reject) = (24, 19, true);
    (answer.reject_hint, answer.log_term) = (18, 2);
    let mut heartbeat = message(MessageType::MsgHeartbeat);
    (heartbeat.commit, heartbeat.context) = (19, Bytes::from_static(b"context"));
    let mut heard = message(MessageType::MsgHeartbeatResponse);
    heard.commit = 19;
    let mut vote = message(MessageType::MsgRequestVote);
    (vote.index, vote.log_term, vote.commit, vote.commit_term) = (24, 4, 19, 3);
    vote.context = Bytes::from_static(raft::CAMPAIGN_TRANSFER);
    let mut pre_vote = message(MessageType::MsgRequestPreVote);
    (pre_vote.index, pre_vote.log_term) = (24, 4);
    let mut voted = message(MessageType::MsgRequestVoteResponse);
    (voted.reject, voted.commit, voted.commit_term) = (true, 4, 2);
    let mut snapshot = eraftpb::Snapshot::default();
    (snapshot.mut_metadata().index, snapshot.mut_metadata().term) = (12, 3);
    snapshot
        .mut_metadata()
        .set_conf_state(crate::raft_rs::conf::conf_state(&membership()));
    snapshot.data = checkpoint_data(&Checkpoint {
        at: LogId::new(3, 12),
        next_offset: Offset(33),
        data: Bytes::from_static(b"state"),
        consensus: encode_membership(&membership()).into(),
    });
    let mut checkpoint = message(MessageType::MsgSnapshot);
    checkpoint.set_snapshot(snapshot);
    let question = eraftpb::Entry {
        data: Bytes::from_static(b"who leads"),
        ..Default::default()
    };
    let mut read = message(MessageType::MsgReadIndex);
    read.term = 0;
    read.set_entries(vec![question.clone()].into());
    let mut read_answer = message(MessageType::MsgReadIndexResp);
    read_answer.index = 19;
    read_answer.set_entries(vec![question].into());
    vec![
        append,
        answer,
        heartbeat,
        heard,
        vote,
        pre_vote,
        voted,
        message(MessageType::MsgRequestPreVoteResponse),
        checkpoint,
        message(MessageType::MsgTimeoutNow),
        read,
        read_answer,
    ]
}

fn batch() -> Vec<u8> {
    let mut bytes = vec![Channel::Consensus as u8, VERSION];
    for message in samples() {
        let envelope = Envelope {
            group: GroupId(3),
            to: ReplicaId(7),
            from: ReplicaId(9),
            stamp_us: 123,
            asleep: matches!(message.get_msg_type(), MessageType::MsgHeartbeat),
            message,
        };
        assert!(put_message(&mut bytes, &envelope));
    }
    bytes
}

#[test]
fn a_message_of_every_type_survives_its_bytes() {
    let read = read_batch(&batch().into());
    assert_eq!(read.malformed, 0);
    let messages: Vec<Message> = read
        .messages
        .into_iter()
        .map(|envelope| {
            assert_eq!((envelope.group, envelope.stamp_us), (GroupId(3), 123));
            assert_eq!((envelope.to, envelope.from), (ReplicaId(7), ReplicaId(9)));
            let heartbeat = envelope.message.get_msg_type() == MessageType::MsgHeartbeat;
            assert_eq!(envelope.asleep, heartbeat);
            envelope.message
        })
        .collect();
    assert_eq!(messages, samples());
}

#[test]
fn a_ping_and_its_answer_survive_their_bytes() {
    for is_answer in [false, true] {
        let ping = Ping {
            epoch: u64::MAX,
            stamp_us: 7,
            is_answer,
        };
        let mut bytes = vec![Channel::Consensus as u8, VERSION];
        put_ping(&mut bytes, ping);
        let read = read_batch(&bytes.into());
        assert_eq!((read.pings, read.malformed), (vec![ping], 0));
    }
}

#[test]
fn a_local_message_never_leaves_a_node() {
    let mut bytes = Vec::new();
    let envelope = Envelope {
        group: GroupId(3),
        to: ReplicaId(7),
        from: ReplicaId(9),
        stamp_us: 0,
        asleep: false,
        message: message(MessageType::MsgHup),
    };
    assert!(!put_message(&mut bytes, &envelope) && bytes.is_empty());
}

#[test]
fn a_batch_that_is_cut_anywhere_gives_whole_messages_alone() {
    let whole = batch();
    let count = samples().len();
    for len in 0..whole.len() {
        let read = read_batch(&Bytes::copy_from_slice(&whole[..len]));
        assert!(read.messages.len() < count);
        assert_eq!(
            read.messages.iter().map(|it| &it.message).collect::<Vec<_>>(),
            samples().iter().take(read.messages.len()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn damaged_batches_never_panic_and_never_give_more_than_was_sent() {
    let seed = std::env::var("CHRONIK_SEED").map_or(0x5eed, |text| text.parse().unwrap());
    println!("seed {seed}; set CHRONIK_SEED to repeat");
    let mut state: u64 = seed;
    let mut next = move || {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize
    };
    let whole = batch();
    for _ in 0..200_000 {
        let mut bytes = whole.clone();
        for _ in 0..=next() % 4 {
            let place = next() % bytes.len();
            bytes[place] = match next() % 4 {
                0 => 0,
                1 => 0xff,
                2 => bytes[place] ^ (1 << (next() % 8)),
                _ => next() as u8,
            };
        }
        let read = read_batch(&bytes.into());
        let payloads = read.messages.iter().flat_map(|it| it.message.get_entries());
        let sum: usize = payloads.map(|entry| entry.data.len()).sum();
        assert!(sum <= whole.len());
    }
}
