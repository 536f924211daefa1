//! A search among all ways to place few pods, by branch and bound: what first fit and its repairs leave, and pay too much
//! for, in a plan of few pods is mostly a matter of who goes first.
//!
//! A few pods are taken off their nodes and placed anew, with those that wait. The work is bounded by counted steps, so
//! that it is the same everywhere; when they are used up, the best so far is taken. Only what is better is: more pods with
//! a place, those of high priority first, then a lower price. Which pods are placed anew is decided here too; nothing else
//! belongs here.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    buy::{Shapes, price_of},
    packing::{Packing, StandsFor, narrow},
};
use crate::{snapshot::Expander, world::BinId};

/// So many pods at most are placed anew at a time.
const PODS: usize = 16;

/// So many nodes at most that are there anyway are looked at.
const SPOTS: usize = 24;

/// So many steps at most are made for one set of pods, or for all pods that are left, one after the other.
const STEPS: usize = 10_000;

/// So many steps at most are made for a lower price where there are more pods than that, for all nodes together.
const NEARBY: usize = 4_000;

/// With more kinds of pods nothing is looked for.
const MANY_KINDS: usize = 64;

/// With more offers nothing is looked for, unless pods are left.
const MANY_OFFERS: usize = 64;

/// With more nodes, pods are not placed anew node by node.
const MANY_SPOTS: usize = 64;

/// What it costs in steps to begin with a set of pods.
const BEGIN: usize = 16;

impl Packing<'_, '_> {
    /// Whether pods that are left may be placed by [`Self::search`] yet.
    pub(super) fn is_searched(&self) -> bool {
        self.kinds.list.len() <= MANY_KINDS && self.spots.len() <= MANY_SPOTS
    }

    /// Looks for a better packing. Of the one that there is all pods can be bound, and so it is with what comes of it.
    pub(super) fn search(&mut self, shapes: &Shapes, now: Timestamp) {
        let many_offers = MANY_OFFERS < self.offers.list.len() && !self.has_pods_left();
        if many_offers || MANY_KINDS < self.kinds.list.len() {
            return;
        }
        let planned: Vec<usize> = self.planned_spots().collect();
        if PODS < self.pods_on(&planned) {
            if self.spots.len() <= MANY_SPOTS {
                self.search_nearby(shapes, now);
            }
            return;
        }
        let mut steps = STEPS;
        self.place_anew(&planned, Extra::All, shapes, now, &mut steps);
        if self.has_pods_left() {
            let all: Vec<usize> = (0..self.spots.len()).collect();
            let mut steps = STEPS;
            self.place_anew(&all, Extra::All, shapes, now, &mut steps);
        }
    }

    /// Places each sort of pod that is left together with the pods of one node after the other, and then, for a lower
    /// price, the pods of each planned node.
    fn search_nearby(&mut self, shapes: &Shapes, now: Timestamp) {
        let mut steps = STEPS;
        for kind in 0..self.kinds.list.len() {
            // Round and round, until no node has helped for a whole round.
            let (mut spot, mut in_vain) = (0, 0);
            while in_vain < self.spots.len() && self.waiting(kind) != 0 && steps != 0 {
                let better = self.place_anew(&[spot], Extra::OneOf(kind), shapes, now, &mut steps);
                in_vain = if better { 0 } else { in_vain + 1 };
                spot = if spot + 1 < self.spots.len() { spot + 1 } else { 0 };
            }
        }
        let mut steps = NEARBY;
        let mut spot = 0;
        while spot < self.spots.len() && steps != 0 {
            if self.planned(spot).is_some() {
                self.place_anew(&[spot], Extra::None, shapes, now, &mut steps);
            }
            spot += 1;
        }
    }

    /// How many pods of the packing are on these spots.
    fn pods_on(&self, spots: &[usize]) -> usize {
        let open = spots
            .iter()
            .filter_map(|spot| self.spots.get(*spot))
            .filter(|spot| spot.open);
        open.map(|spot| spot.pods.len()).sum()
    }

    fn has_pods_left(&self) -> bool {
        self.all_waiting().iter().any(|count| *count != 0)
    }

