//! Removing: the decision as a recorded operation, and the end of a VPSieNode.

use autoscaler_core::{
    lifecycle,
    plan::{Plan, PlannedRemoval, RemovalKind},
    snapshot::Snapshot,
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;

use super::{Actuator, CONCURRENCY, record};
use crate::{
    api::{PodMove, VPSieNode, labels},
    events::REPORTER,
    failpoint::failpoint,
    index::{Cluster, Index, key_of},
};

/// The most moves that a status holds.
const MOVES_LIMIT: usize = 1000;

// === impl Actuator ===

impl Actuator {
    /// Records each planned removal on its VPSieNode; the next [`tick`](Self::tick) starts carrying it out. A removal
    /// that is under way already stays as it is. A node that no VPSieNode stands for cannot be removed: that is
    /// logged, and the node is left alone.
    ///
    /// # Errors
    /// The first failed write; the others are still made. What could not be written is decided anew.
    pub async fn begin_removals(
        &self,
        cluster: &Cluster,
        snapshot: &Snapshot,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let mut writes: Vec<BoxFuture<'_, Result<(), kube::Error>>> = Vec::with_capacity(plan.removals.len());
        for removal in &plan.removals {
            let node = snapshot.node(removal.node);
            let name = snapshot.text(node.name);
            let machine = node
                .machine
                .map(|machine| snapshot.machine(machine))
                .and_then(|machine| {
                    let key = (
                        snapshot.text(machine.namespace).to_owned(),
                        snapshot.text(machine.name).to_owned(),
                    );
                    cluster.machines.get(&key)
                });
            let Some(machine) = machine else {
                tracing::warn!(
                    node = name,
                    "the node is not needed, but no VPSieNode stands for it: it is left alone"
                );
                continue;
            };
            writes.push(self.begin_removal(machine, snapshot, removal, name, now).boxed());
        }
        let results: Vec<_> = futures::stream::iter(writes).buffered(CONCURRENCY).collect().await;
        results.into_iter().collect()
    }

    async fn begin_removal(
        &self,
        machine: &VPSieNode,
        snapshot: &Snapshot,
        removal: &PlannedRemoval,
        node: &str,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let before = record::read(machine, now);
        if before.is_in_removal() || before.deletion_requested {
            return Ok(());
        }
        let moves = removal.moves.iter().take(MOVES_LIMIT).map(|planned| PodMove {
            pod: snapshot.pod_name(planned.pod),
            to: snapshot.text(snapshot.node(planned.to).name).to_owned(),
        });
        let reason = if snapshot.node(removal.node).is_ready() {
            "Unneeded"
        } else {
            "Unready"
        };
        let planned = lifecycle::Removal::planned_after(before.removal.as_ref(), removal.kind, reason.to_owned(), now);
        let mut status = machine.status.clone().unwrap_or_default();
        status.removal = Some(record::write_removal(&planned, moves.collect()));
        // The difference also clears what a removal that failed earlier has left.
        let patch = record::difference(machine.status.as_ref(), &status).map_err(kube::Error::SerdeError)?;
        let machines: Api<VPSieNode> =
            Api::namespaced(self.clients.write.clone(), &machine.namespace().unwrap_or_default());
        let params = PatchParams {
            field_manager: Some(REPORTER.to_owned()),
            ..PatchParams::default()
        };
        let patch = json!({ "metadata": { "resourceVersion": machine.resource_version() }, "status": patch });
        failpoint!(before "write-Planned");
        let written = machines
            .patch_status(&machine.name_any(), &params, &Patch::Merge(&patch))
            .await?;
        failpoint!(after "write-Planned");
        let (reason, moves) = match removal.kind {
            RemovalKind::Empty => ("ScaleDownEmpty", "no pod has to move".to_owned()),
            RemovalKind::Drain => ("ScaleDown", format!("{} pods move to other nodes", removal.moves.len())),
        };
        self.events
            .normal(
                &written.object_ref(&()),
                "ScaleDown",
                reason,
                format!("removing node {node}: {moves}"),
            )
            .await;
        failpoint!(after "announce");
        self.index.put_machine(written);
        Ok(())
    }
}

/// Deletes a VPSieNode and releases its finalizer: nothing is left that it stands for.
pub(super) async fn delete_record(client: &Client, index: &Index, machine: &VPSieNode) -> Result<(), kube::Error> {
    let machines: Api<VPSieNode> = Api::namespaced(client.clone(), &machine.namespace().unwrap_or_default());
    let name = machine.name_any();
    let mut machine = machine.clone();
    if !machine.is_deleting() {
        let preconditions = Preconditions {
            uid: machine.uid(),
            resource_version: machine.resource_version(),
        };
        let deleted = machines
            .delete(&name, &DeleteParams::default().preconditions(preconditions))
            .await?;
        let Some(deleting) = deleted.left() else {
            index.remove_machine(&key_of(&machine));
            return Ok(());
        };
        machine = deleting;
    }
    failpoint!(before "release-record");
    let finalizers: Vec<&String> = machine
        .finalizers()
        .iter()
        .filter(|finalizer| *finalizer != labels::VPSIE_NODE_FINALIZER)
        .collect();
    let metadata = json!({ "resourceVersion": machine.resource_version(), "finalizers": finalizers });
    let params = PatchParams {
        field_manager: Some(REPORTER.to_owned()),
        ..PatchParams::default()
    };
    machines
        .patch(&name, &params, &Patch::Merge(&json!({ "metadata": metadata })))
        .await?;
    if finalizers.is_empty() {
        index.remove_machine(&key_of(&machine));
    }
    Ok(())
}
