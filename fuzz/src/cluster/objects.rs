//! What drawn clusters are as objects of Kubernetes and as offerings.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::*;

/// The middle of all times.
const NOON: &str = "2026-01-01T12:00:00Z";

const WORDS: [&str; 4] = ["a", "b", "c", "d"];
const VALUES: [&str; 8] = [
    "a",
    "b",
    "1",
    "2",
    "-9223372036854775808",
    "9223372036854775808",
    "",
    "true",
];
const NAMESPACES: [&str; 4] = ["default", "kube-system", "a", "b"];
const TOPOLOGY_KEYS: [&str; 4] = ["kubernetes.io/hostname", "topology.kubernetes.io/zone", "a", "b"];
const RESOURCES: [&str; 6] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "pods",
    "a.example/gpu",
    "hugepages-2Mi",
];
const OPERATORS: [&str; 8] = ["In", "NotIn", "Exists", "DoesNotExist", "In", "NotIn", "Gt", "Lt"];
const EFFECTS: [&str; 3] = ["NoSchedule", "NoExecute", "PreferNoSchedule"];
const DATACENTERS: [&str; 2] = ["dc-1", "dc-2"];
const ACCESS_MODES: [&str; 3] = ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"];
const EXPANDERS: [&str; 8] = [
    "price,least-waste",
    "priority",
    "least-nodes",
    "most-pods",
    "random",
    "least-waste,price",
    "priority,random",
    "nonsense",
];
const POD_PHASES: [&str; 6] = ["Pending", "Pending", "Running", "Running", "Succeeded", "Failed"];
const MACHINE_PHASES: [&str; 9] = [
    "",
    "Pending",
    "Provisioning",
    "Provisioned",
    "Joining",
    "Ready",
    "Terminating",
    "Deleting",
    "Failed",
];
const ANNOTATIONS: [(&str, &str); 10] = [
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "true"),
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "on-completion"),
    ("karpenter.sh/do-not-disrupt", "2562047h47m16.854775807s"),
    ("karpenter.sh/do-not-disrupt", "true"),
    ("kubernetes.io/config.mirror", "a"),
    ("autoscaler.vpsie.com/scale-down-allowed-hours", "22:00-06:00"),
    ("autoscaler.vpsie.com/time-zone", "Pacific/Kiritimati"),
    ("autoscaler.vpsie.com/pod-group", "a"),
    ("autoscaler.vpsie.com/pod-group", "b"),
];

