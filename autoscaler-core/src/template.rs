//! What a new node of a group and offering will look like before it exists.
//!
//! The rules for labels, taints and reserves of new nodes live here and nowhere else; so does the placing of
//! DaemonSet pods on them.

use std::sync::Arc;

use crate::{
    constraint::ports::Ports,
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
#[derive(Clone, Debug)]
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
    /// Spread rules whose pods may use such a node while it has only the pods of DaemonSets, ordered.
    pub(crate) usable_by: Box<[u32]>,
}

// === impl Template ===

impl Template {
    /// A new node of this group and offering.
    #[must_use]
    pub fn new(snapshot: &Snapshot, group: GroupId, offering: &Offering) -> Self {
        let allocatable = learned_allocatable(snapshot, group, &offering.id)
            .unwrap_or_else(|| estimated_allocatable(offering, snapshot.group(group)));
        Self::with_allocatable(snapshot, group, offering, allocatable)
    }

    /// The node that a VPSieNode is going to be. Its Node, when there is one, already says what it offers.
    #[must_use]
    pub fn of_machine(snapshot: &Snapshot, machine: &Machine, group: GroupId) -> Option<Self> {
        let node = machine.node.map(|node| snapshot.node(node));
        let mut template = Self::of_machine_and_node(snapshot, machine, node, group)?;
        if let Some(node) = node.filter(|node| !node.volume_limits.is_empty()) {
            template.volume_limits.clone_from(&node.volume_limits);
        }
        Some(template)
    }

    fn of_machine_and_node(
        snapshot: &Snapshot,
        machine: &Machine,
        node: Option<&Node>,
        group: GroupId,
    ) -> Option<Self> {
        let offering = snapshot.offering(&machine.offering, &machine.datacenter);
        let reported = node
            .map(|node| node.allocatable.clone())
            .filter(|allocatable| 0 < allocatable.pods);
        match (offering, reported) {
            (Some(offering), Some(allocatable)) => Some(Self::with_allocatable(snapshot, group, offering, allocatable)),
            (Some(offering), None) => Some(Self::new(snapshot, group, offering)),
            // The size is no longer in the catalogue: only what is known from live nodes can be said.
            (None, reported) => {
                let allocatable = reported.or_else(|| learned_allocatable(snapshot, group, &machine.offering))?;
                let unlisted = Offering {
                    id: machine.offering.clone(),
                    name: machine.offering.to_string(),
                    cpu: MilliCpu(0),
                    memory: Bytes(0),
                    disk: Bytes(0),
                    hourly_price: HourlyPrice::ZERO,
                    available: false,
                    datacenter: Some(machine.datacenter.clone()),
                };
                Some(Self::with_allocatable(snapshot, group, &unlisted, allocatable))
            }
        }
    }

    fn with_allocatable(snapshot: &Snapshot, group: GroupId, offering: &Offering, allocatable: Resources) -> Self {
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
            volume_limits: learned_from(snapshot, group, &offering.id)
                .map(|node| node.volume_limits.clone())
                .unwrap_or_default(),
            name: well_known.new_node,
            counted_by: Box::default(),
            usable_by: Box::default(),
        };
        let mut ports = Ports::default();
        let mut daemon_classes = Vec::new();
        for id in snapshot.daemon_sets.iter().map(|daemon_set| daemon_set.class) {
            let class = snapshot.class(id);
            let view = template.view(&template.daemons);
            let fits = fit::misfit(class, &view, well_known, &snapshot.symbols).is_none();
            if fits && ports.conflict(&class.ports).is_none() {
                template.daemons.add(&class.requests);
                ports.take(&class.ports);
                daemon_classes.push(id);
            }
        }
        template.daemon_classes = daemon_classes.into();
        let view = template.view(&template.daemons);
        let counted_by = snapshot.rules.counting(snapshot, &view);
        let usable_by = snapshot.rules.usable_by(snapshot, &view);
        Self {
            counted_by,
            usable_by,
            ..template
        }
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

/// What a node like this one offers.
fn learned_allocatable(snapshot: &Snapshot, group: GroupId, offering: &OfferingId) -> Option<Resources> {
    learned_from(snapshot, group, offering).map(|node| node.allocatable.clone())
}

/// The newest Ready node of the same group and offering, else the newest of the same offering in any group.
fn learned_from<'s>(snapshot: &'s Snapshot, group: GroupId, offering: &OfferingId) -> Option<&'s Node> {
    let newest = |of_group: &dyn Fn(&Node) -> bool| {
        let usable = |node: &&Node| {
            node.is_ready() && 0 < node.allocatable.pods && node.offering.as_ref() == Some(offering) && of_group(node)
        };
        // `max_by_key` gives the last of equal ones, which is the same for the same input: nodes are ordered by name.
        snapshot.nodes.iter().filter(usable).max_by_key(|node| node.created_at)
    };
    newest(&|node| node.group == Some(group)).or_else(|| newest(&|node| node.group.is_some()))
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
        pods: keep(DEFAULT_MAX_PODS, Resource::Pods),
        ..Resources::default()
    }
}
