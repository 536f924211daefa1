//! Pods of an index: where each is in the snapshot's lists, and the few things to remember of some of them.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use super::{Index, bulk::sort};
use crate::{
    build::{Reader, SAFE_LOCAL_VOLUMES_ANNOTATION, Traits, is_plain, local_storage},
    constraint::{claims::claim_name, storage::StorageChanges},
    hash::hash_of,
    manifest::{meta::ObjectMeta, pod as manifest, pod::Volume},
    resources::Resources,
    snapshot::{ClassId, NodeId, Pod, PodClass, PodId, Snapshot},
    symbol::Symbols,
};

/// So many pods are put into the ordered list of unbound pods one by one; more are sorted.
const FEW: usize = 32;

/// From this many on, new unbound pods are sorted before one of them is looked for.
const MANY: usize = 512;

/// Finds pods, and remembers what the snapshot has no place for.
#[derive(Clone, Debug, Default)]
pub(super) struct PodTable {
    /// Every pod, by namespace and name.
    table: HashTable<PodId>,
    /// What is known beyond the snapshot, of the few pods of which there is anything.
    pub(super) more: BTreeMap<PodId, More>,
    /// While many pods are put in: by node, whether the list of its pods has still to be put in order.
    pub(super) disordered: Option<Vec<bool>>,
    /// How many of the snapshot's unbound pods are in order; those after them are new.
    unbound_in_order: usize,
}

/// What has to be remembered of some pods.
#[derive(Clone, Debug, Default)]
pub(super) struct More {
    /// The node that the pod is bound to and that is not known.
    pub(super) node: Option<Box<str>>,
    /// The node that the pod is nominated to, known or not.
    pub(super) nominated: Option<Box<str>>,
    /// Whether this operator runs in the pod.
    pub(super) own: bool,
    /// What its class has to be found with again when storage or priorities change.
    pub(super) source: Option<Box<Source>>,
}

/// The part of a manifest whose meaning depends on other objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    metadata: ObjectMeta,
    volumes: Vec<Volume>,
    /// The PriorityClass, of a pod that has only that and no number.
    priority_class: Option<String>,
}

// === impl Index ===

impl Index {
    /// Adds a pod, or replaces the one of the same namespace and name.
    pub fn put_pod(&mut self, manifest: &manifest::Pod) {
        let (class, traits, source) = self.read_pod(manifest);
        self.place_pod(manifest, class, &traits, source);
    }

