//! The pods of a random cluster: bound and pending ones, each with one or two things that a plugin looks at.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::cluster::CORES;
use super::cluster::DISK;
use super::cluster::GPU;
use super::cluster::KEYS;
use super::cluster::NAMESPACES;
use super::cluster::RACK;
use super::cluster::REGION;
use super::cluster::ZONE;
use super::cluster::stamp;
use super::cluster::text;
use super::random::Random;
use super::volumes::Claims;
use super::volumes::Purpose;

/// What a pod is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Nothing but small requests.
    Plain,
    /// Requests of every kind.
    Resources,
    /// `spec.nodeSelector`.
    NodeSelector,
    /// Required node affinity.
    NodeAffinity,
    /// Tolerations.
    Tolerations,
    /// Host ports.
    Ports,
    /// Disks that the pod names itself.
    Disks,
    /// Claims.
    Claims(Purpose),
    /// Claims that are made for the pod.
    Ephemeral,
    /// Topology spread constraints.
    Spread,
    /// Affinity to pods.
    Affinity,
    /// Anti-affinity to pods.
    AntiAffinity,
}

/// How often a pod is about what. Plugins that are asked late have to come more often, since others said no before.
const THEMES: [(usize, Theme); 15] = [
    (4, Theme::Plain),
    (6, Theme::Resources),
    (2, Theme::NodeSelector),
    (6, Theme::NodeAffinity),
    (4, Theme::Tolerations),
    (14, Theme::Ports),
    (25, Theme::Disks),
    (5, Theme::Claims(Purpose::Exclusive)),
    (10, Theme::Claims(Purpose::Attached)),
    (6, Theme::Claims(Purpose::Binding)),
    (6, Theme::Claims(Purpose::Zone)),
    (1, Theme::Ephemeral),
    (30, Theme::Spread),
    (9, Theme::Affinity),
    (16, Theme::AntiAffinity),
];

impl Theme {
    /// One of them.
    pub fn any(random: &mut Random) -> Self {
        random.weighted(&THEMES)
    }
}

/// What a pod may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Names of nodes.
    pub nodes: &'a [String],
    /// Claims.
    pub claims: &'a Claims,
    /// What half of the pods are about, so that they meet.
    pub focus: Theme,
    /// Whether there are pods for which preemption keeps room. Where there are, no spread constraint selects all pods:
    /// kube-scheduler counts no pod for such a constraint, but it does count these.
    pub nominees: bool,
}

/// One pod. Claims that are made for it are added to the objects.
pub fn pod(random: &mut Random, index: usize, around: Surroundings<'_>, objects: &mut Vec<Value>) -> Value {
    let theme = if random.percent(50) {
        around.focus
    } else {
        Theme::any(random)
    };
    let namespace = match theme {
        // Most claims should be found.
        Theme::Claims(purpose) => random.pick(&around.claims.namespaces(purpose)).to_string(),
        _ => random
            .weighted(&[
                (6, NAMESPACES[0]),
                (3, NAMESPACES[1]),
                (1, NAMESPACES[2]),
                (1, NAMESPACES[3]),
            ])
            .to_owned(),
    };
    let name = format!("p{index}");
    let labels = labels(random);
    let mut pod = json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "labels": labels},
        "spec": {"containers": [{"name": "main", "resources": {}}]},
        "status": {"phase": "Pending"},
    });
    state(random, &mut pod, around);
    if random.percent(80) {
        let cpu = random.one_of(&["50m", "100m", "0.1", "250m"]);
        let memory = random.one_of(&["64Mi", "100M", "128Mi", "1e8"]);
        pod["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": cpu, "memory": memory});
    }
    apply(random, theme, &mut pod, around, objects);
    if random.percent(25) {
        let second = Theme::any(random);
        if second != theme {
            apply(random, second, &mut pod, around, objects);
        }
    }
    if random.percent(3) {
        pod["spec"]["schedulingGates"] = json!([{"name": "example.com/gate"}]);
    }
    pod
}

/// Where the pod is in its life.
fn state(random: &mut Random, pod: &mut Value, around: Surroundings<'_>) {
    if random.percent(45) {
        let unknown = random.percent(3);
        pod["spec"]["nodeName"] = json!(if unknown { "gone" } else { random.pick(around.nodes) });
        pod["status"]["phase"] = json!(random.weighted(&[
            (80, "Running"),
            (10, "Pending"),
            (4, "Succeeded"),
            (4, "Failed"),
            (2, "Unknown"),
        ]));
    } else if around.nominees && random.percent(30) {
        pod["status"]["nominatedNodeName"] = json!(random.pick(around.nodes));
    }
    // A pod that was never bound is gone at once when it is deleted.
    if !pod["spec"]["nodeName"].is_null() && random.percent(10) {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T12:00:10Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    }
    if random.percent(40) {
        pod["spec"]["priority"] = json!(random.weighted(&[(1, -10), (3, 0), (3, 10), (1, 1_000_000)]));
    }
    // Most pods look over taints and cordons that are not what their case is about.
    if random.percent(70) {
        pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    }
}

