use super::*;
use chronik_core::LogId;
use std::collections::BTreeSet;

/// Draws commands that touch few names and ids, so that they meet each other; a part of them is refused.
struct Generator {
    rng: fastrand::Rng,
    known: Vec<TopicId>,
    issued: u128,
}

impl Generator {
    fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            known: Vec::new(),
            issued: 0,
        }
    }

    fn fresh_id(&mut self) -> TopicId {
        self.issued += 1;
        let id = TopicId::from_wire(crate::kafka::wire::Uuid::from_u128(self.issued)).unwrap();
        self.known.push(id);
        id
    }

    fn some_id(&mut self) -> TopicId {
        match self.rng.choice(&self.known) {
            Some(id) => *id,
            None => self.fresh_id(),
        }
    }

    fn placements(&mut self) -> Vec<Placement> {
        let partitions = self.rng.usize(0..4);
        (0..partitions)
            .map(|_| (0..self.rng.u64(0..3)).map(|_| self.rng.u64(1..4)).collect())
            .collect()
    }

    fn configs(&mut self) -> BTreeMap<String, String> {
        let count = self.rng.usize(0..3);
        (0..count)
            .map(|i| (format!("key.{i}"), self.rng.u8(..).to_string()))
            .collect()
    }

    fn command(&mut self, state: &State) -> Command {
        match self.rng.u8(0..10) {
            0 => Command::FoundCluster {
                cluster_id: self.rng.u64(..).to_string(),
                features: BTreeMap::from([("a.version".to_owned(), 1)]),
            },
            1 | 2 => Command::RegisterBroker {
                node: self.rng.u64(1..4),
                host: format!("h{}", self.rng.u8(..)),
                port: self.rng.u16(..),
                rack: self.rng.bool().then(|| "r".to_owned()),
                incarnation: self.rng.u64(0..3),
                peer: self.rng.bool().then(|| "h:1".to_owned()),
            },
            3 | 4 => Command::CreateTopic {
                name: ["a.b", "a_b", "a-b", "c", "__consumer_offsets"][self.rng.usize(0..5)].to_owned(),
                id: if self.rng.u8(0..8) == 0 {
                    self.some_id()
                } else {
                    self.fresh_id()
                },
                placements: self.placements(),
                configs: self.configs(),
                replica_limit: self.rng.u64(0..30),
            },
            5 => Command::DeleteTopic { id: self.some_id() },
            6 => {
                let id = self.some_id();
                let count = state
                    .topic_by_id(id)
                    .map_or(0, |topic| topic.partitions.len() as u32);
                Command::CreatePartitions {
                    id,
                    based_on: count + u32::from(self.rng.u8(0..4) == 0),
                    placements: self.placements(),
                    replica_limit: self.rng.u64(0..30),
                }
            }
            7 => {
                let id = self.some_id();
                let revision = state.topic_by_id(id).map_or(0, |topic| topic.configs.revision);
                Command::SetTopicConfigs {
                    id,
                    based_on: revision + u64::from(self.rng.u8(0..4) == 0),
                    configs: self.configs(),
                }
            }
            8 => Command::SetBrokerDefaults {
                based_on: state.broker_defaults().revision + u64::from(self.rng.u8(0..4) == 0),
                configs: self.configs(),
            },
            _ => Command::AllocateProducerIds {
                node: self.rng.u64(1..4),
            },
        }
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("CHRONIK_SEED") {
        Ok(seed) => vec![seed.parse().expect("CHRONIK_SEED is a number")],
        Err(_) => (0..60).collect(),
    }
}

/// What was derived from the topics is what they say.
fn check_derived(state: &State) {
    let read_back = State::from_bytes(&state.to_bytes()).unwrap();
    assert_eq!(*state, read_back);
}

#[test]
fn replay_equals_live_and_a_checkpoint_with_its_suffix_equals_a_full_replay() {
    for seed in seeds() {
        println!("CHRONIK_SEED={seed}");
        let mut generator = Generator::new(seed);
        let mut live = State::default();
        let mut log = Vec::new();
        let mut answers = Vec::new();
        let mut checkpoints = Vec::new();
        for index in 1..=200 {
            if index % 37 == 0 {
                checkpoints.push((log.len(), live.to_bytes()));
            }
            let command = generator.command(&live);
            let at = LogId::new(1 + index / 50, index);
            let before = live.clone();
            let applied = live.apply(at, command.clone());
            if applied.is_err() {
                assert_eq!(live, before, "a refused command changed the state: {command:?}");
            }
            check_derived(&live);
            let request = generator.rng.u64(..);
            let envelope = Envelope {
                format: FORMAT,
                request,
                command,
            };
            log.push((at, envelope.to_bytes()));
            answers.push(applied);
        }
        let replay = |state: &mut State, from: usize| {
            log[from..]
                .iter()
                .map(|(at, bytes)| state.apply(*at, Envelope::from_bytes(bytes).unwrap().command))
                .collect::<Vec<_>>()
        };
        let mut replayed = State::default();
        assert_eq!(replay(&mut replayed, 0), answers);
        assert_eq!(replayed.to_bytes(), live.to_bytes());
        for (from, bytes) in &checkpoints {
            let mut state = State::from_bytes(bytes).unwrap();
            assert_eq!(replay(&mut state, *from), answers[*from..]);
            assert_eq!(state, live);
        }
    }
}

