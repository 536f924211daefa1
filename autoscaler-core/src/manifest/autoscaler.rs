//! The custom resources of the autoscaler (`autoscaler.vpsie.com/v1alpha1`): what planning reads of them.
//!
//! Names and defaults are those of the CustomResourceDefinitions. Defaults are applied here too, so that an object
//! from a file that never met an API server means the same as one that did.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    meta::{IntOrString, ObjectMeta, ResourceList},
    node::Taint,
    pod::ResourceRequirements,
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
        /// Room that the group keeps free for pods to come.
        pub headroom: Option<Headroom>,
    }

    /// Room that a group keeps free for pods to come; exactly one of the fields is set.
    pub struct Headroom {
        /// Empty nodes.
        pub nodes: Option<i32>,
        /// Empty nodes in percent of the nodes that are not empty, rounded up.
        pub percent: Option<i32>,
        /// Pods that there is room for.
        pub pods: Option<HeadroomPods>,
    }

    /// Pods that a group keeps room for.
    pub struct HeadroomPods {
        /// How many.
        pub replicas: i32,
        /// What each of them requests; only `requests` are read.
        pub resources: ResourceRequirements,
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
        /// When a removal of one of its nodes failed last.
        pub last_scale_down_failure_time: Option<Timestamp>,
        /// How many removals have failed since one succeeded.
        pub scale_down_failures: i32,
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
        /// How often in a row a removal of the Node has failed.
        pub failures: i32,
        /// Whether the cordon of the Node is ours.
        pub cordoned_by_us: bool,
        /// Where the plan expected the pods to go.
        pub moves: Vec<PodMove>,
    }

    /// Where a pod goes when its Node is removed.
    pub struct PodMove {
        /// The pod, as `namespace/name`.
        pub pod: String,
        /// Name of the Node that has room for it.
        pub to: String,
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

/// When a group may grow.
///
/// `Default` is what holds for a group without any policy: it does not wait. A policy that only leaves the window out
/// waits for [`DEFAULT_SCALE_UP_WINDOW_SECONDS`], as the CustomResourceDefinition has it.
#[derive(Clone, Debug, PartialEq, Hash, serde::Deserialize)]
#[serde(from = "WrittenScaleUpPolicy")]
pub struct ScaleUpPolicy {
    /// Whether the group may grow at all; false also stops filling up to `minNodes`.
    pub enabled: bool,
    /// Seconds that a pod has to be unschedulable before the group grows for it.
    pub stabilization_window_seconds: i32,
    /// Percentage of requested CPU above which the group counts as busy; reported only.
    pub cpu_threshold: i32,
    /// Percentage of requested memory above which the group counts as busy; reported only.
    pub memory_threshold: i32,
}

/// Seconds that a group waits whose `scaleUpPolicy` does not say how long.
pub const DEFAULT_SCALE_UP_WINDOW_SECONDS: i32 = 60;

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenScaleUpPolicy {
    enabled: Option<bool>,
    stabilization_window_seconds: Option<i32>,
    cpu_threshold: Option<i32>,
    memory_threshold: Option<i32>,
}

impl Default for ScaleUpPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            stabilization_window_seconds: 0,
            cpu_threshold: 80,
            memory_threshold: 80,
        }
    }
}

impl From<WrittenScaleUpPolicy> for ScaleUpPolicy {
    fn from(written: WrittenScaleUpPolicy) -> Self {
        let default = Self::default();
        let window = written.stabilization_window_seconds;
        Self {
            enabled: written.enabled.unwrap_or(default.enabled),
            stabilization_window_seconds: window.unwrap_or(DEFAULT_SCALE_UP_WINDOW_SECONDS),
            cpu_threshold: written.cpu_threshold.unwrap_or(default.cpu_threshold),
            memory_threshold: written.memory_threshold.unwrap_or(default.memory_threshold),
        }
    }
}

view_with_defaults! {
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
        /// Seconds after its creation in which a node is not removed; absent: as in the global settings.
        pub min_node_age_seconds: Option<i32> = None,
        /// Seconds that a node must not have been Ready before it is removed for that; absent: as in the global settings.
        pub unready_time_seconds: Option<i32> = None,
        /// Seconds after a failed removal in which none is tried again; absent: as in the global settings.
        pub delay_after_failure_seconds: Option<i32> = None,
        /// How many nodes of the group may be in removal at once.
        pub budgets: RemovalBudgets = RemovalBudgets::default(),
    }

    /// How long a VPSieNode may stay in a phase, in seconds, each counted from entering the phase.
    pub struct PhaseTimeouts {
        /// From the intent until the VM runs.
        pub provision_seconds: i32 = 600,
        /// From the running VM until its Node registers.
        pub join_seconds: i32 = 900,
        /// From the registered Node until it is Ready.
        pub initialize_seconds: i32 = 1200,
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
        /// Seconds that a node must not have been Ready before it is removed for that.
        pub scale_down_unready_time_seconds: i32 = 1200,
        /// Seconds after a failed removal in which none is tried again.
        pub scale_down_delay_after_failure_seconds: i32 = 180,
        /// Seconds after its creation in which a node is not removed.
        pub min_node_age_seconds: i32 = 0,
        /// Nodes of the cluster that may be unready before nothing is removed any more.
        pub ok_total_unready_count: i32 = 3,
        /// Percentage of the nodes of the cluster that may be unready before nothing is removed any more.
        pub max_total_unready_percentage: i32 = 45,
        /// Whether DaemonSet pods leave both sides of a node's utilization.
        pub ignore_daemon_sets_utilization: bool = false,
        /// Whether mirror pods leave both sides of a node's utilization.
        pub ignore_mirror_pods_utilization: bool = false,
        /// How long a VPSieNode may stay in a phase.
        pub phase_timeouts: PhaseTimeouts = PhaseTimeouts::default(),
        /// How many nodes may be in removal at once, in a group that does not say otherwise and over all groups.
        pub budgets: RemovalBudgets = RemovalBudgets::default(),
    }
}
