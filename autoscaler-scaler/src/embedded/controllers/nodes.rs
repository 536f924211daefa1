//! Nodes. May hold: the taints that follow a node's conditions and cordon, and the end of pods whose node is gone.
//!
//! Only `NoSchedule` taints are kept: nothing here evicts pods from a node that is not Ready, and no heartbeat is
//! watched.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{delete, update};
use crate::embedded::defaults::{NOT_READY_TAINT, UNREACHABLE_TAINT, UNSCHEDULABLE_TAINT};
use crate::embedded::fit::is_cordoned;
use crate::embedded::lifecycle::DeleteOptions;
use crate::embedded::object::{condition, items, name, rfc3339, set, text};
use crate::embedded::store::State;

/// (condition, status, taint).
const TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY_TAINT),
    ("Ready", "Unknown", UNREACHABLE_TAINT),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

pub(super) fn reconcile(state: &mut State) {
    let nodes = state.all("", "nodes");
    for node in &nodes {
        taint(state, node);
    }
    collect_pods(state, &nodes.iter().map(|node| name(node)).collect());
}

fn taint(state: &mut State, node: &Value) {
    let Some(ty) = state.resource_type("", "nodes") else {
        return;
    };
    let mut wanted: BTreeSet<&str> = TAINTS
        .iter()
        .filter(|(kind, status, _)| condition(node, kind).is_some_and(|found| text(found, &["status"]) == *status))
        .map(|(_, _, taint)| *taint)
        .collect();
    // A node that has not reported yet keeps the taint that it was created with.
    if condition(node, "Ready").is_none() {
        wanted.insert(NOT_READY_TAINT);
    }
    if is_cordoned(node) {
        wanted.insert(UNSCHEDULABLE_TAINT);
    }
    let is_ours = |taint: &Value| {
        let key = text(taint, &["key"]);
        text(taint, &["effect"]) == "NoSchedule"
            && (key == UNSCHEDULABLE_TAINT || TAINTS.iter().any(|(_, _, ours)| *ours == key))
    };
    let old = items(node, &["spec", "taints"]);
    let kept = |taint: &&Value| !is_ours(taint) || wanted.contains(text(taint, &["key"]));
    let mut new: Vec<Value> = old.iter().filter(kept).cloned().collect();
    for key in wanted {
        if !new.iter().any(|taint| is_ours(taint) && text(taint, &["key"]) == key) {
            new.push(json!({ "key": key, "effect": "NoSchedule", "timeAdded": rfc3339(state.now) }));
        }
    }
    if new != old {
        let mut tainted = node.clone();
        set(
            &mut tainted,
            &["spec", "taints"],
            (!new.is_empty()).then_some(Value::Array(new)),
        );
        update(state, &ty, tainted, "");
    }
}

/// Pods of a node that is gone end with it.
fn collect_pods(state: &mut State, nodes: &BTreeSet<&str>) {
    let Some(ty) = state.resource_type("", "pods") else {
        return;
    };
    for pod in state.all("", "pods") {
        let node = text(&pod, &["spec", "nodeName"]);
        if !node.is_empty() && !nodes.contains(node) {
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                ..DeleteOptions::default()
            };
            delete(state, &ty, &pod, &options);
        }
    }
}