fn labels(random: &mut Random) -> Value {
    let mut labels = Map::new();
    labels.insert("app".to_owned(), json!(random.one_of(&["web", "db", "cache"])));
    if random.percent(50) {
        labels.insert("track".to_owned(), json!(random.one_of(&["stable", "canary"])));
    }
    if random.percent(70) {
        labels.insert("version".to_owned(), json!(random.one_of(&["1", "2"])));
    }
    json!(labels)
}

fn apply(random: &mut Random, theme: Theme, pod: &mut Value, around: Surroundings<'_>, objects: &mut Vec<Value>) {
    match theme {
        Theme::Plain => {}
        Theme::Resources => resources(random, pod),
        Theme::NodeSelector => pod["spec"]["nodeSelector"] = node_selector(random),
        Theme::NodeAffinity => {
            let terms: Vec<_> = (0..random.between(1, 2))
                .map(|_| node_term(random, around.nodes))
                .collect();
            pod["spec"]["affinity"]["nodeAffinity"] =
                json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
            if random.percent(15) {
                pod["spec"]["nodeSelector"] = node_selector(random);
            }
        }
        Theme::Tolerations => {
            let tolerations: Vec<_> = (0..random.between(1, 3)).map(|_| toleration(random)).collect();
            pod["spec"]["tolerations"] = json!(tolerations);
        }
        Theme::Ports => ports(random, pod),
        Theme::Disks => {
            for _ in 0..random.between(1, 2) {
                let disk = disk(random);
                add_volume(pod, disk);
            }
        }
        Theme::Claims(purpose) => {
            let namespace = text(pod, "/metadata/namespace").to_owned();
            let most = if purpose == Purpose::Attached { 3 } else { 1 };
            for _ in 0..random.between(1, most) {
                if let Some(name) = around.claims.pick(random, purpose, &namespace) {
                    add_volume(pod, json!({"persistentVolumeClaim": {"claimName": name}}));
                }
            }
        }
        Theme::Ephemeral => ephemeral(random, pod, objects),
        Theme::Spread => {
            let constraints: Vec<_> = (0..random.between(1, 2)).map(|_| spread(random, pod, around)).collect();
            // The API server refuses two with one key and one action.
            let mut distinct: Vec<Value> = Vec::new();
            for constraint in constraints {
                let same = |other: &Value| {
                    other["topologyKey"] == constraint["topologyKey"]
                        && other["whenUnsatisfiable"] == constraint["whenUnsatisfiable"]
                };
                if !distinct.iter().any(same) {
                    distinct.push(constraint);
                }
            }
            pod["spec"]["topologySpreadConstraints"] = json!(distinct);
            // What the policies of a constraint tell apart: nodes that the pod cannot use.
            if random.percent(15) {
                pod["spec"]["nodeSelector"] = node_selector(random);
            }
            if random.percent(15) {
                pod["spec"]["tolerations"] = json!([]);
            }
        }
        Theme::Affinity => affinity(random, pod, "podAffinity"),
        Theme::AntiAffinity => affinity(random, pod, "podAntiAffinity"),
    }
}

/// Requests in every place that counts: containers, sidecars, init containers, the pod as a whole, overhead, and what
/// the node holds during a resize.
fn resources(random: &mut Random, pod: &mut Value) {
    let main = requests(random, 80);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": main});
    if random.percent(30) {
        let second = requests(random, 40);
        let container = json!({"name": "second", "resources": {"requests": second}});
        pod["spec"]["containers"]
            .as_array_mut()
            .expect("a list")
            .push(container);
    }
    if random.percent(45) {
        let container = |random: &mut Random, index: usize| {
            let mut container =
                json!({"name": format!("init{index}"), "resources": {"requests": requests(random, 60)}});
            if random.percent(50) {
                container["restartPolicy"] = json!("Always");
            }
            container
        };
        let containers: Vec<_> = (0..random.between(1, 3))
            .map(|index| container(random, index))
            .collect();
        pod["spec"]["initContainers"] = json!(containers);
    }
    if random.percent(20) {
        pod["spec"]["overhead"] = json!({"cpu": "250m", "memory": "120Mi"});
    }
    if random.percent(20) {
        // At least what the containers request, or the API server refuses it.
        let mut whole = json!({"cpu": random.one_of(&["9", "12"]), "memory": random.one_of(&["30Gi", "40Gi"])});
        if random.percent(70) {
            whole = json!({"cpu": "3", "memory": "3Gi"});
            let small = json!({"cpu": "10m", "memory": "16Mi"});
            for list in ["containers", "initContainers"] {
                for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
                    container["resources"] = json!({"requests": small});
                }
            }
        }
        if random.percent(30) {
            whole.as_object_mut().expect("an object").remove("memory");
        }
        pod["spec"]["resources"] = json!({"requests": whole});
    }
    if !pod["spec"]["nodeName"].is_null() && random.percent(25) {
        resize(random, pod);
    }
}

