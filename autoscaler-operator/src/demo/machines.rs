//! What the hardware does in reality: a VM of the mock VPSie API boots, runs its cloud-init document, and its kubelet
//! joins the cluster; when the VM goes, so does its kubelet.
//!
//! The labels and taints of a Node come from the user data that the operator sent with the create call and from nowhere
//! else, so that a mistake there shows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use autoscaler_scaler::embedded::kubelet::{Kubelets, NodeSpec};
use k8s_openapi::api::core::v1::Taint;
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use vpsie_client::{
    Offering,
    mock::{MockVm, MockVpsie},
};

/// How often the VMs are looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// The VMs of a mock account as machines. They stop when this is dropped.
#[derive(Debug)]
#[must_use = "the machines stop when this is dropped"]
pub struct Machines {
    task: JoinHandle<()>,
}

impl Machines {
    /// Follows the VMs of `mock` and lets those that run and have user data join the cluster of `kubelets`. A machine has
    /// the size that `catalogue` gives its offering.
    pub fn start(mock: MockVpsie, kubelets: Arc<Kubelets>, catalogue: Vec<Offering>) -> Self {
        let task = async move {
            let mut interval = tokio::time::interval(INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut joined: BTreeMap<String, String> = BTreeMap::new();
            loop {
                interval.tick().await;
                let running: BTreeMap<String, MockVm> = mock
                    .vms()
                    .into_iter()
                    .filter(|vm| vm.status == "running" && vm.user_data.is_some())
                    .map(|vm| (vm.id.clone(), vm))
                    .collect();
                joined.retain(|id, _| running.contains_key(id));
                for (id, vm) in &running {
                    if !joined.contains_key(id) {
                        let spec = node_spec(&catalogue, vm);
                        let name = spec.name.clone();
                        match kubelets.join(spec).await {
                            Ok(()) => drop(joined.insert(id.clone(), name)),
                            Err(error) => {
                                tracing::warn!(%error, node = name, "a machine cannot join yet and tries again");
                            }
                        }
                    }
                }
                for name in kubelets.names() {
                    if !joined.values().any(|joined| *joined == name) {
                        kubelets.leave(&name).await;
                    }
                }
            }
        };
        Self {
            task: tokio::spawn(task),
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The Node that the kubelet of a VM registers: named as the host, with the labels and taints of its command line.
fn node_spec(catalogue: &[Offering], vm: &MockVm) -> NodeSpec {
    let user_data = vm.user_data.as_deref().unwrap_or_default();
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    let taint = |text: &str| {
        let (key_value, effect) = text.rsplit_once(':')?;
        let (key, value) = pair(key_value);
        Some(Taint {
            key,
            value: Some(value).filter(|value| !value.is_empty()),
            effect: effect.to_owned(),
            time_added: None,
        })
    };
    let size = catalogue.iter().find(|offering| offering.id == vm.offering_id);
    let amounts = |cpu: String, memory: String, disk: String| {
        BTreeMap::from([
            ("cpu".to_owned(), cpu),
            ("memory".to_owned(), memory),
            ("ephemeral-storage".to_owned(), disk),
            ("pods".to_owned(), "110".to_owned()),
        ])
    };
    let (millis, mib, gib) = size.map_or((0, 0, 0), |size| (size.cpu_milli, size.memory_mib, size.disk_gib));
    NodeSpec {
        name: vm.hostname.to_ascii_lowercase(),
        labels: flag(user_data, "--node-labels=").map(pair).collect(),
        taints: flag(user_data, "--register-with-taints=").filter_map(taint).collect(),
        capacity: amounts(format!("{millis}m"), format!("{mib}Mi"), format!("{gib}Gi")),
        // What a kubelet keeps for itself and the system, as the planner assumes it for sizes it has not seen.
        allocatable: amounts(
            format!("{}m", millis.saturating_sub(100)),
            format!("{}Ki", (mib * 1024).saturating_sub(255 * 1024 + mib * 1024 / 20)),
            format!("{}Mi", gib * 1024 * 9 / 10),
        ),
        provider_id: Some(format!("vpsie://{}/{}", vm.datacenter_id, vm.id)),
    }
}

/// The comma list behind a flag of the kubelet in a cloud-init document.
fn flag<'a>(user_data: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = user_data.find(name).map(|at| at + name.len());
    let rest = start.and_then(|start| user_data.get(start..)).unwrap_or_default();
    let end = rest
        .find(|c: char| c.is_whitespace() || c == '"' || c == '\'')
        .unwrap_or(rest.len());
    rest.get(..end)
        .unwrap_or_default()
        .split(',')
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_the_document_that_the_vm_was_ordered_with() {
        let document = "KUBELET_EXTRA_ARGS=\"--node-labels=a=1,b=2 --register-with-taints=x/startup:NoSchedule,gpu=yes:NoExecute\"";
        assert_eq!(flag(document, "--node-labels=").collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(flag(document, "--register-with-taints=").count(), 2);
        assert_eq!(flag(document, "--missing=").count(), 0);
    }
}
