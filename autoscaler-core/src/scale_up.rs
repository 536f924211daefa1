//! Which nodes to create: pending pods are placed on nodes that exist or are to come, and what is left is packed onto
//! new nodes of every eligible group and offering at once.

use std::{cmp::Reverse, collections::BTreeMap, collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use crate::{
    fit::{self, Misfit},
    options::{Limits, Offer, Offers, Refusal},
    plan::{Creation, Destination, PodReason, PodReport, PodVerdict},
    planner::Options,
    snapshot::{ClassId, Expander, GroupId, MachinePhase, NodeId, PodId, Snapshot},
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

/// What one new node of an offer would carry: pods per queue, by the index of the queue.
struct Fill {
    offer: usize,
    counts: Vec<(usize, usize)>,
    pods: usize,
    /// Requests of what is carried, in parts of the demand.
    value: i128,
    /// Share of CPU and memory that stays unused, in millionths, summed.
    waste: i64,
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
                        let verdict = PodVerdict::FitsExisting(destination);
                        self.verdicts.insert(
                            pod,
                            PodReport {
                                pod,
                                verdict,
                                reasons: Arc::new([]),
                            },
                        );
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
                let verdict = PodVerdict::FitsExisting(*destination);
                self.verdicts.insert(
                    pod,
                    PodReport {
                        pod,
                        verdict,
                        reasons: Arc::new([]),
                    },
                );
            } else {
                return;
            }
            queue.waiting.remove(0);
        }
    }

    fn best_fill(&mut self, queues: &[Queue], first: usize) -> Option<Fill> {
        self.steps += 1;
        let class = queues.get(first)?.class;
        let mut fills = Vec::new();
        for index in 0..self.offers.list.len() {
            let Some((group, template)) = self.open_offer(index) else {
                continue;
            };
            if !self.limits.has_room(group) {
                continue;
            }
            let mark = self.world.mark();
            let bin = self.world.add(&template);
            if self.world.misfit(class, bin).is_none() {
                fills.push(self.fill(index, bin, &template, queues, first));
            }
            self.world.rollback(mark);
        }
        self.choose(fills)
    }

    /// Fills an empty new node with waiting pods, in the order of the queues, and says what it carries.
    fn fill(&mut self, offer: usize, bin: BinId, template: &Template, queues: &[Queue], first: usize) -> Fill {
        let mut fill = Fill {
            offer,
            counts: Vec::new(),
            pods: 0,
            value: 0,
            waste: 0,
        };
        for (index, queue) in queues.iter().enumerate().skip(first) {
            let mut count = 0;
            while count < queue.waiting.len() && self.world.misfit(queue.class, bin).is_none() {
                self.world.place(queue.class, bin);
                count += 1;
            }
            if 0 < count {
                fill.counts.push((index, count));
                fill.pods += count;
                fill.value += self
                    .weights
                    .of(self.world.snapshot(), queue.class)
                    .saturating_mul(signed(count));
            }
        }
        let view = self.world.view(bin);
        fill.waste = unused_millionths(template.allocatable.cpu, view.used.cpu)
            + unused_millionths(template.allocatable.memory, view.used.memory);
        fill
    }

    /// The expander chain: each criterion keeps its best; ties go to the preferred offering, then to the first one.
    fn choose(&self, mut fills: Vec<Fill>) -> Option<Fill> {
        let snapshot = self.world.snapshot();
        for expander in &snapshot.settings.expanders {
            match expander {
                Expander::Price => {
                    // Price per value carried, compared by cross multiplication. A group that must grow to its minimum
                    // anyway costs only what the offer costs more than its cheapest one.
                    let cost = |fill: &Fill| i128::from(self.marginal_price(fill.offer));
                    let best = fills
                        .iter()
                        .map(|fill| (cost(fill), fill.value.max(1)))
                        .min_by(|a, b| a.0.saturating_mul(b.1).cmp(&b.0.saturating_mul(a.1)));
                    if let Some((price, value)) = best {
                        fills
                            .retain(|fill| cost(fill).saturating_mul(value) <= price.saturating_mul(fill.value.max(1)));
                    }
                }
                Expander::LeastWaste => keep_best(&mut fills, |fill| fill.waste),
                Expander::Priority => {
                    keep_best(&mut fills, |fill| Reverse(self.offer_priority(fill.offer)));
                }
                Expander::LeastNodes => keep_best(&mut fills, |fill| Reverse(fill.value)),
                Expander::MostPods => keep_best(&mut fills, |fill| Reverse(fill.pods)),
                Expander::Random => {
                    let seed = snapshot.settings.seed;
                    keep_best(&mut fills, |fill| mix(seed, self.steps, fill.offer));
                }
            }
        }
        let preferred = |fill: &Fill| {
            self.offers
                .list
                .get(fill.offer)
                .is_some_and(|offer| snapshot.group(offer.group).preferred.as_ref() == Some(&offer.offering))
        };
        if fills.iter().any(preferred) {
            fills.retain(preferred);
        }
        fills.into_iter().next()
    }

    fn buy(&mut self, queues: &mut [Queue], fill: &Fill) {
        let Some((group, template)) = self.open_offer(fill.offer) else {
            return;
        };
        let bin = self.world.add(&template);
        let mut pods = Vec::with_capacity(fill.pods);
        for (index, count) in &fill.counts {
            let Some(queue) = queues.get_mut(*index) else { continue };
            let class = queue.class;
            for pod in queue.waiting.drain(..*count) {
                self.world.place(class, bin);
                pods.push(pod);
            }
        }
        self.limits.take(group);
        self.new_nodes.push(NewNode {
            bin,
            offer: fill.offer,
            pods,
        });
    }

    /// Leaves out every new node whose pods all find room on the other new nodes, the emptiest first.
    fn drop_needless_nodes(&mut self) {
        let snapshot = self.world.snapshot();
        let mut order: Vec<usize> = (0..self.new_nodes.len()).collect();
        order.sort_by_key(|index| {
            let pods = self.new_nodes.get(*index).map_or(&[][..], |node| &node.pods);
            pods.iter()
                .map(|pod| self.weights.of(snapshot, snapshot.pod(*pod).class))
                .sum::<i128>()
        });
        for index in order {
            let Some(node) = self.new_nodes.get(index) else {
                continue;
            };
            let (bin, offer, pods) = (node.bin, node.offer, node.pods.clone());
            let mark = self.world.mark();
            let mut moves = Vec::with_capacity(pods.len());
            for pod in &pods {
                self.world.unplace(snapshot.pod(*pod).class, bin);
            }
            self.world.remove(bin);
            for pod in &pods {
                let class = snapshot.pod(*pod).class;
                // Other pods were placed by where this one is.
                let target = self.new_nodes.iter().position(|other| {
                    other.bin != bin
                        && !other.pods.is_empty()
                        && self.world.misfit(class, other.bin).is_none()
                        && self.world.counts_the_same(class, bin, other.bin)
                });
                let Some((target, node)) = target.and_then(|target| Some((target, self.new_nodes.get(target)?))) else {
                    break;
                };
                self.world.place(class, node.bin);
                moves.push((*pod, target));
            }
            if moves.len() < pods.len() {
                self.world.rollback(mark);
                continue;
            }
            for (pod, target) in moves {
                if let Some(node) = self.new_nodes.get_mut(target) {
                    node.pods.push(pod);
                }
            }
            if let Some(node) = self.new_nodes.get_mut(index) {
                node.pods.clear();
            }
            if let Some(offer) = self.offers.list.get(offer) {
                self.limits.give_back(offer.group);
            }
        }
        self.new_nodes.retain(|node| !node.pods.is_empty());
    }

    /// Gives every new node the cheapest offer that holds all its pods, as far as the criteria before price allow.
    fn right_size(&mut self) {
        let snapshot = self.world.snapshot();
        let expanders = &snapshot.settings.expanders;
        let Some(price_at) = expanders.iter().position(|expander| *expander == Expander::Price) else {
            return;
        };
        let before = expanders.get(..price_at).unwrap_or_default();
        if before.iter().any(|expander| *expander != Expander::Priority) {
            return;
        }
        let keep_priority = !before.is_empty();
        for index in 0..self.new_nodes.len() {
            let Some(node) = self.new_nodes.get(index) else {
                continue;
            };
            let (bin, old, pods) = (node.bin, node.offer, node.pods.clone());
            let Some((old_group, old_template)) = self.open_offer(old) else {
                continue;
            };
            let mut best: Option<(i64, usize)> = None;
            for candidate in 0..self.offers.list.len() {
                let Some((group, template)) = self.open_offer(candidate) else {
                    continue;
                };
                let price = template.hourly_price.nanos();
                let cheaper = price < old_template.hourly_price.nanos() && best.is_none_or(|(best, _)| price < best);
                let same_rank = !keep_priority || self.offer_priority(candidate) == self.offer_priority(old);
                // A group at its minimum would be filled up again, so moving its node away saves nothing.
                let room = group == old_group
                    || (self.limits.has_room_besides(group, old_group) && !self.limits.at_minimum(old_group));
                if cheaper && same_rank && room && self.holds(&template, bin, &pods) {
                    best = Some((price, candidate));
                }
            }
            if let Some((_, offer)) = best
                && let Some((group, template)) = self.open_offer(offer)
            {
                for pod in &pods {
                    self.world.unplace(snapshot.pod(*pod).class, bin);
                }
                self.world.remove(bin);
                let bin = self.world.add(&template);
                let Some(node) = self.new_nodes.get_mut(index) else {
                    continue;
                };
                for pod in &pods {
                    self.world.place(snapshot.pod(*pod).class, bin);
                }
                (node.bin, node.offer) = (bin, offer);
                self.limits.give_back(old_group);
                self.limits.take(group);
            }
        }
    }

    /// Whether a new node of this template could take the place of a planned one.
    fn holds(&mut self, template: &Arc<Template>, old: BinId, pods: &[PodId]) -> bool {
        let snapshot = self.world.snapshot();
        let mark = self.world.mark();
        for pod in pods {
            self.world.unplace(snapshot.pod(*pod).class, old);
        }
        self.world.remove(old);
        let bin = self.world.add(template);
        let all = pods.iter().all(|pod| {
            let class = snapshot.pod(*pod).class;
            let fits = self.world.misfit(class, bin).is_none() && self.world.counts_the_same(class, old, bin);
            if fits {
                self.world.place(class, bin);
            }
            fits
        });
        self.world.rollback(mark);
        all
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

    /// The group and template of an offer that may be bought.
    fn open_offer(&self, index: usize) -> Option<(GroupId, Arc<Template>)> {
        let Offer {
            group,
            refusal,
            template,
            ..
        } = self.offers.list.get(index)?;
        match (refusal, template) {
            (None, Some(template)) => Some((*group, Arc::clone(template))),
            _ => None,
        }
    }

    fn offer_priority(&self, index: usize) -> i32 {
        self.offers
            .list
            .get(index)
            .map_or(0, |offer| self.world.snapshot().group(offer.group).priority)
    }

    fn marginal_price(&self, index: usize) -> i64 {
        let Some((group, template)) = self.open_offer(index) else {
            return i64::MAX;
        };
        let price = template.hourly_price.nanos();
        if !self.limits.below_minimum(group) {
            return price;
        }
        let of_group = self
            .offers
            .list
            .iter()
            .filter(|offer| offer.group == group && offer.refusal.is_none());
        let cheapest = of_group
            .filter_map(|offer| offer.template.as_ref())
            .map(|template| template.hourly_price.nanos())
            .min();
        price.saturating_sub(cheapest.unwrap_or(0))
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

/// Why a pending pod does not ask for a node, or `None` when it does.
fn not_asking(snapshot: &Snapshot, id: PodId, options: &Options, now: Timestamp) -> Option<(&'static str, String)> {
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
            let waited = now.duration_since(since).as_secs();
            Some((
                "GracePeriod",
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
fn unusable(snapshot: &Snapshot, id: NodeId) -> Option<(&'static str, String)> {
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

/// The nodes that pods can be placed on: Ready ones, then those to come, each in the order of their names.
fn destinations(world: &mut World<'_>, now: Timestamp) -> Vec<(BinId, Destination)> {
    let snapshot = world.snapshot();
    let mut destinations: Vec<_> = snapshot
        .node_ids()
        .filter(|node| unusable(snapshot, *node).is_none() && !is_starting(snapshot, *node))
        .map(|node| (BinId::from(node), Destination::Node(node)))
        .collect();
    for id in snapshot.machine_ids() {
        let machine = snapshot.machine(id);
        let deadline = match (machine.phase, machine.node) {
            (_, Some(_)) => INITIALIZE_DEADLINE,
            (MachinePhase::Pending | MachinePhase::Provisioning, None) => PROVISION_DEADLINE,
            _ => JOIN_DEADLINE,
        };
        let late = machine
            .phase_since
            .is_some_and(|since| deadline < now.duration_since(since));
        let to_come = match machine.node {
            Some(node) => is_starting(snapshot, node) && !snapshot.node(node).deleting,
            None => machine.is_coming(),
        };
        if late || !to_come || machine.is_leaving() {
            continue;
        }
        let Some(template) = machine
            .group
            .and_then(|group| Template::of_machine(snapshot, machine, group))
        else {
            continue;
        };
        let bin = world.add_with(&Arc::new(template), machine.node);
        let destination = machine.node.map_or(Destination::Machine(id), Destination::Node);
        destinations.push((bin, destination));
    }
    destinations
}

/// Whether this is the Node of a VPSieNode that is not done yet: not Ready for the first time, or Ready and still with a
/// taint that it only has while it starts. Such a node counts as it is going to be.
fn is_starting(snapshot: &Snapshot, id: NodeId) -> bool {
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
fn nominations(snapshot: &Snapshot) -> Vec<(i32, ClassId, NodeId)> {
    let mut nominations: Vec<_> = snapshot
        .pods
        .iter()
        .filter(|pod| !pod.bound && !pod.is_terminal() && pod.deletion.is_none())
        .filter_map(|pod| Some((snapshot.class_of(pod).priority, pod.class, pod.nominated?)))
        .collect();
    nominations.sort_unstable();
    nominations
}

/// Pods by class: priority descending, then larger first.
fn queues(snapshot: &Snapshot, asking: &[PodId], weights: &Weights) -> Vec<Queue> {
    let mut by_class: BTreeMap<ClassId, Vec<PodId>> = BTreeMap::new();
    for pod in asking {
        by_class.entry(snapshot.pod(*pod).class).or_default().push(*pod);
    }
    let mut queues: Vec<_> = by_class
        .into_iter()
        .map(|(class, waiting)| Queue { class, waiting })
        .collect();
    queues.sort_by_key(|queue| {
        (
            Reverse(snapshot.class(queue.class).priority),
            Reverse(weights.of(snapshot, queue.class)),
            queue.class,
        )
    });
    queues
}

/// What a request weighs: its share of the whole demand, so that CPU and memory count alike whatever their units.
struct Weights {
    cpu: i128,
    memory: i128,
    pods: i128,
}

impl Weights {
    const WHOLE: i128 = 1_000_000_000_000;

    fn new(snapshot: &Snapshot, asking: &[PodId]) -> Self {
        let mut weights = Self {
            cpu: 0,
            memory: 0,
            pods: signed(asking.len()).max(1),
        };
        for pod in asking {
            let requests = &snapshot.class_of(snapshot.pod(*pod)).requests;
            weights.cpu += i128::from(requests.cpu);
            weights.memory += i128::from(requests.memory);
        }
        weights.cpu = weights.cpu.max(1);
        weights.memory = weights.memory.max(1);
        weights
    }

    fn of(&self, snapshot: &Snapshot, class: ClassId) -> i128 {
        let requests = &snapshot.class(class).requests;
        // The pod slot weighs little, so that it only counts for pods that request nothing else.
        i128::from(requests.cpu) * Self::WHOLE / self.cpu
            + i128::from(requests.memory) * Self::WHOLE / self.memory
            + Self::WHOLE / 1000 / self.pods
    }
}

fn keep_best<K: Ord>(fills: &mut Vec<Fill>, key: impl Fn(&Fill) -> K) {
    if let Some(best) = fills.iter().map(&key).min() {
        fills.retain(|fill| key(fill) == best);
    }
}

fn unused_millionths(allocatable: i64, used: i64) -> i64 {
    if allocatable <= 0 {
        return 0;
    }
    let free = i128::from(allocatable.saturating_sub(used).max(0));
    i64::try_from(free * 1_000_000 / i128::from(allocatable)).unwrap_or(0)
}

/// A number that depends on all three in no visible way (the finalizer of SplitMix64).
fn mix(seed: u64, step: u64, offer: usize) -> u64 {
    let mut x = seed ^ step.rotate_left(32) ^ (offer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn signed(count: usize) -> i128 {
    i128::try_from(count).unwrap_or(i128::MAX)
}
