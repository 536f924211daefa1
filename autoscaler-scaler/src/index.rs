//! What is known of the cluster: the objects of all watches, and what our own writes returned.
//!
//! A relist replaces a kind of objects at once and never shows half of it. Nothing here decides anything.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use autoscaler_core::{
    build::Input,
    manifest::{
        autoscaler as crd,
        node::Node,
        pod::Pod,
        storage::{CsiNode, PersistentVolume, PersistentVolumeClaim, StorageClass},
        workload::{DaemonSet, Namespace, PodDisruptionBudget, PriorityClass},
    },
    provider::Offering,
    snapshot::Snapshot,
};
use kube::ResourceExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use crate::api;

/// Namespace and name; the namespace of cluster-scoped objects is empty.
pub type Key = (String, String);

/// An object of ours: as it is written, and as planning reads it.
#[derive(Clone, Debug)]
pub struct Watched<K, V> {
    /// The object.
    pub object: K,
    /// What planning reads of it.
    pub view: V,
}

/// A NodeGroup.
pub type WatchedGroup = Watched<api::NodeGroup, crd::NodeGroup>;
/// A VPSieNode.
pub type WatchedMachine = Watched<api::VPSieNode, crd::VPSieNode>;
/// The AutoscalerConfig.
pub type WatchedConfig = Watched<api::AutoscalerConfig, crd::AutoscalerConfig>;

/// One reading of the index. Cheap to make: the objects are shared.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<Node>>,
    /// Pods.
    pub pods: BTreeMap<Key, Arc<Pod>>,
    /// PodDisruptionBudgets.
    pub budgets: BTreeMap<Key, Arc<PodDisruptionBudget>>,
    /// DaemonSets.
    pub daemon_sets: BTreeMap<Key, Arc<DaemonSet>>,
    /// PriorityClasses.
    pub priority_classes: BTreeMap<Key, Arc<PriorityClass>>,
    /// PersistentVolumes.
    pub volumes: BTreeMap<Key, Arc<PersistentVolume>>,
    /// PersistentVolumeClaims.
    pub claims: BTreeMap<Key, Arc<PersistentVolumeClaim>>,
    /// StorageClasses.
    pub storage_classes: BTreeMap<Key, Arc<StorageClass>>,
    /// CSINodes.
    pub csi_nodes: BTreeMap<Key, Arc<CsiNode>>,
    /// Namespaces.
    pub namespaces: BTreeMap<Key, Arc<Namespace>>,
    /// NodeGroups.
    pub groups: BTreeMap<Key, Arc<WatchedGroup>>,
    /// VPSieNodes.
    pub machines: BTreeMap<Key, Arc<WatchedMachine>>,
    /// AutoscalerConfigs; only the one named `default` counts.
    pub configs: BTreeMap<Key, Arc<WatchedConfig>>,
}

/// The index. Clones share it.
#[derive(Clone, Debug)]
pub struct Index {
    cluster: Arc<RwLock<Cluster>>,
    version: watch::Sender<u64>,
}

// === impl Index ===

