//! How the objects of each kind come into the index and leave it.
//!
//! Kinds that we write ourselves have a version check: the watch may lag behind what a write returned. Of all others the
//! watch is the only source, and its order is right.

use std::{collections::BTreeSet, sync::Arc};

use autoscaler_core::manifest::{autoscaler as crd, node::Node};
use kube::ResourceExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{Key, Known, key_of};
use crate::{
    api::{self, AutoscalerConfig, NodeGroup, VPSieNode},
    view::{
        Slim, SlimBudget, SlimClaim, SlimCsiNode, SlimDaemonSet, SlimNamespace, SlimNode, SlimPod, SlimPriorityClass,
        SlimStorageClass, SlimVolume,
    },
};

/// A kind that the index holds.
pub(crate) trait Kept: ResourceExt + Sized {
    /// Its name.
    const KIND: &'static str;

    /// Takes the object in, unless a newer reading of it is known.
    ///
    /// # Errors
    /// When the object does not have the shape that planning reads, which the schemas of our own kinds rule out.
    fn put(self, known: &mut Known) -> Result<(), serde_json::Error>;

    /// Forgets an object.
    fn remove(known: &mut Known, key: &Key);

    /// Every object of the kind.
    fn keys(known: &mut Known) -> BTreeSet<Key>;
}

/// Kinds that only the core keeps. How its functions are called comes last: by namespace and name, or by name.
macro_rules! kept_by_core {
    ($($slim:ty, $kind:literal, $put:ident, $remove:ident($($part:tt),*);)*) => {$(
        impl Kept for $slim {
            const KIND: &'static str = $kind;

            fn put(self, known: &mut Known) -> Result<(), serde_json::Error> {
                known.names.entry(Self::KIND).or_default().insert(key_of(&self));
                known.core.$put(&self.into_view());
                Ok(())
            }

            fn remove(known: &mut Known, key: &Key) {
                if let Some(names) = known.names.get_mut(Self::KIND) {
                    names.remove(key);
                }
                known.core.$remove($(&key.$part),*);
            }

            fn keys(known: &mut Known) -> BTreeSet<Key> {
                known.names.get(Self::KIND).cloned().unwrap_or_default()
            }
        }
    )*};
}

kept_by_core! {
    SlimBudget, "PodDisruptionBudget", put_budget, remove_budget(0, 1);
    SlimDaemonSet, "DaemonSet", put_daemon_set, remove_daemon_set(0, 1);
    SlimPriorityClass, "PriorityClass", put_priority_class, remove_priority_class(1);
    SlimVolume, "PersistentVolume", put_volume, remove_volume(1);
    SlimClaim, "PersistentVolumeClaim", put_claim, remove_claim(0, 1);
    SlimStorageClass, "StorageClass", put_storage_class, remove_storage_class(1);
    SlimCsiNode, "CSINode", put_csi_node, remove_csi_node(1);
    SlimNamespace, "Namespace", put_namespace, remove_namespace(1);
}

impl Kept for SlimPod {
    const KIND: &'static str = "Pod";

    fn put(self, known: &mut Known) -> Result<(), serde_json::Error> {
        known.core.put_pod(&self.into_view());
        Ok(())
    }

    fn remove(known: &mut Known, key: &Key) {
        known.core.remove_pod(&key.0, &key.1);
    }

    fn keys(known: &mut Known) -> BTreeSet<Key> {
        let snapshot = known.core.snapshot();
        let pods = snapshot.pods.iter();
        pods.map(|pod| (snapshot.text(pod.namespace).to_owned(), pod.name.to_string()))
            .collect()
    }
}

impl Kept for SlimNode {
    const KIND: &'static str = "Node";

    fn put(self, known: &mut Known) -> Result<(), serde_json::Error> {
        known.put_node(self.into_view());
        Ok(())
    }

    fn remove(known: &mut Known, key: &Key) {
        known.cluster.nodes.remove(&key.1);
        known.core.remove_node(&key.1);
    }

    fn keys(known: &mut Known) -> BTreeSet<Key> {
        let names = known.cluster.nodes.keys();
        names.map(|name| (String::new(), name.clone())).collect()
    }
}

impl Kept for NodeGroup {
    const KIND: &'static str = "NodeGroup";

    fn put(self, known: &mut Known) -> Result<(), serde_json::Error> {
        let key = key_of(&self);
        if is_outdated(&self, known.cluster.groups.get(&key)) {
            return Ok(());
        }
        known.core.put_group(&view::<_, crd::NodeGroup>(&self)?);
        known.cluster.groups.insert(key, Arc::new(self));
        Ok(())
    }

    fn remove(known: &mut Known, key: &Key) {
        known.cluster.groups.remove(key);
        known.core.remove_group(&key.0, &key.1);
    }

    fn keys(known: &mut Known) -> BTreeSet<Key> {
        known.cluster.groups.keys().cloned().collect()
    }
}

impl Kept for VPSieNode {
    const KIND: &'static str = "VPSieNode";

    fn put(self, known: &mut Known) -> Result<(), serde_json::Error> {
        let key = key_of(&self);
        if is_outdated(&self, known.cluster.machines.get(&key)) {
            return Ok(());
        }
        known.core.put_machine(&view::<_, crd::VPSieNode>(&self)?);
        known.cluster.machines.insert(key, Arc::new(self));
        Ok(())
    }

    fn remove(known: &mut Known, key: &Key) {
        known.cluster.machines.remove(key);
        known.core.remove_machine(&key.0, &key.1);
    }

    fn keys(known: &mut Known) -> BTreeSet<Key> {
        known.cluster.machines.keys().cloned().collect()
    }
}

/// Only the one that counts is kept.
impl Kept for AutoscalerConfig {
    const KIND: &'static str = "AutoscalerConfig";

    fn put(self, known: &mut Known) -> Result<(), serde_json::Error> {
        if self.name_any() != api::CONFIG_NAME {
            return Ok(());
        }
        known.core.set_config(Some(&view::<_, crd::AutoscalerConfig>(&self)?));
        known.cluster.config = Some(Arc::new(self));
        Ok(())
    }

    fn remove(known: &mut Known, key: &Key) {
        if key.1 == api::CONFIG_NAME {
            known.cluster.config = None;
            known.core.set_config(None);
        }
    }

    fn keys(known: &mut Known) -> BTreeSet<Key> {
        known.cluster.config.iter().map(|config| key_of(&**config)).collect()
    }
}

// === impl Known ===

impl Known {
    /// Takes in a Node, unless a newer reading of it is known.
    pub(super) fn put_node(&mut self, node: Node) {
        let version = version_of(&node.metadata.resource_version);
        let known = self.cluster.nodes.get(&node.metadata.name);
        if known.is_some_and(|known| version < version_of(&known.metadata.resource_version)) {
            return;
        }
        self.core.put_node(&node);
        self.cluster.nodes.insert(node.metadata.name.clone(), Arc::new(node));
    }
}

/// The resource version as a number, which grows with every write. The API server promises this order since Kubernetes
/// 1.35 and has always kept it.
pub(super) fn version_of(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn is_outdated<K: ResourceExt>(object: &K, known: Option<&Arc<K>>) -> bool {
    let version = |object: &K| version_of(object.resource_version().as_deref().unwrap_or_default());
    known.is_some_and(|known| version(object) < version(known))
}

/// What planning reads of an object of ours.
fn view<K: Serialize, V: DeserializeOwned>(object: &K) -> Result<V, serde_json::Error> {
    serde_json::to_value(object).and_then(serde_json::from_value)
}
