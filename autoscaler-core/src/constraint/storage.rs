//! The storage objects of a cluster, and which of them have changed. What they mean for pods is in `claims`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    manifest::{
        meta::ObjectMeta,
        pod::Volume,
        storage::{CsiNode, PersistentVolume, PersistentVolumeClaim, StorageClass},
    },
    quantity::Quantity,
};

use super::claims::{capacity, claim_name, class_of_volume, is_available, is_bound};

const READ_WRITE_ONCE_POD: &str = "ReadWriteOncePod";
/// Mark the default class when they are `true`.
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// The storage objects of a cluster, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storage {
    pub(super) volumes: BTreeMap<String, PersistentVolume>,
    pub(super) bindable: Bindable,
    /// By namespace, then by name.
    claims: BTreeMap<String, BTreeMap<String, KnownClaim>>,
    pub(super) classes: BTreeMap<String, StorageClass>,
    /// Name of the class of claims that name none.
    pub(super) default_class: Option<String>,
    pub(super) nodes: BTreeMap<String, CsiNode>,
    /// Drivers with a limit on some node, with the number of these nodes: only their volumes have to be counted.
    limited_drivers: BTreeMap<String, usize>,
    /// Positions for claims with access mode `ReadWriteOncePod`: how many there are, which are free, and which will be
    /// free when every pod that had them has been looked at again.
    positions: u32,
    free: Vec<u32>,
    released: Vec<u32>,
    changes: StorageChanges,
}

/// Volumes that claims can be bound to, by what claims ask for, so that not every claim looks at every volume.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindable {
    /// Those that are free, by storage class: capacity and name.
    free: BTreeMap<String, BTreeSet<(Option<Quantity>, String)>>,
    /// Those that are kept for a claim or bound to it, by its namespace and name.
    kept: BTreeMap<(String, String), BTreeSet<String>>,
}

#[derive(Clone, Debug)]
struct KnownClaim {
    manifest: PersistentVolumeClaim,
    /// The position of a claim with access mode `ReadWriteOncePod`.
    exclusive: Option<u32>,
}

/// What has changed since somebody asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StorageChanges {
    /// Every pod with claims has to be looked at again.
    everything: bool,
    volumes: BTreeSet<String>,
    /// Namespace and name.
    claims: BTreeSet<(String, String)>,
}

// === impl Storage ===

impl Storage {
    pub(crate) fn put_volume(&mut self, volume: &PersistentVolume) {
        let name = &volume.metadata.name;
        if self.volumes.get(name) != Some(volume) {
            self.remove_volume(name);
            self.bindable.add(volume);
            self.volumes.insert(name.clone(), volume.clone());
            self.changes.volumes.insert(name.clone());
        }
    }

    pub(crate) fn remove_volume(&mut self, name: &str) {
        if let Some(volume) = self.volumes.remove(name) {
            self.bindable.remove(&volume);
            self.changes.volumes.insert(name.to_owned());
        }
    }

    pub(crate) fn put_claim(&mut self, claim: &PersistentVolumeClaim) {
        let (namespace, name) = (&claim.metadata.namespace, &claim.metadata.name);
        let known = self.claims.get(namespace).and_then(|claims| claims.get(name));
        if known.is_some_and(|known| known.manifest == *claim) {
            return;
        }
        let before = known.and_then(|known| known.exclusive);
        let is_exclusive = claim.spec.access_modes.iter().any(|mode| mode == READ_WRITE_ONCE_POD);
        let exclusive = match before {
            Some(position) if is_exclusive => Some(position),
            Some(position) => {
                self.released.push(position);
                None
            }
            None => is_exclusive.then(|| self.new_position()),
        };
        let manifest = claim.clone();
        let of_namespace = self.claims.entry(namespace.clone()).or_default();
        of_namespace.insert(name.clone(), KnownClaim { manifest, exclusive });
        self.changes.claims.insert((namespace.clone(), name.clone()));
    }

    pub(crate) fn remove_claim(&mut self, namespace: &str, name: &str) {
        let Some(of_namespace) = self.claims.get_mut(namespace) else {
            return;
        };
        if let Some(known) = of_namespace.remove(name) {
            self.released.extend(known.exclusive);
            self.changes.claims.insert((namespace.to_owned(), name.to_owned()));
        }
        if of_namespace.is_empty() {
            self.claims.remove(namespace);
        }
    }

    pub(crate) fn put_class(&mut self, class: &StorageClass) {
        if self.classes.get(&class.metadata.name) != Some(class) {
            self.classes.insert(class.metadata.name.clone(), class.clone());
            self.find_default_class();
            self.changes.everything = true;
        }
    }

    pub(crate) fn remove_class(&mut self, name: &str) {
        if self.classes.remove(name).is_some() {
            self.find_default_class();
            self.changes.everything = true;
        }
    }

    pub(crate) fn put_node(&mut self, node: &CsiNode) {
        if self.nodes.get(&node.metadata.name) != Some(node) {
            self.remove_node(&node.metadata.name);
            for driver in limited_drivers(node) {
                let nodes = self.limited_drivers.entry(driver.to_owned()).or_default();
                *nodes += 1;
                self.changes.everything |= *nodes == 1;
            }
            self.nodes.insert(node.metadata.name.clone(), node.clone());
        }
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(node) = self.nodes.remove(name) else { return };
        for driver in limited_drivers(&node) {
            if let Some(nodes) = self.limited_drivers.get_mut(driver) {
                *nodes -= 1;
                if *nodes == 0 {
                    self.limited_drivers.remove(driver);
                    self.changes.everything = true;
                }
            }
        }
    }

