//! The storage of a random cluster: classes, volumes and claims in every state that a plugin tells apart.

use serde_json::Value;
use serde_json::json;

use super::cluster::CORES;
use super::cluster::DISK;
use super::cluster::HOSTNAME;
use super::cluster::NAMESPACES;
use super::cluster::REGION;
use super::cluster::ZONE;
use super::cluster::stamp;
use super::random::Random;

/// The CSI drivers.
const DRIVERS: [&str; 2] = ["csi-a", "csi-b"];

/// Claims that pods may mount: what the claim is for, its namespace and its name.
#[derive(Debug)]
pub struct Claims {
    list: Vec<(Purpose, String, String)>,
}

/// What a claim is meant to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Only one pod may use it.
    Exclusive,
    /// It counts against an attach limit.
    Attached,
    /// It can be used on some nodes only, or its state is not good.
    Binding,
    /// Its volume has zone labels.
    Zone,
}

struct Maker<'m> {
    random: &'m mut Random,
    nodes: &'m [String],
    objects: &'m mut Vec<Value>,
    next: usize,
}

impl Claims {
    /// Makes storage classes, volumes and claims.
    pub fn new(random: &mut Random, nodes: &[String], objects: &mut Vec<Value>) -> Self {
        classes(random, objects);
        let mut maker = Maker {
            random,
            nodes,
            objects,
            next: 0,
        };
        let mut list = Vec::new();
        for (purpose, most) in [
            (Purpose::Exclusive, 2),
            (Purpose::Attached, 6),
            (Purpose::Binding, 6),
            (Purpose::Zone, 3),
        ] {
            for _ in 0..maker.random.between(1, most) {
                let (namespace, name) = maker.claim(purpose);
                list.push((purpose, namespace, name));
            }
        }
        for _ in 0..maker.random.below(4) {
            maker.free_volume();
        }
        Self { list }
    }

    /// The name of a claim of this namespace and purpose, rarely of one that does not exist.
    pub fn pick(&self, random: &mut Random, purpose: Purpose, namespace: &str) -> Option<String> {
        let suits = |(of, space, _): &&(Purpose, String, String)| *of == purpose && space == namespace;
        let names: Vec<_> = self
            .list
            .iter()
            .filter(suits)
            .map(|(_, _, name)| name.clone())
            .collect();
        if random.percent(2) {
            return Some("absent".to_owned());
        }
        (!names.is_empty()).then(|| random.pick(&names).clone())
    }

    /// The namespaces that have a claim of this purpose.
    pub fn namespaces(&self, purpose: Purpose) -> Vec<&str> {
        let of_purpose = self.list.iter().filter(|(of, _, _)| *of == purpose);
        of_purpose.map(|(_, namespace, _)| namespace.as_str()).collect()
    }
}

/// The CSINode of a node, when it has one.
pub fn csi_node(random: &mut Random, name: &str) -> Option<Value> {
    if random.percent(10) {
        return None;
    }
    let mut drivers = Vec::new();
    for driver in DRIVERS {
        if random.percent(85) {
            let mut entry = json!({"name": driver, "nodeID": name, "topologyKeys": [ZONE]});
            if random.percent(85) {
                let count = random.weighted(&[(1, 0), (3, 1), (4, 2), (2, 3), (1, 30)]);
                entry["allocatable"] = json!({"count": count});
            } else if random.percent(50) {
                entry["allocatable"] = json!({});
            }
            drivers.push(entry);
        }
    }
    let mut object = json!({"metadata": {"name": name}, "spec": {"drivers": drivers}});
    stamp(&mut object, "storage.k8s.io/v1", "CSINode");
    Some(object)
}

fn classes(random: &mut Random, objects: &mut Vec<Value>) {
    let mut class = |name: &str, provisioner: &str, mode: &str, topologies: Value| {
        let mut object = json!({
            "metadata": {"name": name},
            "provisioner": provisioner,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": mode,
        });
        if !topologies.is_null() {
            object["allowedTopologies"] = topologies;
        }
        stamp(&mut object, "storage.k8s.io/v1", "StorageClass");
        objects.push(object);
    };
    let zone = |zones: &[&str]| json!({"matchLabelExpressions": [{"key": ZONE, "values": zones}]});
    class("immediate", DRIVERS[0], "Immediate", Value::Null);
    class("wait", DRIVERS[0], "WaitForFirstConsumer", Value::Null);
    class("wait-b", DRIVERS[1], "WaitForFirstConsumer", Value::Null);
    class(
        "local",
        "kubernetes.io/no-provisioner",
        "WaitForFirstConsumer",
        Value::Null,
    );
    let topologies = match random.below(4) {
        0 => json!([zone(&["z0"])]),
        1 => json!([zone(&["z0", "z1"])]),
        2 => json!([zone(&["z0"]), zone(&["z2"])]),
        _ => json!([{"matchLabelExpressions": [
            {"key": ZONE, "values": ["z0", "z1"]}, {"key": DISK, "values": ["ssd"]},
        ]}]),
    };
    class("zones", DRIVERS[0], "WaitForFirstConsumer", topologies);
}

