//! Clusters to plan for: random ones, small and full of rules, and the shape of Karpenter's scheduling benchmark.

use serde_json::Value;
use serde_json::json;

use super::cluster::HOSTNAME;
use super::cluster::ZONE;
use super::cluster::full_name;
use super::cluster::stamp;
use super::plans::Problem;
use super::plans::daemon_pod;
use super::random::Random;

const PREFIX: &str = "autoscaler.vpsie.com";
const DRIVER: &str = "csi-a";
/// Cores of the sizes on offer, with 4 GiB and a price that falls a little with size.
const SIZES: [(&str, i64, f64); 3] = [("small", 2, 0.021), ("medium", 4, 0.038), ("large", 16, 0.14)];

/// The random cluster of this seed.
pub fn random_problem(seed: u64) -> Problem {
    let random = &mut Random::new(seed);
    let mut objects: Vec<_> = ["default", "shop"].map(namespace).into();
    objects.push(storage_class("wait", &Value::Null));
    let zones = json!([{"matchLabelExpressions": [{"key": ZONE, "values": ["dc-0", "dc-1"]}]}]);
    objects.push(storage_class("zones", &zones));
    let groups: Vec<_> = (0..random.between(1, 4)).map(|index| group(random, index)).collect();
    let daemon_sets: Vec<_> = (0..random.below(3)).map(|index| daemon_set(random, index)).collect();
    let mut nodes = Vec::new();
    for index in 0..random.below(6) {
        let node = existing_node(random, index, &groups);
        objects.extend(
            daemon_sets
                .iter()
                .filter_map(|daemon_set| daemon_pod(daemon_set, &node)),
        );
        if random.percent(70) {
            let count = random.between(1, 3);
            let mut csi = json!({
                "metadata": {"name": node["metadata"]["name"]},
                "spec": {"drivers": [{"name": DRIVER, "nodeID": "x", "allocatable": {"count": count}}]},
            });
            stamp(&mut csi, "storage.k8s.io/v1", "CSINode");
            objects.push(csi);
        }
        nodes.push(node);
    }
    for index in 0..random.below(3) {
        if random.percent(40) {
            objects.push(machine(random, index, &groups));
        }
    }
    for index in 0..if nodes.is_empty() { 0 } else { random.below(12) } {
        let mut pod = Workload::new(random, index).pod(random, &format!("running-{index}"), &mut objects);
        let node = random.pick(&nodes);
        pod["spec"]["nodeName"] = node["metadata"]["name"].clone();
        pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        objects.push(pod);
    }
    for index in 0..random.between(2, 6) {
        let workload = Workload::new(random, index);
        for replica in 0..random.between(1, 9) {
            let mut pod = workload.pod(random, &format!("w{index}-{replica}"), &mut objects);
            if !nodes.is_empty() && random.percent(3) {
                pod["status"]["nominatedNodeName"] = random.pick(&nodes)["metadata"]["name"].clone();
            }
            objects.push(pod);
        }
    }
    objects.extend(nodes);
    objects.extend(groups);
    objects.extend(daemon_sets);
    Problem {
        objects,
        offerings: sizes(),
    }
}

/// The offerings of [`random_problem`].
pub fn sizes() -> Vec<Value> {
    let size = |(id, cores, price): &(&str, i64, f64)| offering(id, *cores, 4096 * cores, *price);
    SIZES.iter().map(size).collect()
}

