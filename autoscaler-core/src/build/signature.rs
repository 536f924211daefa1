//! The signature of a pod: bytes that hold all that its class and its [`Traits`](super::Traits) are read from. Of pods with
//! the same signature only one has to be read, and most pods are made from a template that they share with others.
//!
//! Every field of a pod is named here, so that a new one cannot be forgotten.

use std::hash::{Hash, Hasher};

use super::{
    DAEMON_SET_POD_ANNOTATION, DO_NOT_DISRUPT_ANNOTATION, MIRROR_ANNOTATION, POD_GROUP_KEY,
    SAFE_LOCAL_VOLUMES_ANNOTATION, SAFE_TO_EVICT_ANNOTATION, pods::is_resize_infeasible,
};
use crate::manifest::{
    meta::ObjectMeta,
    pod::{ContainerStatus, Pod, PodSpec, PodStatus, Volume},
};

/// The annotations that are read.
const ANNOTATIONS: [&str; 6] = [
    SAFE_TO_EVICT_ANNOTATION,
    SAFE_LOCAL_VOLUMES_ANNOTATION,
    DAEMON_SET_POD_ANNOTATION,
    DO_NOT_DISRUPT_ANNOTATION,
    POD_GROUP_KEY,
    MIRROR_ANNOTATION,
];

/// A hasher that keeps what it is given. What types give it tells their values apart, so that two of the same type that give
/// the same bytes are equal.
#[derive(Debug)]
struct Recorder<'b>(&'b mut Vec<u8>);

/// Writes the signature of a pod over what the buffer holds. It says nothing of claims on volumes, which pods have of their
/// own, and of what depends on other objects.
pub(crate) fn write_signature(manifest: &Pod, into: &mut Vec<u8>) {
    into.clear();
    let recorder = &mut Recorder(into);
    write_metadata(&manifest.metadata, recorder);
    write_spec(&manifest.spec, recorder);
    write_status(&manifest.status, recorder);
}

/// Whether nothing but the name of a volume is known, which does not matter then.
pub(crate) fn is_plain(volume: &Volume) -> bool {
    let Volume {
        name: _,
        empty_dir,
        host_path,
        persistent_volume_claim,
        ephemeral,
        csi,
        gce_persistent_disk,
        aws_elastic_block_store,
        rbd,
        iscsi,
    } = volume;
    empty_dir.is_none()
        && host_path.is_none()
        && persistent_volume_claim.is_none()
        && ephemeral.is_none()
        && csi.is_none()
        && gce_persistent_disk.is_none()
        && aws_elastic_block_store.is_none()
        && rbd.is_none()
        && iscsi.is_none()
}

fn write_metadata(metadata: &ObjectMeta, recorder: &mut Recorder<'_>) {
    let ObjectMeta {
        name: _,
        namespace,
        uid: _,
        resource_version: _,
        generation: _,
        labels,
        annotations,
        creation_timestamp: _,
        deletion_timestamp,
        deletion_grace_period_seconds: _,
        owner_references: _,
        finalizers: _,
    } = metadata;
    namespace.hash(recorder);
    labels.hash(recorder);
    let controller = metadata.controller().map(|owner| (&owner.kind, &owner.name));
    controller.hash(recorder);
    deletion_timestamp.is_some().hash(recorder);
    // Most pods have no annotations that matter, and many have others that differ from pod to pod.
    if !annotations.is_empty() {
        ANNOTATIONS.map(|key| annotations.get(key)).hash(recorder);
    }
}

