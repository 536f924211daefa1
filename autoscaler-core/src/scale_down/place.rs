//! Where the pods of a drained node go: first fit over the destinations, most wanted first.
//!
//! Room on destinations only shrinks while removals are planned, so a destination that was full for a shape stays full
//! for it. Every shape therefore remembers the first destination that is still worth a look, and the cost of a plan
//! grows with pods plus destinations, not with their product. Pods that constraints between pods concern are the
//! exception: a pod that moves elsewhere may make room for them, so they look at every destination that has room for any
//! pod that moves.
//!
//! Where pods and destinations are few, ways that first fit does not find are searched for.

use std::collections::BTreeMap;

use crate::{
    fit::Misfit,
    plan::Move,
    resources::Resources,
    snapshot::{ClassId, NodeId, PodId, Snapshot},
    world::World,
};

use super::shapes::Shapes;

/// How often the pods of one node are tried in another order before the node stays.
const ATTEMPTS: usize = 8;

/// Up to so many pods and destinations, every way to place them is tried, by asking up to so often whether a pod fits.
const SEARCHED_PODS: usize = 12;
const SEARCHED_DESTINATIONS: usize = 12;
const SEARCH_STEPS: usize = 1000;

/// How many destinations a message names.
const NAMED_DESTINATIONS: usize = 5;

/// The destinations, and what happened to them in this plan.
#[derive(Debug)]
pub(super) struct Places<'s> {
    snapshot: &'s Snapshot,
    shapes: Shapes,
    /// Most wanted first.
    destinations: Vec<NodeId>,
    /// Nodes that are none because pods of removals in progress are waited for there.
    closed: usize,
    /// By shape: every destination before this one is full for it, or gone.
    first: Vec<usize>,
    /// By destination: the next one, itself included, that is not known to be full for all pods that move, or gone.
    next_open: Vec<usize>,
    /// The least that a pod that moves requests of each resource.
    least: Amounts,
    /// By node.
    states: Vec<State>,
    /// Number of the attempt that is being made.
    attempt: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Planned to be removed.
    removed: bool,
    /// Receives pods of a planned removal.
    target: bool,
    /// The last attempt that put a pod here.
    touched: usize,
}

/// CPU in milli-cores, memory in bytes, pods.
type Amounts = [i64; 3];

/// A search for a way to place pods.
#[derive(Debug)]
struct Search {
    /// Nodes that take pods.
    open: Vec<NodeId>,
    /// Pods without a place.
    rest: Vec<PodId>,
    /// Those that have one, in the order in which they got it.
    moves: Vec<Move>,
    /// How often it may still be asked whether a pod fits.
    steps: usize,
}

/// A pod that finds no place, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoPlace {
    pub(super) pod: PodId,
    pub(super) message: String,
}

/// A cordon keeps all pods away, also those that tolerate it: whoever set it wants the node to be left alone.
fn is_cordoned(snapshot: &Snapshot, node: NodeId) -> bool {
    snapshot.node(node).unschedulable
}

// === impl Places ===

impl<'s> Places<'s> {
    /// Places for these pods. So many nodes are closed, and not among the destinations.
    pub(super) fn new(
        snapshot: &'s Snapshot,
        shapes: Shapes,
        destinations: Vec<NodeId>,
        closed: usize,
        pods: impl Iterator<Item = PodId>,
    ) -> Self {
        let requests = pods.map(|pod| amounts(&snapshot.class_of(snapshot.pod(pod)).requests));
        let least = |a: Amounts, b: Amounts| [a[0].min(b[0]), a[1].min(b[1]), a[2].min(b[2])];
        Self {
            snapshot,
            least: requests.reduce(least).unwrap_or_default(),
            next_open: (0..=destinations.len()).collect(),
            first: vec![0; shapes.len()],
            shapes,
            destinations,
            closed,
            states: vec![State::default(); snapshot.nodes.len()],
            attempt: 0,
        }
    }

