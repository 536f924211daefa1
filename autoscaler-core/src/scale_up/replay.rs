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
    snapshot::{NodeId, Snapshot},
    template::Template,
};

/// A node that is to come.
#[derive(Debug)]
pub(super) struct Coming {
    destination: Destination,
    template: Template,
    /// What pods that are there already request more than those that a new node would have.
    beyond: Resources,
}

/// The nodes that are to come in time, in the order of their VPSieNodes. None, if one of them has pods already that a new
/// node would not have, and that more is counted of than what they request.
pub(super) fn coming(snapshot: &Snapshot, now: Timestamp) -> Vec<Coming> {
    let mut coming = Vec::new();
    for (id, template) in machines_to_come(snapshot, now) {
        let node = snapshot.machine(id).node;
        let mut beyond = template.daemons.clone();
        if let Some(node) = node {
            let Some(held) = held(snapshot, &template, node) else {
                return Vec::new();
            };
            beyond.raise_to(&held);
        }
        beyond.subtract(&template.daemons);
        let destination = node.map_or(Destination::Machine(id), Destination::Node);
        coming.push(Coming {
            destination,
            template,
            beyond,
        });
    }
    coming
}

/// What the pods of a Node that is starting request, when that is all that matters of them: they come with the Node, and
/// neither hold ports that those of DaemonSets on a new node would not hold, nor volumes, nor are looked at by other pods.
fn held(snapshot: &Snapshot, template: &Template, node: NodeId) -> Option<Resources> {
    let mut held = Resources::default();
    for pod in snapshot.pods_on(node).iter().map(|pod| snapshot.pod(*pod)) {
        if pod.is_terminal() {
            continue;
        }
        let class = snapshot.class_of(pod);
        let expected = |port| {
            let mut daemons = template.daemon_classes.iter();
            daemons.any(|daemon| snapshot.class(*daemon).ports.contains(port))
        };
        let comes_along = pod.is_daemon() || pod.mirror;
        let counts = class.volumes.is_some() || snapshot.rules.concern(pod.class) || !class.ports.iter().all(expected);
        if !comes_along || counts {
            return None;
        }
        held.add(&class.requests);
    }
    Some(held)
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
            let stands_for = |node: &Coming| stands_for(node, template, needed);
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
fn stands_for(node: &Coming, planned: &Template, needed: &Resources) -> bool {
    let coming = &node.template;
    let same = coming.group == planned.group
        && coming.offering == planned.offering
        && coming.datacenter == planned.datacenter
        && coming.volume_limits == planned.volume_limits;
    let mut needed = needed.clone();
    needed.add(&node.beyond);
    let mut raised = coming.allocatable.clone();
    raised.raise_to(&needed);
    same && raised == coming.allocatable
}
