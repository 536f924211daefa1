//! What a new node of a group and offering will look like before it exists.
//!
//! The rules for labels, taints and reserves of new nodes live here and nowhere else; so does the placing of
//! DaemonSet pods on them.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    fit::{self, NodeView},
    provider::{DatacenterId, Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu},
    resources::{Resource, Resources},
    selector::Labels,
    snapshot::{ClassId, GroupId, Machine, Node, NodeGroup, Snapshot},
    symbol::Symbol,
    taint::Taint,
};

/// Pods per node where nothing else is known: the default of the kubelet.
pub const DEFAULT_MAX_PODS: i64 = 110;

/// CPU kept from pods on a node of unknown reserves, in milli-cores.
pub const DEFAULT_RESERVED_CPU: i64 = 100;

/// Memory kept from pods on a node of unknown reserves: this many bytes and [`DEFAULT_RESERVED_MEMORY_PERCENT`].
pub const DEFAULT_RESERVED_MEMORY: i64 = 255 * Bytes::MIB;

/// Share of the memory kept from pods on a node of unknown reserves, in percent.
pub const DEFAULT_RESERVED_MEMORY_PERCENT: i64 = 5;

/// Share of the disk kept from pods on a node of unknown reserves, in percent.
pub const DEFAULT_RESERVED_DISK_PERCENT: i64 = 10;

/// A node that does not exist yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its group.
    pub group: GroupId,
    /// Its offering.
    pub offering: OfferingId,
    /// Its datacenter.
    pub datacenter: DatacenterId,
    /// Price of one such node.
    pub hourly_price: HourlyPrice,
    /// Its labels. The host name is a text that no selector can name.
    pub labels: Labels,
    /// Its taints, without those that it only has while it starts.
    pub taints: Box<[Taint]>,
    /// What pods may request in all, those of DaemonSets included.
    pub allocatable: Resources,
    /// What the pods of DaemonSets request.
    pub daemons: Resources,
    /// The pods of DaemonSets that it will have.
    pub daemon_classes: Box<[ClassId]>,
    /// Most volumes that it can attach, by CSI driver; a driver that is absent has no limit.
    pub volume_limits: Box<[(Symbol, i64)]>,
    /// Its name: no selector can name it.
    pub name: Symbol,
    /// Spread rules that count such a node, ordered.
    pub(crate) counted_by: Box<[u32]>,
}

/// The live nodes that new ones of their size are expected to resemble.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learned<'s> {
    of_group: BTreeMap<(GroupId, &'s OfferingId), &'s Node>,
    of_any_group: BTreeMap<&'s OfferingId, &'s Node>,
}

// === impl Learned ===

impl<'s> Learned<'s> {
    /// The newest Ready node of each offering, by group and over all groups.
    pub(crate) fn new(snapshot: &'s Snapshot) -> Self {
        let mut learned = Self::default();
        for node in &snapshot.nodes {
            let (Some(group), Some(offering)) = (node.group, &node.offering) else {
                continue;
            };
            if !node.is_ready() || node.allocatable.pods <= 0 {
                continue;
            }
            // Of equally old ones the last counts; nodes are ordered by name.
            let newer = |known: &&mut &Node| known.created_at <= node.created_at;
            let of_group = learned.of_group.entry((group, offering)).or_insert(node);
            if newer(&of_group) {
                *of_group = node;
            }
            let of_any_group = learned.of_any_group.entry(offering).or_insert(node);
            if newer(&of_any_group) {
                *of_any_group = node;
            }
        }
        learned
    }

    /// The newest Ready node of the same group and offering, else the newest of the same offering in any group.
    fn from(&self, group: GroupId, offering: &OfferingId) -> Option<&'s Node> {
        let of_group = self.of_group.get(&(group, offering));
        of_group.or_else(|| self.of_any_group.get(offering)).copied()
    }
}

// === impl Template ===

impl Template {
    /// A new node of this group and offering.
    #[must_use]
    pub fn new(snapshot: &Snapshot, group: GroupId, offering: &Offering) -> Self {
        Self::with(snapshot, &Learned::new(snapshot), group, offering)
    }

    /// A new node of this group and offering, from what live nodes tell.
    pub(crate) fn with(snapshot: &Snapshot, learned: &Learned<'_>, group: GroupId, offering: &Offering) -> Self {
        let allocatable = learned.from(group, &offering.id).map_or_else(
            || estimated_allocatable(offering, snapshot.group(group)),
            |node| node.allocatable.clone(),
        );
        Self::with_allocatable(snapshot, learned, group, offering, allocatable)
    }

    /// The node that a VPSieNode is going to be. Its Node, when there is one, already says what it offers, except for
    /// extended resources that it does not report yet and nodes of its size have.
    #[must_use]
    pub fn of_machine(snapshot: &Snapshot, machine: &Machine, group: GroupId) -> Option<Self> {
        Self::of_machine_with(snapshot, &Learned::new(snapshot), machine, group)
    }

    /// The node that a VPSieNode is going to be, from what live nodes tell.
    pub(crate) fn of_machine_with(
        snapshot: &Snapshot,
        learned: &Learned<'_>,
        machine: &Machine,
        group: GroupId,
    ) -> Option<Self> {
        let node = machine.node.map(|node| snapshot.node(node));
        let mut template = Self::of_machine_and_node(snapshot, learned, machine, node, group)?;
        if let Some(node) = node.filter(|node| !node.volume_limits.is_empty()) {
            template.volume_limits.clone_from(&node.volume_limits);
        }
        Some(template)
    }

