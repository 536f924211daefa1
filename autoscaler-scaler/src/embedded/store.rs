//! The objects, their revisions and the history of changes. May hold: what etcd and the watch cache hold in a real
//! control plane, and nothing that knows the meaning of an object.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{at, is_terminating, set, text};
use super::resource::{GroupResource, ResourceType};

/// Where an object is: its namespace (empty for cluster-scoped ones) and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectKey {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn of(object: &Value) -> Self {
        Self::new(
            text(object, &["metadata", "namespace"]),
            text(object, &["metadata", "name"]),
        )
    }
}

/// One change of one object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) resource: GroupResource,
    /// The object before; none when it was created.
    pub(super) before: Option<Arc<Value>>,
    /// The object after; none when it was removed.
    pub(super) after: Option<Arc<Value>>,
    /// The last state of a removed object, with the revision of its removal.
    pub(super) removed: Option<Arc<Value>>,
}

/// Everything that the server knows. A clone is a cheap copy to try something out (`dryRun`).
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The clock's reading for the request that is being served.
    pub(super) now: Timestamp,
    types: BTreeMap<GroupResource, Arc<ResourceType>>,
    objects: BTreeMap<GroupResource, BTreeMap<ObjectKey, Arc<Value>>>,
    revision: u64,
    changed_at: BTreeMap<GroupResource, u64>,
    /// Revision of the last change of what exists, who owns whom, or what waits to go.
    ownership_changed_at: u64,
    history: VecDeque<Change>,
    history_limit: usize,
    /// Highest revision that the history no longer covers.
    compacted: u64,
    uids: u64,
    names: u64,
}

impl State {
    pub(super) fn new(now: Timestamp, history_limit: usize) -> Self {
        Self {
            now,
            types: BTreeMap::new(),
            objects: BTreeMap::new(),
            // A real server never shows the revisions 0 and 1 to a client; "0" has a meaning of its own.
            revision: 1,
            changed_at: BTreeMap::new(),
            ownership_changed_at: 0,
            history: VecDeque::new(),
            history_limit,
            compacted: 0,
            uids: 0,
            names: 0,
        }
    }

    pub(super) fn serve(&mut self, resource: ResourceType) {
        self.types.insert(resource.id.clone(), Arc::new(resource));
    }

    pub(super) fn stop_serving(&mut self, id: &GroupResource) {
        self.types.remove(id);
    }

    pub(super) fn types(&self) -> impl Iterator<Item = &Arc<ResourceType>> {
        self.types.values()
    }

    pub(super) fn resource_type(&self, group: &str, resource: &str) -> Option<Arc<ResourceType>> {
        self.types.get(&GroupResource::new(group, resource)).map(Arc::clone)
    }

    pub(super) fn type_of_kind(&self, group: &str, kind: &str) -> Option<Arc<ResourceType>> {
        self.types
            .values()
            .find(|ty| ty.id.group == group && ty.kind == kind)
            .map(Arc::clone)
    }

    /// Revision of the last change of anything.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Highest revision that watches can no longer start from.
    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Revision of the last change of any of these resources.
    pub(super) fn changed_at(&self, resources: &[(&str, &str)]) -> u64 {
        let last = |&(group, resource): &(&str, &str)| {
            self.changed_at
                .get(&GroupResource::new(group, resource))
                .copied()
                .unwrap_or_default()
        };
        resources.iter().map(last).max().unwrap_or_default()
    }

    /// Revision of the last change that garbage collection looks at: an object came, went, is terminating, or has other
    /// owners.
    pub(super) fn ownership_changed_at(&self) -> u64 {
        self.ownership_changed_at
    }

    pub(super) fn get(&self, resource: &GroupResource, key: &ObjectKey) -> Option<Arc<Value>> {
        self.objects.get(&storage(resource))?.get(key).map(Arc::clone)
    }

