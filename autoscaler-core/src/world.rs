//! The simulated cluster in which placements are tried: nodes that exist, that are to come and that are planned, with
//! what is requested of each.
//!
//! A what-if is a [`World::mark`], some operations and a [`World::rollback`]; its cost is what it touched. Nothing here
//! chooses anything: order and preference are the business of the callers.

use std::sync::Arc;

use crate::{
    fit::{self, Misfit, NodeView},
    resources::Resources,
    snapshot::{ClassId, NodeId, Snapshot},
    template::Template,
};

/// A node of the simulated cluster. Those of the snapshot come first and have the same index as their [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BinId(u32);

/// A point to which [`World::rollback`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// The simulated cluster.
#[derive(Clone, Debug)]
pub struct World<'s> {
    snapshot: &'s Snapshot,
    bins: Vec<Bin>,
    log: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Bin {
    /// What a new node would look like; `None` for a node of the snapshot.
    template: Option<Arc<Template>>,
    used: Resources,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Placed(ClassId, BinId),
    Unplaced(ClassId, BinId),
    Added,
}

// === impl BinId ===

impl BinId {
    /// The node of the snapshot that this stands for, if it exists already.
    #[must_use]
    pub fn node(self, snapshot: &Snapshot) -> Option<NodeId> {
        (self.index() < snapshot.nodes.len()).then_some(NodeId(self.0))
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<NodeId> for BinId {
    fn from(node: NodeId) -> Self {
        Self(node.0)
    }
}

// === impl World ===

impl<'s> World<'s> {
    /// The cluster as the snapshot has it: every node with the pods that are bound to it and have not ended.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot) -> Self {
        let bins = snapshot.node_ids().map(|node| {
            let mut used = Resources::default();
            for pod in snapshot.pods_on(node).iter().map(|pod| snapshot.pod(*pod)) {
                if !pod.is_terminal() {
                    used.add(&snapshot.class_of(pod).requests);
                }
            }
            Bin { template: None, used }
        });
        Self { snapshot, bins: bins.collect(), log: Vec::new() }
    }

    /// The snapshot below.
    #[must_use]
    pub const fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// Adds a node that does not exist yet, with the pods of its DaemonSets on it.
    pub fn add(&mut self, template: &Arc<Template>) -> BinId {
        // Four billion nodes do not fit into memory.
        let id = BinId(u32::try_from(self.bins.len()).unwrap_or(u32::MAX));
        self.bins.push(Bin { template: Some(Arc::clone(template)), used: template.daemons.clone() });
        self.log.push(Change::Added);
        id
    }

    /// Adds a node that is starting: what its pods request already, if its Node exists, or the pods of its DaemonSets.
    pub fn add_with(&mut self, template: &Arc<Template>, node: Option<NodeId>) -> BinId {
        let started = node.and_then(|node| self.bins.get(node.0 as usize)).map(|bin| bin.used.clone());
        let id = self.add(template);
        if let (Some(used), Some(bin)) = (started, self.bins.last_mut()) {
            bin.used.raise_to(&used);
        }
        id
    }

    /// What the rules see of a node.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    pub fn view(&self, bin: BinId) -> NodeView<'_> {
        let Bin { template, used } = &self.bins[bin.index()];
        match template {
            Some(template) => template.view(used),
            None => {
                let node = self.snapshot.node(NodeId(bin.0));
                NodeView {
                    name: node.name,
                    labels: &node.labels,
                    taints: &node.taints,
                    unschedulable: node.unschedulable,
                    allocatable: &node.allocatable,
                    used,
                }
            }
        }
    }

    /// Why one more pod of this class does not fit this node, or `None` when it fits.
    #[must_use]
    pub fn misfit(&self, class: ClassId, bin: BinId) -> Option<Misfit> {
        let snapshot = self.snapshot;
        fit::misfit(snapshot.class(class), &self.view(bin), &snapshot.well_known, &snapshot.symbols)
    }

    /// Puts a pod of this class on a node, whether it fits or not.
    pub fn place(&mut self, class: ClassId, bin: BinId) {
        self.apply(Change::Placed(class, bin));
        self.log.push(Change::Placed(class, bin));
    }

    /// Takes a pod of this class off a node.
    pub fn unplace(&mut self, class: ClassId, bin: BinId) {
        self.apply(Change::Unplaced(class, bin));
        self.log.push(Change::Unplaced(class, bin));
    }

    /// Remembers the state of now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.log.len())
    }

    /// Undoes everything since the mark.
    pub fn rollback(&mut self, mark: Mark) {
        while mark.0 < self.log.len() {
            match self.log.pop() {
                Some(Change::Placed(class, bin)) => self.apply(Change::Unplaced(class, bin)),
                Some(Change::Unplaced(class, bin)) => self.apply(Change::Placed(class, bin)),
                Some(Change::Added) => drop(self.bins.pop()),
                None => {}
            }
        }
    }

    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    fn apply(&mut self, change: Change) {
        match change {
            Change::Placed(class, bin) => self.bins[bin.index()].used.add(&self.snapshot.class(class).requests),
            Change::Unplaced(class, bin) => self.bins[bin.index()].used.subtract(&self.snapshot.class(class).requests),
            Change::Added => {}
        }
    }
}