#[test]
fn no_group_replica_topic_or_producer_id_is_issued_twice() {
    for seed in seeds() {
        println!("CHRONIK_SEED={seed}");
        let mut generator = Generator::new(seed);
        let mut state = State::default();
        let (mut groups, mut replicas) = (BTreeSet::new(), BTreeSet::new());
        let mut producer_ids_end = 0;
        for index in 1..=300 {
            let command = generator.command(&state);
            let known = match &command {
                Command::CreatePartitions { based_on, .. } => *based_on as usize,
                _ => 0,
            };
            match state.apply(LogId::new(1, index), command) {
                Ok(Effect::TopicCreated(topic) | Effect::PartitionsCreated(topic)) => {
                    for partition in &topic.partitions[known..] {
                        assert!(groups.insert(partition.group()), "{:?} again", partition.group());
                        assert_ne!(partition.group().0, 0, "group 0 is the metadata group");
                        for replica in partition.replicas() {
                            assert!(replicas.insert(replica.replica()), "{replica:?} again");
                        }
                    }
                }
                Ok(Effect::ProducerIds(block)) => {
                    assert_eq!(block.start, producer_ids_end);
                    assert_eq!(block.end - block.start, PRODUCER_ID_BLOCK);
                    producer_ids_end = block.end;
                }
                _ => {}
            }
        }
        assert!(
            !groups.is_empty() && producer_ids_end > 0,
            "the generator draws too little"
        );
    }
}

fn apply_all(commands: Vec<Command>) -> (State, Vec<Applied>) {
    let mut state = State::default();
    let applied = commands
        .into_iter()
        .zip(1..)
        .map(|(command, index)| state.apply(LogId::new(1, index), command))
        .collect();
    (state, applied)
}

fn broker(node: u64) -> Command {
    Command::RegisterBroker {
        node,
        host: "localhost".into(),
        port: 9092,
        rack: None,
        incarnation: 0,
        peer: None,
    }
}

/// The broker with another data directory.
fn reborn(node: u64, incarnation: u64) -> Command {
    match broker(node) {
        Command::RegisterBroker {
            node,
            host,
            port,
            rack,
            peer,
            ..
        } => Command::RegisterBroker {
            node,
            host,
            port,
            rack,
            incarnation,
            peer,
        },
        other => other,
    }
}

#[test]
fn a_node_with_a_new_directory_gets_new_replicas_everywhere_and_the_founders_stay_known() {
    let mut both = topic("a", 1, 2);
    if let Command::CreateTopic { placements, .. } = &mut both {
        placements.iter_mut().for_each(|placement| placement.push(2));
    }
    let (mut state, _) = apply_all(vec![reborn(1, 11), reborn(2, 22), both]);
    let before = Arc::clone(state.topic("a").unwrap());
    assert_eq!(before.partitions[0].founders(), before.partitions[0].replicas());
    // The same directory again, and one that does not say which it is, change nothing.
    for same in [reborn(2, 22), reborn(2, 0)] {
        state.apply(LogId::new(1, 4), same).unwrap();
        assert_eq!(state.topic("a"), Some(&before));
    }
    state.apply(LogId::new(1, 5), reborn(2, 22)).unwrap();
    state.apply(LogId::new(1, 6), reborn(2, 23)).unwrap();
    let after = state.topic("a").unwrap();
    for (old, new) in before.partitions.iter().zip(&after.partitions) {
        assert_eq!(old.replica_on(NodeId(1)), new.replica_on(NodeId(1)));
        assert_ne!(old.replica_on(NodeId(2)), new.replica_on(NodeId(2)));
        assert_eq!(new.founders(), old.replicas());
    }
    let ids: BTreeSet<_> = [&before, after]
        .into_iter()
        .flat_map(|topic| &topic.partitions)
        .flat_map(|partition| partition.replicas())
        .map(|replica| replica.replica())
        .collect();
    assert_eq!(ids.len(), 6, "four at first, two new ones");
    check_derived(&state);
}

#[test]
fn what_an_older_version_wrote_is_read() {
    let old = br#"{"format":1,"request":1,"command":{"register_broker":{"node":1,"host":"h","port":1,"rack":null}}}"#;
    let command = Envelope::from_bytes(old).unwrap().command;
    assert!(matches!(
        command,
        Command::RegisterBroker {
            incarnation: 0,
            peer: None,
            ..
        }
    ));
}

fn topic(name: &str, id: u128, partitions: usize) -> Command {
    Command::CreateTopic {
        name: name.into(),
        id: TopicId::from_wire(crate::kafka::wire::Uuid::from_u128(id)).unwrap(),
        placements: vec![vec![1]; partitions],
        configs: BTreeMap::new(),
        replica_limit: 10,
    }
}