    /// The objects of a resource by namespace and name.
    pub(super) fn list(&self, resource: &GroupResource) -> impl Iterator<Item = &Arc<Value>> {
        self.objects
            .get(&storage(resource))
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// The objects of a built-in resource, as handles that do not borrow the state.
    pub(super) fn all(&self, group: &str, resource: &str) -> Vec<Arc<Value>> {
        self.list(&GroupResource::new(group, resource))
            .map(Arc::clone)
            .collect()
    }

    /// Every object with its resource.
    pub(super) fn everything(&self) -> impl Iterator<Item = (&GroupResource, &Arc<Value>)> {
        self.objects
            .iter()
            .flat_map(|(resource, objects)| objects.values().map(move |object| (resource, object)))
    }

    /// Stores an object under a new revision and returns it as stored.
    pub(super) fn put(&mut self, resource: &GroupResource, mut object: Value) -> Arc<Value> {
        let resource = storage(resource);
        let revision = self.next_revision(&resource);
        set(
            &mut object,
            &["metadata", "resourceVersion"],
            Some(json!(revision.to_string())),
        );
        let object = Arc::new(object);
        let objects = self.objects.entry(resource.clone()).or_default();
        let before = objects.insert(ObjectKey::of(&object), Arc::clone(&object));
        self.record(Change {
            revision,
            resource,
            before,
            after: Some(Arc::clone(&object)),
            removed: None,
        });
        object
    }

    /// Removes an object; returns its last state with the revision of the removal.
    pub(super) fn remove(&mut self, resource: &GroupResource, key: &ObjectKey) -> Option<Arc<Value>> {
        let resource = storage(resource);
        let before = self.objects.get_mut(&resource)?.remove(key)?;
        let revision = self.next_revision(&resource);
        let mut last = Value::clone(&before);
        set(
            &mut last,
            &["metadata", "resourceVersion"],
            Some(json!(revision.to_string())),
        );
        let last = Arc::new(last);
        self.record(Change {
            revision,
            resource,
            before: Some(before),
            after: None,
            removed: Some(Arc::clone(&last)),
        });
        Some(last)
    }

    /// The changes of a resource after a revision, oldest first.
    pub(super) fn changes_after<'a>(
        &'a self,
        resource: &GroupResource,
        revision: u64,
    ) -> impl Iterator<Item = &'a Change> {
        let resource = storage(resource);
        let start = self.history.partition_point(|change| change.revision <= revision);
        self.history
            .range(start..)
            .filter(move |change| change.resource == resource)
    }

    /// Forgets the history, so that a watch from an older revision is answered 410 Gone.
    pub(super) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    /// A valid version 4 UUID that no object has had.
    pub(super) fn new_uid(&mut self) -> String {
        self.uids += 1;
        let (high, low) = (scramble(self.uids), scramble(self.uids ^ 0x9e37_79b9_7f4a_7c15));
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | (low >> 48) & 0x3fff,
            low & 0xffff_ffff_ffff,
        )
    }

    /// The five characters that a generated name ends with.
    pub(super) fn name_suffix(&mut self) -> String {
        self.names += 1;
        encode_suffix(scramble(self.names), 5)
    }

    fn next_revision(&mut self, resource: &GroupResource) -> u64 {
        self.revision += 1;
        self.changed_at.insert(resource.clone(), self.revision);
        self.revision
    }

    fn record(&mut self, change: Change) {
        if changes_ownership(&change) {
            self.ownership_changed_at = change.revision;
        }
        self.history.push_back(change);
        while self.history.len() > self.history_limit {
            if let Some(dropped) = self.history.pop_front() {
                self.compacted = dropped.revision;
            }
        }
    }
}

/// Text of the characters that Kubernetes uses for generated suffixes (no vowels, nothing easily confused).
pub(super) fn encode_suffix(mut number: u64, length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut suffix = String::with_capacity(length);
    for _ in 0..length {
        let index = usize::try_from(number % 27).unwrap_or_default();
        suffix.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'b')));
        number /= 27;
    }
    suffix
}

fn changes_ownership(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return true;
    };
    let owners = |object: &Value| at(object, &["metadata", "ownerReferences"]).cloned();
    is_terminating(after) || owners(before) != owners(after)
}

/// Both event APIs show the same objects.
fn storage(resource: &GroupResource) -> GroupResource {
    match resource.group.as_str() {
        "events.k8s.io" => GroupResource::new("", &resource.resource),
        _ => resource.clone(),
    }
}

/// SplitMix64: spreads a counter over all bits, without repeats.
fn scramble(counter: u64) -> u64 {
    let mut z = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
