//! Removals that are under way: where their pods are expected, so that the room for them is given to nobody else and the
//! nodes they move to stay.
//!
//! A pod that was evicted is another one when it comes back: its controller makes a new one, with a new name unless it is a
//! StatefulSet, and the scheduler takes some time to bind it. Until it is bound, the room on the node where the plan wants
//! it is kept.

use std::collections::{BTreeMap, BTreeSet};

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

/// Pods that may be successors of one that was evicted.
#[derive(Debug, Default)]
struct Successors {
    bound: Vec<Successor>,
    unbound: Vec<Successor>,
    /// How many of the pods that have left can have a successor that is bound: each that is not bound is one's, too.
    settled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Successor {
    pod: PodId,
    node: Option<NodeId>,
    created: Timestamp,
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

/// One way to find the successor of a pod that the plan wants on this node.
type Way = fn(&Snapshot, &Left<'_>, NodeId, &mut Successors) -> Option<PodId>;

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
fn find_successors<'s>(snapshot: &'s Snapshot, moves: &mut [Arriving], mut left: Vec<Left<'s>>) {
    if left.is_empty() {
        return;
    }
    let mut successors = successors(snapshot, &left);
    let mut settle = |left: &mut Vec<Left<'s>>, find: Way| {
        left.retain(|left| {
            let (Some(step), Some(found)) = (moves.get_mut(left.index), successors.get_mut(&left.controller)) else {
                return false;
            };
            let successor = find(snapshot, left, step.to, found);
            match successor.map(|pod| (pod, snapshot.pod(pod).bound)) {
                Some((_, true)) => step.room = Room::Nothing,
                Some((pod, false)) => step.room = Room::For(pod),
                None => return true,
            }
            false
        });
    };
    settle(&mut left, |snapshot, left, _, found| {
        let is_same = |other: &Successor| is_of(snapshot, left.step, other.pod);
        take(&mut found.bound, is_same).or_else(|| take(&mut found.unbound, is_same))
    });
    left.retain(|left| !is_numbered(left.step));
    settle(&mut left, |_, left, to, found| {
        found.take_bound(|other| left.since <= other.created && other.node == Some(to))
    });
    settle(&mut left, |_, left, _, found| {
        take(&mut found.unbound, |other| left.since <= other.created)
    });
    settle(&mut left, |_, left, _, found| {
        found.take_bound(|other| left.since <= other.created)
    });
}

/// The pods that controllers have made since they lost one by the first of the removals in progress.
fn successors<'s>(snapshot: &'s Snapshot, left: &[Left<'s>]) -> BTreeMap<ControllerKey<'s>, Successors> {
    let wanted: BTreeSet<ControllerKey<'_>> = left.iter().map(|left| left.controller).collect();
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
            wanted.contains(&key).then_some(key)
        });
        let Some(key) = *key else { continue };
        let of_controller = successors.entry(key).or_default();
        let list = if pod.bound {
            &mut of_controller.bound
        } else {
            &mut of_controller.unbound
        };
        list.push(Successor {
            pod: PodId::from_index(index),
            node: pod.node,
            created,
        });
    }
    for (key, found) in &mut successors {
        let of_controller = left.iter().filter(|left| left.controller == *key).count();
        found.settled = of_controller.saturating_sub(found.unbound.len());
        // The order of pods in a snapshot means nothing.
        let by_name = |one: &Successor, other: &Successor| snapshot.compare_pods(one.pod, other.pod);
        found.bound.sort_unstable_by(by_name);
        found.unbound.sort_unstable_by(by_name);
    }
    successors
}

impl Successors {
    fn take_bound(&mut self, is_it: impl Fn(&Successor) -> bool) -> Option<PodId> {
        let settled = self.settled.checked_sub(1)?;
        let taken = take(&mut self.bound, is_it)?;
        self.settled = settled;
        Some(taken)
    }
}

fn take(list: &mut Vec<Successor>, is_it: impl Fn(&Successor) -> bool) -> Option<PodId> {
    let at = list.iter().position(is_it)?;
    Some(list.remove(at).pod)
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
