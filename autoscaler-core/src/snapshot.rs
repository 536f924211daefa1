//! The one immutable input of a decision: nodes, pods, groups and everything that bears on them, with interned strings
//! and dense ids.
//!
//! Only data and look-ups belong here. [`build`](crate::build) makes a snapshot out of Kubernetes objects.

mod pod;
mod settings;
mod symbols;

pub use self::{
    pod::{Controller, Deletion, DoNotDisrupt, Pod, PodPhase, SafeToEvict, Uid, Unschedulable},
    settings::{BudgetSize, Expander, PhaseTimeouts, ScaleDownPolicy, Settings},
};

use std::{cmp::Ordering, sync::Arc};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{
    constraint::{
        Rules,
        affinity::{AffinityTerm, Namespaces},
        ports::HostPort,
        spread::SpreadConstraint,
        volumes::VolumeNeeds,
    },
    hours::AllowedHours,
    provider::{DatacenterId, Offering, OfferingId},
    resources::Resources,
    selector::{LabelSelector, Labels, NodeSelector},
    symbol::{Symbol, Symbols},
    taint::{Taint, Toleration},
    usage::MeasuredUsage,
    world::Start,
};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            pub(crate) fn from_index(index: usize) -> Self {
                // Four billion objects do not fit into memory.
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }

            /// The position in the snapshot's list.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// A node of the snapshot.
    NodeId
);
index!(
    /// A pod of the snapshot.
    PodId
);
index!(
    /// A [`PodClass`] of the snapshot.
    ClassId
);
index!(
    /// A node group of the snapshot.
    GroupId
);
index!(
    /// A VPSieNode of the snapshot.
    MachineId
);
index!(
    /// A PodDisruptionBudget of the snapshot.
    BudgetId
);

/// Everything that one decision looks at. All lists but those of pods and classes are ordered by namespace and name.
/// Pods and classes have the order in which they came, which must not show in any output: [`Self::unbound_pods`] and
/// [`Self::pods_on`] give pods by namespace and name.
///
/// Where pods are is also kept as numbers, from which every [`World`](crate::world::World) starts. Nodes, pods and
/// classes are therefore changed through an [`Index`](crate::index::Index) only.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Texts of all symbols.
    pub symbols: Symbols,
    /// Keys that the rules look for.
    pub well_known: WellKnown,
    /// Nodes, by [`NodeId`].
    pub nodes: Vec<Node>,
    /// Pods, by [`PodId`].
    pub pods: Vec<Pod>,
    /// What the scheduler looks at of pods, by [`ClassId`].
    pub classes: Vec<PodClass>,
    /// NodeGroups, by [`GroupId`].
    pub groups: Vec<NodeGroup>,
    /// VPSieNodes, by [`MachineId`].
    pub machines: Vec<Machine>,
    /// PodDisruptionBudgets, by [`BudgetId`].
    pub budgets: Vec<Budget>,
    /// DaemonSets, whose pods take room on every new node that they match.
    pub daemon_sets: Vec<DaemonSet>,
    /// Offerings of the provider, ordered by id and datacenter.
    pub offerings: Vec<Offering>,
    /// The cluster-wide settings.
    pub settings: Settings,
    /// What nodes were measured to use; `None` when nobody measures, and then requests alone count.
    pub measured: Option<Arc<MeasuredUsage>>,
    /// Objects, or parts of objects, that could not be understood, and what was done instead.
    pub problems: Vec<Problem>,
    /// By node, each by namespace and name.
    pub(crate) pods_by_node: Vec<Vec<PodId>>,
    /// Pods without `spec.nodeName`, by namespace and name.
    pub(crate) unbound: Vec<PodId>,
    /// Those of them with `status.nominatedNodeName`, which are few, in the same order.
    pub(crate) nominated: Vec<PodId>,
    /// Labels of the namespaces that are known.
    pub(crate) namespaces: Namespaces,
    /// What has to be counted for constraints between pods.
    pub(crate) rules: Rules,
    /// What is counted of the pods that are bound to nodes.
    pub(crate) start: Start,
}

