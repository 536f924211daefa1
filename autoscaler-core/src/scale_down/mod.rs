//! Which nodes go, and where their pods go.
//!
//! The steps of a decision and their order are here; each step has its file: what the node itself says
//! (`eligibility`), what its pods say ([`drain`] and [`pdb`](crate::pdb)), where they could go (`place`), how many nodes may
//! go at once (`budget`), and how much room has to stay free (`headroom`). What the same steps say of one node when nothing
//! else is planned, for those who ask why it stays, is in `alone`, and how rules put into words what they look at in `facts`.

mod alone;
mod budget;
mod eligibility;
mod facts;
mod headroom;
mod in_progress;
mod objection;
mod place;
mod shapes;
mod utilization;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_headroom;
#[cfg(test)]
mod tests_of_moves;
#[cfg(test)]
mod tests_of_progress;
#[cfg(test)]
mod tests_of_usage;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    drain::{self, Drainability},
    pdb::{Charge, Ledger},
    plan::{BlockReason, KeepReason, Move, NodeReport, NodeVerdict, PlannedRemoval, RemovalKind},
    planner::Options,
    scale_up::ScaleUp,
    snapshot::{GroupId, NodeId, PodId, Snapshot},
    template::Template,
    world::World,
};

pub(crate) use self::alone::{Alone, Judgement};
pub use self::objection::{Objection, standing_objection};
use self::{
    budget::Limits,
    eligibility::{Judged, Rules},
    place::Places,
    shapes::Shapes,
    utilization::{Share, Usage, Usages},
};

/// What the scale-up step knows that scale-down needs.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Every pod that asks for capacity, or is going to when its grace period is over; also one that fits an existing node.
    pub pending: &'a [PodId],
    /// Groups with a node to come, or with one that this plan creates.
    pub growing: &'a BTreeSet<GroupId>,
    /// New nodes of every group and offering, to judge whether one could host a pending pod.
    pub templates: &'a [Arc<Template>],
}

impl<'a> From<&'a ScaleUp> for Demand<'a> {
    fn from(up: &'a ScaleUp) -> Self {
        Self {
            pending: &up.asking,
            growing: &up.growing,
            templates: &up.templates,
        }
    }
}

/// The removals of a plan, and the verdict on every node.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleDown {
    /// Nodes to remove, in the order in which the moves were planned.
    pub removals: Vec<PlannedRemoval>,
    /// Every node, by [`NodeId`].
    pub nodes: Vec<NodeReport>,
}

/// Decides which nodes go.
///
/// The world arrives with pending pods where scale-up put them, so that nothing takes their room. It leaves with the
/// pods of removed nodes at their destinations and with those nodes empty.
pub fn plan_removals(world: &mut World<'_>, demand: &Demand<'_>, options: &Options, now: Timestamp) -> ScaleDown {
    let snapshot = world.snapshot();
    let rules = Rules::new(snapshot, demand, options, now);
    let (mut states, open) = judge_nodes(snapshot, &rules, &Usages::new(snapshot, now));
    // Most of the time the rules about nodes keep all of them, and nobody has to look at the pods.
    let removals = if open.is_empty() {
        Vec::new()
    } else {
        judge_all(world, &open, &mut states, now)
    };
    let nodes = snapshot
        .node_ids()
        .zip(states)
        .map(|(node, state)| state.report(node))
        .collect();
    ScaleDown { removals, nodes }
}

/// What the rules about the node itself say of every node, and those that none of them keeps.
fn judge_nodes(snapshot: &Snapshot, rules: &Rules<'_>, usages: &Usages<'_>) -> (Vec<NodeState>, Vec<OpenNode>) {
    let mut states = Vec::with_capacity(snapshot.nodes.len());
    let mut open = Vec::new();
    for id in snapshot.node_ids() {
        let usage = usages.of(id);
        let Judged { kept, unneeded } = rules.judge(id, usage);
        if let (None, Some(group), Some(usage)) = (&kept, snapshot.node(id).group, usage) {
            open.push((id, group, usage.larger()));
        }
        states.push(NodeState {
            usage,
            unneeded,
            outcome: kept.map_or(Outcome::Open, Outcome::Kept),
        });
    }
    (states, open)
}

