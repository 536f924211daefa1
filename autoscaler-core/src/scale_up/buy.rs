//! Which node is bought next, and what it carries.
//!
//! The pods that wait are looked at as numbers of each size. Every offer that the first of them fits is filled in
//! numbers, the expander chain chooses between the fills, and what was chosen is bought as often as the numbers last;
//! only then are pods put on the nodes one by one, each where the rules allow it. Sizes are weighed by what a unit of each
//! resource is worth at the least price that the demand could have ([`bound`](super::bound)).

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    bound::{Bound, Market, bound},
    kinds::{fits, times},
    packing::{Packing, narrow},
};
use crate::{
    fit,
    snapshot::{Expander, GroupId},
};

/// Offers that differ in their group alone: each could take the same pods for the same price, as far as one node is
/// concerned.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Indices into the offers.
    offers: Vec<usize>,
    /// What a new node has free, by resource.
    free: Vec<i64>,
    /// The price of one node, in nano-units.
    price: i64,
    /// Looks that may use such a node, by look.
    usable: Vec<bool>,
    priority: i32,
    preferred: bool,
}

/// The offers that may be bought at all, by shape, in the order of their first offer.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    list: Vec<Shape>,
    /// By size, then look: whether some shape takes such a pod.
    servable: Vec<bool>,
    looks: usize,
    /// What is asked of every kind at every choice.
    rows: Vec<KindRow>,
}

/// What the numbers need of a kind, close together.
#[derive(Clone, Copy, Debug)]
struct KindRow {
    priority: i32,
    size: u32,
    look: u32,
    exclusive: Option<u32>,
    /// Whether some new node could take its pods, as far as the node alone decides.
    servable: bool,
}

/// What a choice between offers aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// What the expander chain says.
    Chain,
    /// As much as possible on every node, because the number of nodes is limited.
    Room,
    /// The least money for one node.
    Cheapest,
}

/// What one new node would carry.
#[derive(Clone, Debug)]
struct Fill {
    shape: usize,
    /// Sizes and how many of each, the seed among them.
    counts: Vec<(usize, usize)>,
    pods: usize,
    /// What it is worth.
    value: f64,
    /// Share of CPU and memory that stays unused, in millionths, summed.
    waste: i64,
    price: i64,
}

/// The pods of one priority that wait, in numbers.
struct Demand {
    /// How many pods of each size wait, for the pods of each look.
    counts: Vec<u32>,
    looks: usize,
    sizes: usize,
    /// How many pods of each exclusive set wait, and the size of its largest.
    exclusive: Vec<(usize, usize)>,
    /// What all of them request, and how many nodes the largest exclusive set needs.
    total: Vec<f64>,
}

/// At most so many fills are worked out for one choice; offers are tried in the order of what they could be worth.
const FILLS: usize = 8;

/// Of pods that need a node of their own, this part gets the same filling: the mix of what is left changes on the way.
const REPEATS: usize = 8;

/// At most so many exchanges improve one fill.
const EXCHANGES: usize = 4;

/// Prices per worth that differ less than this count as equal.
const EQUAL: f64 = 1.0 + 1e-9;

/// How far above its share of the demand a node may be filled while others must follow it.
const ABOVE_SHARE: f64 = 1.15;

// === impl Shapes ===

