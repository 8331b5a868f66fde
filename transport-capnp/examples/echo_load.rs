//! How fast two transports in this process talk over loopback:
//! `cargo run --release -p chronik-transport-capnp --example echo_load -- [seconds]`.
//!
//! The processor time counts both ends and the load itself.

use bytes::Bytes;
use chronik_core::env::Rng;
use chronik_core::ids::NodeId;
use chronik_core::transport::{
    BindOptions, Bound, CallOutcome, Hello, Inbound, Lane, Peer, SendError, Transport, TransportFactory as _,
};
use chronik_transport_capnp::{CapnpFactory, CapnpOptions};
use futures_lite::future::block_on;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Random;

impl Rng for Random {
    fn next_u64(&self) -> u64 {
        fastrand::u64(..)
    }
}

fn bind(node: u64) -> Bound {
    let options = BindOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        hello: Hello {
            cluster_id: "load".into(),
            node: NodeId(node),
            version: 1,
        },
        max_message_bytes: 16 << 20,
        max_queued_bytes: 4 << 20,
        keepalive: Duration::from_secs(5),
    };
    let factory = CapnpFactory::new(CapnpOptions::default(), Arc::new(Random));
    block_on(factory.bind(options)).expect("a port is free")
}

/// Starts a node 2 with this handler, and a node 1 that is connected to it.
fn start(mut handler: impl FnMut(Inbound) + Send + 'static) -> (Arc<dyn Transport>, Arc<dyn Transport>) {
    let (one, mut two) = (bind(1), bind(2));
    one.transport.set_peers(vec![Peer {
        node: NodeId(2),
        address: two.local.to_string(),
    }]);
    std::thread::spawn(move || {
        while let Some(message) = block_on(two.inbound.next()) {
            handler(message);
        }
    });
    block_on(
        one.transport
            .peers()
            .wait_for(|states| states.values().all(|state| state.connected)),
    );
    (one.transport, two.transport)
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    // After the name: state is field 3, user and system time are 14 and 15, in hundredths of a second.
    let fields = stat.rsplit(')').next().expect("the name is in brackets");
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse().unwrap_or(0_u64))
        .sum();
    Duration::from_millis(ticks * 10)
}

fn throughput(size: usize, lane: Lane, time: Duration) -> String {
    let (taken, sink) = std::sync::mpsc::channel();
    let (one, two) = start(move |inbound| {
        if inbound.message.len() == 1 {
            taken.send(()).expect("the load waits");
        }
    });
    let message = Bytes::from(vec![7; size]);
    let (start, before) = (Instant::now(), cpu());
    let mut sent = 0_usize;
    while start.elapsed() < time {
        match one.send(NodeId(2), lane, message.clone()) {
            Ok(()) => sent += 1,
            Err(SendError::Busy) => block_on(one.room(NodeId(2), lane)).expect("the session lives"),
            Err(error) => panic!("{error:?}"),
        }
    }
    block_on(one.room(NodeId(2), lane)).expect("the session lives");
    one.send(NodeId(2), lane, Bytes::from_static(b"e"))
        .expect("there is room");
    sink.recv().expect("the last message arrives");
    let (seconds, used) = (start.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    block_on(one.close());
    block_on(two.close());
    let megabytes = (sent * size) as f64 / 1e6;
    format!(
        "{size:>8} B one-way {lane:?}: {:.0} MB/s, {:.0} messages/s, {:.2} CPU-s/GB",
        megabytes / seconds,
        sent as f64 / seconds,
        used / megabytes * 1e3
    )
}

fn latency(size: usize, in_flight: usize, time: Duration) -> String {
    let (one, two) = start(|inbound| inbound.reply.answer(inbound.message));
    let message = Bytes::from(vec![7; size]);
    let call = || {
        let start = Instant::now();
        let call = one.call(NodeId(2), Lane::Control, message.clone(), Duration::from_secs(5));
        async move { (call.await, start.elapsed()) }
    };
    let (start, before) = (Instant::now(), cpu());
    let mut times = Vec::new();
    block_on(async {
        let mut calls: FuturesUnordered<_> = (0..in_flight).map(|_| call()).collect();
        while let Some((outcome, time_taken)) = calls.next().await {
            assert!(matches!(outcome, CallOutcome::Answered(_)), "{outcome:?}");
            times.push(time_taken);
            if start.elapsed() < time {
                calls.push(call());
            }
        }
    });
    let (seconds, used) = (start.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    block_on(one.close());
    block_on(two.close());
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!(
        "{size:>8} B call, {in_flight:>4} in flight: p50 {:?} p99 {:?}, {:.0} calls/s, {:.1} CPU-us/call",
        at(0.5),
        at(0.99),
        times.len() as f64 / seconds,
        used / times.len() as f64 * 1e6
    )
}

fn main() -> std::io::Result<()> {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(3.0);
    let time = Duration::from_secs_f64(seconds);
    let mut lines = String::new();
    for size in [100, 1024, 64 * 1024, 1 << 20] {
        let _ = writeln!(lines, "{}", throughput(size, Lane::Replication, time));
    }
    for in_flight in [1, 16, 256] {
        let _ = writeln!(lines, "{}", latency(100, in_flight, time));
    }
    std::io::stdout().write_all(lines.as_bytes())
}