fn write_spec(spec: &PodSpec, recorder: &mut Recorder<'_>) {
    let PodSpec {
        node_name: _,
        node_selector,
        affinity,
        tolerations,
        topology_spread_constraints,
        containers,
        init_containers,
        overhead,
        resources,
        volumes,
        scheduling_gates,
        priority,
        priority_class_name,
        preemption_policy: _,
        scheduler_name: _,
        termination_grace_period_seconds: _,
        restart_policy: _,
        host_network,
        resource_claims,
    } = spec;
    node_selector.hash(recorder);
    affinity.hash(recorder);
    tolerations.hash(recorder);
    topology_spread_constraints.hash(recorder);
    containers.hash(recorder);
    init_containers.hash(recorder);
    overhead.hash(recorder);
    resources.hash(recorder);
    scheduling_gates.is_empty().hash(recorder);
    priority.hash(recorder);
    priority_class_name.hash(recorder);
    host_network.hash(recorder);
    resource_claims.first().map(|claim| &claim.name).hash(recorder);
    // The API server makes up names of volumes for some pods.
    for volume in volumes.iter().filter(|volume| !is_plain(volume)) {
        Some(volume).hash(recorder);
    }
    None::<&Volume>.hash(recorder);
}

fn write_status(status: &PodStatus, recorder: &mut Recorder<'_>) {
    let PodStatus {
        phase: _,
        conditions: _,
        nominated_node_name: _,
        start_time: _,
        container_statuses,
        init_container_statuses,
        resize: _,
        allocated_resources,
        resources,
    } = status;
    write_held(container_statuses, recorder);
    write_held(init_container_statuses, recorder);
    allocated_resources.hash(recorder);
    resources.hash(recorder);
    is_resize_infeasible(status).hash(recorder);
}

/// What containers hold, whether they are ready or not.
fn write_held(statuses: &[ContainerStatus], recorder: &mut Recorder<'_>) {
    statuses.len().hash(recorder);
    for status in statuses {
        let ContainerStatus {
            name,
            ready: _,
            allocated_resources,
            resources,
        } = status;
        (name, allocated_resources, resources).hash(recorder);
    }
}

// === impl Recorder ===

