//! Why a node stays or goes: every rule in the order of a plan, each of its pods, and where each of them could go.
//!
//! [`plan`](crate::planner::plan) stops at the first rule that says no. Here every rule is asked, in the cluster as it
//! stands and as if nothing else was planned; what the plan itself says of the node stands beside that. The rules are in
//! [`scale_down`] and [`drain`](crate::drain), and both ask the same ones. Only the question belongs
//! here; the shape of the output is in [`document`].

pub mod document;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    drain::DrainRule,
    pdb::Standing,
    plan::{KeepReason, NodeReport, Why},
    planner::Options,
    scale_down::{self, Alone, Demand, Judgement},
    scale_up,
    snapshot::{NodeId, PodId, Snapshot},
    world::World,
};

/// How many destinations are listed at the most, over all pods of all nodes, unless the first node alone has more. To
/// explain every node of a large cluster with every destination of every pod would fill the memory.
pub const MAX_DESTINATIONS: usize = 250_000;

/// Why each of some nodes stays or goes.
#[derive(Clone, Debug, PartialEq)]
pub struct NodesExplanation {
    /// The time that timers are judged for.
    pub now: Timestamp,
    /// The nodes, in the order in which they were asked for.
    pub nodes: Vec<NodeExplanation>,
}

/// Why one node stays or goes.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeExplanation {
    /// What a plan for this moment says of it.
    pub report: NodeReport,
    /// Every reason to stay, once, in the order in which a plan asks for them: all of [`KeepReason::ALL`].
    pub rules: Vec<RuleVerdict>,
    /// Every pod of the node, by namespace and name.
    pub pods: Vec<PodOnNode>,
}

/// What one rule says of a node, or several that have the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleVerdict {
    /// The rule, by the reason that the node stays for when it says no.
    pub rule: KeepReason,
    /// Whether it lets the node go. A rule that does not apply does.
    pub passed: bool,
    /// What was compared, for a rule that compares.
    pub value: Option<String>,
    /// What it was compared with.
    pub threshold: Option<String>,
    /// The verdict in words.
    pub message: String,
}

/// What a pod means for the removal of its node.
#[derive(Clone, Debug, PartialEq)]
pub struct PodOnNode {
    /// The pod.
    pub pod: PodId,
    /// The rule that decided.
    pub rule: DrainRule,
    /// What it decided.
    pub outcome: PodOutcome,
    /// The same in words.
    pub message: String,
    /// What would let the pod go, when it is not let go.
    pub remedy: Option<String>,
    /// What PodDisruptionBudgets allow, when the eviction of the pod asks them.
    pub budgets: Vec<Standing>,
    /// The answer of every other node, by name, when the pod needs another place.
    pub destinations: Arc<[DestinationAnswer]>,
    /// How many answers are missing, because [`MAX_DESTINATIONS`] would be exceeded.
    pub destinations_left_out: usize,
}

/// What becomes of a pod when its node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodOutcome {
    /// Nobody evicts it, and it needs no place.
    Skip,
    /// It may go, and needs no other place.
    Ok,
    /// The node waits until it has ended.
    Wait,
    /// It must not be evicted, so the node stays.
    Block,
    /// It may go, and needs another place.
    Move,
}

/// Whether a pod could move to a node.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationAnswer {
    /// The node.
    pub node: NodeId,
    /// Why not, by the first rule that says no. `None`: it could.
    pub refusal: Option<Why>,
}

/// Explains each of these nodes as of `now`. The same input always gives the same explanation.
///
/// A pod finds destinations in the cluster as it stands: with nothing moved before it and no pending pod placed, with its
/// own node as an empty one that is about to go, and with the room taken that pods of removals in progress are on their
/// way to. Where a plan keeps a node because pods find no place, other pods of that plan may have been first.
///
/// The cost is that of a plan, and of one check for each class of pods of a node and each other node. The first node has
/// all of its destinations; over all nodes at most [`MAX_DESTINATIONS`] are listed.
#[must_use]
pub fn explain_nodes(snapshot: &Snapshot, nodes: &[NodeId], options: &Options, now: Timestamp) -> NodesExplanation {
    let mut planned = World::new(snapshot);
    let up = scale_up::plan_creations(&mut planned, options, now);
    let demand = Demand::from(&up);
    let down = scale_down::plan_removals(&mut planned, &demand, options, now);
    let mut world = World::new(snapshot);
    let of_first = nodes.first().map_or(0, |node| snapshot.pods_on(*node).len());
    let room = of_first.saturating_mul(snapshot.nodes.len()).max(MAX_DESTINATIONS);
    let mut alone = Alone::new(&mut world, &demand, options, now, room);
    let explain = |node: &NodeId| {
        let Judgement { rules, pods } = alone.judge(*node);
        let report = down.nodes.get(node.index()).cloned()?;
        Some(NodeExplanation { report, rules, pods })
    };
    NodesExplanation {
        now,
        // There is a report on every node.
        nodes: nodes.iter().filter_map(explain).collect(),
    }
}

/// The nodes with these names, in this order, each once.
///
/// # Errors
/// The first name that no node of the snapshot has.
pub fn find_nodes<'n>(snapshot: &Snapshot, names: &[&'n str]) -> Result<Vec<NodeId>, &'n str> {
    let by_name: BTreeMap<&str, NodeId> = snapshot
        .node_ids()
        .map(|id| (snapshot.text(snapshot.node(id).name), id))
        .collect();
    let mut seen = BTreeSet::new();
    let distinct = names.iter().filter(|name| seen.insert(**name));
    distinct.map(|name| by_name.get(name).copied().ok_or(*name)).collect()
}

// === impl PodOutcome ===

impl PodOutcome {
    /// The outcome as documents spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "Skip",
            Self::Ok => "Ok",
            Self::Wait => "Wait",
            Self::Block => "Block",
            Self::Move => "Move",
        }
    }
}
