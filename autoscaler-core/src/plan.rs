//! The value that a decision is: what to create, what to remove, and for every pod and node the verdict and its reason.
//!
//! A plan refers to the snapshot it was made from by ids; [`document`](crate::document) turns both into the JSON that
//! users see. Only data belongs here.

use std::{borrow::Cow, fmt, sync::Arc};

use jiff::Timestamp;

use crate::{
    drain,
    fit::{self, Misfit},
    provider::{DatacenterId, OfferingId},
    quantity::HourlyPrice,
    snapshot::{GroupId, MachineId, NodeId, PodId, Snapshot},
    template::Template,
};

/// Everything that was decided about one snapshot.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a plan that nobody reads decides nothing"]
pub struct Plan {
    /// The time the decision was made for.
    pub now: Timestamp,
    /// Nodes to create.
    pub creations: Vec<Creation>,
    /// No set of new nodes for the pods that do not fit the nodes there are costs less per hour, whatever the limits: the
    /// price of the linear relaxation, in which nodes are bought in parts and pods are split.
    pub least_price: HourlyPrice,
    /// Nodes to remove, in the order in which the moves were planned.
    pub removals: Vec<PlannedRemoval>,
    /// Every pod without a node that has not ended, by [`PodId`].
    pub pods: Vec<PodReport>,
    /// Every node, by [`NodeId`].
    pub nodes: Vec<NodeReport>,
    /// Pods that get a place and that rules about other pods concern, in an order in which kube-scheduler can bind them one
    /// after another once every planned node is there, and after all others. Those that are not in it fit in any order.
    pub binding_order: Vec<PodId>,
}

/// One node to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Its group.
    pub group: GroupId,
    /// Its size.
    pub offering: OfferingId,
    /// Its place.
    pub datacenter: DatacenterId,
    /// Its price.
    pub hourly_price: HourlyPrice,
    /// The pods it is for; none when it is for the group's minimum or head-room.
    pub pods: Vec<PodId>,
}

/// One node to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRemoval {
    /// The node.
    pub node: NodeId,
    /// Its group.
    pub group: GroupId,
    /// Whether pods must move.
    pub kind: RemovalKind,
    /// Where each pod that needs a place goes.
    pub moves: Vec<Move>,
}

/// Whether a removal moves pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalKind {
    /// No pod needs another place.
    Empty,
    /// Pods are evicted and find another place.
    Drain,
}

/// A pod that moves, and the node that has room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The pod.
    pub pod: PodId,
    /// The node.
    pub to: NodeId,
}

/// What was decided about a pending pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodReport {
    /// The pod.
    pub pod: PodId,
    /// The verdict.
    pub verdict: PodVerdict,
    /// Why not somewhere else, or why nowhere.
    pub reasons: Arc<[PodReason]>,
}

/// The verdict on a pending pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodVerdict {
    /// A node that exists or is to come has room.
    FitsExisting(Destination),
    /// A node is created for it: the index into [`Plan::creations`].
    TriggersScaleUp(usize),
    /// There is no place for it, and none can be bought.
    Unschedulable,
    /// It does not ask for a node.
    Ignored,
}

/// A node that has room: one that exists, or one that a VPSieNode is going to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A node.
    Node(NodeId),
    /// A node to come.
    Machine(MachineId),
}

/// One reason of a pod's verdict. Its words are made when they are asked for: most reasons are never read.
#[derive(Clone, Debug, PartialEq)]
pub struct PodReason {
    /// The node group that the reason is about.
    pub group: Option<GroupId>,
    /// The offering that the reason is about.
    pub offering: Option<OfferingId>,
    /// The node that the reason is about.
    pub node: Option<NodeId>,
    /// The reason itself.
    pub why: Why,
}