/// A resize in place that the kubelet has not finished, or cannot do.
fn resize(random: &mut Random, pod: &mut Value) {
    let mut status = json!({"name": "main", "ready": true});
    if random.percent(80) {
        status["resources"] = json!({"requests": requests(random, 60)});
    }
    if random.percent(80) {
        status["allocatedResources"] = requests(random, 60);
    }
    pod["status"]["containerStatuses"] = json!([status]);
    if random.percent(50) {
        let reason = random.one_of(&["Infeasible", "Deferred"]);
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
    }
}

fn requests(random: &mut Random, large: usize) -> Value {
    let mut requests = Map::new();
    let mut request = |name: &str, amount: &str| requests.insert(name.to_owned(), json!(amount));
    let much = random.percent(large);
    if random.percent(70) {
        let small = ["100m", "0.3", "1"];
        request(
            "cpu",
            random.one_of(if much { &["1500m", "2", "3.9", "4"] } else { &small }),
        );
    }
    if random.percent(60) {
        let small = ["64Mi", "200M", "1Gi"];
        request(
            "memory",
            random.one_of(if much { &["2Gi", "3900Mi", "4G", "4e9"] } else { &small }),
        );
    }
    if random.percent(25) {
        request("ephemeral-storage", random.one_of(&["1Gi", "8Gi", "15G", "1500Mi"]));
    }
    if random.percent(20) {
        request(GPU, random.one_of(&["1", "2"]));
    }
    if random.percent(10) {
        request("hugepages-2Mi", random.one_of(&["32Mi", "256Mi"]));
    }
    if random.percent(5) {
        request("example.com/rare", random.one_of(&["0", "1"]));
    }
    json!(requests)
}

fn node_selector(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({DISK: random.one_of(&["ssd", "hdd"])}),
        1 => json!({ZONE: random.one_of(&["z0", "z1", "z2"])}),
        2 => json!({DISK: "ssd", ZONE: random.one_of(&["z0", "z1"])}),
        _ => json!({RACK: random.one_of(&["a", "b"])}),
    }
}

fn node_term(random: &mut Random, nodes: &[String]) -> Value {
    let mut term = json!({});
    if random.percent(20) {
        let operator = random.weighted(&[(3, "In"), (1, "NotIn")]);
        let name = if random.percent(5) {
            "absent"
        } else {
            random.pick(nodes)
        };
        term["matchFields"] = json!([{"key": "metadata.name", "operator": operator, "values": [name]}]);
    }
    if term["matchFields"].is_null() || random.percent(40) {
        let requirements: Vec<_> = (0..random.between(1, 2)).map(|_| node_requirement(random)).collect();
        term["matchExpressions"] = json!(requirements);
    }
    if random.percent(2) {
        return json!({});
    }
    term
}

fn node_requirement(random: &mut Random) -> Value {
    match random.below(8) {
        0 => json!({"key": ZONE, "operator": "In", "values": [random.one_of(&["z0", "z1"]), "z2"]}),
        1 => json!({"key": DISK, "operator": "NotIn", "values": [random.one_of(&["ssd", "hdd"])]}),
        2 => json!({"key": random.one_of(&[RACK, REGION, DISK]), "operator": "Exists"}),
        3 => json!({"key": random.one_of(&[RACK, REGION, DISK]), "operator": "DoesNotExist"}),
        4 => json!({"key": DISK, "operator": "In", "values": ["ssd"]}),
        5 | 6 => json!({"key": CORES, "operator": "Gt", "values": [random.one_of(&["4", "7", "08", "8"])]}),
        _ => json!({"key": CORES, "operator": "Lt", "values": [random.one_of(&["8", "9", "17", "5"])]}),
    }
}

