//! The small kinds of an index: kept as they are, and read again all together when one object of the kind changes.

use std::collections::{BTreeMap, BTreeSet};

use super::Index;
use crate::{
    build::{Input, Priorities, Reader},
    manifest::{
        autoscaler::{AutoscalerConfig, NodeGroup, VPSieNode},
        meta::ObjectMeta,
        storage::{CsiNode, PersistentVolume, PersistentVolumeClaim, StorageClass},
        workload::{self, Namespace, PodDisruptionBudget, PriorityClass},
    },
    provider::Offering,
    snapshot::{DaemonSet, GroupId, Machine, MachineId, MachinePhase, Snapshot},
};

/// Objects by namespace and name; those of the cluster have no namespace.
type Objects<T> = BTreeMap<(String, String), T>;

/// The objects of the small kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    groups: Objects<NodeGroup>,
    machines: Objects<VPSieNode>,
    budgets: Objects<PodDisruptionBudget>,
    daemon_sets: Objects<workload::DaemonSet>,
    priority_classes: Objects<PriorityClass>,
    namespaces: Objects<Namespace>,
    pub(super) own_node: Option<String>,
}

/// Puts objects of a kind that is read again when one of them changes. `$dirty` says so.
macro_rules! put {
    ($kind:literal, $type:ty, $field:ident, $dirty:ident, $put:ident) => {
        #[doc = concat!("Adds a ", $kind, ", or replaces the one that has its place.")]
        pub fn $put(&mut self, object: &$type) {
            let key = key_of(&object.metadata);
            if self.kinds.$field.get(&key) != Some(object) {
                self.kinds.$field.insert(key, object.clone());
                self.dirty.$dirty = true;
            }
        }
    };
}

/// Removes and replaces objects of such a kind. What tells two of them apart comes last.
macro_rules! remove {
    ($kind:literal, $type:ty, $field:ident, $dirty:ident, $remove:ident, $replace:ident, ($($key:ident),*)) => {
        #[doc = concat!("Removes a ", $kind, ".")]
        pub fn $remove(&mut self, $($key: &str),*) {
            self.dirty.$dirty |= self.kinds.$field.remove(&key!($($key),*)).is_some();
        }

        #[doc = concat!("Takes in a complete list of every ", $kind, ": what is not on it is removed.")]
        pub fn $replace<'o>(&mut self, listed: impl IntoIterator<Item = &'o $type>) {
            let by_key = |object: &$type| (key_of(&object.metadata), object.clone());
            let listed: Objects<$type> = listed.into_iter().map(by_key).collect();
            if self.kinds.$field != listed {
                self.kinds.$field = listed;
                self.dirty.$dirty = true;
            }
        }
    };
}

macro_rules! key {
    ($name:ident) => {
        (String::new(), $name.to_owned())
    };
    ($namespace:ident, $name:ident) => {
        ($namespace.to_owned(), $name.to_owned())
    };
}

/// Puts, removes and replaces storage objects, which know by themselves what has changed.
macro_rules! storage_kind {
    ($kind:literal, $type:ty, $put:ident, $remove:ident, $replace:ident, $store:ident, $drop:ident, $names:ident) => {
        #[doc = concat!("Adds a ", $kind, ", or replaces the one that has its place.")]
        pub fn $put(&mut self, object: &$type) {
            self.storage.$store(object);
        }

        #[doc = concat!("Removes a ", $kind, ".")]
        pub fn $remove(&mut self, name: &str) {
            self.storage.$drop(name);
        }

        #[doc = concat!("Takes in a complete list of every ", $kind, ": what is not on it is removed.")]
        pub fn $replace<'o>(&mut self, listed: impl IntoIterator<Item = &'o $type>) {
            let mut names = BTreeSet::new();
            for object in listed {
                names.insert(object.metadata.name.as_str());
                self.$put(object);
            }
            let gone = self.storage.$names().filter(|name| !names.contains(name));
            for name in gone.map(str::to_owned).collect::<Vec<_>>() {
                self.$remove(&name);
            }
        }
    };
}

// === impl Index ===

