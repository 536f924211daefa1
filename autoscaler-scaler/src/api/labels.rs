//! Names that the autoscaler writes to, or reads from, Kubernetes objects: labels, annotations, taints and finalizers.
//!
//! This module holds constants only. A name is listed once, whatever kinds of object carry it.

use autoscaler_core::build;

/// Label, `"true"` on a NodeGroup that the autoscaler may scale, and on the Nodes and VPSieNodes that it made.
pub const MANAGED: &str = build::MANAGED_LABEL;
/// Value of [`MANAGED`] that switches the autoscaler on for an object.
pub const MANAGED_TRUE: &str = "true";
/// Label with the name of the NodeGroup that a Node or VPSieNode belongs to.
pub const NODE_GROUP: &str = build::NODE_GROUP_LABEL;
/// Label with the namespace of the NodeGroup that a Node belongs to; Nodes have no namespace of their own.
pub const NODE_GROUP_NAMESPACE: &str = build::NODE_GROUP_NAMESPACE_LABEL;
/// Label with the name of the VPSieNode that stands for a Node.
pub const VPSIE_NODE: &str = "autoscaler.vpsie.com/vpsienode";
/// Label with the VPSie datacenter of a Node or VPSieNode.
pub const DATACENTER: &str = build::DATACENTER_LABEL;
/// Label with the VPSie offering of a Node or VPSieNode.
pub const OFFERING: &str = build::OFFERING_LABEL;

/// Label or annotation, `"true"` on a Node that must not be removed.
pub const SCALE_DOWN_DISABLED: &str = "autoscaler.vpsie.com/scale-down-disabled";
/// Annotation, `"true"` on a Node that must not be removed; the Go autoscaler reads it too.
pub const PROTECTED: &str = "autoscaler.vpsie.com/protected";
/// Annotation, [`SCALE_DOWN_VALUE_DISABLED`] on a Node that must not be removed; the Go autoscaler reads it too.
pub const SCALE_DOWN: &str = "autoscaler.vpsie.com/scale-down";
/// Value of [`SCALE_DOWN`] that protects a Node.
pub const SCALE_DOWN_VALUE_DISABLED: &str = "disabled";
/// Annotation of a Node or NodeGroup: the hours of the day, `HH:MM-HH:MM`, in which nodes may be removed.
pub const SCALE_DOWN_ALLOWED_HOURS: &str = "autoscaler.vpsie.com/scale-down-allowed-hours";
/// Annotation of a Node or NodeGroup: the IANA time zone of [`SCALE_DOWN_ALLOWED_HOURS`]; UTC when absent.
pub const TIME_ZONE: &str = "autoscaler.vpsie.com/time-zone";

/// Annotation of a Node with the provider's id of its server.
pub const VPS_ID: &str = "autoscaler.vpsie.com/vps-id";
/// Annotation, `"true"` on a VPSieNode whose server has been asked for.
pub const CREATION_REQUESTED: &str = "autoscaler.vpsie.com/creation-requested";
/// Annotation of the Go autoscaler that says why a VPSieNode was made; written by it, never read by us.
pub const CREATION_REASON: &str = "autoscaler.vpsie.com/creation-reason";
/// Annotation of a Node with the time at which its drain began, RFC 3339.
pub const DRAIN_START_TIME: &str = "autoscaler.vpsie.com/drain-start-time";
/// Annotation of a Node with the state of its drain: `draining`, `complete`, `failed` or `timeout`.
pub const DRAIN_STATUS: &str = "autoscaler.vpsie.com/drain-status";
/// Annotation of a Node that names who cordoned it. Only a cordon with our mark is ever undone by us.
pub const CORDONED_BY: &str = "autoscaler.vpsie.com/cordoned-by";

/// Taint that a Node registers with; it is removed last, once the labels and taints of the group are on the Node.
pub const STARTUP_TAINT: &str = build::STARTUP_TAINT;

/// Taint of a Node that had better get no more pods, of effect `PreferNoSchedule`: nothing needs it.
pub const CANDIDATE_TAINT: &str = "autoscaler.vpsie.com/deletion-candidate";

/// Finalizer of a NodeGroup: it goes when the last VPSieNode of the group is gone.
pub const NODE_GROUP_FINALIZER: &str = "nodegroup.autoscaler.vpsie.com/finalizer";
/// Finalizer of a VPSieNode: it goes when the provider no longer lists the server.
pub const VPSIE_NODE_FINALIZER: &str = "vpsienode.autoscaler.vpsie.com/finalizer";

/// Label with the instance type of a Node, as cloud providers set it.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Label with the zone of a Node; for VPSie the zone is the datacenter.
pub const ZONE: &str = "topology.kubernetes.io/zone";
