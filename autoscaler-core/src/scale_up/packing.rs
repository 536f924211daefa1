//! A packing under way: nodes with what is free on them and kinds of pods with what waits, and every step with its
//! inverse, so that a try costs what it touched.
//!
//! Which node is bought is decided in [`buy`](super::buy).

use crate::{
    options::{Limits, Offers},
    plan::Destination,
    scale_up::{
        binding::Bound,
        buy::Solved,
        kinds::{Kinds, Position, fits, times},
    },
    snapshot::{ClassId, GroupId, NodeId, Snapshot},
    template::Template,
    world::{BinId, Mark as WorldMark, World},
};
use std::{collections::BTreeMap, sync::Arc};

/// A node that pods are put on.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) bin: BinId,
    pub(super) stands_for: StandsFor,
    /// Its pods of this packing, in the order in which they came.
    pub(super) pods: Vec<Placed>,
    /// Whether it is still part of the plan.
    pub(super) open: bool,
}

/// What a [`Spot`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StandsFor {
    /// A node that exists or is to come.
    Existing(Destination),
    /// A planned node, by index into the offers.
    New(usize),
}

/// A pod of the packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) kind: u32,
    pub(super) position: Position,
}

/// A point to return to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    world: WorldMark,
    steps: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many pods of one kind were placed on a spot.
    Placed(u32, u32),
    /// Taken off a spot, where it was at this index.
    Taken(u32, u32, Placed),
    Opened,
    Closed(u32),
    /// Room of a spot that a pod of another packing took.
    Occupied(u32, ClassId),
}

/// Spots that have room for one size, in order, and how many spots have been looked at.
#[derive(Clone, Debug, Default)]
struct Roomy {
    spots: Vec<u32>,
    seen: usize,
}

/// The state of a packing.
pub(super) struct Packing<'w, 's> {
    pub(super) world: &'w mut World<'s>,
    pub(super) snapshot: &'s Snapshot,
    pub(super) kinds: Kinds,
    pub(super) offers: Offers,
    pub(super) limits: Limits,
    pub(super) spots: Vec<Spot>,
    /// Tries that were made, which the seeded expander draws from.
    pub(super) tries: u64,
    /// Whether pods of all priorities are packed together, because all of them will have a place or nothing changes.
    pub(super) mixes: bool,
    pub(super) solved: Solved,
    /// Whether equal groups are to grow evenly, because pods that wait are to be spread over more than hosts.
    pub(super) balance: bool,
    /// Whether the nodes there are are tried from the last to the first.
    pub(super) turned: bool,
    /// Kinds that are served before others of their priority.
    pub(super) first: Vec<bool>,
    /// An order in which the constrained pods of the packing can be bound, once it was looked for.
    pub(super) bound: Vec<Bound>,
    /// Whether [`Self::passed`], [`Self::refused`] and [`Self::of_size`] are behind the times.
    stale: bool,
    /// Kinds with pods that wait, by size.
    pub(super) of_size: Vec<Vec<u32>>,
    /// By kind, how many pods wait: what is asked most often.
    waiting: Vec<u32>,
    /// By spot and resource.
    free: Vec<i64>,
    roomy: Vec<Roomy>,
    /// For every kind, the spot before which none has room for it again.
    passed: Vec<u32>,
    /// For every number of ties, the newest spot that refused it for good.
    refused: Vec<u32>,
    steps: Vec<Step>,
}

