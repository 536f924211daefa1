//! Removals that are under way: where their pods are expected, so that the room for them is given to nobody else and the
//! nodes they move to stay.

use jiff::Timestamp;

use crate::{
    drain,
    snapshot::{NodeId, PodId, RecordedMove, Snapshot},
    world::World,
};

/// A move of a removal in progress, to a node that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arriving {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    /// The pod, unless it is gone already. Then its successor has a place, or it is a pending pod like any other.
    pod: Option<PodId>,
}

/// The moves of all removals in progress, as the VPSieNodes record them.
pub(super) fn moves(snapshot: &Snapshot, now: Timestamp) -> Vec<Arriving> {
    let mut moves = Vec::new();
    for machine in &snapshot.machines {
        let (Some(from), Some(removal)) = (machine.node, &machine.removal) else {
            continue;
        };
        if !removal.active || removal.moves.is_empty() {
            continue;
        }
        let of_node = snapshot.pods_on(from).iter().copied();
        let waiting: Vec<PodId> = of_node.filter(|pod| drain::must_move(snapshot, *pod, now)).collect();
        moves.extend(removal.moves.iter().filter_map(|step| {
            let to = node_named(snapshot, &step.to)?;
            let pod = waiting.iter().copied().find(|pod| is_of(snapshot, step, *pod));
            Some(Arriving { from, to, pod })
        }));
    }
    moves
}

/// Keeps the room that pods of removals in progress are going to need. A destination that has lost the room in the
/// meantime keeps none: the pod goes where the scheduler finds a place.
pub(super) fn keep_room(world: &mut World<'_>, moves: &[Arriving]) {
    let snapshot = world.snapshot();
    for step in moves {
        let Some(pod) = step.pod else { continue };
        let (class, node) = (snapshot.pod(pod).class, step.to.into());
        if world.misfit(class, node).is_none() {
            world.reserve(class, node);
        }
    }
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
