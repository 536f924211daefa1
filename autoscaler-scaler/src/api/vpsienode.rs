//! [`VPSieNode`]: one server of a NodeGroup, from the intent to create it until it is gone.
//!
//! Everything about a node that has to survive a restart of the autoscaler is in this object.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "kube derives: KubeSchema copies public structs into function bodies, printer columns share attributes"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What the server is, and what has been found out about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "autoscaler.vpsie.com",
    version = "v1alpha1",
    kind = "VPSieNode",
    plural = "vpsienodes",
    singular = "vpsienode",
    shortname = "vn",
    shortname = "vns",
    namespaced,
    status = "VPSieNodeStatus",
    derive = "PartialEq",
    doc = "One server of a NodeGroup. The autoscaler creates, updates and deletes these objects.",
    printcolumn(
        name = "VPS ID",
        type_ = "integer",
        json_path = ".spec.vpsieInstanceID",
        description = "Number of the server"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        json_path = ".status.nodeName",
        description = "Name of the Node"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where in its life the node is"
    ),
    printcolumn(
        name = "Instance Type",
        type_ = "string",
        json_path = ".spec.instanceType",
        description = "Offering"
    ),
    printcolumn(
        name = "NodeGroup",
        type_ = "string",
        json_path = ".spec.nodeGroupName",
        description = "NodeGroup of the node"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.clientToken) || (has(self.clientToken) && self.clientToken == oldSelf.clientToken)")
    .message("clientToken cannot be changed once it is set")
    .field_path(".clientToken"))]
pub struct VPSieNodeSpec {
    /// Number of the server at the provider; 0 while it is unknown.
    #[serde(rename = "vpsieInstanceID")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub vpsie_instance_id: i64,
    /// Id of the server at the provider as text, for providers whose ids are not numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub vpsie_instance: Option<String>,
    /// Offering of the server.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::ID))]
    pub instance_type: String,
    /// Name of the NodeGroup, in the same namespace. It cannot be changed.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("nodeGroupName cannot be changed"))]
    pub node_group_name: String,
    /// VPSie datacenter of the server. It cannot be changed.
    #[serde(rename = "datacenterID")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::ID))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("datacenterID cannot be changed"))]
    pub datacenter_id: String,
    /// Identifier of the VPSie Kubernetes cluster. It cannot be changed.
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::ID))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("resourceIdentifier cannot be changed"))]
    pub resource_identifier: String,
    /// VPSie project of the server.
    #[schemars(length(min = 1, max = 128))]
    pub project: String,
    /// Kubernetes version of the node, such as "v1.34.1".
    #[schemars(length(min = 1, max = 64), regex(pattern = schema::KUBERNETES_VERSION))]
    pub kubernetes_version: String,
    /// OS image of the server.
    #[serde(rename = "osImageID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::ID))]
    pub os_image_id: Option<String>,
    /// SSH keys that the provider installs on the server.
    #[serde(rename = "sshKeyIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ids")]
    pub ssh_key_ids: Vec<String>,
    /// Name that the Node should have, or has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node_name: Option<String>,
    /// IPv4 address of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ip_address: Option<String>,
    /// IPv6 address of the server.
    #[serde(default, rename = "ipv6Address", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ipv6_address: Option<String>,
    /// Number of the node group at the provider, for managed Kubernetes.
    #[serde(rename = "vpsieGroupID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub vpsie_group_id: Option<i64>,
    /// Identifier of the node at the provider, for managed Kubernetes: the one by which it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub vpsie_node_identifier: Option<String>,
    /// Token that the create call carries and the server is tagged with, so that it is found again after a lost reply.
    /// It cannot be changed once it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = schema::ID))]
    pub client_token: Option<String>,
}

impl VPSieNode {
    /// `namespace/name` of the NodeGroup: a VPSieNode lives in the namespace of its group.
    #[must_use]
    pub fn node_group_key(&self) -> String {
        format!("{}/{}", self.namespace().unwrap_or_default(), self.spec.node_group_name)
    }

    /// The provider's id of the server as text, once it is known.
    #[must_use]
    pub fn instance_id(&self) -> Option<String> {
        match self.spec.vpsie_instance.as_deref() {
            Some(id) if !id.is_empty() => Some(id.to_owned()),
            _ => (self.spec.vpsie_instance_id > 0).then(|| self.spec.vpsie_instance_id.to_string()),
        }
    }

    /// Where in its life the node is; Pending before the first status.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.status.as_ref().map_or(Phase::Pending, |status| status.phase)
    }

    /// Name of the Node: the one found, else the one wanted.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        let found = self.status.as_ref().and_then(|status| status.node_name.as_deref());
        found.or(self.spec.node_name.as_deref()).filter(|name| !name.is_empty())
    }

    /// Whether the object is being deleted.
    #[must_use]
    pub const fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

