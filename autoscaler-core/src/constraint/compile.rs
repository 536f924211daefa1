//! Makes the [`Rules`] of a snapshot, one class of pods after the other: every distinct number that some class reads, and
//! who moves it.
//!
//! A class that comes adds the numbers that only it reads and is matched with those that are there. One that goes leaves
//! its numbers behind; when they are too many, everything is made anew ([`Compiler::is_wasteful`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    fit::{self, NodeView},
    resources::Resources,
    selector::{LabelSelector, Labels, NodeSelector, Operator},
    snapshot::{ClassId, Node, NodeId, PodClass, Snapshot},
    symbol::{Symbol, Symbols},
    taint::Toleration,
};

use super::{
    ClassRules, Rules, SpreadCheck, SpreadRule, Topology,
    affinity::{AffinityTerm, Namespaces},
    spread::SpreadConstraint,
};

/// Numbers that nobody reads any more are kept up to this many, and beyond it up to as many as are read.
const SPARE_NUMBERS: usize = 64;

/// What is needed to add classes to [`Rules`], and to take them away. It belongs to one value of rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compiler {
    topologies: BTreeMap<Symbol, usize>,
    tallies: Table<TallyKey>,
    spreads: Table<SpreadKey>,
    /// What counts pods of a namespace, by the label that it asks for, if it asks for one.
    by_namespace: BTreeMap<(Symbol, Option<Label>), Vec<Subject>>,
    /// What counts pods of namespaces by their labels.
    by_label: Vec<Subject>,
    /// Classes by their namespace.
    classes: BTreeSet<(Symbol, ClassId)>,
    /// Classes by their namespace and each of their labels.
    classes_by_label: BTreeSet<(Symbol, Label, ClassId)>,
    /// What each class reads.
    owned: Vec<Owned>,
}

/// Key and value of a label.
type Label = (Symbol, Symbol);

/// Numbers by what tells them apart.
#[derive(Clone, Debug)]
struct Table<K> {
    indices: BTreeMap<Arc<K>, u32>,
    entries: Vec<Entry<K>>,
    /// How many are read by no class.
    unowned: usize,
}

#[derive(Clone, Debug)]
struct Entry<K> {
    key: Arc<K>,
    owners: u32,
}

/// What tells two numbers apart that affinity is judged by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TallyKey {
    /// Pods that all of these terms mean, by one topology key.
    Affinity(Box<[AffinityTerm]>, Symbol),
    /// Pods that this anti-affinity term means.
    AntiAffinity(AffinityTerm),
    /// Pods that have this anti-affinity term.
    Owners(AffinityTerm),
}

/// What tells two spread rules apart: what is counted, and on which nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SpreadKey {
    namespace: Symbol,
    selector: Option<LabelSelector>,
    topology_key: Symbol,
    keys: Box<[Symbol]>,
    /// What decides which nodes are looked at, where the constraint honors it.
    affinity: Option<(Labels, Option<NodeSelector>)>,
    tolerations: Option<Box<[Toleration]>>,
}

/// Something that counts pods.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Tally(u32),
    Spread(u32),
}

#[derive(Clone, Debug, Default)]
struct Owned {
    tallies: Box<[u32]>,
    spreads: Box<[u32]>,
}

// === impl Compiler ===

impl Compiler {
    /// Adds a class to the rules, which have been taken out of the snapshot.
    pub(crate) fn add_class(&mut self, rules: &mut Rules, snapshot: &Snapshot, id: ClassId) {
        let class = snapshot.class(id);
        let mut of_class = self.own_rules(rules, snapshot, class);
        self.own(id, &of_class);
        self.match_class(snapshot, class, &mut of_class);
        of_class.settle();
        if rules.classes.len() <= id.index() {
            rules.classes.resize_with(id.index() + 1, ClassRules::default);
        }
        if let Some(slot) = rules.classes.get_mut(id.index()) {
            *slot = of_class;
        }
        self.classes.insert((class.namespace, id));
        for label in class.labels.iter() {
            self.classes_by_label.insert((class.namespace, label, id));
        }
    }