    /// Removes a pod.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        if let Some(id) = self.pods.find(&self.snapshot, namespace, name) {
            self.remove_pod_by_id(id);
        }
    }

    /// The class of a pod, which has one user more, its traits, and what they depend on beside the pod.
    pub(super) fn read_pod(&mut self, manifest: &manifest::Pod) -> (ClassId, Traits, Option<Box<Source>>) {
        let mut reader = Reader {
            symbols: &mut self.snapshot.symbols,
            // Pods have none.
            problems: &mut Vec::new(),
        };
        let traits = reader.traits(manifest, &self.storage);
        let class = reader.class_of_pod(manifest, &self.priorities, &self.storage);
        (self.intern_class(class), traits, Source::of(manifest))
    }

    /// Adds a pod with what has been read of it, or replaces the one of the same namespace and name.
    pub(super) fn place_pod(
        &mut self,
        manifest: &manifest::Pod,
        class: ClassId,
        traits: &Traits,
        source: Option<Box<Source>>,
    ) -> PodId {
        let (node, nominated) = (&manifest.spec.node_name, &manifest.status.nominated_node_name);
        let mut pod = traits.pod(manifest, class);
        if pod.bound {
            pod.node = self.nodes.find(&self.snapshot, node);
        }
        if pod.has_nomination {
            pod.nominated = self.nodes.find(&self.snapshot, nominated);
        }
        let more = More {
            node: (pod.bound && pod.node.is_none()).then(|| node.as_str().into()),
            nominated: pod.has_nomination.then(|| nominated.as_str().into()),
            own: pod.own,
            source,
        };
        let (namespace, name) = (manifest.metadata.namespace.as_str(), manifest.metadata.name.as_str());
        let hash = hash_of(&(namespace, name));
        let id = match self.pods.find_hashed(&self.snapshot, hash, namespace, name) {
            Some(id) => {
                self.replace_pod(id, pod);
                id
            }
            None => self.add_pod(pod, hash),
        };
        self.dirty.nominated |= more.nominated.is_some();
        let before = if more.is_empty() {
            self.pods.more.remove(&id)
        } else {
            self.pods.more.insert(id, more)
        };
        self.dirty.nominated |= before.is_some_and(|before| before.nominated.is_some());
        id
    }

    /// Looks again at pods whose class depends on what has changed.
    pub(super) fn settle_sources(&mut self) {
        let changes = self.storage.take_changes();
        let by_priority = std::mem::take(&mut self.dirty.priorities);
        if changes.is_none() && !by_priority {
            return;
        }
        let concerned = |source: &Source| {
            let concerns = |changes: &StorageChanges| self.storage.concerns(changes, &source.metadata, &source.volumes);
            (by_priority && source.priority_class.is_some()) || changes.as_ref().is_some_and(concerns)
        };
        let sources = self.pods.more.iter().filter_map(|(id, more)| {
            let source = more.source.as_ref().filter(|source| concerned(source))?;
            Some((*id, source.clone()))
        });
        let sources: Vec<_> = sources.collect();
        for (id, source) in sources {
            self.look_again(id, &source);
        }
    }

    /// Finds nodes again that pods name, when other nodes are there.
    pub(super) fn find_named_nodes(&mut self) {
        let mut found = Vec::new();
        for (id, more) in &mut self.pods.more {
            let Some(pod) = self.snapshot.pods.get_mut(id.index()) else {
                continue;
            };
            if let Some(name) = &more.nominated {
                pod.nominated = self.nodes.find_in(&self.snapshot.nodes, &self.snapshot.symbols, name);
            }
            if let Some(name) = &more.node
                && let Some(node) = self.nodes.find_in(&self.snapshot.nodes, &self.snapshot.symbols, name)
            {
                more.node = None;
                pod.node = Some(node);
                found.push(*id);
            }
        }
        for id in found {
            self.attach(id);
            if self.pods.more.get(&id).is_some_and(More::is_empty) {
                self.pods.more.remove(&id);
            }
        }
    }

    /// Takes the pods off a node that leaves. They wait for a node of this name.
    pub(super) fn strand_pods(&mut self, node: NodeId, name: &str) {
        for id in self.snapshot.pods_on(node).to_vec() {
            self.detach(id);
            if let Some(pod) = self.snapshot.pods.get_mut(id.index()) {
                pod.node = None;
            }
            self.pods.more.entry(id).or_default().node = Some(name.into());
        }
    }

    /// Puts the unbound pods in order.
    pub(super) fn settle_unbound(&mut self) {
        let new = self
            .snapshot
            .unbound
            .split_off(self.pods.unbound_in_order.min(self.snapshot.unbound.len()));
        let mut list = std::mem::take(&mut self.snapshot.unbound);
        if new.len() <= FEW {
            for id in new {
                insert_in_order(&self.snapshot, &mut list, id);
            }
        } else {
            list.extend(new);
            sort(&self.snapshot, &mut list);
        }
        self.pods.unbound_in_order = list.len();
        self.snapshot.unbound = list;
    }

    /// Lists the pods again that are nominated.
    pub(super) fn settle_nominated(&mut self) {
        if !std::mem::take(&mut self.dirty.nominated) {
            return;
        }
        let waits = |id: &PodId| !self.snapshot.pod(*id).bound;
        let named = self.pods.more.iter().filter(|(_, more)| more.nominated.is_some());
        let mut nominated: Vec<PodId> = named.map(|(id, _)| *id).filter(waits).collect();
        sort(&self.snapshot, &mut nominated);
        self.snapshot.nominated = nominated;
    }

    /// Counts a pod that holds something on its node, or no longer.
    pub(super) fn count_pod(&mut self, id: PodId, add: bool) {
        let Snapshot {
            pods,
            classes,
            rules,
            start,
            ..
        } = &mut self.snapshot;
        let Some(pod) = pods.get(id.index()).filter(|pod| !pod.is_terminal()) else {
            return;
        };
        let (Some(node), Some(class)) = (pod.node, classes.get(pod.class.index())) else {
            return;
        };
        if self.dirty.rules {
            return;
        }
        let was_saturated = start.is_saturated(node);
        start.count_pod(rules, (pod.class, class), node, add);
        if was_saturated && !add {
            self.dirty.saturated.insert(node);
        }
    }

    /// Adds up again what is requested of nodes where a sum was too large to take anything off it.
    pub(super) fn settle_saturated(&mut self) {
        for node in std::mem::take(&mut self.dirty.saturated) {
            let mut used = Resources::default();
            for pod in self.snapshot.pods_on(node).iter().map(|id| self.snapshot.pod(*id)) {
                if !pod.is_terminal() {
                    used.add(&self.snapshot.class_of(pod).requests);
                }
            }
            self.snapshot.start.set_used(node, used);
        }
    }

    fn add_pod(&mut self, pod: Pod, hash: u64) -> PodId {
        let id = PodId::from_index(self.snapshot.pods.len());
        self.dirty.own |= pod.own;
        let pods = &mut self.snapshot.pods;
        if pods.len() == pods.capacity() {
            // Doubling would leave half of a large list unused.
            pods.reserve_exact(pods.len() / 8 + 16);
        }
        pods.push(pod);
        self.pods.insert(&self.snapshot, hash, id);
        self.attach(id);
        id
    }

    fn replace_pod(&mut self, id: PodId, new: Pod) {
        let place = |pod: &Pod| (pod.class, pod.node, pod.bound, pod.is_terminal());
        let Some(old) = self.snapshot.pods.get(id.index()) else {
            return;
        };
        let (old_class, moves) = (old.class, place(old) != place(&new));
        self.dirty.own |= (old.own || new.own) && (moves || old.own != new.own);
        if moves {
            self.detach(id);
        }
        if let Some(slot) = self.snapshot.pods.get_mut(id.index()) {
            *slot = new;
        }
        if moves {
            self.attach(id);
        }
        self.release_class(old_class);
    }

    pub(super) fn remove_pod_by_id(&mut self, id: PodId) {
        let Some(last) = self.snapshot.pods.len().checked_sub(1).map(PodId::from_index) else {
            return;
        };
        self.detach(id);
        self.pods.remove(&self.snapshot, id);
        let more = self.pods.more.remove(&id);
        self.dirty.nominated |= more.is_some_and(|more| more.nominated.is_some());
        if id != last {
            self.move_id(last, id);
        }
        let removed = self.snapshot.pods.swap_remove(id.index());
        self.dirty.own |= removed.own;
        self.release_class(removed.class);
    }

    /// Gives the last pod the id of one that has been taken out of all lists.
    fn move_id(&mut self, last: PodId, id: PodId) {
        self.pods.renumber(&self.snapshot, last, id);
        let pod = self.snapshot.pod(last);
        let (node, bound) = (pod.node, pod.bound);
        let position = match node {
            Some(node) => position(&self.snapshot, self.snapshot.pods_on(node), last),
            None if !bound => self.unbound_position(last),
            None => None,
        };
        let list = match node {
            Some(node) => self.snapshot.pods_by_node.get_mut(node.index()),
            None => Some(&mut self.snapshot.unbound),
        };
        if let (Some(list), Some(position)) = (list, position)
            && let Some(entry) = list.get_mut(position)
        {
            *entry = id;
        }
        if let Some(more) = self.pods.more.remove(&last) {
            self.dirty.nominated |= more.nominated.is_some();
            self.pods.more.insert(id, more);
        }
    }

    /// Puts a pod into the list that it belongs to, and counts it.
    fn attach(&mut self, id: PodId) {
        let pod = self.snapshot.pod(id);
        if let Some(node) = pod.node {
            let Some(list) = self.snapshot.pods_by_node.get_mut(node.index()) else {
                return;
            };
            let mut list = std::mem::take(list);
            match &mut self.pods.disordered {
                None => insert_in_order(&self.snapshot, &mut list, id),
                Some(disordered) => {
                    if let (Some(last), Some(is_disordered)) = (list.last(), disordered.get_mut(node.index())) {
                        *is_disordered |= self.snapshot.compare_pods(*last, id).is_gt();
                    }
                    list.push(id);
                }
            }
            if let Some(slot) = self.snapshot.pods_by_node.get_mut(node.index()) {
                *slot = list;
            }
            self.count_pod(id, true);
        } else if !pod.bound {
            self.snapshot.unbound.push(id);
        }
    }

    /// Takes back [`Self::attach`].
    fn detach(&mut self, id: PodId) {
        let pod = self.snapshot.pod(id);
        if let Some(node) = pod.node {
            self.count_pod(id, false);
            let list = self.snapshot.pods_on(node);
            let found = match self.pods.disordered {
                None => position(&self.snapshot, list, id),
                Some(_) => list.iter().position(|other| *other == id),
            };
            if let (Some(found), Some(list)) = (found, self.snapshot.pods_by_node.get_mut(node.index())) {
                list.remove(found);
            }
        } else if !pod.bound
            && let Some(found) = self.unbound_position(id)
        {
            self.snapshot.unbound.remove(found);
            self.pods.unbound_in_order -= usize::from(found < self.pods.unbound_in_order);
        }
    }

    fn unbound_position(&mut self, id: PodId) -> Option<usize> {
        if self.pods.unbound_in_order + MANY < self.snapshot.unbound.len() {
            self.settle_unbound();
        }
        let (in_order, new) = self.snapshot.unbound.split_at_checked(self.pods.unbound_in_order)?;
        position(&self.snapshot, in_order, id).or_else(|| {
            new.iter()
                .position(|other| *other == id)
                .map(|index| in_order.len() + index)
        })
    }

    /// Finds the class of a pod again.
    fn look_again(&mut self, id: PodId, source: &Source) {
        let Some(pod) = self.snapshot.pods.get(id.index()) else {
            return;
        };
        let symbols = &mut self.snapshot.symbols;
        let metadata = &source.metadata;
        let local = local_storage(&self.storage, metadata, &source.volumes).map(|volume| symbols.intern(volume));
        let volumes = self.storage.needs(metadata, &source.volumes, symbols);
        let Some(class) = self.snapshot.classes.get(pod.class.index()) else {
            return;
        };
        let priority = source.priority_class.as_ref();
        let class = PodClass {
            volumes,
            priority: priority.map_or(class.priority, |name| self.priorities.of(None, name)),
            ..class.clone()
        };
        let new = Pod {
            local_storage: local,
            class: ClassId(u32::MAX),
            ..pod.clone()
        };
        let class = self.intern_class(class);
        self.replace_pod(id, Pod { class, ..new });
    }
}

