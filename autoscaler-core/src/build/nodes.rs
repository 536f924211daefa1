//! Nodes, and the groups they belong to.

use std::collections::BTreeMap;

use super::{
    Builder, INSTANCE_TYPE_LABEL, MANAGED_LABEL, NODE_GROUP_LABEL, NODE_GROUP_NAMESPACE_LABEL, OFFERING_LABEL,
    OPT_OUTS, non_empty, sorted,
};
use crate::{
    constraint::claims::Storage,
    manifest::{meta::ObjectMeta, node as node_manifest},
    provider::OfferingId,
    snapshot::{GroupId, Node, NodeId, Readiness},
};

impl Builder {
    pub(super) fn nodes(&mut self, nodes: &[&node_manifest::Node], storage: &Storage<'_>) {
        for manifest in sorted(nodes, |node| &node.metadata) {
            let id = NodeId::from_index(self.snapshot.nodes.len());
            let volume_limits = storage.limits(&manifest.metadata.name, &mut self.snapshot.symbols);
            let node = Node {
                volume_limits,
                ..self.node(manifest)
            };
            if let Some(machine) = node
                .machine
                .and_then(|machine| self.snapshot.machines.get_mut(machine.index()))
            {
                machine.node = Some(id);
            }
            self.nodes_by_name.insert(node.name, id);
            self.snapshot.nodes.push(node);
        }
        self.snapshot.pods_by_node = vec![Vec::new(); self.snapshot.nodes.len()];
    }

    pub(super) fn node(&mut self, manifest: &node_manifest::Node) -> Node {
        let metadata = &manifest.metadata;
        let machine = self.machines_by_node.get(&metadata.name.to_ascii_lowercase()).copied();
        let of_machine = machine.and_then(|machine| self.snapshot.machines.get(machine.index()));
        let machine_group = of_machine.and_then(|machine| machine.group);
        let machine_offering = of_machine
            .map(|machine| machine.offering.clone())
            .filter(|id| !id.as_str().is_empty());
        let label = |key: &str| metadata.labels.get(key).map(String::as_str).and_then(non_empty);
        let offering = label(OFFERING_LABEL)
            .or_else(|| label(INSTANCE_TYPE_LABEL))
            .map(OfferingId::new);
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
        let opt_out = OPT_OUTS.iter().find(|(key, value)| {
            let set = |map: &BTreeMap<String, String>| map.get(*key).is_some_and(|text| text == value);
            set(&metadata.annotations) || (key.starts_with("autoscaler.vpsie.com/") && set(&metadata.labels))
        });
        let opt_out = opt_out.map(|(key, _)| *key);
        let group = machine_group.or_else(|| self.group_of_labels(metadata));
        Node {
            name: self.intern(&metadata.name),
            labels: self.labels(
                metadata
                    .labels
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
            ),
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
            opt_out: opt_out.map(|key| self.intern(key)),
            allowed_hours: self.allowed_hours(metadata, &|| format!("Node {}", metadata.name)),
            group,
            machine,
            offering: offering.or(machine_offering),
            volume_limits: Box::default(),
            own: false,
        }
    }

    pub(super) fn group_of_labels(&mut self, metadata: &ObjectMeta) -> Option<GroupId> {
        let label = |key: &str| metadata.labels.get(key).map(String::as_str);
        if label(MANAGED_LABEL) != Some("true") {
            return None;
        }
        let name = self.intern(label(NODE_GROUP_LABEL)?);
        match label(NODE_GROUP_NAMESPACE_LABEL) {
            Some(namespace) => {
                let namespace = self.intern(namespace);
                self.groups_by_name.get(&(namespace, name)).copied()
            }
            None => {
                let mut same_name = self.groups_by_name.iter().filter(|((_, group), _)| *group == name);
                match (same_name.next(), same_name.next()) {
                    (Some((_, id)), None) => Some(*id),
                    (Some(_), Some(_)) => {
                        self.problem(
                            format!("Node {}", metadata.name),
                            "metadata.labels",
                            format!("{NODE_GROUP_LABEL} names several NodeGroups and {NODE_GROUP_NAMESPACE_LABEL} is missing; the node is taken as unmanaged"),
                        );
                        None
                    }
                    (None, _) => None,
                }
            }
        }
    }

    pub(super) fn mark_own_node(&mut self, name: &str) {
        let id = self
            .snapshot
            .symbols
            .get(name)
            .and_then(|name| self.nodes_by_name.get(&name));
        if let Some(node) = id.and_then(|id| self.snapshot.nodes.get_mut(id.index())) {
            node.own = true;
        }
    }
}
