//! Nodes to come, as a plan from scratch would use them.
//!
//! What packs pods best is not found again by first fit over the nodes that were bought for it. So when nodes are to come
//! and more would be bought, the pods are also packed as if none were to come; a planned node that is on its way already is
//! not bought. While nothing else changes, this is the plan that bought them.

use jiff::Timestamp;

use super::{
    demand::machines_to_come,
    packing::{Packing, StandsFor},
};
use crate::{
    options::Limits,
    plan::Destination,
    resources::Resources,
    snapshot::{Pod, Snapshot},
    template::Template,
};

/// A node that is to come.
#[derive(Debug)]
pub(super) struct Coming {
    destination: Destination,
    template: Template,
}

/// The nodes that are to come in time, in the order of their VPSieNodes. None, if one of them has pods already that a new
/// node would not have.
pub(super) fn coming(snapshot: &Snapshot, now: Timestamp) -> Vec<Coming> {
    let mut coming = Vec::new();
    for (id, template) in machines_to_come(snapshot, now) {
        let node = snapshot.machine(id).node;
        let pods = node.map_or(&[][..], |node| snapshot.pods_on(node));
        let stays = |pod: &Pod| !pod.is_terminal() && !pod.is_daemon() && !pod.mirror;
        if pods.iter().any(|pod| stays(snapshot.pod(*pod))) {
            return Vec::new();
        }
        let destination = node.map_or(Destination::Machine(id), Destination::Node);
        coming.push(Coming { destination, template });
    }
    coming
}

/// Limits as if these nodes were not to come.
pub(super) fn limits_without(snapshot: &Snapshot, coming: &[Coming]) -> Limits {
    let mut limits = Limits::new(snapshot);
    for node in coming {
        let group = node.template.group;
        limits.set_aside(group, snapshot.group(group).managed);
    }
    limits
}

impl Packing<'_, '_> {
    /// Lets nodes that are to come stand for planned ones of their group and offering. Says whether what is left to buy is
    /// allowed beside those that stand for none, and whether rules about other pods cannot notice a difference.
    pub(super) fn replay(&mut self, coming: Vec<Coming>) -> bool {
        let mut coming: Vec<Option<Coming>> = coming.into_iter().map(Some).collect();
        let has_node = |node: &Coming| matches!(node.destination, Destination::Node(_));
        let mut as_planned = !coming.iter().flatten().any(has_node);
        let mut limits = Limits::new(self.snapshot);
        let mut allowed = true;
        for spot in self.planned_spots() {
            let Some((_, group, template)) = self.planned(spot) else {
                continue;
            };
            let Some(used) = self.spots.get(spot).map(|spot| self.world.view(spot.bin).used) else {
                continue;
            };
            // What is free may be head-room.
            let has_headroom = self.snapshot.group(group).headroom.is_some();
            let needed = if has_headroom { &template.allocatable } else { used };
            let stands_for = |node: &Coming| stands_for(&node.template, template, needed);
            let found = coming
                .iter_mut()
                .find(|node| node.as_ref().is_some_and(stands_for))
                .and_then(Option::take);
            match (found, self.spots.get_mut(spot)) {
                (Some(node), Some(spot)) => spot.stands_for = StandsFor::Existing(node.destination),
                _ => {
                    allowed &= limits.has_room(group);
                    limits.take(group);
                }
            }
        }
        as_planned &= coming.iter().all(Option::is_none);
        allowed && (as_planned || self.bound.is_empty())
    }
}

/// Whether a node to come does for a planned one of which so much is needed.
fn stands_for(coming: &Template, planned: &Template, needed: &Resources) -> bool {
    let same = coming.group == planned.group
        && coming.offering == planned.offering
        && coming.datacenter == planned.datacenter
        && coming.volume_limits == planned.volume_limits;
    let mut raised = coming.allocatable.clone();
    raised.raise_to(needed);
    same && raised == coming.allocatable
}
