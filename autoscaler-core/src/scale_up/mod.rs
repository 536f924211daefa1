//! Which nodes to create: pending pods are placed on nodes that exist or are to come, and what is left is packed onto
//! new nodes of every eligible group and offering at once.
//!
//! The steps are here, in order. Who asks is in `demand`, pods by kind in `kinds`, the state of a packing in `packing`,
//! the choice of the next node in `buy` by the prices of `bound`, what makes a complete packing cheaper in `improve`, what
//! groups want beside pods in `top_up`, whether all of it can be carried out in `binding`, how nodes to come are used best in
//! `replay`, and the words for those left over in `reasons`.

mod binding;
mod bound;
mod buy;
mod demand;
mod improve;
mod kinds;
mod packing;
mod reasons;
mod replay;
mod search;
mod top_up;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

pub(crate) use self::demand::unusable;
use self::{
    buy::{Aim, Shapes},
    demand::{GRACE_PERIOD, destinations, nominations, not_asking},
    kinds::{Asks, Kinds, Position},
    packing::{Packing, StandsFor},
    reasons::without,
};
use crate::{
    options::Offers,
    plan::{Creation, PodReason, PodReport, PodVerdict, Why},
    planner::Options,
    quantity::HourlyPrice,
    snapshot::{GroupId, PodId, Snapshot},
    symbol::Symbol,
    template::Template,
    world::World,
};

/// What scale-up decided.
#[derive(Clone, Debug)]
pub(crate) struct ScaleUp {
    pub creations: Vec<Creation>,
    /// Every pod without a node that has not ended, by namespace and name.
    pub pods: Vec<PodReport>,
    /// As in [`Plan`](crate::plan::Plan).
    pub binding_order: Vec<PodId>,
    /// Pods that ask for a node, or are going to when their grace period is over; those that fit existing nodes too. Not all
    /// that are alike are in it.
    pub asking: Vec<PodId>,
    /// Groups that have a node to come or get one.
    pub growing: BTreeSet<GroupId>,
    /// What a new node of each group and offering would look like.
    pub templates: Vec<Arc<Template>>,
    /// What the new nodes could cost at least.
    pub least_price: HourlyPrice,
}

/// An all-or-nothing group that is left out, with its pods by kind, and why.
struct Held {
    pods: Vec<(usize, Vec<Position>)>,
    reasons: Arc<[PodReason]>,
}

/// One way to pack.
#[derive(Clone, Debug)]
struct Try {
    /// Kinds that are served before others of their priority.
    first: BTreeSet<usize>,
    /// Whether nodes are tried from the last to the first.
    backwards: bool,
    aim: Aim,
}

/// How many ways to pack are tried while pods are left that could have a place.
const TRIES: usize = 6;

/// The same for a cluster of many nodes and kinds of pods.
const FEW_TRIES: usize = 2;

/// How often pods that are left are tried again after nodes were saved.
const ROUNDS: usize = 3;

/// How many nodes and kinds together are many.
const MANY: usize = 2000;

/// Plans creations and leaves every placed pod in the world.
///
/// When nodes are to come and more would be bought, the pods are packed once more as if none were to come: see `replay`.
pub(crate) fn plan_creations(world: &mut World<'_>, options: &Options, now: Timestamp) -> ScaleUp {
    let snapshot = world.snapshot();
    let filled = plan_beside(world, options, now, Vec::new()).0;
    if filled.creations.is_empty() {
        return filled;
    }
    let coming = replay::coming(snapshot, now);
    if coming.is_empty() {
        return filled;
    }
    let mut other = World::new(snapshot);
    let (mut replayed, holds) = plan_beside(&mut other, options, now, coming);
    if !holds || filled.cost(snapshot) <= replayed.cost(snapshot) {
        return filled;
    }
    replayed.least_price = filled.least_price.min(replayed.price());
    *world = other;
    replayed
}

