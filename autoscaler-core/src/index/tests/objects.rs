//! Random objects of every kind, with few names, so that they refer to each other in every way that matters.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    manifest::{node::Node, pod::Pod},
    provider::{DatacenterId, Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu},
};

/// The time of every decision.
pub(super) const NOW: &str = "2026-03-02T12:00:00Z";

/// Numbers that look random and follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Node,
    Pod,
    Budget,
    DaemonSet,
    PriorityClass,
    Volume,
    Claim,
    StorageClass,
    CsiNode,
    Namespace,
    Group,
    Machine,
}

const NAMESPACES: [&str; 5] = ["a", "a", "a", "b", "kube-system"];
pub(super) const NODES: [&str; 7] = ["n0", "n1", "n2", "N3", "m0", "m1", "x"];
const CLAIMS: [&str; 6] = ["c0", "c0", "c1", "c1", "c2", "p1-eph"];
const APPS: [&str; 3] = ["web", "db", "job"];
const TOPOLOGIES: [&str; 3] = ["kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack"];

// === impl Random ===

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    fn name(&mut self, prefix: &str, count: usize) -> String {
        format!("{prefix}{}", self.below(count))
    }

    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }
}

/// A manifest as text has it.
pub(super) fn read<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap()
}

/// Offerings of the provider: not all of them can always be bought.
pub(super) fn offerings(kind: usize) -> Vec<Offering> {
    let offering = |(id, cores, datacenter): (&str, i64, Option<&str>)| Offering {
        id: OfferingId::new(id),
        name: id.to_owned(),
        cpu: MilliCpu(cores * 1000),
        memory: Bytes(cores * 4 * Bytes::GIB),
        disk: Bytes(cores * 20 * Bytes::GIB),
        max_pods: None,
        hourly_price: HourlyPrice::from_nanos(cores * 10_000_000),
        available: kind != 2,
        datacenter: datacenter.map(DatacenterId::new),
    };
    let all = [("small", 2, None), ("large", 8, None), ("large", 8, Some("z1"))].map(offering);
    if kind == 3 { Vec::new() } else { all.to_vec() }
}

/// A random object of a kind.
pub(super) fn object(kind: Kind, random: &mut Random) -> Value {
    match kind {
        Kind::Node => node(random),
        Kind::Pod => pod(random),
        Kind::Budget => json!({
            "metadata": {"name": random.name("budget", 3), "namespace": *random.pick(&NAMESPACES)},
            "spec": {"selector": selector(random)},
            "status": {"disruptionsAllowed": random.below(3), "observedGeneration": 0},
        }),
        Kind::DaemonSet => json!({
            "metadata": {"name": random.name("ds", 3), "namespace": *random.pick(&NAMESPACES)},
            "spec": {"template": {"metadata": {"labels": labels(random)}, "spec": pod_spec(random, "ds")}},
        }),
        Kind::PriorityClass => json!({"metadata": {"name": random.name("class", 2)}, "value": random.below(5) * 10}),
        Kind::Volume => volume(random),
        Kind::Claim => claim(random),
        Kind::StorageClass => {
            let zones = json!([{"matchLabelExpressions": [
                {"key": "topology.kubernetes.io/zone", "values": [random.name("z", 3)]},
            ]}]);
            json!({
                "metadata": {"name": random.name("fast", 2)},
                "provisioner": *random.pick(&["csi", "kubernetes.io/no-provisioner"]),
                "volumeBindingMode": *random.pick(&["WaitForFirstConsumer", "WaitForFirstConsumer", "Immediate"]),
                "allowedTopologies": if random.chance(50) { zones } else { json!([]) },
            })
        }
        Kind::CsiNode => json!({
            "metadata": {"name": *random.pick(&NODES)},
            "spec": {"drivers": [
                {"name": "csi", "nodeID": "i", "allocatable": {"count": random.below(3)}},
                {"name": "other", "nodeID": "i", "allocatable": if random.chance(30) { json!({"count": 1}) } else { json!(null) }},
            ]},
        }),
        Kind::Namespace => json!({
            "metadata": {"name": *random.pick(&NAMESPACES), "labels": {"team": *random.pick(&["one", "two"])}},
        }),
        Kind::Group => group(random),
        Kind::Machine => machine(random),
    }
}

