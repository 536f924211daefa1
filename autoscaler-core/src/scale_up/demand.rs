//! Which pods ask for a node, and which nodes have room.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    plan::Destination,
    planner::Options,
    snapshot::{ClassId, MachineId, NodeId, PodId, Snapshot},
    template::{Learned, Template},
    world::{BinId, World},
};

/// Why a pod does not ask yet that the scheduler has no place for.
pub(super) const GRACE_PERIOD: &str = "GracePeriod";

/// Why a pending pod does not ask for a node, or `None` when it does.
pub(super) fn not_asking(
    snapshot: &Snapshot,
    id: PodId,
    options: &Options,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    let pod = snapshot.pod(id);
    let priority = snapshot.class_of(pod).priority;
    let cutoff = snapshot.settings.priority_cutoff;
    if pod.deletion.is_some() {
        return Some(("Terminating", "its deletion was requested".to_owned()));
    }
    if pod.gated {
        return Some(("SchedulingGated", "it has scheduling gates".to_owned()));
    }
    if pod.mirror {
        return Some(("MirrorPod", "it mirrors a static pod of a kubelet".to_owned()));
    }
    if pod.is_daemon() {
        return Some((
            "DaemonSetPod",
            "a DaemonSet pod runs on its own node or not at all".to_owned(),
        ));
    }
    if pod.has_nomination {
        return Some((
            "Nominated",
            "preemption makes room for it on its nominated node".to_owned(),
        ));
    }
    let Some(unschedulable) = pod.unschedulable else {
        return Some((
            "NotUnschedulable",
            "the scheduler has not said that it is unschedulable".to_owned(),
        ));
    };
    if priority < cutoff {
        return Some((
            "PriorityBelowCutoff",
            format!("its priority {priority} is below the cutoff {cutoff}"),
        ));
    }
    let grace = snapshot.settings.unschedulable_pod_grace;
    match unschedulable.since {
        Some(since) if !options.ignore_timers && now.duration_since(since) < grace => {
            // The clock of the API server may be ahead.
            let waited = now.duration_since(since).as_secs().max(0);
            Some((
                GRACE_PERIOD,
                format!(
                    "unschedulable for {waited}s, nodes are bought after {}s",
                    grace.as_secs()
                ),
            ))
        }
        _ => None,
    }
}

/// Why nothing is put on this node, beyond what the scheduler would say.
pub(crate) fn unusable(snapshot: &Snapshot, id: NodeId) -> Option<(&'static str, String)> {
    let node = snapshot.node(id);
    let leaving = node.deleting
        || node
            .machine
            .is_some_and(|machine| snapshot.machine(machine).is_leaving());
    if leaving {
        return Some(("CurrentlyBeingDeleted", "the node is being removed".to_owned()));
    }
    (!node.is_ready()).then(|| ("NodeNotReady", "the node is not Ready".to_owned()))
}

/// The nodes that pods can be placed on: Ready ones, then, if they count, those to come, each in the order of their names.
pub(super) fn destinations(world: &mut World<'_>, now: Timestamp, to_come: bool) -> Vec<(BinId, Destination)> {
    let snapshot = world.snapshot();
    let mut destinations: Vec<_> = snapshot
        .node_ids()
        .filter(|node| unusable(snapshot, *node).is_none() && !is_starting(snapshot, *node))
        .map(|node| (BinId::from(node), Destination::Node(node)))
        .collect();
    if !to_come {
        return destinations;
    }
    for (id, template) in machines_to_come(snapshot, now) {
        let node = snapshot.machine(id).node;
        let bin = world.add_with(&Arc::new(template), node);
        destinations.push((bin, node.map_or(Destination::Machine(id), Destination::Node)));
    }
    destinations
}

/// The VPSieNodes that are to become nodes in time, as they are going to be, in the order of their names.
pub(super) fn machines_to_come(snapshot: &Snapshot, now: Timestamp) -> impl Iterator<Item = (MachineId, Template)> {
    let learned = Learned::new(snapshot);
    snapshot.machine_ids().filter_map(move |id| {
        let machine = snapshot.machine(id);
        let starts = match machine.node {
            Some(id) => {
                let node = snapshot.node(id);
                is_starting(snapshot, id) && !node.deleting && !node.unschedulable
            }
            None => machine.is_coming(),
        };
        if !starts || machine.is_leaving() || snapshot.settings.phase_timeouts.are_over(machine, now) {
            return None;
        }
        Some((
            id,
            Template::of_machine_with(snapshot, &learned, machine, machine.group?)?,
        ))
    })
}

/// Whether this is the Node of a VPSieNode that is not done yet: not Ready for the first time, or Ready and still with a
/// taint that it only has while it starts. Such a node counts as it is going to be.
pub(super) fn is_starting(snapshot: &Snapshot, id: NodeId) -> bool {
    let node = snapshot.node(id);
    let Some(machine) = node.machine.map(|machine| snapshot.machine(machine)) else {
        return false;
    };
    let well_known = &snapshot.well_known;
    let tainted = node
        .taints
        .iter()
        .any(|taint| taint.key == well_known.startup || taint.key == well_known.not_ready);
    if node.is_ready() { tainted } else { machine.is_coming() }
}

/// Pods that preemption keeps room for: priority, class and node, in ascending priority.
pub(super) fn nominations(snapshot: &Snapshot) -> Vec<(i32, ClassId, NodeId)> {
    let nominated = snapshot.nominated.iter().map(|id| snapshot.pod(*id));
    let mut nominations: Vec<_> = nominated
        .filter(|pod| !pod.is_terminal() && pod.deletion.is_none())
        .filter_map(|pod| Some((snapshot.class_of(pod).priority, pod.class, pod.nominated?)))
        .collect();
    nominations.sort_unstable();
    nominations
}