/// Plans creations beside the nodes that are to come, which are filled first; or as if those were not to come that are given,
/// which then stand for planned ones. Says too whether the plan holds beside those that stand for none.
fn plan_beside(
    world: &mut World<'_>,
    options: &Options,
    now: Timestamp,
    coming: Vec<replay::Coming>,
) -> (ScaleUp, bool) {
    let snapshot = world.snapshot();
    let offers = Offers::new(snapshot, now);
    let Asking {
        pending,
        mut reports,
        asking,
        in_grace,
    } = sort_out(snapshot, &offers, options, now);
    let existing = destinations(world, now, coming.is_empty());
    let limits = replay::limits_without(snapshot, &coming);
    let kinds = Kinds::new(snapshot, &asking);
    let mut wanting = kinds.one_of_each_class(&pending);
    wanting.extend(in_grace);
    let mut packing = Packing::new(world, kinds, offers, limits, existing);
    packing.count_possible_domains();
    let shapes = Shapes::new(&packing);
    let mut held = Vec::new();
    let start = packing.mark();
    let least_price = loop {
        let least_price = packing.pack(&shapes);
        // A search may make it whole yet; where there is none, nothing does.
        if !packing.is_searched()
            && let Some(group) = packing.incomplete_group()
        {
            held.push(packing.hold(group, start));
            continue;
        }
        packing.improve(&shapes);
        // What was saved may be what pods are left for.
        for _ in 0..ROUNDS {
            let left = packing.left();
            packing.buy_all(&shapes, Aim::Chain);
            if left == packing.left() {
                break;
            }
            packing.improve(&shapes);
        }
        packing.make_bindable(&shapes, now);
        packing.search(&shapes, now);
        match packing.incomplete_group() {
            Some(group) => held.push(packing.hold(group, start)),
            None => break least_price,
        }
    };
    // Scale-down asks where pods can go now.
    packing.world.remove_possible_domains();
    let binding_order = packing.binding_order(&pending);
    let holds = packing.replay(coming);
    let creations = packing.report(&pending, &mut reports, held);
    let growing = growing(snapshot, &creations);
    let templates = packing.offers.list.into_iter().filter_map(|offer| offer.template);
    let scale_up = ScaleUp {
        creations,
        pods: reports.into_iter().flatten().collect(),
        binding_order,
        asking: wanting,
        growing,
        templates: templates.collect(),
        least_price: HourlyPrice::from_nanos(least_price),
    };
    (scale_up, holds)
}

impl ScaleUp {
    /// The priorities of the pods that are left, the highest first, and what is paid for the others.
    fn cost(&self, snapshot: &Snapshot) -> (Vec<i32>, HourlyPrice) {
        let left = self.pods.iter().filter(|pod| pod.verdict == PodVerdict::Unschedulable);
        let mut left: Vec<i32> = left
            .map(|report| snapshot.class_of(snapshot.pod(report.pod)).priority)
            .collect();
        left.sort_unstable_by_key(|priority| std::cmp::Reverse(*priority));
        (left, self.price())
    }

    fn price(&self) -> HourlyPrice {
        let prices = self.creations.iter().map(|creation| creation.hourly_price.nanos());
        HourlyPrice::from_nanos(prices.fold(0, i64::saturating_add))
    }
}

/// The pods without a node that have not ended, by namespace and name, with reports on those that do not ask.
struct Asking {
    pending: Vec<PodId>,
    reports: Vec<Option<PodReport>>,
    asking: Vec<Asks>,
    /// Those that do not ask only because they have not waited long enough.
    in_grace: Vec<PodId>,
}

