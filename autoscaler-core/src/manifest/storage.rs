//! Volumes: where they can be used, and how many of them.

use super::{
    meta::{LabelSelector, ObjectMeta, ResourceList},
    pod::{
        AwsElasticBlockStoreVolumeSource, GcePersistentDiskVolumeSource, HostPathVolumeSource, IscsiVolumeSource,
        NodeSelector, RbdVolumeSource,
    },
};

view! {
    /// A PersistentVolume (`v1`).
    pub struct PersistentVolume {
        /// Metadata; zone labels bind volumes of older provisioners.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: PersistentVolumeSpec,
        /// What is.
        pub status: PersistentVolumeStatus,
    }

    /// The part of a volume's spec that is read.
    pub struct PersistentVolumeSpec {
        /// Nodes that can use it.
        pub node_affinity: Option<VolumeNodeAffinity>,
        /// Size.
        pub capacity: ResourceList,
        /// Claim that it is bound to, or kept for.
        pub claim_ref: Option<ObjectReference>,
        /// StorageClass; empty means none.
        pub storage_class_name: String,
        /// `ReadWriteOnce`, `ReadOnlyMany`, `ReadWriteMany` or `ReadWriteOncePod`.
        pub access_modes: Vec<String>,
        /// `Filesystem` or `Block`.
        pub volume_mode: String,
        /// VolumeAttributesClass; empty means none.
        pub volume_attributes_class_name: String,
        /// A volume of a CSI driver.
        pub csi: Option<CsiPersistentVolumeSource>,
        /// A disk or directory of one node.
        pub local: Option<LocalVolumeSource>,
        /// A path of the node.
        pub host_path: Option<HostPathVolumeSource>,
        /// A disk of Google Compute Engine.
        pub gce_persistent_disk: Option<GcePersistentDiskVolumeSource>,
        /// A disk of Amazon Web Services.
        pub aws_elastic_block_store: Option<AwsElasticBlockStoreVolumeSource>,
        /// A Ceph block device.
        pub rbd: Option<RbdVolumeSource>,
        /// An iSCSI disk.
        pub iscsi: Option<IscsiVolumeSource>,
    }

    /// Nodes that can use a volume.
    pub struct VolumeNodeAffinity {
        /// The query; absent means every node.
        pub required: Option<NodeSelector>,
    }

    /// A reference to an object.
    pub struct ObjectReference {
        /// Kind.
        pub kind: String,
        /// Namespace.
        pub namespace: String,
        /// Name.
        pub name: String,
        /// UID; empty means any.
        pub uid: String,
    }

    /// A volume of a CSI driver.
    pub struct CsiPersistentVolumeSource {
        /// Name of the driver.
        pub driver: String,
        /// Identity of the volume within the driver.
        pub volume_handle: String,
        /// Whether it is read-only.
        pub read_only: bool,
    }

    /// A disk or directory of one node.
    pub struct LocalVolumeSource {
        /// Path.
        pub path: String,
    }

    /// What a volume is.
    pub struct PersistentVolumeStatus {
        /// `Pending`, `Available`, `Bound`, `Released` or `Failed`.
        pub phase: String,
    }

    /// A PersistentVolumeClaim (`v1`).
    pub struct PersistentVolumeClaim {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// What is asked for.
        pub spec: PersistentVolumeClaimSpec,
        /// What is.
        pub status: PersistentVolumeClaimStatus,
    }

    /// The part of a claim's spec that is read.
    pub struct PersistentVolumeClaimSpec {
        /// Volume that it is bound to; empty while it is not.
        pub volume_name: String,
        /// StorageClass; absent means the default class, empty means none.
        pub storage_class_name: Option<String>,
        /// `ReadWriteOnce`, `ReadOnlyMany`, `ReadWriteMany` or `ReadWriteOncePod`.
        pub access_modes: Vec<String>,
        /// `Filesystem` or `Block`.
        pub volume_mode: String,
        /// VolumeAttributesClass; empty means none.
        pub volume_attributes_class_name: String,
        /// Labels that an existing volume must have to be bound; absent means any.
        pub selector: Option<LabelSelector>,
        /// Size.
        pub resources: VolumeResourceRequirements,
    }

    /// Size of a claim.
    pub struct VolumeResourceRequirements {
        /// `storage`: the least size.
        pub requests: ResourceList,
    }

    /// What a claim is.
    pub struct PersistentVolumeClaimStatus {
        /// `Pending`, `Bound` or `Lost`.
        pub phase: String,
    }

    /// A StorageClass (`storage.k8s.io/v1`).
    pub struct StorageClass {
        /// Metadata; an annotation marks the default class.
        pub metadata: ObjectMeta,
        /// What makes its volumes; `kubernetes.io/no-provisioner` means nothing does.
        pub provisioner: String,
        /// `Immediate`, which is what empty means, or `WaitForFirstConsumer`.
        pub volume_binding_mode: String,
        /// Where its volumes can be made; none means everywhere.
        pub allowed_topologies: Vec<TopologySelectorTerm>,
    }

    /// One alternative of where volumes can be made: all its requirements have to match.
    pub struct TopologySelectorTerm {
        /// Requirements.
        pub match_label_expressions: Vec<TopologySelectorLabelRequirement>,
    }

    /// A node label and the values that it may have.
    pub struct TopologySelectorLabelRequirement {
        /// Label.
        pub key: String,
        /// Values.
        pub values: Vec<String>,
    }

    /// A CSINode (`storage.k8s.io/v1`): the CSI drivers of the node of the same name.
    pub struct CsiNode {
        /// Metadata.
        pub metadata: ObjectMeta,
        /// The drivers.
        pub spec: CsiNodeSpec,
    }

    /// CSI drivers of a node.
    pub struct CsiNodeSpec {
        /// The drivers.
        pub drivers: Vec<CsiNodeDriver>,
    }

    /// A CSI driver on a node.
    pub struct CsiNodeDriver {
        /// Name of the driver.
        pub name: String,
        /// What the driver calls the node.
        #[serde(rename = "nodeID")]
        pub node_id: String,
        /// What the node can attach.
        pub allocatable: Option<VolumeNodeResources>,
        /// Node labels that the driver tells apart where a volume can be used.
        pub topology_keys: Vec<String>,
    }

    /// What a node can attach.
    pub struct VolumeNodeResources {
        /// Volumes of the driver; absent means no limit.
        pub count: Option<i32>,
    }
}