    /// Places the pods of these nodes anew, with some that wait, if they are few. Says whether that is better.
    fn place_anew(
        &mut self,
        spots: &[usize],
        extra: Extra,
        shapes: &Shapes,
        now: Timestamp,
        steps: &mut usize,
    ) -> bool {
        let pods = self.pods_on(spots);
        let trades = self.snapshot.settings.expanders.first() == Some(&Expander::Price);
        let best = Cost {
            left: self.left(),
            price: self.planned_price(),
        };
        let none_left = extra == Extra::None || !self.has_pods_left();
        if *steps == 0 || PODS < pods || (none_left && (!trades || pods == 0 || best.price == 0)) {
            return false;
        }
        *steps = steps.saturating_sub(BEGIN);
        let start = self.mark();
        let bound = self.bound.clone();
        let left = self.all_waiting().to_vec();
        self.drop_empty(0);
        for spot in spots.iter().copied() {
            self.empty(spot);
        }
        let task = Task {
            best,
            trades,
            now,
            steps: *steps,
        };
        let mut found = None;
        if let Some(mut search) = Search::new(self, shapes, task, |kind| extra.of(kind, &left)) {
            search.place_tangled();
            *steps = search.steps;
            found = search.found;
        }
        let better = found.is_some();
        match found {
            Some(moves) => self.carry_out(&moves, now),
            None => {
                self.rollback(start);
                self.bound = bound;
            }
        }
        better
    }

    /// Takes all pods off a node, and leaves it out if it is a planned one.
    fn empty(&mut self, spot: usize) {
        if self.spots.get(spot).is_none_or(|spot| !spot.open) {
            return;
        }
        while let Some(last) = self.spots.get(spot).and_then(|spot| spot.pods.len().checked_sub(1)) {
            self.take(spot, last);
        }
        self.close(spot);
    }

    fn carry_out(&mut self, moves: &[Move], now: Timestamp) {
        for step in moves {
            match *step {
                Move::Open(offer) => {
                    self.open(offer);
                }
                Move::Place(kind, spot) => self.place(kind, spot),
            }
        }
        self.is_sound(now);
    }

    /// Adds what groups want beside pods, and says whether all can be bound and no pod group is cut in two.
    fn is_sound(&mut self, now: Timestamp) -> bool {
        self.top_up(now);
        self.unbindable().is_empty() && self.existing_may_come_first() && self.incomplete_group().is_none()
    }
}

/// Which pods that were left are placed with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    None,
    /// One of this kind.
    OneOf(usize),
    All,
}

impl Extra {
    /// How many pods of a kind are not to be placed, of those that were left.
    fn of(self, kind: usize, left: &[u32]) -> usize {
        let left = left.get(kind).map_or(0, |left| *left as usize);
        match self {
            Self::All => 0,
            Self::OneOf(one) if one == kind => left.saturating_sub(1),
            Self::OneOf(_) | Self::None => left,
        }
    }
}

/// A step of a packing.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// One node more, of this offer.
    Open(usize),
    /// A pod of this kind goes to this spot.
    Place(usize, usize),
}

/// What is to be as low as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cost {
    /// How many pods have no place, by priority, the highest first.
    left: Vec<usize>,
    price: i64,
}

/// What is for sale.
#[derive(Clone, Copy, Debug)]
struct ForSale {
    offer: usize,
    price: i64,
    /// What tells new nodes apart as far as the node alone decides.
    shape: usize,
}

/// What a search is for.
struct Task {
    /// What is to be outdone.
    best: Cost,
    /// Whether a lower price is better.
    trades: bool,
    now: Timestamp,
    /// How many steps may be made.
    steps: usize,
}

/// Pods to place, of one kind.
#[derive(Clone, Copy, Debug)]
struct ToPlace {
    kind: usize,
    /// The place of their priority among all, the highest first.
    level: usize,
    /// How many of those that wait are not to be placed.
    spare: usize,
}

struct Search<'p, 'w, 's> {
    packing: &'p mut Packing<'w, 's>,
    now: Timestamp,
    /// Whether a lower price is better.
    trades: bool,
    /// Those come first whose pods find their place in any order, as it matters who comes first; the others follow kind by
    /// kind.
    kinds: Vec<ToPlace>,
    /// How many of the kinds are of the first sort.
    tangled: usize,
    /// Nodes that are there anyway and may have room.
    spots: Vec<usize>,
    /// New nodes have numbers from here on.
    first_new: usize,
    offers: Vec<ForSale>,
    /// Whether new nodes of one shape are alike for all these pods.
    alike: bool,
    /// What a unit of each resource costs at least.
    worth: Vec<f64>,
    /// Price of the packing under way.
    price: i64,
    moves: Vec<Move>,
    visited: BTreeSet<Vec<u32>>,
    /// How many pods get no place whatever is done, by priority.
    hopeless: Vec<usize>,
    best: Cost,
    found: Option<Vec<Move>>,
    /// How many steps may still be made.
    steps: usize,
}