    /// Takes a class out of the rules. No pod of it may be counted any more.
    pub(crate) fn remove_class(&mut self, rules: &mut Rules, id: ClassId, class: &PodClass) {
        if let Some(slot) = rules.classes.get_mut(id.index()) {
            *slot = ClassRules::default();
        }
        self.classes.remove(&(class.namespace, id));
        for label in class.labels.iter() {
            self.classes_by_label.remove(&(class.namespace, label, id));
        }
        let owned = self.owned.get_mut(id.index()).map(std::mem::take).unwrap_or_default();
        for tally in &owned.tallies {
            self.tallies.disown(*tally);
        }
        for spread in &owned.spreads {
            self.spreads.disown(*spread);
        }
    }

    /// Whether labels of namespaces matter to any rule.
    pub(crate) const fn reads_namespaces(&self) -> bool {
        !self.by_label.is_empty()
    }

    /// Whether so many numbers are read by nobody that everything should be made anew.
    pub(crate) fn is_wasteful(&self) -> bool {
        let unowned = self.tallies.unowned + self.spreads.unowned;
        let all = self.tallies.entries.len() + self.spreads.entries.len();
        SPARE_NUMBERS < unowned && all - unowned < unowned
    }

    /// What the constraints of a class itself say.
    fn own_rules(&mut self, rules: &mut Rules, snapshot: &Snapshot, class: &PodClass) -> ClassRules {
        let (symbols, namespaces) = (&snapshot.symbols, &snapshot.namespaces);
        let own = |term: &AffinityTerm| {
            term.covers_as_incoming(class.namespace, namespaces, symbols) && term.selects(&class.labels, symbols)
        };
        let mut tally = |key, topology| self.tally(rules, snapshot, key, topology);
        let affinity = class.affinity.iter().map(|term| {
            let key = TallyKey::Affinity(class.affinity.clone(), term.topology_key);
            tally(key, term.topology_key)
        });
        let affinity = affinity.collect();
        let anti_affinity = class.anti_affinity.iter();
        let anti_affinity = anti_affinity
            .map(|term| tally(TallyKey::AntiAffinity(term.clone()), term.topology_key))
            .collect();
        let owners = class.anti_affinity.iter();
        let tallies: Vec<u32> = owners
            .map(|term| tally(TallyKey::Owners(term.clone()), term.topology_key))
            .collect();
        ClassRules {
            first_may_come: class.affinity.iter().all(own),
            affinity,
            anti_affinity,
            tallies,
            spread: self.own_spread(rules, snapshot, class),
            ..ClassRules::default()
        }
    }

    fn own_spread(&mut self, rules: &mut Rules, snapshot: &Snapshot, class: &PodClass) -> Box<[SpreadCheck]> {
        let keys: BTreeSet<Symbol> = class.spread.iter().map(|constraint| constraint.topology_key).collect();
        let keys: Box<[Symbol]> = keys.into_iter().collect();
        let check = |constraint: &SpreadConstraint| {
            let key = SpreadKey {
                namespace: class.namespace,
                selector: constraint.selector.clone(),
                topology_key: constraint.topology_key,
                keys: keys.clone(),
                affinity: constraint
                    .honor_affinity
                    .then(|| (class.node_selector.clone(), class.node_affinity.clone())),
                tolerations: constraint.honor_taints.then(|| class.tolerations.clone()),
            };
            let selects = |selector: &LabelSelector| selector.matches(&class.labels, &snapshot.symbols);
            SpreadCheck {
                rule: self.spread_rule(rules, snapshot, key),
                max_skew: constraint.max_skew,
                min_domains: constraint.min_domains,
                own: u32::from(constraint.selector.as_ref().is_some_and(selects)),
            }
        };
        class.spread.iter().map(check).collect()
    }

    /// Remembers what a class reads, once for each time that it does.
    fn own(&mut self, id: ClassId, of_class: &ClassRules) {
        let read = of_class.affinity.iter().chain(&of_class.anti_affinity);
        let owned = Owned {
            // So far these are the numbers of its own anti-affinity only.
            tallies: read.chain(&of_class.tallies).copied().collect(),
            spreads: of_class.spread.iter().map(|check| check.rule).collect(),
        };
        if self.owned.len() <= id.index() {
            self.owned.resize_with(id.index() + 1, Owned::default);
        }
        if let Some(slot) = self.owned.get_mut(id.index()) {
            *slot = owned;
        }
    }