/// The candidates in the order in which they are judged.
fn candidates(ledger: &Ledger<'_>, open: &[OpenNode], now: Timestamp) -> Vec<Candidate> {
    let candidate = |(node, group, size): &_| Candidate::new(ledger, *node, *group, *size, now);
    let mut candidates: Vec<_> = open.iter().map(candidate).collect();
    candidates.sort_by(Candidate::order);
    candidates
}

/// Judges the nodes that no rule about the node itself keeps, one after the other, and writes down what becomes of each.
fn judge_all(
    world: &mut World<'_>,
    open: &[OpenNode],
    states: &mut [NodeState],
    now: Timestamp,
) -> Vec<PlannedRemoval> {
    let snapshot = world.snapshot();
    let leaving = snapshot.node_ids().filter(|node| snapshot.is_leaving(*node));
    let ledger = Ledger::new(snapshot, leaving, now);
    let candidates = candidates(&ledger, open, now);
    let destinations = destinations(snapshot, states, &candidates);
    let pods = candidates.iter().flat_map(|candidate| candidate.pods.iter().copied());
    let mut planner = Planner::new(world, ledger, destinations, pods, now);
    let mut removals = Vec::new();
    for candidate in &candidates {
        let outcome = match planner.judge(candidate) {
            Ok(removal) => {
                let message = removal_message(&removal);
                removals.push(removal);
                Outcome::Removed(message)
            }
            Err(kept) => Outcome::Kept(kept),
        };
        if let Some(state) = states.get_mut(candidate.node.index()) {
            state.outcome = outcome;
        }
    }
    removals
}

/// Why a node stays.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    reason: KeepReason,
    pod: Option<PodId>,
    pod_reason: Option<BlockReason>,
    message: String,
}

/// A node that no rule about the node itself keeps.
#[derive(Debug)]
struct Candidate {
    node: NodeId,
    group: GroupId,
    size: Share,
    /// Pods that need another place, larger first.
    pods: Vec<PodId>,
    /// What the first pod says that must not be evicted.
    blocks: Option<Kept>,
    /// What the first pod says that wants to end by itself.
    waits: Option<Kept>,
    /// What the drain charges to PodDisruptionBudgets.
    charge: Charge,
    /// Whether some budget would have to recover during the drain.
    risky: bool,
    /// Whether some pod or budget keeps the node whatever else is planned.
    stuck: bool,
}

/// A node that no rule about the node itself keeps, its group and the larger of its two shares.
type OpenNode = (NodeId, GroupId, Share);

#[derive(Debug)]
struct NodeState {
    usage: Option<Usage>,
    unneeded: bool,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// Not decided yet.
    Open,
    Kept(Kept),
    Removed(String),
}

/// The removals that are planned so far, in everything that they change.
#[derive(Debug)]
struct Planner<'w, 's> {
    snapshot: &'s Snapshot,
    /// Nodes that pods of removals in progress move to, each with one that they come from.
    arriving: BTreeMap<NodeId, NodeId>,
    /// Nodes whose room is kept for pods of removals in progress, nobody knows yet how much of it.
    closed: BTreeSet<NodeId>,
    places: Places<'s>,
    ledger: Ledger<'s>,
    limits: Limits<'s>,
    headroom: headroom::Ledger<'s>,
    world: &'w mut World<'s>,
}

