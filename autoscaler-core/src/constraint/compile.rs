//! Makes the [`Rules`] of a snapshot: every distinct number that some class reads, and who moves it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    fit::NodeView,
    resources::Resources,
    selector::{LabelSelector, Labels, NodeSelector},
    snapshot::{ClassId, PodClass, Snapshot},
    symbol::Symbol,
    taint::Toleration,
};

use super::{ClassRules, Rules, SpreadCheck, SpreadRule, Topology, affinity::AffinityTerm, volumes::ZoneKeys};

/// What tells two numbers apart that affinity is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TallyKey<'s> {
    /// Pods that all of these terms mean, by one topology key.
    Affinity(&'s [AffinityTerm], Symbol),
    /// Pods that this anti-affinity term means.
    AntiAffinity(&'s AffinityTerm),
    /// Pods that have this anti-affinity term.
    Owners(&'s AffinityTerm),
}

/// What tells two spread rules apart: what is counted, on which nodes, and where the pods may go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SpreadKey<'s> {
    namespace: Symbol,
    selector: Option<&'s LabelSelector>,
    topology_key: Symbol,
    keys: Box<[Symbol]>,
    honor: (bool, bool),
    node_selector: &'s Labels,
    node_affinity: Option<&'s NodeSelector>,
    tolerations: &'s [Toleration],
    requests: &'s Resources,
}

/// Pods that look the same to selectors of other pods.
#[derive(Clone, Debug, Default)]
struct Look<'s> {
    labels: Option<&'s Labels>,
    tallies: BTreeSet<u32>,
    spreads: BTreeSet<u32>,
    repelled_by: BTreeSet<u32>,
}

struct Compiler<'s> {
    snapshot: &'s Snapshot,
    rules: Rules,
    topologies: BTreeMap<Symbol, usize>,
    tallies: BTreeMap<TallyKey<'s>, u32>,
    spreads: BTreeMap<SpreadKey<'s>, u32>,
    looks: Vec<Look<'s>>,
    looks_by_namespace: BTreeMap<Symbol, Vec<usize>>,
}

impl Rules {
    /// The rules of a snapshot that is complete but for them.
    pub(crate) fn new(snapshot: &Snapshot, zone_keys: ZoneKeys, exclusive_claims: usize) -> Self {
        let mut compiler = Compiler {
            snapshot,
            rules: Self {
                zone_keys,
                exclusive_claims,
                ..Self::default()
            },
            topologies: BTreeMap::new(),
            tallies: BTreeMap::new(),
            spreads: BTreeMap::new(),
            looks: Vec::new(),
            looks_by_namespace: BTreeMap::new(),
        };
        let look_of_class = compiler.find_looks();
        let mut classes: Vec<_> = (0..snapshot.classes.len())
            .map(|index| compiler.class(ClassId::from_index(index)))
            .collect();
        for ((rules, look), class) in classes.iter_mut().zip(look_of_class).zip(&snapshot.classes) {
            let Some(look) = compiler.looks.get(look) else { continue };
            rules.tallies = rules
                .tallies
                .iter()
                .copied()
                .chain(look.tallies.iter().copied())
                .collect();
            rules.repelled_by = look.repelled_by.iter().copied().collect();
            // Pods that are being deleted are not counted (kubernetes#87621).
            if !class.terminating {
                rules.spreads = look.spreads.iter().copied().collect();
            }
            rules.concerned = !rules.tallies.is_empty()
                || !rules.spreads.is_empty()
                || !rules.spread.is_empty()
                || !rules.affinity.is_empty()
                || !rules.anti_affinity.is_empty()
                || !rules.repelled_by.is_empty();
        }
        compiler.rules.classes = classes;
        compiler.rules
    }
}

impl<'s> Compiler<'s> {
    /// Fills in the looks, and gives the one of every class.
    fn find_looks(&mut self) -> Vec<usize> {
        let mut known = BTreeMap::new();
        let mut of_class = Vec::with_capacity(self.snapshot.classes.len());
        for class in &self.snapshot.classes {
            let look = *known.entry((class.namespace, &class.labels)).or_insert_with(|| {
                self.looks.push(Look {
                    labels: Some(&class.labels),
                    ..Look::default()
                });
                let index = self.looks.len() - 1;
                self.looks_by_namespace.entry(class.namespace).or_default().push(index);
                index
            });
            of_class.push(look);
        }
        of_class
    }

    /// What the constraints of a class itself say.
    fn class(&mut self, id: ClassId) -> ClassRules {
        let snapshot = self.snapshot;
        let (class, symbols, namespaces) = (snapshot.class(id), &snapshot.symbols, &snapshot.namespaces);
        let own = |term: &AffinityTerm| {
            term.covers_as_incoming(class.namespace, namespaces, symbols) && term.selects(&class.labels, symbols)
        };
        ClassRules {
            spread: self.spread(id, class),
            affinity: class
                .affinity
                .iter()
                .map(|term| {
                    self.tally(
                        TallyKey::Affinity(&class.affinity, term.topology_key),
                        term.topology_key,
                    )
                })
                .collect(),
            first_may_come: class.affinity.iter().all(own),
            anti_affinity: class
                .anti_affinity
                .iter()
                .map(|term| self.tally(TallyKey::AntiAffinity(term), term.topology_key))
                .collect(),
            tallies: class
                .anti_affinity
                .iter()
                .map(|term| self.tally(TallyKey::Owners(term), term.topology_key))
                .collect(),
            ..ClassRules::default()
        }
    }