/// Symbols of the label keys that rules look for.
#[derive(Clone, Copy, Debug, Default)]
pub struct WellKnown {
    /// `kubernetes.io/hostname`
    pub hostname: Symbol,
    /// `topology.kubernetes.io/zone`
    pub zone: Symbol,
    /// `node.kubernetes.io/unschedulable`
    pub unschedulable: Symbol,
    /// `autoscaler.vpsie.com/offering`
    pub offering: Symbol,
    /// `node.kubernetes.io/instance-type`
    pub instance_type: Symbol,
    /// `autoscaler.vpsie.com/startup`
    pub startup: Symbol,
    /// `node.kubernetes.io/not-ready`
    pub not_ready: Symbol,
    /// `kube-system`
    pub kube_system: Symbol,
    /// Name of a node that does not exist yet: a text that is no valid name, so that no selector can match it.
    pub new_node: Symbol,
}

/// What the scheduler looks at of a pod. Pods that look the same share one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodClass {
    /// Namespace.
    pub namespace: Symbol,
    /// Labels, which selectors of other pods and of budgets match.
    pub labels: Labels,
    /// Requests: max(init containers, containers + sidecars) + overhead, and one pod slot.
    pub requests: Resources,
    /// `spec.nodeSelector`.
    pub node_selector: Labels,
    /// The required node affinity.
    pub node_affinity: Option<NodeSelector>,
    /// Tolerations.
    pub tolerations: Box<[Toleration]>,
    /// Priority; no priority counts as 0.
    pub priority: i32,
    /// Whether its deletion was requested: such a pod counts for no spread constraint.
    pub terminating: bool,
    /// Required terms of the pod affinity.
    pub affinity: Box<[AffinityTerm]>,
    /// Required terms of the pod anti-affinity.
    pub anti_affinity: Box<[AffinityTerm]>,
    /// Spread constraints with `DoNotSchedule`.
    pub spread: Box<[SpreadConstraint]>,
    /// Host ports, ordered by number, protocol and address.
    pub ports: Box<[HostPort]>,
    /// What its volumes ask of a node; `None` when that is nothing.
    pub volumes: Option<Box<VolumeNeeds>>,
    /// Its first claim on devices (`spec.resourceClaims`). Which node has them is not known, so such a pod fits none.
    pub devices: Option<Symbol>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Symbol,
    /// Labels.
    pub labels: Labels,
    /// Taints.
    pub taints: Box<[Taint]>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// What pods may request in all.
    pub allocatable: Resources,
    /// Whether the Ready condition is True, and if not since when.
    pub readiness: Readiness,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Whether its deletion was requested.
    pub deleting: bool,
    /// Whether it is a control-plane node.
    pub control_plane: bool,
    /// The annotation or label that forbids its removal, as `KEY=VALUE`.
    pub opt_out: Option<Symbol>,
    /// Hours in which it may be removed, from its own annotation; [`Snapshot::allowed_hours`] knows those that hold.
    pub allowed_hours: Option<AllowedHours>,
    /// The group it belongs to.
    pub group: Option<GroupId>,
    /// The VPSieNode that stands for it.
    pub machine: Option<MachineId>,
    /// Its offering, from its labels or its VPSieNode.
    pub offering: Option<OfferingId>,
    /// Most volumes that it can attach, by CSI driver; a driver that is absent has no limit.
    pub volume_limits: Box<[(Symbol, i64)]>,
    /// Whether this operator runs on it.
    pub own: bool,
}

/// Whether a node is Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The Ready condition is True.
    Ready,
    /// It is False, Unknown or missing.
    NotReady {
        /// Since when, if the condition says.
        since: Option<Timestamp>,
    },
}

