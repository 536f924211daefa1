//! What may be bought at all: every group with each of its offerings, the reason where it may not, and how many more
//! nodes the limits allow.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    plan::Refusal,
    provider::{Offering, OfferingId},
    snapshot::{GroupId, Machine, MachinePhase, NodeGroup, Snapshot},
    template::{Learned, Template},
};

/// Every group with each of its offerings, in the order of groups and of their specs.
#[derive(Clone, Debug)]
pub(crate) struct Offers {
    pub list: Vec<Offer>,
    /// How long groups want pods to have been unschedulable before they grow for them: every distinct time, the shortest
    /// first.
    windows: Vec<SignedDuration>,
}

/// One offering of one group.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub group: GroupId,
    pub offering: OfferingId,
    /// Why it must not be bought, whatever the pod.
    pub refusal: Option<Arc<Refusal>>,
    /// What a new node would look like; absent when the offering is not in the catalogue.
    pub template: Option<Arc<Template>>,
    /// How long a pod must have waited before the group grows for it, as [`Offers::waited`] counts.
    pub waits: usize,
}

/// How many nodes there are and how many there may be.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    groups: Vec<GroupCount>,
    /// Nodes of managed groups that exist or are to come.
    managed: usize,
    /// Planned nodes of all groups.
    planned: usize,
    cluster_max: Option<usize>,
}

#[derive(Clone, Debug)]
struct GroupCount {
    /// Nodes and VMs that exist or are to come, those that leave too: what the maximum limits.
    existing: usize,
    /// Of these, the ones that stay: what the minimum asks for.
    staying: usize,
    planned: usize,
    min: usize,
    max: usize,
    may_grow: bool,
}

// === impl Offers ===

impl Offers {
    pub(crate) fn new(snapshot: &Snapshot, now: Timestamp) -> Self {
        let limits = Limits::new(snapshot);
        let learned = Learned::new(snapshot);
        let windows = snapshot.groups.iter().map(|group| group.scale_up_window);
        let mut windows: Vec<_> = windows.filter(SignedDuration::is_positive).collect();
        windows.sort_unstable();
        windows.dedup();
        let mut list = Vec::new();
        for id in snapshot.group_ids() {
            let group = snapshot.group(id);
            let of_group = group_refusal(snapshot, id).or_else(|| limits.refusal(id)).map(Arc::new);
            let waits = windows
                .iter()
                .position(|window| *window == group.scale_up_window)
                .map_or(0, |at| at + 1);
            for offering in &group.offerings {
                let found = snapshot.offering(offering, &group.datacenter);
                let refusal = of_group
                    .clone()
                    .or_else(|| offering_refusal(group, offering, found, now).map(Arc::new));
                let template = found.map(|found| Arc::new(Template::with(snapshot, &learned, id, found)));
                list.push(Offer {
                    group: id,
                    offering: offering.clone(),
                    refusal,
                    template,
                    waits,
                });
            }
        }
        Self { list, windows }
    }

    /// How many of the waiting times that groups ask for have passed for a pod that has been unschedulable since then.
    pub(crate) fn waited(&self, since: Option<Timestamp>, now: Timestamp) -> usize {
        since.map_or(self.windows.len(), |since| {
            let waited = now.duration_since(since);
            self.windows.iter().take_while(|window| **window <= waited).count()
        })
    }

    /// Why a group does not grow for a pod that has not waited long enough.
    pub(crate) fn too_young(snapshot: &Snapshot, group: GroupId) -> Arc<Refusal> {
        let window = snapshot.group(group).scale_up_window.as_secs();
        let message = format!("the group grows for pods that have been unschedulable for {window}s");
        Arc::new(Refusal::group("StabilizationWindow", message))
    }

    /// The price of the cheapest offer of a group that may be bought, in nano-units.
    pub(crate) fn cheapest(&self, group: GroupId) -> Option<i64> {
        let of_group = self
            .list
            .iter()
            .filter(|offer| offer.group == group && offer.refusal.is_none());
        of_group
            .filter_map(|offer| offer.template.as_ref())
            .map(|template| template.hourly_price.nanos())
            .min()
    }
}

/// Why one offering of a group that may grow must not be bought.
fn offering_refusal(
    group: &NodeGroup,
    offering: &OfferingId,
    found: Option<&Offering>,
    now: Timestamp,
) -> Option<Refusal> {
    let backoff = group
        .backoffs
        .iter()
        .find(|backoff| backoff.offering == *offering && now < backoff.until);
    match (backoff, found) {
        (Some(backoff), _) => {
            let said = if backoff.message.is_empty() {
                "the provider refused"
            } else {
                &backoff.message
            };
            let message = format!("{offering} is backed off until {}: {said}", backoff.until);
            Some(Refusal::offering("BackedOff", message))
        }
        (None, None) => {
            let message = format!("{offering} is not sold in datacenter {}", group.datacenter);
            Some(Refusal::offering("OfferingUnavailable", message))
        }
        (None, Some(found)) if !found.available => {
            let message = format!("the provider has no {offering} for sale now");
            Some(Refusal::offering("OfferingUnavailable", message))
        }
        (None, Some(_)) => None,
    }
}