// === impl Cost ===

impl Cost {
    fn is_below(&self, other: &Self, trades: bool) -> bool {
        self.left < other.left || (trades && self.left == other.left && self.price < other.price)
    }
}

// === impl Search ===

impl<'p, 'w, 's> Search<'p, 'w, 's> {
    /// For the pods that wait, except so many of each kind as `spare` says; `None` when they are too many, or nothing can be
    /// better.
    fn new(
        packing: &'p mut Packing<'w, 's>,
        shapes: &Shapes,
        task: Task,
        spare: impl Fn(usize) -> usize,
    ) -> Option<Self> {
        let Task {
            best,
            trades,
            now,
            steps,
        } = task;
        let first_new = packing.spots.len();
        let mut priorities: Vec<i32> = packing.kinds.list.iter().map(|kind| kind.priority).collect();
        priorities.dedup();
        let mut hopeless = vec![0; priorities.len()];
        let waiting: Vec<(usize, usize)> = (0..packing.kinds.list.len())
            .map(|kind| (kind, spare(kind)))
            .filter(|(kind, _)| packing.waiting(*kind) != 0)
            .collect();
        let placed = || {
            waiting
                .iter()
                .filter(|(kind, spare)| *spare < packing.waiting(*kind))
                .map(|(kind, _)| *kind)
        };
        let size = |kind: usize| packing.kinds.list.get(kind).map_or(0, |kind| kind.size);
        let has_room = |spot: &usize| placed().any(|kind| packing.has_room(*spot, size(kind)));
        let spots: Vec<usize> = (0..first_new).filter(has_room).take(SPOTS).collect();
        let order_matters = placed().any(|kind| packing.regains(kind));
        let (mut kinds, mut plain, mut pods) = (Vec::new(), Vec::new(), 0);
        for (kind, spare) in waiting.iter().copied() {
            let class = packing.class(kind);
            let priority = packing.kinds.list.get(kind).map(|kind| kind.priority);
            let level = priorities.iter().position(|other| Some(*other) == priority)?;
            let bins = spots
                .iter()
                .filter_map(|spot| packing.spots.get(*spot))
                .map(|spot| spot.bin);
            let may_take = |bin| {
                packing
                    .world
                    .misfit(class, bin)
                    .is_none_or(|misfit| !misfit.is_lasting())
            };
            let count = packing.waiting(kind).saturating_sub(spare);
            if count == 0 || (!packing.may_buy(shapes, kind) && !bins.into_iter().any(may_take)) {
                *hopeless.get_mut(level)? += count + spare;
                continue;
            }
            pods += count;
            *hopeless.get_mut(level)? += spare;
            if order_matters && packing.world.is_constrained(class) {
                kinds.push(ToPlace { kind, level, spare });
            } else {
                plain.push(ToPlace { kind, level, spare });
            }
        }
        let at_best = Cost {
            left: hopeless.clone(),
            price: i64::MIN,
        };
        if pods == 0 || PODS < pods || !at_best.is_below(&best, trades) {
            return None;
        }
        let tangled = kinds.len();
        kinds.extend(plain);
        let is_tied = |entry: &ToPlace| packing.kinds.list.get(entry.kind).is_some_and(|kind| kind.tied);
        let alike = !kinds.iter().any(is_tied);
        let mut offers: Vec<ForSale> = Vec::new();
        for (shape, (price, of_shape)) in shapes.for_sale().enumerate() {
            offers.extend(of_shape.iter().map(|offer| ForSale {
                offer: *offer,
                price,
                shape,
            }));
        }
        offers.sort_by_key(|offer| (offer.price, offer.offer));
        let worth = packing.worth_of(kinds.iter().map(|entry| entry.kind), shapes);
        let price = packing.planned_price();
        Some(Self {
            packing,
            now,
            trades,
            kinds,
            tangled,
            spots,
            first_new,
            offers,
            alike,
            worth,
            price,
            moves: Vec::new(),
            visited: BTreeSet::new(),
            hopeless,
            best,
            found: None,
            steps,
        })
    }

    /// Places any of the pods whose order matters, or goes on to the others.
    fn place_tangled(&mut self) {
        if !self.may_improve(0) || (self.tangled != 0 && !self.visited.insert(self.state())) {
            return;
        }
        for index in 0..self.tangled {
            let Some(entry) = self.kinds.get(index).copied() else {
                return;
            };
            if self.waiting(entry) != 0 {
                self.place_one(entry.kind, (0, 0), &mut |search, _| search.place_tangled());
            }
        }
        self.place_plain(self.tangled, (0, 0));
    }

