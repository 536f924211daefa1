//! Nodes and what is measured on them.

use jiff::Timestamp;

use super::meta::{ObjectMeta, ResourceList};

view! {
    /// A Node (`v1`).
    pub struct Node {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: NodeSpec,
        /// What is.
        pub status: NodeStatus,
    }

    /// The part of a node's spec that is read.
    pub struct NodeSpec {
        /// Whether the node is cordoned.
        pub unschedulable: bool,
        /// Taints.
        pub taints: Vec<Taint>,
        /// Identity of the VM at the cloud.
        #[serde(rename = "providerID")]
        pub provider_id: String,
    }

    /// A taint: it keeps pods away that do not tolerate it.
    pub struct Taint {
        /// Key.
        pub key: String,
        /// Value.
        pub value: String,
        /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
        pub effect: String,
        /// When it was added.
        pub time_added: Option<Timestamp>,
    }

    /// The part of a node's status that is read.
    pub struct NodeStatus {
        /// What pods may request in all.
        pub allocatable: ResourceList,
        /// What the machine has.
        pub capacity: ResourceList,
        /// Conditions.
        pub conditions: Vec<NodeCondition>,
    }

    /// A condition of a node.
    pub struct NodeCondition {
        /// Type, such as `Ready`.
        pub type_: String,
        /// `True`, `False` or `Unknown`.
        pub status: String,
        /// Why, as one word.
        pub reason: String,
        /// Why, as a sentence.
        pub message: String,
        /// When `status` changed last.
        pub last_transition_time: Option<Timestamp>,
        /// When the kubelet reported it last.
        pub last_heartbeat_time: Option<Timestamp>,
    }

    /// Measured use of a node (`metrics.k8s.io/v1beta1`). Its name is that of the node.
    pub struct NodeMetrics {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// End of the measurement.
        pub timestamp: Option<Timestamp>,
        /// Length of the measurement, as Go writes durations.
        pub window: String,
        /// Use.
        pub usage: ResourceList,
    }
}
