//! The index: a [`Snapshot`] that follows the objects of a cluster as they come, change and go.
//!
//! Whoever watches a cluster puts objects in and takes them out, in any order, and asks for the snapshot when a decision
//! is due. What that costs depends on what has changed, not on the size of the cluster, and what the snapshot says depends
//! on the objects alone, not on the order in which they came:
//!
//! - A pod costs what it takes to read it. Everything else that depends on it is a number that is changed in place.
//! - Nodes that come or go cost one pass over the numbers of all nodes, however many of them; a change of a node costs as
//!   much as its pods.
//! - The small kinds are kept as they are. When one object of a kind changes, the snapshot's list of the kind is made
//!   anew.
//!
//! Pods are kept as a snapshot has them, which is a few hundred bytes each. Classes of pods and symbols that nothing uses
//! any more are forgotten.
//!
//! ```
//! use autoscaler_core::{index::Index, manifest::{Objects, Source, read}};
//!
//! let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: default}\n";
//! let mut objects = Objects::default();
//! read(&Source { name: "dump.yaml".into(), text }, &mut objects)?;
//!
//! let mut index = Index::new();
//! index.put_pod(&objects.pods[0]);
//! assert_eq!(index.snapshot().unbound_pods().len(), 1);
//! index.remove_pod("default", "web");
//! assert!(index.snapshot().pods.is_empty());
//! # Ok::<(), autoscaler_core::manifest::ReadErrors>(())
//! ```
//!
//! The API and the order in which changes are taken in are here; pods, many pods at once (`bulk`), nodes, classes, the small
//! kinds and symbols have their files.

mod bulk;
mod classes;
mod kinds;
mod nodes;
mod pods;
mod symbols;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::{classes::ClassTable, kinds::Kinds, nodes::NodeTable, pods::PodTable};
use crate::{
    build::{self, Input, Priorities},
    constraint::{Rules, compile::Compiler, storage::Storage},
    snapshot::{ClassId, MachineId, NodeId, PodClass, Problem, Snapshot},
    usage::MeasuredUsage,
};

/// The objects of a cluster, folded into a [`Snapshot`].
#[derive(Clone, Debug)]
pub struct Index {
    snapshot: Snapshot,
    pods: PodTable,
    nodes: NodeTable,
    classes: ClassTable,
    compiler: Compiler,
    kinds: Kinds,
    storage: Storage,
    priorities: Priorities,
    /// The machines of the snapshot by the names of their nodes, in lower case.
    machines_by_node: BTreeMap<String, MachineId>,
    problems: Problems,
    dirty: Dirty,
    /// With how many symbols it is time to look for those that nothing uses.
    symbols_limit: usize,
}

/// What could not be understood, beside nodes.
#[derive(Clone, Debug, Default)]
struct Problems {
    settings: Vec<Problem>,
    groups: Vec<Problem>,
    machines: Vec<Problem>,
}

/// What has to be done before the snapshot is right.
#[derive(Clone, Debug, Default)]
struct Dirty {
    groups: bool,
    machines: bool,
    budgets: bool,
    daemon_sets: bool,
    namespaces: bool,
    priorities: bool,
    /// Nodes that carry this operator.
    own: bool,
    /// Which pods are nominated.
    nominated: bool,
    problems: bool,
    /// What all nodes belong to.
    owners: bool,
    /// Nodes of which only that is to be found out.
    nodes: BTreeSet<NodeId>,
    /// Nodes of which more is requested than can be added up.
    saturated: BTreeSet<NodeId>,
    /// All rules, and everything that is counted. Until they are made anew nothing is counted.
    rules: bool,
}

// === impl Index ===

impl Default for Index {
    fn default() -> Self {
        let mut snapshot = Snapshot::default();
        snapshot.well_known = build::well_known(&mut snapshot.symbols);
        snapshot.rules.zone_keys = build::zone_keys(&mut snapshot.symbols);
        Self {
            snapshot,
            pods: PodTable::default(),
            nodes: NodeTable::default(),
            classes: ClassTable::default(),
            compiler: Compiler::default(),
            kinds: Kinds::default(),
            storage: Storage::default(),
            priorities: Priorities::default(),
            machines_by_node: BTreeMap::new(),
            problems: Problems::default(),
            dirty: Dirty::default(),
            symbols_limit: symbols::FIRST_LIMIT,
        }
    }
}

impl Index {
    /// An index of an empty cluster.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An index of these objects. Of two objects of one name the later counts.
    #[must_use]
    pub fn from_input(input: &Input<'_>) -> Self {
        let mut index = Self::new();
        // Rules are made once, when all classes are known.
        index.dirty.rules = true;
        index.put_kinds(input);
        for node in &input.nodes {
            index.put_node(node);
        }
        // Pods find their nodes at once.
        index.settle_groups();
        index.settle_nodes();
        index.snapshot.pods.reserve_exact(input.pods.len());
        index.pods.reserve(&index.snapshot, input.pods.len());
        index.put_pods(input.pods.iter().copied(), drop);
        // Nothing has been forgotten yet.
        index.symbols_limit = index.symbols_limit.max(2 * index.snapshot.symbols.len());
        index.settle();
        index
    }