/// Where in its life a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Phase {
    /// The intent is recorded; no server has been asked for.
    #[default]
    Pending,
    /// The server has been asked for.
    Provisioning,
    /// The server runs.
    Provisioned,
    /// The Node is awaited, or registered and not Ready yet.
    Joining,
    /// The Node is Ready.
    Ready,
    /// The Node is being drained.
    Terminating,
    /// The server and the Node are being deleted.
    Deleting,
    /// The node missed a deadline or vanished; it is replaced and collected.
    Failed,
}

impl Phase {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Provisioned => "Provisioned",
            Self::Joining => "Joining",
            Self::Ready => "Ready",
            Self::Terminating => "Terminating",
            Self::Deleting => "Deleting",
            Self::Failed => "Failed",
        }
    }
}

/// What the node is at present. Only the phase is required.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VPSieNodeStatus {
    /// Where in its life the node is.
    pub phase: Phase,
    /// When the phase was entered; its deadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_since: Option<Time>,
    /// Name of the Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node_name: Option<String>,
    /// State of the server in the provider's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub vpsie_status: Option<String>,
    /// Hostname of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub hostname: Option<String>,
    /// Size of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<NodeResources>,
    /// When the server was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When the server first ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_at: Option<Time>,
    /// When the Node registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_at: Option<Time>,
    /// When the Node first was Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Time>,
    /// When the removal began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminating_at: Option<Time>,
    /// When the server was gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Time>,
    /// Since when the node has not been needed; absent while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unneeded_since: Option<Time>,
    /// The create call: recorded before it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<CreateIntent>,
    /// The removal of the node, in progress or last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// What the last plan said about the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<Decision>,
    /// VPSReady, NodeJoined, NodeReady and Error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The last error, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub last_error: Option<String>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub observed_generation: Option<i64>,
}

/// Size of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeResources {
    /// CPUs.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub cpu: i32,
    /// Memory in MiB, as the provider counts it.
    #[serde(rename = "memoryMB")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub memory_mb: i64,
    /// Disk in GiB, as the provider counts it.
    #[serde(rename = "diskGB")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub disk_gb: i64,
    /// Traffic that is included, in GB.
    #[serde(rename = "bandwidthGB", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_SAFE_INTEGER))]
    pub bandwidth_gb: Option<i64>,
}

/// A create call, recorded before it is made. It is never repeated blindly: the client token tells what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateIntent {
    /// When the call was last made; absent before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Time>,
    /// Calls made.
    #[serde(default)]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub attempts: i32,
    /// Offering asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub offering: Option<String>,
    /// Datacenter asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub datacenter: Option<String>,
}

/// The removal of a node. Each step is recorded before the next one begins, so that any process can go on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// Last step that is done or under way; absent in a record that only says that a removal failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RemovalPhase>,
    /// Whether pods have to move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RemovalKind>,
    /// Why the node is removed, one word in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// When the removal was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Whether we cordoned the node. Only then is it uncordoned when the removal fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned_by_us: Option<bool>,
    /// When the removal failed; the node is left alone for a while after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Time>,
    /// How often in a row a removal of the node has failed: the delay before the next one grows with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub failures: Option<i32>,
    /// What happened, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
    /// Where the plan expects the pods to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub moves: Vec<PodMove>,
}

/// Step of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum RemovalPhase {
    /// Decided; nothing has been changed yet.
    Planned,
    /// The Node is cordoned, with our mark.
    Cordoned,
    /// Pods are being evicted.
    Draining,
    /// No pod is left that has to move.
    Drained,
    /// The provider has been told to delete the server: from here there is no way back.
    ProviderDeleting,
    /// The provider no longer lists the server.
    ProviderGone,
    /// The Node object is gone.
    NodeDeleted,
    /// Our own changes to the Node are being undone.
    RollingBack,
    /// The removal failed and has been undone.
    Failed,
}

impl RemovalPhase {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "Planned",
            Self::Cordoned => "Cordoned",
            Self::Draining => "Draining",
            Self::Drained => "Drained",
            Self::ProviderDeleting => "ProviderDeleting",
            Self::ProviderGone => "ProviderGone",
            Self::NodeDeleted => "NodeDeleted",
            Self::RollingBack => "RollingBack",
            Self::Failed => "Failed",
        }
    }
}

/// Whether pods have to move for a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum RemovalKind {
    /// None has to.
    Empty,
    /// Some have to.
    Drain,
}

/// A pod of a node in removal, and the node that it is expected to move to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMove {
    /// The pod, as namespace/name.
    #[schemars(length(max = 317))]
    pub pod: String,
    /// Name of the destination.
    #[schemars(length(max = 253))]
    pub to: String,
}

/// What a plan said about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Keep or Remove.
    #[schemars(length(max = 63))]
    pub verdict: String,
    /// The rule that decided, one word in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// The pod that the reason is about, as namespace/name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub pod: Option<String>,
    /// Why that pod blocks, one word in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub pod_reason: Option<String>,
    /// The same in a sentence, with numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
}
