//! What the broker does for the memberships of its groups, for the one partition of a run.

use crate::metadata::Metadata;
use chronik_conformance::check::Marks;
use chronik_core::{BoxFuture, Env};
use chronik_server::broker::membership::{is_as_wanted, plan};
use chronik_server::partition::Partition;
use futures_lite::FutureExt;
use std::sync::Arc;
use std::time::Duration;

/// Brings the group's membership in line with the metadata while this replica leads, as the broker's reconciler does.
pub(crate) fn reconcile(
    partition: Arc<Partition>,
    metadata: Metadata,
    (env, marks): (Env, Marks),
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        while partition.view().ended.is_none() {
            let pause = Duration::from_millis(100 + env.rng.next_u64() % 300);
            env.clock.sleep(pause).await;
            let Some(term) = partition.led_term() else {
                continue;
            };
            let (wanted, entry) = metadata.wanted();
            let status = partition.group().status();
            if let Some(change) = plan(&status, &wanted) {
                if partition.group().change_membership(change).await.is_ok() {
                    marks.hit("memberships changed");
                }
                continue;
            }
            if metadata.is_settled() || !is_as_wanted(&status.membership, &wanted) {
                continue;
            }
            // All that is in the log now, the membership among it, is committed once this leader has applied it.
            let last = partition.log_state().last.index;
            let applied = async {
                let view = partition.wait_for(|view| view.applied >= last || view.ended.is_some());
                view.await.applied >= last
            };
            let late = async {
                env.clock.sleep(Duration::from_secs(1)).await;
                false
            };
            if applied.or(late).await && partition.led_term() == Some(term) {
                metadata.confirm(entry);
            }
        }
    })
}