    fn of_machine_and_node(
        snapshot: &Snapshot,
        learned: &Learned<'_>,
        machine: &Machine,
        node: Option<&Node>,
        group: GroupId,
    ) -> Option<Self> {
        let offering = snapshot.offering(&machine.offering, &machine.datacenter);
        let mut reported = node
            .map(|node| node.allocatable.clone())
            .filter(|allocatable| 0 < allocatable.pods);
        // Device plugins report what they have after the kubelet does.
        let like = learned.from(group, &machine.offering);
        if let (Some(allocatable), Some(like)) = (&mut reported, like) {
            for (resource, amount) in like.allocatable.extended_entries() {
                if allocatable.extended(*resource) == 0 {
                    allocatable.set_extended(*resource, *amount);
                }
            }
        }
        match (offering, reported) {
            (Some(offering), Some(allocatable)) => {
                Some(Self::with_allocatable(snapshot, learned, group, offering, allocatable))
            }
            (Some(offering), None) => Some(Self::with(snapshot, learned, group, offering)),
            // The size is no longer in the catalogue: only what is known from live nodes can be said.
            (None, reported) => {
                let live = || Some(like?.allocatable.clone());
                let allocatable = reported.or_else(live)?;
                let unlisted = Offering {
                    id: machine.offering.clone(),
                    name: machine.offering.to_string(),
                    cpu: MilliCpu(0),
                    memory: Bytes(0),
                    disk: Bytes(0),
                    max_pods: None,
                    hourly_price: HourlyPrice::ZERO,
                    available: false,
                    datacenter: Some(machine.datacenter.clone()),
                };
                Some(Self::with_allocatable(snapshot, learned, group, &unlisted, allocatable))
            }
        }
    }

    fn with_allocatable(
        snapshot: &Snapshot,
        learned: &Learned<'_>,
        group: GroupId,
        offering: &Offering,
        allocatable: Resources,
    ) -> Self {
        let spec = snapshot.group(group);
        let well_known = &snapshot.well_known;
        let offering_text = snapshot.symbols.get(offering.id.as_str()).unwrap_or_default();
        let labels = spec.labels.iter().chain([
            (well_known.offering, offering_text),
            (well_known.instance_type, offering_text),
            (well_known.hostname, well_known.new_node),
        ]);
        let mut template = Self {
            group,
            offering: offering.id.clone(),
            datacenter: spec.datacenter.clone(),
            hourly_price: offering.hourly_price,
            labels: Labels::new(labels),
            taints: spec.taints.clone(),
            allocatable,
            daemons: Resources::default(),
            daemon_classes: Box::default(),
            volume_limits: learned
                .from(group, &offering.id)
                .map(|node| node.volume_limits.clone())
                .unwrap_or_default(),
            name: well_known.new_node,
            counted_by: Box::default(),
        };
        // Every one that the DaemonSet controller would make for the node, whether there is room for it or not: on a node
        // that is too small for them other pods cannot count on a place.
        let mut daemon_classes = Vec::new();
        for id in snapshot.daemon_sets.iter().map(|daemon_set| daemon_set.class) {
            let class = snapshot.class(id);
            let view = template.view(&template.daemons);
            if fit::static_misfit(class, &view, well_known, &snapshot.symbols).is_none() {
                template.daemons.add(&class.requests);
                daemon_classes.push(id);
            }
        }
        template.daemon_classes = daemon_classes.into();
        let view = template.view(&template.daemons);
        let counted_by = snapshot.rules.counting(snapshot, &view);
        Self { counted_by, ..template }
    }

    /// What the rules see of such a node of which this much is used.
    #[must_use]
    pub fn view<'a>(&'a self, used: &'a Resources) -> NodeView<'a> {
        NodeView {
            name: self.name,
            labels: &self.labels,
            taints: &self.taints,
            unschedulable: false,
            allocatable: &self.allocatable,
            used,
        }
    }

    /// This template, shared.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}

/// The size of the offering less what a kubelet of default settings keeps.
fn estimated_allocatable(offering: &Offering, group: &NodeGroup) -> Resources {
    let percent =
        |amount: i64, percent: i64| i64::try_from(i128::from(amount) * i128::from(percent) / 100).unwrap_or(0);
    let (memory, disk) = (offering.memory.0, offering.disk.0);
    let mut reserved = Resources {
        cpu: DEFAULT_RESERVED_CPU,
        memory: DEFAULT_RESERVED_MEMORY.saturating_add(percent(memory, DEFAULT_RESERVED_MEMORY_PERCENT)),
        ephemeral_storage: percent(disk, DEFAULT_RESERVED_DISK_PERCENT),
        ..Resources::default()
    };
    for (resource, amount) in &group.reserved {
        reserved.set(*resource, *amount);
    }
    let keep = |total: i64, resource: Resource| total.saturating_sub(reserved.get(resource)).max(0);
    Resources {
        cpu: keep(offering.cpu.0, Resource::Cpu),
        memory: keep(memory, Resource::Memory),
        ephemeral_storage: keep(disk, Resource::EphemeralStorage),
        pods: keep(offering.max_pods.map_or(DEFAULT_MAX_PODS, i64::from), Resource::Pods),
        ..Resources::default()
    }
}