// === impl PodTable ===

impl PodTable {
    fn find(&self, snapshot: &Snapshot, namespace: &str, name: &str) -> Option<PodId> {
        self.find_hashed(snapshot, hash_of(&(namespace, name)), namespace, name)
    }

    fn find_hashed(&self, snapshot: &Snapshot, hash: u64, namespace: &str, name: &str) -> Option<PodId> {
        let is_pod = |id: &PodId| {
            let pod = snapshot.pod(*id);
            *pod.name == *name && snapshot.text(pod.namespace) == namespace
        };
        self.table.find(hash, is_pod).copied()
    }

    pub(super) fn reserve(&mut self, snapshot: &Snapshot, pods: usize) {
        self.table
            .reserve(pods, |id| key_hash(&snapshot.pods, &snapshot.symbols, *id));
    }

    fn insert(&mut self, snapshot: &Snapshot, hash: u64, id: PodId) {
        let rehash = |id: &PodId| key_hash(&snapshot.pods, &snapshot.symbols, *id);
        self.table.insert_unique(hash, id, rehash);
    }

    fn remove(&mut self, snapshot: &Snapshot, id: PodId) {
        let hash = key_hash(&snapshot.pods, &snapshot.symbols, id);
        if let Ok(entry) = self.table.find_entry(hash, |known| *known == id) {
            entry.remove();
        }
    }

