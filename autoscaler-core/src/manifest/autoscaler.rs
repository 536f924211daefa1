//! The custom resources of the autoscaler (`autoscaler.vpsie.com/v1alpha1`): what planning reads of them.
//!
//! Names and defaults are those of the CustomResourceDefinitions. Defaults are applied here too, so that an object
//! from a file that never met an API server means the same as one that did.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    meta::{IntOrString, ObjectMeta, ResourceList},
    node::Taint,
};

/// Group of the custom resources.
pub const GROUP: &str = "autoscaler.vpsie.com";

/// Version of the custom resources.
pub const VERSION: &str = "v1alpha1";

view! {
    /// A group of nodes that grows and shrinks.
    pub struct NodeGroup {
        /// Metadata; the label `autoscaler.vpsie.com/managed=true` makes the group grow and shrink.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: NodeGroupSpec,
        /// What is, as far as planning has to remember it.
        pub status: NodeGroupStatus,
    }

    /// What a group asks for.
    pub struct NodeGroupSpec {
        /// Fewest nodes.
        pub min_nodes: i32,
        /// Most nodes.
        pub max_nodes: i32,
        /// Datacenter of its nodes, which is their zone.
        #[serde(rename = "datacenterID")]
        pub datacenter_id: String,
        /// Offerings that its nodes may have.
        #[serde(rename = "offeringIDs")]
        pub offering_ids: Vec<String>,
        /// Offering that is taken when the expander finds several equal.
        pub preferred_instance_type: String,
        /// Rank for the expander `priority`: higher first.
        pub priority: i32,
        /// Labels of its nodes.
        pub labels: BTreeMap<String, String>,
        /// Taints of its nodes.
        pub taints: Vec<Taint>,
        /// When the group may grow.
        pub scale_up_policy: ScaleUpPolicy,
        /// When nodes of the group may be removed, and how.
        pub scale_down_policy: ScaleDownPolicy,
        /// What a new node keeps for system and kubelet of the offering's size, by resource; what is not named keeps
        /// the default reserve.
        pub reserved: ResourceList,
    }

    /// How many nodes may be in removal at once; what is absent keeps the value that holds otherwise.
    pub struct RemovalBudgets {
        /// Nodes without pods that have to move.
        pub empty: Option<i32>,
        /// Nodes with pods that have to move: a number, or a percentage of nodes.
        pub drain: Option<IntOrString>,
    }

    /// What planning has to remember of a group.
    pub struct NodeGroupStatus {
        /// When the group grew last.
        pub last_scale_up_time: Option<Timestamp>,
        /// When a node of the group was removed last.
        pub last_scale_down_time: Option<Timestamp>,
        /// When the group grew or shrank last, as the Go autoscaler wrote it.
        pub last_scale_time: Option<Timestamp>,
        /// Offerings that are not bought for a while, because the provider refused them.
        pub scale_up_backoffs: Vec<ScaleUpBackoff>,
    }

    /// An offering that is not bought for a while.
    pub struct ScaleUpBackoff {
        /// The offering.
        pub offering: String,
        /// Until when.
        pub until: Option<Timestamp>,
        /// Failures in a row.
        pub failures: i32,
        /// When it failed last.
        pub last_failure: Option<Timestamp>,
        /// Why, as one word.
        pub reason: String,
        /// Why, as a sentence.
        pub message: String,
    }

    /// One node that the autoscaler made, from the decision to make it until it is gone.
    pub struct VPSieNode {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: VPSieNodeSpec,
        /// What is.
        pub status: VPSieNodeStatus,
    }

    /// What the node is to be.
    pub struct VPSieNodeSpec {
        /// NodeGroup of the same namespace.
        pub node_group_name: String,
        /// Offering.
        pub instance_type: String,
        /// Datacenter.
        #[serde(rename = "datacenterID")]
        pub datacenter_id: String,
        /// Name of the Node, once it is known.
        pub node_name: String,
        /// Id of the VM at the provider; 0 while unknown.
        #[serde(rename = "vpsieInstanceID")]
        pub vpsie_instance_id: i64,
        /// Token of the create request.
        pub client_token: String,
    }

    /// What the node is.
    pub struct VPSieNodeStatus {
        /// `Pending`, `Provisioning`, `Provisioned`, `Joining`, `Ready`, `Terminating`, `Deleting` or `Failed`.
        pub phase: String,
        /// When it entered the phase.
        pub phase_since: Option<Timestamp>,
        /// Name of the Node, once it has joined.
        pub node_name: String,
        /// When the VM was asked for.
        pub created_at: Option<Timestamp>,
        /// When the VM ran.
        pub provisioned_at: Option<Timestamp>,
        /// When the Node appeared.
        pub joined_at: Option<Timestamp>,
        /// When the Node was Ready first.
        pub ready_at: Option<Timestamp>,
        /// Since when the Node has been unneeded without a break.
        pub unneeded_since: Option<Timestamp>,
        /// The removal of the Node, under way or failed.
        pub removal: Option<NodeRemoval>,
        /// What went wrong last.
        pub last_error: String,
    }

    /// The removal of a Node.
    pub struct NodeRemoval {
        /// `Planned`, `Cordoned`, `Draining`, `Drained`, `ProviderDeleting`, `ProviderGone` or `NodeDeleted`; `RollingBack`
        /// or `Failed` after a failure.
        pub phase: String,
        /// `Empty` or `Drain`.
        pub kind: String,
        /// Why it was decided.
        pub reason: String,
        /// When it was decided.
        pub started_at: Option<Timestamp>,
        /// When it failed and was undone.
        pub failed_at: Option<Timestamp>,
        /// Whether the cordon of the Node is ours.
        pub cordoned_by_us: bool,
    }

    /// Settings of the autoscaler; the object named `default` is the only one.
    pub struct AutoscalerConfig {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// The settings.
        pub spec: AutoscalerConfigSpec,
    }

    /// Settings of the autoscaler.
    pub struct AutoscalerConfigSpec {
        /// What holds for all groups.
        pub global_settings: GlobalSettings,
    }
}

