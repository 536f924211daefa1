//! Random small clusters, as numbers and as objects.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::scale_down::testing::{Cluster, ago};

pub(super) const GROUPS: [&str; 2] = ["alpha", "beta"];
pub(super) const APPS: [&str; 3] = ["web", "api", "job"];
/// What every node offers, in milli-cores.
pub(super) const SIZE: i64 = 4000;

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) nodes: Vec<NodeCase>,
    pub(super) pods: Vec<PodCase>,
    /// Milli-cores that pending pods request.
    pub(super) pending: Vec<i64>,
    pub(super) groups: [GroupCase; 2],
    pub(super) budgets: [BudgetCase; 3],
    pub(super) empty_budget: usize,
    pub(super) drain_percent: usize,
    /// Whether timers count.
    pub(super) timers: bool,
    /// Whether VPSieNodes stand for nodes.
    pub(super) machines: bool,
}

#[derive(Clone, Debug)]
pub(super) struct GroupCase {
    pub(super) min: usize,
    pub(super) enabled: bool,
    pub(super) threshold: i64,
    pub(super) drain_percent: Option<usize>,
    pub(super) hours: Option<Hours>,
    /// Seconds since it grew.
    pub(super) grown: Option<i64>,
    /// Whether a node of it is to come.
    pub(super) coming: bool,
}

/// Allowed hours.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hours {
    Now,
    Later,
    Malformed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct BudgetCase {
    /// Evictions that it allows; `None` is no budget.
    pub(super) allowed: Option<usize>,
    pub(super) always_allow_unhealthy: bool,
}

#[derive(Clone, Debug)]
pub(super) struct NodeCase {
    pub(super) group: usize,
    /// Seconds since it has not been Ready.
    pub(super) unready: Option<i64>,
    pub(super) cordoned: bool,
    pub(super) leaving: Leaving,
    pub(super) dedicated: bool,
    /// The value of the label `autoscaler.vpsie.com/protected`.
    pub(super) protected: Option<&'static str>,
    /// Whether no VPSieNode stands for it where one stands for others.
    pub(super) unowned: bool,
    /// Seconds since it has been unneeded.
    pub(super) unneeded: Option<i64>,
    /// Seconds since its removal failed.
    pub(super) failed: Option<i64>,
}

/// How a node is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Stays,
    NodeDeleted,
    Terminating,
    Draining,
    GivenUp,
}

