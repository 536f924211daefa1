//! [`plan`]: the steps of a decision, in order.

use jiff::Timestamp;

use crate::{
    plan::Plan,
    scale_down::{self, Demand},
    scale_up,
    snapshot::Snapshot,
    world::World,
};

/// How to decide, beyond what the snapshot says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Takes the stabilization window, the cooldown, the delay after a failed removal, the 20 minutes of a node that is
    /// not Ready and the grace period of pending pods as elapsed. Pod ages, do-not-disrupt durations, allowed hours and
    /// the health gate stay.
    pub ignore_timers: bool,
}

/// Decides about one snapshot as of `now`. The same input always gives the same plan.
///
/// Scale-up comes first: pending pods take room on nodes that exist, so that scale-down cannot give it away.
pub fn plan(snapshot: &Snapshot, options: &Options, now: Timestamp) -> Plan {
    let mut world = World::new(snapshot);
    let up = scale_up::plan_creations(&mut world, options, now);
    let down = scale_down::plan_removals(&mut world, &Demand::from(&up), options, now);
    Plan {
        now,
        creations: up.creations,
        least_price: up.least_price,
        removals: down.removals,
        pods: up.pods,
        nodes: down.nodes,
        binding_order: up.binding_order,
    }
}
