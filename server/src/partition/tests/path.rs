//! The path of a record: produced, committed, applied, fetched.

use chronik_conformance::world::disk::{Fault, Op};
use chronik_core::fs::FsErrorKind;

use super::*;

#[test]
fn what_is_acknowledged_is_read_with_its_offsets_and_epoch() {
    let rig = Rig::new();
    for (index, values) in [["a", "b"], ["c", "d"]].iter().enumerate() {
        let outcome = rig.produce(batch(values)).expect("acknowledged");
        let expected = ProduceOutcome {
            base_offset: index as i64 * 2,
            log_append_time_ms: -1,
            log_start_offset: 0,
        };
        assert_eq!(outcome, expected);
    }
    let fetched = rig.fetch(from(0)).expect("in range");
    assert_eq!(values(&fetched), [b"a", b"b", b"c", b"d"]);
    assert_eq!(
        (
            fetched.high_watermark,
            fetched.last_stable_offset,
            fetched.log_start_offset
        ),
        (4, 4, 0)
    );
    assert_eq!(first_epoch(&fetched), rig.partition.view().leader_epoch);
    assert_eq!(
        fetched.size_bytes,
        fetched
            .records
            .iter()
            .map(|slice| slice.len() as u64)
            .sum::<u64>()
    );
}

#[test]
fn nothing_is_readable_or_acknowledged_before_it_is_durable() {
    let rig = Rig::new();
    let send = |value, acks| {
        rig.partition
            .produce(batch(&[value]), acks, true)
            .expect("accepted")
            .outcome()
    };
    let mut all = Box::pin(send("x", Acks::All));
    let mut one = Box::pin(send("y", Acks::Leader));
    let mut none = Box::pin(send("z", Acks::None));
    assert_eq!(
        rig.peek(&mut none)
            .expect("at once")
            .expect("accepted")
            .base_offset,
        -1
    );
    assert!(rig.peek(&mut all).is_none() && rig.peek(&mut one).is_none());
    let fetch = |offset| {
        rig.peek(Box::pin(rig.partition.fetch(from(offset))))
            .expect("hot")
    };
    let fetched = fetch(0).expect("in range");
    assert!(fetched.records.is_empty() && fetched.high_watermark == 0);
    assert_eq!(fetch(3).expect("not above the end of the log").records.len(), 0);
    assert_eq!(fetch(4), Err(PartitionError::OffsetOutOfRange));
    assert_eq!(
        rig.sim
            .block_on(all)
            .expect("ends")
            .expect("acknowledged")
            .base_offset,
        0
    );
    assert_eq!(
        rig.sim
            .block_on(one)
            .expect("ends")
            .expect("acknowledged")
            .base_offset,
        1
    );
    rig.sim.run_until_idle();
    assert_eq!(rig.values(), [b"x", b"y", b"z"]);
}

