//! Whether kube-scheduler can bind the pods of a packing, one after another, once every planned node is there.
//!
//! Pods are placed while nodes are opened one by one, and the scheduler sees all of them at once: an empty new node is a
//! domain to spread over, and takes the minimum down to zero. What could not be bound then is placed anew here, among all
//! nodes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    buy::{Aim, Shapes},
    packing::{Packing, StandsFor, narrow},
};
use crate::snapshot::PodId;

/// How often pods that could not be bound are placed anew before they are left.
const ROUNDS: usize = 6;

/// In how many orders pods are bound before those that are left are said not to be bindable.
const ORDERS: usize = 3;

/// So many pods at most are bound with every step chosen among all of them.
const FEW: usize = 250;

/// With more pods than this only one order is tried.
const MANY: usize = 2000;

/// So many pods at most are looked at again after each one that is bound.
const EAGER: usize = 32;

/// A pod of the packing that rules about other pods concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bound {
    when: Turn,
    /// How many go before it to the same domain, of pods that are spread by the same rule: domains take turns.
    nth: u32,
    kind: u32,
    spot: u32,
}

/// When pods are bound. Those that are to be spread go first, and find the way free so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Spread,
    /// Pods with affinity to others, and those that pods of DaemonSets may drive off.
    Drawn,
    /// Pods that others look at, and that keep each other away at most: that holds in any order.
    Free,
}

impl Packing<'_, '_> {
    /// Adds what groups want beside pods, and places pods anew that could not be bound where they are. Those that find no
    /// such place wait.
    pub(super) fn make_bindable(&mut self, shapes: &Shapes, now: Timestamp) {
        let mut changed = false;
        for round in 0.. {
            self.drop_empty(0);
            self.top_up(now);
            let unbindable = self.unbindable();
            if unbindable.is_empty() {
                if !changed || ROUNDS <= round {
                    return;
                }
                // What was taken may have left room.
                changed = false;
                self.improve(shapes);
                continue;
            }
            self.take_all(&unbindable);
            if round < ROUNDS && self.place_beside_all(shapes) {
                return;
            }
            changed = true;
        }
    }

    /// Places what waits beside all that is bound. Says whether it can be bound after all that, on the same nodes.
    fn place_beside_all(&mut self, shapes: &Shapes) -> bool {
        let spots = self.spots.len();
        for _ in 0..ROUNDS {
            let mark = self.mark();
            self.start_over();
            self.buy_all(shapes, Aim::Chain);
            let has_pods = |spot: usize| self.spots.get(spot).is_some_and(|spot| !spot.pods.is_empty());
            let same_nodes = spots == self.spots.len() && self.planned_spots().all(has_pods);
            if !same_nodes || (0..self.kinds.list.len()).any(|kind| self.waiting(kind) != 0) {
                return false;
            }
            let placed = self.placed_since(mark).into_iter().map(|(kind, spot)| Bound {
                when: Turn::Drawn,
                nth: 0,
                kind,
                spot,
            });
            let placed: Vec<Bound> = placed.collect();
            let possible = self.world.take_possible_domains();
            for pod in &placed {
                self.count(*pod, false);
            }
            let mut left = placed;
            left.retain(|pod| !self.binds(*pod));
            for pod in &left {
                self.count(*pod, true);
            }
            self.world.restore_possible_domains(possible);
            if left.is_empty() {
                return true;
            }
            self.take_all(&left);
        }
        false
    }

    fn take_all(&mut self, pods: &[Bound]) {
        for Bound { kind, spot, .. } in pods {
            let pods = self.spots.get(*spot as usize).map_or(&[][..], |spot| &spot.pods);
            if let Some(at) = pods.iter().rposition(|placed| placed.kind == *kind) {
                self.take(*spot as usize, at);
            }
        }
    }

