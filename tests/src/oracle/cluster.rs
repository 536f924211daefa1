//! Random clusters: a few nodes, many pods and everything that Filter plugins look at, out of so few values that rules
//! meet each other all the time.
//!
//! Objects are as the API server stores them, with its defaults filled in where a plugin relies on them. What it would
//! refuse is not made.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::pods;
use super::pods::Surroundings;
use super::pods::Theme;
use super::random::Random;
use super::volumes;
use super::volumes::Claims;

/// The label of zones.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The label of regions.
pub const REGION: &str = "topology.kubernetes.io/region";
/// The label of hosts.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// A label of some nodes only.
pub const RACK: &str = "example.com/rack";
/// A label with numbers, and with a text that is none.
pub const CORES: &str = "example.com/cores";
/// A label with two values.
pub const DISK: &str = "disk";
/// An extended resource.
pub const GPU: &str = "example.com/gpu";
/// The topology keys that constraints name; no node has the last.
pub const KEYS: [&str; 4] = [ZONE, HOSTNAME, RACK, "example.com/nowhere"];
/// Namespaces of pods. Only the first three exist as objects.
pub const NAMESPACES: [&str; 4] = ["default", "shop", "bank", "lost"];

/// A cluster and the question about it.
#[derive(Clone, Debug)]
pub struct Case {
    /// All objects.
    pub objects: Vec<Value>,
    /// The pods to judge, as `namespace/name`.
    pub pods: Vec<String>,
}

impl Case {
    /// The cluster of this seed.
    pub fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let mut objects = namespaces(random);
        let names: Vec<String> = (0..random.between(3, 8)).map(|index| format!("n{index}")).collect();
        for name in &names {
            let node = node(random, name);
            objects.extend(volumes::csi_node(random, name));
            objects.push(node);
        }
        let claims = Claims::new(random, &names, &mut objects);
        let around = Surroundings {
            nodes: &names,
            claims: &claims,
            focus: Theme::any(random),
            nominees: random.percent(35),
        };
        let mut judged = Vec::new();
        for index in 0..random.between(8, 20) {
            let mut pod = pods::pod(random, index, around, &mut objects);
            // A bound pod teaches little: it belongs where it is and nowhere else. One in the middle of a resize asks for
            // something else than what it holds.
            let bound = pod.pointer("/spec/nodeName").is_some();
            let resized = pod.pointer("/status/containerStatuses").is_some();
            if !bound || !resized && random.percent(6) {
                judged.push(full_name(&pod));
            }
            stamp(&mut pod, "v1", "Pod");
            objects.push(pod);
        }
        Self { objects, pods: judged }
    }
}

/// Sets `apiVersion` and `kind`.
pub fn stamp(object: &mut Value, version: &str, kind: &str) {
    object["apiVersion"] = json!(version);
    object["kind"] = json!(kind);
}

/// The text at a JSON pointer; empty when there is none.
pub fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `namespace/name`, or the name of what has no namespace.
pub fn full_name(object: &Value) -> String {
    let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

fn namespaces(random: &mut Random) -> Vec<Value> {
    let namespace = |(name, team): (&&str, &str)| {
        let labels = if team.is_empty() {
            json!({})
        } else {
            json!({"team": team})
        };
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    };
    let teams = [random.one_of(&["a", "b", ""]), "a", "b"];
    NAMESPACES.iter().zip(teams).map(namespace).collect()
}

fn node(random: &mut Random, name: &str) -> Value {
    let mut labels = Map::new();
    let mut label = |key: &str, value: &str| labels.insert(key.to_owned(), json!(value));
    if random.percent(92) {
        label(HOSTNAME, if random.percent(5) { "n0" } else { name });
    }
    if random.percent(90) {
        let zone = random.below(3);
        label(ZONE, &format!("z{zone}"));
        if random.percent(60) {
            label(REGION, "r0");
        }
    } else if random.percent(50) {
        label("failure-domain.beta.kubernetes.io/zone", random.one_of(&["z0", "z1"]));
    }
    if random.percent(85) {
        label(RACK, random.one_of(&["a", "b"]));
    }
    if random.percent(80) {
        label(DISK, random.one_of(&["ssd", "hdd"]));
    }
    if random.percent(80) {
        label(CORES, random.one_of(&["4", "8", "16", "many", "4.5", "010"]));
    }
    let unschedulable = random.percent(7);
    let mut taints = taints(random);
    if unschedulable && random.percent(70) {
        taints.push(json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}));
    }
    let ready = !random.percent(8);
    if !ready {
        taints.push(json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}));
    }
    let mut spec = json!({});
    if unschedulable {
        spec["unschedulable"] = json!(true);
    }
    if !taints.is_empty() {
        spec["taints"] = json!(taints);
    }
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {
            "allocatable": allocatable(random),
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    })
}

fn taints(random: &mut Random) -> Vec<Value> {
    if !random.percent(22) {
        return Vec::new();
    }
    let taint = |random: &mut Random| {
        let mut taint = json!({
            "key": random.one_of(&["dedicated", "maintenance"]),
            "effect": random.weighted(&[(3, "NoSchedule"), (2, "NoExecute"), (2, "PreferNoSchedule")]),
        });
        if random.percent(70) {
            taint["value"] = json!(random.one_of(&["web", "gpu"]));
        }
        taint
    };
    (0..random.between(1, 2)).map(|_| taint(random)).collect()
}

fn allocatable(random: &mut Random) -> Value {
    let mut amounts = json!({
        "cpu": random.one_of(&["1", "2", "3900m", "4", "7500m"]),
        "memory": random.one_of(&["2Gi", "3900Mi", "4G", "8Gi", "15e9"]),
        "pods": if random.percent(10) { "2" } else { random.one_of(&["6", "10", "110"]) },
    });
    if random.percent(75) {
        amounts["ephemeral-storage"] = json!(random.one_of(&["10Gi", "20G", "1500Mi"]));
    }
    if random.percent(40) {
        amounts[GPU] = json!(random.one_of(&["1", "2", "4"]));
    }
    if random.percent(30) {
        amounts["hugepages-2Mi"] = json!(random.one_of(&["64Mi", "1Gi"]));
    }
    amounts
}
