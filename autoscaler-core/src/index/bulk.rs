//! Takes in many pods at once: pods of one template are read once, and the lists of pods are put in order once.

use hashbrown::HashTable;

use super::{Index, pods::Source};
use crate::{
    build::{Traits, write_signature},
    hash::hash_of,
    manifest::pod as manifest,
    snapshot::{ClassId, NodeId, PodId, Snapshot},
    symbol::Symbol,
};

/// So many bytes of signatures are remembered at most.
const MOST_BYTES: usize = 16 << 20;

/// So many pods are fetched at once.
const AT_ONCE: usize = 16;

/// What has been read of pods, by their signatures.
#[derive(Default)]
struct Known {
    /// All signatures, one after the other.
    bytes: Vec<u8>,
    table: HashTable<Template>,
}

/// What pods with one signature are.
struct Template {
    hash: u64,
    /// Where the signature starts and ends.
    start: usize,
    end: usize,
    /// Counted as used once more, so that it stays while it is remembered.
    class: ClassId,
    traits: Traits,
}

// === impl Index ===

impl Index {
    /// Takes in a complete list of pods: those that are not on it are removed.
    pub fn replace_pods<'p>(&mut self, listed: impl IntoIterator<Item = &'p manifest::Pod>) {
        let mut is_listed = vec![false; self.snapshot.pods.len()];
        self.put_pods(listed, |id| {
            if is_listed.len() <= id.index() {
                is_listed.resize(id.index() + 1, false);
            }
            if let Some(is_listed) = is_listed.get_mut(id.index()) {
                *is_listed = true;
            }
        });
        // From the end, because the last pod takes the place of one that is removed.
        for (index, is_listed) in is_listed.into_iter().enumerate().rev() {
            if !is_listed {
                self.remove_pod_by_id(PodId::from_index(index));
            }
        }
    }

    /// Adds or replaces every one of these pods, and tells the id of each.
    pub(super) fn put_pods<'p>(
        &mut self,
        listed: impl IntoIterator<Item = &'p manifest::Pod>,
        mut tell: impl FnMut(PodId),
    ) {
        let mut known = Known::default();
        let mut signature = Vec::new();
        self.pods.disordered = Some(vec![false; self.snapshot.nodes.len()]);
        let listed: Vec<&manifest::Pod> = listed.into_iter().collect();
        for some in listed.chunks(AT_ONCE) {
            fetch(some);
            for manifest in some {
                let id = if Source::is_needed(manifest) {
                    let (class, traits, source) = self.read_pod(manifest);
                    self.place_pod(manifest, class, &traits, source)
                } else {
                    write_signature(manifest, &mut signature);
                    let (class, traits) = self.read_known(&mut known, &signature, manifest);
                    self.place_pod(manifest, class, &traits, None)
                };
                tell(id);
            }
        }
        for template in known.table {
            self.release_class(template.class);
        }
        let disordered = self.pods.disordered.take().unwrap_or_default();
        for (index, is_disordered) in disordered.into_iter().enumerate() {
            if is_disordered {
                self.sort_pods_on(NodeId::from_index(index));
            }
        }
    }

    /// The class of a pod, which has one user more, and its traits: those of an earlier pod with this signature, if there was
    /// one.
    fn read_known(&mut self, known: &mut Known, signature: &[u8], manifest: &manifest::Pod) -> (ClassId, Traits) {
        let hash = hash_of(signature);
        if let Some(template) = known.get(hash, signature) {
            self.classes.hold(template.class);
            return (template.class, template.traits);
        }
        let (class, traits, _) = self.read_pod(manifest);
        if MOST_BYTES < known.bytes.len() {
            for template in std::mem::take(known).table {
                self.release_class(template.class);
            }
        }
        self.classes.hold(class);
        known.add(hash, signature, class, traits);
        (class, traits)
    }

    /// Puts the pods of a node in order.
    fn sort_pods_on(&mut self, node: NodeId) {
        let Some(list) = self.snapshot.pods_by_node.get_mut(node.index()) else {
            return;
        };
        let mut list = std::mem::take(list);
        sort(&self.snapshot, &mut list);
        if let Some(slot) = self.snapshot.pods_by_node.get_mut(node.index()) {
            *slot = list;
        }
    }
}

/// Fetches pods from memory into the caches of the processor: looks at one byte of each text that is going to be read. So the
/// processor waits for many texts at the same time, as it cannot while it is busy with one pod. This takes a fifth off the
/// time of a list that is larger than the caches.
fn fetch(pods: &[&manifest::Pod]) {
    let mut sum = 0_u8;
    let mut fetch = |text: &String| sum ^= text.as_bytes().first().copied().unwrap_or_default();
    for manifest::Pod { metadata, spec, status } in pods {
        for text in [&metadata.name, &metadata.uid, &metadata.namespace] {
            fetch(text);
        }
        for (key, value) in &metadata.labels {
            fetch(key);
            fetch(value);
        }
        for owner in &metadata.owner_references {
            fetch(&owner.kind);
            fetch(&owner.name);
        }
        fetch(&spec.node_name);
        for container in &spec.containers {
            fetch(&container.name);
            container.resources.requests.keys().for_each(&mut fetch);
            container.resources.limits.keys().for_each(&mut fetch);
        }
        fetch(&status.phase);
        for condition in &status.conditions {
            fetch(&condition.type_);
            fetch(&condition.status);
        }
        for container in &status.container_statuses {
            fetch(&container.name);
            container.allocated_resources.keys().for_each(&mut fetch);
        }
    }
    // What is computed is of no use; that it is keeps the compiler from leaving it out.
    std::hint::black_box(sum);
}

/// Sorts pods by namespace and name. Most names are told apart by their first bytes, which are fetched once.
pub(super) fn sort(snapshot: &Snapshot, list: &mut [PodId]) {
    let key = |id: &PodId| -> (Symbol, u64, PodId) {
        let pod = snapshot.pod(*id);
        let mut start = [0; 8];
        for (byte, of_name) in start.iter_mut().zip(pod.name.bytes()) {
            *byte = of_name;
        }
        (pod.namespace, u64::from_be_bytes(start), *id)
    };
    let mut keys: Vec<_> = list.iter().map(key).collect();
    keys.sort_unstable_by(|(namespace, start, one), (other_namespace, other_start, other)| {
        let by_start = (namespace == other_namespace).then(|| start.cmp(other_start));
        by_start
            .filter(|order| order.is_ne())
            .unwrap_or_else(|| snapshot.compare_pods(*one, *other))
    });
    for (slot, (.., id)) in list.iter_mut().zip(keys) {
        *slot = id;
    }
}

// === impl Known ===

impl Known {
    fn get(&self, hash: u64, signature: &[u8]) -> Option<&Template> {
        let has_signature = |template: &Template| {
            template.hash == hash && self.bytes.get(template.start..template.end) == Some(signature)
        };
        self.table.find(hash, has_signature)
    }

    fn add(&mut self, hash: u64, signature: &[u8], class: ClassId, traits: Traits) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(signature);
        let template = Template {
            hash,
            start,
            end: self.bytes.len(),
            class,
            traits,
        };
        self.table.insert_unique(hash, template, |template| template.hash);
    }
}
