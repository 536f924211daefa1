//! DaemonSets. May hold: one pod on every node that the DaemonSet is for, and its status.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{create, delete, is_controlled_by, is_ready, update};
use crate::embedded::fit::{matches_node_affinity, tolerates_taints};
use crate::embedded::lifecycle::DeleteOptions;
use crate::embedded::object::{
    at, controller_reference, integer, is_terminal_pod, is_terminating, items, name, namespace, set, text,
};
use crate::embedded::store::State;

/// Taints that every DaemonSet pod tolerates: (key, effect).
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

pub(super) fn reconcile(state: &mut State) {
    for set in state.all("apps", "daemonsets") {
        if !is_terminating(&set) {
            reconcile_one(state, &set);
        }
    }
}

fn reconcile_one(state: &mut State, owner: &Arc<Value>) {
    let (Some(ty), Some(pods_type)) = (
        state.resource_type("apps", "daemonsets"),
        state.resource_type("", "pods"),
    ) else {
        return;
    };
    let mut owned = state.all("", "pods");
    owned.retain(|pod| is_controlled_by(pod, owner) && !is_terminating(pod));
    let (mut desired, mut current, mut ready, mut misplaced) = (0_i64, 0_i64, 0_i64, 0_i64);
    for node in state.all("", "nodes") {
        let pattern = json!({ "spec": pod_spec(owner, None) });
        let suits = matches_node_affinity(&pattern, &node);
        let should_run = suits && tolerates_taints(&pattern, &node, &["NoSchedule", "NoExecute"]);
        let may_stay = suits && tolerates_taints(&pattern, &node, &["NoExecute"]);
        let here: Vec<&Arc<Value>> = owned.iter().filter(|pod| target(pod) == name(&node)).collect();
        let (finished, running): (Vec<&Arc<Value>>, Vec<&Arc<Value>>) =
            here.into_iter().partition(|pod| is_terminal_pod(pod));
        for pod in finished {
            delete(state, &pods_type, pod, &DeleteOptions::default());
        }
        if should_run {
            desired += 1;
            if running.is_empty() {
                let pod = json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {
                        "generateName": format!("{}-", name(owner)),
                        "namespace": namespace(owner),
                        "labels": at(owner, &["spec", "template", "metadata", "labels"]),
                        "annotations": at(owner, &["spec", "template", "metadata", "annotations"]),
                        "ownerReferences": [controller_reference(owner, "apps/v1", "DaemonSet")],
                    },
                    "spec": pod_spec(owner, Some(name(&node))),
                });
                create(state, &pods_type, namespace(owner), pod);
            }
        }
        let keep = usize::from(may_stay);
        for (index, pod) in running.into_iter().enumerate() {
            if index >= keep {
                delete(state, &pods_type, pod, &DeleteOptions::default());
            } else if should_run {
                current += 1;
                ready += i64::from(is_ready(pod));
            } else {
                misplaced += 1;
            }
        }
    }
    let mut new = Value::clone(owner);
    let observed = integer(owner, &["metadata", "generation"]).unwrap_or(1);
    set(&mut new, &["status", "observedGeneration"], Some(json!(observed)));
    for (field, count) in [
        ("desiredNumberScheduled", desired),
        ("currentNumberScheduled", current),
        ("updatedNumberScheduled", current),
        ("numberReady", ready),
        ("numberAvailable", ready),
        ("numberMisscheduled", misplaced),
    ] {
        set(&mut new, &["status", field], Some(json!(count)));
    }
    update(state, &ty, new, "status");
}

/// The spec of a pod of the DaemonSet, tied to a node by its name as the real controller does, or not tied.
fn pod_spec(owner: &Value, node: Option<&str>) -> Value {
    let mut spec = at(owner, &["spec", "template", "spec"]).cloned().unwrap_or_default();
    let mut tolerations = items(&spec, &["tolerations"]).to_vec();
    let host_network = at(&spec, &["hostNetwork"]).and_then(Value::as_bool).unwrap_or_default();
    let network = host_network.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    for (key, effect) in TOLERATED.iter().copied().chain(network) {
        let toleration = json!({ "key": key, "operator": "Exists", "effect": effect });
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    set(&mut spec, &["tolerations"], Some(Value::Array(tolerations)));
    let Some(node) = node else { return spec };

    let by_name = json!([{ "key": "metadata.name", "operator": "In", "values": [node] }]);
    let required = [
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ];
    let mut terms = items(&spec, &required).to_vec();
    if terms.is_empty() {
        terms.push(json!({}));
    }
    for term in &mut terms {
        set(term, &["matchFields"], Some(by_name.clone()));
    }
    set(&mut spec, &required, Some(Value::Array(terms)));
    spec
}

/// The node that a DaemonSet pod is on, or is meant for.
fn target(pod: &Value) -> &str {
    let bound = text(pod, &["spec", "nodeName"]);
    if !bound.is_empty() {
        return bound;
    }
    let required = [
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
    ];
    let first = items(pod, &required).first();
    first
        .and_then(|term| items(term, &["matchFields"]).first())
        .and_then(|field| items(field, &["values"]).first())
        .and_then(Value::as_str)
        .unwrap_or_default()
}
