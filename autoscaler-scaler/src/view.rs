//! Kubernetes objects as the watches decode them: the slim views of the core, with the metadata that kube needs.
//!
//! A view holds only what planning reads; the rest of an object is dropped while its JSON is parsed and never takes
//! memory.

use autoscaler_core::manifest::{
    meta::{ObjectMeta as SlimMeta, OwnerReference},
    node::{Node, NodeSpec, NodeStatus},
    pod::{Pod, PodSpec, PodStatus},
    storage::{CsiNode, CsiNodeSpec, PersistentVolume, PersistentVolumeClaim, StorageClass},
    workload::{
        DaemonSet, DaemonSetSpec, Namespace, PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
        PriorityClass,
    },
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

/// An object of the API server that turns into a view of the core.
pub trait Slim:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + for<'de> Deserialize<'de> + 'static
{
    /// The view.
    type View: Send + Sync + 'static;

    /// Turns it into the view.
    fn into_view(self) -> Self::View;
}

macro_rules! slim {
    ($(#[$doc:meta])* $name:ident inherits $kind:path, view $view:ident { $($field:ident: $type:ty),* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Resource)]
        #[resource(inherit = $kind)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            metadata: ObjectMeta,
            $(#[serde(default)] $field: $type,)*
        }

        impl Slim for $name {
            type View = $view;

            fn into_view(self) -> $view {
                let Self { metadata, $($field),* } = self;
                $view { metadata: slim_meta(metadata), $($field),* }
            }
        }
    };
}

slim!(
    /// A Node.
    SlimNode inherits k8s_openapi::api::core::v1::Node, view Node { spec: NodeSpec, status: NodeStatus }
);
slim!(
    /// A Pod.
    SlimPod inherits k8s_openapi::api::core::v1::Pod, view Pod { spec: PodSpec, status: PodStatus }
);
slim!(
    /// A PodDisruptionBudget.
    SlimBudget inherits k8s_openapi::api::policy::v1::PodDisruptionBudget,
    view PodDisruptionBudget { spec: PodDisruptionBudgetSpec, status: Option<PodDisruptionBudgetStatus> }
);
slim!(
    /// A DaemonSet.
    SlimDaemonSet inherits k8s_openapi::api::apps::v1::DaemonSet, view DaemonSet { spec: DaemonSetSpec }
);
slim!(
    /// A PriorityClass.
    SlimPriorityClass inherits k8s_openapi::api::scheduling::v1::PriorityClass,
    view PriorityClass { value: i32, global_default: bool, preemption_policy: String }
);
slim!(
    /// A PersistentVolume.
    SlimVolume inherits k8s_openapi::api::core::v1::PersistentVolume,
    view PersistentVolume {
        spec: autoscaler_core::manifest::storage::PersistentVolumeSpec,
        status: autoscaler_core::manifest::storage::PersistentVolumeStatus
    }
);
slim!(
    /// A PersistentVolumeClaim.
    SlimClaim inherits k8s_openapi::api::core::v1::PersistentVolumeClaim,
    view PersistentVolumeClaim {
        spec: autoscaler_core::manifest::storage::PersistentVolumeClaimSpec,
        status: autoscaler_core::manifest::storage::PersistentVolumeClaimStatus
    }
);

slim!(
    /// A StorageClass.
    SlimStorageClass inherits k8s_openapi::api::storage::v1::StorageClass,
    view StorageClass {
        provisioner: String,
        volume_binding_mode: String,
        allowed_topologies: Vec<autoscaler_core::manifest::storage::TopologySelectorTerm>
    }
);
slim!(
    /// A CSINode.
    SlimCsiNode inherits k8s_openapi::api::storage::v1::CSINode, view CsiNode { spec: CsiNodeSpec }
);
slim!(
    /// A Namespace.
    SlimNamespace inherits k8s_openapi::api::core::v1::Namespace, view Namespace {}
);

/// The metadata that planning reads.
#[must_use]
pub fn slim_meta(metadata: ObjectMeta) -> SlimMeta {
    let owner = |owner: k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| OwnerReference {
        api_version: owner.api_version,
        kind: owner.kind,
        name: owner.name,
        uid: owner.uid,
        controller: owner.controller.unwrap_or(false),
    };
    SlimMeta {
        name: metadata.name.unwrap_or_default(),
        namespace: metadata.namespace.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
        annotations: metadata.annotations.unwrap_or_default(),
        creation_timestamp: metadata.creation_timestamp.map(|time| time.0),
        deletion_timestamp: metadata.deletion_timestamp.map(|time| time.0),
        deletion_grace_period_seconds: metadata.deletion_grace_period_seconds,
        owner_references: metadata
            .owner_references
            .unwrap_or_default()
            .into_iter()
            .map(owner)
            .collect(),
        finalizers: metadata.finalizers.unwrap_or_default(),
    }
}