/// Why a group must not grow, whatever its size.
fn group_refusal(snapshot: &Snapshot, id: GroupId) -> Option<Refusal> {
    let group = snapshot.group(id);
    if !group.managed {
        let message = format!("the NodeGroup is not labelled {}=true", crate::build::MANAGED_LABEL);
        return Some(Refusal::group("NotManaged", message));
    }
    if group.deleting {
        return Some(Refusal::group(
            "GroupDeleting",
            "the NodeGroup is being deleted".to_owned(),
        ));
    }
    if !group.scale_up_enabled {
        return Some(Refusal::group(
            "ScaleUpDisabled",
            "spec.scaleUpPolicy.enabled is false".to_owned(),
        ));
    }
    None
}

// === impl Refusal ===

impl Refusal {
    fn group(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            whole_group: true,
        }
    }

    fn offering(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            whole_group: false,
        }
    }
}

// === impl Limits ===

impl Limits {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let count = |id: GroupId| {
            let group = snapshot.group(id);
            GroupCount {
                existing: 0,
                staying: 0,
                planned: 0,
                min: group.min_nodes as usize,
                max: group.max_nodes as usize,
                may_grow: group_refusal(snapshot, id).is_none(),
            }
        };
        let mut groups: Vec<_> = snapshot.group_ids().map(count).collect();
        for node in &snapshot.nodes {
            let machine = node.machine.map(|machine| snapshot.machine(machine));
            if machine.is_some_and(|machine| machine.phase == MachinePhase::Failed) {
                continue;
            }
            let leaving = node.deleting || machine.is_some_and(Machine::is_leaving);
            if let Some(count) = node.group.and_then(|group| groups.get_mut(group.index())) {
                count.existing += 1;
                count.staying += usize::from(!leaving);
            }
        }
        let without_node = snapshot.machines.iter().filter(|machine| machine.node.is_none());
        for machine in without_node.filter(|machine| machine.phase != MachinePhase::Failed) {
            if let Some(count) = machine.group.and_then(|group| groups.get_mut(group.index())) {
                count.existing += 1;
                count.staying += usize::from(machine.is_coming());
            }
        }
        let managed = snapshot
            .group_ids()
            .filter(|id| snapshot.group(*id).managed)
            .filter_map(|id| groups.get(id.index()));
        Self {
            managed: managed.map(|count| count.existing).sum(),
            planned: 0,
            cluster_max: snapshot.settings.max_cluster_workers.map(|max| max as usize),
            groups,
        }
    }

    /// Does not count one of the nodes of a group that are to come. Nodes of managed groups count for the cluster.
    pub(crate) fn set_aside(&mut self, group: GroupId, managed: bool) {
        if let Some(count) = self.groups.get_mut(group.index()) {
            count.existing = count.existing.saturating_sub(1);
            count.staying = count.staying.saturating_sub(1);
            self.managed = self.managed.saturating_sub(usize::from(managed));
        }
    }

    /// Whether one more node is allowed.
    pub(crate) fn has_room(&self, group: GroupId) -> bool {
        let below = |count: &GroupCount| count.existing + count.planned < count.max;
        self.groups.get(group.index()).is_some_and(below)
            && self.cluster_max.is_none_or(|max| self.managed + self.planned < max)
    }

    /// Nodes of a group: those that exist or are to come, and those that are planned.
    pub(crate) fn size(&self, group: GroupId) -> usize {
        self.groups
            .get(group.index())
            .map_or(0, |count| count.existing + count.planned)
    }

    /// Whether one more node of `group` is allowed when one of `other` is given back.
    pub(crate) fn has_room_besides(&self, group: GroupId, other: GroupId) -> bool {
        let back = usize::from(group == other);
        let below = |count: &GroupCount| count.existing + count.planned - back.min(count.planned) < count.max;
        self.groups.get(group.index()).is_some_and(below)
            && self.cluster_max.is_none_or(|max| self.managed + self.planned <= max)
    }

    /// Why one more node is not allowed.
    pub(crate) fn refusal(&self, group: GroupId) -> Option<Refusal> {
        let count = self.groups.get(group.index())?;
        let (existing, planned, max) = (count.existing, count.planned, count.max);
        if max <= existing + planned {
            let message = format!("at maxNodes {max}: {existing} exist or are to come, {planned} are planned");
            return Some(Refusal::group("AtMaxNodes", message));
        }
        let all_planned = self.planned;
        let cluster_max = self.cluster_max.filter(|max| *max <= self.managed + all_planned)?;
        let managed = self.managed;
        let message =
            format!("at maxClusterWorkers {cluster_max}: {managed} exist or are to come, {all_planned} are planned");
        Some(Refusal::group("AtClusterLimit", message))
    }

    pub(crate) fn below_minimum(&self, group: GroupId) -> bool {
        self.groups
            .get(group.index())
            .is_some_and(|count| count.may_grow && count.staying + count.planned < count.min)
    }

    /// Whether one node less would be below the minimum.
    pub(crate) fn at_minimum(&self, group: GroupId) -> bool {
        self.groups
            .get(group.index())
            .is_some_and(|count| count.staying + count.planned <= count.min)
    }

    pub(crate) fn take(&mut self, group: GroupId) {
        if let Some(count) = self.groups.get_mut(group.index()) {
            count.planned += 1;
            self.planned += 1;
        }
    }

    pub(crate) fn give_back(&mut self, group: GroupId) {
        if let Some(count) = self.groups.get_mut(group.index())
            && 0 < count.planned
        {
            count.planned -= 1;
            self.planned -= 1;
        }
    }
}