impl Shapes {
    pub(super) fn new(packing: &Packing<'_, '_>) -> Self {
        let snapshot = packing.snapshot;
        let mut known = BTreeMap::new();
        let mut list: Vec<Shape> = Vec::new();
        for (index, offer) in packing.offers.list.iter().enumerate() {
            let (None, Some(template)) = (&offer.refusal, &offer.template) else {
                continue;
            };
            let sizes = &packing.kinds.sizes;
            let free = sizes.free_of(template);
            let view = template.view(&template.daemons);
            let usable: Vec<bool> = packing
                .kinds
                .looks
                .iter()
                .map(|look| {
                    let class = snapshot.class(look.class);
                    offer.waits <= look.waited
                        && fit::static_misfit(class, &view, &snapshot.well_known, &snapshot.symbols).is_none()
                })
                .collect();
            let group = snapshot.group(offer.group);
            let preferred = group.preferred.as_ref() == Some(&offer.offering);
            let price = template.hourly_price.nanos();
            // A group that must grow anyway is a case of its own: its price depends on how many it has.
            let alone = packing.limits.below_minimum(offer.group).then_some(offer.group);
            let key = (free.clone(), price, usable.clone(), group.priority, preferred, alone);
            let next = list.len();
            let shape = *known.entry(key).or_insert(next);
            if shape == next {
                list.push(Shape {
                    offers: Vec::new(),
                    free,
                    price,
                    usable,
                    priority: group.priority,
                    preferred,
                });
            }
            if let Some(shape) = list.get_mut(shape) {
                shape.offers.push(index);
            }
        }
        let mut shapes = Self {
            list,
            servable: Vec::new(),
            looks: packing.kinds.looks.len(),
            rows: Vec::new(),
        };
        for size in 0..packing.kinds.sizes.len() {
            for look in 0..shapes.looks {
                let row = packing.kinds.sizes.of(size);
                let servable = shapes.list.iter().any(|shape| shape.takes(row, look));
                shapes.servable.push(servable);
            }
        }
        let row = |kind: &super::kinds::Kind| KindRow {
            priority: kind.priority,
            size: narrow(kind.size),
            look: narrow(kind.look),
            exclusive: kind.exclusive.map(narrow),
            servable: shapes.servable(kind.size, kind.look),
        };
        let rows = packing.kinds.list.iter().map(row).collect();
        shapes.rows = rows;
        shapes
    }

    /// What a unit of each resource is worth, and the least that a demand could cost: amounts of the resources, and nodes.
    fn bound(&self, total: &[f64]) -> Bound {
        let prices: Vec<f64> = self.list.iter().map(|shape| float(shape.price.max(0))).collect();
        let mut room = Vec::with_capacity(self.list.len() * total.len());
        for shape in &self.list {
            room.extend(shape.free.iter().map(|free| float((*free).max(0))));
            room.push(1.0);
        }
        bound(&Market {
            prices: &prices,
            room: &room,
            demand: total,
        })
    }

    /// The price of each shape, and its offers.
    pub(super) fn for_sale(&self) -> impl Iterator<Item = (i64, &[usize])> {
        self.list.iter().map(|shape| (shape.price, shape.offers.as_slice()))
    }

    /// Whether an empty node of some offer has room for a pod, as far as the node alone decides.
    fn servable(&self, size: usize, look: usize) -> bool {
        self.servable.get(size * self.looks + look).copied().unwrap_or(false)
    }
}

impl Shape {
    fn takes(&self, request: &[i64], look: usize) -> bool {
        self.usable.get(look).copied().unwrap_or(false) && fits(request, &self.free)
    }
}

// === impl Demand ===

impl Demand {
    fn new(packing: &Packing<'_, '_>, shapes: &Shapes, of_priority: Option<i32>) -> Self {
        let kinds = &packing.kinds;
        let (looks, sizes, width) = (kinds.looks.len(), kinds.sizes.len(), kinds.sizes.width());
        let mut demand = Self {
            counts: vec![0; looks * sizes],
            looks,
            sizes,
            exclusive: vec![(0, usize::MAX); kinds.exclusives],
            total: vec![0.0; width + 1],
        };
        let mut by_size = vec![0u32; sizes];
        for (row, count) in shapes.rows.iter().zip(packing.all_waiting()) {
            if *count == 0 || !row.servable || of_priority.is_some_and(|priority| priority != row.priority) {
                continue;
            }
            let (size, look) = (row.size as usize, row.look as usize);
            match row.exclusive.and_then(|set| demand.exclusive.get_mut(set as usize)) {
                Some(set) => {
                    set.0 += *count as usize;
                    // Kinds come the largest first.
                    if set.1 == usize::MAX {
                        set.1 = size;
                    }
                }
                None => {
                    if let Some(entry) = demand.counts.get_mut(look * sizes + size) {
                        *entry += count;
                    }
                }
            }
            if let Some(of_size) = by_size.get_mut(size) {
                *of_size += count;
            }
        }
        for (size, count) in by_size.into_iter().enumerate().filter(|(_, count)| *count != 0) {
            for (total, request) in demand.total.iter_mut().zip(kinds.sizes.of(size)) {
                *total += float(*request) * f64::from(count);
            }
        }
        let nodes = demand.exclusive.iter().map(|set| set.0).max().unwrap_or(0);
        if let Some(total) = demand.total.last_mut() {
            *total = float_of(nodes);
        }
        demand
    }