fn toleration(random: &mut Random) -> Value {
    let mut toleration = json!({});
    let key = random.weighted(&[
        (4, "dedicated"),
        (3, "maintenance"),
        (3, "node.kubernetes.io/unschedulable"),
        (2, "node.kubernetes.io/not-ready"),
        (2, ""),
    ]);
    if !key.is_empty() {
        toleration["key"] = json!(key);
    }
    // An empty key needs the operator Exists.
    if key.is_empty() || random.percent(50) {
        toleration["operator"] = json!("Exists");
    } else {
        if random.percent(50) {
            toleration["operator"] = json!("Equal");
        }
        if random.percent(80) {
            toleration["value"] = json!(random.one_of(&["web", "gpu"]));
        }
    }
    if random.percent(55) {
        toleration["effect"] = json!(random.one_of(&["NoSchedule", "NoExecute", "PreferNoSchedule"]));
        if toleration["effect"] == "NoExecute" && random.percent(30) {
            toleration["tolerationSeconds"] = json!(300);
        }
    }
    toleration
}

fn ports(random: &mut Random, pod: &mut Value) {
    let host_network = random.percent(15);
    let port = |random: &mut Random| {
        let number = random.one_of(&[&80, &80, &443]);
        let mut port = json!({
            "containerPort": if host_network { *number } else { 8080 },
            "hostPort": number,
            "protocol": random.weighted(&[(8, "TCP"), (2, "UDP"), (1, "SCTP")]),
        });
        if random.percent(35) {
            port["hostIP"] = json!(random.one_of(&["10.0.0.1", "10.0.0.2", "0.0.0.0", "::"]));
        }
        port
    };
    let ports: Vec<_> = (0..random.between(1, 3)).map(|_| port(random)).collect();
    if host_network {
        pod["spec"]["hostNetwork"] = json!(true);
    }
    if random.percent(15) {
        let mut container = json!({"name": "with-port", "resources": {}, "ports": ports});
        if random.percent(60) {
            container["restartPolicy"] = json!("Always");
        }
        pod["spec"]["initContainers"] = json!([container]);
    } else {
        pod["spec"]["containers"][0]["ports"] = json!(ports);
    }
}

/// A disk that the pod names itself.
fn disk(random: &mut Random) -> Value {
    let name = random.weighted(&[(4, "disk-1"), (1, "disk-2")]);
    let read_only = random.percent(25);
    match random.below(4) {
        0 => json!({"gcePersistentDisk": {"pdName": name, "readOnly": read_only}}),
        1 => json!({"awsElasticBlockStore": {"volumeID": name, "readOnly": read_only}}),
        2 => {
            let pool = random.one_of(&["rbd", "fast"]);
            let monitors: &[&str] = [&["a"][..], &["a", "b"], &["c"]][random.below(3)];
            json!({"rbd": {"monitors": monitors, "image": name, "pool": pool, "readOnly": read_only}})
        }
        _ => {
            let portal = random.one_of(&["10.0.0.1:3260", "10.0.0.2:3260"]);
            json!({"iscsi": {
                "targetPortal": portal, "iqn": format!("iqn.2026-01.example:{name}"),
                "lun": random.below(2), "readOnly": read_only,
            }})
        }
    }
}

fn add_volume(pod: &mut Value, mut volume: Value) {
    let volumes = &mut pod["spec"]["volumes"];
    if volumes.is_null() {
        *volumes = json!([]);
    }
    let volumes = volumes.as_array_mut().expect("a list");
    volume["name"] = json!(format!("v{}", volumes.len()));
    volumes.push(volume);
}

/// A volume whose claim is made for the pod: made already, not yet, or by somebody else.
fn ephemeral(random: &mut Random, pod: &mut Value, objects: &mut Vec<Value>) {
    let class = random.one_of(&["wait", "zones", "immediate"]);
    let spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": class,
        "volumeMode": "Filesystem",
    });
    add_volume(pod, json!({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}));
    let volume = pod["spec"]["volumes"]
        .as_array()
        .and_then(|volumes| volumes.last())
        .map(|volume| volume["name"].clone());
    let volume = volume.as_ref().and_then(Value::as_str).unwrap_or_default();
    let name = format!("{}-{volume}", text(pod, "/metadata/name"));
    // No other pod comes as far as a node.
    let may_wait = pod["spec"]["nodeName"].is_null() && pod["status"]["nominatedNodeName"].is_null();
    if may_wait && random.percent(30) {
        return;
    }
    let owner = if !may_wait || random.percent(75) {
        text(pod, "/metadata/uid")
    } else {
        "uid-of-another"
    };
    let mut claim = json!({
        "metadata": {
            "namespace": pod["metadata"]["namespace"], "name": name, "uid": format!("uid-{name}"),
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": owner, "controller": true},
            ],
        },
        "spec": spec,
        "status": {"phase": "Pending"},
    });
    stamp(&mut claim, "v1", "PersistentVolumeClaim");
    objects.push(claim);
}

