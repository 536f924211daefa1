//! Clusters for the benchmarks: made from numbers alone, so that every run sees the same ones.

use autoscaler_core::{
    build::Input,
    manifest::{
        Objects,
        autoscaler::{NodeGroup, NodeGroupSpec},
        meta::{ObjectMeta, OwnerReference},
        node::{Node, NodeCondition, NodeStatus},
        pod::{Container, Pod, PodCondition, PodSpec, PodStatus, ResourceRequirements},
    },
    provider::{Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu, Quantity},
    snapshot::Snapshot,
};

/// A cluster by its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Nodes, spread evenly over the groups; each has 4 cores and 16 GiB.
    pub nodes: usize,
    /// Running pods on each node, of 100 millicores and 400 MiB.
    pub pods_per_node: usize,
    /// Pods that wait for a node, of ten sizes.
    pub pending: usize,
    /// NodeGroups.
    pub groups: usize,
}

/// The time that the clusters are decided for.
pub const NOW: &str = "2026-01-01T12:00:00Z";

impl Shape {
    /// The objects of the cluster.
    pub fn objects(&self) -> Objects {
        let mut objects = Objects::default();
        for group in 0..self.groups {
            objects.node_groups.push(node_group(group));
        }
        for node in 0..self.nodes {
            objects.nodes.push(self.node(node));
            for pod in 0..self.pods_per_node {
                objects.pods.push(running(node, pod));
            }
        }
        for index in 0..self.pending {
            objects.pods.push(pending(index));
        }
        objects
    }
}

/// The snapshot of these objects, with the offerings of [`offerings`].
pub fn snapshot(objects: &Objects) -> Snapshot {
    let offerings = offerings();
    Snapshot::build(&Input::new(objects, &offerings))
}

/// Four sizes of 2 to 16 cores with 4 GiB per core, cheaper per core the larger they are.
pub fn offerings() -> Vec<Offering> {
    let offering = |(cores, price): (i64, i64)| Offering {
        id: OfferingId::new(format!("size-{cores}")),
        name: format!("size-{cores}"),
        cpu: MilliCpu(cores * 1000),
        memory: Bytes(cores * 4 * Bytes::GIB),
        disk: Bytes(cores * 20 * Bytes::GIB),
        hourly_price: HourlyPrice::from_nanos(price),
        available: true,
        datacenter: None,
    };
    [(2, 20_000_000), (4, 38_000_000), (8, 74_000_000), (16, 144_000_000)]
        .map(offering)
        .to_vec()
}

fn node_group(index: usize) -> NodeGroup {
    let labels = [("autoscaler.vpsie.com/managed".to_owned(), "true".to_owned())];
    NodeGroup {
        metadata: ObjectMeta {
            name: format!("group-{index}"),
            namespace: "default".to_owned(),
            labels: labels.into(),
            ..ObjectMeta::default()
        },
        spec: NodeGroupSpec {
            min_nodes: 0,
            max_nodes: 10_000,
            datacenter_id: "dc-1".to_owned(),
            offering_ids: offerings().iter().map(|offering| offering.id.to_string()).collect(),
            ..NodeGroupSpec::default()
        },
        ..NodeGroup::default()
    }
}

impl Shape {
    fn node(&self, index: usize) -> Node {
        let name = format!("node-{index}");
        let labels = [
            ("autoscaler.vpsie.com/managed", "true".to_owned()),
            (
                "autoscaler.vpsie.com/nodegroup",
                format!("group-{}", index % self.groups.max(1)),
            ),
            ("autoscaler.vpsie.com/offering", "size-4".to_owned()),
            ("kubernetes.io/hostname", name.clone()),
        ];
        let amounts = [("cpu", "3900m"), ("memory", "15Gi"), ("pods", "110")];
        Node {
            metadata: ObjectMeta {
                name,
                labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
                ..ObjectMeta::default()
            },
            status: NodeStatus {
                allocatable: amounts
                    .into_iter()
                    .map(|(name, text)| (name.to_owned(), quantity(text)))
                    .collect(),
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
}

fn running(node: usize, index: usize) -> Pod {
    let owner = OwnerReference {
        kind: "ReplicaSet".to_owned(),
        name: format!("app-{}", index % 7),
        controller: true,
        ..OwnerReference::default()
    };
    let mut pod = pod(format!("running-{node}-{index}"), "100m", "400Mi");
    pod.metadata.owner_references.push(owner);
    pod.spec.node_name = format!("node-{node}");
    pod.status.phase = "Running".to_owned();
    pod
}

fn pending(index: usize) -> Pod {
    let size = index % 10 + 1;
    let mut pod = pod(
        format!("pending-{index}"),
        &format!("{}m", size * 250),
        &format!("{}Mi", size * 512),
    );
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

fn pod(name: String, cpu: &str, memory: &str) -> Pod {
    let requests = [
        ("cpu".to_owned(), quantity(cpu)),
        ("memory".to_owned(), quantity(memory)),
    ];
    let resources = ResourceRequirements {
        requests: requests.into(),
        ..ResourceRequirements::default()
    };
    Pod {
        metadata: ObjectMeta {
            name,
            namespace: "default".to_owned(),
            ..ObjectMeta::default()
        },
        spec: PodSpec {
            containers: vec![Container {
                resources,
                ..Container::default()
            }],
            ..PodSpec::default()
        },
        ..Pod::default()
    }
}

fn quantity(text: &str) -> Quantity {
    text.parse().expect("a quantity that is written here")
}