fn node(random: &mut Random) -> Value {
    let name = *random.pick(&NODES);
    let mut labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": random.name("z", 3)});
    for (key, value, percent) in [
        ("autoscaler.vpsie.com/managed", "true".to_owned(), 80),
        ("autoscaler.vpsie.com/nodegroup", random.name("g", 3), 90),
        (
            "autoscaler.vpsie.com/nodegroup-namespace",
            (*random.pick(&["a", "b"])).to_owned(),
            60,
        ),
        ("autoscaler.vpsie.com/offering", "small".to_owned(), 30),
        ("node.kubernetes.io/instance-type", "large".to_owned(), 60),
        ("rack", random.name("r", 2), 50),
        ("disk", "ssd".to_owned(), 50),
        ("arch", "arm".to_owned(), 30),
        ("topology.kubernetes.io/region", "r".to_owned(), 30),
    ] {
        if random.chance(percent) {
            labels[key] = json!(value);
        }
    }
    let mut annotations = json!({});
    if random.chance(15) {
        annotations["autoscaler.vpsie.com/scale-down-allowed-hours"] =
            json!(*random.pick(&["00:00-00:00", "nonsense", "13:00-14:00"]));
    }
    if random.chance(5) {
        annotations["karpenter.sh/do-not-disrupt"] = json!("true");
    }
    let mut taints = Vec::new();
    for (key, percent) in [("dedicated", 20), ("node.kubernetes.io/not-ready", 5)] {
        if random.chance(percent) {
            taints.push(json!({"key": key, "value": "x", "effect": *random.pick(&["NoSchedule", "NoExecute"])}));
        }
    }
    let ready = if random.chance(85) { "True" } else { "False" };
    json!({
        "metadata": {
            "name": name, "labels": labels, "annotations": annotations,
            "creationTimestamp": "2026-03-01T00:00:00Z",
            "deletionTimestamp": if random.chance(3) { json!("2026-03-02T00:00:00Z") } else { json!(null) },
        },
        "spec": {"unschedulable": random.chance(10), "taints": taints},
        "status": {
            "allocatable": {
                "cpu": random.below(6) + 2, "memory": "8Gi", "pods": random.below(8) + 1, "x/gpu": random.below(2),
                "x/fpga": random.below(2),
            },
            "conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-03-02T11:00:00Z",
                    "lastHeartbeatTime": format!("2026-03-02T11:59:{:02}Z", random.below(60))},
            ],
        },
    })
}

fn pod(random: &mut Random) -> Value {
    let name = random.name("p", 12);
    let mut metadata = json!({
        "name": name,
        "namespace": *random.pick(&NAMESPACES),
        "labels": labels(random),
        "uid": if random.chance(50) {
            format!("0f8fad5b-d9cb-469f-a165-70867728950{}", random.below(10))
        } else {
            random.name("u", 3)
        },
        "resourceVersion": random.below(1000).to_string(),
        "creationTimestamp": *random.pick(&["2026-03-02T11:30:00Z", "2026-03-01T00:00:00Z"]),
        "annotations": {},
    });
    if random.chance(90) {
        let kind = *random.pick(&["ReplicaSet", "ReplicaSet", "ReplicaSet", "DaemonSet"]);
        metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": kind, "name": random.name("rs", 3), "uid": "u", "controller": true}]);
    }
    if random.chance(8) {
        metadata["deletionTimestamp"] = json!("2026-03-02T11:59:50Z");
    }
    for (key, value, percent) in [
        (
            "cluster-autoscaler.kubernetes.io/safe-to-evict",
            *random.pick(&["true", "true", "false"]),
            10,
        ),
        (
            "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes",
            "v0,v1",
            30,
        ),
        ("karpenter.sh/do-not-disrupt", *random.pick(&["true", "1h"]), 5),
        ("autoscaler.vpsie.com/pod-group", "together", 5),
        ("kubernetes.io/config.mirror", "x", 3),
    ] {
        if random.chance(percent) {
            metadata["annotations"][key] = json!(value);
        }
    }
    let mut spec = pod_spec(random, &name);
    let mut status = json!({"startTime": "2026-03-02T11:31:00Z", "conditions": []});
    if random.chance(75) {
        spec["nodeName"] = json!(*random.pick(&NODES));
        status["phase"] = json!(*random.pick(&["Running", "Running", "Running", "Succeeded", "Pending"]));
        let ready = if random.chance(80) { "True" } else { "False" };
        status["conditions"] = json!([{"type": "Ready", "status": ready}]);
    } else {
        status["phase"] = json!(*random.pick(&["Pending", "Pending", "Pending", "Pending", "Failed"]));
        if random.chance(80) {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "lastTransitionTime": "2026-03-02T11:58:00Z",
            }]);
        }
        if random.chance(15) {
            status["nominatedNodeName"] = json!(*random.pick(&NODES));
        }
    }
    json!({"metadata": metadata, "spec": spec, "status": status})
}