    /// Finds everything that counts pods of a class, or keeps them away.
    fn match_class(&self, snapshot: &Snapshot, class: &PodClass, of_class: &mut ClassRules) {
        let asked_for = class.labels.iter().map(Some).chain([None]);
        let here = asked_for.filter_map(|label| self.by_namespace.get(&(class.namespace, label)));
        for subject in here.flatten().chain(&self.by_label).copied() {
            match subject {
                Subject::Tally(index) => {
                    let Some(key) = self.tallies.key(index) else { continue };
                    let covers = key.covers(class.namespace, &snapshot.namespaces, &snapshot.symbols);
                    if covers && key.selects(&class.labels, &snapshot.symbols) {
                        of_class.add_tally(key, index);
                    }
                }
                Subject::Spread(index) => {
                    let Some(key) = self.spreads.key(index) else { continue };
                    // Pods that are being deleted are not counted (kubernetes#87621).
                    if !class.terminating && key.selects(&class.labels, &snapshot.symbols) {
                        of_class.spreads.push(index);
                    }
                }
            }
        }
    }

    /// The spread rule that this key stands for.
    fn spread_rule(&mut self, rules: &mut Rules, snapshot: &Snapshot, key: SpreadKey) -> u32 {
        if let Some(known) = self.spreads.own(&key) {
            return known;
        }
        let mut rule = SpreadRule {
            topology: self.topology(rules, snapshot, key.topology_key),
            keys: key.keys.clone(),
            affinity: key.affinity.clone(),
            tolerations: key.tolerations.clone(),
            sees_ghosts: key.tolerations.as_ref().is_none_or(|tolerations| {
                let cordon = fit::cordon(&snapshot.well_known);
                tolerations.iter().any(|toleration| toleration.tolerates(&cordon))
            }),
            nodes: Vec::new(),
        };
        let counts = snapshot
            .nodes
            .iter()
            .map(|node| rule.counts_node(&snapshot.symbols, node));
        rule.nodes = counts.collect();
        rules.spreads.push(rule);
        let (index, key) = self.spreads.add(key);
        // The scheduler counts no pod at all for a selector without requirements.
        if key.selector.as_ref().is_some_and(|selector| !selector.0.is_empty()) {
            let label = key.selector.as_ref().and_then(label_of);
            let subjects = self.by_namespace.entry((key.namespace, label)).or_default();
            subjects.push(Subject::Spread(index));
            for id in self.classes_with(key.namespace, label) {
                let class = snapshot.class(id);
                if let Some(of_class) = rules.classes.get_mut(id.index())
                    && !class.terminating
                    && key.selects(&class.labels, &snapshot.symbols)
                {
                    of_class.spreads.push(index);
                    of_class.settle();
                }
            }
        }
        index
    }

    /// The tally that this key stands for.
    fn tally(&mut self, rules: &mut Rules, snapshot: &Snapshot, key: TallyKey, topology_key: Symbol) -> u32 {
        if let Some(known) = self.tallies.own(&key) {
            return known;
        }
        let topology = self.topology(rules, snapshot, topology_key);
        rules.tallies.push(topology);
        let (index, key) = self.tallies.add(key);
        let mut classes = Vec::new();
        match key.namespaces() {
            Some(namespaces) => {
                let label = key.label();
                for namespace in namespaces.iter().copied() {
                    let subjects = self.by_namespace.entry((namespace, label)).or_default();
                    subjects.push(Subject::Tally(index));
                    classes.extend(self.classes_with(namespace, label));
                }
            }
            None => {
                self.by_label.push(Subject::Tally(index));
                classes.extend(self.classes.iter().map(|(_, id)| *id));
            }
        }
        let (symbols, known) = (&snapshot.symbols, &snapshot.namespaces);
        for id in classes {
            let class = snapshot.class(id);
            if let Some(of_class) = rules.classes.get_mut(id.index())
                && key.covers(class.namespace, known, symbols)
                && key.selects(&class.labels, symbols)
            {
                of_class.add_tally(&key, index);
                of_class.settle();
            }
        }
        index
    }

