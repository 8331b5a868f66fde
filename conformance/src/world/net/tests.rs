use super::*;
use bytes::Bytes;
use chronik_core::transport::{
    BindOptions, Bound, CallOutcome, Hello, InboundStream, Lane, Peer, SendError, Transport, TransportFactory,
};
use std::sync::atomic::{AtomicU64, Ordering};

struct World {
    sim: SimEnv,
    net: SimNet,
    seed: Seed,
}

struct Node {
    process: SimNode,
    transport: Arc<dyn Transport>,
    inbound: Box<dyn InboundStream>,
    local: SocketAddr,
}

const KEEPALIVE: Duration = Duration::from_secs(2);

fn options(node: u64) -> BindOptions {
    BindOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        hello: Hello {
            cluster_id: "test".into(),
            node: NodeId(node),
            version: 1,
        },
        max_message_bytes: 1000,
        max_queued_bytes: 2000,
        keepalive: KEEPALIVE,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let seed = Seed(seed);
        let sim = SimEnv::new(seed.child("sim"));
        let net = SimNet::new(&sim, seed.child("net"), NetOptions::default());
        Self { sim, net, seed }
    }

    fn node(&self, options: BindOptions) -> Node {
        let process = self.sim.node(self.seed.child("node").nth(options.hello.node.0));
        let bound = self
            .sim
            .block_on(self.net.factory(&process).bind(options))
            .unwrap();
        let Bound {
            transport,
            inbound,
            local,
        } = bound.unwrap();
        Node {
            process,
            transport,
            inbound,
            local,
        }
    }

    /// Two nodes that know each other and have a session.
    fn pair(&self) -> (Node, Node) {
        let (one, two) = (self.node(options(1)), self.node(options(2)));
        one.transport.set_peers(vec![peer(2, &two)]);
        two.transport.set_peers(vec![peer(1, &one)]);
        self.until_connected(&one, 2, true);
        self.until_connected(&two, 1, true);
        (one, two)
    }

    fn until_connected(&self, node: &Node, to: u64, wanted: bool) {
        let peers = node.transport.peers();
        let state = |to: u64| peers.with(|peers| peers.get(&NodeId(to)).map(|state| state.connected));
        self.sim
            .drive(|| (state(to) == Some(wanted)).then_some(()))
            .unwrap();
    }

    fn next(&self, node: &mut Node) -> Option<Bytes> {
        self.sim
            .block_on(node.inbound.next())
            .unwrap()
            .map(|inbound| inbound.message)
    }
}

fn peer(number: u64, node: &Node) -> Peer {
    Peer {
        node: NodeId(number),
        address: node.local.to_string(),
    }
}

fn echo(node: Node) {
    let mut inbound = node.inbound;
    let task = async move {
        while let Some(message) = inbound.next().await {
            message.reply.answer(message.message);
        }
    };
    node.process.env().spawn.spawn("echo", Box::pin(task));
}

fn bytes(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

#[test]
fn messages_arrive_in_order_and_calls_get_their_own_answers() {
    let world = World::new(1);
    let (one, mut two) = world.pair();
    for number in 0..50 {
        let sent = one
            .transport
            .send(NodeId(2), Lane::Replication, bytes(number.to_string()));
        assert_eq!(sent, Ok(()));
    }
    for number in 0..50 {
        assert_eq!(world.next(&mut two), Some(bytes(number.to_string())));
    }
    echo(two);
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let lane = if number % 2 == 0 {
                Lane::Control
            } else {
                Lane::Bulk
            };
            let message = bytes(number.to_string());
            (
                one.transport
                    .call(NodeId(2), lane, message.clone(), Duration::from_secs(5)),
                message,
            )
        })
        .collect();
    for (call, message) in calls.into_iter().rev() {
        assert_eq!(world.sim.block_on(call), Ok(CallOutcome::Answered(message)));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let run = |seed| {
        let world = World::new(seed);
        let (one, two) = world.pair();
        echo(two);
        world.net.set_options(NetOptions {
            resets_ppm: 50_000,
            ..NetOptions::default()
        });
        let done = Arc::new(AtomicU64::new(0));
        for number in 0..40 {
            let call = one.transport.call(
                NodeId(2),
                Lane::Control,
                bytes(number.to_string()),
                Duration::from_secs(1),
            );
            let done = Arc::clone(&done);
            let count = async move {
                let _ = call.await;
                done.fetch_add(1, Ordering::SeqCst);
            };
            one.process.env().spawn.spawn("caller", Box::pin(count));
            world.sim.advance(Duration::from_millis(20));
        }
        world
            .sim
            .drive(|| (done.load(Ordering::SeqCst) == 40).then_some(()))
            .unwrap();
        (
            world.net.trace(),
            world.sim.clock().elapsed(),
            one.transport.peers().get(),
        )
    };
    let (first, again) = (run(7), run(7));
    assert_eq!(first, again);
    assert!(first.0.1 > 80, "{first:?}");
    assert_ne!(first.0, run(8).0);
    assert!(
        first.2.values().any(|peer| peer.session > 1),
        "a session broke: {first:?}"
    );
}

