//! Power cuts at random places, against a model of what clients were told.

use super::world::{NODE, Node, World};
use crate::cluster::controller::NewTopic;
use crate::cluster::{ControlError, TopicId};
use chronik_conformance::world::{Prng, Seed};
use std::collections::BTreeMap;

const NAMES: usize = 5;

/// What may be true of a name, by what clients were told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// There is a topic with this id.
    There(TopicId),
    /// There is none.
    Gone,
    /// A creation has an unknown outcome; there was no topic before.
    MaybeCreated,
    /// A deletion has an unknown outcome.
    MaybeDeleted(TopicId),
}

struct Client {
    told: BTreeMap<String, Told>,
    /// How many outcomes were unknown.
    unknown: usize,
    prng: Prng,
}

impl Client {
    fn new(seed: Seed) -> Self {
        let told = (0..NAMES).map(|i| (format!("t{i}"), Told::Gone)).collect();
        let prng = seed.child("client").prng();
        Self {
            told,
            unknown: 0,
            prng,
        }
    }

    /// Creates or deletes one topic; false where the outcome is unknown, and the disk with it.
    fn act(&mut self, world: &World, node: &Node) -> bool {
        let name = format!("t{}", self.prng.index(NAMES));
        let controller = &node.context.controller;
        let told = match self.told[&name].clone() {
            Told::Gone => {
                let topic = NewTopic {
                    name: name.clone(),
                    placements: vec![vec![NODE.0]; 1 + self.prng.index(3)],
                    configs: BTreeMap::new(),
                    replica_limit: 100,
                };
                match world.run(controller.create_topic(topic)) {
                    Ok(topic) => Told::There(topic.id),
                    Err(ControlError::Unknown(_)) => Told::MaybeCreated,
                    Err(ControlError::NotProposed(_)) => return false,
                    Err(refused) => panic!("{name}: {refused}"),
                }
            }
            Told::There(id) => match world.run(controller.delete_topic(id)) {
                Ok(_) => Told::Gone,
                Err(ControlError::Unknown(_)) => Told::MaybeDeleted(id),
                Err(ControlError::NotProposed(_)) => return false,
                Err(refused) => panic!("{name}: {refused}"),
            },
            unknown => panic!("{name} was looked up after the restart: {unknown:?}"),
        };
        let known = matches!(told, Told::There(_) | Told::Gone);
        self.unknown += usize::from(!known);
        self.told.insert(name, told);
        known
    }

    /// After a restart: what was told is so, and what was unknown is one or the other.
    fn look(&mut self, node: &Node) {
        let state = node.state();
        for (name, told) in &mut self.told {
            let found = state.topic(name).map(|topic| topic.id);
            match (&*told, found) {
                (Told::Gone | Told::MaybeCreated | Told::MaybeDeleted(_), None) => *told = Told::Gone,
                (Told::MaybeCreated, Some(id)) => *told = Told::There(id),
                (Told::There(known) | Told::MaybeDeleted(known), Some(id)) if *known == id => {
                    *told = Told::There(id);
                }
                _ => panic!("{name}: clients were told {told:?}, and found is {found:?}"),
            }
        }
    }
}

#[test]
fn what_clients_were_told_is_so_after_power_cuts_at_random_places() {
    let seeds = match std::env::var("CHRONIK_SEED") {
        Ok(seed) => vec![seed.parse().expect("CHRONIK_SEED is a number")],
        Err(_) => (0..40).collect(),
    };
    let mut unknown = 0;
    for seed in seeds {
        let mut world = World::new(seed);
        let mut client = Client::new(Seed(seed));
        for _ in 0..6 {
            let node = world.start();
            client.look(&node);
            let cut = client.prng.between(1, 60);
            world.disk.power_off_at(world.disk.stats().steps + cut);
            while client.act(&world, &node) {}
            world.crash(node);
        }
        let node = world.start();
        client.look(&node);
        unknown += client.unknown;
    }
    assert!(unknown > 0, "no power cut met a change");
}
