//! A cluster of any size that is in operation: nodes that are about three quarters full, as many kinds of pod as such a
//! cluster has, and pods that wait.

use autoscaler_core::{
    manifest::{
        Objects,
        autoscaler::{VPSieNode, VPSieNodeSpec, VPSieNodeStatus},
        meta::ObjectMeta,
        node::Node,
        pod::Pod,
        workload::{
            DaemonSet, DaemonSetSpec, PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
            PodTemplateSpec,
        },
    },
    provider::{Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu},
};

use crate::{
    bound::Size,
    judge::Problem,
    objects::{
        HOSTNAME, NAMESPACE, ZONE, amounts, away, lifted_budgets, long_ago, map, node, node_group, nothing_reserved,
        pending, running, selector, spread,
    },
};

/// A cluster by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Nodes of 4 cores and 16 GiB, spread evenly over the groups.
    pub nodes: usize,
    /// Running pods on each node, the two of DaemonSets among them.
    pub pods_per_node: usize,
    /// Pods that wait for a node.
    pub pending: usize,
    /// NodeGroups, spread evenly over three datacenters.
    pub groups: usize,
    /// Offerings, each of which every group may buy.
    pub offerings: usize,
    /// Whether it is too large: every third node is nearly unneeded and every timer has passed, a fifth of the controllers
    /// have rules about other pods, and as many nodes may go as there are.
    pub shrinks: bool,
}

impl Shape {
    /// The size that goals are stated for: 5,000 nodes, 150,000 pods, 50 groups.
    pub const LARGE: Self = Self {
        nodes: 5000,
        pods_per_node: 30,
        pending: 0,
        groups: 50,
        offerings: 8,
        shrinks: false,
    };

    /// A cluster of this many nodes that is too large: scale-down.
    pub const fn shrinking(nodes: usize) -> Self {
        Self {
            nodes,
            shrinks: true,
            ..Self::LARGE
        }
    }
}

/// Running pods of one controller.
const REPLICAS: usize = 75;
/// CPU and memory of nodes of which pods may request all.
const NODE: (i64, i64, i64) = (3900, 15 * Bytes::GIB, 110);
/// CPU that the pods of a node request in all, so that nodes are about three quarters full however many pods there are.
const BUSY: (i64, i64) = (2940, 11_700 * Bytes::MIB);
/// The same for each 50th node, or each third one of a cluster that shrinks, which is nearly unneeded.
const QUIET: (i64, i64) = (1140, 4500 * Bytes::MIB);
const DAEMONS: [(&str, i64, i64); 2] = [("agent", 30, 50 * Bytes::MIB), ("proxy", 30, 100 * Bytes::MIB)];