#[test]
fn a_failed_sync_is_an_unknown_outcome_and_ends_the_partition() {
    let rig = Rig::new();
    rig.disk.inject(Fault::nth(Op::Sync, 0, FsErrorKind::Io));
    let error = rig.produce(batch(&["x"])).expect_err("not acknowledged");
    assert_eq!(error, PartitionError::OutcomeUnknown { still_leading: false });
    assert_eq!(error.code().0, 6);
    rig.sim.run_until_idle();
    assert_eq!(rig.partition.view().ended, Some(Ended::Failed));
    assert!(matches!(
        rig.produce(batch(&["y"])),
        Err(PartitionError::NotLeader { .. })
    ));
    assert_eq!(rig.sim.executor().alive(), 0, "no task is left behind");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_space() {
    let rig = Rig::new();
    rig.disk.set_capacity(Some(rig.disk.used_bytes()));
    let value = "v".repeat(200_000);
    let error = rig.produce(batch(&[&value])).expect_err("no space");
    assert_eq!((error.code().0, rig.partition.view().high_watermark.0), (56, 0));
    rig.disk.set_capacity(None);
    assert_eq!(
        rig.produce(batch(&[&value])).expect("acknowledged").base_offset,
        0
    );
}

#[test]
fn a_batch_that_no_segment_takes_is_refused_for_good() {
    let rig = Rig::with(PartitionConfig {
        max_message_bytes: 8 << 20,
        ..PartitionConfig::DEFAULTS
    });
    let error = rig
        .produce(batch(&[&"v".repeat(2 << 20)]))
        .expect_err("larger than the store takes");
    assert_eq!(error.code().0, 18);
}

#[test]
fn acknowledged_records_survive_a_crash_and_the_epoch_rises() {
    let mut rig = Rig::new();
    let mut expected = Vec::new();
    let mut epoch = -1;
    for round in 0..4 {
        assert!(
            rig.partition.view().leader_epoch > epoch,
            "each start is a new epoch"
        );
        epoch = rig.partition.view().leader_epoch;
        for value in [format!("{round}-a"), format!("{round}-b")] {
            rig.produce(batch(&[&value])).expect("acknowledged");
            expected.push(value.into_bytes());
        }
        rig = rig.crash();
        assert_eq!(rig.values(), expected);
    }
}

#[test]
fn a_fetch_starts_with_the_batch_that_holds_its_offset_and_keeps_its_size() {
    let rig = Rig::new();
    let sizes: Vec<u64> = [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]]
        .iter()
        .map(|values| {
            let batch = batch(values);
            let len = batch.len() as u64;
            rig.produce(batch).expect("acknowledged");
            len
        })
        .collect();
    for offset in 0..9 {
        let fetched = rig.fetch(from(offset)).expect("in range");
        assert_eq!(base_offsets(&fetched).first(), Some(&(offset / 3 * 3)));
    }
    let sized = |max_bytes, min_one_batch| {
        base_offsets(
            &rig.fetch(FetchQuery {
                max_bytes,
                min_one_batch,
                ..from(1)
            })
            .expect("in range"),
        )
    };
    assert_eq!(sized(sizes[0] + sizes[1], true), [0, 3]);
    assert_eq!(sized(sizes[0] + sizes[1] - 1, true), [0]);
    assert_eq!(sized(sizes[0], false), [0]);
    assert_eq!(
        sized(sizes[0] - 1, true),
        [0],
        "the first batch is whole even above the limit"
    );
    assert_eq!(sized(0, true), [0]);
    assert!(sized(sizes[0] - 1, false).is_empty() && sized(0, false).is_empty());
    assert_eq!(rig.fetch(from(10)), Err(PartitionError::OffsetOutOfRange));
    assert_eq!(rig.fetch(from(-1)), Err(PartitionError::OffsetOutOfRange));
    assert!(
        rig.fetch(from(9))
            .expect("the end is in range")
            .records
            .is_empty()
    );
}

#[test]
fn a_cold_read_gives_the_same_bytes() {
    let rig = Rig::new();
    rig.produce(batch(&["a", "b"])).expect("acknowledged");
    let hot = rig.fetch(from(0));
    let rig = rig.crash_with(MemOptions {
        pending_reads: true,
        ..MemOptions::default()
    });
    assert_eq!(rig.fetch(from(0)), hot);
    assert!(
        rig.peek(Box::pin(rig.partition.fetch(from(0)))).is_none(),
        "the disk is asked first"
    );
}

#[test]
fn what_was_read_while_the_topic_was_deleted_is_no_answer() {
    let rig = Rig::new();
    rig.produce(batch(&["a", "b"])).expect("acknowledged");
    let rig = rig.crash_with(MemOptions {
        pending_reads: true,
        ..MemOptions::default()
    });
    let partition = &rig.partition;
    let mut fetch = Box::pin(partition.fetch(from(0)));
    let by_time = |query| Box::pin(partition.list_offsets(query, Isolation::ReadUncommitted, None));
    let (mut greatest, mut later) = (
        by_time(OffsetQuery::MaxTimestamp),
        by_time(OffsetQuery::AtOrAfter(1)),
    );
    assert!(rig.peek(&mut fetch).is_none(), "the disk is asked first");
    assert!(rig.peek(&mut greatest).is_none() && rig.peek(&mut later).is_none());
    rig.sim.block_on(partition.close_deleted()).expect("closes");
    assert_eq!(
        rig.sim.block_on(fetch).expect("ends"),
        Err(PartitionError::Deleted)
    );
    for look_up in [greatest, later] {
        let found = rig.sim.block_on(look_up).expect("ends");
        assert_eq!(found, Err(PartitionError::Deleted));
    }
}

