//! Kubernetes objects as text and as values: slim views of what planning reads, and a reader of YAML and JSON.
//!
//! The views have the names of the Kubernetes API and hold what it holds, unjudged: strings that only certain values
//! make sense in stay strings. They are read from files by [`read`], and from the API server's JSON by `serde_json`.
//! What belongs here is the shape of objects; what they mean is decided where they become a snapshot.
//!
//! ```
//! use autoscaler_core::manifest::{Objects, Source, read};
//!
//! let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {nodeName: n1}\n";
//! let mut objects = Objects::default();
//! read(&Source { name: "dump.yaml".into(), text }, &mut objects)?;
//! assert_eq!(objects.pods[0].spec.node_name, "n1");
//! # Ok::<(), autoscaler_core::manifest::ReadErrors>(())
//! ```

#[macro_use]
mod macros;

pub mod autoscaler;
mod check;
mod compose;
mod error;
mod json;
mod kinds;
pub mod meta;
pub mod node;
mod offerings;
pub mod pod;
mod read;
pub mod storage;
mod tree;
pub mod workload;
mod yaml;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_hostile;

pub use self::{
    error::{ReadError, ReadErrors},
    offerings::read_offerings,
    read::read,
};

use std::{collections::BTreeMap, fmt, sync::Arc};

use self::{
    autoscaler::{AutoscalerConfig, NodeGroup, VPSieNode},
    kinds::Class,
    meta::ObjectMeta,
    node::{Node, NodeMetrics},
    pod::Pod,
    storage::{CsiNode, PersistentVolume, PersistentVolumeClaim, StorageClass},
    tree::{Mismatch, Tree},
    workload::{DaemonSet, Deployment, Job, Namespace, PodDisruptionBudget, PriorityClass, ReplicaSet, StatefulSet},
};

/// A text with the name that messages give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// Name of the file.
    pub name: String,
    /// Its content.
    pub text: &'a str,
}

/// Where an object was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the text.
    pub source: Arc<str>,
    /// Line on which the object starts, from 1.
    pub line: u32,
}

/// A kind that is read.
#[derive(Debug)]
struct Kind {
    group: &'static str,
    version: &'static str,
    name: &'static str,
    namespaced: bool,
    read: fn(&Tree<'_>) -> Result<Object, Mismatch>,
}

macro_rules! objects {
    ($($(#[doc = $doc:literal])* $field:ident: $view:ident is $group:literal $version:literal $kind:literal $scope:ident;)*) => {
        /// An object of a kind that planning reads.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $($(#[doc = $doc])* $view(Box<$view>),)*
        }

        /// All objects of one or more texts, by kind, in the order in which they were read.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Objects {
            $($(#[doc = $doc])* pub $field: Vec<$view>,)*
            /// How many objects of other kinds were left out, by `apiVersion/kind`.
            pub skipped: BTreeMap<String, usize>,
            /// Where each object was read, by kind and `namespace/name`.
            pub origins: BTreeMap<(&'static str, String), Origin>,
        }

        /// Every kind that is read.
        const KINDS: &[Kind] = &[$(Kind {
            group: $group,
            version: $version,
            name: $kind,
            namespaced: objects!(@scope $scope),
            read: |tree| tree::from_tree(tree).map(|object| Object::$view(Box::new(object))),
        },)*];

        impl Object {
            /// The metadata of the object.
            #[must_use]
            pub const fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Self::$view(object) => &object.metadata,)*
                }
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                match self {
                    $(Self::$view(object) => &mut object.metadata,)*
                }
            }
        }

        impl Objects {
            /// Adds an object to those of its kind.
            pub fn push(&mut self, object: Object) {
                match object {
                    $(Object::$view(object) => self.$field.push(*object),)*
                }
            }

            /// How many objects there are, those that were skipped left out.
            #[must_use]
            pub const fn len(&self) -> usize {
                0 $(+ self.$field.len())*
            }

            /// Whether there are none.
            #[must_use]
            pub const fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
    (@scope namespaced) => { true };
    (@scope cluster) => { false };
}

objects! {
    /// Nodes.
    nodes: Node is "" "v1" "Node" cluster;
    /// Pods.
    pods: Pod is "" "v1" "Pod" namespaced;
    /// Namespaces.
    namespaces: Namespace is "" "v1" "Namespace" cluster;
    /// PersistentVolumes.
    persistent_volumes: PersistentVolume is "" "v1" "PersistentVolume" cluster;
    /// PersistentVolumeClaims.
    persistent_volume_claims: PersistentVolumeClaim is "" "v1" "PersistentVolumeClaim" namespaced;
    /// StorageClasses.
    storage_classes: StorageClass is "storage.k8s.io" "v1" "StorageClass" cluster;
    /// CSINodes.
    csi_nodes: CsiNode is "storage.k8s.io" "v1" "CSINode" cluster;
    /// PodDisruptionBudgets.
    pod_disruption_budgets: PodDisruptionBudget is "policy" "v1" "PodDisruptionBudget" namespaced;
    /// DaemonSets.
    daemon_sets: DaemonSet is "apps" "v1" "DaemonSet" namespaced;
    /// Deployments.
    deployments: Deployment is "apps" "v1" "Deployment" namespaced;
    /// ReplicaSets.
    replica_sets: ReplicaSet is "apps" "v1" "ReplicaSet" namespaced;
    /// StatefulSets.
    stateful_sets: StatefulSet is "apps" "v1" "StatefulSet" namespaced;
    /// Jobs.
    jobs: Job is "batch" "v1" "Job" namespaced;
    /// PriorityClasses.
    priority_classes: PriorityClass is "scheduling.k8s.io" "v1" "PriorityClass" cluster;
    /// NodeMetrics.
    node_metrics: NodeMetrics is "metrics.k8s.io" "v1beta1" "NodeMetrics" cluster;
    /// NodeGroups.
    node_groups: NodeGroup is "autoscaler.vpsie.com" "v1alpha1" "NodeGroup" namespaced;
    /// VPSieNodes.
    vpsie_nodes: VPSieNode is "autoscaler.vpsie.com" "v1alpha1" "VPSieNode" namespaced;
    /// AutoscalerConfigs.
    autoscaler_configs: AutoscalerConfig is "autoscaler.vpsie.com" "v1alpha1" "AutoscalerConfig" cluster;
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}