    /// The pods that were bound, in their order.
    pub(super) fn binding_order(&self, pending: &[PodId]) -> Vec<PodId> {
        if self.bound.is_empty() {
            return Vec::new();
        }
        let mut pods: BTreeMap<(u32, u32), Vec<PodId>> = BTreeMap::new();
        for (index, spot) in self.spots.iter().enumerate().filter(|(_, spot)| spot.open) {
            for placed in &spot.pods {
                if let Some(pod) = pending.get(placed.position as usize) {
                    pods.entry((placed.kind, narrow(index))).or_default().push(*pod);
                }
            }
        }
        // Those of one kind on one spot are alike.
        let mut of_kind: BTreeMap<_, _> = pods.into_iter().map(|(key, pods)| (key, pods.into_iter())).collect();
        let next = |bound: &Bound| of_kind.get_mut(&(bound.kind, bound.spot))?.next();
        self.bound.iter().filter_map(next).collect()
    }

    /// The pods that are still waiting when no other can be bound any more.
    pub(super) fn unbindable(&mut self) -> Vec<Bound> {
        self.bound.clear();
        let waiting = self.constrained_pods();
        if waiting.is_empty() {
            return waiting;
        }
        // Domains are those of nodes now.
        let possible = self.world.take_possible_domains();
        for pod in &waiting {
            self.count(*pod, false);
        }
        let mut left = self.bind_all(&waiting, &[]);
        for _ in 1..ORDERS {
            if left.is_empty() || EAGER < left.len() || MANY < waiting.len() {
                break;
            }
            self.unbind();
            let eager = left;
            left = self.bind_all(&waiting, &eager);
            if left == eager {
                break;
            }
        }
        if !left.is_empty() && waiting.len() <= FEW {
            self.unbind();
            left = self.bind_evenly(&waiting);
        }
        for pod in &left {
            self.count(*pod, true);
        }
        self.world.restore_possible_domains(possible);
        left
    }

    /// Whether the pods that were bound can be when those on nodes that are there come first, as far as they can: the
    /// scheduler does not wait with them. Domains are those of nodes that could be added too, as while pods are placed.
    pub(super) fn existing_may_come_first(&mut self) -> bool {
        let mut pods = self.bound.clone();
        pods.sort_unstable();
        let exists = |pod: &Bound| {
            let spot = self.spots.get(pod.spot as usize);
            spot.is_some_and(|spot| matches!(spot.stands_for, StandsFor::Existing(_)))
        };
        let (existing, new): (Vec<Bound>, Vec<Bound>) = pods.into_iter().partition(exists);
        if existing.is_empty() || new.is_empty() {
            return true;
        }
        let before = self.bound.clone();
        let mut left = Vec::new();
        for evenly in [false, true] {
            self.unbind();
            let mut rest = existing.clone();
            while self.bind(&mut rest, &mut Vec::new()) {}
            rest.extend(&new);
            rest.sort_unstable();
            left = if evenly {
                self.bind_evenly(&rest)
            } else {
                self.bind_all(&rest, &[])
            };
            if left.is_empty() {
                break;
            }
        }
        for pod in &left {
            self.count(*pod, true);
        }
        self.bound = before;
        left.is_empty()
    }

    /// Takes everything back that was bound.
    fn unbind(&mut self) {
        for pod in std::mem::take(&mut self.bound) {
            self.count(pod, false);
        }
    }