/// So many pods that wait in an empty cluster, as `scheduling_benchmark_test.go` of Karpenter has them: 400 sizes in
/// three zones; equal parts plain, spread over zones, spread over hosts, attracted to the zone of their like, and alone on
/// their host.
pub fn karpenter(pods: usize, seed: u64) -> Problem {
    let random = &mut Random::new(seed);
    let offerings: Vec<_> = (1..=400_i64)
        .map(|cores| {
            let price = 0.1 * cores as f64 + 0.1 * (cores * 2 * (1 << 30)) as f64 / 1e9;
            offering(&format!("size-{cores}"), cores, 2048 * cores, price)
        })
        .collect();
    let ids: Vec<_> = offerings.iter().map(|offering| offering["id"].clone()).collect();
    let mut objects = vec![namespace("default")];
    for zone in 1..=3 {
        let mut group = json!({
            "metadata": {"name": format!("zone-{zone}"), "namespace": "default", "labels": {format!("{PREFIX}/managed"): "true"}},
            "spec": {
                "minNodes": 0, "maxNodes": 10_000, "datacenterID": format!("zone-{zone}"), "offeringIDs": ids,
                "reserved": {"cpu": "100m", "memory": "10485760"},
            },
        });
        stamp(&mut group, &format!("{PREFIX}/v1alpha1"), "NodeGroup");
        objects.push(group);
    }
    const LABELS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
    for index in 0..pods {
        let cpu = random.one_of(&["100m", "250m", "500m", "1", "1500m"]);
        let memory = random.one_of(&["100Mi", "256Mi", "512Mi", "1Gi", "2Gi", "4Gi"]);
        let name = format!("p{index}");
        let mut pod = pending("default", &name, &json!({}), &json!({"cpu": cpu, "memory": memory}));
        let (own, other) = (random.one_of(&LABELS), random.one_of(&LABELS));
        let spread = |key: &str| json!([spread_term(key, &json!({"matchLabels": {"my-label": other}}))]);
        let term = |key: &str, label: &str, value: &str| affinity_terms(key, &json!({"matchLabels": {label: value}}));
        match index * 5 / pods {
            0 => pod["metadata"]["labels"] = json!({"my-label": own}),
            1 | 2 => {
                pod["metadata"]["labels"] = json!({"my-label": own});
                let key = if index * 5 / pods == 1 { ZONE } else { HOSTNAME };
                pod["spec"]["topologySpreadConstraints"] = spread(key);
            }
            3 => {
                pod["metadata"]["labels"] = json!({"my-affinity": own});
                pod["spec"]["affinity"]["podAffinity"] = term(ZONE, "my-affinity", own);
            }
            _ => {
                pod["metadata"]["labels"] = json!({"app": "nginx"});
                pod["spec"]["affinity"]["podAntiAffinity"] = term(HOSTNAME, "app", "nginx");
            }
        }
        objects.push(pod);
    }
    Problem { objects, offerings }
}

/// Pods that are alike, as those of one Deployment are.
struct Workload {
    namespace: &'static str,
    app: String,
    requests: Value,
    rules: Vec<Rule>,
    priority: i32,
    tolerates: bool,
}

