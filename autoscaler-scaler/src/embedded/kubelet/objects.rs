//! What fake kubelets write. Pure: from the machine and what the API server holds to the objects and their status.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::ContainerState;
use k8s_openapi::api::core::v1::ContainerStateRunning;
use k8s_openapi::api::core::v1::ContainerStateTerminated;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::api::core::v1::HostIP;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::NodeAddress;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::api::core::v1::NodeSpec as KubernetesNodeSpec;
use k8s_openapi::api::core::v1::NodeStatus;
use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::api::core::v1::PodIP;
use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::NodeSpec;

/// How long a Lease is valid, in seconds: kubelet's `nodeLeaseDurationSeconds`.
const LEASE_SECONDS: i32 = 40;

/// kubelet's default for the number of pods.
const DEFAULT_PODS: &str = "110";

/// What the condition Ready of a Node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Registered and not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Broken.
    Failed,
}

impl Readiness {
    /// `status` of the condition.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Ready => "True",
            Self::Starting | Self::Failed => "False",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Ready => "KubeletReady",
            Self::Starting | Self::Failed => "KubeletNotReady",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Ready => "kubelet is posting ready status",
            Self::Starting => "container runtime network not ready",
            Self::Failed => "container runtime is down",
        }
    }
}

/// The Node as it is registered.
pub(super) fn node(spec: &NodeSpec, address: Ipv4Addr, now: Timestamp) -> Node {
    let defaults = [
        ("kubernetes.io/hostname", spec.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
    ];
    let mut labels: BTreeMap<String, String> = defaults
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    labels.extend(spec.labels.clone());
    let mut capacity = spec.capacity.clone();
    capacity
        .entry("pods".to_owned())
        .or_insert_with(|| DEFAULT_PODS.to_owned());
    let mut allocatable = capacity.clone();
    allocatable.extend(spec.allocatable.clone());

    let mut node = Node {
        metadata: ObjectMeta {
            name: Some(spec.name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(KubernetesNodeSpec {
            provider_id: spec.provider_id.clone(),
            taints: (!spec.taints.is_empty()).then(|| spec.taints.clone()),
            ..KubernetesNodeSpec::default()
        }),
        status: Some(NodeStatus {
            capacity: Some(quantities(capacity)),
            allocatable: Some(quantities(allocatable)),
            addresses: Some(vec![
                NodeAddress {
                    type_: "InternalIP".to_owned(),
                    address: address.to_string(),
                },
                NodeAddress {
                    type_: "Hostname".to_owned(),
                    address: spec.name.clone(),
                },
            ]),
            node_info: Some(NodeSystemInfo {
                architecture: "amd64".to_owned(),
                operating_system: "linux".to_owned(),
                os_image: "fake".to_owned(),
                kubelet_version: "v1.36.3".to_owned(),
                container_runtime_version: "fake://1.0.0".to_owned(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }),
    };
    let conditions = node_conditions(&node, Readiness::Starting, now);
    if let Some(status) = &mut node.status {
        status.conditions = Some(conditions);
    }
    node
}

/// The conditions of `node` with ours renewed. Those that others wrote stay, and a condition keeps the time of its last
/// transition while its status is the same.
pub(super) fn node_conditions(node: &Node, readiness: Readiness, now: Timestamp) -> Vec<NodeCondition> {
    let ours = [
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        ("Ready", readiness.status(), readiness.reason(), readiness.message()),
    ];
    let old = conditions_of(node);
    let mut conditions: Vec<NodeCondition> = old
        .iter()
        .filter(|condition| ours.iter().all(|&(name, ..)| name != condition.type_))
        .cloned()
        .collect();
    for (name, status, reason, message) in ours {
        let same = old
            .iter()
            .find(|condition| condition.type_ == name && condition.status == status);
        let since = same.and_then(|condition| condition.last_transition_time.clone());
        conditions.push(NodeCondition {
            type_: name.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: since.or(Some(Time(now))),
        });
    }
    conditions
}

/// Status and last heartbeat of the condition Ready. The status can be another than was reported, because
/// kube-controller-manager makes it Unknown when it hears nothing.
pub(super) fn reported(node: &Node) -> Option<(&str, Timestamp)> {
    let ready = conditions_of(node)
        .iter()
        .find(|condition| condition.type_ == "Ready")?;
    Some((&ready.status, ready.last_heartbeat_time.as_ref()?.0))
}

/// The Lease of a Node that is stored, renewed now. It goes with its Node.
pub(super) fn lease(node: &Node, now: Timestamp) -> Option<Lease> {
    let name = node.metadata.name.clone()?;
    Some(Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: name.clone(),
                uid: node.metadata.uid.clone()?,
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    })
}

/// The status of `pod` once all of its containers run. Conditions that others wrote, as PodScheduled, stay.
pub(super) fn running_status(pod: &Pod, host: Ipv4Addr, address: Ipv4Addr, now: Timestamp) -> PodStatus {
    const OURS: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];
    let (spec, old) = (pod.spec.as_ref(), pod.status.as_ref());
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let address = if host_network { host } else { address }.to_string();
    // A pod that runs already keeps its address.
    let address = old.and_then(|status| status.pod_ip.clone()).unwrap_or(address);
    let mut conditions = old.and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions.retain(|condition| !OURS.contains(&condition.type_.as_str()));
    conditions.extend(OURS.map(|name| PodCondition {
        type_: name.to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    }));
    let init_containers = spec.and_then(|spec| spec.init_containers.as_ref());
    PodStatus {
        phase: Some("Running".to_owned()),
        conditions: Some(conditions),
        start_time: old.and_then(|status| status.start_time.clone()).or(Some(Time(now))),
        host_ip: Some(host.to_string()),
        host_ips: Some(vec![HostIP { ip: host.to_string() }]),
        pod_ip: Some(address.clone()),
        pod_ips: Some(vec![PodIP { ip: address }]),
        container_statuses: spec.map(|spec| spec.containers.iter().map(|one| running(one, now)).collect()),
        init_container_statuses: init_containers.map(|containers| {
            let is_sidecar = |one: &Container| one.restart_policy.as_deref() == Some("Always");
            containers
                .iter()
                .map(|one| {
                    if is_sidecar(one) {
                        running(one, now)
                    } else {
                        completed(one, now)
                    }
                })
                .collect()
        }),
        ..PodStatus::default()
    }
}

fn conditions_of(node: &Node) -> &[NodeCondition] {
    node.status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default()
}

fn quantities(amounts: BTreeMap<String, String>) -> BTreeMap<String, Quantity> {
    amounts
        .into_iter()
        .map(|(name, amount)| (name, Quantity(amount)))
        .collect()
}

fn running(container: &Container, now: Timestamp) -> ContainerStatus {
    let running = ContainerStateRunning {
        started_at: Some(Time(now)),
    };
    ContainerStatus {
        ready: true,
        started: Some(true),
        state: Some(ContainerState {
            running: Some(running),
            ..ContainerState::default()
        }),
        ..container_status(container)
    }
}

/// An init container that did its work.
fn completed(container: &Container, now: Timestamp) -> ContainerStatus {
    let terminated = ContainerStateTerminated {
        exit_code: 0,
        reason: Some("Completed".to_owned()),
        started_at: Some(Time(now)),
        finished_at: Some(Time(now)),
        ..ContainerStateTerminated::default()
    };
    ContainerStatus {
        ready: true,
        started: Some(false),
        state: Some(ContainerState {
            terminated: Some(terminated),
            ..ContainerState::default()
        }),
        ..container_status(container)
    }
}

fn container_status(container: &Container) -> ContainerStatus {
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        ..ContainerStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn spec() -> NodeSpec {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        NodeSpec {
            name: "n1".to_owned(),
            labels: map(&[("kubernetes.io/arch", "arm64"), ("pool", "a")]),
            capacity: map(&[("cpu", "4"), ("memory", "8Gi")]),
            allocatable: map(&[("cpu", "3900m")]),
            ..NodeSpec::default()
        }
    }

    #[test]
    fn node_has_default_labels_and_resources_that_the_spec_overrides() {
        let node = node(&spec(), Ipv4Addr::LOCALHOST, at(0));
        let labels = node.metadata.labels.as_ref().unwrap();
        assert_eq!(labels["kubernetes.io/hostname"], "n1");
        assert_eq!(labels["kubernetes.io/arch"], "arm64");
        assert_eq!(labels["pool"], "a");
        let status = node.status.as_ref().unwrap();
        assert_eq!(status.capacity.as_ref().unwrap()["pods"].0, "110");
        assert_eq!(status.allocatable.as_ref().unwrap()["cpu"].0, "3900m");
        assert_eq!(status.allocatable.as_ref().unwrap()["memory"].0, "8Gi");
        assert_eq!(reported(&node), Some(("False", at(0))));
    }

    #[test]
    fn conditions_keep_their_transition_time_and_those_of_others() {
        let mut node = node(&spec(), Ipv4Addr::LOCALHOST, at(0));
        let foreign = NodeCondition {
            type_: "NetworkUnavailable".to_owned(),
            status: "False".to_owned(),
            ..NodeCondition::default()
        };
        node.status
            .as_mut()
            .unwrap()
            .conditions
            .as_mut()
            .unwrap()
            .push(foreign.clone());

        let conditions = node_conditions(&node, Readiness::Ready, at(60));
        assert_eq!(conditions.len(), 5);
        assert!(conditions.contains(&foreign));
        for (name, transition) in [("Ready", 60), ("DiskPressure", 0)] {
            let condition = conditions.iter().find(|condition| condition.type_ == name).unwrap();
            assert_eq!(condition.last_transition_time, Some(Time(at(transition))), "{name}");
            assert_eq!(condition.last_heartbeat_time, Some(Time(at(60))), "{name}");
        }
    }

    #[test]
    fn a_running_pod_keeps_its_scheduled_condition_and_its_start_time() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": "main", "image": "app"}],
                "initContainers": [{"name": "init"}, {"name": "sidecar", "restartPolicy": "Always"}],
                "hostNetwork": true,
            },
            "status": {
                "startTime": "1970-01-01T00:00:05Z",
                "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
            },
        }))
        .unwrap();
        let host = Ipv4Addr::new(10, 0, 0, 1);
        let status = running_status(&pod, host, Ipv4Addr::new(10, 0, 0, 2), at(60));
        let names: Vec<_> = status
            .conditions
            .iter()
            .flatten()
            .map(|c| (c.type_.as_str(), c.status.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("PodScheduled", "True"),
                ("PodReadyToStartContainers", "True"),
                ("Initialized", "True"),
                ("Ready", "True"),
                ("ContainersReady", "True"),
            ]
        );
        assert_eq!(status.start_time, Some(Time(at(5))));
        assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.1"));
        let init = status.init_container_statuses.unwrap();
        assert!(init[0].state.as_ref().unwrap().terminated.is_some());
        assert!(init[1].state.as_ref().unwrap().running.is_some());
        assert_eq!(status.container_statuses.unwrap()[0].image, "app");
    }
}