    /// How many pods of each size could be on a node of this shape with a pod of `seed`'s exclusive set.
    fn available(&self, shape: &Shape, seed: Option<usize>) -> Vec<u32> {
        let mut available = vec![0; self.sizes];
        for look in (0..self.looks).filter(|look| shape.usable.get(*look).copied().unwrap_or(false)) {
            let row = self
                .counts
                .get(look * self.sizes..(look + 1) * self.sizes)
                .unwrap_or(&[]);
            for (available, count) in available.iter_mut().zip(row) {
                *available += count;
            }
        }
        // One of each other exclusive set.
        for (set, (count, size)) in self.exclusive.iter().enumerate() {
            if *count != 0
                && Some(set) != seed
                && let Some(available) = available.get_mut(*size)
            {
                *available += 1;
            }
        }
        available
    }

    /// What a unit of each resource is worth to the choice: at the bound, or its share of the demand when nothing costs
    /// anything.
    fn worth(&self, shapes: &Shapes) -> Vec<f64> {
        let Bound { price, worth } = shapes.bound(&self.total);
        if 0.0 < price {
            return worth;
        }
        let share = |total: &f64| if 0.0 < *total { total.recip() } else { 0.0 };
        let mut worth: Vec<f64> = self.total.iter().map(share).collect();
        // The pod slot weighs little, so that it only counts for pods that request nothing else.
        for light in [2, worth.len() - 1] {
            if let Some(worth) = worth.get_mut(light) {
                *worth /= 1000.0;
            }
        }
        worth
    }
}

/// Worths that were solved for a demand, and what that was. They are good enough until the demand is another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Solved {
    total: Vec<f64>,
    worth: Vec<f64>,
    /// What a full node of every shape is worth.
    full: Vec<f64>,
}

/// A demand whose parts have shrunk less than this is the same one.
const SAME: f64 = 0.92;

impl Solved {
    fn is_for(&self, total: &[f64]) -> bool {
        let same = |(old, new): (&f64, &f64)| *new <= *old && old * SAME <= *new;
        self.total.len() == total.len() && self.total.iter().zip(total).all(same)
    }
}

impl Packing<'_, '_> {
    fn worth(&mut self, demand: &Demand, shapes: &Shapes) -> Vec<f64> {
        if !self.solved.is_for(&demand.total) {
            let worth = demand.worth(shapes);
            let full = |shape: &Shape| {
                let room = shape.free.iter().map(|free| float((*free).max(0)));
                value(&worth, room.chain([1.0]))
            };
            self.solved = Solved {
                total: demand.total.clone(),
                full: shapes.list.iter().map(full).collect(),
                worth,
            };
        }
        self.solved.worth.clone()
    }

    /// The least that nodes for all pods that wait could cost, in nano-units per hour.
    pub(super) fn least_price(&self, shapes: &Shapes) -> i64 {
        nanos(shapes.bound(&Demand::new(self, shapes, None).total).price)
    }

    /// The least that nodes for one pod of each of these kinds could cost, in nano-units per hour.
    pub(super) fn least_price_of(&self, kinds: impl Iterator<Item = usize>, shapes: &Shapes) -> i64 {
        let mut total = vec![0.0; self.kinds.sizes.width() + 1];
        for kind in kinds.filter_map(|kind| self.kinds.list.get(kind)) {
            for (total, request) in total.iter_mut().zip(self.kinds.sizes.of(kind.size)) {
                *total += float(*request);
            }
        }
        nanos(shapes.bound(&total).price)
    }