/// Why something is not possible for a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// A group or an offering must not be bought, whatever the pod.
    Refused(Arc<Refusal>),
    /// The pod does not fit a new node that looks like this.
    NewNode(Misfit, Arc<Template>),
    /// The pod does not fit a node that exists.
    Node(Misfit),
    /// A rule that has no numbers of its own: its name, and what it says.
    Rule(&'static str, Box<str>),
}

/// Why a group or an offering must not be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason in one word.
    pub reason: &'static str,
    /// The reason in words, with its numbers.
    pub message: String,
    /// Whether it holds for every offering of the group.
    pub whole_group: bool,
}

/// What was decided about a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// The verdict.
    pub verdict: NodeVerdict,
    /// Requests of its pods as a share of what it offers; `None` when it offers nothing.
    pub utilization: Option<Utilization>,
    /// Whether the node is unneeded as far as the rules before the timers can say; the executor records since when.
    pub unneeded: bool,
    /// The verdict in words, with its numbers.
    pub message: String,
}

/// The verdict on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeVerdict {
    /// It is removed: an entry of [`Plan::removals`] says how.
    Remove,
    /// It stays.
    Keep {
        /// The first rule that says so.
        reason: KeepReason,
        /// The pod that the reason is about.
        pod: Option<PodId>,
        /// Why that pod blocks.
        pod_reason: Option<BlockReason>,
    },
}

/// Requests as a share of what a node offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Utilization {
    /// Of its CPU.
    pub cpu: f64,
    /// Of its memory.
    pub memory: f64,
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The reason as events, status, metrics and documents spell it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a node stays. Names are those of the Cluster Autoscaler where it has one.
    KeepReason {
        /// It belongs to no node group that this autoscaler manages.
        NotAutoscaled,
        /// It is a control-plane node.
        ControlPlane,
        /// This operator runs on it.
        OwnNode,
        /// It is being removed already.
        CurrentlyBeingDeleted,
        /// An annotation or label forbids it.
        ScaleDownDisabledAnnotation,
        /// The group's policy forbids it.
        ScaleDownDisabled,
        /// It is not the hour for it.
        OutsideAllowedHours,
        /// It is not Ready, and not for long enough.
        NotUnreadyLongEnough,
        /// It is not Ready, and such nodes are not removed.
        ScaleDownUnreadyDisabled,
        /// It offers nothing, so that no share can be computed.
        UnexpectedError,
        /// Its pods request too much of it, or too much of it is measured to be used.
        NotUnderutilized,
        /// Too many nodes of the cluster are not Ready.
        ClusterUnhealthy,
        /// A node of its group is being created.
        ScaleUpInProgress,
        /// A pending pod could run on it, or on a new node of its group.
        PendingPods,
        /// It was created not long ago.
        NodeTooYoung,
        /// It has not been unneeded for long enough.
        NotUnneededLongEnough,
        /// Its group grew not long ago.
        InCooldown,
        /// Its removal failed not long ago.
        RecentlyFailed,
        /// Pods of another removal, of this plan or under way, move to it.
        MoveTarget,
        /// A pod must not be evicted.
        BlockedByPod,
        /// A pod wants to end by itself.
        BlockedByOnCompletionPod,
        /// A pod would find no other place.
        NoPlaceToMovePods,
        /// The group would fall below its minimum.
        NodeGroupMinSizeReached,
        /// As many nodes as allowed are being removed.
        DisruptionBudgetReached,
        /// A group would lose head-room that it is to keep.
        Headroom,
    }
}

reasons! {
    /// Why a pod blocks the removal of its node. Names are those of the Cluster Autoscaler where it has one.
    BlockReason {
        /// No controller would make a new one.
        NotReplicated,
        /// An annotation forbids it.
        NotSafeToEvictAnnotation,
        /// Its data would be lost.
        LocalStorageRequested,
        /// It belongs to kube-system, has no PodDisruptionBudget and is young.
        UnmovableKubeSystemPod,
        /// Its PodDisruptionBudget does not allow it now.
        NotEnoughPdb,
    }
}