impl Default for Index {
    fn default() -> Self {
        Self {
            cluster: Arc::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl Index {
    /// What is known now.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        self.cluster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells of every change. The number only ever grows.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Takes in the result of a write to a VPSieNode, unless the watch already brought a newer one.
    pub fn put_machine(&self, object: api::VPSieNode) {
        let Some(watched) = Watched::new(object) else { return };
        self.update(|cluster| {
            let key = key_of(&watched.object);
            if cluster
                .machines
                .get(&key)
                .is_none_or(|old| old.version() <= watched.version())
            {
                cluster.machines.insert(key, Arc::new(watched));
            }
        });
    }

    /// Takes note that a VPSieNode is gone.
    pub fn remove_machine(&self, key: &Key) {
        self.update(|cluster| drop(cluster.machines.remove(key)));
    }

    /// Takes in the result of a write to a NodeGroup, unless the watch already brought a newer one.
    pub fn put_group(&self, object: api::NodeGroup) {
        let Some(watched) = Watched::new(object) else { return };
        self.update(|cluster| {
            let key = key_of(&watched.object);
            if cluster
                .groups
                .get(&key)
                .is_none_or(|old| old.version() <= watched.version())
            {
                cluster.groups.insert(key, Arc::new(watched));
            }
        });
    }

    /// Takes in the result of a write to a Node, unless the watch already brought a newer one.
    pub fn put_node(&self, node: Node) {
        self.update(|cluster| {
            if cluster
                .nodes
                .get(&node.metadata.name)
                .is_none_or(|old| old.version() <= node.version())
            {
                cluster.nodes.insert(node.metadata.name.clone(), Arc::new(node));
            }
        });
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.cluster.write().unwrap_or_else(PoisonError::into_inner));
        self.version.send_modify(|version| *version += 1);
    }
}

// === impl Cluster ===

impl Cluster {
    /// The AutoscalerConfig that counts: the one named `default`.
    #[must_use]
    pub fn config(&self) -> Option<&WatchedConfig> {
        self.configs
            .get(&(String::new(), api::CONFIG_NAME.to_owned()))
            .map(Arc::as_ref)
    }

    /// The snapshot of this reading, for a decision.
    #[must_use]
    pub fn snapshot(&self, offerings: &[Offering], own_node: Option<&str>) -> Snapshot {
        Snapshot::build(&Input {
            nodes: self.nodes.values().map(Arc::as_ref).collect(),
            pods: self.pods.values().map(Arc::as_ref).collect(),
            budgets: self.budgets.values().map(Arc::as_ref).collect(),
            daemon_sets: self.daemon_sets.values().map(Arc::as_ref).collect(),
            priority_classes: self.priority_classes.values().map(Arc::as_ref).collect(),
            volumes: self.volumes.values().map(Arc::as_ref).collect(),
            claims: self.claims.values().map(Arc::as_ref).collect(),
            storage_classes: self.storage_classes.values().map(Arc::as_ref).collect(),
            csi_nodes: self.csi_nodes.values().map(Arc::as_ref).collect(),
            namespaces: self.namespaces.values().map(Arc::as_ref).collect(),
            groups: self.groups.values().map(|group| &group.view).collect(),
            machines: self.machines.values().map(|machine| &machine.view).collect(),
            config: self.config().map(|config| &config.view),
            offerings,
            own_node,
        })
    }
}

// === impl Watched ===

impl<K: Serialize, V: DeserializeOwned> Watched<K, V> {
    /// The object with its view, or `None` when the object does not have the shape of the view, which the schema of
    /// the CustomResourceDefinition rules out.
    #[must_use]
    pub fn new(object: K) -> Option<Self> {
        match serde_json::to_value(&object).and_then(serde_json::from_value) {
            Ok(view) => Some(Self { object, view }),
            Err(error) => {
                tracing::error!(%error, "an object of ours cannot be read for planning and is left out");
                None
            }
        }
    }
}

/// Namespace and name of an object.
pub(crate) fn key_of(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// An object whose age can be compared with another reading of it.
pub(crate) trait Versioned {
    /// The resource version as a number, which grows with every write. The API server promises this order since
    /// Kubernetes 1.35 and has always kept it.
    fn version(&self) -> u64;
}

impl<K: ResourceExt, V> Versioned for Watched<K, V> {
    fn version(&self) -> u64 {
        number(self.object.resource_version().as_deref().unwrap_or_default())
    }
}

macro_rules! versioned {
    ($($view:ty),*) => {$(
        impl Versioned for $view {
            fn version(&self) -> u64 {
                number(&self.metadata.resource_version)
            }
        }
    )*};
}

versioned!(
    Node,
    Pod,
    PodDisruptionBudget,
    DaemonSet,
    PriorityClass,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    CsiNode,
    Namespace
);

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}
