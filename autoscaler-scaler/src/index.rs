//! What is known of the cluster: what all watches have brought, and what our own writes returned.
//!
//! Objects are folded one by one into the index of the core ([`autoscaler_core::index`]), which keeps of them what planning
//! reads; pods are kept nowhere else. Of Nodes, NodeGroups, VPSieNodes and the AutoscalerConfig the objects are kept too,
//! because carrying a decision out needs them. A decision is made from a [`Reading`], which nothing changes any more.
//!
//! How the objects of each kind come in and go is in `kinds`. Nothing here decides anything.

mod kinds;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use autoscaler_core::{
    index as core,
    manifest::node::Node,
    provider::Offering,
    snapshot::{Problem, Snapshot},
    usage::MeasuredUsage,
};
use kube::ResourceExt;
use tokio::sync::watch;

pub(crate) use self::kinds::Kept;
use crate::api;

/// After so many changes the core does what they have left to do, also when nobody asks for a snapshot: a replica that waits
/// for the lease never does, and would pile it up.
const SETTLE_AFTER: u32 = 4096;

/// Namespace and name; the namespace of cluster-scoped objects is empty.
pub type Key = (String, String);

/// The objects that carrying out needs, at one moment. Cheap to make: the objects are shared.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<Node>>,
    /// NodeGroups.
    pub groups: BTreeMap<Key, Arc<api::NodeGroup>>,
    /// VPSieNodes.
    pub machines: BTreeMap<Key, Arc<api::VPSieNode>>,
    /// The AutoscalerConfig that counts: the one named `default`.
    pub config: Option<Arc<api::AutoscalerConfig>>,
}

/// What a decision is made from, and what carrying it out starts from: all of one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The objects.
    pub cluster: Cluster,
    /// What planning reads.
    pub snapshot: Snapshot,
}

/// The index. Clones share it.
#[derive(Clone, Debug)]
pub struct Index {
    known: Arc<Mutex<Known>>,
    version: watch::Sender<u64>,
}

/// What is behind the lock. Nothing that takes longer than a copy of a snapshot may happen while it is held, because the
/// watches wait for it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    cluster: Cluster,
    core: core::Index,
    /// Which objects there are of each kind that only the core keeps. Of pods its snapshot says so.
    names: BTreeMap<&'static str, BTreeSet<Key>>,
    /// What is wrong with objects that are left out, by kind.
    unreadable: BTreeMap<(&'static str, Key), String>,
    /// Kinds of which a list is half taken in.
    half_listed: BTreeSet<&'static str>,
    /// Changes since the core was last made to settle them.
    unsettled: u32,
}

// === impl Index ===

impl Default for Index {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl Index {
    /// The objects that are known now.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        self.known().cluster.clone()
    }