/// Something that a workload asks for.
#[derive(Clone, Copy)]
enum Rule {
    SpreadZones,
    SpreadHosts,
    SpreadOthers,
    NearOwn(&'static str),
    NearOthers,
    AwayFromOwn(&'static str),
    AwayFromOthers,
    Selector,
    Zone,
    HostPort,
    Claim(&'static str),
}

impl Workload {
    fn new(random: &mut Random, index: usize) -> Self {
        let all = [
            Rule::SpreadZones,
            Rule::SpreadHosts,
            Rule::SpreadOthers,
            Rule::NearOwn(ZONE),
            Rule::NearOwn(HOSTNAME),
            Rule::NearOthers,
            Rule::AwayFromOwn(ZONE),
            Rule::AwayFromOwn(HOSTNAME),
            Rule::AwayFromOthers,
            Rule::Selector,
            Rule::Zone,
            Rule::HostPort,
            Rule::Claim("wait"),
            Rule::Claim("zones"),
        ];
        let cpu = random.one_of(&["100m", "500m", "1", "1500m", "3"]);
        let memory = random.one_of(&["128Mi", "1Gi", "3Gi"]);
        let count = random.weighted(&[(3, 0), (5, 1), (2, 2)]);
        Self {
            namespace: random.weighted(&[(4, "default"), (1, "shop")]),
            // Some workloads share their label, so that rules of one meet pods of another.
            app: format!("app-{}", random.below(index + 2)),
            requests: json!({"cpu": cpu, "memory": memory}),
            rules: (0..count).map(|_| *random.pick(&all)).collect(),
            priority: random.weighted(&[(4, 0), (1, 100), (1, -5)]),
            tolerates: random.percent(50),
        }
    }

    /// One of the pods. Its claim is added to the objects.
    fn pod(&self, random: &mut Random, name: &str, objects: &mut Vec<Value>) -> Value {
        let mut pod = pending(self.namespace, name, &json!({"app": self.app}), &self.requests);
        pod["spec"]["priority"] = json!(self.priority);
        if self.tolerates {
            pod["spec"]["tolerations"] = json!([{"key": "dedicated", "operator": "Exists"}]);
        }
        let own = json!({"matchLabels": {"app": self.app}});
        let other = json!({"matchLabels": {"app": "app-0"}});
        let mut spread = Vec::new();
        for rule in &self.rules {
            match rule {
                Rule::SpreadZones => spread.push(spread_term(ZONE, &own)),
                Rule::SpreadHosts => {
                    let mut term = spread_term(HOSTNAME, &own);
                    term["nodeTaintsPolicy"] = json!("Honor");
                    spread.push(term);
                }
                Rule::SpreadOthers => {
                    let mut term = spread_term(ZONE, &other);
                    term["minDomains"] = json!(2);
                    spread.push(term);
                }
                Rule::NearOwn(key) => pod["spec"]["affinity"]["podAffinity"] = affinity_terms(key, &own),
                Rule::NearOthers => pod["spec"]["affinity"]["podAffinity"] = affinity_terms(ZONE, &other),
                Rule::AwayFromOwn(key) => pod["spec"]["affinity"]["podAntiAffinity"] = affinity_terms(key, &own),
                Rule::AwayFromOthers => pod["spec"]["affinity"]["podAntiAffinity"] = affinity_terms(HOSTNAME, &other),
                Rule::Selector => pod["spec"]["nodeSelector"] = json!({"tier": "fast"}),
                Rule::Zone => {
                    let expression = json!({"key": ZONE, "operator": "NotIn", "values": ["dc-0"]});
                    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                        json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
                }
                Rule::HostPort => {
                    pod["spec"]["containers"][0]["ports"] =
                        json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]);
                }
                Rule::Claim(class) => {
                    let claim = claim(self.namespace, name, class, random.percent(10));
                    pod["spec"]["volumes"] =
                        json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}]);
                    if !objects
                        .iter()
                        .any(|object| object["kind"] == claim["kind"] && full_name(object) == full_name(&claim))
                    {
                        objects.push(claim);
                    }
                }
            }
        }
        // The API server refuses two with one key.
        spread.dedup_by(|one, other| one["topologyKey"] == other["topologyKey"]);
        if spread.len() == 3 || spread.len() == 2 && spread[0]["topologyKey"] == spread[1]["topologyKey"] {
            spread.truncate(1);
        }
        if !spread.is_empty() {
            pod["spec"]["topologySpreadConstraints"] = json!(spread);
        }
        pod
    }
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}})
}

fn offering(id: &str, cores: i64, mebibytes: i64, price: f64) -> Value {
    json!({"id": id, "name": id, "cpu": cores, "ram": mebibytes, "disk": 20 * cores, "hourly_price": price})
}

fn storage_class(name: &str, topologies: &Value) -> Value {
    let mut class = json!({
        "metadata": {"name": name}, "provisioner": DRIVER, "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    if !topologies.is_null() {
        class["allowedTopologies"] = topologies.clone();
    }
    stamp(&mut class, "storage.k8s.io/v1", "StorageClass");
    class
}

/// A claim of one pod, or one that pods share.
fn claim(namespace: &str, pod: &str, class: &str, shared: bool) -> Value {
    let name = if shared {
        format!("shared-{class}")
    } else {
        format!("data-{pod}")
    };
    let mut claim = json!({
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}")},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": class, "volumeMode": "Filesystem",
        },
        "status": {"phase": "Pending"},
    });
    stamp(&mut claim, "v1", "PersistentVolumeClaim");
    claim
}

