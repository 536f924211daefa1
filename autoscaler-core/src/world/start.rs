//! Where every world starts: the nodes of a snapshot with the pods that are bound to them and have not ended. Kept with
//! the snapshot as numbers, so that a world is a copy of numbers and counts no pod.

use crate::{
    constraint::{Counters, Rules},
    resources::Resources,
    snapshot::{ClassId, NodeId, PodClass},
};

use super::Bin;

/// What is requested and counted on the nodes of a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    pub(super) bins: Vec<Bin>,
    pub(crate) counters: Counters,
}

// === impl Start ===

impl Start {
    /// Counts a pod that is bound to a node, or no longer.
    pub(crate) fn count_pod(&mut self, rules: &Rules, pod: (ClassId, &PodClass), node: NodeId, add: bool) {
        if let Some(bin) = self.bins.get_mut(node.index()) {
            bin.count_pod(&mut self.counters, rules, pod, node.index(), add);
        }
    }

    /// What the pods of a node request that have not ended.
    pub(crate) fn used(&self, node: NodeId) -> Option<&Resources> {
        self.bins.get(node.index()).map(|bin| &bin.used)
    }

    /// Whether what is requested of a node is more than can be counted, so that taking a pod off it gives a wrong sum.
    pub(crate) fn is_saturated(&self, node: NodeId) -> bool {
        self.bins.get(node.index()).is_some_and(|bin| bin.used.is_saturated())
    }

    /// Corrects what is requested of a node.
    pub(crate) fn set_used(&mut self, node: NodeId, used: Resources) {
        if let Some(bin) = self.bins.get_mut(node.index()) {
            bin.used = used;
        }
    }

    /// Counts a node for the rules that look at it, or no longer.
    pub(crate) fn count_node(&mut self, rules: &Rules, node: NodeId, add: bool) {
        self.counters.count_node(rules, node.index(), add);
    }

    /// Takes in other nodes: for each new one the old id that it had, if it had one. The others are empty and are still
    /// to be counted.
    pub(crate) fn renumber(&mut self, old_ids: &[Option<NodeId>]) {
        let mut old = std::mem::take(&mut self.bins);
        let mut bin = |old_id: &Option<NodeId>| old_id.and_then(|id| old.get_mut(id.index())).map(std::mem::take);
        self.bins = old_ids.iter().map(|id| bin(id).unwrap_or_default()).collect();
        self.counters.resize_nodes(old_ids.len());
    }

    /// Forgets everything, for this many nodes that are still to be counted.
    pub(crate) fn reset(&mut self, nodes: usize) {
        self.bins = vec![Bin::default(); nodes];
        self.counters.reset(nodes);
    }
}
