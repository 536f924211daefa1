//! The simulated cluster in which placements are tried: nodes that exist, that are to come and that are planned, with
//! what is requested of each.
//!
//! A what-if is a [`World::mark`], some operations and a [`World::rollback`]; its cost is what it touched. Nothing here
//! chooses anything: order and preference are the business of the callers.

mod start;

pub(crate) use self::start::Start;

use std::sync::Arc;

use crate::{
    constraint::{
        Beside, BinState, Counters, Possible, Rules,
        ports::Ports,
        volumes::{VolumeNeeds, VolumeNode, VolumesInUse},
    },
    fit::{self, Misfit, NodeView},
    resources::Resources,
    snapshot::{ClassId, NodeId, PodClass, Snapshot},
    template::Template,
};

/// A node of the simulated cluster. Those of the snapshot come first and have the same index as their [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BinId(u32);

/// Domains that count although no node is in them yet.
#[derive(Debug)]
pub(crate) struct PossibleDomains(Possible);

/// A point to which [`World::rollback`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// The simulated cluster.
#[derive(Clone, Debug)]
pub struct World<'s> {
    snapshot: &'s Snapshot,
    bins: Vec<Bin>,
    counters: Counters,
    log: Vec<Change>,
}

#[derive(Clone, Debug, Default)]
struct Bin {
    /// What a new node would look like; `None` for a node of the snapshot.
    template: Option<Arc<Template>>,
    used: Resources,
    ports: Ports,
    volumes: VolumesInUse,
    /// Pods that are not there yet and for which room is kept, by ascending priority.
    reserved: Vec<ClassId>,
    /// Whether the pods of its DaemonSets are counted for constraints: not when they are there as pods of a node.
    counts_daemons: bool,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Placed(ClassId, BinId),
    /// So many pods that nothing but what they request is counted of.
    PlacedMany(ClassId, BinId, u32),
    Unplaced(ClassId, BinId),
    Reserved(ClassId, BinId),
    Added,
    /// What the node was before.
    State(BinId, BinState),
    DomainsAdded(usize),
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
        let Start { bins, counters } = snapshot.start.clone();
        Self {
            snapshot,
            bins,
            counters,
            log: Vec::new(),
        }
    }

    /// The snapshot below.
    #[must_use]
    pub const fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// Adds a node that does not exist yet, with the pods of its DaemonSets on it. It is a host of its own.
    pub fn add(&mut self, template: &Arc<Template>) -> BinId {
        self.add_bin(template, None)
    }

    /// Adds a node that is starting: with what its pods hold already, if its Node exists, or the pods of its DaemonSets.
    pub fn add_with(&mut self, template: &Arc<Template>, node: Option<NodeId>) -> BinId {
        let started = node.and_then(|node| self.bins.get(node.index())).cloned();
        let id = self.add_bin(template, node.filter(|_| started.is_some()));
        if let (Some(started), Some(bin)) = (started, self.bins.last_mut()) {
            bin.used.raise_to(&started.used);
            bin.ports.take_all(&started.ports);
            bin.volumes = started.volumes;
        }
        id
    }

    /// Takes a node out of the world. Pods must have been taken off it, other than those of its DaemonSets when it does
    /// not exist yet. Its id stays taken, and nothing fits it.
    pub fn remove(&mut self, bin: BinId) {
        self.change_state(bin, BinState::Gone);
    }

    /// Turns a node into what a drained node is until its VM is gone: an empty node that is cordoned. Nothing fits it, not
    /// even what tolerates the cordon, and rules that look at all nodes still see it. Its pods must have been taken off it.
    pub fn make_ghost(&mut self, bin: BinId) {
        self.change_state(bin, BinState::Ghost);
    }

    /// Lets the topology domains of nodes that could be added count as domains from now on, for spread constraints of
    /// pods that could use them, until a [`Self::rollback`]. So a Deployment is spread over datacenters before there is a node in each. Each host is a
    /// domain of its own only once it is there.
    pub fn add_possible_domains(&mut self, templates: &[&Template]) {
        let count = self.counters.add_possible_domains(self.snapshot, templates);
        self.log.push(Change::DomainsAdded(count));
    }

    /// Takes back every [`Self::add_possible_domains`] for good: a rollback does not bring them back.
    pub fn remove_possible_domains(&mut self) {
        self.counters.remove_possible_domains(usize::MAX);
    }

    /// Lets only domains count that have nodes, until [`Self::restore_possible_domains`]. Between the two nothing may be
    /// rolled back that was there before.
    pub(crate) fn take_possible_domains(&mut self) -> PossibleDomains {
        PossibleDomains(self.counters.take_possible_domains())
    }

    pub(crate) fn restore_possible_domains(&mut self, domains: PossibleDomains) {
        self.counters.restore_possible_domains(domains.0);
    }

    /// What the rules see of a node.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    pub fn view(&self, bin: BinId) -> NodeView<'_> {
        let Bin { template, used, .. } = &self.bins[bin.index()];
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

    /// Why one more pod of this class does not fit this node, or `None` when it fits: the first of kube-scheduler's Filter
    /// plugins that says no. A node that was removed, or is about to go, counts as cordoned.
    #[must_use]
    pub fn misfit(&self, class: ClassId, bin: BinId) -> Option<Misfit> {
        let snapshot = self.snapshot;
        let pod = snapshot.class(class);
        if self.counters.state(bin.index()) != BinState::Open {
            return Some(Misfit::Unschedulable);
        }
        let view = self.view(bin);
        fit::static_misfit(pod, &view, &snapshot.well_known, &snapshot.symbols)
            .or_else(|| self.port_misfit(pod, bin))
            .or_else(|| {
                pod.requests
                    .shortage(view.allocatable, view.used, &snapshot.symbols)
                    .map(Misfit::Resources)
            })
            .or_else(|| self.volume_misfit(pod, bin, &view))
            .or_else(|| self.constraint_misfit(class, bin, &view))
    }

    /// As [`Self::misfit`], beside pods for which preemption keeps room on the node, as kube-scheduler counts them: the
    /// plugins to which the pod means nothing without them do not hear of them. So `VolumeRestrictions` misses their claims
    /// unless the pod names disks itself, and `InterPodAffinity` their anti-affinity unless that of a bound pod, or a term of
    /// the pod, is looked at anyway.
    #[must_use]
    pub fn misfit_beside(&mut self, class: ClassId, bin: BinId, nominees: &[ClassId]) -> Option<Misfit> {
        let snapshot = self.snapshot;
        let names_disks = |needs: &VolumeNeeds| !needs.disks.is_empty();
        let sees_claims = snapshot.class(class).volumes.as_deref().is_some_and(names_disks);
        let sees_terms = self.counters.looks_at_pods(&snapshot.rules, class);
        let mark = self.mark();
        for nominee in nominees {
            self.place(*nominee, bin);
        }
        if !sees_claims {
            self.count_claims(nominees, false);
        }
        let misfit = self.misfit(class, bin);
        if !sees_claims {
            self.count_claims(nominees, true);
        }
        self.rollback(mark);
        misfit.filter(|misfit| sees_terms || !matches!(misfit, Misfit::ExistingAntiAffinity { .. }))
    }

    /// Whether a node that has no room for a pod of this class can get room by pods that are placed elsewhere: true for
    /// pods with affinity to pods or with spread constraints. For all others room only shrinks while pods are placed.
    #[must_use]
    pub fn may_regain_room(&self, class: ClassId) -> bool {
        self.snapshot.rules.may_regain_room(class)
    }

    /// Whether rules about other pods let one more pod of this class onto this node, whatever it requests.
    pub(crate) fn keeps_rules(&self, class: ClassId, bin: BinId) -> bool {
        self.constraint_misfit(class, bin, &self.view(bin)).is_none()
    }

    /// A spread constraint of this class, one over more than hosts if there is one, and the domain of a node for it, as
    /// numbers that mean nothing else.
    pub(crate) fn spread_domain(&self, class: ClassId, bin: BinId) -> Option<(u32, u32)> {
        self.counters.spread_domain(&self.snapshot.rules, class, bin.index())
    }

    /// Whether a pod of this class would go to a domain with the fewest pods, for every spread constraint that counts it.
    pub(crate) fn is_even(&self, class: ClassId, bin: BinId) -> bool {
        self.counters.is_even(&self.snapshot.rules, class, bin.index())
    }

    /// Whether constraints between pods concern this class: its own, or those of pods that its pods are counted for.
    #[must_use]
    pub fn is_constrained(&self, class: ClassId) -> bool {
        self.snapshot.rules.concern(class)
    }

    /// Whether a pod of this class can go from one node to the other without any constraint between pods noticing, other
    /// than those that tell hosts apart.
    #[must_use]
    pub fn counts_the_same(&self, class: ClassId, one: BinId, other: BinId) -> bool {
        self.counters
            .counts_the_same(&self.snapshot.rules, class, one.index(), other.index())
    }

    /// Puts a pod of this class on a node, whether it fits or not.
    pub fn place(&mut self, class: ClassId, bin: BinId) {
        self.count_pod(class, bin, true);
        self.log.push(Change::Placed(class, bin));
    }

    /// Puts so many pods of this class on a node, whether they fit or not.
    pub fn place_many(&mut self, class: ClassId, bin: BinId, count: u32) {
        let pod = self.snapshot.class(class);
        if self.is_constrained(class) || !pod.ports.is_empty() || pod.volumes.is_some() {
            for _ in 0..count {
                self.place(class, bin);
            }
            return;
        }
        self.request(class, bin, i64::from(count));
        self.log.push(Change::PlacedMany(class, bin, count));
    }

    /// Keeps room on a node for a pod of this class that is not there yet. Pods of at least its priority find the room
    /// taken; affinity and spread of pods do not rely on it.
    pub fn reserve(&mut self, class: ClassId, bin: BinId) {
        self.keep_room(class, bin, true);
        self.log.push(Change::Reserved(class, bin));
    }

    /// Takes a pod of this class off a node.
    pub fn unplace(&mut self, class: ClassId, bin: BinId) {
        self.count_pod(class, bin, false);
        self.log.push(Change::Unplaced(class, bin));
    }

    /// Remembers the state of now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.log.len())
    }

    /// Counts a placed pod for rules about other pods, or no longer, while it stays placed. It is not undone by a rollback:
    /// in the end every pod must be counted again.
    pub(crate) fn count(&mut self, class: ClassId, bin: BinId, add: bool) {
        let rules = &self.snapshot.rules;
        if add {
            self.counters.add_pod(rules, class, bin.index());
        } else {
            self.counters.subtract_pod(rules, class, bin.index());
        }
    }

    /// Undoes everything since the mark.
    pub fn rollback(&mut self, mark: Mark) {
        while mark.0 < self.log.len() {
            match self.log.pop() {
                Some(Change::Placed(class, bin)) => self.count_pod(class, bin, false),
                Some(Change::PlacedMany(class, bin, count)) => self.request(class, bin, -i64::from(count)),
                Some(Change::Unplaced(class, bin)) => self.count_pod(class, bin, true),
                Some(Change::Reserved(class, bin)) => self.keep_room(class, bin, false),
                Some(Change::Added) => self.pop_bin(),
                Some(Change::State(bin, state)) => {
                    self.set_state(bin, state);
                }
                Some(Change::DomainsAdded(count)) => self.counters.remove_possible_domains(count),
                None => {}
            }
        }
    }

    fn add_bin(&mut self, template: &Arc<Template>, node: Option<NodeId>) -> BinId {
        let snapshot = self.snapshot;
        // Four billion nodes do not fit into memory.
        let id = BinId(u32::try_from(self.bins.len()).unwrap_or(u32::MAX));
        let mut ports = Ports::default();
        for class in &template.daemon_classes {
            ports.take(&snapshot.class(*class).ports);
        }
        self.bins.push(Bin {
            template: Some(Arc::clone(template)),
            used: template.daemons.clone(),
            ports,
            volumes: VolumesInUse::default(),
            reserved: Vec::new(),
            // The DaemonSet controller makes its pods when the Node appears, so they are among the pods of the Node.
            counts_daemons: node.is_none(),
        });
        self.counters
            .add_bin(&snapshot.rules, template, node.map(NodeId::index));
        self.count_daemons(id, true);
        self.log.push(Change::Added);
        id
    }

    fn pop_bin(&mut self) {
        if let Some(last) = self.bins.len().checked_sub(1) {
            self.count_daemons(BinId(u32::try_from(last).unwrap_or(u32::MAX)), false);
        }
        self.counters.pop_bin(&self.snapshot.rules);
        self.bins.pop();
    }

    fn change_state(&mut self, bin: BinId, state: BinState) {
        let before = self.set_state(bin, state);
        self.log.push(Change::State(bin, before));
    }

    /// Changes what a node is, and gives what it was. The pods of DaemonSets go with a planned node.
    fn set_state(&mut self, bin: BinId, state: BinState) -> BinState {
        self.count_daemons(bin, false);
        let before = self.counters.set_state(&self.snapshot.rules, bin.index(), state);
        self.count_daemons(bin, true);
        before
    }

    /// Counts the DaemonSet pods of a planned node, or no longer. A node that is gone has none.
    fn count_daemons(&mut self, bin: BinId, add: bool) {
        let rules = &self.snapshot.rules;
        let entry = self.bins.get(bin.index()).filter(|entry| entry.counts_daemons);
        let Some(template) = entry.and_then(|entry| entry.template.as_ref()) else {
            return;
        };
        if self.counters.state(bin.index()) == BinState::Gone {
            return;
        }
        for class in template.daemon_classes.iter().copied() {
            if add {
                self.counters.add_pod(rules, class, bin.index());
            } else {
                self.counters.subtract_pod(rules, class, bin.index());
            }
        }
    }

    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    fn port_misfit(&self, pod: &PodClass, bin: BinId) -> Option<Misfit> {
        if pod.ports.is_empty() {
            return None;
        }
        self.bins[bin.index()].ports.conflict(&pod.ports).map(Misfit::PortInUse)
    }

    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    fn volume_misfit(&self, pod: &PodClass, bin: BinId, view: &NodeView<'_>) -> Option<Misfit> {
        let needs = pod.volumes.as_deref()?;
        let Bin { template, volumes, .. } = &self.bins[bin.index()];
        let node = VolumeNode {
            name: view.name,
            labels: view.labels,
            limits: match template {
                Some(template) => &template.volume_limits,
                None => &self.snapshot.node(NodeId(bin.0)).volume_limits,
            },
            in_use: volumes,
        };
        needs.misfit(
            &node,
            &self.counters.exclusive,
            &self.snapshot.rules.zone_keys,
            &self.snapshot.symbols,
        )
    }

    /// Counts the claims of pods of these classes that only one pod may use, or no longer.
    fn count_claims(&mut self, classes: &[ClassId], add: bool) {
        let snapshot = self.snapshot;
        let volumes = classes.iter().map(|class| snapshot.class(*class).volumes.as_deref());
        for needs in volumes.flatten() {
            self.counters.count_exclusive(needs, add);
        }
    }

    /// Rules about other pods must hold with the pods for which room is kept on the node and without them.
    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    fn constraint_misfit(&self, class: ClassId, bin: BinId, view: &NodeView<'_>) -> Option<Misfit> {
        let rules = &self.snapshot.rules;
        let misfit = |beside| self.counters.misfit(rules, class, bin.index(), view, beside);
        let reserved = &self.bins[bin.index()].reserved;
        misfit(Beside::default()).or_else(|| {
            let priority = self.snapshot.class(class).priority;
            // Those of a lower priority would give way.
            let at = reserved.partition_point(|other| self.snapshot.class(*other).priority < priority);
            let beside = reserved.get(at..).filter(|beside| !beside.is_empty())?;
            misfit(Beside(beside))
        })
    }

    /// Adds what so many pods of this class request.
    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    fn request(&mut self, class: ClassId, bin: BinId, times: i64) {
        let requests = &self.snapshot.class(class).requests;
        self.bins[bin.index()].used.add_times(requests, times);
    }

    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    fn count_pod(&mut self, class: ClassId, bin: BinId, add: bool) {
        let snapshot = self.snapshot;
        let entry = &mut self.bins[bin.index()];
        let pod = (class, snapshot.class(class));
        entry.count_pod(&mut self.counters, &snapshot.rules, pod, bin.index(), add);
    }

    /// Keeps what a pod takes of a node itself, or gives it back.
    #[expect(clippy::indexing_slicing, reason = "ids are made by this world")]
    fn keep_room(&mut self, class: ClassId, bin: BinId, add: bool) {
        let snapshot = self.snapshot;
        let entry = &mut self.bins[bin.index()];
        entry.take_room(&mut self.counters, snapshot.class(class), add);
        let priority = |class: ClassId| snapshot.class(class).priority;
        let at = entry
            .reserved
            .partition_point(|other| (priority(*other), *other) < (priority(class), class));
        if add {
            entry.reserved.insert(at, class);
        } else if entry.reserved.get(at) == Some(&class) {
            entry.reserved.remove(at);
        }
    }
}

// === impl Bin ===

impl Bin {
    /// Takes what a pod takes of this node itself, or gives it back.
    fn take_room(&mut self, counters: &mut Counters, pod: &PodClass, add: bool) {
        if add {
            self.used.add(&pod.requests);
            self.ports.take(&pod.ports);
        } else {
            self.used.subtract(&pod.requests);
            self.ports.give_back(&pod.ports);
        }
        if let Some(needs) = pod.volumes.as_deref() {
            if add {
                self.volumes.take(needs);
            } else {
                self.volumes.give_back(needs);
            }
            counters.count_exclusive(needs, add);
        }
    }

    /// Counts a pod of a class, or no longer, on this node, which has this index.
    fn count_pod(
        &mut self,
        counters: &mut Counters,
        rules: &Rules,
        (id, pod): (ClassId, &PodClass),
        index: usize,
        add: bool,
    ) {
        self.take_room(counters, pod, add);
        if add {
            counters.add_pod(rules, id, index);
        } else {
            counters.subtract_pod(rules, id, index);
        }
    }
}
