//! Which nodes to create: pending pods are placed on nodes that exist or are to come, and what is left is packed onto
//! new nodes of every eligible group and offering at once.

mod demand;
mod fill;
mod improve;

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use self::{
    demand::{destinations, nominations, not_asking, queues, unusable},
    fill::{Fill, Weights},
};
use crate::{
    fit::{self, Misfit},
    options::{Limits, Offers, Refusal},
    plan::{Creation, Destination, PodReason, PodReport, PodVerdict},
    planner::Options,
    snapshot::{ClassId, GroupId, PodId},
    template::Template,
    world::{BinId, World},
};

/// How long a VPSieNode may take to a running VM before it no longer counts as capacity.
pub(crate) const PROVISION_DEADLINE: SignedDuration = SignedDuration::from_mins(10);

/// How long a running VM may take to a Node before it no longer counts as capacity.
pub(crate) const JOIN_DEADLINE: SignedDuration = SignedDuration::from_mins(15);

/// How long a Node may take to become Ready before it no longer counts as capacity.
pub(crate) const INITIALIZE_DEADLINE: SignedDuration = SignedDuration::from_mins(20);

/// What scale-up decided.
#[derive(Clone, Debug)]
pub(crate) struct ScaleUp {
    pub creations: Vec<Creation>,
    pub pods: Vec<PodReport>,
    /// The pods that ask for a node, those that fit existing nodes too.
    pub asking: Vec<PodId>,
    /// Groups that have a node to come or get one.
    pub growing: BTreeSet<GroupId>,
    /// What a new node of each group and offering would look like.
    pub templates: Vec<Arc<Template>>,
}

/// Pods of one class that still need a place, with the verdicts of those that have one.
struct Queue {
    class: ClassId,
    waiting: Vec<PodId>,
}

/// A node that is planned in this run.
struct NewNode {
    bin: BinId,
    offer: usize,
    pods: Vec<PodId>,
}

struct Packer<'w, 's> {
    world: &'w mut World<'s>,
    offers: Offers,
    limits: Limits,
    weights: Weights,
    /// Nodes that exist or are to come, most wanted first.
    existing: Vec<(BinId, Destination)>,
    new_nodes: Vec<NewNode>,
    verdicts: BTreeMap<PodId, PodReport>,
    steps: u64,
}

/// Plans creations and leaves every placed pod in the world.
pub(crate) fn plan_creations(world: &mut World<'_>, options: &Options, now: Timestamp) -> ScaleUp {
    let snapshot = world.snapshot();
    let mut verdicts = BTreeMap::new();
    let mut asking = Vec::new();
    for id in snapshot.pod_ids() {
        let pod = snapshot.pod(id);
        if pod.bound || pod.is_terminal() {
            continue;
        }
        match not_asking(snapshot, id, options, now) {
            Some((reason, message)) => {
                let reasons = [PodReason {
                    group: None,
                    offering: None,
                    node: None,
                    reason: reason.to_owned(),
                    message,
                }];
                let report = PodReport {
                    pod: id,
                    verdict: PodVerdict::Ignored,
                    reasons: Arc::new(reasons),
                };
                verdicts.insert(id, report);
            }
            None => asking.push(id),
        }
    }
    let offers = Offers::new(snapshot, now);
    let limits = Limits::new(snapshot);
    let existing = destinations(world, now);
    let weights = Weights::new(snapshot, &asking);
    let mut packer = Packer {
        world,
        offers,
        limits,
        weights,
        existing,
        new_nodes: Vec::new(),
        verdicts,
        steps: 0,
    };
    let mut queues = queues(snapshot, &asking, &packer.weights);
    packer.count_possible_domains();
    packer.place_on_existing(&mut queues);
    packer.pack_new_nodes(&mut queues);
    packer.drop_needless_nodes();
    packer.right_size();
    packer.top_up_to_minimum();
    packer.finish(asking)
}

impl Packer<'_, '_> {
    /// Every datacenter in which a node could be added is a domain for pods that could use the node, so that a spread
    /// Deployment is spread from the first node on.
    fn count_possible_domains(&mut self) {
        for index in 0..self.offers.list.len() {
            if let Some((group, template)) = self.open_offer(index)
                && self.limits.has_room(group)
            {
                self.world.add_possible_domains(&template);
            }
        }
    }

