//! What planning leaves in the status of our objects, so that it survives a restart.

use autoscaler_core::{plan::Plan, snapshot::Snapshot};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    api,
    index::{Cluster, Index, Key},
};

/// Writes at the same time.
const CONCURRENCY: usize = 16;

/// The most nodes that become unneeded with one decision; the next one goes on. Thousands of nodes may turn unneeded at
/// once, and pods that come to be pending must not wait for as many writes. For the nodes that are left time begins
/// to count with the next decision, which is safe.
const NEW_PER_DECISION: usize = 500;

/// Records since when the node of each VPSieNode is unneeded, and forgets it where the node is needed again: that first,
/// and without a limit, because a time that is kept too long would let a node go too early.
///
/// # Errors
/// The first failed write; the others are still made. The next decision tries again.
pub async fn record_unneeded(
    client: &Client,
    index: &Index,
    cluster: &Cluster,
    snapshot: &Snapshot,
    plan: &Plan,
) -> Result<(), kube::Error> {
    let (mut needed, mut unneeded) = (Vec::new(), Vec::new());
    for report in &plan.nodes {
        let machine = snapshot.node(report.node).machine;
        let Some(machine) = machine.map(|machine| snapshot.machine(machine)) else {
            continue;
        };
        let (list, since) = match (report.unneeded, machine.unneeded_since) {
            (true, None) if unneeded.len() < NEW_PER_DECISION => (&mut unneeded, Some(plan.now)),
            (false, Some(_)) => (&mut needed, None),
            _ => continue,
        };
        let key = (
            snapshot.text(machine.namespace).to_owned(),
            snapshot.text(machine.name).to_owned(),
        );
        // A VPSieNode without any status has no phase yet; its life starts first.
        let known = cluster.machines.get(&key);
        if known.is_some_and(|machine| machine.status.is_some()) {
            list.push((key, since));
        }
    }
    // Boxed, so that the compiler can see that the whole is `Send`.
    let writes: Vec<BoxFuture<'_, Result<(), kube::Error>>> = needed
        .into_iter()
        .chain(unneeded)
        .map(|(key, since)| write_unneeded(client, index, key, since).boxed())
        .collect();
    let results: Vec<_> = futures::stream::iter(writes).buffered(CONCURRENCY).collect().await;
    results.into_iter().collect()
}

async fn write_unneeded(client: &Client, index: &Index, key: Key, since: Option<Timestamp>) -> Result<(), kube::Error> {
    let patch = json!({ "status": { "unneededSince": since.map(api::time) } });
    let machines: Api<api::VPSieNode> = Api::namespaced(client.clone(), &key.0);
    match machines
        .patch_status(&key.1, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(machine) => index.put_machine(machine),
        Err(kube::Error::Api(status)) if status.code == 404 => index.remove_machine(&key),
        Err(error) => return Err(error),
    }
    Ok(())
}
