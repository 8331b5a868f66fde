//! Who leads the partition, as the brokers tell it.

use super::link::Link;
use super::{Plan, Stopped};
use crate::judge::subject::metadata_request;
use crate::judge::wire::{Connection, METADATA};
use crate::judge::{Failure, named, readable};
use kafka_protocol::messages::MetadataResponse;
use std::collections::BTreeMap;

/// Asks for the leader.
#[derive(Debug)]
pub(super) struct Leaders<'a> {
    plan: &'a Plan,
    /// The brokers that can be asked: those of the plan, and those that were heard of since.
    known: Vec<String>,
}

impl<'a> Leaders<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            known: plan.bootstrap.clone(),
        }
    }

    /// A connection to the leader, as the first broker says that answers; blocks meanwhile.
    ///
    /// # Errors
    /// `Unreachable` where no broker answers, `Refused` where none names a leader that is reached.
    pub(super) fn connect(&mut self) -> Result<Link, Stopped> {
        let mut silent = Stopped::Unreachable("no broker is named".to_owned());
        let mut refused = None;
        for address in self.known.clone() {
            match ask(&address, &self.plan.topic) {
                Err(failure) => silent = failure.into(),
                Ok(answer) => match self.leader(&answer).and_then(|leader| Link::open(&leader)) {
                    Ok(link) => return Ok(link),
                    Err(failure) => refused = Some(Stopped::Refused(failure.0)),
                },
            }
        }
        Err(refused.unwrap_or(silent))
    }

    /// The leader's address. Remembers the other brokers.
    fn leader(&mut self, answer: &MetadataResponse) -> Result<String, Failure> {
        let (topic, partition) = (&self.plan.topic, self.plan.partition);
        let brokers = answer.brokers.iter();
        let addresses: BTreeMap<i32, String> = brokers
            .map(|broker| (broker.node_id.0, format!("{}:{}", &*broker.host, broker.port)))
            .collect();
        for address in addresses.values() {
            if !self.known.contains(address) {
                self.known.push(address.clone());
            }
        }
        let found = answer.topics.first();
        let found = found.ok_or_else(|| Failure(format!("Metadata does not mention {topic}")))?;
        if found.error_code != 0 {
            return Err(Failure(format!("topic {topic}: {}", named(found.error_code))));
        }
        let mut partitions = found.partitions.iter();
        let told = partitions.find(|told| told.partition_index == partition);
        let told = told.ok_or_else(|| Failure(format!("topic {topic} has no partition {partition}")))?;
        let address = addresses.get(&told.leader_id.0);
        address
            .cloned()
            .ok_or_else(|| Failure(format!("partition {partition} of {topic} has no leader")))
    }
}

fn ask(address: &str, topic: &str) -> Result<MetadataResponse, Failure> {
    readable(|| Connection::open(address)?.call(METADATA, &metadata_request(Some(&[topic]))))
}