impl Cluster {
    /// The objects, as a `List` in JSON.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut items = Vec::new();
        let mut add = |api_version: &str, kind: &str, mut object: Value| {
            object["apiVersion"] = json!(api_version);
            object["kind"] = json!(kind);
            items.push(object);
        };
        const OURS: &str = "autoscaler.vpsie.com/v1alpha1";
        if let Some(config) = &self.config.0 {
            add(OURS, "AutoscalerConfig", config.object());
        }
        for (index, group) in self.groups.0.iter().enumerate() {
            add(OURS, "NodeGroup", group.object(index));
        }
        for (index, machine) in self.machines.0.iter().enumerate() {
            add(OURS, "VPSieNode", machine.object(index));
        }
        for (index, node) in self.nodes.0.iter().enumerate() {
            add("v1", "Node", node.object(index));
        }
        for (index, pod) in self.pods.0.iter().enumerate() {
            // Equal pods are planned as one class: the first pods come more than once.
            let copies = if index < 2 { 1 + self.copies % 16 } else { 1 };
            for copy in 0..copies {
                add("v1", "Pod", pod.object(&format!("p{index}-{copy}")));
            }
        }
        for (index, spec) in self.daemon_sets.0.iter().enumerate() {
            let template = json!({"metadata": {"labels": spec.labels.object()}, "spec": spec.object()});
            let metadata = json!({"name": format!("d{index}"), "namespace": "kube-system"});
            add(
                "apps/v1",
                "DaemonSet",
                json!({"metadata": metadata, "spec": {"template": template}}),
            );
        }
        for (index, budget) in self.budgets.0.iter().enumerate() {
            add("policy/v1", "PodDisruptionBudget", budget.object(index));
        }
        for (labels, name) in self.namespaces.0.iter().zip(NAMESPACES) {
            add(
                "v1",
                "Namespace",
                json!({"metadata": {"name": name, "labels": labels.object()}}),
            );
        }
        for (index, volume) in self.volumes.0.iter().enumerate() {
            add("v1", "PersistentVolume", volume.object(index));
        }
        for (claim, name) in self.claims.0.iter().zip(WORDS) {
            add("v1", "PersistentVolumeClaim", claim.object(name));
        }
        for (class, name) in self.classes.0.iter().zip(WORDS) {
            add("storage.k8s.io/v1", "StorageClass", class.object(name));
        }
        for (index, (limit, driver)) in self.attach_limits.0.iter().enumerate() {
            let driver = json!({"name": Pick(*driver).of(&WORDS), "nodeID": "n", "allocatable": {"count": limit}});
            let object = json!({"metadata": {"name": format!("n{index}")}, "spec": {"drivers": [driver]}});
            add("storage.k8s.io/v1", "CSINode", object);
        }
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    }

    /// The offerings, as a reply of the VPSie API.
    #[must_use]
    pub fn offerings(&self) -> String {
        let sizes = self.offerings.0.iter().zip(WORDS).map(|(size, id)| {
            json!({
                "id": id, "name": id, "cpu": 1 + size.cores % 17, "ram": (1 + u32::from(size.gibibytes % 65)) * 1024,
                "disk": size.disk.0.as_ref().map_or("40".to_owned(), Amount::text),
                "hourly_price": f64::from(size.cents) / 100.0, "available": !size.unavailable.0,
                "datacenter_id": size.datacenter.0.map(|at| at.of(&DATACENTERS)),
            })
        });
        json!({"data": sizes.collect::<Vec<_>>()}).to_string()
    }
}

pub(super) fn noon() -> Timestamp {
    NOON.parse().expect("the time is written as RFC 3339")
}

