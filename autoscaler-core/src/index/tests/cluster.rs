//! A cluster that changes at random, and an index that is told of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::objects::{Kind, NODES, Random, object, offerings, read};
use crate::{
    build::Input,
    index::Index,
    manifest::{
        autoscaler::{AutoscalerConfig, NodeGroup, VPSieNode},
        node::Node,
        pod::Pod,
        storage::{CsiNode, PersistentVolume, PersistentVolumeClaim, StorageClass},
        workload::{DaemonSet, Namespace, PodDisruptionBudget, PriorityClass},
    },
    provider::Offering,
};

/// The objects of a cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Cluster {
    /// By kind, namespace and name.
    objects: BTreeMap<(Kind, String, String), Value>,
    config: Option<Value>,
    own_node: Option<String>,
    offerings: usize,
}

/// The objects of a cluster as manifests, in some order.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    budgets: Vec<PodDisruptionBudget>,
    daemon_sets: Vec<DaemonSet>,
    priority_classes: Vec<PriorityClass>,
    volumes: Vec<PersistentVolume>,
    claims: Vec<PersistentVolumeClaim>,
    storage_classes: Vec<StorageClass>,
    csi_nodes: Vec<CsiNode>,
    namespaces: Vec<Namespace>,
    groups: Vec<NodeGroup>,
    machines: Vec<VPSieNode>,
    config: Option<AutoscalerConfig>,
    own_node: Option<String>,
    offerings: Vec<Offering>,
}

/// Kinds as often as they are to change.
const KINDS: [Kind; 30] = {
    use Kind::{
        Budget, Claim, CsiNode, DaemonSet, Group, Machine, Namespace, Node, Pod, PriorityClass, StorageClass, Volume,
    };
    [
        Pod,
        Pod,
        Pod,
        Pod,
        Pod,
        Pod,
        Pod,
        Pod,
        Pod,
        Pod,
        Pod,
        Pod,
        Node,
        Node,
        Node,
        Node,
        Claim,
        Claim,
        Claim,
        Volume,
        Volume,
        Budget,
        Budget,
        StorageClass,
        CsiNode,
        Group,
        Machine,
        DaemonSet,
        PriorityClass,
        Namespace,
    ]
};

// === impl Cluster ===

impl Cluster {
    /// Changes something.
    pub(super) fn change(&mut self, random: &mut Random) {
        self.change_with(random, &mut Index::new());
    }

    /// Changes something, and tells the index of it. Says what was done.
    pub(super) fn change_with(&mut self, random: &mut Random, index: &mut Index) -> String {
        match random.below(100) {
            0..=1 => self.change_settings(random, index),
            2..=6 => self.relist(random, index),
            7..=29 if !self.objects.is_empty() => {
                let kind = *random.pick(&KINDS);
                let keys: Vec<_> = self.objects.keys().filter(|key| key.0 == kind).cloned().collect();
                if keys.is_empty() {
                    return "nothing".to_owned();
                }
                let key = random.pick(&keys).clone();
                self.objects.remove(&key);
                remove(index, &key);
                format!("remove {key:?}")
            }
            _ => {
                let kind = *random.pick(&KINDS);
                let object = self.changed(kind, random).unwrap_or_else(|| object(kind, random));
                let key = key_of(kind, &object);
                put(index, kind, &object);
                self.objects.insert(key, object.clone());
                format!("put {kind:?} {object}")
            }
        }
    }

    /// The objects in some order.
    pub(super) fn objects(&self, random: &mut Random) -> Manifests {
        let mut manifests = Manifests {
            config: self.config.as_ref().map(read),
            own_node: self.own_node.clone(),
            offerings: offerings(self.offerings),
            ..Manifests::default()
        };
        let mut objects: Vec<_> = self.objects.iter().collect();
        random.shuffle(&mut objects);
        for ((kind, ..), object) in objects {
            match kind {
                Kind::Node => manifests.nodes.push(read(object)),
                Kind::Pod => manifests.pods.push(read(object)),
                Kind::Budget => manifests.budgets.push(read(object)),
                Kind::DaemonSet => manifests.daemon_sets.push(read(object)),
                Kind::PriorityClass => manifests.priority_classes.push(read(object)),
                Kind::Volume => manifests.volumes.push(read(object)),
                Kind::Claim => manifests.claims.push(read(object)),
                Kind::StorageClass => manifests.storage_classes.push(read(object)),
                Kind::CsiNode => manifests.csi_nodes.push(read(object)),
                Kind::Namespace => manifests.namespaces.push(read(object)),
                Kind::Group => manifests.groups.push(read(object)),
                Kind::Machine => manifests.machines.push(read(object)),
            }
        }
        manifests
    }

    /// Puts all objects into an index, in some order, and looks at the snapshot in between.
    pub(super) fn put_all(&self, random: &mut Random, index: &mut Index) {
        index.set_offerings(offerings(self.offerings));
        index.set_own_node(self.own_node.clone());
        let mut objects: Vec<_> = self.objects.iter().collect();
        random.shuffle(&mut objects);
        for ((kind, ..), object) in objects {
            put(index, *kind, object);
            if random.chance(10) {
                index.snapshot();
            }
        }
        index.set_config(self.config.as_ref().map(read).as_ref());
    }

