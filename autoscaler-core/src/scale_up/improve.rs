//! What makes a packing cheaper once it is complete: needless nodes are left out, every node gets the cheapest offer that
//! holds its pods, and nodes are packed anew together where that is cheaper.
//!
//! The work is bounded by counted steps, so that it is the same everywhere.

use super::{
    buy::{Aim, Shapes},
    kinds::fits,
    packing::{Packing, Placed},
};
use crate::snapshot::Expander;

/// Pods that may be moved for the sake of repacking, in all.
const MOVES: usize = 5_000;

/// Nodes that are looked at for repacking: those with the most unused.
const WORST: usize = 12;

/// At most so many cheaper offers are tried in the place of a node's own.
const REPLACEMENTS: usize = 6;

/// So many nodes are packed anew all together, too.
const FEW: usize = 8;

impl Packing<'_, '_> {
    /// Makes the packing cheaper, step by step, without leaving a pod of it out.
    pub(super) fn improve(&mut self, shapes: &Shapes) {
        self.start_over();
        self.drop_needless();
        if self.may_trade() {
            self.right_size();
            self.mixes = true;
            self.repack(shapes);
            self.mixes = false;
        }
    }

    /// Whether one offer may replace another for its price: the criteria before price must not tell them apart.
    fn may_trade(&self) -> bool {
        let expanders = &self.snapshot.settings.expanders;
        let Some(price_at) = expanders.iter().position(|expander| *expander == Expander::Price) else {
            return false;
        };
        let mut before = expanders.iter().take(price_at);
        before.all(|expander| *expander == Expander::Priority)
    }

    fn keeps_priority(&self) -> bool {
        self.snapshot.settings.expanders.first() == Some(&Expander::Priority)
    }

    fn price(&self, spot: usize) -> i64 {
        self.planned(spot)
            .map_or(0, |(_, _, template)| template.hourly_price.nanos())
    }

    /// Leaves out every planned node whose pods all find room on other nodes, the emptiest first.
    fn drop_needless(&mut self) {
        let mut order: Vec<(i128, usize)> = self.planned_spots().map(|spot| (self.unused(spot), spot)).collect();
        order.sort_by_key(|(unused, spot)| (std::cmp::Reverse(*unused), *spot));
        // For a kind that found no room, the node it was to leave: room elsewhere only shrinks from then on.
        let mut stuck: Vec<Option<usize>> = vec![None; self.kinds.list.len()];
        for (_, spot) in order {
            let mark = self.mark();
            if let Err(kind) = self.empties(spot, &stuck) {
                self.rollback(mark);
                if let Some(stuck) = stuck.get_mut(kind).filter(|_| !self.regains(kind)) {
                    *stuck = Some(spot);
                }
            }
        }
    }

    /// Share of the node that is unused, in parts of 2 x 10^12.
    fn unused(&self, spot: usize) -> i128 {
        let Some((_, _, template)) = self.planned(spot) else {
            return 0;
        };
        let columns = self.kinds.sizes.columns(&template.allocatable);
        let shares = columns.zip(self.free(spot)).take(2).map(|(all, free)| {
            if all <= 0 {
                0
            } else {
                i128::from(*free) * 1_000_000_000_000 / i128::from(all)
            }
        });
        shares.sum()
    }

    /// Moves all pods of a planned node to other nodes and leaves it out. Fails with the kind of a pod that has no room
    /// there; `stuck` says for a kind the only spot that can have room.
    fn empties(&mut self, spot: usize, stuck: &[Option<usize>]) -> Result<(), usize> {
        let Some((old, mut pods)) = self.spots.get(spot).map(|spot| (spot.bin, spot.pods.clone())) else {
            return Ok(());
        };
        let of = |kind: u32| self.kinds.list.get(kind as usize);
        // Pods that keep others away are the hardest to place.
        pods.sort_by_key(|placed| of(placed.kind).map(|kind| (kind.exclusive.is_none(), placed.kind)));
        for placed in &pods {
            let kind = placed.kind as usize;
            let size = self.kinds.list.get(kind).map_or(0, |kind| kind.size);
            let only = stuck.get(kind).copied().flatten();
            let may_fit = only.is_none_or(|only| only != spot && self.has_room(only, size));
            if !may_fit || !self.has_room_besides(size, spot) {
                return Err(kind);
            }
        }
        while let Some(last) = self.spots.get(spot).and_then(|spot| spot.pods.len().checked_sub(1)) {
            self.take(spot, last);
        }
        self.close(spot);
        for Placed { kind, .. } in pods {
            let kind = kind as usize;
            let class = self.class(kind);
            let size = self.kinds.list.get(kind).map_or(0, |kind| kind.size);
            let fits = |packing: &Self, other: usize| {
                packing.spots.get(other).is_some_and(|other| {
                    // Other pods were placed by where this one is.
                    packing.world.misfit(class, other.bin).is_none()
                        && packing.world.counts_the_same(class, old, other.bin)
                })
            };
            let target = match stuck.get(kind).copied().flatten() {
                Some(only) => Some(only).filter(|only| self.has_room(*only, size) && fits(self, *only)),
                None => self.roomy_spots(size).into_iter().find(|other| fits(self, *other)),
            };
            match target {
                Some(target) => self.place(kind, target),
                None => return Err(kind),
            }
        }
        Ok(())
    }