fn group(random: &mut Random, index: usize) -> Value {
    let mut offerings: Vec<_> = SIZES.iter().map(|(id, ..)| *id).collect();
    if random.percent(50) {
        offerings.remove(random.below(offerings.len()));
    }
    let mut group = json!({
        "metadata": {"name": format!("g{index}"), "namespace": "default", "labels": {format!("{PREFIX}/managed"): "true"}},
        "spec": {
            "minNodes": random.weighted(&[(6, 0), (1, 1)]), "maxNodes": random.between(2, 20),
            "datacenterID": format!("dc-{}", random.below(3)), "offeringIDs": offerings,
        },
    });
    if random.percent(50) {
        group["spec"]["labels"] = json!({"tier": random.one_of(&["fast", "slow"])});
    }
    if random.percent(25) {
        group["spec"]["taints"] = json!([{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]);
    }
    stamp(&mut group, &format!("{PREFIX}/v1alpha1"), "NodeGroup");
    group
}

fn daemon_set(random: &mut Random, index: usize) -> Value {
    let mut container = json!({"name": "main", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}});
    if random.percent(30) {
        let port = [80, 9100][random.below(2)] + index;
        container["ports"] = json!([{"containerPort": port, "hostPort": port, "protocol": "TCP"}]);
    }
    let mut spec = json!({"containers": [container]});
    if random.percent(40) {
        spec["tolerations"] = json!([{"operator": "Exists"}]);
    }
    if random.percent(30) {
        spec["nodeSelector"] = json!({"tier": "fast"});
    }
    let labels = json!({"app": if random.percent(30) { "app-0".to_owned() } else { format!("agent-{index}") }});
    let mut daemon_set = json!({
        "metadata": {"name": format!("agent-{index}"), "namespace": "default", "uid": format!("uid-agent-{index}")},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    });
    stamp(&mut daemon_set, "apps/v1", "DaemonSet");
    daemon_set
}

/// A Ready node of one of the groups.
fn existing_node(random: &mut Random, index: usize, groups: &[Value]) -> Value {
    let group = random.pick(groups);
    let offerings = group["spec"]["offeringIDs"].as_array().cloned().unwrap_or_default();
    let offering = random.pick(&offerings).as_str().unwrap_or_default();
    let cores = SIZES
        .iter()
        .find(|(id, ..)| *id == offering)
        .map_or(0, |(_, cores, _)| *cores);
    let name = format!("n{index}");
    let mut labels = group["spec"]["labels"].as_object().cloned().unwrap_or_default();
    for (key, value) in [
        (format!("{PREFIX}/managed"), json!("true")),
        (format!("{PREFIX}/nodegroup"), group["metadata"]["name"].clone()),
        (format!("{PREFIX}/nodegroup-namespace"), json!("default")),
        (format!("{PREFIX}/offering"), json!(offering)),
        (ZONE.to_owned(), group["spec"]["datacenterID"].clone()),
        (HOSTNAME.to_owned(), json!(name)),
    ] {
        labels.insert(key, value);
    }
    let mut node = json!({
        "metadata": {"name": name, "labels": labels, "creationTimestamp": format!("2026-01-01T00:00:0{index}Z")},
        "spec": {"taints": group["spec"]["taints"]},
        "status": {
            "allocatable": {
                "cpu": format!("{}m", cores * 1000 - 150), "memory": format!("{}Mi", cores * 3900),
                "ephemeral-storage": "18Gi", "pods": if random.percent(20) { "8" } else { "110" },
            },
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    if node["spec"]["taints"].is_null() {
        node["spec"]["taints"] = json!([]);
    }
    if random.percent(8) {
        node["spec"]["unschedulable"] = json!(true);
    }
    stamp(&mut node, "v1", "Node");
    node
}

/// A VPSieNode whose Node has not appeared.
fn machine(random: &mut Random, index: usize, groups: &[Value]) -> Value {
    let group = random.pick(groups);
    let offerings = group["spec"]["offeringIDs"].as_array().cloned().unwrap_or_default();
    let mut machine = json!({
        "metadata": {"name": format!("coming-{index}"), "namespace": "default"},
        "spec": {
            "nodeGroupName": group["metadata"]["name"], "instanceType": random.pick(&offerings),
            "datacenterID": group["spec"]["datacenterID"],
        },
        "status": {"phase": "Provisioning", "phaseSince": "2026-01-01T11:59:00Z"},
    });
    stamp(&mut machine, &format!("{PREFIX}/v1alpha1"), "VPSieNode");
    machine
}

/// A pod that the scheduler found no place for.
fn pending(namespace: &str, name: &str, labels: &Value, requests: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{namespace}-{name}"), "labels": labels},
        "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]},
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
        },
    });
    stamp(&mut pod, "v1", "Pod");
    pod
}

fn spread_term(key: &str, selector: &Value) -> Value {
    json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector})
}

fn affinity_terms(key: &str, selector: &Value) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key, "labelSelector": selector}]})
}