impl Pick {
    fn of(self, list: &[&'static str]) -> &'static str {
        list[usize::from(self.0) % list.len()]
    }
}

impl<T, const MOST: u8> Seldom<Few<T, MOST>> {
    /// The elements; none when the list is not there.
    fn list(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |few| &few.0)
    }
}

fn picked(picks: &[Pick], list: &[&'static str]) -> Vec<&'static str> {
    picks.iter().map(|pick| pick.of(list)).collect()
}

impl Pairs {
    fn object(&self) -> Value {
        let pairs = self
            .0
            .0
            .iter()
            .map(|(key, value)| (key.of(&WORDS).to_owned(), json!(value.of(&VALUES))));
        Value::Object(pairs.collect())
    }
}

impl Amount {
    fn text(&self) -> String {
        match self {
            Self::Zero => "0".to_owned(),
            Self::Tenths(number) => format!("{}m", u32::from(*number) * 100),
            Self::Units(number) => number.to_string(),
            Self::Gibibytes(number) => format!("{number}Gi"),
            Self::Odd(Odd::Largest) => i64::MAX.to_string(),
            Self::Odd(Odd::BeyondLargest) => "9000000000000000000Ei".to_owned(),
            Self::Odd(Odd::Negative) => "-1".to_owned(),
            Self::Odd(Odd::Tiny) => "1n".to_owned(),
            Self::Odd(Odd::Exponent(exponent)) => format!("1e{exponent}"),
            Self::Odd(Odd::Number(number)) => number.to_string(),
        }
    }
}

impl Amounts {
    fn object(&self) -> Value {
        let amounts = self
            .0
            .0
            .iter()
            .map(|(name, amount)| (name.of(&RESOURCES).to_owned(), json!(amount.text())));
        Value::Object(amounts.collect())
    }
}

impl Moment {
    pub(super) fn timestamp(&self) -> Option<Timestamp> {
        let from_noon = |seconds: i64| noon() + SignedDuration::from_secs(seconds);
        match self {
            Self::Absent => None,
            Self::Ago(seconds) => Some(from_noon(-i64::from(*seconds))),
            Self::Ahead(seconds) => Some(from_noon(i64::from(*seconds))),
            Self::First => Some(Timestamp::MIN),
            Self::Last => Some(Timestamp::MAX),
        }
    }

    fn value(&self) -> Value {
        json!(self.timestamp().map(|time| time.to_string()))
    }
}

fn annotations(picks: &Seldom<Few<Pick, 2>>) -> Value {
    let pairs = picks
        .list()
        .iter()
        .map(|pick| ANNOTATIONS[usize::from(pick.0) % ANNOTATIONS.len()]);
    Value::Object(pairs.map(|(key, value)| (key.to_owned(), json!(value))).collect())
}

impl Requirement {
    fn value(&self) -> Value {
        let operator = self.operator.of(&OPERATORS);
        let mut values = picked(&self.values.0, &VALUES);
        match operator {
            _ if self.invalid.0 => {}
            "Exists" | "DoesNotExist" => values.clear(),
            "Gt" | "Lt" => values = vec!["1"],
            _ => values.push("a"),
        }
        json!({"key": self.key.of(&WORDS), "operator": operator, "values": values})
    }
}

fn requirements(list: &[Requirement]) -> Vec<Value> {
    list.iter().map(Requirement::value).collect()
}

fn terms(list: &[Few<Requirement, 2>]) -> Value {
    let terms = list
        .iter()
        .map(|term| json!({"matchExpressions": requirements(&term.0)}));
    json!({"nodeSelectorTerms": terms.collect::<Vec<_>>()})
}

impl Selector {
    fn value(&self) -> Value {
        json!({"matchLabels": self.labels.object(), "matchExpressions": requirements(&self.expressions.0)})
    }
}

fn selector(selector: Option<&Selector>) -> Value {
    selector.map_or(Value::Null, Selector::value)
}

fn amounts(amounts: &Seldom<Amounts>) -> Value {
    amounts.0.as_ref().map_or(Value::Null, Amounts::object)
}

fn moment(moment: &Seldom<Moment>) -> Value {
    moment.0.as_ref().map_or(Value::Null, Moment::value)
}

impl Config {
    fn object(&self) -> Value {
        json!({"metadata": {"name": "default"}, "spec": {"globalSettings": {
            "maxClusterWorkers": self.max_cluster_workers, "expander": self.expander.of(&EXPANDERS),
            "ignoreDaemonSetsUtilization": self.ignore & 1 == 1, "ignoreMirrorPodsUtilization": self.ignore & 2 == 2,
            "scaleDownUnreadyEnabled": self.ignore & 4 == 4, "unschedulablePodGracePeriodSeconds": self.grace,
            "budgets": {"empty": self.empty, "drain": self.drain.map(|percent| format!("{}%", percent % 101))},
        }}})
    }
}

impl Taint {
    fn value(&self) -> Value {
        json!({"key": self.key.of(&WORDS), "value": self.value.of(&VALUES), "effect": self.effect.of(&EFFECTS)})
    }
}

fn taints(taint: &Seldom<Taint>) -> Vec<Value> {
    taint.0.iter().map(Taint::value).collect()
}

fn deletion(deleted: Rarely) -> Value {
    if deleted.0 { json!(NOON) } else { Value::Null }
}

impl Group {
    fn object(&self, index: usize) -> Value {
        let down = self.down.0.map(|(cpu, memory, window, cooldown)| {
            json!({
                "cpuThreshold": cpu % 101, "memoryThreshold": memory % 101,
                "stabilizationWindowSeconds": window.max(0), "cooldownSeconds": cooldown.max(0),
            })
        });
        let backoffs = self
            .backoffs
            .0
            .iter()
            .map(|(id, until)| json!({"offering": id.of(&WORDS), "until": until.value()}));
        let max = self.max % 24;
        let mut offerings = picked(&self.offerings.0, &WORDS);
        offerings.push(WORDS[index]);
        json!({
            "metadata": {
                "name": WORDS[index], "namespace": "default", "deletionTimestamp": deletion(self.deleted),
                "labels": {"autoscaler.vpsie.com/managed": (!self.unmanaged.0).to_string()},
                "annotations": annotations(&self.annotations),
            },
            "spec": {
                "minNodes": (self.min % 4).min(max), "maxNodes": max,
                "datacenterID": self.datacenter.of(&DATACENTERS), "offeringIDs": offerings,
                "preferredInstanceType": self.preferred.0.map(|id| id.of(&WORDS)), "priority": self.priority.0,
                "labels": self.labels.object(), "taints": taints(&self.taints), "reserved": amounts(&self.reserved),
                "scaleUpPolicy": {"enabled": !self.up_disabled.0, "stabilizationWindowSeconds": self.up_window.0.map(|s| s.max(0))},
                "scaleDownPolicy": down, "headroom": self.headroom.0.as_ref().map(Headroom::value),
            },
            "status": {"lastScaleUpTime": moment(&self.last_scale_up), "scaleUpBackoffs": backoffs.collect::<Vec<_>>()},
        })
    }
}

impl Headroom {
    fn value(&self) -> Value {
        match self {
            Self::Nodes(nodes) => json!({"nodes": nodes % 8}),
            Self::Percent(percent) => json!({"percent": percent % 101}),
            Self::Pods(replicas, requests) => {
                json!({"pods": {"replicas": replicas % 32, "resources": {"requests": requests.object()}}})
            }
        }
    }
}

impl Machine {
    fn object(&self, index: usize) -> Value {
        let removal = self.removal.0.as_ref().map(|(phase, at)| {
            let phase = phase.of(&["", "Planned", "Draining", "Failed", "RollingBack"]);
            json!({"phase": phase, "startedAt": at.value(), "failedAt": at.value()})
        });
        json!({
            "metadata": {"name": format!("m{index}"), "namespace": "default", "deletionTimestamp": deletion(self.deleted)},
            "spec": {"nodeGroupName": self.group.of(&WORDS), "instanceType": self.offering.of(&WORDS), "datacenterID": "dc-1"},
            "status": {
                "phase": self.phase.of(&MACHINE_PHASES), "phaseSince": self.since.value(),
                "nodeName": self.node.map(|node| format!("n{}", node % 9)), "unneededSince": self.unneeded.value(),
                "removal": removal,
            },
        })
    }
}

impl Node {
    fn object(&self, index: usize) -> Value {
        let name = format!("n{index}");
        let mut labels = self.labels.object();
        labels["kubernetes.io/hostname"] = json!(name);
        labels["topology.kubernetes.io/zone"] = json!(self.zone.of(&DATACENTERS));
        labels["node.kubernetes.io/instance-type"] = json!(self.offering.of(&WORDS));
        if !self.unmanaged.0 {
            labels["autoscaler.vpsie.com/managed"] = json!("true");
            labels["autoscaler.vpsie.com/nodegroup"] = json!(self.group.of(&["a", "a", "b", "c"]));
        }
        let cores = self.cores % 17;
        let mut allocatable =
            json!({"cpu": cores, "memory": format!("{}Gi", cores), "ephemeral-storage": "40Gi", "pods": "110"});
        if self.empty.0 {
            allocatable = json!({});
        }
        merge(&mut allocatable, amounts(&self.allocatable));
        let ready = ["False", "Unknown", "absent", "True"][usize::from(self.ready % 16).min(3)];
        let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": moment(&self.ready_since)});
        json!({
            "metadata": {
                "name": name, "labels": labels, "annotations": annotations(&self.annotations),
                "creationTimestamp": self.created.value(), "deletionTimestamp": deletion(self.deleted),
            },
            "spec": {"unschedulable": self.unschedulable.0, "taints": taints(&self.taints)},
            "status": {"allocatable": allocatable, "conditions": if ready == "absent" { vec![] } else { vec![condition] }},
        })
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

impl Pod {
    fn object(&self, name: &str) -> Value {
        let mut spec = self.spec.object();
        let owner = match self.owner.of(&["ReplicaSet", "ReplicaSet", "DaemonSet", "none"]) {
            "none" => json!([]),
            // Owners are not looked up, so a pod may as well be owned by itself.
            kind => json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true}]),
        };
        let node = self.node.map(|node| format!("n{}", node % 9));
        let mut conditions = vec![json!({"type": "Ready", "status": if node.is_some() { "True" } else { "False" }})];
        if node.is_none() {
            conditions.push(json!({
                "type": "PodScheduled", "status": "False", "lastTransitionTime": self.since.value(),
                "reason": if self.scheduled.0 { "SchedulingGated" } else { "Unschedulable" },
            }));
        }
        let phase = match self.phase.0 {
            Some(phase) => phase.of(&POD_PHASES),
            None if node.is_some() => "Running",
            None => "Pending",
        };
        spec["nodeName"] = json!(node);
        let (deleted, grace) = self
            .deleted
            .0
            .as_ref()
            .map_or((Value::Null, None), |(at, grace)| (at.value(), Some(grace)));
        spec["terminationGracePeriodSeconds"] = json!(grace);
        json!({
            "metadata": {
                "name": name, "namespace": self.namespace.of(&NAMESPACES), "labels": self.spec.labels.object(),
                "annotations": annotations(&self.annotations), "ownerReferences": owner,
                "creationTimestamp": self.created.value(), "deletionTimestamp": deleted,
            },
            "spec": spec,
            "status": {
                "phase": phase, "conditions": conditions, "startTime": moment(&self.started),
                "nominatedNodeName": self.nominated.0.map(|node| format!("n{}", node % 9)),
            },
        })
    }
}

impl PodSpec {
    fn object(&self) -> Value {
        let mut container = json!({"name": "c", "resources": {"requests": self.requests.object()}});
        let Some(more) = &self.more else {
            return json!({"containers": [container]});
        };
        let ports = more.ports.list().iter().map(
            |(port, address)| json!({"hostPort": port % 4, "hostIP": address.of(&["", "0.0.0.0", "10.0.0.1", "::"])}),
        );
        container["ports"] = ports.collect();
        let init = more.init.list().iter().map(|(requests, sidecar)| {
            let policy = if *sidecar { "Always" } else { "" };
            json!({"name": "i", "restartPolicy": policy, "resources": {"requests": requests.object()}})
        });
        let tolerations = more.tolerations.list().iter().map(|(key, operator, effect)| {
            let operator = key.map_or("Exists", |_| operator.of(&["Exists", "Equal", "Gt", "Lt"]));
            let value = if operator == "Exists" { "" } else { "1" };
            let effect = effect.of(&["", "NoSchedule", "NoExecute"]);
            json!({"key": key.map(|key| key.of(&WORDS)), "operator": operator, "value": value, "effect": effect})
        });
        let mut volumes: Vec<_> = more
            .claims
            .list()
            .iter()
            .map(|claim| json!({"name": claim.of(&WORDS), "persistentVolumeClaim": {"claimName": claim.of(&WORDS)}}))
            .collect();
        match more.local.0 {
            Some(true) => volumes.push(json!({"name": "l", "hostPath": {"path": "l"}})),
            Some(false) => volumes.push(json!({"name": "l", "emptyDir": {}})),
            None => {}
        }
        let mut node_selector = more.node_affinity.0.as_ref().map(|list| terms(&list.0));
        if !more.node_names.list().is_empty() {
            let by_name = more.node_names.list().iter().map(|node| {
                let field = json!({"key": "metadata.name", "operator": "In", "values": [format!("n{}", node % 9)]});
                json!({"matchFields": [field]})
            });
            let by_name: Vec<_> = by_name.collect();
            node_selector = Some(json!({"nodeSelectorTerms": by_name}));
        }
        let required = |list: &[Term]| {
            let terms: Vec<_> = list.iter().map(Term::value).collect();
            json!({"requiredDuringSchedulingIgnoredDuringExecution": terms})
        };
        json!({
            "containers": [container], "initContainers": init.collect::<Vec<_>>(), "overhead": amounts(&more.overhead),
            "resources": more.whole.0.as_ref().map(|whole| json!({"requests": whole.object()})),
            "nodeSelector": more.node_selector.0.as_ref().map(Pairs::object), "tolerations": tolerations.collect::<Vec<_>>(),
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": node_selector},
                "podAffinity": required(more.affinity.list()), "podAntiAffinity": required(more.anti_affinity.list()),
            },
            "topologySpreadConstraints": more.spread.list().iter().map(Spread::value).collect::<Vec<_>>(),
            "volumes": volumes, "priority": more.priority.0,
            "schedulingGates": if more.gated.0 { vec![json!({"name": "g"})] } else { vec![] },
        })
    }
}

impl Term {
    fn value(&self) -> Value {
        json!({
            "labelSelector": selector(self.selector.as_ref()), "topologyKey": self.key.of(&TOPOLOGY_KEYS),
            "namespaces": picked(self.namespaces.list(), &NAMESPACES),
            "namespaceSelector": selector(self.namespace_selector.0.as_ref()),
            "matchLabelKeys": picked(self.match_label_keys.list(), &WORDS),
        })
    }
}

impl Spread {
    fn value(&self) -> Value {
        let policy = |honor: bool| if honor { "Honor" } else { "Ignore" };
        json!({
            "maxSkew": if self.huge_skew.0 { i32::MAX } else { 1 + i32::from(self.skew % 3) },
            "topologyKey": self.key.of(&TOPOLOGY_KEYS),
            "whenUnsatisfiable": if self.soft.0 { "ScheduleAnyway" } else { "DoNotSchedule" },
            "labelSelector": selector(self.selector.as_ref()), "minDomains": self.min_domains.0,
            "nodeAffinityPolicy": self.affinity.map(policy), "nodeTaintsPolicy": self.taints.map(policy),
            "matchLabelKeys": picked(self.match_label_keys.list(), &WORDS),
        })
    }
}

impl Budget {
    fn object(&self, index: usize) -> Value {
        let status = self
            .status
            .map(|(allowed, fresh)| json!({"disruptionsAllowed": allowed, "observedGeneration": i32::from(fresh)}));
        json!({
            "metadata": {"name": format!("b{index}"), "namespace": self.namespace.of(&NAMESPACES), "generation": 1},
            "spec": {
                "selector": selector(self.selector.as_ref()),
                "unhealthyPodEvictionPolicy": if self.always { "AlwaysAllow" } else { "" },
            },
            "status": status,
        })
    }
}

impl Volume {
    fn object(&self, index: usize) -> Value {
        let mut spec = Map::new();
        spec.insert("capacity".to_owned(), json!({"storage": self.size.text()}));
        spec.insert("accessModes".to_owned(), json!([self.mode.of(&ACCESS_MODES)]));
        spec.insert("storageClassName".to_owned(), json!(self.class.of(&WORDS)));
        let required = self.terms.as_ref().map(|list| terms(&list.0));
        spec.insert("nodeAffinity".to_owned(), json!({"required": required}));
        if let Some(claim) = self.claim {
            spec.insert(
                "claimRef".to_owned(),
                json!({"namespace": "default", "name": claim.of(&WORDS)}),
            );
        }
        if let Some(driver) = self.driver {
            let handle = json!({"driver": driver.of(&WORDS), "volumeHandle": index.to_string()});
            spec.insert("csi".to_owned(), handle);
        } else if self.local {
            spec.insert("local".to_owned(), json!({"path": "l"}));
        }
        json!({"metadata": {"name": format!("v{index}")}, "spec": spec})
    }
}

impl Claim {
    fn object(&self, name: &str) -> Value {
        json!({
            "metadata": {"name": name, "namespace": self.namespace.of(&["default", "default", "a"])},
            "spec": {
                "volumeName": self.volume.map(|volume| format!("v{}", volume % 5)),
                "storageClassName": self.class.map(|class| class.of(&WORDS)),
                "accessModes": [self.mode.of(&ACCESS_MODES)],
                "resources": {"requests": {"storage": self.size.text()}},
            },
        })
    }
}

impl Class {
    fn object(&self, name: &str) -> Value {
        let topologies = self.zones.as_ref().map(|zones| {
            let values = picked(&zones.0, &["dc-1", "dc-2", "dc-3"]);
            json!([{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": values}]}])
        });
        json!({
            "metadata": {"name": name},
            "provisioner": self.provisioner.map_or("kubernetes.io/no-provisioner", |driver| driver.of(&WORDS)),
            "volumeBindingMode": if self.waits { "WaitForFirstConsumer" } else { "Immediate" },
            "allowedTopologies": topologies,
        })
    }
}
