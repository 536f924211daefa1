//! Deployments, ReplicaSets and ReplicationControllers. May hold: keeping the number of pods, and their status.
//!
//! A changed template is rolled out at once: the new ReplicaSet gets all replicas and the old ones none.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{create, delete, is_controlled_by, is_ready, update};
use crate::embedded::lifecycle::DeleteOptions;
use crate::embedded::object::{
    at, controller_reference, integer, is_terminal_pod, is_terminating, labels, name, namespace, set, set_condition,
    text,
};
use crate::embedded::store::{State, encode_suffix};

const HASH_LABEL: &str = "pod-template-hash";

pub(super) fn reconcile(state: &mut State) {
    for deployment in state.all("apps", "deployments") {
        if !is_terminating(&deployment) {
            reconcile_deployment(state, &deployment);
        }
    }
    for (group, resource, api_version, kind) in [
        ("apps", "replicasets", "apps/v1", "ReplicaSet"),
        ("", "replicationcontrollers", "v1", "ReplicationController"),
    ] {
        for set in state.all(group, resource) {
            if !is_terminating(&set) {
                keep_pods(state, &set, (group, resource, api_version, kind));
            }
        }
    }
}

fn reconcile_deployment(state: &mut State, deployment: &Arc<Value>) {
    let (Some(ty), Some(sets_type)) = (
        state.resource_type("apps", "deployments"),
        state.resource_type("apps", "replicasets"),
    ) else {
        return;
    };
    let replicas = integer(deployment, &["spec", "replicas"]).unwrap_or(1);
    let mut template = at(deployment, &["spec", "template"]).cloned().unwrap_or_default();
    let hash = encode_suffix(fnv(&template.to_string()), 10);
    set(&mut template, &["metadata", "labels", HASH_LABEL], Some(json!(hash)));

    let mut owned = state.all("apps", "replicasets");
    owned.retain(|set| is_controlled_by(set, deployment) && !is_terminating(set));
    if !owned
        .iter()
        .any(|set| labels(set).get(HASH_LABEL) == Some(&hash.as_str()))
    {
        let mut selector = at(deployment, &["spec", "selector"]).cloned().unwrap_or_default();
        set(&mut selector, &["matchLabels", HASH_LABEL], Some(json!(hash)));
        let object = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", name(deployment)),
                "namespace": namespace(deployment),
                "labels": at(&template, &["metadata", "labels"]),
                "ownerReferences": [controller_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": { "replicas": replicas, "selector": selector, "template": template },
        });
        create(state, &sets_type, namespace(deployment), object);
    }
    for owned in &owned {
        let wanted = if labels(owned).get(HASH_LABEL) == Some(&hash.as_str()) {
            replicas
        } else {
            0
        };
        if integer(owned, &["spec", "replicas"]) != Some(wanted) {
            let mut scaled = Value::clone(owned);
            set(&mut scaled, &["spec", "replicas"], Some(json!(wanted)));
            update(state, &sets_type, scaled, "");
        }
    }

    let sum = |field: &str| -> i64 {
        owned
            .iter()
            .map(|set| integer(set, &["status", field]).unwrap_or_default())
            .sum()
    };
    let updated = owned
        .iter()
        .find(|set| labels(set).get(HASH_LABEL) == Some(&hash.as_str()));
    let updated = updated
        .and_then(|set| integer(set, &["status", "replicas"]))
        .unwrap_or_default();
    let (total, ready, available) = (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
    let mut new = Value::clone(deployment);
    let observed = integer(deployment, &["metadata", "generation"]).unwrap_or(1);
    for (field, count) in [
        ("observedGeneration", observed),
        ("replicas", total),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("unavailableReplicas", (replicas - available).max(0)),
    ] {
        set(&mut new, &["status", field], (count != 0).then(|| json!(count)));
    }
    let now = state.now;
    if available >= replicas {
        let message = "Deployment has minimum availability.";
        set_condition(&mut new, "Available", "True", "MinimumReplicasAvailable", message, now);
        set_condition(&mut new, "Progressing", "True", "NewReplicaSetAvailable", "", now);
    } else {
        let message = "Deployment does not have minimum availability.";
        set_condition(
            &mut new,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            message,
            now,
        );
        set_condition(&mut new, "Progressing", "True", "ReplicaSetUpdated", "", now);
    }
    update(state, &ty, new, "status");
}

/// Keeps `spec.replicas` pods of a ReplicaSet or ReplicationController.
fn keep_pods(state: &mut State, owner: &Arc<Value>, (group, resource, api_version, kind): (&str, &str, &str, &str)) {
    let (Some(ty), Some(pods_type)) = (state.resource_type(group, resource), state.resource_type("", "pods")) else {
        return;
    };
    let wanted = usize::try_from(integer(owner, &["spec", "replicas"]).unwrap_or(1)).unwrap_or_default();
    let mut active = state.all("", "pods");
    active.retain(|pod| is_controlled_by(pod, owner) && !is_terminal_pod(pod) && !is_terminating(pod));

    for _ in active.len()..wanted {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": format!("{}-", name(owner)),
                "namespace": namespace(owner),
                "labels": at(owner, &["spec", "template", "metadata", "labels"]),
                "annotations": at(owner, &["spec", "template", "metadata", "annotations"]),
                "ownerReferences": [controller_reference(owner, api_version, kind)],
            },
            "spec": at(owner, &["spec", "template", "spec"]),
        });
        if !create(state, &pods_type, namespace(owner), pod) {
            break;
        }
    }
    if active.len() > wanted {
        active.sort_by_cached_key(|pod| rank(pod));
        for pod in active.drain(..active.len() - wanted) {
            delete(state, &pods_type, &pod, &DeleteOptions::default());
        }
    }

    let ready = i64::try_from(active.iter().filter(|pod| is_ready(pod)).count()).unwrap_or_default();
    let count = i64::try_from(active.len()).unwrap_or_default();
    let mut new = Value::clone(owner);
    let observed = integer(owner, &["metadata", "generation"]).unwrap_or(1);
    for (field, value) in [
        ("observedGeneration", observed),
        ("fullyLabeledReplicas", count),
        ("readyReplicas", ready),
        ("availableReplicas", ready),
    ] {
        set(&mut new, &["status", field], (value != 0).then(|| json!(value)));
    }
    set(&mut new, &["status", "replicas"], Some(json!(count)));
    update(state, &ty, new, "status");
}

/// Pods that go first when there are too many: not scheduled, not running, not ready, cheap to delete, young.
fn rank(pod: &Value) -> (bool, bool, bool, i64, std::cmp::Reverse<String>, String) {
    let cost = at(
        pod,
        &["metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost"],
    )
    .and_then(Value::as_str)
    .and_then(|cost| cost.parse().ok())
    .unwrap_or_default();
    (
        !text(pod, &["spec", "nodeName"]).is_empty(),
        text(pod, &["status", "phase"]) == "Running",
        is_ready(pod),
        cost,
        std::cmp::Reverse(text(pod, &["metadata", "creationTimestamp"]).to_owned()),
        name(pod).to_owned(),
    )
}

/// FNV-1a: the same template has the same hash in every run.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