    /// The classes of a namespace, with this label if there is one.
    fn classes_with(&self, namespace: Symbol, label: Option<Label>) -> Vec<ClassId> {
        let (first, last) = (ClassId(0), ClassId(u32::MAX));
        match label {
            Some(label) => {
                let range = self
                    .classes_by_label
                    .range((namespace, label, first)..=(namespace, label, last));
                range.map(|(.., id)| *id).collect()
            }
            None => {
                let range = self.classes.range((namespace, first)..=(namespace, last));
                range.map(|(_, id)| *id).collect()
            }
        }
    }

    fn topology(&mut self, rules: &mut Rules, snapshot: &Snapshot, key: Symbol) -> usize {
        if let Some(known) = self.topologies.get(&key) {
            return *known;
        }
        let mut topology = Topology {
            key,
            per_host: key == snapshot.well_known.hostname,
            ..Topology::default()
        };
        topology.of_node = snapshot.nodes.iter().map(|node| topology.domain_of(node)).collect();
        rules.topologies.push(topology);
        let index = rules.topologies.len() - 1;
        self.topologies.insert(key, index);
        let mut by_name: Vec<_> = rules.topologies.iter_mut().collect();
        by_name.sort_by_key(|topology| snapshot.text(topology.key));
        for (rank, topology) in by_name.into_iter().enumerate() {
            topology.rank = rank;
        }
        index
    }
}

// === impl Rules ===

impl Rules {
    /// Looks at a node again whose labels or taints have changed. It must not be counted meanwhile.
    pub(crate) fn update_node(&mut self, symbols: &Symbols, id: NodeId, node: &Node) {
        for topology in &mut self.topologies {
            let domain = topology.domain_of(node);
            if let Some(of_node) = topology.of_node.get_mut(id.index()) {
                *of_node = domain;
            }
        }
        for rule in &mut self.spreads {
            let counts = rule.counts_node(symbols, node);
            if let Some(of_node) = rule.nodes.get_mut(id.index()) {
                *of_node = counts;
            }
        }
    }

    /// Takes in other nodes: for each new one the old id that it had, if it had one.
    pub(crate) fn renumber(&mut self, symbols: &Symbols, nodes: &[Node], old_ids: &[Option<NodeId>]) {
        let both = || nodes.iter().zip(old_ids);
        for topology in &mut self.topologies {
            let old = std::mem::take(&mut topology.of_node);
            let domain = |(node, old_id): (&Node, &Option<NodeId>)| match old_id {
                Some(old_id) => old.get(old_id.index()).copied().flatten(),
                None => topology.domain_of(node),
            };
            topology.of_node = both().map(domain).collect();
        }
        for rule in &mut self.spreads {
            let old = std::mem::take(&mut rule.nodes);
            let counts = |(node, old_id): (&Node, &Option<NodeId>)| match old_id {
                Some(old_id) => old.get(old_id.index()).copied().unwrap_or(false),
                None => rule.counts_node(symbols, node),
            };
            rule.nodes = both().map(counts).collect();
        }
    }

    /// How many numbers there are to keep.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> usize {
        self.tallies.len() + self.spreads.len()
    }

    /// Whether the domains of nodes that are gone are so many that everything should be made anew.
    pub(crate) fn has_stale_domains(&self) -> bool {
        let limit = |topology: &Topology| topology.of_node.len() * 2 + SPARE_NUMBERS;
        self.topologies
            .iter()
            .any(|topology| limit(topology) < topology.domains.len())
    }
}

impl Topology {
    /// The domain that a node is in, which is added when it is new.
    fn domain_of(&mut self, node: &Node) -> Option<u32> {
        let next = u32::try_from(self.domains.len()).unwrap_or(u32::MAX);
        let value = node.labels.get(self.key)?;
        Some(*self.domains.entry(value).or_insert(next))
    }
}

impl SpreadRule {
    fn counts_node(&self, symbols: &Symbols, node: &Node) -> bool {
        let view = NodeView {
            name: node.name,
            labels: &node.labels,
            taints: &node.taints,
            unschedulable: node.unschedulable,
            allocatable: &node.allocatable,
            used: &Resources::default(),
        };
        self.counts(symbols, &view)
    }
}