#[test]
fn of_two_topics_of_one_name_the_first_is_created() {
    let (state, applied) = apply_all(vec![broker(1), topic("a", 1, 1), topic("a", 2, 5)]);
    assert!(matches!(applied[1], Ok(Effect::TopicCreated(_))));
    assert_eq!(applied[2], Err(Refusal::TopicExists));
    assert_eq!(state.topic("a").unwrap().partitions.len(), 1);
}

#[test]
fn names_that_differ_by_dots_and_underscores_collide() {
    let (state, applied) = apply_all(vec![broker(1), topic("a.b_c", 1, 1), topic("a_b.c", 2, 1)]);
    assert_eq!(applied[2], Err(Refusal::NameCollision("a.b_c".into())));
    assert_eq!(state.collision("a_b_c").map(|name| &**name), Some("a.b_c"));
    assert_eq!(
        state.collision("a.b_c"),
        None,
        "a topic does not collide with itself"
    );
    assert_eq!(state.collision("abc"), None);
}

#[test]
fn the_replica_limit_holds_over_all_topics() {
    let (state, applied) = apply_all(vec![broker(1), topic("a", 1, 6), topic("b", 2, 5)]);
    let (node, limit) = (NodeId(1), 10);
    assert_eq!(applied[2], Err(Refusal::TooManyReplicas { node, limit }));
    assert_eq!(state.replicas_on(node), 6);
}

#[test]
fn a_change_that_is_based_on_what_is_gone_is_refused_as_stale() {
    let (mut state, _) = apply_all(vec![broker(1), topic("a", 1, 1)]);
    let id = state.topic("a").unwrap().id;
    let set = |based_on| Command::SetTopicConfigs {
        id,
        based_on,
        configs: BTreeMap::new(),
    };
    assert_eq!(
        state.apply(LogId::new(1, 3), set(2)),
        Ok(Effect::ConfigsSet { revision: 3 })
    );
    assert_eq!(state.apply(LogId::new(1, 4), set(2)), Err(Refusal::Stale));
    assert_eq!(
        state.apply(LogId::new(1, 5), set(3)),
        Ok(Effect::ConfigsSet { revision: 5 })
    );
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let newer = br#"{"format":3,"request":1,"command":{"from_the_future":{}}}"#;
    assert_eq!(Envelope::from_bytes(newer), Err(CheckpointError::NewerFormat(3)));
    assert_eq!(State::from_bytes(newer), Err(CheckpointError::NewerFormat(3)));
    for bytes in [&b""[..], b"{}", b"[]", b"{\"format\":1}", b"\xff"] {
        assert!(matches!(
            Envelope::from_bytes(bytes),
            Err(CheckpointError::Malformed(_))
        ));
        assert!(matches!(
            State::from_bytes(bytes),
            Err(CheckpointError::Malformed(_))
        ));
    }
    let unknown_field =
        br#"{"format":1,"request":1,"command":{"delete_topic":{"id":"AAECAwQFBgcICQoLDA0ODw","x":1}}}"#;
    assert!(matches!(
        Envelope::from_bytes(unknown_field),
        Err(CheckpointError::Malformed(_))
    ));
}

#[test]
fn a_checkpoint_with_ids_that_were_not_issued_is_refused() {
    let (state, _) = apply_all(vec![broker(1), topic("a", 1, 1)]);
    let text = String::from_utf8(state.to_bytes()).unwrap();
    for (from, to) in [
        ("\"next_group\":2", "\"next_group\":1"),
        ("\"next_replica\":2", "\"next_replica\":1"),
    ] {
        assert!(text.contains(from), "{text}");
        let wrong = text.replace(from, to);
        assert!(matches!(
            State::from_bytes(wrong.as_bytes()),
            Err(CheckpointError::Malformed(_))
        ));
    }
}

#[test]
fn ids_that_run_out_refuse_the_command_and_do_not_wrap() {
    let (state, _) = apply_all(vec![broker(1)]);
    let text = String::from_utf8(state.to_bytes()).unwrap();
    let last = |field: &str, value: String| {
        let from = format!("\"{field}\":{}", if field == "next_producer_id" { 0 } else { 1 });
        assert!(text.contains(&from), "{text}");
        State::from_bytes(text.replace(&from, &format!("\"{field}\":{value}")).as_bytes())
    };
    for field in ["next_group", "next_replica"] {
        let mut state = last(field, u64::MAX.to_string()).unwrap();
        let refused = state.apply(LogId::new(1, 2), topic("a", 1, 1));
        assert_eq!(refused, Err(Refusal::IdsExhausted));
    }
    let mut state = last("next_producer_id", i64::MAX.to_string()).unwrap();
    let refused = state.apply(LogId::new(1, 2), Command::AllocateProducerIds { node: 1 });
    assert_eq!(refused, Err(Refusal::IdsExhausted));
    let negative = last("next_producer_id", "-1".into());
    assert!(matches!(negative, Err(CheckpointError::Malformed(_))));
}