    /// Pods that rules about other pods concern, if there are any whose place depends on what else is there: other rules
    /// are kept in any order.
    fn constrained_pods(&self) -> Vec<Bound> {
        let kinds = 0..self.kinds.list.len();
        // Pods of DaemonSets come with planned nodes, after pods that they may drive off.
        let disturbed = self.daemons_matter();
        if !disturbed && !kinds.clone().any(|kind| self.regains(kind)) {
            return Vec::new();
        }
        let concern: Vec<Option<Turn>> = kinds
            .map(|kind| {
                let class = self.class(kind);
                let turn = match self.snapshot.rules.spread_of(class) {
                    Some(true) => Turn::Spread,
                    _ if disturbed || self.regains(kind) => Turn::Drawn,
                    _ => Turn::Free,
                };
                self.world.is_constrained(class).then_some(turn)
            })
            .collect();
        let mut pods = Vec::new();
        // How many are to be bound in each domain.
        let mut counts: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for (index, spot) in self.spots.iter().enumerate().filter(|(_, spot)| spot.open) {
            for placed in &spot.pods {
                let kind = placed.kind as usize;
                let Some(Some(when)) = concern.get(kind) else { continue };
                let domain = self.world.spread_domain(self.class(kind), spot.bin);
                let nth = domain.map_or(0, |domain| {
                    let count = counts.entry(domain).or_default();
                    *count += 1;
                    *count
                });
                pods.push(Bound {
                    when: *when,
                    nth,
                    kind: placed.kind,
                    spot: narrow(index),
                });
            }
        }
        pods.sort_unstable();
        pods
    }

    /// Whether a rule about other pods concerns the pods that a DaemonSet has on a planned node.
    fn daemons_matter(&self) -> bool {
        let templates = self.planned_spots().filter_map(|spot| Some(self.planned(spot)?.2));
        let mut classes = templates.flat_map(|template| &template.daemon_classes);
        classes.any(|class| self.world.is_constrained(*class))
    }

    /// Binds pods, those of `eager` as soon as they can be, until none of those that are left can be.
    fn bind_all(&mut self, pods: &[Bound], eager: &[Bound]) -> Vec<Bound> {
        let mut eager = eager.to_vec();
        let mut first: Vec<Bound> = pods.iter().copied().filter(|pod| !eager.contains(pod)).collect();
        let mut later = first.split_off(first.partition_point(|pod| pod.when == Turn::Spread));
        loop {
            while self.bind(&mut first, &mut eager) {}
            if !self.bind(&mut later, &mut eager) {
                break;
            }
        }
        eager.append(&mut first);
        eager.append(&mut later);
        eager
    }

    /// Binds pods, as long as there is one that goes where fewest are counted with it, before any other.
    fn bind_evenly(&mut self, pods: &[Bound]) -> Vec<Bound> {
        let mut waiting = pods.to_vec();
        loop {
            let even = waiting.iter().position(|pod| self.is_even(*pod) && self.binds(*pod));
            match even.or_else(|| waiting.iter().position(|pod| self.binds(*pod))) {
                Some(bound) => waiting.remove(bound),
                None => return waiting,
            };
        }
    }

    /// Whether a pod goes to a domain that has the fewest of every spread constraint that counts it.
    fn is_even(&self, pod: Bound) -> bool {
        let bin = self.spots.get(pod.spot as usize).map(|spot| spot.bin);
        bin.is_some_and(|bin| self.world.is_even(self.class(pod.kind as usize), bin))
    }

    /// Binds what can be bound, each pod once. Says whether any was.
    fn bind(&mut self, waiting: &mut Vec<Bound>, eager: &mut Vec<Bound>) -> bool {
        let mut any = false;
        eager.retain(|pod| {
            let binds = self.binds(*pod);
            any |= binds;
            !binds
        });
        waiting.retain(|pod| {
            let binds = self.binds(*pod);
            if binds {
                any = true;
                eager.retain(|pod| !self.binds(*pod));
            }
            !binds
        });
        any
    }

    /// Binds a pod if it fits.
    fn binds(&mut self, pod: Bound) -> bool {
        let bin = self.spots.get(pod.spot as usize).map(|spot| spot.bin);
        let class = self.class(pod.kind as usize);
        // What it requests has room where it is.
        let fits = pod.when == Turn::Free || bin.is_some_and(|bin| self.world.keeps_rules(class, bin));
        if fits {
            self.count(pod, true);
            self.bound.push(pod);
        }
        fits
    }

    /// Counts a pod where the packing has it, or no longer.
    fn count(&mut self, pod: Bound, add: bool) {
        if let Some(bin) = self.spots.get(pod.spot as usize).map(|spot| spot.bin) {
            self.world.count(self.class(pod.kind as usize), bin, add);
        }
    }
}
