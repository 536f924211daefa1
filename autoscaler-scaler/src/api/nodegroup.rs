//! [`NodeGroup`]: a set of nodes that are made alike, with its bounds and policies.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "kube derives: KubeSchema copies public structs into function bodies, printer columns share attributes"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint as NodeTaint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{CostOptimization, MultiRegion, ScaleDownPolicy, ScaleUpPolicy, SpotConfig, labels, schema};

/// What the nodes of the group are and how many there may be.
#[derive(Clone, Debug, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "autoscaler.vpsie.com",
    version = "v1alpha1",
    kind = "NodeGroup",
    plural = "nodegroups",
    singular = "nodegroup",
    shortname = "ng",
    shortname = "ngs",
    namespaced,
    status = "NodeGroupStatus",
    derive = "PartialEq",
    doc = "A set of nodes that are made alike and scaled together.",
    printcolumn(
        name = "Min",
        type_ = "integer",
        json_path = ".spec.minNodes",
        description = "Fewest nodes"
    ),
    printcolumn(
        name = "Max",
        type_ = "integer",
        json_path = ".spec.maxNodes",
        description = "Most nodes"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredNodes",
        description = "Nodes wanted"
    ),
    printcolumn(
        name = "Current",
        type_ = "integer",
        json_path = ".status.currentNodes",
        description = "Nodes there are"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyNodes",
        description = "Nodes that are Ready"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minNodes <= self.maxNodes")
    .message("minNodes must not be greater than maxNodes")
    .field_path(".minNodes"))]
pub struct NodeGroupSpec {
    /// Fewest nodes of the group; nodes are added without pods asking for them until there are so many.
    #[schemars(range(min = 0, max = schema::MAX_NODES))]
    pub min_nodes: i32,
    /// Most nodes of the group.
    #[schemars(range(min = 1, max = schema::MAX_NODES))]
    pub max_nodes: i32,
    /// VPSie datacenter of the nodes; it is also their zone. It cannot be changed.
    #[serde(rename = "datacenterID")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::ID))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("datacenterID cannot be changed"))]
    pub datacenter_id: String,
    /// Identifier of the VPSie Kubernetes cluster. It cannot be changed.
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::ID))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("resourceIdentifier cannot be changed"))]
    pub resource_identifier: String,
    /// VPSie project of the nodes.
    #[schemars(length(min = 1, max = 128))]
    pub project: String,
    /// VPSie offerings that nodes of the group may have; the expander chooses among them.
    #[serde(rename = "offeringIDs")]
    #[schemars(schema_with = "schema::required_ids")]
    pub offering_ids: Vec<String>,
    /// OS image of the nodes; the provider chooses one when it is absent.
    #[serde(rename = "osImageID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::ID))]
    pub os_image_id: Option<String>,
    /// Kubernetes version of the nodes, such as "v1.34.1".
    #[schemars(length(min = 1, max = 64), regex(pattern = schema::KUBERNETES_VERSION))]
    pub kubernetes_version: String,
    /// Offering to prefer among equals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::ID))]
    pub preferred_instance_type: Option<String>,
    /// Whether nodes of the group may have different offerings at the same time.
    #[serde(default = "yes")]
    pub allow_mixed_instances: bool,
    /// Rank of the group for the expander "priority"; the higher one is taken first.
    #[serde(default)]
    #[schemars(range(min = i32::MIN, max = i32::MAX))]
    pub priority: i32,
    /// Labels that the nodes get before they become schedulable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
    /// Taints that the nodes get before they become schedulable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::taints")]
    pub taints: Vec<Taint>,
    /// What a new node keeps back of each resource of its offering, by resource name, such as "cpu: 100m". A resource
    /// that is not named keeps the default. A Ready node of the group and offering tells better and is preferred.
    #[serde(default, deserialize_with = "quantities", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::reserved")]
    pub reserved: BTreeMap<String, Quantity>,
    /// Room that the group keeps free for pods to come, once every pending pod has a place. maxNodes and the limit of the
    /// cluster bind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headroom: Option<Headroom>,
    /// When the group may grow.
    #[serde(default)]
    pub scale_up_policy: ScaleUpPolicy,
    /// When nodes of the group may be removed, and how.
    #[serde(default)]
    pub scale_down_policy: ScaleDownPolicy,
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
    /// Size of the VPSie node group, for managed Kubernetes: needed there to create the group at the provider.
    #[serde(rename = "kubeSizeID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = schema::MAX_SAFE_INTEGER))]
    pub kube_size_id: Option<i64>,
    /// Secret with the cloud-init user data that makes a server join the cluster, for plain servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_secret_ref: Option<UserDataSecretRef>,
    /// Spot servers.
    #[serde(default)]
    pub spot_config: SpotConfig,
    /// Spreading over datacenters.
    #[serde(default)]
    pub multi_region: MultiRegion,
    /// Replacing nodes by cheaper ones.
    #[serde(default)]
    pub cost_optimization: CostOptimization,
}

impl NodeGroup {
    /// `namespace/name`, by which the group is named in plans, logs and metrics.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace().unwrap_or_default(), self.name_any())
    }

    /// Whether the group carries the label `autoscaler.vpsie.com/managed=true`; no other group is ever scaled.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.labels()
            .get(labels::MANAGED)
            .is_some_and(|value| value == labels::MANAGED_TRUE)
    }

    /// Whether the group is being deleted.
    #[must_use]
    pub const fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Fewest nodes; a negative number, which the API server does not store, counts as 0.
    #[must_use]
    pub fn min_nodes(&self) -> u32 {
        u32::try_from(self.spec.min_nodes).unwrap_or(0)
    }

    /// Most nodes; a negative number, which the API server does not store, counts as 0.
    #[must_use]
    pub fn max_nodes(&self) -> u32 {
        u32::try_from(self.spec.max_nodes).unwrap_or(0)
    }
}