impl ClassRules {
    fn add_tally(&mut self, key: &TallyKey, index: u32) {
        match key {
            TallyKey::Affinity(..) | TallyKey::AntiAffinity(_) => self.tallies.push(index),
            TallyKey::Owners(_) => self.repelled_by.push(index),
        }
    }

    /// To be called after every addition: lists are ordered, so that classes that read and move the same compare equal.
    fn settle(&mut self) {
        self.tallies.sort_unstable();
        self.spreads.sort_unstable();
        self.repelled_by.sort_unstable();
        self.concerned = !self.tallies.is_empty()
            || !self.spreads.is_empty()
            || !self.spread.is_empty()
            || !self.affinity.is_empty()
            || !self.anti_affinity.is_empty()
            || !self.repelled_by.is_empty();
    }
}

// === impl Table ===

impl<K: Ord> Table<K> {
    /// The index of a known key, which has one owner more.
    fn own(&mut self, key: &K) -> Option<u32> {
        let index = *self.indices.get(key)?;
        let entry = self.entries.get_mut(index as usize)?;
        if entry.owners == 0 {
            self.unowned -= 1;
        }
        entry.owners += 1;
        Some(index)
    }

    /// Adds a key with one owner.
    fn add(&mut self, key: K) -> (u32, Arc<K>) {
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let key = Arc::new(key);
        self.indices.insert(Arc::clone(&key), index);
        self.entries.push(Entry {
            key: Arc::clone(&key),
            owners: 1,
        });
        (index, key)
    }

    fn disown(&mut self, index: u32) {
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.owners = entry.owners.saturating_sub(1);
            if entry.owners == 0 {
                self.unowned += 1;
            }
        }
    }

    fn key(&self, index: u32) -> Option<&K> {
        self.entries.get(index as usize).map(|entry| entry.key.as_ref())
    }
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            indices: BTreeMap::new(),
            entries: Vec::new(),
            unowned: 0,
        }
    }
}

// === impl TallyKey ===

impl TallyKey {
    /// The only namespaces whose pods it can count; `None` when their labels decide.
    fn namespaces(&self) -> Option<&[Symbol]> {
        let first = match self {
            Self::Affinity(terms, _) => terms.first()?,
            Self::AntiAffinity(term) | Self::Owners(term) => term,
        };
        first.namespace_selector.is_none().then_some(&first.namespaces)
    }

    /// A label that all pods have that it can count, if it asks for one.
    fn label(&self) -> Option<Label> {
        let first = match self {
            Self::Affinity(terms, _) => terms.first()?,
            Self::AntiAffinity(term) | Self::Owners(term) => term,
        };
        label_of(first.selector.as_ref()?)
    }

    fn covers(&self, namespace: Symbol, known: &Namespaces, symbols: &Symbols) -> bool {
        match self {
            Self::Affinity(terms, _) => terms
                .iter()
                .all(|term| term.covers_as_incoming(namespace, known, symbols)),
            Self::AntiAffinity(term) => term.covers_as_incoming(namespace, known, symbols),
            Self::Owners(term) => term.covers_as_existing(namespace, known, symbols),
        }
    }

    fn selects(&self, labels: &Labels, symbols: &Symbols) -> bool {
        match self {
            Self::Affinity(terms, _) => terms.iter().all(|term| term.selects(labels, symbols)),
            Self::AntiAffinity(term) | Self::Owners(term) => term.selects(labels, symbols),
        }
    }
}

// === impl SpreadKey ===

impl SpreadKey {
    fn selects(&self, labels: &Labels, symbols: &Symbols) -> bool {
        let selector = self.selector.as_ref();
        selector.is_some_and(|selector| selector.matches(labels, symbols))
    }
}

/// A label that everything has that the selector selects, if it asks for one.
fn label_of(selector: &LabelSelector) -> Option<Label> {
    selector.0.iter().find_map(|requirement| match &*requirement.values {
        [value] if requirement.operator == Operator::In => Some((requirement.key, *value)),
        _ => None,
    })
}