    /// What a unit of each resource is worth when nodes are bought for the pods of these kinds that wait.
    pub(super) fn worth_of(&self, kinds: impl Iterator<Item = usize>, shapes: &Shapes) -> Vec<f64> {
        let mut total = vec![0.0; self.kinds.sizes.width() + 1];
        for (kind, waiting) in kinds.filter_map(|kind| Some((self.kinds.list.get(kind)?, self.waiting(kind)))) {
            for (total, request) in total.iter_mut().zip(self.kinds.sizes.of(kind.size)) {
                *total += float(*request) * float_of(waiting);
            }
        }
        shapes.bound(&total).worth
    }

    /// Whether the limits are all that keeps a pod of this kind from a new node, as far as the node alone decides.
    pub(super) fn is_limited(&self, shapes: &Shapes, kind: usize) -> bool {
        let Some(entry) = self.kinds.list.get(kind) else {
            return false;
        };
        let request = self.kinds.sizes.of(entry.size);
        let mut shapes = shapes.list.iter().filter(|shape| shape.takes(request, entry.look));
        shapes.any(|shape| shape.offers.iter().any(|offer| !self.may_grow(*offer)))
    }

    /// Whether a node could be bought for a pod of this kind, as far as the node alone decides.
    pub(super) fn may_buy(&self, shapes: &Shapes, kind: usize) -> bool {
        let Some(entry) = self.kinds.list.get(kind) else {
            return false;
        };
        let request = self.kinds.sizes.of(entry.size);
        let mut shapes = shapes.list.iter().filter(|shape| shape.takes(request, entry.look));
        shapes.any(|shape| shape.offers.iter().any(|offer| self.may_grow(*offer)))
    }

    /// Buys nodes for pods of this kind, filled with whatever else fits, until what was chosen can no longer be repeated.
    /// Says whether a pod of the kind found a place.
    pub(super) fn buy(&mut self, shapes: &Shapes, kind: usize, aim: Aim) -> bool {
        let Some((priority, exclusive)) = self.kinds.list.get(kind).map(|entry| (entry.priority, entry.exclusive))
        else {
            return false;
        };
        if !self.may_buy(shapes, kind) {
            return false;
        }
        self.refresh();
        let demand = Demand::new(self, shapes, (!self.mixes).then_some(priority));
        let worth = self.worth(&demand, shapes);
        let by_worth = self.by_worth(&worth);
        let repeats = (self.waiting(kind) / REPEATS).max(1);
        let mut refused = vec![false; shapes.list.len()];
        loop {
            let Some(fill) = self.best_fill(shapes, &demand, &worth, kind, aim, &refused) else {
                return false;
            };
            let Some(shape) = shapes.list.get(fill.shape) else {
                return false;
            };
            let mut bought = 0;
            let mut left = demand.available(shape, exclusive);
            while let Some(spot) = self.open_for(shape, kind) {
                bought += 1;
                self.carry(spot, &fill, &by_worth, kind, shape);
                for (size, count) in &fill.counts {
                    if let Some(left) = left.get_mut(*size) {
                        *left = left.saturating_sub(narrow(*count));
                    }
                }
                let again = fill.counts.iter().all(|(size, count)| {
                    let own = self.kinds.list.get(kind).is_some_and(|entry| entry.size == *size);
                    // Pods of an exclusive set are not among the numbers.
                    let needed = if own && exclusive.is_some() { count - 1 } else { *count };
                    left.get(*size).is_some_and(|left| needed <= *left as usize)
                });
                // A pod that regains room may fit what there is now.
                let enough = exclusive.is_some() && repeats <= bought;
                if self.waiting(kind) == 0 || !again || enough || self.regains(kind) {
                    break;
                }
            }
            if 0 < bought {
                return true;
            }
            if let Some(refused) = refused.get_mut(fill.shape) {
                *refused = true;
            }
        }
    }