fn labels(random: &mut Random) -> Value {
    let mut labels = json!({"app": *random.pick(&APPS)});
    if random.chance(20) {
        labels["hash"] = json!(random.name("h", 1000));
    }
    if random.chance(3) {
        labels["app.kubernetes.io/name"] = json!("vpsie-autoscaler");
    }
    labels
}

fn selector(random: &mut Random) -> Value {
    match random.below(5) {
        0 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [*random.pick(&APPS)]}]}),
        1 => json!({"matchExpressions": [{"key": "hash", "operator": "Exists"}]}),
        _ => json!({"matchLabels": {"app": *random.pick(&APPS)}}),
    }
}

fn pod_spec(random: &mut Random, name: &str) -> Value {
    let mut requests = Map::new();
    requests.insert("cpu".to_owned(), json!(format!("{}m", (random.below(6) + 1) * 100)));
    if random.chance(70) {
        requests.insert("memory".to_owned(), json!(format!("{}Gi", random.below(3) + 1)));
    }
    if random.chance(15) {
        requests.insert("x/gpu".to_owned(), json!(1));
        requests.insert("x/fpga".to_owned(), json!(1));
    }
    if random.chance(3) {
        requests.insert("memory".to_owned(), json!("9000000000000000000"));
    }
    let mut container = json!({"name": "c", "resources": {"requests": requests}});
    if random.chance(15) {
        container["ports"] = json!([
            {"containerPort": 1, "hostPort": 80, "protocol": *random.pick(&["UDP", "TCP"])},
            {"containerPort": 2, "hostPort": 80 + random.below(2), "protocol": *random.pick(&["SCTP", "TCP"])},
        ]);
    }
    let mut spec = json!({"containers": [container]});
    match random.below(4) {
        0 => spec["priority"] = json!(random.below(3) * 10),
        1 => spec["priorityClassName"] = json!(random.name("class", 3)),
        _ => {}
    }
    if random.chance(30) {
        spec["tolerations"] = json!([{"key": "dedicated", "operator": "Exists"}]);
    }
    if random.chance(25) {
        spec["nodeSelector"] = json!({"disk": "ssd", "arch": "arm"});
    }
    if random.chance(10) {
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] =
            json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [*random.pick(&NODES)]}]}]);
    }
    for (kind, percent) in [("podAffinity", 15), ("podAntiAffinity", 25)] {
        if random.chance(percent) {
            let terms: Vec<_> = (0..=random.below(2)).map(|_| affinity_term(random)).collect();
            spec["affinity"][kind]["requiredDuringSchedulingIgnoredDuringExecution"] = json!(terms);
        }
    }
    if random.chance(30) {
        let constraint = |random: &mut Random| {
            json!({
                "maxSkew": random.below(2) + 1,
                "topologyKey": *random.pick(&TOPOLOGIES),
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": selector(random),
                "minDomains": random.below(3) + 1,
                "nodeTaintsPolicy": *random.pick(&["Honor", "Ignore"]),
                "nodeAffinityPolicy": *random.pick(&["Honor", "Ignore"]),
            })
        };
        let constraints: Vec<_> = (0..=random.below(2)).map(|_| constraint(random)).collect();
        spec["topologySpreadConstraints"] = json!(constraints);
    }
    if random.chance(35) {
        let volumes = (0..=random.below(2)).map(|index| {
            let mut volume = match random.below(8) {
                0 | 4 | 5 => json!({"emptyDir": {}}),
                1 => json!({"gcePersistentDisk": {"pdName": random.name("d", 2), "readOnly": random.chance(50)}}),
                2 if name == "p1" => json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
                3 => json!({"configMap": {"name": "x"}}),
                _ => json!({"persistentVolumeClaim": {"claimName": *random.pick(&CLAIMS)}}),
            };
            let eph = volume.get("ephemeral").is_some();
            volume["name"] = json!(if eph { "eph".to_owned() } else { format!("v{index}") });
            volume
        });
        spec["volumes"] = json!(volumes.collect::<Vec<_>>());
    }
    spec
}

fn affinity_term(random: &mut Random) -> Value {
    let mut term = json!({"labelSelector": selector(random), "topologyKey": *random.pick(&TOPOLOGIES)});
    if random.chance(20) {
        term["namespaces"] = json!([*random.pick(&NAMESPACES), "b"]);
    }
    if random.chance(25) {
        term["namespaceSelector"] = match random.below(3) {
            0 => json!({}),
            1 => json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["one"]}]}),
            _ => json!({"matchLabels": {"team": *random.pick(&["one", "two"])}}),
        };
    }
    term
}

