//! Committed offsets do not outlive their topics: tells the group coordinator which topics went.

use crate::cluster::{ClusterImage, TopicId};
use crate::group::GroupCoordinator;
use crate::kafka::wire::{KafkaString, Uuid};
use chronik_core::Watch;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Follows the metadata until the process ends.
pub(super) async fn run(images: Watch<Arc<ClusterImage>>, groups: Arc<GroupCoordinator>) {
    let (image, mut seen) = images.versioned();
    let mut known = topics(&image);
    loop {
        let (image, version) = images.changed(seen).await;
        seen = version;
        let now = topics(&image);
        let gone = known.iter().filter(|(id, _)| !now.contains_key(id));
        let gone: Vec<(KafkaString, Uuid)> = gone.map(|(id, name)| (name.clone(), id.to_wire())).collect();
        known = now;
        if gone.is_empty() {
            continue;
        }
        // Offsets that stay are removed by their retention, and none of them is taken for one of a new topic: they
        // carry the topic's id.
        if let Err(code) = groups.topics_deleted(&gone).await {
            log::warn!(
                "event=offsets_of_deleted_topics_kept topics={} error={code:?}",
                gone.len()
            );
        }
    }
}

fn topics(image: &ClusterImage) -> BTreeMap<TopicId, KafkaString> {
    let topics = image.state.topics().values();
    topics
        .map(|topic| (topic.id, KafkaString::from(&*topic.name)))
        .collect()
}