    /// What planning reads of what is known now. Its [`problems`](Snapshot::problems) also name the objects that cannot be
    /// read and are left out.
    ///
    /// It is a copy: with 150,000 pods it is some 50 MB and takes some 20 ms, for which the watches wait.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.known().snapshot()
    }

    /// Objects and snapshot of one moment, or `None` while a list of some kind is half taken in: pods of two times would
    /// stand beside each other.
    #[must_use]
    pub fn reading(&self) -> Option<Reading> {
        let mut known = self.known();
        known.half_listed.is_empty().then(|| Reading {
            snapshot: known.snapshot(),
            cluster: known.cluster.clone(),
        })
    }

    /// As [`Self::snapshot`], as if nodes were so as `nodes` says of the objects of the same moment.
    #[must_use]
    pub(crate) fn snapshot_with(&self, nodes: impl FnOnce(&Cluster) -> Vec<Node>) -> Snapshot {
        let (mut core, cluster) = {
            let known = self.known();
            (known.core.clone(), known.cluster.clone())
        };
        for node in nodes(&cluster) {
            core.put_node(&node);
        }
        core.into_snapshot()
    }

    /// Tells of every change. The number only ever grows.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Sets what the provider offers. This is no change that anybody is told of.
    pub fn set_offerings(&self, offerings: Vec<Offering>) {
        self.known().core.set_offerings(offerings);
    }

    /// Sets what nodes were measured to use, or that nobody measures. This is no change that anybody is told of.
    pub fn set_measured_usage(&self, measured: Option<Arc<MeasuredUsage>>) {
        self.known().core.set_measured_usage(measured);
    }

    /// Sets the node that this operator runs on. Nodes that its pods run on are known without being told.
    pub fn set_own_node(&self, name: Option<String>) {
        self.known().core.set_own_node(name);
    }

    /// Takes in the result of a write to a VPSieNode, unless the watch already brought a newer one.
    pub fn put_machine(&self, object: api::VPSieNode) {
        self.put_written(object);
    }

    /// Takes note that a VPSieNode is gone.
    pub fn remove_machine(&self, key: &Key) {
        self.remove::<api::VPSieNode>(key);
    }

    /// Takes in the result of a write to a NodeGroup, unless the watch already brought a newer one.
    pub fn put_group(&self, object: api::NodeGroup) {
        self.put_written(object);
    }

    /// Takes in the result of a write to a Node, unless the watch already brought a newer one.
    pub fn put_node(&self, node: Node) {
        self.update(|known| known.put_node(node));
    }

    fn put_written<K: Kept>(&self, object: K) {
        let key = key_of(&object);
        if let Err(message) = self.put(object) {
            let (namespace, name) = key;
            tracing::error!(
                kind = K::KIND,
                namespace,
                name,
                message,
                "what was written cannot be read for planning"
            );
        }
    }

    /// Takes in an object, unless a newer reading of it is known.
    ///
    /// # Errors
    /// What is wrong with it. It is left out then, and what was known of it is forgotten: it is no longer true.
    pub(crate) fn put<K: Kept>(&self, object: K) -> Result<(), String> {
        let key = key_of(&object);
        self.update(|known| match object.put(known) {
            Ok(()) => {
                known.unreadable.remove(&(K::KIND, key));
                Ok(())
            }
            Err(error) => {
                known.leave_out::<K>(key, error.to_string());
                Err(error.to_string())
            }
        })
    }

    /// Leaves out an object that cannot be decoded. What was known of it is forgotten.
    pub(crate) fn leave_out<K: Kept>(&self, key: Key, message: String) {
        self.update(|known| known.leave_out::<K>(key, message));
    }

    /// Takes note that an object is gone.
    pub(crate) fn remove<K: Kept>(&self, key: &Key) {
        self.update(|known| known.remove::<K>(key));
    }

    /// Takes note that the objects of a list begin to come in.
    pub(crate) fn begin_list<K: Kept>(&self) {
        self.known().half_listed.insert(K::KIND);
    }

    /// Ends a list: the objects that were not on it are gone.
    pub(crate) fn end_list<K: Kept>(&self, gone: &BTreeSet<Key>) {
        self.update(|known| {
            for key in gone {
                known.remove::<K>(key);
            }
            known.half_listed.remove(K::KIND);
        });
    }

    /// Every object of a kind that is known or left out.
    pub(crate) fn keys<K: Kept>(&self) -> BTreeSet<Key> {
        let mut known = self.known();
        let mut keys = K::keys(&mut known);
        let left_out = known.unreadable.keys().filter(|(kind, _)| *kind == K::KIND);
        keys.extend(left_out.map(|(_, key)| key.clone()));
        keys
    }

    fn update<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let result = self.known().update(change);
        self.version.send_modify(|version| *version += 1);
        result
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Known ===

impl Known {
    fn update<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        let result = change(self);
        self.unsettled += 1;
        if SETTLE_AFTER <= self.unsettled {
            self.unsettled = 0;
            self.core.snapshot();
        }
        result
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = self.core.snapshot().clone();
        let problem = |((kind, (namespace, name)), message): (&(&str, Key), &String)| {
            let separator = if namespace.is_empty() { "" } else { "/" };
            Problem {
                object: format!("{kind} {namespace}{separator}{name}"),
                field: "object".to_owned(),
                message: format!("{message}; it is left out"),
            }
        };
        snapshot.problems.extend(self.unreadable.iter().map(problem));
        snapshot
    }

    fn leave_out<K: Kept>(&mut self, key: Key, message: String) {
        K::remove(self, &key);
        self.unreadable.insert((K::KIND, key), message);
    }

    fn remove<K: Kept>(&mut self, key: &Key) {
        K::remove(self, key);
        self.unreadable.remove(&(K::KIND, key.clone()));
    }
}