view_with_defaults! {
    /// When a group may grow.
    pub struct ScaleUpPolicy {
        /// Whether the group may grow at all; false also stops filling up to `minNodes`.
        pub enabled: bool = true,
        /// Seconds that a pod has to be unschedulable before the group grows for it.
        pub stabilization_window_seconds: i32 = 60,
        /// Percentage of requested CPU above which the group counts as busy; reported only.
        pub cpu_threshold: i32 = 80,
        /// Percentage of requested memory above which the group counts as busy; reported only.
        pub memory_threshold: i32 = 80,
    }

    /// When nodes of a group may be removed, and how.
    pub struct ScaleDownPolicy {
        /// Whether nodes of the group may be removed at all.
        pub enabled: bool = true,
        /// Percentage of requested CPU above which a node is needed.
        pub cpu_threshold: i32 = 50,
        /// Percentage of requested memory above which a node is needed.
        pub memory_threshold: i32 = 50,
        /// Seconds that a node has to be unneeded before it is removed.
        pub stabilization_window_seconds: i32 = 600,
        /// Seconds after the last scale-up of the group in which no node of it is removed.
        pub cooldown_seconds: i32 = 600,
        /// Seconds that a drain may take before it is undone.
        pub drain_timeout_seconds: i32 = 900,
        /// Whether pods that their disruption budgets protect are deleted when the drain times out.
        pub force_drain: bool = false,
        /// How many nodes of the group may be in removal at once.
        pub budgets: RemovalBudgets = RemovalBudgets::default(),
    }

    /// What holds for all groups.
    pub struct GlobalSettings {
        /// Seconds between two scale-ups.
        pub scale_up_cooldown_seconds: i32 = 60,
        /// Seconds between two scale-downs.
        pub scale_down_cooldown_seconds: i32 = 300,
        /// Creations that the executor runs at once; 0 means no limit.
        pub max_concurrent_scale_ups: i32 = 0,
        /// Removals that the executor runs at once.
        pub max_concurrent_scale_downs: i32 = 1,
        /// Managed nodes and nodes to come of the whole cluster; 0 means no limit.
        pub max_cluster_workers: i32 = 10,
        /// Seconds that a pod has to be unschedulable before any group grows for it.
        pub unschedulable_pod_grace_period_seconds: i32 = 30,
        /// Whether groups are made for pods that fit none.
        pub enable_dynamic_node_group_creation: bool = true,
        /// Whether nodes are replaced by cheaper ones.
        pub enable_rebalancing: bool = false,
        /// Seconds that a node is given to become Ready.
        pub node_ready_timeout_seconds: i32 = 600,
        /// Seconds that an eviction may take.
        pub pod_eviction_timeout_seconds: i32 = 120,
        /// Expanders that choose between groups and offerings, separated by commas.
        pub expander: String = "price,least-waste".to_owned(),
        /// Whether nodes that are not Ready are removed after a while.
        pub scale_down_unready_enabled: bool = true,
        /// Whether DaemonSet pods leave both sides of a node's utilization.
        pub ignore_daemon_sets_utilization: bool = false,
        /// Whether mirror pods leave both sides of a node's utilization.
        pub ignore_mirror_pods_utilization: bool = false,
        /// How many nodes may be in removal at once, in a group that does not say otherwise and over all groups.
        pub budgets: RemovalBudgets = RemovalBudgets::default(),
    }
}
