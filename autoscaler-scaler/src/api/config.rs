//! [`AutoscalerConfig`]: settings of the whole cluster, and what new NodeGroups are made of.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "kube derives: KubeSchema copies public structs into function bodies, printer columns share attributes"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CostOptimization, RemovalBudgets, ScaleDownPolicy, ScaleUpPolicy, SpotConfig, Taint, schema};

/// Settings of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "autoscaler.vpsie.com",
    version = "v1alpha1",
    kind = "AutoscalerConfig",
    plural = "autoscalerconfigs",
    singular = "autoscalerconfig",
    shortname = "asc",
    status = "AutoscalerConfigStatus",
    derive = "PartialEq",
    doc = "Settings of the autoscaler for the whole cluster. There is one object, named default.",
    validation = Rule::new("self.metadata.name == 'default'")
        .message("metadata.name must be default: a cluster has one AutoscalerConfig"),
    printcolumn(name = "MaxWorkers", type_ = "integer", json_path = ".spec.globalSettings.maxClusterWorkers", description = "Most managed nodes of the cluster"),
    printcolumn(name = "MinNodes", type_ = "integer", json_path = ".spec.nodeGroupDefaults.minNodes", description = "Default of minNodes"),
    printcolumn(name = "MaxNodes", type_ = "integer", json_path = ".spec.nodeGroupDefaults.maxNodes", description = "Default of maxNodes"),
    printcolumn(name = "DynamicCreation", type_ = "boolean", json_path = ".spec.globalSettings.enableDynamicNodeGroupCreation", description = "Whether NodeGroups are created on demand"),
    printcolumn(name = "Active", type_ = "boolean", json_path = ".status.active", description = "Whether the autoscaler uses this object"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerConfigSpec {
    /// What NodeGroups that the autoscaler creates are made of. NodeGroups that exist are not changed by it.
    #[serde(default)]
    pub node_group_defaults: NodeGroupDefaults,
    /// Limits and timers of the whole cluster.
    #[serde(default)]
    pub global_settings: GlobalSettings,
}

/// What NodeGroups that the autoscaler creates are made of.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minNodes <= self.maxNodes")
    .message("minNodes must not be greater than maxNodes")
    .field_path(".minNodes"))]
pub struct NodeGroupDefaults {
    /// Fewest nodes of a new group.
    #[serde(default = "default_min_nodes")]
    #[schemars(range(min = 0, max = schema::MAX_NODES))]
    pub min_nodes: i32,
    /// Most nodes of a new group.
    #[serde(default = "default_max_nodes")]
    #[schemars(range(min = 1, max = schema::MAX_NODES))]
    pub max_nodes: i32,
    /// Namespace of new groups.
    #[serde(default = "default_namespace")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::OBJECT_NAME))]
    pub namespace: String,
    /// VPSie datacenter.
    #[serde(rename = "datacenterID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::ID))]
    pub datacenter_id: Option<String>,
    /// VPSie offerings that nodes may have.
    #[serde(rename = "offeringIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ids")]
    pub offering_ids: Vec<String>,
    /// Identifier of the VPSie Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::ID))]
    pub resource_identifier: Option<String>,
    /// VPSie project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub project: Option<String>,
    /// OS image.
    #[serde(rename = "osImageID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::ID))]
    pub os_image_id: Option<String>,
    /// Kubernetes version, such as "v1.34.1".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = schema::KUBERNETES_VERSION))]
    pub kubernetes_version: Option<String>,
    /// Size of the VPSie node group, for managed Kubernetes.
    #[serde(rename = "kubeSizeID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = schema::MAX_SAFE_INTEGER))]
    pub kube_size_id: Option<i64>,
    /// Labels of the nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
    /// Taints of the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::taints")]
    pub taints: Vec<Taint>,
    /// When a new group may grow.
    #[serde(default)]
    pub scale_up_policy: ScaleUpPolicy,
    /// When nodes of a new group may be removed, and how.
    #[serde(default)]
    pub scale_down_policy: ScaleDownPolicy,
    /// Replacing nodes by cheaper ones.
    #[serde(default)]
    pub cost_optimization: CostOptimization,
    /// SSH keys that the provider installs on the nodes.
    #[serde(rename = "sshKeyIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ids")]
    pub ssh_key_ids: Vec<String>,
    /// Tags that the servers get at the provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::texts")]
    pub tags: Vec<String>,
    /// Notes that the servers get at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub notes: Option<String>,
    /// Spot servers.
    #[serde(default)]
    pub spot_config: SpotConfig,
}