impl<'w, 's> Packing<'w, 's> {
    pub(super) fn new(
        world: &'w mut World<'s>,
        kinds: Kinds,
        offers: Offers,
        limits: Limits,
        existing: Vec<(BinId, Destination)>,
    ) -> Self {
        let snapshot = world.snapshot();
        let mut packing = Self {
            world,
            snapshot,
            first: vec![false; kinds.list.len()],
            bound: Vec::new(),
            waiting: kinds.list.iter().map(|kind| narrow(kind.waiting.len())).collect(),
            roomy: vec![Roomy::default(); kinds.sizes.len()],
            passed: vec![0; kinds.list.len()],
            refused: vec![u32::MAX; kinds.ties],
            kinds,
            offers,
            limits,
            spots: Vec::with_capacity(existing.len()),
            tries: 0,
            turned: false,
            mixes: false,
            solved: Solved::default(),
            stale: true,
            balance: false,
            of_size: Vec::new(),
            free: Vec::new(),
            steps: Vec::new(),
        };
        packing.balance = (0..packing.kinds.list.len()).any(|kind| {
            let rules = &snapshot.rules;
            rules.spreads_over_domains(packing.class(kind))
        });
        for (bin, destination) in existing {
            packing.push_spot(bin, StandsFor::Existing(destination));
        }
        packing
    }

    /// How many pods of a kind wait.
    #[expect(clippy::indexing_slicing, reason = "kinds are counted from the list")]
    pub(super) fn waiting(&self, kind: usize) -> usize {
        self.waiting[kind] as usize
    }

    #[expect(clippy::indexing_slicing, reason = "kinds are counted from the list")]
    pub(super) fn class(&self, kind: usize) -> ClassId {
        self.kinds.list[kind].class
    }

    /// Whether room for a kind can come back while pods are only placed.
    pub(super) fn regains(&self, kind: usize) -> bool {
        self.world.may_regain_room(self.class(kind))
    }

    /// How many pods of every kind wait.
    pub(super) fn all_waiting(&self) -> &[u32] {
        &self.waiting
    }

    /// What is free on a spot.
    #[expect(clippy::indexing_slicing, reason = "spots are counted from the list")]
    pub(super) fn free(&self, spot: usize) -> &[i64] {
        let width = self.kinds.sizes.width();
        &self.free[spot * width..(spot + 1) * width]
    }

    /// Whether a spot is open and has room for a size, as far as requests go.
    pub(super) fn has_room(&self, spot: usize, size: usize) -> bool {
        self.spots.get(spot).is_some_and(|spot| spot.open) && fits(self.kinds.sizes.of(size), self.free(spot))
    }

    /// The group and template of a planned node.
    pub(super) fn planned(&self, spot: usize) -> Option<(usize, GroupId, &Arc<Template>)> {
        let StandsFor::New(offer) = self.spots.get(spot)?.stands_for else {
            return None;
        };
        let entry = self.offers.list.get(offer)?;
        Some((offer, entry.group, entry.template.as_ref()?))
    }

    /// Planned nodes that are still part of the plan.
    pub(super) fn planned_spots(&self) -> impl Iterator<Item = usize> + use<> {
        let open: Vec<usize> = (0..self.spots.len())
            .filter(|spot| {
                self.spots
                    .get(*spot)
                    .is_some_and(|spot| spot.open && matches!(spot.stands_for, StandsFor::New(_)))
            })
            .collect();
        open.into_iter()
    }

    /// Takes all pods of a kind off those that wait.
    pub(super) fn withdraw(&mut self, kind: usize) -> Vec<Position> {
        if let Some(waiting) = self.waiting.get_mut(kind) {
            *waiting = 0;
        }
        let entry = self.kinds.list.get_mut(kind);
        entry
            .map(|entry| std::mem::take(&mut entry.waiting))
            .unwrap_or_default()
    }

    /// Adds a planned node.
    pub(super) fn open(&mut self, offer: usize) -> Option<usize> {
        let entry = self.offers.list.get(offer)?;
        let (group, template) = (entry.group, Arc::clone(entry.template.as_ref()?));
        let bin = self.world.add(&template);
        self.push_spot(bin, StandsFor::New(offer));
        self.limits.take(group);
        self.steps.push(Step::Opened);
        Some(self.spots.len() - 1)
    }