/// Namespace and name of an object.
pub(crate) fn key_of(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::view::{SlimNode, SlimPod};

    fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    fn pod(name: &str, node: &str) -> SlimPod {
        object(json!({ "metadata": { "name": name, "namespace": "a" }, "spec": { "nodeName": node } }))
    }

    fn node(version: u32, cpu: &str) -> SlimNode {
        object(json!({
            "metadata": { "name": "n1", "resourceVersion": version.to_string() },
            "status": { "allocatable": { "cpu": cpu } },
        }))
    }

    #[test]
    fn there_is_nothing_to_decide_from_while_a_list_is_half_taken_in() {
        let index = Index::default();
        index.put(pod("stays", "")).unwrap();
        index.put(pod("goes", "")).unwrap();
        assert!(index.reading().is_some());
        let mut unlisted = index.keys::<SlimPod>();
        index.begin_list::<SlimPod>();
        assert!(index.reading().is_none());
        // What carrying out needs is there all the time, with nothing missing.
        assert_eq!(index.snapshot().pods.len(), 2);
        unlisted.remove(&("a".to_owned(), "stays".to_owned()));
        index.put(pod("stays", "")).unwrap();
        index.end_list::<SlimPod>(&unlisted);
        let snapshot = index.reading().unwrap().snapshot;
        assert_eq!(
            snapshot.pods.iter().map(|pod| &*pod.name).collect::<Vec<_>>(),
            ["stays"]
        );
    }

    #[test]
    fn a_reading_does_not_change_any_more() {
        let index = Index::default();
        index.put(node(5, "4")).unwrap();
        index.put(pod("p", "n1")).unwrap();
        let before = index.reading().unwrap();
        index.remove::<SlimPod>(&("a".to_owned(), "p".to_owned()));
        index.remove::<SlimNode>(&(String::new(), "n1".to_owned()));
        assert_eq!((before.cluster.nodes.len(), before.snapshot.pods.len()), (1, 1));
        let after = index.reading().unwrap();
        assert_eq!((after.cluster.nodes.len(), after.snapshot.pods.len()), (0, 0));
    }

    #[test]
    fn an_older_reading_of_a_node_is_not_taken_in() {
        let index = Index::default();
        index.put(node(5, "4")).unwrap();
        index.put(node(4, "2")).unwrap();
        let cpu = || index.snapshot().nodes.first().map(|node| node.allocatable.cpu);
        assert_eq!(cpu(), Some(4000));
        index.put(node(6, "3")).unwrap();
        assert_eq!(cpu(), Some(3000));
    }

    #[test]
    fn a_what_if_changes_nothing() {
        let index = Index::default();
        index.put(node(5, "4")).unwrap();
        let mut asked = None;
        let lifted = index.snapshot_with(|cluster| {
            let mut node = Node::clone(cluster.nodes.get("n1").unwrap());
            node.spec.unschedulable = true;
            asked = Some(cluster.nodes.len());
            vec![node]
        });
        assert_eq!(asked, Some(1));
        let is_cordoned = |snapshot: &Snapshot| snapshot.nodes.first().map(|node| node.unschedulable);
        assert_eq!(is_cordoned(&lifted), Some(true));
        assert_eq!(is_cordoned(&index.snapshot()), Some(false));
    }

    #[test]
    fn only_the_config_of_the_right_name_counts() {
        let index = Index::default();
        let config = |name: &str| {
            let spec = json!({ "globalSettings": { "maxClusterWorkers": 7 } });
            let value = json!({
                "apiVersion": api::API_VERSION, "kind": "AutoscalerConfig", "metadata": { "name": name }, "spec": spec,
            });
            object::<api::AutoscalerConfig>(value)
        };
        index.put(config("other")).unwrap();
        assert!(index.cluster().config.is_none());
        index.put(config(api::CONFIG_NAME)).unwrap();
        index.remove::<api::AutoscalerConfig>(&(String::new(), "other".to_owned()));
        assert!(index.cluster().config.is_some());
        let other = index.snapshot().settings;
        index.remove::<api::AutoscalerConfig>(&(String::new(), api::CONFIG_NAME.to_owned()));
        assert!(index.cluster().config.is_none());
        assert_ne!(format!("{other:?}"), format!("{:?}", index.snapshot().settings));
    }
}