/// Looks at every pod without a node, once: there may be many.
fn sort_out(snapshot: &Snapshot, offers: &Offers, options: &Options, now: Timestamp) -> Asking {
    let unbound = snapshot.unbound_pods();
    let mut pending = Vec::with_capacity(unbound.len());
    let mut reports = Vec::with_capacity(unbound.len());
    let mut asking: Vec<Asks> = Vec::with_capacity(unbound.len());
    // All-or-nothing groups with a pod that does not ask yet. To serve the others would cut the group in two.
    let mut unready: BTreeSet<(Symbol, Symbol)> = BTreeSet::new();
    let mut ignored = Ignored::default();
    let mut in_grace = Vec::new();
    for id in unbound.iter().copied() {
        let pod = snapshot.pod(id);
        if pod.is_terminal() {
            continue;
        }
        let position = packing::narrow(pending.len());
        pending.push(id);
        let pod_group = pod.pod_group.map(|group| (pod.namespace, group));
        let Some((reason, message)) = not_asking(snapshot, id, options, now) else {
            let since = pod.unschedulable.and_then(|unschedulable| unschedulable.since);
            asking.push(Asks {
                position,
                class: pod.class,
                waited: offers.waited(since.filter(|_| !options.ignore_timers), now),
                pod_group,
            });
            reports.push(None);
            continue;
        };
        unready.extend(pod_group.filter(|_| pod.deletion.is_none()));
        if reason == GRACE_PERIOD {
            in_grace.push(id);
        }
        reports.push(Some(ignored.report(id, reason, message)));
    }
    if !unready.is_empty() {
        asking.retain(|asks| {
            let Some(group) = asks.pod_group.filter(|group| unready.contains(group)) else {
                return true;
            };
            let name = format!("{}/{}", snapshot.text(group.0), snapshot.text(group.1));
            let message = format!("pod group {name} is placed as a whole, and not all of its pods ask for a node yet");
            let at = asks.position as usize;
            if let (Some(report), Some(pod)) = (reports.get_mut(at), pending.get(at)) {
                *report = Some(ignored.report(*pod, "PodGroupIncomplete", message));
            }
            false
        });
    }
    Asking {
        pending,
        reports,
        asking,
        in_grace,
    }
}

/// Reasons of pods that do not ask: many do not for the same one.
#[derive(Default)]
struct Ignored {
    known: BTreeMap<(&'static str, String), Arc<[PodReason]>>,
}

impl Ignored {
    fn report(&mut self, pod: PodId, reason: &'static str, message: String) -> PodReport {
        let why = Why::Rule(reason, message.as_str().into());
        let reasons = self.known.entry((reason, message)).or_insert_with(|| {
            Arc::new([PodReason {
                group: None,
                offering: None,
                node: None,
                why,
            }])
        });
        PodReport {
            pod,
            verdict: PodVerdict::Ignored,
            reasons: Arc::clone(reasons),
        }
    }
}

/// Groups that have a node to come or get one.
fn growing(snapshot: &Snapshot, creations: &[Creation]) -> BTreeSet<GroupId> {
    let coming = snapshot.machines.iter().filter(|machine| machine.is_coming());
    let coming = coming.filter_map(|machine| machine.group);
    coming.chain(creations.iter().map(|creation| creation.group)).collect()
}

impl Default for Try {
    fn default() -> Self {
        Self {
            first: BTreeSet::new(),
            backwards: false,
            aim: Aim::Chain,
        }
    }
}

impl Try {
    /// The way to try after this one, which had this number.
    fn following(&self, number: usize, limited: bool) -> Self {
        Self {
            first: self.first.clone(),
            backwards: number % 2 == 1,
            aim: if limited && (number / 2).is_multiple_of(2) {
                Aim::Room
            } else {
                Aim::Chain
            },
        }
    }
}

impl Packing<'_, '_> {
    /// Every datacenter in which a node could be added is a domain for pods that could use the node, so that a spread
    /// Deployment is spread from the first node on.
    fn count_possible_domains(&mut self) {
        let open = self
            .offers
            .list
            .iter()
            .filter(|offer| offer.refusal.is_none() && self.limits.has_room(offer.group));
        let open: Vec<_> = open.filter_map(|offer| offer.template.as_deref()).collect();
        self.world.add_possible_domains(&open);
    }

