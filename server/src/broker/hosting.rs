//! Which partitions of `__consumer_offsets` this node coordinates, and the topics as the coordinator sees them.

use super::offsets_log::OffsetsLog;
use super::partitions::PartitionTable;
use crate::cluster::state::OFFSETS_TOPIC;
use crate::cluster::{ClusterImage, Controller, TopicId};
use crate::group::{HostedLogs, StateLog, TopicDirectory};
use crate::kafka::wire::{KafkaString, Uuid};
use crate::partition::Partition;
use chronik_core::{Env, Watch};
use futures_lite::FutureExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The topics of the metadata, for the group coordinator.
#[derive(Debug)]
pub(super) struct Directory(pub(super) Arc<Controller>);

impl TopicDirectory for Directory {
    fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.0.image().state.topic(name).map(|topic| topic.id.to_wire())
    }

    fn topic_name(&self, id: Uuid) -> Option<KafkaString> {
        let image = self.0.image();
        let topic = image.state.topic_by_id(TopicId::from_wire(id)?)?;
        Some(KafkaString::from(&*topic.name))
    }

    fn partition_count(&self, name: &str) -> Option<i32> {
        let image = self.0.image();
        i32::try_from(image.state.topic(name)?.partitions.len()).ok()
    }
}

/// Follows the metadata and the open partitions, and tells the coordinator which logs there are.
pub(super) struct Hosting {
    pub(super) images: Watch<Arc<ClusterImage>>,
    pub(super) table: Arc<PartitionTable>,
    pub(super) hosted: Watch<HostedLogs>,
    pub(super) env: Env,
    /// The logs given out, with the partitions that they belong to: a partition keeps its log while it is open.
    pub(super) given: BTreeMap<i32, (Arc<Partition>, Arc<OffsetsLog>)>,
}

impl Hosting {
    /// Looks once, so that what is open is known.
    pub(super) fn refresh(&mut self) {
        let image = self.images.get();
        let partitions = match image.state.topic(OFFSETS_TOPIC) {
            None => {
                self.given.clear();
                0
            }
            Some(topic) => {
                let open = (0..).zip(&topic.partitions);
                let open = open.filter_map(|(index, placed)| Some((index, self.table.get(placed.group())?)));
                let open: BTreeMap<i32, Arc<Partition>> = open.collect();
                self.keep(open);
                i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)
            }
        };
        let log = |log: &Arc<OffsetsLog>| Arc::clone(log) as Arc<dyn StateLog>;
        let logs = self
            .given
            .iter()
            .map(|(index, (_, given))| (*index, log(given)))
            .collect();
        self.hosted.update(|hosted| {
            *hosted = HostedLogs { partitions, logs };
            true
        });
    }

    fn keep(&mut self, open: BTreeMap<i32, Arc<Partition>>) {
        self.given
            .retain(|index, (partition, _)| open.get(index).is_some_and(|now| Arc::ptr_eq(now, partition)));
        for (index, partition) in open {
            let env = &self.env;
            self.given.entry(index).or_insert_with(|| {
                let log = OffsetsLog::new(Arc::clone(&partition), env);
                (partition, log)
            });
        }
    }

    /// Runs until the process ends.
    pub(super) async fn run(mut self) {
        let changes = self.table.changes();
        let (mut image_seen, mut table_seen) = (self.images.versioned().1, changes.versioned().1);
        loop {
            self.refresh();
            let image = async { (self.images.changed(image_seen).await.1, table_seen) };
            let table = async { (image_seen, changes.changed(table_seen).await.1) };
            (image_seen, table_seen) = image.or(table).await;
        }
    }
}