    /// The snapshot of all objects that are known now.
    pub fn snapshot(&mut self) -> &Snapshot {
        self.settle();
        &self.snapshot
    }

    /// The snapshot alone, which follows nothing any more.
    #[must_use]
    pub fn into_snapshot(mut self) -> Snapshot {
        self.settle();
        self.snapshot
    }

    /// Sets what nodes were measured to use, or that nobody measures.
    pub fn set_measured_usage(&mut self, measured: Option<Arc<MeasuredUsage>>) {
        self.snapshot.measured = measured;
    }

    /// Does what is still to be done. Each step needs those before it.
    fn settle(&mut self) {
        self.settle_groups();
        self.settle_nodes();
        self.settle_owners();
        self.settle_namespaces();
        self.settle_sources();
        self.settle_daemon_sets();
        self.settle_budgets();
        self.settle_symbols();
        self.settle_rules();
        self.settle_saturated();
        self.settle_own();
        self.settle_unbound();
        self.settle_nominated();
        self.settle_problems();
    }

    /// The id of a class, which has one user more.
    fn intern_class(&mut self, class: PodClass) -> ClassId {
        let (id, is_new) = self.classes.intern(&mut self.snapshot.classes, class);
        if is_new && !self.dirty.rules {
            let mut rules = std::mem::take(&mut self.snapshot.rules);
            self.compiler.add_class(&mut rules, &self.snapshot, id);
            self.snapshot.rules = rules;
        }
        id
    }

    /// Takes one user off a class.
    fn release_class(&mut self, id: ClassId) {
        if let Some(class) = self.classes.release(&mut self.snapshot.classes, id)
            && !self.dirty.rules
        {
            self.compiler.remove_class(&mut self.snapshot.rules, id, &class);
        }
    }

    /// Makes all rules anew where that is needed, and counts what new rules look at.
    fn settle_rules(&mut self) {
        self.dirty.rules |= self.compiler.is_wasteful();
        if self.dirty.rules {
            self.compiler = Compiler::default();
            let mut rules = Rules::default();
            rules.zone_keys = self.snapshot.rules.zone_keys;
            for id in self.classes.ids() {
                self.compiler.add_class(&mut rules, &self.snapshot, id);
            }
            self.snapshot.rules = rules;
            self.snapshot.start.reset(self.snapshot.nodes.len());
            self.dirty.rules = false;
            self.dirty.saturated.clear();
            // Room for the numbers, so that every pod is counted for all of them.
            self.snapshot.start.counters.grow(&self.snapshot.rules);
            for node in self.snapshot.node_ids() {
                for index in 0..self.snapshot.pods_on(node).len() {
                    if let Some(pod) = self.snapshot.pods_on(node).get(index) {
                        self.count_pod(*pod, true);
                    }
                }
            }
            return;
        }
        let Snapshot {
            pods,
            classes,
            pods_by_node,
            rules,
            start,
            ..
        } = &mut self.snapshot;
        let Some(new) = start.counters.grow(rules) else { return };
        let ids = (0..classes.len()).map(ClassId::from_index);
        let concerned: Vec<bool> = ids.map(|id| rules.is_uncounted(id, new)).collect();
        if !concerned.contains(&true) {
            return;
        }
        for (node, pods_of_node) in pods_by_node.iter().enumerate() {
            for pod in pods_of_node.iter().filter_map(|id| pods.get(id.index())) {
                let is_concerned = concerned.get(pod.class.index()).copied().unwrap_or(false);
                if is_concerned && !pod.is_terminal() {
                    start.counters.count_pod_anew(rules, pod.class, node, new);
                }
            }
        }
    }

    /// Finds the nodes that this operator runs on: the one that it was told, and those of its pods.
    fn settle_own(&mut self) {
        if !std::mem::take(&mut self.dirty.own) {
            return;
        }
        for node in &mut self.snapshot.nodes {
            node.own = false;
        }
        let told = self.kinds.own_node.as_ref();
        let told = told.and_then(|name| self.nodes.find(&self.snapshot, name));
        let of_pods = self
            .pods
            .more
            .iter()
            .filter(|(_, more)| more.own)
            .filter_map(|(id, _)| {
                let pod = self.snapshot.pods.get(id.index())?;
                pod.node.filter(|_| !pod.is_terminal())
            });
        let own: Vec<NodeId> = told.into_iter().chain(of_pods).collect();
        for id in own {
            if let Some(node) = self.snapshot.nodes.get_mut(id.index()) {
                node.own = true;
            }
        }
    }

    fn settle_problems(&mut self) {
        if !std::mem::take(&mut self.dirty.problems) {
            return;
        }
        let Problems {
            settings,
            groups,
            machines,
        } = &self.problems;
        let problems = settings
            .iter()
            .chain(groups)
            .chain(machines)
            .chain(self.node_problems());
        self.snapshot.problems = problems.cloned().collect();
    }
}
