//! Removals that are under way: where their pods are expected, so that the room for them is given to nobody else and the
//! nodes they move to stay.
//!
//! A pod that was evicted is another one when it comes back: its controller makes a new one, with a new name unless it is a
//! StatefulSet, and the scheduler takes some time to bind it. Until it is bound, the room on the node where the plan wants
//! it is kept.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    drain,
    snapshot::{Machine, MachinePhase, NodeId, PodId, RecordedMove, Snapshot},
    symbol::Symbol,
    world::World,
};

/// How long after the drain a pod is waited for that was evicted and has no successor. Perhaps nobody makes one: its
/// Deployment was made smaller, or its Job has ended.
const SUCCESSOR_TIME: SignedDuration = SignedDuration::from_secs(60);

/// A move of a removal in progress, to a node that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arriving {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    room: Room,
}

/// What is kept free on the destination.
#[derive(Clone, Copy, Debug)]
enum Room {
    /// Room for this pod, which is still on its old node, or for its successor, which has no node yet.
    For(PodId),
    /// The pod is gone and its successor is not there yet, so that nobody knows how much: all of it.
    All,
    /// The successor is bound, or none comes.
    Nothing,
}

/// Pods of one controller that may be successors of those that were evicted. The youngest come last.
#[derive(Debug, Default)]
struct Successors {
    bound: BTreeMap<Option<NodeId>, Vec<Successor>>,
    /// What is left of those that are bound when nobody looks for them by their node any more.
    elsewhere: Vec<Successor>,
    unbound: Vec<Successor>,
    /// How many of the pods that have left can have a successor that is bound: each that is not bound is one's, too.
    settled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Successor {
    created: Timestamp,
    pod: PodId,
}

/// Where a successor is looked for.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// On the node where the plan wants it.
    There,
    /// Among pods that have no node.
    Nowhere,
    /// On any node.
    Elsewhere,
}

/// A move whose pod has left, or is about to.
#[derive(Clone, Copy, Debug)]
struct Left<'s> {
    /// Its place in the list of moves.
    index: usize,
    step: &'s RecordedMove,
    /// Since when its removal is in progress; no successor is older.
    since: Timestamp,
    controller: ControllerKey<'s>,
}

/// A controller as `(namespace, name)`.
type ControllerKey<'s> = (&'s str, &'s str);

/// The moves of all removals in progress, as the VPSieNodes record them.
pub(super) fn moves(snapshot: &Snapshot, now: Timestamp) -> Vec<Arriving> {
    let mut moves = Vec::new();
    let mut left = Vec::new();
    for (machine, from) in in_progress(snapshot) {
        let Some(removal) = &machine.removal else { continue };
        let of_node = snapshot.pods_on(from).iter().copied();
        let waiting: Vec<PodId> = of_node.filter(|pod| drain::must_move(snapshot, *pod, now)).collect();
        for step in &removal.moves {
            let Some(to) = node_named(snapshot, &step.to) else {
                continue;
            };
            let pod = waiting.iter().copied().find(|pod| is_of(snapshot, step, *pod));
            let leaves = pod.is_none_or(|pod| snapshot.pod(pod).deletion.is_some());
            if let (true, Some(since), Some(controller)) = (leaves, removal.started_at, controller_of(step)) {
                let index = moves.len();
                left.push(Left {
                    index,
                    step,
                    since,
                    controller,
                });
            }
            let room = match pod {
                Some(pod) => Room::For(pod),
                None if is_given_up(machine, now) => Room::Nothing,
                None => Room::All,
            };
            moves.push(Arriving { from, to, room });
        }
    }
    find_successors(snapshot, &mut moves, left);
    moves
}

/// Nodes on which nothing may be given away, because nobody knows yet what the room is needed for.
pub(super) fn closed(moves: &[Arriving]) -> BTreeSet<NodeId> {
    let closed = moves.iter().filter(|step| matches!(step.room, Room::All));
    closed.map(|step| step.to).collect()
}

/// Keeps the room that pods of removals in progress are going to need. A destination that has lost the room in the
/// meantime keeps none: the pod goes where the scheduler finds a place.
pub(super) fn keep_room(world: &mut World<'_>, moves: &[Arriving]) {
    let snapshot = world.snapshot();
    for step in moves {
        let Room::For(pod) = step.room else { continue };
        let (class, node) = (snapshot.pod(pod).class, step.to.into());
        if world.misfit(class, node).is_none() {
            world.reserve(class, node);
        }
    }
}

fn in_progress(snapshot: &Snapshot) -> impl Iterator<Item = (&Machine, NodeId)> {
    snapshot.machines.iter().filter_map(|machine| {
        let active = machine.removal.as_ref().is_some_and(|removal| removal.active);
        machine.node.filter(|_| active).map(|from| (machine, from))
    })
}

/// Looks for the pods that take the places of those that have left. Those of a StatefulSet have the same name. Of others
/// nobody knows which one takes whose place: one that is where the plan wants it comes first, but room is rather kept than
/// given away while there are pods without a node.
fn find_successors<'s>(snapshot: &'s Snapshot, moves: &mut [Arriving], left: Vec<Left<'s>>) {
    if left.is_empty() {
        return;
    }
    let mut successors = successors(snapshot, &left);
    let room = |pod: PodId| {
        if snapshot.pod(pod).bound {
            Room::Nothing
        } else {
            Room::For(pod)
        }
    };
    let (numbered, mut left): (Vec<_>, Vec<_>) = left.into_iter().partition(|left| is_numbered(left.step));
    for left in numbered {
        let found = successors.get(&left.controller);
        let found = found.and_then(|found| found.named(snapshot, left.step));
        if let (Some(pod), Some(step)) = (found, moves.get_mut(left.index)) {
            step.room = room(pod);
        }
    }
    // The youngest pods are for the removals that began last, which older ones cannot be for.
    left.sort_by_key(|left| Reverse(left.since));
    for look in [Look::There, Look::Nowhere, Look::Elsewhere] {
        left.retain(|left| {
            let (Some(step), Some(found)) = (moves.get_mut(left.index), successors.get_mut(&left.controller)) else {
                return false;
            };
            let Some(pod) = found.take(look, step.to, left.since) else {
                return true;
            };
            step.room = room(pod);
            false
        });
    }
}

