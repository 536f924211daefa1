//! Topology spread constraints with `DoNotSchedule`, as kube-scheduler's `PodTopologySpread` plugin judges them.
//!
//! A `SpreadCounter` holds the number of matching pods by domain and always knows the smallest one, so that a check
//! costs the same however many domains there are.

use crate::{selector::LabelSelector, symbol::Symbol};

/// A rule that spreads pods over topology domains. `ScheduleAnyway` is a preference and not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpreadConstraint {
    /// The most that a domain may have above the one with the fewest.
    pub max_skew: i32,
    /// The node label whose values are the domains.
    pub topology_key: Symbol,
    /// The pods that are counted, with `matchLabelKeys` merged in; `None` means none.
    pub selector: Option<LabelSelector>,
    /// With fewer domains than this the smallest number counts as zero.
    pub min_domains: i32,
    /// Whether nodes that the pod's node selector or node affinity excludes are left out. The default is true.
    pub honor_affinity: bool,
    /// Whether nodes with taints that the pod does not tolerate are left out. The default is false.
    pub honor_taints: bool,
}

/// Matching pods by domain, over the nodes that a constraint looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpreadCounter {
    domains: Vec<Domain>,
    /// How many domains with nodes have this many pods.
    by_pods: Vec<u32>,
    /// The fewest pods of a domain with nodes, while there is one.
    fewest: usize,
    /// Domains with nodes.
    populated: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Domain {
    pods: u32,
    /// Nodes that the constraint looks at.
    nodes: u32,
}

// === impl SpreadCounter ===

impl SpreadCounter {
    /// Matching pods in a domain.
    pub(crate) fn pods(&self, domain: u32) -> u32 {
        self.domains.get(domain as usize).map_or(0, |domain| domain.pods)
    }

    /// The number that the skew is counted from, when these domains count even while they have no nodes, and one domain
    /// with nodes has some pods more than were counted.
    pub(crate) fn minimum(&self, min_domains: i32, possible: impl Iterator<Item = u32>, more: (u32, u32)) -> u32 {
        let without_nodes = |domain: &u32| {
            self.domains
                .get(*domain as usize)
                .is_none_or(|domain| domain.nodes == 0)
        };
        let (mut populated, mut fewest) = (self.populated, None);
        for domain in possible.filter(without_nodes) {
            let pods = self.pods(domain);
            populated += 1;
            fewest = Some(fewest.map_or(pods, |fewest: u32| fewest.min(pods)));
        }
        if i64::from(populated) < i64::from(min_domains) || populated == 0 {
            return 0;
        }
        fewest.into_iter().chain(self.fewest_with(more)).min().unwrap_or(0)
    }

    /// The fewest pods of a domain with nodes, when one of them has some more than were counted.
    fn fewest_with(&self, (domain, more): (u32, u32)) -> Option<u32> {
        let narrow = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
        if self.populated == 0 {
            return None;
        }
        let own = self.pods(domain);
        let is_only = self.by_pods.get(self.fewest) == Some(&1) && own as usize == self.fewest;
        if more == 0 || !is_only {
            return Some(narrow(self.fewest));
        }
        let others = self.by_pods.iter().enumerate().skip(self.fewest + 1);
        let next = others
            .filter(|(_, domains)| 0 < **domains)
            .map(|(pods, _)| narrow(pods));
        Some(next.take(1).fold(own.saturating_add(more), u32::min))
    }

    pub(crate) fn add_pod(&mut self, domain: u32) {
        self.change(domain, |domain| domain.pods = domain.pods.saturating_add(1));
    }

    pub(crate) fn subtract_pod(&mut self, domain: u32) {
        self.change(domain, |domain| domain.pods = domain.pods.saturating_sub(1));
    }

    pub(crate) fn add_node(&mut self, domain: u32) {
        self.change(domain, |domain| domain.nodes = domain.nodes.saturating_add(1));
    }

    pub(crate) fn subtract_node(&mut self, domain: u32) {
        self.change(domain, |domain| domain.nodes = domain.nodes.saturating_sub(1));
    }