/// A NodeGroup.
#[derive(Clone, Debug)]
pub struct NodeGroup {
    /// Namespace.
    pub namespace: Symbol,
    /// Name.
    pub name: Symbol,
    /// Whether it is labelled `autoscaler.vpsie.com/managed=true`.
    pub managed: bool,
    /// Whether its deletion was requested.
    pub deleting: bool,
    /// Fewest nodes.
    pub min_nodes: u32,
    /// Most nodes.
    pub max_nodes: u32,
    /// Where its nodes are created.
    pub datacenter: DatacenterId,
    /// Offerings that may be bought for it, in the order of the spec.
    pub offerings: Vec<OfferingId>,
    /// The offering that wins a tie.
    pub preferred: Option<OfferingId>,
    /// For the `priority` expander; higher first.
    pub priority: i32,
    /// Labels of a new node: those of the spec and the well-known ones, without the host name.
    pub labels: Labels,
    /// Taints of a new node.
    pub taints: Box<[Taint]>,
    /// What to subtract from an offering's size in place of the default reserves.
    pub reserved: Vec<(crate::resources::Resource, i64)>,
    /// Whether it may grow.
    pub scale_up_enabled: bool,
    /// How long a pod must have been unschedulable before this group grows for it; a pod that does not say since when
    /// has waited long enough. The minimum and the head-room of the group do not wait.
    pub scale_up_window: SignedDuration,
    /// Room that it keeps free for pods to come.
    pub headroom: Option<Headroom>,
    /// Rules for removal of its nodes.
    pub scale_down: ScaleDownPolicy,
    /// The annotation or label that forbids the removal of any of its nodes, as `KEY=VALUE`.
    pub opt_out: Option<Symbol>,
    /// Hours in which its nodes may be removed, where a Node has none of its own.
    pub allowed_hours: Option<AllowedHours>,
    /// The time zone of allowed hours that have none of their own; the error says why the one that it names is not known.
    pub time_zone: Option<Result<TimeZone, String>>,
    /// When it grew last, as its status says. A VPSieNode may be younger: it is created first.
    pub last_scale_up: Option<Timestamp>,
    /// When a removal of one of its nodes failed last.
    pub last_scale_down_failure: Option<Timestamp>,
    /// How many removals have failed since one succeeded.
    pub scale_down_failures: u32,
    /// Offerings that must not be tried for a while.
    pub backoffs: Vec<Backoff>,
}

/// Room that a group keeps free for pods to come, once every pending pod that can be placed has its place.
///
/// It counts on nodes of the group that are Ready and schedulable and stay, and on those that are to come or are planned.
/// A node is *empty* when it holds no pod that would need another place: pods of DaemonSets, mirror pods and pods that
/// have ended do not count. The limits of the group and of the cluster bind head-room too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Headroom {
    /// So many empty nodes.
    Nodes(u32),
    /// Empty nodes in percent of the nodes of the group that are not empty, rounded up. Empty nodes are left out, so that
    /// head-room does not call for head-room of its own.
    Percent(u32),
    /// Room for so many pods of this size at once, on new nodes or on what is left of others.
    Pods {
        /// How many pods.
        count: u32,
        /// What each of them requests, its pod slot included.
        requests: Resources,
    },
}

/// An offering that failed and is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The offering.
    pub offering: OfferingId,
    /// When it may be tried again.
    pub until: Timestamp,
    /// Why, in one word.
    pub reason: String,
    /// Why, in words: what the provider said, or which deadline passed.
    pub message: String,
}

/// A VPSieNode: one VM that we own or mean to own.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Namespace.
    pub namespace: Symbol,
    /// Name.
    pub name: Symbol,
    /// Its group, when that exists.
    pub group: Option<GroupId>,
    /// Its offering.
    pub offering: OfferingId,
    /// Its datacenter.
    pub datacenter: DatacenterId,
    /// Phase of its life.
    pub phase: MachinePhase,
    /// Since when it is in this phase.
    pub phase_since: Option<Timestamp>,
    /// Whether its deletion was requested.
    pub deleting: bool,
    /// The annotation or label that forbids its removal, as `KEY=VALUE`.
    pub opt_out: Option<Symbol>,
    /// Its Node, once there is one.
    pub node: Option<NodeId>,
    /// Since when its node is unneeded.
    pub unneeded_since: Option<Timestamp>,
    /// The removal in progress, or the last that failed.
    pub removal: Option<Removal>,
}

/// The removal operation of a VPSieNode, as its status records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Whether it is under way. A failed one has been rolled back.
    pub active: bool,
    /// When it was decided.
    pub started_at: Option<Timestamp>,
    /// When it failed.
    pub failed_at: Option<Timestamp>,
    /// How often in a row a removal of the node has failed.
    pub failures: u32,
    /// Where the plan expected the pods to go.
    pub moves: Vec<RecordedMove>,
}

/// A move of a removal, as its status records it. The pod may be gone, and so may the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedMove {
    /// The pod, as `namespace/name`.
    pub pod: String,
    /// The name of the node that has room for it.
    pub to: String,
}