    /// Names of everything that is known, for relists.
    pub(crate) fn volume_names(&self) -> impl Iterator<Item = &str> {
        self.volumes.keys().map(String::as_str)
    }

    pub(crate) fn claim_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.claims
            .iter()
            .flat_map(|(namespace, claims)| claims.keys().map(|name| (namespace.as_str(), name.as_str())))
    }

    pub(crate) fn class_names(&self) -> impl Iterator<Item = &str> {
        self.classes.keys().map(String::as_str)
    }

    pub(crate) fn node_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// One more than the largest position of a claim with access mode `ReadWriteOncePod`.
    pub(crate) const fn exclusive_positions(&self) -> usize {
        self.positions as usize
    }

    /// What has changed since this was asked last. Whoever asks looks at all pods again that it concerns.
    pub(crate) fn take_changes(&mut self) -> Option<StorageChanges> {
        self.free.append(&mut self.released);
        let changes = std::mem::take(&mut self.changes);
        (changes != StorageChanges::default()).then_some(changes)
    }

    /// Whether a change may concern a pod with these volumes.
    pub(crate) fn concerns(&self, changes: &StorageChanges, metadata: &ObjectMeta, volumes: &[Volume]) -> bool {
        changes.everything
            || volumes
                .iter()
                .filter_map(|volume| claim_name(metadata, volume))
                .any(|name| {
                    let claim = self.claim(&metadata.namespace, &name);
                    // A claim without a volume may be bound to any.
                    let by_volume = || {
                        claim.is_some_and(|claim| !is_bound(claim) || changes.volumes.contains(&claim.spec.volume_name))
                    };
                    (!changes.volumes.is_empty() && by_volume())
                        || changes
                            .claims
                            .contains(&(metadata.namespace.clone(), name.into_owned()))
                })
    }

    pub(super) fn claim(&self, namespace: &str, name: &str) -> Option<&PersistentVolumeClaim> {
        Some(&self.claims.get(namespace)?.get(name)?.manifest)
    }

    pub(super) fn exclusive_position(&self, namespace: &str, name: &str) -> Option<u32> {
        self.claims.get(namespace)?.get(name)?.exclusive
    }

    pub(super) fn is_limited(&self, driver: &str) -> bool {
        self.limited_drivers.contains_key(driver)
    }

    /// Of several default classes the API server takes the newest, of equally new ones the first by name.
    fn find_default_class(&mut self) {
        let is_default = |class: &&StorageClass| {
            let marked = |key: &str| class.metadata.annotations.get(key).is_some_and(|value| value == "true");
            DEFAULT_CLASS.into_iter().any(marked)
        };
        let mut newest: Option<&StorageClass> = None;
        for class in self.classes.values().filter(is_default) {
            if newest.is_none_or(|known| known.metadata.creation_timestamp < class.metadata.creation_timestamp) {
                newest = Some(class);
            }
        }
        self.default_class = newest.map(|class| class.metadata.name.clone());
    }

    fn new_position(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.positions += 1;
            self.positions - 1
        })
    }
}

// === impl Bindable ===

impl Bindable {
    /// Names of the free volumes of a storage class that are not smaller than this, smallest first, then by name.
    pub(super) fn free(&self, class: &str, size: Option<Quantity>) -> impl Iterator<Item = &str> {
        let of_class = self.free.get(class).into_iter();
        let suitable = of_class.flat_map(move |volumes| volumes.range((size, String::new())..));
        suitable.map(|(_, name)| name.as_str())
    }

    /// Names of the volumes that name this claim, in order.
    pub(super) fn kept(&self, claim: &ObjectMeta) -> impl Iterator<Item = &str> {
        let names = self.kept.get(&(claim.namespace.clone(), claim.name.clone()));
        names.into_iter().flatten().map(String::as_str)
    }

    fn add(&mut self, volume: &PersistentVolume) {
        let name = volume.metadata.name.clone();
        if let Some(claim) = &volume.spec.claim_ref {
            let claim = (claim.namespace.clone(), claim.name.clone());
            self.kept.entry(claim).or_default().insert(name);
        } else if is_available(volume) {
            let of_class = self.free.entry(class_of_volume(volume).to_owned()).or_default();
            of_class.insert((capacity(volume), name));
        }
    }

    fn remove(&mut self, volume: &PersistentVolume) {
        let name = volume.metadata.name.clone();
        if let Some(claim) = &volume.spec.claim_ref {
            let claim = (claim.namespace.clone(), claim.name.clone());
            if let Some(volumes) = self.kept.get_mut(&claim) {
                volumes.remove(&name);
                if volumes.is_empty() {
                    self.kept.remove(&claim);
                }
            }
        } else if let Some(volumes) = self.free.get_mut(class_of_volume(volume)) {
            volumes.remove(&(capacity(volume), name));
            if volumes.is_empty() {
                self.free.remove(class_of_volume(volume));
            }
        }
    }
}

/// Drivers whose volumes a node can attach only so many of. A driver that is listed twice is given twice.
fn limited_drivers(node: &CsiNode) -> impl Iterator<Item = &str> {
    let is_limited = |driver: &&crate::manifest::storage::CsiNodeDriver| {
        let allocatable = driver.allocatable.as_ref();
        allocatable.is_some_and(|allocatable| allocatable.count.is_some())
    };
    node.spec
        .drivers
        .iter()
        .filter(is_limited)
        .map(|driver| driver.name.as_str())
}
