//! The numbers that every world starts from: those of the nodes of a snapshot with the pods that are bound to them. They
//! follow the snapshot as its nodes, pods and rules change.

use std::sync::Arc;

use crate::snapshot::ClassId;

use super::{BinEntry, Counters, Rules};

/// Tallies and spread rules from these positions on have not been counted yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uncounted {
    tallies: usize,
    spreads: usize,
}

// === impl Counters ===

impl Counters {
    /// Forgets all numbers, for this many nodes that are still to be counted.
    pub(crate) fn reset(&mut self, nodes: usize) {
        *self = Self {
            bins: vec![BinEntry::default(); nodes],
            exclusive: vec![0; self.exclusive.len()],
            ..Self::default()
        };
    }

    /// Makes room for this many nodes.
    pub(crate) fn resize_nodes(&mut self, nodes: usize) {
        self.bins.resize_with(nodes, BinEntry::default);
    }

    /// Makes room for this many claims with access mode `ReadWriteOncePod`.
    pub(crate) fn resize_exclusive(&mut self, claims: usize) {
        self.exclusive.resize(claims, 0);
    }

    /// Makes room for the numbers that the rules have gained, and counts the nodes for them. The pods are still to be
    /// counted, with [`Self::count_pod_anew`]. `None` when nothing is missing.
    pub(crate) fn grow(&mut self, rules: &Rules) -> Option<Uncounted> {
        let from = Uncounted {
            tallies: self.tallies.len(),
            spreads: self.spreads.len(),
        };
        self.more_domains.resize_with(rules.topologies.len(), Vec::new);
        self.tallies.resize_with(rules.tallies.len(), Arc::default);
        self.spreads.resize_with(rules.spreads.len(), Arc::default);
        for (counter, rule) in self.spreads.iter_mut().zip(&rules.spreads).skip(from.spreads) {
            let Some(topology) = rules.topologies.get(rule.topology) else {
                continue;
            };
            for (domain, counts) in topology.of_node.iter().zip(&rule.nodes) {
                if let (Some(domain), true) = (domain, counts) {
                    Arc::make_mut(counter).add_node(*domain);
                }
            }
        }
        (from.tallies < self.tallies.len() || from.spreads < self.spreads.len()).then_some(from)
    }

    /// Counts a pod on a node for the numbers that the rules have gained.
    pub(crate) fn count_pod_anew(&mut self, rules: &Rules, class: ClassId, bin: usize, from: Uncounted) {
        let Some(class) = rules.class(class) else { return };
        let new = |from: usize| move |index: &u32| from <= *index as usize;
        for index in class.tallies.iter().copied().filter(new(from.tallies)) {
            let domain = rules
                .tallies
                .get(index as usize)
                .and_then(|topology| self.domain(rules, *topology, bin));
            if let (Some(tally), Some(domain)) = (self.tallies.get_mut(index as usize), domain) {
                Arc::make_mut(tally).add(domain);
            }
        }
        for index in class.spreads.iter().copied().filter(new(from.spreads)) {
            let rule = rules.spreads.get(index as usize);
            let domain = rule
                .filter(|rule| self.is_counted(rule, index, bin))
                .and_then(|rule| self.domain(rules, rule.topology, bin));
            if let (Some(counter), Some(domain)) = (self.spreads.get_mut(index as usize), domain) {
                Arc::make_mut(counter).add_pod(domain);
            }
        }
    }
}

// === impl Rules ===

impl Rules {
    /// Whether a pod of this class is counted by anything that has not been counted yet.
    pub(crate) fn is_uncounted(&self, class: ClassId, from: Uncounted) -> bool {
        self.class(class).is_some_and(|class| {
            class.tallies.iter().any(|index| from.tallies <= *index as usize)
                || class.spreads.iter().any(|index| from.spreads <= *index as usize)
        })
    }
}