/// Nodes that can take pods, most wanted first: those that stay anyway, fullest first, so that room is used up where it
/// cannot be saved; then those that a pod keeps; then the other candidates, the last that would be removed first.
fn destinations(snapshot: &Snapshot, states: &[NodeState], candidates: &[Candidate]) -> Vec<NodeId> {
    let fullest_first = |a: &(Option<Share>, NodeId), b: &(Option<Share>, NodeId)| {
        let by_share = match (&a.0, &b.0) {
            (Some(a), Some(b)) => b.compare(a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        by_share.then(a.1.cmp(&b.1))
    };
    let kept = states
        .iter()
        .zip(snapshot.node_ids())
        .filter(|(state, _)| matches!(state.outcome, Outcome::Kept(_)));
    let mut kept: Vec<_> = kept
        .map(|(state, id)| (state.usage.as_ref().map(Usage::larger), id))
        .collect();
    kept.sort_by(fullest_first);
    let stuck = candidates.iter().filter(|candidate| candidate.stuck);
    let mut stuck: Vec<_> = stuck.map(|candidate| (Some(candidate.size), candidate.node)).collect();
    stuck.sort_by(fullest_first);
    let open = candidates
        .iter()
        .rev()
        .filter(|candidate| !candidate.stuck)
        .map(|candidate| candidate.node);
    let all = kept.into_iter().chain(stuck).map(|(_, id)| id).chain(open);
    all.filter(|id| snapshot.node(*id).is_ready() && !snapshot.is_leaving(*id))
        .collect()
}

fn removal_message(removal: &PlannedRemoval) -> String {
    match removal.moves.len() {
        0 => "no pod needs another place".to_owned(),
        1 => "1 pod moves to another node".to_owned(),
        count => {
            let nodes: BTreeSet<_> = removal.moves.iter().map(|step| step.to).collect();
            match nodes.len() {
                1 => format!("{count} pods move to another node"),
                nodes => format!("{count} pods move to {nodes} other nodes"),
            }
        }
    }
}

// === impl Kept ===

impl Kept {
    fn new(reason: KeepReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            pod: None,
            pod_reason: None,
            message: message.into(),
        }
    }

    fn blocked_by(pod: PodId, reason: BlockReason, message: String) -> Self {
        Self {
            reason: KeepReason::BlockedByPod,
            pod: Some(pod),
            pod_reason: Some(reason),
            message,
        }
    }
}

// === impl Candidate ===

impl Candidate {
    fn new(ledger: &Ledger<'_>, node: NodeId, group: GroupId, size: Share, now: Timestamp) -> Self {
        let snapshot = ledger.snapshot();
        let mut pods = Vec::new();
        let mut blocks = None;
        let mut waits = None;
        // Pods are ordered by namespace and name, so the first of each kind is the one to name.
        for pod in snapshot.pods_on(node).iter().copied() {
            match drain::drainability(snapshot, pod, now) {
                Drainability::Block(reason) if blocks.is_none() => {
                    blocks = Some(Kept::blocked_by(
                        pod,
                        reason,
                        drain::block_message(snapshot, pod, reason),
                    ));
                }
                Drainability::Wait if waits.is_none() => {
                    let message = format!("waits for pod {} to complete", snapshot.pod_name(pod));
                    waits = Some(Kept {
                        pod: Some(pod),
                        ..Kept::new(KeepReason::BlockedByOnCompletionPod, message)
                    });
                }
                _ => {}
            }
            if drain::must_move(snapshot, pod, now) {
                pods.push(pod);
            }
        }
        let charge = ledger.charge(&pods);
        pods.sort_by_key(|pod| {
            let requests = &snapshot.class_of(snapshot.pod(*pod)).requests;
            std::cmp::Reverse((requests.cpu, requests.memory))
        });
        let risky = ledger.is_risky(&charge);
        let stuck = blocks.is_some() || waits.is_some() || ledger.refusal(&charge).is_some();
        Self {
            node,
            group,
            size,
            pods,
            blocks,
            waits,
            charge,
            risky,
            stuck,
        }
    }

    /// Risky nodes last; empty ones first; then the least used; then by name.
    fn order(&self, other: &Self) -> Ordering {
        let key = |candidate: &Self| (candidate.risky, !candidate.pods.is_empty());
        key(self)
            .cmp(&key(other))
            .then_with(|| self.size.compare(&other.size))
            // Ids are in the order of names.
            .then(self.node.cmp(&other.node))
    }

    fn kind(&self) -> RemovalKind {
        if self.pods.is_empty() {
            RemovalKind::Empty
        } else {
            RemovalKind::Drain
        }
    }
}

// === impl NodeState ===

impl NodeState {
    fn report(self, node: NodeId) -> NodeReport {
        let (verdict, message) = match self.outcome {
            Outcome::Removed(message) => (NodeVerdict::Remove, message),
            Outcome::Kept(Kept {
                reason,
                pod,
                pod_reason,
                message,
            }) => (
                NodeVerdict::Keep {
                    reason,
                    pod,
                    pod_reason,
                },
                message,
            ),
            // Every node that is not kept has become a candidate, and every candidate has been judged.
            Outcome::Open => {
                let reason = KeepReason::UnexpectedError;
                (
                    NodeVerdict::Keep {
                        reason,
                        pod: None,
                        pod_reason: None,
                    },
                    "was not judged".to_owned(),
                )
            }
        };
        let utilization = self.usage.as_ref().map(Usage::display);
        NodeReport {
            node,
            verdict,
            utilization,
            unneeded: self.unneeded,
            message,
        }
    }
}

// === impl Planner ===

impl<'w, 's> Planner<'w, 's> {
    /// With nothing planned yet. `destinations` take pods, most wanted first; `pods` are those that may have to move.
    fn new(
        world: &'w mut World<'s>,
        ledger: Ledger<'s>,
        mut destinations: Vec<NodeId>,
        pods: impl Iterator<Item = PodId>,
        now: Timestamp,
    ) -> Self {
        let snapshot = world.snapshot();
        let arriving = in_progress::moves(snapshot, now);
        let closed = in_progress::closed(&arriving);
        destinations.retain(|node| !closed.contains(node));
        // What is kept for pods that are on their way is taken from nobody's head-room.
        let headroom = headroom::Ledger::new(world, now);
        in_progress::keep_room(world, &arriving);
        Self {
            snapshot,
            arriving: arriving.iter().map(|step| (step.to, step.from)).collect(),
            places: Places::new(snapshot, Shapes::new(snapshot), destinations, closed.len(), pods),
            closed,
            ledger,
            limits: Limits::new(snapshot, now),
            headroom,
            world,
        }
    }

    /// Plans the removal of one candidate, or says why it stays and leaves everything as it was.
    fn judge(&mut self, candidate: &Candidate) -> Result<PlannedRemoval, Kept> {
        let Candidate { node, group, .. } = *candidate;
        let kept = self
            .target(node)
            .or_else(|| candidate.blocks.clone())
            .or_else(|| candidate.waits.clone())
            .or_else(|| self.over_disruptions(candidate));
        if let Some(kept) = kept {
            return Err(kept);
        }
        let mark = self.world.mark();
        self.empty(node);
        let planned = self.place(candidate).and_then(|moves| {
            if let Some(kept) = self.limits.refusal(node, group, candidate.kind()) {
                return Err(kept);
            }
            let effect = self.headroom.judge(self.world, node, &moves)?;
            Ok((moves, effect))
        });
        let (moves, effect) = planned.inspect_err(|_| self.world.rollback(mark))?;
        self.places.commit(node, &moves);
        self.ledger.commit(&candidate.charge);
        self.limits.take(node, group, candidate.kind());
        self.headroom.commit(node, effect);
        Ok(PlannedRemoval {
            node,
            group,
            kind: candidate.kind(),
            moves,
        })
    }

    /// Whether pods move to the node.
    fn target(&self, node: NodeId) -> Option<Kept> {
        if let Some(from) = self.arriving.get(&node) {
            let from = self.snapshot.text(self.snapshot.node(*from).name);
            let message = format!("pods of the removal of {from} move to it");
            return Some(Kept::new(KeepReason::MoveTarget, message));
        }
        let message = "pods of another removal of this plan move to it";
        self.places
            .is_target(node)
            .then(|| Kept::new(KeepReason::MoveTarget, message))
    }

    /// Whether a PodDisruptionBudget does not let a pod go.
    fn over_disruptions(&self, candidate: &Candidate) -> Option<Kept> {
        let refusal = self.ledger.refusal(&candidate.charge)?;
        let reason = BlockReason::NotEnoughPdb;
        Some(Kept::blocked_by(refusal.pod, reason, refusal.message))
    }

    /// Empties the node in the world. It stays there: until it is gone the scheduler sees it, and so must rules that look
    /// at all nodes.
    fn empty(&mut self, victim: NodeId) {
        for pod in self.snapshot.pods_on(victim).iter().map(|pod| self.snapshot.pod(*pod)) {
            if !pod.is_terminal() {
                self.world.unplace(pod.class, victim.into());
            }
        }
        self.world.make_ghost(victim.into());
    }

    /// Puts the pods of a node that is empty elsewhere.
    fn place(&mut self, candidate: &Candidate) -> Result<Vec<Move>, Kept> {
        self.places
            .place(self.world, candidate.node, &candidate.pods)
            .map_err(|no_place| Kept {
                pod: Some(no_place.pod),
                ..Kept::new(KeepReason::NoPlaceToMovePods, no_place.message)
            })
    }
}
