//! A random cluster as Kubernetes objects, and what the planner decides about it, by names.

use std::{collections::BTreeMap, fmt::Write};

use autoscaler_core::{
    build::Input,
    check::check,
    document::PlanDocument,
    manifest::{Objects, Source, read, read_offerings},
    planner::{self, Options},
    snapshot::Snapshot,
};
use serde_json::{Value, json};

use crate::cluster::{Class, Cluster, Topology};

const NOW: &str = "2026-01-01T12:00:00Z";

/// What was decided.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// The plan as it is printed.
    pub(crate) text: String,
    pub(crate) document: PlanDocument,
    /// What the plan costs, in thousandths of the currency per hour.
    pub(crate) price: i64,
    /// Node or VPSieNode of every pod that fits one.
    pub(crate) existing: BTreeMap<String, String>,
    pub(crate) new_nodes: Vec<NewNode>,
    pub(crate) left: Vec<String>,
    /// What [`check`] objects to.
    pub(crate) violations: Vec<String>,
}

/// A planned node with its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewNode {
    pub(crate) group: usize,
    pub(crate) offering: usize,
    pub(crate) pods: Vec<String>,
}

// === impl Decision ===

impl Decision {
    /// Plans for the cluster.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self::of_objects(cluster, &objects(cluster))
    }

    /// Plans for the cluster with its objects in other orders, and gives the text that differs from this plan, if any.
    pub(crate) fn in_another_order(&self, cluster: &Cluster) -> Option<String> {
        let mut items = objects(cluster);
        items.reverse();
        let reversed = Self::of_objects(cluster, &items);
        let mut by_text: Vec<(String, Value)> = items.into_iter().map(|item| (item.to_string(), item)).collect();
        // Kinds, namespaces and names are at the end of these texts more or less, so that this mixes everything.
        by_text.sort_by_key(|(text, _)| text.bytes().rev().collect::<Vec<u8>>());
        let mixed: Vec<Value> = by_text.into_iter().map(|(_, item)| item).collect();
        let mixed = Self::of_objects(cluster, &mixed);
        [reversed, mixed]
            .into_iter()
            .map(|other| other.text)
            .find(|text| *text != self.text)
    }

    fn of_objects(cluster: &Cluster, items: &[Value]) -> Self {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let mut objects = Objects::default();
        read(&source("cluster.json", &list), &mut objects).unwrap();
        let offerings = read_offerings(&source("offerings.json", &offerings(cluster).to_string())).unwrap();
        let snapshot = Snapshot::build(&Input::new(&objects, &offerings));
        let plan = planner::plan(&snapshot, &Options::default(), NOW.parse().unwrap());
        let violations = check(&snapshot, &plan).iter().map(ToString::to_string).collect();
        let document = PlanDocument::new(&snapshot, &plan);
        let index = |text: &str| -> usize { text.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap() };
        let price = document.scale_up.iter().map(|up| {
            let count = i64::try_from(up.count).unwrap();
            count * cluster.offerings[index(&up.offering)].price
        });
        let new_nodes = document.scale_up.iter().flat_map(|up| {
            up.nodes.iter().map(|node| NewNode {
                group: index(&up.node_group),
                offering: index(&up.offering),
                pods: node.pods.clone(),
            })
        });
        let left = document.pods.iter().filter(|pod| pod.verdict == "Unschedulable");
        let left: Vec<_> = left.collect();
        let unexplained = left.iter().filter(|pod| pod.reasons.is_empty());
        let unexplained: Vec<_> = unexplained.map(|pod| &pod.pod).collect();
        assert!(
            unexplained.is_empty(),
            "pods are left without a reason: {unexplained:?}"
        );
        Self {
            text: serde_json::to_string(&document).unwrap(),
            price: price.sum(),
            existing: document
                .pods
                .iter()
                .filter_map(|pod| Some((pod.pod.clone(), pod.node.clone()?)))
                .collect(),
            new_nodes: new_nodes.collect(),
            left: left.iter().map(|pod| pod.pod.clone()).collect(),
            violations,
            document,
        }
    }

    /// The plan in few words.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!("price {}\n", self.price);
        for node in &self.new_nodes {
            let _ = writeln!(text, "  new o{} of g{}: {:?}", node.offering, node.group, node.pods);
        }
        for (pod, node) in &self.existing {
            let _ = writeln!(text, "  {pod} on {node}");
        }
        for pod in self.document.pods.iter().filter(|pod| pod.verdict == "Unschedulable") {
            let _ = writeln!(text, "  {} left", pod.pod);
            for reason in &pod.reasons {
                let place = reason.node_group.as_ref().or(reason.node.as_ref());
                let _ = writeln!(text, "    {place:?} {:?} {}", reason.offering, reason.message);
            }
        }
        text
    }
}