    fn spread(&mut self, id: ClassId, class: &'s PodClass) -> Box<[SpreadCheck]> {
        let symbols = &self.snapshot.symbols;
        let keys: BTreeSet<Symbol> = class.spread.iter().map(|constraint| constraint.topology_key).collect();
        let keys: Box<[Symbol]> = keys.into_iter().collect();
        let check = |constraint: &'s super::spread::SpreadConstraint| {
            let selector = constraint.selector.as_ref();
            let key = SpreadKey {
                namespace: class.namespace,
                selector,
                topology_key: constraint.topology_key,
                keys: keys.clone(),
                honor: (constraint.honor_affinity, constraint.honor_taints),
                node_selector: &class.node_selector,
                node_affinity: class.node_affinity.as_ref(),
                tolerations: &class.tolerations,
                requests: &class.requests,
            };
            SpreadCheck {
                rule: self.spread_rule(id, key),
                max_skew: constraint.max_skew,
                min_domains: constraint.min_domains,
                own: u32::from(selector.is_some_and(|selector| selector.matches(&class.labels, symbols))),
            }
        };
        class.spread.iter().map(check).collect()
    }

    /// The spread rule that this key stands for.
    fn spread_rule(&mut self, class: ClassId, key: SpreadKey<'s>) -> u32 {
        if let Some(known) = self.spreads.get(&key) {
            return *known;
        }
        let snapshot = self.snapshot;
        let index = u32::try_from(self.rules.spreads.len()).unwrap_or(u32::MAX);
        let mut rule = SpreadRule {
            topology: self.topology(key.topology_key),
            class,
            keys: key.keys.clone(),
            honor_affinity: key.honor.0,
            honor_taints: key.honor.1,
            nodes: Vec::new(),
        };
        let unused = Resources::default();
        let counts = snapshot.nodes.iter().map(|node| {
            let view = NodeView {
                name: node.name,
                labels: &node.labels,
                taints: &node.taints,
                unschedulable: node.unschedulable,
                allocatable: &node.allocatable,
                used: &unused,
            };
            rule.counts(snapshot, &view)
        });
        rule.nodes = counts.collect();
        self.rules.spreads.push(rule);
        // The scheduler counts no pod at all for a selector without requirements.
        if let Some(selector) = key.selector.filter(|selector| !selector.0.is_empty()) {
            let looks = self.matching(
                |namespace| namespace == key.namespace,
                |labels| selector.matches(labels, &snapshot.symbols),
            );
            for look in looks {
                if let Some(look) = self.looks.get_mut(look) {
                    look.spreads.insert(index);
                }
            }
        }
        self.spreads.insert(key, index);
        index
    }

    /// The tally that this key stands for.
    fn tally(&mut self, key: TallyKey<'s>, topology_key: Symbol) -> u32 {
        if let Some(known) = self.tallies.get(&key) {
            return *known;
        }
        let topology = self.topology(topology_key);
        let index = u32::try_from(self.rules.tallies.len()).unwrap_or(u32::MAX);
        self.rules.tallies.push(topology);
        self.tallies.insert(key, index);
        let (symbols, namespaces) = (&self.snapshot.symbols, &self.snapshot.namespaces);
        let (looks, counted) = match key {
            TallyKey::Affinity(terms, _) => {
                let covers = |namespace| {
                    terms
                        .iter()
                        .all(|term| term.covers_as_incoming(namespace, namespaces, symbols))
                };
                (
                    self.matching(covers, |labels| terms.iter().all(|term| term.selects(labels, symbols))),
                    true,
                )
            }
            TallyKey::AntiAffinity(term) => {
                let covers = |namespace| term.covers_as_incoming(namespace, namespaces, symbols);
                (self.matching(covers, |labels| term.selects(labels, symbols)), true)
            }
            TallyKey::Owners(term) => {
                let covers = |namespace| term.covers_as_existing(namespace, namespaces, symbols);
                (self.matching(covers, |labels| term.selects(labels, symbols)), false)
            }
        };
        for look in looks {
            if let Some(look) = self.looks.get_mut(look) {
                let set = if counted {
                    &mut look.tallies
                } else {
                    &mut look.repelled_by
                };
                set.insert(index);
            }
        }
        index
    }

    /// The looks that a selector means.
    fn matching(&self, covers: impl Fn(Symbol) -> bool, selects: impl Fn(&Labels) -> bool) -> Vec<usize> {
        let covered = self
            .looks_by_namespace
            .iter()
            .filter(|(namespace, _)| covers(**namespace));
        let looks = covered.flat_map(|(_, looks)| looks.iter().copied());
        let selected = |look: &usize| self.looks.get(*look).and_then(|look| look.labels).is_some_and(&selects);
        looks.filter(selected).collect()
    }

    fn topology(&mut self, key: Symbol) -> usize {
        if let Some(known) = self.topologies.get(&key) {
            return *known;
        }
        let mut topology = Topology {
            key,
            per_host: key == self.snapshot.well_known.hostname,
            ..Topology::default()
        };
        for node in &self.snapshot.nodes {
            let domain = node.labels.get(key).map(|value| {
                let next = u32::try_from(topology.domains.len()).unwrap_or(u32::MAX);
                *topology.domains.entry(value).or_insert(next)
            });
            topology.of_node.push(domain);
        }
        self.rules.topologies.push(topology);
        let index = self.rules.topologies.len() - 1;
        self.topologies.insert(key, index);
        index
    }
}
