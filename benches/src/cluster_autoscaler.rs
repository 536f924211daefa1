//! The scale-up benchmarks and the scale-down benchmark of the Cluster Autoscaler, state of August 2026.

use autoscaler_core::{
    manifest::{
        Objects,
        autoscaler::{VPSieNode, VPSieNodeSpec, VPSieNodeStatus},
        meta::ObjectMeta,
        pod::Pod,
    },
    provider::{Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu},
};

use crate::{
    bound::Size,
    judge::Problem,
    objects::{NAMESPACE, amounts, lifted_budgets, long_ago, node, node_group, nothing_reserved, pending, running},
};

/// `BenchmarkRunOnceScaleUp` of `core/bench`: 50,000 equal pods that nobody owns, one group from zero, nodes that hold 50
/// of them. A price is added, which is 1 per node.
///
/// 1000 nodes are the best that can be.
pub fn run_once_scale_up() -> Problem {
    let pods = (0..50_000).map(|index| pending(format!("pod-{index}"), 200, 200));
    problem(10_000, 10_000, 110, pods.collect())
}

/// `BenchmarkBinpackingEstimate` of `estimator`: 50,000 pods of 50m and 100 bytes and 1,000 of 95m and 190 bytes on nodes
/// of 1000m, 5000 bytes and 100 pod slots.
///
/// The Cluster Autoscaler needs 2595 nodes, which is the best that can be: the pods ask for 2,595,000m.
pub fn binpacking() -> Problem {
    let many = (0..50_000).map(|index| pending(format!("small-{index}"), 50, 100));
    let few = (0..1000).map(|index| pending(format!("large-{index}"), 95, 190));
    problem(1000, 5000, 100, many.chain(few).collect())
}

/// `BenchmarkRunOnceScaleDown` of `core/bench`: 2000 nodes with 40 pods each, of which each requests a hundredth of a node.
/// All timers have passed and no budget limits how many nodes go.
///
/// 800 nodes hold all 80,000 pods, so 1200 can be removed.
pub fn run_once_scale_down() -> Problem {
    const NODES: usize = 2000;
    let mut problem = problem(10_000, 10_000, 110, Vec::new());
    let objects = &mut problem.objects;
    objects.autoscaler_configs.push(lifted_budgets());
    let labels = [
        ("autoscaler.vpsie.com/managed", "true"),
        ("autoscaler.vpsie.com/nodegroup", "group"),
        ("autoscaler.vpsie.com/nodegroup-namespace", NAMESPACE),
        ("autoscaler.vpsie.com/offering", "node"),
    ];
    for index in 0..NODES {
        let name = format!("node-{index:04}");
        objects
            .nodes
            .push(node(name.clone(), &labels, amounts(10_000, 10_000, 110)));
        objects.vpsie_nodes.push(VPSieNode {
            metadata: ObjectMeta {
                name: name.clone(),
                namespace: NAMESPACE.to_owned(),
                ..ObjectMeta::default()
            },
            spec: VPSieNodeSpec {
                node_group_name: "group".to_owned(),
                instance_type: "node".to_owned(),
                datacenter_id: "dc-1".to_owned(),
                ..VPSieNodeSpec::default()
            },
            status: VPSieNodeStatus {
                phase: "Ready".to_owned(),
                node_name: name.clone(),
                unneeded_since: Some(long_ago()),
                ..VPSieNodeStatus::default()
            },
        });
        let pods = (0..40).map(|pod| running(format!("{name}-{pod:02}"), "web".to_owned(), name.clone(), 100, 100));
        objects.pods.extend(pods);
    }
    problem
}

fn problem(cpu: i64, memory: i64, slots: u32, pods: Vec<Pod>) -> Problem {
    let offering = Offering {
        id: OfferingId::new("node"),
        name: "node".to_owned(),
        cpu: MilliCpu(cpu),
        memory: Bytes(memory),
        disk: Bytes(100 * Bytes::GIB),
        max_pods: Some(slots),
        hourly_price: HourlyPrice::from_nanos(1_000_000_000),
        available: true,
        datacenter: None,
    };
    let size = Size {
        cpu,
        memory,
        pods: slots.into(),
        price: offering.hourly_price.nanos(),
    };
    let group = node_group("group", "dc-1", vec!["node".to_owned()], &nothing_reserved());
    Problem {
        objects: Objects {
            node_groups: vec![group],
            pods,
            ..Objects::default()
        },
        offerings: vec![offering],
        sizes: [("node".to_owned(), size)].into(),
    }
}