    /// Opens a node of the shape that the next pod of the kind fits, in the group that has the fewest when the kinds that
    /// wait are to be spread, else in the first one.
    fn open_for(&mut self, shape: &Shape, kind: usize) -> Option<usize> {
        let mut offers: Vec<usize> = shape
            .offers
            .iter()
            .copied()
            .filter(|offer| self.may_grow(*offer))
            .collect();
        if 1 < offers.len() && self.balance {
            offers.sort_by_key(|offer| self.group_of(*offer).map(|group| self.limits.size(group)));
        }
        for offer in offers {
            let mark = self.mark();
            let spot = self.open(offer)?;
            let (class, bin) = (self.class(kind), self.spots.get(spot)?.bin);
            if self.world.misfit(class, bin).is_none() {
                return Some(spot);
            }
            self.rollback(mark);
        }
        None
    }

    /// Puts on a new node what it was bought for, and then whatever else still fits.
    fn carry(&mut self, spot: usize, fill: &Fill, by_worth: &[usize], seed: usize, shape: &Shape) {
        let Some((priority, seed_size)) = self.kinds.list.get(seed).map(|entry| (entry.priority, entry.size)) else {
            return;
        };
        self.place(seed, spot);
        if self.first.get(seed) == Some(&true) || self.kinds.list.get(seed).is_some_and(|kind| kind.together) {
            // Other pods would leave these without a place.
            self.put_if_fitting(seed, spot, usize::MAX, shape);
        }
        for (size, count) in &fill.counts {
            let mut count = count.saturating_sub(usize::from(*size == seed_size));
            if *size == seed_size {
                count -= self.put_if_fitting(seed, spot, count, shape);
            }
            self.put_size(*size, spot, count, priority, shape);
        }
        for size in by_worth {
            if self.has_room(spot, *size) {
                self.put_size(*size, spot, usize::MAX, priority, shape);
            }
        }
    }

    /// Puts up to `most` pods of a size on a spot.
    fn put_size(&mut self, size: usize, spot: usize, mut most: usize, priority: i32, shape: &Shape) {
        let Some(kinds) = self.of_size.get_mut(size) else {
            return;
        };
        let mut kinds = std::mem::take(kinds);
        let mut done = 0;
        for kind in &kinds {
            if most == 0 || !self.has_room(spot, size) {
                break;
            }
            let kind = *kind as usize;
            if self.waiting(kind) == 0 {
                done += 1;
            } else if self.mixes
                || self
                    .kinds
                    .list
                    .get(kind)
                    .is_some_and(|entry| entry.priority == priority)
            {
                most -= self.put_if_fitting(kind, spot, most, shape);
            }
        }
        if kinds.len() < 2 * done {
            kinds.retain(|kind| self.waiting(*kind as usize) != 0);
        }
        if let Some(place) = self.of_size.get_mut(size) {
            *place = kinds;
        }
    }

    fn put_if_fitting(&mut self, kind: usize, spot: usize, most: usize, shape: &Shape) -> usize {
        let Some(entry) = self.kinds.list.get(kind) else {
            return 0;
        };
        let (class, tied, ties, size) = (entry.class, entry.tied, entry.ties, entry.size);
        if most == 0
            || !shape.usable.get(entry.look).copied().unwrap_or(false)
            || (tied && self.was_refused(ties, spot))
        {
            return 0;
        }
        let count = self.put(kind, class, tied, spot, most);
        if tied && count < most && self.waiting(kind) != 0 && self.has_room(spot, size) {
            self.refuse(ties, spot);
        }
        count
    }