fn spread(random: &mut Random, pod: &Value, around: Surroundings<'_>) -> Value {
    let key = random.weighted(&[(12, KEYS[0]), (8, KEYS[1]), (6, KEYS[2]), (1, KEYS[3])]);
    let action = random.weighted(&[(9, "DoNotSchedule"), (1, "ScheduleAnyway")]);
    let mut constraint = json!({
        "maxSkew": random.weighted(&[(4, 1), (1, 2)]),
        "topologyKey": key,
        "whenUnsatisfiable": action,
    });
    let mut selector = selector(random, pod, 75);
    if around.nominees && selector == json!({}) {
        selector = Value::Null;
    }
    if random.percent(20) && !selector.is_null() {
        constraint["matchLabelKeys"] = json!(["version"]);
        // Older API servers store the selector as it came.
        if random.percent(60) {
            merge(&mut selector, pod, "version", "In");
        }
    }
    if !selector.is_null() {
        constraint["labelSelector"] = selector;
    }
    if action == "DoNotSchedule" && random.percent(25) {
        constraint["minDomains"] = json!(random.between(1, 4));
    }
    if random.percent(30) {
        constraint["nodeAffinityPolicy"] = json!(random.weighted(&[(1, "Honor"), (2, "Ignore")]));
    }
    if random.percent(35) {
        constraint["nodeTaintsPolicy"] = json!(random.weighted(&[(3, "Honor"), (1, "Ignore")]));
    }
    constraint
}

fn affinity(random: &mut Random, pod: &mut Value, kind: &str) {
    let terms: Vec<_> = (0..random.between(1, 2)).map(|_| affinity_term(random, pod)).collect();
    pod["spec"]["affinity"][kind] = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
}

fn affinity_term(random: &mut Random, pod: &Value) -> Value {
    let key = random.weighted(&[(10, KEYS[0]), (10, KEYS[1]), (6, KEYS[2]), (1, KEYS[3])]);
    let mut term = json!({"topologyKey": key});
    let mut selector = selector(random, pod, 40);
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        if random.percent(12) && !selector.is_null() && pod.pointer("/metadata/labels/version").is_some() {
            term[field] = json!(["version"]);
            merge(&mut selector, pod, "version", operator);
            // A key may be in one of the two only.
            break;
        }
    }
    if !selector.is_null() {
        term["labelSelector"] = selector;
    }
    if random.percent(25) {
        let names: Vec<_> = (0..random.between(1, 2)).map(|_| random.one_of(&NAMESPACES)).collect();
        term["namespaces"] = json!(names);
    }
    if random.percent(30) {
        term["namespaceSelector"] = match random.below(6) {
            0 => json!({}),
            1 => json!({"matchLabels": {"team": "a"}}),
            2 => json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["b", "c"]}]}),
            3 => json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}),
            4 => json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}),
            _ => json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}),
        };
    }
    term
}

/// A selector of pods, so many times out of a hundred one that means the pod itself.
fn selector(random: &mut Random, pod: &Value, own: usize) -> Value {
    let app = text(pod, "/metadata/labels/app");
    if random.percent(own) {
        return json!({"matchLabels": {"app": app}});
    }
    match random.below(9) {
        0 | 1 => json!({"matchLabels": {"app": random.one_of(&["web", "db", "cache"])}}),
        2 => json!({"matchLabels": {"app": app, "track": random.one_of(&["stable", "canary"])}}),
        3 => json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}),
        4 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}),
        5 => json!({"matchExpressions": [{"key": "track", "operator": "Exists"}]}),
        6 => json!({"matchExpressions": [{"key": "track", "operator": "DoesNotExist"}]}),
        7 => json!({}),
        _ => Value::Null,
    }
}

/// Adds what the API server adds to a selector for a label key.
fn merge(selector: &mut Value, pod: &Value, key: &str, operator: &str) {
    let Some(value) = pod["metadata"]["labels"].get(key) else {
        return;
    };
    if selector["matchExpressions"].is_null() {
        selector["matchExpressions"] = json!([]);
    }
    let requirement = json!({"key": key, "operator": operator, "values": [value]});
    selector["matchExpressions"]
        .as_array_mut()
        .expect("a list")
        .push(requirement);
}