    /// First fit, by priority: nodes that exist before nodes to come.
    fn place_on_existing(&mut self, queues: &mut [Queue]) {
        let snapshot = self.world.snapshot();
        let mut nominated = nominations(snapshot);
        for queue in queues {
            let priority = snapshot.class(queue.class).priority;
            // A nominated pod keeps its room against pods of its own or a lower priority.
            while let Some((_, class, node)) = nominated.pop_if(|(of_nominee, ..)| priority <= *of_nominee) {
                self.world.place(class, BinId::from(node));
            }
            let mut waiting = Vec::new();
            // Nodes before this one stay full for the class.
            let mut start = 0;
            for pod in std::mem::take(&mut queue.waiting) {
                let mut found = None;
                for (index, (bin, destination)) in self.existing.iter().enumerate().skip(start) {
                    match self.world.misfit(queue.class, *bin) {
                        None => {
                            found = Some((*bin, *destination));
                            break;
                        }
                        Some(misfit) if index == start && misfit.is_lasting() => start += 1,
                        Some(_) => {}
                    }
                }
                match found {
                    Some((bin, destination)) => {
                        self.world.place(queue.class, bin);
                        self.verdicts.insert(pod, fits_existing(pod, destination));
                    }
                    None => waiting.push(pod),
                }
            }
            queue.waiting = waiting;
        }
        for (_, class, node) in nominated {
            self.world.place(class, BinId::from(node));
        }
    }

    /// Serves the largest waiting pod first: the best offer that fits it is bought and filled with whatever else fits.
    /// Pods that wait for others to be placed get another turn when something was.
    fn pack_new_nodes(&mut self, queues: &mut [Queue]) {
        let waiting = |queues: &[Queue]| queues.iter().map(|queue| queue.waiting.len()).sum::<usize>();
        for index in 0..queues.len() {
            self.serve(queues, index);
        }
        loop {
            let before = waiting(queues);
            for index in 0..queues.len() {
                if queues
                    .get(index)
                    .is_some_and(|queue| self.world.may_regain_room(queue.class))
                {
                    self.serve(queues, index);
                }
            }
            if before == waiting(queues) {
                break;
            }
        }
        for queue in queues {
            if queue.waiting.is_empty() {
                continue;
            }
            let rejected = self.rejections(queue.class, true);
            for pod in std::mem::take(&mut queue.waiting) {
                let reasons = Arc::clone(&rejected);
                self.verdicts.insert(
                    pod,
                    PodReport {
                        pod,
                        verdict: PodVerdict::Unschedulable,
                        reasons,
                    },
                );
            }
        }
    }

    /// Finds places for the pods of one queue until there is none for the next of them.
    fn serve(&mut self, queues: &mut [Queue], index: usize) {
        loop {
            self.fill_up(queues, index);
            if queues.get(index).is_none_or(|queue| queue.waiting.is_empty()) {
                return;
            }
            let Some(fill) = self.best_fill(queues, index) else {
                return;
            };
            self.buy(queues, &fill);
        }
    }

    /// Puts pods whose place depends on where other pods are on nodes that they did not fit before.
    fn fill_up(&mut self, queues: &mut [Queue], index: usize) {
        let Some(queue) = queues
            .get_mut(index)
            .filter(|queue| self.world.may_regain_room(queue.class))
        else {
            return;
        };
        while let Some(pod) = queue.waiting.first().copied() {
            let fits = |bin: &BinId| self.world.misfit(queue.class, *bin).is_none();
            if let Some(node) = self.new_nodes.iter_mut().find(|node| fits(&node.bin)) {
                self.world.place(queue.class, node.bin);
                node.pods.push(pod);
            } else if let Some((bin, destination)) = self.existing.iter().find(|(bin, _)| fits(bin)) {
                self.world.place(queue.class, *bin);
                self.verdicts.insert(pod, fits_existing(pod, *destination));
            } else {
                return;
            }
            queue.waiting.remove(0);
        }
    }

    fn top_up_to_minimum(&mut self) {
        for group in self.world.snapshot().group_ids() {
            while self.limits.below_minimum(group) && self.limits.has_room(group) {
                let open = (0..self.offers.list.len())
                    .filter(|index| self.open_offer(*index).is_some_and(|(of_group, _)| of_group == group));
                let empty = |offer| Fill {
                    offer,
                    counts: Vec::new(),
                    pods: 0,
                    value: 0,
                    waste: 0,
                };
                let fills = open.map(empty).collect();
                let Some(fill) = self.choose(fills) else { break };
                let Some((_, template)) = self.open_offer(fill.offer) else {
                    break;
                };
                let bin = self.world.add(&template);
                self.limits.take(group);
                self.new_nodes.push(NewNode {
                    bin,
                    offer: fill.offer,
                    pods: Vec::new(),
                });
            }
        }
    }