    /// Places every pod that can be placed. Gives the least that the new nodes could cost, in nano-units per hour.
    ///
    /// When pods are left that could have a place, other orders are tried: those that were left first, nodes from the
    /// last to the first, and new nodes chosen for their room where their number is what is short.
    fn pack(&mut self, shapes: &Shapes) -> i64 {
        self.first.fill(false);
        let start = self.mark();
        let tries = if self.spots.len() + self.kinds.list.len() < MANY {
            TRIES
        } else {
            FEW_TRIES
        };
        let mut best: Option<(Vec<usize>, i64, Try)> = None;
        let mut next = Try::default();
        let mut least_price = 0;
        for number in 0..=tries {
            let last = number == tries;
            if let (true, Some((.., of_best))) = (last, &best) {
                next = of_best.clone();
            }
            least_price = self.pack_once(shapes, &next);
            let left = self.left();
            if last || left.iter().all(|count| *count == 0) {
                break;
            }
            let price = self.planned_price();
            let better = best
                .as_ref()
                .is_none_or(|(of_best, of_price, _)| (&left, price) < (of_best, *of_price));
            let limited =
                (0..self.kinds.list.len()).any(|kind| self.waiting(kind) != 0 && self.is_limited(shapes, kind));
            let mut following = next.following(number, limited);
            for kind in (0..self.kinds.list.len()).filter(|kind| self.waiting(*kind) != 0) {
                following.first.insert(kind);
            }
            if better {
                best = Some((left, price, next.clone()));
            }
            self.rewind(start);
            if number == 0 && !self.may_do_better(shapes, &following.first) {
                // Whatever the order, these pods have no place.
                self.pack_once(shapes, &Try::default());
                break;
            }
            next = following;
        }
        least_price
    }

    fn pack_once(&mut self, shapes: &Shapes, order: &Try) -> i64 {
        for (index, first) in self.first.iter_mut().enumerate() {
            *first = order.first.contains(&index);
        }
        if order.backwards {
            self.turn_round();
        }
        self.start_over();
        self.place_on_existing();
        let least_price = self.least_price(shapes);
        self.buy_all(shapes, order.aim);
        least_price
    }

    /// Undoes a whole packing.
    fn rewind(&mut self, start: packing::Mark) {
        self.rollback(start);
        if self.turned {
            self.turn_round();
        }
    }

    /// Whether one of these kinds, none of which is placed, has room on a node as it is or on a new one.
    fn may_do_better(&mut self, shapes: &Shapes, kinds: &BTreeSet<usize>) -> bool {
        kinds.iter().any(|kind| {
            let class = self.class(*kind);
            let size = self.kinds.list.get(*kind).map_or(0, |kind| kind.size);
            self.may_buy(shapes, *kind)
                || self.roomy_spots(size).into_iter().any(|spot| {
                    let bin = self.spots.get(spot).map(|spot| spot.bin);
                    let misfit = bin.and_then(|bin| self.world.misfit(class, bin));
                    misfit.is_none_or(|misfit| !misfit.is_lasting())
                })
        })
    }

    fn planned_price(&self) -> i64 {
        let planned = self.planned_spots().filter_map(|spot| self.planned(spot));
        planned.map(|(_, _, template)| template.hourly_price.nanos()).sum()
    }

