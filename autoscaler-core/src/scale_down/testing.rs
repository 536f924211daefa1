//! Small clusters for tests, written as patches of typical objects.

#![expect(clippy::needless_pass_by_value, reason = "patches are written in place")]

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Demand, ScaleDown, plan_removals};
use crate::{
    build::Input,
    manifest::{Objects, Source, read},
    plan::{NodeReport, NodeVerdict},
    planner::Options,
    provider::{Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu},
    snapshot::{NodeId, PodId, Snapshot},
    template::Template,
    usage::MeasuredUsage,
    world::World,
};

/// The time of every test.
pub(crate) const NOW: &str = "2026-03-02T12:00:00Z";

/// A cluster with one NodeGroup `default/workers`, of minimum 0, and whatever is added.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    objects: Vec<Value>,
    ignore_timers: bool,
    own_node: Option<&'static str>,
    growing: Vec<&'static str>,
    measured: Option<Arc<MeasuredUsage>>,
    now: Timestamp,
}

/// What was decided about a cluster.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) snapshot: Snapshot,
    pub(crate) down: ScaleDown,
}

/// So many seconds before [`NOW`].
pub(crate) fn ago(seconds: i64) -> String {
    let now: Timestamp = NOW.parse().unwrap();
    (now - SignedDuration::from_secs(seconds)).to_string()
}

// === impl Cluster ===

impl Cluster {
    /// Timers are taken as elapsed until [`Self::with_timers`].
    pub(crate) fn new() -> Self {
        let bare = Self {
            objects: Vec::new(),
            ignore_timers: true,
            own_node: None,
            growing: Vec::new(),
            measured: None,
            now: NOW.parse().unwrap(),
        };
        bare.group("workers", json!({}))
    }

    pub(crate) fn with_timers(mut self) -> Self {
        self.ignore_timers = false;
        self
    }

    pub(crate) fn own_node(mut self, name: &'static str) -> Self {
        self.own_node = Some(name);
        self
    }

    pub(crate) fn growing(mut self, group: &'static str) -> Self {
        self.growing.push(group);
        self
    }

    /// Nodes are measured, with this result.
    pub(crate) fn measured(mut self, measured: MeasuredUsage) -> Self {
        self.measured = Some(Arc::new(measured));
        self
    }

    pub(crate) fn object(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    /// A managed NodeGroup of the namespace `default`; the last of a name counts.
    pub(crate) fn group(mut self, name: &str, patch: Value) -> Self {
        self.objects
            .retain(|object| object["kind"] != "NodeGroup" || object["metadata"]["name"] != name);
        self.object(merged(
            json!({
                "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "NodeGroup",
                "metadata": {
                    "name": name, "namespace": "default", "labels": {"autoscaler.vpsie.com/managed": "true"},
                },
                "spec": {"minNodes": 0, "maxNodes": 100, "datacenterID": "dc1", "offeringIDs": ["small"]},
            }),
            patch,
        ))
    }

    /// Settings of all groups.
    pub(crate) fn settings(self, settings: Value) -> Self {
        self.object(json!({
            "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "AutoscalerConfig",
            "metadata": {"name": "default"}, "spec": {"globalSettings": settings},
        }))
    }

    /// A Ready node of `workers` that offers 4 cores and 8 GiB.
    pub(crate) fn node(self, name: &str, patch: Value) -> Self {
        self.object(merged(
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {"autoscaler.vpsie.com/managed": "true", "autoscaler.vpsie.com/nodegroup": "workers"},
                },
                "status": {
                    "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }),
            patch,
        ))
    }

    /// A VPSieNode for a node of `workers` that has been unneeded for an hour.
    pub(crate) fn machine(self, node: &str, status: Value) -> Self {
        self.object(json!({
            "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "VPSieNode",
            "metadata": {"name": node, "namespace": "default"},
            "spec": {"nodeGroupName": "workers", "instanceType": "small", "datacenterID": "dc1"},
            "status": merged(json!({"phase": "Ready", "nodeName": node, "unneededSince": ago(3600)}), status),
        }))
    }

    /// A running pod of a ReplicaSet, created a day ago, in the namespace `default` unless it says otherwise. Without
    /// a node it is pending.
    pub(crate) fn pod(self, name: &str, node: &str, cpu: &str, patch: Value) -> Self {
        let phase = if node.is_empty() { "Pending" } else { "Running" };
        self.object(merged(
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": "default", "creationTimestamp": ago(86_400),
                    "labels": {"app": name.split('-').next()},
                    "ownerReferences": [
                        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u", "controller": true},
                    ],
                },
                "spec": {
                    "nodeName": node,
                    "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
                },
                "status": {
                    "phase": phase, "startTime": ago(86_400), "conditions": [{"type": "Ready", "status": "True"}],
                },
            }),
            patch,
        ))
    }

    /// A pod that keeps its node above the threshold: it requests 3 of 4 cores.
    pub(crate) fn anchor(self, node: &str) -> Self {
        let name = format!("anchor-{node}");
        self.pod(&name, node, "3", json!({}))
    }

    /// A PodDisruptionBudget of the namespace `default` over the pods labelled `app`.
    pub(crate) fn budget(self, name: &str, app: &str, allowed: i32, patch: Value) -> Self {
        self.object(merged(
            json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": name, "namespace": "default", "generation": 1},
                "spec": {"selector": {"matchLabels": {"app": app}}},
                "status": {"observedGeneration": 1, "disruptionsAllowed": allowed},
            }),
            patch,
        ))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let text = json!({"apiVersion": "v1", "kind": "List", "items": self.objects}).to_string();
        let mut objects = Objects::default();
        read(
            &Source {
                name: "test".to_owned(),
                text: &text,
            },
            &mut objects,
        )
        .unwrap();
        let offerings = [Offering {
            id: OfferingId::new("small"),
            name: "small".to_owned(),
            cpu: MilliCpu(4000),
            memory: Bytes(8 * Bytes::GIB),
            disk: Bytes(80 * Bytes::GIB),
            max_pods: None,
            hourly_price: HourlyPrice::ZERO,
            available: true,
            datacenter: None,
        }];
        Snapshot {
            measured: self.measured.clone(),
            ..Snapshot::build(&Input {
                own_node: self.own_node,
                ..Input::new(&objects, &offerings)
            })
        }
    }

    /// Decides, and checks that the world is left as the removals say.
    pub(crate) fn run(&self) -> Run {
        let snapshot = self.snapshot();
        let down = decide(&snapshot, &self.growing, self.ignore_timers, self.now);
        Run { snapshot, down }
    }
}