    fn finish(mut self, asking: Vec<PodId>) -> ScaleUp {
        let snapshot = self.world.snapshot();
        // Scale-down asks where pods can go now.
        self.world.remove_possible_domains();
        let mut growing: BTreeSet<GroupId> = snapshot
            .machines
            .iter()
            .filter(|machine| machine.is_coming())
            .filter_map(|machine| machine.group)
            .collect();
        let mut creations = Vec::with_capacity(self.new_nodes.len());
        let mut rejections: BTreeMap<ClassId, Arc<[PodReason]>> = BTreeMap::new();
        for mut node in std::mem::take(&mut self.new_nodes) {
            let Some((group, template)) = self.open_offer(node.offer) else {
                continue;
            };
            node.pods.sort_unstable();
            for pod in &node.pods {
                let class = snapshot.pod(*pod).class;
                let reasons = rejections.entry(class).or_insert_with(|| self.rejections(class, false));
                let report = PodReport {
                    pod: *pod,
                    verdict: PodVerdict::TriggersScaleUp(creations.len()),
                    reasons: Arc::clone(reasons),
                };
                self.verdicts.insert(*pod, report);
            }
            growing.insert(group);
            creations.push(Creation {
                group,
                offering: template.offering.clone(),
                datacenter: template.datacenter.clone(),
                hourly_price: template.hourly_price,
                pods: node.pods,
            });
        }
        ScaleUp {
            creations,
            pods: self.verdicts.into_values().collect(),
            asking,
            growing,
            templates: self
                .offers
                .list
                .into_iter()
                .filter_map(|offer| offer.template)
                .collect(),
        }
    }

    /// For every group and offering that cannot take a pod of this class on a new node: the one decisive reason. With
    /// `waits`, that is one more pod than was placed, and there is a reason for every node too.
    fn rejections(&mut self, class: ClassId, waits: bool) -> Arc<[PodReason]> {
        let snapshot = self.world.snapshot();
        let mut reasons = Vec::new();
        for offer in &self.offers.list {
            let refusal = match (&offer.refusal, &offer.template) {
                (Some(refusal), _) => Some(refusal.clone()),
                (None, Some(template)) => {
                    let symbols = &snapshot.symbols;
                    new_node_misfit(self.world, class, template, waits).map_or_else(
                        || self.limits.refusal(offer.group),
                        |misfit| {
                            let message = format!("a new {} node: {}", template.offering, misfit.text(symbols));
                            Some(Refusal {
                                reason: misfit.group_reason(symbols),
                                message,
                                whole_group: false,
                            })
                        },
                    )
                }
                (None, None) => None,
            };
            if let Some(Refusal {
                reason,
                message,
                whole_group,
            }) = refusal
            {
                let offering = (!whole_group).then(|| offer.offering.clone());
                let reason = PodReason {
                    group: Some(offer.group),
                    offering,
                    node: None,
                    reason,
                    message,
                };
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        if waits {
            reasons.extend(snapshot.node_ids().filter_map(|node| {
                let (reason, message) = unusable(snapshot, node).or_else(|| {
                    let misfit = self.world.misfit(class, BinId::from(node))?;
                    Some((misfit.plugin(), misfit.text(&snapshot.symbols).to_string()))
                })?;
                Some(PodReason {
                    group: None,
                    offering: None,
                    node: Some(node),
                    reason: reason.to_owned(),
                    message,
                })
            }));
        }
        reasons.into()
    }
}

/// Why a new node cannot take a pod: one more than was placed when it waits, else one of those that were placed, which
/// constraints between pods would take for a second one.
fn new_node_misfit(world: &mut World<'_>, class: ClassId, template: &Arc<Template>, waits: bool) -> Option<Misfit> {
    let snapshot = world.snapshot();
    if !waits {
        let view = template.view(&template.daemons);
        return fit::misfit(snapshot.class(class), &view, &snapshot.well_known, &snapshot.symbols);
    }
    let mark = world.mark();
    let bin = world.add(template);
    let misfit = world.misfit(class, bin);
    world.rollback(mark);
    misfit
}

/// The report on a pod that has room on a node that exists or is to come.
fn fits_existing(pod: PodId, destination: Destination) -> PodReport {
    PodReport {
        pod,
        verdict: PodVerdict::FitsExisting(destination),
        reasons: Arc::new([]),
    }
}
