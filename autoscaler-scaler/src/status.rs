//! What planning leaves in the status of our objects, so that it survives a restart.

use autoscaler_core::{plan::Plan, snapshot::Snapshot};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    api,
    index::{Cluster, Index},
};

/// Records since when the node of each VPSieNode is unneeded, and forgets it where the node is needed again.
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
    let mut first_error = None;
    for report in &plan.nodes {
        let Some(machine) = snapshot
            .node(report.node)
            .machine
            .map(|machine| snapshot.machine(machine))
        else {
            continue;
        };
        let since = match (report.unneeded, machine.unneeded_since) {
            (true, None) => json!(api::time(plan.now)),
            (false, Some(_)) => json!(null),
            _ => continue,
        };
        let (namespace, name) = (snapshot.text(machine.namespace), snapshot.text(machine.name));
        // A VPSieNode without any status has no phase yet; its life starts first.
        let key = (namespace.to_owned(), name.to_owned());
        if cluster
            .machines
            .get(&key)
            .is_none_or(|machine| machine.status.is_none())
        {
            continue;
        }
        let patch = json!({ "status": { "unneededSince": since } });
        let machines: Api<api::VPSieNode> = Api::namespaced(client.clone(), namespace);
        match machines
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(machine) => index.put_machine(machine),
            Err(kube::Error::Api(status)) if status.code == 404 => index.remove_machine(&key),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(()), Err)
}