    /// Gives every planned node the cheapest offer of any group that holds all its pods.
    fn right_size(&mut self) {
        let mut market: Vec<(i64, usize, Vec<i64>)> = Vec::new();
        for (index, offer) in self.offers.list.iter().enumerate() {
            if let (None, Some(template)) = (&offer.refusal, &offer.template) {
                market.push((template.hourly_price.nanos(), index, self.kinds.sizes.free_of(template)));
            }
        }
        market.sort_by_key(|(price, index, _)| (*price, *index));
        for spot in self.planned_spots() {
            let Some((old, old_group, template)) = self.planned(spot) else {
                continue;
            };
            let old_price = template.hourly_price.nanos();
            let empty = self.kinds.sizes.free_of(template);
            let load: Vec<i64> = empty
                .iter()
                .zip(self.free(spot))
                .map(|(all, free)| all - free)
                .collect();
            let waited = self.waited(spot);
            let may_replace = |index: usize| {
                self.offers.list.get(index).is_some_and(|offer| {
                    let same_rank = !self.keeps_priority() || self.priority_of(index) == self.priority_of(old);
                    // A group at its minimum would be filled up again, so moving its node away saves nothing.
                    let room = offer.group == old_group
                        || (self.limits.has_room_besides(offer.group, old_group) && !self.limits.at_minimum(old_group));
                    offer.waits <= waited && same_rank && room
                })
            };
            let cheaper = market.iter().take_while(|(price, ..)| *price < old_price);
            let mut better: Vec<(i64, bool, usize)> = cheaper
                .filter(|(_, index, free)| fits(&load, free) && may_replace(*index))
                .map(|(price, index, _)| (*price, self.group_of(*index) != Some(old_group), *index))
                .take(REPLACEMENTS)
                .collect();
            better.sort_unstable();
            for (_, _, offer) in better {
                if self.exchange_offer(spot, offer) {
                    break;
                }
            }
        }
    }

    /// How many of the waiting times that groups ask for have passed for every pod of a spot.
    fn waited(&self, spot: usize) -> usize {
        let pods = self.spots.get(spot).map_or(&[][..], |spot| &spot.pods);
        let kinds = pods
            .iter()
            .filter_map(|placed| self.kinds.list.get(placed.kind as usize));
        let looks = kinds.filter_map(|kind| self.kinds.looks.get(kind.look));
        looks.map(|look| look.waited).min().unwrap_or(usize::MAX)
    }

    fn priority_of(&self, offer: usize) -> i32 {
        self.group_of(offer)
            .map_or(0, |group| self.snapshot.group(group).priority)
    }

    /// Moves all pods of a planned node to a new node of another offer, if they fit there.
    fn exchange_offer(&mut self, spot: usize, offer: usize) -> bool {
        let mark = self.mark();
        let Some((old, pods)) = self.spots.get(spot).map(|spot| (spot.bin, spot.pods.clone())) else {
            return false;
        };
        while let Some(last) = self.spots.get(spot).and_then(|spot| spot.pods.len().checked_sub(1)) {
            self.take(spot, last);
        }
        self.close(spot);
        let new = self.open(offer);
        let bin = new.and_then(|new| self.spots.get(new)).map(|spot| spot.bin);
        let (Some(new), Some(bin)) = (new, bin) else {
            self.rollback(mark);
            return false;
        };
        for Placed { kind, .. } in pods {
            let class = self.class(kind as usize);
            if self.world.misfit(class, bin).is_some() || !self.world.counts_the_same(class, old, bin) {
                self.rollback(mark);
                return false;
            }
            self.place(kind as usize, new);
        }
        true
    }