impl Hasher for Recorder<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Lengths, most of which are small.
    fn write_usize(&mut self, number: usize) {
        match u8::try_from(number) {
            Ok(small) if small < u8::MAX => self.write_u8(small),
            _ => {
                self.write_u8(u8::MAX);
                self.write(&number.to_ne_bytes());
            }
        }
    }

    /// Which of its variants a value is.
    fn write_isize(&mut self, number: isize) {
        self.write_usize(number.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        build::{Priorities, Reader},
        constraint::storage::Storage,
        symbol::Symbols,
    };

    /// A pod with something in every field that is read.
    fn full() -> Value {
        let resources =
            json!({"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "1", "example.com/gpu": "2"}});
        let status = json!({"name": "a", "ready": true, "allocatedResources": {"cpu": "200m"}, "resources": resources});
        let selector = json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "back"]}],
        });
        let terms = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": selector, "namespaces": ["other"], "namespaceSelector": selector,
            "topologyKey": "zone", "matchLabelKeys": ["hash"], "mismatchLabelKeys": ["app"],
        }]});
        json!({
            "metadata": {
                "name": "web-1", "namespace": "default", "uid": "u", "resourceVersion": "7", "generation": 1,
                "labels": {"app": "web", "hash": "abc", "autoscaler.vpsie.com/pod-group": "together"},
                "annotations": {
                    SAFE_TO_EVICT_ANNOTATION: "true",
                    SAFE_LOCAL_VOLUMES_ANNOTATION: "scratch",
                    DAEMON_SET_POD_ANNOTATION: "true",
                    DO_NOT_DISRUPT_ANNOTATION: "1h",
                    POD_GROUP_KEY: "others",
                    MIRROR_ANNOTATION: "m",
                    "example.com/ip": "10.0.0.1",
                },
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-02T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "o", "controller": true}],
                "finalizers": ["f"],
            },
            "spec": {
                "nodeName": "n1", "nodeSelector": {"disk": "ssd"},
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{
                        "matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}],
                        "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}],
                    }]}},
                    "podAffinity": terms, "podAntiAffinity": terms,
                },
                "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule", "tolerationSeconds": 5}],
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector,
                    "minDomains": 2, "nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor", "matchLabelKeys": ["hash"],
                }],
                "containers": [{"name": "a", "resources": resources, "ports": [
                    {"hostPort": 80, "containerPort": 80, "protocol": "UDP", "hostIP": "10.0.0.1"},
                ]}],
                "initContainers": [
                    {"name": "a", "resources": resources, "restartPolicy": "Always", "ports": [{"hostPort": 81}]},
                    {"name": "b", "resources": {"requests": {"cpu": "7"}}},
                ],
                "overhead": {"cpu": "10m"}, "resources": {"requests": {"memory": "3Gi", "cpu": "8"}},
                "volumes": [
                    {"name": "plain"},
                    {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
                    {"name": "host", "hostPath": {"path": "/var"}},
                    {"name": "gce", "gcePersistentDisk": {"pdName": "p", "readOnly": true}},
                    {"name": "aws", "awsElasticBlockStore": {"volumeID": "v", "readOnly": true}},
                    {"name": "rbd", "rbd": {"monitors": ["m"], "image": "i", "pool": "p", "readOnly": true}},
                    {"name": "iscsi", "iscsi": {"iqn": "q", "readOnly": true}},
                ],
                "schedulingGates": [{"name": "g"}],
                "priority": 5, "priorityClassName": "system-node-critical", "hostNetwork": true,
                "resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}],
                "terminationGracePeriodSeconds": 9,
            },
            "status": {
                "phase": "Running", "startTime": "2026-01-01T00:00:00Z", "nominatedNodeName": "n2",
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Deferred"}],
                "containerStatuses": [status], "initContainerStatuses": [status],
                "allocatedResources": {"cpu": "9"}, "resources": resources,
            },
        })
    }

    /// The same with one part changed or left out, in every way.
    fn variants(value: &Value) -> Vec<Value> {
        let mut found = Vec::new();
        match value {
            Value::Object(fields) => {
                for (key, field) in fields {
                    let mut without = fields.clone();
                    without.remove(key);
                    found.push(Value::Object(without));
                    for variant in variants(field) {
                        let mut with = fields.clone();
                        with.insert(key.clone(), variant);
                        found.push(Value::Object(with));
                    }
                }
            }
            Value::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    let mut without = entries.clone();
                    without.remove(index);
                    found.push(Value::Array(without));
                    for variant in variants(entry) {
                        let mut with = entries.clone();
                        with[index] = variant;
                        found.push(Value::Array(with));
                    }
                }
            }
            // What is no quantity or no time any more cannot be read and is left out.
            Value::String(text) => {
                found.extend([format!("1{text}"), format!("{text}x"), String::new()].map(Value::String));
                found.extend(["Infeasible", "NotIn", "Exists"].map(Value::from));
            }
            Value::Number(number) => found.push(json!(number.as_i64().unwrap() + 1)),
            Value::Bool(bool) => found.push(Value::Bool(!bool)),
            Value::Null => {}
        }
        found
    }

    #[test]
    fn pods_with_one_signature_have_the_same_class_and_traits() {
        let (mut symbols, storage, priorities) = (Symbols::default(), Storage::default(), Priorities::default());
        let mut read = |pod: &Pod| {
            let mut reader = Reader {
                symbols: &mut symbols,
                problems: &mut Vec::new(),
            };
            let mut signature = vec![1, 2, 3];
            write_signature(pod, &mut signature);
            (
                signature,
                reader.class_of_pod(pod, &priorities, &storage),
                reader.traits(pod, &storage),
            )
        };
        let full = full();
        let (signature, class, traits) = read(&serde_json::from_value(full.clone()).unwrap());
        let (mut alike, mut different) = (0, 0);
        for variant in variants(&full) {
            let Ok(pod) = serde_json::from_value(variant.clone()) else {
                continue;
            };
            let (of_variant, class_of_variant, traits_of_variant) = read(&pod);
            if class_of_variant != class || traits_of_variant != traits {
                assert_ne!(of_variant, signature, "{variant}");
                different += 1;
            }
            alike += usize::from(of_variant == signature);
        }
        // The test is about something: most changes matter, and those of a pod's own name, place and state do not.
        assert!(different >= 200, "{different}");
        assert!(alike >= 50, "{alike}");
    }
}