    /// Finds a place for each of these pods outside of `victim` and puts them there. The world must hold the victim
    /// without them; when some pod finds no place it is left as it was.
    ///
    /// Pods are tried in the given order. When one fails, it goes first in the next attempt: what is hard to place is
    /// placed while there is room. One that has to be near others may wait for pods of the same node, so that it goes last
    /// before that, with all that are like it.
    pub(super) fn place(
        &mut self,
        world: &mut World<'s>,
        victim: NodeId,
        pods: &[PodId],
    ) -> Result<Vec<Move>, NoPlace> {
        let mark = world.mark();
        let mut order = pods.to_vec();
        let mut first_failure = None;
        let mut attempts = 0;
        let mut put_last = None;
        loop {
            let (at, pod) = match self.attempt(world, victim, &order) {
                Ok(moves) => return Ok(moves),
                Err(failed) => failed,
            };
            let tried = order.get(..at).unwrap_or_default();
            let shape = self.shape(pod);
            let is_other = |pod: &PodId| self.shape(*pod) != shape;
            let goes_last = put_last != Some(shape)
                && self.needs_others(pod)
                && order.get(at..).is_some_and(|rest| rest.iter().any(is_other));
            let order_matters = goes_last || tried.iter().any(is_other);
            // The first failure is reported, unless a pod turns out to fit nowhere even alone.
            let failure = match first_failure.take() {
                Some(failure) if !tried.is_empty() || self.needs_others(pod) => failure,
                _ => NoPlace {
                    pod,
                    message: self.explain(world, victim, pod),
                },
            };
            world.rollback(mark);
            attempts += 1;
            if !order_matters || attempts == ATTEMPTS {
                return self.search(world, victim, pods).ok_or(failure);
            }
            first_failure = Some(failure);
            if goes_last {
                put_last = Some(shape);
                if let Some(from_failed) = order.get_mut(at..) {
                    from_failed.sort_by_key(|pod| self.shapes.of(self.snapshot.pod(*pod).class) == shape);
                }
            } else if let Some(up_to_failed) = order.get_mut(..=at) {
                up_to_failed.rotate_right(1);
            }
        }
    }

    /// A way to place these pods that first fit does not find, if they and the destinations are few. The world must hold the
    /// victim without them, and is left as it was when nothing is found.
    fn search(&self, world: &mut World<'s>, victim: NodeId, pods: &[PodId]) -> Option<Vec<Move>> {
        if SEARCHED_PODS < pods.len() || SEARCHED_DESTINATIONS < self.destinations.len() {
            return None;
        }
        let is_open = |node: &NodeId| *node != victim && !self.is_removed(*node) && !is_cordoned(self.snapshot, *node);
        let open: Vec<_> = self.destinations.iter().copied().filter(is_open).collect();
        if !self.could_fit(world, &open, pods) {
            return None;
        }
        let mut search = Search {
            open,
            rest: pods.to_vec(),
            moves: Vec::with_capacity(pods.len()),
            steps: SEARCH_STEPS,
        };
        self.search_on(world, &mut search).then_some(search.moves)
    }

    /// Places the rest of the pods. One that no rule between pods concerns can as well come first as later; of the others
    /// each may have to.
    fn search_on(&self, world: &mut World<'s>, search: &mut Search) -> bool {
        let class_of = |pod: PodId| self.snapshot.pod(pod).class;
        let Some(first) = search.rest.first().copied() else {
            return true;
        };
        let others = if world.is_constrained(class_of(first)) {
            search.rest.len()
        } else {
            1
        };
        let mut tried = Vec::new();
        for index in 0..others {
            let Some(pod) = search.rest.get(index).copied() else {
                break;
            };
            let (class, shape) = (class_of(pod), self.shape(pod));
            if tried.contains(&shape) || (index != 0 && !world.is_constrained(class)) {
                continue;
            }
            tried.push(shape);
            search.rest.remove(index);
            for at in 0..search.open.len() {
                let Some(to) = search.open.get(at).copied() else { break };
                let Some(steps) = search.steps.checked_sub(1) else {
                    break;
                };
                search.steps = steps;
                if world.misfit(class, to.into()).is_some() {
                    continue;
                }
                let mark = world.mark();
                world.place(class, to.into());
                search.moves.push(Move { pod, to });
                if self.search_on(world, search) {
                    return true;
                }
                search.moves.pop();
                world.rollback(mark);
            }
            search.rest.insert(index, pod);
        }
        false
    }

