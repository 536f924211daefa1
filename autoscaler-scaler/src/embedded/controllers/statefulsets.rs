//! StatefulSets. May hold: one pod per ordinal, which keeps its name wherever it runs, and the status.
//!
//! A pod that is being deleted has its name until it is gone; only then its successor is made. Left out: volume claims,
//! start ordinals and roll-outs of a changed template.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{create, delete, is_controlled_by, is_ready, update};
use crate::embedded::lifecycle::DeleteOptions;
use crate::embedded::object::{
    at, controller_reference, integer, is_terminal_pod, is_terminating, name, namespace, set, text,
};
use crate::embedded::store::State;

pub(super) fn reconcile(state: &mut State) {
    for set in state.all("apps", "statefulsets") {
        if !is_terminating(&set) {
            reconcile_one(state, &set);
        }
    }
}

fn reconcile_one(state: &mut State, owner: &Arc<Value>) {
    let (Some(ty), Some(pods_type)) = (
        state.resource_type("apps", "statefulsets"),
        state.resource_type("", "pods"),
    ) else {
        return;
    };
    let wanted = integer(owner, &["spec", "replicas"]).unwrap_or(1).max(0);
    let in_order = text(owner, &["spec", "podManagementPolicy"]) != "Parallel";
    let mut owned = state.all("", "pods");
    owned.retain(|pod| is_controlled_by(pod, owner));

    let mut complete = true;
    for ordinal in 0..wanted {
        let pod_name = format!("{}-{ordinal}", name(owner));
        let existing = owned.iter().find(|pod| name(pod) == pod_name);
        match existing {
            None => {
                create(state, &pods_type, namespace(owner), pod(owner, &pod_name, ordinal));
            }
            Some(pod) if is_terminal_pod(pod) && !is_terminating(pod) => {
                delete(state, &pods_type, pod, &DeleteOptions::default());
            }
            Some(_) => {}
        }
        complete = complete && existing.is_some_and(|pod| is_ready(pod) && !is_terminating(pod));
        if in_order && !complete {
            break;
        }
    }
    let mut surplus: Vec<_> = owned
        .iter()
        .filter_map(|pod| Some((ordinal_of(owner, pod)?, pod)))
        .filter(|(ordinal, _)| wanted <= *ordinal)
        .collect();
    surplus.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
    // In order, the highest has to be gone before the next is asked.
    let at_once = if in_order { 1 } else { surplus.len() };
    for (_, pod) in surplus.into_iter().take(at_once) {
        if !is_terminating(pod) {
            delete(state, &pods_type, pod, &DeleteOptions::default());
        }
    }

    let count = |matches: &dyn Fn(&Value) -> bool| {
        let pods = owned.iter().filter(|pod| !is_terminating(pod) && matches(pod));
        i64::try_from(pods.count()).unwrap_or_default()
    };
    let (total, ready) = (count(&|pod| !is_terminal_pod(pod)), count(&is_ready));
    let mut new = Value::clone(owner);
    let observed = integer(owner, &["metadata", "generation"]).unwrap_or(1);
    for (field, value) in [
        ("observedGeneration", observed),
        ("replicas", total),
        ("currentReplicas", total),
        ("readyReplicas", ready),
        ("availableReplicas", ready),
    ] {
        set(&mut new, &["status", field], Some(json!(value)));
    }
    update(state, &ty, new, "status");
}

/// A pod of the StatefulSet, which is known by its name.
fn pod(owner: &Value, pod_name: &str, ordinal: i64) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod_name,
            "namespace": namespace(owner),
            "labels": at(owner, &["spec", "template", "metadata", "labels"]),
            "annotations": at(owner, &["spec", "template", "metadata", "annotations"]),
            "ownerReferences": [controller_reference(owner, "apps/v1", "StatefulSet")],
        },
        "spec": at(owner, &["spec", "template", "spec"]),
    });
    for (path, value) in [
        (
            ["metadata", "labels", "statefulset.kubernetes.io/pod-name"].as_slice(),
            pod_name,
        ),
        (
            &["metadata", "labels", "apps.kubernetes.io/pod-index"],
            &ordinal.to_string(),
        ),
        (&["spec", "hostname"], pod_name),
        (&["spec", "subdomain"], text(owner, &["spec", "serviceName"])),
    ] {
        set(&mut pod, path, (!value.is_empty()).then(|| json!(value)));
    }
    pod
}

fn ordinal_of(owner: &Value, pod: &Value) -> Option<i64> {
    name(pod).strip_prefix(name(owner))?.strip_prefix('-')?.parse().ok()
}