    /// Takes planned nodes out, one or two at a time, those with the most unused first, and packs their pods anew; what is
    /// not cheaper is undone.
    fn repack(&mut self, shapes: &Shapes) {
        let mut moves = 0;
        loop {
            let mut spots: Vec<(i128, usize)> = self
                .planned_spots()
                .filter(|spot| self.is_movable(*spot))
                .map(|spot| (self.unused(spot), spot))
                .collect();
            spots.sort_by_key(|(unused, spot)| (std::cmp::Reverse(*unused), *spot));
            spots.truncate(WORST);
            let spots: Vec<usize> = spots.into_iter().map(|entry| entry.1).collect();
            let mut improved = false;
            let singles = spots.iter().map(|spot| vec![*spot]);
            let pairs = spots
                .iter()
                .enumerate()
                .flat_map(|(index, one)| spots.iter().skip(index + 1).map(|other| vec![*one, *other]));
            let triples = spots.windows(3).map(<[usize]>::to_vec);
            let all = Some(spots.clone()).filter(|spots| 3 < spots.len() && spots.len() <= FEW);
            for set in singles.chain(pairs).chain(triples).chain(all) {
                if !self.may_be_cheaper(&set, shapes) {
                    continue;
                }
                for aim in [Aim::Chain, Aim::Cheapest, Aim::Room] {
                    let pods: usize = set
                        .iter()
                        .filter_map(|spot| self.spots.get(*spot))
                        .map(|spot| spot.pods.len())
                        .sum();
                    moves += pods + 1;
                    if MOVES < moves {
                        return;
                    }
                    improved = self.packed_cheaper(&set, shapes, aim);
                    if improved {
                        break;
                    }
                }
                if improved {
                    break;
                }
            }
            if !improved {
                return;
            }
        }
    }

    /// Whether these nodes cost more than nodes for their pods must.
    fn may_be_cheaper(&self, set: &[usize], shapes: &Shapes) -> bool {
        let price: i64 = set.iter().map(|spot| self.price(*spot)).sum();
        let pods = set
            .iter()
            .filter_map(|spot| self.spots.get(*spot))
            .flat_map(|spot| &spot.pods);
        self.least_price_of(pods.map(|placed| placed.kind as usize), shapes) < price
    }

    /// Whether no rule about other pods looks at where the pods of this node are.
    fn is_movable(&self, spot: usize) -> bool {
        let tied = |placed: &Placed| {
            let kind = self.kinds.list.get(placed.kind as usize);
            kind.is_none_or(|kind| kind.tied && self.world.is_constrained(kind.class))
        };
        self.spots
            .get(spot)
            .is_some_and(|spot| !spot.pods.is_empty() && !spot.pods.iter().any(tied))
    }

    fn packed_cheaper(&mut self, set: &[usize], shapes: &Shapes, aim: Aim) -> bool {
        let mark = self.mark();
        let opened = self.spots.len();
        let before: i64 = set.iter().map(|spot| self.price(*spot)).sum();
        let mut kinds: Vec<usize> = Vec::new();
        let mut at_minimum = false;
        for spot in set {
            let pods = self.spots.get(*spot).map_or(0, |spot| spot.pods.len());
            for _ in 0..pods {
                if let Some(placed) = self.spots.get(*spot).and_then(|spot| spot.pods.first()) {
                    kinds.push(placed.kind as usize);
                }
                self.take(*spot, 0);
            }
            self.close(*spot);
            at_minimum |= self
                .planned(*spot)
                .is_some_and(|(_, group, _)| self.limits.below_minimum(group));
        }
        kinds.sort_unstable();
        kinds.dedup();
        self.start_over();
        for kind in &kinds {
            self.serve(shapes, *kind, aim);
        }
        let after: i64 = (opened..self.spots.len()).map(|spot| self.price(spot)).sum();
        let placed = kinds.iter().all(|kind| self.waiting(*kind) == 0);
        let same_rank = !self.keeps_priority()
            || (opened..self.spots.len()).all(|spot| {
                set.iter().all(|old| {
                    let rank = |spot: usize| self.planned(spot).map(|planned| self.priority_of(planned.0));
                    rank(spot) == rank(*old)
                })
            });
        if placed && after < before && same_rank && !at_minimum {
            self.drop_empty(opened);
            return true;
        }
        self.rollback(mark);
        false
    }

    /// Leaves out new nodes without pods, from this spot on.
    pub(super) fn drop_empty(&mut self, from: usize) {
        for spot in from..self.spots.len() {
            if self
                .spots
                .get(spot)
                .is_some_and(|spot| spot.open && spot.pods.is_empty())
            {
                self.close(spot);
            }
        }
    }
}