    /// Whether there is a place for each pod that no rule between pods concerns, and room for all of them together.
    fn could_fit(&self, world: &World<'s>, open: &[NodeId], pods: &[PodId]) -> bool {
        let class_of = |pod: &PodId| self.snapshot.pod(*pod).class;
        let fits = |class: ClassId| open.iter().any(|node| world.misfit(class, (*node).into()).is_none());
        let mut room = Amounts::default();
        for node in open {
            let view = world.view((*node).into());
            let free = amounts(view.allocatable).into_iter().zip(amounts(view.used));
            for (room, (all, used)) in room.iter_mut().zip(free) {
                *room = room.saturating_add(all.saturating_sub(used).max(0));
            }
        }
        for pod in pods {
            let wanted = amounts(&self.snapshot.class_of(self.snapshot.pod(*pod)).requests);
            for (room, wanted) in room.iter_mut().zip(wanted) {
                *room = room.saturating_sub(wanted);
            }
        }
        let fits_alone = |pod: &PodId| world.is_constrained(class_of(pod)) || fits(class_of(pod));
        room.iter().all(|left| 0 <= *left) && pods.iter().all(fits_alone)
    }

    fn is_removed(&self, node: NodeId) -> bool {
        self.states.get(node.index()).is_some_and(|state| state.removed)
    }

    /// Whether pods of a planned removal go to this node.
    pub(super) fn is_target(&self, node: NodeId) -> bool {
        self.states.get(node.index()).is_some_and(|state| state.target)
    }

    /// Makes a removal part of the plan.
    pub(super) fn commit(&mut self, victim: NodeId, moves: &[Move]) {
        if let Some(state) = self.states.get_mut(victim.index()) {
            state.removed = true;
        }
        for to in moves.iter().map(|step| step.to) {
            if let Some(state) = self.states.get_mut(to.index()) {
                state.target = true;
            }
        }
    }

    /// One attempt in this order. On failure, the pod that found no place and its index; the world keeps the others.
    fn attempt(&mut self, world: &mut World<'s>, victim: NodeId, order: &[PodId]) -> Result<Vec<Move>, (usize, PodId)> {
        self.attempt += 1;
        let mut cursors = BTreeMap::new();
        let mut moves = Vec::with_capacity(order.len());
        for (index, pod) in order.iter().copied().enumerate() {
            let class = self.snapshot.pod(pod).class;
            let to = self
                .next_place(world, victim, class, &mut cursors)
                .ok_or((index, pod))?;
            world.place(class, to.into());
            if let Some(state) = self.states.get_mut(to.index()) {
                state.touched = self.attempt;
            }
            moves.push(Move { pod, to });
        }
        Ok(moves)
    }

    /// The first destination with room. `cursors` are the places to begin at in this attempt, by shape; those of `self`
    /// outlive the attempt and move on only past what is full without it.
    fn next_place(
        &mut self,
        world: &World<'s>,
        victim: NodeId,
        class: ClassId,
        cursors: &mut BTreeMap<usize, usize>,
    ) -> Option<NodeId> {
        if world.is_constrained(class) {
            return self.next_constrained(world, victim, class);
        }
        let shape = self.shapes.of(class);
        let lasting = self.first.get_mut(shape)?;
        let start = cursors.get(&shape).copied().unwrap_or(*lasting);
        for (index, node) in self.destinations.iter().copied().enumerate().skip(start) {
            let state = self.states.get(node.index()).copied().unwrap_or_default();
            let is_shut = || is_cordoned(self.snapshot, node) || world.misfit(class, node.into()).is_some();
            let closed = state.removed || (node != victim && is_shut());
            if !closed && node != victim {
                cursors.insert(shape, index);
                return Some(node);
            }
            if closed && *lasting == index && (state.removed || state.touched != self.attempt) {
                *lasting = index + 1;
            }
        }
        cursors.insert(shape, self.destinations.len());
        None
    }