// === impl NodeReport ===

impl NodeReport {
    /// Whether pods had better be bound elsewhere: the node is unneeded, and if it stays, then only for a time, or because so
    /// many nodes are to stay. A pod on it would keep it for good, or use up head-room that is bought anew.
    ///
    /// A node that pods of another removal move to is no candidate, and neither is one that stays for its own pods. Those
    /// keep it also when head-room is the only other place for them: of head-room the empty nodes are candidates.
    #[must_use]
    pub fn is_deletion_candidate(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        let is_empty = || {
            let pods = snapshot.pods_on(self.node);
            !pods.iter().any(|pod| drain::must_move(snapshot, *pod, now))
        };
        let may_go = match self.verdict {
            NodeVerdict::Remove => true,
            NodeVerdict::Keep {
                reason: KeepReason::Headroom,
                ..
            } => is_empty(),
            // What is unneeded and NotUnderutilized has not been measured for long enough.
            NodeVerdict::Keep { reason, .. } => matches!(
                reason,
                KeepReason::NodeTooYoung
                    | KeepReason::NotUnderutilized
                    | KeepReason::NotUnneededLongEnough
                    | KeepReason::InCooldown
                    | KeepReason::RecentlyFailed
                    | KeepReason::NodeGroupMinSizeReached
                    | KeepReason::DisruptionBudgetReached
            ),
        };
        self.unneeded && may_go
    }
}

// === impl PodReason ===

impl PodReason {
    /// The reason in one word: for a group, what refuses it or what it lacks, for example `InsufficientCpu`; for a node,
    /// the plugin of kube-scheduler that says no.
    #[must_use]
    pub fn reason<'s>(&'s self, snapshot: &'s Snapshot) -> Cow<'s, str> {
        self.why.reason(snapshot)
    }

    /// The reason in words, with its numbers.
    #[must_use]
    pub fn message(&self, snapshot: &Snapshot) -> String {
        self.why.message(snapshot)
    }
}

// === impl Why ===

impl Why {
    /// The rule in one word; of a misfit, the plugin of kube-scheduler.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::NewNode(misfit, _) | Self::Node(misfit) => misfit.plugin(),
            Self::Rule(rule, _) => rule,
        }
    }

    /// The reason in one word, as [`PodReason::reason`].
    #[must_use]
    pub fn reason<'s>(&'s self, snapshot: &'s Snapshot) -> Cow<'s, str> {
        match self {
            Self::NewNode(misfit, _) => misfit.group_reason(&snapshot.symbols).into(),
            why => why.rule().into(),
        }
    }

    /// The reason in words, with its numbers.
    #[must_use]
    pub fn message(&self, snapshot: &Snapshot) -> String {
        match self {
            Self::Refused(refusal) => refusal.message.clone(),
            Self::NewNode(misfit, template) => fit::template_misfit_text(misfit, &template.daemons, &snapshot.symbols),
            Self::Node(misfit) => misfit.text(&snapshot.symbols).to_string(),
            Self::Rule(_, message) => message.to_string(),
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.creations.is_empty() && self.removals.is_empty()
    }

    /// What the planned nodes cost per hour.
    #[must_use]
    pub fn hourly_price(&self) -> HourlyPrice {
        self.creations
            .iter()
            .fold(HourlyPrice::ZERO, |sum, creation| sum.plus(creation.hourly_price))
    }
}

// === impl RemovalKind ===

impl RemovalKind {
    /// The kind as documents and status spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Drain => "Drain",
        }
    }
}

// === impl Destination ===

impl Destination {
    /// The name of the node, or of the VPSieNode of a node to come.
    #[must_use]
    pub fn name(self, snapshot: &Snapshot) -> &str {
        match self {
            Self::Node(node) => snapshot.text(snapshot.node(node).name),
            Self::Machine(machine) => snapshot.text(snapshot.machine(machine).name),
        }
    }
}
