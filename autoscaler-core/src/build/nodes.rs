//! Nodes, and the groups they belong to.

use std::collections::BTreeMap;

use super::{
    ALLOWED_HOURS_ANNOTATION, MANAGED_LABEL, NODE_GROUP_LABEL, NODE_GROUP_NAMESPACE_LABEL, Reader,
    TIME_ZONE_ANNOTATION, non_empty,
};
use crate::{
    manifest::node as node_manifest,
    provider::OfferingId,
    snapshot::{GroupId, Machine, MachineId, Node, Problem, Readiness, Snapshot, WellKnown},
    symbol::{Symbol, Symbols},
};

impl Reader<'_> {
    /// A node without its links to groups and VPSieNodes and without what its CSINode says.
    pub(crate) fn node(&mut self, manifest: &node_manifest::Node) -> Node {
        let metadata = &manifest.metadata;
        let ready = manifest
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let readiness = match ready {
            Some(condition) if condition.status == "True" => Readiness::Ready,
            Some(condition) => Readiness::NotReady {
                since: condition.last_transition_time,
            },
            None => Readiness::NotReady {
                since: metadata.creation_timestamp,
            },
        };
        let object = || format!("Node {}", metadata.name);
        let annotations = &metadata.annotations;
        if annotations.contains_key(TIME_ZONE_ANNOTATION) && !annotations.contains_key(ALLOWED_HOURS_ANNOTATION) {
            let message = format!("there is no {ALLOWED_HOURS_ANNOTATION} that it could belong to; it is ignored");
            self.problem(
                object(),
                &format!("metadata.annotations[{TIME_ZONE_ANNOTATION}]"),
                message,
            );
        }
        Node {
            name: self.intern(&metadata.name),
            labels: self.labels_of(&metadata.labels),
            taints: self.taints(&manifest.spec.taints),
            unschedulable: manifest.spec.unschedulable,
            allocatable: self.resources(&manifest.status.allocatable),
            readiness,
            created_at: metadata.creation_timestamp,
            deleting: metadata.deletion_timestamp.is_some(),
            control_plane: [
                "node-role.kubernetes.io/control-plane",
                "node-role.kubernetes.io/master",
            ]
            .iter()
            .any(|key| metadata.labels.contains_key(*key)),
            opt_out: self.opt_out(metadata, &object),
            allowed_hours: self.allowed_hours(metadata, &object),
            group: None,
            machine: None,
            offering: None,
            volume_limits: Box::default(),
            own: false,
        }
    }
}

/// What nodes belong to.
#[derive(Debug)]
pub(crate) struct Owners<'a> {
    symbols: &'a Symbols,
    well_known: &'a WellKnown,
    machines: &'a [Machine],
    /// By the names of their nodes in lower case: providers may change the case of a host name.
    machines_by_node: &'a BTreeMap<String, MachineId>,
    /// By name, then by namespace.
    groups: BTreeMap<&'a str, BTreeMap<&'a str, GroupId>>,
}

/// What one node belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) machine: Option<MachineId>,
    pub(crate) group: Option<GroupId>,
    pub(crate) offering: Option<OfferingId>,
    pub(crate) problem: Option<Problem>,
}

impl<'a> Owners<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, machines_by_node: &'a BTreeMap<String, MachineId>) -> Self {
        let mut groups: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for id in snapshot.group_ids() {
            let group = snapshot.group(id);
            let of_name = groups.entry(snapshot.text(group.name)).or_default();
            of_name.insert(snapshot.text(group.namespace), id);
        }
        Self {
            symbols: &snapshot.symbols,
            well_known: &snapshot.well_known,
            machines: &snapshot.machines,
            machines_by_node,
            groups,
        }
    }

    /// What a node belongs to, by its VPSieNode, else by its labels.
    pub(crate) fn of(&self, node: &Node) -> Owner {
        let name = self.symbols.text(node.name);
        let machine = self.machines_by_node.get(&name.to_ascii_lowercase()).copied();
        let of_machine = machine.and_then(|machine| self.machines.get(machine.index()));
        let label = |key: Symbol| {
            node.labels
                .get(key)
                .and_then(|value| non_empty(self.symbols.text(value)))
        };
        let offering = label(self.well_known.offering)
            .or_else(|| label(self.well_known.instance_type))
            .or_else(|| of_machine.and_then(|machine| non_empty(machine.offering.as_str())));
        let (group, problem) = match of_machine.and_then(|machine| machine.group) {
            Some(group) => (Some(group), None),
            None => self.group_of_labels(node),
        };
        Owner {
            machine,
            group,
            offering: offering.map(OfferingId::new),
            problem,
        }
    }

    fn group_of_labels(&self, node: &Node) -> (Option<GroupId>, Option<Problem>) {
        let label = |key: &str| {
            let value = node.labels.get(self.symbols.get(key)?)?;
            Some(self.symbols.text(value))
        };
        let of_name = match label(NODE_GROUP_LABEL) {
            Some(name) if label(MANAGED_LABEL) == Some("true") => self.groups.get(name),
            _ => None,
        };
        let Some(of_name) = of_name else { return (None, None) };
        if let Some(namespace) = label(NODE_GROUP_NAMESPACE_LABEL) {
            return (of_name.get(namespace).copied(), None);
        }
        match (of_name.len(), of_name.values().next()) {
            (1, Some(group)) => (Some(*group), None),
            _ => (None, Some(ambiguous(self.symbols.text(node.name)))),
        }
    }
}

fn ambiguous(node: &str) -> Problem {
    Problem {
        object: format!("Node {node}"),
        field: "metadata.labels".to_owned(),
        message: format!(
            "{NODE_GROUP_LABEL} names several NodeGroups and {NODE_GROUP_NAMESPACE_LABEL} is missing; the node is taken as unmanaged"
        ),
    }
}
