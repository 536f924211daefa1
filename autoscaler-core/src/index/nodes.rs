//! Nodes of an index: those that come and go are taken in together, a change of one costs no more than that node.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashTable;

use super::Index;
use crate::{
    build::{Owners, Reader},
    hash::hash_of,
    manifest::node as manifest,
    snapshot::{Node, NodeId, Problem, Snapshot},
    symbol::Symbols,
};

/// Finds nodes, and holds those that come and go until the snapshot is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeTable {
    /// Every node of the snapshot, by name.
    table: HashTable<NodeId>,
    joining: BTreeMap<String, Node>,
    leaving: BTreeSet<String>,
    /// What could not be understood of nodes, by name.
    problems: BTreeMap<String, NodeProblems>,
}

#[derive(Clone, Debug, Default)]
struct NodeProblems {
    of_manifest: Vec<Problem>,
    of_owner: Option<Problem>,
}

// === impl Index ===

impl Index {
    /// Adds a node, or replaces the one of the same name.
    pub fn put_node(&mut self, manifest: &manifest::Node) {
        let name = &manifest.metadata.name;
        let mut problems = Vec::new();
        let mut reader = Reader {
            symbols: &mut self.snapshot.symbols,
            problems: &mut problems,
        };
        let mut node = reader.node(manifest);
        node.volume_limits = self.storage.limits(name, &mut self.snapshot.symbols);
        self.set_node_problems(name, problems);
        match self.nodes.find(&self.snapshot, name) {
            Some(id) => {
                self.nodes.leaving.remove(name);
                self.update_node(id, node);
            }
            None => drop(self.nodes.joining.insert(name.clone(), node)),
        }
    }

    /// Removes a node. Pods that are bound to it stay, and wait for a node of its name.
    pub fn remove_node(&mut self, name: &str) {
        let was_joining = self.nodes.joining.remove(name).is_some();
        if was_joining {
            self.set_node_problems(name, Vec::new());
        } else if self.nodes.find(&self.snapshot, name).is_some() {
            self.nodes.leaving.insert(name.to_owned());
        }
    }