    fn renumber(&mut self, snapshot: &Snapshot, old: PodId, new: PodId) {
        let hash = key_hash(&snapshot.pods, &snapshot.symbols, old);
        if let Some(entry) = self.table.find_mut(hash, |known| *known == old) {
            *entry = new;
        }
    }
}

fn key_hash(pods: &[Pod], symbols: &Symbols, id: PodId) -> u64 {
    pods.get(id.index())
        .map_or(0, |pod| hash_of(&(symbols.text(pod.namespace), &*pod.name)))
}

/// Where a pod is in a list in order.
fn position(snapshot: &Snapshot, list: &[PodId], id: PodId) -> Option<usize> {
    list.binary_search_by(|other| snapshot.compare_pods(*other, id)).ok()
}

fn insert_in_order(snapshot: &Snapshot, list: &mut Vec<PodId>, id: PodId) {
    let before = |other: &PodId| snapshot.compare_pods(*other, id).is_lt();
    // Most lists arrive in order.
    let index = if list.last().is_none_or(before) {
        list.len()
    } else {
        list.partition_point(before)
    };
    list.insert(index, id);
}

// === impl More ===

impl More {
    const fn is_empty(&self) -> bool {
        self.node.is_none() && self.nominated.is_none() && !self.own && self.source.is_none()
    }
}

// === impl Source ===

impl Source {
    /// What depends on other objects, when anything does.
    fn of(manifest: &manifest::Pod) -> Option<Box<Self>> {
        if !Self::is_needed(manifest) {
            return None;
        }
        let (metadata, spec) = (&manifest.metadata, &manifest.spec);
        let class = &spec.priority_class_name;
        let priority_class = (spec.priority.is_none() && !class.is_empty()).then(|| class.clone());
        let annotations = metadata
            .annotations
            .get_key_value(SAFE_LOCAL_VOLUMES_ANNOTATION)
            .into_iter();
        // Of most kinds of volumes nothing but the name is read.
        let volumes = spec.volumes.iter().filter(|volume| !is_plain(volume));
        Some(Box::new(Self {
            metadata: ObjectMeta {
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                uid: metadata.uid.clone(),
                annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
                ..ObjectMeta::default()
            },
            volumes: volumes.cloned().collect(),
            priority_class,
        }))
    }

    /// Whether the class of a pod depends on other objects.
    pub(super) fn is_needed(manifest: &manifest::Pod) -> bool {
        let (metadata, spec) = (&manifest.metadata, &manifest.spec);
        let has_claim = |volume: &Volume| claim_name(metadata, volume).is_some();
        (spec.priority.is_none() && !spec.priority_class_name.is_empty()) || spec.volumes.iter().any(has_claim)
    }
}
