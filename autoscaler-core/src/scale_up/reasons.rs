//! Why a pod has no place, or why other groups could not have taken it: for every group and offering the one decisive
//! reason.

use std::{collections::BTreeMap, sync::Arc};

use super::{demand::unusable, packing::Packing};
use crate::{
    fit,
    options::Offers,
    plan::{PodReason, Why},
    snapshot::GroupId,
    world::BinId,
};

/// Why a pod is left although a node has room for it, when no rule can be named.
const NOT_BINDABLE_YET: (&str, &str) = (
    "NotBindableYet",
    "there is room, but in no order that was tried could kube-scheduler bind it beside the other pods of this plan; it \
     is looked at again in the next decision",
);

/// So many nodes are named for each plugin that says no; further ones are counted.
const NODES_NAMED: usize = 10;

impl Packing<'_, '_> {
    /// Why no group takes one more pod of a kind, and no node.
    pub(super) fn why_left(&mut self, kind: usize) -> Arc<[PodReason]> {
        let mut reasons = self.of_offers(kind, true);
        reasons.extend(self.of_nodes(kind));
        reasons.into()
    }

    /// Why groups that did not grow for a pod of a kind could not have: one reason for each group none of whose offerings
    /// takes it.
    pub(super) fn why_elsewhere(&mut self, kind: usize) -> Arc<[PodReason]> {
        let reasons = self.of_offers(kind, false);
        let mut offers: BTreeMap<GroupId, usize> = BTreeMap::new();
        for offer in &self.offers.list {
            *offers.entry(offer.group).or_default() += 1;
        }
        let mut of_group: BTreeMap<GroupId, Vec<PodReason>> = BTreeMap::new();
        for reason in reasons {
            if let Some(group) = reason.group {
                of_group.entry(group).or_default().push(reason);
            }
        }
        let refusing = of_group.into_iter().filter_map(|(group, mut reasons)| {
            let whole = reasons.iter().position(|reason| reason.offering.is_none());
            match whole {
                Some(at) => Some(reasons.swap_remove(at)),
                // The last offering of a spec is as good an example as any.
                None if offers.get(&group) == Some(&reasons.len()) => reasons.pop(),
                None => None,
            }
        });
        refusing.collect::<Vec<_>>().into()
    }

    /// With `waits`, one more pod than was placed is asked about; else one of those that were placed, which constraints
    /// between pods would take for a second one.
    fn of_offers(&mut self, kind: usize, waits: bool) -> Vec<PodReason> {
        let snapshot = self.snapshot;
        let class = self.class(kind);
        let Some(entry) = self.kinds.list.get(kind) else {
            return Vec::new();
        };
        let waited = self.kinds.looks.get(entry.look).map_or(0, |look| look.waited);
        let mut reasons: Vec<PodReason> = Vec::new();
        let mut refused_group: Option<GroupId> = None;
        for offer in &self.offers.list {
            if refused_group == Some(offer.group) {
                continue;
            }
            let refusal = match (&offer.refusal, &offer.template) {
                (Some(refusal), _) => Some(Arc::clone(refusal)),
                (None, Some(_)) if waited < offer.waits => Some(Offers::too_young(snapshot, offer.group)),
                (None, Some(template)) => {
                    let misfit = if waits {
                        let mark = self.world.mark();
                        let bin = self.world.add(template);
                        let misfit = self.world.misfit(class, bin);
                        self.world.rollback(mark);
                        misfit
                    } else {
                        let view = template.view(&template.daemons);
                        fit::misfit(snapshot.class(class), &view, &snapshot.well_known, &snapshot.symbols)
                    };
                    if let Some(misfit) = misfit {
                        reasons.push(PodReason {
                            group: Some(offer.group),
                            offering: Some(offer.offering.clone()),
                            node: None,
                            why: Why::NewNode(misfit, Arc::clone(template)),
                        });
                        continue;
                    }
                    let limit = self.limits.refusal(offer.group).map(Arc::new);
                    if limit.is_none() && waits {
                        reasons.push(PodReason {
                            group: Some(offer.group),
                            offering: Some(offer.offering.clone()),
                            node: None,
                            why: not_bindable_yet(),
                        });
                    }
                    limit
                }
                (None, None) => None,
            };
            if let Some(refusal) = refusal {
                if refusal.whole_group {
                    refused_group = Some(offer.group);
                }
                reasons.push(PodReason {
                    group: Some(offer.group),
                    offering: (!refusal.whole_group).then(|| offer.offering.clone()),
                    node: None,
                    why: Why::Refused(refusal),
                });
            }
        }
        reasons
    }

    fn of_nodes(&self, kind: usize) -> Vec<PodReason> {
        let snapshot = self.snapshot;
        let class = self.class(kind);
        let mut reasons: Vec<PodReason> = Vec::new();
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for node in snapshot.node_ids() {
            let why = match unusable(snapshot, node) {
                Some((reason, message)) => Why::Rule(reason, message.into()),
                None => (self.world.misfit(class, BinId::from(node))).map_or_else(not_bindable_yet, Why::Node),
            };
            let entry = counts.entry(why.rule()).or_default();
            *entry += 1;
            if *entry <= NODES_NAMED {
                reasons.push(PodReason {
                    group: None,
                    offering: None,
                    node: Some(node),
                    why,
                });
            }
        }
        for (reason, count) in counts {
            if NODES_NAMED < count {
                reasons.push(PodReason {
                    group: None,
                    offering: None,
                    node: None,
                    why: Why::Rule(reason, format!("and {} more nodes", count - NODES_NAMED).into()),
                });
            }
        }
        reasons
    }
}

/// These reasons without those of one group: the group that grows for a pod, which may be full only by that.
pub(super) fn without(reasons: &Arc<[PodReason]>, group: GroupId) -> Arc<[PodReason]> {
    let is_other = |reason: &&PodReason| reason.group != Some(group);
    if reasons.iter().all(|reason| is_other(&reason)) {
        return Arc::clone(reasons);
    }
    reasons.iter().filter(is_other).cloned().collect()
}

fn not_bindable_yet() -> Why {
    let (reason, message) = NOT_BINDABLE_YET;
    Why::Rule(reason, message.into())
}