    /// Now and then an object that is there with one part of another: most changes leave most of an object as it is.
    fn changed(&self, kind: Kind, random: &mut Random) -> Option<Value> {
        let known: Vec<_> = self.objects.iter().filter(|(key, _)| key.0 == kind).collect();
        if known.is_empty() || random.chance(75) {
            return None;
        }
        let mut changed = random.pick(&known).1.clone();
        let other = object(kind, random);
        match *random.pick(&["spec", "status", "labels", "annotations"]) {
            part @ ("spec" | "status") => changed[part] = other[part].clone(),
            part => changed["metadata"][part] = other["metadata"][part].clone(),
        }
        Some(changed)
    }

    fn change_settings(&mut self, random: &mut Random, index: &mut Index) -> String {
        match random.below(3) {
            0 => {
                let expander = *random.pick(&["price", "least-waste", "priority,price", "nonsense"]);
                let settings = json!({"expander": expander, "maxClusterWorkers": random.below(12)});
                let config = json!({"metadata": {"name": "default"}, "spec": {"globalSettings": settings}});
                self.config = random.chance(70).then_some(config);
                index.set_config(self.config.as_ref().map(read).as_ref());
            }
            1 => {
                self.own_node = random.chance(50).then(|| (*random.pick(&NODES)).to_owned());
                index.set_own_node(self.own_node.clone());
            }
            _ => {
                self.offerings = random.below(4);
                index.set_offerings(offerings(self.offerings));
            }
        }
        format!("settings {:?} {:?} {}", self.config, self.own_node, self.offerings)
    }

    /// Replaces a kind by a complete list, in which some objects are missing and others are new.
    fn relist(&mut self, random: &mut Random, index: &mut Index) -> String {
        let kind = *random.pick(&KINDS);
        self.objects.retain(|key, _| key.0 != kind || random.chance(80));
        for _ in 0..random.below(3) {
            let object = object(kind, random);
            self.objects.insert(key_of(kind, &object), object);
        }
        let manifests = self.objects(random);
        match kind {
            Kind::Node => index.replace_nodes(&manifests.nodes),
            Kind::Pod => index.replace_pods(&manifests.pods),
            Kind::Budget => index.replace_budgets(&manifests.budgets),
            Kind::DaemonSet => index.replace_daemon_sets(&manifests.daemon_sets),
            Kind::PriorityClass => index.replace_priority_classes(&manifests.priority_classes),
            Kind::Volume => index.replace_volumes(&manifests.volumes),
            Kind::Claim => index.replace_claims(&manifests.claims),
            Kind::StorageClass => index.replace_storage_classes(&manifests.storage_classes),
            Kind::CsiNode => index.replace_csi_nodes(&manifests.csi_nodes),
            Kind::Namespace => index.replace_namespaces(&manifests.namespaces),
            Kind::Group => index.replace_groups(&manifests.groups),
            Kind::Machine => index.replace_machines(&manifests.machines),
        }
        format!("relist {kind:?}")
    }
}

// === impl Manifests ===

impl Manifests {
    pub(super) fn input(&self) -> Input<'_> {
        Input {
            nodes: self.nodes.iter().collect(),
            pods: self.pods.iter().collect(),
            budgets: self.budgets.iter().collect(),
            daemon_sets: self.daemon_sets.iter().collect(),
            priority_classes: self.priority_classes.iter().collect(),
            volumes: self.volumes.iter().collect(),
            claims: self.claims.iter().collect(),
            storage_classes: self.storage_classes.iter().collect(),
            csi_nodes: self.csi_nodes.iter().collect(),
            namespaces: self.namespaces.iter().collect(),
            groups: self.groups.iter().collect(),
            machines: self.machines.iter().collect(),
            config: self.config.as_ref(),
            offerings: &self.offerings,
            own_node: self.own_node.as_deref(),
        }
    }
}

fn put(index: &mut Index, kind: Kind, object: &Value) {
    match kind {
        Kind::Node => index.put_node(&read(object)),
        Kind::Pod => index.put_pod(&read(object)),
        Kind::Budget => index.put_budget(&read(object)),
        Kind::DaemonSet => index.put_daemon_set(&read(object)),
        Kind::PriorityClass => index.put_priority_class(&read(object)),
        Kind::Volume => index.put_volume(&read(object)),
        Kind::Claim => index.put_claim(&read(object)),
        Kind::StorageClass => index.put_storage_class(&read(object)),
        Kind::CsiNode => index.put_csi_node(&read(object)),
        Kind::Namespace => index.put_namespace(&read(object)),
        Kind::Group => index.put_group(&read(object)),
        Kind::Machine => index.put_machine(&read(object)),
    }
}

fn remove(index: &mut Index, (kind, namespace, name): &(Kind, String, String)) {
    match kind {
        Kind::Node => index.remove_node(name),
        Kind::Pod => index.remove_pod(namespace, name),
        Kind::Budget => index.remove_budget(namespace, name),
        Kind::DaemonSet => index.remove_daemon_set(namespace, name),
        Kind::PriorityClass => index.remove_priority_class(name),
        Kind::Volume => index.remove_volume(name),
        Kind::Claim => index.remove_claim(namespace, name),
        Kind::StorageClass => index.remove_storage_class(name),
        Kind::CsiNode => index.remove_csi_node(name),
        Kind::Namespace => index.remove_namespace(name),
        Kind::Group => index.remove_group(namespace, name),
        Kind::Machine => index.remove_machine(namespace, name),
    }
}

fn key_of(kind: Kind, object: &Value) -> (Kind, String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
    (kind, text("namespace"), text("name"))
}
