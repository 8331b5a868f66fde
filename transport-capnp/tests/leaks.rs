//! TR-LIFE-01 and TR-SIZE-03: what is left after a transport, and how much memory strangers get. One test at a time,
//! because threads, files and memory are counted for the whole process.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says its seed, and fails by panics"
)]
#![allow(dead_code, reason = "it shares what the other tests use")]

#[path = "it/fixture.rs"]
mod fixture;
#[path = "common/raw.rs"]
mod raw;
#[rustfmt::skip]
#[path = "../src/generated/session_capnp.rs"]
#[allow(clippy::all, clippy::unimplemented, missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
mod session_capnp;

use chronik_core::transport::{CallOutcome, Lane};
use fixture::{Fixture, eventually};
use raw::{Claim, Raw};

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).expect("Linux has it").count()
}

/// Threads named after the transport, and all open files.
fn left() -> (usize, usize) {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    (
        names.filter(|name| name.trim() == "transport").count(),
        count("/proc/self/fd"),
    )
}

/// `VmRSS`, or `VmData`, which counts what was allocated and not touched too.
fn memory_kib(what: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status
        .lines()
        .find(|line| line.starts_with(what))
        .expect("it says so");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("it is a number")
}

#[test]
fn nothing_is_left_and_strangers_get_little_memory() {
    a_closed_or_dropped_transport_leaves_no_thread_and_no_file();
    announced_frames_take_no_memory_before_they_come();
    messages_that_are_kept_keep_little_beside_themselves();
}

fn a_closed_or_dropped_transport_leaves_no_thread_and_no_file() {
    // The reactor's thread and files stay with the process.
    let warm = Fixture::new();
    let (one, two) = warm.pair();
    one.close();
    two.close();
    let before = left();
    assert_eq!(before.0, 0);
    for round in 0..6 {
        let fixture = Fixture::new();
        let (one, mut two) = fixture.pair();
        let echo = two.echo();
        assert_eq!(
            one.call(2, Lane::Bulk, vec![1; 300_000]).clone(),
            CallOutcome::Answered(vec![1; 300_000].into())
        );
        let stranger = Raw::dial(one.local);
        let mut rude = Raw::dial(one.local);
        assert_eq!(rude.hello(&Claim::good(9, 1, 1)), "");
        // Batches that nobody takes, until it sends more than it may.
        rude.write(&raw::bootstrap(0));
        let body = vec![1; 100_000];
        let broken = !(1..100).all(|number| rude.write(&raw::deliver(number, number.into(), &[&body])));
        assert!(broken || rude.is_ended());
        // One that goes while its batches wait.
        let mut gone = Raw::dial(one.local);
        assert_eq!(gone.hello(&Claim::good(8, 1, 1)), "");
        gone.write(&[raw::bootstrap(0), raw::deliver(1, 1, &[&body])].concat());
        drop(gone);
        drop(rude);
        assert_eq!(left().0, 2);
        if round % 2 == 0 {
            one.close();
            two.close();
            drop((one, two));
        } else {
            drop((one, two));
        }
        echo.join().unwrap();
        drop(stranger);
        eventually("nothing is left", || left() == before);
    }
}

fn announced_frames_take_no_memory_before_they_come() {
    let fixture = Fixture {
        max_message_bytes: 256 << 20,
        ..Fixture::new()
    };
    let two = fixture.node(2);
    let before = memory_kib("VmRSS:");
    // Frames of 200 MiB are announced; a little of each is sent.
    let peers: Vec<Raw> = (10..40)
        .map(|node| {
            let mut raw = Raw::dial(two.local);
            assert_eq!(raw.hello(&Claim::good(node, 2, 1)), "");
            assert!(raw.write(&[[0; 4], (25_u32 << 20).to_le_bytes()].concat()));
            assert!(raw.write(&[0; 100_000]));
            raw
        })
        .collect();
    // They were read when a proper peer that came later is served.
    let (one, mut two) = (fixture.node(1), two);
    two.echo();
    one.meet(&[&two]);
    one.wait_connected(2);
    assert_eq!(one.call(2, Lane::Control, "x"), CallOutcome::Answered("x".into()));
    let grown = memory_kib("VmRSS:").saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB for {} peers", peers.len());
}

fn messages_that_are_kept_keep_little_beside_themselves() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let before = memory_kib("VmData:");
    let (mut kept, mut bytes) = (Vec::new(), 0);
    // One at a time, so that each comes in a frame of its own.
    for number in 0..600 {
        let message = vec![1; 16_500 + number % 3 * 10_000];
        bytes += message.len();
        one.send_all(2, Lane::Replication, [message.into()]);
        kept.push(two.next().message);
    }
    let grown = memory_kib("VmData:").saturating_sub(before);
    assert!(
        grown < 3 * bytes / 1024,
        "{grown} KiB for {} KiB of {} messages",
        bytes / 1024,
        kept.len()
    );
}