/// The name of a pending pod.
pub(crate) fn pod_name(class: usize, index: usize) -> String {
    format!("default/c{class}-{index}")
}

/// The class of a pending pod.
pub(crate) fn class_of(pod: &str) -> usize {
    let (class, _) = pod.trim_start_matches("default/c").split_once('-').unwrap();
    class.parse().unwrap()
}

/// The cluster as text that `plan -f` reads, and its offerings.
pub(crate) fn dump(cluster: &Cluster) -> String {
    let mut text = String::new();
    for object in objects(cluster) {
        let _ = writeln!(text, "---\n{object}");
    }
    format!("{text}--- offerings\n{}", offerings(cluster))
}

fn source<'a>(name: &str, text: &'a str) -> Source<'a> {
    Source {
        name: name.into(),
        text,
    }
}

fn offerings(cluster: &Cluster) -> Value {
    let of_size = |(index, size): (usize, &crate::cluster::Offering)| {
        let price = format!("{}.{:03}", size.price / 1000, size.price % 1000);
        json!({
            "id": format!("o{index}"), "name": format!("o{index}"), "cpu": size.cores, "ram": size.gib * 1024,
            "disk": 100, "hourly_price": price,
        })
    };
    json!({"data": cluster.offerings.iter().enumerate().map(of_size).collect::<Vec<_>>()})
}

fn objects(cluster: &Cluster) -> Vec<Value> {
    let mut objects = Vec::new();
    if let Some(max) = cluster.cluster_max {
        objects.push(json!({
            "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "AutoscalerConfig", "metadata": {"name": "default"},
            "spec": {"globalSettings": {"maxClusterWorkers": max, "unschedulablePodGracePeriodSeconds": 0}},
        }));
    }
    objects.extend((0..cluster.groups.len()).map(|index| group(cluster, index)));
    if let Some((group, offering)) = cluster.coming() {
        objects.push(json!({
            "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "VPSieNode",
            "metadata": {"name": "m0", "namespace": "default", "creationTimestamp": "2026-01-01T11:59:00Z"},
            "spec": {
                "nodeGroupName": format!("g{group}"), "instanceType": format!("o{offering}"),
                "datacenterID": zone(cluster.groups[group].zone),
            },
            "status": {"phase": "Provisioning", "phaseSince": "2026-01-01T11:59:00Z"},
        }));
    }
    for index in 0..cluster.nodes.len() {
        objects.push(node(cluster, index));
        for (number, class) in cluster.nodes[index].running.iter().enumerate() {
            let name = format!("r{number}-n{index}");
            let mut pod = pod(&name, &cluster.classes[*class]);
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u", "controller": true}]);
            pod["spec"]["nodeName"] = json!(format!("n{index}"));
            pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
            objects.push(pod);
        }
    }
    if let Some(class) = &cluster.daemon {
        let pod = pod("agent", class);
        objects.push(json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": pod["metadata"]["labels"]},
                "template": {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]},
            },
        }));
    }
    for (index, class) in cluster.classes.iter().enumerate() {
        for number in 0..class.pending {
            let name = format!("c{index}-{number}");
            let mut pod = pod(&name, class);
            pod["status"] = json!({
                "phase": "Pending",
                "conditions": [{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "lastTransitionTime": "2026-01-01T06:00:00Z",
                }],
            });
            objects.push(pod);
        }
    }
    objects
}