impl Shape {
    /// The cluster:
    ///
    /// - Pods of DaemonSets aside, each controller has 75 pods. Of 20 controllers one spreads its pods over zones, one
    ///   keeps them on different hosts, and two have a PodDisruptionBudget.
    /// - Pods that wait are of 20 controllers and ten sizes. Two controllers spread theirs over zones, two keep theirs on
    ///   different hosts.
    /// - Each node has its VPSieNode. No timer of scale-down has passed.
    /// - In one that shrinks, of 20 controllers two spread their pods over zones and two keep them on different hosts, and a
    ///   PodDisruptionBudget lets a third of its pods go.
    pub fn problem(&self) -> Problem {
        let offerings: Vec<_> = (0..self.offerings).map(offering).collect();
        let ids: Vec<_> = offerings.iter().map(|offering| offering.id.to_string()).collect();
        let mut objects = Objects::default();
        for group in 0..self.groups {
            let name = group_name(group);
            objects
                .node_groups
                .push(node_group(&name, &datacenter(group), ids.clone(), &nothing_reserved()));
        }
        for (name, cpu, memory) in DAEMONS {
            let pod = running(name.to_owned(), String::new(), String::new(), cpu, memory);
            objects.daemon_sets.push(DaemonSet {
                metadata: pod.metadata.clone(),
                spec: DaemonSetSpec {
                    selector: None,
                    template: PodTemplateSpec {
                        metadata: ObjectMeta::default(),
                        spec: pod.spec,
                    },
                },
            });
        }
        for index in 0..self.nodes {
            objects.nodes.push(self.node(index));
            objects.vpsie_nodes.push(self.machine(index));
            self.pods_of(index, &mut objects.pods);
        }
        if self.shrinks {
            objects.autoscaler_configs.push(lifted_budgets());
        }
        for app in (0..self.apps()).filter(|app| app % 20 < 2) {
            let allowed = if self.shrinks { REPLICAS as i32 / 3 } else { 1 };
            objects.pod_disruption_budgets.push(budget(app, allowed));
        }
        objects.pods.extend((0..self.pending).map(waiting));
        let left_for_pods = |offering: &Offering| {
            let (cpu, memory) = DAEMONS
                .iter()
                .fold((0, 0), |sum, (_, cpu, memory)| (sum.0 + cpu, sum.1 + memory));
            // What a node of a size is known to have counts more than what the size says.
            let known = if offering.id.as_str() == SIZE_OF_NODES && 0 < self.nodes {
                NODE
            } else {
                (offering.cpu.0, offering.memory.0, 110)
            };
            Size {
                cpu: known.0 - cpu,
                memory: known.1 - memory,
                pods: known.2 - DAEMONS.len() as i64,
                price: offering.hourly_price.nanos(),
            }
        };
        Problem {
            sizes: offerings
                .iter()
                .map(|offering| (offering.id.to_string(), left_for_pods(offering)))
                .collect(),
            objects,
            offerings,
        }
    }

    /// How many pods run.
    pub const fn running(&self) -> usize {
        self.nodes * self.pods_per_node
    }

    fn apps(&self) -> usize {
        // More than there are on one node, so that each pod of a node is of another one.
        (self.running() / REPLICAS).max(self.pods_per_node)
    }