#[derive(Clone, Debug)]
pub(super) struct PodCase {
    pub(super) node: usize,
    pub(super) app: usize,
    pub(super) cpu: i64,
    pub(super) kind: PodKind,
    pub(super) healthy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PodKind {
    Replicated,
    Naked,
    Daemon,
    NakedDaemon,
    Ended,
    Scratch,
    Waiting,
    Terminating,
    Tolerating,
}

pub(super) fn nodes() -> impl Strategy<Value = NodeCase> {
    let rarely = |weight| prop::bool::weighted(weight);
    let leaving = prop_oneof![
        40 => Just(Leaving::Stays),
        2 => Just(Leaving::NodeDeleted),
        1 => Just(Leaving::Terminating),
        1 => Just(Leaving::Draining),
        2 => Just(Leaving::GivenUp),
    ];
    let protected = prop_oneof![
        30 => Just(None),
        1 => Just(Some("true")),
        1 => Just(Some("yes")),
        1 => Just(Some("false")),
    ];
    let unready = prop_oneof![12 => Just(None), 1 => Just(Some(60)), 2 => Just(Some(7200))];
    let unneeded = prop_oneof![1 => Just(None), 1 => Just(Some(600)), 4 => Just(Some(601)), 4 => Just(Some(7200))];
    let failed = prop_oneof![10 => Just(None), 1 => Just(Some(179)), 1 => Just(Some(180))];
    (
        (0..2_usize, unready, rarely(0.1), leaving, rarely(0.15)),
        (protected, rarely(0.04), unneeded, failed),
    )
        .prop_map(
            |((group, unready, cordoned, leaving, dedicated), (protected, unowned, unneeded, failed))| NodeCase {
                group,
                unready,
                cordoned,
                leaving,
                dedicated,
                protected,
                unowned,
                unneeded,
                failed,
            },
        )
}

pub(super) fn pods() -> impl Strategy<Value = PodCase> {
    let kind = prop_oneof![
        28 => Just(PodKind::Replicated),
        1 => Just(PodKind::Naked),
        3 => Just(PodKind::Daemon),
        1 => Just(PodKind::NakedDaemon),
        2 => Just(PodKind::Ended),
        1 => Just(PodKind::Scratch),
        1 => Just(PodKind::Waiting),
        2 => Just(PodKind::Terminating),
        6 => Just(PodKind::Tolerating),
    ];
    (0..8_usize, 0..3_usize, 1..16_i64, kind, prop::bool::weighted(0.85)).prop_map(
        |(node, app, tenths, kind, healthy)| PodCase {
            node,
            app,
            cpu: tenths * 100,
            kind,
            healthy,
        },
    )
}

pub(super) fn groups() -> impl Strategy<Value = GroupCase> {
    let hours = prop_oneof![
        20 => Just(None),
        2 => Just(Some(Hours::Now)),
        1 => Just(Some(Hours::Later)),
        1 => Just(Some(Hours::Malformed)),
    ];
    let grown = prop_oneof![6 => Just(None), 1 => Just(Some(599)), 1 => Just(Some(600))];
    (
        0..3_usize,
        prop::bool::weighted(0.95),
        prop_oneof![6 => Just(50_i64), 1 => Just(20), 1 => Just(80)],
        prop_oneof![4 => Just(None), 1 => Just(Some(0_usize)), 2 => Just(Some(100))],
        hours,
        grown,
        prop::bool::weighted(0.05),
    )
        .prop_map(
            |(min, enabled, threshold, drain_percent, hours, grown, coming)| GroupCase {
                min,
                enabled,
                threshold,
                drain_percent,
                hours,
                grown,
                coming,
            },
        )
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let budget = (prop::option::weighted(0.6, 0..4_usize), prop::bool::weighted(0.3)).prop_map(
        |(allowed, always_allow_unhealthy)| BudgetCase {
            allowed,
            always_allow_unhealthy,
        },
    );
    // Small ones fit somewhere, 3.95 cores a node that exists at best, and five cores nothing.
    let pending = prop_oneof![
        10 => Just(Vec::new()),
        1 => prop::collection::vec(prop_oneof![Just(500_i64), Just(2000)], 1..3),
        2 => Just(vec![5000]),
    ];
    (
        prop::collection::vec(nodes(), 1..=8),
        prop::collection::vec(pods(), 0..24),
        pending,
        [groups(), groups()],
        [budget.clone(), budget.clone(), budget],
        0..4_usize,
        prop_oneof![Just(10_usize), Just(50), Just(100)],
        prop::bool::weighted(0.35),
        prop::bool::weighted(0.65),
    )
        .prop_map(
            |(nodes, mut pods, pending, groups, budgets, empty_budget, drain_percent, timers, machines)| {
                for pod in &mut pods {
                    pod.node %= nodes.len();
                }
                Case {
                    nodes,
                    pods,
                    pending,
                    groups,
                    budgets,
                    empty_budget,
                    drain_percent,
                    timers,
                    machines,
                }
            },
        )
}

pub(super) fn node_name(index: usize) -> String {
    format!("n{index}")
}

// === impl Case ===

impl Case {
    pub(super) fn pod_name(&self, index: usize) -> String {
        format!("{}-{index:02}", APPS[self.pods[index].app])
    }

    pub(super) fn pods_on(&self, node: usize) -> impl Iterator<Item = (usize, &PodCase)> {
        self.pods.iter().enumerate().filter(move |(_, pod)| pod.node == node)
    }

    pub(super) fn has_machine(&self, node: usize) -> bool {
        self.machines && !self.nodes[node].unowned
    }

    pub(super) fn is_leaving(&self, node: usize) -> bool {
        match self.nodes[node].leaving {
            Leaving::Stays => false,
            Leaving::NodeDeleted => true,
            Leaving::Terminating | Leaving::Draining | Leaving::GivenUp => self.has_machine(node),
        }
    }

    /// The node that pods of a node that is being drained are to go to.
    pub(super) fn heir(&self, node: usize) -> usize {
        (node + 1) % self.nodes.len()
    }

    pub(super) fn recorded_moves(&self, node: usize) -> Value {
        let to = node_name(self.heir(node));
        let waiting = self.pods_on(node).filter(|(_, pod)| pod.kind.must_move());
        waiting
            .map(|(index, _)| json!({"pod": format!("default/{}", self.pod_name(index)), "to": to}))
            .collect()
    }

    /// Pods of the node that are charged to the budget of an app.
    pub(super) fn charged(&self, node: usize, app: usize) -> usize {
        let exempt = |pod: &PodCase| !pod.healthy && self.budgets[app].always_allow_unhealthy;
        let charged = self.pods_on(node).filter(|(_, pod)| {
            pod.app == app && pod.kind.must_move() && pod.kind != PodKind::Terminating && !exempt(pod)
        });
        charged.count()
    }