#[test]
fn leader_epochs_of_clients_are_checked() {
    let rig = Rig::new().crash();
    let epoch = rig.partition.view().leader_epoch;
    rig.produce(batch(&["a"])).expect("acknowledged");
    let with = |leader_epoch| {
        rig.fetch(FetchQuery {
            leader_epoch: Some(leader_epoch),
            ..from(0)
        })
        .err()
    };
    assert_eq!(with(epoch - 1), Some(PartitionError::FencedLeaderEpoch));
    assert_eq!(with(epoch), None);
    assert_eq!(with(epoch + 1), Some(PartitionError::UnknownLeaderEpoch));
}

#[test]
fn one_signal_tells_which_of_many_partitions_changed() {
    let rigs: Vec<Rig> = (0..3).map(|_| Rig::new()).collect();
    let signal = Signal::new();
    let subscriptions: Vec<_> = rigs
        .iter()
        .enumerate()
        .map(|(token, rig)| rig.partition.subscribe(&signal, token as u64))
        .collect();
    assert!(signal.take().is_empty());
    let mut waiting = Box::pin(signal.fired());
    assert!(
        rigs[0]
            .sim
            .block_on(futures_lite::future::poll_once(&mut waiting))
            .expect("polled")
            .is_none()
    );
    rigs[2].produce(batch(&["x"])).expect("acknowledged");
    rigs[0].produce(batch(&["y"])).expect("acknowledged");
    rigs[2].produce(batch(&["z"])).expect("acknowledged");
    rigs[0].sim.block_on(waiting).expect("fires");
    assert_eq!(signal.take(), [2, 0], "each once, in the order of the changes");
    assert!(signal.take().is_empty());
    rigs[1]
        .sim
        .block_on(rigs[1].partition.close_deleted())
        .expect("closes");
    assert_eq!(signal.take(), [1], "the end of a partition is a change");
    assert_eq!(rigs[1].fetch(from(0)), Err(PartitionError::Deleted));
    drop(subscriptions);
    rigs[0].produce(batch(&["w"])).expect("acknowledged");
    assert!(signal.take().is_empty());
}

#[test]
fn closing_ends_every_wait_and_every_task() {
    let rig = Rig::new();
    let outcome = rig
        .partition
        .produce(batch(&["x"]), Acks::All, true)
        .expect("accepted")
        .outcome();
    rig.sim.block_on(rig.partition.close()).expect("closes");
    let error = rig
        .sim
        .block_on(outcome)
        .expect("ends")
        .expect_err("unknown, or committed where nobody serves it");
    assert_eq!(error, PartitionError::OutcomeUnknown { still_leading: false });
    rig.sim.run_until_idle();
    assert_eq!(rig.sim.executor().alive(), 0, "no task is left behind");
    assert_eq!(rig.partition.view().ended, Some(Ended::Closed));
}

#[test]
fn min_insync_replicas_refuses_before_the_append() {
    let rig = Rig::with(PartitionConfig {
        min_insync_replicas: 2,
        ..PartitionConfig::DEFAULTS
    });
    assert_eq!(rig.produce(batch(&["x"])), Err(PartitionError::NotEnoughReplicas));
    assert_eq!(
        rig.produce_with(batch(&["y"]), Acks::Leader)
            .expect("does not ask for it")
            .base_offset,
        0
    );
}

#[test]
fn producing_allocates_the_same_for_one_record_and_for_thousands() {
    let rig = Rig::new();
    let allocations = |records: usize| {
        let batch = timed_batch(Codec::None, std::iter::repeat_n((1000, "value"), records));
        let mut sent = None;
        let counted = allocation_counter::measure(|| {
            sent = Some(rig.partition.produce(batch, Acks::All, true).expect("accepted"));
        });
        let sent = sent.expect("it was sent");
        rig.sim
            .block_on(sent.outcome())
            .expect("ends")
            .expect("acknowledged");
        counted.count_total
    };
    allocations(1);
    let (one, many) = (allocations(1), allocations(5000));
    assert!(many <= one + 5, "{one} allocations for 1 record, {many} for 5000");
}

#[test]
fn fetching_copies_nothing() {
    let rig = Rig::new();
    rig.produce(batch(&[&"v".repeat(100_000)])).expect("acknowledged");
    let counted = allocation_counter::measure(|| {
        let fetched = rig
            .peek(Box::pin(rig.partition.fetch(from(0))))
            .expect("hot")
            .expect("in range");
        assert!(fetched.size_bytes > 100_000);
    });
    assert!(
        counted.bytes_total < 10_000,
        "{} bytes for slices of 100 kB",
        counted.bytes_total
    );
}
