//! Objects of Kubernetes with only what a benchmark varies.

use std::collections::BTreeMap;

use autoscaler_core::{
    manifest::{
        autoscaler::{
            AutoscalerConfig, AutoscalerConfigSpec, GlobalSettings, NodeGroup, NodeGroupSpec, RemovalBudgets,
        },
        meta::{IntOrString, LabelSelector, ObjectMeta, OwnerReference, ResourceList},
        node::{Node, NodeCondition, NodeStatus},
        pod::{
            Affinity, Container, Pod, PodAffinity, PodAffinityTerm, PodCondition, PodSpec, PodStatus,
            ResourceRequirements, TopologySpreadConstraint,
        },
    },
    quantity::Quantity,
};

use jiff::Timestamp;

pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
pub(crate) const NAMESPACE: &str = "default";

/// A pod that the scheduler found no node for.
pub(crate) fn pending(name: String, cpu: i64, memory: i64) -> Pod {
    let mut pod = pod(name, cpu, memory);
    pod.status = PodStatus {
        phase: "Pending".to_owned(),
        conditions: vec![PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: "Unschedulable".to_owned(),
            ..PodCondition::default()
        }],
        ..PodStatus::default()
    };
    pod
}

/// A pod of a ReplicaSet that runs on a node.
pub(crate) fn running(name: String, owner: String, node: String, cpu: i64, memory: i64) -> Pod {
    let mut pod = pod(name, cpu, memory);
    pod.metadata.owner_references.push(OwnerReference {
        kind: "ReplicaSet".to_owned(),
        name: owner,
        controller: true,
        ..OwnerReference::default()
    });
    pod.spec.node_name = node;
    pod.status.phase = "Running".to_owned();
    pod.status.conditions.push(PodCondition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        ..PodCondition::default()
    });
    pod
}

fn pod(name: String, cpu: i64, memory: i64) -> Pod {
    let resources = ResourceRequirements {
        requests: [
            ("cpu".to_owned(), milli(cpu)),
            ("memory".to_owned(), Quantity::from_units(memory)),
        ]
        .into(),
        ..ResourceRequirements::default()
    };
    let container = Container {
        name: "main".to_owned(),
        resources,
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta {
            uid: uid(&name),
            name,
            namespace: NAMESPACE.to_owned(),
            ..ObjectMeta::default()
        },
        spec: PodSpec {
            containers: vec![container],
            ..PodSpec::default()
        },
        ..Pod::default()
    }
}

/// A Ready node.
pub(crate) fn node(name: String, labels: &[(&str, &str)], allocatable: ResourceList) -> Node {
    let mut labels = map(labels);
    labels.insert(HOSTNAME.to_owned(), name.clone());
    Node {
        metadata: ObjectMeta {
            uid: uid(&name),
            name,
            labels,
            ..ObjectMeta::default()
        },
        status: NodeStatus {
            allocatable,
            conditions: vec![NodeCondition {
                type_: "Ready".to_owned(),
                status: "True".to_owned(),
                ..NodeCondition::default()
            }],
            ..NodeStatus::default()
        },
        ..Node::default()
    }
}

pub(crate) fn amounts(cpu: i64, memory: i64, pods: i64) -> ResourceList {
    let amounts = [
        ("cpu", milli(cpu)),
        ("memory", Quantity::from_units(memory)),
        ("pods", Quantity::from_units(pods)),
    ];
    amounts
        .into_iter()
        .map(|(name, amount)| (name.to_owned(), amount))
        .collect()
}

/// A managed group that may grow without end.
pub(crate) fn node_group(
    name: &str,
    datacenter: &str,
    offerings: Vec<String>,
    reserved: &[(&str, Quantity)],
) -> NodeGroup {
    NodeGroup {
        metadata: ObjectMeta {
            name: name.to_owned(),
            namespace: NAMESPACE.to_owned(),
            labels: map(&[("autoscaler.vpsie.com/managed", "true")]),
            ..ObjectMeta::default()
        },
        spec: NodeGroupSpec {
            max_nodes: 1_000_000,
            datacenter_id: datacenter.to_owned(),
            offering_ids: offerings,
            reserved: reserved
                .iter()
                .map(|(name, amount)| ((*name).to_owned(), *amount))
                .collect(),
            ..NodeGroupSpec::default()
        },
        ..NodeGroup::default()
    }
}

/// Settings with which all nodes of a cluster may go at once, and it may be of any size.
pub(crate) fn lifted_budgets() -> AutoscalerConfig {
    AutoscalerConfig {
        metadata: ObjectMeta {
            name: "default".to_owned(),
            ..ObjectMeta::default()
        },
        spec: AutoscalerConfigSpec {
            global_settings: GlobalSettings {
                max_cluster_workers: 0,
                budgets: RemovalBudgets {
                    empty: Some(1_000_000),
                    drain: Some(IntOrString::String("100%".to_owned())),
                },
                ..GlobalSettings::default()
            },
        },
    }
}

/// A time before all windows.
pub(crate) fn long_ago() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time that is written here")
}

/// What keeps nothing for system and kubelet, so that a node offers its whole size.
pub(crate) fn nothing_reserved() -> [(&'static str, Quantity); 3] {
    ["cpu", "memory", "ephemeral-storage"].map(|name| (name, Quantity::from_units(0)))
}

/// Skew 1 with `DoNotSchedule`.
pub(crate) fn spread(topology_key: &str, labels: &[(&str, &str)]) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "DoNotSchedule".to_owned(),
        label_selector: Some(selector(labels)),
        ..TopologySpreadConstraint::default()
    }
}

pub(crate) fn near(topology_key: &str, labels: &[(&str, &str)]) -> Affinity {
    Affinity {
        pod_affinity: Some(required(topology_key, labels)),
        ..Affinity::default()
    }
}

pub(crate) fn away(topology_key: &str, labels: &[(&str, &str)]) -> Affinity {
    Affinity {
        pod_anti_affinity: Some(required(topology_key, labels)),
        ..Affinity::default()
    }
}

fn required(topology_key: &str, labels: &[(&str, &str)]) -> PodAffinity {
    PodAffinity {
        required_during_scheduling_ignored_during_execution: vec![PodAffinityTerm {
            label_selector: Some(selector(labels)),
            topology_key: topology_key.to_owned(),
            ..PodAffinityTerm::default()
        }],
    }
}

pub(crate) fn selector(labels: &[(&str, &str)]) -> LabelSelector {
    LabelSelector {
        match_labels: map(labels),
        ..LabelSelector::default()
    }
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

pub(crate) fn milli(amount: i64) -> Quantity {
    format!("{amount}m")
        .parse()
        .expect("a number of thousandths is a quantity")
}

/// A text as long as a UID, which is another one for each name.
fn uid(name: &str) -> String {
    // FNV-1a, 64 bits.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let other = hash.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        hash >> 32,
        hash >> 16 & 0xffff,
        hash & 0xfff,
        other >> 52,
        other & 0xffff_ffff_ffff
    )
}