fn volume(random: &mut Random) -> Value {
    let mut labels = json!({});
    if random.chance(65) {
        labels["topology.kubernetes.io/zone"] = json!(random.name("z", 3));
    }
    let mut spec = json!({
        "capacity": {"storage": format!("{}Gi", random.below(3) + 1)},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": random.name("fast", 2),
    });
    if random.chance(30) {
        spec["local"] = json!({"path": "/x"});
    } else {
        spec["csi"] = json!({"driver": *random.pick(&["csi", "other"]), "volumeHandle": random.name("handle", 3)});
    }
    if random.chance(15) {
        let zone = json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": [random.name("z", 3)]});
        spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}});
    }
    let phase = *random.pick(&["Available", "Bound"]);
    json!({"metadata": {"name": random.name("pv", 4), "labels": labels}, "spec": spec, "status": {"phase": phase}})
}

fn claim(random: &mut Random) -> Value {
    let bound = random.chance(60);
    let mut metadata = json!({"name": *random.pick(&CLAIMS), "namespace": *random.pick(&NAMESPACES)});
    if random.chance(50) {
        metadata["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "p1", "uid": random.name("u", 3), "controller": true}]);
    }
    json!({
        "metadata": metadata,
        "spec": {
            "volumeName": if bound { random.name("pv", 5) } else { String::new() },
            "storageClassName": random.name("fast", 3),
            "accessModes": [*random.pick(&["ReadWriteOnce", "ReadWriteOncePod"])],
            "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": if bound { "Bound" } else { "Pending" }},
    })
}

fn group(random: &mut Random) -> Value {
    let managed = if random.chance(85) { "true" } else { "false" };
    json!({
        "metadata": {
            "name": random.name("g", 3), "namespace": *random.pick(&["a", "b"]),
            "labels": {"autoscaler.vpsie.com/managed": managed},
        },
        "spec": {
            "minNodes": random.below(2), "maxNodes": random.below(6) + 2, "datacenterID": random.name("z", 3),
            "offeringIDs": *random.pick(&[&["small", "large"][..], &["large"], &["gone"]]),
            "labels": {"disk": "ssd"},
            "taints": if random.chance(20) { json!([{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]) } else { json!([]) },
            "reserved": if random.chance(20) { json!({"x/fpga": "1"}) } else { json!({}) },
        },
    })
}

fn machine(random: &mut Random) -> Value {
    json!({
        "metadata": {"name": random.name("m", 3), "namespace": *random.pick(&["a", "b"])},
        "spec": {
            "nodeGroupName": random.name("g", 3), "instanceType": *random.pick(&["small", "large"]), "datacenterID": "z1",
        },
        "status": {
            "phase": *random.pick(&["Ready", "Ready", "Joining", "Provisioning", "Terminating", "Failed", "Nonsense"]),
            "phaseSince": "2026-03-02T11:55:00Z",
            "nodeName": if random.chance(40) { (*random.pick(&NODES)).to_owned() } else { String::new() },
        },
    })
}

/// A node that takes everything.
pub(super) fn plain_node(name: &str) -> Node {
    read(&json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "500"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
}

/// A pod of a job of its own, which keeps away from others of the job.
pub(super) fn churning_pod(number: usize) -> Pod {
    let term = json!({"labelSelector": {"matchLabels": {"job": ""}}, "topologyKey": "kubernetes.io/hostname"});
    let mut pod = read(&json!({
        "metadata": {"namespace": "default"},
        "spec": {
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}},
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "10m"}}}],
        },
        "status": {"phase": "Running"},
    }));
    churn(&mut pod, number);
    pod
}

/// Turns one churning pod into another.
pub(super) fn churn(pod: &mut Pod, number: usize) {
    let job = BTreeMap::from([("job".to_owned(), format!("hash-{number}"))]);
    pod.metadata.name = format!("job-{number}");
    pod.spec.node_name = if number.is_multiple_of(7) {
        String::new()
    } else {
        format!("n{}", number % 10)
    };
    let affinity = pod.spec.affinity.as_mut().unwrap();
    let terms = affinity.pod_anti_affinity.as_mut().unwrap();
    let term = &mut terms.required_during_scheduling_ignored_during_execution[0];
    term.label_selector.as_mut().unwrap().match_labels.clone_from(&job);
    pod.metadata.labels = job;
}
