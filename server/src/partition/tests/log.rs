//! Questions about the log: ends, times, epochs.

use super::*;

const NONE: FoundOffset = FoundOffset::NONE;

fn found(offset: i64, timestamp_ms: i64, leader_epoch: i32) -> FoundOffset {
    FoundOffset {
        offset,
        timestamp_ms,
        leader_epoch,
    }
}

#[test]
fn an_empty_log_has_ends_and_no_times() {
    let rig = Rig::new();
    let epoch = rig.partition.view().leader_epoch;
    assert_eq!(rig.list(OffsetQuery::Latest), found(0, -1, epoch));
    assert_eq!(rig.list(OffsetQuery::Earliest), found(0, -1, -1));
    assert_eq!(rig.list(OffsetQuery::EarliestLocal), found(0, -1, -1));
    for query in [
        OffsetQuery::MaxTimestamp,
        OffsetQuery::LatestTiered,
        OffsetQuery::EarliestPendingUpload,
    ] {
        assert_eq!(rig.list(query), NONE);
    }
    assert_eq!(rig.list(OffsetQuery::AtOrAfter(0)), NONE);
}

#[test]
fn special_timestamps_have_their_meaning_and_others_none() {
    let all = [
        OffsetQuery::Latest,
        OffsetQuery::Earliest,
        OffsetQuery::MaxTimestamp,
        OffsetQuery::EarliestLocal,
        OffsetQuery::LatestTiered,
        OffsetQuery::EarliestPendingUpload,
    ];
    for (index, query) in all.into_iter().enumerate() {
        assert_eq!(OffsetQuery::from_timestamp(-1 - index as i64), Some(query));
    }
    assert_eq!(OffsetQuery::from_timestamp(-7), None);
    assert_eq!(OffsetQuery::from_timestamp(0), Some(OffsetQuery::AtOrAfter(0)));
}

#[test]
fn times_are_found_inside_plain_and_compressed_batches_in_any_order() {
    for codec in Codec::ALL {
        let rig = Rig::new();
        let epoch = rig.partition.view().leader_epoch;
        for times in [[50, 10, 30], [20, 60, 60], [40, 55, 5]] {
            rig.produce(timed_batch(codec, times.iter().map(|time| (*time, "v"))))
                .expect("acknowledged");
        }
        assert_eq!(rig.list(OffsetQuery::AtOrAfter(0)), found(0, 50, epoch));
        assert_eq!(
            rig.list(OffsetQuery::AtOrAfter(51)),
            found(4, 60, epoch),
            "{codec:?}"
        );
        assert_eq!(rig.list(OffsetQuery::AtOrAfter(61)), NONE);
        assert_eq!(
            rig.list(OffsetQuery::MaxTimestamp),
            found(4, 60, epoch),
            "the first of the greatest"
        );
        rig.sim
            .block_on(rig.partition.delete_records(5))
            .expect("ends")
            .expect("deleted");
        assert_eq!(
            rig.list(OffsetQuery::MaxTimestamp),
            found(5, 60, epoch),
            "{codec:?}: the other one is left"
        );
        assert_eq!(rig.list(OffsetQuery::AtOrAfter(0)), found(5, 60, epoch));
        rig.sim
            .block_on(rig.partition.delete_records(6))
            .expect("ends")
            .expect("deleted");
        assert_eq!(rig.list(OffsetQuery::MaxTimestamp), found(7, 55, epoch));
        assert_eq!(rig.list(OffsetQuery::AtOrAfter(41)), found(7, 55, epoch));
        rig.sim
            .block_on(rig.partition.delete_records(8))
            .expect("ends")
            .expect("deleted");
        assert_eq!(
            rig.list(OffsetQuery::MaxTimestamp),
            found(8, 5, epoch),
            "inside a batch that is cut in part"
        );
        assert_eq!(rig.list(OffsetQuery::AtOrAfter(41)), NONE);
    }
}

#[test]
fn append_time_is_what_time_queries_see() {
    let rig = Rig::with(PartitionConfig {
        timestamp_type: crate::kafka::record::TimestampType::LogAppendTime,
        ..PartitionConfig::DEFAULTS
    });
    let epoch = rig.partition.view().leader_epoch;
    rig.sim
        .clock()
        .shift_wall_ms(5_000_000 - rig.sim.env().clock.wall_ms());
    let outcome = rig.produce(batch(&["a", "b"])).expect("acknowledged");
    assert_eq!(outcome.log_append_time_ms, 5_000_000);
    rig.sim.clock().shift_wall_ms(1000);
    assert_eq!(
        rig.produce(idempotent(3, 0, 0, 1))
            .expect("acknowledged")
            .log_append_time_ms,
        5_001_000
    );
    rig.sim.clock().shift_wall_ms(1000);
    assert_eq!(
        rig.produce(idempotent(3, 0, 0, 1))
            .expect("a duplicate")
            .log_append_time_ms,
        5_001_000
    );
    assert_eq!(
        rig.list(OffsetQuery::AtOrAfter(5_000_001)),
        found(2, 5_001_000, epoch)
    );
    assert_eq!(rig.list(OffsetQuery::MaxTimestamp), found(2, 5_001_000, epoch));
}

#[test]
fn epochs_end_where_the_next_one_begins() {
    let rig = Rig::new();
    let first = rig.partition.view().leader_epoch;
    rig.produce(batch(&["a", "b"])).expect("acknowledged");
    // An epoch without records lies in between.
    let rig = rig.crash().crash();
    let third = rig.partition.view().leader_epoch;
    assert_eq!(third, first + 2);
    let end_of = |epoch| {
        rig.partition
            .end_of_epoch(epoch, None)
            .expect("the leader answers")
    };
    let end = |leader_epoch, end_offset| EpochEnd {
        leader_epoch,
        end_offset,
    };
    assert_eq!(
        end_of(third),
        end(third, 2),
        "the current epoch has no records yet"
    );
    rig.produce(batch(&["c"])).expect("acknowledged");
    assert_eq!(end_of(first - 1), end(first - 1, 0), "before the first");
    assert_eq!(end_of(first), end(first, 2));
    assert_eq!(
        end_of(first + 1),
        end(first, 2),
        "the one without records ends where the one before does"
    );
    assert_eq!(end_of(third), end(third, 3));
    assert_eq!(end_of(third + 1), EpochEnd::UNKNOWN);
    assert_eq!(end_of(-1), EpochEnd::UNKNOWN);
    assert_eq!(rig.list(OffsetQuery::Earliest), found(0, -1, first));
    let diverging = |last_fetched_epoch, offset| {
        rig.fetch(FetchQuery {
            last_fetched_epoch: Some(last_fetched_epoch),
            ..from(offset)
        })
        .expect("answered")
        .diverging
    };
    assert_eq!(diverging(first, 2), None);
    assert_eq!(
        diverging(first, 3),
        Some(end(first, 2)),
        "its epoch ended before its offset"
    );
    assert_eq!(
        diverging(first + 1, 2),
        Some(end(first, 2)),
        "its epoch has no records here"
    );
    assert_eq!(diverging(third, 3), None);
}
