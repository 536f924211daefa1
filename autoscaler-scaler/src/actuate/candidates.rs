//! Steers kube-scheduler away from nodes that nothing needs, by a taint of effect `PreferNoSchedule`.
//!
//! Left alone, kube-scheduler likes empty nodes best: pods of a drained node would land on the next one to be drained, or
//! on head-room that is then bought anew. Which nodes carry the taint is decided by the core; no pod is ever kept from
//! running by it.

use autoscaler_core::{
    plan::{KeepReason, NodeVerdict, Plan},
    snapshot::Snapshot,
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};

use super::{Actuator, CONCURRENCY, join};
use crate::index::Cluster;

/// The most Nodes that are written with one decision; the next one goes on. A thousand nodes that turn unneeded at once
/// must not keep pods waiting.
const CHANGES_PER_DECISION: usize = 50;

// === impl Actuator ===

impl Actuator {
    /// Puts the taint on the nodes of a plan that are deletion candidates, and takes it off all others, these first. A node
    /// that goes keeps what it has: it is cordoned anyway.
    ///
    /// # Errors
    /// The first failed write; the others are still made. The next decision tries again.
    pub async fn mark_candidates(
        &self,
        cluster: &Cluster,
        snapshot: &Snapshot,
        plan: &Plan,
    ) -> Result<(), kube::Error> {
        let mut changes = Vec::new();
        for report in &plan.nodes {
            let goes = matches!(
                report.verdict,
                NodeVerdict::Remove
                    | NodeVerdict::Keep {
                        reason: KeepReason::CurrentlyBeingDeleted,
                        ..
                    }
            );
            let name = snapshot.text(snapshot.node(report.node).name);
            let Some(node) = cluster.nodes.get(name).filter(|_| !goes) else {
                continue;
            };
            let candidate = report.is_deletion_candidate(snapshot, plan.now);
            if join::is_candidate(node) != candidate {
                changes.push((candidate, name));
            }
        }
        changes.sort();
        // Boxed, so that the compiler can see that the whole is `Send`.
        let writes: Vec<BoxFuture<'_, Result<(), kube::Error>>> = changes
            .into_iter()
            .take(CHANGES_PER_DECISION)
            .map(|(candidate, name)| self.mark_candidate(name, candidate).boxed())
            .collect();
        let results: Vec<_> = futures::stream::iter(writes).buffered(CONCURRENCY).collect().await;
        results.into_iter().collect()
    }

    async fn mark_candidate(&self, name: &str, candidate: bool) -> Result<(), kube::Error> {
        match join::set_candidate(&self.clients.write, name, candidate).await {
            Ok(node) => self.index.put_node(node),
            // The watch will tell.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