#[test]
fn a_cut_in_one_direction_is_found_by_silence_and_heals_with_a_new_session() {
    let world = World::new(2);
    let (one, two) = world.pair();
    world.net.cut(NodeId(1), NodeId(2));
    one.transport
        .send(NodeId(2), Lane::Control, bytes("lost"))
        .unwrap();
    let before = world.sim.clock().elapsed();
    world.until_connected(&two, 1, false);
    world.until_connected(&one, 2, false);
    let took = world.sim.clock().elapsed() - before;
    assert!(took <= KEEPALIVE * 2, "{took:?}");
    world.sim.advance(KEEPALIVE * 3);
    assert_eq!(world.net.sessions(), 0, "half a link is no link");
    world.net.heal_all();
    world.until_connected(&one, 2, true);
    one.transport
        .send(NodeId(2), Lane::Control, bytes("new"))
        .unwrap();
    let mut two = two;
    assert_eq!(world.next(&mut two), Some(bytes("new")));
    assert_eq!(one.transport.peers().get()[&NodeId(2)].session, 2);
}

#[test]
fn a_paused_process_does_nothing_and_goes_on_afterwards() {
    let world = World::new(3);
    let (one, two) = world.pair();
    let process = two.process.clone();
    echo(two);
    process.pause();
    let call = one
        .transport
        .call(NodeId(2), Lane::Control, bytes("x"), Duration::from_secs(1));
    assert!(matches!(world.sim.block_on(call), Ok(CallOutcome::Unknown(_))));
    world.until_connected(&one, 2, false);
    process.resume();
    world.until_connected(&one, 2, true);
    let call = one
        .transport
        .call(NodeId(2), Lane::Control, bytes("y"), Duration::from_secs(1));
    assert_eq!(world.sim.block_on(call), Ok(CallOutcome::Answered(bytes("y"))));
}

#[test]
fn a_process_that_ends_is_noticed_and_its_address_is_free_again() {
    let world = World::new(4);
    for how in [End::Process, End::Power] {
        let (one, two) = world.pair();
        let (process, local) = (two.process.clone(), two.local);
        echo(two);
        let before = world.sim.clock().elapsed();
        process.kill();
        world.net.end(NodeId(2), how);
        assert!(process.tasks().is_empty());
        world.until_connected(&one, 2, false);
        let took = world.sim.clock().elapsed() - before;
        assert_eq!(took >= KEEPALIVE / 2, how == End::Power, "{how:?} took {took:?}");
        let mut again = options(2);
        again.listen = local;
        let two = world.node(again);
        two.transport.set_peers(vec![peer(1, &one)]);
        world.until_connected(&one, 2, true);
        for (process, node) in [(&one.process, 1), (&two.process, 2)] {
            process.kill();
            world.net.end(NodeId(node), End::Process);
        }
    }
}

#[test]
fn strangers_are_refused() {
    let world = World::new(5);
    let one = world.node(options(1));
    let mut stranger = options(2);
    stranger.hello.cluster_id = "other".into();
    let mut newer = options(3);
    newer.hello.version = 2;
    let (stranger, newer, wrong) = (world.node(stranger), world.node(newer), world.node(options(4)));
    one.transport
        .set_peers(vec![peer(2, &stranger), peer(3, &newer), peer(5, &wrong)]);
    world.sim.advance(Duration::from_secs(20));
    assert!(
        one.transport.peers().get().values().all(|peer| !peer.connected),
        "{:?}",
        one.transport.peers()
    );
    assert_eq!(
        one.transport.send(NodeId(2), Lane::Bulk, Bytes::new()),
        Err(SendError::Disconnected)
    );
    assert_eq!(
        one.transport.send(NodeId(9), Lane::Bulk, Bytes::new()),
        Err(SendError::UnknownPeer(NodeId(9)))
    );
}

#[test]
fn a_reader_that_does_not_read_pushes_back_until_there_is_room() {
    let world = World::new(6);
    let (one, mut two) = world.pair();
    let mut sent = 0;
    let message = Bytes::from(vec![7; 500]);
    let busy = loop {
        match one.transport.send(NodeId(2), Lane::Bulk, message.clone()) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        world.sim.advance(Duration::from_millis(5));
        assert!(sent < 100, "nothing pushes back");
    };
    assert_eq!(busy, SendError::Busy);
    assert_eq!(one.transport.send(NodeId(2), Lane::Control, Bytes::new()), Ok(()));
    world.sim.advance(Duration::from_millis(5));
    let room = one.transport.room(NodeId(2), Lane::Bulk);
    assert_eq!(world.next(&mut two), Some(Bytes::new()), "control passes");
    assert_eq!(world.next(&mut two), Some(message.clone()));
    assert_eq!(world.sim.block_on(room), Ok(Ok(())));
    assert_eq!(one.transport.send(NodeId(2), Lane::Bulk, message), Ok(()));
    assert_eq!(
        one.transport
            .send(NodeId(2), Lane::Bulk, Bytes::from(vec![0; 1001])),
        Err(SendError::TooLarge { limit_bytes: 1000 })
    );
}

#[test]
fn closing_sends_what_is_queued_and_ends_both_ends() {
    let world = World::new(7);
    let (one, mut two) = world.pair();
    for number in 0..3 {
        one.transport
            .send(NodeId(2), Lane::Replication, bytes(number.to_string()))
            .unwrap();
    }
    world.sim.block_on(one.transport.close()).unwrap();
    for number in 0..3 {
        assert_eq!(world.next(&mut two), Some(bytes(number.to_string())));
    }
    world.until_connected(&two, 1, false);
    assert_eq!(
        one.transport.send(NodeId(2), Lane::Bulk, Bytes::new()),
        Err(SendError::Closed)
    );
    let mut one = one;
    assert_eq!(world.next(&mut one), None);
}