fn group(cluster: &Cluster, index: usize) -> Value {
    let group = &cluster.groups[index];
    let offerings = cluster.offerings_of(index);
    let mut spec = json!({
        "minNodes": 0, "maxNodes": group.max, "datacenterID": zone(group.zone),
        "offeringIDs": offerings.iter().map(|offering| format!("o{offering}")).collect::<Vec<_>>(),
    });
    if let Some(pool) = group.pool {
        spec["labels"] = json!({"pool": format!("p{pool}")});
    }
    if group.tainted {
        spec["taints"] = taints();
    }
    if let Some(max_pods) = group.max_pods {
        spec["reserved"] = json!({"pods": 110 - max_pods});
    }
    json!({
        "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "NodeGroup",
        "metadata": {
            "name": format!("g{index}"), "namespace": "default", "labels": {"autoscaler.vpsie.com/managed": "true"},
        },
        "spec": spec,
    })
}

fn node(cluster: &Cluster, index: usize) -> Value {
    let node = &cluster.nodes[index];
    let name = format!("n{index}");
    let mut labels = json!({"kubernetes.io/hostname": name});
    let host = crate::model::host_of(cluster, index);
    if let Some(in_zone) = host.zone {
        labels["topology.kubernetes.io/zone"] = json!(zone(in_zone));
    }
    if let Some(pool) = host.pool {
        labels["pool"] = json!(format!("p{pool}"));
    }
    if let Some(group) = node.group {
        labels["autoscaler.vpsie.com/managed"] = json!("true");
        labels["autoscaler.vpsie.com/nodegroup"] = json!(format!("g{group}"));
        labels["autoscaler.vpsie.com/nodegroup-namespace"] = json!("default");
        labels["autoscaler.vpsie.com/offering"] = json!(format!("o{}", cluster.offering_of(node)));
    }
    let mut spec = json!({"unschedulable": node.cordoned});
    if host.tainted {
        spec["taints"] = taints();
    }
    let [cpu, memory, pods] = crate::model::node_capacity(cluster, index);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:{index:02}:00Z"), "labels": labels},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": format!("{cpu}m"), "memory": memory.to_string(), "pods": pods.to_string()},
            "conditions": [{"type": "Ready", "status": if node.ready { "True" } else { "False" }}],
        },
    })
}

fn pod(name: &str, class: &Class) -> Value {
    let mut requests = json!({});
    if 0 < class.cpu {
        requests["cpu"] = json!(format!("{}m", class.cpu));
    }
    if 0 < class.memory {
        requests["memory"] = json!(format!("{}Mi", class.memory));
    }
    let mut container = json!({"name": "c", "resources": {"requests": requests}});
    if let Some(port) = class.port {
        container["ports"] = json!([{"containerPort": 80, "hostPort": 8000 + port}]);
    }
    let mut spec = json!({"containers": [container], "priority": class.priority});
    if let Some(pool) = class.pool {
        spec["nodeSelector"]["pool"] = json!(format!("p{pool}"));
    }
    if let Some(in_zone) = class.zone {
        spec["nodeSelector"]["topology.kubernetes.io/zone"] = json!(zone(in_zone));
    }
    if class.tolerates {
        spec["tolerations"] = json!([{"key": "dedicated", "operator": "Exists"}]);
    }
    let term = |(topology, app): (Topology, usize)| {
        json!({"requiredDuringSchedulingIgnoredDuringExecution":
            [{"labelSelector": {"matchLabels": {"app": format!("a{app}")}}, "topologyKey": key(topology)}]})
    };
    if let Some(near) = class.near {
        spec["affinity"]["podAffinity"] = term(near);
    }
    if let Some(apart) = class.apart {
        spec["affinity"]["podAntiAffinity"] = term(apart);
    }
    if let Some(spread) = class.spread {
        let mut constraint = json!({
            "maxSkew": spread.max_skew, "topologyKey": key(spread.topology), "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": format!("a{}", class.app)}},
        });
        if let Some(min_domains) = spread.min_domains {
            constraint["minDomains"] = json!(min_domains);
        }
        spec["topologySpreadConstraints"] = json!([constraint]);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": format!("a{}", class.app)}},
        "spec": spec,
    })
}

fn zone(index: usize) -> String {
    format!("dc-{index}")
}

const fn key(topology: Topology) -> &'static str {
    match topology {
        Topology::Host => "kubernetes.io/hostname",
        Topology::Zone => "topology.kubernetes.io/zone",
    }
}

fn taints() -> Value {
    json!([{"key": "dedicated", "value": "yes", "effect": "NoSchedule"}])
}