    /// The kinds in the order in which they are served: by priority; within one, those that were left before, then pods
    /// that need a node of their own, because these nodes are there anyway for others, then larger first.
    fn order(&self, own_nodes_first: bool) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.kinds.list.len()).collect();
        order.sort_by_key(|kind| {
            let first = self.first.get(*kind).copied().unwrap_or(false);
            let entry = self.kinds.list.get(*kind);
            entry.map(|entry| {
                let shares = entry.exclusive.is_none() && own_nodes_first;
                (std::cmp::Reverse(entry.priority), !first, shares, *kind)
            })
        });
        order
    }

    /// First fit, by priority: nodes that exist before nodes to come.
    fn place_on_existing(&mut self) {
        let mut nominated = nominations(self.snapshot);
        for kind in self.order(false) {
            let priority = self.kinds.list.get(kind).map_or(0, |kind| kind.priority);
            // A nominated pod keeps its room against pods of its own or a lower priority.
            while let Some((_, class, node)) = nominated.pop_if(|(of_nominee, ..)| priority <= *of_nominee) {
                self.occupy(class, node);
            }
            self.first_fit(kind);
        }
        for (_, class, node) in nominated {
            self.occupy(class, node);
        }
    }

    /// Buys nodes for what is left.
    fn buy_all(&mut self, shapes: &Shapes, aim: Aim) {
        let order = self.order(true);
        for kind in order.iter().copied() {
            self.serve(shapes, kind, aim);
        }
        // Pods that wait for others to be placed get another turn when something was.
        let regaining: Vec<usize> = order.into_iter().filter(|kind| self.regains(*kind)).collect();
        loop {
            let waiting = |packing: &Self| -> usize { regaining.iter().map(|kind| packing.waiting(*kind)).sum() };
            let before = waiting(self);
            for kind in regaining.iter().copied() {
                self.serve(shapes, kind, aim);
            }
            if before == waiting(self) {
                break;
            }
        }
    }

    /// Finds places for the pods of one kind until there is none for the next of them.
    fn serve(&mut self, shapes: &Shapes, kind: usize, aim: Aim) {
        while self.waiting(kind) != 0 {
            self.first_fit(kind);
            if self.waiting(kind) == 0 || !self.buy(shapes, kind, aim) {
                return;
            }
        }
    }

    /// How many pods have no place, by priority, the highest first.
    fn left(&self) -> Vec<usize> {
        let mut left: Vec<(i32, usize)> = Vec::new();
        for kind in &self.kinds.list {
            match left.last_mut() {
                Some((priority, count)) if *priority == kind.priority => *count += kind.waiting.len(),
                _ => left.push((kind.priority, kind.waiting.len())),
            }
        }
        left.into_iter().map(|(_, count)| count).collect()
    }

    /// An all-or-nothing group of which some pods have a place and others have none: the least important one.
    fn incomplete_group(&self) -> Option<(Symbol, Symbol)> {
        let waiting: Vec<(Symbol, Symbol)> = (self.kinds.list.iter())
            .filter(|kind| !kind.waiting.is_empty())
            .filter_map(|kind| kind.pod_group)
            .collect();
        if waiting.is_empty() {
            return None;
        }
        let mut placed = BTreeSet::new();
        for pod in self.spots.iter().flat_map(|spot| &spot.pods) {
            placed.extend(self.kinds.list.get(pod.kind as usize).and_then(|kind| kind.pod_group));
        }
        waiting.into_iter().rev().find(|group| placed.contains(group))
    }

    /// Leaves an all-or-nothing group out: undoes the packing and takes its pods off those that wait.
    fn hold(&mut self, group: (Symbol, Symbol), start: packing::Mark) -> Held {
        let of_group: Vec<usize> = (0..self.kinds.list.len())
            .filter(|kind| {
                self.kinds
                    .list
                    .get(*kind)
                    .is_some_and(|kind| kind.pod_group == Some(group))
            })
            .collect();
        let left: usize = of_group.iter().map(|kind| self.waiting(*kind)).sum();
        let first = of_group.iter().copied().find(|kind| self.waiting(*kind) != 0);
        let why = first.map(|kind| self.why_left(kind));
        self.rewind(start);
        let mut pods = Vec::new();
        for kind in of_group {
            pods.push((kind, self.withdraw(kind)));
        }
        let all: usize = pods.iter().map(|(_, pods)| pods.len()).sum();
        let name = format!("{}/{}", self.snapshot.text(group.0), self.snapshot.text(group.1));
        let message =
            format!("pod group {name} is placed as a whole or not at all: {left} of its {all} pods have no place");
        let whole = PodReason {
            group: None,
            offering: None,
            node: None,
            why: Why::Rule("PodGroupIncomplete", message.into()),
        };
        let others = why.iter().flat_map(|why| why.iter().cloned());
        Held {
            pods,
            reasons: std::iter::once(whole).chain(others).collect::<Vec<_>>().into(),
        }
    }

    /// The nodes to create, with a report on every pod that asked.
    fn report(&mut self, pending: &[PodId], reports: &mut [Option<PodReport>], held: Vec<Held>) -> Vec<Creation> {
        let nothing: Arc<[PodReason]> = Arc::new([]);
        let mut tell = |position: Position, verdict: PodVerdict, reasons: &Arc<[PodReason]>| {
            let at = position as usize;
            if let (Some(report), Some(pod)) = (reports.get_mut(at), pending.get(at).copied()) {
                *report = Some(PodReport {
                    pod,
                    verdict,
                    reasons: Arc::clone(reasons),
                });
            }
        };
        for Held { pods, reasons } in held {
            for position in pods.into_iter().flat_map(|(_, pods)| pods) {
                tell(position, PodVerdict::Unschedulable, &reasons);
            }
        }
        for kind in 0..self.kinds.list.len() {
            if self.waiting(kind) == 0 {
                continue;
            }
            let reasons = self.why_left(kind);
            for position in self.kinds.list.get(kind).map_or(&[][..], |kind| &kind.waiting) {
                tell(*position, PodVerdict::Unschedulable, &reasons);
            }
        }
        let mut creations = Vec::new();
        // What a pod lacks elsewhere depends on its size and look alone.
        let mut elsewhere: BTreeMap<(usize, usize), Arc<[PodReason]>> = BTreeMap::new();
        let mut of_kinds: Vec<Option<(GroupId, Arc<[PodReason]>)>> = vec![None; self.kinds.list.len()];
        for spot in std::mem::take(&mut self.spots).into_iter().filter(|spot| spot.open) {
            let offer = match spot.stands_for {
                StandsFor::Existing(destination) => {
                    for placed in spot.pods {
                        tell(placed.position, PodVerdict::FitsExisting(destination), &nothing);
                    }
                    continue;
                }
                StandsFor::New(offer) => offer,
            };
            let Some((group, template)) = self.offers.list.get(offer).and_then(|offer| {
                let template = Arc::clone(offer.template.as_ref()?);
                Some((offer.group, template))
            }) else {
                continue;
            };
            let mut positions = Vec::with_capacity(spot.pods.len());
            for placed in spot.pods {
                let kind = placed.kind as usize;
                let Some(of_kind) = of_kinds.get_mut(kind) else {
                    continue;
                };
                let reasons = match of_kind {
                    Some((grown, reasons)) if *grown == group => reasons,
                    _ => {
                        let alike = self.kinds.list.get(kind).map_or((0, 0), |kind| (kind.size, kind.look));
                        let reasons = elsewhere.entry(alike).or_insert_with(|| self.why_elsewhere(kind));
                        &of_kind.insert((group, without(reasons, group))).1
                    }
                };
                tell(placed.position, PodVerdict::TriggersScaleUp(creations.len()), reasons);
                positions.push(placed.position);
            }
            positions.sort_unstable();
            let pods = positions
                .iter()
                .filter_map(|position| pending.get(*position as usize).copied());
            creations.push(Creation {
                group,
                offering: template.offering.clone(),
                datacenter: template.datacenter.clone(),
                hourly_price: template.hourly_price,
                pods: pods.collect(),
            });
        }
        creations
    }
}