    /// Leaves a planned node out. Its pods must have been taken off it.
    pub(super) fn close(&mut self, spot: usize) {
        let Some((_, group, _)) = self.planned(spot) else {
            return;
        };
        if let Some(entry) = self.spots.get_mut(spot) {
            entry.open = false;
            self.world.remove(entry.bin);
            self.limits.give_back(group);
            self.steps.push(Step::Closed(narrow(spot)));
        }
    }

    /// Puts the next pod of a kind on a spot, whether it fits or not.
    #[expect(clippy::indexing_slicing, reason = "kinds and spots are counted from the lists")]
    pub(super) fn place(&mut self, kind: usize, spot: usize) {
        let entry = &mut self.kinds.list[kind];
        let Some(position) = entry.waiting.pop() else { return };
        self.waiting[kind] -= 1;
        let (class, size) = (entry.class, entry.size);
        let spot_entry = &mut self.spots[spot];
        self.world.place(class, spot_entry.bin);
        spot_entry.pods.push(Placed {
            kind: narrow(kind),
            position,
        });
        let width = self.kinds.sizes.width();
        for (free, request) in self.free[spot * width..].iter_mut().zip(self.kinds.sizes.of(size)) {
            *free -= request;
        }
        self.steps.push(Step::Placed(narrow(spot), 1));
    }

    /// Puts the next pods of a kind that nothing ties to others on a spot, whether they fit or not.
    #[expect(clippy::indexing_slicing, reason = "kinds and spots are counted from the lists")]
    fn place_many(&mut self, kind: usize, spot: usize, count: usize) {
        let entry = &mut self.kinds.list[kind];
        let count = count.min(entry.waiting.len());
        let left = entry.waiting.len() - count;
        self.waiting[kind] = narrow(left);
        let spot_entry = &mut self.spots[spot];
        self.world.place_many(entry.class, spot_entry.bin, narrow(count));
        let of_kind = narrow(kind);
        spot_entry
            .pods
            .extend(entry.waiting.drain(left..).rev().map(|position| Placed {
                kind: of_kind,
                position,
            }));
        let width = self.kinds.sizes.width();
        let times = i64::try_from(count).unwrap_or(i64::MAX);
        for (free, request) in self.free[spot * width..]
            .iter_mut()
            .zip(self.kinds.sizes.of(entry.size))
        {
            *free -= request * times;
        }
        self.steps.push(Step::Placed(narrow(spot), narrow(count)));
    }

    /// Takes the pod at this index off a spot; it waits again.
    #[expect(clippy::indexing_slicing, reason = "kinds and spots are counted from the lists")]
    pub(super) fn take(&mut self, spot: usize, at: usize) {
        let placed = self.spots[spot].pods.remove(at);
        let entry = &mut self.kinds.list[placed.kind as usize];
        entry.waiting.push(placed.position);
        self.waiting[placed.kind as usize] += 1;
        self.world.unplace(entry.class, self.spots[spot].bin);
        let size = entry.size;
        self.give_room(spot, size);
        self.steps.push(Step::Taken(narrow(spot), narrow(at), placed));
    }