    /// The first destination for a pod that may get room on any of them again.
    fn next_constrained(&mut self, world: &World<'s>, victim: NodeId, class: ClassId) -> Option<NodeId> {
        let mut index = self.open_from(0);
        while let Some(node) = self.destinations.get(index).copied() {
            let state = self.states.get(node.index()).copied().unwrap_or_default();
            // What this attempt put there may be taken back.
            let is_full = || state.touched != self.attempt && node != victim && self.is_full(world, node);
            if state.removed || is_cordoned(self.snapshot, node) || is_full() {
                if let Some(next) = self.next_open.get_mut(index) {
                    *next = index + 1;
                }
            } else if node != victim && world.misfit(class, node.into()).is_none() {
                return Some(node);
            }
            index = self.open_from(index + 1);
        }
        None
    }

    /// Whether none of the pods that move has room on a node.
    fn is_full(&self, world: &World<'s>, node: NodeId) -> bool {
        let view = world.view(node.into());
        let amounts = amounts(view.allocatable).into_iter().zip(amounts(view.used));
        let mut free = amounts.map(|(all, used)| all.saturating_sub(used)).zip(self.least);
        free.any(|(free, least)| 0 < least && free < least)
    }

    /// The first destination from here on that is not known to be full or gone.
    fn open_from(&mut self, start: usize) -> usize {
        let mut end = start;
        while let Some(next) = self.next_open.get(end).copied().filter(|next| *next != end) {
            end = next;
        }
        // The way is shorter the next time.
        let mut index = start;
        while let Some(next) = self.next_open.get_mut(index).filter(|next| **next != index) {
            index = std::mem::replace(next, end);
        }
        end
    }

    /// Whether the pod has to be near other pods.
    fn needs_others(&self, pod: PodId) -> bool {
        !self.snapshot.class_of(self.snapshot.pod(pod)).affinity.is_empty()
    }

    /// Why a pod finds no place: the first rule that says no, for some destinations by name and for the others by number.
    fn explain(&self, world: &World<'s>, victim: NodeId, pod: PodId) -> String {
        let snapshot = self.snapshot;
        let class = snapshot.pod(pod).class;
        let is_open = |node: &NodeId| *node != victim && !self.is_removed(*node);
        let mut named = Vec::new();
        let mut others: BTreeMap<&str, usize> = BTreeMap::new();
        for node in self.destinations.iter().copied().filter(is_open) {
            let misfit = match world.misfit(class, node.into()) {
                None if is_cordoned(snapshot, node) => Misfit::Unschedulable,
                None => continue,
                Some(misfit) => misfit,
            };
            if named.len() < NAMED_DESTINATIONS {
                let name = snapshot.text(snapshot.node(node).name);
                named.push(format!(
                    "{name}: {}: {}",
                    misfit.plugin(),
                    misfit.text(&snapshot.symbols)
                ));
            } else {
                *others.entry(misfit.plugin()).or_default() += 1;
            }
        }
        named.extend(others.iter().map(|(plugin, count)| format!("{count} more: {plugin}")));
        let removed = self.states.iter().filter(|state| state.removed).count();
        if removed != 0 {
            let more = if named.is_empty() { "other" } else { "more" };
            named.push(format!("{removed} {more}: removed by this plan"));
        }
        if self.closed != 0 {
            named.push(format!(
                "{} more: pods of a removal in progress are waited for",
                self.closed
            ));
        }
        let why = if named.is_empty() {
            "there is no other Ready node that stays".to_owned()
        } else {
            named.join("; ")
        };
        format!("pod {} finds no other place: {why}", snapshot.pod_name(pod))
    }

    fn shape(&self, pod: PodId) -> usize {
        self.shapes.of(self.snapshot.pod(pod).class)
    }
}

fn amounts(resources: &Resources) -> Amounts {
    [resources.cpu, resources.memory, resources.pods]
}