    /// Places pods of the other kinds, those of one kind on spots in their order and then on new nodes in the order of
    /// offers.
    fn place_plain(&mut self, index: usize, from: (usize, usize)) {
        if !self.may_improve(index) {
            return;
        }
        let Some(entry) = self.kinds.get(index).copied() else {
            return self.finish();
        };
        if self.waiting(entry) != 0 {
            self.place_one(entry.kind, from, &mut |search, from| search.place_plain(index, from));
        }
        self.place_plain(index + 1, (0, 0));
    }

    /// Tries one pod of a kind everywhere, from a spot and an offer on, and goes on from each.
    fn place_one(&mut self, kind: usize, from: (usize, usize), go_on: &mut dyn FnMut(&mut Self, (usize, usize))) {
        let Some((class, size, look)) =
            (self.packing.kinds.list.get(kind)).map(|kind| (kind.class, kind.size, kind.look))
        else {
            return;
        };
        let (from_spot, from_offer) = from;
        let new = self.first_new..self.packing.spots.len();
        let spots: Vec<usize> = self.spots.iter().copied().chain(new).collect();
        for (at, spot) in spots.iter().copied().enumerate().skip(from_spot) {
            if !self.packing.has_room(spot, size) || self.has_twin(spot, spots.get(from_spot..at)) {
                continue;
            }
            self.spend(1);
            let bin = self.packing.spots.get(spot).map(|spot| spot.bin);
            if bin.is_some_and(|bin| self.packing.world.misfit(class, bin).is_none()) {
                let mark = self.packing.mark();
                self.packing.place(kind, spot);
                self.moves.push(Move::Place(kind, spot));
                go_on(self, (at, from_offer));
                self.moves.pop();
                self.packing.rollback(mark);
            }
        }
        let waited = self.packing.kinds.looks.get(look).map_or(0, |look| look.waited);
        let mut tried: Vec<usize> = Vec::new();
        for index in from_offer..self.offers.len() {
            let Some(ForSale { offer, price, shape }) = self.offers.get(index).copied() else {
                return;
            };
            let waits = self.packing.offers.list.get(offer).map(|offer| offer.waits);
            let bought = self.packing.may_grow(offer) && waits.is_some_and(|waits| waits <= waited);
            if !bought || (self.alike && tried.contains(&shape)) {
                continue;
            }
            tried.push(shape);
            if self.is_used_up() {
                return;
            }
            let mark = self.packing.mark();
            let Some(spot) = self.packing.open(offer) else { continue };
            let bin = self.packing.spots.get(spot).map(|spot| spot.bin);
            if bin.is_some_and(|bin| self.packing.world.misfit(class, bin).is_none()) {
                let before = self.price;
                self.price = before.saturating_add(price);
                self.packing.place(kind, spot);
                self.moves.extend([Move::Open(offer), Move::Place(kind, spot)]);
                go_on(self, (spots.len(), index));
                self.moves.truncate(self.moves.len().saturating_sub(2));
                self.price = before;
            }
            self.packing.rollback(mark);
        }
    }

    /// Whether one of these spots is a new node that looks like this one, so that a pod may as well go there.
    fn has_twin(&self, spot: usize, others: Option<&[usize]>) -> bool {
        if spot < self.first_new {
            return false;
        }
        let look = self.look(spot);
        let mut new = others
            .unwrap_or_default()
            .iter()
            .filter(|other| self.first_new <= **other);
        new.any(|other| self.look(*other) == look)
    }

    /// What a spot is and carries: new nodes of one offer are alike.
    fn look(&self, spot: usize) -> Vec<u32> {
        let pods = self.packing.spots.get(spot).map_or(&[][..], |spot| &spot.pods);
        let mut look: Vec<u32> = pods.iter().map(|pod| pod.kind).collect();
        look.sort_unstable();
        let offer = self.packing.planned(spot).map(|planned| planned.0);
        let name = offer
            .filter(|_| self.first_new <= spot)
            .map(|offer| self.first_new + offer);
        look.push(u32::MAX);
        look.push(narrow(name.unwrap_or(spot)));
        look
    }

