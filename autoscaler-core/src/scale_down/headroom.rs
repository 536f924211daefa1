//! Which removals would take head-room that a group is to keep.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    headroom::{self, Room},
    plan::{KeepReason, Move},
    snapshot::{GroupId, NodeId, Snapshot},
    world::World,
};

use super::Kept;

/// The head-room of every group, with the removals that are planned so far.
#[derive(Debug)]
pub(super) struct Ledger<'s> {
    snapshot: &'s Snapshot,
    /// By group; empty when no group is to keep head-room.
    groups: Vec<Room>,
    /// By node: what it adds to the room of its group.
    nodes: Vec<Counted>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    group: Option<GroupId>,
    /// Pods that hold room and need no other place.
    stationary: u64,
    room: Room,
}

/// What a removal does to the room of the groups, for [`Ledger::commit`].
#[derive(Debug, Default)]
pub(super) struct Effect {
    groups: Vec<(GroupId, Room)>,
    nodes: Vec<(NodeId, Room)>,
}

// === impl Ledger ===

impl<'s> Ledger<'s> {
    /// Counts the world as scale-up left it.
    pub(super) fn new(world: &World<'s>, now: Timestamp) -> Self {
        let snapshot = world.snapshot();
        let mut ledger = Self {
            snapshot,
            groups: Vec::new(),
            nodes: Vec::new(),
        };
        if snapshot.groups.iter().all(|group| group.headroom.is_none()) {
            return ledger;
        }
        ledger.groups = vec![Room::default(); snapshot.groups.len()];
        for node in snapshot.node_ids() {
            let group = headroom::group_of(snapshot, node, now);
            let mut counted = Counted {
                group,
                stationary: group.map_or(0, |_| headroom::stationary(snapshot, node, now)),
                room: Room::default(),
            };
            counted.room = ledger.room(world, node, counted);
            if let Some(room) = group.and_then(|group| ledger.groups.get_mut(group.index())) {
                room.add(&counted.room);
            }
            ledger.nodes.push(counted);
        }
        ledger
    }

    /// What the removal of a node does, with its pods at their destinations in the world; or why it must not be, because
    /// a group would lose head-room. A group that has too little already does not keep nodes that add nothing to it.
    pub(super) fn judge(&self, world: &World<'s>, victim: NodeId, moves: &[Move]) -> Result<Effect, Kept> {
        let mut effect = Effect::default();
        if self.groups.is_empty() {
            return Ok(effect);
        }
        let targets: BTreeSet<NodeId> = moves.iter().map(|step| step.to).collect();
        for node in targets.into_iter().chain([victim]) {
            let Some(counted) = self.nodes.get(node.index()).copied() else {
                continue;
            };
            let Some(group) = counted.group else { continue };
            let room = if node == victim {
                Room::default()
            } else {
                self.room(world, node, counted)
            };
            effect.nodes.push((node, room));
            let of_group = match effect.groups.iter_mut().find(|(id, _)| *id == group) {
                Some((_, room)) => room,
                None => {
                    effect.groups.push((group, self.of_group(group)));
                    let Some((_, room)) = effect.groups.last_mut() else {
                        continue;
                    };
                    room
                }
            };
            of_group.subtract(&counted.room);
            of_group.add(&room);
        }
        for (group, after) in &effect.groups {
            let Some(headroom) = &self.snapshot.group(*group).headroom else {
                continue;
            };
            if headroom.shortfall(&self.of_group(*group)) < headroom.shortfall(after) {
                let message = format!(
                    "without it the head-room of NodeGroup {} would be {}",
                    self.snapshot.group_name(*group),
                    headroom.text(after)
                );
                return Err(Kept::new(KeepReason::Headroom, message));
            }
        }
        Ok(effect)
    }

    /// Makes a removal part of the plan.
    pub(super) fn commit(&mut self, victim: NodeId, effect: Effect) {
        for (group, room) in effect.groups {
            if let Some(of_group) = self.groups.get_mut(group.index()) {
                *of_group = room;
            }
        }
        for (node, room) in effect.nodes {
            if let Some(counted) = self.nodes.get_mut(node.index()) {
                counted.room = room;
            }
        }
        if let Some(counted) = self.nodes.get_mut(victim.index()) {
            counted.group = None;
        }
    }

    /// What a node adds to the room of its group now.
    fn room(&self, world: &World<'s>, node: NodeId, counted: Counted) -> Room {
        let headroom = counted
            .group
            .and_then(|group| self.snapshot.group(group).headroom.as_ref());
        let Some(headroom) = headroom else {
            return Room::default();
        };
        let view = world.view(node.into());
        let pods = u64::try_from(view.used.pods).unwrap_or(0);
        headroom.room_of(view.allocatable, view.used, pods.saturating_sub(counted.stationary))
    }

    fn of_group(&self, group: GroupId) -> Room {
        self.groups.get(group.index()).copied().unwrap_or_default()
    }
}