/// The phase of a VPSieNode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachinePhase {
    /// The intent is recorded.
    #[default]
    Pending,
    /// The VM was asked for.
    Provisioning,
    /// The VM runs.
    Provisioned,
    /// The Node is expected.
    Joining,
    /// The Node is Ready and carries the group's labels and taints.
    Ready,
    /// The node is being emptied.
    Terminating,
    /// The VM is being deleted.
    Deleting,
    /// It did not come up, or vanished.
    Failed,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Namespace.
    pub namespace: Symbol,
    /// Name.
    pub name: Symbol,
    /// Pods it covers; `None` covers none.
    pub selector: Option<LabelSelector>,
    /// How many evictions it allows now; 0 when its status is missing or stale.
    pub disruptions_allowed: u32,
    /// Whether its status is there and speaks of its spec as it is now.
    pub is_current: bool,
    /// Whether unhealthy pods may always be evicted.
    pub always_allow_unhealthy: bool,
}

/// A DaemonSet, as a pod of it looks to the scheduler.
#[derive(Clone, Debug)]
pub struct DaemonSet {
    /// Namespace.
    pub namespace: Symbol,
    /// Name.
    pub name: Symbol,
    /// What the scheduler looks at, with the tolerations that the DaemonSet controller adds.
    pub class: ClassId,
}

/// An object, or a part of one, that could not be understood, and what was done instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Kind, namespace and name, for example `Node n1`.
    pub object: String,
    /// The field.
    pub field: String,
    /// What is wrong, and what was assumed instead.
    pub message: String,
}

// === impl Snapshot ===