impl Default for NodeGroupDefaults {
    fn default() -> Self {
        Self {
            min_nodes: default_min_nodes(),
            max_nodes: default_max_nodes(),
            namespace: default_namespace(),
            datacenter_id: None,
            offering_ids: Vec::new(),
            resource_identifier: None,
            project: None,
            os_image_id: None,
            kubernetes_version: None,
            kube_size_id: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            scale_up_policy: ScaleUpPolicy::default(),
            scale_down_policy: ScaleDownPolicy::default(),
            cost_optimization: CostOptimization::default(),
            ssh_key_ids: Vec::new(),
            tags: Vec::new(),
            notes: None,
            spot_config: SpotConfig::default(),
        }
    }
}

/// Limits and timers of the whole cluster.
///
/// `Default` is what an AutoscalerConfig says that leaves them out. A cluster without any AutoscalerConfig has no such
/// limits: see [`GlobalSettings::without_config`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GlobalSettings {
    /// Seconds between two scale-ups of one group.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub scale_up_cooldown_seconds: i32,
    /// Seconds between two scale-downs of one group.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub scale_down_cooldown_seconds: i32,
    /// Servers that are created at the same time; 0 means no limit.
    #[schemars(range(min = 0, max = schema::MAX_NODES))]
    pub max_concurrent_scale_ups: i32,
    /// Nodes that are removed at the same time; 0 means no limit but the budgets.
    #[schemars(range(min = 0, max = schema::MAX_NODES))]
    pub max_concurrent_scale_downs: i32,
    /// Most managed nodes of the cluster; 0 means no limit.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_cluster_workers: i32,
    /// Seconds that a pod has to be unschedulable before nodes are added for it.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub unschedulable_pod_grace_period_seconds: i32,
    /// Whether NodeGroups are created for pods that no group can serve.
    pub enable_dynamic_node_group_creation: bool,
    /// Whether nodes are replaced to save cost.
    pub enable_rebalancing: bool,
    /// Seconds that a node may take from its creation until it is Ready.
    #[schemars(range(min = 60, max = schema::MAX_SECONDS))]
    pub node_ready_timeout_seconds: i32,
    /// Seconds that one pod may take to leave its node.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub pod_eviction_timeout_seconds: i32,
    /// How to choose among groups and offerings: price, least-waste, priority, least-nodes, most-pods and random, comma separated, the first one deciding.
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::EXPANDERS))]
    pub expander: String,
    /// Whether nodes that have not been Ready for a long time are removed.
    pub scale_down_unready_enabled: bool,
    /// Seconds that a node must not have been Ready before it is removed for that.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub scale_down_unready_time_seconds: i32,
    /// Seconds that a node and its group are left alone after a failed removal; twice as long after each further one, an hour at the most.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub scale_down_delay_after_failure_seconds: i32,
    /// Seconds after the creation of a Node in which it is not removed.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub min_node_age_seconds: i32,
    /// Nodes of the cluster that may be unready before nothing is removed any more; maxTotalUnreadyPercentage must be exceeded too.
    #[schemars(range(min = 0, max = 100_000))]
    pub ok_total_unready_count: i32,
    /// Percentage of the nodes of the cluster that may be unready before nothing is removed any more; okTotalUnreadyCount must be exceeded too.
    #[schemars(range(min = 0, max = 100))]
    pub max_total_unready_percentage: i32,
    /// Whether the pods of DaemonSets are left out when the use of a node is computed.
    pub ignore_daemon_sets_utilization: bool,
    /// Whether mirror pods are left out when the use of a node is computed.
    pub ignore_mirror_pods_utilization: bool,
    /// What becomes of servers with our tag that no VPSieNode stands for.
    pub orphan_policy: OrphanPolicy,
    /// Seconds that such a server is left alone.
    #[schemars(range(min = 0, max = 604_800))]
    pub orphan_grace_period_seconds: i32,
    /// Deadlines of the phases of a node, each counted from entering the phase.
    pub phase_timeouts: PhaseTimeouts,
    /// How many nodes of the whole cluster may be in removal at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<RemovalBudgets>,
}

