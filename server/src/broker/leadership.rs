//! Which partitions of this node began or ceased to be led here: told by them, so that nobody looks at each.

use super::partitions::PartitionTable;
use crate::partition::{Partition, Signal, Subscription};
use chronik_core::GroupId;
use futures_lite::future;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// Follows all partitions that are open here.
#[derive(Debug)]
pub(super) struct Leadership {
    table: Arc<PartitionTable>,
    signal: Signal,
    /// The version of the table whose partitions are followed.
    seen: Option<u64>,
    followed: BTreeMap<GroupId, (Weak<Partition>, Subscription)>,
}

impl Leadership {
    /// Follows nothing yet.
    pub(super) fn new(table: Arc<PartitionTable>) -> Self {
        Self {
            table,
            signal: Signal::new(),
            seen: None,
            followed: BTreeMap::new(),
        }
    }

    /// Waits until [`Leadership::take`] has something to look at. Cancel safe.
    pub(super) async fn changed(&self) {
        let Some(seen) = self.seen else { return };
        let table = self.table.changes();
        let reopened = async {
            table.changed(seen).await;
        };
        future::or(self.signal.fired(), reopened).await;
    }

    /// The groups that began or ceased to be led here since the last call, and those that were opened since.
    pub(super) fn take(&mut self) -> BTreeSet<GroupId> {
        let mut news = BTreeSet::new();
        let (_, version) = self.table.changes().versioned();
        if self.seen.replace(version) != Some(version) {
            self.follow(&mut news);
        }
        news.extend(self.signal.take().into_iter().map(GroupId));
        news
    }

    fn follow(&mut self, news: &mut BTreeSet<GroupId>) {
        let open: BTreeMap<GroupId, Arc<Partition>> = self.table.open().into_iter().collect();
        self.followed.retain(|group, (followed, _)| {
            let now = open.get(group).map(Arc::as_ptr);
            now == Some(followed.as_ptr())
        });
        for (group, partition) in open {
            self.followed.entry(group).or_insert_with(|| {
                news.insert(group);
                let subscription = partition.follow_leadership(&self.signal, group.0);
                (Arc::downgrade(&partition), subscription)
            });
        }
    }
}