/// A taint of the nodes of a group.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Key of the taint.
    #[schemars(schema_with = "schema::taint_key")]
    pub key: String,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::taint_value")]
    pub value: Option<String>,
    /// What happens to pods that do not tolerate the taint.
    pub effect: TaintEffect,
    /// Accepted, as it is a field of a Node's taint, and ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Time>,
}

impl From<&Taint> for NodeTaint {
    fn from(taint: &Taint) -> Self {
        Self {
            key: taint.key.clone(),
            value: taint.value.clone(),
            effect: taint.effect.as_str().to_owned(),
            time_added: None,
        }
    }
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum TaintEffect {
    /// They are not scheduled to the node.
    NoSchedule,
    /// They are scheduled elsewhere if there is room.
    PreferNoSchedule,
    /// They are not scheduled to the node, and are evicted from it.
    NoExecute,
}

impl TaintEffect {
    /// The name that Kubernetes has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// Room that a group keeps free for pods to come: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.nodes), has(self.percent), has(self.pods)].filter(given, given).size() == 1")
    .message("headroom must have exactly one of nodes, percent and pods"))]
pub struct Headroom {
    /// Empty nodes. A node is empty when it has no pod that would need another place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_NODES))]
    pub nodes: Option<i32>,
    /// Empty nodes, in percent of the nodes of the group that are not empty, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<i32>,
    /// Pods that there is room for, on new nodes or on what others have left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<HeadroomPods>,
}

/// Pods that a group keeps room for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeadroomPods {
    /// How many pods.
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: i32,
    /// What each of them needs.
    pub resources: HeadroomResources,
}

/// What a pod needs that room is kept for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeadroomResources {
    /// What the pod requests of each resource, by resource name, such as "cpu: 500m".
    #[serde(deserialize_with = "quantities")]
    #[schemars(schema_with = "schema::requests")]
    pub requests: BTreeMap<String, Quantity>,
}

/// A Secret with cloud-init user data.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserDataSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
    /// Namespace of the Secret; that of the NodeGroup when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::OBJECT_NAME))]
    pub namespace: Option<String>,
    /// Key in the Secret.
    #[serde(default = "user_data_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub key: String,
}

/// What the group is at present. Every field may be absent, so that a writer can apply only those that it owns.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroupStatus {
    /// Nodes there are or will be: VPSieNodes that have not failed and are not being deleted.
    #[serde(default)]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub current_nodes: i32,
    /// Nodes wanted by the last plan.
    #[serde(default)]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub desired_nodes: i32,
    /// Nodes that are Ready.
    #[serde(default)]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub ready_nodes: i32,
    /// Number of the node group at the provider, for managed Kubernetes.
    #[serde(rename = "vpsieGroupID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub vpsie_group_id: Option<i64>,
    /// The nodes of the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2000))]
    pub nodes: Vec<NodeInfo>,
    /// Ready, Scaling, Error, AtMinCapacity and AtMaxCapacity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// When the group last grew or shrank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,
    /// When the group last grew; the scale-down cooldown counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_up_time: Option<Time>,
    /// When the group last shrank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_down_time: Option<Time>,
    /// When a removal of one of its nodes last failed; no other one begins for a while after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_down_failure_time: Option<Time>,
    /// How many removals have failed since one succeeded: the delay before the next one grows with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub scale_down_failures: Option<i32>,
    /// Offerings that could not be had lately and are left alone for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["offering".to_owned()]))]
    pub scale_up_backoffs: Vec<ScaleUpBackoff>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub observed_generation: Option<i64>,
}

/// A node in the status of its group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// Name of the Node; empty until it has joined.
    #[schemars(length(max = 253))]
    pub node_name: String,
    /// Number of the server at the provider; 0 while unknown, or when the provider's id is no number.
    #[serde(rename = "vpsID")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub vps_id: i64,
    /// Offering of the node.
    #[schemars(length(max = 63))]
    pub instance_type: String,
    /// Phase of the VPSieNode.
    #[schemars(length(max = 63))]
    pub status: String,
    /// When the server was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When the Node became Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Time>,
    /// Address of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ip_address: Option<String>,
}

/// An offering that could not be had, and until when it is not tried again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleUpBackoff {
    /// The offering.
    #[schemars(length(min = 1, max = 63))]
    pub offering: String,
    /// When it may be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Failures in a row. Each doubles the wait, but for those that happen while the wait of an earlier one lasts.
    #[serde(default)]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub failures: i32,
    /// When it last failed; after three hours without a failure the entry goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Time>,
    /// What kind of failure it was, one word in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// What the provider said, or which deadline passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

const fn yes() -> bool {
    true
}

fn user_data_key() -> String {
    "userData".to_owned()
}

/// Quantities as people write them: `cpu: 2` is a number in YAML, and the API server stores it as one.
fn quantities<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Quantity>, D::Error> {
    let found = BTreeMap::<String, IntOrString>::deserialize(from)?;
    let text = |value| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text,
    };
    Ok(found
        .into_iter()
        .map(|(name, value)| (name, Quantity(text(value))))
        .collect())
}