impl Index {
    put!("NodeGroup", NodeGroup, groups, groups, put_group);
    remove!(
        "NodeGroup",
        NodeGroup,
        groups,
        groups,
        remove_group,
        replace_groups,
        (namespace, name)
    );
    remove!(
        "VPSieNode",
        VPSieNode,
        machines,
        machines,
        remove_machine,
        replace_machines,
        (namespace, name)
    );
    put!("PodDisruptionBudget", PodDisruptionBudget, budgets, budgets, put_budget);
    remove!(
        "PodDisruptionBudget",
        PodDisruptionBudget,
        budgets,
        budgets,
        remove_budget,
        replace_budgets,
        (namespace, name)
    );
    put!(
        "DaemonSet",
        workload::DaemonSet,
        daemon_sets,
        daemon_sets,
        put_daemon_set
    );
    remove!(
        "DaemonSet",
        workload::DaemonSet,
        daemon_sets,
        daemon_sets,
        remove_daemon_set,
        replace_daemon_sets,
        (namespace, name)
    );
    put!(
        "PriorityClass",
        PriorityClass,
        priority_classes,
        priorities,
        put_priority_class
    );
    remove!(
        "PriorityClass",
        PriorityClass,
        priority_classes,
        priorities,
        remove_priority_class,
        replace_priority_classes,
        (name)
    );
    put!("Namespace", Namespace, namespaces, namespaces, put_namespace);
    remove!(
        "Namespace",
        Namespace,
        namespaces,
        namespaces,
        remove_namespace,
        replace_namespaces,
        (name)
    );
    storage_kind!(
        "PersistentVolume",
        PersistentVolume,
        put_volume,
        remove_volume,
        replace_volumes,
        put_volume,
        remove_volume,
        volume_names
    );
    storage_kind!(
        "StorageClass",
        StorageClass,
        put_storage_class,
        remove_storage_class,
        replace_storage_classes,
        put_class,
        remove_class,
        class_names
    );

    /// Adds a VPSieNode, or replaces the one that has its place.
    pub fn put_machine(&mut self, object: &VPSieNode) {
        let key = key_of(&object.metadata);
        let known = self.kinds.machines.get(&key);
        if known == Some(object) {
            return;
        }
        let only_it = known.is_some_and(|known| concerns_only_itself(known, object));
        let is_done = only_it && self.update_machine(&key, object);
        self.dirty.machines |= !is_done;
        self.kinds.machines.insert(key, object.clone());
    }

    /// Adds a PersistentVolumeClaim, or replaces the one that has its place.
    pub fn put_claim(&mut self, claim: &PersistentVolumeClaim) {
        self.storage.put_claim(claim);
        let positions = self.storage.exclusive_positions();
        self.snapshot.start.counters.resize_exclusive(positions);
    }

    /// Removes a PersistentVolumeClaim.
    pub fn remove_claim(&mut self, namespace: &str, name: &str) {
        self.storage.remove_claim(namespace, name);
    }