    fn best_fill(
        &mut self,
        shapes: &Shapes,
        demand: &Demand,
        worth: &[f64],
        kind: usize,
        aim: Aim,
        refused: &[bool],
    ) -> Option<Fill> {
        self.tries += 1;
        let entry = self.kinds.list.get(kind)?;
        let (request, exclusive) = (self.kinds.sizes.of(entry.size), entry.exclusive);
        let mut candidates: Vec<(usize, f64, f64)> = Vec::new();
        let everything: f64 = value(worth, demand.total.iter().copied());
        for (index, shape) in shapes.list.iter().enumerate() {
            if refused.get(index) == Some(&true)
                || !shape.takes(request, entry.look)
                || !shape.offers.iter().any(|offer| self.may_grow(*offer))
            {
                continue;
            }
            let most = self.solved.full.get(index).copied().unwrap_or(0.0);
            let price = float(self.price_of(shape));
            candidates.push((index, price / most.min(everything).max(f64::MIN_POSITIVE), most));
        }
        if entry.together {
            // All of them must share a node: as many as possible go on this one.
            let waiting = entry.waiting.len();
            let holds = |index: usize| {
                shapes
                    .list
                    .get(index)
                    .map_or(0, |shape| times(request, &shape.free))
                    .min(waiting)
            };
            let most = candidates.iter().map(|candidate| holds(candidate.0)).max();
            candidates.retain(|candidate| Some(holds(candidate.0)) == most);
        }
        if let Some(set) = exclusive.and_then(|set| demand.exclusive.get(set)) {
            // Others must have a node too: what is left is shared among them.
            let share = everything / float_of(set.0.max(1)) * ABOVE_SHARE;
            let smallest = candidates
                .iter()
                .map(|candidate| candidate.2)
                .fold(f64::INFINITY, f64::min);
            if set.0 != 1 {
                candidates.retain(|candidate| candidate.2 <= share.max(smallest * EQUAL));
            }
        }
        candidates.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        let expanders = &self.snapshot.settings.expanders;
        let by_price = aim == Aim::Chain && expanders.first() == Some(&Expander::Price);
        let mut fills: Vec<Fill> = Vec::new();
        let mut best = f64::INFINITY;
        for (index, at_least, _) in candidates {
            if by_price && (best * EQUAL < at_least || FILLS <= fills.len()) {
                break;
            }
            let Some(shape) = shapes.list.get(index) else { continue };
            let mut available = demand.available(shape, exclusive);
            let fill = self.fill(index, shape, worth, kind, &mut available);
            best = best.min(fill.cost());
            fills.push(fill);
        }
        self.choose(fills, shapes, aim)
    }

    /// Fills an empty new node in numbers: with the size that goes best with what is free, until none fits, and then
    /// exchanges sizes while that adds worth.
    #[expect(clippy::indexing_slicing, reason = "sizes are counted from the list")]
    fn fill(&self, index: usize, shape: &Shape, worth: &[f64], kind: usize, available: &mut [u32]) -> Fill {
        let sizes = &self.kinds.sizes;
        let entry = &self.kinds.list[kind];
        let seed = entry.size;
        let mut free = shape.free.clone();
        let mut counts = vec![0usize; sizes.len()];
        let take = |size: usize, count: usize, free: &mut [i64]| {
            for (free, request) in free.iter_mut().zip(sizes.of(size)) {
                *free -= request * i64::try_from(count).unwrap_or(i64::MAX);
            }
        };
        take(seed, 1, &mut free);
        counts[seed] = 1;
        if entry.exclusive.is_none() {
            available[seed] = available[seed].saturating_sub(1);
        }
        let of_size: Vec<f64> = (0..sizes.len())
            .map(|size| value(worth, sizes.of(size).iter().map(|request| float(*request))))
            .collect();
        let candidates: Vec<usize> = (0..sizes.len()).filter(|size| available[*size] != 0).collect();
        loop {
            // How much of each resource is left decides how much a unit of it counts now.
            let scale: Vec<f64> = worth
                .iter()
                .zip(&free)
                .zip(&shape.free)
                .map(|((worth, free), all)| worth * float(*free) / float((*all).max(1)))
                .collect();
            let best = candidates
                .iter()
                .copied()
                .filter(|size| available[*size] != 0 && fits(sizes.of(*size), &free))
                .map(|size| {
                    let along = value(&scale, sizes.of(size).iter().map(|request| float(*request)));
                    (size, along)
                })
                .min_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let Some((size, _)) = best else { break };
            let most = times(sizes.of(size), &free).min(available[size] as usize);
            // Many at once on a big node; the last ones one by one, so that the mix stays even.
            let count = if candidates.len() == 1 { most } else { (most / 8).max(1) };
            take(size, count, &mut free);
            counts[size] += count;
            available[size] -= narrow(count);
        }
        exchange(sizes, &of_size, &candidates, &mut free, &mut counts, available, seed);
        let pods = counts.iter().sum();
        let mut worthwhile: f64 = counts
            .iter()
            .zip(&of_size)
            .map(|(count, of)| float_of(*count) * of)
            .sum();
        if entry.exclusive.is_some() {
            worthwhile += worth.last().copied().unwrap_or(0.0);
        }
        let counts: Vec<(usize, usize)> = counts
            .into_iter()
            .enumerate()
            .filter(|(_, count)| *count != 0)
            .collect();
        let unused = |column: usize| unused_millionths(shape.free.get(column), free.get(column));
        Fill {
            shape: index,
            counts,
            pods,
            value: worthwhile,
            waste: unused(0) + unused(1),
            price: self.price_of(shape),
        }
    }