fn decide(snapshot: &Snapshot, growing: &[&str], ignore_timers: bool, now: Timestamp) -> ScaleDown {
    let pending = snapshot.unbound_pods().to_vec();
    let growing: BTreeSet<_> = snapshot
        .group_ids()
        .filter(|id| growing.contains(&snapshot.text(snapshot.group(*id).name)))
        .collect();
    let templates: Vec<_> = snapshot
        .group_ids()
        .map(|id| Arc::new(Template::new(snapshot, id, &snapshot.offerings[0])))
        .collect();
    let mut world = World::new(snapshot);
    let demand = Demand {
        pending: &pending,
        growing: &growing,
        templates: &templates,
    };
    let down = plan_removals(&mut world, &demand, &Options { ignore_timers }, now);
    assert_world_matches(&world, &down);
    down
}

/// The world holds exactly the moves: removed nodes are empty, destinations have their pods and the new ones.
fn assert_world_matches(world: &World<'_>, down: &ScaleDown) {
    let snapshot = world.snapshot();
    let mut expected = World::new(snapshot);
    for removal in &down.removals {
        for pod in snapshot.pods_on(removal.node).iter().map(|pod| snapshot.pod(*pod)) {
            if !pod.is_terminal() {
                expected.unplace(pod.class, removal.node.into());
            }
        }
        for step in &removal.moves {
            expected.place(snapshot.pod(step.pod).class, step.to.into());
        }
    }
    for node in snapshot.node_ids() {
        assert_eq!(
            world.view(node.into()).used,
            expected.view(node.into()).used,
            "{node:?}"
        );
    }
}

// === impl Run ===

impl Run {
    pub(crate) fn report(&self, node: &str) -> &NodeReport {
        let is_named = |report: &&NodeReport| self.name(report.node) == node;
        self.down.nodes.iter().find(is_named).unwrap()
    }

    /// The verdict in one line: `Remove`, or the reason followed by the pod and its reason.
    pub(crate) fn verdict(&self, node: &str) -> String {
        match &self.report(node).verdict {
            NodeVerdict::Remove => "Remove".to_owned(),
            NodeVerdict::Keep {
                reason,
                pod,
                pod_reason,
            } => {
                let pod = pod.map(|pod| format!(" {}", self.snapshot.pod_name(pod)));
                let pod_reason = pod_reason.map(|reason| format!(" {reason}"));
                format!("{reason}{}{}", pod.unwrap_or_default(), pod_reason.unwrap_or_default())
            }
        }
    }

    pub(crate) fn message(&self, node: &str) -> &str {
        &self.report(node).message
    }

    /// Whether pods had better be bound elsewhere.
    pub(crate) fn is_candidate(&self, node: &str) -> bool {
        let now = NOW.parse().unwrap();
        self.report(node).is_deletion_candidate(&self.snapshot, now)
    }

    /// The names of the nodes that go, in the order of the plan.
    pub(crate) fn removed(&self) -> Vec<&str> {
        self.down
            .removals
            .iter()
            .map(|removal| self.name(removal.node))
            .collect()
    }

    /// Where the pods of a removed node go, as `pod>node`.
    pub(crate) fn moves(&self, node: &str) -> Vec<String> {
        let removal = self
            .down
            .removals
            .iter()
            .find(|removal| self.name(removal.node) == node)
            .unwrap();
        let text = |pod: PodId, to: NodeId| format!("{}>{}", self.snapshot.pod(pod).name, self.name(to));
        removal.moves.iter().map(|step| text(step.pod, step.to)).collect()
    }

    fn name(&self, node: NodeId) -> &str {
        self.snapshot.text(self.snapshot.node(node).name)
    }
}

/// A JSON merge patch (RFC 7386).
fn merged(base: Value, patch: Value) -> Value {
    match (base, patch) {
        (Value::Object(mut base), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    let old = base.remove(&key).unwrap_or(Value::Null);
                    base.insert(key, merged(old, value));
                }
            }
            Value::Object(base)
        }
        (_, Value::Object(patch)) => merged(json!({}), Value::Object(patch)),
        (_, patch) => patch,
    }
}