    fn node(&self, index: usize) -> Node {
        let group = index % self.groups;
        let (name, zone) = (group_name(group), datacenter(group));
        let labels = [
            ("autoscaler.vpsie.com/managed", "true"),
            ("autoscaler.vpsie.com/nodegroup", name.as_str()),
            ("autoscaler.vpsie.com/nodegroup-namespace", NAMESPACE),
            ("autoscaler.vpsie.com/datacenter", zone.as_str()),
            ("autoscaler.vpsie.com/offering", SIZE_OF_NODES),
            ("node.kubernetes.io/instance-type", SIZE_OF_NODES),
            (ZONE, zone.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ];
        node(node_name(index), &labels, amounts(NODE.0, NODE.1, NODE.2))
    }

    fn machine(&self, index: usize) -> VPSieNode {
        let group = index % self.groups;
        VPSieNode {
            metadata: ObjectMeta {
                name: node_name(index),
                namespace: NAMESPACE.to_owned(),
                ..ObjectMeta::default()
            },
            spec: VPSieNodeSpec {
                node_group_name: group_name(group),
                instance_type: SIZE_OF_NODES.to_owned(),
                datacenter_id: datacenter(group),
                ..VPSieNodeSpec::default()
            },
            status: VPSieNodeStatus {
                phase: "Ready".to_owned(),
                node_name: node_name(index),
                unneeded_since: self.shrinks.then(long_ago),
                ..VPSieNodeStatus::default()
            },
        }
    }

    fn pods_of(&self, index: usize, pods: &mut Vec<Pod>) {
        let of_apps = self.pods_per_node.saturating_sub(DAEMONS.len());
        for (name, cpu, memory) in DAEMONS {
            let mut pod = running(
                format!("{name}-{index:05}"),
                name.to_owned(),
                node_name(index),
                cpu,
                memory,
            );
            for owner in &mut pod.metadata.owner_references {
                "DaemonSet".clone_into(&mut owner.kind);
            }
            pods.push(pod);
        }
        let quiet_of = if self.shrinks { 3 } else { 50 };
        let (cpu, memory) = if index % quiet_of == quiet_of - 1 { QUIET } else { BUSY };
        for position in 0..of_apps {
            let app = (index * of_apps + position) % self.apps();
            // Five sizes around the average.
            let share = |amount: i64| amount / of_apps as i64 * (8 + app as i64 % 5) / 10;
            let name = format!("{}-7d4b9c6f58-{index:04x}{position:x}", app_name(app));
            let mut pod = running(
                name,
                format!("{}-7d4b9c6f58", app_name(app)),
                node_name(index),
                share(cpu),
                share(memory),
            );
            let more = usize::from(self.shrinks);
            constrain(
                &mut pod,
                &app_name(app),
                (5..=5 + more).contains(&(app % 20)),
                (10..=10 + more).contains(&(app % 20)),
            );
            pods.push(pod);
        }
    }
}

const SIZE_OF_NODES: &str = "size-04";

/// Sizes of 2, 4, 6 ... cores with 4 GiB per core, a little cheaper per core the larger they are.
fn offering(index: usize) -> Offering {
    let cores = 2 * (index as i64 + 1);
    Offering {
        id: OfferingId::new(format!("size-{cores:02}")),
        name: format!("{cores} cores"),
        cpu: MilliCpu(cores * 1000),
        memory: Bytes(4 * cores * Bytes::GIB),
        disk: Bytes(20 * cores * Bytes::GIB),
        max_pods: None,
        hourly_price: HourlyPrice::from_nanos(2_000_000 + 9_000_000 * cores),
        available: true,
        datacenter: None,
    }
}

/// A pod that waits: one of ten sizes from 250m and 512 MiB on, of one of 20 controllers.
fn waiting(index: usize) -> Pod {
    let (size, app) = (index as i64 % 10 + 1, index % 20);
    let mut pod = pending(format!("new-{app:02}-{index:05}"), 250 * size, 512 * Bytes::MIB * size);
    constrain(&mut pod, &format!("new-{app:02}"), app % 10 == 3, app % 10 == 7);
    pod
}

fn constrain(pod: &mut Pod, app: &str, over_zones: bool, alone: bool) {
    pod.metadata.labels = map(&[("app", app), ("pod-template-hash", "7d4b9c6f58")]);
    if over_zones {
        pod.spec.topology_spread_constraints.push(spread(ZONE, &[("app", app)]));
    }
    if alone {
        pod.spec.affinity = Some(away(HOSTNAME, &[("app", app)]));
    }
}

fn budget(app: usize, disruptions_allowed: i32) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: ObjectMeta {
            name: app_name(app),
            namespace: NAMESPACE.to_owned(),
            generation: 1,
            ..ObjectMeta::default()
        },
        spec: PodDisruptionBudgetSpec {
            selector: Some(selector(&[("app", &app_name(app))])),
            ..PodDisruptionBudgetSpec::default()
        },
        status: Some(PodDisruptionBudgetStatus {
            observed_generation: 1,
            disruptions_allowed,
            ..PodDisruptionBudgetStatus::default()
        }),
    }
}

fn group_name(index: usize) -> String {
    format!("group-{index:03}")
}

fn datacenter(group: usize) -> String {
    format!("dc-{}", group % 3 + 1)
}

fn node_name(index: usize) -> String {
    format!("node-{index:05}")
}

fn app_name(index: usize) -> String {
    format!("app-{index:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_cluster_has_the_numbers_that_goals_are_stated_for() {
        let problem = Shape::LARGE.problem();
        let objects = &problem.objects;
        assert_eq!(
            (objects.nodes.len(), objects.pods.len(), objects.node_groups.len()),
            (5000, 150_000, 50)
        );
        let mut names: Vec<_> = objects.pods.iter().map(|pod| &pod.metadata.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 150_000);
    }
}