impl Snapshot {
    /// A node by its id.
    ///
    /// Ids come from this snapshot; an id of another one gives an arbitrary node or panics.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "ids are made by the builder from these very lists"
    )]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A pod by its id.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "ids are made by the builder from these very lists"
    )]
    pub fn pod(&self, id: PodId) -> &Pod {
        &self.pods[id.index()]
    }

    /// A class by its id.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "ids are made by the builder from these very lists"
    )]
    pub fn class(&self, id: ClassId) -> &PodClass {
        &self.classes[id.index()]
    }

    /// A group by its id.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "ids are made by the builder from these very lists"
    )]
    pub fn group(&self, id: GroupId) -> &NodeGroup {
        &self.groups[id.index()]
    }

    /// A VPSieNode by its id.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "ids are made by the builder from these very lists"
    )]
    pub fn machine(&self, id: MachineId) -> &Machine {
        &self.machines[id.index()]
    }

    /// A PodDisruptionBudget by its id.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "ids are made by the builder from these very lists"
    )]
    pub fn budget(&self, id: BudgetId) -> &Budget {
        &self.budgets[id.index()]
    }

    /// The class of a pod.
    #[must_use]
    pub fn class_of(&self, pod: &Pod) -> &PodClass {
        self.class(pod.class)
    }

    /// The pods bound to a node, by namespace and name. Terminal ones are among them.
    #[must_use]
    pub fn pods_on(&self, node: NodeId) -> &[PodId] {
        self.pods_by_node.get(node.index()).map_or(&[], Vec::as_slice)
    }

    /// The pods without `spec.nodeName`, by namespace and name. Terminal ones are among them.
    #[must_use]
    pub fn unbound_pods(&self) -> &[PodId] {
        &self.unbound
    }

    /// All node ids in order.
    pub fn node_ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId::from_index)
    }

    /// All pod ids, in no order that means anything.
    pub fn pod_ids(&self) -> impl DoubleEndedIterator<Item = PodId> + use<> {
        (0..self.pods.len()).map(PodId::from_index)
    }

    /// All group ids in order.
    pub fn group_ids(&self) -> impl DoubleEndedIterator<Item = GroupId> + use<> {
        (0..self.groups.len()).map(GroupId::from_index)
    }

    /// All VPSieNode ids in order.
    pub fn machine_ids(&self) -> impl DoubleEndedIterator<Item = MachineId> + use<> {
        (0..self.machines.len()).map(MachineId::from_index)
    }

    /// All PodDisruptionBudget ids in order.
    pub fn budget_ids(&self) -> impl DoubleEndedIterator<Item = BudgetId> + use<> {
        (0..self.budgets.len()).map(BudgetId::from_index)
    }

    /// The text of a symbol.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> &str {
        self.symbols.text(symbol)
    }

    /// A pod as `namespace/name`.
    #[must_use]
    pub fn pod_name(&self, id: PodId) -> String {
        let pod = self.pod(id);
        format!("{}/{}", self.text(pod.namespace), pod.name)
    }

    /// A group as `namespace/name`.
    #[must_use]
    pub fn group_name(&self, id: GroupId) -> String {
        let group = self.group(id);
        self.qualified(group.namespace, group.name)
    }

    /// A PodDisruptionBudget as `namespace/name`.
    #[must_use]
    pub fn budget_name(&self, id: BudgetId) -> String {
        let budget = self.budget(id);
        self.qualified(budget.namespace, budget.name)
    }

    /// The offering that a group in a datacenter can buy under this id: the one of that datacenter, else the one that
    /// is sold everywhere.
    #[must_use]
    pub fn offering(&self, id: &OfferingId, datacenter: &DatacenterId) -> Option<&Offering> {
        // They are ordered by id.
        let start = self.offerings.partition_point(|offering| offering.id < *id);
        let with_id = || {
            self.offerings
                .iter()
                .skip(start)
                .take_while(|offering| offering.id == *id)
        };
        with_id()
            .find(|offering| offering.datacenter.as_ref() == Some(datacenter))
            .or_else(|| with_id().find(|offering| offering.datacenter.is_none()))
    }

    /// The hours in which a node may be removed: those of its Node, else those of its group. Their time zone is that of the
    /// same object, else that of the group, else UTC. `None` when any hour will do.
    #[must_use]
    pub fn allowed_hours(&self, node: NodeId) -> Option<AllowedHours> {
        let node = self.node(node);
        let group = node.group.map(|group| self.group(group));
        let of_group = || group.and_then(|group| group.allowed_hours.as_ref());
        let hours = node.allowed_hours.as_ref().or_else(of_group)?;
        Some(hours.in_zone(group.and_then(|group| group.time_zone.as_ref())))
    }

    /// Whether the removal of a node is in progress, ours or somebody else's, or its VPSieNode has failed.
    #[must_use]
    pub fn is_leaving(&self, node: NodeId) -> bool {
        let node = self.node(node);
        node.deleting || node.machine.is_some_and(|machine| self.machine(machine).is_leaving())
    }

    /// The order of pods by namespace and name.
    pub(crate) fn compare_pods(&self, one: PodId, other: PodId) -> Ordering {
        let (one, other) = (self.pod(one), self.pod(other));
        if one.namespace == other.namespace {
            return one.name.cmp(&other.name);
        }
        self.text(one.namespace).cmp(self.text(other.namespace))
    }

    fn qualified(&self, namespace: Symbol, name: Symbol) -> String {
        format!("{}/{}", self.text(namespace), self.text(name))
    }
}

// === impl Node ===

impl Node {
    /// Whether the node is Ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness == Readiness::Ready
    }
}

// === impl Machine ===

impl Machine {
    /// Whether it is on its way to becoming a Ready node.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        !self.is_leaving()
            && matches!(
                self.phase,
                MachinePhase::Pending | MachinePhase::Provisioning | MachinePhase::Provisioned | MachinePhase::Joining
            )
    }

    /// Whether it is going: by phase, by its removal operation or by its deletion. One that has failed is going too: its VM
    /// is deleted as it is, whatever runs on it.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.deleting
            || matches!(
                self.phase,
                MachinePhase::Terminating | MachinePhase::Deleting | MachinePhase::Failed
            )
            || self.removal.as_ref().is_some_and(|removal| removal.active)
    }
}

// === impl MachinePhase ===

impl MachinePhase {
    /// Every phase with the name that `status.phase` has for it.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Pending, "Pending"),
        (Self::Provisioning, "Provisioning"),
        (Self::Provisioned, "Provisioned"),
        (Self::Joining, "Joining"),
        (Self::Ready, "Ready"),
        (Self::Terminating, "Terminating"),
        (Self::Deleting, "Deleting"),
        (Self::Failed, "Failed"),
    ];

    /// The name in `status.phase`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(phase, _)| *phase == self)
            .map_or("Unknown", |(_, name)| name)
    }

    /// The phase of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(phase, _)| *phase)
    }
}