    fn change(&mut self, domain: u32, change: impl FnOnce(&mut Domain)) {
        let index = domain as usize;
        if self.domains.len() <= index {
            self.domains.resize(index + 1, Domain::default());
        }
        let Some(domain) = self.domains.get_mut(index) else {
            return;
        };
        let before = *domain;
        change(domain);
        let after = *domain;
        if 0 < before.nodes {
            self.leave(before.pods as usize);
        }
        if 0 < after.nodes {
            self.enter(after.pods as usize);
        }
        self.settle();
    }

    fn enter(&mut self, pods: usize) {
        if self.by_pods.len() <= pods {
            self.by_pods.resize(pods + 1, 0);
        }
        if let Some(domains) = self.by_pods.get_mut(pods) {
            *domains += 1;
        }
        self.fewest = if self.populated == 0 {
            pods
        } else {
            self.fewest.min(pods)
        };
        self.populated += 1;
    }

    fn leave(&mut self, pods: usize) {
        if let Some(domains) = self.by_pods.get_mut(pods) {
            *domains = domains.saturating_sub(1);
        }
        self.populated = self.populated.saturating_sub(1);
    }

    /// Moves `fewest` up to the next number that some domain has.
    fn settle(&mut self) {
        if self.populated == 0 {
            self.fewest = 0;
            return;
        }
        while self.by_pods.get(self.fewest).is_some_and(|domains| *domains == 0) {
            self.fewest += 1;
        }
    }
}

impl PartialEq for SpreadCounter {
    /// Whether both have the same numbers, however much room they have for more.
    fn eq(&self, other: &Self) -> bool {
        let len = self.domains.len().max(other.domains.len());
        let domain = |counter: &Self, index: usize| counter.domains.get(index).copied().unwrap_or_default();
        (self.populated, self.fewest) == (other.populated, other.fewest)
            && (0..len).all(|index| domain(self, index) == domain(other, index))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop, proptest};

    use super::*;

    #[test]
    fn without_enough_domains_the_minimum_is_zero() {
        let mut counter = SpreadCounter::default();
        assert_eq!(counter.minimum(1, std::iter::empty(), (0, 0)), 0);
        counter.add_node(0);
        counter.add_pod(0);
        counter.add_pod(0);
        assert_eq!(
            (
                counter.minimum(1, std::iter::empty(), (0, 0)),
                counter.minimum(2, std::iter::empty(), (0, 0))
            ),
            (2, 0)
        );
        counter.add_node(1);
        assert_eq!(counter.minimum(2, std::iter::empty(), (0, 0)), 0);
        counter.add_pod(1);
        assert_eq!(counter.minimum(2, std::iter::empty(), (0, 0)), 1);
        counter.subtract_node(1);
        assert_eq!(
            counter.minimum(1, std::iter::empty(), (0, 0)),
            2,
            "a domain without nodes is none"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn the_minimum_is_that_of_a_full_count(steps in prop::collection::vec((0u32..5, any::<bool>(), 0u8..4), 0..80)) {
            let mut counter = SpreadCounter::default();
            let mut model = [(0u32, 0u32); 5];
            for (domain, pod, kind) in steps {
                let entry = &mut model[domain as usize];
                match (pod, kind) {
                    (true, 0) => { counter.subtract_pod(domain); entry.0 = entry.0.saturating_sub(1); }
                    (true, _) => { counter.add_pod(domain); entry.0 += 1; }
                    (false, 0) => { counter.subtract_node(domain); entry.1 = entry.1.saturating_sub(1); }
                    (false, _) => { counter.add_node(domain); entry.1 += 1; }
                }
                let populated = model.iter().filter(|(_, nodes)| 0 < *nodes);
                let expected = populated.clone().map(|(pods, _)| *pods).min().unwrap_or(0);
                assert_eq!(counter.minimum(1, std::iter::empty(), (0, 0)), expected);
                for (domain, _) in (0..).zip(&model).filter(|(_, (_, nodes))| 0 < *nodes) {
                    let mut more = counter.clone();
                    more.add_pod(domain);
                    more.add_pod(domain);
                    assert_eq!(
                        counter.minimum(1, std::iter::empty(), (domain, 2)),
                        more.minimum(1, std::iter::empty(), (0, 0))
                    );
                }
                assert_eq!(counter.populated as usize, populated.count());
            }
        }
    }
}
