//! Pods: what the scheduler's predicates, the drain rules and the state of a pod are read from.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    meta::{LabelSelector, LabelSelectorRequirement, ObjectMeta, ResourceList},
    storage::PersistentVolumeClaimSpec,
};

view! {
    /// A Pod (`v1`).
    pub struct Pod {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: PodSpec,
        /// What is.
        pub status: PodStatus,
    }

    /// The part of a pod's spec that scheduling and draining look at.
    pub struct PodSpec {
        /// Node that the pod is bound to; empty while it is not.
        pub node_name: String,
        /// Labels that the node must have.
        pub node_selector: BTreeMap<String, String>,
        /// Affinity rules; only the required ones are read.
        pub affinity: Option<Affinity>,
        /// Taints that do not keep the pod away.
        pub tolerations: Vec<Toleration>,
        /// Rules that spread pods over topology domains.
        pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
        /// Containers.
        pub containers: Vec<Container>,
        /// Containers that run before, and those of them with restart policy `Always` also beside, the others.
        pub init_containers: Vec<Container>,
        /// What the pod takes beyond its containers, as its RuntimeClass says.
        pub overhead: ResourceList,
        /// Requests and limits of the pod as a whole.
        pub resources: Option<ResourceRequirements>,
        /// Volumes.
        pub volumes: Vec<Volume>,
        /// What holds the pod back from scheduling.
        pub scheduling_gates: Vec<PodSchedulingGate>,
        /// Priority; absent counts as 0.
        pub priority: Option<i32>,
        /// PriorityClass that the priority came from.
        pub priority_class_name: String,
        /// `PreemptLowerPriority` or `Never`.
        pub preemption_policy: String,
        /// Scheduler that is to bind the pod.
        pub scheduler_name: String,
        /// Seconds that the pod is given to end.
        pub termination_grace_period_seconds: Option<i64>,
        /// `Always`, `OnFailure` or `Never`.
        pub restart_policy: String,
        /// Whether the pod uses the node's network, so that all its container ports are host ports.
        pub host_network: bool,
        /// Claims on devices (dynamic resource allocation).
        pub resource_claims: Vec<PodResourceClaim>,
    }

    /// Affinity rules of a pod.
    pub struct Affinity {
        /// Rules on the node.
        pub node_affinity: Option<NodeAffinity>,
        /// Pods to be near.
        pub pod_affinity: Option<PodAffinity>,
        /// Pods to stay away from.
        pub pod_anti_affinity: Option<PodAffinity>,
    }

    /// Affinity to nodes.
    pub struct NodeAffinity {
        /// What the node must be; absent means any node.
        pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    }

    /// A query over nodes: one of the terms has to match. No terms match no node.
    pub struct NodeSelector {
        /// Alternatives.
        pub node_selector_terms: Vec<NodeSelectorTerm>,
    }

    /// One alternative of a [`NodeSelector`]: all requirements have to match. A term without requirements matches no node.
    pub struct NodeSelectorTerm {
        /// Requirements on labels.
        pub match_expressions: Vec<LabelSelectorRequirement>,
        /// Requirements on fields; `metadata.name` is the only one there is.
        pub match_fields: Vec<LabelSelectorRequirement>,
    }

    /// Affinity, or anti-affinity, to pods.
    pub struct PodAffinity {
        /// Terms that all have to hold.
        pub required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>,
    }

    /// Pods, and the topology domain in which they matter.
    pub struct PodAffinityTerm {
        /// Pods that are meant; absent means none.
        pub label_selector: Option<LabelSelector>,
        /// Their namespaces, united with those of `namespace_selector`; none of both means the pod's own.
        pub namespaces: Vec<String>,
        /// Namespaces by label; an empty selector means all.
        pub namespace_selector: Option<LabelSelector>,
        /// Node label whose values are the domains.
        pub topology_key: String,
        /// Labels whose values the pod adds to the selector. The API server stores `label_selector` with them merged in.
        pub match_label_keys: Vec<String>,
        /// Labels whose values the pod excludes from the selector, merged in likewise.
        pub mismatch_label_keys: Vec<String>,
    }

    /// A toleration of taints.
    pub struct Toleration {
        /// Key of the taint; empty with operator `Exists` means every taint.
        pub key: String,
        /// `Equal`, which is what empty means, `Exists`, `Lt` or `Gt`.
        pub operator: String,
        /// Value of the taint.
        pub value: String,
        /// Effect of the taint; empty means every effect.
        pub effect: String,
        /// How long a `NoExecute` taint is tolerated; absent means for ever.
        pub toleration_seconds: Option<i64>,
    }

    /// A rule that spreads pods over topology domains.
    pub struct TopologySpreadConstraint {
        /// Largest difference between the number of matching pods of a domain and of the emptiest one.
        pub max_skew: i32,
        /// Node label whose values are the domains.
        pub topology_key: String,
        /// `DoNotSchedule` or `ScheduleAnyway`.
        pub when_unsatisfiable: String,
        /// Pods that are counted; absent counts none.
        pub label_selector: Option<LabelSelector>,
        /// Fewer domains than this count as if an empty one existed; absent means 1.
        pub min_domains: Option<i32>,
        /// `Honor`, which is what empty means, or `Ignore`: whether nodes excluded by node affinity are left out.
        pub node_affinity_policy: String,
        /// `Honor`, or `Ignore`, which is what empty means: whether nodes with taints not tolerated are left out.
        pub node_taints_policy: String,
        /// Labels whose values the pod adds to the selector.
        pub match_label_keys: Vec<String>,
    }

    /// A container.
    pub struct Container {
        /// Name.
        pub name: String,
        /// Requests and limits.
        pub resources: ResourceRequirements,
        /// `Always` makes an init container a sidecar, which runs beside the containers.
        pub restart_policy: String,
        /// Ports.
        pub ports: Vec<ContainerPort>,
    }

    /// Requests and limits.
    pub struct ResourceRequirements {
        /// What the scheduler sets aside.
        pub requests: ResourceList,
        /// What may be used at most.
        pub limits: ResourceList,
    }

    /// A port of a container.
    pub struct ContainerPort {
        /// Port on the node; 0 means none.
        pub host_port: i32,
        /// Port in the container.
        pub container_port: i32,
        /// `TCP`, which is what empty means, `UDP` or `SCTP`.
        pub protocol: String,
        /// Address of the node that the host port is bound to; empty means all.
        #[serde(rename = "hostIP")]
        pub host_ip: String,
    }

    /// A volume of a pod, with the kinds that scheduling and draining look at. Of other kinds only the name is read.
    pub struct Volume {
        /// Name.
        pub name: String,
        /// A directory that lives as long as the pod.
        pub empty_dir: Option<EmptyDirVolumeSource>,
        /// A path of the node.
        pub host_path: Option<HostPathVolumeSource>,
        /// A claim of the pod's namespace.
        pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
        /// A claim that is made for the pod, named `POD-VOLUME`.
        pub ephemeral: Option<EphemeralVolumeSource>,
        /// A volume of a CSI driver that lives as long as the pod.
        pub csi: Option<CsiVolumeSource>,
        /// A disk of Google Compute Engine.
        pub gce_persistent_disk: Option<GcePersistentDiskVolumeSource>,
        /// A disk of Amazon Web Services.
        pub aws_elastic_block_store: Option<AwsElasticBlockStoreVolumeSource>,
        /// A Ceph block device.
        pub rbd: Option<RbdVolumeSource>,
        /// An iSCSI disk.
        pub iscsi: Option<IscsiVolumeSource>,
    }

    /// A directory that lives as long as the pod.
    pub struct EmptyDirVolumeSource {
        /// `Memory`, or empty for the node's disk.
        pub medium: String,
        /// Largest size.
        pub size_limit: Option<crate::quantity::Quantity>,
    }

    /// A path of the node.
    pub struct HostPathVolumeSource {
        /// Path.
        pub path: String,
    }

    /// A claim of the pod's namespace.
    pub struct PersistentVolumeClaimVolumeSource {
        /// Name of the claim.
        pub claim_name: String,
        /// Whether the pod mounts it read-only.
        pub read_only: bool,
    }

    /// A claim that is made for the pod.
    pub struct EphemeralVolumeSource {
        /// The claim to make.
        pub volume_claim_template: Option<PersistentVolumeClaimTemplate>,
    }

    /// The claim that is made for a pod.
    pub struct PersistentVolumeClaimTemplate {
        /// Its spec.
        pub spec: PersistentVolumeClaimSpec,
    }

    /// A volume of a CSI driver that lives as long as the pod. It takes no place in the driver's attach limit.
    pub struct CsiVolumeSource {
        /// Name of the driver.
        pub driver: String,
        /// Whether the pod mounts it read-only.
        pub read_only: bool,
    }

    /// A disk of Google Compute Engine.
    pub struct GcePersistentDiskVolumeSource {
        /// Name of the disk.
        pub pd_name: String,
        /// Whether the pod mounts it read-only.
        pub read_only: bool,
    }

    /// A disk of Amazon Web Services.
    pub struct AwsElasticBlockStoreVolumeSource {
        /// Id of the disk.
        #[serde(rename = "volumeID")]
        pub volume_id: String,
        /// Whether the pod mounts it read-only.
        pub read_only: bool,
    }

    /// A Ceph block device.
    pub struct RbdVolumeSource {
        /// Ceph monitors.
        pub monitors: Vec<String>,
        /// Image.
        pub image: String,
        /// Pool; empty means `rbd`.
        pub pool: String,
        /// Whether the pod mounts it read-only.
        pub read_only: bool,
    }

    /// An iSCSI disk.
    pub struct IscsiVolumeSource {
        /// Qualified name of the target.
        pub iqn: String,
        /// Whether the pod mounts it read-only.
        pub read_only: bool,
    }

    /// Something that holds a pod back from scheduling.
    pub struct PodSchedulingGate {
        /// Name.
        pub name: String,
    }

    /// A claim on devices.
    pub struct PodResourceClaim {
        /// Name within the pod.
        pub name: String,
        /// The ResourceClaim, when it exists already.
        pub resource_claim_name: String,
        /// The template that a ResourceClaim is made from.
        pub resource_claim_template_name: String,
    }

    /// The part of a pod's status that is read.
    pub struct PodStatus {
        /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        pub phase: String,
        /// Conditions.
        pub conditions: Vec<PodCondition>,
        /// Node on which the scheduler has made room for the pod by preemption.
        pub nominated_node_name: String,
        /// When the kubelet took the pod on.
        pub start_time: Option<Timestamp>,
        /// State of the containers.
        pub container_statuses: Vec<ContainerStatus>,
        /// State of the init containers.
        pub init_container_statuses: Vec<ContainerStatus>,
        /// State of a resize in place, as older kubelets report it; newer ones use conditions.
        pub resize: String,
        /// Pod-level requests that the node has set aside.
        pub allocated_resources: ResourceList,
        /// Pod-level requests and limits in effect.
        pub resources: Option<ResourceRequirements>,
    }

    /// A condition of a pod.
    pub struct PodCondition {
        /// Type, such as `PodScheduled` or `Ready`.
        pub type_: String,
        /// `True`, `False` or `Unknown`.
        pub status: String,
        /// Why, as one word.
        pub reason: String,
        /// Why, as a sentence.
        pub message: String,
        /// When `status` changed last.
        pub last_transition_time: Option<Timestamp>,
    }

    /// State of a container.
    pub struct ContainerStatus {
        /// Name.
        pub name: String,
        /// Whether it is ready.
        pub ready: bool,
        /// Requests that the node has set aside.
        pub allocated_resources: ResourceList,
        /// Requests and limits in effect.
        pub resources: Option<ResourceRequirements>,
    }
}