impl Maker<'_> {
    fn name(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    /// A claim for this purpose, with its volume when it has one.
    fn claim(&mut self, purpose: Purpose) -> (String, String) {
        let name = self.name("claim");
        let namespace = self.random.one_of(&NAMESPACES[..2]).to_owned();
        let id = (namespace.as_str(), name.as_str());
        match purpose {
            Purpose::Exclusive => {
                let affinity = Value::Null;
                self.bound(id, "ReadWriteOncePod", affinity, json!({}));
            }
            Purpose::Attached => {
                if self.random.percent(75) {
                    self.bound(id, "ReadWriteOnce", Value::Null, json!({}));
                } else {
                    let class = self.random.one_of(&["wait", "wait-b"]);
                    self.unbound(id, class);
                }
            }
            Purpose::Zone => {
                let labels = self.zone_labels();
                self.bound(id, "ReadWriteOnce", Value::Null, labels);
            }
            Purpose::Binding => self.binding(id),
        }
        (namespace, name)
    }

    fn binding(&mut self, id: (&str, &str)) {
        match self.random.below(20) {
            0..=6 => {
                let affinity = self.volume_affinity();
                self.bound(id, "ReadWriteOnce", affinity, json!({}));
            }
            7 => self.unbound(id, "immediate"),
            8..=10 => self.unbound(id, "zones"),
            11 => self.unbound(id, "wait"),
            12..=14 => self.unbound(id, "local"),
            15 => {
                self.unbound(id, "wait");
                let node = self.random.pick(self.nodes).clone();
                self.last()["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": node});
            }
            16 => {
                self.bound(id, "ReadWriteOnce", Value::Null, json!({}));
                self.last()["status"]["phase"] = json!("Lost");
            }
            17 => {
                self.bound(id, "ReadWriteOnce", Value::Null, json!({}));
                self.last()["metadata"]["deletionTimestamp"] = json!("2026-01-01T11:59:00Z");
                self.last()["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
            }
            18 => {
                // The volume is chosen, and the claim is not bound to it yet.
                self.unbound(id, "wait");
                self.last()["spec"]["volumeName"] = json!("chosen");
            }
            _ => {
                self.bound(id, "ReadWriteOnce", Value::Null, json!({}));
                self.last()["spec"]["volumeName"] = json!("gone");
            }
        }
    }

    fn last(&mut self) -> &mut Value {
        self.objects.last_mut().expect("a claim was made")
    }

    /// A claim that is bound to a volume of its own.
    fn bound(&mut self, (namespace, name): (&str, &str), mode: &str, affinity: Value, labels: Value) {
        let volume = self.name("volume");
        let mut object = self.volume(&volume, "immediate", mode, affinity, labels);
        object["spec"]["claimRef"] = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"),
        });
        object["status"] = json!({"phase": "Bound"});
        self.objects.push(object);
        let mut claim = claim(namespace, name, mode);
        claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
        claim["spec"]["storageClassName"] = json!("immediate");
        claim["spec"]["volumeName"] = json!(volume);
        claim["status"] = json!({"phase": "Bound", "accessModes": [mode], "capacity": {"storage": "1Gi"}});
        self.objects.push(claim);
    }

    /// A claim without a volume.
    fn unbound(&mut self, (namespace, name): (&str, &str), class: &str) {
        let mut claim = claim(namespace, name, "ReadWriteOnce");
        claim["spec"]["storageClassName"] = json!(class);
        claim["spec"]["resources"]["requests"]["storage"] = json!(self.random.one_of(&["1Gi", "2Gi", "5G"]));
        if self.random.percent(10) {
            claim["spec"]["volumeMode"] = json!("Block");
        }
        if self.random.percent(20) {
            let tier = self.random.one_of(&["gold", "silver"]);
            claim["spec"]["selector"] = json!({"matchLabels": {"tier": tier}});
        }
        if self.random.percent(5) {
            claim["spec"]["volumeAttributesClassName"] = json!("fast");
        }
        claim["status"] = json!({"phase": "Pending"});
        self.objects.push(claim);
    }

    /// A volume that nobody has yet, or that is kept for some claim.
    fn free_volume(&mut self) {
        let name = self.name("volume");
        let affinity = if self.random.percent(80) {
            self.volume_affinity()
        } else {
            Value::Null
        };
        let class = self.random.weighted(&[(5, "local"), (1, "zones")]);
        let labels = match self.random.below(4) {
            0 => json!({}),
            1 => json!({"tier": "silver"}),
            _ => json!({"tier": "gold"}),
        };
        let mut volume = self.volume(&name, class, "ReadWriteOnce", affinity, labels);
        if self.random.percent(5) {
            volume["spec"]["volumeAttributesClassName"] = json!("fast");
        }
        volume["spec"]["capacity"]["storage"] = json!(self.random.one_of(&["1Gi", "3Gi", "10Gi"]));
        volume["status"] = json!({"phase": "Available"});
        match self.random.below(12) {
            0 => volume["status"] = json!({"phase": "Released"}),
            1 => volume["spec"]["volumeMode"] = json!("Block"),
            2 => volume["spec"]["accessModes"] = json!(["ReadOnlyMany", "ReadWriteOnce"]),
            3 => volume["spec"]["accessModes"] = json!(["ReadOnlyMany"]),
            4 => {
                volume["metadata"]["deletionTimestamp"] = json!("2026-01-01T11:59:00Z");
                volume["metadata"]["finalizers"] = json!(["kubernetes.io/pv-protection"]);
            }
            5 | 6 => {
                let unbound: Vec<_> = self
                    .objects
                    .iter()
                    .filter(|object| {
                        object["kind"] == "PersistentVolumeClaim" && object["status"]["phase"] == "Pending"
                    })
                    .map(|claim| claim["metadata"].clone())
                    .collect();
                if !unbound.is_empty() {
                    let claim = self.random.pick(&unbound).clone();
                    let mut reference = json!({"namespace": claim["namespace"], "name": claim["name"]});
                    if self.random.percent(30) {
                        reference["uid"] = claim["uid"].clone();
                    } else if self.random.percent(30) {
                        reference["uid"] = json!("of-an-earlier-claim");
                    }
                    volume["spec"]["claimRef"] = reference;
                }
            }
            _ => {}
        }
        self.objects.push(volume);
    }

    fn volume(&mut self, name: &str, class: &str, mode: &str, affinity: Value, labels: Value) -> Value {
        let mut object = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": [mode],
                "storageClassName": class,
                "volumeMode": "Filesystem",
                "persistentVolumeReclaimPolicy": "Delete",
            },
        });
        if class == "local" || self.random.percent(5) {
            object["spec"]["local"] = json!({"path": "/mnt"});
        } else {
            // Two volumes with one handle are one volume to the driver.
            let handle = if self.random.percent(8) { "shared" } else { name };
            object["spec"]["csi"] = json!({"driver": self.random.one_of(&DRIVERS), "volumeHandle": handle});
        }
        if !affinity.is_null() {
            object["spec"]["nodeAffinity"] = json!({"required": affinity});
        }
        stamp(&mut object, "v1", "PersistentVolume");
        object
    }

    fn volume_affinity(&mut self) -> Value {
        let random = &mut *self.random;
        let term = match random.below(6) {
            0 | 1 => json!({"key": ZONE, "operator": "In", "values": [random.one_of(&["z0", "z1", "z2"])]}),
            2 | 3 => json!({"key": HOSTNAME, "operator": "In", "values": [random.pick(self.nodes)]}),
            4 => json!({"key": DISK, "operator": "NotIn", "values": ["hdd"]}),
            _ => json!({"key": CORES, "operator": "Gt", "values": ["4"]}),
        };
        let mut terms = vec![json!({"matchExpressions": [term]})];
        if random.percent(20) {
            terms.push(json!({"matchExpressions": [{"key": REGION, "operator": "Exists"}]}));
        }
        json!({"nodeSelectorTerms": terms})
    }

    fn zone_labels(&mut self) -> Value {
        let zones = self.random.one_of(&["z0", "z1", "z0__z1", "z1__z2", "z0__", "z9"]);
        let key = self
            .random
            .weighted(&[(4, ZONE), (2, "failure-domain.beta.kubernetes.io/zone"), (1, REGION)]);
        let value = if key == REGION {
            self.random.one_of(&["r0", "r1"])
        } else {
            zones
        };
        let mut labels = json!({ key: value });
        if self.random.percent(20) {
            labels["failure-domain.beta.kubernetes.io/region"] = json!(self.random.one_of(&["r0", "r1"]));
        }
        labels
    }
}

fn claim(namespace: &str, name: &str, mode: &str) -> Value {
    let mut object = json!({
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}")},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeMode": "Filesystem",
        },
    });
    stamp(&mut object, "v1", "PersistentVolumeClaim");
    object
}