    /// Every pod has a place or is given up: takes note of it if that is better, and can be.
    fn finish(&mut self) {
        let mark = self.packing.mark();
        let sound = self.packing.is_sound(self.now);
        self.spend(1 + self.packing.bound.len());
        let cost = Cost {
            left: self.left(self.kinds.len()),
            price: self.packing.planned_price(),
        };
        let sound = sound && self.uses_what_there_is();
        self.packing.rollback(mark);
        if sound && cost.is_below(&self.best, self.trades) {
            self.best = cost;
            self.found = Some(self.moves.clone());
        }
    }

    /// Whether no pod on a new node, and none of those that are left, fits a node that is there: the scheduler would put it
    /// there now.
    fn uses_what_there_is(&mut self) -> bool {
        let new = self.packing.spots.get(self.first_new..).unwrap_or_default();
        let mut kinds: Vec<u32> = new.iter().flat_map(|spot| &spot.pods).map(|pod| pod.kind).collect();
        let left = self.kinds.iter().filter(|entry| self.packing.waiting(entry.kind) != 0);
        kinds.extend(left.map(|entry| narrow(entry.kind)));
        kinds.sort_unstable();
        kinds.dedup();
        let there = |spot: &usize| {
            let spot = self.packing.spots.get(*spot);
            spot.filter(|spot| spot.open && matches!(spot.stands_for, StandsFor::Existing(_)))
        };
        let bins: Vec<BinId> = self.spots.iter().filter_map(there).map(|spot| spot.bin).collect();
        self.spend(kinds.len() * bins.len());
        let fits = |kind: &u32| {
            let class = self.packing.class(*kind as usize);
            bins.iter().any(|bin| self.packing.world.misfit(class, *bin).is_none())
        };
        !kinds.iter().any(fits)
    }

    /// Whether something better may come of this, when the pods of so many kinds that wait are given up.
    fn may_improve(&mut self, given_up: usize) -> bool {
        self.spend(1);
        let hoped = Cost {
            left: self.left(given_up),
            price: self.price,
        };
        if self.is_used_up() || !hoped.is_below(&self.best, self.trades) {
            return false;
        }
        let price = self.price.saturating_add(self.least_for_the_rest(given_up));
        Cost { price, ..hoped }.is_below(&self.best, self.trades)
    }

    /// Pods without a place, by priority, when those of so many kinds that wait are given up and all others find one.
    fn left(&self, given_up: usize) -> Vec<usize> {
        let mut left = self.hopeless.clone();
        for entry in self.kinds.iter().take(given_up) {
            if let Some(left) = left.get_mut(entry.level) {
                *left += self.waiting(*entry);
            }
        }
        left
    }

    /// The least that is to be paid for what has no room on the nodes so far, as if nodes could be cut into pieces.
    fn least_for_the_rest(&self, given_up: usize) -> i64 {
        let sizes = &self.packing.kinds.sizes;
        let mut missing = vec![0; sizes.width()];
        for entry in self.kinds.iter().skip(given_up) {
            let size = self.packing.kinds.list.get(entry.kind).map_or(0, |kind| kind.size);
            let count = i64::try_from(self.waiting(*entry)).unwrap_or(i64::MAX);
            for (missing, request) in missing.iter_mut().zip(sizes.of(size)) {
                *missing = i64::saturating_add(*missing, request.saturating_mul(count));
            }
        }
        for spot in self
            .spots
            .iter()
            .copied()
            .chain(self.first_new..self.packing.spots.len())
        {
            for (missing, free) in missing.iter_mut().zip(self.packing.free(spot)) {
                *missing = i64::saturating_sub(*missing, (*free).max(0));
            }
        }
        let least = price_of(&self.worth, &missing);
        let cheapest = self.offers.first().map_or(0, |offer| offer.price);
        if missing.iter().any(|missing| 0 < *missing) {
            least.max(cheapest)
        } else {
            least
        }
    }

    /// How many pods are still to be placed.
    fn waiting(&self, entry: ToPlace) -> usize {
        self.packing.waiting(entry.kind).saturating_sub(entry.spare)
    }

    fn spend(&mut self, steps: usize) {
        self.steps = self.steps.saturating_sub(steps);
    }

    const fn is_used_up(&self) -> bool {
        self.steps == 0
    }

    /// What tells two states apart, whatever the order of the new nodes.
    fn state(&self) -> Vec<u32> {
        let new = self.first_new..self.packing.spots.len();
        let spots = self.spots.iter().copied().chain(new);
        let with_pods = spots.filter(|spot| self.packing.spots.get(*spot).is_some_and(|spot| !spot.pods.is_empty()));
        let mut looks: Vec<Vec<u32>> = with_pods.map(|spot| self.look(spot)).collect();
        looks.sort_unstable();
        looks.concat()
    }
}
