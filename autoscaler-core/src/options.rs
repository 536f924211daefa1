//! What may be bought at all: every group with each of its offerings, the reason where it may not, and how many more
//! nodes the limits allow.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    provider::OfferingId,
    snapshot::{GroupId, MachinePhase, Snapshot},
    template::Template,
};

/// Every group with each of its offerings, in the order of groups and of their specs.
#[derive(Clone, Debug)]
pub(crate) struct Offers {
    pub list: Vec<Offer>,
}

/// One offering of one group.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub group: GroupId,
    pub offering: OfferingId,
    /// Why it must not be bought, whatever the pod.
    pub refusal: Option<Refusal>,
    /// What a new node would look like; absent when the offering is not in the catalogue.
    pub template: Option<Arc<Template>>,
}

/// Why something must not be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: String,
    pub message: String,
    /// Whether it holds for every offering of the group.
    pub whole_group: bool,
}

/// How many nodes there are and how many there may be.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    groups: Vec<GroupCount>,
    managed: usize,
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
        let mut list = Vec::new();
        for id in snapshot.group_ids() {
            let group = snapshot.group(id);
            let of_group = group_refusal(snapshot, id).or_else(|| limits.refusal(id));
            for offering in &group.offerings {
                let found = snapshot.offering(offering, &group.datacenter);
                let refusal = of_group.clone().or_else(|| {
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
                            Some(Refusal::offering(
                                "BackedOff",
                                format!("{offering} is backed off until {}: {said}", backoff.until),
                            ))
                        }
                        (None, None) => {
                            let message = format!("{offering} is not sold in datacenter {}", group.datacenter);
                            Some(Refusal::offering("OfferingUnavailable", message))
                        }
                        (None, Some(found)) if !found.available => Some(Refusal::offering(
                            "OfferingUnavailable",
                            format!("the provider has no {offering} for sale now"),
                        )),
                        (None, Some(_)) => None,
                    }
                });
                let template = found.map(|found| Arc::new(Template::new(snapshot, id, found)));
                list.push(Offer {
                    group: id,
                    offering: offering.clone(),
                    refusal,
                    template,
                });
            }
        }
        Self { list }
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
    fn group(reason: &str, message: String) -> Self {
        Self {
            reason: reason.to_owned(),
            message,
            whole_group: true,
        }
    }

    fn offering(reason: &str, message: String) -> Self {
        Self {
            reason: reason.to_owned(),
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
            let mut count = GroupCount {
                existing: 0,
                staying: 0,
                planned: 0,
                min: group.min_nodes as usize,
                max: group.max_nodes as usize,
                may_grow: group_refusal(snapshot, id).is_none(),
            };
            for node in snapshot.nodes.iter().filter(|node| node.group == Some(id)) {
                let machine = node.machine.map(|machine| snapshot.machine(machine));
                if machine.is_some_and(|machine| machine.phase == MachinePhase::Failed) {
                    continue;
                }
                let leaving = node.deleting || machine.is_some_and(crate::snapshot::Machine::is_leaving);
                count.existing += 1;
                count.staying += usize::from(!leaving);
            }
            for machine in snapshot
                .machines
                .iter()
                .filter(|machine| machine.group == Some(id) && machine.node.is_none())
            {
                if machine.phase != MachinePhase::Failed {
                    count.existing += 1;
                    count.staying += usize::from(machine.is_coming());
                }
            }
            count
        };
        let groups: Vec<_> = snapshot.group_ids().map(count).collect();
        let managed = snapshot
            .group_ids()
            .filter(|id| snapshot.group(*id).managed)
            .filter_map(|id| groups.get(id.index()));
        Self {
            managed: managed.map(|count| count.existing).sum(),
            cluster_max: snapshot.settings.max_cluster_workers.map(|max| max as usize),
            groups,
        }
    }

    /// Whether one more node is allowed.
    pub(crate) fn has_room(&self, group: GroupId) -> bool {
        self.refusal(group).is_none()
    }

    /// Whether one more node of `group` is allowed when one of `other` is given back.
    pub(crate) fn has_room_besides(&self, group: GroupId, other: GroupId) -> bool {
        let mut without = self.clone();
        without.give_back(other);
        without.has_room(group)
    }

    /// Why one more node is not allowed.
    pub(crate) fn refusal(&self, group: GroupId) -> Option<Refusal> {
        let count = self.groups.get(group.index())?;
        let (existing, planned, max) = (count.existing, count.planned, count.max);
        if max <= existing + planned {
            let message = format!("at maxNodes {max}: {existing} exist or are to come, {planned} are planned");
            return Some(Refusal::group("AtMaxNodes", message));
        }
        let all_planned: usize = self.groups.iter().map(|count| count.planned).sum();
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
        }
    }

    pub(crate) fn give_back(&mut self, group: GroupId) {
        if let Some(count) = self.groups.get_mut(group.index()) {
            count.planned = count.planned.saturating_sub(1);
        }
    }
}
