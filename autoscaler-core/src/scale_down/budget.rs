//! How many removals the minimum of a group and the removal budgets still allow.

use jiff::Timestamp;

use crate::{
    drain,
    plan::{KeepReason, RemovalKind},
    snapshot::{GroupId, NodeId, Snapshot},
};

use super::{Kept, facts::Facts};

/// Nodes of every group, and the removals that are in progress or planned.
#[derive(Clone, Debug)]
pub(super) struct Limits<'s> {
    snapshot: &'s Snapshot,
    /// By group.
    groups: Vec<GroupCount>,
    /// Over all groups.
    removals: Removals,
    /// Nodes of all managed groups, whatever their state.
    managed: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct GroupCount {
    /// Nodes of the group, whatever their state.
    nodes: usize,
    /// Nodes that are Ready and stay.
    ready: usize,
    removals: Removals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Removals {
    empty: usize,
    drain: usize,
}

// === impl Limits ===

impl<'s> Limits<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, now: Timestamp) -> Self {
        let mut limits = Self {
            snapshot,
            groups: vec![GroupCount::default(); snapshot.groups.len()],
            removals: Removals::default(),
            managed: 0,
        };
        for id in snapshot.node_ids() {
            let Some(group) = snapshot.node(id).group else {
                continue;
            };
            limits.managed += usize::from(snapshot.group(group).managed);
            let ready = stays_ready(snapshot, id);
            if let Some(count) = limits.groups.get_mut(group.index()) {
                count.nodes += 1;
                count.ready += usize::from(ready);
            }
            if snapshot.is_leaving(id) {
                let holds_pods = snapshot
                    .pods_on(id)
                    .iter()
                    .any(|pod| drain::must_move(snapshot, *pod, now));
                limits.count(
                    group,
                    if holds_pods {
                        RemovalKind::Drain
                    } else {
                        RemovalKind::Empty
                    },
                );
            }
        }
        limits
    }

    /// Why one more removal is too many, or `None`.
    pub(super) fn refusal(&self, node: NodeId, group: GroupId, kind: RemovalKind) -> Option<Kept> {
        let mut nothing = Facts::default();
        self.below_minimum(node, group, &mut nothing)
            .or_else(|| self.over_budget(group, kind, &mut nothing))
    }

    /// Whether the group would have fewer nodes than its minimum.
    pub(super) fn below_minimum(&self, node: NodeId, group: GroupId, facts: &mut Facts) -> Option<Kept> {
        let (ready, min) = (self.of(group).ready, self.snapshot.group(group).min_nodes as usize);
        let message = || {
            let stay = match ready {
                1 => "1 node of the group is Ready and stays".to_owned(),
                ready => format!("{ready} nodes of the group are Ready and stay"),
            };
            format!("{stay}, minNodes is {min}")
        };
        // A node that is not Ready is no loss to the minimum, and while it is there it is not replaced.
        if !stays_ready(self.snapshot, node) {
            facts.say(|| "is not Ready, so that it is no loss to the minimum of its group".to_owned());
            return None;
        }
        facts.compare(|| ready.to_string(), || min.to_string());
        facts.say(message);
        (ready <= min).then(|| Kept::new(KeepReason::NodeGroupMinSizeReached, message()))
    }

    /// Whether as many removals as allowed are under way, of its group or in all.
    pub(super) fn over_budget(&self, group: GroupId, kind: RemovalKind, facts: &mut Facts) -> Option<Kept> {
        let snapshot = self.snapshot;
        let (policy, settings) = (&snapshot.group(group).scale_down, &snapshot.settings);
        let count = self.of(group);
        let (what, of_group, of_all) = match kind {
            RemovalKind::Empty => {
                let of_group = policy.empty_budget.map_or(usize::MAX, |limit| limit as usize);
                let of_all = settings.empty_budget as usize;
                (
                    "empty removals",
                    (count.removals.empty, of_group),
                    (self.removals.empty, of_all),
                )
            }
            RemovalKind::Drain => {
                let of_group = policy.drain_budget.unwrap_or(settings.drain_budget).of(count.nodes);
                let of_all = settings.drain_budget.of(self.managed);
                (
                    "drains",
                    (count.removals.drain, of_group),
                    (self.removals.drain, of_all),
                )
            }
        };
        let mut exceeded = |(taken, limit): (usize, usize), place: &str| {
            let message = || format!("{what} {place}: {taken} in progress or planned, the budget is {limit}");
            // A group without a budget of its own has nothing to say.
            if limit < usize::MAX {
                facts.compare(|| taken.to_string(), || limit.to_string());
                facts.say(message);
            }
            (limit <= taken).then(|| Kept::new(KeepReason::DisruptionBudgetReached, message()))
        };
        exceeded(of_group, "of the group").or_else(|| exceeded(of_all, "over all groups"))
    }

    /// Counts a removal that is planned.
    pub(super) fn take(&mut self, node: NodeId, group: GroupId, kind: RemovalKind) {
        let ready = stays_ready(self.snapshot, node);
        if let Some(count) = self.groups.get_mut(group.index()) {
            count.ready = count.ready.saturating_sub(usize::from(ready));
        }
        self.count(group, kind);
    }

    fn of(&self, group: GroupId) -> GroupCount {
        self.groups.get(group.index()).copied().unwrap_or_default()
    }

    fn count(&mut self, group: GroupId, kind: RemovalKind) {
        let of_group = self.groups.get_mut(group.index()).map(|count| &mut count.removals);
        for removals in of_group.into_iter().chain([&mut self.removals]) {
            match kind {
                RemovalKind::Empty => removals.empty += 1,
                RemovalKind::Drain => removals.drain += 1,
            }
        }
    }
}

/// Whether a node counts toward the minimum of its group: it is Ready and is neither being removed nor given up.
fn stays_ready(snapshot: &Snapshot, id: NodeId) -> bool {
    snapshot.node(id).is_ready() && !snapshot.is_leaving(id)
}