impl Default for GlobalSettings {
    fn default() -> Self {
        Self {
            scale_up_cooldown_seconds: 60,
            scale_down_cooldown_seconds: 300,
            max_concurrent_scale_ups: 1,
            max_concurrent_scale_downs: 1,
            max_cluster_workers: 10,
            unschedulable_pod_grace_period_seconds: 30,
            enable_dynamic_node_group_creation: true,
            enable_rebalancing: false,
            node_ready_timeout_seconds: 600,
            pod_eviction_timeout_seconds: 120,
            expander: "price,least-waste".to_owned(),
            scale_down_unready_enabled: true,
            scale_down_unready_time_seconds: 1200,
            scale_down_delay_after_failure_seconds: 180,
            min_node_age_seconds: 0,
            ok_total_unready_count: 3,
            max_total_unready_percentage: 45,
            ignore_daemon_sets_utilization: false,
            ignore_mirror_pods_utilization: false,
            orphan_policy: OrphanPolicy::Report,
            orphan_grace_period_seconds: 3600,
            phase_timeouts: PhaseTimeouts::default(),
            budgets: None,
        }
    }
}

impl GlobalSettings {
    /// The settings of a cluster that has no AutoscalerConfig: the defaults, with no limit on the nodes of the cluster
    /// nor on creates and removals at the same time, and with no NodeGroups created on demand.
    #[must_use]
    pub fn without_config() -> Self {
        Self {
            max_cluster_workers: 0,
            max_concurrent_scale_ups: 0,
            max_concurrent_scale_downs: 0,
            enable_dynamic_node_group_creation: false,
            ..Self::default()
        }
    }

    /// The names in [`Self::expander`], in order.
    pub fn expanders(&self) -> impl Iterator<Item = &str> {
        self.expander.split(',').map(str::trim).filter(|name| !name.is_empty())
    }
}

/// What becomes of a server at the provider that carries our tag and that no VPSieNode stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OrphanPolicy {
    /// It is reported, and stays.
    #[default]
    Report,
    /// It is deleted after the grace period.
    Delete,
}

/// Deadlines of the phases of a node, in seconds, each counted from entering the phase.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PhaseTimeouts {
    /// From the create call until the server runs.
    #[schemars(range(min = 1, max = schema::MAX_SECONDS))]
    pub provision_seconds: i32,
    /// From the running server until its Node registers.
    #[schemars(range(min = 1, max = schema::MAX_SECONDS))]
    pub join_seconds: i32,
    /// From the registered Node until it is Ready.
    #[schemars(range(min = 1, max = schema::MAX_SECONDS))]
    pub initialize_seconds: i32,
    /// For the drain of a node whose NodeGroup is gone; a NodeGroup has scaleDownPolicy.drainTimeoutSeconds.
    #[schemars(range(min = 1, max = schema::MAX_SECONDS))]
    pub drain_seconds: i32,
    /// From the delete call until the provider no longer lists the server.
    #[schemars(range(min = 1, max = schema::MAX_SECONDS))]
    pub delete_seconds: i32,
    /// From the drained node until its server is deleted even though volumes are still attached to it.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub detach_seconds: i32,
}

impl Default for PhaseTimeouts {
    fn default() -> Self {
        Self {
            provision_seconds: 600,
            join_seconds: 900,
            initialize_seconds: 1200,
            drain_seconds: 900,
            delete_seconds: 600,
            detach_seconds: 360,
        }
    }
}

/// Whether the object is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerConfigStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// Whether the autoscaler uses this object.
    #[serde(default)]
    pub active: bool,
    /// Why, or why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
}

const fn default_min_nodes() -> i32 {
    1
}

const fn default_max_nodes() -> i32 {
    10
}

fn default_namespace() -> String {
    "default".to_owned()
}
