//! Labels, and the selectors that match them.
//!
//! Semantics are those of `k8s.io/apimachinery/pkg/labels` for label selectors and of
//! `k8s.io/component-helpers/scheduling/corev1/nodeaffinity` for node selectors.

use crate::symbol::{Symbol, Symbols};

/// Labels of an object, in the order of the symbols of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(pub(crate) Box<[(Symbol, Symbol)]>);

/// How a [`Requirement`] compares the value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is absent, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is there and is an integer above this one.
    Gt(i64),
    /// The label is there and is an integer below this one.
    Lt(i64),
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// Key of the label.
    pub key: Symbol,
    /// The comparison.
    pub operator: Operator,
    /// Values of `In` and `NotIn`; empty for the others.
    pub values: Box<[Symbol]>,
}

/// A label selector: all its requirements must hold. Without requirements it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSelector(pub Box<[Requirement]>);

/// One term of a node selector: all its requirements must hold. A term without any selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSelectorTerm {
    /// Requirements on labels of the node.
    pub expressions: Box<[Requirement]>,
    /// Requirements on fields of the node, of which Kubernetes knows only `metadata.name`.
    pub fields: Box<[Requirement]>,
}

/// A node selector: one of its terms must hold. Without terms it selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSelector(pub Box<[NodeSelectorTerm]>);

// === impl Labels ===

impl Labels {
    /// Labels from pairs in any order. Of two pairs with one key the later counts.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (Symbol, Symbol)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.reverse();
        pairs.sort_by_key(|pair| pair.0);
        pairs.dedup_by_key(|pair| pair.0);
        Self(pairs.into())
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: Symbol) -> Option<Symbol> {
        let index = self.0.binary_search_by_key(&key, |pair| pair.0).ok()?;
        self.0.get(index).map(|pair| pair.1)
    }

    /// Whether every one of `wanted` is among these labels.
    #[must_use]
    pub fn contains_all(&self, wanted: &Self) -> bool {
        wanted.iter().all(|(key, value)| self.get(key) == Some(value))
    }

    /// The first of `wanted`, by the text of its key, that is not among these labels.
    #[must_use]
    pub fn missing(&self, wanted: &Self, symbols: &Symbols) -> Option<(Symbol, Symbol)> {
        let missing = wanted.iter().filter(|(key, value)| self.get(*key) != Some(*value));
        missing.min_by_key(|(key, _)| symbols.text(*key))
    }

    /// The pairs, in the order of the symbols of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Symbol, Symbol)> + '_ {
        self.0.iter().copied()
    }

    /// Whether there are no labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Requirement ===

impl Requirement {
    /// Whether the labels meet this requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels, symbols: &Symbols) -> bool {
        self.matches_value(labels.get(self.key), symbols)
    }

    fn matches_value(&self, value: Option<Symbol>, symbols: &Symbols) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(&value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(&value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt(bound) => value
                .and_then(|value| symbols.integer(value))
                .is_some_and(|number| bound < number),
            Operator::Lt(bound) => value
                .and_then(|value| symbols.integer(value))
                .is_some_and(|number| number < bound),
        }
    }
}

// === impl LabelSelector ===

impl LabelSelector {
    /// Whether the labels meet every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels, symbols: &Symbols) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels, symbols))
    }
}

// === impl NodeSelector ===

impl NodeSelector {
    /// Whether a node of this name with these labels meets one of the terms.
    #[must_use]
    pub fn matches(&self, name: Symbol, labels: &Labels, symbols: &Symbols) -> bool {
        self.0.iter().any(|term| {
            let empty = term.expressions.is_empty() && term.fields.is_empty();
            !empty
                && term
                    .expressions
                    .iter()
                    .all(|requirement| requirement.matches(labels, symbols))
                && term
                    .fields
                    .iter()
                    .all(|requirement| requirement.matches_value(Some(name), symbols))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(symbols: &mut Symbols, key: &str, operator: Operator, values: &[&str]) -> Requirement {
        Requirement {
            key: symbols.intern(key),
            operator,
            values: values.iter().map(|value| symbols.intern(value)).collect(),
        }
    }

    #[test]
    fn requirements_match_as_in_kubernetes() {
        let mut symbols = Symbols::default();
        let labels = Labels::new([
            (symbols.intern("disk"), symbols.intern("ssd")),
            (symbols.intern("cores"), symbols.intern("8")),
        ]);
        for (key, operator, values, expected) in [
            ("disk", Operator::In, &["ssd", "nvme"][..], true),
            ("disk", Operator::In, &["hdd"], false),
            ("rack", Operator::In, &["a"], false),
            ("disk", Operator::NotIn, &["ssd"], false),
            ("rack", Operator::NotIn, &["a"], true),
            ("disk", Operator::Exists, &[], true),
            ("rack", Operator::Exists, &[], false),
            ("rack", Operator::DoesNotExist, &[], true),
            ("disk", Operator::DoesNotExist, &[], false),
            ("cores", Operator::Gt(7), &[], true),
            ("cores", Operator::Gt(8), &[], false),
            ("cores", Operator::Lt(9), &[], true),
            ("disk", Operator::Gt(1), &[], false),
            ("rack", Operator::Lt(1), &[], false),
        ] {
            let requirement = requirement(&mut symbols, key, operator, values);
            assert_eq!(
                requirement.matches(&labels, &symbols),
                expected,
                "{key} {operator:?} {values:?}"
            );
        }
    }

    #[test]
    fn an_empty_term_selects_nothing_and_an_empty_label_selector_everything() {
        let symbols = Symbols::default();
        let labels = Labels::default();
        assert!(!NodeSelector(Box::new([NodeSelectorTerm::default()])).matches(Symbol::EMPTY, &labels, &symbols));
        assert!(!NodeSelector::default().matches(Symbol::EMPTY, &labels, &symbols));
        assert!(LabelSelector::default().matches(&labels, &symbols));
    }

    #[test]
    fn match_fields_compare_the_name_of_the_node() {
        let mut symbols = Symbols::default();
        let field = requirement(&mut symbols, "metadata.name", Operator::In, &["n1"]);
        let selector = NodeSelector(Box::new([NodeSelectorTerm {
            expressions: Box::default(),
            fields: Box::new([field]),
        }]));
        let (n1, n2) = (symbols.intern("n1"), symbols.intern("n2"));
        assert!(selector.matches(n1, &Labels::default(), &symbols));
        assert!(!selector.matches(n2, &Labels::default(), &symbols));
    }

    #[test]
    fn of_two_labels_with_one_key_the_later_counts() {
        let mut symbols = Symbols::default();
        let (key, old, new) = (symbols.intern("k"), symbols.intern("old"), symbols.intern("new"));
        assert_eq!(Labels::new([(key, old), (key, new)]).get(key), Some(new));
    }
}
