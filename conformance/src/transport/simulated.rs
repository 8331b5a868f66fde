//! The reference: the transport over the simulated network.

use super::Backend;
use super::rig::{Certificate, Harm, Process, Rig, Wire};
use crate::check::{Failure, LocalFuture, Verdict};
use crate::world::net::{NetMutant, NetOptions, Papers, SimTransportFactory, Way};
use crate::world::{Seed, SimEnv, SimNet, SimNode};
use chronik_core::env::{Clock, Env};
use chronik_core::transport::TransportFactory;
use futures_lite::future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The transport of [`world::net`](crate::world::net), whole or with one guarantee broken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Simulated {
    /// The guarantee to break.
    pub mutant: Option<NetMutant>,
}

impl Backend for Simulated {
    fn name(&self) -> &str {
        "simulated"
    }

    fn rig(&self, seed: Seed) -> Box<dyn Rig> {
        let sim = SimEnv::new(seed.child("sim"));
        let net = SimNet::broken(&sim, seed.child("net"), NetOptions::default(), self.mutant);
        Box::new(SimRig {
            sim,
            net,
            seed,
            count: AtomicU64::new(0),
        })
    }
}

/// A check that takes longer than this never ends.
const LIMIT: Duration = Duration::from_secs(1800);

struct SimRig {
    sim: SimEnv,
    net: SimNet,
    seed: Seed,
    count: AtomicU64,
}

impl Rig for SimRig {
    fn env(&self) -> Env {
        self.sim.env()
    }

    fn process(&self) -> Box<dyn Process> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let node = self.sim.node(self.seed.child("process").nth(number));
        Box::new(SimProcess {
            factory: self.net.factory(&node),
            node,
        })
    }

    fn secured(&self, certificate: Certificate) -> Option<Box<dyn Process>> {
        let (ours, theirs) = (Some("ours"), Some("theirs"));
        let papers = match certificate {
            Certificate::OfTheCluster => Papers::new(ours, ours),
            Certificate::OfAnother => Papers::new(theirs, theirs),
            Certificate::OfAnotherTrustingTheCluster => Papers::new(theirs, ours),
            Certificate::Missing => Papers::default(),
        };
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let node = self.sim.node(self.seed.child("process").nth(number));
        Some(Box::new(SimProcess {
            factory: self.net.factory(&node).with_papers(papers),
            node,
        }))
    }

    fn run(&self, check: LocalFuture<'_, Verdict>) -> Verdict {
        let late = async {
            self.sim.clock().sleep(LIMIT).await;
            Err(Failure::new("the check never ends"))
        };
        self.sim.block_on(future::or(check, late))?
    }

    fn wire(&self, to: SocketAddr) -> Arc<dyn Wire> {
        let name = format!("wire-{}:1", self.count.fetch_add(1, Ordering::SeqCst));
        self.net.set_host(&name, to);
        self.net.add_wire(&name);
        Arc::new(SimWire {
            net: self.net.clone(),
            name,
        })
    }

    fn send_garbage(&self, to: SocketAddr, _bytes: &[u8]) {
        self.net.send_garbage(to);
    }

    fn slack(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

struct SimProcess {
    factory: SimTransportFactory,
    node: SimNode,
}

impl Process for SimProcess {
    fn factory(&self) -> &dyn TransportFactory {
        &self.factory
    }

    fn tasks(&self) -> Option<Vec<&'static str>> {
        Some(self.node.tasks())
    }
}

struct SimWire {
    net: SimNet,
    name: String,
}

impl Wire for SimWire {
    fn address(&self) -> String {
        self.name.clone()
    }

    fn point_to(&self, to: SocketAddr) {
        self.net.set_host(&self.name, to);
    }

    fn hold(&self, way: Way, on: bool) {
        self.net.hold_wire(&self.name, way, on);
    }

    fn refuse(&self, on: bool) {
        self.net.refuse_wire(&self.name, on);
    }

    fn reset(&self) {
        self.net.reset_wire(&self.name);
    }

    fn harm(&self, harm: Option<Harm>) {
        match harm {
            Some(Harm::Flip) => self.net.flip_on_wire(&self.name),
            Some(Harm::Cut) => self.net.cut_on_wire(&self.name),
            None => self.net.spare_wire(&self.name),
        }
    }

    fn dribble(&self, on: bool) {
        self.net.dribble_wire(&self.name, on);
    }

    fn attempts(&self) -> u64 {
        self.net.wire_attempts(&self.name)
    }
}