/// The pods that controllers have made since they lost one by the first of the removals in progress.
fn successors<'s>(snapshot: &'s Snapshot, left: &[Left<'s>]) -> BTreeMap<ControllerKey<'s>, Successors> {
    let mut lost: BTreeMap<ControllerKey<'_>, usize> = BTreeMap::new();
    for left in left {
        *lost.entry(left.controller).or_default() += 1;
    }
    let since = left.iter().map(|left| left.since).min();
    // Names are compared once for each controller, not for each of its pods.
    let mut keys: BTreeMap<(Symbol, Symbol), Option<ControllerKey<'s>>> = BTreeMap::new();
    let mut successors: BTreeMap<ControllerKey<'s>, Successors> = BTreeMap::new();
    for (index, pod) in snapshot.pods.iter().enumerate() {
        let (Some(controller), Some(created)) = (pod.controller, pod.created_at()) else {
            continue;
        };
        if since.is_none_or(|since| created < since) || pod.is_terminal() || pod.deletion.is_some() {
            continue;
        }
        let key = keys.entry((pod.namespace, controller.name)).or_insert_with(|| {
            let key = (snapshot.text(pod.namespace), snapshot.text(controller.name));
            lost.contains_key(&key).then_some(key)
        });
        let Some(key) = *key else { continue };
        let found = successors.entry(key).or_default();
        let list = if pod.bound {
            found.bound.entry(pod.node).or_default()
        } else {
            &mut found.unbound
        };
        let pod = PodId::from_index(index);
        list.push(Successor { created, pod });
    }
    for (key, found) in &mut successors {
        let lost = lost.get(key).copied().unwrap_or_default();
        found.settled = lost.saturating_sub(found.unbound.len());
        // The order of pods in a snapshot means nothing.
        let by_age = |one: &Successor, other: &Successor| {
            let by_time = one.created.cmp(&other.created);
            by_time.then_with(|| snapshot.compare_pods(one.pod, other.pod))
        };
        found.unbound.sort_unstable_by(by_age);
        for list in found.bound.values_mut() {
            list.sort_unstable_by(by_age);
        }
    }
    successors
}

impl Successors {
    /// The youngest of these pods that was made since then.
    fn take(&mut self, look: Look, to: NodeId, since: Timestamp) -> Option<PodId> {
        let list = match look {
            Look::Nowhere => return take_youngest(&mut self.unbound, since),
            Look::There => self.bound.get_mut(&Some(to))?,
            Look::Elsewhere => {
                if !self.bound.is_empty() {
                    let bound = std::mem::take(&mut self.bound);
                    self.elsewhere.extend(bound.into_values().flatten());
                    self.elsewhere.sort_by_key(|successor| successor.created);
                }
                &mut self.elsewhere
            }
        };
        let settled = self.settled.checked_sub(1)?;
        let taken = take_youngest(list, since)?;
        self.settled = settled;
        Some(taken)
    }

    /// The pod that has the name of one that was evicted.
    fn named(&self, snapshot: &Snapshot, step: &RecordedMove) -> Option<PodId> {
        let all = self.bound.values().flatten().chain(&self.unbound);
        let mut pods = all.map(|successor| successor.pod);
        pods.find(|pod| is_of(snapshot, step, *pod))
    }
}

fn take_youngest(list: &mut Vec<Successor>, since: Timestamp) -> Option<PodId> {
    let youngest = list.pop_if(|youngest| since <= youngest.created)?;
    Some(youngest.pod)
}

/// Whether nobody is going to make another pod for one that was evicted, as far as anybody can tell.
fn is_given_up(machine: &Machine, now: Timestamp) -> bool {
    let since = machine.phase_since.filter(|_| machine.phase == MachinePhase::Deleting);
    since.is_some_and(|since| SUCCESSOR_TIME < now.duration_since(since))
}

/// The controller of a pod, by its name: the controllers of Kubernetes name pods after themselves, a dash, and a suffix
/// without one.
fn controller_of(step: &RecordedMove) -> Option<ControllerKey<'_>> {
    let (namespace, name) = step.pod.split_once('/')?;
    let (controller, _suffix) = name.rsplit_once('-')?;
    Some((namespace, controller))
}

/// Whether the pod has a number and not a random suffix, as those of a StatefulSet have.
fn is_numbered(step: &RecordedMove) -> bool {
    let suffix = step.pod.rsplit_once('-').map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| suffix.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_of(snapshot: &Snapshot, step: &RecordedMove, id: PodId) -> bool {
    let pod = snapshot.pod(id);
    step.pod.split_once('/') == Some((snapshot.text(pod.namespace), &*pod.name))
}

/// Nodes are ordered by name.
fn node_named(snapshot: &Snapshot, name: &str) -> Option<NodeId> {
    let found = snapshot
        .nodes
        .binary_search_by(|node| snapshot.text(node.name).cmp(name));
    found.ok().map(NodeId::from_index)
}