    /// The expander chain: each criterion keeps its best; ties go to the preferred offering, then to the first one.
    fn choose(&self, mut fills: Vec<Fill>, shapes: &Shapes, aim: Aim) -> Option<Fill> {
        match aim {
            Aim::Chain => {}
            Aim::Room => keep_most_value(&mut fills),
            Aim::Cheapest => keep_best(&mut fills, |fill| fill.price),
        }
        let shape = |fill: &Fill| shapes.list.get(fill.shape);
        for expander in &self.snapshot.settings.expanders {
            match expander {
                Expander::Price => {
                    let best = fills.iter().map(Fill::cost).fold(f64::INFINITY, f64::min);
                    fills.retain(|fill| fill.cost() <= best * EQUAL);
                }
                Expander::LeastWaste => keep_best(&mut fills, |fill| fill.waste),
                Expander::Priority => keep_best(&mut fills, |fill| Reverse(shape(fill).map(|shape| shape.priority))),
                Expander::LeastNodes => keep_most_value(&mut fills),
                Expander::MostPods => keep_best(&mut fills, |fill| Reverse(fill.pods)),
                Expander::Random => {
                    let seed = self.snapshot.settings.seed;
                    keep_best(&mut fills, |fill| mix(seed, self.tries, fill.shape));
                }
            }
        }
        let preferred = |fill: &Fill| shape(fill).is_some_and(|shape| shape.preferred);
        if fills.iter().any(preferred) {
            fills.retain(preferred);
        }
        fills.into_iter().min_by_key(|fill| fill.shape)
    }

    /// Whether the limits allow one more node of an offer.
    pub(super) fn may_grow(&self, offer: usize) -> bool {
        self.group_of(offer).is_some_and(|group| self.limits.has_room(group))
    }

    pub(super) fn group_of(&self, offer: usize) -> Option<GroupId> {
        self.offers.list.get(offer).map(|offer| offer.group)
    }

    /// What one node more costs. A group that must grow to its minimum anyway costs only what the offer costs more than
    /// its cheapest one.
    fn price_of(&self, shape: &Shape) -> i64 {
        let below = shape
            .offers
            .first()
            .and_then(|offer| self.group_of(*offer))
            .filter(|group| self.limits.below_minimum(*group));
        let cheapest = below.and_then(|group| self.offers.cheapest(group)).unwrap_or(0);
        shape.price.saturating_sub(cheapest)
    }

    /// Sizes, the most worth first.
    fn by_worth(&self, worth: &[f64]) -> Vec<usize> {
        let sizes = &self.kinds.sizes;
        let of_size = |size: usize| -> f64 { value(worth, sizes.of(size).iter().map(|request| float(*request))) };
        let mut order: Vec<(usize, f64)> = (0..sizes.len())
            .filter(|size| self.of_size.get(*size).is_some_and(|kinds| !kinds.is_empty()))
            .map(|size| (size, of_size(size)))
            .collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.into_iter().map(|entry| entry.0).collect()
    }
}

