//! What one new node would carry, and which of several is the best buy.

use std::{cmp::Reverse, sync::Arc};

use super::{NewNode, Packer, Queue};
use crate::{
    options::Offer,
    snapshot::{ClassId, Expander, GroupId, PodId, Snapshot},
    template::Template,
    world::BinId,
};

/// What one new node of an offer would carry: pods per queue, by the index of the queue.
pub(super) struct Fill {
    pub(super) offer: usize,
    pub(super) counts: Vec<(usize, usize)>,
    pub(super) pods: usize,
    /// Requests of what is carried, in parts of the demand.
    pub(super) value: i128,
    /// Share of CPU and memory that stays unused, in millionths, summed.
    pub(super) waste: i64,
}

/// What a request weighs: its share of the whole demand, so that CPU and memory count alike whatever their units.
pub(super) struct Weights {
    pub(super) cpu: i128,
    pub(super) memory: i128,
    pub(super) pods: i128,
}

impl Weights {
    const WHOLE: i128 = 1_000_000_000_000;

    pub(super) fn new(snapshot: &Snapshot, asking: &[PodId]) -> Self {
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

    pub(super) fn of(&self, snapshot: &Snapshot, class: ClassId) -> i128 {
        let requests = &snapshot.class(class).requests;
        // The pod slot weighs little, so that it only counts for pods that request nothing else.
        i128::from(requests.cpu) * Self::WHOLE / self.cpu
            + i128::from(requests.memory) * Self::WHOLE / self.memory
            + Self::WHOLE / 1000 / self.pods
    }
}

impl Packer<'_, '_> {
    pub(super) fn best_fill(&mut self, queues: &[Queue], first: usize) -> Option<Fill> {
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
    pub(super) fn fill(
        &mut self,
        offer: usize,
        bin: BinId,
        template: &Template,
        queues: &[Queue],
        first: usize,
    ) -> Fill {
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
    pub(super) fn choose(&self, mut fills: Vec<Fill>) -> Option<Fill> {
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

    pub(super) fn buy(&mut self, queues: &mut [Queue], fill: &Fill) {
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

    /// The group and template of an offer that may be bought.
    pub(super) fn open_offer(&self, index: usize) -> Option<(GroupId, Arc<Template>)> {
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

    pub(super) fn offer_priority(&self, index: usize) -> i32 {
        self.offers
            .list
            .get(index)
            .map_or(0, |offer| self.world.snapshot().group(offer.group).priority)
    }

    pub(super) fn marginal_price(&self, index: usize) -> i64 {
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

pub(super) fn keep_best<K: Ord>(fills: &mut Vec<Fill>, key: impl Fn(&Fill) -> K) {
    if let Some(best) = fills.iter().map(&key).min() {
        fills.retain(|fill| key(fill) == best);
    }
}

pub(super) fn unused_millionths(allocatable: i64, used: i64) -> i64 {
    if allocatable <= 0 {
        return 0;
    }
    let free = i128::from(allocatable.saturating_sub(used).max(0));
    i64::try_from(free * 1_000_000 / i128::from(allocatable)).unwrap_or(0)
}

/// A number that depends on all three in no visible way (the finalizer of SplitMix64).
pub(super) fn mix(seed: u64, step: u64, offer: usize) -> u64 {
    let mut x = seed ^ step.rotate_left(32) ^ (offer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub(super) fn signed(count: usize) -> i128 {
    i128::try_from(count).unwrap_or(i128::MAX)
}