    /// Takes in a complete list of nodes: those that are not on it are removed.
    pub fn replace_nodes<'n>(&mut self, listed: impl IntoIterator<Item = &'n manifest::Node>) {
        let mut names = BTreeSet::new();
        for manifest in listed {
            names.insert(manifest.metadata.name.as_str());
            self.put_node(manifest);
        }
        let known = self.snapshot.nodes.iter().map(|node| self.snapshot.text(node.name));
        let joining = self.nodes.joining.keys().map(String::as_str);
        let gone = known.chain(joining).filter(|name| !names.contains(name));
        let gone: Vec<String> = gone.map(str::to_owned).collect();
        for name in gone {
            self.remove_node(&name);
        }
    }

    /// Reads again how many volumes a node can attach.
    pub(super) fn update_volume_limits(&mut self, name: &str) {
        let limits = self.storage.limits(name, &mut self.snapshot.symbols);
        let node = match self.nodes.find(&self.snapshot, name) {
            Some(id) => self.snapshot.nodes.get_mut(id.index()),
            None => self.nodes.joining.get_mut(name),
        };
        if let Some(node) = node {
            node.volume_limits = limits;
        }
    }

    /// Takes in nodes that have come or gone.
    pub(super) fn settle_nodes(&mut self) {
        if self.nodes.joining.is_empty() && self.nodes.leaving.is_empty() {
            return;
        }
        self.settle_saturated();
        let mut gone = BTreeSet::new();
        for name in std::mem::take(&mut self.nodes.leaving) {
            if let Some(id) = self.nodes.find(&self.snapshot, &name) {
                self.strand_pods(id, &name);
                self.count_node(id, false);
                self.dirty.problems |= self.nodes.problems.remove(&name).is_some();
                gone.insert(id);
            }
        }
        // Nothing is left on the nodes that go.
        self.dirty.saturated.clear();
        let old_ids = self.merge_nodes(&gone);
        self.nodes.rebuild(&self.snapshot);
        let Snapshot {
            symbols,
            nodes,
            rules,
            start,
            ..
        } = &mut self.snapshot;
        if self.dirty.rules {
            start.reset(nodes.len());
        } else {
            rules.renumber(symbols, nodes, &old_ids);
            start.renumber(&old_ids);
            self.dirty.rules = rules.has_stale_domains();
        }
        for (id, old_id) in self.snapshot.node_ids().zip(&old_ids) {
            if old_id.is_none() {
                self.count_node(id, true);
            }
        }
        self.find_named_nodes();
        self.dirty.owners = true;
        self.dirty.own = true;
    }

    /// Finds out what nodes belong to.
    pub(super) fn settle_owners(&mut self) {
        let nodes: Vec<NodeId> = if std::mem::take(&mut self.dirty.owners) {
            self.dirty.nodes.clear();
            for machine in &mut self.snapshot.machines {
                machine.node = None;
            }
            self.snapshot.node_ids().collect()
        } else {
            std::mem::take(&mut self.dirty.nodes).into_iter().collect()
        };
        if nodes.is_empty() {
            return;
        }
        let owners = Owners::new(&self.snapshot, &self.machines_by_node);
        let changed = nodes.into_iter().map(|id| (id, owners.of(self.snapshot.node(id))));
        let changed: Vec<_> = changed.collect();
        for (id, owner) in changed {
            let Snapshot {
                nodes,
                machines,
                symbols,
                ..
            } = &mut self.snapshot;
            let Some(node) = nodes.get_mut(id.index()) else {
                continue;
            };
            if let Some(machine) = owner.machine.and_then(|machine| machines.get_mut(machine.index())) {
                machine.node = Some(id);
            }
            node.machine = owner.machine;
            node.group = owner.group;
            node.offering = owner.offering;
            let name = symbols.text(node.name);
            let known = self.nodes.problems.get(name).and_then(|known| known.of_owner.as_ref());
            if known != owner.problem.as_ref() {
                let problems = self.nodes.problems.entry(name.to_owned()).or_default();
                problems.of_owner = owner.problem;
                self.dirty.problems = true;
            }
        }
    }

    /// What could not be understood of nodes, by name.
    pub(super) fn node_problems(&self) -> impl Iterator<Item = &Problem> {
        let problems = self.nodes.problems.values();
        problems.flat_map(|problems| problems.of_owner.iter().chain(&problems.of_manifest))
    }

    fn set_node_problems(&mut self, name: &str, problems: Vec<Problem>) {
        let known = self.nodes.problems.get(name);
        if known.map_or(&[][..], |known| &known.of_manifest) != problems {
            self.nodes.problems.entry(name.to_owned()).or_default().of_manifest = problems;
            self.dirty.problems = true;
        }
    }

    fn update_node(&mut self, id: NodeId, new: Node) {
        let Some(old) = self.snapshot.nodes.get(id.index()) else {
            return;
        };
        let new = Node {
            group: old.group,
            machine: old.machine,
            offering: old.offering.clone(),
            own: old.own,
            ..new
        };
        if *old == new {
            return;
        }
        let is_relabelled = old.labels != new.labels;
        let looks_different = is_relabelled || old.taints != new.taints;
        let pods = if looks_different && !self.dirty.rules {
            self.snapshot.pods_on(id).to_vec()
        } else {
            Vec::new()
        };
        if is_relabelled {
            self.dirty.nodes.insert(id);
        }
        if looks_different {
            for pod in &pods {
                self.count_pod(*pod, false);
            }
            self.count_node(id, false);
        }
        let Snapshot {
            symbols, nodes, rules, ..
        } = &mut self.snapshot;
        if looks_different {
            rules.update_node(symbols, id, &new);
        }
        if let Some(slot) = nodes.get_mut(id.index()) {
            *slot = new;
        }
        if looks_different {
            self.count_node(id, true);
            for pod in &pods {
                self.count_pod(*pod, true);
            }
        }
    }

    fn count_node(&mut self, id: NodeId, add: bool) {
        if !self.dirty.rules {
            self.snapshot.start.count_node(&self.snapshot.rules, id, add);
        }
    }

    /// Makes the list of nodes anew, ordered by name, with the pods of each. Gives the old id of each, if it had one.
    fn merge_nodes(&mut self, gone: &BTreeSet<NodeId>) -> Vec<Option<NodeId>> {
        let joining = std::mem::take(&mut self.nodes.joining);
        let Snapshot {
            symbols,
            nodes,
            pods,
            pods_by_node,
            ..
        } = &mut self.snapshot;
        let mut old_ids = Vec::with_capacity(nodes.len() + joining.len());
        let mut merged = Vec::with_capacity(nodes.len() + joining.len());
        let mut lists = Vec::with_capacity(nodes.len() + joining.len());
        let mut joining = joining.into_iter().peekable();
        let old_nodes = std::mem::take(nodes);
        let old_lists = std::mem::take(pods_by_node);
        for (index, (node, list)) in old_nodes.into_iter().zip(old_lists).enumerate() {
            let id = NodeId::from_index(index);
            if gone.contains(&id) {
                continue;
            }
            let name = symbols.text(node.name);
            while let Some((_, before)) = joining.next_if(|(joining, _)| joining.as_str() < name) {
                merged.push(before);
                lists.push(Vec::new());
                old_ids.push(None);
            }
            let new_id = NodeId::from_index(merged.len());
            if new_id != id {
                for pod in &list {
                    if let Some(pod) = pods.get_mut(pod.index()) {
                        pod.node = Some(new_id);
                    }
                }
            }
            merged.push(node);
            lists.push(list);
            old_ids.push(Some(id));
        }
        for (_, node) in joining {
            merged.push(node);
            lists.push(Vec::new());
            old_ids.push(None);
        }
        *nodes = merged;
        *pods_by_node = lists;
        old_ids
    }
}

// === impl NodeTable ===

impl NodeTable {
    pub(super) fn find(&self, snapshot: &Snapshot, name: &str) -> Option<NodeId> {
        self.find_in(&snapshot.nodes, &snapshot.symbols, name)
    }

    pub(super) fn find_in(&self, nodes: &[Node], symbols: &Symbols, name: &str) -> Option<NodeId> {
        let is_node = |id: &NodeId| name_of(nodes, symbols, *id) == name;
        self.table.find(hash_of(name), is_node).copied()
    }

    fn rebuild(&mut self, snapshot: &Snapshot) {
        let hash = |id: &NodeId| hash_of(name_of(&snapshot.nodes, &snapshot.symbols, *id));
        self.table.clear();
        for id in snapshot.node_ids() {
            self.table.insert_unique(hash(&id), id, hash);
        }
    }
}

fn name_of<'s>(nodes: &[Node], symbols: &'s Symbols, id: NodeId) -> &'s str {
    nodes.get(id.index()).map_or("", |node| symbols.text(node.name))
}