/// Puts one pod of a larger size in the place of a smaller one while some exchange fits.
#[expect(clippy::indexing_slicing, reason = "sizes are counted from the list")]
fn exchange(
    sizes: &super::kinds::Sizes,
    of_size: &[f64],
    candidates: &[usize],
    free: &mut [i64],
    counts: &mut [usize],
    available: &mut [u32],
    seed: usize,
) {
    for _ in 0..EXCHANGES {
        let mut best: Option<(f64, usize, usize)> = None;
        for out in candidates.iter().copied() {
            if counts[out] <= usize::from(out == seed) {
                continue;
            }
            for into in candidates.iter().copied().filter(|into| available[*into] != 0) {
                let gain = of_size[into] - of_size[out];
                let fits = || {
                    let rows = sizes.of(into).iter().zip(sizes.of(out)).zip(free.iter());
                    rows.into_iter()
                        .all(|((into, out), free)| *into == 0 || *into <= *free + *out)
                };
                if best.is_none_or(|(most, ..)| most * EQUAL < gain) && 0.0 < gain && fits() {
                    best = Some((gain, out, into));
                }
            }
        }
        let Some((_, out, into)) = best else { return };
        for ((free, out), into) in free.iter_mut().zip(sizes.of(out)).zip(sizes.of(into)) {
            *free += *out - *into;
        }
        counts[out] -= 1;
        available[out] += 1;
        counts[into] += 1;
        available[into] -= 1;
    }
}

impl Fill {
    /// Price per worth carried.
    fn cost(&self) -> f64 {
        float(self.price) / self.value.max(f64::MIN_POSITIVE)
    }
}

fn keep_best<K: Ord>(fills: &mut Vec<Fill>, key: impl Fn(&Fill) -> K) {
    if let Some(best) = fills.iter().map(&key).min() {
        fills.retain(|fill| key(fill) == best);
    }
}

fn keep_most_value(fills: &mut Vec<Fill>) {
    let most = fills.iter().map(|fill| fill.value).fold(0.0, f64::max);
    fills.retain(|fill| most <= fill.value * EQUAL);
}

fn value(worth: &[f64], amounts: impl Iterator<Item = f64>) -> f64 {
    worth.iter().zip(amounts).map(|(worth, amount)| worth * amount).sum()
}

/// What is to be paid at least for amounts of the resources, in nano-units, of what a unit of each is worth.
pub(super) fn price_of(worth: &[f64], amounts: &[i64]) -> i64 {
    nanos(value(worth, amounts.iter().map(|amount| float((*amount).max(0)))))
}

fn unused_millionths(all: Option<&i64>, free: Option<&i64>) -> i64 {
    let (all, free) = (all.copied().unwrap_or(0), free.copied().unwrap_or(0).max(0));
    if all <= 0 {
        return 0;
    }
    i64::try_from(i128::from(free) * 1_000_000 / i128::from(all)).unwrap_or(0)
}

/// A number that depends on all three in no visible way (the finalizer of SplitMix64).
fn mix(seed: u64, step: u64, offer: usize) -> u64 {
    let mut x = seed ^ step.rotate_left(32) ^ (offer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// An amount as it is weighed. Amounts beyond 2^53 lose their last digits, which decide nothing.
#[expect(clippy::cast_precision_loss, reason = "weights need no exact numbers")]
fn float(amount: i64) -> f64 {
    amount as f64
}

/// A price as an integer, rounded down: a bound stays one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the conversion saturates, which a price in nano-units never needs"
)]
fn nanos(price: f64) -> i64 {
    price as i64
}

#[expect(clippy::cast_precision_loss, reason = "weights need no exact numbers")]
fn float_of(count: usize) -> f64 {
    count as f64
}