    /// Remembers the state of now.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            world: self.world.mark(),
            steps: self.steps.len(),
        }
    }

    /// The kind and spot of every pod that was placed since the mark, in this order, if none was taken off since.
    pub(super) fn placed_since(&self, mark: Mark) -> Vec<(u32, u32)> {
        let mut placed = Vec::new();
        let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
        for step in self.steps.get(mark.steps..).unwrap_or_default().iter().rev() {
            let Step::Placed(spot, count) = *step else { continue };
            let pods = self.spots.get(spot as usize).map_or(&[][..], |spot| &spot.pods);
            let seen = seen.entry(spot).or_default();
            let newest = pods.iter().rev().skip(*seen).take(count as usize);
            placed.extend(newest.map(|pod| (pod.kind, spot)));
            *seen += count as usize;
        }
        placed.reverse();
        placed
    }

    /// Undoes everything since the mark.
    #[expect(clippy::indexing_slicing, reason = "steps hold kinds and spots that were there")]
    pub(super) fn rollback(&mut self, mark: Mark) {
        self.world.rollback(mark.world);
        let width = self.kinds.sizes.width();
        let mut touched: Vec<u32> = Vec::new();
        while mark.steps < self.steps.len() {
            match self.steps.pop() {
                Some(Step::Placed(spot, count)) => {
                    for _ in 0..count {
                        let Some(placed) = self.spots[spot as usize].pods.pop() else {
                            break;
                        };
                        let entry = &mut self.kinds.list[placed.kind as usize];
                        entry.waiting.push(placed.position);
                        self.waiting[placed.kind as usize] += 1;
                        let row = self.free[spot as usize * width..].iter_mut();
                        for (free, request) in row.zip(self.kinds.sizes.of(entry.size)) {
                            *free += request;
                        }
                    }
                    touched.push(spot);
                }
                Some(Step::Taken(spot, at, placed)) => {
                    let entry = &mut self.kinds.list[placed.kind as usize];
                    entry.waiting.pop();
                    self.waiting[placed.kind as usize] -= 1;
                    let row = self.free[spot as usize * width..].iter_mut();
                    for (free, request) in row.zip(self.kinds.sizes.of(entry.size)) {
                        *free -= request;
                    }
                    self.spots[spot as usize].pods.insert(at as usize, placed);
                }
                Some(Step::Opened) => {
                    if let Some((_, group, _)) = self.planned(self.spots.len() - 1) {
                        self.limits.give_back(group);
                    }
                    self.spots.pop();
                    self.free.truncate(self.spots.len() * width);
                    // The next spot will have the same number.
                    self.refused.fill(u32::MAX);
                }
                Some(Step::Closed(spot)) => {
                    self.spots[spot as usize].open = true;
                    if let Some((_, group, _)) = self.planned(spot as usize) {
                        self.limits.take(group);
                    }
                    touched.push(spot);
                }
                Some(Step::Occupied(spot, class)) => {
                    self.change_free(spot as usize, class, 1);
                    touched.push(spot);
                }
                None => {}
            }
        }
        let spots = self.spots.len();
        for roomy in &mut self.roomy {
            roomy
                .spots
                .truncate(roomy.spots.partition_point(|spot| (*spot as usize) < spots));
            roomy.seen = roomy.seen.min(spots);
        }
        if touched.is_empty() {
            return;
        }
        touched.sort_unstable();
        touched.dedup();
        for spot in touched.into_iter().filter(|spot| (*spot as usize) < spots) {
            self.list_again(spot as usize);
        }
        self.stale = true;
    }

    /// Puts pods of a kind on the spots that have room, in order, until none is left or no spot has room.
    pub(super) fn first_fit(&mut self, kind: usize) {
        let Some(entry) = self.kinds.list.get(kind) else {
            return;
        };
        let (class, size, tied) = (entry.class, entry.size, entry.tied);
        self.refresh();
        let regains = self.regains(kind);
        self.look_at_new_spots(size);
        let Some(roomy) = self.roomy.get_mut(size) else { return };
        let mut spots = std::mem::take(&mut roomy.spots);
        loop {
            let passed = self.passed.get(kind).copied().unwrap_or(0);
            let start = spots.partition_point(|spot| *spot < passed);
            let before = self.waiting(kind);
            let mut kept = start;
            let mut index = start;
            while let Some(spot) = spots.get(index).map(|spot| *spot as usize) {
                if self.waiting(kind) == 0 {
                    break;
                }
                if self.has_room(spot, size) {
                    self.put_as_many(kind, class, tied, spot);
                }
                if self.has_room(spot, size) {
                    if let Some(slot) = spots.get_mut(kept) {
                        *slot = narrow(spot);
                    }
                    kept += 1;
                }
                index += 1;
            }
            spots.drain(kept..index);
            let after = self.waiting(kind);
            if after == 0 {
                break;
            }
            if !regains {
                if let Some(passed) = self.passed.get_mut(kind) {
                    *passed = narrow(self.spots.len());
                }
                break;
            }
            if after == before {
                break;
            }
        }
        if let Some(roomy) = self.roomy.get_mut(size) {
            roomy.spots = spots;
        }
    }

    /// Spots with room for a size, in order.
    pub(super) fn roomy_spots(&mut self, size: usize) -> Vec<usize> {
        self.look_at_new_spots(size);
        let spots = self.roomy.get(size).map_or(&[][..], |roomy| &roomy.spots);
        let spots = spots.iter().map(|spot| *spot as usize);
        spots.filter(|spot| self.has_room(*spot, size)).collect()
    }

    /// Whether some spot other than this one has room for a size.
    pub(super) fn has_room_besides(&mut self, size: usize, besides: usize) -> bool {
        self.look_at_new_spots(size);
        let Some(roomy) = self.roomy.get_mut(size) else {
            return false;
        };
        let mut spots = std::mem::take(&mut roomy.spots);
        let first = spots.iter().position(|spot| self.has_room(*spot as usize, size));
        // Those before the first have none, and are listed again when they get some.
        spots.drain(..first.unwrap_or(spots.len()));
        let mut left = spots.iter().map(|spot| *spot as usize);
        let found = left.any(|spot| spot != besides && self.has_room(spot, size));
        if let Some(roomy) = self.roomy.get_mut(size) {
            roomy.spots = spots;
        }
        found
    }

    /// Puts as many pods of a kind on a spot as fit, and says how many.
    pub(super) fn put_as_many(&mut self, kind: usize, class: ClassId, tied: bool, spot: usize) -> usize {
        self.put(kind, class, tied, spot, usize::MAX)
    }

    /// Puts up to `most` pods of a kind on a spot, and says how many fit.
    #[expect(clippy::indexing_slicing, reason = "kinds and spots are counted from the lists")]
    pub(super) fn put(&mut self, kind: usize, class: ClassId, tied: bool, spot: usize, most: usize) -> usize {
        let bin = self.spots[spot].bin;
        let entry = &self.kinds.list[kind];
        let (size, waiting) = (entry.size, self.waiting[kind] as usize);
        if !tied {
            // Only requests change while such pods are placed.
            if self.world.misfit(class, bin).is_some() {
                return 0;
            }
            let count = times(self.kinds.sizes.of(size), self.free(spot)).min(waiting).min(most);
            if 0 < count {
                self.place_many(kind, spot, count);
            }
            return count;
        }
        let mut count = 0;
        while count < most && self.waiting(kind) != 0 && self.has_room(spot, size) {
            if self.world.misfit(class, bin).is_some() {
                break;
            }
            self.place(kind, spot);
            count += 1;
        }
        count
    }

    /// Whether the ties of a kind were refused by a spot in a way that pods placed there cannot change.
    #[expect(clippy::indexing_slicing, reason = "numbers of ties are below the length")]
    pub(super) fn was_refused(&self, ties: usize, spot: usize) -> bool {
        self.refused[ties] as usize == spot
    }

    #[expect(clippy::indexing_slicing, reason = "numbers of ties are below the length")]
    pub(super) fn refuse(&mut self, ties: usize, spot: usize) {
        self.refused[ties] = narrow(spot);
    }

    /// A pod of this class that does not ask takes room on a node.
    pub(super) fn occupy(&mut self, class: ClassId, node: NodeId) {
        let stands_for = StandsFor::Existing(Destination::Node(node));
        let spot = self.spots.iter().position(|spot| spot.stands_for == stands_for);
        let bin = spot.and_then(|spot| self.spots.get(spot)).map(|spot| spot.bin);
        self.world.reserve(class, bin.unwrap_or(BinId::from(node)));
        if let Some(spot) = spot {
            self.change_free(spot, class, -1);
            self.steps.push(Step::Occupied(narrow(spot), class));
        }
    }

    /// Adds what a pod of this class requests to what is free on a spot, or takes it off.
    fn change_free(&mut self, spot: usize, class: ClassId, sign: i64) {
        let width = self.kinds.sizes.width();
        let requests = self.kinds.sizes.columns(&self.snapshot.class(class).requests);
        if let Some(row) = self.free.get_mut(spot * width..(spot + 1) * width) {
            for (free, request) in row.iter_mut().zip(requests) {
                *free = free.saturating_add(request.saturating_mul(sign));
            }
        }
    }

    /// Turns the order of the nodes round in which pods are tried. Nothing must have been placed.
    pub(super) fn turn_round(&mut self) {
        let width = self.kinds.sizes.width();
        self.turned = !self.turned;
        self.spots.reverse();
        let rows: Vec<&[i64]> = self.free.chunks(width).rev().collect();
        self.free = rows.concat();
        self.roomy.fill(Roomy::default());
    }

    /// Takes note that kinds may find room again on spots that they have passed, and may have pods that wait again.
    pub(super) const fn start_over(&mut self) {
        self.stale = true;
    }

    /// Brings the lists up to date that speed the search up.
    pub(super) fn refresh(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        self.passed.fill(0);
        self.refused.fill(u32::MAX);
        self.of_size = vec![Vec::new(); self.kinds.sizes.len()];
        // Those that are harder to place come first, as far as priority allows; the list is ordered by priority.
        let waiting = || {
            self.kinds
                .list
                .iter()
                .enumerate()
                .filter(|(_, kind)| !kind.waiting.is_empty())
        };
        let mut order: Vec<(usize, usize, bool, i32)> = waiting()
            .map(|(index, kind)| (index, kind.size, kind.tied, kind.priority))
            .collect();
        order.sort_by_key(|(index, _, tied, priority)| (std::cmp::Reverse(*priority), !tied, *index));
        for (index, size, ..) in order {
            if let Some(kinds) = self.of_size.get_mut(size) {
                kinds.push(narrow(index));
            }
        }
    }

    fn push_spot(&mut self, bin: BinId, stands_for: StandsFor) {
        let view = self.world.view(bin);
        let (all, used) = (
            self.kinds.sizes.columns(view.allocatable),
            self.kinds.sizes.columns(view.used),
        );
        self.free
            .extend(all.zip(used).map(|(all, used)| all.saturating_sub(used)));
        self.spots.push(Spot {
            bin,
            stands_for,
            pods: Vec::new(),
            open: true,
        });
    }

    #[expect(clippy::indexing_slicing, reason = "spots are counted from the list")]
    fn give_room(&mut self, spot: usize, size: usize) {
        let width = self.kinds.sizes.width();
        for (free, request) in self.free[spot * width..].iter_mut().zip(self.kinds.sizes.of(size)) {
            *free += request;
        }
        self.list_again(spot);
    }

    /// Lists a spot for every size that it has room for now.
    fn list_again(&mut self, spot: usize) {
        for size in 0..self.roomy.len() {
            if !self.has_room(spot, size) {
                continue;
            }
            if let Some(roomy) = self.roomy.get_mut(size).filter(|roomy| spot < roomy.seen)
                && let Err(at) = roomy.spots.binary_search(&narrow(spot))
            {
                roomy.spots.insert(at, narrow(spot));
            }
        }
    }

    fn look_at_new_spots(&mut self, size: usize) {
        let seen = self.roomy.get(size).map_or(0, |roomy| roomy.seen);
        let spots: Vec<u32> = (seen..self.spots.len())
            .filter(|spot| self.has_room(*spot, size))
            .map(narrow)
            .collect();
        if let Some(roomy) = self.roomy.get_mut(size) {
            roomy.spots.extend(spots);
            roomy.seen = self.spots.len();
        }
    }
}

/// An index as it is stored. Four billion pods or nodes do not fit into memory.
pub(super) fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