    pub(super) fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::new().settings(json!({
            "budgets": {"empty": self.empty_budget, "drain": format!("{}%", self.drain_percent)},
        }));
        for (name, group) in GROUPS.iter().zip(&self.groups) {
            cluster = cluster.group(name, group.patch());
            if self.machines && group.coming {
                cluster = cluster.object(machine(
                    &format!("coming-{name}"),
                    name,
                    &json!({"phase": "Provisioning"}),
                ));
            }
        }
        for (app, budget) in APPS.iter().zip(self.budgets) {
            if let Some(allowed) = budget.allowed {
                let policy = if budget.always_allow_unhealthy {
                    "AlwaysAllow"
                } else {
                    "IfHealthyBudget"
                };
                let patch = json!({"spec": {"unhealthyPodEvictionPolicy": policy}});
                cluster = cluster.budget(app, app, i32::try_from(allowed).unwrap(), patch);
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            cluster = cluster.node(&node_name(index), node.patch());
            if self.has_machine(index) {
                let mut status = node.status(index);
                if node.leaving == Leaving::Draining {
                    status["removal"]["moves"] = self.recorded_moves(index);
                }
                cluster = cluster.object(machine(&node_name(index), GROUPS[node.group], &status));
            }
        }
        for (index, pod) in self.pods.iter().enumerate() {
            let cpu = format!("{}m", pod.cpu);
            cluster = cluster.pod(&self.pod_name(index), &node_name(pod.node), &cpu, pod.patch());
        }
        for (index, cpu) in self.pending.iter().enumerate() {
            let unschedulable = json!({"status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": ago(600)},
            ]}});
            cluster = cluster.pod(&format!("pending-{index}"), "", &format!("{cpu}m"), unschedulable);
        }
        cluster
    }
}

pub(super) fn machine(name: &str, group: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "VPSieNode",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeGroupName": group, "instanceType": "small", "datacenterID": "dc1"},
        "status": status,
    })
}

impl GroupCase {
    pub(super) fn patch(&self) -> Value {
        let mut patch = json!({
            "spec": {"minNodes": self.min, "scaleDownPolicy": {
                "enabled": self.enabled, "cpuThreshold": self.threshold, "memoryThreshold": self.threshold,
            }},
        });
        if let Some(percent) = self.drain_percent {
            patch["spec"]["scaleDownPolicy"]["budgets"] = json!({"drain": format!("{percent}%")});
        }
        if let Some(hours) = self.hours {
            let hours = match hours {
                Hours::Now => "11:00-12:30",
                Hours::Later => "12:30-11:00",
                Hours::Malformed => "always",
            };
            patch["metadata"]["annotations"] = json!({"autoscaler.vpsie.com/scale-down-allowed-hours": hours});
        }
        if let Some(grown) = self.grown {
            patch["status"] = json!({"lastScaleUpTime": ago(grown)});
        }
        patch
    }
}

impl NodeCase {
    pub(super) fn patch(&self) -> Value {
        let mut patch = json!({
            "metadata": {"labels": {"autoscaler.vpsie.com/nodegroup": GROUPS[self.group]}},
            "spec": {"unschedulable": self.cordoned},
        });
        if let Some(seconds) = self.unready {
            patch["status"]["conditions"] =
                json!([{"type": "Ready", "status": "False", "lastTransitionTime": ago(seconds)}]);
        }
        if self.dedicated {
            patch["spec"]["taints"] = json!([{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]);
        }
        if self.leaving == Leaving::NodeDeleted {
            patch["metadata"]["deletionTimestamp"] = json!(ago(5));
        }
        if let Some(value) = self.protected {
            patch["metadata"]["labels"]["autoscaler.vpsie.com/protected"] = json!(value);
        }
        patch
    }

    pub(super) fn status(&self, index: usize) -> Value {
        let phase = match self.leaving {
            Leaving::Terminating => "Terminating",
            Leaving::GivenUp => "Failed",
            Leaving::Stays | Leaving::NodeDeleted | Leaving::Draining => "Ready",
        };
        let mut status = json!({"phase": phase, "nodeName": node_name(index)});
        if let Some(seconds) = self.unneeded {
            status["unneededSince"] = json!(ago(seconds));
        }
        if self.leaving == Leaving::Draining {
            status["removal"] = json!({"phase": "Draining"});
        } else if let Some(seconds) = self.failed {
            status["removal"] = json!({"phase": "Failed", "failedAt": ago(seconds)});
        }
        status
    }
}

impl PodCase {
    pub(super) fn patch(&self) -> Value {
        let declared = json!({"cluster-autoscaler.kubernetes.io/daemonset-pod": "true"});
        let mut patch = match self.kind {
            PodKind::Replicated => json!({}),
            PodKind::Naked => json!({"metadata": {"ownerReferences": null}}),
            PodKind::Daemon => json!({"metadata": {"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": "u", "controller": true},
            ]}}),
            PodKind::NakedDaemon => json!({"metadata": {"ownerReferences": null, "annotations": declared}}),
            PodKind::Ended => json!({"status": {"phase": "Succeeded"}}),
            PodKind::Scratch => json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            PodKind::Waiting => json!({"metadata": {"annotations": {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "on-completion",
            }}}),
            PodKind::Terminating => json!({"metadata": {"deletionTimestamp": ago(5)}}),
            PodKind::Tolerating => json!({"spec": {"tolerations": [
                {"key": "dedicated", "operator": "Exists"}, {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"},
            ]}}),
        };
        if !self.healthy {
            patch["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        }
        patch
    }
}

impl PodKind {
    pub(super) fn must_move(self) -> bool {
        !matches!(self, Self::Daemon | Self::NakedDaemon | Self::Ended)
    }
}