    /// Takes in a complete list of every PersistentVolumeClaim: what is not on it is removed.
    pub fn replace_claims<'o>(&mut self, listed: impl IntoIterator<Item = &'o PersistentVolumeClaim>) {
        let mut names = BTreeSet::new();
        for claim in listed {
            names.insert((claim.metadata.namespace.as_str(), claim.metadata.name.as_str()));
            self.put_claim(claim);
        }
        let gone = self.storage.claim_names().filter(|name| !names.contains(name));
        let gone: Vec<_> = gone
            .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
            .collect();
        for (namespace, name) in gone {
            self.remove_claim(&namespace, &name);
        }
    }

    /// Adds a CSINode, or replaces the one that has its place.
    pub fn put_csi_node(&mut self, node: &CsiNode) {
        self.storage.put_node(node);
        self.update_volume_limits(&node.metadata.name);
    }

    /// Removes a CSINode.
    pub fn remove_csi_node(&mut self, name: &str) {
        self.storage.remove_node(name);
        self.update_volume_limits(name);
    }

    /// Takes in a complete list of every CSINode: what is not on it is removed.
    pub fn replace_csi_nodes<'o>(&mut self, listed: impl IntoIterator<Item = &'o CsiNode>) {
        let mut names = BTreeSet::new();
        for node in listed {
            names.insert(node.metadata.name.as_str());
            self.put_csi_node(node);
        }
        let gone = self.storage.node_names().filter(|name| !names.contains(name));
        for name in gone.map(str::to_owned).collect::<Vec<_>>() {
            self.remove_csi_node(&name);
        }
    }

    /// Sets the AutoscalerConfig; without one the defaults hold.
    pub fn set_config(&mut self, config: Option<&AutoscalerConfig>) {
        let mut problems = Vec::new();
        let mut reader = Reader {
            symbols: &mut self.snapshot.symbols,
            problems: &mut problems,
        };
        self.snapshot.settings = reader.settings(config);
        self.dirty.problems |= self.problems.settings != problems;
        self.problems.settings = problems;
    }

    /// Sets the offerings of the provider.
    pub fn set_offerings(&mut self, mut offerings: Vec<Offering>) {
        offerings.sort_by(|a, b| (&a.id, &a.datacenter).cmp(&(&b.id, &b.datacenter)));
        self.snapshot.offerings = offerings;
    }

    /// Sets the node that this operator runs on. Nodes that pods of it run on are known without being told.
    pub fn set_own_node(&mut self, name: Option<String>) {
        self.dirty.own |= self.kinds.own_node != name;
        self.kinds.own_node = name;
    }

    /// Takes in everything but nodes and pods.
    pub(super) fn put_kinds(&mut self, input: &Input<'_>) {
        self.set_config(input.config);
        self.set_offerings(input.offerings.to_vec());
        self.set_own_node(input.own_node.map(str::to_owned));
        self.replace_groups(input.groups.iter().copied());
        self.replace_machines(input.machines.iter().copied());
        self.replace_budgets(input.budgets.iter().copied());
        self.replace_daemon_sets(input.daemon_sets.iter().copied());
        self.replace_priority_classes(input.priority_classes.iter().copied());
        self.replace_namespaces(input.namespaces.iter().copied());
        self.replace_volumes(input.volumes.iter().copied());
        self.replace_storage_classes(input.storage_classes.iter().copied());
        self.replace_claims(input.claims.iter().copied());
        self.replace_csi_nodes(input.csi_nodes.iter().copied());
        self.settle_priorities();
    }

    /// Makes NodeGroups and VPSieNodes anew.
    pub(super) fn settle_groups(&mut self) {
        self.settle_priorities();
        if std::mem::take(&mut self.dirty.groups) {
            let mut problems = Vec::new();
            let mut reader = Reader {
                symbols: &mut self.snapshot.symbols,
                problems: &mut problems,
            };
            self.snapshot.groups = self.kinds.groups.values().map(|group| reader.group(group)).collect();
            self.problems.groups = problems;
            self.dirty.machines = true;
        }
        if !std::mem::take(&mut self.dirty.machines) {
            return;
        }
        let groups = self.kinds.groups.keys().zip((0..).map(GroupId::from_index));
        let groups: BTreeMap<_, _> = groups.collect();
        let mut problems = Vec::new();
        let mut reader = Reader {
            symbols: &mut self.snapshot.symbols,
            problems: &mut problems,
        };
        let mut machines = Vec::with_capacity(self.kinds.machines.len());
        self.machines_by_node.clear();
        for manifest in self.kinds.machines.values() {
            let (mut machine, node_name) = reader.machine(manifest);
            let group = (
                manifest.metadata.namespace.clone(),
                manifest.spec.node_group_name.clone(),
            );
            machine.group = groups.get(&group).copied();
            if !node_name.is_empty() {
                let id = MachineId::from_index(machines.len());
                self.machines_by_node.insert(node_name.to_ascii_lowercase(), id);
            }
            machines.push(machine);
        }
        self.snapshot.machines = machines;
        self.problems.machines = problems;
        self.dirty.problems = true;
        self.dirty.owners = true;
    }

    /// Reads a VPSieNode again that belongs to what it did before. `false` when the list is to be made anew anyway.
    fn update_machine(&mut self, key: &(String, String), object: &VPSieNode) -> bool {
        if self.dirty.machines || self.dirty.groups {
            return false;
        }
        let Snapshot { symbols, machines, .. } = &mut self.snapshot;
        let place = |machine: &Machine| (symbols.text(machine.namespace), symbols.text(machine.name));
        let wanted = (key.0.as_str(), key.1.as_str());
        let found = machines.binary_search_by(|machine| place(machine).cmp(&wanted));
        let Some(slot) = found.ok().and_then(|index| machines.get_mut(index)) else {
            return false;
        };
        let mut reader = Reader {
            symbols,
            problems: &mut Vec::new(),
        };
        let (machine, _) = reader.machine(object);
        *slot = Machine {
            group: slot.group,
            node: slot.node,
            ..machine
        };
        true
    }

    /// Makes the values of PriorityClasses anew. What pods make of them comes later.
    fn settle_priorities(&mut self) {
        if self.dirty.priorities {
            let classes = self.kinds.priority_classes.values();
            let values = classes.map(|class| (class.metadata.name.as_str(), class.value));
            self.priorities = Priorities::new(values);
            self.dirty.daemon_sets = true;
        }
    }

    /// Makes the labels of namespaces anew.
    pub(super) fn settle_namespaces(&mut self) {
        if !std::mem::take(&mut self.dirty.namespaces) {
            return;
        }
        let mut reader = Reader {
            symbols: &mut self.snapshot.symbols,
            problems: &mut Vec::new(),
        };
        let namespaces = self.kinds.namespaces.values().map(|namespace| &namespace.metadata);
        let labels = |metadata: &ObjectMeta| (reader.intern(&metadata.name), reader.labels_of(&metadata.labels));
        self.snapshot.namespaces = namespaces.map(labels).collect();
        self.dirty.rules |= self.compiler.reads_namespaces();
    }

    /// Makes DaemonSets anew.
    pub(super) fn settle_daemon_sets(&mut self) {
        if !std::mem::take(&mut self.dirty.daemon_sets) {
            return;
        }
        let manifests = self.kinds.daemon_sets.values();
        let mut reader = Reader {
            symbols: &mut self.snapshot.symbols,
            problems: &mut Vec::new(),
        };
        let read = manifests.filter_map(|manifest| {
            let class = reader.daemon_set(manifest, &self.priorities)?;
            let metadata = &manifest.metadata;
            Some((reader.intern(&metadata.namespace), reader.intern(&metadata.name), class))
        });
        let read: Vec<_> = read.collect();
        let old = std::mem::take(&mut self.snapshot.daemon_sets);
        for (namespace, name, class) in read {
            let class = self.intern_class(class);
            self.snapshot.daemon_sets.push(DaemonSet { namespace, name, class });
        }
        for daemon_set in old {
            self.release_class(daemon_set.class);
        }
    }

    /// Makes PodDisruptionBudgets anew.
    pub(super) fn settle_budgets(&mut self) {
        if !std::mem::take(&mut self.dirty.budgets) {
            return;
        }
        let mut reader = Reader {
            symbols: &mut self.snapshot.symbols,
            problems: &mut Vec::new(),
        };
        let budgets = self.kinds.budgets.values();
        self.snapshot.budgets = budgets.map(|budget| reader.budget(budget)).collect();
    }
}

/// Whether a change of a VPSieNode leaves everything else as it is: its group, its node and what there is to complain of.
fn concerns_only_itself(old: &VPSieNode, new: &VPSieNode) -> bool {
    let links = |machine: &VPSieNode| {
        let (spec, status) = (machine.spec.clone(), &machine.status);
        let node = if status.node_name.is_empty() {
            spec.node_name
        } else {
            status.node_name.clone()
        };
        (spec.node_group_name, spec.instance_type, node)
    };
    let is_phase = |machine: &VPSieNode| {
        let phase = machine.status.phase.as_str();
        phase.is_empty() || MachinePhase::parse(phase).is_some()
    };
    let (of_old, of_new) = (&old.metadata, &new.metadata);
    let says_the_same = of_old.annotations == of_new.annotations && of_old.labels == of_new.labels;
    says_the_same && links(old) == links(new) && is_phase(old) && is_phase(new)
}

/// Namespace and name of an object.
fn key_of(metadata: &ObjectMeta) -> (String, String) {
    (metadata.namespace.clone(), metadata.name.clone())
}
