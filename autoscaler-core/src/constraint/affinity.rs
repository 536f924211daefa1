//! Required pod affinity and anti-affinity, as kube-scheduler's `InterPodAffinity` plugin judges them.
//!
//! Everything the plugin asks is how many pods of some kind there are in a topology domain. A `Tally` holds these
//! numbers for one kind of pod and one topology key.

use std::collections::BTreeMap;

use crate::{
    selector::{LabelSelector, Labels},
    symbol::{Symbol, Symbols},
};

/// A required term of a pod's affinity or anti-affinity: pods, and the topology key whose domains matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityTerm {
    /// The pods, with `matchLabelKeys` and `mismatchLabelKeys` merged in; `None` means none.
    pub selector: Option<LabelSelector>,
    /// Their namespaces by name, ordered. The pod's own is here when the manifest names none in any way.
    pub namespaces: Box<[Symbol]>,
    /// Further namespaces by label; `None` means none, an empty selector all.
    pub namespace_selector: Option<LabelSelector>,
    /// The node label whose values are the domains.
    pub topology_key: Symbol,
}

/// How many pods of one kind there are, by domain of one topology key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counts: Vec<u32>,
    total: u64,
}

/// Labels of namespaces, by name.
pub(crate) type Namespaces = BTreeMap<Symbol, Labels>;

// === impl AffinityTerm ===

impl AffinityTerm {
    /// Whether the term of a pod on a node means pods of this namespace. An unknown namespace has no labels.
    pub(crate) fn covers_as_existing(&self, namespace: Symbol, known: &Namespaces, symbols: &Symbols) -> bool {
        let by_label = |selector: &LabelSelector| match known.get(&namespace) {
            Some(labels) => selector.matches(labels, symbols),
            None => selector.matches(&Labels::default(), symbols),
        };
        self.namespaces.binary_search(&namespace).is_ok() || self.namespace_selector.as_ref().is_some_and(by_label)
    }

    /// Whether the term of a pod that is to be placed means pods of this namespace.
    ///
    /// kube-scheduler 1.36 resolves the selector to names and then asks it once more with no labels at all, so that a
    /// selector that accepts no labels (only `NotIn` and `DoesNotExist`) accepts every namespace here.
    pub(crate) fn covers_as_incoming(&self, namespace: Symbol, known: &Namespaces, symbols: &Symbols) -> bool {
        let accepts_nothing = |selector: &LabelSelector| selector.matches(&Labels::default(), symbols);
        self.covers_as_existing(namespace, known, symbols)
            || self.namespace_selector.as_ref().is_some_and(accepts_nothing)
    }

    /// Whether the term means pods with these labels, wherever they are.
    pub(crate) fn selects(&self, labels: &Labels, symbols: &Symbols) -> bool {
        self.selector
            .as_ref()
            .is_some_and(|selector| selector.matches(labels, symbols))
    }
}

// === impl Tally ===

impl Tally {
    pub(crate) fn count(&self, domain: u32) -> u32 {
        self.counts.get(domain as usize).copied().unwrap_or(0)
    }

    /// Pods in all domains.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn add(&mut self, domain: u32) {
        let index = domain as usize;
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
    }

    pub(crate) fn subtract(&mut self, domain: u32) {
        if let Some(count) = self.counts.get_mut(domain as usize).filter(|count| 0 < **count) {
            *count -= 1;
            self.total = self.total.saturating_sub(1);
        }
    }
}

impl PartialEq for Tally {
    /// Whether both have the same numbers, however much room they have for more.
    fn eq(&self, other: &Self) -> bool {
        let len = self.counts.len().max(other.counts.len());
        self.total == other.total
            && (0..len).all(|index| self.counts.get(index).unwrap_or(&0) == other.counts.get(index).unwrap_or(&0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::{Operator, Requirement};

    #[test]
    fn namespaces_by_name_and_by_label_are_united() {
        let mut symbols = Symbols::default();
        let [shop, bank, lost, team, a, b] =
            ["shop", "bank", "lost", "team", "a", "b"].map(|text| symbols.intern(text));
        let known: Namespaces = [(shop, Labels::new([(team, a)])), (bank, Labels::new([(team, b)]))]
            .into_iter()
            .collect();
        let selector = |operator| {
            LabelSelector(Box::new([Requirement {
                key: team,
                operator,
                values: Box::new([b]),
            }]))
        };
        let term = |namespaces: &[Symbol], namespace_selector| AffinityTerm {
            namespaces: namespaces.into(),
            namespace_selector,
            ..AffinityTerm::default()
        };
        let existing = |term: &AffinityTerm| {
            [shop, bank, lost].map(|namespace| term.covers_as_existing(namespace, &known, &symbols))
        };
        let incoming = |term: &AffinityTerm| {
            [shop, bank, lost].map(|namespace| term.covers_as_incoming(namespace, &known, &symbols))
        };
        assert_eq!(existing(&term(&[shop], None)), [true, false, false]);
        assert_eq!(
            existing(&term(&[shop], Some(selector(Operator::In)))),
            [true, true, false]
        );
        assert_eq!(
            incoming(&term(&[shop], Some(selector(Operator::In)))),
            [true, true, false]
        );
        assert_eq!(existing(&term(&[], Some(LabelSelector::default()))), [true, true, true]);
        let not_in = term(&[], Some(selector(Operator::NotIn)));
        assert_eq!(existing(&not_in), [true, false, true]);
        assert_eq!(incoming(&not_in), [true, true, true], "as kube-scheduler 1.36 does");
    }

    #[test]
    fn a_tally_counts_by_domain() {
        let mut tally = Tally::default();
        let empty = tally.clone();
        tally.add(3);
        tally.add(3);
        tally.subtract(3);
        assert_eq!((tally.count(3), tally.count(9), tally.total()), (1, 0, 1));
        tally.subtract(3);
        tally.subtract(3);
        assert_eq!(tally, empty);
    }
}
